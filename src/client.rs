//! The front door: opens a client, owns what belongs to it, closes it.
//!
//! A [`Client`] ties together the hub that its tasks share, its inboxes, its ready list and its dispatcher. `ffi/` maps
//! each function of the C ABI onto one method here or on [`Hub`].

use crate::buffer::Buffer;
use crate::error::{Error, Result, Status};
use crate::inbox::budget::{Config, Policy};
use crate::inbox::dispatch::{Dispatcher, Sink, inside_callback};
use crate::inbox::ready::Ready;
use crate::inbox::{Budget, BufferPool, Inbox, Kind, Lent, RecordIn};
use crate::mux::events::{Events, Level, State};
use crate::mux::hub::{Counters, Credentials, Hub, Known, Questions, Run, Trial, run_timers};
use crate::mux::ops::{COMPLETION_ROOM, Op, Outcome, What};
use crate::mux::outgoing::Outgoing;
use crate::mux::subscription::Ticket;
use crate::mux::{Mux, actor, publisher};
use crate::options::{Key, Options};
use crate::settings::{inbox_config, log_level, settings, text};
use crate::sync::{Arc, Mutex, lock};
use crate::wheel::{self, Nudge};
use crate::{runtime, stats};
use std::collections::HashMap;
use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How the events of a client are wanted.
pub enum EventsBy {
    /// Not at all.
    None,
    /// By taking blocks.
    Take,
    /// By a callback.
    Callback(Box<dyn Sink>),
}

/// An open client.
pub struct Client {
    hub: Arc<Hub>,
    options: Options,
    budget: StdArc<Budget>,
    ready: StdArc<Ready>,
    dispatcher: Arc<Dispatcher>,
    inboxes: Mutex<HashMap<u64, Arc<Inbox>>>,
    /// Closed inboxes whose last callback may still run: the client's close waits for them too.
    leaving: Mutex<Vec<Arc<Inbox>>>,
    events: Option<Arc<Inbox>>,
    /// Made when something is first asked or served.
    buffer: Mutex<Option<Arc<Buffer>>>,
    /// Set by the first close.
    closing: AtomicBool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("id", &self.hub.id).finish_non_exhaustive()
    }
}

/// The event inbox has 1 MiB of its own, and gives way oldest first.
const EVENT_BYTES: usize = 1024 * 1024;

impl Client {
    /// Opens a client. Nothing is awaited: the server may be away, and is connected to as soon as it is there.
    pub fn open(options: Options, events: EventsBy) -> Result<Arc<Client>> {
        Client::open_known(options, events, |_| ())
    }

