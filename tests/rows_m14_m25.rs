//! Acceptance rows M14, M18, M20 to M25: what users of RedisMPX find, against a real server.
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::error::Status;
use redmux::inbox::dispatch::Sink;
use redmux::inbox::record::ACTIVE_NAME;
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

#[test]
fn m23_names_and_payloads_of_any_bytes_come_back_as_they_were() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let every: Vec<u8> = (0..=255).collect();
    let names: [&[u8]; 5] = [b"a\0b", b"\xff\xfe\x80", b"", b"\r\n$5\r\n", &every];
    let payloads: [&[u8]; 4] = [b"", b"\0", b"\xc3\x28\r\n", &every];
    let mut tap = Tap::on(&client);
    let sub = subscription(&client, &tap, 7);
    client.hub().add(sub, &names, ticket(1)).unwrap();
    let done = tap.ok(1);
    assert_eq!(done.number, names.len() as u64);
    let mut numbers = Vec::new();
    for name in names {
        let active = tap.expect(Kind::Active);
        assert_eq!(active.name, name);
        numbers.push(active.number);
    }
    assert_eq!(client.hub().names_of(sub).unwrap().len(), names.len());
    for (name, number) in names.iter().zip(&numbers) {
        for payload in payloads {
            client.hub().publish(name, payload, tap.inbox(), 2, deadline()).unwrap();
            assert_eq!(tap.ok(2).number, 1);
            let message = tap.expect(Kind::Message);
            assert_eq!((&message.name[..], &message.data[..], message.number), (*name, payload, *number));
        }
    }
    // The empty name is a name like others after an outage, and is not mistaken for the subscription.
    server.conn().kill_pubsub();
    tap.expect(Kind::Lost);
    let whole = tap.expect(Kind::Active);
    assert_eq!((whole.flags, whole.number), (0, 2));
    server.conn().publish(b"", b"again");
    assert_eq!(tap.expect(Kind::Message).payload(), "again");
    client.hub().remove(sub, &[b""], ticket(3)).unwrap();
    tap.ok(3);
    assert_eq!(server.conn().numsub(""), 0);
}

#[test]
fn m23_the_active_of_an_empty_name_is_not_merged_with_that_of_the_subscription() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let sub = subscribed(&client, &tap, 1, &[b"a"]);
    tap.expect(Kind::Active);
    server.conn().kill_pubsub();
    // Nothing is taken until both are there.
    eventually("it is lost and whole again", PATIENCE, || tap.inbox().counters().waiting == 2);
    add(&client, sub, &[b""]);
    tap.expect(Kind::Lost);
    let whole = tap.expect(Kind::Active);
    assert_eq!((whole.flags, whole.number), (0, 2));
    let active = tap.expect(Kind::Active);
    assert_eq!((active.flags, active.channel()), (ACTIVE_NAME, String::new()));
    server.conn().publish(b"", b"x");
    assert_eq!(tap.expect(Kind::Message).number, active.number);
}

#[test]
fn m23_a_payload_of_64_mib_makes_the_round_trip() {
    let server = Server::builder().config("client-output-buffer-limit", "pubsub 0 0 0").start();
    let client = open(&server.url(), &[("max_payload", "64MiB")]);
    let mut tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"big"]);
    tap.expect(Kind::Active);
    let some: Vec<u8> = (0..1021u32).map(|i| ((i * 31) >> 2) as u8).collect();
    let mut payload = some.repeat((64 << 20) / some.len() + 1);
    payload.truncate(64 << 20);
    client.hub().publish(b"big", &payload, tap.inbox(), 2, deadline()).unwrap();
    assert_eq!(tap.ok(2).number, 1);
    let message = tap.wait(Kind::Message);
    assert_eq!(message.name, b"big");
    assert!(message.data == payload, "the payload changed on its way");
    server.conn().publish(b"big", b"and a small one");
    assert_eq!(tap.expect(Kind::Message).payload(), "and a small one");
    assert_eq!(stat(&client, &["subscriber", "connects"]), 1);
}

