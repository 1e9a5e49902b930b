//! Acceptance rows B1 to B6: publishing, against a real server (flush and barrier: `rows_flush.rs`).
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::client::{Client, EventsBy};
use redmux::error::Status;
use redmux::inbox::dispatch::Sink;
use redmux::inbox::{Kind, Lent};
use redmux::mux::events::State;
use redmux::mux::subscription::Ticket;
use redmux::options::Options;
use redmux::runtime::next_id;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use support::proxy::Proxy;
use support::server::Server;
use support::{Fake, PATIENCE, eventually};
use tap::*;

#[test]
fn b1_a_publish_ends_with_the_number_of_receivers() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    for expected in 0..3 {
        let done = publish(&client, &mut tap, b"news", br#"{"Data":1}"#);
        assert_eq!((done.kind, done.status(), done.number), (Kind::Published, Status::Ok, expected));
        assert_eq!(done.source, client.id());
        let other = open(&server.url(), &[]);
        let inbox = Tap::on(&other);
        subscribed(&other, &inbox, 1, &[b"news"]);
        std::mem::forget(other);
    }
    assert_eq!(stat(&client, &["publisher", "sent"]), 3);
    assert_eq!(stat(&client, &["publisher", "lost"]), 0);
}

#[test]
fn b1_a_publish_that_redis_refuses_says_why() {
    let server = Server::builder().acl("user web on >secret ~* &allowed +@all").start();
    let (client, mut events) = open_with_events(&server.url_as("web", "secret"), &[]);
    let mut tap = Tap::on(&client);
    let refused = publish(&client, &mut tap, b"forbidden", b"x");
    assert_eq!(refused.status(), Status::Refused);
    assert!(refused.text().starts_with("NOPERM"), "{refused:?}");
    client.hub().post(b"forbidden", b"x", None).unwrap();
    let lost = events.wait(Kind::Dropped);
    assert_eq!((lost.number, lost.status()), (1, Status::Redis));
    events.find("a log line", |e| e.kind == Kind::Log && e.text().contains("a post was refused: NOPERM"));
    assert_eq!(publish(&client, &mut tap, b"allowed", b"x").status(), Status::Ok);
    assert_eq!(stat(&client, &["publisher", "connects"]), 1);
}

#[test]
fn b1_with_redis_down_a_publish_ends_not_sent_at_its_deadline_or_is_sent_later() {
    let server = Server::builder().prepare();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let hub = client.hub();
    hub.publish(b"news", b"kept", tap.inbox(), 1, None).unwrap();
    hub.publish(b"news", b"too late", tap.inbox(), 2, over()).unwrap();
    hub.publish(b"news", b"cancelled", tap.inbox(), 3, None).unwrap();
    let late = tap.done(2);
    assert_eq!((late.status(), late.number), (Status::NotSent, 0));
    assert_eq!(late.text(), "never sent; it is safe to publish it again");
    assert_eq!((client.cancel(tap.inbox().id(), 3), client.cancel(tap.inbox().id(), 3)), (1, 0));
    assert_eq!(tap.done(3).status(), Status::Cancelled);
    assert_eq!(tap.rest(), []);
    server.restart();
    let monitor = server.monitor();
    let done = tap.done(1);
    assert!(done.status() == Status::Ok, "{done:?}");
    publish(&client, &mut tap, b"news", b"last");
    monitor.wait_for("\"last\"");
    assert!(!monitor.lines().iter().any(|line| line.contains("too late") || line.contains("cancelled")));
    assert_eq!(server.conn().commandstats("publish"), 2);
    assert_eq!(stat(&client, &["publisher", "lost"]), 1);
}

#[test]
fn b1_what_waits_behind_publishes_that_are_given_up_ends_with_the_server_away() {
    let server = Server::builder().prepare();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let hub = client.hub();
    let soon = || Instant::now().checked_add(Duration::from_millis(50));
    hub.publish(b"news", b"too late", tap.inbox(), 1, soon()).unwrap();
    client.flush(Ticket { inbox: Some(Arc::clone(tap.inbox())), ..endless(2) }).unwrap();
    assert_eq!(tap.done(1).status(), Status::NotSent);
    let flushed = tap.done(2);
    assert_eq!((flushed.status(), flushed.number), (Status::Interrupted, 1), "nothing is left to wait for");
    hub.publish(b"news", b"cancelled", tap.inbox(), 3, None).unwrap();
    client.flush(Ticket { inbox: Some(Arc::clone(tap.inbox())), ..endless(4) }).unwrap();
    assert_eq!(client.cancel(tap.inbox().id(), 3), 1);
    assert_eq!(tap.done(3).status(), Status::Cancelled);
    assert_eq!(tap.done(4).status(), Status::Ok, "it was taken back, and is not lost");
    // A close waits for publishes in the same way.
    hub.publish(b"news", b"too late", tap.inbox(), 5, soon()).unwrap();
    assert_eq!(client.close(None), Ok(()));
    assert_eq!(tap.done(5).status(), Status::NotSent);
}

