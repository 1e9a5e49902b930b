//! The task that owns the subscriber link: connects for ever, reads waves, sends what the registry wants.
//!
//! The order of a turn is fixed: write, read, commands, timers. Bytes per turn are bounded by one buffer, so that a
//! resubscribe of a million names does not starve delivery, nor the other way round. A link that failed is told to
//! every source and made again with full jitter; nothing here gives up before the client closes.

use super::Mux;
use super::events::{Level, State};
use super::hub::{Credentials, Either, Hub, Run, Trial, race};
use super::ops::Outcome;
use super::reader::Reader;
use super::registry::Verdict;
use super::unix_ns;
use super::wave::Answers;
use crate::error::Status;
use crate::link::backoff::{Backoff, Rng};
use crate::link::dial::Socket;
use crate::link::handshake::{Greeting, auth_refused};
use crate::link::health::{Action, Health};
use crate::proto::resp::{self, Change, Kind, Reply};
use crate::sync::{Arc, lock};
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::ReadBuf;

/// While single names keep coming they are gathered this long into one command: 100,000 adds one by one made 5,835
/// commands in RedisMPX.
const GATHER: Duration = Duration::from_millis(1);
/// How many bytes a link reads before it lets the other links of the process have their turn. tokio stops a task only
/// after 128 reads, 8 MiB: beside a flood another client waited that long for each step of its dial, over 10 s in all
/// in a debug build on a busy machine.
const FAIR_BYTES: usize = 256 * 1024;
/// How much is read before whoever waits for it is told, while there is more to read. To be woken for each 64 KiB cost a
/// taker on the same processor more than the messages in them; a read that leaves the socket empty is told at once.
const UNTOLD_BYTES: usize = 256 * 1024;
/// So long after a message its like are expected: names are subscribed in small portions meanwhile.
const BUSY: Duration = Duration::from_millis(100);
/// How many bytes of acknowledgements are then outstanding before another command has to wait, for acknowledgements or for
/// `GATHER`: two commands of names of 16 bytes. Messages stand in line behind them.
const BUSY_BYTES: usize = 48 * 1024;
/// So long nothing is subscribed or unsubscribed after the server said that it has no time for that.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// How many refused names are tried again at a time.
const RETRY_NAMES: usize = 64;

/// Connects, serves, connects again, until the client closes.
pub async fn run(hub: Arc<Hub>) {
    let mut control = hub.control.subscribe();
    let mut backoff = Backoff::new(hub.settings.backoff_min, hub.settings.backoff_max);
    let mut rng = Rng::from_entropy();
    loop {
        let now = *control.borrow_and_update();
        match now {
            Run::Closed => return,
            Run::Stopped => {
                if control.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Run::Running => {}
        }
        hub.events.state(State::Connecting, hub.id, 0, "");
        hub.counters.attempts.fetch_add(1, Ordering::Relaxed);
        // A stop is looked at first: what it makes of the attempt is not a failure to be told.
        let error = match race(control.changed(), hub.connect()).await {
            Either::Left(_) => continue,
            Either::Right(Ok((socket, greeting, used))) => {
                let mut session = Session::new(&hub, socket, greeting);
                if !session.begin(&used) {
                    continue;
                }
                let end = session.serve().await;
                if end.stable {
                    backoff.reset();
                }
                end.fault
            }
            // It may have been looked at a moment too early.
            Either::Right(Err(_)) if control.has_changed().unwrap_or(true) => continue,
            Either::Right(Err(error)) => Some((error.status(), error.message().to_owned())),
        };
        let Some((status, text)) = error else { continue };
        hub.events.failed(&text);
        let pause = backoff.next(rng.next_u64());
        hub.events.log(Level::Warn, &format!("{text}; retrying in {pause:?}"));
        hub.events.state(State::Offline, hub.id, status.code(), &text);
        let _ = race(tokio::time::sleep(pause), control.changed()).await;
    }
}

/// What the next answer belongs to.
enum Expect {
    Names,
    Ping,
    Barrier(u64),
    Authenticate(u64, Credentials),
}

/// How a session ended.
struct End {
    fault: Option<(Status, String)>,
    stable: bool,
}

/// One connected link.
struct Session<'a> {
    hub: &'a Hub,
    socket: Socket,
    reader: Reader,
    asked: Asked,
    out: Vec<u8>,
    written: usize,
    health: Health,
    last_byte: u64,
    /// Bytes that were read since takers were told.
    untold: usize,
    /// What the hub was told of what is left in the socket.
    left: bool,
    /// Messages so far, and until when more are expected.
    received: u64,
    busy_until: Instant,
    sent_at: Option<Instant>,
    gather_until: Option<Instant>,
    retry_at: Instant,
    whole_since: Option<Instant>,
}

