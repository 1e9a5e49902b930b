//! The inbox: a bounded queue of records with one taker or one callback.
//!
//! Producers are the tasks of the client and callers that subscribe; the reader of the socket takes the lock once per
//! touched inbox and wave, never per message. It never waits for a consumer: what has no room is dropped by the
//! inbox' policy and counted. Lock order: mux, then inbox, then ready list or dispatcher; never backwards.

use super::block::{Block, Lent};
use super::budget::{Budget, Config, Policy};
use super::dispatch::{Dispatcher, Sink, inside_callback};
use super::queue::{Queue, Wave};
use super::ready::Ready;
use super::record::{Kind, Record, RecordIn};
use crate::bell::Bell;
use crate::error::Status;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, lock};
use std::fmt;
use std::time::{Duration, Instant};

/// What became of a push.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// Messages that had no room.
    pub dropped: u64,
    /// The first of an episode: since the inbox was last empty nothing had been dropped.
    pub slow: bool,
    /// The policy is `close` and it just became due: the inbox' sources must be closed.
    pub overflow: bool,
    /// The policy is `pause` and there is no room for more.
    pub full: bool,
}

/// Counters of an inbox, for `stats`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Records delivered to it.
    pub received: u64,
    /// Records taken from it.
    pub taken: u64,
    /// Messages dropped.
    pub dropped: u64,
    /// Records that wait.
    pub waiting: u64,
    /// Bytes that wait, are lent or reserved.
    pub bytes: u64,
    /// The most bytes there ever were.
    pub peak: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Yields what it holds, then it is closed: its client was closed.
    Ending,
    Closed,
}

pub(super) struct State {
    pub(super) queue: Queue,
    pub(super) lent: usize,
    pub(super) lent_messages: u64,
    pub(super) reserved: usize,
    pub(super) phase: Phase,
    pub(super) overflowed: bool,
    pub(super) slow: bool,
    /// It is to be told with the next push whose result is looked at.
    owed: bool,
    pub(super) taking: bool,
    pub(super) waiting: bool,
    pub(super) scheduled: bool,
    pub(super) running: bool,
    pub(super) sink: Option<Box<dyn Sink>>,
    pub(super) counters: Counters,
}

impl State {
    pub(super) fn bytes(&self) -> usize {
        self.queue.cost() + self.lent + self.reserved
    }

    /// Tells of an episode that began, perhaps with a push that nobody looked at.
    fn own_up(&mut self, pushed: &mut Pushed) {
        pushed.slow = std::mem::take(&mut self.owed);
        self.slow |= pushed.slow;
    }
}

/// Called when there is something to take; it may only wake.
pub type Wake = Box<dyn Fn() + Send + Sync>;

pub(super) enum Delivery {
    Take(Arc<Ready>),
    Callback(Arc<Dispatcher>),
    /// Taken by a task of the library itself, which is woken and never waits in a take.
    Task(Wake),
}

/// A bounded queue of records.
pub struct Inbox {
    pub(super) id: u64,
    pub(super) config: Config,
    pub(super) budget: Arc<Budget>,
    pub(super) delivery: Delivery,
    pub(super) listed: AtomicBool,
    /// As `Phase::Closed` by `close`, for the ready list, which may not take the lock.
    pub(super) closed: AtomicBool,
    pub(super) state: Mutex<State>,
    /// Takers wait here.
    pub(super) filled: Bell,
    /// Closers wait here for a running callback.
    pub(super) quiet: Condvar,
    /// Called when there may be room again, on any thread and under any of the caller's locks: it may only wake, and
    /// must not hold what holds this inbox.
    pub(super) on_room: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("id", &self.id).field("config", &self.config).finish_non_exhaustive()
    }
}

