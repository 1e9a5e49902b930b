namespace Redmux;

/// <summary>The lines that redmux writes to ILogger, category "Redmux".</summary>
internal static partial class Log
{
    /// <summary>The application's logger. It may throw, and is called where nobody could be told: its line is lost then, and nothing else.</summary>
    internal sealed class Safe(ILogger? logger) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logger is not null;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            try
            {
                if (logger?.IsEnabled(logLevel) == true) { logger.Log(logLevel, eventId, state, exception, formatter); }
            }
            catch (Exception) { }
        }
    }

    [LoggerMessage(1, LogLevel.Warning, "the connection was lost, messages may be missing: {Reason}")] internal static partial void Lost(ILogger logger, string reason);
    [LoggerMessage(2, LogLevel.Warning, "{Count} messages were dropped: the reader is too slow")] internal static partial void Dropped(ILogger logger, long count);
    [LoggerMessage(3, LogLevel.Warning, "'{Channel}' is refused by Redis' ACL")] internal static partial void Refused(ILogger logger, string channel);
    [LoggerMessage(4, LogLevel.Information, "subscribed again after {Outage}")] internal static partial void ActiveAgain(ILogger logger, TimeSpan outage);
    [LoggerMessage(5, LogLevel.Error, "a callback failed; the next event is delivered")] internal static partial void CallbackFailed(ILogger logger, Exception error);
    [LoggerMessage(6, LogLevel.Error, "a subscription with callbacks ended")] internal static partial void CallbacksEnded(ILogger logger, Exception error);
    [LoggerMessage(7, LogLevel.Error, "{Question} failed; the attempt to connect fails with it")] internal static partial void QuestionFailed(ILogger logger, string question, Exception error);
    [LoggerMessage(8, LogLevel.Warning, "an answer of the application was not taken: {Status}")] internal static partial void AnswerLate(ILogger logger, string status);
    [LoggerMessage(9, LogLevel.Warning, "{Count} posts were lost: {Status}")] internal static partial void PostsLost(ILogger logger, ulong count, string status);
    [LoggerMessage(10, LogLevel.Warning, "{What} was not disposed")] internal static partial void NotDisposed(ILogger logger, string what);
    [LoggerMessage(11, LogLevel.Error, "OnState failed")] internal static partial void OnStateFailed(ILogger logger, Exception error);
    [LoggerMessage(12, LogLevel.Error, "the reader met a defect")] internal static partial void Defect(ILogger logger, Exception error);
    [LoggerMessage(13, LogLevel.Warning, "requests to '{Service}' may be missed: {Reason}")] internal static partial void RequestsMissed(ILogger logger, string service, string reason);
    [LoggerMessage(14, LogLevel.Error, "the handler of '{Service}' failed; its asker is told")] internal static partial void HandlerFailed(ILogger logger, string service, Exception error);
}

/// <summary>The names under which redmux can be watched with OpenTelemetry.</summary>
public static class RedmuxTelemetry
{
    /// <summary>Of the ActivitySource, whose activities are publishes and handlers, and of the Meter.</summary>
    public const string Name = "Redmux";

    internal static readonly ActivitySource Source = new(Name, RedmuxClient.Version);
    private static readonly Meter Meter = new(Name, RedmuxClient.Version);
    internal static readonly Counter<long> Received = Meter.CreateCounter<long>("redmux.messages.received", "{message}", "Messages that were taken");
    internal static readonly Counter<long> Missing = Meter.CreateCounter<long>("redmux.messages.dropped", "{message}", "Messages that had no room");
    internal static readonly Counter<long> Published = Meter.CreateCounter<long>("redmux.messages.published", "{message}", "Messages that were handed to the library");

    /// <summary>Headers with the trace that goes on where they are read.</summary>
    internal static IEnumerable<KeyValuePair<string, string>>? Carried(IReadOnlyDictionary<string, string>? headers) =>
        Activity.Current is { IdFormat: ActivityIdFormat.W3C, Id: { } id } && headers?.ContainsKey("traceparent") != true
            ? (headers as IEnumerable<KeyValuePair<string, string>> ?? []).Append(new("traceparent", id)) : headers;

    /// <summary>An activity around a handler; without a listener too, so that what the handler asks carries the trace on.</summary>
    internal static Activity? Continued(Request request)
    {
        string? parent = request.Mentions("\"traceparent\""u8) ? request.Headers.GetValueOrDefault("traceparent") : null;
        string name = parent is null && !Source.HasListeners() ? "" : $"respond {request.Service}";
        return Source.StartActivity(name, ActivityKind.Server, parent) ?? (parent is null ? null : new Activity(name).SetParentId(parent).Start());
    }

    /// <summary>An activity of a publish. It ends in the flow of <see cref="Around"/>, and is not the caller's meanwhile.</summary>
    internal static Activity? Publishing(string channel)
    {
        Activity? outer = Activity.Current;
        try
        {
            return Source.StartActivity($"publish {channel}", ActivityKind.Producer)?.SetTag("messaging.system", "redis").SetTag("messaging.destination.name", channel);
        }
        finally
        {
            Activity.Current = outer;
        }
    }

    internal static async ValueTask<long> Around(Activity activity, Operation publish, int status, CancellationToken ct)
    {
        using (activity)
        {
            try
            {
                return await publish.Begun(status, ct).Number.ConfigureAwait(false);
            }
            catch (Exception error)
            {
                activity.SetStatus(ActivityStatusCode.Error, error.Message);
                throw;
            }
        }
    }
}
