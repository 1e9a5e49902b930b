using System.Diagnostics;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Redmux.Tests;

/// <summary>Who watches a client: listeners, loggers and OnState are the application's, and what they throw or hold up stays theirs.</summary>
public sealed class WatchedTests(Fixture server) : WithServer(server)
{
    private static ActivityListener Listen(Action<Activity> started)
    {
        ActivityListener listener = new()
        {
            ShouldListenTo = source => source.Name == RedmuxTelemetry.Name,
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStarted = started,
        };
        ActivitySource.AddActivityListener(listener);
        return listener;
    }

    private static ValueTask<Reply?> Echo(Request request) => new(request.Data);

    [Fact]
    public async Task What_is_published_and_asked_leaves_the_callers_activity_as_it_was()
    {
        List<string?> parents = [];
        using ActivityListener listener = Listen(activity =>
        {
            if (activity.Kind == ActivityKind.Producer) { parents.Add(activity.ParentId); }
        });
        await using var client = await RedmuxClient.ConnectAsync(new RedmuxOptions { Url = Server.Url, ["strict"] = "true" });
        await using var responder = await client.RespondAsync("echo", Echo);
        using Activity mine = new Activity("mine").SetIdFormat(ActivityIdFormat.W3C).Start();
        for (int n = 0; n < 3; n++)
        {
            ValueTask<long> publish = client.PublishAsync("x", "y");
            Assert.Same(mine, Activity.Current);
            await publish;
            Assert.Same(mine, Activity.Current);
        }
        await client.RequestAsync("echo", "");
        await client.Gather("echo", "", new() { Expect = 1 }).ToListAsync();
        Assert.Same(mine, Activity.Current);
        client.Stop();
        await Assert.ThrowsAsync<RedmuxStateException>(async () => await client.PublishAsync("x", "y"));
        Assert.Same(mine, Activity.Current);
        Assert.Equal([mine.Id, mine.Id, mine.Id, mine.Id], parents);
    }

    [Fact]
    public async Task A_listener_that_throws_costs_its_request_and_no_other()
    {
        await using var client = await RedmuxClient.ConnectAsync(new RedmuxOptions { Url = Server.Url, ["strict"] = "true" });
        await using var responder = await client.RespondAsync("echo", Echo, new() { Concurrency = 1 });
        using (Listen(_ => throw new NotSupportedException("no more spans")))
        {
            for (int n = 0; n < 3; n++)
            {
                var error = await Assert.ThrowsAsync<RedmuxRemoteException>(() => client.RequestAsync("echo", ""));
                Assert.Equal(("NotSupportedException", "no more spans"), (error.RemoteCode, error.Message));
            }
        }
        Assert.Equal("again", (await client.RequestAsync("echo", "again")).Text());
    }

    private sealed class Broken(bool enabled) : ILoggerFactory, ILogger
    {
        internal int Asked;

        public ILogger CreateLogger(string categoryName) => this;

        public void AddProvider(ILoggerProvider provider) { }

        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => throw new NotSupportedException();

        public bool IsEnabled(LogLevel logLevel)
        {
            Interlocked.Increment(ref Asked);
            return enabled ? true : throw new NotSupportedException("the logger is broken");
        }

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            throw new NotSupportedException("the logger is broken");

