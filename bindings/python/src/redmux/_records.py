"""Blocks of records, and what becomes of them: Message, Lost, Active, Dropped, Refused."""

import ctypes
import json
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any, NamedTuple, Union

from ._errors import DecodeError
from ._native import lib

# The record of docs/records.md: kind, flags, status, source, token, number, aux, then offset and length of name, extra, data.
RECORD = Struct("<HHiQQQQIIIIII")
# What a plain message needs of it: kind and flags as one number, number, aux, and where the data is.
PLAIN = Struct("<I20xQQ16xII")
# The block: id, inbox, records, count, data, data_len, more, status.
BLOCK = Struct("<QQQQQQIi")

MESSAGE, ACTIVE, LOST, DROPPED, DONE, PUBLISHED, PROMISE, REFUSED, REQUEST, CANCEL, ACCEPTED, ANSWER, END = range(1, 14)
QUESTION, LOG, STATE, CLOSED = range(16, 20)
FLAG = 1  # of a message: a pattern matched; of active: about one name


class Payload:
    """Bytes that came, and the ways to read them."""

    __slots__ = ("data",)
    data: bytes

    _from: Callable[[], str]  # what the payload is of

    def text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The payload as text."""
        return self.data.decode(encoding, errors)

    def json(self) -> Any:
        """The payload as JSON; a `DecodeError` names where it came from and the bytes."""
        data = self.data
        try:
            return json.loads(data)
        except ValueError as error:
            shown = repr(data if len(data) <= 200 else data[:200]) + ("" if len(data) <= 200 else "…")
            raise DecodeError(f"bad JSON on {self._from()!r}, {len(data)} bytes: {shown}: {error}") from None


class Message(Payload):
    """A message. `data` is bytes; `text()` and `json()` read them; `pattern` is set where a pattern matched.

    >>> message = Message("news", b'{"a": 1}', 1_700_000_000_000_000_000)
    >>> message.channel, message.text(), message.json()["a"], message.time
    ('news', '{"a": 1}', 1, 1700000000.0)
    """

    __slots__ = ("channel", "time_ns", "pattern")

    def __init__(self, channel: str, data: bytes, time_ns: int, pattern: str | None = None) -> None:
        self.channel = channel
        self.data = data
        self.time_ns = time_ns
        self.pattern = pattern

    @property
    def time(self) -> float:
        """When it was read from the socket, in seconds since 1970."""
        return self.time_ns / 1e9

    def _from(self) -> str:
        return self.channel

    def __repr__(self) -> str:
        pattern = f", pattern={self.pattern!r}" if self.pattern is not None else ""
        return f"Message({self.channel!r}, {self.data!r}{pattern})"


class Active(NamedTuple):
    """With `channel`: Redis has it now (a channel or the pattern). Without: all is subscribed again after an outage."""

    channel: str | None
    outage: float
    """How long the outage took, in seconds."""


class Lost(NamedTuple):
    """The connection was lost: from here until the next `Active` without a channel messages may be missing."""

    reason: str
    """A word: `link_lost`, `ping_timeout`, …"""
    text: str
    outages: int
    last_byte: float
    """When the last byte came, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """So many messages had no room exactly here."""

    count: int


class Refused(NamedTuple):
    """Redis' ACL refuses a channel that was subscribed before; it is tried again now and then."""

    channel: str


class End(NamedTuple):
    """The last event of a subscription, never handed out."""

    status: int


Event = Union[Message, Active, Lost, Dropped, Refused]


class Record(NamedTuple):
    """One record, decoded in full."""

    kind: int
    flags: int
    status: int
    source: int
    token: int
    number: int
    aux: int
    name: bytes
    extra: bytes
    data: bytes


def to_text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def to_name(name: str | bytes) -> bytes:
    if isinstance(name, str):
        return name.encode("utf-8", "surrogateescape")
    if isinstance(name, bytes):
        return name
    raise TypeError(f"a name is str or bytes, not {type(name).__name__}")


def decode_records(records: bytes, blob: bytes) -> list[Record]:
    """Every record of a block, all fields."""
    new = tuple.__new__  # a call of Record does the same behind another one
    return [
        new(Record, (kind, flags, status, source, token, number, aux, blob[no : no + nl], blob[eo : eo + el], blob[do : do + dl]))
        for kind, flags, status, source, token, number, aux, no, nl, eo, el, do, dl in RECORD.iter_unpack(records)
    ]


class Names:
    """Names by number, so that a string is made once a name and not once a message."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {}

    def of(self, number: int, name: bytes) -> str:
        found = self.known.get(number)
        if found is None:
            found = to_text(name)
            if number:
                if len(self.known) >= 1 << 17:  # numbers are never given again: forget those that may be over
                    self.known.clear()
                self.known[number] = found
        return found


def decode_events(records: bytes, blob: bytes, names: Names, reason: Any) -> list[Any]:
    """What a subscription's block says, in its order. Blocks of nothing but messages of known channels are the fast path."""
    events: list[Any] = []
    known, new, add, plain = names.known, object.__new__, events.append, MESSAGE
    try:
        for kind, number, time, at, size in PLAIN.iter_unpack(records):
            if kind != plain:
                raise KeyError
            message = new(Message)  # a call of Message costs a fifth more
            message.channel = known[number]
            message.data = blob[at : at + size]
            message.time_ns = time
            message.pattern = None
            add(message)
        return events
    except KeyError:
        pass
    events = []
    for record in decode_records(records, blob):
        kind, named = record.kind, record.flags & FLAG
        if kind == MESSAGE:
            pattern = to_text(record.extra) if named else None
            events.append(Message(names.of(record.number, record.name), record.data, record.aux, pattern))
        elif kind == ACTIVE:
            events.append(Active(to_text(record.name) if named else None, 0.0 if named else record.aux / 1e9))
        elif kind == LOST:
            events.append(Lost(reason(record.status), record.extra.decode(errors="replace"), record.number, record.aux / 1e9))
        elif kind == DROPPED:
            events.append(Dropped(record.number))
        elif kind == REFUSED:
            events.append(Refused(to_text(record.name)))
        elif kind == CLOSED:
            events.append(End(record.status))
    return events


class Block:
    """A `redmux_block` to take with, and the way to copy out what it lends. Nobody but who took gives it back."""

    def __init__(self) -> None:
        self.buffer = ctypes.create_string_buffer(BLOCK.size)
        self.address, self.lent = ctypes.addressof(self.buffer), ctypes.c_uint64.from_buffer(self.buffer)

    def __del__(self) -> None:
        lib.block_release(self.address)

    def copy(self) -> tuple[bytes, bytes, int]:
        """The records, the data, and how many records stayed behind."""
        _, _, records, count, data, data_len, more, _ = BLOCK.unpack_from(self.buffer)
        return ctypes.string_at(records, count * 64), ctypes.string_at(data, data_len) if data_len else b"", more
