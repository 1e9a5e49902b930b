using System.Text;
using System.Text.Json.Nodes;
using Redmux;

namespace Scenario;

/// <summary>What was seen is not what the scenario says.</summary>
internal sealed class Failed(string message) : Exception(message);

/// <summary>A step, and how its values are read.</summary>
internal sealed class Step(JsonNode json)
{
    internal JsonNode Json { get; } = json;

    internal JsonNode? this[string key] => Json[key];

    internal string Text(string key, string otherwise = "") => (string?)Json[key] ?? otherwise;

    internal int Number(string key, int otherwise) => (int?)Json[key] ?? otherwise;

    internal bool Flag(string key, bool otherwise) => (bool?)Json[key] ?? otherwise;

    internal string Client => Text("client", "a");

    internal string Sub => Text("sub", "s");

    internal string Set => Text("set", "p");

    internal string Responder => Text("responder", "r");

    internal Dictionary<string, string>? Headers => (Json["headers"] as JsonObject)?.ToDictionary(pair => pair.Key, pair => (string)pair.Value!);

    internal TimeSpan Limit => ((double?)Json["timeout"] ?? 10) is >= 0 and var seconds ? TimeSpan.FromSeconds(seconds) : Timeout.InfiniteTimeSpan;

    internal static byte[] Raw(JsonNode? value, int n = 0) => value switch
    {
        JsonValue text => Encoding.UTF8.GetBytes(((string)text!).Replace("{n}", $"{n}", StringComparison.Ordinal)),
        JsonObject given when given["hex"] is { } hex => Convert.FromHexString((string)hex!),
        JsonObject given => Encoding.UTF8.GetBytes(new string('x', (int)given["fill"]!)),
        _ => [],
    };

    internal static string Name(JsonNode? value, int n = 0) => ChannelName.FromBytes(Raw(value, n));

    internal string[] Names(string key) => [.. (Json[key] as JsonArray ?? []).Select(name => Name(name))];
}

/// <summary>The objects of one process, and the steps that users do.</summary>
internal sealed class Objects(JsonNode servers)
{
    private readonly Dictionary<string, RedmuxClient> _clients = [];
    private readonly Dictionary<string, JsonNode> _answers = [];
    private readonly Dictionary<string, Subscription?> _subs = [];
    private readonly Dictionary<string, Promises> _sets = [];
    private readonly Dictionary<string, (Task<object?> Task, CancellationTokenSource Cancel)> _begun = [];
    private readonly Dictionary<string, Promise> _promises = [];
    private readonly Requests _requests = new();
    private static readonly Lines _lines = new();

    private RedmuxClient Client(Step step) => _clients[step.Client];

    private Subscription Sub(Step step) => _subs[step.Sub] ?? throw new ObjectDisposedException(step.Sub, "there is no such subscription");

    internal async Task RunAsync(Step step)
    {
        string what = step.Text("do");
        if (step["as"] is { } name && what is not ("await" or "cancel" or "promise" or "gather"))
        {
            CancellationTokenSource cancel = new();
            _begun[(string)name!] = (DoAsync(what, step, cancel.Token), cancel);
        }
        else
        {
            await JudgeAsync(step, DoAsync(what, step, CancellationToken.None));
        }
    }

    private static async Task JudgeAsync(Step step, Task<object?> work)
    {
        string? seen = null;
        string text = "";
        object? result = null;
        try
        {
            result = await work.WaitAsync(TimeSpan.FromSeconds(30));
        }
        catch (Exception error) when (Word(error) is { } word)
        {
            (seen, text) = (word, error.Message);
        }
        string? wanted = (string?)step["error"];
        if (seen != wanted)
        {
            throw new Failed($"ended with {seen ?? "ok"}, not {wanted ?? "ok"}: {text}");
        }
        foreach (JsonNode? part in step["says"] as JsonArray ?? [])
        {
            if (!text.Contains((string)part!, StringComparison.Ordinal))
            {
                throw new Failed($"its text has no {part}: {text}");
            }
        }
        if (seen is null && step["receivers"] is { } receivers && result is not null && (long)result != (long)receivers)
        {
            throw new Failed($"{result} receivers");
        }
        if (seen is null && step[step.Text("do") switch { "await" => "data", "ask" => "answer", _ => "" }] is { } data && !(result is byte[] got && got.AsSpan().SequenceEqual(Step.Raw(data))))
        {
            throw new Failed($"got {result}");
        }
    }

