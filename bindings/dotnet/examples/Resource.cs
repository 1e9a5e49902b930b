using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Redmux;

/// <summary>Resources over HTTP that only one instance holds each, whichever is asked, until standard input is closed:
/// resource [redis://localhost] [node-1] [boat=red ...]</summary>
internal static class Resource
{
    internal static async Task RunAsync(string? url, string[] more)
    {
        string node = more.ElementAtOrDefault(0) ?? "node-1";
        var held = more.Skip(1).Select(given => given.Split('=', 2)).ToDictionary(pair => pair[0], pair => pair[1]);
        await using var client = await RedmuxClient.ConnectAsync(url);
        await using var responder = await client.RespondAsync("resource", request =>
            new(held.TryGetValue(request.Text(), out var value)
                ? new JsonObject { [request.Text()] = value, ["holder"] = node }.ToJsonString()
                : null)); // no answer: somebody else may have it

        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Logging.ClearProviders();
        await using var app = builder.Build();
        app.MapGet("/{key}", async (string key, CancellationToken gone) =>
        {
            try
            {
                // Strict: that nobody has it is known when everybody who was asked has said so.
                var answer = await client.RequestAsync("resource", key, new() { Timeout = TimeSpan.FromSeconds(5), Strict = true }, gone);
                return Results.Text(answer.Text(), "application/json");
            }
            catch (RedmuxNoRespondersException)
            {
                return Error(StatusCodes.Status404NotFound, $"no instance holds {key}");
            }
            catch (RedmuxException error)
            {
                return Error(StatusCodes.Status503ServiceUnavailable, error.Message);
            }
        });
        await app.StartAsync();
        Console.WriteLine(app.Urls.Single());
        // Or until it is asked to end: the host would hold the process up for ever otherwise.
        await Task.WhenAny(Console.In.ReadToEndAsync(), app.WaitForShutdownAsync());
        await app.StopAsync();
    }

    private static IResult Error(int status, string message) =>
        Results.Text(new JsonObject { ["error"] = message }.ToJsonString(), "application/json", null, status);
}
