namespace Redmux;

public sealed partial class RedmuxClient
{
    /// <summary>Asks everybody who serves it. The request is sent at once; read the answers as they come, or all of them.</summary>
    /// <param name="service">Which service.</param>
    /// <param name="payload">What; copied before the call returns.</param>
    /// <param name="options">When it is enough, and more.</param>
    /// <example><code>
    /// await using var responder = await client.RespondAsync("hello", request => new($"hello {request.Text()}"));
    /// var gather = client.Gather("hello", "world", new() { Timeout = TimeSpan.FromSeconds(2) });
    /// await foreach (var answer in gather)
    /// {
    ///     Console.WriteLine($"{answer.Text()} from {answer.Responder}");
    /// }
    /// Console.WriteLine($"{gather.End!.Reason}, missing: {string.Join(", ", gather.End.Missing)}");
    /// </code></example>
    public Gather Gather(string service, ReadOnlyMemory<byte> payload, GatherOptions? options = null) => new(this, service, payload, options);

    /// <summary>Asks everybody who serves it, with text as UTF-8.</summary>
    /// <param name="service">Which service.</param>
    /// <param name="text">What.</param>
    /// <param name="options">When it is enough, and more.</param>
    public Gather Gather(string service, string text, GatherOptions? options = null) => new(this, service, Encoding.UTF8.GetBytes(text), options);

    /// <summary>Asks, and returns the first answer; who else works on it is told.</summary>
    /// <param name="service">Which service.</param>
    /// <param name="payload">What; copied before the call returns.</param>
    /// <param name="options">How.</param>
    /// <param name="ct">Gives the request up.</param>
    /// <exception cref="RedmuxNoRespondersException">Nobody serves it, or nobody had an answer.</exception>
    /// <exception cref="RedmuxRemoteException">Errors came and no answer; this is the first.</exception>
    /// <exception cref="RedmuxTimeoutException">No answer in time.</exception>
    public Task<Answer> RequestAsync(string service, ReadOnlyMemory<byte> payload, GatherOptions? options = null, CancellationToken ct = default) =>
        ct.IsCancellationRequested ? Task.FromCanceled<Answer>(ct) : Gather(service, payload, options).FirstAsync(ct);

    /// <summary>Asks with text as UTF-8, and returns the first answer.</summary>
    /// <param name="service">Which service.</param>
    /// <param name="text">What.</param>
    /// <param name="options">How.</param>
    /// <param name="ct">Gives the request up.</param>
    public Task<Answer> RequestAsync(string service, string text, GatherOptions? options = null, CancellationToken ct = default) =>
        RequestAsync(service, Encoding.UTF8.GetBytes(text), options, ct);

    /// <summary>Asks with a value as JSON, and returns the first answer's.</summary>
    /// <param name="service">Which service.</param>
    /// <param name="value">What.</param>
    /// <param name="request">How to write it, from a JsonSerializerContext: safe for trimming and AOT.</param>
    /// <param name="response">How to read the answer.</param>
    /// <param name="options">How.</param>
    /// <param name="ct">Gives the request up.</param>
    public async Task<TResponse?> RequestAsync<TRequest, TResponse>(
        string service, TRequest value, JsonTypeInfo<TRequest> request, JsonTypeInfo<TResponse> response, GatherOptions? options = null, CancellationToken ct = default) =>
        (await RequestAsync(service, JsonSerializer.SerializeToUtf8Bytes(value, request), options, ct).ConfigureAwait(false)).Json(response);

    /// <summary>Asks with a value as JSON, and returns the first answer's.</summary>
    /// <param name="service">Which service.</param>
    /// <param name="value">What.</param>
    /// <param name="options">How.</param>
    /// <param name="ct">Gives the request up.</param>
    [RequiresUnreferencedCode(JsonBytes.Reflects), RequiresDynamicCode(JsonBytes.Reflects)]
    public Task<TResponse?> RequestAsync<TRequest, TResponse>(string service, TRequest value, GatherOptions? options = null, CancellationToken ct = default) =>
        RequestAsync(service, value, JsonBytes.TypeOf<TRequest>(), JsonBytes.TypeOf<TResponse>(), options, ct);

    /// <summary>Serves from now on; returns when Redis has the name.</summary>
    /// <param name="service">Which service.</param>
    /// <param name="handler">Called with each request, where it may block. What it returns is the answer, null is an end without one, an
    /// exception is logged and told to the asker; a <see cref="RedmuxRemoteException"/> says what the asker gets.
    /// <see cref="Request.Answer"/> gives more answers.</param>
    /// <param name="options">How.</param>
    /// <param name="ct">Ends the attempt.</param>
    /// <exception cref="RedmuxStateException">This client serves it already.</exception>
    public Task<Responder> RespondAsync(
        string service, Func<Request, ValueTask<Reply?>> handler, RespondOptions? options = null, CancellationToken ct = default) =>
        ct.IsCancellationRequested ? Task.FromCanceled<Responder>(ct)
        : OpenedAsync(() => new Responder(this, service, handler, options), responder => responder.ActiveAsync(options?.Timeout, ct));

    /// <summary>Serves values as JSON.</summary>
    /// <param name="service">Which service.</param>
    /// <param name="handler">Gets the value and its request.</param>
    /// <param name="request">How to read a request, from a JsonSerializerContext: safe for trimming and AOT.</param>
    /// <param name="response">How to write an answer.</param>
    /// <param name="options">How.</param>
    /// <param name="ct">Ends the attempt.</param>
    public Task<Responder> RespondAsync<TRequest, TResponse>(
        string service, Func<TRequest, Request, ValueTask<TResponse?>> handler, JsonTypeInfo<TRequest> request, JsonTypeInfo<TResponse> response,
        RespondOptions? options = null, CancellationToken ct = default) =>
        RespondAsync(service, async asked => await handler(asked.Json(request)!, asked).ConfigureAwait(false) is { } value ? Reply.Json(value, response) : null, options, ct);

    /// <summary>Serves values as JSON.</summary>
    /// <param name="service">Which service.</param>
    /// <param name="handler">Gets the value and its request.</param>
    /// <param name="options">How.</param>
    /// <param name="ct">Ends the attempt.</param>
    /// <example><code>
    /// await using var squares = await client.RespondAsync&lt;int, int&gt;("square", (number, request) => new(number * number));
    /// int square = await client.RequestAsync&lt;int, int&gt;("square", 7);
    /// </code></example>
    [RequiresUnreferencedCode(JsonBytes.Reflects), RequiresDynamicCode(JsonBytes.Reflects)] public Task<Responder> RespondAsync<TRequest, TResponse>(
        string service, Func<TRequest, Request, ValueTask<TResponse?>> handler, RespondOptions? options = null, CancellationToken ct = default) =>
        RespondAsync(service, handler, JsonBytes.TypeOf<TRequest>(), JsonBytes.TypeOf<TResponse>(), options, ct);
}
