namespace Redmux;

public sealed partial class RedmuxClient
{
    /// <summary>Publishes.</summary>
    /// <param name="channel">Where.</param>
    /// <param name="payload">What; copied before the call returns.</param>
    /// <param name="ct">Takes it back, if it has not been sent.</param>
    /// <returns>How many received it.</returns>
    /// <exception cref="RedmuxNotSentException">It never left: repeat it if you like.</exception>
    /// <exception cref="RedmuxUnknownException">It left and nobody answered.</exception>
    public ValueTask<long> PublishAsync(string channel, ReadOnlyMemory<byte> payload, CancellationToken ct = default) => Publish("publish to", channel, payload.Span, 0, ct);

    /// <summary>Publishes, with a deadline of its own.</summary>
    /// <param name="channel">Where.</param>
    /// <param name="payload">What; copied before the call returns.</param>
    /// <param name="timeout">The deadline.</param>
    /// <param name="ct">Takes it back, if it has not been sent.</param>
    /// <returns>How many received it.</returns>
    public ValueTask<long> PublishAsync(string channel, ReadOnlyMemory<byte> payload, TimeSpan timeout, CancellationToken ct = default) =>
        Publish("publish to", channel, payload.Span, Duration.Millis(timeout), ct);

    /// <summary>Publishes text as UTF-8.</summary>
    /// <param name="channel">Where.</param>
    /// <param name="text">What.</param>
    /// <param name="ct">Takes it back, if it has not been sent.</param>
    /// <returns>How many received it.</returns>
    public ValueTask<long> PublishAsync(string channel, string text, CancellationToken ct = default) => Publish("publish to", channel, Encoding.UTF8.GetBytes(text), 0, ct);

    /// <summary>Publishes text as UTF-8, with a deadline of its own.</summary>
    /// <param name="channel">Where.</param>
    /// <param name="text">What.</param>
    /// <param name="timeout">The deadline.</param>
    /// <param name="ct">Takes it back, if it has not been sent.</param>
    /// <returns>How many received it.</returns>
    public ValueTask<long> PublishAsync(string channel, string text, TimeSpan timeout, CancellationToken ct = default) =>
        Publish("publish to", channel, Encoding.UTF8.GetBytes(text), Duration.Millis(timeout), ct);

    /// <summary>Publishes a value as JSON.</summary>
    /// <param name="channel">Where.</param>
    /// <param name="value">What.</param>
    /// <param name="type">How to write it, from a JsonSerializerContext: safe for trimming and AOT.</param>
    /// <param name="ct">Takes it back, if it has not been sent.</param>
    /// <returns>How many received it.</returns>
    public ValueTask<long> PublishJsonAsync<T>(string channel, T value, JsonTypeInfo<T> type, CancellationToken ct = default) =>
        Publish("publish to", channel, JsonSerializer.SerializeToUtf8Bytes(value, type), 0, ct);

    /// <summary>Publishes a value as JSON.</summary>
    /// <param name="channel">Where.</param>
    /// <param name="value">What.</param>
    /// <param name="ct">Takes it back, if it has not been sent.</param>
    /// <returns>How many received it.</returns>
    [RequiresUnreferencedCode(JsonBytes.Reflects), RequiresDynamicCode(JsonBytes.Reflects)]
    public ValueTask<long> PublishJsonAsync<T>(string channel, T value, CancellationToken ct = default) => PublishJsonAsync(channel, value, JsonBytes.TypeOf<T>(), ct);

    /// <summary>Keeps a promise, wherever it was made: publishes on its name.</summary>
    /// <param name="name">The promise's whole name.</param>
    /// <param name="payload">What it ends with.</param>
    /// <param name="ct">Takes it back, if it has not been sent.</param>
    /// <returns>How many received it.</returns>
    public ValueTask<long> FulfillAsync(string name, ReadOnlyMemory<byte> payload, CancellationToken ct = default) => Publish("fulfill", name, payload.Span, 0, ct);

