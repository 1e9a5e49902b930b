namespace Redmux;

/// <summary>One answer to a request.</summary>
public sealed class Answer : Envelope
{
    internal Answer(string service, in RawRecord record, ReadOnlySpan<byte> data) : base(service, record, data) =>
        (Number, IsLast, Time) = ((long)record.Number, (record.Flags & Native.Flag) != 0, DateTimeOffset.UnixEpoch.AddTicks((long)(record.Aux / 100)));

    /// <summary>Which answer of its responder it is, from 0.</summary>
    public long Number { get; }

    /// <summary>Whether it is its responder's last. A responder may also end without another answer.</summary>
    public bool IsLast { get; }

    /// <summary>When it was read from the socket.</summary>
    public DateTimeOffset Time { get; }

    /// <summary>The name of the client that answered: its <see cref="RedmuxOptions.Name"/>, else its machine's name.</summary>
    public string Responder => Head.Name ?? "";

    /// <summary>Which responder it was, unlike any other.</summary>
    public string By => Head.By ?? "";
}

/// <summary>How a request is asked. What is null is as the client has it.</summary>
public sealed class GatherOptions : KeyedOptions
{
    /// <summary>When it ends with what came; null is the client's <see cref="RedmuxOptions.Timeout"/>.</summary>
    public TimeSpan? Timeout { get; set; }

    /// <summary>So many answers are enough.</summary>
    public int? Expect { get; set; }

    /// <summary>So long without another answer is enough.</summary>
    public TimeSpan? Quiet { get; set; }

    /// <summary>Called with each answer as it is read; true: this one was enough.</summary>
    public Func<Answer, bool>? Until { get; set; }

    /// <summary>Whether to wait for everybody who received the request, and not only for those who took it.</summary>
    public bool? Strict { get; set; }

    /// <summary>Whether responders of this client are left out.</summary>
    public bool? OthersOnly { get; set; }

    /// <summary>Whether it may be asked again after a connection was lost; handlers do not see it twice.</summary>
    public bool? Repeatable { get; set; }

    /// <summary>What goes with the request. The current Activity's <c>traceparent</c> does by itself.</summary>
    public IReadOnlyDictionary<string, string>? Headers { get; set; }

    internal override IEnumerable<(string, object?)> Own() => [("expect", Expect), ("quiet", Quiet), ("strict", Strict), ("others_only", OthersOnly), ("repeatable", Repeatable)];
}

/// <summary>Why a gather ended.</summary>
public enum GatherReason
{
    /// <summary>Nobody serves it.</summary>
    NoResponders = 1,

    /// <summary>Everybody who took it has finished.</summary>
    All = 2,

    /// <summary>As many answers as <see cref="GatherOptions.Expect"/> says.</summary>
    Count = 3,

    /// <summary>You had what you wanted: <see cref="GatherOptions.Until"/>, <see cref="Gather.Stop"/>.</summary>
    Predicate = 4,

    /// <summary>No new answer for as long as <see cref="GatherOptions.Quiet"/> says.</summary>
    Quiet = 5,

    /// <summary>The time was over.</summary>
    Deadline = 6,

    /// <summary>You gave it up.</summary>
    Cancelled = 7,

    /// <summary>The client was closed.</summary>
    Closed = 8,

    /// <summary>A connection was lost while it waited, or it could not be sent.</summary>
    Interrupted = 9,

    /// <summary>Everybody who took it failed.</summary>
    Failed = 10,

    /// <summary>More answers came than there was room for.</summary>
    Overflow = 11,
}

/// <summary>What became of a gather.</summary>
/// <param name="Reason">Why it ended.</param>
/// <param name="Missing">The names of those who took it and did not finish.</param>
/// <param name="Answers">How many answers came.</param>
/// <param name="Errors">Who answered with an error, and with which.</param>
/// <param name="Expected">How many Redis gave it to; null where nobody knows.</param>
/// <param name="Elapsed">How long it took.</param>
public sealed record GatherEnd(
    GatherReason Reason, IReadOnlyList<string> Missing, long Answers, IReadOnlyList<RedmuxRemoteException> Errors, long? Expected, TimeSpan Elapsed)
{
    /// <summary>What <see cref="RedmuxClient.RequestAsync(string, string, GatherOptions?, CancellationToken)"/> throws.</summary>
    internal Exception? Error { get; init; }
}

/// <summary>One request and its answers as they come. Asked when it is made; left early, cancelled or dropped it is given up, and who works
/// on it is told.</summary>
public sealed class Gather : IAsyncEnumerable<Answer>, IDisposable
{
    private readonly RedmuxClient _client;
    private readonly Collected _collected;
    private readonly Func<Answer, bool>? _until;
    private readonly ulong _handle;
    private bool _enough;

    internal unsafe Gather(RedmuxClient client, string service, ReadOnlyMemory<byte> payload, GatherOptions? options)
    {
        (_client, _until, _collected) = (client, options?.Until, new(service));
        byte[] name = ChannelName.ToBytes(service), headers = Head.OfHeaders(RedmuxTelemetry.Carried(options?.Headers));
        long limit = Duration.Millis(options?.Timeout);
        ClientCore core = client.Core;
        core.Tokens.Add(_collected);
        try
        {
            _handle = Handed.Options(options?.All(), prepared =>
            {
                void* error = null;
                ulong made = 0;
                fixed (byte* at = name, body = payload.Span, head = headers)
                {
                    Failure.Check(
                        core.Closed ? Native.ErrClosed : Native.redmux_gather_open(
                            core.Handle, core.Reply, at, (nuint)name.Length, body, (nuint)payload.Length, head, (nuint)headers.Length, prepared,
                            _collected.Token, limit, &made, &error), _collected.What, error);
                }
                return made;
            });
        }
        catch
        {
            core.Tokens.Remove(_collected.Token);
            throw;
        }
    }

