//! The general path of [`next`](super::next): every frame in every spelling, complete or not.
//!
//! It must give for a message exactly what the fast path gives. Only `next` calls it, for what the fast path leaves:
//! acknowledgements, replies, shard messages, attributes, unfinished frames and errors.

use super::read::{Cursor, Read, Stop};
use super::{Change, Frame, Kind, Limits, ProtocolError, Step};

#[cold]
#[inline(never)]
pub(super) fn next<'a>(buf: &'a [u8], limits: &Limits) -> Result<Step<'a>, ProtocolError> {
    match step(&mut Cursor::new(buf), limits) {
        Ok(step) => Ok(step),
        Err(Stop::More(at_least)) => Ok(Step::More { at_least }),
        Err(Stop::Bad(error)) => Err(error),
    }
}

fn step<'a>(cursor: &mut Cursor<'a>, limits: &Limits) -> Read<Step<'a>> {
    cursor.attributes(0)?;
    if cursor.peek()? == b'>' {
        cursor.step();
        return push(cursor, limits);
    }
    let reply = cursor.value(0)?;
    Ok(Step::Frame { used: cursor.at(), frame: Frame::Reply(reply) })
}

fn push<'a>(cursor: &mut Cursor<'a>, limits: &Limits) -> Read<Step<'a>> {
    use Change::{Subscribed, Unsubscribed};
    use Kind::{Channel, Pattern, Shard};

    let count = cursor.count(1)?;
    if count == 0 {
        return cursor.bad("a push says nothing");
    }
    let what = match cursor.value(1)? {
        super::Reply::Bulk(what) | super::Reply::Status(what) => what,
        _ => return cursor.bad("a push does not begin with its kind"),
    };
    match (what, count) {
        (b"message", 3) => message(cursor, limits, Channel),
        (b"smessage", 3) => message(cursor, limits, Shard),
        (b"pmessage", 4) => message(cursor, limits, Pattern),
        (b"subscribe", 3) => change(cursor, limits, Subscribed, Channel),
        (b"psubscribe", 3) => change(cursor, limits, Subscribed, Pattern),
        (b"ssubscribe", 3) => change(cursor, limits, Subscribed, Shard),
        (b"unsubscribe", 3) => change(cursor, limits, Unsubscribed, Channel),
        (b"punsubscribe", 3) => change(cursor, limits, Unsubscribed, Pattern),
        (b"sunsubscribe", 3) => change(cursor, limits, Unsubscribed, Shard),
        (b"message" | b"smessage" | b"pmessage", _) => cursor.bad("a message has the wrong number of elements"),
        (b"subscribe" | b"psubscribe" | b"ssubscribe" | b"unsubscribe" | b"punsubscribe" | b"sunsubscribe", _) => {
            cursor.bad("an acknowledgement has the wrong number of elements")
        }
        _ => {
            cursor.skip(count - 1, 0)?;
            Ok(Step::Frame { used: cursor.at(), frame: Frame::OtherPush })
        }
    }
}

fn message<'a>(cursor: &mut Cursor<'a>, limits: &Limits, kind: Kind) -> Read<Step<'a>> {
    let pattern = match kind {
        Kind::Pattern => Some(name(cursor, limits.max_name)?),
        Kind::Channel | Kind::Shard => None,
    };
    // Anybody may publish on a channel that a pattern matches, however long its name is.
    let longest = if kind == Kind::Pattern { limits.max_name.max(limits.max_payload) } else { limits.max_name };
    let channel = name(cursor, longest)?;
    cursor.attributes(1)?;
    if cursor.peek()? != b'$' {
        // A server whose client-side caching is redirected here sends the keys that changed as a `message` with an
        // array or null for a payload. Nobody published that, and it is no reason to give up the link.
        cursor.value(1)?;
        return Ok(Step::Frame { used: cursor.at(), frame: Frame::OtherPush });
    }
    cursor.step();
    let len = cursor.length()?;
    if len > limits.max_payload as u64 {
        return Ok(Step::Oversized { used: cursor.at(), skip: len + 2, pattern, channel, len });
    }
    let payload = cursor.blob(len)?;
    let frame = match (kind, pattern) {
        (Kind::Shard, _) => Frame::ShardMessage { channel, payload },
        (_, Some(pattern)) => Frame::PatternMessage { pattern, channel, payload },
        (_, None) => Frame::Message { channel, payload },
    };
    Ok(Step::Frame { used: cursor.at(), frame })
}

fn change<'a>(cursor: &mut Cursor<'a>, limits: &Limits, change: Change, kind: Kind) -> Read<Step<'a>> {
    cursor.attributes(1)?;
    let name = if cursor.peek()? == b'_' {
        cursor.value(1)?;
        None
    } else {
        Some(name(cursor, limits.max_name)?)
    };
    cursor.attributes(1)?;
    if cursor.peek()? != b':' {
        return cursor.bad("an acknowledgement does not end with a count");
    }
    cursor.step();
    let count = cursor.integer()?;
    Ok(Step::Frame { used: cursor.at(), frame: Frame::Change { change, kind, name, count } })
}

fn name<'a>(cursor: &mut Cursor<'a>, most: usize) -> Read<&'a [u8]> {
    cursor.attributes(1)?;
    if cursor.peek()? != b'$' {
        return cursor.bad("a channel or pattern is not a string");
    }
    cursor.step();
    let len = cursor.length()?;
    if len > most as u64 {
        return cursor.bad("a channel or pattern is too long");
    }
    cursor.blob(len)
}
