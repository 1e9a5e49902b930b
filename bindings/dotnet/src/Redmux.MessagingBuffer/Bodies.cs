namespace Redmux.MessagingBuffer;

/// <summary>A request: its public properties are its JSON, the full name of its class is what responders serve.</summary>
public abstract class RequestBase;

/// <summary>A response: its public properties are its JSON, and behind them stands whose it is.</summary>
public abstract class ResponseBase
{
    /// <summary>A response to a request that is not named yet.</summary>
    protected ResponseBase() { }

    /// <summary>A response to a request.</summary>
    /// <param name="correlationId">The request's.</param>
    protected ResponseBase(string? correlationId) => CorrelationId = correlationId;

    /// <summary>The request that it answers.</summary>
    [JsonPropertyName(nameof(CorrelationId)), JsonPropertyOrder(int.MaxValue - 1), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? CorrelationId { get; set; }

    /// <summary>The name of the client that gave it: this machine's, unless the connection string says another.</summary>
    [JsonPropertyName(nameof(ResponseServerName)), JsonPropertyOrder(int.MaxValue), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? ResponseServerName { get; set; } = Environment.MachineName;

    /// <summary>The same with these. A copy: what a handler gives away may be in use elsewhere.</summary>
    internal ResponseBase With(string? correlationId, string? server)
    {
        var copy = (ResponseBase)MemberwiseClone();
        (copy.CorrelationId, copy.ResponseServerName) = (correlationId, server);
        return copy;
    }
}

/// <summary>The JSON of requests and responses, as Messaging.Buffer's peers write and read it.</summary>
internal sealed class Bodies(IJsonTypeInfoResolver types)
{
    internal const string Reflects = "JSON without a JsonSerializerContext looks at types by reflection; use the overload that takes one.";

    // PascalCase, nothing escaped that need not be, and as tolerant in reading as peers may be in writing.
    private readonly JsonSerializerOptions _json = new()
    {
        TypeInfoResolver = types,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        PropertyNameCaseInsensitive = true,
        IncludeFields = true,
        NumberHandling = JsonNumberHandling.AllowReadingFromString | JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    [RequiresUnreferencedCode(Reflects), RequiresDynamicCode(Reflects)]
    internal static IJsonTypeInfoResolver Reflection() => new DefaultJsonTypeInfoResolver();

    /// <summary>What a type is called on the wire.</summary>
    internal static string NameOf(Type type) => type.FullName ?? type.Name;

    internal JsonTypeInfo<T> TypeOf<T>() => (JsonTypeInfo<T>)_json.GetTypeInfo(typeof(T));

    internal byte[] Write(object value) => JsonSerializer.SerializeToUtf8Bytes(value, _json.GetTypeInfo(value.GetType()));
}
