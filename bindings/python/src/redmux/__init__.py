"""redmux: one Redis connection, every conversation.

>>> async with redmux.connect("redis://localhost") as client:
...     async with client.subscribe("news") as sub:
...         await client.publish("news", "hi")
...         async for message in sub:
...             print(message.channel, message.text())
...             break
1
news hi

`redmux.sync` is the same without await.
"""

from ._aio.client import Client, connect
from ._aio.gather import Gather
from ._aio.promises import Promise, Promises
from ._aio.responder import Responder
from ._aio.subscription import Subscription
from ._calls import VERSION as __version__
from ._buffer import Answer, Reply, Request, Result
from ._errors import (
    ArgumentError, AuthError, BusyError, CancelledError, ClosedError, ConnectError, DecodeError, Error, ForkedError,
    FullError, InactiveError, LibraryError, LinkLostError, NoRespondersError, NotSentError, RefusedError, RemoteError,
    ServerError, SlowConsumerError, StateError, TimeoutError, TooLargeError, UnknownError,
)
from ._records import Active, Dropped, Event, Lost, Message, Refused

__all__ = [
    "Active", "Answer", "ArgumentError", "AuthError", "BusyError", "CancelledError", "Client", "ClosedError", "ConnectError",
    "DecodeError", "Dropped", "Error", "Event", "ForkedError", "FullError", "Gather", "InactiveError", "LibraryError",
    "LinkLostError", "Lost", "Message", "NoRespondersError", "NotSentError", "Promise", "Promises", "Refused",
    "RefusedError", "RemoteError", "Reply", "Request", "Responder", "Result", "ServerError", "SlowConsumerError",
    "StateError", "Subscription", "TimeoutError", "TooLargeError", "UnknownError", "connect", "__version__",
]

for _name in __all__:  # a thing says that it is from where its users find it: in errors, pickles, help
    if _name not in ("Event", "__version__"):
        globals()[_name].__module__ = __name__
