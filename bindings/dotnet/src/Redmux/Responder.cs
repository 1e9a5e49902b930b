namespace Redmux;

/// <summary>A request to answer.</summary>
public sealed class Request : Envelope
{
    private readonly Responder _responder;
    internal readonly CancellationTokenSource Gone = new();
    internal readonly ulong Ticket;

    internal Request(Responder responder, in RawRecord record, ReadOnlySpan<byte> data) : base(ChannelName.FromBytes(record.Name(data)), record, data) =>
        (_responder, Ticket, Deadline) = (responder, record.Number, DateTimeOffset.UnixEpoch.AddTicks((long)(record.Aux / 100)));

    /// <summary>The same for all who got this request.</summary>
    public string Id => Head.Id ?? "";

    /// <summary>When its asker stops waiting.</summary>
    public DateTimeOffset Deadline { get; }

    /// <summary>Cancelled when nobody waits for an answer any more.</summary>
    public CancellationToken CancellationToken => Gone.Token;

    /// <summary>Sends an answer before the handler returns.</summary>
    /// <param name="reply">What.</param>
    /// <param name="last">Whether nothing comes behind it; then what the handler returns is not sent.</param>
    /// <returns>False: nobody waits any more.</returns>
    /// <exception cref="RedmuxTooLargeException">It is over the client's option <c>max_payload</c>.</exception>
    public bool Answer(Reply reply, bool last = false) => _responder.Say(this, reply, last);
}

/// <summary>How a service is served. What is null is as the client has it.</summary>
public sealed class RespondOptions : KeyedOptions
{
    /// <summary>How long to wait for Redis' word; null is the client's <see cref="RedmuxOptions.Timeout"/>.</summary>
    public TimeSpan? Timeout { get; set; }

    /// <summary>How many handlers may run at once (64).</summary>
    public int? Concurrency { get; set; }

    /// <summary>A queue group: of all its members exactly one serves a request.</summary>
    public string? Group { get; set; }

    /// <summary>Whether every service is served whose name begins so.</summary>
    public bool? CatchAll { get; set; }

    internal override IEnumerable<(string, object?)> Own() => [("concurrency", Concurrency), ("group", Group), ("catch_all", CatchAll)];
}

/// <summary>Serves until it is closed: <see cref="DrainAsync"/> lets what is in work finish, <see cref="DisposeAsync"/> does not.</summary>
public sealed class Responder : IAsyncDisposable
{
    private readonly RedmuxClient _client;
    private readonly ClientCore _core;
    private readonly Source _source;
    private readonly Func<Request, ValueTask<Reply?>> _handler;
    private readonly ConcurrentDictionary<ulong, Request> _working = new();

    internal unsafe Responder(RedmuxClient client, string service, Func<Request, ValueTask<Reply?>> handler, RespondOptions? options)
    {
        (_client, _core, _handler, Service) = (client, client.Core, handler, service);
        byte[] name = ChannelName.ToBytes(service);
        ObjectDisposedException.ThrowIf(_core.Closed, client);
        _source = new Source(_core, _core.NewInbox(null), &Native.redmux_responder_close) { OnReady = Take };
        lock (_source)
        {
            _core.Know(_source); // before it is opened, so that no request finds nobody
            try
            {
                _source.Handle = Handed.Options(options?.All(), prepared =>
                {
                    void* error = null;
                    ulong handle = 0;
                    fixed (byte* at = name)
                    {
                        Failure.Check(Native.redmux_responder_open(_core.Handle, _source.Inbox, at, (nuint)name.Length, prepared, 0, &handle, &error),
                            $"respond to '{service}'", error);
                    }
                    return handle;
                });
            }
            catch
            {
                _source.Close();
                throw;
            }
        }
    }

    /// <summary>Which service.</summary>
    public string Service { get; }

    internal unsafe ValueTask ActiveAsync(TimeSpan? timeout, CancellationToken ct) =>
        _client.Ask(&Native.redmux_responder_active, _source.Handle, $"respond to '{Service}'", timeout, ct);

