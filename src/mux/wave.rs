//! A wave of reading: from the bytes of one read to records in inboxes.
//!
//! This is the path of every message: one lookup, one record of 64 bytes written, no allocation, no lock. Records
//! are staged per inbox and handed over together; control frames are rare and handled as they come, after what was
//! staged before them, so that every inbox keeps the link's order.

use super::{Mux, Role, Target};
use crate::error::Status;
use crate::inbox::block::{BLOCK_BYTES, BLOCK_RECORDS, Buffer};
use crate::inbox::queue::Wave;
use crate::inbox::record::RECORD_SIZE;
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
    records: Vec<Record>,
    /// Where in the buffer the first record's bytes begin, how many bytes follow, and what the records cost.
    base: usize,
    len: usize,
    cost: usize,
}

impl Stage {
    pub(super) fn new(inbox: Arc<Inbox>) -> Stage {
        Stage { inbox, sources: 0, records: Vec::new(), base: 0, len: 0, cost: 0 }
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

/// Whom the messages of one channel are for, while nothing changes that.
struct Again<'a> {
    channel: &'a [u8],
    number: u64,
    stage: u32,
    source: u64,
    token: u64,
}

/// An answer that is not a message, for the task of the link.
pub trait Answers {
    /// The server answered the oldest thing that was asked. An error ends the link.
    fn answer(&mut self, mux: &mut Mux, reply: Reply<'_>) -> Result<(), (Status, String)>;
    /// The server acknowledged a name.
    fn acknowledged(&mut self, mux: &mut Mux);
}

impl Mux {
    /// Reads every whole frame in `bytes[from..to]` of a buffer.
    pub fn wave(
        &mut self,
        buffer: &StdArc<Buffer>,
        from: usize,
        to: usize,
        limits: &Limits,
        time: u64,
        answers: &mut impl Answers,
    ) -> Result<Progress, (Status, String)> {
        let bytes = buffer.bytes().get(..to).unwrap_or_default();
        let mut at = from;
        let mut again: Option<Again<'_>> = None;
        let mut last: &[u8] = &[];
        let result = loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(Progress { used: at - from, need: 1, skip: 0 });
            }
            match resp::next(rest, limits) {
                Ok(Step::Frame { used, frame }) => {
                    match frame {
                        Frame::Message { channel, payload } => {
                            let staged = again.as_ref().is_some_and(|again| {
                                channel == again.channel && self.stage_again(again, bytes, channel, payload, time)
                            });
                            if !staged {
                                self.message(buffer, bytes, Kind::Channel, channel, channel, payload, time);
                                // Worth a second look only where a channel comes twice in a row.
                                again = if channel == last { self.again(channel) } else { None };
                                last = channel;
                            }
                        }
                        Frame::PatternMessage { pattern, channel, payload } => {
                            // It may keep a promise, which may close whom the message before was for.
                            again = None;
                            self.message(buffer, bytes, Kind::Pattern, pattern, channel, payload, time);
                        }
                        Frame::ShardMessage { channel, payload } => {
                            self.message(buffer, bytes, Kind::Shard, channel, channel, payload, time);
                        }
                        Frame::Change { change, kind, name, .. } => {
                            again = None;
                            self.flush_stages(Some(buffer));
                            if let Some(name) = name {
                                self.registry.acknowledged(change, kind, name);
                                self.apply(Instant::now());
                            }
                            answers.acknowledged(self);
                        }
                        Frame::Reply(reply) => {
                            again = None;
                            self.flush_stages(Some(buffer));
                            if let Err(fault) = answers.answer(self, reply) {
                                break Err(fault);
                            }
                            self.apply(Instant::now());
                        }
                        Frame::OtherPush => {}
                    }
                    at += used;
                }
                Ok(Step::More { at_least }) => break Ok(Progress { used: at - from, need: at_least, skip: 0 }),
                Ok(Step::Oversized { used, skip, pattern, channel, len }) => {
                    self.flush_stages(Some(buffer));
                    self.oversized(pattern, channel, len);
                    break Ok(Progress { used: at + used - from, need: 1, skip });
                }
                Err(ProtocolError { what, at: inner }) => {
                    break Err((Status::Protocol, format!("the server sent {what} (byte {})", at + inner - from)));
                }
            }
        };
        self.flush_stages(Some(buffer));
        self.close_overflowed();
        result
    }