impl Inbox {
    /// An inbox that is drained by taking blocks.
    pub fn by_take(
        id: u64,
        config: Config,
        budget: Arc<Budget>,
        ready: Arc<Ready>,
        on_room: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Inbox> {
        Arc::new(Inbox::new(id, config, budget, Delivery::Take(ready), None, Box::new(on_room)))
    }

    /// An inbox that hands its blocks to a callback.
    pub fn by_callback(
        id: u64,
        config: Config,
        budget: Arc<Budget>,
        dispatcher: Arc<Dispatcher>,
        sink: Box<dyn Sink>,
        on_room: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Inbox> {
        Arc::new(Inbox::new(id, config, budget, Delivery::Callback(dispatcher), Some(sink), Box::new(on_room)))
    }

    /// An inbox of the library's own, drained by a task that `wake` wakes.
    pub fn by_task(id: u64, config: Config, budget: Arc<Budget>, wake: Wake) -> Arc<Inbox> {
        Arc::new(Inbox::new(id, config, budget, Delivery::Task(wake), None, Box::new(|| {})))
    }

    fn new(
        id: u64,
        config: Config,
        budget: Arc<Budget>,
        delivery: Delivery,
        sink: Option<Box<dyn Sink>>,
        on_room: Box<dyn Fn() + Send + Sync>,
    ) -> Inbox {
        let state = State {
            queue: Queue::default(),
            lent: 0,
            lent_messages: 0,
            reserved: 0,
            phase: Phase::Open,
            overflowed: false,
            slow: false,
            owed: false,
            taking: false,
            waiting: false,
            scheduled: false,
            running: false,
            sink,
            counters: Counters::default(),
        };
        Inbox {
            id,
            config,
            budget,
            delivery,
            listed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            state: Mutex::new(state),
            filled: Bell::default(),
            quiet: Condvar::new(),
            on_room,
        }
    }

    /// Its id, never used again in this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether blocks are taken from it, and not given to a callback.
    pub fn is_taken(&self) -> bool {
        !matches!(self.delivery, Delivery::Callback(_))
    }

    pub(super) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::SeqCst)
    }

    /// `false` if it was listed before.
    pub(super) fn mark_listed(&self) -> bool {
        !self.listed.swap(true, Ordering::SeqCst)
    }

    pub(super) fn clear_listed(&self) {
        self.listed.store(false, Ordering::SeqCst);
    }

    /// Whether `close` was called.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Delivers one record. Messages follow the policy; everything else has its room reserved or is a mark.
    pub fn push(self: &Arc<Inbox>, record: &RecordIn<'_>) -> Pushed {
        let mut state = lock(&self.state);
        let mut pushed = self.place(&mut state, record);
        state.own_up(&mut pushed);
        if state.phase == Phase::Open {
            self.tell(state);
        }
        pushed
    }

    /// The same; whoever waits is not told before `announce`.
    pub fn push_quietly(&self, record: &RecordIn<'_>) {
        self.place(&mut lock(&self.state), record);
    }

    pub(super) fn place(&self, state: &mut State, record: &RecordIn<'_>) -> Pushed {
        if state.phase != Phase::Open {
            return Pushed::default();
        }
        let before = state.bytes();
        let mut pushed = Pushed::default();
        let droppable = matches!(record.kind, Kind::Message | Kind::Log | Kind::State);
        if !droppable {
            Inbox::append(state, record);
        } else if self.must_refuse(state, before, record.cost()) || !state.queue.push(record) {
            self.refuse(state, record.source, record.token, &mut pushed);
        } else {
            state.counters.received += 1;
        }
        self.account(state, before, pushed)
    }

    /// Appends a record that is never dropped: without memory for its bytes, what someone waits for is that it came.
    pub(super) fn append(state: &mut State, record: &RecordIn<'_>) {
        state.counters.received += 1;
        if !state.queue.push(record) {
            let status = Status::NoMemory.code();
            state.queue.push(&RecordIn { name: &[], extra: &[], data: &[], status, ..*record });
        }
    }

