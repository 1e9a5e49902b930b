//! Acceptance row X2: flush and barrier, and what they say of the publishes before them.
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::mux::subscription::Ticket;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::proxy::Proxy;
use support::server::Server;
use support::{PATIENCE, eventually};
use tap::*;

#[test]
fn x2_a_flush_ends_when_every_publish_before_it_is_answered() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    client.flush(ticket_in(&tap, 1)).unwrap();
    assert!(tap.poll().is_some_and(|e| e.token == 1 && e.code == 0), "nothing to wait for: it ends in the call");
    for _ in 0..1000 {
        client.hub().post(b"news", b"x", None).unwrap();
    }
    client.flush(ticket_in(&tap, 2)).unwrap();
    tap.ok(2);
    assert_eq!(server.conn().commandstats("publish"), 1000);
    assert_eq!(stat(&client, &["publisher", "pending"]), 0);
}

#[test]
fn x2_a_flush_or_barrier_behind_lost_publishes_says_how_many() {
    let server = Server::start();
    let proxy = Proxy::start(server.port());
    let client = open(&proxy.url(), &[]);
    ready(&client);
    let mut tap = Tap::on(&client);
    publish(&client, &mut tap, b"news", b"warm");
    proxy.to_client().only(1).swallow();
    (0..3).for_each(|_| client.hub().post(b"news", b"x", None).unwrap());
    client.flush(ticket_in(&tap, 1)).unwrap();
    client.barrier(ticket_in(&tap, 2)).unwrap();
    eventually("the server has them", PATIENCE, || server.conn().commandstats("publish") == 4);
    assert_eq!(tap.rest(), []);
    // Only the publish link is lost.
    assert!(proxy.cut(1));
    for token in [1, 2] {
        let done = tap.done(token);
        assert_eq!((done.status(), done.number), (Status::Interrupted, 3));
        assert_eq!(done.text(), "publishes before it were lost");
    }
    proxy.pass();
    client.barrier(ticket_in(&tap, 3)).unwrap();
    tap.ok(3);
}

#[test]
fn x2_a_flush_counts_the_posts_before_it_that_were_never_sent_in_time() {
    let server = Server::builder().prepare();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let soon = Instant::now().checked_add(Duration::from_millis(50));
    let flush = |token| client.flush(Ticket { inbox: Some(Arc::clone(tap.inbox())), ..endless(token) }).unwrap();
    flush(1);
    client.hub().post(b"news", b"x", soon).unwrap();
    flush(2);
    client.hub().post(b"news", b"x", soon).unwrap();
    flush(3);
    let ends: Vec<_> = [1, 2, 3].map(|token| tap.done(token)).iter().map(|e| (e.status(), e.number)).collect();
    assert_eq!(ends, [(Status::Ok, 0), (Status::Interrupted, 1), (Status::Interrupted, 2)]);
}

#[test]
fn x2_a_flush_counts_the_posts_before_it_that_were_sent_and_not_answered_in_time_if_no_answer_comes() {
    let server = Server::start();
    let proxy = Proxy::start(server.port());
    let (client, mut events) = open_with_events(&proxy.url(), &[("ping_interval", "1h")]);
    ready(&client);
    let mut tap = Tap::on(&client);
    publish(&client, &mut tap, b"news", b"warm");
    for answered in [true, false] {
        // Answers come in order, so that nothing is swallowed where one is still to come.
        let fault = proxy.to_client().only(1);
        if answered {
            fault.stall()
        } else {
            fault.swallow()
        };
        client.hub().post(b"news", b"x", over()).unwrap();
        client.flush(ticket_in(&tap, 1)).unwrap();
        assert_eq!(events.wait(Kind::Dropped).status(), Status::Unknown);
        assert_eq!(tap.rest(), []);
        if answered {
            proxy.pass();
            tap.ok(1);
        } else {
            assert!(proxy.cut(1));
            let done = tap.done(1);
            assert_eq!((done.status(), done.number), (Status::Interrupted, 1));
        }
    }
    assert_eq!(stat(&client, &["publisher", "lost"]), 2, "each is counted once");
}

#[test]
fn x2_a_flush_ends_at_its_deadline_and_interferes_with_nothing() {
    let server = Server::builder().prepare();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    client.hub().publish(b"news", b"x", tap.inbox(), 1, None).unwrap();
    let mut hurried = ticket_in(&tap, 2);
    hurried.deadline = Some(Instant::now() + Duration::from_millis(1));
    client.flush(hurried).unwrap();
    client.flush(ticket_in(&tap, 3)).unwrap();
    assert_eq!(tap.done(2).status(), Status::Timeout);
    server.restart();
    tap.ok(1);
    tap.ok(3);
}

#[test]
fn x2_the_barrier_stands_behind_every_message_published_before_it() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"news"]);
    pattern(&client, &tap, 2, b"new*");
    tap.wait(Kind::Active);
    tap.wait(Kind::Active);
    for round in 0..30u64 {
        for i in 0..200 {
            client.hub().post(b"news", format!("{round}:{i}").as_bytes(), None).unwrap();
        }
        client.barrier(ticket_in(&tap, 10 + round)).unwrap();
        let events = tap.through("the barrier", |e| e.kind == Kind::Done && e.token == 10 + round);
        assert_eq!(events.len(), 401, "200 messages for each of two, and the barrier");
        assert!(events[..400].iter().all(|e| e.kind == Kind::Message));
        assert_eq!(events[400].status(), Status::Ok);
    }
}

#[test]
fn x2_a_barrier_without_a_subscriber_link_is_interrupted() {
    let server = Server::builder().prepare();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    client.barrier(ticket_in(&tap, 1)).unwrap();
    assert_eq!(tap.done(1).status(), Status::Interrupted);
    server.restart();
    ready(&client);
    client.barrier(ticket_in(&tap, 2)).unwrap();
    tap.ok(2);
}
