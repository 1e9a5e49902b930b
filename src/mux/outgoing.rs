//! What is on its way to the server: one block of encoded commands, and what the answer to each belongs to. Pure.
//!
//! Every command knows where it begins and ends in the stream of its link, so that when the link is lost it is known of
//! each whether the kernel was given all of it. `publish.rs` fills it, `publisher.rs` writes it and reads the answers.

use crate::error::Status;
use crate::inbox::Inbox;
use crate::link::dial::SideWriter;
use crate::sync::Arc;
use std::collections::VecDeque;
use std::time::Instant;

/// What an answer belongs to.
#[derive(Debug)]
pub(super) enum Job {
    Publish {
        inbox: Arc<Inbox>,
        token: u64,
    },
    Post,
    /// Ends when everything before it is answered or `lost`; sends nothing.
    Flush {
        op: u64,
        lost: u64,
    },
    /// The same, and then goes on with a PING through the subscriber link.
    Barrier {
        op: u64,
        lost: u64,
    },
    Authenticate {
        op: u64,
    },
    Ping,
    /// A publish or post that was ended before its answer came; the answer is still counted off.
    Abandoned,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) job: Job,
    /// Where its bytes begin and end in the stream of this link.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) deadline: Option<Instant>,
}

/// What is on its way to the server.
#[derive(Debug, Default)]
pub struct Outgoing {
    pub(super) bytes: Vec<u8>,
    /// Where `bytes` begins in the stream.
    pub(super) base: u64,
    /// How much of the stream the kernel was given.
    pub(super) written: u64,
    pub(super) pending: VecDeque<Pending>,
    pub(super) next_deadline: Option<Instant>,
    pub(super) side: Option<SideWriter>,
    pub(super) online: bool,
    pub(super) wanted: bool,
    pub(super) stopped: Option<Status>,
}

/// An operation that an answer ended, told to the mux after the lock is gone.
pub(super) enum Told {
    Flushed(u64, u64),
    Barrier(u64, u64),
    Authenticated(u64, Result<(), (Status, String)>),
}

impl Outgoing {
    pub(super) fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    pub(super) fn push(&mut self, job: Job, start: u64, deadline: Option<Instant>) {
        let end = self.end();
        if let Some(deadline) = deadline {
            self.next_deadline = Some(self.next_deadline.map_or(deadline, |next| next.min(deadline)));
        }
        self.pending.push_back(Pending { job, start, end, deadline });
    }

    pub(super) fn unsent(&self) -> &[u8] {
        self.bytes.get((self.written - self.base) as usize..).unwrap_or_default()
    }

    /// The kernel took so many bytes; whether some are left. Bytes stay until the command that they belong to is given whole, because a
    /// command that was cut off is sent again in whole on the next link.
    pub(super) fn wrote(&mut self, count: usize) -> bool {
        self.written += count as u64;
        if self.written == self.end() {
            self.base = self.written;
            self.bytes.clear();
            if self.bytes.capacity() > 1024 * 1024 {
                self.bytes.shrink_to(64 * 1024);
            }
        } else if self.written - self.base > (256 * 1024).max(self.bytes.len() as u64 / 2) {
            // Half of it at least, or a long queue would be moved once for each piece that the kernel takes.
            let at = self.pending.partition_point(|pending| pending.end <= self.written);
            let keep = self.pending.get(at).map_or(self.written, |pending| pending.start.min(self.written));
            self.bytes.drain(..(keep - self.base) as usize);
            self.base = keep;
        }
        self.written < self.end()
    }

    /// How many bytes wait, and whether anything does.
    pub fn backlog(&self) -> (usize, usize) {
        (self.unsent().len(), self.pending.len())
    }

    /// Takes out of the stream what no byte was given of and `which` picks. Returns those.
    pub(super) fn remove_unsent(&mut self, mut which: impl FnMut(&Pending) -> bool) -> Vec<Pending> {
        let first = self.pending.partition_point(|pending| pending.start < self.written);
        let mut kept = VecDeque::new();
        let mut removed = Vec::new();
        let tail = self.pending.split_off(first);
        if !tail.iter().any(&mut which) {
            self.pending.extend(tail);
            return removed;
        }
        let from = tail.front().map_or(self.end(), |pending| pending.start);
        let mut bytes = self.bytes.get(..(from - self.base) as usize).unwrap_or_default().to_vec();
        for mut pending in tail {
            if which(&pending) {
                removed.push(pending);
                continue;
            }
            let (start, end) = ((pending.start - self.base) as usize, (pending.end - self.base) as usize);
            pending.start = self.base + bytes.len() as u64;
            bytes.extend_from_slice(self.bytes.get(start..end).unwrap_or_default());
            pending.end = self.base + bytes.len() as u64;
            kept.push_back(pending);
        }
        self.bytes = bytes;
        self.pending.append(&mut kept);
        removed
    }

    /// Takes out whose time is over and what no byte was given of, counted as lost in every flush and barrier behind it.
    /// What was given is abandoned, and counted when its answer cannot come any more.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(Job, Status)> {
        let due = |pending: &Pending| pending.deadline.is_some_and(|deadline| deadline <= now);
        let mut unsent = 0;
        let mut ended = Vec::new();
        for pending in &mut self.pending {
            let due = due(pending);
            match &mut pending.job {
                Job::Flush { lost, .. } | Job::Barrier { lost, .. } => *lost += unsent,
                _ if !due => {}
                _ if pending.start >= self.written => unsent += 1,
                job => {
                    pending.deadline = None;
                    ended.push((std::mem::replace(job, Job::Abandoned), Status::Unknown));
                }
            }
        }
        ended.extend(self.remove_unsent(due).into_iter().map(|pending| (pending.job, Status::NotSent)));
        self.next_deadline = self.pending.iter().filter_map(|pending| pending.deadline).min();
        ended
    }

    /// Counts off flushes and barriers that everything before is answered of.
    pub(super) fn settle(&mut self, told: &mut Vec<Told>) {
        while let Some(front) = self.pending.front() {
            match front.job {
                Job::Flush { op, lost } => told.push(Told::Flushed(op, lost)),
                Job::Barrier { op, lost } => told.push(Told::Barrier(op, lost)),
                _ => return,
            }
            self.pending.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_did_not_take_is_left() {
        let mut out = Outgoing::default();
        out.bytes.extend_from_slice(b"0123456789");
        out.push(Job::Ping, 0, None);
        assert!(out.wrote(4));
        assert_eq!(out.unsent(), b"456789");
        assert!(!out.wrote(6));
        assert_eq!(out.unsent(), b"");
    }
}