    /// <summary>Keeps a promise with text, wherever it was made: publishes on its name.</summary>
    /// <param name="name">The promise's whole name.</param>
    /// <param name="text">What it ends with.</param>
    /// <param name="ct">Takes it back, if it has not been sent.</param>
    /// <returns>How many received it.</returns>
    public ValueTask<long> FulfillAsync(string name, string text, CancellationToken ct = default) => Publish("fulfill", name, Encoding.UTF8.GetBytes(text), 0, ct);

    /// <summary>Publishes without waiting for anything; what is lost later is counted in <see cref="Stats"/> and logged.</summary>
    /// <param name="channel">Where.</param>
    /// <param name="payload">What; copied before the call returns.</param>
    /// <returns>False: there is no room, and it was not taken.</returns>
    public unsafe bool TryPost(string channel, ReadOnlySpan<byte> payload)
    {
        ArgumentNullException.ThrowIfNull(channel);
        int room = ChannelName.Room(channel);
        Span<byte> name = room <= 256 ? stackalloc byte[256] : new byte[room];
        int length = ChannelName.Encode(channel, name), status;
        fixed (byte* at = name, data = payload)
        {
            status = Core.Closed ? Native.ErrClosed : Native.redmux_client_post(Core.Handle, at, (nuint)length, data, (nuint)payload.Length);
        }
        if (status == Native.ErrFull) { return false; }
        Failure.Check(status, "post");
        RedmuxTelemetry.Published.Add(1);
        return true;
    }

    /// <summary>Publishes text without waiting for anything.</summary>
    /// <param name="channel">Where.</param>
    /// <param name="text">What.</param>
    /// <returns>False: there is no room, and it was not taken.</returns>
    public bool TryPost(string channel, string text) => TryPost(channel, Encoding.UTF8.GetBytes(text));

    /// <summary>Publishes a value as JSON without waiting for anything.</summary>
    /// <param name="channel">Where.</param>
    /// <param name="value">What.</param>
    /// <param name="type">How to write it, from a JsonSerializerContext.</param>
    /// <returns>False: there is no room, and it was not taken.</returns>
    public bool TryPostJson<T>(string channel, T value, JsonTypeInfo<T> type) => TryPost(channel, JsonSerializer.SerializeToUtf8Bytes(value, type));

    /// <summary>Waits until everything that was published and posted before is answered.</summary>
    /// <param name="timeout">How long; null is <see cref="RedmuxOptions.Timeout"/>.</param>
    /// <param name="ct">Ends the wait.</param>
    public unsafe ValueTask FlushAsync(TimeSpan? timeout = null, CancellationToken ct = default) => Ask(&Native.redmux_client_flush, Core.Handle, "flush", timeout, ct);

    /// <summary>Waits until everything that was published before can be read here, where it is subscribed.</summary>
    /// <param name="timeout">How long; null is <see cref="RedmuxOptions.Timeout"/>.</param>
    /// <param name="ct">Ends the wait.</param>
    public unsafe ValueTask BarrierAsync(TimeSpan? timeout = null, CancellationToken ct = default) => Ask(&Native.redmux_client_barrier, Core.Handle, "barrier", timeout, ct);

    private unsafe ValueTask<long> Publish(string verb, string channel, ReadOnlySpan<byte> payload, long limit, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(channel);
        if (ct.IsCancellationRequested) { return ValueTask.FromCanceled<long>(ct); }
        int room = ChannelName.Room(channel);
        Span<byte> name = room <= 256 ? stackalloc byte[256] : new byte[room];
        int length = ChannelName.Encode(channel, name), status;
        Activity? activity = RedmuxTelemetry.Source.HasListeners() ? RedmuxTelemetry.Publishing(channel) : null;
        Operation operation = Core.Rent().Prepare(this, verb, channel);
        fixed (byte* at = name, data = payload)
        {
            status = Core.Closed ? Native.ErrClosed : Native.redmux_client_publish(Core.Handle, at, (nuint)length, data, (nuint)payload.Length, Core.Reply, operation.Token, limit);
        }
        RedmuxTelemetry.Published.Add(status == Native.Ok ? 1 : 0);
        return activity is null ? operation.Begun(status, ct).Number : RedmuxTelemetry.Around(activity, operation, status, ct);
    }
}
