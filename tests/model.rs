//! The inbox under every schedule that there is time for: shuttle takes the place of threads and locks.
//!
//! `RUSTFLAGS="--cfg redmux_model" cargo test --no-default-features --test model`. A lost wake-up shows as a deadlock.
//! `REDMUX_MODEL_ITERATIONS` asks for more schedules. Waits with a limit are not modelled: shuttle's never run out.
#![cfg(redmux_model)]

use redmux::error::Status;
use redmux::inbox::budget::{Config, Policy};
use redmux::inbox::dispatch::{Dispatcher, Sink};
use redmux::inbox::ready::Ready;
use redmux::inbox::{Budget, Inbox, Kind, Lent, RecordIn};
use redmux::sync::{Arc, lock, thread};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use std::sync::OnceLock;
// Not shuttle's: what a test notes is no part of what is explored.
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

const POLL: Option<Duration> = Some(Duration::ZERO);
/// So large that each message stands in a block of its own.
static LARGE: [u8; 40_000] = [0; 40_000];

fn explore(test: fn()) {
    let asked = std::env::var("REDMUX_MODEL_ITERATIONS").ok().and_then(|text| text.parse().ok());
    let iterations = asked.unwrap_or(2000);
    let mut config = shuttle::Config::new();
    config.stack_size = 256 * 1024;
    shuttle::Runner::new(RandomScheduler::new(iterations), config.clone()).run(test);
    shuttle::Runner::new(PctScheduler::new(3, iterations), config).run(test);
}

#[derive(Clone)]
struct Client {
    budget: Arc<Budget>,
    ready: Arc<Ready>,
}

impl Client {
    fn new() -> Client {
        Client { budget: Arc::new(Budget::new(1 << 30)), ready: Arc::default() }
    }

    fn inbox(&self, id: u64, records: u64) -> Arc<Inbox> {
        let config = Config { bytes: 1 << 20, records, policy: Policy::DropOldest };
        Inbox::by_take(id, config, Arc::clone(&self.budget), Arc::clone(&self.ready), || ())
    }

    fn callback(&self, dispatcher: &Arc<Dispatcher>, id: u64, sink: impl Sink + 'static) -> Arc<Inbox> {
        let config = Config { bytes: 1 << 20, records: 0, policy: Policy::DropOldest };
        Inbox::by_callback(id, config, Arc::clone(&self.budget), Arc::clone(dispatcher), Box::new(sink), || ())
    }
}

fn message(number: u64) -> RecordIn<'static> {
    RecordIn { number, data: &LARGE, ..RecordIn::new(Kind::Message, 1, 1) }
}

fn pusher(inbox: &Arc<Inbox>, count: u64) -> thread::JoinHandle<()> {
    let inbox = Arc::clone(inbox);
    thread::spawn(move || {
        for number in 0..count {
            inbox.push(&message(number));
        }
    })
}

/// What a reader saw of one inbox.
#[derive(Default)]
struct Read {
    messages: AtomicU64,
    dropped: AtomicU64,
    completions: AtomicU64,
    closed: AtomicBool,
}

impl Read {
    fn note(&self, lent: &Lent) {
        for record in lent.records() {
            if record.is(Kind::Message) {
                self.messages.fetch_add(1, SeqCst);
            } else if record.is(Kind::Dropped) {
                self.dropped.fetch_add(record.number, SeqCst);
            } else {
                self.completions.fetch_add(1, SeqCst);
            }
        }
    }

    fn accounted(&self) -> u64 {
        self.messages.load(SeqCst) + self.dropped.load(SeqCst)
    }
}

/// Takes one block of each inbox that the list names, until it has seen `ends` of them closed.
fn consumer(client: &Client, reads: &Arc<Vec<Read>>, ends: usize) -> thread::JoinHandle<()> {
    let (ready, reads) = (Arc::clone(&client.ready), Arc::clone(reads));
    thread::spawn(move || {
        let mut ended = 0;
        while ended < ends {
            for inbox in ready.wait(None, 2).unwrap() {
                let read = &reads[inbox.id() as usize];
                match inbox.take(POLL) {
                    Ok(lent) => read.note(&lent),
                    // A push that was under way may have it named once more after that.
                    Err(Status::Closed) => ended += usize::from(!read.closed.swap(true, SeqCst)),
                    Err(status) => assert_eq!(status, Status::Timeout),
                }
            }
        }
    })
}

