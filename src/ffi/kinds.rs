//! Numbers in records, for C. Frozen: `tests/abi.rs` holds them to the tables that the library uses.

/// A message. name: channel; extra: the pattern that matched, if any; data: payload; number: the channel name's
/// number (0 for a pattern's message), equal for equal names and never used again; aux: when it was read, unix ns.
pub const REDMUX_KIND_MESSAGE: u16 = 1;
/// With REDMUX_FLAG_NAME: after an add, the server has name now (name: the channel or pattern; for a promise set its prefix
/// as a pattern; number: its number). Without: after lost, the source is whole again, and its names are not told one by
/// one; number: how often the link came up, the first time included; aux: how long the outage took, ns.
pub const REDMUX_KIND_ACTIVE: u16 = 2;
/// The connection was lost: what was published from the last record before this one until the next active may be
/// missing. Each source that was there gets one, also one without names. status: why (REDMUX_ERR_LINK_LOST,
/// REDMUX_ERR_PING_TIMEOUT, REDMUX_ERR_PROTOCOL, REDMUX_ERR_REDIS); extra: a sentence; number: how many outages are merged
/// here; aux: when the last byte came, unix ns.
pub const REDMUX_KIND_LOST: u16 = 3;
/// Messages that had no room, exactly here. number: how many; status: 0, or REDMUX_ERR_TOO_LARGE for a message over
/// max_payload. In the event inbox: posts that were lost.
pub const REDMUX_KIND_DROPPED: u16 = 4;
/// An operation ended. status: how; number and aux: see the function; extra: a sentence where it failed, if there is one.
pub const REDMUX_KIND_DONE: u16 = 5;
/// A publish ended. number: how many received it; status: 0, REDMUX_ERR_NOT_SENT, REDMUX_ERR_UNKNOWN,
/// REDMUX_ERR_CANCELLED, REDMUX_ERR_REFUSED or REDMUX_ERR_REDIS; extra: a sentence where it failed.
pub const REDMUX_KIND_PUBLISHED: u16 = 6;
/// A promise ended. name: its channel, prefix included; data: the message; aux: the length of its set's prefix, if the
/// message came, else 0; status: 0, REDMUX_ERR_TIMEOUT, REDMUX_ERR_CANCELLED, REDMUX_ERR_INTERRUPTED, REDMUX_ERR_CLOSED,
/// REDMUX_ERR_TOO_LARGE, REDMUX_ERR_REFUSED, REDMUX_ERR_OVERFLOW or REDMUX_ERR_INTERNAL (as in closed of its set).
pub const REDMUX_KIND_PROMISE: u16 = 7;
/// The server refused a name. name: which; extra: Redis' error word; token: of the add that asked for it, else the
/// source's. It is tried again now and then (option refused_retry), and active with the name says that it was allowed.
pub const REDMUX_KIND_REFUSED: u16 = 8;
/// A request to answer, with redmux_responder_answer, _end or _fail. source and token: the responder's; number: its ticket;
/// aux: when its asker stops waiting, unix ns; name: the service; extra: JSON, of which id, from (who asks), attempt and h
/// (headers) are for you; data: the body. With REDMUX_FLAG_AGAIN it was sent again.
pub const REDMUX_KIND_REQUEST: u16 = 9;
/// Nobody waits for the answer to a request any more. number: its ticket, which still has to be ended; status:
/// REDMUX_ERR_CANCELLED, REDMUX_ERR_TIMEOUT, or REDMUX_ERR_CLOSED if the responder was closed (then it has ended).
pub const REDMUX_KIND_CANCEL: u16 = 10;
/// A responder took a request of yours (with the option accepted). source and token: the gather's; number: how many have by
/// now; extra: JSON with by (which responder) and name (its client's name).
pub const REDMUX_KIND_ACCEPTED: u16 = 11;
/// An answer. source and token: the gather's; number: its number within its responder, from 0; aux: when it was read, unix
/// ns; name: the service; extra: JSON with by (which responder), name (its client's name), h (headers); data: the body. With
/// REDMUX_FLAG_LAST it is the last of its responder. With REDMUX_FLAG_FAILED it is an error: status is
/// REDMUX_ERR_REMOTE or REDMUX_ERR_FULL, and extra also has code, message and retriable.
pub const REDMUX_KIND_ANSWER: u16 = 12;
/// A gather ended: its last record, always. source and token: the gather's; number: why, a REDMUX_REASON; status: 0 or what a
/// caller would raise; aux: how long it took, ns; extra: JSON with expected (how many received it, or null), answers, errors,
/// missing (by and name of who accepted and did not finish), missing_count, duplicates, late, and message where a status says
/// more.
pub const REDMUX_KIND_END: u16 = 13;
/// A message of a mailbox (not delivered by this version).
pub const REDMUX_KIND_MAIL: u16 = 14;
/// Mail that can no longer be had (not delivered by this version).
pub const REDMUX_KIND_GAP: u16 = 15;
/// The library asks you, in the event inbox. name: "address" or "credentials"; number: the id for
/// redmux_question_answer; aux: until when, unix ns.
pub const REDMUX_KIND_QUESTION: u16 = 16;
/// A line of log, in the event inbox. number: REDMUX_LOG_...; extra: the line; aux: when, unix ns.
pub const REDMUX_KIND_LOG: u16 = 17;
/// The client's state changed, in the event inbox. number: REDMUX_STATE_...; source: the client, or the inbox that is
/// slow; status and extra: why; aux: when, unix ns.
pub const REDMUX_KIND_STATE: u16 = 18;
/// A source ended; its last record. status: 0, or why it was closed (REDMUX_ERR_CLOSED with its client,
/// REDMUX_ERR_OVERFLOW, REDMUX_ERR_INTERNAL, or why a pattern could not be added).
pub const REDMUX_KIND_CLOSED: u16 = 19;

