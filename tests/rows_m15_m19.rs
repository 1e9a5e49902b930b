//! Rows M15 to M19 but for the close barrier: stopping and restarting, callbacks, re-entrancy, back-pressure.

#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::client::{Client, EventsBy};
use redmux::error::Status;
use redmux::inbox::dispatch::Sink;
use redmux::inbox::{Inbox, Kind, Lent};
use redmux::mux::events::State;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};
use std::thread;
use std::time::Duration;
use support::{PATIENCE, Server, conn::encode, eventually};
use tap::{Event, Tap, add, deadline, endless, open, open_with_events, ready, stat, subscribed, subscription};
use tap::{ticket, ticket_in, url_options};

#[test]
fn m15_a_stop_keeps_the_subscriptions_and_messages_come_again_after_a_restart() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"a", b"b"]);
    for round in 0..3 {
        client.stop().unwrap();
        assert_eq!(client.stop(), Err(Status::Stopped));
        eventually("the server sees nobody", PATIENCE, || server.conn().numsub("a") == 0);
        client.hub().remove(source, &[b"b"], ticket(10)).unwrap();
        tap.ok(10);
        client.restart().unwrap();
        assert_eq!(client.restart(), Err(Status::NotStopped));
        let whole = tap.find("whole again", |event| event.kind == Kind::Active && event.name.is_empty());
        assert_eq!((whole.source, whole.number), (source, round + 2));
        let mut redis = server.conn();
        assert_eq!((redis.publish(b"a", b"again"), redis.numsub("b")), (1, 0));
        assert_eq!(tap.wait(Kind::Message).payload(), "again");
        add(&client, source, &[b"b"]);
    }
}

#[test]
fn m15_ten_thousand_adds_while_stopped_do_not_block() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"first"]);
    client.stop().unwrap();
    for n in 0..10_000 {
        let name = format!("n{n}");
        client.hub().add(source, &[name.as_bytes()], endless(n + 10)).unwrap();
    }
    // All of them are waiting, none has ended, and nothing was connected for them.
    assert_eq!(client.hub().names_of(source).unwrap().len(), 10_001);
    assert!(tap.rest().iter().all(|event| event.kind == Kind::Active && event.name == b"first"));
    assert_eq!(stat(&client, &["operations"]), 10_000);
    client.restart().unwrap();
    for _ in 0..10_000 {
        let done = tap.wait(Kind::Done);
        assert_eq!((done.status(), done.number), (Status::Ok, 1), "{done:?}");
    }
    assert_eq!(server.conn().expect(&["PUBSUB", "CHANNELS"]).items().len(), 10_001);
}

#[test]
fn m15_a_stop_does_not_wait_for_a_hanging_question() {
    let server = Server::start();
    let options = [("ask", "address"), ("connect_timeout", "10m"), ("backoff_min", "1m"), ("backoff_max", "10m")];
    let (client, mut events) = open_with_events(&server.url(), &options);
    let hanging = events.wait(Kind::Question).number;
    client.stop().unwrap();
    events.find("stopped", |event| event.is_state(State::Stopped));
    // The attempt is over: its answer is late, and a restart asks anew instead of waiting ten minutes for it.
    let address = || vec![b"127.0.0.1".to_vec(), server.port().to_string().into_bytes()];
    assert_eq!(client.hub().questions.answer(hanging, Ok(address())), Err(Status::Timeout));
    client.restart().unwrap();
    let next = events.wait(Kind::Question).number;
    assert_ne!(next, hanging);
    client.hub().questions.answer(next, Ok(address())).unwrap();
    ready(&client);
    assert!(
        events.rest().iter().all(|event| !event.is_state(State::Offline)),
        "an attempt that is stopped is no failure"
    );
    // A close does not wait for one either.
    client.stop().unwrap();
    client.restart().unwrap();
    server.kill();
    events.wait(Kind::Question);
    client.close(deadline()).unwrap();
    assert_eq!(client.stop(), Err(Status::Closed));
    assert_eq!(client.restart(), Err(Status::Closed));
}

