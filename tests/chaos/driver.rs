//! A client under test: its inboxes with their readers, its subscriptions, and what is asked of it at random.

mod actions;

use super::c;
use super::faults::Random;
use super::history::now_ms;
use super::ledger::Op;
use super::oracle::{CHANNELS, Mask, Rule, Source};
use super::streams::{self, RAW, Streams};
use super::world::{PROMISES, Port, World};
use crate::support::{Conn, Server, eventually, locked};
use redmux::error::Status;
use redmux::ffi::client::{
    redmux_client, redmux_client_close, redmux_client_ready, redmux_client_restart, redmux_client_stop,
    redmux_client_wait,
};
use redmux::ffi::inbox::{redmux_inbox, redmux_inbox_cancel, redmux_inbox_close};
use redmux::ffi::promises::{redmux_promises, redmux_promises_close, redmux_promises_make, redmux_promises_new};
use redmux::ffi::publish::{redmux_client_barrier, redmux_client_flush, redmux_client_post, redmux_client_publish};
use redmux::ffi::subscription::{
    redmux_subscription, redmux_subscription_active, redmux_subscription_close, redmux_subscription_drain,
};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::JoinHandle;
use std::time::Duration;

/// A subscription and where it is.
#[derive(Clone)]
struct Sub {
    handle: redmux_subscription,
    inbox: usize,
    names: Vec<String>,
}

/// An inbox and its judge.
struct Inbox {
    handle: redmux_inbox,
    port: Arc<Port>,
}

/// A client, its inboxes and its subscriptions.
pub struct Driver {
    world: Arc<World>,
    index: usize,
    client: redmux_client,
    events: Inbox,
    inboxes: Vec<Inbox>,
    fixed: Vec<Sub>,
    changing: Vec<Sub>,
    short: Vec<Sub>,
    /// Drained: closed by their done, and their handles are left.
    drained: Vec<Sub>,
    promises: redmux_promises,
    random: Random,
    next_token: u64,
    next_promise: u64,
    conn: Option<Conn>,
    readers: Vec<JoinHandle<()>>,
}

const CALLBACK: usize = 0;
const TAKE: usize = 1;
const OLDEST: usize = 2;
const NEWEST: usize = 3;

/// The channels of a stream, as names.
fn channels(stream: usize, which: impl Iterator<Item = u64>) -> Vec<(String, Mask)> {
    which.map(|at| (Streams::channel(stream, at), 1 << at)).collect()
}

fn is_pattern(sub: &Sub) -> bool {
    sub.names.iter().any(|name| name.contains(['*', '?']))
}

