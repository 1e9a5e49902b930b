//! Who wants which names, what came for them, and what everyone waits for: the heart of a client.
//!
//! Floor 2. [`Mux`] is plain state behind one lock. Callers that subscribe change it on their own threads; the task
//! of the subscriber link enters it once per wave of reading. It pushes into inboxes while it is locked, so that a
//! `closed` is the last record of its source and an `active` comes before the first message. It never waits.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod actor;
pub mod batch;
mod effects;
pub mod events;
pub mod few;
pub mod hub;
pub mod names;
pub mod ops;
pub mod outgoing;
pub mod promise;
pub mod publish;
pub mod publisher;
pub mod reader;
pub mod registry;
pub mod subscription;
pub mod wave;

use crate::error::Status;
use crate::inbox::{Inbox, Kind as Record, Pushed, RecordIn};
use crate::proto::resp::Kind;
use crate::sync::Arc;
use actor::LINK_LOST;
use batch::Batch;
use events::Events;
use hub::{Credentials, Trial};
use ops::{Ops, Outcome, What};
use promise::Promises;
use registry::{Effect, Registry};
use std::collections::HashMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use wave::Stage;

/// What a source is.
#[derive(Debug)]
pub enum Role {
    /// Channels or a pattern.
    Subscription,
    /// A prefix under which promises are made.
    Promises(Promises),
    /// One promise on one channel; the operation that it is.
    Promise(u64),
}

/// Something that wants names: the source of records.
#[derive(Debug)]
pub struct Target {
    /// Its id, which records carry.
    pub source: u64,
    /// The caller's number.
    pub token: u64,
    /// Which inbox it delivers to.
    pub stage: u32,
    /// What it is.
    pub role: Role,
    /// Since when it is not whole, after a lost link.
    pub gap: Option<Instant>,
    /// Operations that wait until it is whole.
    pub waiters: Vec<u64>,
}

/// The state of a client's subscriber side.
#[derive(Debug)]
pub struct Mux {
    /// Wanted and actual names.
    pub registry: Registry,
    /// Operations under way.
    pub ops: Ops,
    /// Where states and logs go.
    pub events: Events,
    /// As whom the live link is to be authenticated again, and for which operation.
    pub auths: Vec<(u64, Credentials)>,
    /// What links were asked to take, by operation: it is settled when they have answered, also if nobody waits any more.
    pub trials: HashMap<u64, Trial>,
    /// Barriers whose PING is to be sent.
    pub pings: Vec<u64>,
    targets: Vec<Option<Target>>,
    free: Vec<u32>,
    slots: HashMap<u64, u32>,
    stages: Vec<Stage>,
    /// Places of inboxes whose last source is gone.
    free_stages: Vec<u32>,
    stage_of: HashMap<u64, u32>,
    touched: Vec<u32>,
    /// Stages whose inboxes got messages of which nobody was told yet.
    untold: Vec<u32>,
    /// Numbers runs of messages for several subscriptions.
    runs: u64,
    /// The messages of a wave that are being sorted, and effects that are being applied: kept for their memory.
    batch: Batch,
    effects: Vec<Effect>,
    /// Inboxes whose sources are to be closed.
    overflowed: Vec<u64>,
    /// When the timers' task will look again.
    armed: Option<Instant>,
    /// An inbox with the policy `pause` said that it has no room.
    pub full: bool,
    online: bool,
    /// The application stopped the client, and the link has not noticed yet.
    leaving: bool,
    generation: u64,
    /// Whom the link is authenticated as.
    user: String,
    closed: bool,
    /// Messages that came in.
    pub received: u64,
    /// Messages for which nobody waited any more.
    pub unmatched: u64,
    /// Messages over `max_payload`, once for each who would have got it.
    pub too_large: u64,
}

/// The time as records carry it.
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

