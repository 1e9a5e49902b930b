//! Publishing: what callers hand in, what was given to the kernel, and what the server answered.
//!
//! Commands are encoded on the caller's thread into one outgoing block. A caller writes to an idle socket itself, which
//! saves the hop to the library's thread; otherwise the task of the publish link writes what has gathered. Nothing is
//! repeated silently: what the kernel was never given waits for the next link until its deadline (`NOT_SENT`), what it
//! was given and nobody answered is `UNKNOWN` when the link is lost.

use super::actor::{Reader, authenticated};
use super::events::{Level, State};
use super::hub::{Either, Hub, Run, race};
use super::ops::Outcome;
use crate::error::{Error, Result, Status};
use crate::inbox::record::RECORD_SIZE;
use crate::inbox::{Inbox, Kind, RecordIn};
use crate::link::backoff::{Backoff, Rng};
use crate::link::dial::{SideWriter, Socket};
use crate::link::health::{Action, Health};
use crate::proto::resp::{self, Frame, Limits, Reply, Step};
use crate::sync::{Arc, lock};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::ReadBuf;

/// Room for the completion of a publish: its record and a short sentence.
pub const PUBLISH_ROOM: usize = RECORD_SIZE + 128;

/// What an answer belongs to.
#[derive(Debug)]
enum Job {
    Publish {
        inbox: Arc<Inbox>,
        token: u64,
    },
    Post,
    /// Ends when everything before it is answered; sends nothing.
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
    /// Completed before its answer came; the answer is still counted off.
    Abandoned,
}

#[derive(Debug)]
struct Pending {
    job: Job,
    /// Where its bytes begin and end in the stream of this link.
    start: u64,
    end: u64,
    deadline: Option<Instant>,
}

/// What is on its way to the server.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    /// Where `bytes` begins in the stream.
    base: u64,
    /// How much of the stream the kernel was given.
    written: u64,
    pending: VecDeque<Pending>,
    next_deadline: Option<Instant>,
    side: Option<SideWriter>,
    online: bool,
    wanted: bool,
    stopped: Option<Status>,
}

/// An operation that an answer ended, told to the mux after the lock is gone.
enum Told {
    Flushed(u64, u64),
    Barrier(u64, u64),
    Authenticated(u64, Option<String>),
}

impl Outgoing {
    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    fn push(&mut self, job: Job, start: u64, deadline: Option<Instant>) {
        let end = self.end();
        if let Some(deadline) = deadline {
            self.next_deadline = Some(self.next_deadline.map_or(deadline, |next| next.min(deadline)));
        }
        self.pending.push_back(Pending { job, start, end, deadline });
    }

    fn unsent(&self) -> &[u8] {
        self.bytes.get((self.written - self.base) as usize..).unwrap_or_default()
    }

    /// The kernel took so many bytes. Bytes stay until the command that they belong to is given whole, because a
    /// command that was cut off is sent again in whole on the next link.
    fn wrote(&mut self, count: usize) {
        self.written += count as u64;
        if self.written == self.end() {
            self.base = self.written;
            self.bytes.clear();
            if self.bytes.capacity() > 1024 * 1024 {
                self.bytes.shrink_to(64 * 1024);
            }
        } else if self.written - self.base > 256 * 1024 {
            let at = self.pending.partition_point(|pending| pending.end <= self.written);
            let keep = self.pending.get(at).map_or(self.written, |pending| pending.start.min(self.written));
            self.bytes.drain(..(keep - self.base) as usize);
            self.base = keep;
        }
    }

    /// How many bytes wait, and whether anything does.
    pub fn backlog(&self) -> (usize, usize) {
        (self.unsent().len(), self.pending.len())
    }

