//! A consumer that waits alone turns the library's runtime itself (`src/wheel.rs`), and nobody else has to wait for it.
//!
//! What is lent is a process' one runtime, so these tests take turns.
#[path = "support/lent.rs"]
mod lent;
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use lent::{alone, hear_away};
use redmux::client::Client;
use redmux::error::Status;
use redmux::inbox::dispatch::Sink;
use redmux::inbox::{Inbox, Kind, Lent};
use redmux::{runtime, wheel};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};
use support::conn::encode;
use support::server::Server;
use support::{PATIENCE, eventually};
use tap::*;

/// A client alone with its server, and a tap that listens to x.
fn listening() -> (MutexGuard<'static, ()>, Server, Arc<Client>, Tap) {
    let alone = alone();
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"x"]);
    (alone, server, client, tap)
}

/// What the next message says.
fn message(tap: &mut Tap) -> String {
    tap.wait(Kind::Message).payload()
}

/// Hears something, alone, until this thread is who the runtime is lent to.
fn turn(server: &Server, tap: &mut Tap, name: &[u8]) {
    let before = wheel::get().turns();
    let mut conn = server.conn();
    for n in 0..10_000 {
        let said = format!("{n}");
        conn.send(&encode(&[&b"PUBLISH"[..], name, said.as_bytes()])).unwrap();
        assert_eq!(message(tap), said);
        conn.read_reply().unwrap();
        // What is there already when it is looked for is not waited for.
        if wheel::get().turns() > before {
            return;
        }
    }
    panic!("it was never lent");
}

/// Takes everything, and says why there is no more.
fn until_it_ends(inbox: &Arc<Inbox>) -> Status {
    loop {
        if let Err(status) = inbox.take(None) {
            return status;
        }
    }
}

#[test]
fn messages_and_completions_come_to_a_taker_that_turns() {
    let (_alone, _server, client, mut tap) = listening();
    let before = wheel::get().turns();
    for n in 0..500u64 {
        client.hub().publish(b"x", format!("{n}").as_bytes(), tap.inbox(), n, deadline()).unwrap();
        assert_eq!(tap.wait(Kind::Message).payload(), format!("{n}"));
        assert_eq!(tap.wait(Kind::Published).number, 1);
    }
    assert!(wheel::get().turns() > before);
}

#[test]
fn a_take_that_turns_ends_in_time_and_not_before() {
    let (_alone, server, _client, mut tap) = listening();
    turn(&server, &mut tap, b"x");
    for _ in 0..3 {
        let (began, before) = (Instant::now(), wheel::get().turns());
        let limit = Duration::from_millis(30);
        assert_eq!(tap.inbox().take(Some(limit)).unwrap_err(), Status::Timeout);
        assert!(began.elapsed() >= limit);
        assert!(wheel::get().turns() > before);
    }
}

#[test]
fn while_the_taker_is_away_others_are_served() {
    let _alone = alone();
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let (mut tap, mut other) = (Tap::on(&client), Tap::on(&client));
    subscribed(&client, &tap, 1, &[b"x"]);
    subscribed(&client, &other, 2, &[b"y"]);
    for _ in 0..20 {
        turn(&server, &mut tap, b"x");
        // This thread is away now: it waits for another one.
        let second = open(&server.url(), &[]);
        let reader = thread::spawn(move || (message(&mut other), other));
        second.hub().post(b"y", b"for the other", None).unwrap();
        let heard;
        (heard, other) = reader.join().unwrap();
        assert_eq!(heard, "for the other");
        second.hub().end(Status::Closed);
    }
}

#[test]
fn two_who_wait_are_both_served() {
    let _alone = alone();
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let readers: Vec<_> = [&b"0"[..], b"1", b"2"]
        .into_iter()
        .map(|name| {
            let mut tap = Tap::on(&client);
            subscribed(&client, &tap, 1, &[name]);
            thread::spawn(move || (0..200).map(|_| message(&mut tap)).collect::<Vec<_>>())
        })
        .collect();
    let mut conn = server.conn();
    for n in 0..200 {
        for name in ["0", "1", "2"] {
            conn.publish(name.as_bytes(), format!("{n}").as_bytes());
        }
    }
    let expected: Vec<_> = (0..200).map(|n| format!("{n}")).collect();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), expected);
    }
}

#[test]
fn what_the_taker_says_before_it_goes_away_is_sent() {
    let _alone = alone();
    let server = Server::start();
    let mut hears = server.conn();
    hears.expect(&["SUBSCRIBE", "away"]);
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"x"]);
    for _ in 0..10 {
        turn(&server, &mut tap, b"x");
        for _ in 0..50 {
            client.hub().post(b"away", b"y", None).unwrap();
        }
        // And this thread does not come back to the library before they are heard.
        hear_away(&mut hears, 50);
    }
}

