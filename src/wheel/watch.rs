//! A consumer that watches a descriptor instead of waiting: an event loop, Go's netpoller, a thread in `poll`.
//!
//! It comes to look when the descriptor is readable. One that comes again and again, and nobody beside it, is lent the
//! runtime too: what the runtime waits at, its own epoll, then makes the descriptor readable, and each look turns the
//! runtime for a moment. So what comes from a server wakes the consumer itself and no other thread before it.

use super::task::Task;
use super::{MOMENT, MOMENTS, State, Wheel, may_turn};
use crate::sys::{self, Beacon};
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::net::unix::pipe;
use tokio::runtime::{Handle, Runtime};

/// So often at most the tasks are looked after in one look.
const ROUNDS: usize = 16;
/// Of so many looks one asks how busy the process is.
const SAMPLE: u32 = 32;

/// Spawns a task that is counted while it has something to do.
pub fn spawn(handle: &Handle, future: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    handle.spawn(Task::new(future))
}

/// Those who watch, and the one who is lent the runtime.
#[derive(Debug, Default)]
pub struct Watchers {
    beacons: Vec<Arc<Beacon>>,
    /// What the runtime waits at.
    pub(super) poller: Option<RawFd>,
    /// The one beacon follows the poller: the runtime is lent to who watches it.
    followed: bool,
    /// When somebody looked last, and how many looks in a row came soon after the one before.
    last: Option<Instant>,
    soon: u32,
    load: Load,
}

/// How busy the process is. One that has another processor for the library's thread and leaves its own little rest is
/// better off if they work beside each other: of 64 requests in flight it had a fifth more each second.
#[derive(Debug, Default)]
struct Load {
    looks: u32,
    since: Option<(Instant, Duration)>,
    heavy: bool,
}

impl Load {
    /// A look. Whether it does too much to be lent the runtime.
    fn is_heavy(&mut self, now: Instant) -> bool {
        static ALONE: LazyLock<bool> =
            LazyLock::new(|| std::thread::available_parallelism().is_ok_and(|n| n.get() == 1));
        if *ALONE {
            return false;
        }
        if self.looks.is_multiple_of(SAMPLE) {
            let spent = sys::processor_time();
            if let Some((then, before)) = self.since.replace((now, spent)) {
                self.heavy = spent.saturating_sub(before) * 3 > now.saturating_duration_since(then) * 2;
            }
        }
        self.looks = self.looks.wrapping_add(1);
        self.heavy
    }
}

impl Watchers {
    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.beacons.is_empty()
    }

    /// Nobody follows any more.
    pub(super) fn part(&mut self) {
        self.soon = 0;
        if std::mem::take(&mut self.followed)
            && let Some(poller) = self.poller
        {
            self.beacons.iter().for_each(|beacon| beacon.part(poller));
        }
    }
}

/// What a new runtime will wait at, which tokio does not tell: the epoll that a pipe of ours enters when the runtime is to
/// watch it. To be asked before it has tasks.
pub fn poller_of(runtime: &Runtime) -> Option<RawFd> {
    let _inside = runtime.enter();
    let (read, mut write) = std::io::pipe().ok()?;
    let read = pipe::Receiver::from_owned_fd(read.into()).ok()?;
    let mut found = sys::epolls_with(read.as_raw_fd());
    found.retain(|&epoll| !sys::readable(epoll));
    write.write_all(b"!").ok()?;
    found.into_iter().find(|&epoll| sys::readable(epoll))
}

impl Wheel {
    /// Somebody watches a descriptor, until `unwatch`.
    pub fn watch(&self, beacon: &Arc<Beacon>) {
        let mut state = self.enter();
        self.take_back(&mut state);
        state.watchers.beacons.push(Arc::clone(beacon));
    }

    /// The descriptor is gone.
    pub fn unwatch(&self, beacon: &Arc<Beacon>) {
        let mut state = self.enter();
        // One that a forked child inherited was never known here.
        if let Some(at) = state.watchers.beacons.iter().position(|other| Arc::ptr_eq(other, beacon)) {
            self.take_back(&mut state);
            state.watchers.beacons.swap_remove(at);
        }
    }

    /// Who watches comes to look. Where the runtime is lent to it, it turns it until no task has anything to do, or
    /// until it `found` something. Whether something is left to do, so that it is to come again.
    pub fn look(&self, beacon: &Arc<Beacon>, found: impl Fn() -> bool) -> bool {
        let now = Instant::now();
        let mut state = self.enter();
        let Some(runtime) = self.lend_to_watcher(&mut state, beacon, now) else { return false };
        state.inside = true;
        state.turns += 1;
        drop(state);
        runtime.block_on(async {
            let mut rounds = 0;
            while !found() && rounds < ROUNDS && (rounds == 0 || self.pending.load(Ordering::SeqCst) > 0) {
                tokio::task::yield_now().await;
                rounds += 1;
            }
        });
        let left = self.pending.load(Ordering::SeqCst) > 0;
        drop(runtime);
        let mut state = self.enter();
        state.inside = false;
        if !state.looking {
            self.changed.notify_all();
        }
        left
    }

    fn lend_to_watcher(&self, state: &mut State, beacon: &Arc<Beacon>, now: Instant) -> Option<Arc<Runtime>> {
        let alone = state.waiting == 0
            && !state.inside
            && matches!(&*state.watchers.beacons, [one] if Arc::ptr_eq(one, beacon));
        if !alone {
            return None;
        }
        let last = state.watchers.last.replace(now);
        let soon = last.is_some_and(|last| now.saturating_duration_since(last) < MOMENT);
        state.watchers.soon = if soon { state.watchers.soon + 1 } else { 0 };
        let heavy = state.watchers.load.is_heavy(now) && !state.eager;
        let due = state.watchers.soon >= MOMENTS && state.not_before.is_none_or(|moment| moment <= now);
        if heavy || !state.watchers.followed && !due && !state.eager {
            self.take_back(state);
            return None;
        }
        let runtime = Arc::clone(state.runtime.as_ref()?);
        if !may_turn() {
            self.take_back(state);
            return None;
        }
        if !state.watchers.followed {
            if !beacon.follow(state.watchers.poller?) {
                return None;
            }
            state.watchers.followed = true;
            state.lent = true;
            self.asked.notify_one();
        }
        Some(runtime)
    }
}
