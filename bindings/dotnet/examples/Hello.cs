using Redmux;

/// <summary>Asks whoever runs this, this one too, to say hello:  hello [redis://localhost] [world]</summary>
internal static class Hello
{
    internal static async Task RunAsync(string? url, string[] more)
    {
        await using var client = await RedmuxClient.ConnectAsync(url);
        await using var responder = await client.RespondAsync("hello", request => new($"hello {request.Text()}"));

        var gather = client.Gather("hello", more.ElementAtOrDefault(0) ?? "world", new() { Timeout = TimeSpan.FromSeconds(2) });
        await foreach (var answer in gather)
        {
            Console.WriteLine($"{answer.Text()}, says {answer.Responder}");
        }
        Console.WriteLine($"{gather.End!.Reason}: {gather.End.Answers} answers, {gather.End.Missing.Count} missing");
    }
}