/// In flags of a message: a pattern matched it, which stands in extra.
pub const REDMUX_FLAG_PATTERN: u16 = 1;

/// In flags of active: it is about one name, which may be empty, and not about the whole source.
pub const REDMUX_FLAG_NAME: u16 = 1;
/// On answer: the last one of its responder.
pub const REDMUX_FLAG_LAST: u16 = 1;
/// On answer: it is an error.
pub const REDMUX_FLAG_FAILED: u16 = 2;
/// On request: it was sent again, after a connection was lost.
pub const REDMUX_FLAG_AGAIN: u16 = 1;

/// Nobody serves it.
pub const REDMUX_REASON_NO_RESPONDERS: u64 = 1;
/// Everybody who took it has finished.
pub const REDMUX_REASON_ALL: u64 = 2;
/// As many answers as the option expect says.
pub const REDMUX_REASON_COUNT: u64 = 3;
/// You had what you wanted (redmux_gather_stop).
pub const REDMUX_REASON_PREDICATE: u64 = 4;
/// No new answer for as long as the option quiet says.
pub const REDMUX_REASON_QUIET: u64 = 5;
/// The time was over.
pub const REDMUX_REASON_DEADLINE: u64 = 6;
/// You gave it up (redmux_gather_stop, redmux_inbox_cancel).
pub const REDMUX_REASON_CANCELLED: u64 = 7;
/// The client or the inbox was closed.
pub const REDMUX_REASON_CLOSED: u64 = 8;
/// A connection was lost while it waited, or it could not be sent.
pub const REDMUX_REASON_INTERRUPTED: u64 = 9;
/// Everybody who took it answered with an error.
pub const REDMUX_REASON_FAILED: u64 = 10;
/// More answers came than there was room for.
pub const REDMUX_REASON_OVERFLOW: u64 = 11;

/// A connection is being made.
pub const REDMUX_STATE_CONNECTING: u64 = 1;
/// The subscriber link is up.
pub const REDMUX_STATE_ONLINE: u64 = 2;
/// The subscriber link is down; it is being made again.
pub const REDMUX_STATE_OFFLINE: u64 = 3;
/// Stopped by the application.
pub const REDMUX_STATE_STOPPED: u64 = 4;
/// An inbox is full: messages are being dropped. source is its id.
pub const REDMUX_STATE_SLOW_CONSUMER: u64 = 5;
/// The publish link is up.
pub const REDMUX_STATE_PUBLISH_ONLINE: u64 = 6;
/// The publish link is down; it is being made again.
pub const REDMUX_STATE_PUBLISH_OFFLINE: u64 = 7;
/// Every wanted name is active or refused.
pub const REDMUX_STATE_SUBSCRIBED: u64 = 8;

/// Something was lost or cannot work.
pub const REDMUX_LOG_ERROR: u64 = 1;
/// Something was refused, retried or dropped.
pub const REDMUX_LOG_WARN: u64 = 2;
/// The life of the links.
pub const REDMUX_LOG_INFO: u64 = 3;
/// Everything else.
pub const REDMUX_LOG_DEBUG: u64 = 4;

/// No event inbox.
pub const REDMUX_EVENTS_NONE: i32 = 0;
/// An event inbox that is drained by taking blocks.
pub const REDMUX_EVENTS_TAKE: i32 = 1;
/// An event inbox that hands its blocks to a callback.
pub const REDMUX_EVENTS_CALLBACK: i32 = 2;
