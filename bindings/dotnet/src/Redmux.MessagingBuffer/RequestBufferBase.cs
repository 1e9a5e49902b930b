namespace Redmux.MessagingBuffer;

/// <summary>One kind of request, and how its responses become one.</summary>
/// <example><code>
/// internal sealed class GreetingBuffer(IMessaging messaging, GreetingRequest request) : RequestBufferBase&lt;GreetingRequest, GreetingResponse&gt;(messaging, request)
/// {
///     protected override GreetingResponse Aggregate() => new() { Text = string.Join(", ", ResponseCollection.Select(one => one.Text)) };
/// }
/// </code></example>
public abstract class RequestBufferBase<TRequest, TResponse> where TRequest : RequestBase where TResponse : ResponseBase
{
    private readonly IMessaging _messaging;
    private string _id = Guid.NewGuid().ToString();
    private int _open;
    private bool _used;

    /// <summary>A buffer for a request.</summary>
    /// <param name="messaging">Where it is asked.</param>
    /// <param name="request">What.</param>
    /// <param name="logger">The buffer's, if it has one.</param>
    protected RequestBufferBase(IMessaging messaging, TRequest request, ILogger? logger = null)
    {
        ArgumentNullException.ThrowIfNull(messaging);
        (_messaging, Request, Logger) = (messaging, request, logger ?? NullLogger.Instance);
    }

    /// <summary>A buffer for a request that the program's services make.</summary>
    /// <param name="services">With an <see cref="IMessaging"/> and a <typeparamref name="TRequest"/>.</param>
    protected RequestBufferBase(IServiceProvider services) : this(services.GetRequiredService<IMessaging>(), services.GetRequiredService<TRequest>()) { }

    /// <summary>What is asked.</summary>
    public TRequest Request { get; set; }

    /// <summary>The buffer's.</summary>
    protected ILogger Logger { get; }

    /// <summary>How it is asked. What is null is as usual.</summary>
    public SendOptions Options { get; } = new();

    /// <summary>How long responses are waited for, in milliseconds; what came until then counts.</summary>
    public int TimeoutMs
    {
        get => (int?)Options.Timeout?.TotalMilliseconds ?? _messaging.TimeoutMs;
        set => Options.Timeout = TimeSpan.FromMilliseconds(value);
    }

    /// <summary>What the request is called: what was set, else the GUID of the one that was sent last, or of the first.</summary>
    public string CorrelationId
    {
        get => Options.CorrelationId ?? _id;
        set => Options.CorrelationId = value;
    }

    /// <summary>So many responses are enough; null: as many as instances received the request.</summary>
    public int? ExpectedCount
    {
        get => Options.ExpectedCount;
        set => Options.ExpectedCount = value;
    }

    /// <summary>Why the last request ended, who is missing, how many were expected; null before its end.</summary>
    public GatherEnd? End { get; private set; }

    /// <summary>The responses to the last request, in the order in which they came.</summary>
    protected IReadOnlyList<TResponse> ResponseCollection { get; private set; } = [];

    /// <summary>Makes one response of <see cref="ResponseCollection"/>, which may be empty or not whole.</summary>
    protected abstract TResponse Aggregate();

    /// <summary>Asks, waits until all have responded or the time is over, and returns the aggregate of what came.</summary>
    /// <param name="ct">Gives the request up.</param>
    /// <exception cref="InvalidOperationException">This buffer's request is open; another one needs another buffer.</exception>
    public async Task<TResponse> SendRequestAsync(CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(Request);
        if (Interlocked.Exchange(ref _open, 1) != 0) { throw new InvalidOperationException($"the request {CorrelationId} of this buffer is open; another one needs another buffer"); }
        try
        {
            if (_used) { _id = Guid.NewGuid().ToString(); }
            (_used, End, ResponseCollection) = (true, null, []);
            RequestResult<TResponse> result = await _messaging.RequestAsync<TResponse>(Request, Options with { CorrelationId = CorrelationId }, ct).ConfigureAwait(false);
            (End, ResponseCollection) = (result.End, result.Responses);
            return Aggregate();
        }
        finally
        {
            Volatile.Write(ref _open, 0);
        }
    }
}
