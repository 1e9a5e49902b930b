namespace Redmux;

/// <summary>What a subscription tells: <see cref="Message"/>, <see cref="Active"/>, <see cref="Lost"/>, <see cref="Dropped"/>,
/// <see cref="Refused"/>, and what later versions add: skip what you do not know.</summary>
public interface IEvent;

/// <summary>A message. Its data may be kept.</summary>
public readonly struct Message : IEvent
{
    private readonly string? _channel;
    private readonly long _time;

    internal Message(string channel, ReadOnlyMemory<byte> data, string? pattern, ulong time) => (_channel, Data, Pattern, _time) = (channel, data, pattern, (long)time);

    /// <summary>The channel that it was published on.</summary>
    public string Channel => _channel ?? "";

    /// <summary>The payload.</summary>
    public ReadOnlyMemory<byte> Data { get; }

    /// <summary>The pattern that matched, or null where the channel itself is subscribed.</summary>
    public string? Pattern { get; }

    /// <summary>When it was read from the socket.</summary>
    public DateTimeOffset Time => DateTimeOffset.UnixEpoch.AddTicks(_time / 100);

    /// <summary>The payload as UTF-8 text.</summary>
    public string Text() => Encoding.UTF8.GetString(Data.Span);

    /// <summary>The payload as JSON.</summary>
    /// <param name="type">What it is, from a JsonSerializerContext: safe for trimming and AOT.</param>
    /// <exception cref="RedmuxDecodeException">It is not that; the message names channel and bytes.</exception>
    public T? Json<T>(JsonTypeInfo<T> type) => JsonBytes.Read(Data.Span, Channel, type);

    /// <summary>The payload as JSON.</summary>
    /// <param name="options">How to read it.</param>
    /// <exception cref="RedmuxDecodeException">It is not that; the message names channel and bytes.</exception>
    [RequiresUnreferencedCode(JsonBytes.Reflects), RequiresDynamicCode(JsonBytes.Reflects)]
    public T? Json<T>(JsonSerializerOptions? options = null) => Json(JsonBytes.TypeOf<T>(options));

    /// <inheritdoc/>
    public override string ToString() => $"Message {{ Channel = {Channel}, Data = {Data.Length} bytes }}";
}

/// <summary>With a channel: Redis has it now (a channel, or the pattern). Without: everything is subscribed again after an outage.</summary>
/// <param name="Channel">The channel or pattern, or null.</param>
/// <param name="Outage">How long the outage took.</param>
public sealed record Active(string? Channel, TimeSpan Outage) : IEvent;

/// <summary>The connection was lost: from here until the next <see cref="Active"/> without a channel messages may be missing.</summary>
/// <param name="Reason">A word: <c>link_lost</c>, <c>ping_timeout</c>, ...</param>
/// <param name="Text">A sentence for a person.</param>
/// <param name="Outages">How many outages it stands for.</param>
/// <param name="LastByte">When the last byte came.</param>
public sealed record Lost(string Reason, string Text, long Outages, DateTimeOffset LastByte) : IEvent;

/// <summary>So many messages had no room exactly here.</summary>
/// <param name="Count">How many.</param>
public sealed record Dropped(long Count) : IEvent;

/// <summary>Redis' ACL refuses a channel that was subscribed before; it is tried again now and then.</summary>
/// <param name="Channel">Which.</param>
public sealed record Refused(string Channel) : IEvent;

/// <summary>The last record of a subscription, never handed out.</summary>
internal sealed record End(int Status) : IEvent;

/// <summary>From records to events.</summary>
internal static class Decode
{
    /// <summary>What a record that is no message says; null for a kind that a reader skips.</summary>
    internal static IEvent? Event(in RawRecord record, ReadOnlySpan<byte> data) => record.Kind switch
    {
        Native.Active when (record.Flags & Native.Flag) != 0 => new Active(ChannelName.FromBytes(record.Name(data)), TimeSpan.Zero),
        Native.Active => new Active(null, TimeSpan.FromTicks((long)(record.Aux / 100))),
        Native.Lost => new Lost(
            Failure.Word(record.Status), Encoding.UTF8.GetString(record.Extra(data)), (long)record.Number, DateTimeOffset.UnixEpoch.AddTicks((long)(record.Aux / 100))),
        Native.Dropped => new Dropped((long)record.Number),
        Native.Refused => new Refused(ChannelName.FromBytes(record.Name(data))),
        Native.Closed => new End(record.Status),
        _ => null,
    };
}
