namespace Redmux;

public sealed partial class Subscription
{
    // The copy of a block: its records from _at on are still to be read. Few records have an array that stays.
    private RawRecord[] _records = [];
    private RawRecord[]? _few;
    private byte[] _data = [];
    private int _at, _count, _taking;

    // The last message's name and its number: the next one's, most often.
    private string _name = "";
    private ulong _number;

    private int? _over; // the status of its end, once that was read
    private bool _served, _called; // served by the reader's thread, which then serves the others first; called: its callbacks read it

    /// <summary>The messages, in their order. Losses and drops are logged; <see cref="EventsAsync"/> tells them. It ends when the
    /// subscription is closed. A loop may be left and another begun: nothing is lost in between.</summary>
    /// <param name="cancellationToken">Ends the wait for the next one.</param>
    /// <exception cref="RedmuxSlowConsumerException">Its inbox was full and its policy is to close.</exception>
    public IAsyncEnumerator<Message> GetAsyncEnumerator(CancellationToken cancellationToken = default) => new Enumerator(Free(), cancellationToken);

    /// <summary>The next message, when it comes.</summary>
    /// <param name="ct">Ends the wait; no message is lost.</param>
    /// <exception cref="RedmuxClosedException">The stream is over.</exception>
    /// <exception cref="ObjectDisposedException">It was disposed before.</exception>
    public ValueTask<Message> ReadAsync(CancellationToken ct = default)
    {
        ObjectDisposedException.ThrowIf(_source.Closed, Free());
        return Pop() ? new(Here) : ReadSlowly(ct);
    }

    /// <summary>The next message, if it is here already.</summary>
    /// <param name="message">It.</param>
    /// <exception cref="RedmuxClosedException">The stream is over.</exception>
    /// <exception cref="ObjectDisposedException">It was disposed before.</exception>
    public bool TryRead(out Message message)
    {
        while (true)
        {
            ObjectDisposedException.ThrowIf(_source.Closed, Free());
            bool here = Pop();
            message = here ? Here : default;
            if (here) { return true; }
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
        _ = Free();
        try
        {
            do
            {
                while (Next(out IEvent? other)) { yield return other ?? Here; }
            }
            while (await MoreAsync(_hop, ct).ConfigureAwait(false));
        }
        finally
        {
            if (_core.OnReader) { await Task.Yield(); }
        }
    }

    /// <summary>Itself, where its callbacks do not read it: a second reader would take messages from them, or their turn.</summary>
    private Subscription Free() => _called && !_source.Closed ? throw Failure.Of(Native.ErrBusy, "its callbacks read it") : this;

    /// <summary>Goes to the next record of the copy: what it tells, or null where it is a message, which is <see cref="Here"/> then. False: it
    /// is used up, and then <see cref="MoreAsync"/>.</summary>
    private bool Next(out IEvent? other)
    {
        other = null;
        while (_at < _count && !_source.Closed)
        {
            ref readonly RawRecord record = ref _records[_at++];
            if (record.Kind == Native.Message) { return true; }
            other = Decode.Event(record, _data);
            if (other is End end)
            {
                _over = end.Status == Native.ErrClosed ? Native.Ok : end.Status;
                other = null;
            }
            else if (other is not null) { return true; }
        }
        return false;
    }

    /// <summary>Goes to the next message of the copy; what is no message is logged.</summary>
    private bool Pop()
    {
        while (Next(out IEvent? other))
        {
            if (other is null) { return true; }
            Say(other);
        }
        return false;
    }

    /// <summary>The message that <see cref="Next"/> went to.</summary>
    private Message Here
    {
        get
        {
            ref readonly RawRecord record = ref _records[_at - 1];
            if (record.Number != _number || _number == 0)
            {
                _name = _core.Names.Of(record.Number, record.Name(_data));
                _number = record.Number;
            }
            return new Message(_name, new ReadOnlyMemory<byte>(_data, (int)record.DataOff, (int)record.DataLen), (record.Flags & Native.Flag) != 0 ? _pattern : null, record.Aux);
        }
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

    /// <summary>Copies the next block. False: nothing is here. Two at once would give one array back twice, and so read each other's records.</summary>
    private bool Take()
    {
        if (Interlocked.Exchange(ref _taking, 1) != 0) { throw Failure.Of(Native.ErrBusy, "read by two at once"); }
        try
        {
            return Copy();
        }
        finally
        {
            Volatile.Write(ref _taking, 0);
        }
    }

    /// <summary>Nothing of the library's is held afterwards.</summary>
    private unsafe bool Copy()
    {
        RawBlock block = default;
        int status = Native.redmux_inbox_take(_source.Inbox, 0, &block);
        if (status == Native.ErrTimeout) { return false; }
        if (status == Native.ErrClosed)
        {
            _over ??= Native.Ok;
            return true;
        }
        if (status != Native.Ok) { throw Failure.Of(status, "read"); }
        int count = (int)block.Count;
        if (_records.Length > ClientCore.Few) { ArrayPool<RawRecord>.Shared.Return(_records); }
        _records = count <= ClientCore.Few ? _few ??= new RawRecord[ClientCore.Few] : ArrayPool<RawRecord>.Shared.Rent(count);
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
            ct.ThrowIfCancellationRequested(); // also where messages wait
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

    /// <summary>Goes to the next message, when it comes. False: the stream is over.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))] private async ValueTask<bool> PopAsync(bool hop, CancellationToken ct)
    {
        while (await MoreAsync(hop, ct).ConfigureAwait(false))
        {
            if (Pop()) { return true; }
        }
        return false;
    }

    // A task and no pooled object: programs block on it, and one that is pooled would be given back while it runs.
    private async ValueTask<Message> ReadSlowly(CancellationToken ct) =>
        await PopAsync(hop: true, ct).ConfigureAwait(false) ? Here : throw Failure.Of(Native.ErrClosed, "read", "the subscription is closed");

    /// <summary>The end was read: throws, once, where it was not the application that closed.</summary>
    private void Finish()
    {
        if (_over is { } status && status != Native.Ok)
        {
            _over = Native.Ok;
            throw Failure.Of(status, "subscription", status == Native.ErrOverflow ? "its inbox was full and its policy is to close" : "");
        }
    }

    private sealed class Enumerator(Subscription subscription, CancellationToken ct) : IAsyncEnumerator<Message>, IValueTaskSource
    {
        public Message Current => subscription.Here;

        public ValueTask<bool> MoveNextAsync() => subscription.Pop() ? new(true) : subscription.PopAsync(subscription._hop, ct);

        /// <summary>What is behind the loop is anybody's program, and does not belong on the reader's thread.</summary>
        public ValueTask DisposeAsync() => subscription._core.OnReader ? new(this, 0) : ValueTask.CompletedTask;

        // Never there yet: what is over before it is awaited is gone on from in the same thread.
        ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => ValueTaskSourceStatus.Pending;

        void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) => ThreadPool.QueueUserWorkItem(continuation, state, preferLocal: false);

        void IValueTaskSource.GetResult(short token) { }
    }
}
