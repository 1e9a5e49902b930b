namespace Redmux;

/// <summary>One ordered stream of messages from a set of channels that may change, or from one pattern: <c>await foreach</c>,
/// <see cref="ReadAsync"/>, <see cref="TryRead"/>, or <see cref="EventsAsync"/> with losses and drops in their places. It has one
/// reader at a time; everything else may be used from any thread.</summary>
public sealed class Subscription : IAsyncEnumerable<Message>, IAsyncDisposable, IDisposable
{
    private const int Few = 4;

    private readonly RedmuxClient _client;
    private readonly ClientCore _core;
    private readonly Source _source;
    private readonly string? _pattern;
    private readonly bool _hop;

    // The copy of a block: its records from _at on are still to be read. Few records have an array that stays.
    private RawRecord[] _records = [];
    private RawRecord[]? _few;
    private byte[] _data = [];
    private int _at, _count;

    // The last message's name and its number: the next one's, most often.
    private string _name = "";
    private ulong _number;

    private Message _popped; // what the loop has now
    private int? _over; // the status of its end, once that was read
    private bool _served; // by the reader's thread, which then serves the others first

    internal unsafe Subscription(RedmuxClient client, SubscribeOptions options, string? pattern)
    {
        ArgumentNullException.ThrowIfNull(options);
        (_client, _core, _pattern, _hop) = (client, client.Core, pattern, options.RunContinuationsAsynchronously);
        try
        {
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
        }
        catch
        {
            GC.SuppressFinalize(this);
            throw;
        }
        _core.Know(_source);
    }

    /// <summary>Dropped without a dispose: closes, and says so.</summary>
    ~Subscription()
    {
        if (_source is not null && _source.Close())
        {
            ThreadPool.UnsafeQueueUserWorkItem(static sub => Log.NotDisposed(sub._core.Logger, sub.ToString()), this, preferLocal: false);
        }
    }

    // --- its channels

    /// <summary>Adds channels, and waits until Redis has them.</summary>
    /// <param name="channels">Which.</param>
    /// <param name="timeout">How long; null is <see cref="RedmuxOptions.Timeout"/>. They stay wanted beyond it.</param>
    /// <param name="ct">Ends the wait.</param>
    /// <exception cref="RedmuxRefusedException">Redis refuses some: they are left out, and the others are active.</exception>
    public unsafe ValueTask AddAsync(IEnumerable<string> channels, TimeSpan? timeout = null, CancellationToken ct = default)
    {
        if (ct.IsCancellationRequested) { return ValueTask.FromCanceled(ct); }
        return WithoutRefused(Change(&Native.redmux_subscription_add, "add", channels, timeout, ct));
    }

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
        using NameList names = new(channels as IReadOnlyCollection<string> ?? [.. channels]);
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

    // --- reading

    /// <summary>The messages, in their order. Losses and drops are logged; <see cref="EventsAsync"/> tells them. It ends when the
    /// subscription is closed. A loop may be left and another begun: nothing is lost in between.</summary>
    /// <param name="cancellationToken">Ends the wait for the next one.</param>
    /// <exception cref="RedmuxSlowConsumerException">Its inbox was full and its policy is to close.</exception>
    public IAsyncEnumerator<Message> GetAsyncEnumerator(CancellationToken cancellationToken = default) => new Enumerator(this, cancellationToken);

    /// <summary>The next message, when it comes.</summary>
    /// <param name="ct">Ends the wait; no message is lost.</param>
    /// <exception cref="RedmuxClosedException">The stream is over.</exception>
    /// <exception cref="ObjectDisposedException">It was disposed before.</exception>
    public ValueTask<Message> ReadAsync(CancellationToken ct = default)
    {
        ObjectDisposedException.ThrowIf(_source.Closed, this);
        return Pop(out Message message) ? new(message) : ReadSlowly(ct);
    }

