using System.Text.Json.Nodes;
using System.Threading.Channels;
using Redmux;

namespace Scenario;

/// <summary>A request that a handler works on as the steps tell it.</summary>
internal sealed class Handled(Request request)
{
    private readonly Channel<(Step Step, TaskCompletionSource Said)> _orders = Channel.CreateUnbounded<(Step, TaskCompletionSource)>();
    private readonly TaskCompletionSource _left = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal Request Request { get; } = request;

    internal bool Cancelled { get; private set; }

    internal Task Left => _left.Task;

    internal async ValueTask<Reply?> WorkAsync()
    {
        try
        {
            while (true)
            {
                var (step, said) = await _orders.Reader.ReadAsync(Request.CancellationToken);
                switch (step.Text("do"))
                {
                    case "fail" when step["code"] is { } code:
                        throw new RedmuxRemoteException((string)code!, step.Text("message"), step.Flag("retriable", false));
                    case "fail":
                        throw new InvalidOperationException("a handler that fails");
                    case "answer":
                        Reply reply = new(Step.Raw(step["data"]), step.Headers);
                        if (step.Flag("last", true))
                        {
                            return reply;
                        }
                        Request.Answer(reply);
                        said.SetResult();
                        break;
                    default:
                        return null;
                }
            }
        }
        catch (OperationCanceledException)
        {
            Cancelled = true;
            throw;
        }
        finally
        {
            _left.SetResult();
        }
    }

    internal async Task OrderAsync(Step step)
    {
        if (_left.Task.IsCompleted)
        {
            throw new Failed("its handler has left");
        }
        TaskCompletionSource said = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await _orders.Writer.WriteAsync((step, said));
        await Task.WhenAny(said.Task, _left.Task);
    }
}

/// <summary>What asks and what serves.</summary>
internal sealed class Requests
{
    private readonly Dictionary<string, Gather[]> _gathers = [];
    private readonly Dictionary<string, Responder?> _responders = [];
    private readonly Dictionary<string, Channel<Handled>> _came = [];
    private readonly Dictionary<string, Handled> _handled = [];

    private static GatherOptions Options(Step step)
    {
        GatherOptions options = new() { Timeout = step.Limit, Headers = step.Headers };
        foreach (var (key, value) in step["options"] as JsonObject ?? [])
        {
            options[key] = (string)value!;
        }
        if (step["until"] is { } until)
        {
            byte[] enough = Step.Raw(until);
            options.Until = answer => answer.Data.Span.SequenceEqual(enough);
        }
        return options;
    }

    internal void Gather(Step step, RedmuxClient client) => _gathers[step.Text("as")] = [.. Enumerable.Range(0, step.Number("times", 1))
        .Select(n => client.Gather(Step.Name(step["service"]), Step.Raw(step["data"], n), Options(step)))];

    internal static async Task<object?> AskAsync(Step step, RedmuxClient client, CancellationToken ct) =>
        (await client.RequestAsync(Step.Name(step["service"]), Step.Raw(step["data"]), Options(step), ct)).Data.ToArray();

    internal bool Has(Step step) => _gathers.ContainsKey(step.Text("as"));

    internal void Cancel(Step step) => Array.ForEach(_gathers[step.Text("as")], gather => gather.Cancel());

    internal async Task EndedAsync(Step step)
    {
        _gathers.Remove(step.Text("as"), out Gather[]? gathers);
        for (int n = 0; n < gathers!.Length; n++)
        {
            List<Answer> answers = await gathers[n].ToListAsync();
            GatherEnd end = gathers[n].End!;
            if (step["reason"] is { } reason && Word(end.Reason) != (string?)reason || step["expected"] is { } expected && (long)expected != end.Expected)
            {
                throw new Failed($"repetition {n} ended so: {end}");
            }
            if (step["missing"] is JsonArray missing && !missing.Select(name => (string)name!).Order().SequenceEqual(end.Missing.Order()))
            {
                throw new Failed($"missing are {string.Join(", ", end.Missing)}");
            }
            Judge(step, n, "answers", answers, Fits);
            Judge(step, n, "errors", [.. end.Errors], Fits);
        }
    }

    private static string Word(GatherReason reason) => reason == GatherReason.NoResponders ? "no_responders" : $"{reason}".ToLowerInvariant();

