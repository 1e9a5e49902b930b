namespace Redmux.MessagingBuffer;

/// <summary>The format of requests and responses.</summary>
public enum MessagingWire
{
    /// <summary>Messaging.Buffer's, so that old and new instances understand each other.</summary>
    MessagingBuffer,

    /// <summary>redmux' own: who takes a request says so, a handler that fails is told to who asks, and who is missing is named.</summary>
    Redmux,
}

/// <summary>Where Redis is and how it is spoken to. The section of the configuration has the same names.</summary>
/// <example><code>
/// var options = new RedisOptions { RedisConnexionStrings = { "localhost:6379,name=api-3" }, Timeout = 5000 };
/// </code></example>
public sealed class RedisOptions
{
    /// <summary>Servers, as <c>host:6379,password=…,ssl=true</c> or <c>redis://…</c>. With several, handlers are subscribed on all and each request
    /// goes to one of them. With none it is <see cref="Client"/>, else what the environment says.</summary>
    public IList<string> RedisConnexionStrings { get; } = [];

    /// <summary>How long requests wait that say nothing else, in milliseconds.</summary>
    public int Timeout { get; set; } = 10_000;

    /// <summary>What requests are asked in, and handled.</summary>
    public MessagingWire Wire { get; set; }

    /// <summary>Whether handlers serve the other wire too: while a fleet moves from one to the other.</summary>
    public bool ServeBothWires { get; set; }

    /// <summary>How many handlers of one type may run at once; null is 64.</summary>
    public int? Concurrency { get; set; }

    /// <summary>A client that is there already; it is not disposed with <see cref="Messaging"/>.</summary>
    public RedmuxClient? Client { get; set; }

    /// <summary>Where logs go; the categories are "Redmux" and "Redmux.MessagingBuffer".</summary>
    public ILoggerFactory? LoggerFactory { get; set; }

    /// <summary>Changes how each server is connected to. In the configuration it is the section <c>Options</c>.</summary>
    public Action<RedmuxOptions>? Configure { get; set; }

    internal static RedisOptions Of(IConfiguration section)
    {
        RedisOptions options = new()
        {
            Timeout = Read(section, nameof(Timeout), 10_000, text => int.Parse(text, CultureInfo.InvariantCulture)),
            Wire = Read(section, nameof(Wire), MessagingWire.MessagingBuffer, text => Enum.Parse<MessagingWire>(text.Replace("-", "", StringComparison.Ordinal), ignoreCase: true)),
            ServeBothWires = Read(section, nameof(ServeBothWires), false, bool.Parse),
            Concurrency = Read<int?>(section, nameof(Concurrency), null, text => int.Parse(text, CultureInfo.InvariantCulture)),
            Configure = client => client.Read(section.GetSection("Options")),
        };
        foreach (string? server in section.GetSection(nameof(RedisConnexionStrings)).GetChildren().Select(item => item.Value))
        {
            if (!string.IsNullOrWhiteSpace(server)) { options.RedisConnexionStrings.Add(server); }
        }
        return options;
    }

    private static T Read<T>(IConfiguration section, string key, T otherwise, Func<string, T> parse)
    {
        try
        {
            return section[key] is { Length: > 0 } text ? parse(text) : otherwise;
        }
        catch (Exception error) when (error is FormatException or OverflowException or ArgumentException)
        {
            throw new ArgumentException($"{key} cannot be '{section[key]}': {error.Message}", error);
        }
    }

    /// <summary>One client for each server; the same server twice would handle each request twice.</summary>
    internal RedmuxClient[] Open()
    {
        if (Client is { } client && RedisConnexionStrings.Count == 0) { return [client]; }
        List<RedmuxClient> opened = [];
        try
        {
            foreach (string? server in RedisConnexionStrings.Distinct().DefaultIfEmpty(null))
            {
                RedmuxOptions options = new() { Url = server, LoggerFactory = LoggerFactory };
                Configure?.Invoke(options);
                opened.Add(RedmuxClient.Open(options));
            }
            return [.. opened];
        }
        catch
        {
            opened.ForEach(one => one.Dispose());
            throw;
        }
    }
}
