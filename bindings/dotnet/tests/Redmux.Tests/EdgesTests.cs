using System.Diagnostics;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Redmux.Tests;

/// <summary>Where wrappers break: disposes at bad moments, cancels, leaks, exits, floods and threads.</summary>
public sealed class EdgesTests(Fixture server) : WithServer(server)
{
    // --- disposing

    [Fact]
    public async Task Use_after_dispose_throws_object_disposed()
    {
        var client = await ConnectAsync();
        var sub = await client.SubscribeAsync(["x"]);
        var promises = client.Promises("p:");
        await client.DisposeAsync();
        await client.DisposeAsync();
        client.Dispose();
        Func<Task>[] calls =
        [
            async () => await client.PublishAsync("x", "y"), async () => await client.FlushAsync(), async () => await client.BarrierAsync(),
            async () => await client.ReadyAsync(), () => client.SubscribeAsync(["y"]), () => client.SubscribePatternAsync("y*"),
            async () => await sub.AddAsync("z"), async () => await sub.RemoveAsync("z"), async () => await sub.ReadAsync(),
            async () => await sub.ClearAsync(), async () => await sub.DrainAsync(), async () => await promises.WaitActiveAsync(),
            () => client.PromiseAsync("q"), async () => await client.AuthenticateAsync(null, "p"),
        ];
        foreach (Func<Task> call in calls)
        {
            await Assert.ThrowsAsync<ObjectDisposedException>(call);
        }
        Action[] plain =
        [
            () => client.TryPost("x", "y"), client.Stop, client.Restart, () => client.Stats(), () => promises.New("a"), () => promises.Clear(),
            () => sub.TryRead(out _), () => sub.Add("z"), () => _ = sub.Channels, () => client.Promises("r:"), () => client.Subscribe(["y"]),
        ];
        foreach (Action call in plain)
        {
            Assert.Throws<ObjectDisposedException>(call);
        }
        await foreach (var message in sub)
        {
            Assert.Fail($"{message}");
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Dispose_ends_a_blocked_read_and_every_wait(bool async)
    {
        var client = await ConnectAsync();
        var looped = await client.SubscribeAsync(["x"]);
        var read = await client.SubscribeAsync(["y"]);
        var told = await client.SubscribeAsync(["z"]);
        await told.ReadAsync(new CancellationToken(true)).AsTask().ContinueWith(_ => { }, TaskScheduler.Default); // its active is read
        Task<int> loop = LoopAsync(looped);
        Task<Message> reading = read.ReadAsync().AsTask();
        Task<int> events = EventsAsync(told);
        var promise = await client.PromiseAsync("p", Timeout.InfiniteTimeSpan);
        Task kept = promise.WaitAsync();
        if (async)
        {
            await client.DisposeAsync();
        }
        else
        {
            client.Dispose();
        }
        Assert.Equal(0, await loop.WaitAsync(Bound));
        await events.WaitAsync(Bound);
        await Assert.ThrowsAsync<RedmuxClosedException>(() => reading.WaitAsync(Bound));
        await Assert.ThrowsAsync<RedmuxClosedException>(() => kept.WaitAsync(Bound));
    }

    private static async Task<int> LoopAsync(Subscription sub)
    {
        int count = 0;
        await foreach (var message in sub)
        {
            count++;
        }
        return count;
    }

    private static async Task<int> EventsAsync(Subscription sub)
    {
        int count = 0;
        await foreach (IEvent happened in sub.EventsAsync())
        {
            count++;
        }
        return count;
    }

    [Fact]
    public async Task Disposing_a_subscription_ends_its_loop_and_no_other()
    {
        await using var client = await ConnectAsync();
        var one = await client.SubscribeAsync(["x"]);
        await using var other = await client.SubscribeAsync(["x"]);
        Task<int> loop = LoopAsync(one);
        await one.DisposeAsync();
        Assert.Equal(0, await loop.WaitAsync(Bound));
        Assert.Equal(1, await client.PublishAsync("x", "y"));
        Assert.Equal("y", (await other.ReadAsync()).Text());
    }

    [Fact]
    public async Task A_callback_may_dispose_the_client()
    {
        TaskCompletionSource disposed = new();
        var client = await ConnectAsync();
        await client.SubscribeAsync(["x"], new SubscribeOptions
        {
            OnMessage = async _ =>
            {
                await client.DisposeAsync();
                disposed.SetResult();
            },
        });
        client.TryPost("x", "y");
        await disposed.Task.WaitAsync(Bound);
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await client.FlushAsync());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task No_callback_runs_when_a_dispose_has_returned(bool async)
    {
        int running = 0, calls = 0;
        var client = await ConnectAsync();
        await client.SubscribeAsync(["x"], new SubscribeOptions
        {
            OnMessage = async _ =>
            {
                Interlocked.Increment(ref running);
                Interlocked.Increment(ref calls);
                await Task.Yield();
                Interlocked.Decrement(ref running);
            },
        });
        for (int n = 0; n < 1000; n++)
        {
            client.TryPost("x", "y");
        }
        while (Volatile.Read(ref calls) == 0)
        {
            await Task.Yield();
        }
        if (async)
        {
            await client.DisposeAsync();
        }
        else
        {
            client.Dispose();
        }
        int seen = calls;
        Assert.Equal(0, running);
        await Task.Yield();
        Assert.Equal(seen, calls);
    }

    [Fact]
    public async Task A_loop_that_blocks_the_readers_thread_does_not_hold_a_dispose_up_for_ever()
    {
        using ManualResetEventSlim entered = new(), leave = new();
        var client = await ConnectAsync();
        var sub = await client.SubscribeAsync(["x"]);
        Task loop = Loop();
        client.TryPost("x", "y");
        Assert.True(entered.Wait(Bound));
        await client.CloseAsync(TimeSpan.FromMilliseconds(10)); // returns although the loop does not
        Assert.False(loop.IsCompleted);
        leave.Set();
        await loop.WaitAsync(Bound);

        async Task Loop()
        {
            await foreach (var message in sub)
            {
                entered.Set();
                leave.Wait(Bound);
            }
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_loop_may_dispose_its_client(bool async)
    {
        var client = await ConnectAsync();
        var sub = await client.SubscribeAsync(["x"]);
        Task looping = Loop();
        client.TryPost("x", "y");
        await looping.WaitAsync(Bound);
        await client.Core.Ended.WaitAsync(Bound);

        async Task Loop()
        {
            await foreach (var message in sub)
            {
                if (async)
                {
                    await client.DisposeAsync();
                }
                else
                {
                    client.Dispose();
                }
            }
        }
    }

    [Fact]
    public async Task A_failed_connect_says_why_and_leaves_nothing()
    {
        RedmuxOptions options = new() { Url = "redis://127.0.0.1:1", ConnectTimeout = TimeSpan.FromMilliseconds(200) };
        var error = await Assert.ThrowsAsync<RedmuxTimeoutException>(() => RedmuxClient.ConnectAsync(options));
        Assert.Contains("127.0.0.1:1", error.Message, StringComparison.Ordinal);
        using CancellationTokenSource cancel = new();
        options.ConnectTimeout = TimeSpan.FromMinutes(1);
        Task<RedmuxClient> connecting = RedmuxClient.ConnectAsync(options, cancel.Token);
        await cancel.CancelAsync();
        var cancelled = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => connecting);
        Assert.Equal(cancel.Token, cancelled.CancellationToken);
    }

    // --- reading

    [Fact]
    public async Task A_second_reader_is_told()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        Task<Message> first = sub.ReadAsync().AsTask();
        Assert.True(sub.IsRead);
        await Assert.ThrowsAsync<RedmuxStateException>(async () => await sub.ReadAsync());
        client.TryPost("x", "y");
        Assert.Equal("y", (await first).Text());
    }

    [Fact]
    public async Task A_read_that_is_cancelled_loses_no_message()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        for (int n = 0; n < 200; n++)
        {
            using CancellationTokenSource cancel = new();
            Task<Message> reading = sub.ReadAsync(cancel.Token).AsTask();
            Task publish = client.PublishAsync("x", $"{n}").AsTask();
            await cancel.CancelAsync();
            string text;
            try
            {
                text = (await reading).Text();
            }
            catch (OperationCanceledException error)
            {
                Assert.Equal(cancel.Token, error.CancellationToken);
                text = (await sub.ReadAsync()).Text();
            }
            Assert.Equal($"{n}", text);
            await publish;
        }
    }

    [Fact]
    public async Task A_loop_that_is_left_goes_on_later_without_a_loss()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        for (int n = 0; n < 100; n++)
        {
            client.TryPost("x", $"{n}");
        }
        await client.BarrierAsync();
        List<string> seen = [];
        for (int n = 0; n < 50; n++)
        {
            await foreach (var message in sub)
            {
                seen.Add(message.Text());
                break;
            }
            Assert.True(sub.TryRead(out Message next));
            seen.Add(next.Text());
        }
        Assert.Equal(Enumerable.Range(0, 100).Select(n => $"{n}"), seen);
        Assert.False(sub.TryRead(out _));
    }