fn reads(count: usize) -> Arc<Vec<Read>> {
    Arc::new((0..count).map(|_| Read::default()).collect())
}

#[test]
fn a_consumer_that_takes_only_what_is_named_gets_every_record_and_every_end() {
    explore(|| {
        let client = Client::new();
        let reads = reads(2);
        let inboxes = [client.inbox(0, 0), client.inbox(1, 0)];
        let reader = consumer(&client, &reads, 2);
        let pushers: Vec<_> = inboxes.iter().flat_map(|inbox| [pusher(inbox, 2), pusher(inbox, 1)]).collect();
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        inboxes.iter().for_each(|inbox| inbox.end());
        reader.join().unwrap();
        assert!(reads.iter().all(|read| read.messages.load(SeqCst) == 3));
        assert_eq!(client.budget.used(), 0);
    });
}

#[test]
fn the_end_of_a_list_that_is_closed_meanwhile_comes_after_every_record() {
    explore(|| {
        let client = Client::new();
        let reads = reads(1);
        let inbox = client.inbox(0, 0);
        inbox.push(&message(0));
        let pushes = pusher(&inbox, 2);
        let ready = Arc::clone(&client.ready);
        let ended = Arc::clone(&inbox);
        let closer = thread::spawn(move || {
            pushes.join().unwrap();
            ended.end();
            ready.close();
        });
        loop {
            match client.ready.wait(None, 2) {
                Ok(named) => named.iter().for_each(|inbox| {
                    if let Ok(lent) = inbox.take(POLL) {
                        reads[0].note(&lent);
                    }
                }),
                Err(status) => break assert_eq!(status, Status::Closed),
            }
        }
        closer.join().unwrap();
        assert_eq!(reads[0].messages.load(SeqCst), 3);
        assert_eq!(client.budget.used(), 0);
    });
}

#[test]
fn a_waiting_take_gets_every_record_and_then_the_end() {
    explore(|| {
        let client = Client::new();
        let inbox = client.inbox(0, 0);
        let (reads, takes) = (reads(1), Arc::clone(&inbox));
        let read = Arc::clone(&reads);
        let taker = thread::spawn(move || {
            loop {
                match takes.take(None) {
                    Ok(lent) => read[0].note(&lent),
                    Err(status) => break assert_eq!(status, Status::Closed),
                }
            }
        });
        let pushers = [pusher(&inbox, 2), pusher(&inbox, 2)];
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        inbox.end();
        taker.join().unwrap();
        assert_eq!(reads[0].messages.load(SeqCst), 4);
        assert_eq!(client.budget.used(), 0);
    });
}

#[test]
fn every_message_is_read_or_counted_and_every_completion_comes() {
    explore(|| {
        let client = Client::new();
        let reads = reads(1);
        let inbox = client.inbox(0, 2);
        let reader = consumer(&client, &reads, 1);
        let completes = Arc::clone(&inbox);
        let operations = thread::spawn(move || {
            completes.reserve(64).unwrap();
            completes.reserve(64).unwrap();
            completes.unreserve(64);
            completes.complete(&RecordIn::new(Kind::Done, 1, 1), 64);
        });
        let pushers = [pusher(&inbox, 3), pusher(&inbox, 3)];
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        operations.join().unwrap();
        inbox.end();
        reader.join().unwrap();
        assert_eq!((reads[0].accounted(), reads[0].completions.load(SeqCst)), (6, 1));
        assert_eq!(reads[0].dropped.load(SeqCst), inbox.counters().dropped);
        assert_eq!((client.budget.used(), inbox.counters().bytes), (0, 0));
    });
}

#[test]
fn an_inbox_and_a_wake_reach_two_waiters() {
    explore(|| {
        let client = Client::new();
        let inbox = client.inbox(0, 0);
        let waiter = || {
            let ready = Arc::clone(&client.ready);
            thread::spawn(move || ready.wait(None, 2).unwrap().len())
        };
        let waiters = [waiter(), waiter()];
        let push = pusher(&inbox, 1);
        client.ready.wake();
        let mut named = waiters.map(|waiter| waiter.join().unwrap());
        named.sort_unstable();
        assert_eq!(named, [0, 1]);
        push.join().unwrap();
    });
}