impl Mux {
    /// An empty one.
    pub fn new(events: Events) -> Mux {
        Mux {
            registry: Registry::default(),
            ops: Ops::default(),
            events,
            auths: Vec::new(),
            trials: HashMap::new(),
            pings: Vec::new(),
            targets: Vec::new(),
            free: Vec::new(),
            slots: HashMap::new(),
            stages: Vec::new(),
            free_stages: Vec::new(),
            stage_of: HashMap::new(),
            touched: Vec::new(),
            untold: Vec::new(),
            runs: 0,
            batch: Batch::default(),
            effects: Vec::new(),
            overflowed: Vec::new(),
            armed: None,
            full: false,
            online: false,
            leaving: false,
            generation: 0,
            user: String::new(),
            closed: false,
            received: 0,
            unmatched: 0,
            too_large: 0,
        }
    }

    /// The link that is up, if one is, will go: nobody who asks from now on is told that it is there.
    pub fn leave(&mut self) {
        self.leaving = self.online;
    }

    /// Whether the subscriber link is up.
    pub fn online(&self) -> bool {
        self.online && !self.leaving
    }

    /// Whether the client was closed: nothing may begin any more, for nothing would end it.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// How often the link came up.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many sources there are.
    pub fn sources(&self) -> usize {
        self.slots.len()
    }

    /// The slot of a source; `CLOSED` if it is no more.
    pub fn slot(&self, source: u64) -> Result<u32, Status> {
        self.slots.get(&source).copied().ok_or(Status::Closed)
    }

    /// The target in a slot.
    pub fn target(&self, slot: u32) -> Option<&Target> {
        self.targets.get(slot as usize)?.as_ref()
    }

    pub(crate) fn target_mut(&mut self, slot: u32) -> Option<&mut Target> {
        self.targets.get_mut(slot as usize)?.as_mut()
    }

    /// The inbox that a source delivers to.
    pub fn inbox_of(&self, slot: u32) -> Option<Arc<Inbox>> {
        let stage = self.target(slot)?.stage;
        self.stages.get(stage as usize).map(|stage| Arc::clone(&stage.inbox))
    }

