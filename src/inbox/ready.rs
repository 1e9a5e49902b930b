//! The ready list of a client: which inboxes have something to take. It is to inboxes what epoll is to sockets.
//!
//! An inbox enters when it becomes non-empty or ends, and again when a take leaves records behind. The descriptor is
//! readable exactly while the list is not empty; when the client has ended it stays readable, so that who watches a dup of it
//! cannot miss the end. A wrapper's may be readable where nothing waits (`early`): it looks again, and a look that finds
//! nothing clears it. Lock order: an inbox' lock is never held while this one is taken.
//!
//! The list holds its inboxes, and they hold it: `clear` ends that when the client is closed, and `forget` when one of
//! its inboxes is.

use super::dispatch::inside_callback;
use super::inbox::Inbox;
use crate::bell::Bell;
use crate::error::Status;
use crate::sync::{Arc, Mutex, lock};
use crate::sys::Beacon;
use crate::wheel;
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct List {
    inboxes: VecDeque<Arc<Inbox>>,
    wakes: usize,
    closed: bool,
    cleared: bool,
    /// Somebody has waited, or watches the descriptor.
    watched: bool,
}

/// The list, and whoever waits for it.
#[derive(Debug, Default)]
pub struct Ready {
    list: Mutex<List>,
    filled: Bell,
    beacon: OnceLock<Arc<Beacon>>,
    /// The thread that turns the runtime and will look at the list then.
    looking: AtomicUsize,
    /// Who watches copes with a descriptor that is readable where nothing waits yet.
    early: bool,
}

impl Ready {
    /// An empty list. `early`: its descriptor may be readable where nothing waits yet.
    pub fn new(early: bool) -> Ready {
        let mut list = Ready::default();
        list.early = early;
        list
    }

    /// Puts an inbox on the list, unless it is there.
    pub(super) fn enter(&self, inbox: &Arc<Inbox>) {
        if inbox.is_listed() {
            return;
        }
        let mut list = lock(&self.list);
        // Where nobody watches, a closed inbox would stay until its client is closed.
        if list.cleared || (!list.watched && inbox.is_closed()) || !inbox.mark_listed() {
            return;
        }
        list.inboxes.push_back(Arc::clone(inbox));
        let first = list.inboxes.len() == 1;
        // Behind the lock where that is allowed: whoever watches wakes up, and would run into it.
        let locked = (!self.early).then_some(list);
        if first && self.looking.load(Ordering::Relaxed) != wheel::this_thread() {
            self.raise();
        }
        drop(locked);
        self.filled.ring();
    }

    /// The inbox was closed: whoever watches is told; where nobody does, nothing of it stays on the list.
    pub(super) fn forget(&self, inbox: &Arc<Inbox>) {
        let mut list = lock(&self.list);
        if list.watched {
            drop(list);
            self.enter(inbox);
        } else if inbox.is_listed() {
            list.inboxes.retain(|listed| !Arc::ptr_eq(listed, inbox));
            inbox.clear_listed();
        }
    }

    /// Takes up to `capacity` inboxes off the list, waiting for the first. An empty result means that it was woken.
    pub fn wait(&self, limit: Option<Duration>, capacity: usize) -> Result<Vec<Arc<Inbox>>, Status> {
        // Before the lock: what comes enters the list.
        let more = limit == Some(Duration::ZERO) && self.look();
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut list = lock(&self.list);
        list.watched = true;
        loop {
            if !list.inboxes.is_empty() {
                let count = capacity.min(list.inboxes.len());
                let popped: Vec<_> = list.inboxes.drain(..count).collect();
                popped.iter().for_each(|inbox| inbox.clear_listed());
                if list.inboxes.is_empty() {
                    self.settle(more);
                } else {
                    self.raise();
                    self.filled.ring();
                }
                return Ok(popped);
            }
            if list.wakes > 0 {
                list.wakes -= 1;
                return Ok(Vec::new());
            }
            if list.closed {
                return Err(Status::Closed);
            }
            let left = match (limit, deadline) {
                (Some(_), Some(deadline)) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.settle(more);
                        return Err(Status::Timeout);
                    }
                    Some(left)
                }
                _ => None,
            };
            if inside_callback() {
                return Err(Status::WouldDeadlock);
            }
            list = self.filled.wait(&self.list, list, left);
        }
    }

    /// Turns the runtime for a moment, if it is lent to who watches. Whether it is to come again.
    fn look(&self) -> bool {
        let Some(beacon) = self.beacon.get().filter(|_| self.early) else { return false };
        let found = || !lock(&self.list).inboxes.is_empty();
        self.looking.store(wheel::this_thread(), Ordering::Relaxed);
        let more = wheel::get().look(beacon, found);
        self.looking.store(0, Ordering::Relaxed);
        more
    }

    fn raise(&self) {
        if let Some(beacon) = self.beacon.get() {
            beacon.raise();
        }
    }

    /// Under the lock of an empty list: what enters later raises the descriptor again. It stays raised where there is more to do.
    fn settle(&self, more: bool) {
        match self.beacon.get() {
            Some(beacon) if more => beacon.raise(),
            Some(beacon) => beacon.clear(),
            None => {}
        }
    }

    /// Makes one wait, running or the next, return with nothing.
    pub fn wake(&self) {
        lock(&self.list).wakes += 1;
        self.filled.ring();
    }

    /// The descriptor, made when first asked for.
    pub fn fd(&self) -> io::Result<RawFd> {
        let mut list = lock(&self.list);
        list.watched = true;
        if let Some(beacon) = self.beacon.get() {
            return Ok(beacon.fd());
        }
        let beacon = Arc::new(Beacon::new()?);
        if !list.inboxes.is_empty() {
            beacon.raise();
        }
        wheel::get().watch(&beacon);
        Ok(self.beacon.get_or_init(|| beacon).fd())
    }

    /// Ends every wait once the list is empty. Inboxes that still hold records enter it as before.
    pub fn close(&self) {
        lock(&self.list).closed = true;
        self.filled.ring_all();
    }

    /// Closes it, forgets the inboxes on the list, and takes no more, for good. The descriptor is left readable: who watches a
    /// dup of it, and comes only now to look, must find out that the client has ended.
    pub fn clear(&self) {
        let mut list = lock(&self.list);
        list.closed = true;
        list.cleared = true;
        let inboxes = std::mem::take(&mut list.inboxes);
        inboxes.iter().for_each(|inbox| inbox.clear_listed());
        drop(list);
        self.raise();
        self.filled.ring_all();
        drop(inboxes);
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        if let Some(beacon) = self.beacon.get() {
            wheel::get().unwatch(beacon);
        }
    }
}
