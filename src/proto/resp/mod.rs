//! The RESP3 reader for what a server pushes and answers, and the writer of commands.
//!
//! [`next`] looks at the bytes received so far and says what stands at their front: a frame that borrows from them, how
//! many bytes are missing, or that this is no RESP3. It keeps no state, so a caller may stop, grow or move its buffer
//! between two calls. It must never allocate, panic, or trust a length it has not checked: everything a server can send
//! is treated as hostile. The links call it for each frame read; nothing above them sees RESP.
//!
//! Pushes of messages take a fast path of a few comparisons. Whatever is not exactly such a push, or not complete, goes
//! to `general`, which reads strictly from left to right, so that a part of the input never says anything that the
//! whole would not.

use std::fmt;

mod general;
mod read;
mod values;
mod write;

pub use values::{Fields, Values, fields, values};
pub use write::{argument, begin, command, encoded_len};

/// The longest status, error or number line.
const MAX_LINE: usize = 64 * 1024;
/// How deep aggregates (a push and an attribute count) may stand in each other.
const MAX_DEPTH: usize = 8;
/// Elements of one aggregate; a map has two an entry.
const MAX_ELEMENTS: u64 = 1024;
/// Bytes of one frame that is not a message.
const MAX_REPLY: usize = 1024 * 1024;
/// Values in one frame, nested ones included. An unfinished frame is read again from its start when more has come:
/// this bounds what a server that sends byte by byte can make us do for each of them.
const MAX_VALUES: usize = 32 * 1024;
/// Digits of a length.
const MAX_DIGITS: usize = 10;

/// What the owner of a link allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest payload of a message; a longer one is [`Step::Oversized`].
    pub max_payload: usize,
    /// The longest channel or pattern; a longer one is an error.
    pub max_name: usize,
}

/// Which of the three name spaces of Pub/Sub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `SUBSCRIBE`.
    Channel,
    /// `PSUBSCRIBE`.
    Pattern,
    /// `SSUBSCRIBE`.
    Shard,
}

/// What the server says it did with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The name is subscribed now.
    Subscribed,
    /// The name is not subscribed any more.
    Unsubscribed,
}

/// One top-level value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Published to a subscribed channel.
    Message {
        /// The channel.
        channel: &'a [u8],
        /// What was published.
        payload: &'a [u8],
    },
    /// Published to a channel that a subscribed pattern matches.
    PatternMessage {
        /// The pattern, as it was subscribed.
        pattern: &'a [u8],
        /// The channel.
        channel: &'a [u8],
        /// What was published.
        payload: &'a [u8],
    },
    /// Published to a subscribed shard channel.
    ShardMessage {
        /// The channel.
        channel: &'a [u8],
        /// What was published.
        payload: &'a [u8],
    },
    /// A name was subscribed or unsubscribed.
    Change {
        /// Which of the two.
        change: Change,
        /// The name space.
        kind: Kind,
        /// The name; `None` answers an unsubscribe from everything when there was nothing.
        name: Option<&'a [u8]>,
        /// How many subscriptions the connection has left.
        count: i64,
    },
    /// Any value that is not a push.
    Reply(Reply<'a>),
    /// A push that carries no message: of an unknown kind, or an invalidation in a message's clothes.
    OtherPush,
}

/// A value that is not a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// A simple string.
    Status(&'a [u8]),
    /// A simple or a blob error, without its mark.
    Error(&'a [u8]),
    /// An integer.
    Integer(i64),
    /// A blob string.
    Bulk(&'a [u8]),
    /// Null.
    Null,
    /// The whole raw bytes of any other value: array, map, set, double, boolean, big number, verbatim string.
    /// [`fields`] and [`values`] read the aggregates.
    Other(&'a [u8]),
}

/// What stands at the front of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A complete frame.
    Frame {
        /// How many bytes it took.
        used: usize,
        /// What it says.
        frame: Frame<'a>,
    },
    /// Not complete.
    More {
        /// At least this many bytes, counted from the start of the buffer and more than it holds, must be there before
        /// asking again.
        at_least: usize,
    },
    /// A message whose payload is longer than [`Limits::max_payload`].
    Oversized {
        /// Bytes of head that were read.
        used: usize,
        /// Bytes after them (payload and line end) that must be thrown away unread.
        skip: u64,
        /// The pattern, of a pattern message.
        pattern: Option<&'a [u8]>,
        /// The channel.
        channel: &'a [u8],
        /// The length of the payload.
        len: u64,
    },
}

/// The peer does not speak RESP3, or exceeds a limit. The stream cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolError {
    /// What is wrong.
    pub what: &'static str,
    /// Where, counted from the start of the buffer, that is of the frame.
    pub at: usize,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not valid RESP3: {} (byte {} of the frame)", self.what, self.at)
    }
}

impl std::error::Error for ProtocolError {}

/// Reads what stands at the front of `buf`.
#[inline]
pub fn next<'a>(buf: &'a [u8], limits: &Limits) -> Result<Step<'a>, ProtocolError> {
    match message(buf, limits) {
        Some((used, frame)) => Ok(Step::Frame { used, frame }),
        None => general::next(buf, limits),
    }
}

/// The fast path: a complete push of a message, in the one spelling that servers use. `None` decides nothing.
#[inline(always)]
fn message<'a>(buf: &'a [u8], limits: &Limits) -> Option<(usize, Frame<'a>)> {
    if let Some(rest) = buf.strip_prefix(b">3\r\n$7\r\nmessage\r\n$") {
        let (channel, rest) = bulk(rest, limits.max_name)?;
        let (payload, rest) = bulk(rest.strip_prefix(b"$")?, limits.max_payload)?;
        return Some((buf.len() - rest.len(), Frame::Message { channel, payload }));
    }
    if let Some(rest) = buf.strip_prefix(b">4\r\n$8\r\npmessage\r\n$") {
        let (pattern, rest) = bulk(rest, limits.max_name)?;
        let (channel, rest) = bulk(rest.strip_prefix(b"$")?, limits.max_name)?;
        let (payload, rest) = bulk(rest.strip_prefix(b"$")?, limits.max_payload)?;
        return Some((buf.len() - rest.len(), Frame::PatternMessage { pattern, channel, payload }));
    }
    None
}

/// A blob string after its `$`, and what follows it.
#[inline(always)]
fn bulk(buf: &[u8], max: usize) -> Option<(&[u8], &[u8])> {
    let (len, rest) = length(buf)?;
    if len > max {
        return None;
    }
    let (bytes, rest) = rest.split_at_checked(len)?;
    Some((bytes, rest.strip_prefix(b"\r\n")?))
}

/// A length of at most nine digits, which fit everywhere; longer ones are left to the general path.
#[inline(always)]
fn length(buf: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, mut rest) = buf.split_first()?;
    let mut len = usize::from(first.wrapping_sub(b'0'));
    if len > 9 {
        return None;
    }
    for _ in 1..9 {
        let (&byte, tail) = rest.split_first()?;
        let digit = usize::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            break;
        }
        len = len * 10 + digit;
        rest = tail;
    }
    Some((len, rest.strip_prefix(b"\r\n")?))
}