    /// A new source that delivers into an inbox.
    pub fn open(&mut self, source: u64, token: u64, inbox: &Arc<Inbox>, kind: Kind, role: Role) -> Result<u32, Status> {
        // Whoever closes an inbox looks for its sources again when it is closed.
        if self.closed || inbox.is_closed() {
            return Err(Status::Closed);
        }
        let stage = match self.stage_of.get(&inbox.id()) {
            Some(&stage) => stage,
            None => {
                // The place of an inbox whose last source is gone is used again.
                let stage = self.free_stages.pop().map_or(self.stages.len(), |free| free as usize);
                if let Some(old) = self.stages.get_mut(stage) {
                    *old = Stage::new(Arc::clone(inbox));
                } else {
                    self.stages.push(Stage::new(Arc::clone(inbox)));
                }
                self.stage_of.insert(inbox.id(), stage as u32);
                stage as u32
            }
        };
        if let Some(stage) = self.stages.get_mut(stage as usize) {
            stage.sources += 1;
        }
        let target = Some(Target { source, token, stage, role, gap: None, waiters: Vec::new() });
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.targets.push(None);
                (self.targets.len() - 1) as u32
            }
        };
        if let Some(place) = self.targets.get_mut(slot as usize) {
            *place = target;
        }
        self.slots.insert(source, slot);
        self.registry.open(slot, kind);
        Ok(slot)
    }

    /// Ends a source: its names go, what waits on it ends, and `closed` is its last record.
    pub fn close_source(&mut self, slot: u32, status: Status) {
        self.end_promises(slot, if status == Status::Ok { Status::Closed } else { status });
        let adds = self.registry.pending(slot);
        let waiters = self.target_mut(slot).map(|target| std::mem::take(&mut target.waiters)).unwrap_or_default();
        for id in adds.into_iter().chain(waiters) {
            self.ops.end(id, Outcome::of(Status::Closed));
        }
        self.registry.close(slot);
        self.apply(Instant::now());
        let Some(target) = self.targets.get_mut(slot as usize).and_then(Option::take) else { return };
        self.slots.remove(&target.source);
        self.free.push(slot);
        self.flush_stage(target.stage, None);
        let record = RecordIn { status: status.code(), ..RecordIn::new(Record::Closed, target.source, target.token) };
        self.push(target.stage, &record);
        if let Some(stage) = self.stages.get_mut(target.stage as usize) {
            stage.sources -= 1;
            if stage.sources == 0 {
                self.stage_of.remove(&stage.inbox.id());
                self.free_stages.push(target.stage);
            }
        }
    }

    /// Ends everything that delivers into an inbox, or completes there as a cancel would end it. Its completions are
    /// discarded with it.
    pub fn close_inbox(&mut self, inbox: u64) {
        let slots: Vec<u32> = self.slots_of(inbox);
        for slot in slots {
            self.close_source(slot, Status::Ok);
        }
        for id in self.ops.select(|op| op.inbox.id() == inbox) {
            self.end_early(id, Status::Closed);
        }
    }

    fn slots_of(&self, inbox: u64) -> Vec<u32> {
        let Some(&stage) = self.stage_of.get(&inbox) else { return Vec::new() };
        self.slots
            .values()
            .copied()
            .filter(|&slot| self.target(slot).is_some_and(|target| target.stage == stage))
            .collect()
    }

    /// Ends every source and every operation: the client closes.
    pub fn close_all(&mut self, status: Status) {
        self.closed = true;
        let mut slots: Vec<u32> = self.slots.values().copied().collect();
        slots.sort_unstable_by_key(|&slot| self.target(slot).map(|target| target.source));
        for slot in slots {
            self.close_source(slot, status);
        }
        for id in self.ops.select(|_| true) {
            self.ops.end(id, Outcome::of(Status::Closed));
        }
        self.stages.clear();
        self.stage_of.clear();
    }

    /// Delivers one record into the inbox of a stage, and sees to what that brought about.
    pub(crate) fn push(&mut self, stage: u32, record: &RecordIn<'_>) {
        let Some(inbox) = self.stages.get(stage as usize).map(|stage| Arc::clone(&stage.inbox)) else { return };
        let pushed = inbox.push(record);
        self.pushed(&inbox, pushed);
    }

    pub(crate) fn pushed(&mut self, inbox: &Arc<Inbox>, pushed: Pushed) {
        self.full |= pushed.full;
        if pushed.slow {
            self.events.slow_consumer(inbox.id());
        }
        if pushed.overflow {
            self.overflowed.push(inbox.id());
        }
    }

    /// Closes the sources of inboxes that overflowed under the policy `close`. Called at the end of a wave.
    pub(crate) fn close_overflowed(&mut self) {
        for inbox in std::mem::take(&mut self.overflowed) {
            for slot in self.slots_of(inbox) {
                self.close_source(slot, Status::Overflow);
            }
        }
    }

    /// The link is up.
    pub fn link_up(&mut self, now: Instant) {
        self.online = true;
        self.leaving = false;
        self.generation += 1;
        self.registry.link_up();
        self.apply(now);
        for id in self.ops.select(|op| matches!(op.what, What::Ready)) {
            self.ops.end(id, Outcome { number: self.generation, ..Outcome::default() });
        }
    }

    /// The link is gone. With a `cause` every source is told; without, the client was stopped by its owner.
    pub fn link_down(&mut self, cause: Option<(Status, &str)>, last_byte: u64, now: Instant) {
        if !self.online {
            return;
        }
        self.online = false;
        self.leaving = false;
        self.flush_stages(None);
        let mut slots: Vec<u32> = self.slots.values().copied().collect();
        slots.sort_unstable_by_key(|&slot| self.target(slot).map(|target| target.source));
        // A source that has been told of this outage and got nothing since is not told again.
        for &slot in &slots {
            let waiting = !self.registry.is_whole(slot) && self.registry.active_count(slot) == 0;
            let Some(target) = self.target_mut(slot) else { continue };
            let told = target.gap.is_some() && waiting;
            target.gap.get_or_insert(now);
            let stage = target.stage;
            if let (Some((status, text)), false) = (cause, told) {
                let record = RecordIn {
                    status: status.code(),
                    number: 1,
                    aux: last_byte,
                    extra: text.as_bytes(),
                    ..RecordIn::new(Record::Lost, target.source, target.token)
                };
                self.push(stage, &record);
            }
            self.interrupt_promises(slot);
        }
        for id in self.ops.select(|op| matches!(op.what, What::Add { active: 1.., .. })) {
            if let Some(What::Add { lost, .. }) = self.ops.get_mut(id).map(|op| &mut op.what) {
                *lost = true;
            }
        }
        self.registry.link_down();
        self.apply(now);
        for (id, _) in std::mem::take(&mut self.auths) {
            actor::authenticated(self, id, Err(LINK_LOST));
        }
        for id in std::mem::take(&mut self.pings) {
            self.pinged(id, Outcome::of(Status::Interrupted));
        }
    }

    /// Ends every operation whose time is over; returns when to look again.
    pub fn expire(&mut self, now: Instant) -> Option<Instant> {
        while let Some(id) = self.ops.expired(now) {
            self.end_early(id, Status::Timeout);
        }
        self.armed = self.ops.next_deadline();
        self.armed
    }

    /// Whether a deadline was set that is earlier than the timers' task knows.
    pub fn needs_timer(&mut self) -> bool {
        let next = self.ops.next_deadline();
        let earlier = next.is_some_and(|next| self.armed.is_none_or(|armed| next < armed));
        if earlier {
            self.armed = next;
        }
        earlier
    }

    /// Ends the operations of an inbox with a token. Returns how many there were.
    pub fn cancel(&mut self, inbox: u64, token: u64) -> usize {
        let ids = self.ops.with_token(inbox, token);
        for &id in &ids {
            self.end_early(id, Status::Cancelled);
        }
        ids.len()
    }

    /// Ends an operation before what it waits for came.
    pub(crate) fn end_early(&mut self, id: u64, status: Status) {
        let Some(op) = self.ops.take(id) else { return };
        let text = match &op.what {
            What::Add { remaining, .. } if status == Status::Timeout => {
                let names = match *remaining {
                    0 => "the names were active, are not all active again in time and stay".to_owned(),
                    1 => "1 name is not active in time and stays".to_owned(),
                    more => format!("{more} names are not active in time and stay"),
                };
                let why = if self.online { String::new() } else { format!(": {}", self.events.last_failure()) };
                format!("{names} wanted{why}")
            }
            What::Ready if status == Status::Timeout => self.events.last_failure(),
            What::Active { .. } if status == Status::Timeout && !self.online => self.events.last_failure(),
            What::Leave { .. } if status == Status::Timeout => "the server has not confirmed yet".to_owned(),
            _ => String::new(),
        };
        let close = match &op.what {
            What::Promise { slot, name, alone } => {
                self.forget_promise(*slot, name, id);
                alone.then_some(*slot)
            }
            What::Add { slot, .. } | What::Active { slot, .. } => {
                if let Some(target) = self.target_mut(*slot) {
                    target.waiters.retain(|&waiter| waiter != id);
                }
                None
            }
            What::Maker { slot, .. } => {
                self.forget_maker(*slot, id);
                None
            }
            What::Leave { slot, drain: true, .. } => Some(*slot),
            _ => None,
        };
        let source = op.source;
        op.complete(Outcome { status: Some(status), text: &text, ..Outcome::default() });
        if let Some(slot) = close {
            self.close_same(slot, source);
        }
    }
}
