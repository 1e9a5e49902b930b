using Demo;
using Microsoft.Extensions.Logging;
using Redmux.MessagingBuffer;
using Xunit;

namespace Redmux.Tests;

/// <summary>Messaging.Buffer's wire, against a peer of raw bytes: rows R3, R5, R8, R9, R10, R14 and R15.</summary>
public sealed class MessagingWireTests(Fixture server) : WithServer(server)
{
    private const string Id = "52333da4-f51c-4094-9a3b-53243f15bd82";
    private const string Asked = "Request:*:Demo.PingRequest";

    private RedmuxClient Client(Logs? logs = null, string name = "new-vm") => RedmuxClient.Open(new() { Url = Server.Url, Name = name, LoggerFactory = logs });

    private static Messaging On(RedmuxClient client, Logs? logs = null, MessagingWire wire = MessagingWire.MessagingBuffer) =>
        new(new() { Client = client, LoggerFactory = logs, Wire = wire }, DemoJson.Default);

    private static Task<PingResponse> Pong(string id, PingRequest request) => Task.FromResult(new PingResponse(id) { Text = $"pong 0 {request.Body}" });

    private static async Task<ResponseBase?> PongAsync(string id, PingRequest request, CancellationToken ct) => await Pong(id, request).WaitAsync(ct);

    private int Channels(string pattern) => Server.Do("command", ("args", new System.Text.Json.Nodes.JsonArray("PUBSUB", "CHANNELS", pattern)))!.AsArray().Count;

    [Fact]
    public async Task R8_a_request_and_its_responses_are_those_of_an_old_responder()
    {
        using LegacyPeer old = new(Server);
        await using var client = Client();
        await using var messaging = On(client);
        await old.ListenAsync(Asked);
        Task<RequestResult<PingResponse>> asking = messaging.RequestAsync<PingResponse>(new PingRequest { Body = "grüß <dich>" }, new() { CorrelationId = Id });
        await old.HearsAsync(Asked, $"Request:{Id}:Demo.PingRequest", """{"Body":"grüß <dich>"}""");
        Assert.Equal(1, await old.RespondAsync(Id, "\"Text\":\"pong\",\"Answers\":7"));
        var result = await asking.WaitAsync(Bound);
        PingResponse response = Assert.Single(result.Responses);
        Assert.Equal(("pong", 7, Id, "old-vm"), (response.Text, response.Answers, response.CorrelationId, response.ResponseServerName));
        Assert.Equal((GatherReason.All, 1L, true), (result.End.Reason, result.End.Expected, result.IsComplete));
        await UntilAsync(() => Channels("Response:*") == 0);
    }

    [Fact]
    public async Task R8_a_response_is_what_an_old_asker_understands()
    {
        using LegacyPeer old = new(Server);
        await using var client = Client();
        await using var messaging = On(client);
        await messaging.SubscribeRequestAsync<PingRequest>(PongAsync);
        await old.ListenAsync($"Response:{Id}");
        Assert.Equal(1, await old.PublishAsync($"Request:{Id}:Demo.PingRequest", """{"Body":"hello"}"""));
        await old.HearsAsync($"Response:{Id}", $"Response:{Id}",
            $$"""{"Text":"pong 0 hello","Answers":0,"CorrelationId":"{{Id}}","ResponseServerName":"new-vm"}""");
    }

    [Fact]
    public async Task R1_responses_stand_in_the_order_in_which_they_came_with_who_gave_them()
    {
        using LegacyPeer old = new(Server), second = new(Server);
        await using var client = Client();
        await using var messaging = On(client);
        await old.ListenAsync(Asked);
        await second.ListenAsync(Asked);
        PingBuffer buffer = new(messaging, new PingRequest { Body = "a" });
        Task<PingResponse> asking = buffer.SendRequestAsync();
        string id = LegacyPeer.IdOf((await old.HearAsync(Asked)).Channel);
        Assert.Equal(buffer.CorrelationId, id);
        await old.RespondAsync(id, "\"Text\":\"2\"", "zoe");
        await old.RespondAsync(id, "\"text\":\"1\",\"Answers\":\"3\"", "ann"); // as tolerant as the original: case, and numbers as text
        Assert.Equal("2 of zoe, 1 of ann", (await asking.WaitAsync(Bound)).Text);
        Assert.Equal((GatherReason.All, 2L), (buffer.End!.Reason, buffer.End.Answers));
    }