    /// Opens a client, and makes it known before it does anything: its first event may ask something of who is called.
    pub fn open_known(mut options: Options, events: EventsBy, known: impl FnOnce(&Arc<Client>)) -> Result<Arc<Client>> {
        if !options.has_environment() {
            options.set_process_environment()?;
        }
        options.check()?;
        let settings = settings(&options)?;
        if (settings.ask_address || settings.ask_credentials) && matches!(events, EventsBy::None) {
            return Err(Error::new(Status::InvalidValue, "ask needs an event inbox, where the questions come"));
        }
        let id = runtime::next_id();
        let budget = StdArc::new(Budget::new(options.bytes(Key::ClientBytes)));
        // A wrapper looks again where a look found nothing; others are promised that it finds something.
        let ready = StdArc::new(Ready::new(!options.text(Key::Wrapper).is_empty()));
        let config = Config { bytes: EVENT_BYTES, records: 0, policy: Policy::DropOldest };
        // Weak: the event inbox may itself be served by this dispatcher, and would keep it for ever.
        let slot: StdArc<std::sync::OnceLock<std::sync::Weak<Hub>>> = StdArc::default();
        let told = StdArc::clone(&slot);
        let dispatcher =
            Arc::new(Dispatcher::new(options.number(Key::CallbackThreads) as usize, move |inbox, code| {
                // That of the event inbox would be told to itself, fail again, and so for ever.
                let others = |hub: &Arc<Hub>| hub.events.inbox().is_none_or(|events| events.id() != inbox);
                if let Some(hub) = told.get().and_then(std::sync::Weak::upgrade).filter(others) {
                    let text = format!("the callback of inbox {inbox:#x} returned {code}; delivery goes on");
                    hub.events.log(Level::Warn, &text);
                }
            }));
        // What is told when all others are full is told there.
        let own = || StdArc::new(Budget::new(EVENT_BYTES));
        let event_inbox = match events {
            EventsBy::None => None,
            EventsBy::Take => {
                let (budget, ready) = (own(), StdArc::clone(&ready));
                Some(Inbox::by_take(runtime::next_id(), config, budget, ready, || {}))
            }
            EventsBy::Callback(sink) => {
                dispatcher.start().map_err(|error| Error::new(Status::Internal, error.to_string()))?;
                let (budget, dispatcher) = (own(), Arc::clone(&dispatcher));
                Some(Inbox::by_callback(runtime::next_id(), config, budget, dispatcher, sink, || {}))
            }
        };
        let events = Events::new(event_inbox.clone(), log_level(&options));
        let credentials = Credentials { user: text(&options, Key::User), password: text(&options, Key::Password) };
        let hub = Arc::new(Hub {
            id,
            settings,
            mux: Mutex::new(Mux::new(events.clone())),
            outgoing: Mutex::new(Outgoing::default()),
            work: Nudge::default(),
            publish_work: Nudge::default(),
            timers: Nudge::default(),
            control: watch::Sender::new(Run::Running),
            paused: AtomicBool::new(false),
            left_unread: AtomicBool::new(false),
            resumed: Mutex::new(None),
            credentials: Arc::new(Mutex::new(Known::new(credentials))),
            questions: Questions::default(),
            events,
            counters: Counters::default(),
            pool: StdArc::new(BufferPool::default()),
            greeting: Mutex::new(None),
        });
        let _ = slot.set(Arc::downgrade(&hub));
        // Its threads end with a client, and there will be none.
        let handle = runtime::admit(&hub).inspect_err(|_| dispatcher.end())?;
        let inboxes = event_inbox.iter().map(|inbox| (inbox.id(), Arc::clone(inbox))).collect();
        let client = Arc::new(Client {
            hub: Arc::clone(&hub),
            options,
            budget,
            ready,
            dispatcher,
            inboxes: Mutex::new(inboxes),
            leaving: Mutex::new(Vec::new()),
            events: event_inbox,
            buffer: Mutex::new(None),
            closing: AtomicBool::new(false),
        });
        known(&client);
        supervise(&handle, &hub, "subscriber link", actor::run(Arc::clone(&hub)));
        supervise(&handle, &hub, "publish link", publisher::run(Arc::clone(&hub)));
        supervise(&handle, &hub, "timers", run_timers(Arc::clone(&hub)));
        Ok(client)
    }

    /// Its id.
    pub fn id(&self) -> u64 {
        self.hub.id
    }

    /// The half that it shares with its tasks.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The event inbox, if there is one.
    pub fn events(&self) -> Option<&Arc<Inbox>> {
        self.events.as_ref()
    }

    /// The ready list.
    pub fn ready_list(&self) -> &StdArc<Ready> {
        &self.ready
    }

    /// The options that it was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What asks and serves for this client, made when it is first needed.
    pub fn buffer(&self) -> Result<Arc<Buffer>> {
        let mut buffer = lock(&self.buffer);
        if let Some(buffer) = &*buffer {
            return Ok(Arc::clone(buffer));
        }
        self.check_open()?;
        let (made, task) = Buffer::start(&self.hub, self.options.text(Key::Namespace))?;
        supervise(&runtime::handle()?, &self.hub, "requests", task);
        *buffer = Some(Arc::clone(&made));
        Ok(made)
    }

    fn existing_buffer(&self) -> Option<Arc<Buffer>> {
        lock(&self.buffer).clone()
    }

    fn check_open(&self) -> Result<(), Status> {
        if self.closing.load(Ordering::SeqCst) { Err(Status::Closed) } else { Ok(()) }
    }

    /// A new inbox, by callback if there is a sink. Options that are not given are those of the client.
    pub fn new_inbox(&self, options: Option<&Options>, sink: Option<Box<dyn Sink>>) -> Result<Arc<Inbox>> {
        self.check_open()?;
        let config = inbox_config(options.unwrap_or(&self.options));
        let hub = Arc::downgrade(&self.hub);
        let (id, budget) = (runtime::next_id(), StdArc::clone(&self.budget));
        let spent = StdArc::clone(&budget);
        let on_room = move || {
            if let Some(hub) = hub.upgrade() {
                hub.room();
            }
            if spent.burst_is_over() {
                runtime::give_memory_back_soon();
            }
        };
        let inbox = match sink {
            None => Inbox::by_take(id, config, budget, StdArc::clone(&self.ready), on_room),
            Some(sink) => {
                self.dispatcher.start().map_err(|error| Error::new(Status::Internal, error.to_string()))?;
                Inbox::by_callback(id, config, budget, Arc::clone(&self.dispatcher), sink, on_room)
            }
        };
        lock(&self.inboxes).insert(id, Arc::clone(&inbox));
        // A close that began meanwhile may have ended those that it found.
        if let Err(closed) = self.check_open() {
            lock(&self.inboxes).remove(&id);
            let _ = inbox.close(None);
            return Err(closed.into());
        }
        Ok(inbox)
    }