#[test]
fn m23_an_inbound_message_over_max_payload_is_a_drop_and_the_client_lives_on() {
    let server = Server::start();
    let (client, mut events) = open_with_events(&server.url(), &[("max_payload", "1000")]);
    let mut tap = Tap::on(&client);
    let mut other = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"news"]);
    pattern(&client, &tap, 2, b"ne*");
    subscribed(&client, &other, 3, &[b"sport"]);
    let mut conn = server.conn();
    conn.publish(b"news", &[b'a'; 1000]);
    conn.publish(b"news", &[b'b'; 1001]);
    conn.publish(b"news", &vec![b'c'; 3_000_000]);
    conn.publish(b"news", b"small");
    conn.publish(b"sport", b"small");
    for token in [1, 2] {
        let mut of = |kind| tap.find(&format!("{kind:?} of {token}"), |e| e.kind == kind && e.token == token);
        of(Kind::Active);
        assert_eq!(of(Kind::Message).data, [b'a'; 1000]);
        // One mark or two, as the taker is slow or quick; the count is exact.
        let (mut dropped, mut last) = (0, None);
        while last.is_none() {
            let event = tap.find("a drop or a message", |e| e.kind != Kind::Active && e.token == token);
            if event.kind == Kind::Dropped {
                assert_eq!(event.status(), Status::TooLarge);
                dropped += event.number;
            } else {
                last = Some(event.payload());
            }
        }
        assert_eq!((dropped, last.as_deref()), (2, Some("small")));
    }
    assert_eq!(tap.rest(), []);
    other.expect(Kind::Active);
    assert_eq!(other.expect(Kind::Message).payload(), "small");
    assert_eq!(stat(&client, &["subscriber", "connects"]), 1);
    assert_eq!(stat(&client, &["messages", "dropped"]), 4);
    events.find("a log line", |e| e.kind == Kind::Log && e.text().contains("a message of 1001 bytes on \"news\""));
}