    /// <summary>Dropped: given up.</summary>
    ~Gather() => Leave(GatherReason.Cancelled);

    /// <summary>Why it ended and who is missing; null as long as it has not.</summary>
    public GatherEnd? End => _collected.End?.Value;

    /// <summary>The answers as they come, each once.</summary>
    /// <param name="cancellationToken">Gives the request up.</param>
    public async IAsyncEnumerator<Answer> GetAsyncEnumerator(CancellationToken cancellationToken = default)
    {
        try
        {
            await foreach (Answer answer in _collected.Answers.Reader.ReadAllAsync(cancellationToken).ConfigureAwait(false))
            {
                if (_enough) { continue; }
                if (_until?.Invoke(answer) == true) { Stop(); }
                yield return answer;
            }
        }
        finally
        {
            Dispose();
        }
    }

    /// <summary>Waits for its end, and returns all answers that were not read before.</summary>
    /// <param name="ct">Gives the request up.</param>
    public async Task<List<Answer>> ToListAsync(CancellationToken ct = default)
    {
        using Gather given = this;
        if (_until is null) { await _collected.OverAsync().WaitAsync(ct).ConfigureAwait(false); }
        List<Answer> all = [];
        await foreach (Answer answer in this.WithCancellation(ct).ConfigureAwait(false))
        {
            all.Add(answer);
        }
        return all;
    }

    internal async Task<Answer> FirstAsync(CancellationToken ct)
    {
        using Gather given = this;
        await foreach (Answer answer in _collected.Answers.Reader.ReadAllAsync(ct).ConfigureAwait(false))
        {
            Stop();
            return answer;
        }
        throw End!.Error ?? Failure.Of(Native.ErrNoResponders, _collected.What, "nobody had an answer");
    }

    /// <summary>You have what you wanted: it ends with <see cref="GatherReason.Predicate"/>.</summary>
    public void Stop()
    {
        _enough = true;
        Leave(GatherReason.Predicate);
    }

    /// <summary>You do not want it any more: it ends with <see cref="GatherReason.Cancelled"/>. What came can still be read.</summary>
    public void Cancel() => Leave(GatherReason.Cancelled);

    private void Leave(GatherReason reason)
    {
        if (_collected.End is null && _handle != 0) { _ = Native.redmux_gather_stop(_client.Core.Handle, _handle, (ulong)reason); }
    }

    /// <summary>Gives it up, if it has not ended.</summary>
    public void Dispose()
    {
        Cancel();
        GC.SuppressFinalize(this);
    }

    /// <inheritdoc/>
    public override string ToString() => $"redmux {_collected.What}: {(End is { } end ? $"{end.Reason}" : "open")}";

    /// <summary>What its records go to. It does not know the gather, so that one which is dropped is found.</summary>
    private sealed class Collected(string service) : Pending
    {
        private readonly List<RedmuxRemoteException> _errors = [];
        internal readonly Channel<Answer> Answers = Channel.CreateUnbounded<Answer>();
        private Waiter? _over;
        internal volatile Lazy<GatherEnd>? End; // read when somebody looks: most want an answer, and nothing of its end

        internal string What => $"request to '{service}'";

        internal override void Note(in RawRecord record, ReadOnlySpan<byte> data)
        {
            if (record.Kind != Native.Answer) { return; }
            if ((record.Flags & Native.Failed) == 0) { Answers.Writer.TryWrite(new Answer(service, record, data)); }
            else { _errors.Add(RedmuxRemoteException.Of(record.Status, Head.Read(record.Extra(data)))); }
        }

        internal override void Ended(in RawRecord record, ReadOnlySpan<byte> data)
        {
            (RawRecord last, byte[] line) = (record, record.Extra(data).ToArray());
            Finish(() => Read(last, Head.Read(line)));
        }

        private GatherEnd Read(in RawRecord last, Head said) =>
            new((GatherReason)last.Number, [.. said.Missing.Select(one => one.Name)], said.Answers, _errors, said.Expected, TimeSpan.FromTicks((long)(last.Aux / 100)))
            {
                Error = last.Status == Native.ErrRemote && _errors.Count > 0 ? _errors[0]
                    : last.Status != Native.Ok ? Failure.Of(last.Status, What, said.Message ?? "") : null,
            };

        internal override void Abandon() => Finish(() => new(GatherReason.Closed, [], 0, _errors, null, TimeSpan.Zero) { Error = Failure.Of(Native.ErrClosed, What) });

        private void Finish(Func<GatherEnd> read)
        {
            lock (Answers) { End = new(read); }
            Answers.Writer.TryComplete();
            if (_over is not null) { Lane.Run(_over); }
        }

        /// <summary>Its end, for who is not to be woken by each answer.</summary>
        internal Task OverAsync()
        {
            lock (Answers) { return End is null ? (_over ??= new()).Task : Task.CompletedTask; }
        }
    }
}