#[test]
fn closing_among_pushes_and_takes_wakes_everyone_and_leaves_nothing() {
    explore(|| {
        let client = Client::new();
        let inbox = client.inbox(0, 0);
        let takes = Arc::clone(&inbox);
        let taker = thread::spawn(move || {
            let mut last = None;
            loop {
                match takes.take(None) {
                    Ok(lent) => last = Some(lent),
                    Err(status) => break assert_eq!(status, Status::Closed),
                }
            }
            drop(last);
        });
        let pushes = pusher(&inbox, 2);
        let ends = Arc::clone(&inbox);
        let ender = thread::spawn(move || ends.end());
        inbox.reserve(10).ok();
        inbox.close(None).unwrap();
        [taker, pushes, ender].into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(client.budget.used(), 0);
        let inbox = Arc::downgrade(&{ inbox });
        assert!(inbox.upgrade().is_none(), "the ready list still holds it");
    });
}

#[test]
fn a_watcher_of_the_list_is_told_of_a_close() {
    explore(|| {
        let client = Client::new();
        assert_eq!(client.ready.wait(POLL, 1).unwrap_err(), Status::Timeout);
        let reads = reads(1);
        let inbox = client.inbox(0, 0);
        let reader = consumer(&client, &reads, 1);
        let pushes = pusher(&inbox, 2);
        inbox.close(None).unwrap();
        reader.join().unwrap();
        pushes.join().unwrap();
        assert_eq!(client.budget.used(), 0);
        client.ready.clear();
        let inbox = Arc::downgrade(&{ inbox });
        assert!(inbox.upgrade().is_none());
    });
}

/// What a callback went through.
#[derive(Default)]
struct Calls {
    running: AtomicBool,
    messages: AtomicU64,
    drops: AtomicUsize,
}

struct Probe {
    calls: Arc<Calls>,
    /// Closed from inside the first call.
    own: Option<Arc<OnceLock<Arc<Inbox>>>>,
    /// Something to stand still at, so that others run meanwhile.
    pause: redmux::sync::Mutex<()>,
}

impl Probe {
    fn new(calls: &Arc<Calls>) -> Probe {
        Probe { calls: Arc::clone(calls), own: None, pause: redmux::sync::Mutex::new(()) }
    }
}

impl Sink for Probe {
    fn deliver(&mut self, block: &Lent) -> i32 {
        let overlapping = self.calls.running.swap(true, SeqCst);
        let dropped = self.calls.drops.load(SeqCst) != 0;
        drop(lock(&self.pause));
        if let Some(inbox) = self.own.as_ref().and_then(|own| own.get()) {
            inbox.close(None).unwrap();
        }
        drop(lock(&self.pause));
        self.calls.messages.fetch_add(block.records().len() as u64, SeqCst);
        self.calls.running.store(false, SeqCst);
        // A panic would be caught; a number is reported.
        i32::from(overlapping || dropped)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        drop(lock(&self.pause));
        self.calls.drops.fetch_add(1, SeqCst);
    }
}

fn dispatcher(threads: usize) -> Arc<Dispatcher> {
    let dispatcher = Arc::new(Dispatcher::new(threads, |_, code| panic!("a callback failed with {code}")));
    dispatcher.start().unwrap();
    dispatcher
}

impl Calls {
    /// After a close or a quiet end returned OK.
    fn is_over(&self) {
        assert!(!self.running.load(SeqCst), "a call still runs");
        assert_eq!(self.drops.load(SeqCst), 1, "drop ran exactly once");
    }
}

#[test]
fn an_end_delivers_everything_and_drops_each_sink_once() {
    explore(|| {
        let client = Client::new();
        let dispatcher = dispatcher(2);
        let calls = [Arc::<Calls>::default(), Arc::default()];
        let inboxes = [0, 1].map(|at| client.callback(&dispatcher, at as u64, Probe::new(&calls[at])));
        let pushers = inboxes.each_ref().map(|inbox| pusher(inbox, 2));
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        inboxes.iter().for_each(|inbox| inbox.end());
        dispatcher.end();
        for (inbox, calls) in inboxes.iter().zip(&calls) {
            inbox.wait_quiet(None).unwrap();
            calls.is_over();
            assert_eq!(calls.messages.load(SeqCst), 2);
        }
        assert_eq!(client.budget.used(), 0);
    });
}

