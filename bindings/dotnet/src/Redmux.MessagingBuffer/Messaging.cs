namespace Redmux.MessagingBuffer;

/// <summary>Requests and responses as users of Messaging.Buffer know them: on its wire, or on redmux' own. One for a program; all members may be
/// used from any thread. It connects without waiting: <see cref="ReadyAsync"/> does.</summary>
/// <example><code>
/// await using var messaging = new Messaging(new RedisOptions { RedisConnexionStrings = { "redis://localhost" } }, GreetingJson.Default);
/// await messaging.ReadyAsync();
/// </code></example>
public sealed class Messaging : IMessaging, IAsyncDisposable, IDisposable
{
    private const string All = ""; // every type's name begins so

    private readonly RedisOptions _options;
    private readonly Bodies _bodies;
    private readonly ILogger _logger;
    private readonly RedmuxClient[] _clients;
    private readonly bool _owned;
    private readonly MessagingWire[] _wires;
    private readonly string _word = Guid.NewGuid().ToString();
    private readonly ConcurrentDictionary<string, Task<List<Responder>>> _served = new();
    private readonly ConcurrentDictionary<string, InWork> _inWork = new();
    private readonly AsyncLocal<InWork?> _inside = new(); // the request that a handler works on, in its own flow
    private int _disposed;

