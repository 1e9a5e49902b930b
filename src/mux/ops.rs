//! Operations under way: who waits, until when, and where the one completion goes.
//!
//! Every operation here ends exactly once, because ending it is taking it out of the table. Its completion's room was
//! reserved in its inbox before it came here. Pure but for the inboxes that it completes into.

use crate::error::Status;
use crate::inbox::record::RECORD_SIZE;
use crate::inbox::{Inbox, Kind, RecordIn};
use crate::sync::Arc;
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// Room for a completion: its record and a sentence.
pub const COMPLETION_ROOM: usize = RECORD_SIZE + 512;
/// Room for a refused name beside the name itself: its record and Redis' error word.
pub const REFUSED_ROOM: usize = RECORD_SIZE + 16;

/// The beginning of a sentence that has room for so many bytes, never ending inside a character.
pub fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// What an operation waits for.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are named for what they are; each variant says the rest")]
pub enum What {
    /// Names that were added; `lost`: the link went when some of them were active already.
    Add { slot: u32, remaining: usize, active: u64, refused: u64, superseded: u64, lost: bool },
    /// Names that were let go; then the subscription is closed, if it drains.
    Leave { slot: u32, remaining: usize, drain: bool },
    /// The subscriber link.
    Ready,
    /// A subscription or promise set that is to be whole.
    Active { slot: u32, insist: bool },
    /// A promise, in the set or alone in `slot`.
    Promise { slot: u32, name: Box<[u8]>, alone: bool },
    /// A promise that is made when its set becomes active, and then has this long.
    Maker { slot: u32, name: Box<[u8]>, timeout: Option<std::time::Duration> },
    /// Everything published before is answered, then a PING through the subscriber link.
    Barrier,
    /// Both links authenticated anew.
    Authenticate,
    /// The beginning of a close, or anything that only the client ends.
    Client,
}

/// One operation.
#[derive(Debug)]
pub struct Op {
    /// Where its completion goes.
    pub inbox: Arc<Inbox>,
    /// The caller's number.
    pub token: u64,
    /// What it belongs to.
    pub source: u64,
    /// The room that its completion has.
    pub room: usize,
    /// When it ends with `TIMEOUT`.
    pub deadline: Option<Instant>,
    /// What it waits for.
    pub what: What,
}

/// The operations of a client.
#[derive(Debug, Default)]
pub struct Ops {
    table: HashMap<u64, Op>,
    timers: BTreeSet<(Instant, u64)>,
    /// By inbox, token and id, so that a million operations with one token end as fast as others.
    by_token: BTreeSet<(u64, u64, u64)>,
    next: u64,
}

/// How an operation ended: what differs between one completion and another.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome<'a> {
    /// How it ended.
    pub status: Option<Status>,
    /// By kind.
    pub number: u64,
    /// By kind.
    pub aux: u64,
    /// The name concerned.
    pub name: &'a [u8],
    /// The sentence.
    pub text: &'a str,
    /// The payload.
    pub data: &'a [u8],
}

impl Outcome<'_> {
    /// Just a status.
    pub fn of(status: Status) -> Outcome<'static> {
        Outcome { status: Some(status), ..Outcome::default() }
    }
}

impl Ops {
    /// How many are under way.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Begins an operation whose room is reserved.
    pub fn begin(&mut self, op: Op) -> u64 {
        self.next += 1;
        let id = self.next;
        if let Some(deadline) = op.deadline {
            self.timers.insert((deadline, id));
        }
        self.by_token.insert((op.inbox.id(), op.token, id));
        self.table.insert(id, op);
        id
    }

    /// Looks at one.
    pub fn get(&self, id: u64) -> Option<&Op> {
        self.table.get(&id)
    }

    /// Looks at one, to change what it waits for.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Op> {
        self.table.get_mut(&id)
    }

    /// Takes one out without completing it; the caller completes it or gives back its room.
    pub fn take(&mut self, id: u64) -> Option<Op> {
        let op = self.table.remove(&id)?;
        if let Some(deadline) = op.deadline {
            self.timers.remove(&(deadline, id));
        }
        self.by_token.remove(&(op.inbox.id(), op.token, id));
        Some(op)
    }

    /// Ends one. `false` if it had ended before.
    pub fn end(&mut self, id: u64, outcome: Outcome<'_>) -> bool {
        match self.take(id) {
            Some(op) => {
                op.complete(outcome);
                true
            }
            None => false,
        }
    }

    /// Moves an operation's deadline.
    pub fn set_deadline(&mut self, id: u64, deadline: Option<Instant>) {
        let Some(op) = self.table.get_mut(&id) else { return };
        if let Some(old) = std::mem::replace(&mut op.deadline, deadline) {
            self.timers.remove(&(old, id));
        }
        if let Some(new) = deadline {
            self.timers.insert((new, id));
        }
    }

    /// When the next one runs out of time.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|&(deadline, _)| deadline)
    }

    /// The next one whose time is over.
    pub fn expired(&self, now: Instant) -> Option<u64> {
        self.timers.first().filter(|&&(deadline, _)| deadline <= now).map(|&(_, id)| id)
    }

    /// The operations of an inbox with a token.
    pub fn with_token(&self, inbox: u64, token: u64) -> Vec<u64> {
        self.by_token.range((inbox, token, 0)..=(inbox, token, u64::MAX)).map(|&(_, _, id)| id).collect()
    }

    /// The operations that `which` picks.
    pub fn select(&self, mut which: impl FnMut(&Op) -> bool) -> Vec<u64> {
        let mut ids: Vec<u64> = self.table.iter().filter(|(_, op)| which(op)).map(|(&id, _)| id).collect();
        ids.sort_unstable();
        ids
    }
}

impl Op {
    /// Delivers its completion.
    pub fn complete(self, outcome: Outcome<'_>) {
        let kind = match self.what {
            What::Promise { .. } | What::Maker { .. } => Kind::Promise,
            _ => Kind::Done,
        };
        let status = outcome.status.unwrap_or(Status::Ok);
        let text = cut(outcome.text, COMPLETION_ROOM - RECORD_SIZE).as_bytes();
        let name: &[u8] = match &self.what {
            What::Promise { name, .. } | What::Maker { name, .. } => name,
            _ => outcome.name,
        };
        let record = RecordIn {
            status: status.code(),
            number: outcome.number,
            aux: outcome.aux,
            name,
            extra: text,
            data: outcome.data,
            ..RecordIn::new(kind, self.source, self.token)
        };
        self.inbox.complete(&record, self.room);
    }
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_sentence_is_cut_before_the_character_that_does_not_fit() {
        assert_eq!(cut("naïve", 5), "naïv");
        assert_eq!(cut("naïve", 3), "na");
        assert_eq!(cut("naïve", 100), "naïve");
        assert_eq!(cut("", 0), "");
    }
}
