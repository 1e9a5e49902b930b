//! What a client tells about itself: states and log lines, into its event inbox, and nowhere else.
//!
//! A client without an event inbox pays one comparison a line. The lines have 1 MiB of their own and give way
//! oldest first when nobody takes them. Secrets never come here.

use super::unix_ns;
use crate::inbox::{Inbox, Kind, RecordIn};
use crate::sync::{Arc, Mutex, lock};

/// How much a line of log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something was lost or cannot work.
    Error = 1,
    /// Something was refused, retried or dropped.
    Warn = 2,
    /// The life of the links.
    Info = 3,
    /// Everything else.
    Debug = 4,
}

/// What state a client is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A connection is being made.
    Connecting = 1,
    /// The subscriber link is up.
    Online = 2,
    /// The subscriber link is down; it is being made again.
    Offline = 3,
    /// Stopped by its owner.
    Stopped = 4,
    /// An inbox has no room: `source` is its id.
    SlowConsumer = 5,
    /// The publish link is up.
    PublishOnline = 6,
    /// The publish link is down.
    PublishOffline = 7,
    /// Every wanted name is active or refused.
    Subscribed = 8,
}

/// The way to the event inbox.
#[derive(Debug, Clone)]
pub struct Events {
    inbox: Option<Arc<Inbox>>,
    level: u8,
    last_failure: Arc<Mutex<String>>,
}

impl Events {
    /// Lines up to `level` (0 is none) go into `inbox`, if there is one.
    pub fn new(inbox: Option<Arc<Inbox>>, level: u8) -> Events {
        Events { inbox, level, last_failure: Arc::new(Mutex::new(String::new())) }
    }

    /// The event inbox.
    pub fn inbox(&self) -> Option<&Arc<Inbox>> {
        self.inbox.as_ref()
    }

    /// One line of log.
    pub fn log(&self, level: Level, text: &str) {
        if let Some(inbox) = self.inbox.as_ref().filter(|_| level as u8 <= self.level) {
            inbox.push(&RecordIn {
                number: level as u64,
                aux: unix_ns(),
                extra: text.as_bytes(),
                ..RecordIn::new(Kind::Log, 0, 0)
            });
        }
    }

    /// A change of state.
    pub fn state(&self, state: State, source: u64, status: i32, text: &str) {
        if let Some(inbox) = &self.inbox {
            inbox.push(&RecordIn {
                status,
                number: state as u64,
                aux: unix_ns(),
                extra: text.as_bytes(),
                ..RecordIn::new(Kind::State, source, 0)
            });
        }
    }

    /// Messages of an inbox are being dropped: told once an episode.
    pub fn slow_consumer(&self, inbox: u64) {
        self.state(State::SlowConsumer, inbox, 0, "an inbox is full; its policy decides what goes");
        self.log(Level::Warn, "slow consumer: an inbox is full and messages are being dropped");
    }

    /// Posts that were lost: one record with a count.
    pub fn posts_lost(&self, count: u64, status: i32) {
        if let Some(inbox) = self.inbox.as_ref().filter(|_| count > 0) {
            inbox.push(&RecordIn { status, number: count, aux: unix_ns(), ..RecordIn::new(Kind::Dropped, 0, 0) });
        }
    }

    /// Remembers why the last attempt to connect failed, for whoever waits for a connection.
    pub fn failed(&self, text: &str) {
        text.clone_into(&mut lock(&self.last_failure));
    }

    /// Why the last attempt to connect failed; empty if it did not.
    pub fn last_failure(&self) -> String {
        lock(&self.last_failure).clone()
    }
}
