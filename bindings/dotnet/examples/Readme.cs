using Redmux;

static class Readme
{
    public static async Task RunAsync()
    {
        await using var client = await RedmuxClient.ConnectAsync();
        await using var sub = await client.SubscribeAsync(["my_channel", "sport"]);
        long receivers = await client.PublishAsync("my_channel", "hello");

        await foreach (var message in sub)
        {
            Console.WriteLine($"I heard [{message.Text()}] on channel [{message.Channel}]");
            break;
        }

        await using var promises = client.Promises("p:");
        await promises.WaitActiveAsync();
        var promise = promises.New("job-42", TimeSpan.FromSeconds(5));
        await client.FulfillAsync("p:job-42", "done");
        var kept = await promise;
        Console.WriteLine($"{receivers} receiver, and a promise kept with {kept.Length} bytes");
    }
}
