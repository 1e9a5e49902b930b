//! Acceptance rows M14, M18, M20 to M22 and M24: many names, many threads, many messages, and callbacks, against a real server.
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::error::Status;
use redmux::inbox::dispatch::Sink;
use redmux::inbox::{Kind, Lent};
use redmux::mux::subscription::Ticket;
use redmux::runtime::next_id;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use support::server::Server;
use support::{Conn, PATIENCE, eventually};
use tap::*;

/// Publishes without pause until told to stop, while the server holds little for its subscribers: behind a backlog of
/// megabytes an acknowledgement comes late on a busy machine.
fn flood(mut conn: Conn, channel: &'static str, stop: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let batch = support::conn::encode(&["PUBLISH", channel, "x"]).repeat(200);
        while !stop.load(Ordering::SeqCst) {
            eventually("the subscribers read what they have", PATIENCE, || {
                let held = |client: &std::collections::HashMap<String, String>| client["omem"].parse().unwrap_or(0u64);
                conn.client_list().iter().map(held).sum::<u64>() < 256 * 1024
            });
            conn.send(&batch).expect("the server takes publishes");
            for _ in 0..200 {
                conn.read_reply().expect("an answer");
            }
        }
    })
}

#[test]
fn m14_a_hundred_thousand_adds_need_at_most_250_subscribe_commands() {
    let server = Server::start();
    // It stands still for as long as adding takes.
    let client = open(&server.url(), &[("ping_interval", "1h")]);
    ready(&client);
    let mut tap = Tap::with(&client, &[("inbox_bytes", "128MiB")]);
    let sub = subscription(&client, &tap, 1);
    let names: Vec<String> = (0..100_000).map(|i| format!("room:{i}")).collect();
    let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    let mut token = 0;
    let mut add = |names: &[&[u8]]| {
        token += 1;
        client.hub().add(sub, names, ticket(token)).unwrap();
    };
    // As an application does that adds what it learns of: many at first, then by the dozen and by the thousand. The first are
    // more than may be unanswered, so that the others meet in the queue, however slowly they come.
    server.freeze();
    let (first, later) = names.split_at(20_000);
    add(first);
    for names in later.chunks(1000) {
        let (dozens, rest) = names.split_at(120);
        dozens.chunks(12).chain([rest]).for_each(&mut add);
    }
    server.thaw();
    for token in 1..=token {
        tap.through("the end of an add", |event| event.kind == Kind::Done && event.token == token);
    }
    let commands = server.conn().commandstats("subscribe");
    assert!(commands <= 250, "{commands} SUBSCRIBE commands for 100,000 names");
    assert_eq!(server.conn().numsub("room:99999"), 1);
    assert_eq!(stat(&client, &["subscriber", "commands"]), commands);
}

#[test]
fn m14_an_add_that_reserves_more_than_a_pausing_inbox_holds_ends() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::with(&client, &[("inbox_bytes", "64KiB"), ("inbox_policy", "pause")]);
    let sub = subscription(&client, &tap, 1);
    let names: Vec<String> = (0..10_000).map(|i| format!("room:{i}")).collect();
    let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    client.hub().add(sub, &names, ticket(7)).unwrap();
    tap.through("the end of the add", |event| event.kind == Kind::Done && event.token == 7);
    assert_eq!(server.conn().numsub("room:9999"), 1);
}

#[test]
fn m14_a_hundred_thousand_adds_one_by_one_while_down_need_at_most_250_commands() {
    let server = Server::builder().prepare();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::with(&client, &[("inbox_bytes", "256MiB"), ("inbox_records", "0")]);
    let sub = subscription(&client, &tap, 1);
    for i in 0..100_000u64 {
        let name = format!("room:{i}");
        client.hub().add(sub, &[name.as_bytes()], ticket(i)).unwrap();
    }
    server.restart();
    // Each event has its own bound: all of them together take their time in a debug build.
    while !matches!(tap.next(), Event { kind: Kind::Done, token: 99_999, .. }) {}
    let commands = server.conn().commandstats("subscribe");
    assert!(commands <= 250, "{commands} SUBSCRIBE commands for 100,000 names");
}