#[test]
fn b1_a_publish_whose_link_is_cut_after_the_write_is_unknown_and_never_repeated() {
    let server = Server::start();
    let proxy = Proxy::start(server.port());
    // Nothing but the answer is swallowed.
    let client = open(&proxy.url(), &[("ping_interval", "1h")]);
    let mut tap = Tap::on(&client);
    publish(&client, &mut tap, b"news", b"warm");
    proxy.to_client().swallow();
    let before = proxy.to_client().swallowed();
    client.hub().publish(b"news", b"written", tap.inbox(), 1, None).unwrap();
    eventually("the server has it", PATIENCE, || server.conn().commandstats("publish") == 2);
    eventually("its answer is gone", PATIENCE, || proxy.to_client().swallowed() > before);
    assert_eq!(tap.rest(), []);
    proxy.to_client().pass();
    proxy.cut_all();
    let unknown = tap.done(1);
    assert_eq!(unknown.status(), Status::Unknown);
    assert_eq!(unknown.text(), "sent, and not answered; it may or may not have been published");
    assert_eq!(publish(&client, &mut tap, b"news", b"next").status(), Status::Ok);
    assert_eq!(server.conn().commandstats("publish"), 3, "nothing is repeated");
    // At its deadline with the link up: given, and not answered.
    proxy.to_client().swallow();
    client.hub().publish(b"news", b"no answer", tap.inbox(), 2, over()).unwrap();
    assert_eq!(tap.done(2).status(), Status::Unknown);
    assert_eq!(stat(&client, &["publisher", "lost"]), 2);
}