    /// Closes an inbox: its sources end, its completions are discarded.
    pub fn close_inbox(&self, inbox: &Arc<Inbox>, deadline: Option<Instant>) -> Result<(), Status> {
        if !inbox.is_taken() {
            lock(&self.leaving).push(Arc::clone(inbox));
        }
        lock(&self.inboxes).remove(&inbox.id());
        if let Some(buffer) = self.existing_buffer() {
            buffer.close_inbox(inbox.id());
        }
        lock(&self.hub.mux).close_inbox(inbox.id());
        self.hub.work.notify_one();
        let result = inbox.close(deadline);
        // What another thread opened or asked into it since; from here on it sees that the inbox is closed.
        if let Some(buffer) = self.existing_buffer() {
            buffer.close_inbox(inbox.id());
        }
        lock(&self.hub.mux).close_inbox(inbox.id());
        self.hub.work.notify_one();
        lock(&self.leaving).retain(|inbox| !inbox.is_quiet());
        result
    }

    /// Ends the operations of an inbox with a token. Returns how many were asked to end.
    pub fn cancel(&self, inbox: u64, token: u64) -> usize {
        let ended = lock(&self.hub.mux).cancel(inbox, token);
        if ended > 0 {
            // The channel of a promise by name may have to be let go, and the link may be idle until its next PING.
            self.hub.work.notify_one();
        }
        let gathers = self.existing_buffer().map_or(0, |buffer| buffer.cancel(inbox, token));
        ended + gathers + self.hub.cancel_publishes(inbox, |one| one == token).len()
    }

    fn begin(&self, ticket: Ticket, what: What) -> Result<u64> {
        let inbox = ticket.inbox.ok_or_else(|| Error::new(Status::InvalidArgument, "this operation needs an inbox"))?;
        inbox.reserve(COMPLETION_ROOM)?;
        let (token, deadline) = (ticket.token, ticket.deadline);
        let op = Op { inbox, token, source: self.hub.id, room: COMPLETION_ROOM, deadline, what };
        let mut mux = lock(&self.hub.mux);
        if mux.is_closed() {
            // Another thread closed the client since the call was let in.
            op.inbox.unreserve(COMPLETION_ROOM);
            return Err(Status::Closed.into());
        }
        let id = mux.ops.begin(op);
        if mux.needs_timer() {
            self.hub.timers.notify_one();
        }
        Ok(id)
    }

    /// Completes when the subscriber link is up.
    pub fn ready(&self, ticket: Ticket) -> Result<()> {
        self.check_open()?;
        let id = self.begin(ticket, What::Ready)?;
        let mut mux = lock(&self.hub.mux);
        if mux.online() {
            let number = mux.generation();
            mux.ops.end(id, Outcome { number, ..Outcome::default() });
        }
        Ok(())
    }

    /// Completes when every publish handed in before is answered.
    pub fn flush(&self, ticket: Ticket) -> Result<()> {
        self.check_open()?;
        let id = self.begin(ticket, What::Client)?;
        self.hub.after_publishes(id, false);
        Ok(())
    }

    /// Completes behind everything that was published before, in the order of the subscriber link.
    pub fn barrier(&self, ticket: Ticket) -> Result<()> {
        self.check_open()?;
        let id = self.begin(ticket, What::Barrier)?;
        self.hub.after_publishes(id, true);
        Ok(())
    }