    /// <summary>The next message, if it is here already.</summary>
    /// <param name="message">It.</param>
    /// <exception cref="RedmuxClosedException">The stream is over.</exception>
    /// <exception cref="ObjectDisposedException">It was disposed before.</exception>
    public bool TryRead(out Message message)
    {
        while (true)
        {
            ObjectDisposedException.ThrowIf(_source.Closed, this);
            if (Pop(out message)) { return true; }
            if (_over is not null)
            {
                Finish();
                throw Failure.Of(Native.ErrClosed, "read", "the subscription is closed");
            }
            if (!Take()) { return false; }
        }
    }

    /// <summary>The same stream with <see cref="Message"/>, <see cref="Lost"/>, <see cref="Active"/>, <see cref="Redmux.Dropped"/> and
    /// <see cref="Refused"/>, each where it happened.</summary>
    /// <param name="ct">Ends the wait for the next one.</param>
    /// <example><code>
    /// await foreach (var happened in sub.EventsAsync())
    /// {
    ///     switch (happened)
    ///     {
    ///         case Message message: Console.WriteLine(message.Text()); break;
    ///         case Lost lost: Console.WriteLine($"from here messages may be missing: {lost.Text}"); break;
    ///         case Active { Channel: null }: Console.WriteLine("to here"); break;
    ///     }
    /// }
    /// </code></example>
    public async IAsyncEnumerable<IEvent> EventsAsync([EnumeratorCancellation] CancellationToken ct = default)
    {
        try
        {
            do
            {
                while (Next(out Message message, out IEvent? other))
                {
                    yield return other ?? message;
                }
            }
            while (await MoreAsync(_hop, ct).ConfigureAwait(false));
        }
        finally
        {
            if (_core.OnReader) { await Hop.ConfigureAwait(false); }
        }
    }

    /// <summary>The next record of the copy. False: it is used up, and then <see cref="MoreAsync"/>.</summary>
    private bool Next(out Message message, out IEvent? other)
    {
        message = default;
        other = null;
        while (_at < _count && !_source.Closed)
        {
            ref readonly RawRecord record = ref _records[_at++];
            if (record.Kind == Native.Message)
            {
                message = Decoded(record);
                return true;
            }
            other = Decode.Event(record, _data);
            if (other is End end)
            {
                _over = end.Status == Native.ErrClosed ? Native.Ok : end.Status;
                other = null;
            }
            else if (other is not null)
            {
                return true;
            }
        }
        return false;
    }

    /// <summary>The next message of the copy; what is no message is logged.</summary>
    private bool Pop(out Message message)
    {
        if (_at < _count && _records[_at].Kind == Native.Message && !_source.Closed)
        {
            message = Decoded(_records[_at++]);
            return true;
        }
        while (Next(out message, out IEvent? other))
        {
            if (other is null) { return true; }
            Say(other);
        }
        return false;
    }

    private Message Decoded(in RawRecord record)
    {
        if (record.Number != _number || _number == 0)
        {
            _name = _core.Names.Of(record.Number, record.Name(_data));
            _number = record.Number;
        }
        return new Message(_name, new ReadOnlyMemory<byte>(_data, (int)record.DataOff, (int)record.DataLen), (record.Flags & Native.Flag) != 0 ? _pattern : null, record.Aux);
    }

    private void Say(IEvent happened)
    {
        switch (happened)
        {
            case Lost lost: Log.Lost(_core.Logger, lost.Text); break;
            case Dropped dropped: Log.Dropped(_core.Logger, dropped.Count); break;
            case Refused refused: Log.Refused(_core.Logger, refused.Channel); break;
            case Active { Channel: null } active: Log.ActiveAgain(_core.Logger, active.Outage); break;
        }
    }

