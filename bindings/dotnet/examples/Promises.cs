using System.Text;
using Redmux;

/// <summary>Two promises, one kept and one not:  promises [redis://localhost] [job-42]</summary>
internal static class Promises
{
    internal static async Task RunAsync(string? url, string[] more)
    {
        string suffix = more.ElementAtOrDefault(0) ?? "job-42";
        await using var client = await RedmuxClient.ConnectAsync(url);
        await using var promises = client.Promises("p:");
        await promises.WaitActiveAsync();
        var kept = promises.New(suffix, TimeSpan.FromSeconds(5));
        var broken = promises.New("nobody", TimeSpan.FromSeconds(1));
        await client.FulfillAsync($"p:{suffix}", "done");
        Console.WriteLine($"promise on [p:{suffix}]: [{Encoding.UTF8.GetString((await kept).Span)}]");
        try
        {
            await broken;
        }
        catch (RedmuxTimeoutException)
        {
            Console.WriteLine("promise on [p:nobody]: nobody kept it");
        }
    }
}
