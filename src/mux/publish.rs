//! Publishing: what callers hand in, what was given to the kernel, and what the server answered.
//!
//! Commands are encoded on the caller's thread into one outgoing block. A caller writes to an idle socket itself, which
//! saves the hop to the library's thread; otherwise the task of the publish link writes what has gathered. Nothing is
//! repeated silently: what the kernel was never given waits for the next link until its deadline (`NOT_SENT`), what it
//! was given and nobody answered is `UNKNOWN` when the link is lost.

use super::actor::authenticated;
use super::events::Often;
use super::hub::{Hub, Run};
use super::ops::{Outcome, cut};
use super::outgoing::{Job, Outgoing, Told};
use crate::error::{Error, Result, Status};
use crate::inbox::record::RECORD_SIZE;
use crate::inbox::{Inbox, Kind, RecordIn};
use crate::proto::resp::{self, Limits, Reply};
use crate::sync::{Arc, MutexGuard, lock};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Room for the completion of a publish: its record and a short sentence.
pub const PUBLISH_ROOM: usize = RECORD_SIZE + 128;

/// How every publish begins.
const PUBLISH: &[u8] = b"*3\r\n$7\r\nPUBLISH\r\n";

/// What a completion says when it is not the number of receivers.
fn sentence(status: Status) -> &'static str {
    match status {
        Status::NotSent => "never sent; it is safe to publish it again",
        Status::Unknown => "sent, and not answered; it may or may not have been published",
        _ => "",
    }
}

impl Hub {
    /// Called under the lock of what was pending: a client that closes takes it before it ends its inboxes, and would
    /// find neither the publish nor, in an inbox that has ended, its completion.
    fn complete(&self, inbox: &Arc<Inbox>, token: u64, status: Status, number: u64, text: &str) {
        let text = cut(text, PUBLISH_ROOM - RECORD_SIZE);
        let record = RecordIn {
            status: status.code(),
            number,
            extra: text.as_bytes(),
            ..RecordIn::new(Kind::Published, self.id, token)
        };
        inbox.complete(&record, PUBLISH_ROOM);
    }

    /// Publishes; its completion comes into `inbox`.
    pub fn publish(
        &self,
        channel: &[u8],
        payload: &[u8],
        inbox: &Arc<Inbox>,
        token: u64,
        deadline: Option<Instant>,
    ) -> Result<()> {
        inbox.reserve(PUBLISH_ROOM)?;
        let job = Job::Publish { inbox: Arc::clone(inbox), token };
        let result = self.hand_in(channel, payload, job, deadline);
        if result.is_err() {
            inbox.unreserve(PUBLISH_ROOM);
        }
        result
    }

    /// Publishes without a completion; what is lost is counted.
    pub fn post(&self, channel: &[u8], payload: &[u8], deadline: Option<Instant>) -> Result<()> {
        self.hand_in(channel, payload, Job::Post, deadline)
    }

    /// Has the server run a command that answers with a status or with nothing; it completes like a publish, with the
    /// number 1 or 0.
    pub fn command(
        &self,
        arguments: &[&[u8]],
        inbox: &Arc<Inbox>,
        token: u64,
        deadline: Option<Instant>,
    ) -> Result<()> {
        inbox.reserve(PUBLISH_ROOM)?;
        let job = Job::Publish { inbox: Arc::clone(inbox), token };
        let head = format!("*{}\r\n", arguments.len());
        let result = self.queue(head.as_bytes(), arguments, job, deadline);
        if result.is_err() {
            inbox.unreserve(PUBLISH_ROOM);
        }
        result
    }

    fn hand_in(&self, channel: &[u8], payload: &[u8], job: Job, deadline: Option<Instant>) -> Result<()> {
        let Limits { max_payload, max_name } = self.settings.limits;
        if channel.len() > max_name {
            let text = format!("the channel's name has {} bytes; max_name is {max_name}", channel.len());
            return Err(Error::new(Status::TooLarge, text));
        }
        if payload.len() > max_payload {
            let text = format!("the payload has {} bytes; max_payload is {max_payload}", payload.len());
            return Err(Error::new(Status::TooLarge, text));
        }
        self.queue(PUBLISH, &[channel, payload], job, deadline)
    }

