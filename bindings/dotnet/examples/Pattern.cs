using System.Globalization;
using Redmux;

/// <summary>Prints every message on a pattern, and what it is told about the connection, until n came:
/// pattern [redis://localhost] ['news.*'] [3]</summary>
internal static class Pattern
{
    internal static async Task RunAsync(string? url, string[] more)
    {
        int left = int.Parse(more.ElementAtOrDefault(1) ?? "1", CultureInfo.InvariantCulture);
        await using var client = await RedmuxClient.ConnectAsync(url);
        await using var sub = await client.SubscribePatternAsync(more.ElementAtOrDefault(0) ?? "news.*");
        await foreach (var happened in sub.EventsAsync())
        {
            switch (happened)
            {
                case Active { Channel: null }:
                    Console.WriteLine("active again");
                    break;
                case Active active:
                    Console.WriteLine($"active: [{active.Channel}]");
                    break;
                case Lost lost:
                    Console.WriteLine($"lost: {lost.Text}");
                    break;
                case Message message:
                    Console.WriteLine($"pattern: [{message.Pattern}] channel: [{message.Channel}] msg: [{message.Text()}]");
                    left--;
                    break;
            }
            if (left == 0)
            {
                break;
            }
        }
    }
}
