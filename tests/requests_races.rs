//! Requests that something else overtakes: a drain, a cancel, a deadline, a stop. What was said is heard, and nobody works for
//! somebody who is gone.
#[path = "support/asking.rs"]
mod asking;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use asking::*;
use peer::{Peer, kill_subscriber, link_of};
use redmux::buffer::{Ask, Reason, Say};
use redmux::client::Client;
use redmux::error::Status;
use redmux::inbox::Kind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{PATIENCE, Proxy, Server, eventually};
use tap::*;

const LONG: Duration = Duration::from_secs(600);

/// An asker behind a proxy, connected whole, and the number of its publish link there. No silence ends that.
fn with_publish_link(server: &Server, proxy: &Proxy) -> (Arc<Client>, usize) {
    let asker = open(&proxy.url(), &[("name", "asker"), ("ping_interval", "10m"), ("ping_timeout", "10m")]);
    ask(&asker, b"nobody", b"", &[]).result().expect(Reason::NoResponders);
    let number = proxy.number_of(&link_of(server, "asker", false)["addr"]).expect("it goes through the proxy");
    (asker, number)
}

#[test]
fn a_drain_is_done_when_the_last_answer_is_on_its_way() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    // To hand it to the link takes a while.
    let body = vec![b'.'; 16 << 20];
    for _ in 0..4 {
        let client = open(&server.url(), &[]);
        let buffer = client.buffer().unwrap();
        let mut service = serve(&client, b"x", &[]);
        let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
        let request = service.request();
        buffer.drain_responder(service.id, endless(6)).unwrap();
        eventually("its name is gone", PATIENCE, || server.conn().numsub("redmux:svc:x") == 0);
        // It was told so before it hears this.
        ask(&asker, b"$", b"PING", &[]).result().expect(Reason::All);
        let answer = Say::Answer { body: &body, headers: b"", last: true };
        std::thread::scope(|scope| {
            let said = scope.spawn(|| buffer.say(service.id, request.number, answer));
            service.tap.ok(6);
            client.close(None).unwrap();
            said.join().unwrap().expect("the drain was done");
        });
        assert_eq!(asked.result().expect(Reason::All).answers[0].data.len(), body.len());
    }
}

#[test]
fn a_cancel_whose_own_time_is_over_is_not_sent_again() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let (asker, number) = with_publish_link(&server, &proxy);
    let mut peer = Peer::serve(&server, "x");
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    peer.request();
    let sent = stat(&asker, &["publisher", "sent"]);
    proxy.to_server().only(number).swallow();
    kill_subscriber(&server, "asker");
    asked.result().expect(Reason::Interrupted);
    eventually("its time is over", PATIENCE, || stat(&asker, &["publisher", "lost"]) > 0);
    // The library's thread comes round to other things.
    ask_for(&asker, b"x", b"", &[], Duration::from_millis(100)).result().expect(Reason::Deadline);
    let more = stat(&asker, &["publisher", "sent"]) - sent;
    assert!(more <= 3, "one cancel, one request and its cancel, not {more}");
}

#[test]
fn who_gets_a_request_after_its_deadline_is_told_that_nobody_waits() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let (asker, number) = with_publish_link(&server, &proxy);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    proxy.to_server().only(number).stall();
    // It says that it still waits so long, and so much later it is read.
    let mut asked = ask_for(&asker, b"x", b"", &[], Duration::from_secs(3));
    asked.result().expect(Reason::Deadline);
    proxy.pass();
    let request = service.request();
    let cancel = service.tap.wait(Kind::Cancel);
    assert_eq!((cancel.number, cancel.status()), (request.number, Status::Cancelled));
}

#[test]
fn a_request_that_is_cancelled_while_it_is_published_is_cancelled_at_its_responders() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[("concurrency", "1000")]);
    let (tap, buffer) = (Tap::new(&asker.waiter()), asker.buffer().unwrap());
    ask(&asker, b"nobody", b"", &[]).result().expect(Reason::NoResponders);
    // Long enough that a cancel falls into the middle.
    let body = vec![b'.'; 256 * 1024];
    let question = Ask { service: b"x", body: &body, headers: b"", options: &asker.options().clone() };
    for _ in 0..200 {
        std::thread::scope(|scope| {
            scope.spawn(|| buffer.ask(&question, ticket_in(&tap, 7)).unwrap());
            while buffer.cancel(tap.inbox().id(), 7) == 0 {
                std::hint::spin_loop();
            }
        });
    }
    let mut last = ask(&asker, b"x", b"last", &[]);
    let mut open = std::collections::BTreeSet::new();
    let mut next = || service.tap.find("more", |event| matches!(event.kind, Kind::Request | Kind::Cancel));
    let last_one = loop {
        let event = next();
        match event.kind {
            Kind::Request if event.payload() == "last" => break event,
            Kind::Request => assert!(open.insert(event.number)),
            _ => assert!(open.remove(&event.number)),
        }
    };
    assert_eq!(open.len(), 0, "requests that nobody waits for, and nobody said so");
    service.answer(&last_one, b"");
    last.result().expect(Reason::All);
}

#[test]
fn who_sees_a_client_run_again_may_publish() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    for _ in 0..300 {
        client.stop().unwrap();
        let looks = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let posted = scope.spawn(|| {
                while !client.hub().running() {
                    looks.store(true, Ordering::SeqCst);
                }
                client.hub().post(b"x", b"", None)
            });
            while !looks.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            client.restart().unwrap();
            posted.join().unwrap().expect("it runs");
        });
    }
}