    /// Takes out of the stream what no byte was given of and `which` picks. Returns those.
    fn remove_unsent(&mut self, mut which: impl FnMut(&Pending) -> bool) -> Vec<Pending> {
        let first = self.pending.partition_point(|pending| pending.start < self.written);
        let mut kept = VecDeque::new();
        let mut removed = Vec::new();
        let tail = self.pending.split_off(first);
        if !tail.iter().any(|pending| which(pending)) {
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

    /// Counts off flushes and barriers that everything before is answered of.
    fn settle(&mut self, told: &mut Vec<Told>) {
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
        let text = text.get(..text.len().min(128)).unwrap_or_default();
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
        let parts: [&[u8]; 3] = [b"PUBLISH", channel, payload];
        let len = resp::encoded_len(&parts);
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
        resp::command(&mut out.bytes, &parts);
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
        let wake = !out.wanted || !out.unsent().is_empty() || earlier;
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

    fn tell(&self, told: Vec<Told>) {
        if told.is_empty() {
            return;
        }
        let mut mux = lock(&self.mux);
        for told in told {
            match told {
                Told::Flushed(op, 0) => drop(mux.ops.end(op, Outcome::default())),
                // The server may yet execute what it was given: nothing stands behind that.
                Told::Flushed(op, lost) | Told::Barrier(op, lost @ 1..) => {
                    let text = "publishes before it were lost with the connection";
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
                Told::Authenticated(op, error) => authenticated(&mut mux, op, error.as_deref()),
            }
        }
    }

    /// Ends publishes that the kernel was never given and whose token it is. Returns how many.
    pub fn cancel_publishes(&self, id: u64, with: u64) -> usize {
        let mut out = lock(&self.outgoing);
        let matches = |job: &Job| matches!(job, Job::Publish { inbox, token } if inbox.id() == id && *token == with);
        let removed = out.remove_unsent(|pending| matches(&pending.job));
        let count = removed.len();
        for pending in removed {
            if let Job::Publish { inbox, token } = pending.job {
                self.complete(&inbox, token, Status::Cancelled, 0, "");
            }
        }
        count
    }

    /// Ends what is pending with `NOT_SENT` or `UNKNOWN`, and takes nothing more in until `start_publishing`.
    pub fn stop_publishing(&self, status: Status) {
        lock(&self.outgoing).stopped = Some(status);
        self.publisher_lost(true);
    }

    /// Takes publishes in again.
    pub fn start_publishing(&self) {
        lock(&self.outgoing).stopped = None;
    }

    /// The link is gone: what was given and not answered is unknown; the rest waits for the next link, unless `all`.
    fn publisher_lost(&self, all: bool) {
        let mut told = Vec::new();
        let mut out = lock(&self.outgoing);
        out.side = None;
        out.online = false;
        let written = out.written;
        let mut lost = 0;
        let mut completions = Vec::new();
        let mut posts = [0u64; 2];
        let mut kept = VecDeque::new();
        for mut pending in std::mem::take(&mut out.pending) {
            let given = pending.end <= written;
            let status = if given { Status::Unknown } else { Status::NotSent };
            match &mut pending.job {
                Job::Flush { lost: before, .. } | Job::Barrier { lost: before, .. } => {
                    *before += lost;
                    kept.push_back(pending);
                }
                Job::Authenticate { op } => told.push(Told::Authenticated(*op, Some("the connection was lost".into()))),
                Job::Ping | Job::Abandoned => {}
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
    fn expire_publishes(&self, now: Instant) -> Option<Instant> {
        let mut out = lock(&self.outgoing);
        if out.next_deadline.is_none_or(|next| now < next) {
            return out.next_deadline;
        }
        let due = |pending: &Pending| pending.deadline.is_some_and(|deadline| deadline <= now);
        let mut ended: Vec<(Job, Status)> =
            out.remove_unsent(due).into_iter().map(|pending| (pending.job, Status::NotSent)).collect();
        for pending in out.pending.iter_mut().filter(|pending| due(pending)) {
            pending.deadline = None;
            ended.push((std::mem::replace(&mut pending.job, Job::Abandoned), Status::Unknown));
        }
        out.next_deadline = out.pending.iter().filter_map(|pending| pending.deadline).min();
        let next = out.next_deadline;
        let mut posts = [0u64; 2];
        for (job, status) in ended {
            match job {
                Job::Publish { inbox, token } => self.complete(&inbox, token, status, 0, sentence(status)),
                Job::Post => posts[usize::from(status == Status::Unknown)] += 1,
                _ => continue,
            }
            self.counters.publish_lost.fetch_add(1, Ordering::Relaxed);
        }
        drop(out);
        self.events.posts_lost(posts[0], Status::NotSent.code());
        self.events.posts_lost(posts[1], Status::Unknown.code());
        next
    }

    /// One answer of the server.
    fn answered(&self, reply: Reply<'_>, told: &mut Vec<Told>) -> Option<String> {
        let mut out = lock(&self.outgoing);
        out.settle(told);
        if !out.online {
            // Stopped, and maybe restarted, since this socket was asked: its answers are for publishes that were given
            // up, and what waits now is the next socket's.
            return Some("stopped".into());
        }
        // An answer to something that the kernel was not given yet belongs to nothing.
        let written = out.written;
        let Some(front) = out.pending.pop_front_if(|front| front.end <= written) else {
            return Some(match reply {
                Reply::Error(line) => format!("the server said: {}", String::from_utf8_lossy(line)),
                _ => "the server sent an answer to nothing that was asked".into(),
            });
        };
        out.settle(told);
        match (front.job, reply) {
            (Job::Publish { inbox, token }, Reply::Integer(count)) => {
                self.complete(&inbox, token, Status::Ok, count.max(0) as u64, "");
            }
            (Job::Publish { inbox, token }, Reply::Error(line)) => {
                let status = if line.starts_with(b"NOPERM") { Status::Refused } else { Status::Redis };
                self.complete(&inbox, token, status, 0, &String::from_utf8_lossy(line));
            }
            (Job::Post, Reply::Error(line)) => {
                self.counters.publish_lost.fetch_add(1, Ordering::Relaxed);
                self.events.posts_lost(1, Status::Redis.code());
                self.events.log(Level::Warn, &format!("a post was refused: {}", String::from_utf8_lossy(line)));
            }
            (Job::Authenticate { op }, Reply::Error(line)) => {
                told.push(Told::Authenticated(op, Some(String::from_utf8_lossy(line).into_owned())));
            }
            (Job::Authenticate { op }, _) => told.push(Told::Authenticated(op, None)),
            (Job::Publish { inbox, token }, _) => {
                self.complete(&inbox, token, Status::Protocol, 0, "the answer is no number");
            }
            _ => {}
        }
        None
    }
}

/// The task of the publish link: connects when something is first to be published, and then stays.
pub async fn run(hub: Arc<Hub>) {
    let mut control = hub.control.subscribe();
    let mut backoff = Backoff::new(hub.settings.backoff_min, hub.settings.backoff_max);
    let mut rng = Rng::from_entropy();
    loop {
        let now = *control.borrow_and_update();
        if now == Run::Closed {
            return;
        }
        if now == Run::Stopped || !lock(&hub.outgoing).wanted {
            let _ = race(hub.publish_work.notified(), control.changed()).await;
            continue;
        }
        let connected = race(control.changed(), with_expiry(&hub, hub.connect())).await;
        let text = match connected {
            Either::Left(_) => continue,
            Either::Right(Ok((socket, _))) => {
                let since = Instant::now();
                hub.counters.publish_connects.fetch_add(1, Ordering::Relaxed);
                hub.events.state(State::PublishOnline, hub.id, 0, &socket.peer);
                let fault = Session::new(&hub, socket).serve().await;
                hub.publisher_lost(false);
                if since.elapsed() >= hub.settings.stable_after {
                    backoff.reset();
                }
                // A session that a stop took the publishes from may meet their answers before it sees the stop.
                let Some(text) = fault.filter(|_| hub.running()) else { continue };
                hub.events.state(State::PublishOffline, hub.id, Status::LinkLost.code(), &text);
                text
            }
            Either::Right(Err(error)) => error.message().to_owned(),
        };
        let pause = backoff.next(rng.next_u64());
        hub.events.log(Level::Warn, &format!("publish link: {text}; retrying in {pause:?}"));
        let _ = race(with_expiry(&hub, tokio::time::sleep(pause)), control.changed()).await;
    }
}

/// Waits for `future`, and ends publishes whose time is over meanwhile.
async fn with_expiry<F: Future>(hub: &Hub, future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        let next = hub.expire_publishes(Instant::now());
        let pause = async {
            match next {
                Some(next) => {
                    race(tokio::time::sleep_until(next.into()), hub.publish_work.notified()).await;
                }
                None => hub.publish_work.notified().await,
            }
        };
        if let Either::Left(done) = race(future.as_mut(), pause).await {
            return done;
        }
    }
}

struct Session<'a> {
    hub: &'a Hub,
    socket: Socket,
    reader: Reader,
    health: Health,
}

enum Wake {
    Wrote,
    Read(std::io::Result<usize>),
    Work,
    Timer,
    Control,
    Failed(std::io::Error),
}

impl<'a> Session<'a> {
    fn new(hub: &'a Hub, socket: Socket) -> Session<'a> {
        let side = socket.side_writer();
        let mut out = lock(&hub.outgoing);
        out.side = side;
        out.online = true;
        drop(out);
        let health = Health::new(hub.settings.ping_interval, hub.settings.ping_timeout, Instant::now());
        Session { hub, socket, reader: Reader::new(&hub.pool), health }
    }

    /// Serves until the link fails, or until the client is stopped or closed.
    async fn serve(mut self) -> Option<String> {
        let hub = self.hub;
        let mut control = hub.control.subscribe();
        let mut work = pin!(hub.publish_work.notified());
        let mut armed = self.health.deadline();
        let mut sleep = pin!(tokio::time::sleep_until(armed.into()));
        loop {
            if Hub::session_over(&control) {
                return None;
            }
            let now = Instant::now();
            let expiry = hub.expire_publishes(now);
            let next = expiry.map_or(self.health.deadline(), |expiry| expiry.min(self.health.deadline()));
            if next < armed {
                armed = next;
                sleep.as_mut().reset(armed.into());
            }
            let wake = {
                let mut control = pin!(control.changed());
                poll_fn(|cx| {
                    if let Poll::Ready(wake) = self.poll_socket(cx) {
                        return Poll::Ready(wake);
                    }
                    if control.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Wake::Control);
                    }
                    if work.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Wake::Work);
                    }
                    sleep.as_mut().poll(cx).map(|()| Wake::Timer)
                })
                .await
            };
            let result = match wake {
                Wake::Wrote => Ok(()),
                Wake::Control => return None,
                Wake::Failed(error) => Err(error.to_string()),
                Wake::Read(Ok(0)) => Err("closed by the server".into()),
                Wake::Read(Ok(count)) => self.read(count),
                Wake::Read(Err(error)) => Err(error.to_string()),
                Wake::Work => {
                    work.set(hub.publish_work.notified());
                    Ok(())
                }
                Wake::Timer => {
                    let now = Instant::now();
                    let result = self.judge(now);
                    armed = self.health.deadline();
                    sleep.as_mut().reset(armed.into());
                    result
                }
            };
            if let Err(why) = result {
                if !lock(&hub.outgoing).online {
                    return None;
                }
                return Some(format!("lost the connection to {}: {why}", self.socket.peer));
            }
        }
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let mut io = Pin::new(&mut *self.socket.io);
        let mut out = lock(&self.hub.outgoing);
        if !out.online {
            return Poll::Ready(Wake::Failed(std::io::ErrorKind::NotConnected.into()));
        }
        let unsent = out.unsent();
        if !unsent.is_empty() {
            match io.as_mut().poll_write(cx, unsent) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Wake::Failed(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    out.wrote(count);
                    return Poll::Ready(Wake::Wrote);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Wake::Failed(error)),
                Poll::Pending => {}
            }
        }
        drop(out);
        if !self.reader.prepare() {
            return Poll::Ready(Wake::Failed(std::io::ErrorKind::OutOfMemory.into()));
        }
        let Some(space) = self.reader.space() else { return Poll::Pending };
        let mut buf = ReadBuf::new(space);
        match io.as_mut().poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) => Poll::Ready(Wake::Read(Ok(buf.filled().len()))),
            Poll::Ready(Err(error)) => Poll::Ready(Wake::Read(Err(error))),
            Poll::Pending => {
                let _ = io.poll_flush(cx);
                Poll::Pending
            }
        }
    }

    fn judge(&mut self, now: Instant) -> Result<(), String> {
        match self.health.poll(now) {
            Action::Nothing => Ok(()),
            Action::SendPing => {
                let mut out = lock(&self.hub.outgoing);
                let start = out.end();
                resp::command(&mut out.bytes, &[b"PING"]);
                out.push(Job::Ping, start, None);
                drop(out);
                self.health.on_ping_sent(now);
                Ok(())
            }
            Action::Dead => Err(format!("ping timeout: silent for {:?}", self.hub.settings.ping_timeout)),
        }
    }

    fn read(&mut self, count: usize) -> Result<(), String> {
        self.reader.filled(count);
        let now = Instant::now();
        self.health.on_bytes(now);
        let Some((buffer, from, to)) = self.reader.unread() else { return self.judge(now) };
        let bytes = buffer.bytes().get(..to).unwrap_or_default();
        let mut at = from;
        let mut need = 1;
        let mut told = Vec::new();
        let mut fault = None;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match resp::next(rest, &self.hub.settings.limits) {
                Ok(Step::Frame { used, frame }) => {
                    at += used;
                    if let Frame::Reply(reply) = frame {
                        fault = self.hub.answered(reply, &mut told);
                    }
                    if fault.is_some() {
                        break;
                    }
                }
                Ok(Step::More { at_least }) => {
                    need = at_least;
                    break;
                }
                Ok(Step::Oversized { .. }) => {
                    fault = Some("the server sent a message to a connection without subscriptions".into());
                    break;
                }
                Err(error) => {
                    fault = Some(format!("the server sent {} (byte {})", error.what, error.at));
                    break;
                }
            }
        }
        drop(buffer);
        self.reader.used(at - from, need, 0);
        self.hub.tell(told);
        fault.map_or(Ok(()), Err)
    }
}