#[test]
fn m23_an_outbound_payload_or_name_over_its_limit_is_an_error_at_once() {
    let server = Server::start();
    let client = open(&server.url(), &[("max_payload", "1000"), ("max_name", "100")]);
    let mut tap = Tap::on(&client);
    let error = client.hub().publish(b"news", &[0; 1001], tap.inbox(), 1, None).unwrap_err();
    assert_eq!(error.status(), Status::TooLarge);
    assert!(error.message().contains("1001 bytes; max_payload is 1000"), "{error}");
    assert_eq!(client.hub().post(b"news", &[0; 1001], None).unwrap_err().status(), Status::TooLarge);
    assert_eq!(client.hub().post(&[b'n'; 101], b"", None).unwrap_err().status(), Status::TooLarge);
    let sub = subscription(&client, &tap, 1);
    assert_eq!(client.hub().add(sub, &[&[b'n'; 101]], ticket(1)).unwrap_err().status(), Status::TooLarge);
    assert_eq!(tap.inbox().counters().bytes, 0, "the room of what was refused is given back");
    client.hub().publish(b"news", &[0; 1000], tap.inbox(), 2, deadline()).unwrap();
    tap.ok(2);
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

#[test]
fn m25_a_refused_name_is_told_to_its_subscription_and_nothing_reconnects() {
    let server = Server::builder().acl("user web on >secret ~* &allowed:* +@all").start();
    let (client, mut events) = open_with_events(&server.url_as("web", "secret"), &[("refused_retry", "100ms")]);
    let mut tap = Tap::on(&client);
    let mut other = Tap::on(&client);
    subscribed(&client, &other, 9, &[b"allowed:other"]);
    other.expect(Kind::Active);
    let sub = subscription(&client, &tap, 1);
    client.hub().add(sub, &[b"allowed:a", b"forbidden", b"allowed:b"], ticket(5)).unwrap();
    let refused = tap.wait(Kind::Refused);
    assert_eq!((refused.channel(), refused.text()), ("forbidden".into(), "NOPERM".into()));
    assert_eq!((refused.token, refused.source, refused.status()), (5, sub, Status::Refused));
    let done = tap.done(5);
    assert_eq!((done.status(), done.number, done.aux), (Status::Partial, 2, 1));
    assert_eq!(done.text(), "1 refused by ACL (NOPERM) for user \"web\"; the other 2 are active");
    events.find("a log line", |e| e.kind == Kind::Log && e.text().contains("\"forbidden\": refused by ACL (NOPERM)"));
    server.conn().publish(b"allowed:a", b"works");
    assert_eq!(tap.wait(Kind::Message).payload(), "works");
    // A pattern, and a subscription all of whose names are refused.
    let refused = next_id();
    client.hub().subscribe(refused, 2, tap.inbox(), Some((b"forbidden:*", ticket(6)))).unwrap();
    assert_eq!(tap.done(6).status(), Status::Refused);
    // It is tried again alone, on the same connection, and comes once it is allowed.
    let before = stat(&client, &["subscriber", "commands"]);
    eventually("it is tried again", PATIENCE, || stat(&client, &["subscriber", "commands"]) >= before + 4);
    assert_eq!(stat(&client, &["subscriber", "attempts"]), 1);
    assert_eq!(stat(&client, &["refused"]), 2);
    server.conn().acl_setuser("web allchannels");
    let active = tap.find("the name", |e| e.kind == Kind::Active && e.name == b"forbidden");
    assert_eq!((active.source, active.token), (sub, 1));
    server.conn().publish(b"forbidden", b"now allowed");
    assert_eq!(tap.wait(Kind::Message).payload(), "now allowed");
    assert_eq!(stat(&client, &["subscriber", "connects"]), 1);
    assert_eq!(other.rest(), [], "nobody else hears of it");
}

#[test]
fn m23_a_name_that_is_longer_than_ours_may_be_costs_nobody_the_link() {
    let server = Server::start();
    let client = open(&server.url(), &[("max_name", "16")]);
    let mut tap = Tap::on(&client);
    pattern(&client, &tap, 1, b"a*");
    let long = [b'a'; 100];
    server.conn().publish(&long, b"x");
    let heard = tap.through("its message", |event| event.kind == Kind::Message);
    assert!(heard.iter().all(|event| event.kind != Kind::Lost));
    assert_eq!(heard.last().unwrap().name, long);
}

#[test]
fn m25_a_set_that_is_refused_is_not_active_also_when_it_is_waited_for_offline() {
    let server = Server::builder().acl("user web on >pw ~* resetchannels +@all").start();
    let client = open(&server.url_as("web", "pw"), &[]);
    let mut tap = Tap::on(&client);
    let set = next_id();
    client.hub().promises(set, 1, tap.inbox(), b"p:").unwrap();
    client.hub().wait_active(set, ticket_in(&tap, 2)).unwrap();
    assert_eq!(tap.done(2).status(), Status::Refused);
    server.stop();
    tap.wait(Kind::Lost);
    client.hub().wait_active(set, ticket_in(&tap, 3)).unwrap();
    server.restart();
    assert_eq!(tap.done(3).status(), Status::Refused);
}

#[test]
fn m25_one_forbidden_name_among_a_hundred_allowed_ones_is_found_and_named() {
    let server = Server::builder().acl("user web on >secret ~* &allowed:* +@all").start();
    let client = open(&server.url_as("web", "secret"), &[]);
    let mut tap = Tap::on(&client);
    let sub = subscription(&client, &tap, 1);
    let mut names: Vec<String> = (0..100).map(|number| format!("allowed:{number}")).collect();
    names.insert(37, "forbidden".into());
    let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    client.hub().add(sub, &names, ticket(5)).unwrap();
    let done = tap.done(5);
    assert_eq!((done.status(), done.number, done.aux), (Status::Partial, 100, 1));
    assert_eq!(server.conn().publish(b"allowed:99", b"works"), 1);
    assert_eq!(tap.wait(Kind::Message).payload(), "works");
    // A blocking add names who was refused, and the client lives on.
    let more: [&[u8]; 2] = [b"allowed:more", b"forbidden too"];
    let mut refused = Vec::new();
    let error = client
        .wait_for(
            Some(PATIENCE),
            |ticket| client.hub().add(sub, &more, ticket),
            |lent| redmux::completion::completion_of_add(lent, &mut refused),
        )
        .unwrap_err();
    assert_eq!(error.status(), Status::Partial);
    assert!(error.message().starts_with("add \"forbidden too\": 1 refused by ACL (NOPERM)"), "{error}");
    assert_eq!(stat(&client, &["subscriber", "connects"]), 1);
}
