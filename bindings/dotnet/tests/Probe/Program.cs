// Small programs that tests run in a process of their own:  Probe VERB [URL]

using Redmux;

string? url = args.ElementAtOrDefault(1);
switch (args[0])
{
    case "publish": // connects as the environment and the URL say
        await using (var client = await RedmuxClient.ConnectAsync(url))
        {
            Console.WriteLine(await client.PublishAsync("x", "y"));
        }
        break;

    case "hear":
        await using (var client = await RedmuxClient.ConnectAsync(url))
        await using (var sub = await client.SubscribeAsync(["x"]))
        {
            Console.WriteLine(await client.PublishAsync("x", "hi"));
            Console.WriteLine($"{(await sub.ReadAsync()).Text()} on {Environment.Version.Major}");
        }
        break;

    case "environment": // what is not said to a call is as the environment says it
        await using (var client = await RedmuxClient.ConnectAsync())
        {
            await using var responder = await client.RespondAsync("x", request =>
            {
                request.Answer("1");
                return new("2");
            });
            var gather = client.Gather("x", "", new() { Expect = 3 });
            await gather.ToListAsync();
            Console.WriteLine(gather.End!.Reason);
            await using var sub = await client.SubscribeAsync(["news"], new SubscribeOptions { InboxRecords = 8 });
            for (int n = 0; n < 20; n++)
            {
                client.TryPost("news", "x");
            }
            await client.BarrierAsync();
            try
            {
                await foreach (var message in sub) { }
            }
            catch (RedmuxSlowConsumerException)
            {
                Console.WriteLine("slow consumer");
            }
        }
        break;

    case "exit": // leaves while everything is at work
        {
            var client = await RedmuxClient.ConnectAsync(url);
            TaskCompletionSource heard = new();
            var called = await client.SubscribeAsync(["x"], new SubscribeOptions { OnMessage = _ => { heard.TrySetResult(); return default; } });
            var read = await client.SubscribeAsync(["x"]);
            _ = Task.Run(async () => { await foreach (var message in read) { } });
            for (int n = 0; n < 50; n++)
            {
                client.TryPost("x", "y");
            }
            await heard.Task;
            GC.KeepAlive(called);
        }
        break;

    default:
        return 2;
}
return 0;
