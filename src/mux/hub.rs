//! What the tasks and the callers of one client share.
//!
//! Callers change state under its locks and wake a task; tasks own the sockets. Lock order: mux, outgoing, inbox;
//! none is held across an await or a callback.

use super::Mux;
use super::events::Events;
use super::outgoing::Outgoing;
use crate::error::{Error, Result, Status};
use crate::inbox::{BufferPool, Kind, RecordIn};
use crate::link::dial::{Address, DialOptions, Socket, dial};
use crate::link::handshake::{Greeting, Hello, auth_command, greet};
use crate::proto::resp::Limits;
use crate::sync::{Arc, Mutex, lock};
use crate::wheel::Nudge;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// What the links of a client need to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the server is, unless the application is asked.
    pub address: Address,
    /// How to reach it.
    pub dial: DialOptions,
    /// CLIENT SETNAME.
    pub name: String,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: String,
    /// Names and payloads.
    pub limits: Limits,
    /// Silence before a PING.
    pub ping_interval: Duration,
    /// Silence after a PING.
    pub ping_timeout: Duration,
    /// The cap of the first pause between attempts.
    pub backoff_min: Duration,
    /// The cap of all pauses.
    pub backoff_max: Duration,
    /// How long a link must have been whole before pauses begin small again.
    pub stable_after: Duration,
    /// How often refused names are tried again.
    pub refused_retry: Duration,
    /// Bytes of publishes that may wait.
    pub publish_queue: usize,
    /// Ask the application for the address at each attempt.
    pub ask_address: bool,
    /// Ask the application for user and password at each attempt.
    pub ask_credentials: bool,
}

/// User and password; never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The ACL user; none is `default`.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
}

/// Who we are, as far as that is known.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The last that the application gave, unless a server refused them.
    given: Option<Credentials>,
    /// What was last taken by all links that were there, or was given when the client was opened.
    confirmed: Credentials,
}

/// Credentials that the links were asked to take.
#[derive(Debug)]
pub struct Trial {
    /// How many answers are outstanding.
    pub links: usize,
    /// Who we are, which they settle.
    pub known: Arc<Mutex<Known>>,
    /// What is tried.
    pub tried: Credentials,
}

impl Known {
    /// What was given when the client was opened.
    pub fn new(confirmed: Credentials) -> Known {
        Known { given: None, confirmed }
    }

    /// What the next link says.
    pub fn current(&self) -> &Credentials {
        self.given.as_ref().unwrap_or(&self.confirmed)
    }

    /// The application gave others.
    pub fn give(&mut self, credentials: Credentials) {
        self.given = Some(credentials);
    }

    /// All links took these.
    pub fn taken(&mut self, tried: &Credentials) {
        self.confirmed.clone_from(tried);
    }

    /// A server refused these, which later links must not repeat. Others may have been given since.
    pub fn refused(&mut self, tried: &Credentials) {
        self.given.take_if(|given| given == tried);
    }
}

impl Credentials {
    /// The user as the server knows it.
    pub fn user(&self) -> &str {
        self.user.as_deref().filter(|user| !user.is_empty()).unwrap_or("default")
    }

    /// The command that authenticates a live link anew.
    pub fn command(&self) -> Vec<u8> {
        let mut command = Vec::new();
        auth_command(&mut command, self.user.as_deref(), self.password.as_deref().unwrap_or_default());
        command
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What a client is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Be connected.
    Running,
    /// Be disconnected and keep what is subscribed.
    Stopped,
    /// End.
    Closed,
}

/// Counters of both links.
#[derive(Debug, Default)]
pub struct Counters {
    /// Attempts to connect the subscriber link.
    pub attempts: AtomicU64,
    /// Times it came up.
    pub connects: AtomicU64,
    /// Times it was lost.
    pub losts: AtomicU64,
    /// Bytes read by it.
    pub bytes_in: AtomicU64,
    /// SUBSCRIBE and UNSUBSCRIBE commands sent, of all kinds.
    pub commands: AtomicU64,
    /// Publishes and posts taken in.
    pub published: AtomicU64,
    /// Publishes and posts that were lost, or may have been.
    pub publish_lost: AtomicU64,
    /// Times the publish link came up.
    pub publish_connects: AtomicU64,
}

type Answer = std::result::Result<Vec<Vec<u8>>, Status>;

/// Questions that the application has not answered yet.
#[derive(Debug, Default)]
pub struct Questions {
    next: AtomicU64,
    open: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
}

impl Questions {
    /// Hands over an answer. `TIMEOUT` if nobody waits for it any more.
    pub fn answer(&self, id: u64, answer: Answer) -> std::result::Result<(), Status> {
        let waiting = lock(&self.open).remove(&id).ok_or(Status::Timeout)?;
        waiting.send(answer).map_err(|_| Status::Timeout)
    }

