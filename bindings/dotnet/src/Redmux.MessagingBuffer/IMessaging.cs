namespace Redmux.MessagingBuffer;

/// <summary>Requests and responses over Redis: what buffers, handlers and their tests need of <see cref="Messaging"/>.</summary>
public interface IMessaging
{
    /// <summary>How long requests wait that say nothing else, in milliseconds: <see cref="RedisOptions.Timeout"/>.</summary>
    int TimeoutMs { get; }

    /// <summary>Raised with each request that a handler of all types gets, before it does.</summary>
    event EventHandler<ReceivedEventArgs>? RequestReceived;

    /// <summary>Asks every instance that has a handler for it, and collects what they answer. Neither time that ran out nor nobody there is an
    /// exception: <see cref="RequestResult{TResponse}.End"/> says which it was.</summary>
    /// <param name="request">What.</param>
    /// <param name="options">How long, how many, and more.</param>
    /// <param name="ct">Gives the request up.</param>
    /// <exception cref="RedmuxArgumentException">The correlation id holds a colon, which ends it in Messaging.Buffer's channels.</exception>
    /// <exception cref="RedmuxStateException">A request with that correlation id is open; it goes on.</exception>
    /// <example><code>
    /// var result = await messaging.RequestAsync&lt;GreetingResponse&gt;(new GreetingRequest { Who = "world" });
    /// foreach (var response in result.Responses)
    /// {
    ///     Console.WriteLine($"{response.Text}, says {response.ResponseServerName}");
    /// }
    /// Console.WriteLine($"{result.End.Reason}: {result.Responses.Count} of {result.End.Expected}");
    /// </code></example>
    Task<RequestResult<TResponse>> RequestAsync<TResponse>(RequestBase request, SendOptions? options = null, CancellationToken ct = default) where TResponse : ResponseBase;

    /// <summary>Handles each request of a type; what the handler returns is the response, null is none. Returns when Redis has the name.</summary>
    /// <param name="handler">Gets the correlation id, the request, and a token that is cancelled when nobody waits any more.</param>
    /// <param name="ct">Ends the attempt.</param>
    /// <exception cref="SubscriptionException">The type has a handler here, or on Messaging.Buffer's wire all types have one.</exception>
    /// <example><code>
    /// await messaging.SubscribeRequestAsync&lt;GreetingRequest&gt;(async (correlationId, request, ct) => new GreetingResponse { Text = $"hello {request.Who}" });
    /// </code></example>
    Task SubscribeRequestAsync<TRequest>(Func<string, TRequest, CancellationToken, Task<ResponseBase?>> handler, CancellationToken ct = default) where TRequest : RequestBase;

    /// <summary>Handles each request of a type; the handler responds with <see cref="PublishResponseAsync"/> before it ends, or not at all.</summary>
    /// <param name="handler">Gets the correlation id and the request.</param>
    /// <param name="ct">Ends the attempt.</param>
    /// <exception cref="SubscriptionException">The type has a handler here, or on Messaging.Buffer's wire all types have one.</exception>
    Task SubscribeRequestAsync<TRequest>(Func<string, TRequest, Task> handler, CancellationToken ct = default) where TRequest : RequestBase;

    /// <summary>Takes each request of every type as it came.</summary>
    /// <param name="handler">Gets it; responds with <see cref="PublishResponseAsync"/> before it ends, or not at all.</param>
    /// <param name="ct">Ends the attempt.</param>
    /// <exception cref="SubscriptionException">All types have a handler here, or on Messaging.Buffer's wire one type has one.</exception>
    Task SubscribeAnyRequestAsync(Func<ReceivedEventArgs, Task> handler, CancellationToken ct = default);

    /// <summary>Takes each request of every type as an event. What responds after its first <c>await</c> can do so on Messaging.Buffer's wire only.</summary>
    /// <param name="handler">Gets it.</param>
    /// <param name="ct">Ends the attempt.</param>
    /// <exception cref="SubscriptionException">All types have a handler here, or on Messaging.Buffer's wire one type has one.</exception>
    Task SubscribeAnyRequestAsync(EventHandler<ReceivedEventArgs> handler, CancellationToken ct = default);

    /// <summary>Subscribes the handlers that were registered at start-up and are not subscribed yet. A host does it by itself.</summary>
    /// <param name="ct">Ends the attempt.</param>
    Task SubscribeHandlersAsync(CancellationToken ct = default);

