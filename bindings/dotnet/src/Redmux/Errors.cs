namespace Redmux;

/// <summary>Any error that redmux reports. Beside it: <see cref="ObjectDisposedException"/> for what was disposed before the call, and
/// <see cref="OperationCanceledException"/> for what was cancelled.</summary>
/// <example><code>
/// try
/// {
///     await client.PublishAsync("news", "hi", TimeSpan.FromSeconds(1));
/// }
/// catch (RedmuxNotSentException)
/// {
///     // It never left: safe to repeat.
/// }
/// </code></example>
public class RedmuxException : Exception
{
    internal RedmuxException(string message, int code = 0, string kind = "") : base(message) => (Code, Kind) = (code, kind);

    /// <summary>The library's status, REDMUX_ERR_... of redmux.h.</summary>
    public int Code { get; }

    /// <summary>The status as a word: <c>not_sent</c>, <c>timeout</c>, ...</summary>
    public string Kind { get; }
}

/// <summary>The native library is not there, or is not of this version.</summary>
public sealed class RedmuxLibraryException : RedmuxException { internal RedmuxLibraryException(string message) : base(message) { } }

/// <summary>An argument or an option is not what it must be; the message names the nearest option.</summary>
public sealed class RedmuxArgumentException : RedmuxException { internal RedmuxArgumentException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>It ended because its client, subscription or promise set was closed while it waited, or its stream is over.</summary>
public sealed class RedmuxClosedException : RedmuxException { internal RedmuxClosedException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>It cannot be done now: stopped, not stopped, read by somebody else, superseded, in conflict.</summary>
public class RedmuxStateException : RedmuxException { internal RedmuxStateException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>The promise set is not subscribed at this moment: <see cref="Promises.WaitActiveAsync"/>, or <see cref="Promises.NewLater"/>.</summary>
public sealed class RedmuxInactiveException : RedmuxStateException { internal RedmuxInactiveException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>No connection could be made.</summary>
public sealed class RedmuxConnectException : RedmuxException { internal RedmuxConnectException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>The connection was lost while this was waiting.</summary>
public class RedmuxLinkLostException : RedmuxException { internal RedmuxLinkLostException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>The publish never left; it is safe to repeat it.</summary>
public sealed class RedmuxNotSentException : RedmuxLinkLostException { internal RedmuxNotSentException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>The publish left and nobody answered: it may have been heard, or not.</summary>
public sealed class RedmuxUnknownException : RedmuxLinkLostException { internal RedmuxUnknownException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>Redis answered with an error.</summary>
public class RedmuxServerException : RedmuxException { internal RedmuxServerException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>Redis refused the user or the password.</summary>
public sealed class RedmuxAuthException : RedmuxServerException { internal RedmuxAuthException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>Redis' ACL refuses names; the other names of an add are active.</summary>
public sealed class RedmuxRefusedException : RedmuxServerException
{
    internal RedmuxRefusedException(string message, int code, string kind, IReadOnlyList<string> names) : base(message, code, kind) => Names = names;

    /// <summary>All refused names.</summary>
    public IReadOnlyList<string> Names { get; }
}

/// <summary>There is no room: a queue or an inbox is full.</summary>
public sealed class RedmuxFullException : RedmuxException { internal RedmuxFullException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>A name or a payload is over its limit.</summary>
public sealed class RedmuxTooLargeException : RedmuxException { internal RedmuxTooLargeException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>The subscription's inbox was full and its policy is to close.</summary>
public sealed class RedmuxSlowConsumerException : RedmuxException { internal RedmuxSlowConsumerException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>The time given is over.</summary>
public sealed class RedmuxTimeoutException : RedmuxException { internal RedmuxTimeoutException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>Nobody serves it, or nobody had an answer.</summary>
public sealed class RedmuxNoRespondersException : RedmuxException { internal RedmuxNoRespondersException(string message, int code, string kind) : base(message, code, kind) { } }

/// <summary>A responder answered with an error. Thrown in a handler it is what the asker gets.</summary>
/// <example><code>
/// var error = new RedmuxRemoteException("NOT_FOUND", "no such user");
/// </code></example>
public class RedmuxRemoteException : RedmuxException
{
    /// <summary>What a handler throws.</summary>
    /// <param name="remoteCode">A word for programs.</param>
    /// <param name="message">A sentence for a person.</param>
    /// <param name="retriable">Whether asking again may help.</param>
    public RedmuxRemoteException(string remoteCode, string message, bool retriable = false) : this(remoteCode, message, retriable, "", Native.ErrRemote) { }