    /// Authenticates the live links again, and every later one.
    pub fn authenticate(&self, user: Option<&str>, password: &str, ticket: Ticket) -> Result<()> {
        self.check_open()?;
        let tried = Credentials { user: user.map(str::to_owned), password: Some(password.to_owned()) };
        let known = Arc::clone(&self.hub.credentials);
        let id = self.begin(ticket, What::Authenticate)?;
        lock(&known).give(tried.clone());
        lock(&self.hub.mux).trials.insert(id, Trial { links: 2, known, tried: tried.clone() });
        let publisher = self.hub.authenticate_publisher(id, &tried.command());
        let mut mux = lock(&self.hub.mux);
        if !publisher {
            actor::authenticated(&mut mux, id, Ok(()));
        }
        if mux.online() {
            mux.auths.push((id, tried));
            drop(mux);
            self.hub.work.notify_one();
        } else {
            actor::authenticated(&mut mux, id, Ok(()));
        }
        Ok(())
    }

    /// Disconnects and keeps what is subscribed. `STOPPED` if it was stopped before.
    pub fn stop(&self) -> Result<(), Status> {
        self.check_open()?;
        // Before the link is told: one that came up after a restart must not be taken for the old one.
        lock(&self.hub.mux).leave();
        let changed = self.hub.control.send_if_modified(|run| {
            let was = *run == Run::Running;
            if was {
                *run = Run::Stopped;
            }
            was
        });
        if !changed {
            return Err(Status::Stopped);
        }
        if let Some(buffer) = self.existing_buffer() {
            buffer.stopped();
        }
        self.hub.stop_publishing(Status::Stopped);
        self.hub.questions.abandon();
        self.hub.events.failed("");
        self.hub.events.state(State::Stopped, self.hub.id, 0, "stopped by the application");
        Ok(())
    }

    /// Connects a stopped client again. `NOT_STOPPED` if it was not.
    pub fn restart(&self) -> Result<(), Status> {
        self.check_open()?;
        if self.hub.start() { Ok(()) } else { Err(Status::NotStopped) }
    }

    /// What it counted.
    pub fn stats(&self) -> String {
        let inboxes = lock(&self.inboxes).len();
        let buffer = self.existing_buffer().map(|buffer| buffer.stats());
        stats::of(&self.hub, inboxes, &self.budget, buffer).to_string()
    }

    /// Closes the client, on an application's thread until `deadline` at most.
    ///
    /// First what was published is given its time, then every source and operation ends, then callbacks get what
    /// their inboxes hold. When it returns `Ok` on an application's thread no callback of it runs or will run.
    pub fn close(&self, deadline: Option<Instant>) -> Result<(), Status> {
        if self.closing.swap(true, Ordering::SeqCst) {
            return Err(Status::Closed);
        }
        self.close_buffer();
        if !inside_callback() {
            let _ = self.finish_publishing(deadline);
        }
        self.finish(None, deadline)
    }

    /// Begins to close, and completes when every source and operation has ended.
    pub fn close_begin(self: &Arc<Client>, ticket: Ticket) -> Result<()> {
        let inbox =
            ticket.inbox.ok_or_else(|| Error::new(Status::InvalidArgument, "the close completes in an inbox"))?;
        inbox.reserve(COMPLETION_ROOM)?;
        if self.closing.swap(true, Ordering::SeqCst) {
            inbox.unreserve(COMPLETION_ROOM);
            return Err(Status::Closed.into());
        }
        let (client, told) = (Arc::clone(self), Arc::clone(&inbox));
        let (token, deadline) = (ticket.token, ticket.deadline);
        // A thread of its own, because publishes are waited for, and the library's thread answers them.
        let thread = std::thread::Builder::new().name("redmux-close".into());
        let finish = move || {
            client.close_buffer();
            let status = client.finish_publishing(deadline);
            let _ = client.finish(Some((told, token, status)), deadline);
        };
        crate::sys::without_signals(|| thread.spawn(finish)).map(drop).map_err(|error| {
            // It can be closed in another way, or later.
            inbox.unreserve(COMPLETION_ROOM);
            self.closing.store(false, Ordering::SeqCst);
            Error::new(Status::Internal, format!("cannot start a thread: {error}"))
        })
    }

    /// Ends what is asked and served. First: whoever waits for an answer of ours is told, by a last publish.
    fn close_buffer(&self) {
        if let Some(buffer) = self.existing_buffer() {
            buffer.close();
        }
    }

