namespace Redmux;

/// <summary>One message to come: await it. It ends once, with its payload or with an exception.</summary>
public sealed class Promise
{
    private readonly Waiting _waiting;

    internal Promise(RedmuxClient client, string name)
    {
        (Name, _waiting) = (name, new(client, name));
        client.Core.Tokens.Add(_waiting);
    }

    internal ulong Token => _waiting.Token;

    internal Task InEffect => _waiting.Active.Task;

    /// <summary>The channel that keeps it.</summary>
    public string Name { get; }

    internal void Begun(int status)
    {
        if (status != Native.Ok)
        {
            _waiting.Client.Core.Tokens.Remove(Token);
            throw Failure.OfCall(status, $"promise '{Name}'");
        }
    }

    /// <summary>Waits for its message.</summary>
    /// <param name="ct">Cancels the promise itself.</param>
    /// <exception cref="RedmuxTimeoutException">Nobody kept it in time.</exception>
    /// <exception cref="RedmuxLinkLostException">The connection was lost while it waited.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled, or its set was cleared.</exception>
    public async Task<ReadOnlyMemory<byte>> WaitAsync(CancellationToken ct = default)
    {
        using (ct.UnsafeRegister(static (promise, ct) => ((Promise)promise!).EndBy(ct), this))
        {
            return await _waiting.Message.Task.ConfigureAwait(false);
        }
    }

    /// <summary>Makes <c>await promise</c> wait for its message.</summary>
    public TaskAwaiter<ReadOnlyMemory<byte>> GetAwaiter() => _waiting.Message.Task.GetAwaiter();

    /// <summary>Ends it with <see cref="OperationCanceledException"/>; harmless when it ended before.</summary>
    public void Cancel() => EndBy(default);

    internal void EndBy(CancellationToken ct)
    {
        ClientCore core = _waiting.Client.Core;
        if (core.Tokens.Remove(Token) is not null)
        {
            _ = Native.redmux_inbox_cancel(core.Reply, Token);
            _waiting.Fail(new OperationCanceledException($"promise '{Name}' was cancelled", ct));
        }
    }

    /// <summary>What the records of a promise go to. It keeps the client from being collected while somebody may be served.</summary>
    private sealed class Waiting(RedmuxClient client, string name) : Pending
    {
        internal readonly RedmuxClient Client = client;
        internal readonly TaskCompletionSource Active = new(TaskCreationOptions.RunContinuationsAsynchronously);
        internal readonly TaskCompletionSource<ReadOnlyMemory<byte>> Message = new(TaskCreationOptions.RunContinuationsAsynchronously);

        internal override void Note(in RawRecord record, ReadOnlySpan<byte> data)
        {
            if (record.Kind == Native.Active && (record.Flags & Native.Flag) != 0) { Active.TrySetResult(); }
        }

        internal override void Ended(in RawRecord record, ReadOnlySpan<byte> data)
        {
            if (record.Status == Native.Ok)
            {
                Active.TrySetResult();
                Message.TrySetResult(record.Data(data).ToArray());
            }
            else { Fail(Failure.Of(record.Status, $"promise '{name}'", Encoding.UTF8.GetString(record.Extra(data)))); }
        }

        internal override void Abandon() => Fail(Failure.Of(Native.ErrClosed, $"promise '{name}'"));

        internal void Fail(Exception error)
        {
            Active.TrySetException(error);
            Message.TrySetException(error);
            // Nobody has to look at a promise that was not kept.
            _ = Active.Task.Exception;
            _ = Message.Task.Exception;
        }
    }
}

/// <summary>A set of promises under a prefix: one subscription of Redis, however many promises.</summary>
public sealed unsafe class Promises : IAsyncDisposable, IDisposable
{
    private readonly RedmuxClient _client;
    private readonly Source _source;

    internal Promises(RedmuxClient client, string prefix)
    {
        (Prefix, _client) = (prefix, client);
        byte[] bytes = ChannelName.ToBytes(prefix);
        ulong handle = 0;
        fixed (byte* at = bytes)
        {
            Failure.Check(client.Core.Closed ? Native.ErrClosed : Native.redmux_promises_new(client.Core.Handle, client.Core.Reply, at, (nuint)bytes.Length, 0, &handle), $"promises '{prefix}'");
        }
        _source = new Source(client.Core, 0, &Native.redmux_promises_close) { Handle = handle };
        client.Core.Know(_source);
    }

    /// <summary>Dropped without a dispose: closes, and says so.</summary>
    ~Promises() => _source?.Drop(this);

    /// <summary>What the names of its promises begin with.</summary>
    public string Prefix { get; }

    /// <summary>Waits until a promise can be made.</summary>
    /// <param name="timeout">How long; null is <see cref="RedmuxOptions.Timeout"/>.</param>
    /// <param name="ct">Ends the wait.</param>
    public ValueTask WaitActiveAsync(TimeSpan? timeout = null, CancellationToken ct = default) =>
        _client.Ask(&Native.redmux_promises_active, _source.Handle, "wait for the promises", timeout, ct);

    /// <summary>A promise on prefix and suffix, in effect at once; costs no traffic.</summary>
    /// <param name="suffix">What its name ends with.</param>
    /// <param name="timeout">How long it is waited for; null is <see cref="RedmuxOptions.Timeout"/>.</param>
    /// <exception cref="RedmuxInactiveException">Not at this moment: <see cref="WaitActiveAsync"/>, or <see cref="NewLater"/>.</exception>
    public Promise New(string suffix, TimeSpan? timeout = null) => Make(suffix, timeout, null, later: false);

    /// <summary>A promise that is made as soon as the set is active.</summary>
    /// <param name="suffix">What its name ends with.</param>
    /// <param name="timeout">How long it is waited for, from then on; null is <see cref="RedmuxOptions.Timeout"/>.</param>
    /// <param name="wait">How long until it is made; null is <see cref="RedmuxOptions.Timeout"/>.</param>
    public Promise NewLater(string suffix, TimeSpan? timeout = null, TimeSpan? wait = null) => Make(suffix, timeout, wait, later: true);

    private Promise Make(string suffix, TimeSpan? timeout, TimeSpan? wait, bool later)
    {
        byte[] bytes = ChannelName.ToBytes(suffix);
        long limit = Duration.Millis(timeout), until = Duration.Millis(wait);
        ClientCore core = _client.Core;
        Promise promise = new(_client, Prefix + suffix);
        fixed (byte* at = bytes)
        {
            promise.Begun(
                _source.Closed ? Native.ErrClosed
                : later ? Native.redmux_promises_make_later(_source.Handle, at, (nuint)bytes.Length, core.Reply, promise.Token, limit, until)
                : Native.redmux_promises_make(_source.Handle, at, (nuint)bytes.Length, core.Reply, promise.Token, limit));
        }
        return promise;
    }

    /// <summary>Ends every promise of the set with <see cref="OperationCanceledException"/>; the set goes on.</summary>
    /// <returns>How many.</returns>
    public int Clear()
    {
        nuint count;
        Failure.Check(Native.redmux_promises_clear(_source.Handle, &count), "clear");
        return (int)count;
    }

    /// <summary>Closes; its promises end with <see cref="RedmuxClosedException"/>.</summary>
    public void Dispose()
    {
        _source.Close();
        GC.SuppressFinalize(this);
    }

    /// <summary>Closes; its promises end with <see cref="RedmuxClosedException"/>.</summary>
    public ValueTask DisposeAsync() { Dispose(); return ValueTask.CompletedTask; }

    /// <inheritdoc/>
    public override string ToString() => $"redmux promises of '{Prefix}'{(_source.Closed ? ": closed" : "")}";
}
