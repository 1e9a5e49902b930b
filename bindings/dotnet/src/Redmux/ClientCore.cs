namespace Redmux;

/// <summary>The native client and its reader: one background thread that watches a dup of the client's descriptor, completes operations
/// and wakes readers. It does not know the object that the application holds.</summary>
internal sealed class ClientCore
{
    private const int DupCloseOnExec = 1030; // F_DUPFD_CLOEXEC, as Linux has it
    internal const int Few = 4; // for the lane: an answer and its end, of two requests
    private readonly RedmuxOptions _options;
    private readonly ConcurrentDictionary<ulong, Source> _sources = new();
    private readonly ConcurrentQueue<Operation> _pool = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _closing = new();
    private Task _told = Task.CompletedTask;
    private readonly int _descriptor, _readerId;
    private int _closed, _released;

    internal unsafe ClientCore(RedmuxOptions options)
    {
        _options = options;
        Logger = new Log.Safe(options.LoggerFactory?.CreateLogger(RedmuxTelemetry.Name));
        Dictionary<string, string> all = options.All();
        Handle = Handed.Options(options.Url is { } url ? all.Prepend(new("url", url)) : all, prepared =>
        {
            void* error = null;
            ulong opened, inbox;
            Failure.Check(Native.redmux_client_open_with(prepared, 1, null, null, null, &opened, &inbox, &error), "connect", error);
            Events = inbox;
            return opened;
        });
        try
        {
            Reply = NewInbox(null);
            int descriptor;
            Failure.Check(Native.redmux_client_fd(Handle, &descriptor), "connect");
            // Closed on exec where it can be had, or every program that this one starts would hold it.
            _descriptor = OperatingSystem.IsLinux() ? Native.fcntl(descriptor, DupCloseOnExec, 0) : Native.dup(descriptor);
            if (_descriptor < 0) { throw new Win32Exception(Marshal.GetLastPInvokeError()); }
            Thread reader = new(Read) { IsBackground = true, Name = "redmux-reader" };
            _readerId = reader.ManagedThreadId;
            reader.UnsafeStart();
        }
        catch
        {
            _ = Native.redmux_client_close(Handle, 0);
            Release();
            throw;
        }
    }

    internal readonly ulong Handle, Reply;
    internal ulong Events { get; private set; }

    internal ILogger Logger { get; }

    internal Tokens Tokens { get; } = new();

    internal Calls Calls { get; } = new();

    internal NameCache Names { get; } = new();

    internal RedmuxState State { get; private set; } = RedmuxState.Connecting;

    internal bool Closed => Volatile.Read(ref _closed) != 0;

    internal Task Ended => _ended.Task;

    /// <summary>Whether this is the reader's thread: whoever runs here holds everybody else up.</summary>
    internal bool OnReader => Environment.CurrentManagedThreadId == _readerId;

    internal unsafe ulong NewInbox(KeyedOptions? options) => Handed.Options(options?.All(), prepared =>
    {
        void* error = null;
        ulong inbox;
        Failure.Check(Native.redmux_inbox_new(Handle, prepared, &inbox, &error), "inbox", error);
        return inbox;
    });

    internal void Know(Source source)
    {
        _sources[source.Key] = source;
        if (Volatile.Read(ref _released) != 0) { source.Close(); } // the client ended in between
    }

    internal void Forget(Source source) => _sources.TryRemove(source.Key, out _);

    internal Operation Rent() => _pool.TryDequeue(out Operation? operation) ? operation : new Operation(this);

    internal void Return(Operation operation)
    {
        if (_pool.Count < 64) { _pool.Enqueue(operation); }
    }

    // --- the reader

