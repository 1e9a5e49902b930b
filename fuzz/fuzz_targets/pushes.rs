//! Any bytes as what a subscribed server sends, read whole and in two pieces, through the link's buffer and the mux into
//! inboxes: nothing panics, every record points into its block, and both ways deliver the same messages.
//!
//! The first two bytes of an input choose where it is cut, the rest is the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redmux::error::Status;
use redmux::inbox::budget::{Config, Policy};
use redmux::inbox::{Budget, Inbox, Kind as Rec};
use redmux::mux::events::Events;
use redmux::mux::reader::Reader;
use redmux::mux::registry::Verdict;
use redmux::mux::wave::Answers;
use redmux::mux::{Mux, Role};
use redmux::proto::resp::{Kind, Limits, Reply};
use redmux::sync::Arc;
use std::time::{Duration, Instant};

const LIMITS: Limits = Limits { max_payload: 1000, max_name: 100 };

fuzz_target!(|input: &[u8]| {
    let Some((&[high, low], stream)) = input.split_first_chunk() else { return };
    let cut = usize::from(u16::from_be_bytes([high, low])) % (stream.len() + 1);
    let (head, tail) = stream.split_at(cut);
    assert_eq!(run(&[head, tail]), run(&[stream]));
});

/// What is told of a message: its inbox, source, number, name, pattern and payload.
type Message = (usize, u64, u64, Vec<u8>, Vec<u8>, Vec<u8>);

/// What was delivered, and whether the link failed.
fn run(pieces: &[&[u8]]) -> (Vec<Message>, bool) {
    let inbox = |id| {
        let config = Config { bytes: 1 << 24, records: 0, policy: Policy::DropOldest };
        Inbox::by_take(id, config, Arc::new(Budget::new(1 << 24)), Arc::default(), || {})
    };
    let inboxes = [inbox(1), inbox(2)];
    let mut mux = Mux::new(Events::new(None, 0));
    // Two subscriptions share a channel and an inbox; the other inbox has a third, and the pattern.
    let sources: [(u64, usize, Kind, &[&[u8]]); 4] = [
        (10, 0, Kind::Channel, &[b"a", b"b"]),
        (11, 0, Kind::Channel, &[b"a"]),
        (12, 1, Kind::Channel, &[b"b", b"c"]),
        (13, 1, Kind::Pattern, &[b"n*"]),
    ];
    for (source, at, kind, names) in sources {
        let slot = mux.open(source, source, &inboxes[at], kind, Role::Subscription).unwrap();
        names.iter().for_each(|name| mux.registry.add(slot, name, None));
    }
    mux.link_up(Instant::now());
    ask(&mut mux);

    let pool = Arc::default();
    let mut reader = Reader::new(&pool);
    let mut failed = false;
    for piece in pieces {
        failed = failed || feed(&mut mux, &mut reader, piece).is_err();
    }
    mux.link_down(Some((Status::LinkLost, "it ended")), 0, Instant::now());
    let messages = inboxes.iter().enumerate().flat_map(|(at, inbox)| taken(at, inbox)).collect();
    // An inbox and the ready list that it is on hold each other.
    inboxes.iter().for_each(|inbox| inbox.close(None).unwrap());
    (messages, failed)
}

/// As the task of the link does it.
fn feed(mux: &mut Mux, reader: &mut Reader, mut bytes: &[u8]) -> Result<(), (Status, String)> {
    while !bytes.is_empty() {
        assert!(reader.prepare());
        let space = reader.space().unwrap();
        let count = bytes.len().min(space.len());
        space[..count].copy_from_slice(&bytes[..count]);
        bytes = &bytes[count..];
        reader.filled(count);
        while let Some((buffer, from, to)) = reader.unread() {
            let progress = mux.wave(&buffer, from, to, &LIMITS, (7, std::time::Instant::now()), &mut Names)?;
            assert!(progress.used <= to - from && progress.need > 0);
            drop(buffer);
            reader.used(progress.used, progress.need, progress.skip);
            if progress.skip == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// Whatever is wanted is asked for at once.
fn ask(mux: &mut Mux) {
    while mux.registry.send(|_, _, _| {}).is_some() {}
}

/// Only names were asked for.
struct Names;

impl Answers for Names {
    fn answer(&mut self, mux: &mut Mux, reply: Reply<'_>) -> Result<(), (Status, String)> {
        let denied = match reply {
            Reply::Error(line) => line.starts_with(b"NOPERM"),
            _ => return Err((Status::Protocol, "an answer to nothing".into())),
        };
        if mux.registry.failed(denied) == Verdict::Confused {
            return Err((Status::Redis, "refused".into()));
        }
        ask(mux);
        Ok(())
    }

    fn acknowledged(&mut self, mux: &mut Mux) {
        ask(mux);
    }
}

fn taken(at: usize, inbox: &Arc<Inbox>) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Ok(block) = inbox.take(Some(Duration::ZERO)) {
        for record in block.records() {
            let part = |off: u32, len: u32| block.data()[off as usize..][..len as usize].to_vec();
            let [name, extra, data] = [
                part(record.name_off, record.name_len),
                part(record.extra_off, record.extra_len),
                part(record.data_off, record.data_len),
            ];
            if record.kind == Rec::Message as u16 {
                messages.push((at, record.source, record.number, name, extra, data));
            }
        }
    }
    messages
}
