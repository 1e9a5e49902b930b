//! Any bytes, read whole and in two pieces, off and on the fast path: nothing panics, reading always gets on, and all
//! ways agree.
//!
//! The first byte of an input chooses the limits, the next two where it is cut, the rest is the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redmux::proto::resp::{Frame, Limits, ProtocolError, Repeat, Reply, Step, fields, next, values};

fuzz_target!(|input: &[u8]| {
    let Some((&[limits, high, low], stream)) = input.split_first_chunk() else { return };
    let limits = match limits % 3 {
        0 => Limits { max_payload: 16, max_name: 8 },
        1 => Limits { max_payload: 64 << 20, max_name: 64 << 10 },
        _ => Limits { max_payload: usize::MAX, max_name: usize::MAX },
    };
    let cut = usize::from(u16::from_be_bytes([high, low])) % (stream.len() + 1);
    let (head, tail) = stream.split_at(cut);
    assert_eq!(read(&[head, tail], &limits), read(&[stream], &limits));
});

/// What follows a message of its channel is read as ever.
fn repeats(message: &[u8], name: &[u8], rest: &[u8], limits: &Limits) {
    let read = Repeat::of(message, name).and_then(|repeat| repeat.read(rest, limits));
    if let Some((used, channel, payload)) = read {
        assert_eq!(next(rest, limits), Ok(Step::Frame { used, frame: Frame::Message { channel, payload } }));
    }
}

#[derive(Debug, PartialEq)]
enum Event {
    Frame(String),
    Oversized(Option<Vec<u8>>, Vec<u8>, u64),
    Refused(ProtocolError),
}

/// Reads as a link does: asks again only when there is as much as it was told to wait for.
fn read(pieces: &[&[u8]], limits: &Limits) -> Vec<Event> {
    let (mut buf, mut at, mut events, mut skip, mut wait) = (Vec::new(), 0usize, Vec::new(), 0u64, 1);
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            let thrown = skip.min((buf.len() - at) as u64);
            at += thrown as usize;
            skip -= thrown;
            let rest = &buf[at..];
            if rest.len() < wait {
                break;
            }
            let step = next(rest, limits);
            assert_eq!(step, behind_an_attribute(rest, limits));
            wait = 1;
            match step {
                Ok(Step::Frame { used, frame }) => {
                    assert!(used > 0 && used <= rest.len());
                    holds_within(&rest[..used], limits, used);
                    if let Frame::Reply(Reply::Other(raw)) = frame {
                        walk(raw, 0);
                    }
                    if let Frame::Message { channel, .. } = frame {
                        repeats(&rest[..used], channel, &rest[used..], limits);
                    }
                    events.push(Event::Frame(format!("{frame:?}")));
                    at += used;
                }
                Ok(Step::Oversized { used, skip: after, pattern, channel, len }) => {
                    assert!(used > 0 && used <= rest.len() && after == len + 2 && len > limits.max_payload as u64);
                    holds_within(&rest[..used], limits, used);
                    events.push(Event::Oversized(pattern.map(<[u8]>::to_vec), channel.to_vec(), len));
                    at += used;
                    skip = after;
                }
                Ok(Step::More { at_least }) => {
                    assert!(at_least > rest.len());
                    wait = at_least;
                }
                Err(error) => {
                    events.push(Event::Refused(error));
                    return events;
                }
            }
        }
    }
    events
}

/// A part of a frame must ask for more, and for no more than the frame has.
fn holds_within(frame: &[u8], limits: &Limits, used: usize) {
    for len in [1, 2, 3, 4, 7].map(|part| used - (used / part).max(1)) {
        match next(&frame[..len], limits) {
            Ok(Step::More { at_least }) => assert!(len < at_least && at_least <= used),
            other => panic!("{other:?} of {len} bytes of {used}"),
        }
    }
}

/// The same through the general path alone: an empty attribute keeps input off the fast path.
fn behind_an_attribute<'a>(rest: &'a [u8], limits: &Limits) -> Result<Step<'a>, ProtocolError> {
    let detour = [b"|0\r\n", rest].concat();
    let moved = |part: &[u8]| {
        let start = part.as_ptr() as usize - detour.as_ptr() as usize - 4;
        &rest[start..start + part.len()]
    };
    Ok(match next(&detour, limits) {
        Err(ProtocolError { what, at }) => return Err(ProtocolError { what, at: at - 4 }),
        Ok(Step::More { at_least }) => Step::More { at_least: at_least - 4 },
        Ok(Step::Oversized { used, skip, pattern, channel, len }) => {
            Step::Oversized { used: used - 4, skip, pattern: pattern.map(moved), channel: moved(channel), len }
        }
        Ok(Step::Frame { used, frame }) => {
            let frame = match frame {
                Frame::Message { channel, payload } => {
                    Frame::Message { channel: moved(channel), payload: moved(payload) }
                }
                Frame::PatternMessage { pattern, channel, payload } => {
                    Frame::PatternMessage { pattern: moved(pattern), channel: moved(channel), payload: moved(payload) }
                }
                Frame::ShardMessage { channel, payload } => {
                    Frame::ShardMessage { channel: moved(channel), payload: moved(payload) }
                }
                Frame::Change { change, kind, name, count } => {
                    Frame::Change { change, kind, name: name.map(moved), count }
                }
                Frame::Reply(Reply::Status(line)) => Frame::Reply(Reply::Status(moved(line))),
                Frame::Reply(Reply::Error(line)) => Frame::Reply(Reply::Error(moved(line))),
                Frame::Reply(Reply::Bulk(bytes)) => Frame::Reply(Reply::Bulk(moved(bytes))),
                Frame::Reply(Reply::Other(raw)) => Frame::Reply(Reply::Other(moved(raw))),
                Frame::Reply(Reply::Integer(value)) => Frame::Reply(Reply::Integer(value)),
                Frame::Reply(Reply::Null) => Frame::Reply(Reply::Null),
                Frame::OtherPush => Frame::OtherPush,
            };
            Step::Frame { used: used - 4, frame }
        }
    })
}

fn walk(raw: &[u8], depth: usize) {
    assert!(depth <= 8);
    assert!(values(raw).count() <= 1024 && fields(raw).count() <= 512);
    for value in values(raw) {
        if let Reply::Other(inner) = value {
            walk(inner, depth + 1);
        }
    }
}