    private unsafe void Read()
    {
        ulong* ready = stackalloc ulong[64];
        PollFd watched = new() { Descriptor = _descriptor, Events = PollFd.In };
        try
        {
            while (true)
            {
                _ = Native.poll(&watched, 1, -1); // a signal only makes it look for nothing
                (nuint count, int status) = (64, Native.Ok);
                // Fewer than there is room for are all: what comes now makes the descriptor readable again.
                while (count == 64 && (status = Native.redmux_client_wait(Handle, 0, ready, 64, &count)) == Native.Ok)
                {
                    for (int index = 0; index < (int)count; index++)
                    {
                        Lane.Few = count < Few;
                        Hand(ready[index]);
                    }
                }
                if (status == Native.ErrClosed)
                {
                    // What waits for the client's end is all that still comes; nothing else is to be done here meanwhile.
                    while (Each(Reply, -1, OnReply))
                    {
                    }
                    return;
                }
            }
        }
        catch (Exception error)
        {
            Log.Defect(Logger, error);
            _ = Native.redmux_client_close(Handle, 0);
        }
        finally
        {
            _ = Native.close(_descriptor);
            Release();
        }
    }

    private void Hand(ulong inbox)
    {
        if (_sources.TryGetValue(inbox, out Source? source)) { source.Say(inline: true); }
        while (inbox == Reply ? Each(Reply, 0, OnReply) : inbox == Events && Each(Events, 0, OnEvent))
        {
        }
    }

    /// <summary>Takes one block and looks at each record; false: there is none.</summary>
    internal static unsafe bool Each(ulong inbox, long timeout, RecordAction action)
    {
        RawBlock block = default;
        if (Native.redmux_inbox_take(inbox, timeout, &block) != Native.Ok) { return false; }
        try
        {
            Lane.Few = block.Count < Few;
            foreach (ref readonly RawRecord record in block.AllRecords)
            {
                action(record, block.AllData);
            }
            return true;
        }
        finally
        {
            Native.redmux_block_release(&block);
        }
    }

    internal delegate void RecordAction(in RawRecord record, ReadOnlySpan<byte> data);

    private void OnReply(in RawRecord record, ReadOnlySpan<byte> data)
    {
        switch (record.Kind)
        {
            case Native.Refused or Native.Active or Native.Answer: Tokens.Find(record.Token)?.Note(record, data); break;
            case Native.Done or Native.Published or Native.Promise or Native.End: Tokens.Remove(record.Token)?.Ended(record, data); break;
        }
    }

    private void OnEvent(in RawRecord record, ReadOnlySpan<byte> data)
    {
        switch (record.Kind)
        {
            case Native.Log:
                LogLevel level = record.Number switch { 1 => LogLevel.Error, 2 => LogLevel.Warning, 3 => LogLevel.Information, _ => LogLevel.Debug };
                if (Logger.IsEnabled(level)) { Logger.Log(level, 0, Encoding.UTF8.GetString(record.Extra(data)), null, static (line, _) => line); }
                break;
            case Native.State when record.Number is >= 1 and <= 8:
                var state = (RedmuxState)record.Number;
                if (state <= RedmuxState.Stopped) { State = state; }
                if (_options.OnState is { } onState)
                {
                    (Task before, string reason) = (_told, Encoding.UTF8.GetString(record.Extra(data)));
                    _told = Calls.Run(this, () => TellAsync(before, onState, state, reason)); // a call, so that a close waits for it
                }
                break;
            case Native.Dropped when record.Status != Native.Ok: Log.PostsLost(Logger, record.Number, Failure.Word(record.Status)); break;
            case Native.Question:
                ulong question = record.Number;
                string what = Encoding.UTF8.GetString(record.Name(data));
                _ = Task.Run(() => AskAsync(question, what));
                break;
        }
    }

    private async Task TellAsync(Task before, Action<RedmuxState, string> onState, RedmuxState state, string reason)
    {
        await before.ConfigureAwait(false); // one after the other
        try
        {
            onState(state, reason);
        }
        catch (Exception error)
        {
            Log.OnStateFailed(Logger, error);
        }
    }

    // --- questions