    /// Delivers the messages of a wave; `records` comes back empty. Offsets count from `base` in the wave's bytes.
    ///
    /// Whoever waits is not told of them before `announce`: beside a flood, waking the taker for each read cost more
    /// than the messages in it.
    pub fn push_wave(self: &Arc<Inbox>, records: &mut Vec<Record>, base: usize, wave: Wave<'_>) -> Pushed {
        let mut state = lock(&self.state);
        let mut pushed = Pushed::default();
        if state.phase != Phase::Open {
            records.clear();
            return pushed;
        }
        let before = state.bytes();
        let refuses = matches!(self.config.policy, Policy::DropNewest | Policy::Close);
        let cost = || records.iter().map(Record::cost).sum();
        if refuses && self.lacks_room(&state, before, cost(), records.len() as u64) {
            for record in records.drain(..) {
                if self.must_refuse(&state, before, record.cost()) || !state.queue.push_copy(record, wave.bytes(base)) {
                    self.refuse(&mut state, record.source, record.token, &mut pushed);
                } else {
                    state.counters.received += 1;
                }
            }
        } else {
            state.counters.received += records.len() as u64;
            for (source, token) in state.queue.push_wave(records, base, wave) {
                state.counters.received -= 1;
                self.refuse(&mut state, source, token, &mut pushed);
            }
            if records.capacity() == 0 {
                *records = state.queue.spare_records();
            }
        }
        let mut pushed = self.account(&mut state, before, pushed);
        state.own_up(&mut pushed);
        pushed
    }

    /// Tells whoever waits for what waves brought.
    pub fn announce(self: &Arc<Inbox>) {
        self.tell(lock(&self.state));
    }

    /// What the client uses beside this inbox, of which it has been charged `charged`, so that an inbox' own changes
    /// count at once.
    pub(super) fn beside(&self, charged: usize) -> usize {
        self.budget.used().saturating_sub(charged)
    }

    /// Whether so much more would be over a limit.
    fn lacks_room(&self, state: &State, charged: usize, cost: usize, messages: u64) -> bool {
        let bytes = state.bytes() + cost;
        state.overflowed
            || bytes > self.config.bytes
            || self.beside(charged) + bytes > self.budget.limit
            || self.config.records != 0 && state.queue.messages() + state.lent_messages + messages > self.config.records
    }

    /// Whether a new message goes, by policy. An empty inbox accepts any one record.
    fn must_refuse(&self, state: &State, charged: usize, cost: usize) -> bool {
        matches!(self.config.policy, Policy::DropNewest | Policy::Close)
            && (state.overflowed || !state.queue.is_empty() && self.lacks_room(state, charged, cost, 1))
    }

    /// Counts a message that goes, where it would have been.
    fn refuse(&self, state: &mut State, source: u64, token: u64, pushed: &mut Pushed) {
        pushed.dropped += 1;
        state.queue.push(&RecordIn { number: 1, ..RecordIn::new(Kind::Dropped, source, token) });
        if self.config.policy == Policy::Close && !state.overflowed {
            state.overflowed = true;
            pushed.overflow = true;
        }
    }

    /// After anything was appended: makes room and charges the budget.
    pub(super) fn account(&self, state: &mut State, before: usize, mut pushed: Pushed) -> Pushed {
        if self.config.policy == Policy::DropOldest {
            pushed.dropped += self.shed(state, before);
        }
        self.count_dropped(state, pushed.dropped);
        self.charge(state, before);
        pushed.full = self.is_full_now(state);
        pushed
    }

    pub(super) fn count_dropped(&self, state: &mut State, messages: u64) {
        if messages > 0 {
            state.counters.dropped += messages;
            self.budget.count_dropped(messages);
            state.owed |= !state.slow;
        }
    }

    /// Drops the oldest messages until everything is within its limits. Returns how many went.
    pub(super) fn shed(&self, state: &mut State, before: usize) -> u64 {
        let held = state.lent + state.reserved;
        let lent_messages = state.lent_messages;
        let beside = self.beside(before);
        state.queue.drop_oldest(|queue| {
            let bytes = queue.cost() + held;
            bytes > self.config.bytes
                || beside + bytes > self.budget.limit
                || self.config.records != 0 && queue.messages() + lent_messages > self.config.records
        })
    }