    /// <summary>Copies the next block; nothing of the library's is held afterwards. False: nothing is here.</summary>
    private unsafe bool Take()
    {
        RawBlock block = default;
        int status = Native.redmux_inbox_take(_source.Inbox, 0, &block);
        if (status == Native.ErrTimeout) { return false; }
        if (status == Native.ErrClosed)
        {
            _over ??= Native.Ok;
            return true;
        }
        if (status != Native.Ok)
        {
            throw Failure.Of(status, "read", status == Native.ErrBusy ? "somebody else reads this subscription; it has one reader at a time" : "");
        }
        int count = (int)block.Count;
        if (_records.Length > Few) { ArrayPool<RawRecord>.Shared.Return(_records); }
        _records = count <= Few ? _few ??= new RawRecord[Few] : ArrayPool<RawRecord>.Shared.Rent(count);
        block.AllRecords.CopyTo(_records);
        // The library keeps blocks under 64 KiB, unless one record alone is larger.
        _data = GC.AllocateUninitializedArray<byte>((int)block.DataLen);
        block.AllData.CopyTo(_data);
        Native.redmux_block_release(&block);
        (_at, _count) = (0, count);
        if (RedmuxTelemetry.Received.Enabled || RedmuxTelemetry.Missing.Enabled) { Count(); }
        return true;
    }

    private void Count()
    {
        foreach (ref readonly RawRecord record in _records.AsSpan(0, _count))
        {
            RedmuxTelemetry.Received.Add(record.Kind == Native.Message ? 1 : 0);
            RedmuxTelemetry.Missing.Add(record.Kind == Native.Dropped ? (long)record.Number : 0);
        }
    }

    /// <summary>Waits until there is a block, and copies it. False: the stream is over.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))] private async ValueTask<bool> MoreAsync(bool hop, CancellationToken ct)
    {
        while (!_source.Closed)
        {
            if (_over is not null)
            {
                Finish();
                return false;
            }
            bool onReader = _core.OnReader;
            // On the reader's thread one block at a time, or a flood would starve everybody else. What is still in the inbox, or comes,
            // is in the client's ready list, and so this goes on when the others were served.
            if (!(onReader && _served) && Take())
            {
                _served = onReader;
                return true;
            }
            _served = false;
            await _source.Signal.WaitAsync(hop, ct).ConfigureAwait(false);
        }
        return false;
    }

    /// <summary>The next message, when it comes, in <see cref="_popped"/>. False: the stream is over.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))] private async ValueTask<bool> PopAsync(bool hop, CancellationToken ct)
    {
        while (await MoreAsync(hop, ct).ConfigureAwait(false))
        {
            if (Pop(out _popped)) { return true; }
        }
        return false;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))] private async ValueTask<Message> ReadSlowly(CancellationToken ct) =>
        await PopAsync(hop: true, ct).ConfigureAwait(false) ? _popped : throw Failure.Of(Native.ErrClosed, "read", "the subscription is closed");

    /// <summary>The end was read: throws, once, where it was not the application that closed.</summary>
    private void Finish()
    {
        if (_over is { } status && status != Native.Ok)
        {
            _over = Native.Ok;
            throw Failure.Of(status, "subscription", status == Native.ErrOverflow ? "its inbox was full and its policy is to close" : "");
        }
    }

    /// <summary>Lets go of the reader's thread.</summary>
    private static Task Hop => Task.Run(static () => { });

    private sealed class Enumerator(Subscription subscription, CancellationToken ct) : IAsyncEnumerator<Message>
    {
        public Message Current => subscription._popped;

        public ValueTask<bool> MoveNextAsync() => subscription.Pop(out subscription._popped) ? new(true) : subscription.PopAsync(subscription._hop, ct);

        /// <summary>What is behind the loop is anybody's program, and does not belong on the reader's thread.</summary>
        public ValueTask DisposeAsync() => subscription._core.OnReader ? new(Hop) : ValueTask.CompletedTask;
    }

    // --- callbacks

    internal Subscription Begin(SubscribeOptions options)
    {
        if (options is not { OnMessage: null, OnLost: null, OnActive: null, OnDropped: null }) { _core.Calls.Run(this, () => CallAsync(options)); }
        return this;
    }

    private async Task CallAsync(SubscribeOptions options)
    {
        try
        {
            do
            {
                while (Next(out Message message, out IEvent? other))
                {
                    try
                    {
                        switch (other)
                        {
                            case null when options.OnMessage is { } onMessage: await onMessage(message).ConfigureAwait(false); break;
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