    private async Task AskAsync(ulong question, string what)
    {
        try
        {
            object given = what == "address" ? await _options.Address!(_closing.Token).ConfigureAwait(false) : await _options.Credentials!(_closing.Token).ConfigureAwait(false);
            int status = Answer(question, Native.Ok, Words(given));
            if (status is not (Native.Ok or Native.ErrClosed)) { Log.AnswerLate(Logger, Failure.Word(status)); }
        }
        catch (Exception error)
        {
            Log.QuestionFailed(Logger, what, error);
            _ = Answer(question, Native.ErrConnect, []);
        }
    }

    private static string[] Words(object given) => given switch
    {
        NetworkCredential credential => [credential.UserName, credential.Password],
        DnsEndPoint dns => [dns.Host, $"{dns.Port}"],
        IPEndPoint ip => [$"{ip.Address}", $"{ip.Port}"],
        UnixDomainSocketEndPoint path => [$"{path}"],
        _ => throw new ArgumentException($"an address is a DnsEndPoint, an IPEndPoint or a UnixDomainSocketEndPoint, and not a {given.GetType()}"),
    };

    private unsafe int Answer(ulong question, int status, string[] words)
    {
        using NameList list = new(words);
        return Native.redmux_question_answer(Handle, question, status, list.Names, list.Count);
    }

    // --- the end

    /// <summary>Begins to close; <see cref="Ended"/> says that it is over. False: somebody else closes it.</summary>
    /// <param name="timeout">How long publishes may take; 0 is not at all, and nothing waits.</param>
    internal bool BeginClose(TimeSpan timeout)
    {
        long limit = Duration.Millis(timeout); // throws where it is none, and then nothing is closed
        if (Interlocked.Exchange(ref _closed, 1) != 0) { return false; }
        if (timeout == TimeSpan.Zero || Native.redmux_client_close_begin(Handle, Reply, 0, limit) != Native.Ok)
        {
            _ = Native.redmux_client_close(Handle, 0);
        }
        _ = _closing.CancelAsync();
        return true;
    }

    /// <summary>Closes what is left; whoever waits is told.</summary>
    internal void Release()
    {
        if (Interlocked.Exchange(ref _released, 1) != 0) { return; }
        Volatile.Write(ref _closed, 1);
        while (Each(Events, 0, OnEvent)) { }
        foreach (Source source in _sources.Values) { source.Close(); }
        _ = Native.redmux_inbox_close(Events, 0);
        _ = Native.redmux_inbox_close(Reply, 0);
        foreach (Pending pending in Tokens.All().Where(pending => Tokens.Remove(pending.Token) is not null))
        {
            pending.Abandon();
        }
        _ended.TrySetResult();
    }
}

/// <summary>Names as an array of redmux_bytes, for one call: one piece of memory, of which nothing is left to the collector.</summary>
internal readonly unsafe ref struct NameList
{
    internal NameList(IEnumerable<string> names)
    {
        ArgumentNullException.ThrowIfNull(names);
        string[] all = [.. names];
        nuint room = 1;
        foreach (string name in all)
        {
            ArgumentNullException.ThrowIfNull(name, nameof(names));
            room += (nuint)ChannelName.Room(name);
        }
        Count = (nuint)all.Length;
        Names = (RawBytes*)NativeMemory.Alloc((Count * (nuint)sizeof(RawBytes)) + room);
        byte* at = (byte*)(Names + all.Length);
        try
        {
            for (int index = 0; index < all.Length; index++)
            {
                int length = ChannelName.Encode(all[index], new Span<byte>(at, ChannelName.Room(all[index])));
                Names[index] = new RawBytes { Data = at, Len = (nuint)length };
                at += length;
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    internal readonly RawBytes* Names;

    internal readonly nuint Count;

    /// <summary>The library has copied them.</summary>
    public void Dispose() => NativeMemory.Free(Names);
}