#[test]
fn m15_operations_while_stopped_say_so_or_wait() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let set = redmux::runtime::next_id();
    client.hub().promises(set, 1, tap.inbox(), b"p:").unwrap();
    client.hub().wait_active(set, ticket(1)).unwrap();
    tap.ok(1);
    client.hub().promise(set, b"x", ticket(2)).unwrap();
    client.stop().unwrap();
    assert_eq!(tap.done(2).status(), Status::Interrupted);
    eventually("offline", PATIENCE, || client.hub().promise(set, b"x", ticket(3)).is_err());
    let error = client.hub().publish(b"x", b"", tap.inbox(), 4, None).unwrap_err();
    assert_eq!(error.status(), Status::Stopped);
    client.hub().promise_later(set, b"y", endless(5), None).unwrap();
    client.restart().unwrap();
    eventually("the promise is made", PATIENCE, || server.conn().publish(b"p:y", b"kept") == 1);
    // It is made as soon as the pattern is acknowledged; a message before that could not be for it.
    eventually("the promise is kept", PATIENCE, || {
        server.conn().publish(b"p:y", b"kept");
        stat(&client, &["operations"]) == 0
    });
    assert_eq!(tap.ok(5).payload(), "kept");
}

/// A sink that calls a closure.
struct Calls<F>(F);

impl<F: FnMut(&Lent) -> i32 + Send> Sink for Calls<F> {
    fn deliver(&mut self, block: &Lent) -> i32 {
        self.0(block)
    }
}

#[test]
fn m15_a_stop_and_a_restart_at_the_same_time_leave_it_whole() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    for round in 0..2000 {
        thread::scope(|scope| {
            scope.spawn(|| client.stop());
            scope.spawn(|| client.restart());
        });
        let posted = client.hub().post(b"x", b"y", None).map_err(|error| error.status());
        // Stopped or not, but not half of it.
        let stopped = if client.restart().is_ok() { Err(Status::Stopped) } else { Ok(()) };
        assert_eq!(posted, stopped, "round {round}");
    }
    let mut tap = Tap::on(&client);
    client.hub().publish(b"x", b"y", tap.inbox(), 1, deadline()).unwrap();
    tap.ok(1);
}

#[test]
fn rule_29_an_inbox_that_is_made_while_its_client_closes_ends_too() {
    let server = Server::start();
    for _ in 0..300 {
        let client = open(&server.url(), &[]);
        let made = thread::scope(|scope| {
            let maker = scope.spawn(|| {
                let new = || client.new_inbox(None, None);
                std::iter::from_fn(|| new().ok()).take(10_000).collect::<Vec<_>>()
            });
            client.close(None).unwrap();
            maker.join().unwrap()
        });
        for inbox in made {
            assert_eq!(inbox.take(Some(PATIENCE)).err(), Some(Status::Closed));
        }
    }
}

fn calls(f: impl FnMut(&Lent) -> i32 + Send + 'static) -> Option<Box<dyn Sink>> {
    Some(Box::new(Calls(f)))
}

/// Says when the last owner let go: for sinks, that they were dropped.
struct Gone(mpsc::Sender<()>);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

const MILLION: u64 = 1_000_000;

/// Publishes the numbers from 0 in order, in turns on these channels, as fast as the server takes them.
fn publish_numbers(server: &Server, channels: &[&str], count: u64) {
    let mut redis = server.conn();
    let mut next = 0;
    while next < count {
        let end = (next + 1_000).min(count);
        let batch: Vec<u8> = (next..end)
            .flat_map(|n| encode(&["PUBLISH", channels[n as usize % channels.len()], &n.to_string()]))
            .collect();
        redis.send(&batch).unwrap();
        for _ in next..end {
            assert!(redis.read_reply().unwrap().int() > 0);
        }
        next = end;
    }
}

