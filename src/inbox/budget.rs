//! What an inbox may hold: its own limits, what goes when they are reached, and what all inboxes of a client share.

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What a full inbox does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The oldest message goes.
    DropOldest,
    /// The new message goes.
    DropNewest,
    /// Messages stop for good; completions still come.
    Close,
    /// The socket is not read until there is room.
    Pause,
}

/// The limits of one inbox.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Bytes that may wait, records and lent blocks included.
    pub bytes: usize,
    /// Messages that may wait; 0 is no limit.
    pub records: u64,
    /// What happens when it is full.
    pub policy: Policy,
}

/// The bytes of all inboxes of a client.
#[derive(Debug)]
pub struct Budget {
    pub(super) limit: usize,
    pub(super) used: AtomicUsize,
    /// The most that was used since `burst_is_over` last said so.
    peak: AtomicUsize,
    /// Messages that had no room.
    dropped: AtomicU64,
}

/// What had to wait for it to be worth giving memory back to the system.
const BURST: usize = 8 * 1024 * 1024;

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit: usize) -> Budget {
        Budget { limit, used: AtomicUsize::new(0), peak: AtomicUsize::new(0), dropped: AtomicU64::new(0) }
    }

    /// The bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The messages that had no room in any of its inboxes.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn count_dropped(&self, messages: u64) {
        self.dropped.fetch_add(messages, Ordering::Relaxed);
    }

    /// Whether much waited and now little does. Says so once a burst.
    pub fn burst_is_over(&self) -> bool {
        let peak = self.peak.load(Ordering::Relaxed);
        peak >= BURST && self.used() < peak / 8 && self.peak.swap(0, Ordering::Relaxed) >= BURST
    }

    pub(super) fn add(&self, bytes: usize) {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Two that race may leave the smaller one: it is a hint.
        if used > self.peak.load(Ordering::Relaxed) {
            self.peak.store(used, Ordering::Relaxed);
        }
    }
}
