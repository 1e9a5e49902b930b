//! What a client tells about itself: states and log lines, into its event inbox, and nowhere else.
//!
//! A client without an event inbox pays one comparison a line. The lines have 1 MiB of their own and give way
//! oldest first when nobody takes them. Secrets never come here.

use super::unix_ns;
use crate::inbox::{Inbox, Kind, RecordIn};
use crate::sync::{Arc, Mutex, lock};
use std::time::{Duration, Instant};

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

/// What others can cause with each message of theirs.
#[derive(Debug, Clone, Copy)]
pub enum Often {
    /// It is no frame of requests and answers, or makes no sense.
    Malformed,
    /// An answer to no request that is open.
    Late,
    /// An answer that nobody received.
    Unheard,
    /// An answer that others received too.
    Overheard,
    /// A request that there is no room for, or that the server refused to claim.
    NotTaken,
    /// A post that the server refused.
    PostRefused,
    /// A message over `max_payload`.
    TooLarge,
}

/// Lines of one kind: when one was told last, and how many were not since.
type Untold = (Option<Instant>, u64);

/// How often a line of one kind is told.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// The way to the event inbox.
#[derive(Debug, Clone)]
pub struct Events {
    inbox: Option<Arc<Inbox>>,
    level: u8,
    last_failure: Arc<Mutex<String>>,
    often: Arc<Mutex<[Untold; Often::TooLarge as usize + 1]>>,
}

impl Events {
    /// Lines up to `level` (0 is none) go into `inbox`, if there is one.
    pub fn new(inbox: Option<Arc<Inbox>>, level: u8) -> Events {
        Events {
            inbox,
            level,
            last_failure: Arc::new(Mutex::new(String::new())),
            often: Arc::new(Mutex::new(Default::default())),
        }
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

    /// A warning that somebody else could cause a million times: one a second is told, with a count of the others.
    pub fn often(&self, what: Often, text: impl FnOnce() -> String) {
        if self.inbox.is_none() || Level::Warn as u8 > self.level {
            return;
        }
        let now = Instant::now();
        let untold = {
            let mut often = lock(&self.often);
            let Some((told, untold)) = often.get_mut(what as usize) else { return };
            if told.is_some_and(|told| now < told + TOLD_EVERY) {
                *untold += 1;
                return;
            }
            *told = Some(now);
            std::mem::take(untold)
        };
        match untold {
            0 => self.log(Level::Warn, &text()),
            n => self.log(Level::Warn, &format!("{} (and {n} more like it before)", text())),
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

    /// Remembers why the last attempt to connect failed, for whoever waits for a connection; empty when there is none.
    pub fn failed(&self, text: &str) {
        text.clone_into(&mut lock(&self.last_failure));
    }

    /// Why the last attempt to connect failed; empty if it did not.
    pub fn last_failure(&self) -> String {
        lock(&self.last_failure).clone()
    }
}