impl Driver {
    /// Opens it, with everything that stays for the whole run.
    pub fn new(world: &Arc<World>, index: usize, url: &str, seed: u64) -> Driver {
        // One of them meets payloads that are too large for it; short pings find what was swallowed soon.
        let max_payload = if index == 2 { "2KiB" } else { "64KiB" };
        let (client, events) = c::open(&format!(
            r#"{{"url":"{url}","ping_interval":"250ms","ping_timeout":"500ms","backoff_max":"40ms","refused_retry":"200ms",
                "stable_after":"100ms","connect_timeout":"1s","max_payload":"{max_payload}"}}"#
        ));
        let port = |label: &str| Port::new(world, index, label);
        let heard = port("callback");
        let callback = c::callback_inbox(client, "{}", Arc::clone(&heard));
        let taken = |json: &str, label: &str| Inbox { handle: c::inbox(client, json), port: port(label) };
        let oldest = r#"{"inbox_records":"300","inbox_policy":"drop-oldest"}"#;
        let newest = r#"{"inbox_bytes":"64KiB","inbox_policy":"drop-newest"}"#;
        let inboxes = vec![
            Inbox { handle: callback, port: heard },
            taken("{}", "take"),
            taken(oldest, "drop-oldest"),
            taken(newest, "drop-newest"),
        ];
        let events = Inbox { handle: events, port: port("events") };
        let mut driver = Driver {
            world: Arc::clone(world),
            index,
            client,
            events,
            inboxes,
            fixed: Vec::new(),
            changing: Vec::new(),
            short: Vec::new(),
            drained: Vec::new(),
            promises: redmux_promises { id: 0 },
            random: Random(seed),
            next_token: 1000,
            next_promise: 0,
            conn: None,
            readers: Vec::new(),
        };
        driver.read();
        driver.settle();
        driver
    }

    /// The threads that take.
    fn read(&mut self) {
        for slow in [OLDEST, NEWEST] {
            let (world, index, handle) = (Arc::clone(&self.world), self.index, self.inboxes[slow].handle);
            let port = Arc::clone(&self.inboxes[slow].port);
            self.readers.push(std::thread::spawn(move || {
                loop {
                    let until = world.slow_until[index].load(SeqCst).min(now_ms() + 300);
                    std::thread::sleep(Duration::from_millis(until.saturating_sub(now_ms())));
                    // A few blocks at a time, so that a reader that sleeps leaves something to be dropped.
                    if c::take_all(handle, 100, 4, |records, data| c::Hears::hear(&*port, records, data))
                        == Status::Closed
                    {
                        port.ended.store(true, SeqCst);
                        return;
                    }
                }
            }));
        }
        let client = self.client;
        let both = [&self.inboxes[TAKE], &self.events].map(|inbox| (inbox.handle, Arc::clone(&inbox.port)));
        self.readers.push(std::thread::spawn(move || {
            let mut ready = [c::NO_INBOX; 8];
            let mut count = 0;
            loop {
                let waited = c::status(redmux_client_wait(client, 100, ready.as_mut_ptr(), ready.len(), &mut count));
                for (handle, port) in &both {
                    let listed = waited == Status::Ok && ready.iter().take(count).any(|inbox| inbox.id == handle.id);
                    if (listed || waited == Status::Closed)
                        && c::take_all(*handle, 0, usize::MAX, |records, data| c::Hears::hear(&**port, records, data))
                            == Status::Closed
                    {
                        port.ended.store(true, SeqCst);
                    }
                }
                if both.iter().all(|(_, port)| port.ended.load(SeqCst)) {
                    return;
                }
            }
        }));
    }

    /// The subscriptions that stay.
    fn settle(&mut self) {
        let (index, all) = (self.index, 0..CHANNELS);
        self.fixed = vec![
            self.subscribe(CALLBACK, "all of a", 0, &channels(0, all.clone())),
            self.subscribe(TAKE, "some of b", 1, &channels(1, (0..8).map(|at| at * 4 + index as u64))),
            self.subscribe(TAKE, "own", RAW + index, &[(Streams::channel(RAW + index, 0), Mask::MAX)]),
            self.subscribe(OLDEST, "eight of a", 0, &channels(0, 4..12)),
            self.subscribe(NEWEST, "half of b", 1, &channels(1, all.clone().filter(|at| at % 2 == 0))),
        ];
        let tens = ((10..20).fold(0, |mask: Mask, at| mask | 1 << at), "a:1?");
        let every = (Mask::MAX, "b:*");
        for (inbox, stream, (mask, pattern)) in [(OLDEST, 0, tens), (CALLBACK, 1, every)] {
            let sub = self.subscribe_pattern(inbox, stream, pattern, mask);
            self.fixed.extend(sub);
        }
        for sub in self.fixed.clone() {
            if !is_pattern(&sub) {
                self.change(&sub, true, &(0..sub.names.len()).collect::<Vec<_>>(), 10_000);
            }
        }
        let changing = self.subscribe(TAKE, "changing a", 0, &channels(0, all.clone()));
        let heard = self.subscribe(CALLBACK, "changing b", 1, &channels(1, all));
        self.changing = vec![changing, heard];
        let prefix = format!("pr:{index}:");
        let inbox = self.inboxes[TAKE].handle;
        let (at, len) = (prefix.as_ptr(), prefix.len());
        let made = redmux_promises_new(self.client, inbox, at, len, PROMISES, &mut self.promises);
        assert_eq!(c::status(made), Status::Ok, "a set of promises");
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    fn subscribe(&mut self, inbox: usize, label: &str, stream: usize, names: &[(String, Mask)]) -> Sub {
        let token = self.token();
        let Inbox { handle, port } = &self.inboxes[inbox];
        let mut judge = locked(&port.judge);
        let source = Source::new(label, stream, names);
        let made = c::subscribe(self.client, *handle, token).expect("a subscription");
        judge.seat(made.id, token, source);
        Sub { handle: made, inbox, names: names.iter().map(|(name, _)| name.clone()).collect() }
    }

    fn subscribe_pattern(&mut self, inbox: usize, stream: usize, pattern: &str, mask: Mask) -> Option<Sub> {
        let token = self.token();
        let Inbox { handle, port } = &self.inboxes[inbox];
        let mut judge = locked(&port.judge);
        let names = [(pattern.to_owned(), mask)];
        let mut source = Source::new(pattern, stream, &names);
        source.adding(0);
        // The id of the subscription is known when the call returns; until then the judge is locked.
        let op = Op::Add { source: 0, names: vec![0] };
        let done = self.world.begin(self.index, op, *handle, 10_000);
        match c::subscribe_pattern(self.client, *handle, pattern, token, done, 10_000) {
            Ok(made) => {
                locked(&self.world.ledgers[self.index]).known(done, made.id);
                judge.seat(made.id, token, source);
                Some(Sub { handle: made, inbox, names: vec![pattern.to_owned()] })
            }
            Err(status) => {
                locked(&self.world.ledgers[self.index]).refused(done, status);
                None
            }
        }
    }

    /// Adds or removes names. The judge is locked since before the call, so that it hears of it before it sees anything of it;
    /// of a call that was refused (its inbox is full) it never hears, because then nothing was done.
    fn change(&mut self, sub: &Sub, add: bool, which: &[usize], timeout_ms: i64) -> Option<u64> {
        let Inbox { handle, port } = &self.inboxes[sub.inbox];
        let mut judge = locked(&port.judge);
        let source = &mut judge.seats.get_mut(&sub.handle.id)?.source;
        if source.closed {
            return None;
        }
        let (id, names) = (sub.handle.id, which.to_vec());
        let op = if add { Op::Add { source: id, names } } else { Op::Remove { source: id, names } };
        let token = self.world.begin(self.index, op, *handle, timeout_ms);
        let texts: Vec<&str> = which.iter().map(|&name| sub.names[name].as_str()).collect();
        let status = c::change(sub.handle, add, &texts, token, timeout_ms);
        if status != Status::Ok {
            locked(&self.world.ledgers[self.index]).refused(token, status);
            return None;
        }
        for &name in which {
            if add { source.adding(name) } else { source.removing(name) }
        }
        Some(token)
    }

    /// An operation whose call is not more than a call.
    fn ask(&self, op: Op, inbox: usize, timeout_ms: i64, call: impl FnOnce(redmux_inbox, u64) -> i32) -> Option<u64> {
        let handle = self.inboxes[inbox].handle;
        let token = self.world.begin(self.index, op, handle, timeout_ms);
        match c::status(call(handle, token)) {
            Status::Ok => Some(token),
            status => {
                locked(&self.world.ledgers[self.index]).refused(token, status);
                None
            }
        }
    }

    /// Asks at random until the run is over.
    pub fn drive(&mut self, server: &Server) {
        type Choice = (u64, fn(&mut Driver));
        let choices: [Choice; 13] = [
            (20, Driver::toggle),
            (8, Driver::flap),
            (20, Driver::publish),
            (10, Driver::post),
            (6, Driver::flush),
            (6, Driver::barrier),
            (6, Driver::wait),
            (3, Driver::ready),
            (8, Driver::come),
            (8, Driver::go),
            (4, Driver::cancel),
            (1, Driver::stop_and_restart),
            (2, Driver::closed_inbox),
        ];
        while !self.world.over() {
            std::thread::sleep(Duration::from_micros(self.random.within(100, 6000)));
            if locked(&self.world.ledgers[self.index]).open() > 3000 {
                continue;
            }
            if self.random.within(0, 9) == 0 {
                self.promise(server);
            } else {
                self.random.pick(&choices)(self);
            }
        }
    }

    /// When the faults are over: everything becomes whole, and every operation ends.
    pub fn heal(&mut self) {
        for sub in std::mem::take(&mut self.short) {
            self.end(&sub, true);
        }
        let ended = |driver: &Driver| locked(&driver.world.ledgers[driver.index]).open() == 0;
        // A full inbox has no room for one more operation, until its reader wakes.
        for sub in self.lasting() {
            self.insist("the last wait is taken", |driver| driver.wait_for(&sub, 20_000));
        }
        self.until("every operation has ended", ended);
        // Only now: an older add that ends behind this one, superseded, would leave its names in doubt for good. An add with
        // a name that is still refused from before ends partially, and says too little of the others; the name is
        // tried again by itself, and then an add ends well.
        let began = now_ms();
        loop {
            for sub in self.lasting().into_iter().filter(|sub| !is_pattern(sub)) {
                let names: Vec<usize> = (0..sub.names.len()).collect();
                self.insist("the last add is taken", |driver| driver.change(&sub, true, &names, 20_000));
            }
            self.until("the last adds have ended", ended);
            if self.is_whole() || now_ms() - began > 30_000 || !locked(&self.world.violations).is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.until_whole();
    }

    fn is_whole(&self) -> bool {
        let whole = |inbox: &Inbox| locked(&inbox.port.judge).seats.values().all(|seat| seat.source.whole().is_ok());
        self.inboxes.iter().all(whole)
    }

    fn lasting(&self) -> Vec<Sub> {
        self.fixed.iter().chain(&self.changing).cloned().collect()
    }

    /// Asks until it is taken, unless the run has failed.
    fn insist(&mut self, what: &str, mut ask: impl FnMut(&mut Driver) -> Option<u64>) {
        let began = now_ms();
        while ask(self).is_none() && locked(&self.world.violations).is_empty() {
            if now_ms() - began > 60_000 {
                self.world.violated(&Rule::NeverEnded, &format!("client {}: {what}", self.index), &[]);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for something, unless the run has failed; that it does not come is a violation.
    fn until(&self, what: &str, mut condition: impl FnMut(&Driver) -> bool) {
        let began = now_ms();
        while !condition(self) && locked(&self.world.violations).is_empty() {
            if now_ms() - began > 60_000 {
                let left = locked(&self.world.ledgers[self.index]).left();
                self.world.violated(&Rule::NeverEnded, &format!("client {}: {what}", self.index), &left);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn until_whole(&self) {
        let began = now_ms();
        for inbox in &self.inboxes {
            let broken = || locked(&inbox.port.judge).seats.values().any(|seat| seat.source.whole().is_err());
            while broken() && locked(&self.world.violations).is_empty() {
                if now_ms() - began > 30_000 {
                    let judge = locked(&inbox.port.judge);
                    let Some(seat) = judge.seats.values().find(|seat| seat.source.whole().is_err()) else { continue };
                    let who = format!("{}, {}", inbox.port.label, seat.source.label);
                    self.world.violated(&Rule::NotWhole, &who, &seat.source.lines());
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// When the publishers have stopped: everything must be here.
    pub fn settle_accounts(&mut self) {
        for inbox in 0..self.inboxes.len() {
            let began = now_ms();
            while locked(&self.world.violations).is_empty() {
                self.until_whole();
                let Some(token) = self.barrier_in(inbox, 10_000) else { continue };
                self.until("the last barrier", |driver| locked(&driver.world.ledgers[driver.index]).open() == 0);
                if self.inboxes[inbox].port.barrier.load(SeqCst) == token {
                    break;
                }
                assert!(now_ms() - began < 60_000, "no barrier comes back though nothing fails any more");
            }
        }
    }

    /// Closes all, and waits until the inboxes have ended.
    pub fn close(mut self) {
        redmux_promises_close(self.promises);
        let subs = self.lasting();
        for (at, sub) in subs.iter().enumerate() {
            // Half of them close before their client, and half with it.
            if at % 2 == 0 {
                self.end(sub, false);
            }
        }
        assert_eq!(c::status(redmux_client_close(self.client, 10_000)), Status::Ok, "close");
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader");
        }
        for sub in subs.iter().chain(&self.drained) {
            redmux_subscription_close(sub.handle);
        }
        for inbox in self.inboxes.iter().chain([&self.events]) {
            redmux_inbox_close(inbox.handle, -1);
        }
    }
}
