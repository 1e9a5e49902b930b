using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Text.Json.Serialization;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Redmux.Tests;

/// <summary>Requests and responders where wrappers break: left early, cancelled, dropped, disposed at bad moments, too many at once.</summary>
public sealed partial class RequestsTests(Fixture server) : WithServer(server)
{
    /// <summary>A handler that begins, waits, and notes how it was left.</summary>
    private sealed class Waiting
    {
        private readonly Channel<bool> _begun = Channel.CreateUnbounded<bool>(), _cancelled = Channel.CreateUnbounded<bool>();

        internal async ValueTask<Reply?> HandleAsync(Request request)
        {
            _begun.Writer.TryWrite(true);
            try
            {
                await Task.Delay(Timeout.InfiniteTimeSpan, request.CancellationToken);
                return request.Data;
            }
            catch (OperationCanceledException)
            {
                _cancelled.Writer.TryWrite(true);
                throw;
            }
        }

        internal Task<bool> BegunAsync() => _begun.Reader.ReadAsync().AsTask().WaitAsync(Bound);

        internal Task<bool> CancelledAsync() => _cancelled.Reader.ReadAsync().AsTask().WaitAsync(Bound);
    }

    private static ValueTask<Reply?> Echo(Request request) => new(request.Data);

    /// <summary>A client that waits for all who received its requests: how soon they take them is not measured.</summary>
    private Task<RedmuxClient> StrictAsync(ILoggerFactory? logs = null) =>
        RedmuxClient.ConnectAsync(new RedmuxOptions { Url = Server.Url, LoggerFactory = logs, ["strict"] = "true" });

    /// <summary>Ends of gathers come after who asked has gone on.</summary>
    private static async Task NothingOpenAsync(RedmuxClient client)
    {
        for (int tries = 0; tries < 1000 && (Open(client) > 0 || client.Core.Tokens.Count > 0); tries++)
        {
            await client.BarrierAsync();
        }
        Assert.Equal((0, 0), (Open(client), client.Core.Tokens.Count));
    }

    private static int Open(RedmuxClient client) => client.Stats().GetProperty("requests").GetProperty("gathers").GetInt32();

    [Fact]
    public async Task Breaking_off_an_iteration_tells_the_handler()
    {
        TaskCompletionSource left = new();
        await using var client = await ConnectAsync();
        await using var responder = await client.RespondAsync("x", async request =>
        {
            while (request.Answer("part"))
            {
                await Task.Yield();
            }
            left.SetResult();
            return null;
        });
        await foreach (var answer in client.Gather("x", "hi"))
        {
            Assert.Equal("part", answer.Text());
            break;
        }
        await left.Task.WaitAsync(Bound);
        await NothingOpenAsync(client);
    }

