//! A tap on an inbox: its records as events that own their bytes, each awaited with one generous bound.
//!
//! Not part of `support/mod.rs`, which must not know the library: a test that wants it writes
//! `#[path = "support/tap.rs"] mod tap;` beside `mod support;`.

#![allow(dead_code, reason = "each test uses its part")]

use redmux::client::{Client, EventsBy};
use redmux::error::Status;
use redmux::inbox::{Inbox, Kind, Record};
use redmux::mux::events::State;
use redmux::mux::subscription::Ticket;
use redmux::options::Options;
use redmux::runtime::next_id;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an event is awaited before a test says that it did not come.
pub const BOUND: Duration = Duration::from_secs(10);

/// One record, with its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    pub kind: Kind,
    pub flags: u16,
    /// A status' code; `status()` gives the status.
    pub code: i32,
    pub source: u64,
    pub token: u64,
    pub number: u64,
    pub aux: u64,
    pub name: Vec<u8>,
    pub extra: Vec<u8>,
    pub data: Vec<u8>,
}

impl Event {
    /// The event of a record of a block with that data.
    pub fn of(record: &Record, data: &[u8]) -> Event {
        let kind = Kind::ALL.into_iter().find(|&kind| record.is(kind));
        Event {
            kind: kind.unwrap_or_else(|| panic!("a record of the unknown kind {}", record.kind)),
            flags: record.flags,
            code: record.status,
            source: record.source,
            token: record.token,
            number: record.number,
            aux: record.aux,
            name: record.name(data).to_vec(),
            extra: record.extra(data).to_vec(),
            data: record.payload(data).to_vec(),
        }
    }

    /// Its status.
    pub fn status(&self) -> Status {
        Status::from_code(self.code).unwrap_or_else(|| panic!("the unknown status {}", self.code))
    }