#[test]
fn m16_a_million_messages_keep_their_order_across_the_subscriptions_of_one_inbox() {
    // The socket is not read while the inbox is full, so the server must hold what waits.
    let server = Server::builder().config("client-output-buffer-limit", "pubsub 0 0 0").start();
    let client = open(&server.url(), &[("inbox_policy", "pause")]);
    let running = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    let mut next = 0;
    let mut behind = None;
    let sink = calls(move |block| {
        assert!(!running.swap(true, Ordering::SeqCst), "two callbacks at once");
        for record in block.records().iter().filter(|record| record.is(Kind::Message)) {
            let number: u64 = std::str::from_utf8(record.payload(block.data())).unwrap().parse().unwrap();
            if record.token == 9 {
                // The pattern gets what it matches right behind the channel, in the server's order.
                assert_eq!(behind.take(), Some(number));
            } else {
                assert_eq!((number, record.token, behind), (next, next % 3, None), "what comes is what comes next");
                next += 1;
                behind = Some(number).filter(|number| number % 3 == 0);
            }
            if next == MILLION && behind.is_none() {
                let _ = sender.send(());
            }
        }
        running.store(false, Ordering::SeqCst);
        0
    });
    let inbox = client.new_inbox(None, sink).unwrap();
    for token in 0..3 {
        let source = redmux::runtime::next_id();
        client.hub().subscribe(source, token, &inbox, None).unwrap();
        add(&client, source, &[format!("c{token}").as_bytes()]);
    }
    let mut own = Tap::new(&client.waiter());
    let source = redmux::runtime::next_id();
    client.hub().subscribe(source, 9, &inbox, Some((b"[c]0", ticket_in(&own, 0)))).unwrap();
    own.ok(0);
    publish_numbers(&server, &["c0", "c1", "c2"], MILLION);
    receiver.recv_timeout(12 * PATIENCE).expect("a million messages");
    assert_eq!((stat(&client, &["messages", "dropped"]), stat(&client, &["subscriber", "losts"])), (0, 0));
}

#[test]
fn m16_an_inbox_gets_a_message_for_both_of_its_subscriptions_before_the_next_message() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"a"]);
    subscribed(&client, &tap, 2, &[b"a"]);
    let mut publisher = server.conn();
    let bytes: Vec<u8> = (0..100).flat_map(|i| encode(&["PUBLISH", "a", &i.to_string()])).collect();
    publisher.send(&bytes).unwrap();
    let got: Vec<(u64, String)> = tap.messages(200).iter().map(|event| (event.token, event.payload())).collect();
    let wanted: Vec<(u64, String)> = (0..100).flat_map(|i| [(1, i.to_string()), (2, i.to_string())]).collect();
    assert_eq!(got, wanted);
}

