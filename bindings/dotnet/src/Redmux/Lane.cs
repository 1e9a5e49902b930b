namespace Redmux;

/// <summary>Where whoever waited goes on, as what comes then is anybody's program and does not belong on the reader's thread: the thread pool.
/// On one processor waking that costs more than most of what it is woken for, because its threads look for more work before they sleep. So
/// there one thread, the process', goes on with the first of a few. Nobody stands in line before it, since what it is at may block.</summary>
internal static unsafe class Lane
{
    private const int CloseOnExec = 0x80000;
    private static readonly int Bell = Environment.ProcessorCount > 1 || !OperatingSystem.IsLinux() ? -1 : Native.eventfd(0, CloseOnExec);
    private static IThreadPoolWorkItem? _at; // what the thread is at; for ever, where there is none

    /// <summary>Whether this thread is the reader's and has few to wake: many are the pool's, which is woken once for all.</summary>
    [ThreadStatic] internal static bool Few;

    static Lane()
    {
        if (Bell < 0) { _at = new Waiter(); }
        else { new Thread(Work) { IsBackground = true, Name = "redmux-lane" }.UnsafeStart(); }
    }

    internal static void Run(IThreadPoolWorkItem waiter)
    {
        ulong ring = 1;
        if (!Few || Interlocked.CompareExchange(ref _at, waiter, null) is not null || Native.write(Bell, &ring, sizeof(ulong)) < 0)
        {
            ThreadPool.UnsafeQueueUserWorkItem(waiter, preferLocal: false);
        }
    }

    private static void Work()
    {
        ulong ring;
        while (true)
        {
            if (Native.read(Bell, &ring, sizeof(ulong)) < 0) { continue; } // a signal came
            _at!.Execute();
            Volatile.Write(ref _at, null);
        }
    }
}

/// <summary>Somebody who waits, and goes on where <see cref="Lane"/> says.</summary>
internal sealed class Waiter : TaskCompletionSource, IThreadPoolWorkItem
{
    public void Execute() => TrySetResult();
}
