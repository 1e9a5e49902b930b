using System.Text;
using Xunit;

namespace Redmux.Tests;

/// <summary>The examples of the doc comments, word for word.</summary>
internal sealed class Documented(string url)
{
    private string Url => url;

    internal async Task RunAsync()
    {
        await FirstAsync();
        await using var client = await RedmuxClient.ConnectAsync(Url);
        await PublishingAsync(client);
        Names();
        OptionsByKey();
        await PromisesAsync(client);
        await PromiseAsync(client);
        Assert.True(Online(client));
        await EventsAsync(client);
    }

    private async Task FirstAsync()
    {
        await using var client = await RedmuxClient.ConnectAsync(Url);
        await using var sub = await client.SubscribeAsync(["news"]);
        await client.PublishAsync("news", "hi");
        await foreach (var message in sub)
        {
            Console.WriteLine($"{message.Channel} {message.Text()}");
            break;
        }
    }

    private static async Task PublishingAsync(RedmuxClient client)
    {
        try
        {
            await client.PublishAsync("news", "hi", TimeSpan.FromSeconds(1));
        }
        catch (RedmuxNotSentException)
        {
            // It never left: safe to repeat.
        }
    }

    private static void Names()
    {
        string odd = ChannelName.FromBytes([0xff, 0x00]);
        byte[] same = ChannelName.ToBytes(odd);
        Assert.Equal([0xff, 0x00], same);
    }

    private void OptionsByKey()
    {
        var options = new RedmuxOptions { Url = "redis://localhost", Name = "api-3", ["ping_interval"] = "2s" };
        options.Url = Url;
        using var client = RedmuxClient.Open(options);
    }

    private static async Task PromisesAsync(RedmuxClient client)
    {
        await using var promises = client.Promises("p:");
        await promises.WaitActiveAsync();
        var promise = promises.New("job", TimeSpan.FromSeconds(5));
        await client.FulfillAsync("p:job", "done");
        Console.WriteLine(Encoding.UTF8.GetString((await promise).Span));
    }

    private static async Task PromiseAsync(RedmuxClient client)
    {
        var promise = await client.PromiseAsync("job:42", TimeSpan.FromSeconds(5));
        await client.FulfillAsync("job:42", "done");
        ReadOnlyMemory<byte> kept = await promise;
        Assert.Equal("done"u8, kept.Span);
    }

    private static bool Online(RedmuxClient client)
    {
        bool online = client.Stats().GetProperty("online").GetBoolean();
        return online;
    }

    private static async Task EventsAsync(RedmuxClient client)
    {
        var sub = await client.SubscribeAsync(["news"]);
        await client.PublishAsync("news", "hi");
        await sub.DrainAsync();
        await foreach (var happened in sub.EventsAsync())
        {
            switch (happened)
            {
                case Message message: Console.WriteLine(message.Text()); break;
                case Lost lost: Console.WriteLine($"from here messages may be missing: {lost.Text}"); break;
                case Active { Channel: null }: Console.WriteLine("to here"); break;
            }
        }
        sub.Dispose();
    }
}
