using Redmux;

/// <summary>Subscribes to a channel and publishes to it:  simple [redis://localhost]</summary>
internal static class Simple
{
    internal static async Task RunAsync(string? url)
    {
        await using var client = await RedmuxClient.ConnectAsync(url);
        await using var sub = await client.SubscribeAsync(["mychannel"]);
        client.TryPost("mychannel", "Hello World!");
        var message = await sub.ReadAsync();
        Console.WriteLine($"channel: [{message.Channel}] msg: [{message.Text()}]");
    }
}