    private sealed class PingBuffer(IMessaging messaging, PingRequest request) : RequestBufferBase<PingRequest, PingResponse>(messaging, request)
    {
        protected override PingResponse Aggregate() => new(CorrelationId) { Text = string.Join(", ", ResponseCollection.Select(one => $"{one.Text} of {one.ResponseServerName}")) };
    }

    [Fact]
    public async Task R3_of_two_old_responders_one_answers_and_the_result_is_what_came()
    {
        using LegacyPeer old = new(Server), silent = new(Server);
        await using var client = Client();
        await using var messaging = On(client);
        Assert.Equal(10_000, messaging.TimeoutMs);
        await old.ListenAsync(Asked);
        await silent.ListenAsync(Asked);
        PingBuffer buffer = new(messaging, new PingRequest()) { TimeoutMs = 3000 };
        Task<PingResponse> asking = buffer.SendRequestAsync();
        await old.RespondAsync(LegacyPeer.IdOf((await old.HearAsync(Asked)).Channel), "\"Text\":\"one\"");
        Assert.Equal("one of old-vm", (await asking.WaitAsync(Bound)).Text);
        Assert.Equal((GatherReason.Deadline, 1L, 2L, 0), (buffer.End!.Reason, buffer.End.Answers, buffer.End.Expected, buffer.End.Missing.Count));
    }

    [Fact]
    public async Task R5_what_is_no_answer_is_counted_and_logged_and_changes_nothing()
    {
        using Logs logs = new();
        using LegacyPeer old = new(Server), second = new(Server);
        await using var client = Client(logs);
        await using var messaging = On(client, logs);
        await old.ListenAsync(Asked);
        await second.ListenAsync(Asked);
        Task<RequestResult<PingResponse>> asking = messaging.RequestAsync<PingResponse>(new PingRequest());
        string id = LegacyPeer.IdOf((await old.HearAsync(Asked)).Channel);
        await old.PublishAsync($"Response:{id}", """{"Text":"x","CorrelationId":"another","ResponseServerName":"vm"}""");
        await old.PublishAsync($"Response:{id}", "no JSON");
        await old.RespondAsync(id, "\"Answers\":\"many\""); // an answer, and not of this type
        await old.RespondAsync(id, "\"Text\":\"right\"");
        var result = await asking.WaitAsync(Bound);
        Assert.Equal("right", Assert.Single(result.Responses).Text);
        var counted = client.Stats().GetProperty("requests");
        Assert.Equal((1, 1), (counted.GetProperty("late").GetInt32(), counted.GetProperty("malformed").GetInt32()));
        await logs.UntilAsync(LogLevel.Warning, "\"another\" of another request");
        await logs.UntilAsync(LogLevel.Error, $"a response of old-vm to {id} cannot be read");
        await UntilAsync(async () => await old.RespondAsync(id, "\"Text\":\"one more\"") == 0); // nobody listens there any more
    }

    [Fact]
    public async Task R6_as_many_as_expected_are_enough_beside_a_stranger_with_a_pattern()
    {
        using LegacyPeer old = new(Server), stranger = new(Server);
        await using var client = Client();
        await using var messaging = On(client);
        await old.ListenAsync(Asked);
        await stranger.ListenAsync("*");
        PingBuffer buffer = new(messaging, new PingRequest()) { ExpectedCount = 1 };
        Task<PingResponse> asking = buffer.SendRequestAsync();
        await old.RespondAsync(LegacyPeer.IdOf((await old.HearAsync(Asked)).Channel), "\"Text\":\"one\"");
        Assert.Equal("one of old-vm", (await asking.WaitAsync(Bound)).Text);
        Assert.Equal((GatherReason.Count, 2L), (buffer.End!.Reason, buffer.End.Expected));
    }

    [Fact]
    public async Task R9_a_handler_that_fails_is_a_line_of_log_and_nothing_on_the_wire()
    {
        using Logs logs = new();
        using LegacyPeer old = new(Server);
        await using var client = Client(logs);
        await using var messaging = On(client, logs);
        await messaging.SubscribeRequestAsync<PingRequest>(async (id, request, ct) =>
            request.Body == "bad" ? throw new KeyNotFoundException("no luck") : await PongAsync(id, request, ct));
        await old.ListenAsync("Response:*");
        await old.PublishAsync("Request:1:Demo.PingRequest", """{"Body":"bad"}""");
        await logs.UntilAsync(LogLevel.Error, "the handler of Demo.PingRequest failed with request 1; on this wire its asker cannot be told no luck");
        await logs.UntilAsync(LogLevel.Error, "KeyNotFoundException: no luck; its asker is not told");
        await old.PublishAsync("Request:2:Demo.PingRequest", "{bad");
        await logs.UntilAsync(LogLevel.Error, "bad JSON on 'Demo.PingRequest'");
        await old.PublishAsync("Request:3:Demo.PingRequest", "null");
        await logs.UntilAsync(LogLevel.Error, "a request of Demo.PingRequest is null");
        await old.PublishAsync("Request:4:Demo.PingRequest", "{}");
        Assert.Equal("Response:4", (await old.HearAsync("Response:*")).Channel); // of the others nothing
    }