    /// The attempts that asked are given up: every answer is late from now on.
    pub fn abandon(&self) {
        lock(&self.open).clear();
    }
}

/// An open question, forgotten when its attempt is dropped: a stop in the middle of a dial left it open for ever.
struct Asking<'a> {
    questions: &'a Questions,
    id: u64,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        lock(&self.questions.open).remove(&self.id);
    }
}

/// The shared half of a client.
#[derive(Debug)]
pub struct Hub {
    /// The client's id, the source of its own records.
    pub id: u64,
    /// What the links need to know.
    pub settings: Settings,
    /// Names, sources and operations.
    pub mux: Mutex<Mux>,
    /// Publishes on their way.
    pub outgoing: Mutex<Outgoing>,
    /// There is work for the subscriber link's task.
    pub work: Nudge,
    /// There is work for the publish link's task.
    pub publish_work: Nudge,
    /// An earlier deadline was set.
    pub timers: Nudge,
    /// What the client is to do.
    pub control: watch::Sender<Run>,
    /// The subscriber link waits for room in an inbox.
    pub paused: AtomicBool,
    /// It had its turn and may have left something in the socket, for its next one.
    pub left_unread: AtomicBool,
    /// When it last went on reading behind such a pause.
    pub resumed: Mutex<Option<Instant>>,
    /// Who we are.
    pub credentials: Arc<Mutex<Known>>,
    /// Questions under way.
    pub questions: Questions,
    /// Where states and logs go.
    pub events: Events,
    /// Counters.
    pub counters: Counters,
    /// Read buffers.
    pub pool: std::sync::Arc<BufferPool>,
    /// What the server said of itself.
    pub greeting: Mutex<Option<Greeting>>,
}

impl Hub {
    /// Ask the application. Its event inbox was checked to exist when the option was read.
    async fn ask(&self, what: &str, limit: Duration) -> Result<Vec<Vec<u8>>> {
        let Some(inbox) = self.events.inbox() else {
            return Err(Error::new(Status::InvalidValue, "ask needs an event inbox"));
        };
        let id = self.questions.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = oneshot::channel();
        lock(&self.questions.open).insert(id, sender);
        let _asking = Asking { questions: &self.questions, id };
        let deadline = super::unix_ns() + limit.as_nanos() as u64;
        inbox.push(&RecordIn {
            number: id,
            aux: deadline,
            name: what.as_bytes(),
            ..RecordIn::new(Kind::Question, self.id, 0)
        });
        match tokio::time::timeout(limit, receiver).await {
            Ok(Ok(Ok(values))) => Ok(values),
            Ok(Ok(Err(status))) => Err(Error::new(status, format!("the application refused to give the {what}"))),
            _ => Err(Error::new(Status::Timeout, format!("the application did not answer the question for {what}"))),
        }
    }

    async fn address(&self) -> Result<Address> {
        if !self.settings.ask_address {
            return Ok(self.settings.address.clone());
        }
        let values = self.ask("address", self.settings.dial.connect_timeout).await?;
        let text = |at: usize| values.get(at).map(|value| String::from_utf8_lossy(value).into_owned());
        let host = text(0).unwrap_or_default();
        if host.starts_with('/') {
            return Ok(Address::Unix(host.into()));
        }
        let port = text(1).unwrap_or_else(|| "6379".into());
        match port.parse() {
            Ok(port) if !host.is_empty() => Ok(Address::Tcp { host, port }),
            _ => {
                Err(Error::new(Status::InvalidValue, format!("the answer {host:?}, {port:?} is not a host and a port")))
            }
        }
    }

