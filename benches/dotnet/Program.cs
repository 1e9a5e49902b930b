// redmux in .NET, as its README says: TryRead while there is something, or await foreach.
//
//     redmux-dotnet ADDRESS MESSAGES PAYLOAD tryread|foreach
//     redmux-dotnet ADDRESS COUNT 0 memory        so many subscriptions of one channel each
//     redmux-dotnet ADDRESS COUNT 0 names         so many channels of one subscription
//     redmux-dotnet ADDRESS COUNT 0 trips         one message at a time: posted, and read before the next one is
//     redmux-dotnet ADDRESS serve|ask|gather      requests: Asking.cs
//
// What is compiled while a program runs is compiled in the first half of the messages. The figure is of the second half.
using System.Globalization;
using Redmux;

if (args.Length > 1 && await Asking.Run(args))
{
    return;
}
if (args.Length < 4)
{
    throw new ArgumentException("usage: redmux-dotnet ADDRESS MESSAGES PAYLOAD tryread|foreach|memory|names|trips");
}
int messages = int.Parse(args[1], CultureInfo.InvariantCulture), payload = int.Parse(args[2], CultureInfo.InvariantCulture);
int half = messages / 2;
await using var client = await RedmuxClient.ConnectAsync($"redis://127.0.0.1:{args[0]}?inbox_policy=pause&timeout=120s");
Func<Task>? alone = args[3] switch { "memory" => Memory, "names" => Names, "trips" => Trips, _ => null };
if (alone is not null)
{
    await alone();
    return;
}
await using var sub = await client.SubscribeAsync([Name(0)]);
Console.WriteLine("ready");
int got = 0;
long lengths = 0;
Moment first = default;
switch (args[3])
{
    case "tryread":
        await TryRead();
        break;
    case "foreach":
        await Foreach();
        break;
    default:
        throw new ArgumentException($"there is no {args[3]}");
}
Moment last = Moment.Now;
if (sub.Dropped != 0)
{
    throw new InvalidOperationException($"{sub.Dropped} messages were dropped");
}
if (lengths != messages * (16L + payload))
{
    throw new InvalidOperationException($"the lengths add up to {lengths}");
}
Console.WriteLine($"{{\"messages\": {got}, \"measured\": {messages - half}, \"lengths\": {lengths}, {last.Since(first)}, \"rss\": {Environment.WorkingSet}}}");

static string Name(int n) => $"bench:{n:D10}";

async Task TryRead()
{
    while (got < messages)
    {
        Message message = await sub.ReadAsync();
        do
        {
            Count(message);
        }
        while (sub.TryRead(out message));
    }
}

async Task Foreach()
{
    await foreach (Message message in sub)
    {
        Count(message);
        if (got == messages)
        {
            break;
        }
    }
}

void Count(Message message)
{
    lengths += message.Channel.Length + message.Data.Length;
    if (++got == half)
    {
        first = Moment.Now;
    }
}

// What the garbage collector would free is given back before each look.
async Task Memory()
{
    await using var warm = await client.SubscribeAsync(["bench:warm-up"]);
    var subs = new Subscription[messages];
    long before = Resident();
    Moment began = Moment.Now;
    for (int n = 0; n < messages; n++)
    {
        subs[n] = await client.SubscribeAsync([Name(n)]);
    }
    Moment ended = Moment.Now;
    Console.WriteLine($"{{\"count\": {messages}, \"bytes\": {Resident() - before}, {ended.Since(began)}}}");
    foreach (Subscription one in subs)
    {
        await one.DisposeAsync();
    }
}

async Task Names()
{
    await using var one = await client.SubscribeAsync(["bench:warm-up"]);
    string[] names = [.. Enumerable.Range(0, messages).Select(Name)], others = [.. Enumerable.Range(messages, messages / 10).Select(Name)];
    await one.AddAsync(others); // what is done for the first time is not counted
    await one.RemoveAsync(others);
    client.TryPost("bench:warm-up", "");
    await one.ReadAsync();
    long before = Resident();
    Moment began = Moment.Now;
    await one.AddAsync(names);
    Moment ended = Moment.Now;
    client.TryPost("bench:warm-up", "");
    await one.ReadAsync(); // and what told that they are active
    Console.WriteLine($"{{\"count\": {messages}, \"bytes\": {Resident() - before}, {ended.Since(began)}}}");
    GC.KeepAlive(names);
}

async Task Trips()
{
    await using var one = await client.SubscribeAsync([Name(0)]);
    byte[] data = new byte[8];
    Moment began = default;
    for (int n = 0; n < 2 * messages; n++)
    {
        if (n == messages)
        {
            began = Moment.Now;
        }
        BitConverter.TryWriteBytes(data, n);
        if (!client.TryPost(Name(0), data))
        {
            throw new InvalidOperationException($"message {n} has no room");
        }
        Message message = await one.ReadAsync();
        if (!message.Data.Span.SequenceEqual(data))
        {
            throw new InvalidOperationException($"message {n} is another one");
        }
    }
    Console.WriteLine($"{{\"messages\": {messages}, {Moment.Now.Since(began)}}}");
}

static long Resident()
{
    GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
    GC.WaitForPendingFinalizers();
    return Environment.WorkingSet;
}

/// <summary>When it is, and what this process has used of its CPUs until now.</summary>
internal readonly record struct Moment(TimeSpan Wall, TimeSpan Cpu)
{
    public static Moment Now => new(System.Diagnostics.Stopwatch.GetElapsedTime(0), Environment.CpuUsage.TotalTime);

    public string Since(Moment first) => string.Create(
        CultureInfo.InvariantCulture,
        $"\"cpu_ns\": {(Cpu - first.Cpu).Ticks * 100}, \"wall_ns\": {(Wall - first.Wall).Ticks * 100}");
}