/// What was asked of the server and not answered yet.
#[derive(Default)]
struct Asked {
    queue: VecDeque<Expect>,
    commands: usize,
    /// The server runs a script: no more names before that.
    pause_until: Option<Instant>,
}

impl Answers for Asked {
    fn answer(&mut self, mux: &mut Mux, reply: Reply<'_>) -> Result<(), (Status, String)> {
        let error = match reply {
            Reply::Error(line) => Some(String::from_utf8_lossy(line).into_owned()),
            _ => None,
        };
        match (self.queue.pop_front(), error) {
            (Some(Expect::Barrier(id)), None) => {
                mux.pinged(id, Outcome::default());
                Ok(())
            }
            (Some(Expect::Authenticate(id, tried)), error) => {
                if error.is_none() {
                    tried.user().clone_into(&mut mux.user);
                }
                authenticated(mux, id, error.as_deref().map_or(Ok(()), |line| Err((Status::Auth, line))));
                Ok(())
            }
            (Some(Expect::Names), Some(line)) => {
                self.commands = self.commands.saturating_sub(1);
                let busy = line.starts_with("BUSY ");
                let verdict = if busy { mux.registry.busy() } else { mux.registry.failed(line.starts_with("NOPERM")) };
                match verdict {
                    Verdict::Refused | Verdict::Halved => Ok(()),
                    Verdict::Postponed => {
                        self.pause_until = Instant::now().checked_add(BUSY_PAUSE);
                        Ok(())
                    }
                    Verdict::Confused => Err((Status::Redis, format!("the server refused to subscribe: {line}"))),
                }
            }
            (Some(Expect::Barrier(id)), Some(line)) => {
                mux.pinged(id, Outcome { status: Some(Status::Redis), text: &line, ..Outcome::default() });
                Ok(())
            }
            // A server that loads its data, or runs a long script, refuses it; but it lives.
            (Some(Expect::Ping), _) => Ok(()),
            (Some(Expect::Names), None) | (None, None) => {
                Err((Status::Protocol, "the server sent an answer to nothing that was asked".into()))
            }
            (None, Some(line)) => Err((Status::Redis, format!("the server said: {line}"))),
        }
    }

    fn acknowledged(&mut self, mux: &mut Mux) {
        while self.commands > mux.registry.in_flight() && matches!(self.queue.front(), Some(Expect::Names)) {
            self.queue.pop_front();
            self.commands -= 1;
        }
    }
}

/// What became of an authentication whose link went.
pub const LINK_LOST: (Status, &str) = (Status::Interrupted, "the connection was lost");

/// Counts one link of an authentication; the last one ends it, and so does a refusal, which later links must not repeat.
pub fn authenticated(mux: &mut Mux, id: u64, result: Result<(), (Status, &str)>) {
    let Entry::Occupied(mut trial) = mux.trials.entry(id) else { return };
    match result {
        Ok(()) => {
            trial.get_mut().links -= 1;
            if trial.get().links == 0 {
                let Trial { known, tried, .. } = trial.remove();
                lock(&known).taken(&tried);
                mux.ops.end(id, Outcome::default());
            }
        }
        Err((status, why)) => {
            let Trial { known, tried, .. } = trial.remove();
            let mut why = std::borrow::Cow::Borrowed(why);
            if status == Status::Auth {
                lock(&known).refused(&tried);
                let password = tried.password.as_deref().unwrap_or_default();
                why = auth_refused(tried.user.as_deref(), password, why.as_bytes()).message().to_owned().into();
            }
            let text = format!("authenticate the live connection: {why}");
            mux.ops.end(id, Outcome { status: Some(status), text: &text, ..Outcome::default() });
        }
    }
}

/// What a turn of the session waits for.
enum Wake {
    Wrote(std::io::Result<usize>),
    Read(std::io::Result<usize>),
    Work,
    Timer,
    Control,
}