    /// Encodes a command behind those that wait, and sends it at once if the socket is idle.
    fn queue(&self, head: &[u8], arguments: &[&[u8]], job: Job, deadline: Option<Instant>) -> Result<()> {
        let len = head.len() + arguments.iter().map(|argument| resp::argument_len(argument)).sum::<usize>();
        let mut out = lock(&self.outgoing);
        if let Some(status) = out.stopped {
            return Err(status.into());
        }
        let waiting = out.unsent().len();
        if waiting > 0 && waiting + len > self.settings.publish_queue {
            let text = format!("{waiting} bytes of publishes wait for the server; publish_queue allows no more");
            return Err(Error::new(Status::Full, text));
        }
        if out.bytes.try_reserve(len).is_err() {
            return Err(Status::NoMemory.into());
        }
        let start = out.end();
        out.bytes.extend_from_slice(head);
        for argument in arguments {
            resp::argument(&mut out.bytes, argument);
        }
        let idle = out.pending.is_empty();
        let earlier = deadline.is_some_and(|deadline| out.next_deadline.is_none_or(|next| deadline < next));
        out.push(job, start, deadline);
        self.counters.published.fetch_add(1, Ordering::Relaxed);
        if idle
            && waiting == 0
            && let Some(side) = out.side.take()
        {
            // The socket is idle: writing here saves waking the task. What does not fit is the task's.
            let sent = side.send(out.unsent());
            out.side = Some(side);
            if let Ok(count) = sent {
                out.wrote(count);
            }
        }
        // While something waited before, the task knows: it was woken for that, and writes until nothing waits.
        let wake = !out.wanted || waiting == 0 && !out.unsent().is_empty() || earlier;
        out.wanted = true;
        drop(out);
        if wake {
            self.publish_work.notify_one();
        }
        Ok(())
    }

    /// Queues something that ends when everything published before is answered.
    pub fn after_publishes(&self, op: u64, barrier: bool) {
        let mut told = Vec::new();
        let mut out = lock(&self.outgoing);
        let at = out.end();
        let job = if barrier { Job::Barrier { op, lost: 0 } } else { Job::Flush { op, lost: 0 } };
        out.push(job, at, None);
        out.settle(&mut told);
        drop(out);
        self.tell(told);
    }

    /// Authenticates the live publish link again. `false` if there is none.
    pub fn authenticate_publisher(&self, op: u64, command: &[u8]) -> bool {
        let mut out = lock(&self.outgoing);
        if !out.online {
            return false;
        }
        let start = out.end();
        out.bytes.extend_from_slice(command);
        out.push(Job::Authenticate { op }, start, None);
        drop(out);
        self.publish_work.notify_one();
        true
    }

    pub(super) fn tell(&self, told: Vec<Told>) {
        if told.is_empty() {
            return;
        }
        let mut mux = lock(&self.mux);
        for told in told {
            match told {
                Told::Flushed(op, 0) => drop(mux.ops.end(op, Outcome::default())),
                // The server may have executed what it was given, or execute it yet: nothing stands behind that.
                Told::Flushed(op, lost) | Told::Barrier(op, lost @ 1..) => {
                    let text = "publishes before it were lost";
                    let outcome =
                        Outcome { status: Some(Status::Interrupted), number: lost, text, ..Outcome::default() };
                    mux.ops.end(op, outcome);
                }
                Told::Barrier(op, _) => {
                    if mux.online() {
                        mux.pings.push(op);
                        self.work.notify_one();
                    } else {
                        mux.ops.end(op, Outcome::of(Status::Interrupted));
                    }
                }
                Told::Authenticated(op, result) => {
                    authenticated(
                        &mut mux,
                        op,
                        result.as_ref().map_err(|(status, why)| (*status, why.as_str())).copied(),
                    );
                }
            }
        }
    }

    /// Ends publishes of an inbox that the kernel was never given and whose tokens are picked. Returns their tokens.
    pub fn cancel_publishes(&self, id: u64, which: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut out = lock(&self.outgoing);
        let matches = |job: &Job| matches!(job, Job::Publish { inbox, token } if inbox.id() == id && which(*token));
        let removed = out.remove_unsent(|pending| matches(&pending.job));
        let mut told = Vec::new();
        out.settle(&mut told);
        let mut tokens = Vec::new();
        for pending in removed {
            if let Job::Publish { inbox, token } = pending.job {
                self.complete(&inbox, token, Status::Cancelled, 0, "");
                tokens.push(token);
            }
        }
        drop(out);
        self.tell(told);
        tokens
    }