    /// <summary>The status as a word; a disposed or cancelled one is the language's own.</summary>
    private static string? Word(Exception error) => error switch
    {
        RedmuxException redmux => redmux.Kind,
        ObjectDisposedException => "closed",
        OperationCanceledException => "cancelled",
        _ => null,
    };

    private async Task<object?> DoAsync(string what, Step step, CancellationToken ct)
    {
        switch (what)
        {
            case "connect":
                await ConnectAsync(step, ct);
                break;
            case "answers":
                _answers[step.Client] = step["answers"]!;
                break;
            case "ready":
                await Client(step).ReadyAsync(step.Limit, ct);
                break;
            case "authenticate":
                await Client(step).AuthenticateAsync((string?)step["user"], step.Text("password"), step.Limit, ct);
                break;
            case "stop":
                Client(step).Stop();
                break;
            case "restart":
                Client(step).Restart();
                break;
            case "flush":
                await Client(step).FlushAsync(step.Limit, ct);
                break;
            case "barrier":
                await Client(step).BarrierAsync(step.Limit, ct);
                break;
            case "publish":
                Task<long>[] publishes = [.. Enumerable.Range(0, step.Number("times", 1)).Select(n =>
                    Client(step).PublishAsync(Step.Name(step["channel"], n), Step.Raw(step["data"], n), step.Limit, ct).AsTask())];
                return (await Task.WhenAll(publishes))[0];
            case "post":
                for (int n = 0; n < step.Number("times", 1); n++)
                {
                    if (!Client(step).TryPost(Step.Name(step["channel"], n), Step.Raw(step["data"], n)))
                    {
                        throw Failure.Of(Native.ErrFull, "post");
                    }
                }
                break;
            case "subscribe":
                await SubscribeAsync(step, ct);
                break;
            case "add" when step.Flag("wait", true):
                await Sub(step).AddAsync(step.Names("channels"), step.Limit, ct);
                break;
            case "add":
                Sub(step).Add(step.Names("channels"));
                break;
            case "remove" when step.Flag("wait", true):
                await Sub(step).RemoveAsync(step.Names("channels"), step.Limit, ct);
                break;
            case "remove":
                Sub(step).Remove(step.Names("channels"));
                break;
            case "clear" when step["set"] is not null:
                _sets[step.Set].Clear();
                break;
            case "clear":
                await Sub(step).ClearAsync(step.Limit, ct);
                break;
            case "wait_active" when step["set"] is not null:
                await _sets[step.Set].WaitActiveAsync(step.Limit, ct);
                break;
            case "wait_active":
                await Sub(step).WaitActiveAsync(step.Limit, ct);
                break;
            case "drain" when step["responder"] is not null:
                await _requests.Responder(step).DrainAsync(step.Limit, ct);
                break;
            case "drain":
                await Sub(step).DrainAsync(step.Limit, ct);
                break;
            case "channels":
                if (!Sub(step).Channels.ToHashSet().SetEquals(step.Names("is")))
                {
                    throw new Failed($"it has {string.Join(", ", Sub(step).Channels)}");
                }
                break;
            case "expect":
                await ExpectAsync(step);
                break;
            case "count":
                await CountAsync(step);
                break;
            case "nothing" when step["responder"] is not null:
                _requests.Nothing(step);
                break;
            case "nothing":
                await NothingAsync(step);
                break;
            case "logged":
                step.Json["until"] = true;
                await UntilAsync(step, () => Task.FromResult<JsonNode?>(_lines.Has(step.Text("line"))));
                break;
            case "stats":
                await UntilAsync(step, () => Task.FromResult(Path(JsonNode.Parse(Client(step).Stats().GetRawText())!, step.Text("key"))));
                break;
            case "promises":
                _sets[step.Set] = Client(step).Promises(Step.Name(step["prefix"]));
                break;
            case "promise":
                _promises[step.Text("as")] = step["name"] is { } name ? await Client(step).PromiseAsync(Step.Name(name), step.Limit, ct)
                    : step.Flag("wait", false) ? _sets[step.Set].NewLater(Step.Name(step["suffix"]), step.Limit)
                    : _sets[step.Set].New(Step.Name(step["suffix"]), step.Limit);
                break;
            case "gather":
                _requests.Gather(step, Client(step));
                break;
            case "ask":
                return await Requests.AskAsync(step, Client(step), ct);
            case "respond":
                await _requests.RespondAsync(step, Client(step), ct);
                break;
            case "request":
                await _requests.TakeAsync(step);
                break;
            case "answer" or "end" or "fail":
                await _requests.OrderAsync(step);
                break;
            case "cancelled":
                await _requests.CancelledAsync(step);
                break;
            case "await" when _requests.Has(step):
                await _requests.EndedAsync(step);
                break;
            case "cancel" when _requests.Has(step):
                _requests.Cancel(step);
                break;
            case "await":
                if (_promises.Remove(step.Text("as"), out Promise? promise))
                {
                    return (await promise).ToArray();
                }
                return await _begun[step.Text("as")].Task;
            case "cancel" when _promises.TryGetValue(step.Text("as"), out Promise? kept):
                kept.Cancel();
                break;
            case "cancel":
                await _begun[step.Text("as")].Cancel.CancelAsync();
                break;
            case "close":
                await (step["sub"] is not null ? Sub(step).DisposeAsync() : step["set"] is not null ? _sets[step.Set].DisposeAsync()
                    : step["responder"] is not null ? _requests.Responder(step).DisposeAsync() : Client(step).DisposeAsync());
                break;
            default:
                throw new Failed("there is no such step");
        }
        return null;
    }