    /// <summary>Takes no more requests of a type, and waits until those in work have finished; a handler that calls it does not wait.</summary>
    /// <param name="ct">Ends the wait.</param>
    Task UnsubscribeRequestAsync<TRequest>(CancellationToken ct = default) where TRequest : RequestBase;

    /// <summary>Takes no more requests of all types, and waits until those in work have finished; a handler that calls it does not wait.</summary>
    /// <param name="ct">Ends the wait.</param>
    Task UnsubscribeAnyRequestAsync(CancellationToken ct = default);

    /// <summary>Responds to a request that a handler works on.</summary>
    /// <param name="correlationId">The request's.</param>
    /// <param name="response">What. On redmux' own wire there may be several.</param>
    /// <returns>False: nobody waits for it any more.</returns>
    Task<bool> PublishResponseAsync(string correlationId, ResponseBase response);
}

/// <summary>What became of a request: never thrown away, also where it is not whole.</summary>
/// <param name="Responses">What came, in the order in which it came.</param>
/// <param name="End">Why it ended, who is missing, and how many were expected.</param>
public sealed record RequestResult<TResponse>(IReadOnlyList<TResponse> Responses, GatherEnd End) where TResponse : ResponseBase
{
    /// <summary>Whether everybody answered, or as many as <see cref="SendOptions.ExpectedCount"/> says.</summary>
    public bool IsComplete => End.Reason is GatherReason.All or GatherReason.Count;
}

/// <summary>How one request is asked; what is null is as usual.</summary>
public sealed record SendOptions
{
    /// <summary>What the request is called; null makes a GUID.</summary>
    public string? CorrelationId { get; set; }

    /// <summary>When it ends with what came; null is <see cref="RedisOptions.Timeout"/>.</summary>
    public TimeSpan? Timeout { get; set; }

    /// <summary>So many responses are enough, whatever Redis counted.</summary>
    public int? ExpectedCount { get; set; }

    /// <summary>So long without another response is enough.</summary>
    public TimeSpan? Quiet { get; set; }

    /// <summary>Whether handlers of this instance are left out; on redmux' own wire.</summary>
    public bool? OthersOnly { get; set; }

    /// <summary>Whether to wait for everybody who received the request; on redmux' own wire, where it is not always so.</summary>
    public bool? Strict { get; set; }

    /// <summary>Whether it may be asked again after a connection was lost; on redmux' own wire.</summary>
    public bool? Repeatable { get; set; }
}

/// <summary>A request as it came.</summary>
public sealed class ReceivedEventArgs : EventArgs
{
    /// <summary>For tests of handlers.</summary>
    /// <param name="channel">The channel.</param>
    /// <param name="correlationId">The request's.</param>
    /// <param name="messageType">The full name of the request's class.</param>
    /// <param name="value">Its JSON.</param>
    /// <param name="cancellationToken">Cancelled when nobody waits.</param>
    public ReceivedEventArgs(string channel, string correlationId, string messageType, string value, CancellationToken cancellationToken = default) =>
        (Channel, CorrelationId, MessageType, Value, CancellationToken) = (channel, correlationId, messageType, value, cancellationToken);

    /// <summary>The channel that it came on; on redmux' own wire the service, which is the type's name.</summary>
    public string Channel { get; }

    /// <summary>What <see cref="IMessaging.PublishResponseAsync"/> needs.</summary>
    public string CorrelationId { get; }

    /// <summary>The full name of the request's class.</summary>
    public string MessageType { get; }

    /// <summary>Its JSON.</summary>
    public string Value { get; }

    /// <summary>Cancelled when nobody waits for a response any more.</summary>
    public CancellationToken CancellationToken { get; }
}

/// <summary>What is to be handled has a handler already, or one that excludes this one.</summary>
public class SubscriptionException : Exception
{
    /// <summary>Without a reason.</summary>
    public SubscriptionException() { }

    /// <summary>With a reason.</summary>
    /// <param name="message">It.</param>
    public SubscriptionException(string message) : base(message) { }

    /// <summary>With a reason and where it comes from.</summary>
    /// <param name="message">It.</param>
    /// <param name="innerException">Where from.</param>
    public SubscriptionException(string message, Exception? innerException) : base(message, innerException) { }
}
