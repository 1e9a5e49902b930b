// What every program here that asks or answers in .NET needs: so many questions in flight, what the CPUs were used for, and its line at the end.
using System.Diagnostics;
using System.Globalization;

internal static class Measuring
{
    private const int Body = 16, Warm = 20_000;

    internal static void Tell()
    {
        while (Console.ReadLine() is not null)
        {
            Console.WriteLine($"{{\"cpu_ns\": {Environment.CpuUsage.TotalTime.Ticks * 100}}}");
        }
    }

    internal static void Check(byte[] body, ReadOnlyMemory<byte> answer)
    {
        if (!answer.Span.SequenceEqual(body)) { throw new InvalidOperationException($"the answer to {Convert.ToHexString(body)} is {Convert.ToHexString(answer.Span)}"); }
    }

    internal static async Task InFlight(int count, int window, Func<byte[], Task> one)
    {
        await Asked(Warm, window, one);
        Console.WriteLine("ready");
        if (Console.ReadLine() is null) { return; }
        Moment first = Moment.Now;
        long[] took = await Asked(count, window, one);
        Moment last = Moment.Now;
        Array.Sort(took);
        Console.WriteLine($"{{\"messages\": {count}, \"p50\": {took[count / 2]}, \"p99\": {took[count * 99L / 100]}, {last.Since(first)}}}");
    }

    /// <summary>Asks count times, window at once, each in a task that asks again and again.</summary>
    private static async Task<long[]> Asked(int count, int window, Func<byte[], Task> one)
    {
        var took = new long[count];
        int next = -1;
        await Task.WhenAll(Enumerable.Range(0, window).Select(_ => Task.Run(async () =>
        {
            int number;
            while ((number = Interlocked.Increment(ref next)) < count)
            {
                var body = new byte[Body];
                BitConverter.TryWriteBytes(body, number);
                long began = Stopwatch.GetTimestamp();
                await one(body);
                took[number] = Stopwatch.GetElapsedTime(began).Ticks * 100;
            }
        })));
        return took;
    }
}

/// <summary>When it is, and what this process has used of its CPUs until now.</summary>
internal readonly record struct Moment(TimeSpan Wall, TimeSpan Cpu)
{
    public static Moment Now => new(System.Diagnostics.Stopwatch.GetElapsedTime(0), Environment.CpuUsage.TotalTime);

    public string Since(Moment first) => string.Create(
        CultureInfo.InvariantCulture,
        $"\"cpu_ns\": {(Cpu - first.Cpu).Ticks * 100}, \"wall_ns\": {(Wall - first.Wall).Ticks * 100}");
}
