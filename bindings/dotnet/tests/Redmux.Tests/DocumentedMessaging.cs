using System.Text.Json.Serialization;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Redmux.MessagingBuffer;
using Xunit;

namespace Redmux.Tests;

/// <summary>The examples of the doc comments of Redmux.MessagingBuffer, word for word.</summary>
internal sealed class DocumentedMessaging(string url)
{
    private string Url => url;

    internal async Task RunAsync()
    {
        Assert.Equal(5000, Options().Timeout);
        await using var messaging = new Messaging(new RedisOptions { RedisConnexionStrings = { Url } }, GreetingJson.Default);
        await messaging.ReadyAsync();
        await new GreetingHandler(NullLogger<GreetingHandler>.Instance, messaging).SubscribeAsync();
        Assert.Equal("hello ann", (await new GreetingBuffer(messaging, new GreetingRequest { Who = "ann" }).SendRequestAsync()).Text);
        await messaging.UnsubscribeRequestAsync<GreetingRequest>();
        await AskAsync(messaging);
    }

    private static RedisOptions Options()
    {
        var options = new RedisOptions { RedisConnexionStrings = { "localhost:6379,name=api-3" }, Timeout = 5000 };
        return options;
    }

    private static async Task AskAsync(Messaging messaging)
    {
        await messaging.SubscribeRequestAsync<GreetingRequest>(async (correlationId, request, ct) => new GreetingResponse { Text = $"hello {request.Who}" });
        var result = await messaging.RequestAsync<GreetingResponse>(new GreetingRequest { Who = "world" });
        foreach (var response in result.Responses)
        {
            Console.WriteLine($"{response.Text}, says {response.ResponseServerName}");
        }
        Console.WriteLine($"{result.End.Reason}: {result.Responses.Count} of {result.End.Expected}");
        Assert.Equal("hello world", Assert.Single(result.Responses).Text);
    }
}

internal sealed class GreetingRequest : RequestBase
{
    public string Who { get; set; } = "";
}

internal sealed class GreetingResponse : ResponseBase
{
    public string Text { get; set; } = "";
}

internal sealed class GreetingHandler(ILogger<GreetingHandler> logger, IMessaging messaging) : HandlerBase<GreetingRequest>(logger, messaging)
{
    public override async Task HandleAsync(string correlationId, GreetingRequest request, CancellationToken ct) =>
        await Respond(correlationId, new GreetingResponse { Text = $"hello {request.Who}" });
}

internal sealed class GreetingBuffer(IMessaging messaging, GreetingRequest request) : RequestBufferBase<GreetingRequest, GreetingResponse>(messaging, request)
{
    protected override GreetingResponse Aggregate() => new() { Text = string.Join(", ", ResponseCollection.Select(one => one.Text)) };
}

[JsonSerializable(typeof(GreetingRequest)), JsonSerializable(typeof(GreetingResponse))]
internal sealed partial class GreetingJson : JsonSerializerContext;