    [Fact]
    public async Task A_waiting_loop_goes_on_in_the_readers_thread_and_what_is_behind_it_does_not()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        bool inside = false;
        await Task.Run(async () =>
        {
            // A message that comes before the loop has said where it goes on, finds it in its own thread. That is one
            // round in many, so of a hundred one goes on in the reader's.
            for (int n = 0; n < 100 && !inside; n++)
            {
                Task publish = PublishWhenRead(client, sub);
                await foreach (var message in sub)
                {
                    inside = client.Core.OnReader;
                    break;
                }
                Assert.False(client.Core.OnReader);
                await publish;
            }
            for (int n = 0; n < 10; n++)
            {
                Task publish = PublishWhenRead(client, sub);
                await sub.ReadAsync();
                Assert.False(client.Core.OnReader);
                await publish;
            }
        }).WaitAsync(Bound);
        Assert.True(inside);

        await using var hops = await client.SubscribeAsync(["x"], new SubscribeOptions { RunContinuationsAsynchronously = true });
        Task sent = PublishWhenRead(client, hops);
        await foreach (var message in hops)
        {
            Assert.False(client.Core.OnReader);
            client.PublishAsync("x", "z").AsTask().Wait(Bound); // may be blocked
            break;
        }
        await sent;
    }

    private static async Task PublishWhenRead(RedmuxClient client, Subscription sub)
    {
        while (!sub.IsRead)
        {
            await Task.Yield();
        }
        await client.PublishAsync("x", "y");
    }

    [Fact]
    public async Task A_flood_leaves_the_client_to_others()
    {
        await using var client = await ConnectAsync();
        await using var flooded = await client.SubscribeAsync(["flood"], new SubscribeOptions { InboxBytes = 1 << 30 });
        await using var other = await client.SubscribeAsync(["other"]);
        using CancellationTokenSource enough = new();
        long read = 0;
        Task flood = Task.Run(async () =>
        {
            while (!enough.IsCancellationRequested)
            {
                for (int n = 0; n < 1000; n++)
                {
                    client.TryPost("flood", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
                }
                await client.FlushAsync();
            }
        });
        Task loop = Task.Run(async () =>
        {
            await foreach (var message in flooded)
            {
                read++;
            }
        });
        for (int n = 0; n < 200; n++)
        {
            Assert.Equal(1, await client.PublishAsync("other", $"{n}").AsTask().WaitAsync(Bound));
            Assert.Equal($"{n}", (await other.ReadAsync().AsTask().WaitAsync(Bound)).Text());
        }
        await enough.CancelAsync();
        await flood;
        await client.BarrierAsync();
        await flooded.DisposeAsync();
        await loop.WaitAsync(Bound);
        Assert.True(read > 0);
    }

    [Fact]
    public async Task A_loop_may_publish_and_change_its_channels()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["c0"]);
        client.TryPost("c0", "go");
        int turn = 0;
        await foreach (var message in sub)
        {
            Assert.Equal($"c{turn}", message.Channel);
            if (++turn == 50)
            {
                break;
            }
            await sub.AddAsync($"c{turn}");
            await sub.RemoveAsync(message.Channel);
            Assert.Equal(1, await client.PublishAsync($"c{turn}", "on"));
        }
        Assert.Equal(["c49"], sub.Channels);
    }

    [Fact]
    public async Task Reading_allocates_no_more_than_the_messages_bytes()
    {
        const int Count = 20_000;
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"], new SubscribeOptions { InboxBytes = 1 << 30 });
        byte[] payload = new byte[64];
        for (int n = 0; n < Count; n++)
        {
            Assert.True(client.TryPost("x", payload));
        }
        await client.BarrierAsync();
        long before = GC.GetAllocatedBytesForCurrentThread();
        int read = 0;
        while (sub.TryRead(out Message message))
        {
            read += message.Data.Length == 64 ? 1 : 0;
        }
        long each = (GC.GetAllocatedBytesForCurrentThread() - before) / Count;
        Assert.Equal(Count, read);
        Assert.InRange(each, 64, 140);
    }

    [Fact]
    public async Task No_array_of_a_block_is_a_large_object()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"], new SubscribeOptions { InboxBytes = 1 << 30 });
        for (int n = 0; n < 5_000; n++)
        {
            client.TryPost("x", new byte[100]);
        }
        await client.BarrierAsync();
        while (sub.TryRead(out Message message))
        {
            Assert.True(System.Runtime.InteropServices.MemoryMarshal.TryGetArray(message.Data, out var segment));
            Assert.True(segment.Array!.Length < 85_000 - 24);
        }
    }

    [Fact]
    public async Task Under_pressure_of_the_garbage_collector_every_message_stays_whole()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        using SemaphoreSlim turn = new(0);
        Task pressure = Task.Run(async () =>
        {
            // One at a time: collections without a pause leave no other thread of .NET any time at all.
            for (int n = 0; n < 300; n++)
            {
                await turn.WaitAsync();
                GC.Collect(GC.MaxGeneration, GCCollectionMode.Forced, blocking: true, compacting: true);
            }
        });
        List<Message> kept = [];
        for (int n = 0; n < 300; n++)
        {
            turn.Release();
            Task<long> publish = client.PublishAsync("x", $"message {n}").AsTask();
            kept.Add(await sub.ReadAsync());
            Assert.Equal(1, await publish);
        }
        await pressure.WaitAsync(Bound);
        Assert.Equal(Enumerable.Range(0, 300).Select(n => $"message {n}"), kept.Select(message => message.Text()));
    }

    // --- cancels and leaks

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
        await client.BarrierAsync();
        Assert.Equal(0, (int)Server.Do("numsub", ("channel", "gone"))!);
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

    // --- threads and processes

    [Fact]
    public async Task Many_threads_share_a_client()
    {
        await using var client = await ConnectAsync();
        await Task.WhenAll(Enumerable.Range(0, 8).Select(name => Task.Run(async () =>
        {
            await using var sub = await client.SubscribeAsync([$"t{name}"]);
            for (int n = 0; n < 200; n++)
            {
                Assert.Equal(1, await client.PublishAsync($"t{name}", $"{n}"));
                Assert.Equal($"{n}", (await sub.ReadAsync()).Text());
            }
        }))).WaitAsync(Bound);
    }

    [Fact]
    public async Task Publishes_race_with_a_dispose_and_each_ends()
    {
        for (int turn = 0; turn < 20; turn++)
        {
            var client = await ConnectAsync();
            Task[] publishing = [.. Enumerable.Range(0, 20).Select(_ => Task.Run(async () =>
            {
                try
                {
                    while (true)
                    {
                        await client.PublishAsync("x", "y");
                    }
                }
                catch (Exception error) when (error is ObjectDisposedException or RedmuxException)
                {
                }
            }))];
            await Task.Yield();
            await client.DisposeAsync();
            await Task.WhenAll(publishing).WaitAsync(Bound);
        }
    }

    [Fact]
    public async Task A_process_may_exit_with_an_open_client_a_hundred_times()
    {
        for (int turn = 0; turn < 25; turn++)
        {
            foreach (var ended in await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Running.EndAsync("Probe", "_net10.0", ["exit", Server.Url]))))
            {
                Assert.Equal((0, "", ""), ended);
            }
        }
    }

    [Theory]
    [InlineData("_net8.0", 8)]
    [InlineData("_net10.0", 10)]
    public async Task It_runs_on_each_framework_that_it_is_built_for(string framework, int major)
    {
        var (status, output, error) = await Running.EndAsync("Probe", framework, ["hear", Server.Url], ("DOTNET_ROLL_FORWARD", "Major"));
        Assert.Equal((0, ""), (status, error));
        Assert.Matches($"^1\nhi on ({major}|1\\d)\n$", output); // a machine with a newer runtime alone rolls forward
    }

    // --- arguments

    [Fact]
    public async Task Wrong_options_and_arguments_are_named()
    {
        var error = await Assert.ThrowsAsync<RedmuxArgumentException>(() => RedmuxClient.ConnectAsync(new RedmuxOptions { Url = Server.Url, ["inbox_recrods"] = "5" }));
        Assert.Contains("inbox_records", error.Message, StringComparison.Ordinal);
        await using var client = await ConnectAsync();
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await client.PublishAsync("x", "y", TimeSpan.FromSeconds(-5)));
        await Assert.ThrowsAsync<ArgumentNullException>(async () => await client.PublishAsync(null!, "y"));
        await Assert.ThrowsAsync<ArgumentNullException>(() => client.SubscribeAsync([null!]));
        Assert.Throws<ArgumentException>(() => client.TryPost("\ud800", "y"));
        await using var pattern = await client.SubscribePatternAsync("a*");
        await Assert.ThrowsAsync<RedmuxStateException>(async () => await pattern.AddAsync("b"));
    }

    [Fact]
    public async Task Any_bytes_are_names_and_payloads()
    {
        byte[][] odd = [[0xff, 0x00], [0xe2, 0x82], "ü"u8.ToArray(), [], [0xed, 0xb2, 0x80], [0xf0, 0x9f, 0x98, 0x80, 0x80]];
        foreach (byte[] bytes in odd)
        {
            Assert.Equal(bytes, ChannelName.ToBytes(ChannelName.FromBytes(bytes)));
        }
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync([ChannelName.FromBytes(odd[0]), "ü"]);
        await client.PublishAsync(ChannelName.FromBytes(odd[0]), new byte[] { 0 });
        var message = await sub.ReadAsync();
        Assert.Equal(odd[0], ChannelName.ToBytes(message.Channel));
        Assert.Equal([0], message.Data.ToArray());
        await client.PublishAsync("ü", ReadOnlyMemory<byte>.Empty);
        message = await sub.ReadAsync();
        Assert.Equal(("ü", 0), (message.Channel, message.Data.Length));
        Assert.InRange(message.Time, DateTimeOffset.UtcNow.AddMinutes(-1), DateTimeOffset.UtcNow.AddMinutes(1));
    }

    [Fact]
    public async Task Live_counts_what_is_open()
    {
        await using var client = await ConnectAsync();
        Assert.True(Native.redmux_debug_live() > 0);
    }
}
