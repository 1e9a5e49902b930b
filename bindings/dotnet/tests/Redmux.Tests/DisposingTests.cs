using Xunit;

namespace Redmux.Tests;

/// <summary>Disposes at bad moments: of what somebody reads, waits for, or is called by.</summary>
public sealed class DisposingTests(Fixture server) : WithServer(server)
{
    [Fact]
    public async Task Use_after_dispose_throws_object_disposed()
    {
        var client = await ConnectAsync();
        var sub = await client.SubscribeAsync(["x"]);
        var promises = client.Promises("p:");
        var responder = await client.RespondAsync("x", request => new(request.Data));
        await client.DisposeAsync();
        await client.DisposeAsync();
        client.Dispose();
        Func<Task>[] calls =
        [
            async () => await client.PublishAsync("x", "y"), async () => await client.FlushAsync(), async () => await client.BarrierAsync(),
            async () => await client.ReadyAsync(), () => client.SubscribeAsync(["y"]), () => client.SubscribePatternAsync("y*"),
            async () => await sub.AddAsync("z"), async () => await sub.RemoveAsync("z"), async () => await sub.ReadAsync(),
            async () => await sub.ClearAsync(), async () => await sub.DrainAsync(), async () => await promises.WaitActiveAsync(),
            () => client.PromiseAsync("q"), async () => await client.AuthenticateAsync(null, "p"), async () => await responder.DrainAsync(),
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

    [Fact]
    public async Task A_close_may_wait_for_publishes_for_ever()
    {
        foreach (TimeSpan time in (TimeSpan[])[Timeout.InfiniteTimeSpan, TimeSpan.MaxValue])
        {
            var client = await ConnectAsync();
            Server.Do("freeze");
            Task<long> publish = client.PublishAsync("x", "y").AsTask();
            Task closing = client.CloseAsync(time).AsTask();
            Server.Do("thaw");
            Assert.Equal(0, await publish.WaitAsync(Bound));
            await closing.WaitAsync(Bound);
        }
    }

    [Fact]
    public async Task A_close_with_a_time_below_zero_closes_nothing()
    {
        await using var client = await ConnectAsync();
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await client.CloseAsync(TimeSpan.FromSeconds(-5)));
        Assert.Equal(0, await client.PublishAsync("x", "y"));
    }

    [Fact]
    public async Task Waiting_for_ever_for_the_first_connection_gives_an_attempt_the_time_that_it_has_anyway()
    {
        RedmuxOptions options = new() { Url = Server.Url, ConnectTimeout = Timeout.InfiniteTimeSpan };
        Assert.DoesNotContain("connect_timeout", options.All().Keys);
        await using var client = await RedmuxClient.ConnectAsync(options);
        Assert.Equal(0, await client.PublishAsync("x", "y"));
    }
}