    /// Ends what is pending with `NOT_SENT` or `UNKNOWN`, and takes nothing more in until `start`.
    pub fn stop_publishing(&self, status: Status) {
        self.refuse_publishes(status);
        self.publisher_lost(true);
    }

    /// Has a stopped client run again. `false` if it is not stopped. Whoever sees that it runs may publish: what goes on by
    /// itself when a link is back would be refused, and nothing would have it go on again.
    pub fn start(&self) -> bool {
        let mut out = lock(&self.outgoing);
        let started = self.control.send_if_modified(|run| {
            let was = *run == Run::Stopped;
            if was {
                *run = Run::Running;
            }
            was
        });
        if started {
            out.stopped = None;
        }
        started
    }

    /// Takes publishes in or refuses them as the client is to run now, and not as the caller meant: others may stop it, start
    /// it and close it at the same time.
    fn refuse_publishes(&self, status: Status) {
        let mut out = lock(&self.outgoing);
        out.stopped = match *self.control.borrow() {
            Run::Running => None,
            Run::Stopped => Some(Status::Stopped),
            Run::Closed if status == Status::Stopped => Some(Status::Closed),
            Run::Closed => Some(status),
        };
    }

    /// The link is gone: what was given and not answered is unknown; the rest waits for the next link, unless `all`.
    pub(super) fn publisher_lost(&self, all: bool) {
        let mut told = Vec::new();
        let mut out = lock(&self.outgoing);
        out.side = None;
        out.online = false;
        let written = out.written;
        let (mut lost, mut abandoned) = (0, 0);
        let mut completions = Vec::new();
        let mut posts = [0u64; 2];
        let mut kept = VecDeque::new();
        for mut pending in std::mem::take(&mut out.pending) {
            let given = pending.end <= written;
            let status = if given { Status::Unknown } else { Status::NotSent };
            match &mut pending.job {
                Job::Flush { lost: before, .. } | Job::Barrier { lost: before, .. } => {
                    *before += lost + abandoned;
                    kept.push_back(pending);
                }
                Job::Authenticate { op } => {
                    let lost = (Status::Interrupted, "the connection was lost".into());
                    told.push(Told::Authenticated(*op, Err(lost)));
                }
                Job::Ping => {}
                // Whoever published it was told then.
                Job::Abandoned => abandoned += 1,
                _ if !given && !all => kept.push_back(pending),
                Job::Publish { inbox, token } => {
                    lost += 1;
                    completions.push((Arc::clone(inbox), *token, status));
                }
                Job::Post => {
                    lost += 1;
                    if let Some(count) = posts.get_mut(usize::from(given)) {
                        *count += 1;
                    }
                }
            }
        }
        // The stream begins again with the commands that were kept, each from its first byte.
        let mut bytes = Vec::new();
        for pending in &mut kept {
            let range = pending.start.max(out.base)..pending.end.max(out.base);
            let old = out.bytes.get((range.start - out.base) as usize..(range.end - out.base) as usize);
            pending.start = bytes.len() as u64;
            bytes.extend_from_slice(old.unwrap_or_default());
            pending.end = bytes.len() as u64;
        }
        (out.base, out.written, out.bytes, out.pending) = (0, 0, bytes, kept);
        out.settle(&mut told);
        for (inbox, token, status) in completions {
            self.complete(&inbox, token, status, 0, sentence(status));
        }
        drop(out);
        self.counters.publish_lost.fetch_add(lost, Ordering::Relaxed);
        self.events.posts_lost(posts[0], Status::NotSent.code());
        self.events.posts_lost(posts[1], Status::Unknown.code());
        self.tell(told);
    }

    /// Ends publishes whose time is over; returns when to look again.
    pub(super) fn expire_publishes(&self, now: Instant) -> Option<Instant> {
        let mut out = lock(&self.outgoing);
        if out.next_deadline.is_none_or(|next| now < next) {
            return out.next_deadline;
        }
        let ended = out.expire(now);
        let next = out.next_deadline;
        let mut told = Vec::new();
        out.settle(&mut told);
        let (mut unsent, mut unknown) = (0, 0);
        for (job, status) in ended {
            if matches!(job, Job::Publish { .. } | Job::Post) {
                // Before its completion, or who looks at the statistics then misses it.
                self.counters.publish_lost.fetch_add(1, Ordering::Relaxed);
            }
            match job {
                Job::Publish { inbox, token } => self.complete(&inbox, token, status, 0, sentence(status)),
                Job::Post if status == Status::NotSent => unsent += 1,
                Job::Post => unknown += 1,
                _ => {}
            }
        }
        drop(out);
        self.events.posts_lost(unsent, Status::NotSent.code());
        self.events.posts_lost(unknown, Status::Unknown.code());
        self.tell(told);
        next
    }