    internal RedmuxRemoteException(string remoteCode, string message, bool retriable, string responder, int status) : base(message, status, Failure.Word(status)) =>
        (RemoteCode, Retriable, Responder) = (remoteCode, retriable, responder);

    /// <summary>A word for programs.</summary>
    public string RemoteCode { get; }

    /// <summary>Whether asking again may help.</summary>
    public bool Retriable { get; }

    /// <summary>The name of the client that answered so.</summary>
    public string Responder { get; }

    internal static RedmuxRemoteException Of(int status, Head said) => status == Native.ErrFull
        ? new RedmuxBusyException(said.Code ?? "", said.Message ?? "", said.Retriable, said.Name ?? "", status)
        : new RedmuxRemoteException(said.Code ?? "", said.Message ?? "", said.Retriable, said.Name ?? "", status);
}

/// <summary>The responder has no room for a request now; ask again later.</summary>
public sealed class RedmuxBusyException : RedmuxRemoteException { internal RedmuxBusyException(string remoteCode, string message, bool retriable, string responder, int status) : base(remoteCode, message, retriable, responder, status) { } }

/// <summary>A payload is not the JSON that it was taken for; the message names its channel or service and its bytes.</summary>
public sealed class RedmuxDecodeException : RedmuxException { internal RedmuxDecodeException(string message) : base(message) { } }

/// <summary>From statuses to exceptions.</summary>
internal static unsafe class Failure
{
    internal static string Text(byte* text) => Marshal.PtrToStringUTF8((nint)text) ?? "";

    /// <summary><c>not_sent</c> for REDMUX_ERR_NOT_SENT.</summary>
    internal static string Word(int status)
    {
        string name = Text(Native.redmux_status_name(status));
        return (name.StartsWith("REDMUX_ERR_", StringComparison.Ordinal) ? name[11..] : name[7..]).ToLowerInvariant();
    }

    /// <summary>What an operation ended with.</summary>
    internal static Exception Of(int status, string what, string detail = "", IReadOnlyList<string>? refused = null)
    {
        string word = Word(status);
        string message = $"{what}: {(detail.Length > 0 ? detail : Text(Native.redmux_status_message(status)))}";
        if (refused is { Count: > 0 }) { message += ": " + string.Join(", ", refused.Select(name => $"'{name}'")); }
        return status switch
        {
            Native.ErrCancelled => new OperationCanceledException(message),
            Native.ErrClosed => new RedmuxClosedException(message, status, word),
            -204 => new RedmuxInactiveException(message, status, word),
            <= -202 and >= -210 => new RedmuxStateException(message, status, word),
            <= -100 and >= -104 => new RedmuxArgumentException(message, status, word),
            -305 => new RedmuxNotSentException(message, status, word),
            -306 => new RedmuxUnknownException(message, status, word),
            -303 or -304 or -307 or -308 => new RedmuxLinkLostException(message, status, word),
            -300 or -301 or -302 or -404 => new RedmuxConnectException(message, status, word),
            Native.ErrNoResponders => new RedmuxNoRespondersException(message, status, word),
            Native.ErrRemote => new RedmuxRemoteException("", message),
            -400 => new RedmuxServerException(message, status, word),
            -401 => new RedmuxAuthException(message, status, word),
            -402 or -403 => new RedmuxRefusedException(message, status, word, refused ?? []),
            Native.ErrFull => new RedmuxFullException(message, status, word),
            -501 => new RedmuxTooLargeException(message, status, word),
            Native.ErrOverflow => new RedmuxSlowConsumerException(message, status, word),
            Native.ErrTimeout => new RedmuxTimeoutException(message, status, word),
            _ => new RedmuxException(message, status, word),
        };
    }

    /// <summary>What a call was refused with: one on something closed is a use after dispose.</summary>
    internal static Exception OfCall(int status, string what) =>
        status == Native.ErrClosed ? new ObjectDisposedException(null, $"{what}: the client, subscription, responder or promise set is closed") : Of(status, what);

    internal static void Check(int status, string what)
    {
        if (status != Native.Ok) { throw OfCall(status, what); }
    }

    /// <summary>A call with an out_error, whose sentence becomes the exception's.</summary>
    internal static void Check(int status, string what, void* error)
    {
        if (status != Native.Ok)
        {
            string sentence = Text(Native.redmux_error_message(error));
            Native.redmux_error_free(error);
            throw status == Native.ErrClosed ? OfCall(status, what) : Of(status, what, sentence);
        }
    }
}