    [Fact]
    public async Task R10_a_response_that_nobody_or_more_than_one_heard_is_logged()
    {
        using Logs logs = new();
        using LegacyPeer old = new(Server), second = new(Server);
        await using var client = Client(logs);
        await using var messaging = On(client, logs);
        await messaging.SubscribeRequestAsync<PingRequest>(PongAsync);
        await old.PublishAsync($"Request:{Id}:Demo.PingRequest", "{}");
        await logs.UntilAsync(LogLevel.Warning, "an answer reached nobody");
        await old.ListenAsync("Response:*");
        await second.ListenAsync("Response:*");
        await old.PublishAsync($"Request:{Id}:Demo.PingRequest", "{}");
        await logs.UntilAsync(LogLevel.Warning, "an answer reached 2 receivers");
        // And so where the handler has ended.
        PingResponse late = new() { Text = "late" };
        Assert.True(await messaging.PublishResponseAsync("5", late));
        await logs.UntilAsync(LogLevel.Warning, "a response to 5 reached 2 receivers");
        foreach (LegacyPeer peer in new[] { old, second })
        {
            Assert.Equal([$"Response:{Id}", "Response:5"], [(await peer.HearAsync("Response:*")).Channel, (await peer.HearAsync("Response:*")).Channel]);
            await peer.LeaveAsync("Response:*");
        }
        Assert.False(await messaging.PublishResponseAsync("6", late));
        await logs.UntilAsync(LogLevel.Warning, "a response to 6 reached 0 receivers");
    }

    [Fact]
    public async Task R14_an_id_with_a_colon_is_refused_and_an_open_one_too()
    {
        using LegacyPeer old = new(Server);
        await using var client = Client();
        await using var messaging = On(client);
        await old.ListenAsync(Asked);
        PingBuffer buffer = new(messaging, new PingRequest()), other = new(messaging, new PingRequest()) { CorrelationId = Id };
        Assert.True(Guid.TryParseExact(buffer.CorrelationId, "D", out _));
        buffer.CorrelationId = "a:b";
        await Assert.ThrowsAsync<RedmuxArgumentException>(() => buffer.SendRequestAsync());
        buffer.CorrelationId = Id;
        Task<PingResponse> asking = buffer.SendRequestAsync();
        Assert.Equal(Id, LegacyPeer.IdOf((await old.HearAsync(Asked)).Channel));
        await Assert.ThrowsAsync<RedmuxStateException>(() => other.SendRequestAsync());
        await Assert.ThrowsAsync<InvalidOperationException>(() => buffer.SendRequestAsync());
        await old.RespondAsync(Id, "\"Text\":\"unharmed\"");
        Assert.Equal("unharmed of old-vm", (await asking.WaitAsync(Bound)).Text);

        PingBuffer again = new(messaging, new PingRequest());
        List<string> ids = [];
        for (int turn = 0; turn < 2; turn++)
        {
            asking = again.SendRequestAsync();
            ids.Add(LegacyPeer.IdOf((await old.HearAsync(Asked)).Channel));
            await old.RespondAsync(ids[turn], $"\"Text\":\"{turn}\"");
            Assert.Equal($"{turn} of old-vm", (await asking.WaitAsync(Bound)).Text); // and not what came before
        }
        Assert.NotEqual(ids[0], ids[1]);
    }

    [Fact]
    public async Task R15_who_catches_all_sees_channel_id_type_and_json()
    {
        using LegacyPeer old = new(Server);
        await using var client = Client();
        await using var messaging = On(client);
        TaskCompletionSource<ReceivedEventArgs> received = new(), watched = new();
        messaging.RequestReceived += (_, request) => watched.TrySetResult(request);
        await messaging.SubscribeAnyRequestAsync(async request =>
        {
            received.TrySetResult(request);
            await messaging.PublishResponseAsync(request.CorrelationId, new PingResponse { Text = request.MessageType });
        });
        await old.ListenAsync("Response:17");
        await old.PublishAsync("Request:17:Demo.Any", """{"a":1}""");
        await old.HearsAsync("Response:17", "Response:17", """{"Text":"Demo.Any","Answers":0,"CorrelationId":"17","ResponseServerName":"new-vm"}""");
        ReceivedEventArgs got = await received.Task.WaitAsync(Bound);
        Assert.Equal(("Request:17:Demo.Any", "17", "Demo.Any", """{"a":1}"""), (got.Channel, got.CorrelationId, got.MessageType, got.Value));
        Assert.Same(got, await watched.Task.WaitAsync(Bound));
    }

