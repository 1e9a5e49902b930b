using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Redmux.MessagingBuffer;

namespace Demo;

public sealed class TotalCountRequest : RequestBase
{
    public int InitialCount { get; set; }
}

public sealed class TotalCountResponse(string? correlationId) : ResponseBase(correlationId)
{
    public int Count { get; set; }
}

public sealed class TotalCountHandler(ILogger<TotalCountHandler> logger, IMessaging messaging) : HandlerBase<TotalCountRequest>(logger, messaging)
{
    public override async Task HandleAsync(string correlationId, TotalCountRequest request, CancellationToken ct) =>
        await Respond(correlationId, new TotalCountResponse(correlationId) { Count = 5 });
}

public sealed class TotalCountBuffer(IMessaging messaging, TotalCountRequest request) : RequestBufferBase<TotalCountRequest, TotalCountResponse>(messaging, request)
{
    protected override TotalCountResponse Aggregate() =>
        new(CorrelationId) { Count = Request.InitialCount + ResponseCollection.Sum(response => response.Count) };
}

/// <summary>Each instance counts 5, and any of them knows the total. Each line on standard input asks for it.</summary>
internal static class TotalCount
{
    internal static async Task RunAsync(string[] args)
    {
        var builder = Host.CreateApplicationBuilder(args);
        builder.Services.AddMessagingBuffer(builder.Configuration.GetSection("Redis"), messaging => messaging
            .AddBuffer<TotalCountBuffer, TotalCountRequest, TotalCountResponse, TotalCountHandler>());
        using var host = builder.Build();
        await host.StartAsync(); // its handler serves from here on
        Console.WriteLine("counting");

        while (await Console.In.ReadLineAsync() is not null)
        {
            var buffer = host.Services.GetRequiredService<TotalCountBuffer>();
            buffer.Request.InitialCount = 100;
            var total = await buffer.SendRequestAsync();
            Console.WriteLine($"total: {total.Count} of {buffer.End!.Answers} instances ({buffer.End.Reason}, {buffer.End.Expected} expected)");
        }
        await host.StopAsync();
    }
}
