namespace Redmux;

/// <summary>Says that an inbox has something. Sticky: what was said before somebody waits ends the wait at once. One waits at a time,
/// again and again in the same object, so that waiting allocates nothing.</summary>
internal sealed class Signal : IValueTaskSource, IThreadPoolWorkItem
{
    private ManualResetValueTaskSourceCore<bool> _core;
    private CancellationTokenRegistration _registration;
    private Exception? _error;
    private bool _said, _waiting, _told, _hop; // one waits until it has gone on, or the next one's wait would end its own

    /// <summary>Waits.</summary>
    /// <param name="hop">Whether the waiter goes on on the <see cref="Lane"/>, and not in the thread that says it.</param>
    /// <param name="ct">Ends the wait.</param>
    internal ValueTask WaitAsync(bool hop, CancellationToken ct)
    {
        lock (this)
        {
            if (_waiting) { throw Failure.Of(Native.ErrBusy, "read by two at once"); }
            if (_said)
            {
                _said = false;
                return ValueTask.CompletedTask;
            }
            _core.Reset();
            (_waiting, _told, _hop) = (true, false, hop);
        }
        if (ct.CanBeCanceled)
        {
            _registration = ct.UnsafeRegister(static (signal, ct) => ((Signal)signal!).Say(inline: false, new OperationCanceledException(ct)), this);
        }
        return new ValueTask(this, _core.Version);
    }

    /// <param name="inline">Whether the waiter may go on in this thread.</param>
    /// <param name="error">What the wait ends with; that is not kept for the next one.</param>
    internal void Say(bool inline, Exception? error = null)
    {
        lock (this)
        {
            if (!_waiting || _told)
            {
                _said |= error is null;
                return;
            }
            (_told, _error) = (true, error);
        }
        if (inline && !_hop) { Execute(); }
        else { Lane.Run(this); }
    }

    public void Execute() => _core.SetResult(true);

    /// <summary>Whether somebody waits.</summary>
    internal bool Waiting => Volatile.Read(ref _waiting) && !Volatile.Read(ref _told);

    void IValueTaskSource.GetResult(short token)
    {
        _registration.Dispose();
        _registration = default;
        _core.GetResult(token);
        Exception? error = _error;
        Volatile.Write(ref _waiting, false);
        if (error is not null) { throw error; }
    }

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _core.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) => _core.OnCompleted(continuation, state, token, flags);
}
