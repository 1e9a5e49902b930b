//! What the RESP3 reader promises for any input: parts agree with the whole, and nothing makes it panic.

use proptest::collection::vec;
use proptest::prelude::*;
use redmux::proto::resp::{
    Frame, Limits, ProtocolError, Repeat, Reply, Step, command, encoded_len, fields, next, values,
};

const LIMITS: Limits = Limits { max_payload: 100, max_name: 20 };

/// What a link sees of a stream, as owned text, and how its end was met.
#[derive(Debug, PartialEq)]
struct Seen {
    events: Vec<String>,
    end: Result<(), ProtocolError>,
}

/// Reads a stream that arrives in pieces as a link does: it asks again only when it has what it was told to wait for.
fn read(pieces: &[&[u8]], limits: &Limits) -> Seen {
    let (mut buf, mut events, mut skip, mut wait) = (Vec::new(), Vec::new(), 0u64, 1);
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            let thrown = skip.min(buf.len() as u64);
            buf.drain(..thrown as usize);
            skip -= thrown;
            if buf.len() < wait {
                break;
            }
            match next(&buf, limits) {
                Ok(Step::Frame { used, frame }) => {
                    assert!(used > 0 && used <= buf.len());
                    events.push(format!("{frame:?}"));
                    buf.drain(..used);
                    wait = 1;
                }
                Ok(Step::Oversized { used, skip: after, pattern, channel, len }) => {
                    assert!(used > 0 && used <= buf.len() && after == len + 2 && len > limits.max_payload as u64);
                    events.push(format!("{pattern:?} {channel:?} {len}"));
                    (skip, wait) = (after, 1);
                    buf.drain(..used);
                }
                Ok(Step::More { at_least }) => {
                    assert!(at_least > buf.len());
                    wait = at_least;
                }
                Err(error) => return Seen { events, end: Err(error) },
            }
        }
    }
    Seen { events, end: Ok(()) }
}

fn blob(mark: char, bytes: &[u8]) -> Vec<u8> {
    [format!("{mark}{}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..=most), vec(prop::sample::select(b"\r\n$>3:*".to_vec()), 0..=most)]
}

fn line() -> impl Strategy<Value = String> {
    "[ -~]{0,30}"
}

fn scalar() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        line().prop_map(|line| format!("+{line}\r\n").into_bytes()),
        line().prop_map(|line| format!("-{line}\r\n").into_bytes()),
        any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
        any::<f64>().prop_map(|number| format!(",{number}\r\n").into_bytes()),
        any::<i128>().prop_map(|number| format!("({number}\r\n").into_bytes()),
        any::<bool>().prop_map(|truth| format!("#{}\r\n", if truth { 't' } else { 'f' }).into_bytes()),
        Just(b"_\r\n".to_vec()),
        bytes(40).prop_map(|bytes| blob('$', &bytes)),
        bytes(40).prop_map(|bytes| blob('!', &bytes)),
        bytes(40).prop_map(|bytes| blob('=', &[b"txt:", &bytes[..]].concat())),
    ]
}

fn aggregate(mark: char, parts: &[Vec<u8>]) -> Vec<u8> {
    let each = if "%|".contains(mark) { 2 } else { 1 };
    let count = parts.len() / each;
    [format!("{mark}{count}\r\n").into_bytes(), parts[..count * each].concat()].concat()
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    scalar().prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            (prop::sample::select(vec!['*', '~', '%']), vec(inner.clone(), 0..6))
                .prop_map(|(mark, parts)| aggregate(mark, &parts)),
            (vec(inner.clone(), 0..4), inner).prop_map(|(about, value)| [aggregate('|', &about), value].concat()),
        ]
    })
}