#[test]
fn m16_separate_inboxes_keep_the_order_each_and_one_thread_never_runs_two_callbacks() {
    for threads in ["1", "4"] {
        let server = Server::builder().config("client-output-buffer-limit", "pubsub 0 0 0").start();
        let client = open(&server.url(), &[("inbox_policy", "pause"), ("callback_threads", threads)]);
        let running = Arc::new(AtomicU64::new(0));
        let (sender, receiver) = mpsc::channel();
        let count = 20_000_u64;
        for _ in 0..5 {
            let (running, sender) = (Arc::clone(&running), sender.clone());
            let alone = threads == "1";
            let own = AtomicBool::new(false);
            let mut next = 0;
            let inbox = client.new_inbox(
                None,
                calls(move |block| {
                    assert!(!own.swap(true, Ordering::SeqCst), "two callbacks of one inbox at once");
                    let others = running.fetch_add(1, Ordering::SeqCst);
                    assert!(!alone || others == 0, "two callbacks at once");
                    for record in block.records().iter().filter(|record| record.is(Kind::Message)) {
                        assert_eq!(record.payload(block.data()), next.to_string().as_bytes());
                        next += 1;
                        if next == count {
                            let _ = sender.send(());
                        }
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                    own.store(false, Ordering::SeqCst);
                    0
                }),
            );
            let source = redmux::runtime::next_id();
            client.hub().subscribe(source, 0, &inbox.unwrap(), None).unwrap();
            add(&client, source, &[b"x"]);
        }
        publish_numbers(&server, &["x"], count);
        for _ in 0..5 {
            receiver.recv_timeout(3 * PATIENCE).expect("all messages");
        }
    }
}

#[test]
fn m17_ten_thousand_adds_inside_a_callback() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut done = Tap::on(&client);
    let source = redmux::runtime::next_id();
    let (weak, completions) = (Arc::downgrade(&client), Arc::clone(done.inbox()));
    let (sender, receiver) = mpsc::channel();
    let sink = calls(move |block| {
        let client = weak.upgrade().expect("an open client");
        for record in block.records().iter().filter(|record| record.is(Kind::Message)) {
            assert_eq!(record.payload(block.data()), b"go");
            for n in 0..10_000 {
                let ticket = redmux::mux::subscription::Ticket {
                    inbox: Some(Arc::clone(&completions)),
                    token: n,
                    deadline: deadline(),
                };
                let name = format!("n{n}");
                client.hub().add(source, &[name.as_bytes()], ticket).unwrap();
            }
            // What would wait for itself says so instead.
            let waited = client.wait_for(None, |ticket| client.ready(ticket), |_| Some(Ok(())));
            let taken = completions.take(None).map(drop);
            sender.send((waited.map_err(|error| error.status()), taken)).unwrap();
        }
        0
    });
    let inbox = client.new_inbox(None, sink).unwrap();
    client.hub().subscribe(source, 1, &inbox, None).unwrap();
    add(&client, source, &[b"start"]);
    server.conn().publish(b"start", b"go");
    let (waited, taken) = receiver.recv_timeout(PATIENCE).expect("the callback came to its end");
    assert_eq!(waited, Err(Status::WouldDeadlock));
    assert!(matches!(taken, Ok(()) | Err(Status::WouldDeadlock)), "{taken:?}");
    eventually("all are active", PATIENCE, || stat(&client, &["operations"]) == 0);
    assert_eq!(server.conn().expect(&["PUBSUB", "CHANNELS"]).items().len(), 10_001);
    assert!(done.rest().iter().all(|event| event.status() == Status::Ok));
}

#[test]
fn m17_a_callback_closes_its_subscription_its_inbox_and_its_client() {
    for what in ["subscription", "inbox", "client"] {
        let server = Server::start();
        let client = open(&server.url(), &[]);
        let (sender, receiver) = mpsc::channel();
        let (gone, dropped) = mpsc::channel();
        let gone = Gone(gone);
        let itself: Arc<OnceLock<Weak<Inbox>>> = Arc::default();
        let (weak, me) = (Arc::downgrade(&client), Arc::clone(&itself));
        let source = redmux::runtime::next_id();
        let sink = calls(move |block| {
            let _held = &gone;
            for record in block.records() {
                if record.is(Kind::Message) {
                    let client = weak.upgrade().expect("an open client");
                    match what {
                        "subscription" => client.hub().close_source(source).unwrap(),
                        "inbox" => {
                            let inbox = me.get().and_then(Weak::upgrade).unwrap();
                            client.close_inbox(&inbox, None).unwrap();
                        }
                        _ => client.close(None).unwrap(),
                    }
                }
                let _ = sender.send(Event::of(record, block.data()));
            }
            0
        });
        let inbox = client.new_inbox(None, sink).unwrap();
        itself.set(Arc::downgrade(&inbox)).unwrap();
        client.hub().subscribe(source, 1, &inbox, None).unwrap();
        add(&client, source, &[b"x"]);
        server.conn().publish(b"x", b"the end");
        let next = || receiver.recv_timeout(PATIENCE).expect("the callback went on");
        assert_eq!(next().kind, Kind::Active);
        assert_eq!(next().kind, Kind::Message);
        if what != "inbox" {
            assert_eq!(next().kind, Kind::Closed);
        }
        if what == "subscription" {
            client.close(deadline()).unwrap();
        }
        // The running call is the last, and the drop of the sink says that it was.
        dropped.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the sink of a closed {what} was not dropped"));
        assert!(receiver.recv_timeout(PATIENCE).is_err(), "nothing comes after the drop");
        eventually("nobody is subscribed", PATIENCE, || server.conn().numsub("x") == 0);
        assert_eq!(client.hub().names_of(source).unwrap_err().status(), Status::Closed);
    }
}

