using Xunit;

namespace Redmux.Tests;

/// <summary>Which thread goes on with what, and who may block it; processes that end.</summary>
public sealed class ThreadsTests(Fixture server) : WithServer(server)
{
    [Fact]
    public async Task A_waiting_loop_goes_on_in_the_readers_thread_and_what_is_behind_it_does_not()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        bool inside = false;
        await Task.Run(async () =>
        {
            // A message that comes before the loop has said where it goes on, finds it in its own thread. That is one
            // round in many, so of a hundred one goes on in the reader's. Behind the loop none does, however quickly.
            for (int n = 0; n < 100; n++)
            {
                Task publish = PublishWhenRead(client, sub);
                await foreach (var message in sub)
                {
                    inside |= client.Core.OnReader;
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
    public async Task What_is_behind_a_read_may_block_and_holds_nobody_up()
    {
        await using var client = await ConnectAsync();
        await using var one = await client.SubscribeAsync(["x"]);
        await using var other = await client.SubscribeAsync(["z"]);
        using ManualResetEventSlim entered = new(), leave = new();
        bool own = false;
        // Whether a read goes on on the lane is a matter of who else is there, so of a hundred one does, where there is one.
        for (int n = 0; n < 100 && (n == 0 || own != (Environment.ProcessorCount == 1)); n++)
        {
            entered.Reset();
            leave.Reset();
            Task blocked = Task.Run(async () =>
            {
                await one.ReadAsync();
                own |= Thread.CurrentThread.Name == "redmux-lane";
                Assert.False(client.Core.OnReader);
                entered.Set();
                Assert.True(leave.Wait(Bound));
            });
            await PublishWhenRead(client, one);
            Assert.True(entered.Wait(Bound));
            ValueTask<Message> read = other.ReadAsync();
            Assert.Equal(1, await client.PublishAsync("z", "y").AsTask().WaitAsync(Bound));
            Assert.Equal("y", (await read.AsTask().WaitAsync(Bound)).Text());
            leave.Set();
            await blocked.WaitAsync(Bound);
        }
        Assert.Equal(Environment.ProcessorCount == 1, own);
    }

    [Fact]
    public async Task A_result_that_is_not_there_yet_is_an_error_and_the_operation_goes_on()
    {
        await using var client = await ConnectAsync();
        Server.Do("freeze");
        ValueTask<long> publish = client.PublishAsync("x", "y");
        ValueTask flush = client.FlushAsync();
        var error = Assert.Throws<InvalidOperationException>(() => Blocked(publish));
        Assert.Contains("AsTask()", error.Message, StringComparison.Ordinal);
        Assert.Throws<InvalidOperationException>(() => flush.GetAwaiter().GetResult());
        Task<long> others = Task.WhenAll(Enumerable.Range(0, 3).Select(_ => client.PublishAsync("x", "z").AsTask())).ContinueWith(all => all.Result.Sum(), TaskScheduler.Default);
        Server.Do("thaw");
        Assert.Equal(0, await others.WaitAsync(Bound));
        Assert.Equal(0, await publish.AsTask().WaitAsync(Bound));
        await flush.AsTask().WaitAsync(Bound);
        Assert.Equal(0, client.PublishAsync("x", "y").AsTask().Result);
    }

    /// <summary>What the analysers warn of, and programs do.</summary>
    private static T Blocked<T>(ValueTask<T> task) => task.GetAwaiter().GetResult();

    [Fact]
    public async Task A_thread_may_block_for_the_next_message()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        Task<Message> read = Task.Factory.StartNew(() => Blocked(sub.ReadAsync()), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        await Task.WhenAny(PublishWhenRead(client, sub), read).WaitAsync(Bound);
        Assert.Equal("y", (await read.WaitAsync(Bound)).Text());
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
}
