//! The RESP3 reader for what a server pushes and answers, and the writer of commands.
//!
//! [`next`] looks at the bytes received so far and says what stands at their front: a frame that borrows from them, how
//! many bytes are missing, or that this is no RESP3. It keeps no state, so a caller may stop, grow or move its buffer
//! between two calls. It must never allocate, panic, or trust a length it has not checked: everything a server can send
//! is treated as hostile. The links call it for each frame read; nothing above them sees RESP.
//!
//! Pushes of messages take a fast path of a few comparisons, or of one where a channel's messages follow each other
//! ([`Repeat`]). Whatever is not exactly such a push, or not complete, goes
//! to `general`, which reads strictly from left to right, so that a part of the input never says anything that the
//! whole would not.

use std::fmt;

mod general;
mod read;
mod repeat;
mod values;
mod write;

pub use repeat::Repeat;
pub use values::{Fields, Values, fields, values};
pub use write::{argument, argument_len, begin, command, encoded_len};

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
#[inline(always)] // so that the parts of a message stay in registers where it is read
pub fn next<'a>(buf: &'a [u8], limits: &Limits) -> Result<Step<'a>, ProtocolError> {
    match message(buf, limits) {
        Some((used, frame)) => Ok(Step::Frame { used, frame }),
        None => general::next(buf, limits),
    }
}

/// A count, as a server answers a publish, of at most nine digits. `None` decides nothing.
#[inline(always)]
pub fn count(buf: &[u8]) -> Option<(usize, i64)> {
    let [b':', ..] = buf else { return None };
    let rest = buf.get(1..)?;
    let digits = rest.iter().take(10).position(|byte| *byte == b'\r')?;
    let (number, end) = rest.split_at_checked(digits)?;
    let count = number.iter().try_fold(0, |count, byte| Some(count * 10 + digit(*byte)? as i64))?;
    (digits > 0 && digits <= 9 && end.starts_with(b"\r\n")).then_some((digits + 3, count))
}

/// How a message of a channel begins, in the one spelling that servers use.
const MESSAGE: &[u8] = b">3\r\n$7\r\nmessage\r\n$";

/// The fast path: a complete push of a message, in the one spelling that servers use. `None` decides nothing.
///
/// It counts positions instead of cutting slices: where the next frame begins depends on each length in turn, and
/// whatever lengthens that chain is felt in every message.
#[inline(always)]
fn message<'a>(buf: &'a [u8], limits: &Limits) -> Option<(usize, Frame<'a>)> {
    const PATTERN_MESSAGE: &[u8] = b">4\r\n$8\r\npmessage\r\n$";
    if buf.starts_with(MESSAGE) {
        let (channel, at) = bulk(buf, MESSAGE.len(), limits.max_name)?;
        let (payload, used) = bulk(buf, mark(buf, at)?, limits.max_payload)?;
        return Some((used, Frame::Message { channel, payload }));
    }
    if buf.starts_with(PATTERN_MESSAGE) {
        let (pattern, at) = bulk(buf, PATTERN_MESSAGE.len(), limits.max_name)?;
        let (channel, at) = bulk(buf, mark(buf, at)?, limits.max_name)?;
        let (payload, used) = bulk(buf, mark(buf, at)?, limits.max_payload)?;
        return Some((used, Frame::PatternMessage { pattern, channel, payload }));
    }
    None
}

/// The position after the mark of a blob string.
#[inline(always)]
fn mark(buf: &[u8], at: usize) -> Option<usize> {
    (*buf.get(at)? == b'$').then_some(at + 1)
}

/// The blob string whose length stands at `at`, and the position after it.
#[inline(always)]
fn bulk(buf: &[u8], at: usize, max: usize) -> Option<(&[u8], usize)> {
    let (len, start) = length(buf, at)?;
    // Nine digits and a position inside of a slice cannot overflow, not even in 32 bits.
    let end = start + len;
    if len > max || buf.get(end..end + 2)? != b"\r\n" {
        return None;
    }
    Some((buf.get(start..end)?, end + 2))
}

/// A length of at most nine digits, and the position after its line; longer ones are left to the general path.
///
/// Up to four digits are told apart by where the line ends, which the processor guesses well: that took a message of
/// 64 bytes from 16 to 11 ns against a loop over the digits. Even an empty string has five bytes from here on.
#[inline(always)]
fn length(buf: &[u8], at: usize) -> Option<(usize, usize)> {
    match *buf.get(at..)?.first_chunk::<5>()? {
        [a, b'\r', b'\n', ..] => Some((digit(a)?, at + 3)),
        [a, b, b'\r', b'\n', _] => Some((digit(a)? * 10 + digit(b)?, at + 4)),
        [a, b, c, b'\r', b'\n'] => Some((digit(a)? * 100 + digit(b)? * 10 + digit(c)?, at + 5)),
        [a, b, c, d, b'\r'] if buf.get(at + 5) == Some(&b'\n') => {
            Some((digit(a)? * 1000 + digit(b)? * 100 + digit(c)? * 10 + digit(d)?, at + 6))
        }
        _ => long_length(buf, at),
    }
}

#[inline(never)]
fn long_length(buf: &[u8], at: usize) -> Option<(usize, usize)> {
    let line = buf.get(at..)?;
    let digits = line.iter().take(10).position(|byte| *byte == b'\r')?;
    let (number, end) = line.split_at_checked(digits)?;
    let len = number.iter().try_fold(0, |len, byte| Some(len * 10 + digit(*byte)?))?;
    (digits > 0 && end.starts_with(b"\r\n")).then_some((len, at + digits + 2))
}

#[inline(always)]
fn digit(byte: u8) -> Option<usize> {
    let digit = byte.wrapping_sub(b'0');
    (digit < 10).then_some(usize::from(digit))
}
