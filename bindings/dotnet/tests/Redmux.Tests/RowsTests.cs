using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using System.Threading.Channels;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Redmux.Tests;

/// <summary>What users of RedisMPX, Messaging Broker and the tutorial must find, by the id of its row.</summary>
public sealed partial class RowsTests(Fixture server) : WithServer(server)
{
    private sealed record Score(string Team, int Goals);

    [JsonSerializable(typeof(Score))]
    private sealed partial class Json : JsonSerializerContext;

    [Fact]
    public async Task M26_callbacks_and_an_empty_start()
    {
        Channel<string> seen = Channel.CreateUnbounded<string>();
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync([], new SubscribeOptions
        {
            OnMessage = async message => await seen.Writer.WriteAsync($"channel: [{message.Channel}] msg: [{message.Text()}]"),
            OnLost = lost => seen.Writer.TryWrite($"lost: {lost.Reason}"),
            OnActive = active => seen.Writer.TryWrite($"active: {active.Channel}"),
        });
        Assert.Empty(sub.Channels);
        await sub.AddAsync("mychannel");
        Assert.Equal("active: mychannel", await seen.Reader.ReadAsync());
        await client.PublishAsync("mychannel", "Hello World!");
        Assert.Equal("channel: [mychannel] msg: [Hello World!]", await seen.Reader.ReadAsync());
        Server.Do("kill_pubsub");
        Assert.Equal(["lost: link_lost", "active: "], [await seen.Reader.ReadAsync(), await seen.Reader.ReadAsync()]);
    }

    [Fact]
    public async Task M27_ten_thousand_subscriptions_share_a_connection_and_have_no_thread_each()
    {
        await using var client = await ConnectAsync();
        var held = Held.Now;
        long before = Resident();
        Subscription[] subs = [.. Enumerable.Range(0, 10_000).Select(n => client.Subscribe([$"user:{n}"], new SubscribeOptions { InboxRecords = 100 }))];
        await subs[^1].WaitActiveAsync(Bound);
        long each = (Resident() - before) / subs.Length;
        Assert.True(Held.Now.Threads <= held.Threads + 1, "a thread for the callbacks of the library at most");
        Assert.Equal(1, await client.PublishAsync("user:1234", "hi"));
        Assert.Equal("hi", (await subs[1234].ReadAsync()).Text());
        Assert.Equal(1, Server.Do("client_list")!.AsArray().Count(one => int.Parse($"{one!["sub"]}", null) > 0));
        Assert.InRange(each, 1, 4096);
        foreach (Subscription sub in subs)
        {
            sub.Dispose();
        }
    }

    private static long Resident()
    {
        // Everything that is not in use is given back, or what the collector keeps would be in the figure.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        return long.Parse(File.ReadAllText("/proc/self/statm").Split(' ')[1], null) * Environment.SystemPageSize;
    }

    [Fact]
    public async Task M28_credentials_are_asked_of_the_application_at_each_attempt()
    {
        using Fixture server = new("--password", "old");
        string password = "old";
        int asked = 0;
        RedmuxOptions options = new()
        {
            Url = server.Url,
            Credentials = async ct =>
            {
                await Task.Yield();
                Interlocked.Increment(ref asked);
                return new NetworkCredential("default", password);
            },
            ["backoff_max"] = "100ms",
        };
        await using var client = await RedmuxClient.ConnectAsync(options);
        await using var sub = await client.SubscribeAsync(["x"]);
        await using var events = sub.EventsAsync().GetAsyncEnumerator();
        server.Do("stop");
        Assert.True(await events.MoveNextAsync() && events.Current is Active { Channel: "x" });
        Assert.True(await events.MoveNextAsync() && events.Current is Lost);
        server.Do("configure", ("key", "requirepass"), ("value", "new"));
        password = "new";
        server.Do("start");
        Assert.True(await events.MoveNextAsync() && events.Current is Active { Channel: null });
        Assert.True(asked > 1);
    }

    [Fact]
    public async Task M28_the_address_is_asked_of_the_application()
    {
        Uri url = new(Server.Url);
        EndPoint[] addresses =
        [
            new DnsEndPoint(url.Host, url.Port), new IPEndPoint(IPAddress.Loopback, url.Port), new UnixDomainSocketEndPoint((string)Server.First["path"]!),
        ];
        foreach (EndPoint address in addresses)
        {
            await using var client = await RedmuxClient.ConnectAsync(new RedmuxOptions { Address = _ => new(address) });
            Assert.Equal(0, await client.PublishAsync("x", "y"));
        }
    }

    [Fact]
    public async Task M28_a_failing_answer_is_the_attempts_failure_and_is_logged()
    {
        using Logs logs = new();
        RedmuxOptions options = new()
        {
            Url = Server.Url,
            ConnectTimeout = TimeSpan.FromSeconds(2),
            Credentials = _ => throw new InvalidOperationException("the vault is closed"),
            LoggerFactory = logs,
        };
        await Assert.ThrowsAnyAsync<RedmuxException>(() => RedmuxClient.ConnectAsync(options));
        await logs.UntilAsync(LogLevel.Error, "the vault is closed");
    }

