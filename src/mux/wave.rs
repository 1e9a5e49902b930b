//! A wave of reading: from the bytes of one read to records in inboxes.
//!
//! This is the path of every message: parsed into a batch, looked up together with its neighbours, written as one
//! record of 64 bytes; no allocation, no lock. Records are staged per inbox and handed over together; control frames
//! are rare and handled as they come, after what was staged before them, so that every inbox keeps the link's order.

use super::Mux;
use super::batch::{BATCH, Batch, Message, Part, Route, Run, To};
use super::names::{Actual, Entry};
use super::ops::What;
use crate::error::Status;
use crate::inbox::block::Buffer;
use crate::inbox::queue::Wave;
use crate::inbox::{Inbox, Kind as Rec, Record, RecordIn};
use crate::proto::resp::{self, Frame, Kind, Limits, ProtocolError, Reply, Step};
use crate::sync::Arc;
use std::sync::Arc as StdArc;
use std::time::Instant;

/// An inbox and what a wave has for it so far.
#[derive(Debug)]
pub struct Stage {
    pub(super) inbox: Arc<Inbox>,
    pub(super) sources: usize,
    pub(super) records: Vec<Record>,
    /// Where in the buffer the first record's bytes begin, how many bytes follow, and what the records cost.
    pub(super) base: u32,
    pub(super) len: usize,
    pub(super) cost: usize,
    /// How many records it had the last time that it was handed over.
    pub(super) usual: usize,
    /// Whoever waits for the inbox is to be told that something came.
    untold: bool,
    /// The last run of several routes that has one here, by its number.
    seen: u64,
}

impl Stage {
    pub(super) fn new(inbox: Arc<Inbox>) -> Stage {
        Stage { inbox, sources: 0, records: Vec::new(), base: 0, len: 0, cost: 0, usual: 0, untold: false, seen: 0 }
    }
}

/// Where reading stands after a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were used up.
    pub used: usize,
    /// How many bytes the next frame needs at least, from its start.
    pub need: usize,
    /// Bytes to throw away unread: the payload of an oversized message.
    pub skip: u64,
}

