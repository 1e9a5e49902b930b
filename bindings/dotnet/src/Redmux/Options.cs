namespace Redmux;

/// <summary>Options of the library. What has no property is set by its key (docs/options.md): <c>options["ping_interval"] = "2s"</c>.</summary>
public abstract class KeyedOptions
{
    private protected KeyedOptions() { }

    internal Dictionary<string, string> Keys { get; } = [];

    /// <summary>Any option of docs/options.md by its key.</summary>
    /// <param name="key">As it is written there: <c>ping_interval</c>.</param>
    public string this[string key] { get => Keys[key]; set => Keys[key] = value; }

    /// <summary>What the properties say; null is nothing.</summary>
    internal abstract IEnumerable<(string Key, object? Value)> Own();

    internal Dictionary<string, string> All()
    {
        Dictionary<string, string> all = new(Keys);
        foreach (var (key, value) in Own().Where(pair => pair.Value is not null))
        {
            all.TryAdd(key, value switch
            {
                TimeSpan time => ((long)Math.Ceiling(time.TotalMilliseconds)).ToString(CultureInfo.InvariantCulture) + "ms",
                bool flag => flag ? "true" : "false",
                InboxPolicy policy => SnakeCase($"{policy}").Replace('_', '-'),
                _ => string.Create(CultureInfo.InvariantCulture, $"{value}"),
            });
        }
        return all;
    }

    private protected static string SnakeCase(string key) =>
        string.Concat(key.Select((letter, at) => char.IsUpper(letter) && at > 0 && key[at - 1] != '_' ? $"_{char.ToLowerInvariant(letter)}" : $"{char.ToLowerInvariant(letter)}"));
}

/// <summary>How a client connects. What has no property here is set by its key (docs/options.md): <c>options["ping_interval"] = "2s"</c>.</summary>
/// <example><code>
/// var options = new RedmuxOptions { Url = "redis://localhost", Name = "api-3", ["ping_interval"] = "2s" };
/// </code></example>
public sealed class RedmuxOptions : KeyedOptions
{
    /// <summary>Where Redis is. Null is the environment's: REDIS_URL, else REDIS_HOST, REDIS_PORT, REDIS_USERNAME and REDIS_PASSWORD, else localhost:6379.</summary>
    public string? Url { get; set; }

    /// <summary>The connection's name, as CLIENT LIST shows it.</summary>
    public string? Name { get; set; }

    /// <summary>How long to wait for the first connection, and how long one attempt may take; with <see cref="System.Threading.Timeout.InfiniteTimeSpan"/>
    /// it is waited for for ever, and an attempt has the 5 s of the option <c>connect_timeout</c>.</summary>
    public TimeSpan ConnectTimeout { get => _connectTimeout ?? TimeSpan.FromSeconds(5); set => _connectTimeout = value; }

    private TimeSpan? _connectTimeout; // null: an attempt takes as long as the URL says

    /// <summary>The deadline of operations whose caller gives none; null is 10 s.</summary>
    public TimeSpan? Timeout { get; set; }

    /// <summary>Asked at each attempt to connect: a <see cref="DnsEndPoint"/>, an <see cref="IPEndPoint"/>, or a UnixDomainSocketEndPoint.</summary>
    public Func<CancellationToken, ValueTask<EndPoint>>? Address { get; set; }

    /// <summary>Asked at each attempt to connect: user (may be empty) and password.</summary>
    public Func<CancellationToken, ValueTask<NetworkCredential>>? Credentials { get; set; }

    /// <summary>Called with each change of the client's state and its reason, one after the other, where it may block.</summary>
    public Action<RedmuxState, string>? OnState { get; set; }

    /// <summary>Where logs go; the category is "Redmux".</summary>
    public ILoggerFactory? LoggerFactory { get; set; }

    /// <summary>Takes what a section of the configuration says: <c>Url</c> and any option, spelled <c>PingInterval</c> or <c>ping_interval</c>.</summary>
    /// <param name="section">Where they stand.</param>
    public void Read(IConfiguration section)
    {
        foreach (IConfigurationSection entry in section.GetChildren())
        {
            string key = SnakeCase(entry.Key);
            string? value = entry.Value ?? string.Join(',', entry.GetChildren().Select(item => item.Value));
            bool time = TimeSpan.TryParse(value, CultureInfo.InvariantCulture, out TimeSpan limit) && value.Contains(':', StringComparison.Ordinal);
            if (key == "url") { Url = value; }
            else if (key == "connect_timeout" && time) { ConnectTimeout = limit; }
            else { Keys[key] = value; }
        }
    }

    internal override IEnumerable<(string, object?)> Own()
    {
        TimeSpan? attempt = _connectTimeout is { } time && time != System.Threading.Timeout.InfiniteTimeSpan ? TimeSpan.FromMilliseconds(Math.Max(10, time.TotalMilliseconds)) : null;
        string asks = string.Join(',', new[] { Address is null ? null : "address", Credentials is null ? null : "credentials" }.OfType<string>());
        return
        [
            ("connect_timeout", attempt), ("timeout", Timeout), ("name", Name),
            ("ask", asks.Length > 0 ? asks : null), ("wrapper", "dotnet/" + RedmuxClient.Version),
        ];
    }
}

