using System.Text.Json.Nodes;
using Demo;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Redmux.MessagingBuffer;
using Xunit;

namespace Redmux.Tests;

/// <summary>The package Redmux.MessagingBuffer among its own, on either wire.</summary>
public sealed class MessagingTests(Fixture server) : WithServer(server)
{
    private string Address => $"127.0.0.1:{Server.First["port"]}";

    private Messaging Open(string name = "one", MessagingWire wire = MessagingWire.MessagingBuffer, Logs? logs = null, Action<RedisOptions>? more = null)
    {
        RedisOptions options = new() { RedisConnexionStrings = { $"{Address},name={name}" }, Wire = wire, LoggerFactory = logs };
        more?.Invoke(options);
        return new(options, DemoJson.Default);
    }

    private static Func<string, PingRequest, CancellationToken, Task<ResponseBase?>> Answers(int count) =>
        (id, request, _) => Task.FromResult<ResponseBase?>(new PingResponse(id) { Text = request.Body, Answers = count });

    private sealed class Sum(IMessaging messaging, string body = "") : RequestBufferBase<PingRequest, PingResponse>(messaging, new PingRequest { Body = body })
    {
        internal IReadOnlyList<PingResponse> Responses => ResponseCollection;

        protected override PingResponse Aggregate() => new(CorrelationId) { Answers = 100 + ResponseCollection.Sum(one => one.Answers) };
    }

    private JsonArray Channels(string pattern) => Server.Do("command", ("args", new JsonArray("PUBSUB", "CHANNELS", pattern)))!.AsArray();

    public static TheoryData<MessagingWire> Wires => new(MessagingWire.MessagingBuffer, MessagingWire.Redmux);

    [Theory]
    [MemberData(nameof(Wires))]
    public async Task R1_five_instances_give_five_each(MessagingWire wire)
    {
        Messaging[] fleet = [.. Enumerable.Range(1, 5).Select(n => Open($"node-{n}", wire))];
        foreach (Messaging node in fleet)
        {
            await node.SubscribeRequestAsync<PingRequest>(Answers(5));
        }
        Sum buffer = new(fleet[2]);
        Assert.Equal(125, (await buffer.SendRequestAsync().WaitAsync(Bound)).Answers);
        Assert.Equal((GatherReason.All, 5L, 5L), (buffer.End!.Reason, buffer.End.Answers, buffer.End.Expected));
        Assert.Equal(["node-1", "node-2", "node-3", "node-4", "node-5"], buffer.Responses.Select(one => one.ResponseServerName).Order());
        Assert.All(buffer.Responses, one => Assert.Equal(buffer.CorrelationId, one.CorrelationId));
        foreach (Messaging node in fleet)
        {
            await node.DisposeAsync();
        }
    }

    [Fact]
    public async Task R3_who_took_it_and_stays_silent_is_named()
    {
        TaskCompletionSource<CancellationToken> silent = new();
        await using Messaging one = Open("one", MessagingWire.Redmux), two = Open("two", MessagingWire.Redmux);
        await one.SubscribeRequestAsync<PingRequest>(Answers(1));
        await two.SubscribeRequestAsync<PingRequest>(async (_, _, ct) =>
        {
            silent.TrySetResult(ct);
            await Task.Delay(Timeout.InfiniteTimeSpan, ct);
            return null;
        });
        Sum buffer = new(one) { TimeoutMs = 3000 };
        Assert.Equal(101, (await buffer.SendRequestAsync().WaitAsync(Bound)).Answers);
        Assert.Equal((GatherReason.Deadline, 1L, 2L), (buffer.End!.Reason, buffer.End.Answers, buffer.End.Expected));
        Assert.Equal("two", Assert.Single(buffer.End.Missing));
        var gone = new TaskCompletionSource();
        using var told = (await silent.Task).Register(gone.SetResult);
        await gone.Task.WaitAsync(Bound);
    }

