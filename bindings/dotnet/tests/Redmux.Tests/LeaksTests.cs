using System.Diagnostics;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Redmux.Tests;

/// <summary>Cancels and what is dropped leave nothing behind.</summary>
public sealed class LeaksTests(Fixture server) : WithServer(server)
{
    [Fact]
    public async Task A_storm_of_cancels_leaves_nothing()
    {
        await using var client = await ConnectAsync();
        await using var promises = client.Promises("p:");
        await promises.WaitActiveAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        for (int turn = 0; turn < 20; turn++)
        {
            using CancellationTokenSource cancel = new();
            List<Task> tasks = [];
            for (int n = 0; n < 20; n++)
            {
                tasks.Add(client.PublishAsync("x", "y", cancel.Token).AsTask());
                tasks.Add(sub.AddAsync($"c{n}", cancel.Token).AsTask());
                tasks.Add(promises.New($"{n}").WaitAsync(cancel.Token));
                tasks.Add(client.PromiseAsync($"q{n}", null, cancel.Token));
            }
            for (int n = 0; n < turn % 3; n++)
            {
                await Task.Yield();
            }
            await cancel.CancelAsync();
            foreach (Task task in tasks)
            {
                await task.ContinueWith(static ended => Assert.True(ended.IsCanceled || ended.IsCompletedSuccessfully), TaskScheduler.Default);
            }
        }
        // Promises by name that were in effect before their cancel came.
        await client.BarrierAsync();
        client.Stop();
        client.Restart();
        await client.ReadyAsync();
        await client.BarrierAsync();
        Assert.Equal(0, client.Core.Tokens.Count);
        Assert.Equal(0, client.Stats().GetProperty("operations").GetInt32());
    }

    [Fact]
    public async Task A_cancel_says_whose_it_was_and_reaches_the_library()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync([]);
        Server.Do("freeze");
        using CancellationTokenSource cancel = new();
        Task adding = sub.AddAsync("x", cancel.Token).AsTask();
        Assert.Equal(1, client.Stats().GetProperty("operations").GetInt32());
        await cancel.CancelAsync();
        var error = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => adding);
        Assert.Equal(cancel.Token, error.CancellationToken);
        Assert.Equal(0, client.Stats().GetProperty("operations").GetInt32());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await client.PublishAsync("x", "y", cancel.Token));
        Server.Do("thaw");
        await client.ReadyAsync();
    }

    [Fact]
    public async Task A_subscribe_that_is_cancelled_leaves_no_subscription()
    {
        await using var client = await ConnectAsync();
        Server.Do("freeze");
        using CancellationTokenSource cancel = new();
        Task<Subscription> pending = client.SubscribeAsync(["gone"], cancel.Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => pending);
        Server.Do("thaw");
        await UntilAsync(() => (int)Server.Do("numsub", ("channel", "gone"))! == 0);
    }

    [Fact]
    public async Task A_thousand_subscriptions_opened_and_closed_leave_nothing()
    {
        var before = Held.Now;
        await using (var client = await ConnectAsync())
        {
            for (int turn = 0; turn < 10; turn++)
            {
                Subscription[] subs = [.. Enumerable.Range(0, 100).Select(n => client.Subscribe([$"c{n}"]))];
                await subs[^1].WaitActiveAsync();
                foreach (Subscription sub in subs)
                {
                    await sub.DisposeAsync();
                }
            }
            await client.BarrierAsync();
            Assert.Equal(0, client.Stats().GetProperty("sources").GetInt32());
        }
        var after = await Held.SettledAsync(before);
        Assert.True(after.Item1 <= before.Descriptors && after.Item2 <= before.Threads, $"{before} before, {after} after");
    }

    [Fact]
    public async Task A_program_that_is_started_inherits_no_descriptor()
    {
        string before = await InheritedAsync();
        await using var client = await ConnectAsync();
        Assert.Equal(before, await InheritedAsync());
    }

    private static async Task<string> InheritedAsync()
    {
        using Process process = Process.Start(new ProcessStartInfo("ls", "/proc/self/fd") { RedirectStandardOutput = true })!;
        string listed = await process.StandardOutput.ReadToEndAsync().WaitAsync(Bound);
        await process.WaitForExitAsync().WaitAsync(Bound);
        return listed;
    }

    [Fact]
    public async Task What_is_dropped_without_dispose_is_closed_and_said()
    {
        using Logs logs = new();
        var before = Held.Now;
        await using (var client = await ConnectAsync(logs))
        {
            DropSubscription(client);
            Collect();
            await logs.UntilAsync(LogLevel.Warning, "redmux subscription to channels: closed was not disposed");
            await client.BarrierAsync();
            Assert.Equal(0, (int)Server.Do("numsub", ("channel", "x"))!);
            DropPromises(client);
            Collect();
            await logs.UntilAsync(LogLevel.Warning, "redmux promises of 'p:': closed was not disposed");
        }
        Task ended = DropClient(new RedmuxOptions { Url = Server.Url, LoggerFactory = logs });
        Collect();
        await logs.UntilAsync(LogLevel.Warning, "redmux client of");
        await ended.WaitAsync(Bound);
        var after = await Held.SettledAsync(before);
        Assert.True(after.Item1 <= before.Descriptors && after.Item2 <= before.Threads, $"{before} before, {after} after");
    }

    private static void Collect()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void DropSubscription(RedmuxClient client) => client.Subscribe(["x"]);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void DropPromises(RedmuxClient client) => client.Promises("p:");

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Task DropClient(RedmuxOptions options) => RedmuxClient.Open(options).Core.Ended;

    [Fact]
    public async Task Whoever_waits_keeps_alive_what_it_waits_for()
    {
        using Fixture server = new();
        Task<string> heard = ListenAsync(server.Url);
        while ((int)server.Do("numsub", ("channel", "x"))! == 0)
        {
            Collect();
        }
        for (int n = 0; n < 5; n++)
        {
            Collect();
            await Task.Yield();
        }
        Assert.Equal(1, server.Publish("x", "still here"));
        Assert.Equal("still here", await heard.WaitAsync(Bound));

        static async Task<string> ListenAsync(string url)
        {
            var client = await RedmuxClient.ConnectAsync(url);
            var sub = await client.SubscribeAsync(["x"]);
            string text = (await sub.ReadAsync()).Text();
            await client.DisposeAsync();
            return text;
        }
    }
}