    /// <summary>In the reader's thread: begins what came. The core hands out no more than may be in work.</summary>
    private void Take()
    {
        lock (_source)
        {
            while (!_source.Closed && ClientCore.Each(_source.Inbox, 0, OnRecord))
            {
            }
        }
        foreach (Request request in _source.Ended ? _working.Values : []) { _ = request.Gone.CancelAsync(); }
    }

    private void OnRecord(in RawRecord record, ReadOnlySpan<byte> data)
    {
        switch (record.Kind)
        {
            case Native.Request:
                Request request = _working[record.Number] = new(this, record, data);
                _core.Calls.Run(this, () => HandleAsync(request));
                break;
            case Native.Cancel when _working.TryGetValue(record.Number, out Request? left): _ = left.Gone.CancelAsync(); break;
            case Native.Lost or Native.Refused: Log.RequestsMissed(_core.Logger, Service, Failure.Word(record.Status)); break;
            case Native.Closed: _source.Close(); break;
        }
    }

    private async Task HandleAsync(Request request)
    {
        Activity? activity = null;
        try
        {
            activity = RedmuxTelemetry.Continued(request);
            if (!_source.Closed && await _handler(request).ConfigureAwait(false) is { } reply) { Say(request, reply, last: true); }
        }
        catch (OperationCanceledException) when (request.Gone.IsCancellationRequested)
        {
            // Nobody waits.
        }
        catch (Exception error)
        {
            Fail(request, error as RedmuxRemoteException ?? new(error.GetType().Name, error.Message));
            if (error is not RedmuxRemoteException)
            {
                Log.HandlerFailed(_core.Logger, Service, error);
                activity?.SetStatus(ActivityStatusCode.Error, error.Message);
            }
        }
        finally
        {
            _working.TryRemove(request.Ticket, out _);
            _ = Native.redmux_responder_end(_source.Handle, request.Ticket); // harmless where its last answer ended it
            activity?.Dispose();
        }
    }

    internal unsafe bool Say(Request request, Reply reply, bool last)
    {
        ArgumentNullException.ThrowIfNull(reply);
        fixed (byte* body = reply.Data.Span, head = reply.Headers)
        {
            int status = Native.redmux_responder_answer(_source.Handle, request.Ticket, body, (nuint)reply.Data.Length, head, (nuint)reply.Headers.Length, last ? 1 : 0);
            return status == Native.Ok || (status is Native.ErrClosed or Native.ErrCancelled ? false : throw Failure.Of(status, $"answer of '{Service}'"));
        }
    }

    private unsafe void Fail(Request request, RedmuxRemoteException error)
    {
        byte[] code = Encoding.UTF8.GetBytes(error.RemoteCode), message = Encoding.UTF8.GetBytes(error.Message);
        fixed (byte* word = code, text = message)
        {
            _ = Native.redmux_responder_fail(_source.Handle, request.Ticket, word, (nuint)code.Length, text, (nuint)message.Length, error.Retriable ? 1 : 0);
        }
    }

    /// <summary>Takes nothing new, waits until what is in work has finished, and closes.</summary>
    /// <param name="timeout">How long; null is <see cref="RedmuxOptions.Timeout"/>.</param>
    /// <param name="ct">Closes at once.</param>
    public async ValueTask DrainAsync(TimeSpan? timeout = null, CancellationToken ct = default)
    {
        try
        {
            await Drained(timeout, ct).ConfigureAwait(false);
        }
        finally
        {
            _source.Close();
        }
    }

    private unsafe ValueTask Drained(TimeSpan? timeout, CancellationToken ct) => _client.Ask(&Native.redmux_responder_drain, _source.Handle, "drain", timeout, ct);

    /// <summary>Closes at once: askers are told, handlers cancelled and, unless one of them calls this, awaited for up to 5 s.</summary>
    public async ValueTask DisposeAsync()
    {
        _source.Close();
        await _core.Calls.Ended(this).WaitAsync(TimeSpan.FromSeconds(5)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <inheritdoc/>
    public override string ToString() => $"redmux responder of '{Service}'{(_source.Closed ? ": closed" : "")}";
}
