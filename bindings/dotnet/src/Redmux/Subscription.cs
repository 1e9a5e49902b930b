namespace Redmux;

/// <summary>One ordered stream of messages from a set of channels that may change, or from one pattern: <c>await foreach</c>,
/// <see cref="ReadAsync"/>, <see cref="TryRead"/>, or <see cref="EventsAsync"/> with losses and drops in their places. It has one
/// reader at a time; everything else may be used from any thread.</summary>
public sealed partial class Subscription : IAsyncEnumerable<Message>, IAsyncDisposable, IDisposable
{
    private readonly RedmuxClient _client;
    private readonly ClientCore _core;
    private readonly Source _source;
    private readonly string? _pattern;
    private readonly bool _hop;

    internal unsafe Subscription(RedmuxClient client, SubscribeOptions options, string? pattern)
    {
        ArgumentNullException.ThrowIfNull(options);
        (_client, _core, _pattern, _hop) = (client, client.Core, pattern, options.RunContinuationsAsynchronously);
        ObjectDisposedException.ThrowIf(_core.Closed, client);
        _source = new Source(_core, _core.NewInbox(options), &Native.redmux_subscription_close);
        if (pattern is null)
        {
            ulong handle;
            int status = Native.redmux_subscription_new(_core.Handle, _source.Inbox, 0, &handle);
            if (status != Native.Ok)
            {
                _source.Close();
                throw Failure.OfCall(status, "subscribe");
            }
            _source.Handle = handle;
        }
        _core.Know(_source);
    }

    /// <summary>Dropped without a dispose: closes, and says so.</summary>
    ~Subscription() => _source?.Drop(this);

    // --- its channels

    /// <summary>Adds channels, and waits until Redis has them.</summary>
    /// <param name="channels">Which.</param>
    /// <param name="timeout">How long; null is <see cref="RedmuxOptions.Timeout"/>. They stay wanted beyond it.</param>
    /// <param name="ct">Ends the wait.</param>
    /// <exception cref="RedmuxRefusedException">Redis refuses some: they are left out, and the others are active.</exception>
    public unsafe ValueTask AddAsync(IEnumerable<string> channels, TimeSpan? timeout = null, CancellationToken ct = default) =>
        ct.IsCancellationRequested ? ValueTask.FromCanceled(ct) : WithoutRefused(Change(&Native.redmux_subscription_add, "add", channels, timeout, ct));

    /// <summary>Adds a channel, and waits until Redis has it.</summary>
    /// <param name="channel">Which.</param>
    /// <param name="ct">Ends the wait.</param>
    public ValueTask AddAsync(string channel, CancellationToken ct = default) => AddAsync([channel], null, ct);

    /// <summary>Removes channels, and waits until Redis let them go.</summary>
    /// <param name="channels">Which.</param>
    /// <param name="timeout">How long; null is <see cref="RedmuxOptions.Timeout"/>.</param>
    /// <param name="ct">Ends the wait.</param>
    public unsafe ValueTask RemoveAsync(IEnumerable<string> channels, TimeSpan? timeout = null, CancellationToken ct = default) =>
        ct.IsCancellationRequested ? ValueTask.FromCanceled(ct) : Change(&Native.redmux_subscription_remove, "remove", channels, timeout, ct);

    /// <summary>Removes a channel, and waits until Redis let it go.</summary>
    /// <param name="channel">Which.</param>
    /// <param name="ct">Ends the wait.</param>
    public ValueTask RemoveAsync(string channel, CancellationToken ct = default) => RemoveAsync([channel], null, ct);

    /// <summary>Adds channels without waiting.</summary>
    /// <param name="channels">Which.</param>
    public unsafe void Add(params string[] channels) => Change(&Native.redmux_subscription_add, "add", channels);

    /// <summary>Removes channels without waiting.</summary>
    /// <param name="channels">Which.</param>
    public unsafe void Remove(params string[] channels) => Change(&Native.redmux_subscription_remove, "remove", channels);

    /// <summary>Removes every channel; the subscription stays.</summary>
    /// <param name="timeout">How long; null is <see cref="RedmuxOptions.Timeout"/>.</param>
    /// <param name="ct">Ends the wait.</param>
    public unsafe ValueTask ClearAsync(TimeSpan? timeout = null, CancellationToken ct = default) =>
        _client.Ask(&Native.redmux_subscription_clear, _source.Handle, "clear", timeout, ct);

    /// <summary>Waits until every channel, or the pattern, is active or refused.</summary>
    /// <param name="timeout">How long; null is <see cref="RedmuxOptions.Timeout"/>.</param>
    /// <param name="ct">Ends the wait.</param>
    public unsafe ValueTask WaitActiveAsync(TimeSpan? timeout = null, CancellationToken ct = default) =>
        _client.Ask(&Native.redmux_subscription_active, _source.Handle, "wait until active", timeout, ct);