    /// Waits until what was published is answered, or until the deadline.
    fn finish_publishing(&self, deadline: Option<Instant>) -> Status {
        if !self.hub.running() || lock(&self.hub.outgoing).backlog().1 == 0 {
            return Status::Ok;
        }
        let waiter = self.waiter();
        let ticket = Ticket { inbox: Some(Arc::clone(&waiter)), token: 0, deadline };
        let Ok(id) = self.begin(ticket, What::Client) else { return Status::Internal };
        self.hub.after_publishes(id, false);
        match waiter.take(None) {
            Ok(lent) => lent.records().first().and_then(|r| Status::from_code(r.status)).unwrap_or(Status::Internal),
            Err(status) => status,
        }
    }

    fn finish(&self, done: Option<(Arc<Inbox>, u64, Status)>, deadline: Option<Instant>) -> Result<(), Status> {
        self.end();
        if let Some((inbox, token, status)) = done {
            let record = RecordIn { status: status.code(), ..RecordIn::new(Kind::Done, self.hub.id, token) };
            inbox.complete(&record, COMPLETION_ROOM);
        }
        let inboxes: Vec<Arc<Inbox>> = lock(&self.inboxes).drain().map(|(_, inbox)| inbox).collect();
        for inbox in &inboxes {
            inbox.end();
        }
        let leaving = std::mem::take(&mut *lock(&self.leaving));
        let mut result = Ok(());
        for inbox in inboxes.iter().chain(&leaving) {
            if let Err(status) = inbox.wait_quiet(deadline) {
                result = Err(status);
            }
        }
        self.dispatcher.end();
        self.ready.close();
        self.hub.pool.clear();
        result
    }

    fn end(&self) {
        self.close_buffer();
        self.hub.end(Status::Closed);
        runtime::unregister(self.hub.id);
    }

    /// An inbox for one blocking call, outside the ready list and the budgets.
    pub fn waiter(&self) -> Arc<Inbox> {
        let config = Config { bytes: usize::MAX / 4, records: 0, policy: Policy::DropNewest };
        let budget = StdArc::new(Budget::new(usize::MAX / 4));
        // A list of its own that takes nothing: the two would hold each other, and each blocking call would leak.
        let unlisted = StdArc::new(Ready::default());
        unlisted.clear();
        Inbox::by_take(runtime::next_id(), config, budget, unlisted, || {})
    }

    /// Runs an operation and waits for its completion: the one way in which blocking calls are made.
    pub fn wait_for(
        &self,
        limit: Option<Duration>,
        start: impl FnOnce(Ticket) -> Result<()>,
        mut done: impl FnMut(&Lent) -> Option<Result<()>>,
    ) -> Result<()> {
        if inside_callback() {
            let text = "a blocking call inside a callback would wait for itself; use the form that completes later";
            return Err(Error::new(Status::WouldDeadlock, text));
        }
        let waiter = self.waiter();
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        start(Ticket { inbox: Some(Arc::clone(&waiter)), token: 0, deadline })?;
        loop {
            // The operation has the deadline; its completion always comes.
            let lent = waiter.take(None)?;
            if let Some(result) = done(&lent) {
                return result;
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.closing.swap(true, Ordering::SeqCst) {
            self.end();
            for (_, inbox) in lock(&self.inboxes).drain() {
                inbox.end();
            }
            self.dispatcher.end();
            self.ready.close();
        }
        self.ready.clear();
    }
}

/// Runs a task; if it panics, that client ends with `INTERNAL` and the others go on.
fn supervise(
    handle: &tokio::runtime::Handle,
    hub: &Arc<Hub>,
    what: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let task = wheel::spawn(handle, task);
    let hub = Arc::clone(hub);
    wheel::spawn(handle, async move {
        if task.await.is_err_and(|error| error.is_panic()) {
            let text = format!("a defect in the task of the {what}; this client is closed, others go on");
            hub.events.log(Level::Error, &text);
            hub.end(Status::Internal);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ignore;

    impl Sink for Ignore {
        fn deliver(&mut self, _: &Lent) -> i32 {
            1
        }
    }

    #[test]
    fn a_closed_client_with_an_event_callback_leaves_nothing_behind() {
        let mut options = Options::new();
        options.set_url("redis://127.0.0.1:1").unwrap();
        options.set("log_level", "debug").unwrap();
        let client = Client::open(options, EventsBy::Callback(Box::new(Ignore))).unwrap();
        let inbox = Arc::downgrade(client.events().unwrap());
        client.close(None).unwrap();
        drop(client);
        let deadline = Instant::now() + Duration::from_secs(10);
        while inbox.strong_count() > 0 {
            assert!(Instant::now() < deadline, "{} still hold the event inbox", inbox.strong_count());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