    /// Where the next message of a channel goes, if the channel has exactly one subscription and nothing in between can
    /// change that. Most messages have the channel of the message before.
    fn again<'a>(&mut self, channel: &'a [u8]) -> Option<Again<'a>> {
        let entry = self.registry.names_mut().find_again(Kind::Channel, channel)?;
        let &[slot] = entry.listeners.as_slice() else { return None };
        let number = entry.number;
        match self.target(slot)? {
            &Target { role: Role::Subscription, stage, source, token, .. } => {
                (!channel.is_empty()).then_some(Again { channel, number, stage, source, token })
            }
            _ => None,
        }
    }

    /// Stages a message for whom the one before was. `false` if that takes more than appending it.
    #[inline(always)]
    fn stage_again(&mut self, again: &Again<'_>, bytes: &[u8], channel: &[u8], payload: &[u8], time: u64) -> bool {
        let Some(stage) = self.stages.get_mut(again.stage as usize) else { return false };
        let start = bytes.as_ptr() as usize;
        // Within a wave messages come in the order of the buffer, so this one ends last.
        let (name, data) = (channel.as_ptr() as usize - start, payload.as_ptr() as usize - start);
        let end = data + payload.len();
        let room = stage.records.len() < BLOCK_RECORDS && end - stage.base.min(end) <= BLOCK_BYTES;
        if stage.len == 0 || stage.records.is_empty() || payload.is_empty() || !room {
            return false;
        }
        self.received += 1;
        stage.len = end - stage.base;
        stage.cost += RECORD_SIZE + channel.len() + payload.len();
        stage.records.push(Record {
            kind: Rec::Message as u16,
            flags: 0,
            status: 0,
            source: again.source,
            token: again.token,
            number: again.number,
            aux: time,
            name_off: (name - stage.base) as u32,
            name_len: channel.len() as u32,
            extra_off: 0,
            extra_len: 0,
            data_off: (data - stage.base) as u32,
            data_len: payload.len() as u32,
        });
        true
    }

    /// One message to everyone who wants its name.
    #[inline(never)] // the loop around it is small only without it
    #[expect(clippy::too_many_arguments, reason = "the inner loop: packing them into a struct costs a copy")]
    fn message(
        &mut self,
        buffer: &StdArc<Buffer>,
        bytes: &[u8],
        kind: Kind,
        name: &[u8],
        channel: &[u8],
        payload: &[u8],
        time: u64,
    ) {
        self.received += 1;
        let Some(entry) = self.registry.names_mut().find_again(kind, name) else {
            self.unmatched += 1;
            return;
        };
        let start = bytes.as_ptr() as usize;
        // An empty part may point anywhere; its place is never used.
        let place = |part: &[u8]| if part.is_empty() { 0 } else { part.as_ptr() as usize - start };
        let of_pattern = kind == Kind::Pattern;
        let extra: &[u8] = if of_pattern { name } else { &[] };
        let record = Record {
            kind: Rec::Message as u16,
            flags: u16::from(of_pattern),
            number: if of_pattern { 0 } else { entry.number },
            aux: time,
            name_off: place(channel) as u32,
            name_len: channel.len() as u32,
            extra_off: place(extra) as u32,
            extra_len: extra.len() as u32,
            data_off: place(payload) as u32,
            data_len: payload.len() as u32,
            ..Record::default()
        };
        if let [slot] = *entry.listeners
            && let Some(target) = self.targets.get(slot as usize).and_then(Option::as_ref)
            && let Target { role: Role::Subscription, stage, source, token, .. } = *target
        {
            self.stage(buffer, stage, Record { source, token, ..record });
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.extend_from_slice(&entry.listeners);
        for slot in scratch.drain(..) {
            let Some(target) = self.target(slot) else { continue };
            match target.role {
                Role::Subscription => {
                    let (stage, source, token) = (target.stage, target.source, target.token);
                    self.stage(buffer, stage, Record { source, token, ..record });
                }
                _ => self.fulfil_in(buffer, slot, channel, payload),
            }
        }
        self.scratch = scratch;
    }

    /// Puts a record, whose offsets count from the start of the buffer, on its inbox' stage.
    #[inline]
    fn stage(&mut self, buffer: &Arc<Buffer>, at: u32, mut record: Record) {
        // In a frame the pattern comes first, then the channel, then the payload.
        let parts = (record.extra_len != 0, record.name_len != 0, record.data_len != 0);
        let (first, end) = match parts {
            (false, true, true) => (record.name_off, record.data_off + record.data_len),
            (false, false, false) => (0, 0),
            _ => record.span().unwrap_or_default(),
        };
        let (first, end) = (first as usize, end as usize);
        let Some(stage) = self.stages.get_mut(at as usize) else { return };
        let wide = stage.len > 0 && end.saturating_sub(stage.base) > BLOCK_BYTES;
        if stage.records.len() >= BLOCK_RECORDS || wide {
            self.flush_stage(at, Some(buffer));
        }
        let Some(stage) = self.stages.get_mut(at as usize) else { return };
        if stage.records.is_empty() {
            (stage.len, stage.cost) = (0, 0);
            self.touched.push(at);
        }
        if stage.len == 0 {
            // Records without bytes point nowhere, so the first one with some says where they begin.
            stage.base = first;
        }
        record.rebase(stage.base as u32);
        stage.len = stage.len.max(end.saturating_sub(stage.base)); // a record without bytes ends at 0
        stage.cost += record.cost();
        stage.records.push(record);
    }

    fn fulfil_in(&mut self, buffer: &StdArc<Buffer>, slot: u32, channel: &[u8], payload: &[u8]) {
        if let Some(stage) = self.target(slot).map(|target| target.stage) {
            self.flush_stage(stage, Some(buffer));
        }
        self.fulfil(slot, channel, Ok(payload));
    }

    /// Hands over what is staged for one inbox.
    pub(crate) fn flush_stage(&mut self, at: u32, buffer: Option<&StdArc<Buffer>>) {
        let Some(stage) = self.stages.get_mut(at as usize) else { return };
        // Nothing is staged outside a wave, so a flush without a buffer finds nothing.
        let (Some(buffer), false) = (buffer, stage.records.is_empty()) else { return };
        let inbox = Arc::clone(&stage.inbox);
        let (len, cost) = (stage.len, stage.cost);
        let pushed = inbox.push_wave(&mut stage.records, stage.base, Wave::Staged { buffer, len, cost });
        self.pushed(&inbox, pushed);
    }

    /// Hands over everything that is staged.
    pub(crate) fn flush_stages(&mut self, buffer: Option<&StdArc<Buffer>>) {
        while let Some(at) = self.touched.pop() {
            self.flush_stage(at, buffer);
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
        let text = format!("a message of {len} bytes on {:?} is over max_payload", String::from_utf8_lossy(channel));
        self.events.log(super::events::Level::Warn, &text);
        let Some(id) = self.registry.names().find(kind, name) else { return };
        let Some(entry) = self.registry.names().get(id) else { return };
        for slot in entry.listeners.clone() {
            let Some(target) = self.target(slot) else { continue };
            if !matches!(target.role, Role::Subscription) {
                self.fulfil(slot, channel, Err(len));
                continue;
            }
            let record = RecordIn {
                number: 1,
                status: Status::TooLarge.code(),
                ..RecordIn::new(Rec::Dropped, target.source, target.token)
            };
            let stage = target.stage;
            self.dropped += 1;
            self.push(stage, &record);
        }
    }
}
