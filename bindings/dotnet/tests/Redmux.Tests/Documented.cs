using System.Text;
using System.Text.Json.Serialization;
using Xunit;

namespace Redmux.Tests;

/// <summary>The examples of the doc comments, word for word.</summary>
internal sealed class Documented(string url)
{
    private string Url => url;

    internal async Task RunAsync()
    {
        await FirstAsync();
        await using var client = await RedmuxClient.ConnectAsync(new RedmuxOptions { Url = Url, ["strict"] = "true" });
        await PublishingAsync(client);
        Names();
        OptionsByKey();
        await PromisesAsync(client);
        await PromiseAsync(client);
        Assert.True(Online(client));
        await EventsAsync(client);
        await RequestsAsync(client);
        await LookupAsync(client);
        await SquaresAsync(client);
        Assert.Equal("NOT_FOUND", Error().RemoteCode);
    }

    private static async Task RequestsAsync(RedmuxClient client)
    {
        await using var responder = await client.RespondAsync("hello", request => new($"hello {request.Text()}"));
        var gather = client.Gather("hello", "world", new() { Timeout = TimeSpan.FromSeconds(2) });
        await foreach (var answer in gather)
        {
            Console.WriteLine($"{answer.Text()} from {answer.Responder}");
        }
        Console.WriteLine($"{gather.End!.Reason}, missing: {string.Join(", ", gather.End.Missing)}");
    }

    private static async Task LookupAsync(RedmuxClient client)
    {
        await using var lookup = await client.RespondAsync("user.lookup", request => new(Reply.Json(7, MyJson.Default.Int32, new() { ["etag"] = "1" })));
        var answer = await client.RequestAsync("user.lookup", "ann");
        Assert.Equal((7, "1"), (answer.Json(MyJson.Default.Int32), answer.Headers["etag"]));
    }

    private static async Task SquaresAsync(RedmuxClient client)
    {
        await using var squares = await client.RespondAsync<int, int>("square", (number, request) => new(number * number));
        int square = await client.RequestAsync<int, int>("square", 7);
        Assert.Equal(49, square);
    }

    private static RedmuxRemoteException Error()
    {
        var error = new RedmuxRemoteException("NOT_FOUND", "no such user");
        return error;
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

[JsonSerializable(typeof(int))]
internal sealed partial class MyJson : JsonSerializerContext;
