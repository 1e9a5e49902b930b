namespace Redmux;

/// <summary>What a request and an answer have in common: bytes, and a head line that is read when it is asked for.</summary>
public abstract class Envelope
{
    private readonly byte[] _line;
    private Head? _head;

    private protected Envelope(string service, in RawRecord record, ReadOnlySpan<byte> data) =>
        (Service, Data, _line) = (service, record.Data(data).ToArray(), record.Extra(data).ToArray());

    /// <summary>Which service.</summary>
    public string Service { get; }

    /// <summary>The bytes. They may be kept.</summary>
    public ReadOnlyMemory<byte> Data { get; }

    /// <summary>The headers that were sent with it.</summary>
    public IReadOnlyDictionary<string, string> Headers => Head.H ??= [];

    internal Head Head => _head ??= Head.Read(_line);

    internal bool Mentions(ReadOnlySpan<byte> word) => _line.AsSpan().IndexOf(word) >= 0;

    /// <summary>The bytes as UTF-8 text.</summary>
    public string Text() => Encoding.UTF8.GetString(Data.Span);

    /// <summary>The bytes as JSON.</summary>
    /// <param name="type">What it is, from a JsonSerializerContext: safe for trimming and AOT.</param>
    /// <exception cref="RedmuxDecodeException">It is not that; the message names service and bytes.</exception>
    public T? Json<T>(JsonTypeInfo<T> type) => JsonBytes.Read(Data.Span, Service, type);

    /// <summary>The bytes as JSON.</summary>
    /// <param name="options">How to read it.</param>
    /// <exception cref="RedmuxDecodeException">It is not that; the message names service and bytes.</exception>
    [RequiresUnreferencedCode(JsonBytes.Reflects), RequiresDynamicCode(JsonBytes.Reflects)]
    public T? Json<T>(JsonSerializerOptions? options = null) => Json(JsonBytes.TypeOf<T>(options));

    /// <inheritdoc/>
    public override string ToString() => $"{GetType().Name} {{ Service = {Service}, Data = {Data.Length} bytes }}";
}

/// <summary>What head lines and ends say, each in some of these.</summary>
internal sealed record Head(string Id, string By, string Name, string Code, string Message, bool Retriable, long? Expected, int Answers, Head[] Missing)
{
    /// <summary>The headers.</summary>
    public Dictionary<string, string>? H { get; set; }

    /// <summary>What somebody else wrote may be anything; then it says nothing.</summary>
    internal static Head Read(ReadOnlySpan<byte> line)
    {
        try
        {
            return JsonSerializer.Deserialize(line, Heads.Default.Head)!;
        }
        catch (JsonException)
        {
            return new("", "", "", "", "", false, null, 0, []);
        }
    }

    internal static byte[] OfHeaders(IEnumerable<KeyValuePair<string, string>>? headers) =>
        headers is null ? [] : JsonSerializer.SerializeToUtf8Bytes(new Dictionary<string, string>(headers), Heads.Default.DictionaryStringString);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower), JsonSerializable(typeof(Head))]
internal sealed partial class Heads : JsonSerializerContext;

/// <summary>An answer with headers, or as JSON; text and bytes are answers by themselves.</summary>
/// <param name="data">The bytes.</param>
/// <param name="headers">What goes with them.</param>
/// <example><code>
/// await using var lookup = await client.RespondAsync("user.lookup", request => new(Reply.Json(7, MyJson.Default.Int32, new() { ["etag"] = "1" })));
/// </code></example>
public sealed class Reply(ReadOnlyMemory<byte> data, IReadOnlyDictionary<string, string>? headers = null)
{
    internal readonly ReadOnlyMemory<byte> Data = data;
    internal readonly byte[] Headers = Head.OfHeaders(headers);

    /// <summary>A value as JSON.</summary>
    /// <param name="value">What.</param>
    /// <param name="type">How to write it, from a JsonSerializerContext.</param>
    /// <param name="headers">What goes with it.</param>
    public static Reply Json<T>(T value, JsonTypeInfo<T> type, Dictionary<string, string>? headers = null) => new(JsonSerializer.SerializeToUtf8Bytes(value, type), headers);

    /// <summary>Text as UTF-8; null is no answer.</summary>
    [return: NotNullIfNotNull(nameof(text))] public static implicit operator Reply?(string? text) => text is null ? null : new(Encoding.UTF8.GetBytes(text));

    /// <summary>Bytes; null is no answer.</summary>
    [return: NotNullIfNotNull(nameof(data))] public static implicit operator Reply?(byte[]? data) => data is null ? null : new(data);

    /// <summary>Bytes.</summary>
    public static implicit operator Reply(ReadOnlyMemory<byte> data) => new(data);
}

/// <summary>JSON out of payloads.</summary>
internal static class JsonBytes
{
    internal const string Reflects = "JSON without a JsonTypeInfo looks at types by reflection; use the overload that takes one.";

    internal static T? Read<T>(ReadOnlySpan<byte> data, string where, JsonTypeInfo<T> type)
    {
        try
        {
            return JsonSerializer.Deserialize(data, type);
        }
        catch (JsonException error)
        {
            string shown = Encoding.UTF8.GetString(data[..Math.Min(data.Length, 200)]);
            throw new RedmuxDecodeException($"bad JSON on '{where}', {data.Length} bytes: {shown}{(data.Length > 200 ? "…" : "")}: {error.Message}");
        }
    }

    [RequiresUnreferencedCode(Reflects), RequiresDynamicCode(Reflects)] internal static JsonTypeInfo<T> TypeOf<T>(JsonSerializerOptions? options = null)
    {
        options ??= JsonSerializerOptions.Default;
        options.MakeReadOnly(populateMissingResolver: true);
        return (JsonTypeInfo<T>)options.GetTypeInfo(typeof(T));
    }
}