    private static JsonNode? Path(JsonNode node, string path) => path.Split('.').Aggregate((JsonNode?)node, (at, key) => at?[key]);

    private async Task ConnectAsync(Step step, CancellationToken ct)
    {
        JsonNode server = servers[step.Text("server", "redis")]!;
        string? via = (string?)step["via"];
        RedmuxOptions options = new()
        {
            Url = (string?)(via is null ? server["url"] ?? server["unix_url"] : server[$"{via}_url"]),
            ConnectTimeout = step.Limit,
            LoggerFactory = _lines,
        };
        foreach (var (key, value) in step["options"] as JsonObject ?? [])
        {
            options[key] = (string)value!;
        }
        if (step["options"]?["connect_timeout"] is { } attempt)
        {
            options.ConnectTimeout = TimeSpan.FromMilliseconds(int.Parse(((string)attempt!).Replace("ms", "", StringComparison.Ordinal), null));
        }
        if (via == "tls")
        {
            options["tls_ca"] = (string)server["certs"]!["ca"]!;
        }
        string client = step.Client;
        _answers[client] = step["answers"] ?? new JsonObject();
        if (step["answers"]?["address"] is not null)
        {
            options.Url = null;
            options.Address = _ =>
            {
                Uri url = new((string)servers[(string)_answers[client]["address"]!]!["url"]!);
                return new(new System.Net.DnsEndPoint(url.Host, url.Port));
            };
        }
        if (step["answers"]?["credentials"] is not null)
        {
            options.Credentials = _ =>
            {
                JsonNode given = _answers[client]["credentials"]!;
                return new(new System.Net.NetworkCredential((string)given[0]!, (string)given[1]!));
            };
        }
        _clients[client] = step.Flag("lazy", false) ? RedmuxClient.Open(options) : await RedmuxClient.ConnectAsync(options, ct);
    }

    private async Task SubscribeAsync(Step step, CancellationToken ct)
    {
        JsonNode? given = step["options"];
        SubscribeOptions options = new()
        {
            Timeout = step.Limit,
            InboxBytes = given?["inbox_bytes"] is { } bytes ? long.Parse((string)bytes!, null) : null,
            InboxRecords = given?["inbox_records"] is { } records ? long.Parse((string)records!, null) : null,
            InboxPolicy = (string?)given?["inbox_policy"] switch
            {
                "drop-oldest" => InboxPolicy.DropOldest,
                "drop-newest" => InboxPolicy.DropNewest,
                "close" => InboxPolicy.Close,
                "pause" => InboxPolicy.Pause,
                _ => null,
            },
        };
        if (step["error"] is not null)
        {
            _subs.TryAdd(step.Sub, null);
        }
        string? pattern = step["pattern"] is { } value ? Step.Name(value) : null;
        _subs[step.Sub] = (pattern, step.Flag("wait", true)) switch
        {
            (null, true) => await Client(step).SubscribeAsync(step.Names("channels"), options, ct),
            (null, false) => Client(step).Subscribe(step.Names("channels"), options),
            (_, true) => await Client(step).SubscribePatternAsync(pattern, options, ct),
            (_, false) => Client(step).SubscribePattern(pattern, options),
        };
    }

