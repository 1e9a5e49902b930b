namespace Redmux.MessagingBuffer;

/// <summary>Handles the requests of a type, as a class of its own. One serves all of them, several at once.</summary>
/// <param name="logger">The handler's.</param>
/// <param name="messaging">Where requests come from.</param>
/// <example><code>
/// internal sealed class GreetingHandler(ILogger&lt;GreetingHandler&gt; logger, IMessaging messaging) : HandlerBase&lt;GreetingRequest&gt;(logger, messaging)
/// {
///     public override async Task HandleAsync(string correlationId, GreetingRequest request, CancellationToken ct) =>
///         await Respond(correlationId, new GreetingResponse { Text = $"hello {request.Who}" });
/// }
/// </code></example>
public abstract class HandlerBase<TRequest>(ILogger logger, IMessaging messaging) where TRequest : RequestBase
{
    /// <summary>The handler's.</summary>
    protected ILogger Logger { get; } = logger;

    /// <summary>Where requests come from.</summary>
    protected IMessaging Messaging { get; } = messaging;

    /// <summary>Handles one request. An exception is logged and, on redmux' own wire, told to who asks.</summary>
    /// <param name="correlationId">What <see cref="Respond"/> needs.</param>
    /// <param name="request">What is asked.</param>
    /// <param name="ct">Cancelled when nobody waits any more.</param>
    public abstract Task HandleAsync(string correlationId, TRequest request, CancellationToken ct);

    /// <summary>Responds, before <see cref="HandleAsync"/> ends; on redmux' own wire as often as you like.</summary>
    /// <param name="correlationId">The request's.</param>
    /// <param name="response">What.</param>
    /// <returns>False: nobody waits for it any more.</returns>
    protected Task<bool> Respond(string correlationId, ResponseBase response) => Messaging.PublishResponseAsync(correlationId, response);

    /// <summary>Subscribes it; handlers that were registered are subscribed by the host.</summary>
    /// <param name="ct">Ends the attempt.</param>
    /// <exception cref="SubscriptionException">The type has a handler here, or on Messaging.Buffer's wire all types have one.</exception>
    public Task SubscribeAsync(CancellationToken ct = default) => Messaging.SubscribeRequestAsync<TRequest>(async (id, request, gone) =>
    {
        await HandleAsync(id, request, gone).ConfigureAwait(false);
        return null;
    }, ct);
}