/// Payloads go over the limit now and then; names do not.
fn push() -> impl Strategy<Value = Vec<u8>> {
    let name = || bytes(LIMITS.max_name);
    let message = (prop::sample::select(vec!["message", "smessage"]), name(), bytes(LIMITS.max_payload + 20));
    let pattern_message = (name(), name(), bytes(LIMITS.max_payload + 20));
    let words = vec!["subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe"];
    let change = (prop::sample::select(words), prop::option::of(name()), any::<i64>());
    let other = ("[a-z]{1,6}", vec(value(), 0..4));
    prop_oneof![
        4 => message.prop_map(|(word, channel, payload)| {
            aggregate('>', &[blob('$', word.as_bytes()), blob('$', &channel), blob('$', &payload)])
        }),
        2 => pattern_message.prop_map(|(pattern, channel, payload)| {
            let names = [blob('$', b"pmessage"), blob('$', &pattern), blob('$', &channel)];
            aggregate('>', &[&names[..], &[blob('$', &payload)]].concat())
        }),
        2 => change.prop_map(|(word, name, count)| {
            let name = name.map_or(b"_\r\n".to_vec(), |name| blob('$', &name));
            aggregate('>', &[blob('$', word.as_bytes()), name, format!(":{count}\r\n").into_bytes()])
        }),
        1 => other.prop_map(|(word, mut parts)| {
            parts.insert(0, blob('$', format!("x{word}").as_bytes()));
            aggregate('>', &parts)
        }),
    ]
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => push(), 2 => value()]
}

/// Where to cut a stream, in fractions of its length.
fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    vec(any::<prop::sample::Index>(), 0..6)
}

fn cut<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut points: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).chain([0, stream.len()]).collect();
    points.sort_unstable();
    points.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
}

