// A question and its answer with redmux in .NET, as its README says: RequestAsync and RespondAsync, or Gather and all its answers.
//
//     redmux-dotnet ADDRESS serve                     a line on stdin: says what CPU time it has used
//     redmux-dotnet ADDRESS ask COUNT IN_FLIGHT
//     redmux-dotnet ADDRESS gather COUNT ANSWERS      one after another, each with so many answers
//
// What is compiled while a program runs is compiled before "ready".
using System.Diagnostics;
using System.Globalization;
using Redmux;

internal static class Asking
{
    private const int Body = 16, Warm = 20_000;

    internal static async Task<bool> Run(string[] args)
    {
        if (args[1] is not ("serve" or "ask" or "gather")) { return false; }
        await using var client = await RedmuxClient.ConnectAsync($"redis://127.0.0.1:{args[0]}");
        if (args[1] == "serve")
        {
            await Serve(client);
            return true;
        }
        int count = int.Parse(args[2], CultureInfo.InvariantCulture), many = int.Parse(args[3], CultureInfo.InvariantCulture);
        if (args[1] == "ask")
        {
            await Measured(count, many, async body => Check(body, (await client.RequestAsync("bench", body)).Data));
        }
        else
        {
            await Measured(count, 1, async body =>
            {
                List<Answer> answers = await client.Gather("bench", body).ToListAsync();
                if (answers.Count != many) { throw new InvalidOperationException($"{answers.Count} answers of {many}"); }
                answers.ForEach(answer => Check(body, answer.Data));
            });
        }
        return true;
    }

    private static async Task Serve(RedmuxClient client)
    {
        await using var responder = await client.RespondAsync("bench", request => new(request.Data));
        Console.WriteLine("ready");
        // On a thread of its own: on a machine of one processor the pool has one, and makes another half a second after that one blocks.
        await Task.Factory.StartNew(Tell, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    private static void Tell()
    {
        while (Console.ReadLine() is not null)
        {
            Console.WriteLine($"{{\"cpu_ns\": {Environment.CpuUsage.TotalTime.Ticks * 100}}}");
        }
    }

    private static void Check(byte[] body, ReadOnlyMemory<byte> answer)
    {
        if (!answer.Span.SequenceEqual(body)) { throw new InvalidOperationException($"the answer to {Convert.ToHexString(body)} is {Convert.ToHexString(answer.Span)}"); }
    }

    private static async Task Measured(int count, int window, Func<byte[], Task> one)
    {
        await InFlight(Warm, window, one);
        Console.WriteLine("ready");
        if (Console.ReadLine() is null) { return; }
        Moment first = Moment.Now;
        long[] took = await InFlight(count, window, one);
        Moment last = Moment.Now;
        Array.Sort(took);
        Console.WriteLine($"{{\"messages\": {count}, \"p50\": {took[count / 2]}, \"p99\": {took[count * 99L / 100]}, {last.Since(first)}}}");
    }

    /// <summary>Asks count times, window at once, each in a task that asks again and again.</summary>
    private static async Task<long[]> InFlight(int count, int window, Func<byte[], Task> one)
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