    /// The extra bytes as text: an error's sentence, a line of log.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.extra).into_owned()
    }

    /// The payload as text.
    pub fn payload(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    /// The name as text.
    pub fn channel(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// Whether it says that the client is in that state.
    pub fn is_state(&self, state: State) -> bool {
        self.kind == Kind::State && self.number == state as u64
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let data = self.data.get(..64).unwrap_or(&self.data);
        write!(f, "{:?}", self.kind)?;
        if self.code != 0 {
            write!(f, " {:?}", self.status())?;
        }
        write!(f, " source={:#x} token={} number={} aux={}", self.source, self.token, self.number, self.aux)?;
        write!(f, " name={:?} extra={:?} data={:?}", self.channel(), self.text(), String::from_utf8_lossy(data))
    }
}

/// Takes records from an inbox.
pub struct Tap {
    inbox: Arc<Inbox>,
    waiting: VecDeque<Event>,
}

impl Tap {
    /// A tap on an inbox of its own, drained by nobody else.
    pub fn new(inbox: &Arc<Inbox>) -> Tap {
        Tap { inbox: Arc::clone(inbox), waiting: VecDeque::new() }
    }

    /// A tap on a new inbox of that client.
    #[track_caller]
    pub fn on(client: &Client) -> Tap {
        Tap::new(&client.new_inbox(None, None).expect("an inbox"))
    }

    /// A tap on a new inbox with options of its own, e.g. `[("inbox_records", "10")]`.
    #[track_caller]
    pub fn with(client: &Client, options: &[(&str, &str)]) -> Tap {
        let options = with_options(client.options().clone(), options);
        Tap::new(&client.new_inbox(Some(&options), None).expect("an inbox"))
    }

    /// The inbox.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Takes a block, if one comes within `limit`.
    fn fill(&mut self, limit: Duration) -> Result<(), Status> {
        let lent = self.inbox.take(Some(limit))?;
        self.waiting.extend(lent.records().iter().map(|record| Event::of(record, lent.data())));
        Ok(())
    }

    /// The next event.
    #[track_caller]
    pub fn next(&mut self) -> Event {
        while self.waiting.is_empty() {
            if let Err(status) = self.fill(BOUND) {
                panic!("waited {BOUND:?} for any event: {status:?}");
            }
        }
        self.waiting.pop_front().expect("an event")
    }

    /// The next event, if there is one already.
    pub fn poll(&mut self) -> Option<Event> {
        while self.waiting.is_empty() {
            self.fill(Duration::ZERO).ok()?;
        }
        self.waiting.pop_front()
    }

    /// Everything that is there now, without waiting.
    pub fn rest(&mut self) -> Vec<Event> {
        while self.fill(Duration::ZERO).is_ok() {}
        self.waiting.drain(..).collect()
    }

    /// The next event, which must be of that kind.
    #[track_caller]
    pub fn expect(&mut self, kind: Kind) -> Event {
        let event = self.next();
        assert_eq!(event.kind, kind, "{event:?}");
        event
    }

    /// The first event that fits, wherever it stands; those before it stay, in their order.
    #[track_caller]
    pub fn find(&mut self, what: &str, mut fits: impl FnMut(&Event) -> bool) -> Event {
        let started = Instant::now();
        let mut looked = 0;
        loop {
            if let Some(at) = self.waiting.iter().skip(looked).position(&mut fits) {
                return self.waiting.remove(looked + at).expect("it was there");
            }
            looked = self.waiting.len();
            let left = BOUND.saturating_sub(started.elapsed());
            if let Err(status) = self.fill(left) {
                let shown: Vec<_> = self.waiting.iter().take(20).collect();
                panic!("waited {BOUND:?} for {what}: {status:?}; what came instead ({looked}): {shown:#?}");
            }
        }
    }

    /// The first event of that kind, wherever it stands; those before it stay.
    #[track_caller]
    pub fn wait(&mut self, kind: Kind) -> Event {
        self.find(&format!("{kind:?}"), |event| event.kind == kind)
    }

    /// All events up to the first that fits, that one included, taken out.
    #[track_caller]
    pub fn through(&mut self, what: &str, mut fits: impl FnMut(&Event) -> bool) -> Vec<Event> {
        let started = Instant::now();
        let mut events = Vec::new();
        loop {
            while let Some(event) = self.waiting.pop_front() {
                let last = fits(&event);
                events.push(event);
                if last {
                    return events;
                }
            }
            if let Err(status) = self.fill(BOUND.saturating_sub(started.elapsed())) {
                let (count, shown) = (events.len(), &events[events.len().saturating_sub(20)..]);
                panic!("waited {BOUND:?} for {what}: {status:?}; what came instead ({count}): {shown:#?}");
            }
        }
    }

    /// The completion of the operation with that token; what stands before it stays.
    #[track_caller]
    pub fn done(&mut self, token: u64) -> Event {
        let ends = |kind| matches!(kind, Kind::Done | Kind::Published | Kind::Promise);
        self.find(&format!("the end of operation {token}"), |event| ends(event.kind) && event.token == token)
    }

    /// As `done`, and it must have succeeded.
    #[track_caller]
    pub fn ok(&mut self, token: u64) -> Event {
        let event = self.done(token);
        assert_eq!(event.status(), Status::Ok, "{event:?}");
        event
    }

    /// The next `count` messages, in their order; whatever stands between is left out.
    #[track_caller]
    pub fn messages(&mut self, count: usize) -> Vec<Event> {
        (0..count).map(|_| self.wait(Kind::Message)).collect()
    }

    /// The inbox has nothing more and never will.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.waiting, [], "nothing more should have come");
        match self.inbox.take(Some(BOUND)) {
            Err(status) => assert_eq!(status, Status::Closed),
            Ok(lent) => panic!("nothing more should have come: {:?}", Event::of(&lent.records()[0], lent.data())),
        }
    }
}

/// A ticket that completes in the source's own inbox, within the bound.
pub fn ticket(token: u64) -> Ticket {
    Ticket { inbox: None, token, deadline: deadline() }
}

/// A ticket that completes in that tap's inbox, within the bound.
pub fn ticket_in(tap: &Tap, token: u64) -> Ticket {
    Ticket { inbox: Some(Arc::clone(tap.inbox())), token, deadline: deadline() }
}

/// A ticket that never runs out of time.
pub fn endless(token: u64) -> Ticket {
    Ticket { inbox: None, token, deadline: None }
}

/// The bound from now.
pub fn deadline() -> Option<Instant> {
    Some(Instant::now() + BOUND)
}

/// Options with some set.
#[track_caller]
pub fn with_options(mut options: Options, pairs: &[(&str, &str)]) -> Options {
    for (key, value) in pairs {
        options.set(key, value).unwrap_or_else(|error| panic!("{key}={value}: {error}"));
    }
    options
}