/// An answer that is not a message, for the task of the link.
pub trait Answers {
    /// The server answered the oldest thing that was asked. An error ends the link.
    fn answer(&mut self, mux: &mut Mux, reply: Reply<'_>) -> Result<(), (Status, String)>;
    /// The server acknowledged a name.
    fn acknowledged(&mut self, mux: &mut Mux);
}

impl Mux {
    /// Reads every whole frame in `bytes[from..to]` of a buffer, which was read at `(time, now)` by the two clocks.
    pub fn wave(
        &mut self,
        buffer: &StdArc<Buffer>,
        from: usize,
        to: usize,
        limits: &Limits,
        (time, now): (u64, Instant),
        answers: &mut impl Answers,
    ) -> Result<Progress, (Status, String)> {
        let bytes = buffer.bytes().get(..to).unwrap_or_default();
        let mut at = from;
        let mut batch = std::mem::take(&mut self.batch);
        let mut name: (Kind, &[u8]) = (Kind::Channel, &[]);
        let result = loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(Progress { used: at - from, need: 1, skip: 0 });
            }
            match resp::next(rest, limits) {
                Ok(Step::Frame { used, frame }) => {
                    at += used;
                    let (next, pattern, channel, payload) = match frame {
                        Frame::Message { channel, payload } => {
                            ((Kind::Channel, channel), &[] as &[u8], channel, payload)
                        }
                        Frame::PatternMessage { pattern, channel, payload } => {
                            ((Kind::Pattern, pattern), pattern, channel, payload)
                        }
                        Frame::ShardMessage { channel, payload } => {
                            ((Kind::Shard, channel), &[] as &[u8], channel, payload)
                        }
                        Frame::OtherPush => continue,
                        Frame::Change { change, kind, name, .. } => {
                            self.deliver(buffer, bytes, &mut batch, time);
                            self.flush_stages(Some(buffer));
                            if let Some(name) = name {
                                self.registry.acknowledged(change, kind, name);
                                self.apply(now);
                            }
                            answers.acknowledged(self);
                            continue;
                        }
                        Frame::Reply(reply) => {
                            self.deliver(buffer, bytes, &mut batch, time);
                            self.flush_stages(Some(buffer));
                            if let Err(fault) = answers.answer(self, reply) {
                                break Err(fault);
                            }
                            self.apply(now);
                            continue;
                        }
                    };
                    if batch.messages.len() >= BATCH {
                        self.deliver(buffer, bytes, &mut batch, time);
                    }
                    let same = next == name;
                    let part = |part| part_in(bytes, part);
                    if !same || batch.messages.is_empty() {
                        name = next;
                        self.begin_run(&mut batch, name, part(name.1));
                    }
                    batch.messages.push(Message::new(part(pattern), part(channel), part(payload), at as u32));
                    if same && name.0 == Kind::Channel {
                        at = self.repeated(buffer, bytes, &mut batch, (at - used, at), name, limits, time);
                    }
                }
                Ok(Step::More { at_least }) => break Ok(Progress { used: at - from, need: at_least, skip: 0 }),
                Ok(Step::Oversized { used, skip, pattern, channel, len }) => {
                    self.deliver(buffer, bytes, &mut batch, time);
                    self.flush_stages(Some(buffer));
                    self.oversized(pattern, channel, len);
                    break Ok(Progress { used: at + used - from, need: 1, skip });
                }
                Err(ProtocolError { what, at: inner }) => {
                    break Err((Status::Protocol, format!("the server sent {what} (byte {})", at + inner - from)));
                }
            }
        };
        self.deliver(buffer, bytes, &mut batch, time);
        self.batch = batch;
        self.flush_stages(Some(buffer));
        self.close_overflowed();
        result
    }

    /// Reads on behind the frame `(from, at)`, a message of the same channel as the one before it, as long as such messages
    /// come; returns to where.
    #[expect(clippy::too_many_arguments, reason = "what a wave has at hand")]
    #[inline(never)] // the loop of a wave has no register to spare for it
    fn repeated(
        &mut self,
        buffer: &StdArc<Buffer>,
        bytes: &[u8],
        batch: &mut Batch,
        (from, mut at): (usize, usize),
        name: (Kind, &[u8]),
        limits: &Limits,
        time: u64,
    ) -> usize {
        let Some(repeat) = resp::Repeat::of(bytes.get(from..at).unwrap_or_default(), name.1) else { return at };
        while let Some((used, channel, payload)) = repeat.read(bytes.get(at..).unwrap_or_default(), limits) {
            at += used;
            if batch.messages.len() >= BATCH {
                self.deliver(buffer, bytes, batch, time);
            }
            let (channel, payload) = (part_in(bytes, channel), part_in(bytes, payload));
            if batch.messages.is_empty() {
                self.begin_run(batch, name, channel);
            }
            batch.messages.push(Message::new(Part::default(), channel, payload, at as u32));
        }
        at
    }

    /// The next messages of a batch have another name than those before.
    #[inline(always)] // of each message where there are many channels
    fn begin_run(&self, batch: &mut Batch, (kind, name): (Kind, &[u8]), place: Part) {
        let hash = self.registry.names().hash(kind, name);
        let first = batch.messages.len();
        batch.runs.push(Run { kind, name: place, first, hash, guess: None, number: 0, to: To::Nobody });
    }

    /// Stages the messages of a batch, and empties it.
    fn deliver(&mut self, buffer: &StdArc<Buffer>, bytes: &[u8], batch: &mut Batch, time: u64) {
        self.received += batch.messages.len() as u64;
        // A step for all before the next one: each waits for memory, and they wait together.
        for run in &mut batch.runs {
            run.guess = self.registry.names().guess(run.hash);
        }
        for run in &mut batch.runs {
            run.number = self.registry.names().number(run.guess);
        }
        for at in 0..batch.runs.len() {
            let Some(run) = batch.runs.get(at) else { break };
            let entry = self.registry.names().confirm(run.guess, run.hash, run.kind, part_of(bytes, run.name));
            // The usual case apart, and with numbers alone: to hand on a `To` costs as much as all the rest here.
            if let Some((number, slot)) = entry.and_then(|entry| self.only(entry)) {
                batch.settle(at, number, To::One(slot));
                continue;
            }
            let (number, mut to) = self.route(entry, &mut batch.routes);
            if let To::Many { first, count, together } = &mut to {
                *together = self.share_an_inbox(batch.routes.get(*first..*first + *count).unwrap_or_default());
            }
            batch.settle(at, number, to);
        }
        let mut at = 0;
        while let Some((run, end)) = batch.alike(at) {
            let messages = batch.messages_of(at, end);
            at = end;
            match run.to {
                To::One(slot) => match self.target(slot).and_then(Route::of) {
                    Some(route) => self.append(buffer, &route, run.kind, messages, time),
                    None => self.unmatched += messages.len() as u64,
                },
                To::Nobody => self.unmatched += messages.len() as u64,
                To::Many { first, count, together } => {
                    let routes = batch.routes.get(first..first + count).unwrap_or_default();
                    for messages in messages.chunks(if together { 1 } else { BATCH }) {
                        for route in routes {
                            self.append(buffer, route, run.kind, messages, time);
                        }
                    }
                }
                To::Each => {
                    for message in messages {
                        self.each(buffer, bytes, run, message, time);
                    }
                }
            }
        }
        batch.clear();
    }

    /// The number of a name that only one subscription wants, and the slot of that.
    #[inline(always)] // of each message where there are many channels
    fn only(&self, entry: &Entry) -> Option<(u64, u32)> {
        let &[slot] = entry.listeners.as_slice() else { return None };
        let usual = listened(entry) && self.target(slot).is_some_and(|target| Route::of(target).is_some());
        usual.then_some((number_of(entry), slot))
    }

    /// Whom the messages of a name are for.
    #[inline(never)]
    fn route(&self, entry: Option<&Entry>, routes: &mut Vec<Route>) -> (u64, To) {
        let Some(entry) = entry.filter(|entry| listened(entry)) else { return self.route_of_leavers(entry, routes) };
        let first = routes.len();
        let listeners = entry.listeners.as_slice();
        routes.extend(listeners.iter().map_while(|&slot| self.target(slot).and_then(Route::of)));
        let count = routes.len() - first;
        let to = if count == listeners.len() { To::Many { first, count, together: false } } else { To::Each };
        (number_of(entry), to)
    }

    /// Whom the messages of a name are for that the server is asked to let go of: who drains hears them until it has.
    #[cold]
    fn route_of_leavers(&self, entry: Option<&Entry>, routes: &mut Vec<Route>) -> (u64, To) {
        let leaving = |entry: &&Entry| matches!(entry.actual, Actual::Active | Actual::Unsubscribing);
        let Some((entry, leavers)) = entry.filter(leaving).and_then(|entry| Some((entry, entry.leavers.as_ref()?)))
        else {
            return (0, To::Nobody);
        };
        let first = routes.len();
        routes.extend(leavers.as_slice().iter().filter_map(|&id| {
            let op = self.ops.get(id)?;
            let What::Leave { slot, drain: true, .. } = op.what else { return None };
            self.target(slot).filter(|target| target.source == op.source).and_then(Route::of)
        }));
        match routes.len() - first {
            0 => (0, To::Nobody),
            count => (number_of(entry), To::Many { first, count, together: false }),
        }
    }

    /// Whether two of the routes lead into the same inbox.
    fn share_an_inbox(&mut self, routes: &[Route]) -> bool {
        self.runs += 1;
        let run = self.runs;
        let mut seen = |route: &Route| {
            let stage = self.stages.get_mut(route.stage as usize);
            stage.is_some_and(|stage| std::mem::replace(&mut stage.seen, run) == run)
        };
        routes.iter().any(&mut seen)
    }

    /// Stages messages for one subscription.
    #[inline]
    fn append(&mut self, buffer: &StdArc<Buffer>, route: &Route, kind: Kind, messages: &[Message], time: u64) {
        let mut rest = messages;
        while !rest.is_empty() {
            let Some(stage) = self.stages.get_mut(route.stage as usize) else { return };
            let fresh = stage.records.is_empty();
            let taken = stage.fill(route, kind, rest, time);
            if fresh {
                self.touched.push(route.stage);
            }
            rest = rest.get(taken..).unwrap_or_default();
            if !rest.is_empty() {
                self.flush_stage(route.stage, Some(buffer));
            }
        }
    }

    /// One message to everyone who wants it now.
    fn each(&mut self, buffer: &StdArc<Buffer>, bytes: &[u8], run: &Run, message: &Message, time: u64) {
        let name = part_of(bytes, run.name);
        let Some(entry) = self.registry.names().confirm(run.guess, run.hash, run.kind, name) else {
            self.unmatched += 1;
            return;
        };
        for slot in entry.listeners.clone().as_slice() {
            let Some(target) = self.target(*slot) else { continue };
            if let Some(route) = Route::of(target) {
                self.append(buffer, &route, run.kind, std::slice::from_ref(message), time);
            } else {
                // What stands before it in whichever inbox it completes in.
                self.flush_stages(Some(buffer));
                self.fulfil(*slot, part_of(bytes, message.channel), Ok(part_of(bytes, message.payload)));
            }
        }
    }

    /// Hands over what is staged for one inbox.
    #[inline(never)]
    pub(crate) fn flush_stage(&mut self, at: u32, buffer: Option<&StdArc<Buffer>>) {
        let Some(stage) = self.stages.get_mut(at as usize) else { return };
        // Nothing is staged outside a wave, so a flush without a buffer finds nothing.
        let (Some(buffer), false) = (buffer, stage.records.is_empty()) else { return };
        let inbox = Arc::clone(&stage.inbox);
        let (len, cost) = (stage.len, stage.cost);
        stage.usual = stage.records.len();
        if !std::mem::replace(&mut stage.untold, true) {
            self.untold.push(at);
        }
        let pushed = inbox.push_wave(&mut stage.records, stage.base as usize, Wave::Staged { buffer, len, cost });
        self.pushed(&inbox, pushed);
    }

    /// Hands over everything that is staged.
    pub(crate) fn flush_stages(&mut self, buffer: Option<&StdArc<Buffer>>) {
        while let Some(at) = self.touched.pop() {
            self.flush_stage(at, buffer);
        }
    }

    /// Tells everyone for whom waves brought something.
    pub fn announce(&mut self) {
        while let Some(at) = self.untold.pop() {
            let Some(stage) = self.stages.get_mut(at as usize) else { continue };
            // The place of an inbox that was told when its last source ended may be another's by now.
            stage.untold = false;
            stage.inbox.announce();
        }
    }

    /// Whether some inbox with the policy `pause` has no room. Looks at all of them, so only after one said so.
    pub fn must_pause(&mut self) -> bool {
        self.full = false;
        self.stages.iter().any(|stage| stage.sources > 0 && stage.inbox.is_full())
    }

    /// A message over `max_payload`: everyone who wants it is told that it is missing, and what was promised fails.
    fn oversized(&mut self, pattern: Option<&[u8]>, channel: &[u8], len: u64) {
        let (kind, name) = match pattern {
            Some(pattern) => (Kind::Pattern, pattern),
            None => (Kind::Channel, channel),
        };
        self.events.often(super::events::Often::TooLarge, || {
            format!("a message of {len} bytes on {:?} is over max_payload", String::from_utf8_lossy(channel))
        });
        let entry = self.registry.names().find(kind, name).and_then(|id| self.registry.names().get(id));
        let Some(entry) = entry.filter(|entry| listened(entry)) else {
            let mut routes = Vec::new();
            self.route_of_leavers(entry, &mut routes);
            self.unmatched += u64::from(routes.is_empty());
            routes.iter().for_each(|route| self.missing(route));
            return;
        };
        for &slot in entry.listeners.clone().as_slice() {
            match self.target(slot).map(Route::of) {
                Some(Some(route)) => self.missing(&route),
                Some(None) => self.fulfil(slot, channel, Err(len)),
                None => {}
            }
        }
    }

    /// Tells a subscription that a message over `max_payload` is missing.
    fn missing(&mut self, route: &Route) {
        let record = RecordIn {
            number: 1,
            status: Status::TooLarge.code(),
            ..RecordIn::new(Rec::Dropped, route.source, route.token)
        };
        self.too_large += 1;
        self.push(route.stage, &record);
    }
}

/// Whether messages of a name are for its listeners. While it is being unsubscribed messages still come; who wants it again
/// meanwhile is told first that it is active.
#[inline(always)]
fn listened(entry: &Entry) -> bool {
    entry.actual == Actual::Active && entry.leavers.is_none()
}

/// The number that messages of a name carry. Only the name of a channel is worth keeping by it: that of a pattern is not
/// the name of its messages.
#[inline(always)]
fn number_of(entry: &Entry) -> u64 {
    if entry.kind == Kind::Pattern { 0 } else { entry.number }
}

/// Where a part is in a wave's bytes. Of an empty one the place is never used.
#[inline(always)]
fn part_in(bytes: &[u8], part: &[u8]) -> Part {
    Part { off: (part.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize) as u32, len: part.len() as u32 }
}

/// The bytes of a part.
fn part_of(bytes: &[u8], part: Part) -> &[u8] {
    let from = part.off as usize;
    if part.len == 0 { &[] } else { bytes.get(from..from + part.len as usize).unwrap_or_default() }
}