impl<'a> Session<'a> {
    fn new(hub: &'a Hub, socket: Socket, greeting: Greeting) -> Session<'a> {
        let now = Instant::now();
        let mut reader = Reader::new(&hub.pool);
        reader.preload(&greeting.leftover);
        hub.events
            .log(Level::Info, &format!("connected to {} ({} {})", socket.peer, greeting.server, greeting.version));
        *lock(&hub.greeting) = Some(greeting);
        Session {
            hub,
            socket,
            reader,
            asked: Asked::default(),
            out: Vec::new(),
            written: 0,
            health: Health::new(hub.settings.ping_interval, hub.settings.ping_timeout, now),
            last_byte: unix_ns(),
            untold: 0,
            left: false,
            received: lock(&hub.mux).received,
            busy_until: now,
            sent_at: None,
            gather_until: None,
            retry_at: now + hub.settings.refused_retry,
            whole_since: None,
        }
    }

    /// Says that the link is up. `false` if it was made with credentials that are not ours any more.
    fn begin(&mut self, used: &Credentials) -> bool {
        let mut mux = lock(&self.hub.mux);
        if self.hub.outdated(used) {
            return false;
        }
        self.hub.counters.connects.fetch_add(1, Ordering::Relaxed);
        // Before whoever waited for the link is told: a client that is closed then has said that it was online.
        self.hub.events.state(State::Online, self.hub.id, 0, &self.socket.peer);
        self.hub.events.failed("");
        used.user().clone_into(&mut mux.user);
        mux.link_up(Instant::now());
        drop(mux);
        self.hub.timers.notify_one();
        true
    }

    async fn serve(mut self) -> End {
        let fault = self.turns().await;
        self.hub.left_unread.store(false, Ordering::SeqCst);
        let now = Instant::now();
        let stable = self.whole_since.is_some_and(|since| now - since >= self.hub.settings.stable_after);
        self.hub.paused.store(false, Ordering::SeqCst);
        let mut mux = lock(&self.hub.mux);
        mux.announce();
        for expect in self.asked.queue.drain(..) {
            match expect {
                Expect::Barrier(id) => mux.pinged(id, Outcome::of(Status::Interrupted)),
                Expect::Authenticate(id, _) => authenticated(&mut mux, id, Err(LINK_LOST)),
                Expect::Names | Expect::Ping => {}
            }
        }
        mux.link_down(fault.as_ref().map(|(status, text)| (*status, text.as_str())), self.last_byte, now);
        drop(mux);
        if fault.is_some() {
            self.hub.counters.losts.fetch_add(1, Ordering::Relaxed);
        }
        End { fault, stable }
    }

    /// Serves until the link fails, or until the client is stopped or closed: then there is no fault.
    async fn turns(&mut self) -> Option<(Status, String)> {
        let hub = self.hub;
        let control = hub.control.subscribe();
        // Once, not in each turn: to enter its list and leave it again is a good part of what a lone message costs.
        let mut told = control.clone();
        let mut told = pin!(told.changed());
        let mut sleep = pin!(tokio::time::sleep_until(self.next_timer().into()));
        let mut armed = self.next_timer();
        let mut work = pin!(hub.work.notified());
        let mut unyielded = 0;
        if let Err(fault) = self.parse(Instant::now()) {
            return Some(fault);
        }
        loop {
            if Hub::session_over(&control) {
                return None;
            }
            let now = Instant::now();
            self.fill(now);
            let next = self.next_timer();
            if next < armed {
                armed = next;
                sleep.as_mut().reset(next.into());
            }
            let wake = poll_fn(|cx| {
                if let Poll::Ready(wake) = self.poll_socket(cx) {
                    return Poll::Ready(wake);
                }
                if work.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Wake::Work);
                }
                if told.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Wake::Control);
                }
                sleep.as_mut().poll(cx).map(|()| Wake::Timer)
            })
            .await;
            let result = match wake {
                Wake::Wrote(result) => self.wrote(result),
                Wake::Read(result) => {
                    unyielded += result.as_ref().map_or(0, |count| *count);
                    self.read(result)
                }
                Wake::Work => {
                    work.set(hub.work.notified());
                    Ok(())
                }
                Wake::Timer => {
                    let result = self.timers(Instant::now());
                    armed = self.next_timer();
                    sleep.as_mut().reset(armed.into());
                    result
                }
                Wake::Control => return None,
            };
            if let Err(fault) = result {
                return Some(fault);
            }
            if unyielded >= FAIR_BYTES {
                unyielded = 0;
                self.left = true;
                hub.left_unread.store(true, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let mut io = Pin::new(&mut *self.socket.io);
        if let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty())
            && let Poll::Ready(result) = io.as_mut().poll_write(cx, rest)
        {
            return Poll::Ready(Wake::Wrote(result));
        }
        if self.hub.paused.load(Ordering::SeqCst) {
            if lock(&self.hub.mux).must_pause() {
                return Poll::Pending;
            }
            let now = Instant::now();
            *lock(&self.hub.resumed) = Some(now);
            self.hub.paused.store(false, Ordering::SeqCst);
            self.health.on_bytes(now);
        }
        if !self.reader.prepare() {
            return Poll::Ready(Wake::Read(Err(std::io::ErrorKind::OutOfMemory.into())));
        }
        let Some(space) = self.reader.space() else { return Poll::Pending };
        let mut buf = ReadBuf::new(space);
        match io.as_mut().poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) => Poll::Ready(Wake::Read(Ok(buf.filled().len()))),
            Poll::Ready(Err(error)) => Poll::Ready(Wake::Read(Err(error))),
            Poll::Pending => {
                if std::mem::take(&mut self.left) {
                    self.hub.left_unread.store(false, Ordering::SeqCst);
                }
                if std::mem::take(&mut self.untold) > 0 {
                    lock(&self.hub.mux).announce();
                }
                // What was given to TLS must not stay there.
                let _ = io.poll_flush(cx);
                Poll::Pending
            }
        }
    }

    fn wrote(&mut self, result: std::io::Result<usize>) -> Result<(), (Status, String)> {
        let count = result.map_err(|error| self.lost(&error.to_string()))?;
        if count == 0 {
            return Err(self.lost("nothing can be written any more"));
        }
        self.written += count;
        if self.written == self.out.len() {
            self.out.clear();
            self.out.shrink_to(64 * 1024);
            self.written = 0;
        }
        Ok(())
    }

    fn read(&mut self, result: std::io::Result<usize>) -> Result<(), (Status, String)> {
        match result {
            Ok(0) => Err(self.lost("closed by the server")),
            Ok(count) => {
                self.reader.filled(count);
                self.hub.counters.bytes_in.fetch_add(count as u64, Ordering::Relaxed);
                let now = Instant::now();
                self.health.on_bytes(now);
                self.last_byte = unix_ns();
                self.untold += count;
                self.parse(now)?;
                // A busy socket is always ready, so the timers are looked at here as well.
                self.timers(now)
            }
            Err(error) => Err(self.lost(&error.to_string())),
        }
    }

    fn parse(&mut self, now: Instant) -> Result<(), (Status, String)> {
        while let Some((buffer, from, to)) = self.reader.unread() {
            let mut mux = lock(&self.hub.mux);
            let read_at = (self.last_byte, now);
            let progress = mux.wave(&buffer, from, to, &self.hub.settings.limits, read_at, &mut self.asked)?;
            if mux.full && mux.must_pause() {
                self.hub.paused.store(true, Ordering::SeqCst);
                self.untold = UNTOLD_BYTES;
            }
            if self.untold >= UNTOLD_BYTES || !self.reader.is_filled() {
                mux.announce();
                self.untold = 0;
            }
            self.note_whole(&mux, || now);
            // The time of a promise that was to be made later has begun.
            let timer = mux.needs_timer();
            drop(mux);
            if timer {
                self.hub.timers.notify_one();
            }
            drop(buffer);
            self.reader.used(progress.used, progress.need, progress.skip);
            if progress.skip == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Remembers when everything wanted was first active or refused.
    fn note_whole(&mut self, mux: &Mux, now: impl FnOnce() -> Instant) {
        if self.whole_since.is_none() && mux.registry.is_settled() {
            self.whole_since = Some(now());
            self.hub.events.state(State::Subscribed, self.hub.id, 0, "");
        }
    }

    fn lost(&self, why: &str) -> (Status, String) {
        (Status::LinkLost, format!("lost the connection to {}: {why}", self.socket.peer))
    }

    fn next_timer(&self) -> Instant {
        let next = self.health.deadline().min(self.retry_at);
        self.gather_until.map_or(next, |gather| next.min(gather))
    }

    fn timers(&mut self, now: Instant) -> Result<(), (Status, String)> {
        if now >= self.retry_at {
            self.retry_at = now + self.hub.settings.refused_retry;
            lock(&self.hub.mux).registry.retry_refused(RETRY_NAMES);
        }
        if self.hub.paused.load(Ordering::SeqCst) {
            // Nothing is read, so nothing can be said about the server.
            self.health.on_bytes(now);
            return Ok(());
        }
        match self.health.poll(now) {
            Action::Nothing => Ok(()),
            Action::SendPing => {
                // Silence: what a flood needed is not kept for the next one.
                self.hub.pool.clear();
                resp::command(&mut self.out, &[b"PING"]);
                self.asked.queue.push_back(Expect::Ping);
                self.health.on_ping_sent(now);
                Ok(())
            }
            Action::Dead => {
                let limit = self.hub.settings.ping_timeout;
                Err((Status::PingTimeout, format!("ping timeout: {} was silent for {limit:?}", self.socket.peer)))
            }
        }
    }

    /// Encodes what the registry wants sent, and whatever else waits.
    fn fill(&mut self, now: Instant) {
        self.gather_until = None;
        if self.out.len() - self.written > 256 * 1024 {
            return;
        }
        let mut mux = lock(&self.hub.mux);
        let received = mux.received;
        if received != self.received {
            self.received = received;
            self.busy_until = now + BUSY;
        }
        // First: names that were added behind it are to be asked for as who it makes of us.
        for (id, given) in std::mem::take(&mut mux.auths) {
            self.out.extend_from_slice(&given.command());
            self.asked.queue.push_back(Expect::Authenticate(id, given));
        }
        let mut commands = 0;
        loop {
            let (waiting, outstanding) = mux.registry.backlog();
            if waiting == 0 {
                break;
            }
            self.gather_until = self.asked.pause_until.filter(|&until| now < until);
            if self.gather_until.is_some() {
                break;
            }
            if now < self.busy_until && outstanding > BUSY_BYTES {
                // One each millisecond all the same: to a server that is far away two at a time would take for ever.
                self.gather_until = self.sent_at.map(|at| at + GATHER).filter(|&due| now < due);
                if self.gather_until.is_some() {
                    break;
                }
            }
            if waiting < super::registry::COMMAND_NAMES && !mux.registry.has_batches() {
                if mux.registry.in_flight() > 0 {
                    // Its acknowledgement comes within a round trip, and more names may join until then.
                    break;
                }
                let due = self.sent_at.map(|at| at + GATHER).filter(|&due| waiting > 1 && now < due);
                if due.is_some() {
                    self.gather_until = due;
                    break;
                }
            }
            let out = &mut self.out;
            let Some(sent) = mux.registry.send(|change, kind, names| {
                resp::begin(out, 1 + names.len());
                resp::argument(out, verb(change, kind));
                for name in names {
                    resp::argument(out, name);
                }
            }) else {
                break;
            };
            if sent {
                self.asked.queue.push_back(Expect::Names);
                self.asked.commands += 1;
                self.sent_at = Some(now);
                commands += 1;
            }
        }
        if commands > 0 {
            self.hub.counters.commands.fetch_add(commands, Ordering::Relaxed);
        }
        for id in std::mem::take(&mut mux.pings) {
            resp::command(&mut self.out, &[b"PING"]);
            self.asked.queue.push_back(Expect::Barrier(id));
        }
        self.note_whole(&mux, || now);
    }
}

fn verb(change: Change, kind: Kind) -> &'static [u8] {
    match (change, kind) {
        (Change::Subscribed, Kind::Channel) => b"SUBSCRIBE",
        (Change::Subscribed, Kind::Pattern) => b"PSUBSCRIBE",
        (Change::Subscribed, Kind::Shard) => b"SSUBSCRIBE",
        (Change::Unsubscribed, Kind::Channel) => b"UNSUBSCRIBE",
        (Change::Unsubscribed, Kind::Pattern) => b"PUNSUBSCRIBE",
        (Change::Unsubscribed, Kind::Shard) => b"SUNSUBSCRIBE",
    }
}
