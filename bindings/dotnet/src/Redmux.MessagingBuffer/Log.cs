namespace Redmux.MessagingBuffer;

/// <summary>The lines that this package writes to ILogger, category "Redmux.MessagingBuffer". What the library sees goes to "Redmux".</summary>
internal static partial class Log
{
    [LoggerMessage(1, LogLevel.Warning, "nobody handles {Type}: request {Id} is lost")] internal static partial void Nobody(ILogger logger, string type, string id);
    [LoggerMessage(2, LogLevel.Trace, "request {Id} of {Type} ended: {Reason} with {Count} of {Expected} responses")] internal static partial void Ended(ILogger logger, string type, string id, GatherReason reason, int count, long? expected);
    [LoggerMessage(3, LogLevel.Error, "a response of {Server} to {Id} cannot be read")] internal static partial void Unreadable(ILogger logger, string id, string server, Exception error);
    [LoggerMessage(4, LogLevel.Error, "the handler of {Type} failed with request {Id}; on this wire its asker cannot be told")] internal static partial void HandlerFailed(ILogger logger, string type, string id, Exception error);
    [LoggerMessage(5, LogLevel.Warning, "a response to {Id} was not sent: its handler has ended; respond before it does")] internal static partial void NotInWork(ILogger logger, string id);
    [LoggerMessage(6, LogLevel.Warning, "a response to {Id} reached {Count} receivers and not one")] internal static partial void Heard(ILogger logger, string id, long count);
}
