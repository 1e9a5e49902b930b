"""What can go wrong, by kind. Every error of redmux is an `Error` with the library's status in `code` and `kind`."""

import builtins


class Error(Exception):
    """Any error of redmux. `code` is the library's status, `kind` its word: `closed`, `not_sent`, …

    >>> import redmux, redmux.sync
    >>> try:
    ...     redmux.sync.connect("redis://localhost", ping_intervall="2s")
    ... except redmux.Error as error:
    ...     error.kind
    'unknown_option'
    """

    code = 0
    kind = ""

    def __init__(self, message: str, code: int = 0, kind: str = "") -> None:
        super().__init__(message)
        self.code = code or self.code
        self.kind = kind or self.kind


class LibraryError(Error, ImportError):
    """The native library is not there, or is not of this version."""


class ArgumentError(Error, ValueError):
    """An argument or an option is not what it must be."""


class ClosedError(Error):
    """The client, subscription or promise set is closed."""

    code, kind = -200, "closed"


class ForkedError(Error):
    """The object was made by the parent of this process; make a new client here."""


class StateError(Error, RuntimeError):
    """It cannot be done now: stopped, not stopped, busy, superseded, in conflict."""


class InactiveError(StateError):
    """The promise set is not subscribed at this moment: `wait_active`, or `wait_new`."""


class CancelledError(Error):
    """Ended by somebody else's cancel: a promise whose set was cleared."""


class ConnectError(Error, ConnectionError):
    """No connection could be made."""


class LinkLostError(Error, ConnectionError):
    """The connection was lost while this was waiting."""


class NotSentError(LinkLostError):
    """The publish never left; it is safe to repeat it."""


class UnknownError(LinkLostError):
    """The publish left and nobody answered: it may have been heard, or not."""


class ServerError(Error):
    """Redis answered with an error."""


class AuthError(ServerError, PermissionError):
    """Redis refused the user or the password."""


class RefusedError(ServerError, PermissionError):
    """Redis' ACL refuses a name. `names` lists all of them; the other names of an `add` are active."""

    names: tuple[str, ...] = ()


class FullError(Error, BufferError):
    """There is no room: a queue or an inbox is full."""


class TooLargeError(Error, ValueError):
    """A name or a payload is over its limit."""


class SlowConsumerError(Error):
    """The subscription's inbox was full and its policy is to close."""


class TimeoutError(Error, builtins.TimeoutError):
    """The time given is over."""

    code, kind = -600, "timeout"


class NoRespondersError(Error):
    """Nobody serves it, or nobody had an answer."""

    code, kind = -309, "no_responders"


class RemoteError(Error):
    """A responder answered with an error: its `remote_code`, its `message`, and whether asking again may help (`retriable`).

    Raised in a handler it is what the asker gets.

    >>> error = redmux.RemoteError("no such user", remote_code="NOT_FOUND")
    >>> error.remote_code, error.message, error.retriable, str(error)
    ('NOT_FOUND', 'no such user', False, 'NOT_FOUND: no such user')
    """

    code, kind = -310, "remote"

    def __init__(
        self, message: str, code: int = 0, kind: str = "", *, remote_code: str = "ERROR", retriable: bool = False,
        responder: str = "",
    ) -> None:
        super().__init__(message, code, kind)  # a copy, or one out of a pickle, is made of it
        self.message, self.remote_code, self.retriable, self.responder = message, remote_code, retriable, responder

    def __str__(self) -> str:
        return f"{self.remote_code}: {self.message}"


class BusyError(RemoteError, FullError):
    """The responder has no room for a request now; ask again later."""

    code, kind = -500, "full"


class DecodeError(Error, ValueError):
    """A payload is not the JSON that it was taken for; the message names its channel and its bytes."""


BY_CODE: dict[int, type[Error]] = {
    **dict.fromkeys((-100, -101, -102, -103, -104), ArgumentError),
    **dict.fromkeys((-202, -203, -206, -207, -208, -209, -210), StateError),
    **dict.fromkeys((-300, -301, -302, -404), ConnectError),
    **dict.fromkeys((-303, -304, -307, -308), LinkLostError),
    **dict.fromkeys((-402, -403), RefusedError),
    -200: ClosedError, -201: ForkedError, -204: InactiveError, -205: CancelledError,
    -305: NotSentError, -306: UnknownError, -309: NoRespondersError, -310: RemoteError,
    -400: ServerError, -401: AuthError,
    -500: FullError, -501: TooLargeError, -502: SlowConsumerError,
    -600: TimeoutError,
}