/// Opens a client for a url, without an event inbox.
#[track_caller]
pub fn open(url: &str, options: &[(&str, &str)]) -> Arc<Client> {
    Client::open(url_options(url, options), EventsBy::None).expect("a client")
}

/// Opens a client for a url, with a tap on its events.
#[track_caller]
pub fn open_with_events(url: &str, options: &[(&str, &str)]) -> (Arc<Client>, Tap) {
    let client = Client::open(url_options(url, options), EventsBy::Take).expect("a client");
    let events = Tap::new(client.events().expect("an event inbox"));
    (client, events)
}

/// The options of a url, and some more.
#[track_caller]
pub fn url_options(url: &str, pairs: &[(&str, &str)]) -> Options {
    let mut options = Options::new();
    options.set_url(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    with_options(options, pairs)
}

/// Waits until the subscriber link is up.
#[track_caller]
pub fn ready(client: &Client) {
    let mut tap = Tap::new(&client.waiter());
    client.ready(ticket_in(&tap, 0)).expect("an open client");
    tap.ok(0);
}

/// A new subscription, without names; its records carry `token`.
#[track_caller]
pub fn subscription(client: &Client, tap: &Tap, token: u64) -> u64 {
    let source = next_id();
    client.hub().subscribe(source, token, tap.inbox(), None).expect("a subscription");
    source
}

/// A new subscription of these channels. Returns when they are active; its `active` records are left in the tap.
#[track_caller]
pub fn subscribed(client: &Client, tap: &Tap, token: u64, names: &[&[u8]]) -> u64 {
    let source = subscription(client, tap, token);
    add(client, source, names);
    source
}

/// Adds names, and waits until they are active.
#[track_caller]
pub fn add(client: &Client, source: u64, names: &[&[u8]]) {
    let mut own = Tap::new(&client.waiter());
    client.hub().add(source, names, ticket_in(&own, 0)).expect("an add");
    own.ok(0);
}

/// Removes names, and waits until they are gone.
#[track_caller]
pub fn remove(client: &Client, source: u64, names: &[&[u8]]) {
    let mut own = Tap::new(&client.waiter());
    client.hub().remove(source, names, ticket_in(&own, 0)).expect("a remove");
    own.ok(0);
}

/// A new subscription of a pattern. Returns when it is active.
#[track_caller]
pub fn pattern(client: &Client, tap: &Tap, token: u64, pattern: &[u8]) -> u64 {
    let source = next_id();
    let mut own = Tap::new(&client.waiter());
    client.hub().subscribe(source, token, tap.inbox(), Some((pattern, ticket_in(&own, 0)))).expect("a pattern");
    own.ok(0);
    source
}

/// Publishes, and waits for its end.
pub fn publish(client: &Client, tap: &mut Tap, name: &[u8], data: &[u8]) -> Event {
    client.hub().publish(name, data, tap.inbox(), 77, deadline()).unwrap();
    tap.done(77)
}

/// A deadline that is over when it is given.
pub fn over() -> Option<Instant> {
    Some(Instant::now())
}

/// Subscribes, publishes and hears it: both links work.
#[track_caller]
pub fn talks(client: &Client) {
    let mut tap = Tap::on(client);
    let sub = subscribed(client, &tap, 1, &[b"talk"]);
    client.hub().publish(b"talk", b"heard", tap.inbox(), 2, deadline()).unwrap();
    tap.ok(2);
    assert_eq!(tap.wait(Kind::Message).payload(), "heard");
    client.hub().close_source(sub).unwrap();
}

/// A number out of a client's statistics, e.g. `["subscriber", "connects"]`.
#[track_caller]
pub fn stat(client: &Client, path: &[&str]) -> u64 {
    let stats: serde_json::Value = serde_json::from_str(&client.stats()).expect("statistics are JSON");
    let value = path.iter().fold(&stats, |value, key| &value[*key]);
    value.as_u64().unwrap_or_else(|| panic!("no number at {path:?} in {stats}"))
}

/// The next failed attempt of the subscriber link, as the events tell it.
#[track_caller]
pub fn offline(events: &mut Tap) -> Event {
    events.find("a failed attempt", |e| e.is_state(State::Offline))
}

/// A line of log with that part.
#[track_caller]
pub fn logged(events: &mut Tap, part: &str) -> Event {
    events.find(&format!("a line with {part:?}"), |e| e.kind == Kind::Log && e.text().contains(part))
}