/// A callback that waits for a gate, and counts what it is given.
#[derive(Default)]
struct Counts {
    delivered: HashMap<u64, u64>,
    dropped: HashMap<u64, u64>,
}

#[test]
fn m19_a_blocked_callback_holds_up_neither_reconnecting_nor_subscribing_and_every_drop_is_counted() {
    let server = Server::builder().config("client-output-buffer-limit", "pubsub 0 0 0").start();
    let client = Client::open(url_options(&server.url(), &[("inbox_records", "1000")]), EventsBy::Take).unwrap();
    let mut events = Tap::new(client.events().unwrap());
    let (gate, opened) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let counts = Arc::new(Mutex::new(Counts::default()));
    let (writes, blocked) = (Arc::clone(&counts), Arc::new(AtomicBool::new(true)));
    let is_blocked = Arc::clone(&blocked);
    let sink = calls(move |block| {
        let has_message = block.records().iter().any(|record| record.is(Kind::Message));
        if has_message && is_blocked.load(Ordering::SeqCst) {
            let _ = entered.send(());
            let _ = opened.recv();
            is_blocked.store(false, Ordering::SeqCst);
        }
        let mut counts = writes.lock().unwrap();
        for record in block.records() {
            if record.is(Kind::Message) {
                *counts.delivered.entry(record.token).or_default() += 1;
            } else if record.is(Kind::Dropped) {
                *counts.dropped.entry(record.token).or_default() += record.number;
            }
        }
        0
    });
    let inbox = client.new_inbox(None, sink).unwrap();
    let sources = [redmux::runtime::next_id(), redmux::runtime::next_id()];
    for (token, source) in sources.iter().enumerate() {
        client.hub().subscribe(*source, token as u64, &inbox, None).unwrap();
        add(&client, *source, &[b"all", format!("own{token}").as_bytes()]);
    }
    // Blocked by the first message, then far more than has room.
    let mut published = [0_u64; 2];
    server.conn().publish(b"all", b"first");
    published.iter_mut().for_each(|count| *count += 1);
    inside.recv_timeout(PATIENCE).expect("the callback is inside");
    publish_numbers(&server, &["all", "own0", "own1"], 30_000);
    published.iter_mut().for_each(|count| *count += 20_000);
    barrier(&client);
    assert!(stat(&client, &["messages", "dropped"]) > 0);
    let slow = |event: &Event| event.is_state(State::SlowConsumer);
    assert_eq!(events.find("slow consumer", slow).source, inbox.id());
    // The link is killed; 90 adds on the blocked subscriptions and on another one; the callback is still inside.
    let mut tap = Tap::on(&client);
    let other = subscription(&client, &tap, 5);
    assert_eq!(server.conn().kill_pubsub(), 1);
    for n in 0..90 {
        let source = [sources[0], sources[1], other][n as usize % 3];
        client.hub().add(source, &[format!("new{n}").as_bytes()], ticket_in(&tap, 100 + n)).unwrap();
    }
    for n in 0..90 {
        assert_eq!(tap.ok(100 + n).number, 1);
    }
    assert!(blocked.load(Ordering::SeqCst), "the callback is still blocked");
    let mut redis = server.conn();
    assert_eq!((0..90).map(|n| redis.numsub(format!("new{n}"))).sum::<i64>(), 90);
    client.hub().wait_active(sources[0], ticket_in(&tap, 1)).unwrap();
    client.hub().wait_active(sources[1], ticket_in(&tap, 2)).unwrap();
    tap.ok(1);
    tap.ok(2);
    // Another inbox of the same client gets its messages meanwhile by taking.
    redis.publish(b"new2", b"for the other");
    assert_eq!(tap.wait(Kind::Message).source, other);
    publish_numbers(&server, &["all", "new0", "new1"], 3_000);
    published.iter_mut().for_each(|count| *count += 2_000);
    barrier(&client);
    assert!(blocked.load(Ordering::SeqCst));
    gate.send(()).unwrap();
    drop(gate);
    // A close gives the callback what is left; then every message was either delivered or counted.
    let before = inbox.counters();
    client.close(deadline()).unwrap();
    let counts = counts.lock().unwrap();
    for (token, published) in published.into_iter().enumerate() {
        let get = |map: &HashMap<u64, u64>| map.get(&(token as u64)).copied().unwrap_or(0);
        let (delivered, dropped) = (get(&counts.delivered), get(&counts.dropped));
        assert_eq!(published, delivered + dropped, "subscription {token}: {delivered} delivered, {dropped} dropped");
        assert!(dropped > 0 && delivered > 0);
    }
    let dropped: u64 = counts.dropped.values().sum();
    assert_eq!((stat(&client, &["messages", "dropped"]), before.dropped), (dropped, dropped));
    assert_eq!(events.rest().into_iter().filter(slow).count(), 0, "one episode, one record");
}