#[test]
fn b1_a_payload_may_take_longer_than_the_server_may_be_silent() {
    const SIZE: usize = 16 << 20;
    let fake = Fake::answering_hello(|mut server| {
        let (mut read, mut slow) = (0, 0);
        while read < SIZE {
            let Ok(bytes) = server.read_some() else { return };
            read += bytes.len();
            // For two and a half seconds, all in all.
            if read / (SIZE / 25) > slow {
                slow += 1;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let _ = server.write(b":1\r\n");
        server.wait_closed();
    });
    let client = open(&fake.url(), &[("ping_interval", "500ms"), ("ping_timeout", "1s")]);
    let mut tap = Tap::on(&client);
    client.hub().publish(b"news", &vec![b'x'; SIZE], tap.inbox(), 1, deadline()).unwrap();
    assert_eq!((tap.ok(1).number, stat(&client, &["publisher", "connects"])), (1, 1));
}

#[test]
fn b1_a_publish_cut_off_in_its_middle_goes_whole_over_the_next_link() {
    let fake = Fake::listen();
    let client = open(&fake.url(), &[]);
    let mut subscriber = fake.accept();
    subscriber.greet().unwrap();
    ready(&client);
    let mut tap = Tap::on(&client);
    // More than the buffers of two sockets hold.
    let payload: Vec<u8> = b"0123456789abcdef\n".repeat(2 << 20);
    client.hub().publish(b"big", &payload, tap.inbox(), 1, None).unwrap();
    for _ in 0..2 {
        let mut conn = fake.accept();
        conn.greet().unwrap();
        conn.read_bytes(100_000).unwrap();
    }
    let mut conn = fake.accept();
    conn.greet().unwrap();
    let command = conn.read_command().unwrap();
    assert!(command == [b"PUBLISH".to_vec(), b"big".to_vec(), payload]);
    assert_eq!(tap.rest(), []);
    conn.write(b":4\r\n").unwrap();
    assert_eq!(tap.ok(1).number, 4);
}

#[test]
fn b1_a_full_publish_queue_is_an_error_at_once() {
    let server = Server::builder().prepare();
    let client = open(&server.url(), &[("publish_queue", "4KiB")]);
    let mut tap = Tap::on(&client);
    let mut taken = 0;
    let error = loop {
        match client.hub().publish(b"news", &[b'x'; 500], tap.inbox(), taken, None) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.status(), Status::Full);
    assert!(error.message().contains("publish_queue"), "{error}");
    assert_eq!(taken, 7, "4 KiB hold seven of 500 bytes and their frame");
    assert_eq!(client.hub().post(b"news", &[b'x'; 500], None).unwrap_err().status(), Status::Full);
    server.restart();
    for token in 0..taken {
        tap.ok(token);
    }
    // One that is larger than the queue is taken when nothing waits.
    client.hub().publish(b"news", &[b'x'; 100_000], tap.inbox(), 99, None).unwrap();
    tap.ok(99);
}

#[test]
fn b1_an_inbox_without_room_for_the_completion_refuses_the_publish() {
    let server = Server::builder().prepare();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::with(&client, &[("inbox_bytes", "4KiB")]);
    let mut taken = 0u64;
    while client.hub().publish(b"news", b"x", tap.inbox(), taken, None).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 4096 / 192);
    let error = client.hub().publish(b"news", b"x", tap.inbox(), taken, None).unwrap_err();
    assert_eq!(error.status(), Status::Full);
    server.restart();
    (0..taken).for_each(|token| drop(tap.ok(token)));
    assert_eq!(server.conn().commandstats("publish"), taken);
}

#[test]
fn b1_posts_that_are_lost_are_one_record_with_a_count_for_each_reason() {
    let server = Server::start();
    let proxy = Proxy::start(server.port());
    let (client, mut events) = open_with_events(&proxy.url(), &[]);
    let hub = client.hub();
    let mut tap = Tap::on(&client);
    publish(&client, &mut tap, b"news", b"warm");
    // Given and unanswered: unknown.
    proxy.to_client().swallow();
    (0..5).for_each(|_| hub.post(b"news", b"x", None).unwrap());
    eventually("the server has them", PATIENCE, || server.conn().commandstats("publish") == 6);
    proxy.listener_off();
    proxy.cut_all();
    let lost = events.wait(Kind::Dropped);
    assert_eq!((lost.number, lost.status()), (5, Status::Unknown));
    // Never given: not sent. And a stop ends what waits.
    events.find("offline", |e| e.is_state(State::PublishOffline));
    let soon = over();
    (0..7).for_each(|_| hub.post(b"news", b"x", soon).unwrap());
    let mut counted = 0;
    while counted < 7 {
        let lost = events.wait(Kind::Dropped);
        assert_eq!(lost.status(), Status::NotSent);
        counted += lost.number;
    }
    assert_eq!(counted, 7);
    (0..9).for_each(|_| hub.post(b"news", b"x", None).unwrap());
    client.stop().unwrap();
    let lost = events.wait(Kind::Dropped);
    assert_eq!((lost.number, lost.status()), (9, Status::NotSent));
    assert_eq!(hub.post(b"news", b"x", None).unwrap_err().status(), Status::Stopped);
    assert_eq!(stat(&client, &["publisher", "lost"]), 21);
}

#[test]
fn b1_drops_for_different_reasons_are_not_added_up() {
    let server = Server::start();
    let proxy = Proxy::start(server.port());
    let (client, mut events) = open_with_events(&proxy.url(), &[]);
    let mut tap = Tap::on(&client);
    publish(&client, &mut tap, b"news", b"warm");
    proxy.to_client().swallow();
    proxy.to_server().stall();
    (0..3).for_each(|_| client.hub().post(b"news", b"x", None).unwrap());
    // The rest cannot be given: socket buffers and proxy are full of the first large ones.
    eventually("the kernel takes no more", PATIENCE, || {
        client.hub().post(b"news", &vec![0; 1 << 20], None).unwrap();
        stat(&client, &["publisher", "pending_bytes"]) > 8 << 20
    });
    let posts = stat(&client, &["publisher", "sent"]) - 1;
    let told = events.inbox().counters().received;
    client.stop().unwrap();
    // Nothing is taken before the state and both counts are there, so that they could be added up.
    eventually("all is told", PATIENCE, || events.inbox().counters().received >= told + 3);
    let mut of = |status| events.find(&format!("{status:?}"), |e| e.kind == Kind::Dropped && e.status() == status);
    let (unsent, unknown) = (of(Status::NotSent).number, of(Status::Unknown).number);
    assert!(unknown >= 3 && unsent >= 1, "{unsent} not sent, {unknown} unknown");
    assert_eq!(unsent + unknown, posts);
}

#[test]
fn b1_after_a_stop_and_a_restart_at_once_no_publish_gets_the_answer_of_an_earlier_one() {
    let server = Server::start();
    let proxy = Proxy::start(server.port());
    let client = open(&proxy.url(), &[]);
    let mut tap = Tap::on(&client);
    let inbox = Tap::on(&client);
    for round in 0..40 {
        eventually("the link is up", PATIENCE, || publish(&client, &mut tap, b"nobody", b"x").code == 0);
        subscribed(&client, &inbox, 1, &[format!("somebody{round}").as_bytes()]);
        // Their answers, 0, are still to come when the next publish is handed in, whose answer is 1.
        for _ in 0..3 {
            client.hub().publish(b"nobody", b"x", tap.inbox(), 1, None).unwrap();
        }
        client.stop().unwrap();
        client.restart().unwrap();
        client.hub().publish(b"nobody", b"x", tap.inbox(), 2, None).unwrap();
        for _ in 0..3 {
            let status = tap.done(1).status();
            assert!(matches!(status, Status::Ok | Status::Unknown | Status::NotSent), "{status:?}");
        }
        let status = tap.done(2).status();
        assert!(matches!(status, Status::Ok | Status::Unknown), "{status:?}");
    }
    let connects = stat(&client, &["publisher", "connects"]);
    assert!(connects >= 40, "a stop always disconnects: {connects} connections in 40 rounds");
}

#[test]
fn b2_five_channels_and_seven_messages_over_one_connection() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let names: [&[u8]; 5] = [b"c1", b"c2", b"c3", b"c4", b"c5"];
    let sub = subscription(&client, &tap, 1);
    client.hub().add(sub, &names, ticket(1)).unwrap();
    client.hub().wait_active(sub, ticket(2)).unwrap();
    tap.ok(2);
    let sent = [(0, "a"), (1, "b"), (2, "c"), (3, "d"), (4, "e"), (0, "f"), (4, "g")];
    for (channel, data) in sent {
        assert_eq!(publish(&client, &mut tap, names[channel], data.as_bytes()).number, 1);
    }
    for ((channel, data), got) in sent.into_iter().zip(tap.messages(7)) {
        assert_eq!((&got.name[..], got.payload()), (names[channel], data.into()));
    }
    let subscribers = server.conn().client_list().into_iter().filter(|c| c["sub"] != "0" || c["psub"] != "0");
    assert_eq!(subscribers.map(|c| c["sub"].clone()).collect::<Vec<_>>(), ["5"]);
}