    /// <summary>With types from a JsonSerializerContext: safe for trimming and AOT.</summary>
    /// <param name="options">Where Redis is, and more.</param>
    /// <param name="types">How requests and responses are written and read: <c>MyJson.Default</c>.</param>
    /// <exception cref="RedmuxArgumentException">A connection string is none.</exception>
    public Messaging(RedisOptions options, IJsonTypeInfoResolver types)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(types);
        _options = options;
        _bodies = new Bodies(types);
        _logger = options.LoggerFactory?.CreateLogger("Redmux.MessagingBuffer") ?? NullLogger.Instance;
        _clients = options.Open();
        _owned = _clients[0] != options.Client;
        _wires = options.ServeBothWires ? [MessagingWire.MessagingBuffer, MessagingWire.Redmux] : [options.Wire];
    }

    /// <summary>With types by reflection.</summary>
    /// <param name="options">Where Redis is, and more.</param>
    /// <exception cref="RedmuxArgumentException">A connection string is none.</exception>
    [RequiresUnreferencedCode(Bodies.Reflects), RequiresDynamicCode(Bodies.Reflects)]
    public Messaging(RedisOptions options) : this(options, Bodies.Reflection()) { }

    /// <summary>What <see cref="SubscribeHandlersAsync"/> subscribes, by the type's name.</summary>
    internal IReadOnlyDictionary<string, Func<CancellationToken, Task>> Handlers { get; init; } = new Dictionary<string, Func<CancellationToken, Task>>();

    /// <inheritdoc/>
    public int TimeoutMs => _options.Timeout;

    /// <inheritdoc/>
    public event EventHandler<ReceivedEventArgs>? RequestReceived;

    /// <summary>Waits until every server is connected.</summary>
    /// <param name="timeout">How long; null is the client's option <c>timeout</c>.</param>
    /// <param name="ct">Ends the wait.</param>
    public Task ReadyAsync(TimeSpan? timeout = null, CancellationToken ct = default) => Task.WhenAll(_clients.Select(client => client.ReadyAsync(timeout, ct).AsTask()));

    // --- asking

    /// <inheritdoc/>
    public async Task<RequestResult<TResponse>> RequestAsync<TResponse>(RequestBase request, SendOptions? options = null, CancellationToken ct = default) where TResponse : ResponseBase
    {
        ArgumentNullException.ThrowIfNull(request);
        ct.ThrowIfCancellationRequested();
        string type = Bodies.NameOf(request.GetType()), id = options?.CorrelationId ?? Guid.NewGuid().ToString();
        JsonTypeInfo<TResponse> read = _bodies.TypeOf<TResponse>();
        Gather gather = Asked().Gather(type, _bodies.Write(request), new GatherOptions
        {
            Timeout = options?.Timeout ?? TimeSpan.FromMilliseconds(TimeoutMs), Expect = options?.ExpectedCount, Quiet = options?.Quiet,
            OthersOnly = options?.OthersOnly, Strict = options?.Strict, Repeatable = options?.Repeatable, ["request_id"] = id, ["wire"] = WordOf(_options.Wire),
        });
        List<TResponse> responses = [];
        await foreach (Answer answer in gather.WithCancellation(ct).ConfigureAwait(false))
        {
            try
            {
                if (answer.Json(read) is { } response)
                {
                    (response.CorrelationId, response.ResponseServerName) = (id, answer.Responder);
                    responses.Add(response);
                }
            }
            catch (RedmuxDecodeException error)
            {
                Log.Unreadable(_logger, id, answer.Responder, error);
            }
        }
        GatherEnd end = gather.End!;
        if (end.Reason == GatherReason.NoResponders) { Log.Nobody(_logger, type, id); }
        Log.Ended(_logger, type, id, end.Reason, responses.Count, end.Expected);
        return new(responses, end);
    }

    /// <summary>The server for a request: any that is there.</summary>
    private RedmuxClient Asked()
    {
        if (_clients.Length == 1) { return _clients[0]; }
        RedmuxClient[] online = [.. _clients.Where(client => client.State == RedmuxState.Online)];
        return online.Length > 0 ? online[Random.Shared.Next(online.Length)] : _clients[0];
    }

    private static string WordOf(MessagingWire wire) => wire == MessagingWire.Redmux ? "native" : "messaging-buffer";

    // --- handling

    /// <inheritdoc/>
    public Task SubscribeRequestAsync<TRequest>(Func<string, TRequest, CancellationToken, Task<ResponseBase?>> handler, CancellationToken ct = default) where TRequest : RequestBase
    {
        ArgumentNullException.ThrowIfNull(handler);
        JsonTypeInfo<TRequest> read = _bodies.TypeOf<TRequest>();
        return ServeAsync(Bodies.NameOf(typeof(TRequest)), async work =>
        {
            TRequest asked = work.Request.Json(read) ?? throw new JsonException($"a request of {work.Request.Service} is null");
            if (await handler(work.Request.Id, asked, work.Request.CancellationToken).ConfigureAwait(false) is { } response) { Answer(work, response); }
        }, ct);
    }

    /// <inheritdoc/>
    public Task SubscribeRequestAsync<TRequest>(Func<string, TRequest, Task> handler, CancellationToken ct = default) where TRequest : RequestBase
    {
        ArgumentNullException.ThrowIfNull(handler);
        return SubscribeRequestAsync<TRequest>(async (id, request, _) =>
        {
            await handler(id, request).ConfigureAwait(false);
            return null;
        }, ct);
    }

    /// <inheritdoc/>
    public Task SubscribeAnyRequestAsync(Func<ReceivedEventArgs, Task> handler, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(handler);
        return ServeAsync(All, work =>
        {
            Request request = work.Request;
            string channel = work.Wire == MessagingWire.Redmux ? request.Service : $"Request:{request.Id}:{request.Service}";
            ReceivedEventArgs received = new(channel, request.Id, request.Service, request.Text(), request.CancellationToken);
            RequestReceived?.Invoke(this, received);
            return handler(received);
        }, ct);
    }

    /// <inheritdoc/>
    public Task SubscribeAnyRequestAsync(EventHandler<ReceivedEventArgs> handler, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(handler);
        return SubscribeAnyRequestAsync(received =>
        {
            handler(this, received);
            return Task.CompletedTask;
        }, ct);
    }

    /// <inheritdoc/>
    public async Task SubscribeHandlersAsync(CancellationToken ct = default)
    {
        foreach (var (type, subscribe) in Handlers)
        {
            if (!_served.ContainsKey(type)) { await subscribe(ct).ConfigureAwait(false); }
        }
    }

    private async Task ServeAsync(string type, Func<InWork, Task> handler, CancellationToken ct)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        TaskCompletionSource<List<Responder>> serving = new(TaskCreationOptions.RunContinuationsAsynchronously);
        if (!_served.TryAdd(type, serving.Task)) { throw new SubscriptionException(type == All ? "all types have a handler here" : $"{type} has a handler here"); }
        List<Responder> responders = [];
        try
        {
            foreach (RedmuxClient client in _clients)
            {
                foreach (MessagingWire wire in _wires)
                {
                    RespondOptions options = new() { Concurrency = _options.Concurrency, CatchAll = type == All ? true : null, ["wire"] = WordOf(wire), ["timeout"] = $"{Math.Clamp((uint)_options.Timeout, 1, 86_400_000)}ms" };
                    // What reaches several responders of an instance, over several servers, is handled once.
                    if (_clients.Length > 1) { options["once"] = _word; }
                    responders.Add(await client.RespondAsync(type, request => WorkAsync(new(request, wire, type), handler), options, ct).ConfigureAwait(false));
                }
            }
            serving.SetResult(responders);
        }
        catch (Exception error)
        {
            _served.TryRemove(new(type, serving.Task)); // not that of somebody who came since
            serving.SetResult([]);
            await Task.WhenAll(responders.Select(responder => responder.DisposeAsync().AsTask())).ConfigureAwait(false);
            if (error is RedmuxStateException { Kind: "already_subscribed" or "conflict" }) { throw new SubscriptionException(error.Message, error); }
            throw;
        }
    }

    private async ValueTask<Reply?> WorkAsync(InWork work, Func<InWork, Task> handler)
    {
        Request request = work.Request;
        _inWork[request.Id] = work;
        _inside.Value = work;
        try
        {
            await handler(work).ConfigureAwait(false);
            return null; // what it said was sent when it said it
        }
        catch (Exception error) when (work.Wire == MessagingWire.MessagingBuffer && error is not RedmuxRemoteException && !request.CancellationToken.IsCancellationRequested)
        {
            Log.HandlerFailed(_logger, request.Service, request.Id, error);
            throw new RedmuxRemoteException(error.GetType().Name, error.Message);
        }
        finally
        {
            work.Ended = true;
            _inWork.TryRemove(new(request.Id, work));
        }
    }

    /// <inheritdoc/>
    public async Task<bool> PublishResponseAsync(string correlationId, ResponseBase response)
    {
        ArgumentNullException.ThrowIfNull(correlationId);
        ArgumentNullException.ThrowIfNull(response);
        // Two handlers may work on the same request, one of its type and one of all.
        InWork? work = _inside.Value is { Ended: false } own && own.Request.Id == correlationId ? own : _inWork.GetValueOrDefault(correlationId);
        if (work is not null) { return Answer(work, response); }
        if (!_wires.Contains(MessagingWire.MessagingBuffer))
        {
            Log.NotInWork(_logger, correlationId);
            return false;
        }
        // Its handler has ended. On this wire a late response is like any other.
        byte[] body = _bodies.Write(response.With(correlationId, response.ResponseServerName ?? Environment.MachineName));
        long[] heard = await Task.WhenAll(_clients.Select(client => client.PublishAsync($"Response:{correlationId}", body).AsTask())).ConfigureAwait(false);
        if (heard.Sum() != 1) { Log.Heard(_logger, correlationId, heard.Sum()); }
        return heard.Sum() > 0;
    }

    private bool Answer(InWork work, ResponseBase response) =>
        // The library writes whose it is. A request on the old wire has one response.
        work.Request.Answer(_bodies.Write(response.With(null, null)), last: work.Wire == MessagingWire.MessagingBuffer);

    /// <summary>A request, the wire that it came in, and what its handler handles.</summary>
    private sealed class InWork(Request request, MessagingWire wire, string type)
    {
        private volatile bool _ended;

        internal Request Request { get; } = request;

        internal MessagingWire Wire { get; } = wire;

        internal string Type { get; } = type;

        /// <summary>Whether its handler has ended.</summary>
        internal bool Ended { get => _ended; set => _ended = value; }
    }

    // --- the end

    /// <inheritdoc/>
    public Task UnsubscribeRequestAsync<TRequest>(CancellationToken ct = default) where TRequest : RequestBase => LeaveAsync(Bodies.NameOf(typeof(TRequest)), ct);

    /// <inheritdoc/>
    public Task UnsubscribeAnyRequestAsync(CancellationToken ct = default) => LeaveAsync(All, ct);

    private async Task LeaveAsync(string type, CancellationToken ct)
    {
        if (!_served.TryRemove(type, out Task<List<Responder>>? serving)) { return; }
        List<Responder> responders;
        try
        {
            responders = await serving.WaitAsync(ct).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            _ = CloseAsync(serving); // as soon as they serve: nobody else can take them back
            throw;
        }
        Task draining = Task.WhenAll(responders.Select(responder => responder.DrainAsync(Timeout.InfiniteTimeSpan, ct).AsTask()));
        // A handler would wait for itself.
        if (_inside.Value?.Type != type) { await draining.ConfigureAwait(false); }
    }

    /// <summary>Takes no more requests of any type, and waits until those in work have finished.</summary>
    /// <param name="ct">Ends the wait.</param>
    public Task DrainAsync(CancellationToken ct = default) => Task.WhenAll(_served.Keys.Select(type => LeaveAsync(type, ct)));

    /// <summary>Closes: handlers are cancelled and awaited, and connections that it made are gone. <see cref="DrainAsync"/> lets handlers finish before.</summary>
    public async ValueTask DisposeAsync()
    {
        await Task.WhenAll(Close()).ConfigureAwait(false);
        foreach (RedmuxClient client in _owned ? _clients : [])
        {
            await client.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Closes: handlers are cancelled, and connections that it made are gone.</summary>
    public void Dispose()
    {
        Close();
        foreach (RedmuxClient client in _owned ? _clients : [])
        {
            client.Dispose();
        }
    }

    private Task[] Close()
    {
        _disposed = 1;
        return [.. _served.Keys.Select(type => _served.TryRemove(type, out Task<List<Responder>>? serving) ? CloseAsync(serving) : Task.CompletedTask)];
    }

    /// <summary>All at once: nobody waits for the handlers of the one before.</summary>
    private static async Task CloseAsync(Task<List<Responder>> serving) =>
        await Task.WhenAll((await serving.ConfigureAwait(false)).Select(responder => responder.DisposeAsync().AsTask())).ConfigureAwait(false);
}