    async fn current_credentials(&self) -> Result<Credentials> {
        if !self.settings.ask_credentials {
            return Ok(lock(&self.credentials).current().clone());
        }
        let values = self.ask("credentials", self.settings.dial.connect_timeout).await?;
        let text = |value: &Vec<u8>| String::from_utf8_lossy(value).into_owned();
        Ok(match values.as_slice() {
            [password] => Credentials { user: None, password: Some(text(password)) },
            [user, password, ..] => Credentials { user: Some(text(user)), password: Some(text(password)) },
            [] => Credentials::default(),
        })
    }

    /// Whether others were given since a link was made with these. Whoever gave them was told that all links have them, so
    /// it is to be made again. Asked under the lock under which it is said that the link is there.
    pub(super) fn outdated(&self, used: &Credentials) -> bool {
        !self.settings.ask_credentials && lock(&self.credentials).current() != used
    }

    /// One attempt: address, credentials, socket, greeting.
    pub async fn connect(&self) -> Result<(Socket, Greeting, Credentials)> {
        let address = self.address().await?;
        let credentials = self.current_credentials().await?;
        let began = Instant::now();
        let mut socket = dial(&address, &self.settings.dial).await?;
        let hello = Hello {
            user: credentials.user.as_deref().filter(|user| !user.is_empty()),
            password: credentials.password.as_deref().filter(|password| !password.is_empty()),
            client_name: &self.settings.name,
            lib_name: &self.settings.lib_name,
            lib_version: env!("CARGO_PKG_VERSION"),
            db: None,
        };
        let limit = self.settings.dial.connect_timeout;
        match tokio::time::timeout(limit.saturating_sub(began.elapsed()), greet(&mut socket.io, &hello)).await {
            Ok(greeting) => Ok((socket, greeting?, credentials)),
            Err(_) => Err(Error::new(Status::Connect, format!("{address} did not answer HELLO within {limit:?}"))),
        }
    }

    /// Whether the client is to be connected.
    pub fn running(&self) -> bool {
        *self.control.borrow() == Run::Running
    }

    /// Whether a session that began when `control` was last looked at must end. A stop and a restart between two turns
    /// end it too: its answers would belong to what was asked before.
    pub fn session_over(control: &watch::Receiver<Run>) -> bool {
        control.has_changed().unwrap_or(true) || *control.borrow() != Run::Running
    }

    /// Ends every source and operation, and then the links.
    pub fn end(&self, status: Status) {
        // The sources first: the link, told to end, interrupts what still waits, and a promise ended as interrupted.
        lock(&self.mux).close_all(status);
        self.control.send_replace(Run::Closed);
        self.stop_publishing(status);
        self.questions.abandon();
    }

    /// Until when the subscriber link was not read because an inbox was full, if it ever was so: until now, if it is.
    pub fn deaf_until(&self, now: Instant) -> Option<Instant> {
        // It is said when it went on before it is said that it did.
        if self.paused.load(Ordering::SeqCst) { Some(now) } else { *lock(&self.resumed) }
    }

    /// Called when an inbox got room: a paused link may read again.
    pub fn room(&self) {
        if self.paused.load(Ordering::SeqCst) {
            self.work.notify_one();
        }
    }
}

/// The first of two futures.
pub enum Either<A, B> {
    /// The first one was ready.
    Left(A),
    /// The second one was.
    Right(B),
}

/// Waits for either; the other is dropped.
pub async fn race<A: Future, B: Future>(a: A, b: B) -> Either<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(a) = a.as_mut().poll(cx) {
            return Poll::Ready(Either::Left(a));
        }
        b.as_mut().poll(cx).map(Either::Right)
    })
    .await
}

/// Ends operations whose time is over, until the client closes.
pub async fn run_timers(hub: Arc<Hub>) {
    let mut control = hub.control.subscribe();
    loop {
        let notified = hub.timers.notified();
        let (next, work) = {
            let mut mux = lock(&hub.mux);
            // A promise or a drain that ran out of time lets its name go, and the link may be idle until its next PING.
            (mux.expire(Instant::now()), mux.registry.backlog().0 > 0)
        };
        if work {
            hub.work.notify_one();
        }
        hub.room();
        let sleep = async {
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        };
        if let Either::Right(_) = race(race(notified, sleep), control.wait_for(|run| *run == Run::Closed)).await {
            return;
        }
    }
}