/// <summary>What an inbox that is full does.</summary>
public enum InboxPolicy
{
    /// <summary>The oldest messages go, and <see cref="Dropped"/> says how many.</summary>
    DropOldest,

    /// <summary>The newest messages go, and <see cref="Dropped"/> says how many.</summary>
    DropNewest,

    /// <summary>The subscription ends with <see cref="RedmuxSlowConsumerException"/>.</summary>
    Close,

    /// <summary>Nothing more is read from Redis until there is room: every subscription of the client waits.</summary>
    Pause,
}

/// <summary>Where a client is.</summary>
public enum RedmuxState
{
    /// <summary>A connection is being made.</summary>
    Connecting = 1,

    /// <summary>The subscriber link is up.</summary>
    Online = 2,

    /// <summary>The subscriber link is down, and is being made again.</summary>
    Offline = 3,

    /// <summary>Stopped by <see cref="RedmuxClient.Stop"/>.</summary>
    Stopped = 4,

    /// <summary>A reader is too slow: an inbox is full.</summary>
    SlowConsumer = 5,

    /// <summary>The publish link is up.</summary>
    PublishOnline = 6,

    /// <summary>The publish link is down, and is being made again.</summary>
    PublishOffline = 7,

    /// <summary>Every wanted name is active or refused.</summary>
    Subscribed = 8,
}

/// <summary>How one subscription behaves. With a callback redmux reads it itself, one event at a time, where callbacks may block.</summary>
public sealed class SubscribeOptions : KeyedOptions
{
    /// <summary>How long to wait for Redis' word; null is the client's <see cref="RedmuxOptions.Timeout"/>.</summary>
    public TimeSpan? Timeout { get; set; }

    /// <summary>What the inbox may hold, in bytes.</summary>
    public long? InboxBytes { get; set; }

    /// <summary>How many messages may wait in the inbox.</summary>
    public long? InboxRecords { get; set; }

    /// <summary>What a full inbox does.</summary>
    public InboxPolicy? InboxPolicy { get; set; }

    /// <summary>Whether a waiting <c>await foreach</c> goes on on the thread pool. It goes on on the client's reader thread otherwise, which
    /// is faster, and must not be blocked: neither wait nor sleep in the loop without <c>await</c>.</summary>
    public bool RunContinuationsAsynchronously { get; set; }

    /// <summary>Called with each message.</summary>
    public Func<Message, ValueTask>? OnMessage { get; set; }

    /// <summary>Called when the connection is lost.</summary>
    public Action<Lost>? OnLost { get; set; }

    /// <summary>Called when a name is active, and when all is active again.</summary>
    public Action<Active>? OnActive { get; set; }

    /// <summary>Called where messages had no room.</summary>
    public Action<Dropped>? OnDropped { get; set; }

    internal override IEnumerable<(string, object?)> Own() => [("inbox_bytes", InboxBytes), ("inbox_records", InboxRecords), ("inbox_policy", InboxPolicy)];
}

internal static class Duration
{
    /// <summary>The library's milliseconds: null is the client's option, infinite is for ever.</summary>
    internal static long Millis(TimeSpan? timeout) => timeout switch
    {
        null => 0,
        { } time when time == System.Threading.Timeout.InfiniteTimeSpan => -1,
        { } time when time < TimeSpan.Zero => throw new ArgumentOutOfRangeException(nameof(timeout), time, "from zero on, or Timeout.InfiniteTimeSpan"),
        { } time => Math.Max(1, (long)Math.Ceiling(time.TotalMilliseconds)),
    };
}

/// <summary>Options, texts and lists of the library.</summary>
internal static unsafe class Handed
{
    /// <summary>Makes options and hands them to <paramref name="use"/>; 0, which is as the client has them, where there are none.</summary>
    internal static ulong Options(IEnumerable<KeyValuePair<string, string>>? pairs, Func<ulong, ulong> use)
    {
        ulong options;
        if (pairs?.Any() != true) { return use(0); }
        Failure.Check(Native.redmux_options_new(&options), "options");
        try
        {
            void* error = null;
            foreach (var (key, value) in pairs)
            {
                fixed (byte* name = ChannelName.Terminated(key), text = ChannelName.Terminated(value))
                {
                    Failure.Check(Native.redmux_options_set(options, name, text, &error), key == "url" ? "connect" : "options", error);
                }
            }
            return use(options);
        }
        finally
        {
            Native.redmux_options_free(options);
        }
    }

    internal delegate int Fill(void** text);

    internal static JsonElement Json(Fill fill, string what)
    {
        void* text = null;
        Failure.Check(fill(&text), what);
        try
        {
            var reader = new Utf8JsonReader(Native.redmux_text_bytes(text).Span);
            return JsonElement.ParseValue(ref reader);
        }
        finally
        {
            Native.redmux_text_free(text);
        }
    }

    internal static IReadOnlyCollection<string> List(Fill fill, string what)
    {
        void* made = null;
        Failure.Check(fill(&made), what);
        void* list = made;
        try
        {
            return [.. Enumerable.Range(0, (int)Native.redmux_list_count(list)).Select(index => ChannelName.FromBytes(Native.redmux_list_item(list, (nuint)index).Span))];
        }
        finally
        {
            Native.redmux_list_free(list);
        }
    }
}