    /// Takes the answers of one read.
    pub(super) fn answers(&self) -> Answers<'_> {
        let mut out = lock(&self.outgoing);
        let mut told = Vec::new();
        out.settle(&mut told);
        Answers { hub: self, out, told, inbox: None, done: Vec::new() }
    }
}

/// The answers of one read: one lock for all of them, and one for each run of completions in the same inbox.
pub(super) struct Answers<'a> {
    hub: &'a Hub,
    out: MutexGuard<'a, Outgoing>,
    told: Vec<Told>,
    /// Publishes that are answered and not completed yet: their inbox, and token and receivers of each.
    inbox: Option<Arc<Inbox>>,
    done: Vec<(u64, u64)>,
}

impl Answers<'_> {
    /// One answer of the server. A text says why the link makes no sense any more.
    pub(super) fn answer(&mut self, reply: Reply<'_>) -> Option<String> {
        if !self.out.online {
            // Stopped, and maybe restarted, since this socket was asked: its answers are for publishes that were given
            // up, and what waits now is the next socket's.
            return Some("stopped".into());
        }
        // An answer to something that the kernel was not given yet belongs to nothing.
        let written = self.out.written;
        let given = self.out.pending.front().is_some_and(|front| front.end <= written);
        let Some(front) = given.then(|| self.out.pending.pop_front()).flatten() else {
            return Some(match reply {
                Reply::Error(line) => format!("the server said: {}", String::from_utf8_lossy(line)),
                _ => "the server sent an answer to nothing that was asked".into(),
            });
        };
        self.out.settle(&mut self.told);
        match (front.job, reply) {
            (Job::Publish { inbox, token }, Reply::Integer(_) | Reply::Status(_) | Reply::Null) => {
                let count = match reply {
                    Reply::Integer(count) => count.max(0) as u64,
                    Reply::Status(_) => 1,
                    _ => 0,
                };
                if self.inbox.as_ref().is_some_and(|other| !Arc::ptr_eq(other, &inbox)) {
                    self.complete();
                }
                self.inbox = Some(inbox);
                self.done.push((token, count));
            }
            (Job::Publish { inbox, token }, Reply::Error(line)) => {
                self.complete();
                let status = if line.starts_with(b"NOPERM") { Status::Refused } else { Status::Redis };
                self.hub.complete(&inbox, token, status, 0, &String::from_utf8_lossy(line));
            }
            (Job::Post, Reply::Error(line)) => {
                self.hub.counters.publish_lost.fetch_add(1, Ordering::Relaxed);
                self.hub.events.posts_lost(1, Status::Redis.code());
                self.hub
                    .events
                    .often(Often::PostRefused, || format!("a post was refused: {}", String::from_utf8_lossy(line)));
            }
            (Job::Authenticate { op }, Reply::Error(line)) => {
                let refused = (Status::Auth, String::from_utf8_lossy(line).into_owned());
                self.told.push(Told::Authenticated(op, Err(refused)));
            }
            (Job::Authenticate { op }, _) => self.told.push(Told::Authenticated(op, Ok(()))),
            (Job::Publish { inbox, token }, _) => {
                self.complete();
                self.hub.complete(&inbox, token, Status::Protocol, 0, "the answer is no number");
            }
            _ => {}
        }
        None
    }

    /// Completes the publishes that were answered, in their order.
    fn complete(&mut self) {
        let Some(inbox) = self.inbox.take() else { return };
        let id = self.hub.id;
        let records = self.done.drain(..);
        let records = records.map(|(token, number)| RecordIn { number, ..RecordIn::new(Kind::Published, id, token) });
        inbox.complete_all(records, PUBLISH_ROOM);
    }

    /// Completes what was answered, and gives back what is to be told when the lock is gone.
    pub(super) fn finish(mut self) -> Vec<Told> {
        self.complete();
        self.told
    }
}