    [Theory]
    [MemberData(nameof(Wires))]
    public async Task R4_nobody_there_is_the_aggregate_of_nothing_and_a_line_of_log(MessagingWire wire)
    {
        using Logs logs = new();
        await using Messaging messaging = Open(wire: wire, logs: logs);
        Sum buffer = new(messaging);
        Assert.Equal(100, (await buffer.SendRequestAsync().WaitAsync(Bound)).Answers);
        Assert.Equal((GatherReason.NoResponders, 0L), (buffer.End!.Reason, buffer.End.Expected));
        await logs.UntilAsync(LogLevel.Warning, $"nobody handles Demo.PingRequest: request {buffer.CorrelationId} is lost");
        using CancellationTokenSource cancel = new();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => buffer.SendRequestAsync(cancel.Token));
    }

    [Fact]
    public async Task R7_on_the_old_wire_a_type_has_one_handler_and_all_types_exclude_one()
    {
        await using Messaging messaging = Open();
        await messaging.SubscribeRequestAsync<PingRequest>(Answers(1));
        await Assert.ThrowsAsync<SubscriptionException>(() => messaging.SubscribeRequestAsync<PingRequest>(Answers(2)));
        Assert.IsType<RedmuxStateException>((await Assert.ThrowsAsync<SubscriptionException>(() => messaging.SubscribeAnyRequestAsync(_ => Task.CompletedTask))).InnerException);
        await messaging.UnsubscribeRequestAsync<PingRequest>();
        await messaging.UnsubscribeRequestAsync<PingRequest>(); // nothing is there any more, and that is no error
        await messaging.SubscribeAnyRequestAsync(_ => Task.CompletedTask);
        await Assert.ThrowsAsync<SubscriptionException>(() => messaging.SubscribeAnyRequestAsync(_ => Task.CompletedTask));
        await Assert.ThrowsAsync<SubscriptionException>(() => messaging.SubscribeRequestAsync<PingRequest>(Answers(1)));
        await messaging.UnsubscribeAnyRequestAsync();
        await messaging.SubscribeRequestAsync<PingRequest>(Answers(1));
        Assert.Equal(101, (await new Sum(messaging).SendRequestAsync().WaitAsync(Bound)).Answers);
    }

    [Fact]
    public async Task R7_on_redmux_own_wire_they_live_together()
    {
        await using Messaging messaging = Open(wire: MessagingWire.Redmux);
        await messaging.SubscribeRequestAsync<PingRequest>(Answers(1));
        await Assert.ThrowsAsync<SubscriptionException>(() => messaging.SubscribeRequestAsync<PingRequest>(Answers(2)));
        ReceivedEventArgs? received = null;
        await messaging.SubscribeAnyRequestAsync(async request =>
        {
            received = request;
            await messaging.PublishResponseAsync(request.CorrelationId, new PingResponse { Answers = 10 });
            await messaging.PublishResponseAsync(request.CorrelationId, new PingResponse { Answers = 20 });
        });
        Assert.Equal(131, (await new Sum(messaging, "x").SendRequestAsync().WaitAsync(Bound)).Answers);
        Assert.Equal(("Demo.PingRequest", "Demo.PingRequest", """{"Body":"x"}"""), (received!.Channel, received.MessageType, received.Value));
    }

    [Theory]
    [MemberData(nameof(Wires))]
    public async Task R7_a_hundred_times_unsubscribed_and_subscribed_it_is_called_once(MessagingWire wire)
    {
        int called = 0;
        await using Messaging messaging = Open(wire: wire);
        for (int turn = 0; turn < 100; turn++)
        {
            await messaging.SubscribeRequestAsync<PingRequest>(Answers(1));
            await messaging.UnsubscribeRequestAsync<PingRequest>();
        }
        await messaging.SubscribeRequestAsync<PingRequest>((id, _) =>
        {
            Interlocked.Increment(ref called);
            return messaging.PublishResponseAsync(id, new PingResponse { Answers = 1 });
        });
        Assert.Equal(101, (await new Sum(messaging).SendRequestAsync().WaitAsync(Bound)).Answers);
        Assert.Equal(1, called);
    }

    [Fact]
    public async Task R9_on_redmux_own_wire_a_handler_that_fails_is_told_to_who_asks()
    {
        using Logs logs = new();
        await using Messaging messaging = Open(wire: MessagingWire.Redmux, logs: logs);
        await messaging.SubscribeRequestAsync<PingRequest>((_, _, _) => throw new KeyNotFoundException("no luck"));
        Sum buffer = new(messaging);
        Assert.Equal(100, (await buffer.SendRequestAsync().WaitAsync(Bound)).Answers);
        Assert.Equal(GatherReason.Failed, buffer.End!.Reason);
        RedmuxRemoteException error = Assert.Single(buffer.End.Errors);
        Assert.Equal(("KeyNotFoundException", "no luck", "one"), (error.RemoteCode, error.Message, error.Responder));
        await logs.UntilAsync(LogLevel.Error, "the handler of 'Demo.PingRequest' failed");
        Assert.False(await messaging.PublishResponseAsync(buffer.CorrelationId, new PingResponse()));
        await logs.UntilAsync(LogLevel.Warning, $"a response to {buffer.CorrelationId} was not sent");
    }

    [Fact]
    public async Task R12_a_connection_string_says_where_and_under_which_name()
    {
        await using Messaging named = Open("from-string"), unnamed = new(new() { RedisConnexionStrings = { Address } }, DemoJson.Default);
        await Task.WhenAll(named.ReadyAsync(), unnamed.ReadyAsync());
        string[] names = [.. Server.Do("client_list")!.AsArray().Select(one => (string)one!["name"]!)];
        Assert.Contains(names, name => name.StartsWith("from-string", StringComparison.Ordinal));
        Assert.Contains(names, name => name.StartsWith(Environment.MachineName, StringComparison.Ordinal));
        Assert.Throws<RedmuxArgumentException>(() => new Messaging(new() { RedisConnexionStrings = { Address, "localhost,tunnel=x" } }, DemoJson.Default));
    }

    [Theory]
    [MemberData(nameof(Wires))]
    public async Task R13_a_thousand_requests_are_open_at_once(MessagingWire wire)
    {
        TaskCompletionSource goOn = new(TaskCreationOptions.RunContinuationsAsynchronously);
        int begun = 0;
        await using Messaging serving = Open("serving", wire, more: options => options.Concurrency = 1000);
        await serving.SubscribeRequestAsync<PingRequest>(async (id, request, _) =>
        {
            Interlocked.Increment(ref begun);
            await goOn.Task;
            return new PingResponse(id) { Text = request.Body };
        });
        await using (Messaging asking = Open("asking", wire, more: options => options.Timeout = 60_000))
        {
            var all = Enumerable.Range(0, 1000).Select(n => asking.RequestAsync<PingResponse>(new PingRequest { Body = $"{n}" })).ToArray();
            await UntilAsync(() => Volatile.Read(ref begun) == 1000);
            Assert.Equal(wire == MessagingWire.Redmux ? (1, 0) : (0, 1000), (Channels("redmux:reply:*").Count, Channels("Response:*").Count));
            goOn.SetResult();
            var results = await Task.WhenAll(all).WaitAsync(Bound);
            Assert.Equal(Enumerable.Range(0, 1000).Select(n => $"{n}"), results.Select(result => Assert.Single(result.Responses).Text));
            Assert.All(results, result => Assert.True(result.IsComplete));
            await UntilAsync(() => Channels("Response:*").Count == 0);
        }
        await UntilAsync(() => Channels("redmux:reply:*").Count == 0);
    }

    [Theory]
    [MemberData(nameof(Wires))]
    public async Task R16_who_asks_answers_too_unless_left_out(MessagingWire wire)
    {
        await using Messaging messaging = Open(wire: wire);
        await messaging.SubscribeRequestAsync<PingRequest>(Answers(7));
        Sum buffer = new(messaging) { Options = { Strict = true } };
        Assert.Equal(107, (await buffer.SendRequestAsync().WaitAsync(Bound)).Answers);
        buffer.Options.OthersOnly = true;
        if (wire == MessagingWire.Redmux)
        {
            Assert.Equal(100, (await buffer.SendRequestAsync().WaitAsync(Bound)).Answers);
            Assert.Equal(GatherReason.NoResponders, buffer.End!.Reason);
        }
        else
        {
            await Assert.ThrowsAsync<RedmuxArgumentException>(() => buffer.SendRequestAsync()); // that wire has no room for it
        }
    }

    [Theory]
    [MemberData(nameof(Wires))]
    public async Task R11_over_two_servers_a_request_is_handled_once(MessagingWire wire)
    {
        using Fixture second = new();
        int called = 0;
        string[] servers = [Address, $"127.0.0.1:{second.First["port"]}", Address];
        await using Messaging messaging = Open("both", wire, more: options =>
        {
            options.RedisConnexionStrings.Clear();
            Array.ForEach(servers, options.RedisConnexionStrings.Add);
        });
        await messaging.SubscribeRequestAsync<PingRequest>(async (id, request, ct) =>
        {
            Interlocked.Increment(ref called);
            return await Answers(1)(id, request, ct);
        });
        for (int turn = 0; turn < 20; turn++)
        {
            Sum buffer = new(messaging) { Options = { Strict = true } };
            Assert.Equal((101, GatherReason.All), ((await buffer.SendRequestAsync().WaitAsync(Bound)).Answers, buffer.End!.Reason));
        }
        Assert.Equal(20, called);
        await using Messaging only = Open("second", wire, more: options => options.RedisConnexionStrings[0] = servers[1]);
        Assert.Equal(101, (await new Sum(only).SendRequestAsync().WaitAsync(Bound)).Answers);
        second.Do("stop");
        await UntilAsync(async () => (await messaging.RequestAsync<PingResponse>(new PingRequest(), new() { Timeout = TimeSpan.FromSeconds(5) })).IsComplete);
    }

    [Theory]
    [MemberData(nameof(Wires))]
    public async Task A_handler_may_unsubscribe_its_own_type_and_still_responds(MessagingWire wire)
    {
        await using Messaging messaging = Open(wire: wire);
        await messaging.SubscribeRequestAsync<PingRequest>(async (id, request, ct) =>
        {
            await messaging.UnsubscribeRequestAsync<PingRequest>(ct);
            return await Answers(3)(id, request, ct);
        });
        Sum buffer = new(messaging);
        Assert.Equal(103, (await buffer.SendRequestAsync().WaitAsync(Bound)).Answers);
        await UntilAsync(async () => (await new Sum(messaging).SendRequestAsync()).Answers == 100);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Disposing_cancels_handlers_and_leaves_a_client_that_was_given(bool asynchronously)
    {
        TaskCompletionSource begun = new(), cancelled = new();
        await using var client = await ConnectAsync();
        Messaging messaging = new(new() { Client = client }, DemoJson.Default);
        await messaging.SubscribeRequestAsync<PingRequest>(async (_, _, ct) =>
        {
            begun.SetResult();
            await Task.Delay(Timeout.InfiniteTimeSpan, ct).ContinueWith(_ => cancelled.SetResult(), TaskScheduler.Default);
            return null;
        });
        Assert.Equal(1, Server.Publish("Request:1:Demo.PingRequest", "{}"));
        await begun.Task.WaitAsync(Bound);
        if (asynchronously)
        {
            await messaging.DisposeAsync();
        }
        else
        {
            messaging.Dispose();
        }
        await cancelled.Task.WaitAsync(Bound);
        await messaging.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => messaging.SubscribeRequestAsync<PingRequest>(Answers(1)));
        await UntilAsync(() => Server.Publish("Request:1:Demo.PingRequest", "{}") == 0);
        Assert.Equal(0, await client.PublishAsync("x", "still open"));
    }

    // --- in a host

    internal sealed class PingHandler(ILogger<PingHandler> logger, IMessaging messaging) : HandlerBase<PingRequest>(logger, messaging)
    {
        public override async Task HandleAsync(string correlationId, PingRequest request, CancellationToken ct) =>
            await Respond(correlationId, new PingResponse(correlationId) { Answers = request.Body.Length });
    }

    internal sealed class PingBuffer(IServiceProvider services) : RequestBufferBase<PingRequest, PingResponse>(services)
    {
        protected override PingResponse Aggregate() => new() { Answers = ResponseCollection.Sum(one => one.Answers) };
    }

    private static IConfiguration Section(params (string Key, string? Value)[] said) =>
        new ConfigurationBuilder().AddInMemoryCollection(said.Select(one => KeyValuePair.Create(one.Key, one.Value))).Build();

    [Theory]
    [InlineData("messaging-buffer")]
    [InlineData("Redmux")]
    public async Task R18_a_section_of_the_configuration_and_dependency_injection(string wire)
    {
        using Logs logs = new();
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Services.AddSingleton<ILoggerFactory>(logs).AddSingleton(typeof(ILogger<>), typeof(Logger<>));
        IConfiguration section = Section(
            ("RedisConnexionStrings:0", Address), ("Timeout", "5000"), ("Wire", wire), ("Concurrency", "3"), ("Options:Name", "from-section"));
        builder.Services.AddMessagingBuffer(section, DemoJson.Default, messaging => messaging.AddBuffer<PingBuffer, PingRequest, PingResponse, PingHandler>());
        using IHost host = builder.Build();
        await host.StartAsync();
        var messaging = host.Services.GetRequiredService<IMessaging>();
        await messaging.SubscribeHandlersAsync(); // they are, and that is no error
        var buffer = host.Services.GetRequiredService<PingBuffer>();
        Assert.NotSame(buffer, host.Services.GetRequiredService<PingBuffer>());
        buffer.Request.Body = "12345";
        Assert.Equal((5000, 5), (buffer.TimeoutMs, (await buffer.SendRequestAsync().WaitAsync(Bound)).Answers));
        Assert.Contains(Server.Do("client_list")!.AsArray(), one => ((string)one!["name"]!).StartsWith("from-section", StringComparison.Ordinal));
        await host.StopAsync();
        Assert.Equal(0, (await buffer.SendRequestAsync().WaitAsync(Bound)).Answers);
        Assert.Equal(GatherReason.NoResponders, buffer.End!.Reason);
    }

    [Fact]
    public async Task R18_without_a_connection_string_it_is_the_programs_client()
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Services.AddRedmux(Section(("Url", Server.Url), ("Name", "shared")));
        builder.Services.AddMessagingBuffer(Section(), messaging => messaging.Configure(options => options.Timeout = 7000));
        using IHost host = builder.Build();
        await host.StartAsync();
        var messaging = host.Services.GetRequiredService<Messaging>();
        Assert.Equal(7000, messaging.TimeoutMs);
        await messaging.SubscribeRequestAsync<PingRequest>(Answers(1));
        Assert.Equal(101, (await new Sum(messaging).SendRequestAsync().WaitAsync(Bound)).Answers);
        Assert.Equal(RedmuxState.Online, host.Services.GetRequiredService<RedmuxClient>().State);
        await host.StopAsync();
    }

    [Fact]
    public async Task R18_what_is_wrong_is_said_at_the_start()
    {
        ServiceCollection services = new();
        Assert.Throws<SubscriptionException>(() => services.AddMessagingBuffer(Section(), DemoJson.Default, messaging => messaging
            .RegisterHandler<PingRequest, PingHandler>().AddBuffer<PingBuffer, PingRequest, PingResponse, PingHandler>()));
        foreach (var (key, value) in new[] { ("Timeout", "soon"), ("Wire", "smoke"), ("ServeBothWires", "perhaps"), ("Concurrency", "99999999999") })
        {
            ServiceCollection wrong = new();
            wrong.AddMessagingBuffer(Section((key, value)), DemoJson.Default);
            await using ServiceProvider provider = wrong.BuildServiceProvider();
            Assert.Contains($"{key} cannot be '{value}'", Assert.Throws<ArgumentException>(provider.GetRequiredService<IMessaging>).Message, StringComparison.Ordinal);
        }
        Assert.All(new SubscriptionException[] { new(), new("x"), new("x", null) }, error => Assert.IsAssignableFrom<Exception>(error));
    }

    [Fact]
    public async Task An_unsubscribe_waits_for_a_handler_longer_than_the_timeout_of_the_client()
    {
        TaskCompletionSource begun = new(), release = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using Messaging one = Open("one,timeout=200ms", MessagingWire.Redmux), two = Open("two", MessagingWire.Redmux);
        await one.SubscribeRequestAsync<PingRequest>(async (id, _, _) =>
        {
            begun.SetResult();
            await release.Task;
            return new PingResponse(id) { Answers = 1 };
        });
        Sum buffer = new(two);
        Task<PingResponse> asked = buffer.SendRequestAsync();
        await begun.Task.WaitAsync(Bound);
        Task leaving = one.UnsubscribeRequestAsync<PingRequest>();
        await Assert.ThrowsAsync<TimeoutException>(() => leaving.WaitAsync(TimeSpan.FromSeconds(1)));
        release.SetResult();
        await leaving.WaitAsync(Bound);
        Assert.Equal((101, GatherReason.All), ((await asked.WaitAsync(Bound)).Answers, buffer.End!.Reason));
    }

    [Fact]
    public async Task A_dispose_closes_the_responders_of_both_wires_at_once()
    {
        TaskCompletionSource begun = new(), release = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var client = await ConnectAsync();
        Messaging both = new(new() { Client = client, ServeBothWires = true }, DemoJson.Default);
        await both.SubscribeRequestAsync<PingRequest>(async (id, _, _) =>
        {
            begun.SetResult();
            await release.Task; // and not when it is cancelled
            return new PingResponse(id);
        });
        Assert.Equal(2, Served());
        await using Messaging other = Open("other");
        Task<PingResponse> asked = new Sum(other).SendRequestAsync();
        await begun.Task.WaitAsync(Bound);
        both.Dispose();
        Assert.Equal(0, Served());
        release.SetResult();
        await asked.WaitAsync(Bound);

        int Served() => client.Stats().GetProperty("requests").GetProperty("services").GetArrayLength();
    }

    [Fact]
    public async Task An_unsubscribe_that_is_cancelled_while_its_subscribe_is_pending_still_takes_it_back()
    {
        using Fixture server = new();
        await using Messaging messaging = new(new RedisOptions { RedisConnexionStrings = { $"127.0.0.1:{server.First["port"]},name=one" } }, DemoJson.Default);
        await messaging.ReadyAsync();
        server.Do("freeze");
        Task subscribing = messaging.SubscribeRequestAsync<PingRequest>(Answers(1));
        using CancellationTokenSource cancel = new();
        Task leaving = messaging.UnsubscribeRequestAsync<PingRequest>(cancel.Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => leaving.WaitAsync(Bound));
        server.Do("thaw");
        await subscribing.WaitAsync(Bound);
        await UntilAsync(() => server.Do("command", ("args", new JsonArray("PUBSUB", "NUMPAT")))!.GetValue<int>() == 0);
        Assert.Empty(server.Do("command", ("args", new JsonArray("PUBSUB", "CHANNELS", "*Ping*")))!.AsArray());
    }
}