        public void Dispose() { }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_logger_that_throws_harms_nothing(bool enabled)
    {
        using Broken logs = new(enabled);
        Channel<RedmuxState> states = Channel.CreateUnbounded<RedmuxState>();
        RedmuxOptions options = new()
        {
            Url = Server.Url,
            LoggerFactory = logs,
            OnState = (state, _) =>
            {
                states.Writer.TryWrite(state);
                throw new FormatException("a callback that fails");
            },
        };
        await using var client = await RedmuxClient.ConnectAsync(options);
        await using var sub = await client.SubscribeAsync(["x"]);
        await using var responder = await client.RespondAsync("fails", _ => throw new KeyNotFoundException("user"));
        Assert.Equal("KeyNotFoundException", (await Assert.ThrowsAsync<RedmuxRemoteException>(() => client.RequestAsync("fails", ""))).RemoteCode);
        Server.Do("kill_pubsub");
        foreach (RedmuxState wanted in (RedmuxState[])[RedmuxState.Offline, RedmuxState.Online])
        {
            while (await states.Reader.ReadAsync().AsTask().WaitAsync(Bound) != wanted)
            {
            }
        }
        await sub.WaitActiveAsync();
        await client.PublishAsync("x", "y");
        Assert.Equal("y", (await sub.ReadAsync().AsTask().WaitAsync(Bound)).Text()); // behind what is told of the loss
        Assert.True(logs.Asked > 0);
    }

    [Fact]
    public async Task A_block_is_given_back_also_where_a_look_at_it_throws()
    {
        await using var client = await ConnectAsync();
        ulong inbox = client.Core.NewInbox(null);
        Assert.Equal(Native.Ok, Native.redmux_client_barrier(client.Core.Handle, inbox, 1, 0));
        Assert.Throws<FormatException>(() => ClientCore.Each(inbox, 30_000, (in RawRecord _, ReadOnlySpan<byte> _) => throw new FormatException()));
        // And so nothing is live when the test has ended.
        Assert.Equal(Native.Ok, Native.redmux_inbox_close(inbox, 0));
    }

    [Fact]
    public async Task A_close_returns_when_the_last_state_was_told()
    {
        TaskCompletionSource entered = new();
        using ManualResetEventSlim leave = new();
        int begun = 0, ended = 0;
        var client = await RedmuxClient.ConnectAsync(new RedmuxOptions
        {
            Url = Server.Url,
            OnState = (_, _) =>
            {
                begun++;
                entered.TrySetResult();
                leave.Wait(Bound);
                ended++;
            },
        });
        await entered.Task.WaitAsync(Bound);
        Task closing = client.CloseAsync(TimeSpan.FromMinutes(5)).AsTask();
        await client.Core.Ended.WaitAsync(Bound);
        for (int n = 0; n < 1000 && !closing.IsCompleted; n++)
        {
            await Task.Yield(); // time for a close that does not wait to return
        }
        Assert.False(closing.IsCompleted);
        leave.Set();
        await closing.WaitAsync(Bound);
        int seen = begun;
        Assert.Equal(seen, ended);
        await Task.Yield();
        Assert.Equal(seen, begun);
    }

    [Fact]
    public async Task OnState_may_close_the_client_and_does_not_wait_for_itself()
    {
        TaskCompletionSource<RedmuxClient> opened = new();
        TaskCompletionSource closed = new();
        opened.SetResult(await RedmuxClient.ConnectAsync(new RedmuxOptions
        {
            Url = Server.Url,
            OnState = (_, _) =>
            {
                opened.Task.Result.CloseAsync(TimeSpan.FromMinutes(5)).AsTask().Wait();
                closed.TrySetResult();
            },
        }));
        await closed.Task.WaitAsync(Bound);
        await (await opened.Task).CloseAsync(TimeSpan.FromMinutes(5)).AsTask().WaitAsync(Bound);
    }

    [Fact]
    public async Task No_handler_begins_when_its_responder_was_disposed()
    {
        Responder? responder = null;
        int begun = 0;
        await using var client = await ConnectAsync();
        responder = await client.RespondAsync("x", request =>
        {
            begun++;
            return Echo(request);
        });
        // Between a request that was taken and its handler; there a dispose does not wait for handlers.
        using (Listen(_ => responder.DisposeAsync().AsTask().Wait()))
        {
            var gather = client.Gather("x", "");
            Assert.Empty(await gather.ToListAsync().WaitAsync(Bound));
            Assert.Equal(GatherReason.Failed, gather.End!.Reason);
        }
        await responder.DisposeAsync();
        await client.Core.Calls.Ended().WaitAsync(Bound);
        Assert.Equal(0, begun);
    }
}