    // --- events

    /// <summary>The next event; the exception or null at the end.</summary>
    private async Task<object?> EventAsync(Step step, bool named, CancellationToken ct = default)
    {
        using CancellationTokenSource late = CancellationTokenSource.CreateLinkedTokenSource(ct);
        late.CancelAfter(step.Limit);
        try
        {
            await foreach (IEvent happened in Sub(step).EventsAsync(late.Token))
            {
                if (named || happened is not Active { Channel: not null })
                {
                    return happened;
                }
            }
            return null;
        }
        catch (RedmuxException error)
        {
            return error;
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            throw new Failed("nothing came");
        }
    }

    private async Task ExpectAsync(Step step)
    {
        foreach (JsonNode? see in (JsonArray)step["see"]!)
        {
            Step wanted = new(see!);
            for (int n = 0; n < wanted.Number("times", 1); n++)
            {
                object? seen = await EventAsync(step, wanted.Text("see") == "active" && wanted["name"] is not null);
                if (!IsIt(seen, wanted, n))
                {
                    throw new Failed($"{see!.ToJsonString()} was wanted (repetition {n}), but came {seen}");
                }
            }
        }
    }

    private static bool IsIt(object? seen, Step wanted, int n)
    {
        string see = wanted.Text("see");
        return seen switch
        {
            Message message => see == "message" && message.Channel == Step.Name(wanted["channel"], n)
                && message.Data.Span.SequenceEqual(Step.Raw(wanted["data"], n))
                && message.Pattern == (wanted["pattern"] is { } pattern ? Step.Name(pattern, n) : null),
            Active active => see == "active" && active.Channel == (wanted["name"] is { } name ? Step.Name(name) : null),
            Lost lost => see == "lost" && wanted.Text("error", lost.Reason) == lost.Reason,
            Dropped dropped => see == "dropped" && dropped.Count == (long)wanted["count"]!,
            Refused refused => see == "refused" && refused.Channel == Step.Name(wanted["name"]),
            RedmuxException error => see == "end" && (string?)wanted["error"] == error.Kind,
            _ => see == "end" && wanted["error"] is null,
        };
    }

    private async Task CountAsync(Step step)
    {
        long total = 0, wanted = (long)step["total"]!;
        while (total < wanted)
        {
            total += await EventAsync(step, named: false) switch
            {
                Message => 1,
                Dropped dropped => dropped.Count,
                var other => throw new Failed($"after {total} came {other}"),
            };
        }
        if (total != wanted)
        {
            throw new Failed($"came to {total}");
        }
    }

    /// <summary>A read of what is here now never waits, so it has ended when the call returns.</summary>
    private async Task NothingAsync(Step step)
    {
        using CancellationTokenSource stop = new();
        Task<object?> reading = EventAsync(step, named: false, stop.Token);
        if (reading.IsCompleted)
        {
            throw new Failed($"there is {await reading}");
        }
        await stop.CancelAsync();
        try
        {
            throw new Failed($"there is {await reading}");
        }
        catch (OperationCanceledException)
        {
            if (Sub(step).TryRead(out Message message))
            {
                throw new Failed($"there is {message}");
            }
        }
    }

    internal static async Task UntilAsync(Step step, Func<Task<JsonNode?>> look)
    {
        DateTime end = DateTime.UtcNow + step.Limit;
        while (true)
        {
            JsonNode? seen = await look();
            if (Is("is") || Is("until"))
            {
                return;
            }
            if (step.Json.AsObject().ContainsKey("is") || (step["until"] is not null && DateTime.UtcNow > end))
            {
                throw new Failed($"it is {seen?.ToJsonString() ?? "null"}");
            }
            if (step["until"] is null)
            {
                return;
            }
            await Task.Delay(10);

            bool Is(string key) => step.Json.AsObject().ContainsKey(key) && JsonNode.DeepEquals(seen, step[key]);
        }
    }

    /// <summary>The end of a process: everything is closed, and nothing is left.</summary>
    internal async Task EndAsync()
    {
        foreach (RedmuxClient client in _clients.Values)
        {
            await client.DisposeAsync();
        }
        if (Native.redmux_debug_live() is var left and not 0)
        {
            throw new Failed($"{left} handles or blocks are left");
        }
    }
}
