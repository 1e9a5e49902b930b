//! A batch of messages on its way from the wave to the stages: parsed, not yet looked up.
//!
//! Messages that follow each other with the same name are a run. Runs are looked up together, one step for all of
//! them before the next step: what each step waits for in memory is then waited for at once, and with 100,000 channels
//! in use that is most of what a message costs. A run is then appended in one loop to each inbox that wants it.

use super::names::NameId;
use super::wave::Stage;
use super::{Role, Target};
use crate::inbox::block::{BLOCK_BYTES, BLOCK_RECORDS};
use crate::inbox::record::RECORD_SIZE;
use crate::inbox::{Kind as Rec, Record};
use crate::proto::resp::Kind;

/// How many messages are looked up together.
pub(super) const BATCH: usize = 128;

/// A part of a message: where it begins in the wave's bytes, and how long it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Part {
    /// Where.
    pub off: u32,
    /// How long.
    pub len: u32,
}

impl Part {
    fn end(self) -> u32 {
        self.off.wrapping_add(self.len)
    }
}

/// One message.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    /// The channel.
    pub channel: Part,
    /// What was published.
    pub payload: Part,
    /// The pattern; nothing for a message of a channel.
    pub pattern: Part,
    /// Where its first byte lies, and where its last one ends.
    pub from: u32,
    /// The end.
    pub to: u32,
    /// The number of the name that it carries, once that was looked up.
    pub number: u64,
}

/// Messages in a row with the same name.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Channel, pattern or shard.
    pub kind: Kind,
    /// The name: the channel or the pattern.
    pub name: Part,
    /// Where its first message is in the batch.
    pub first: usize,
    /// What the name hashes to.
    pub hash: u32,
    /// Where the name probably is, and the number that it then has.
    pub guess: Option<NameId>,
    /// The number.
    pub number: u64,
    /// Whom it is for.
    pub to: To,
}

/// Whom a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Nobody wants it any more.
    Nobody,
    /// One subscription, by its slot.
    One(u32),
    /// So many subscriptions, whose routes stand in the batch.
    Many {
        /// Where the first one is.
        first: usize,
        /// How many.
        count: usize,
        /// Two of them lead into the same inbox, which gets each message for both before the next message.
        together: bool,
    },
    /// A promise is among them: each message may change whom the next one is for.
    Each,
}

/// Where the messages of a subscription go.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The stage of its inbox.
    pub stage: u32,
    /// The subscription.
    pub source: u64,
    /// The caller's number.
    pub token: u64,
}

impl Route {
    /// The route of a subscription; `None` if it is something else.
    #[inline]
    pub fn of(target: &Target) -> Option<Route> {
        let &Target { stage, source, token, ref role, .. } = target;
        matches!(role, Role::Subscription).then_some(Route { stage, source, token })
    }
}

/// Messages, in runs, and routes of runs that several want.
#[derive(Debug, Default)]
pub struct Batch {
    /// The messages.
    pub messages: Vec<Message>,
    /// The runs that they are in.
    pub runs: Vec<Run>,
    /// The routes of runs that have several.
    pub routes: Vec<Route>,
}

impl Batch {
    /// Forgets everything but its memory.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.runs.clear();
        self.routes.clear();
    }

    /// Where in the messages the run at `at` begins. Behind the last run, where they end.
    fn begin(&self, at: usize) -> usize {
        self.runs.get(at).map_or(self.messages.len(), |run| run.first)
    }

    /// The messages of the runs from `at` to `end`.
    pub fn messages_of(&self, at: usize, end: usize) -> &[Message] {
        self.messages.get(self.begin(at)..self.begin(end)).unwrap_or_default()
    }

    /// Tells the messages of the run at `at` their number and the run whom it is for.
    #[inline]
    pub fn settle(&mut self, at: usize, number: u64, to: To) {
        let messages = self.begin(at)..self.begin(at + 1);
        self.messages.get_mut(messages).unwrap_or_default().iter_mut().for_each(|message| message.number = number);
        if let Some(run) = self.runs.get_mut(at) {
            run.to = to;
        }
    }

    /// The run at `at`, and where the runs end that go with it: neighbours for the same subscription alone are appended
    /// in one loop, which is most of them where there are many channels.
    pub fn alike(&self, at: usize) -> Option<(&Run, usize)> {
        let run = self.runs.get(at)?;
        let same = |other: &&Run| matches!(run.to, To::One(_)) && other.to == run.to && other.kind == run.kind;
        let more = self.runs.get(at + 1..).unwrap_or_default().iter().take_while(same).count();
        Some((run, at + 1 + more))
    }
}

impl Message {
    /// A message whose frame ends at `end`. In a frame the pattern comes first, then the channel, then the payload.
    #[inline(always)]
    pub fn new(pattern: Part, channel: Part, payload: Part, end: u32) -> Message {
        let or = |part: Part, other: u32, place: u32| if part.len == 0 { other } else { place };
        // One without any bytes lies where it ends.
        let from = or(pattern, or(channel, or(payload, end, payload.off), channel.off), pattern.off);
        let to = or(payload, or(channel, or(pattern, end, pattern.end()), channel.end()), payload.end());
        Message { channel, payload, pattern, from, to, number: 0 }
    }
}

impl Stage {
    /// Appends messages for one subscription as far as they fit the block that is being made. Returns how many did.
    #[inline]
    pub fn fill(&mut self, route: &Route, kind: Kind, messages: &[Message], time: u64) -> usize {
        let Some(first) = messages.first() else { return 0 };
        let fresh = self.records.is_empty();
        if fresh {
            (self.base, self.cost) = (first.from, 0);
            // As many as the last time; growing step by step copies them all at each step.
            self.records.reserve(self.usual.min(BLOCK_RECORDS));
        }
        let base = self.base;
        let room = BLOCK_RECORDS.saturating_sub(self.records.len());
        let fits = |message: &Message| (message.to - base) as usize <= BLOCK_BYTES;
        let mut fitting = messages.get(..room).unwrap_or(messages);
        if !fitting.last().is_some_and(fits) {
            // They lie one behind the other. A first one has a block to itself, however long it is.
            let count = fitting.partition_point(fits).max(usize::from(fresh));
            fitting = fitting.get(..count).unwrap_or_default();
        }
        let Some(last) = fitting.last() else { return 0 };
        self.len = (last.to - base) as usize;
        let mut cost = 0;
        let flags = u16::from(kind == Kind::Pattern);
        // An empty part is at 0.
        let place = |part: Part| if part.len == 0 { 0 } else { part.off.wrapping_sub(base) };
        self.records.extend(fitting.iter().map(|&Message { channel, payload, pattern, number, .. }| {
            cost += RECORD_SIZE + (channel.len + payload.len + pattern.len) as usize;
            Record {
                kind: Rec::Message as u16,
                flags,
                status: 0,
                source: route.source,
                token: route.token,
                number,
                aux: time,
                name_off: place(channel),
                name_len: channel.len,
                extra_off: place(pattern),
                extra_len: pattern.len,
                data_off: place(payload),
                data_len: payload.len,
            }
        }));
        self.cost += cost;
        fitting.len()
    }
}
