using System.Globalization;
using Redmux;

/// <summary>Every instance counts something; any of them knows the total. Each line on standard input asks for it:  total [redis://localhost] [5]</summary>
internal static class Total
{
    internal static async Task RunAsync(string? url, string[] more)
    {
        string count = more.ElementAtOrDefault(0) ?? "5";
        await using var client = await RedmuxClient.ConnectAsync(url);
        await using var responder = await client.RespondAsync("count", _ => new(count));
        Console.WriteLine($"counting {count}");
        while (await Console.In.ReadLineAsync() is not null)
        {
            var gather = client.Gather("count", "", new() { Timeout = TimeSpan.FromSeconds(5), Strict = true }); // also who is late to take it
            var answers = await gather.ToListAsync();
            int total = answers.Sum(answer => int.Parse(answer.Text(), CultureInfo.InvariantCulture));
            Console.WriteLine($"total: {total} of {answers.Count} instances, {gather.End!.Missing.Count} missing");
        }
    }
}
