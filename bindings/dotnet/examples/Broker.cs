using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Serialization;
using Redmux;

/// <summary>A broker's subscriber: five channels of JSON, until n messages came or SIGTERM:  broker [redis://localhost] [7]</summary>
internal static partial class Broker
{
    [JsonSerializable(typeof(JsonElement))]
    private sealed partial class Json : JsonSerializerContext;

    internal static async Task RunAsync(string? url, string[] more)
    {
        int left = int.Parse(more.ElementAtOrDefault(0) ?? "7", CultureInfo.InvariantCulture);
        using CancellationTokenSource stop = new();
        using var sigterm = PosixSignalRegistration.Create(PosixSignal.SIGTERM, signal =>
        {
            signal.Cancel = true; // the program ends by itself, below
            stop.Cancel();
        });
        await using var client = await RedmuxClient.ConnectAsync(url);
        await using var sub = await client.SubscribeAsync(["orders", "users", "stock", "prices", "alerts"]);
        Console.WriteLine("listening on 5 channels");
        try
        {
            await foreach (var message in sub.WithCancellation(stop.Token))
            {
                try
                {
                    Console.WriteLine($"{message.Channel}: {message.Json(Json.Default.JsonElement)}");
                }
                catch (RedmuxDecodeException error)
                {
                    Console.WriteLine($"skipped: {error.Message}");
                    continue;
                }
                if (--left == 0)
                {
                    break;
                }
            }
        }
        catch (OperationCanceledException)
        {
        }
    }
}