#[test]
fn what_another_thread_says_while_the_taker_turns_or_is_away_is_sent() {
    let _alone = alone();
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"x", b"z"]);
    for _ in 0..20 {
        turn(&server, &mut tap, b"x");
        let speaker = Arc::clone(&client);
        let speaks = thread::spawn(move || (0..50).for_each(|_| speaker.hub().post(b"z", b"z", None).unwrap()));
        for _ in 0..50 {
            assert_eq!(message(&mut tap), "z");
        }
        speaks.join().unwrap();
    }
}

#[test]
fn names_that_another_thread_adds_become_active_while_the_taker_turns() {
    let _alone = alone();
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"x"]);
    for n in 0..20 {
        turn(&server, &mut tap, b"x");
        let adder = Arc::clone(&client);
        let name = format!("name {n}");
        let adds = thread::spawn(move || {
            let ticket = redmux::mux::subscription::Ticket { inbox: None, token: 0, deadline: None };
            adder.hub().add(source, &[name.as_bytes()], ticket).unwrap();
        });
        tap.find("active", |event| event.kind == Kind::Active && event.channel() == format!("name {n}"));
        adds.join().unwrap();
    }
}

#[test]
fn a_close_ends_a_take_that_turns() {
    let _alone = alone();
    let server = Server::start();
    for whole in [false, true] {
        let client = open(&server.url(), &[]);
        let mut tap = Tap::on(&client);
        subscribed(&client, &tap, 1, &[b"x"]);
        turn(&server, &mut tap, b"x");
        let (inbox, before) = (Arc::clone(tap.inbox()), wheel::get().turns());
        let reader = thread::spawn(move || until_it_ends(&inbox));
        eventually("it turns", PATIENCE, || wheel::get().turns() > before);
        if whole {
            client.close(deadline()).unwrap();
        } else {
            client.close_inbox(tap.inbox(), deadline()).unwrap();
        }
        assert_eq!(reader.join().unwrap(), Status::Closed);
    }
}

#[test]
fn a_server_that_restarts_is_found_again_by_a_taker_that_turns() {
    let (_alone, server, client, mut tap) = listening();
    for _ in 0..3 {
        turn(&server, &mut tap, b"x");
        tap.rest();
        server.kill();
        tap.wait(Kind::Lost);
        // Written to a peer that is gone, by whoever turns.
        client.hub().post(b"elsewhere", b"y", None).unwrap();
        server.restart();
        tap.wait(Kind::Active);
        tap.rest();
    }
}

#[test]
fn a_small_stack_turns_nothing_and_gets_its_messages() {
    let (_alone, _server, client, mut tap) = listening();
    let small = thread::Builder::new().stack_size(128 * 1024);
    let reader = small.spawn(move || {
        let before = wheel::get().turns();
        for n in 0..20 {
            client.hub().post(b"x", format!("{n}").as_bytes(), None).unwrap();
            assert_eq!(message(&mut tap), format!("{n}"));
        }
        assert_eq!(wheel::get().turns(), before);
    });
    reader.unwrap().join().unwrap();
}

/// Calls `f` where the stack has so much less than at `from`.
#[inline(never)]
fn deeper(from: usize, bytes: usize, f: &mut dyn FnMut()) {
    let frame = [0u8; 1024];
    let here = std::hint::black_box(&frame).as_ptr() as usize;
    if from - here < bytes {
        deeper(from, bytes, f)
    } else {
        f()
    }
    std::hint::black_box(&frame);
}

#[test]
fn a_thread_turns_nothing_where_it_stands_deep_in_its_stack() {
    const STACK: usize = 2 * 1024 * 1024;
    let (_alone, server, client, mut tap) = listening();
    let large = thread::Builder::new().stack_size(STACK);
    let reader = large.spawn(move || {
        turn(&server, &mut tap, b"x");
        let here = 0u8;
        deeper(std::ptr::from_ref(&here) as usize, STACK - 192 * 1024, &mut || {
            let before = wheel::get().turns();
            for n in 0..20 {
                client.hub().post(b"x", format!("{n}").as_bytes(), None).unwrap();
                assert_eq!(message(&mut tap), format!("{n}"));
            }
            assert_eq!(wheel::get().turns(), before);
        });
        // Back where it was it may again.
        turn(&server, &mut tap, b"x");
    });
    reader.unwrap().join().unwrap();
}