#[test]
fn b3_a_url_comes_before_redis_url_before_host_port_and_password_before_localhost() {
    let servers = [(); 3].map(|()| Server::start());
    let secured = Server::builder().password("pass word").start();
    let env = |pairs: &[(&str, &str)]| {
        let pairs: Vec<(String, String)> = pairs.iter().map(|&(k, v)| (k.into(), v.into())).collect();
        move |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    let (url, port) = (servers[1].url(), secured.port().to_string());
    let parts = [("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port), ("REDIS_PASSWORD", "pass word")];
    let both = [&parts[..], &[("REDIS_URL", &url)]].concat();
    let reach = |options: Options, server: &Server| {
        let client = Client::open(options, EventsBy::None).unwrap();
        let mut tap = Tap::on(&client);
        subscribed(&client, &tap, 1, &[b"here"]);
        assert_eq!(server.conn().numsub("here"), 1);
        client.close(deadline()).unwrap();
        tap.through("its end", |e| e.kind == Kind::Closed);
    };
    let mut explicit = url_options(&servers[0].url(), &[]);
    explicit.set_environment(env(&both)).unwrap();
    reach(explicit, &servers[0]);
    let mut by_url = Options::new();
    by_url.set_environment(env(&both)).unwrap();
    reach(by_url, &servers[1]);
    let mut by_parts = Options::new();
    by_parts.set_environment(env(&parts)).unwrap();
    reach(by_parts, &secured);
    let mut nothing = Options::new();
    nothing.set_environment(env(&[])).unwrap();
    assert_eq!(nothing.url_without_secrets(), "redis://localhost:6379/0");
}

/// Decodes as an application does, and answers with an error where it cannot.
struct Decoding {
    good: Sender<u64>,
    bad: Sender<(String, Vec<u8>)>,
}

impl Sink for Decoding {
    fn deliver(&mut self, block: &Lent) -> i32 {
        let mut result = 0;
        for record in block.records().iter().filter(|record| record.is(Kind::Message)) {
            let event = Event::of(record, block.data());
            match serde_json::from_slice::<u64>(&event.data) {
                Ok(number) => drop(self.good.send(number)),
                Err(_) => {
                    let _ = self.bad.send((event.channel(), event.data));
                    result = -1;
                }
            }
        }
        result
    }
}

#[test]
fn b4_a_payload_that_cannot_be_decoded_is_logged_and_the_next_is_delivered() {
    let server = Server::start();
    let (client, mut events) = open_with_events(&server.url(), &[]);
    let ((good, numbers), (bad, errors)) = (channel(), channel());
    let inbox = client.new_inbox(None, Some(Box::new(Decoding { good, bad }))).unwrap();
    let sub = next_id();
    client.hub().subscribe(sub, 1, &inbox, None).unwrap();
    add(&client, sub, &[b"json"]);
    for payload in ["1", "{nonsense", "2"] {
        server.conn().publish(b"json", payload.as_bytes());
    }
    assert_eq!(numbers.recv_timeout(BOUND).unwrap(), 1);
    assert_eq!(numbers.recv_timeout(BOUND).unwrap(), 2);
    assert_eq!(errors.recv_timeout(BOUND).unwrap(), ("json".into(), b"{nonsense".to_vec()));
    events.find("a log line", |e| e.kind == Kind::Log && e.text().contains("returned -1; delivery goes on"));
    client.close(deadline()).unwrap();
}

#[test]
fn b5_one_publish_reaches_two_subscribers() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let (mut a, mut b) = (Tap::on(&client), Tap::on(&client));
    subscribed(&client, &a, 1, &[b"news"]);
    subscribed(&client, &b, 2, &[b"news"]);
    let monitor = server.monitor();
    client.hub().post(b"news", b"hello both", None).unwrap();
    assert_eq!(a.messages(1)[0].payload(), "hello both");
    assert_eq!(b.messages(1)[0].payload(), "hello both");
    client.hub().post(b"news", b"the end", None).unwrap();
    monitor.wait_for("the end");
    let published: Vec<_> = monitor.lines().into_iter().filter(|line| line.contains("PUBLISH")).collect();
    assert_eq!(published.len(), 2, "{published:?}");
    assert_eq!(server.conn().numsub("news"), 1);
}

/// Holds its thread until told to go on.
struct Blocked {
    entered: Sender<()>,
    go_on: Receiver<()>,
}

impl Sink for Blocked {
    fn deliver(&mut self, block: &Lent) -> i32 {
        if block.records().iter().any(|record| record.is(Kind::Message)) {
            let _ = self.entered.send(());
            let _ = self.go_on.recv_timeout(PATIENCE);
        }
        0
    }
}

/// Sends messages to the test.
struct Passing(Sender<String>);

impl Sink for Passing {
    fn deliver(&mut self, block: &Lent) -> i32 {
        for record in block.records().iter().filter(|record| record.is(Kind::Message)) {
            let _ = self.0.send(Event::of(record, block.data()).payload());
        }
        0
    }
}

#[test]
fn b6_with_two_callback_threads_a_blocked_callback_delays_no_other_subscription() {
    let server = Server::start();
    let client = open(&server.url(), &[("callback_threads", "2")]);
    let ((entered, inside), (release, go_on), (seen, messages)) = (channel(), channel(), channel());
    let blocked = client.new_inbox(None, Some(Box::new(Blocked { entered, go_on }))).unwrap();
    let passing = client.new_inbox(None, Some(Box::new(Passing(seen)))).unwrap();
    for (inbox, name) in [(&blocked, &b"slow"[..]), (&passing, b"quick")] {
        let sub = next_id();
        client.hub().subscribe(sub, 1, inbox, None).unwrap();
        add(&client, sub, &[name]);
    }
    server.conn().publish(b"slow", b"x");
    inside.recv_timeout(BOUND).expect("the slow one runs");
    for i in 0..100 {
        server.conn().publish(b"quick", i.to_string().as_bytes());
        assert_eq!(messages.recv_timeout(BOUND).unwrap(), i.to_string());
    }
    // Still inside, and nothing of it was called a second time meanwhile.
    server.conn().publish(b"slow", b"y");
    assert!(inside.try_recv().is_err());
    release.send(()).unwrap();
    inside.recv_timeout(BOUND).expect("its second call");
    release.send(()).unwrap();
    client.close(deadline()).unwrap();
}