    /// <summary>Unsubscribes; what came until Redis confirmed that can still be read, and then the stream ends.</summary>
    /// <param name="timeout">How long; null is <see cref="RedmuxOptions.Timeout"/>.</param>
    /// <param name="ct">Ends the wait.</param>
    public unsafe ValueTask DrainAsync(TimeSpan? timeout = null, CancellationToken ct = default) =>
        _client.Ask(&Native.redmux_subscription_drain, _source.Handle, "drain", timeout, ct);

    /// <summary>The channels that it has, in no order, or its pattern.</summary>
    public unsafe IReadOnlyCollection<string> Channels => Handed.List(list => Native.redmux_subscription_names(_source.Handle, list), "channels");

    /// <summary>How many messages had no room, so far.</summary>
    public unsafe long Dropped => Handed.Json(text => Native.redmux_inbox_stats(_source.Inbox, text), "dropped").GetProperty("dropped").GetInt64();

    private unsafe ValueTask Change(
        delegate*<ulong, RawBytes*, nuint, ulong, ulong, long, int> function, string verb, IEnumerable<string> channels, TimeSpan? timeout, CancellationToken ct)
    {
        long limit = Duration.Millis(timeout);
        using NameList names = new(channels);
        Operation operation = _core.Rent().Prepare(_client, verb, "");
        int status = _source.Closed ? Native.ErrClosed : function(_source.Handle, names.Names, names.Count, _core.Reply, operation.Token, limit);
        return operation.Begun(status, ct).Nothing;
    }

    /// <summary>The form that nobody waits for: token 0 is nobody's.</summary>
    private unsafe void Change(delegate*<ulong, RawBytes*, nuint, ulong, ulong, long, int> function, string verb, string[] channels)
    {
        using NameList names = new(channels);
        Failure.Check(_source.Closed ? Native.ErrClosed : function(_source.Handle, names.Names, names.Count, _core.Reply, 0, 0), verb);
    }

    private async ValueTask WithoutRefused(ValueTask add)
    {
        try
        {
            await add.ConfigureAwait(false);
        }
        catch (RedmuxRefusedException error) when (error.Names.Count > 0 && !_source.Closed)
        {
            Remove([.. error.Names]);
            throw;
        }
    }

    internal ValueTask OpenPattern(string pattern, TimeSpan? timeout, CancellationToken ct)
    {
        long limit = Duration.Millis(timeout);
        Operation operation = _core.Rent().Prepare(_client, "subscribe to", pattern);
        return operation.Begun(OpenPattern(pattern, operation.Token, limit), ct).Nothing;
    }

    internal void OpenPattern(string pattern) => Failure.Check(OpenPattern(pattern, 0, 0), "subscribe");

    private unsafe int OpenPattern(string pattern, ulong token, long limit)
    {
        byte[] bytes = ChannelName.ToBytes(pattern);
        ulong handle = 0;
        fixed (byte* at = bytes)
        {
            int status = Native.redmux_subscription_new_pattern(_core.Handle, _source.Inbox, at, (nuint)bytes.Length, 0, _core.Reply, token, limit, &handle);
            _source.Handle = handle;
            return status;
        }
    }

    // --- callbacks

    internal Subscription Begin(SubscribeOptions options)
    {
        _called = options is not { OnMessage: null, OnLost: null, OnActive: null, OnDropped: null };
        if (_called) { _core.Calls.Run(this, () => CallAsync(options)); }
        return this;
    }

    private async Task CallAsync(SubscribeOptions options)
    {
        try
        {
            do
            {
                while (Next(out IEvent? other))
                {
                    try
                    {
                        switch (other)
                        {
                            case null when options.OnMessage is { } onMessage: await onMessage(Here).ConfigureAwait(false); break;
                            case Lost lost when options.OnLost is { } onLost: onLost(lost); break;
                            case Active active when options.OnActive is { } onActive: onActive(active); break;
                            case Dropped dropped when options.OnDropped is { } onDropped: onDropped(dropped); break;
                            case not null: Say(other); break;
                        }
                    }
                    catch (Exception error)
                    {
                        Log.CallbackFailed(_core.Logger, error);
                    }
                }
            }
            while (await MoreAsync(hop: true, CancellationToken.None).ConfigureAwait(false));
        }
        catch (Exception error)
        {
            Log.CallbacksEnded(_core.Logger, error);
        }
    }

    // --- the end

    /// <summary>Whether somebody waits for the next message; for tests.</summary>
    internal bool IsRead => _source.Signal.Waiting;

    /// <summary>Closes at once; whoever reads comes to the end of the stream.</summary>
    public void Dispose()
    {
        _source.Close();
        GC.SuppressFinalize(this);
    }

    /// <summary>Closes at once; whoever reads comes to the end of the stream.</summary>
    public ValueTask DisposeAsync() { Dispose(); return ValueTask.CompletedTask; }

    /// <inheritdoc/>
    public override string ToString() => $"redmux subscription to {(_pattern is null ? "channels" : $"'{_pattern}'")}{(_source.Closed ? ": closed" : "")}";
}