    [Fact]
    public async Task R15_an_event_handler_may_respond_after_it_has_returned()
    {
        using LegacyPeer old = new(Server);
        await using var client = Client();
        await using var messaging = On(client);
        TaskCompletionSource<string> later = new();
        await messaging.SubscribeAnyRequestAsync((sender, request) =>
        {
            Assert.Same(messaging, sender);
            later.SetResult(request.CorrelationId);
        });
        await old.ListenAsync("Response:18");
        await old.PublishAsync("Request:18:Demo.Any", "{}");
        string id = await later.Task.WaitAsync(Bound);
        // It has returned when nothing is in work any more.
        using CancellationTokenSource late = new(Bound);
        while (client.Stats().GetProperty("requests").GetProperty("services").EnumerateArray().Any(one => one.GetProperty("in_work").GetInt32() > 0))
        {
            await Task.Delay(2, late.Token);
        }
        Assert.True(await messaging.PublishResponseAsync(id, new PingResponse { Text = "later", ResponseServerName = "me" }));
        await old.HearsAsync("Response:18", "Response:18", """{"Text":"later","Answers":0,"CorrelationId":"18","ResponseServerName":"me"}""");
    }

    [Fact]
    public async Task A_connection_that_is_lost_ends_a_request_with_what_came()
    {
        using LegacyPeer old = new(Server), silent = new(Server);
        await using var client = Client();
        await using var messaging = On(client);
        await old.ListenAsync(Asked);
        await silent.ListenAsync(Asked);
        PingBuffer buffer = new(messaging, new PingRequest()) { TimeoutMs = 60_000 };
        Task<PingResponse> asking = buffer.SendRequestAsync();
        await old.RespondAsync(LegacyPeer.IdOf((await old.HearAsync(Asked)).Channel), "\"Text\":\"one\"");
        await client.BarrierAsync(); // it has been read
        Server.Do("kill_pubsub");
        Assert.Equal("one of old-vm", (await asking.WaitAsync(Bound)).Text);
        Assert.Equal((GatherReason.Interrupted, 1L), (buffer.End!.Reason, buffer.End.Answers));
    }

    [Fact]
    public async Task On_the_old_wire_a_request_has_one_response()
    {
        using LegacyPeer old = new(Server);
        await using var client = Client();
        await using var messaging = On(client);
        TaskCompletionSource<(bool, bool)> said = new();
        PingResponse one = new() { Text = "one" };
        await messaging.SubscribeRequestAsync<PingRequest>(async (id, _) =>
            said.SetResult((await messaging.PublishResponseAsync(id, one), await messaging.PublishResponseAsync(id, one))));
        await old.ListenAsync("Response:*");
        await old.PublishAsync("Request:1:Demo.PingRequest", "{}");
        Assert.Equal((true, false), await said.Task.WaitAsync(Bound));
        Assert.Equal((null, Environment.MachineName), (one.CorrelationId, one.ResponseServerName)); // what was given stays as it was
    }

    [Fact]
    public async Task Both_wires_are_served_while_a_fleet_moves()
    {
        using LegacyPeer old = new(Server);
        await using var client = Client();
        await using Messaging both = new(new() { Client = client, Wire = MessagingWire.Redmux, ServeBothWires = true }, DemoJson.Default);
        await both.SubscribeRequestAsync<PingRequest>(PongAsync);
        await old.ListenAsync("Response:*");
        await old.PublishAsync("Request:1:Demo.PingRequest", "{}");
        Assert.Equal("Response:1", (await old.HearAsync("Response:*")).Channel);
        Assert.Equal("pong 0 a", Assert.Single((await both.RequestAsync<PingResponse>(new PingRequest { Body = "a" })).Responses).Text);
        await using Messaging legacy = On(client);
        Assert.Equal("pong 0 b", Assert.Single((await legacy.RequestAsync<PingResponse>(new PingRequest { Body = "b" })).Responses).Text);
    }
}