/// Counts calls, and says when it is dropped and when a call comes that must not.
struct Canary {
    closed: Arc<AtomicBool>,
    late: Arc<AtomicU64>,
    calls: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

impl Sink for Canary {
    fn deliver(&mut self, block: &Lent) -> i32 {
        if self.closed.load(Ordering::SeqCst) {
            self.late.fetch_add(1, Ordering::SeqCst);
        }
        self.calls.fetch_add(block.records().len() as u64, Ordering::SeqCst);
        0
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn m18_after_a_close_returns_no_callback_runs_and_the_user_data_is_free() {
    let server = Server::start();
    let client = open(&server.url(), &[("callback_threads", "2")]);
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = flood(server.conn(), "hot", Arc::clone(&stop));
    for round in 0..60 {
        let closed = Arc::new(AtomicBool::new(false));
        let [late, calls, dropped] = [(); 3].map(|()| Arc::new(AtomicU64::new(0)));
        let canary = Canary {
            closed: Arc::clone(&closed),
            late: Arc::clone(&late),
            calls: Arc::clone(&calls),
            dropped: Arc::clone(&dropped),
        };
        let inbox = client.new_inbox(None, Some(Box::new(canary))).unwrap();
        let sub = next_id();
        client.hub().subscribe(sub, 1, &inbox, None).unwrap();
        client.hub().add(sub, &[b"hot"], endless(1)).unwrap();
        eventually("messages come", PATIENCE, || calls.load(Ordering::SeqCst) > 10);
        client.close_inbox(&inbox, deadline()).unwrap();
        closed.store(true, Ordering::SeqCst);
        let seen = calls.load(Ordering::SeqCst);
        assert_eq!(dropped.load(Ordering::SeqCst), 1, "round {round}: the sink is dropped once, before close returns");
        // Later messages come to others, so a late call would have had its time.
        let mut tap = Tap::on(&client);
        subscribed(&client, &tap, 2, &[b"hot"]);
        tap.messages(3);
        client.close_inbox(tap.inbox(), deadline()).unwrap();
        assert_eq!((late.load(Ordering::SeqCst), calls.load(Ordering::SeqCst)), (0, seen), "round {round}");
    }
    stop.store(true, Ordering::SeqCst);
    publisher.join().unwrap();
    client.close(deadline()).unwrap();
}

#[test]
fn m18_closing_the_client_under_fire_ends_every_callback_first() {
    let server = Server::start();
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = flood(server.conn(), "hot", Arc::clone(&stop));
    for _ in 0..20 {
        let client = open(&server.url(), &[]);
        let closed = Arc::new(AtomicBool::new(false));
        let [late, calls, dropped] = [(); 3].map(|()| Arc::new(AtomicU64::new(0)));
        for _ in 0..3 {
            let (closed, late) = (Arc::clone(&closed), Arc::clone(&late));
            let canary = Canary { closed, late, calls: Arc::clone(&calls), dropped: Arc::clone(&dropped) };
            let inbox = client.new_inbox(None, Some(Box::new(canary))).unwrap();
            let sub = next_id();
            client.hub().subscribe(sub, 1, &inbox, None).unwrap();
            client.hub().add(sub, &[b"hot"], endless(1)).unwrap();
        }
        eventually("messages come", PATIENCE, || calls.load(Ordering::SeqCst) > 30);
        client.close(deadline()).unwrap();
        closed.store(true, Ordering::SeqCst);
        assert_eq!(dropped.load(Ordering::SeqCst), 3);
        assert_eq!(late.load(Ordering::SeqCst), 0);
    }
    stop.store(true, Ordering::SeqCst);
    publisher.join().unwrap();
}

#[test]
fn m20_an_inbox_of_5000_messages_holds_5000_and_drops_the_next() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::with(&client, &[("inbox_records", "5000")]);
    subscribed(&client, &tap, 1, &[b"news"]);
    assert_eq!(tap.next().kind, Kind::Active);
    let mut conn = server.conn();
    let mut publish = |from: u64, to: u64| {
        for i in from..to {
            conn.publish(b"news", &i.to_be_bytes());
        }
    };
    publish(0, 5000);
    eventually("5000 wait", PATIENCE, || tap.inbox().counters().waiting == 5000);
    assert_eq!(tap.inbox().counters().dropped, 0);
    for i in 0..5000u64 {
        assert_eq!(tap.expect(Kind::Message).data, i.to_be_bytes());
    }
    publish(0, 5003);
    eventually("three were dropped", PATIENCE, || tap.inbox().counters().dropped == 3);
    let dropped = tap.expect(Kind::Dropped);
    assert_eq!((dropped.number, dropped.token, dropped.code), (3, 1, 0));
    for i in 3..5003u64 {
        assert_eq!(tap.expect(Kind::Message).data, i.to_be_bytes());
    }
}

#[test]
fn m21_sixteen_threads_create_add_remove_and_close_and_the_client_is_sane_after() {
    let server = Server::start();
    let client = open(&server.url(), &[("callback_threads", "2")]);
    ready(&client);
    let shared = client.new_inbox(None, None).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = flood(server.conn(), "t3", Arc::clone(&stop));
    let threads: Vec<_> = (0..16u64)
        .map(|thread| {
            let (client, shared) = (Arc::clone(&client), Arc::clone(&shared));
            thread::spawn(move || {
                let mut random = thread * 7919 + 1;
                let mut next = |below: u64| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (random >> 33) % below
                };
                for round in 0..60u64 {
                    let own = client.new_inbox(None, None).unwrap();
                    let inbox = if next(2) == 0 { &own } else { &shared };
                    let sub = next_id();
                    let hub = client.hub();
                    let ticket = || Ticket { inbox: Some(Arc::clone(inbox)), token: round, deadline: deadline() };
                    if next(4) == 0 {
                        hub.subscribe(sub, thread, inbox, Some((format!("t{}*", next(8)).as_bytes(), ticket())))
                            .unwrap();
                    } else {
                        hub.subscribe(sub, thread, inbox, None).unwrap();
                        for _ in 0..next(6) {
                            let name = format!("t{}", next(8));
                            if next(3) > 0 {
                                hub.add(sub, &[name.as_bytes()], ticket()).unwrap();
                            } else {
                                hub.remove(sub, &[name.as_bytes()], ticket()).unwrap();
                            }
                        }
                    }
                    hub.post(b"t1", b"hello", None).unwrap();
                    if next(5) == 0 {
                        drop(inbox.take(Some(std::time::Duration::from_millis(next(3)))));
                    }
                    if next(3) > 0 {
                        hub.close_source(sub).unwrap();
                        assert_eq!(hub.close_source(sub).unwrap_err().status(), Status::Closed);
                    } else {
                        let drained = Tap::new(&client.waiter());
                        hub.clear(sub, true, ticket_in(&drained, 1)).unwrap();
                        let mut drained = drained;
                        drained.ok(1);
                    }
                    client.close_inbox(&own, deadline()).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    publisher.join().unwrap();
    assert_eq!(stat(&client, &["sources"]), 0);
    eventually("no name is left at the server", PATIENCE, || {
        let mut conn = server.conn();
        conn.numpat() == 0 && (0..8).all(|i| conn.numsub(format!("t{i}")) == 0)
    });
    eventually("no name is left here", PATIENCE, || stat(&client, &["names"]) == 0);
    eventually("no operation is left", PATIENCE, || stat(&client, &["operations"]) == 0);
    assert_eq!(stat(&client, &["subscriber", "connects"]), 1);
    let mut tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"t3"]);
    assert_eq!(server.conn().publish(b"t3", b"still here"), 1);
    assert_eq!(tap.messages(1)[0].payload(), "still here");
    client.close(deadline()).unwrap();
}

/// Sends what it got to the test, and fails as it is told.
struct Failing {
    seen: Sender<Event>,
    code: i32,
}

impl Sink for Failing {
    fn deliver(&mut self, block: &Lent) -> i32 {
        for record in block.records() {
            let _ = self.seen.send(Event::of(record, block.data()));
        }
        self.code
    }
}

fn failing(code: i32) -> (Box<dyn Sink>, Receiver<Event>) {
    let (seen, receiver) = channel();
    (Box::new(Failing { seen, code }), receiver)
}

/// How fast, and how soon, is for the benches; here every one arrives, once and in order.
#[test]
fn m22_two_hundred_thousand_messages_reach_one_callback_each_once_and_in_order() {
    const COUNT: u64 = 200_000;
    struct Counting(Sender<Result<u64, String>>, u64);
    impl Sink for Counting {
        fn deliver(&mut self, block: &Lent) -> i32 {
            for record in block.records().iter().filter(|record| record.is(Kind::Message)) {
                let expected = self.1.to_string();
                if record.payload(block.data()) != expected.as_bytes() {
                    let got = String::from_utf8_lossy(record.payload(block.data())).into_owned();
                    let _ = self.0.send(Err(format!("{got} in place of {expected}")));
                }
                self.1 += 1;
            }
            let _ = self.0.send(Ok(self.1));
            0
        }
    }
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let (sender, seen) = channel();
    let inbox = client.new_inbox(None, Some(Box::new(Counting(sender, 0)))).unwrap();
    let mut own = Tap::on(&client);
    let source = next_id();
    client.hub().subscribe(source, 1, &inbox, None).unwrap();
    client.hub().add(source, &[b"fast"], ticket_in(&own, 1)).unwrap();
    own.ok(1);
    for number in 0..COUNT {
        let post = || client.hub().post(b"fast", number.to_string().as_bytes(), deadline());
        while let Err(error) = post() {
            assert_eq!(error.status(), Status::Full);
            client.flush(ticket_in(&own, 2)).unwrap();
            own.ok(2);
        }
    }
    let mut got = 0;
    while got < COUNT {
        got = seen.recv_timeout(BOUND).expect("messages go on coming").expect("the order of the publisher");
    }
    assert_eq!((got, inbox.counters().dropped), (COUNT, 0));
}

#[test]
fn m24_a_callback_that_returns_an_error_is_logged_and_gets_the_next_message() {
    let server = Server::start();
    let (client, mut events) = open_with_events(&server.url(), &[]);
    let (sink, seen) = failing(7);
    let inbox = client.new_inbox(None, Some(sink)).unwrap();
    let sub = next_id();
    client.hub().subscribe(sub, 1, &inbox, None).unwrap();
    client.hub().add(sub, &[b"news"], endless(2)).unwrap();
    let next = |kind: Kind| loop {
        let event = seen.recv_timeout(BOUND).expect("a call");
        if event.kind == kind {
            return event;
        }
    };
    next(Kind::Done);
    let line = |event: &Event| event.kind == Kind::Log && event.text().contains("returned 7; delivery goes on");
    assert_eq!(events.find("a line about the callback", line).number, 2, "a warning");
    for payload in ["one", "two"] {
        server.conn().publish(b"news", payload.as_bytes());
        assert_eq!(next(Kind::Message).payload(), payload);
        let logged = events.find("a line about the callback", line);
        assert!(logged.text().contains(&format!("{:#x}", inbox.id())), "{logged:?}");
    }
    client.close(deadline()).unwrap();
    assert_eq!(next(Kind::Closed).source, sub);
}