/// The same input behind an empty attribute, which keeps it off the fast path, must give the same.
fn both_paths_agree(bytes: &[u8]) {
    let detour = [b"|0\r\n", bytes].concat();
    let shifted = match next(bytes, &LIMITS) {
        Ok(Step::Frame { used, frame }) => Ok(Step::Frame { used: used + 4, frame }),
        Ok(Step::More { at_least }) => Ok(Step::More { at_least: at_least + 4 }),
        Ok(Step::Oversized { used, skip, pattern, channel, len }) => {
            Ok(Step::Oversized { used: used + 4, skip, pattern, channel, len })
        }
        Err(ProtocolError { what, at }) => Err(ProtocolError { what, at: at + 4 }),
    };
    assert_eq!(next(&detour, &LIMITS), shifted);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_stream_in_pieces_yields_the_frames_of_the_whole(frames in vec(frame(), 0..8), cuts in cuts()) {
        let stream = frames.concat();
        let whole = read(&[&stream], &LIMITS);
        prop_assert_eq!((whole.events.len(), whole.end), (frames.len(), Ok(())));
        prop_assert_eq!(read(&cut(&stream, &cuts), &LIMITS), read(&[&stream], &LIMITS));
    }

    #[test]
    fn every_single_split_and_byte_by_byte_yield_the_frame_of_the_whole(frame in frame()) {
        let whole = read(&[&frame], &LIMITS);
        for at in 0..=frame.len() {
            let (head, tail) = frame.split_at(at);
            prop_assert_eq!(&read(&[head, tail], &LIMITS), &whole);
        }
        prop_assert_eq!(read(&frame.chunks(1).collect::<Vec<_>>(), &LIMITS), whole);
    }

    #[test]
    fn more_never_asks_for_more_than_the_frame_is_long(frame in frame()) {
        let Ok(Step::Frame { used, .. } | Step::Oversized { used, .. }) = next(&frame, &LIMITS) else {
            return Err(TestCaseError::fail("no frame"));
        };
        for len in 0..used {
            match next(&frame[..len], &LIMITS) {
                Ok(Step::More { at_least }) => prop_assert!(len < at_least && at_least <= used),
                other => prop_assert!(false, "{:?} of {} bytes", other, len),
            }
        }
    }

    #[test]
    fn the_fast_path_and_the_general_path_agree(frame in frame(), len in any::<prop::sample::Index>()) {
        both_paths_agree(&frame);
        both_paths_agree(&frame[..len.index(frame.len() + 1)]);
    }

    #[test]
    fn what_follows_a_message_of_the_same_channel_is_read_as_ever(
        channel in bytes(LIMITS.max_name),
        payload in bytes(LIMITS.max_payload + 20),
        other in frame(),
        long in any::<bool>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let message = |payload: &[u8]| aggregate('>', &[blob('$', b"message"), blob('$', &channel), blob('$', payload)]);
        let first = message(if long { &[b'x'; 100] } else { b"" });
        let repeat = Repeat::of(&first, &channel).expect("it is spelled as servers do");
        let follows = |bytes: &[u8]| {
            let Some((used, channel, payload)) = repeat.read(bytes, &LIMITS) else { return false };
            assert_eq!(next(bytes, &LIMITS), Ok(Step::Frame { used, frame: Frame::Message { channel, payload } }));
            true
        };
        let second = message(&payload);
        prop_assert_eq!(follows(&second), payload.len() <= LIMITS.max_payload);
        let mut changed = [&second[..], &other[..]].concat();
        follows(&other);
        prop_assert!(!follows(&second[..at.index(second.len())]), "a part is no message");
        let at = at.index(changed.len());
        changed[at] = byte;
        follows(&changed);
        prop_assert!(Repeat::of(&other, b"not its channel").is_none());
    }

    #[test]
    fn a_reply_is_made_of_the_values_that_were_put_in(parts in vec(scalar(), 0..20)) {
        let raw = aggregate('*', &parts);
        let expected: Vec<_> = parts.iter().map(|part| match next(part, &LIMITS) {
            Ok(Step::Frame { frame: Frame::Reply(reply), .. }) => reply,
            other => panic!("{other:?}"),
        }).collect();
        prop_assert_eq!(values(&raw).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn random_bytes_are_read_or_refused_alike_in_any_pieces(
        stream in prop_oneof![bytes(300), vec(prop::sample::select(b"$>*|%_+-:0123\r\n".to_vec()), 0..300)],
        cuts in cuts(),
    ) {
        both_paths_agree(&stream);
        prop_assert!(values(&stream).count() <= 1024 && fields(&stream).count() <= 512);
        prop_assert_eq!(read(&cut(&stream, &cuts), &LIMITS), read(&[&stream], &LIMITS));
    }

    #[test]
    fn mutated_input_is_read_or_refused_alike_in_any_pieces(
        frames in vec(frame(), 1..4),
        changes in vec((any::<prop::sample::Index>(), 0..4, any::<u8>()), 1..4),
        cuts in cuts(),
    ) {
        let mut stream = frames.concat();
        for (at, how, byte) in changes {
            let at = at.index(stream.len());
            match how {
                0 => stream[at] = byte,
                1 => stream[at] = b"0123456789\r\n$-"[usize::from(byte) % 14],
                2 => stream.insert(at, byte),
                _ => stream.truncate(at + 1),
            }
        }
        both_paths_agree(&stream);
        prop_assert!(values(&stream).count() <= 1024);
        prop_assert_eq!(read(&cut(&stream, &cuts), &LIMITS), read(&[&stream], &LIMITS));
    }

    #[test]
    fn a_command_reads_back_as_its_parts(parts in vec(bytes(200), 0..20)) {
        let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
        let mut out = Vec::new();
        command(&mut out, &parts);
        prop_assert_eq!(out.len(), encoded_len(&parts));
        let expected: Vec<_> = parts.into_iter().map(Reply::Bulk).collect();
        prop_assert_eq!(values(&out).collect::<Vec<_>>(), expected);
        let frame = Frame::Reply(Reply::Other(&out));
        prop_assert_eq!(next(&out, &LIMITS), Ok(Step::Frame { used: out.len(), frame }));
    }
}