    [Fact]
    public async Task A_cancelled_wait_cancels_who_works()
    {
        Waiting handler = new();
        await using var client = await StrictAsync();
        await using var responder = await client.RespondAsync("x", handler.HandleAsync);
        foreach (Func<CancellationToken, Task> ask in (Func<CancellationToken, Task>[])[ct => client.Gather("x", "").ToListAsync(ct), ct => client.RequestAsync("x", "", ct: ct)])
        {
            using CancellationTokenSource cancel = new();
            Task asking = ask(cancel.Token);
            await handler.BegunAsync();
            await cancel.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asking.WaitAsync(Bound));
            await handler.CancelledAsync();
        }
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => client.RequestAsync("x", "", ct: new CancellationToken(true)));
        await NothingOpenAsync(client);
    }

    [Fact]
    public async Task A_gather_that_is_dropped_is_given_up()
    {
        Waiting handler = new();
        await using var client = await ConnectAsync();
        await using var responder = await client.RespondAsync("x", handler.HandleAsync);
        Drop(client);
        await handler.BegunAsync();
        for (int tries = 0; tries < 1000 && Open(client) > 0; tries++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        await handler.CancelledAsync();
        await NothingOpenAsync(client);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Drop(RedmuxClient client) => client.Gather("x", "hi");

    [Fact]
    public async Task Disposing_the_client_that_asks_ends_its_gathers_with_closed()
    {
        Waiting handler = new();
        await using var other = await ConnectAsync();
        await using var responder = await other.RespondAsync("x", handler.HandleAsync);
        var client = await ConnectAsync();
        var gather = client.Gather("x", "");
        Task<List<Answer>> all = gather.ToListAsync();
        Task<Answer> one = client.RequestAsync("x", "");
        await handler.BegunAsync();
        await client.DisposeAsync();
        Assert.Empty(await all.WaitAsync(Bound));
        Assert.Equal(GatherReason.Closed, gather.End!.Reason);
        await Assert.ThrowsAsync<RedmuxClosedException>(() => one.WaitAsync(Bound));
        Assert.Throws<ObjectDisposedException>(() => client.Gather("x", ""));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => client.RequestAsync("x", ""));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => client.RespondAsync("x", Echo));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Disposing_who_works_cancels_its_handlers_and_tells_who_asks(bool wholeClient)
    {
        Waiting handler = new();
        await using var client = await ConnectAsync();
        await using var other = await ConnectAsync();
        var responder = await other.RespondAsync("x", handler.HandleAsync);
        var gather = client.Gather("x", "");
        await handler.BegunAsync();
        await (wholeClient ? other.DisposeAsync() : responder.DisposeAsync());
        await handler.CancelledAsync();
        Assert.Empty(await gather.ToListAsync().WaitAsync(Bound));
        Assert.Equal(GatherReason.Failed, gather.End!.Reason);
        await responder.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await responder.DrainAsync());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_handler_may_dispose_its_own_client_or_responder(bool wholeClient)
    {
        TaskCompletionSource disposed = new();
        await using var client = await ConnectAsync();
        await using var other = await ConnectAsync();
        Responder? responder = null;
        responder = await other.RespondAsync("x", async _ =>
        {
            await (wholeClient ? other.DisposeAsync() : responder!.DisposeAsync());
            disposed.SetResult();
            return "nobody hears it";
        });
        var gather = client.Gather("x", "");
        await gather.ToListAsync().WaitAsync(Bound);
        Assert.Equal(GatherReason.Failed, gather.End!.Reason);
        await disposed.Task.WaitAsync(Bound);
    }

    [Fact]
    public async Task What_a_handler_returns_or_throws_is_what_the_asker_gets()
    {
        using Logs logs = new();
        RedmuxOptions options = new() { Url = Server.Url, Name = "node", LoggerFactory = logs, ["max_payload"] = "64k", ["strict"] = "true" };
        await using var client = await RedmuxClient.ConnectAsync(options);
        await client.RespondAsync("plain", _ => new("text"));
        await client.RespondAsync("none", _ => default);
        await client.RespondAsync("parts", request =>
        {
            request.Answer("1");
            return new(new Reply(request.Data, new Dictionary<string, string> { ["a"] = "ü\"" }));
        });
        await client.RespondAsync("says", _ => throw new RedmuxRemoteException("NOT_FOUND", "no such user", retriable: true));
        await client.RespondAsync("fails", async _ =>
        {
            await Task.Yield();
            throw new KeyNotFoundException("user");
        });
        await client.RespondAsync("large", _ => new(new byte[100_000]));
        TaskCompletionSource<bool> late = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await client.RespondAsync("late", async request =>
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, request.CancellationToken).ContinueWith(_ => { }, TaskScheduler.Default);
            late.SetResult(request.Answer("too late"));
            return "too late";
        });

        Assert.Equal("text", (await client.RequestAsync("plain", "x")).Text());
        var gather = client.Gather("parts", "2");
        List<Answer> parts = await gather.ToListAsync();
        Assert.Equal([("1", 0L, "node"), ("2", 1L, "node")], parts.Select(answer => (answer.Text(), answer.Number, answer.Responder)));
        Assert.Equal("ü\"", parts[1].Headers["a"]);
        Assert.Equal((GatherReason.All, 2, 1L, 0), (gather.End!.Reason, gather.End.Answers, gather.End.Expected, gather.End.Errors.Count));
        Assert.Contains("nobody had an answer", (await Assert.ThrowsAsync<RedmuxNoRespondersException>(() => client.RequestAsync("none", ""))).Message, StringComparison.Ordinal);
        Assert.Equal("no_responders", (await Assert.ThrowsAsync<RedmuxNoRespondersException>(() => client.RequestAsync("nobody", ""))).Kind);
        var error = await Assert.ThrowsAsync<RedmuxRemoteException>(() => client.RequestAsync("says", ""));
        Assert.Equal(("NOT_FOUND", "no such user", true, "node", "remote"), (error.RemoteCode, error.Message, error.Retriable, error.Responder, error.Kind));
        Assert.Equal("KeyNotFoundException", (await Assert.ThrowsAsync<RedmuxRemoteException>(() => client.RequestAsync("fails", ""))).RemoteCode);
        await logs.UntilAsync(LogLevel.Error, "the handler of 'fails' failed; its asker is told user");
        Assert.Equal("RedmuxTooLargeException", (await Assert.ThrowsAsync<RedmuxRemoteException>(() => client.RequestAsync("large", ""))).RemoteCode);
        await Assert.ThrowsAsync<RedmuxTimeoutException>(() => client.RequestAsync("late", "", new() { Timeout = TimeSpan.FromMilliseconds(100) }));
        Assert.False(await late.Task.WaitAsync(Bound));
        await Assert.ThrowsAsync<RedmuxStateException>(() => client.RespondAsync("plain", Echo));
    }

    [Fact]
    public async Task A_thousand_requests_at_once_and_no_more_handlers_than_allowed()
    {
        int now = 0, most = 0;
        await using var client = await RedmuxClient.ConnectAsync(new RedmuxOptions { Url = Server.Url, ["strict"] = "true" });
        await using var responder = await client.RespondAsync("many", async request =>
        {
            int working = Interlocked.Increment(ref now);
            for (int seen = most; working > seen; seen = most)
            {
                Interlocked.CompareExchange(ref most, working, seen);
            }
            await Task.Yield();
            Interlocked.Decrement(ref now);
            return request.Data;
        }, new() { Concurrency = 7 });
        Answer[] answers = await Task.WhenAll(Enumerable.Range(0, 1000).Select(n => client.RequestAsync("many", $"{n}"))).WaitAsync(Bound);
        Assert.Equal(Enumerable.Range(0, 1000).Select(n => $"{n}"), answers.Select(answer => answer.Text()));
        Assert.InRange(most, 1, 7);
        await NothingOpenAsync(client);
    }

    [Fact]
    public async Task A_responder_without_room_is_busy()
    {
        Waiting handler = new();
        await using var client = await StrictAsync();
        await using var responder = await client.RespondAsync("x", handler.HandleAsync, new() { Concurrency = 1, ["waiting"] = "0" });
        var first = client.Gather("x", "");
        await handler.BegunAsync();
        Assert.True((await Assert.ThrowsAsync<RedmuxBusyException>(() => client.RequestAsync("x", ""))).Retriable);
        first.Cancel();
        await first.ToListAsync().WaitAsync(Bound);
        Assert.Equal(GatherReason.Cancelled, first.End!.Reason);
    }

    [Fact]
    public async Task What_is_not_said_of_a_request_is_as_the_client_has_it()
    {
        await using var client = await RedmuxClient.ConnectAsync(new RedmuxOptions { Url = Server.Url + "?expect=1", Name = "one", ["strict"] = "true" });
        await using var responder = await client.RespondAsync("x", Echo, new() { Concurrency = 3 });
        foreach (var (options, wanted) in new (GatherOptions?, GatherReason)[]
            { (null, GatherReason.Count), (new() { Repeatable = true }, GatherReason.Count), (new() { Expect = 0, Strict = true }, GatherReason.All) })
        {
            var gather = client.Gather("x", "", options);
            Assert.Equal("one", Assert.Single(await gather.ToListAsync()).Responder);
            Assert.Equal(wanted, gather.End!.Reason);
        }
    }

    [Fact]
    public async Task Until_stops_a_gather_and_its_failure_is_thrown_where_answers_are_read()
    {
        await using var client = await StrictAsync();
        await using var responder = await client.RespondAsync("x", async request =>
        {
            for (int n = 0; n < 5; n++)
            {
                request.Answer($"{n}");
            }
            await Task.Delay(Timeout.InfiniteTimeSpan, request.CancellationToken);
            return null;
        });
        var gather = client.Gather("x", "", new() { Until = answer => answer.Text() == "2" });
        Assert.Equal(["0", "1", "2"], (await gather.ToListAsync()).Select(answer => answer.Text()));
        Assert.Equal(GatherReason.Predicate, gather.End!.Reason);
        await Assert.ThrowsAsync<FormatException>(() => client.Gather("x", "", new() { Until = _ => throw new FormatException() }).ToListAsync());
        await NothingOpenAsync(client);
    }

    [Fact]
    public async Task A_trace_goes_on_through_a_handlers_own_requests()
    {
        await using var client = await RedmuxClient.ConnectAsync(new RedmuxOptions { Url = Server.Url, ["strict"] = "true" });
        await using var last = await client.RespondAsync("last", request => new(request.Headers.GetValueOrDefault("traceparent", "none")));
        await using var middle = await client.RespondAsync("middle", async _ => (await client.RequestAsync("last", "")).Data);
        Assert.Equal("none", (await client.RequestAsync("middle", "")).Text());
        using (Activity activity = new Activity("asking").SetIdFormat(ActivityIdFormat.W3C).Start())
        {
            Assert.Equal(activity.Id, (await client.RequestAsync("last", "")).Text());
            string seen = (await client.RequestAsync("middle", "")).Text();
            Assert.Contains(activity.TraceId.ToHexString(), seen, StringComparison.Ordinal);
            Assert.NotEqual(activity.Id, seen); // a span of the handler's own
            Assert.Equal("mine", (await client.RequestAsync("last", "", new() { Headers = new Dictionary<string, string> { ["traceparent"] = "mine" } })).Text());
        }
        Assert.Equal("none", (await client.RequestAsync("middle", "")).Text());
    }

    [Fact]
    public async Task Draining_lets_what_is_in_work_finish()
    {
        TaskCompletionSource begun = new(), goOn = new();
        await using var asker = await ConnectAsync();
        await using var client = await ConnectAsync();
        var responder = await client.RespondAsync("x", async _ =>
        {
            begun.SetResult();
            await goOn.Task;
            return "finished";
        });
        Task<Answer> asking = asker.RequestAsync("x", "");
        await begun.Task.WaitAsync(Bound);
        Task draining = responder.DrainAsync().AsTask();
        goOn.SetResult();
        Assert.Equal("finished", (await asking.WaitAsync(Bound)).Text());
        await draining.WaitAsync(Bound);
        await Assert.ThrowsAsync<RedmuxNoRespondersException>(() => asker.RequestAsync("x", ""));
    }

    internal sealed record Lookup(int Id);

    internal sealed record Found(string Name);

    [JsonSerializable(typeof(Lookup)), JsonSerializable(typeof(Found))]
    private sealed partial class Types : JsonSerializerContext;

    [Fact]
    public async Task Values_travel_as_json_with_and_without_type_infos()
    {
        using Logs logs = new();
        await using var client = await StrictAsync(logs);
        await using var typed = await client.RespondAsync(
            "typed", (lookup, _) => new(lookup.Id == 7 ? new Found("ann") : null), Types.Default.Lookup, Types.Default.Found);
        await using var plain = await client.RespondAsync<Lookup, Found>("plain", (lookup, request) => new(new Found($"{lookup.Id} {request.Service}")));
        Assert.Equal(new Found("ann"), await client.RequestAsync("typed", new Lookup(7), Types.Default.Lookup, Types.Default.Found));
        await Assert.ThrowsAsync<RedmuxNoRespondersException>(() => client.RequestAsync("typed", new Lookup(8), Types.Default.Lookup, Types.Default.Found));
        Assert.Equal(new Found("7 plain"), await client.RequestAsync<Lookup, Found>("plain", new Lookup(7)));
        Assert.Equal("RedmuxDecodeException", (await Assert.ThrowsAsync<RedmuxRemoteException>(() => client.RequestAsync("typed", "{bad"))).RemoteCode);
        await using var text = await client.RespondAsync("text", _ => new("no json"));
        await Assert.ThrowsAsync<RedmuxDecodeException>(() => client.RequestAsync<int, int>("text", 1));
    }

    [Fact]
    public void A_head_line_that_is_none_says_nothing()
    {
        Assert.Equal("", Head.Read("{\"by\":5}"u8).By);
        Assert.Equal("", Head.Read("{"u8).Code);
    }

    [Fact]
    public async Task A_storm_of_requests_left_early_leaves_nothing()
    {
        var before = Held.Now;
        await using (var client = await ConnectAsync())
        {
            await client.RespondAsync("x", Echo);
            for (int turn = 0; turn < 20; turn++)
            {
                using CancellationTokenSource cancel = new();
                Task[] tasks = [.. Enumerable.Range(0, 50).Select(_ => client.RequestAsync("x", "", ct: cancel.Token))];
                Gather[] gathers = [.. Enumerable.Range(0, 50).Select(_ => client.Gather("x", ""))];
                for (int n = 0; n < turn; n++)
                {
                    await Task.Yield();
                }
                await cancel.CancelAsync();
                Array.ForEach(gathers, gather => gather.Dispose());
                await Task.WhenAll(tasks).ContinueWith(_ => { }, TaskScheduler.Default);
            }
            await NothingOpenAsync(client);
        }
        Assert.Equal(0, Native.redmux_debug_live());
        Assert.InRange((await Held.SettledAsync(before)).Item1, 0, before.Descriptors);
    }
}