/// The signals that are blocked in this thread, a bit each.
fn blocked() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap()
}

/// What `f` gives where the runtime is turned now.
fn where_it_is_turned<T: Send + 'static>(f: impl Future<Output = T> + Send + 'static) -> T {
    let (tells, told) = channel();
    runtime::handle().unwrap().spawn(async move { tells.send(f.await).unwrap() });
    told.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn a_thread_that_is_started_while_a_consumer_turns_has_the_hosts_signals_blocked() {
    let _alone = alone();
    // What tokio started on the library's own thread is kept a while, and would be used again.
    runtime::shutdown(deadline()).unwrap();
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"x"]);
    let inbox = Arc::clone(tap.inbox());
    let reader = thread::spawn(move || until_it_ends(&inbox));
    let consumer = reader.thread().id();
    eventually("it turns", PATIENCE, || where_it_is_turned(async { thread::current().id() }) == consumer);
    let (at, mask) = where_it_is_turned(async {
        // As tokio does it for the name of a host.
        let mask = tokio::task::spawn_blocking(blocked).await.unwrap();
        (thread::current().id(), mask)
    });
    assert_eq!(at, consumer);
    for signal in [libc::SIGALRM, libc::SIGCHLD, libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGUSR1] {
        assert_ne!(mask & 1 << (signal - 1), 0, "signal {signal}");
    }
    client.close_inbox(tap.inbox(), deadline()).unwrap();
    assert_eq!(reader.join().unwrap(), Status::Closed);
}

#[test]
fn inside_another_runtime_nothing_is_turned() {
    let (_alone, _server, client, mut tap) = listening();
    let host = tokio::runtime::Builder::new_current_thread().build().unwrap();
    host.block_on(async {
        let before = wheel::get().turns();
        client.hub().post(b"x", b"y", None).unwrap();
        assert_eq!(message(&mut tap), "y");
        assert_eq!(wheel::get().turns(), before);
    });
}

#[test]
fn who_watches_the_descriptor_is_served_while_a_taker_waits() {
    let _alone = alone();
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let (mut tap, other) = (Tap::on(&client), Tap::on(&client));
    subscribed(&client, &tap, 1, &[b"x"]);
    subscribed(&client, &other, 2, &[b"y"]);
    turn(&server, &mut tap, b"x");
    client.ready_list().fd().unwrap();
    let before = wheel::get().turns();
    client.hub().post(b"x", b"1", None).unwrap();
    assert_eq!(message(&mut tap), "1");
    assert_eq!(wheel::get().turns(), before, "the descriptor's readiness must not depend on who takes");
}

struct Tells(Sender<(String, String)>);

impl Sink for Tells {
    fn deliver(&mut self, block: &Lent) -> i32 {
        for record in block.records().iter().filter(|record| record.is(Kind::Message)) {
            let text = String::from_utf8_lossy(record.payload(block.data())).into_owned();
            let name = thread::current().name().unwrap_or_default().to_owned();
            self.0.send((text, name)).unwrap();
        }
        0
    }
}

#[test]
fn callbacks_come_from_their_own_thread_which_turns_while_it_waits() {
    let _alone = alone();
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let (tells, told) = channel();
    let inbox = client.new_inbox(None, Some(Box::new(Tells(tells)))).unwrap();
    let source = runtime::next_id();
    client.hub().subscribe(source, 1, &inbox, None).unwrap();
    add(&client, source, &[b"x"]);
    let before = wheel::get().turns();
    let mut conn = server.conn();
    for n in 0..100 {
        conn.publish(b"x", format!("{n}").as_bytes());
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (format!("{n}"), "redmux-cb".to_owned()));
    }
    assert!(wheel::get().turns() > before);
    client.close(deadline()).unwrap();
}

#[test]
fn a_shutdown_ends_a_take_that_turns_and_the_library_begins_again() {
    let _alone = alone();
    let server = Server::start();
    for _ in 0..5 {
        let client = open(&server.url(), &[]);
        let mut tap = Tap::on(&client);
        subscribed(&client, &tap, 1, &[b"x"]);
        turn(&server, &mut tap, b"x");
        let (inbox, before) = (Arc::clone(tap.inbox()), wheel::get().turns());
        let reader = thread::spawn(move || until_it_ends(&inbox));
        eventually("it turns", PATIENCE, || wheel::get().turns() > before);
        runtime::shutdown(deadline()).unwrap();
        client.close(deadline()).unwrap();
        assert_eq!(reader.join().unwrap(), Status::Closed);
    }
}
