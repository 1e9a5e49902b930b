// A question and its answer with StackExchange.Redis, as one usually does it: one channel for all answers of an asker, and a dictionary from the
// number of a request to who waits for it.
//
//     stackexchange-request ADDRESS serve             a line on stdin: says what CPU time it has used
//     stackexchange-request ADDRESS ask COUNT IN_FLIGHT
//
// A question is its number, the body, and the channel for the answer; the answer is number and body.
using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using StackExchange.Redis;

const int Number = 8, Head = Number + 16;
await using ConnectionMultiplexer redis = await ConnectionMultiplexer.ConnectAsync($"127.0.0.1:{args[0]}");
ISubscriber bus = redis.GetSubscriber();
RedisChannel service = RedisChannel.Literal("bench:service");
if (args[1] == "serve")
{
    await Serve();
}
else
{
    await Ask(int.Parse(args[2], CultureInfo.InvariantCulture), int.Parse(args[3], CultureInfo.InvariantCulture));
}

async Task Serve()
{
    await bus.SubscribeAsync(service, (from, question) =>
    {
        byte[] bytes = question!;
        // Not awaited, or the next one would wait until Redis has counted the receivers of the answer.
        _ = bus.PublishAsync(RedisChannel.Literal(Encoding.ASCII.GetString(bytes, Head, bytes.Length - Head)), bytes.AsMemory(0, Head));
    });
    Console.WriteLine("ready");
    await Task.Factory.StartNew(Measuring.Tell, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
}

async Task Ask(int count, int window)
{
    string name = $"bench:answers:{Environment.ProcessId}";
    byte[] reply = Encoding.ASCII.GetBytes(name);
    ConcurrentDictionary<long, TaskCompletionSource<byte[]>> waiting = new();
    long numbers = 0;
    await bus.SubscribeAsync(RedisChannel.Literal(name), (from, answer) =>
    {
        byte[] bytes = answer!;
        if (waiting.TryRemove(BitConverter.ToInt64(bytes), out TaskCompletionSource<byte[]>? one))
        {
            one.SetResult(bytes[Number..]);
        }
    });
    await Measuring.InFlight(count, window, async body =>
    {
        long number = Interlocked.Increment(ref numbers);
        TaskCompletionSource<byte[]> answer = new(TaskCreationOptions.RunContinuationsAsynchronously);
        waiting[number] = answer;
        byte[] question = [.. BitConverter.GetBytes(number), .. body, .. reply];
        await bus.PublishAsync(service, question);
        Measuring.Check(body, await answer.Task);
    });
}
