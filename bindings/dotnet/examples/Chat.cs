using Redmux;

/// <summary>
/// A chat: rooms are channels, joined and left while it runs:  chat [redis://localhost]
///
///     +room        join            -room        leave
///     !room text   say             ?            which rooms am I in
///     q            quit
/// </summary>
internal static class Chat
{
    internal static async Task RunAsync(string? url)
    {
        await using var client = await RedmuxClient.ConnectAsync(url);
        await using var rooms = await client.SubscribeAsync([], new SubscribeOptions
        {
            OnMessage = message =>
            {
                Console.WriteLine($"[{message.Channel}] {message.Text()}");
                return ValueTask.CompletedTask;
            },
            OnActive = active => Console.WriteLine(active.Channel is null ? "*connected again*" : $"joined {active.Channel}"),
            OnLost = lost => Console.WriteLine($"*disconnected* {lost.Text}"),
        });
        while (await Console.In.ReadLineAsync() is { Length: > 0 } line && line != "q")
        {
            var (room, text) = line[1..].Split(' ', 2) is [var first, var rest] ? (first, rest) : (line[1..], "");
            switch (line[0])
            {
                case '?':
                    Console.WriteLine($"in {rooms.Channels.Count} rooms: {string.Join(' ', rooms.Channels.Order())}");
                    break;
                case '+':
                    try
                    {
                        await rooms.AddAsync(room);
                    }
                    catch (RedmuxRefusedException error)
                    {
                        Console.WriteLine(error.Message);
                    }
                    break;
                case '-':
                    await rooms.RemoveAsync(room);
                    break;
                case '!':
                    client.TryPost(room, text);
                    break;
            }
        }
    }
}