    pub(super) fn charge(&self, state: &mut State, before: usize) {
        let now = state.bytes();
        state.counters.peak = state.counters.peak.max(now as u64);
        if now >= before {
            self.budget.add(now - before);
        } else {
            self.budget.used.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Wakes the taker, or puts the inbox on the ready list or in the dispatcher's line.
    pub(super) fn tell(self: &Arc<Inbox>, mut state: MutexGuard<'_, State>) {
        let due = !state.queue.is_empty() || state.phase != Phase::Open;
        if !due {
            return;
        }
        match &self.delivery {
            Delivery::Take(ready) => {
                let waiting = state.waiting;
                drop(state);
                if waiting {
                    self.filled.ring();
                }
                ready.enter(self);
            }
            Delivery::Task(wake) => {
                drop(state);
                wake();
            }
            Delivery::Callback(dispatcher) => {
                if state.scheduled || state.phase == Phase::Closed {
                    return;
                }
                // Under the lock: else it could be ended in between, and a push drop its sink, under the pusher's locks.
                state.scheduled = dispatcher.schedule(Arc::clone(self));
                if state.scheduled {
                    drop(state);
                    dispatcher.ring();
                } else if state.phase == Phase::Ending {
                    // No thread will serve it any more. While it is open, what waits stays until it is closed.
                    state.phase = Phase::Closed;
                    self.retire(state);
                }
            }
        }
    }

    /// Whether the policy is `pause` and there is no room: the socket must not be read.
    pub fn is_full(&self) -> bool {
        self.is_full_now(&lock(&self.state))
    }

    fn is_full_now(&self, state: &State) -> bool {
        // Never for a reservation alone: what it is for may have to come through the very socket, and a consumer
        // could do nothing about it.
        let waiting = !state.queue.is_empty() || state.lent > 0;
        self.config.policy == Policy::Pause && waiting && self.lacks_room(state, state.bytes(), 1, 1)
    }

    /// Takes the oldest block, waiting up to `limit` for one; `None` waits for ever.
    pub fn take(self: &Arc<Inbox>, limit: Option<Duration>) -> Result<Lent, Status> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let ready = match &self.delivery {
            Delivery::Take(ready) => Some(ready),
            Delivery::Task(_) => None,
            Delivery::Callback(_) => return Err(Status::Conflict),
        };
        let mut state = lock(&self.state);
        if state.taking {
            return Err(Status::Busy);
        }
        loop {
            if let Some(block) = self.pop(&mut state) {
                let more = u32::try_from(state.queue.len()).unwrap_or(u32::MAX);
                // A consumer that takes once each time the list names it must still come to see `CLOSED`.
                let again = more > 0 || state.phase != Phase::Open;
                drop(state);
                if let Some(ready) = ready.filter(|_| again) {
                    ready.enter(self);
                }
                return Ok(Lent::new(block, Arc::clone(self), more));
            }
            if state.phase != Phase::Open {
                state.phase = Phase::Closed;
                return Err(Status::Closed);
            }
            let left = match (limit, deadline) {
                (Some(_), Some(deadline)) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Status::Timeout);
                    }
                    Some(left)
                }
                _ => None,
            };
            if inside_callback() {
                return Err(Status::WouldDeadlock);
            }
            state.taking = true;
            state.waiting = true;
            state = self.filled.wait(&self.state, state, left);
            state.taking = false;
            state.waiting = false;
        }
    }

    pub(super) fn pop(&self, state: &mut State) -> Option<Block> {
        let block = state.queue.pop()?;
        state.lent += block.cost;
        state.lent_messages += block.messages;
        state.counters.taken += block.records().len() as u64;
        if state.queue.is_empty() {
            state.slow = false;
        }
        Some(block)
    }

    /// Takes back a block that was lent.
    pub(super) fn give_back(&self, block: Block) {
        let mut state = lock(&self.state);
        let before = state.bytes();
        state.lent -= block.cost;
        state.lent_messages -= block.messages;
        if state.phase == Phase::Open {
            state.queue.recycle(block);
        }
        self.charge(&mut state, before);
        drop(state);
        // Any inbox of the client may be waiting for room in the budget that they share.
        (self.on_room)();
    }

    /// Its counters.
    pub fn counters(&self) -> Counters {
        let state = lock(&self.state);
        Counters { waiting: state.queue.len(), bytes: state.bytes() as u64, ..state.counters }
    }
}
