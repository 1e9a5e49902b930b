namespace Redmux;

/// <summary>A subscription, promise set or responder as the client knows it: handles and a signal, and not the object that the application
/// holds, so that one which is dropped without a dispose is found.</summary>
internal sealed unsafe class Source(ClientCore core, ulong inbox, delegate*<ulong, int> close)
{
    private int _closed;

    internal readonly Signal Signal = new();

    /// <summary>Its own inbox; 0 for a promise set.</summary>
    internal readonly ulong Inbox = inbox;
    internal ulong Handle;

    /// <summary>No number is used twice, whatever it stands for.</summary>
    internal ulong Key => Inbox != 0 ? Inbox : Handle;

    internal bool Closed => Volatile.Read(ref _closed) != 0;

    /// <summary>Closed, and the library knows: only then may handlers hear of it, or one that leaves would end a request that the close has
    /// yet to end.</summary>
    internal bool Ended => Volatile.Read(ref _closed) == 2;

    /// <summary>Who is called where the inbox has something, and at the end: a responder, which is held by this.</summary>
    internal Action? OnReady { get; init; }

    internal void Say(bool inline)
    {
        OnReady?.Invoke();
        Signal.Say(inline);
    }

    /// <summary>Dropped without a dispose: closes, and says so, elsewhere than in the finalizers' thread.</summary>
    internal void Drop(object owner)
    {
        if (Close()) { ThreadPool.UnsafeQueueUserWorkItem(owner => Log.NotDisposed(core.Logger, $"{owner}"), owner, preferLocal: false); }
    }

    /// <summary>Never waits. False: it was closed before.</summary>
    internal bool Close()
    {
        if (Interlocked.Exchange(ref _closed, 1) != 0) { return false; }
        _ = close(Handle);
        Volatile.Write(ref _closed, 2);
        if (Inbox != 0) { _ = Native.redmux_inbox_close(Inbox, 0); }
        core.Forget(this);
        Say(inline: false);
        return true;
    }
}

/// <summary>Callbacks and handlers that run, and whose. What they throw is not looked at.</summary>
internal sealed class Calls
{
    private static readonly AsyncLocal<Calls?> Inside = new();
    private readonly ConcurrentDictionary<Call, object> _running = new();

    internal Task Run(object owner, Func<Task> call)
    {
        Call begun = new(this, call);
        _running[begun] = owner;
        Lane.Run(begun);
        return begun.Task;
    }

    /// <summary>Until none runs, or none of an owner; not asked of one of them itself.</summary>
    internal Task Ended(object? owner = null) =>
        Inside.Value == this ? Task.CompletedTask : Task.WhenAll(_running.Where(pair => owner is null || pair.Value == owner).Select(pair => pair.Key.Task));

    private sealed class Call(Calls calls, Func<Task> call) : TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously), IThreadPoolWorkItem
    {
        public async void Execute()
        {
            Inside.Value = calls;
            await call().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            calls._running.TryRemove(this, out _);
            SetResult();
        }
    }
}