/// Everything that was published before has been handed to the inboxes when this returns.
#[track_caller]
fn barrier(client: &Client) {
    let mut own = Tap::new(&client.waiter());
    client.barrier(ticket_in(&own, 0)).unwrap();
    own.ok(0);
}

#[test]
fn m19_who_leaves_with_a_full_inbox_that_pauses_holds_nobody_up() {
    let server = Server::start();
    let client = open(&server.url(), &[("ping_interval", "1h")]);
    let full = Tap::with(&client, &[("inbox_policy", "pause"), ("inbox_bytes", "64KiB")]);
    let mut other = Tap::on(&client);
    let leaves = subscribed(&client, &full, 1, &[b"x"]);
    subscribed(&client, &other, 2, &[b"x"]);
    let (mut conn, mut sent) = (server.conn(), 0);
    while !client.hub().paused.load(Ordering::SeqCst) {
        conn.publish(b"x", &[b'x'; 1024]);
        sent += 1;
        assert!(sent < 100_000, "the link never pauses");
    }
    // What the other one has not yet is read only when the link goes on, and it makes no room for that any more.
    sent -= other.rest().iter().filter(|event| event.kind == Kind::Message).count();
    for _ in 0..100 {
        conn.publish(b"x", &[b'x'; 1024]);
    }
    client.hub().close_source(leaves).unwrap();
    other.messages(sent + 100);
}

#[test]
fn m19_a_stuck_callback_of_one_client_delays_no_other() {
    let server = Server::start();
    let (stuck, free) = (open(&server.url(), &[]), open(&server.url(), &[]));
    let (gate, opened) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let sink = calls(move |block| {
        if block.records().iter().any(|record| record.is(Kind::Message)) {
            let _ = entered.send(());
            let _ = opened.recv();
        }
        0
    });
    let inbox = stuck.new_inbox(None, sink).unwrap();
    let source = redmux::runtime::next_id();
    stuck.hub().subscribe(source, 1, &inbox, None).unwrap();
    add(&stuck, source, &[b"x"]);
    let (sender, receiver) = mpsc::channel();
    let sink = calls(move |block| {
        block.records().iter().filter(|record| record.is(Kind::Message)).for_each(|_| sender.send(()).unwrap());
        0
    });
    let inbox = free.new_inbox(None, sink).unwrap();
    let source = redmux::runtime::next_id();
    free.hub().subscribe(source, 1, &inbox, None).unwrap();
    add(&free, source, &[b"x"]);
    server.conn().publish(b"x", b"1");
    inside.recv_timeout(PATIENCE).unwrap();
    for _ in 0..10 {
        server.conn().publish(b"x", b"more");
    }
    for _ in 0..11 {
        receiver.recv_timeout(PATIENCE).expect("the other client's callback");
    }
    // A close that runs into its deadline says so, and its sink is not dropped yet.
    assert_eq!(stuck.close(Some(std::time::Instant::now() + Duration::from_millis(10))), Err(Status::Timeout));
    drop(gate);
    free.close(deadline()).unwrap();
}