    [Fact]
    public async Task M29_clear_wait_stop_and_restart()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["a", "b"]);
        await sub.ClearAsync();
        Assert.Empty(sub.Channels);
        Assert.Equal(0, (int)Server.Do("numsub", ("channel", "a"))!);
        client.Stop();
        Assert.Throws<RedmuxStateException>(client.Stop);
        sub.Add("c");
        client.Restart();
        await sub.WaitActiveAsync();
        Assert.Equal(1, await client.PublishAsync("c", "again"));
        Assert.Equal("again", (await sub.ReadAsync()).Text());
    }

    [Fact]
    public async Task P12_the_prefix_object()
    {
        await using var client = await ConnectAsync();
        await using var promises = client.Promises("p:");
        var later = promises.NewLater("later");
        await promises.WaitActiveAsync();
        var now = promises.New("x");
        Server.Do("command", ("args", new JsonArray("PUBLISH", "p:x", "kept")));
        Server.Do("command", ("args", new JsonArray("PUBLISH", "p:later", "too")));
        Assert.Equal("kept", Encoding.UTF8.GetString((await now).Span));
        Assert.Equal("too", Encoding.UTF8.GetString((await later.WaitAsync()).Span));
        Assert.Equal(("p:x", "p:"), (now.Name, promises.Prefix));
        var gone = promises.New("gone", Timeout.InfiniteTimeSpan);
        Assert.Equal(1, promises.Clear());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => gone.WaitAsync());
        var closed = promises.New("closed");
        await promises.DisposeAsync();
        await Assert.ThrowsAsync<RedmuxClosedException>(() => closed.WaitAsync());
        Assert.Throws<ObjectDisposedException>(() => promises.New("more"));

        var one = await client.PromiseAsync("one", TimeSpan.FromSeconds(10));
        Assert.Equal(1, await client.FulfillAsync("one", "alone"));
        Assert.Equal("alone", Encoding.UTF8.GetString((await one).Span));
    }

    [Fact]
    public async Task B1_json_is_published_and_errors_come_back_by_kind()
    {
        await using (var client = await ConnectAsync())
        await using (var sub = await client.SubscribeAsync(["x"]))
        {
            Assert.Equal(1, await client.PublishJsonAsync("x", new Score("ä", 2), Json.Default.Score));
            var message = await sub.ReadAsync();
            Assert.Equal("{\"Team\":\"\\u00E4\",\"Goals\":2}", message.Text());
            Assert.Equal(new Score("ä", 2), message.Json(Json.Default.Score));
            Assert.True(client.TryPostJson("x", new Score("b", 1), Json.Default.Score));
            Assert.Equal(new Score("b", 1), (await sub.ReadAsync()).Json<Score>());
            Assert.Equal(1, await client.PublishJsonAsync("x", (int[])[1, 2]));
            int[]? numbers = (await sub.ReadAsync()).Json<int[]>();
            Assert.Equal([1, 2], numbers!);
            await Assert.ThrowsAsync<RedmuxTooLargeException>(async () => await client.PublishAsync(new string('x', 70_000), "y"));
        }
        await using (var away = RedmuxClient.Open(new RedmuxOptions { Url = "redis://127.0.0.1:1", ["publish_queue"] = "4k" }))
        {
            await Assert.ThrowsAsync<RedmuxNotSentException>(async () => await away.PublishAsync("x", "y", TimeSpan.FromMilliseconds(50)));
            Assert.True(away.TryPost("x", new string('x', 4000)));
            Assert.False(away.TryPost("x", new string('x', 4000)));
            await Assert.ThrowsAsync<RedmuxFullException>(async () => await away.PublishAsync("x", new string('x', 4000)));
            away.Stop();
        }
    }

    [Fact]
    public async Task B2_five_channels_seven_messages()
    {
        string[] channels = ["orders", "users", "stock", "prices", "alerts"];
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(channels);
        string[] sent = [.. channels, "orders", "orders"];
        foreach (string channel in sent)
        {
            Assert.Equal(1, Server.Publish(channel, channel));
        }
        List<string> heard = [];
        await foreach (var message in sub)
        {
            heard.Add(message.Text());
            if (heard.Count == 7)
            {
                break;
            }
        }
        Assert.Equal(sent, heard);
    }

    [Fact]
    public async Task B3_the_environment_in_its_order()
    {
        Uri right = new(Server.Url);
        string wrong = "redis://127.0.0.1:1", port = $"{right.Port}";
        (string[], (string, string?)[])[] cases =
        [
            (["publish", Server.Url], [("REDIS_URL", wrong)]),
            (["publish"], [("REDIS_URL", Server.Url), ("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", "1")]),
            (["publish"], [("REDIS_HOST", right.Host), ("REDIS_PORT", port)]),
        ];
        foreach (var (arguments, environment) in cases)
        {
            Assert.Equal((0, "0\n", ""), await Running.EndAsync("Probe", "_net10.0", arguments, environment));
        }
    }

    [Fact]
    public async Task B4_bad_json_in_a_callback_is_logged_and_the_next_is_delivered()
    {
        using Logs logs = new();
        TaskCompletionSource<Score?> seen = new();
        await using var client = await ConnectAsync(logs);
        await using var sub = await client.SubscribeAsync(["x"], new SubscribeOptions
        {
            OnMessage = message =>
            {
                seen.TrySetResult(message.Json(Json.Default.Score));
                return default;
            },
        });
        await client.PublishAsync("x", "{bad");
        await client.PublishJsonAsync("x", new Score("a", 1), Json.Default.Score);
        Assert.Equal(new Score("a", 1), await seen.Task.WaitAsync(Bound));
        await logs.UntilAsync(LogLevel.Error, "bad JSON on 'x', 4 bytes: {bad:");
    }

    [Fact]
    public async Task Logs_and_losses_go_to_ilogger_and_states_to_the_callback()
    {
        using Logs logs = new();
        Channel<RedmuxState> states = Channel.CreateUnbounded<RedmuxState>();
        RedmuxOptions options = new() { Url = Server.Url, LoggerFactory = logs, OnState = (state, _) => states.Writer.TryWrite(state) };
        await using var client = await RedmuxClient.ConnectAsync(options);
        await using var sub = await client.SubscribeAsync(["x"]);
        Server.Do("kill_pubsub");
        // Until the loss was noticed it would be active still, and what is posted then is lost.
        foreach (RedmuxState wanted in (RedmuxState[])[RedmuxState.Connecting, RedmuxState.Online, RedmuxState.Offline, RedmuxState.Online])
        {
            while (await states.Reader.ReadAsync().AsTask().WaitAsync(Bound) != wanted)
            {
            }
        }
        Assert.Equal(RedmuxState.Online, client.State);
        await sub.WaitActiveAsync();
        client.TryPost("x", "y");
        Assert.Equal("y", (await sub.ReadAsync().AsTask().WaitAsync(Bound)).Text());
        await logs.UntilAsync(LogLevel.Warning, "messages may be missing");
        await logs.UntilAsync(LogLevel.Information, "subscribed again after");
    }

    [Fact]
    public async Task A_section_of_the_configuration_and_dependency_injection()
    {
        using Logs logs = new();
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["Redmux:Url"] = Server.Url, ["Redmux:Name"] = "from-settings", ["Redmux:PingInterval"] = "2s", ["Redmux:inbox_records"] = "5",
            ["Redmux:ConnectTimeout"] = "00:00:03",
        });
        builder.Services.AddSingleton<ILoggerFactory>(logs);
        builder.Services.AddRedmux(builder.Configuration.GetSection("Redmux"));
        using (IHost host = builder.Build())
        {
            var client = host.Services.GetRequiredService<RedmuxClient>();
            Assert.Same(client, host.Services.GetRequiredService<RedmuxClient>());
            await client.ReadyAsync();
            Assert.Contains(Server.Do("client_list")!.AsArray(), one => ((string)one!["name"]!).Contains("from-settings", StringComparison.Ordinal));
        }
        await logs.UntilAsync(LogLevel.Information, "");
        ServiceCollection wrong = new();
        wrong.AddRedmux(new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?> { ["PingIntervall"] = "2s" }).Build());
        await using ServiceProvider provider = wrong.BuildServiceProvider();
        var error = Assert.Throws<RedmuxArgumentException>(provider.GetRequiredService<RedmuxClient>);
        Assert.Contains("ping_interval", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Activities_and_meters_tell_what_is_published_and_received()
    {
        Dictionary<string, long> counted = [];
        using MeterListener meters = new()
        {
            InstrumentPublished = (instrument, listener) =>
            {
                if (instrument.Meter.Name == RedmuxTelemetry.Name)
                {
                    listener.EnableMeasurementEvents(instrument);
                }
            },
        };
        meters.SetMeasurementEventCallback<long>((instrument, value, _, _) =>
        {
            lock (counted)
            {
                counted[instrument.Name] = counted.GetValueOrDefault(instrument.Name) + value;
            }
        });
        meters.Start();
        List<string> activities = [];
        using ActivityListener listener = new()
        {
            ShouldListenTo = source => source.Name == RedmuxTelemetry.Name,
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStopped = activity => activities.Add($"{activity.DisplayName} {activity.Status}"),
        };
        ActivitySource.AddActivityListener(listener);
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        Assert.Equal(1, await client.PublishAsync("x", "y"));
        await sub.ReadAsync();
        client.Stop();
        await Assert.ThrowsAsync<RedmuxStateException>(async () => await client.PublishAsync("x", "y"));
        Assert.Equal(["publish x Unset", "publish x Error"], activities);
        Assert.Equal((1, 1), (counted["redmux.messages.published"], counted["redmux.messages.received"]));
    }
}