#[test]
fn two_closers_an_end_and_a_pusher_leave_one_drop_and_no_call() {
    explore(|| {
        let client = Client::new();
        let dispatcher = dispatcher(2);
        let calls = Arc::<Calls>::default();
        let inbox = client.callback(&dispatcher, 0, Probe::new(&calls));
        let pushes = pusher(&inbox, 2);
        let (ends, closes) = (Arc::clone(&inbox), Arc::clone(&inbox));
        let ender = thread::spawn(move || ends.end());
        let seen = Arc::clone(&calls);
        let closer = thread::spawn(move || {
            closes.close(None).unwrap();
            seen.is_over();
        });
        inbox.close(None).unwrap();
        calls.is_over();
        [pushes, ender, closer].into_iter().for_each(|thread| thread.join().unwrap());
        dispatcher.end();
        calls.is_over();
        assert_eq!(client.budget.used(), 0);
    });
}

#[test]
fn a_close_from_inside_is_the_last_call_whoever_else_closes() {
    explore(|| {
        let client = Client::new();
        let dispatcher = dispatcher(2);
        let calls = Arc::<Calls>::default();
        let own: Arc<OnceLock<Arc<Inbox>>> = Arc::default();
        let mut probe = Probe::new(&calls);
        probe.own = Some(Arc::clone(&own));
        let inbox = client.callback(&dispatcher, 0, probe);
        own.set(Arc::clone(&inbox)).unwrap();
        let pushes = [pusher(&inbox, 1), pusher(&inbox, 1)];
        let closes = Arc::clone(&inbox);
        let closer = thread::spawn(move || closes.close(None).unwrap());
        pushes.into_iter().for_each(|pusher| pusher.join().unwrap());
        closer.join().unwrap();
        calls.is_over();
        dispatcher.end();
        assert_eq!(client.budget.used(), 0);
    });
}

#[test]
fn an_end_that_races_with_the_end_of_the_threads_still_drops_the_sink() {
    explore(|| {
        let client = Client::new();
        let dispatcher = dispatcher(1);
        let calls = Arc::<Calls>::default();
        let inbox = client.callback(&dispatcher, 0, Probe::new(&calls));
        inbox.push(&message(0));
        let ends = Arc::clone(&dispatcher);
        let ender = thread::spawn(move || ends.end());
        inbox.end();
        inbox.wait_quiet(None).unwrap();
        calls.is_over();
        ender.join().unwrap();
        inbox.close(None).unwrap();
        assert_eq!(client.budget.used(), 0);
    });
}

#[test]
fn what_comes_while_a_callback_runs_is_delivered_without_anything_more() {
    struct Tells(shuttle::sync::mpsc::Sender<usize>);
    impl Sink for Tells {
        fn deliver(&mut self, block: &Lent) -> i32 {
            self.0.send(block.records().len()).map_or(1, |()| 0)
        }
    }
    explore(|| {
        let client = Client::new();
        let dispatcher = dispatcher(2);
        let (tells, told) = shuttle::sync::mpsc::channel();
        let inbox = client.callback(&dispatcher, 0, Tells(tells));
        let pushers = [pusher(&inbox, 2), pusher(&inbox, 1)];
        let mut delivered = 0;
        while delivered < 3 {
            delivered += told.recv().unwrap();
        }
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        inbox.close(None).unwrap();
        dispatcher.end();
        assert_eq!(client.budget.used(), 0);
    });
}

#[test]
fn a_sink_is_never_dropped_by_a_thread_that_pushes() {
    /// Its call ends the other inbox and the threads, as a close of the client inside a callback does.
    struct Ends(Arc<Dispatcher>, Arc<Inbox>);
    impl Sink for Ends {
        fn deliver(&mut self, _: &Lent) -> i32 {
            self.1.end();
            self.0.end();
            0
        }
    }
    /// Tells where it is dropped.
    struct Dropped(Arc<OnceLock<thread::ThreadId>>);
    impl Sink for Dropped {
        fn deliver(&mut self, _: &Lent) -> i32 {
            0
        }
    }
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(thread::current().id()).unwrap();
        }
    }
    explore(|| {
        let client = Client::new();
        let dispatcher = dispatcher(1);
        let dropped = Arc::default();
        let pushed = client.callback(&dispatcher, 1, Dropped(Arc::clone(&dropped)));
        let inbox = client.callback(&dispatcher, 0, Ends(Arc::clone(&dispatcher), Arc::clone(&pushed)));
        // A pusher may hold locks that whoever is told of the drop needs.
        let pusher = pusher(&pushed, 1);
        let id = pusher.thread().id();
        inbox.push(&message(0));
        pusher.join().unwrap();
        pushed.wait_quiet(None).unwrap();
        assert_ne!(dropped.get(), Some(&id));
        inbox.close(None).unwrap();
        assert_eq!(client.budget.used(), 0);
    });
}