    private static void Judge<T>(Step step, int n, string key, List<T> came, Func<T, Step, int, bool> fits)
    {
        foreach (JsonNode? wanted in step[key] as JsonArray ?? [])
        {
            int at = came.FindIndex(one => fits(one, new Step(wanted!), n));
            if (at < 0 || at > 0 && step.Flag("in_order", false))
            {
                throw new Failed($"{wanted!.ToJsonString()} is not (here) among the {came.Count} {key} of repetition {n}: {string.Join("; ", came)}");
            }
            came.RemoveAt(at);
        }
        if (step[key] is not null && came.Count > 0)
        {
            throw new Failed($"more {key} came in repetition {n}: {string.Join("; ", came)}");
        }
    }

    private static bool Fits(Answer answer, Step wanted, int n) =>
        (wanted["data"] is not { } data || answer.Data.Span.SequenceEqual(Step.Raw(data, n)))
        && wanted.Text("from", answer.Responder) == answer.Responder && Among(wanted.Headers, answer.Headers);

    private static bool Fits(RedmuxRemoteException error, Step wanted, int n) =>
        wanted.Text("code", error.RemoteCode) == error.RemoteCode && wanted.Text("message", error.Message) == error.Message
        && wanted.Flag("retriable", error.Retriable) == error.Retriable && wanted.Text("from", error.Responder) == error.Responder;

    private static bool Among(Dictionary<string, string>? wanted, IReadOnlyDictionary<string, string> came) =>
        wanted?.All(pair => came.TryGetValue(pair.Key, out string? value) && value == pair.Value) != false;

    // --- serving

    internal Responder Responder(Step step) => _responders[step.Responder] ?? throw new ObjectDisposedException(step.Responder, "there is no such responder");

    internal async Task RespondAsync(Step step, RedmuxClient client, CancellationToken ct)
    {
        RespondOptions options = new() { Timeout = step.Limit };
        foreach (var (key, value) in step["options"] as JsonObject ?? [])
        {
            options[key] = (string)value!;
        }
        Channel<Handled> came = Channel.CreateUnbounded<Handled>();
        if (step["error"] is not null)
        {
            _responders.TryAdd(step.Responder, null);
        }
        _responders[step.Responder] = await client.RespondAsync(Step.Name(step["service"]), Handle, options, ct);
        _came[step.Responder] = came;

        ValueTask<Reply?> Handle(Request request)
        {
            if (step.Text("does") == "echo")
            {
                return new(request.Data);
            }
            Handled handled = new(request);
            came.Writer.TryWrite(handled);
            return handled.WorkAsync();
        }
    }

    /// <summary>Handlers begin on several threads at once, so of those that were handed out together any may be told first.</summary>
    internal async Task TakeAsync(Step step)
    {
        using CancellationTokenSource late = new(step.Limit);
        List<Handled> others = [];
        try
        {
            while (true)
            {
                Handled handled = await _came[step.Responder].Reader.ReadAsync(late.Token);
                if (Fits(handled.Request, step))
                {
                    _handled[step.Text("request", "q")] = handled;
                    others.ForEach(other => _came[step.Responder].Writer.TryWrite(other));
                    return;
                }
                others.Add(handled);
            }
        }
        catch (OperationCanceledException)
        {
            throw new Failed($"the requests are {string.Join("; ", others.Select(other => $"{other.Request}: {other.Request.Text()} with {string.Join(", ", other.Request.Headers)}"))}");
        }
    }

    private static bool Fits(Request request, Step wanted) =>
        (wanted["service"] is not { } service || Step.Name(service) == request.Service)
        && (wanted["data"] is not { } data || request.Data.Span.SequenceEqual(Step.Raw(data))) && Among(wanted.Headers, request.Headers)
        && wanted.Text("id", request.Id) == request.Id;

    internal Task OrderAsync(Step step) => _handled[step.Text("request", "q")].OrderAsync(step);

    internal async Task CancelledAsync(Step step)
    {
        Handled handled = _handled[step.Text("request", "q")];
        await handled.Left.WaitAsync(step.Limit);
        if (!handled.Cancelled)
        {
            throw new Failed("its handler ended by itself");
        }
    }

    internal void Nothing(Step step)
    {
        if (_came[step.Responder].Reader.TryPeek(out Handled? handled))
        {
            throw new Failed($"there is {handled.Request}");
        }
    }
}
