// redmux in .NET, as its README says: TryRead while there is something, or await foreach.
//
//     redmux-dotnet ADDRESS MESSAGES PAYLOAD tryread|foreach
//     redmux-dotnet ADDRESS COUNT 0 memory        so many subscriptions of one channel each
//     redmux-dotnet ADDRESS COUNT 0 names         so many channels of one subscription
//     redmux-dotnet ADDRESS COUNT 0 trips         one message at a time: posted, and read before the next one is
//     redmux-dotnet ADDRESS COUNT 0 trips-foreach the same in an await foreach
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
    throw new ArgumentException("usage: redmux-dotnet ADDRESS MESSAGES PAYLOAD tryread|foreach|memory|names|trips|trips-foreach");
}
int messages = int.Parse(args[1], CultureInfo.InvariantCulture), payload = int.Parse(args[2], CultureInfo.InvariantCulture);
int half = messages / 2, trips = 0;
Moment tripsBegan = default;
await using var client = await RedmuxClient.ConnectAsync($"redis://127.0.0.1:{args[0]}?inbox_policy=pause&timeout=120s");
Func<Task>? alone = args[3] switch { "memory" => Memory, "names" => Names, "trips" => Trips, "trips-foreach" => TripsForeach, _ => null };
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

async Task Trips() => await Trip(async one =>
{
    while (await one.ReadAsync() is var message && Next(message)) { }
});

async Task TripsForeach() => await Trip(async one =>
{
    await foreach (Message message in one)
    {
        if (!Next(message)) { break; }
    }
});

async Task Trip(Func<Subscription, Task> loop)
{
    await using var one = await client.SubscribeAsync([Name(0)]);
    trips = 0;
    Post();
    await loop(one);
    Console.WriteLine($"{{\"messages\": {messages}, {Moment.Now.Since(tripsBegan)}}}");
}

void Post()
{
    if (!client.TryPost(Name(0), BitConverter.GetBytes(trips)))
    {
        throw new InvalidOperationException($"message {trips} has no room");
    }
}

// Posts the next message when this one came. The first half is not counted.
bool Next(in Message message)
{
    if (BitConverter.ToInt32(message.Data.Span) != trips)
    {
        throw new InvalidOperationException($"message {trips} is another one");
    }
    if (++trips == messages)
    {
        tripsBegan = Moment.Now;
    }
    bool more = trips < 2 * messages;
    if (more)
    {
        Post();
    }
    return more;
}

static long Resident()
{
    GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
    GC.WaitForPendingFinalizers();
    return Environment.WorkingSet;
}
