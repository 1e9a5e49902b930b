//! Acceptance rows P1 to P11: promises, against a real server.
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::client::Client;
use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::mux::Role;
use redmux::mux::subscription::Ticket;
use redmux::runtime::next_id;
use redmux::sync::lock;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::conn::encode;
use support::server::Server;
use support::{PATIENCE, eventually};
use tap::*;

/// A new set of promises, which need not be active yet.
fn set(client: &Client, tap: &Tap, token: u64, prefix: &[u8]) -> u64 {
    let source = next_id();
    client.hub().promises(source, token, tap.inbox(), prefix).expect("a set");
    source
}

/// A new set, active; its `active` records stay in the tap.
fn active_set(client: &Client, tap: &Tap, token: u64, prefix: &[u8]) -> u64 {
    let source = set(client, tap, token, prefix);
    wait_active(client, source);
    source
}

fn wait_active(client: &Client, source: u64) {
    let mut own = Tap::new(&client.waiter());
    client.hub().wait_active(source, ticket_in(&own, 0)).expect("an open set");
    own.ok(0);
}

fn until(token: u64, deadline: Instant) -> Ticket {
    Ticket { inbox: None, token, deadline: Some(deadline) }
}

#[test]
fn p1_twenty_thousand_promises_cost_one_psubscribe() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let set = active_set(&client, &tap, 1, b"p:");
    tap.expect(Kind::Active);
    for i in 0..20_000u64 {
        client.hub().promise(set, i.to_string().as_bytes(), ticket(i)).unwrap();
    }
    for i in 0..20_000u64 {
        client.hub().post(format!("p:{i}").as_bytes(), i.to_string().as_bytes(), None).unwrap();
    }
    for i in 0..20_000u64 {
        let promise = tap.expect(Kind::Promise);
        assert_eq!((promise.code, promise.token, promise.source), (0, i, set));
        assert_eq!((promise.channel(), promise.payload(), promise.aux), (format!("p:{i}"), i.to_string(), 2));
    }
    let mut conn = server.conn();
    assert_eq!((conn.commandstats("psubscribe"), conn.commandstats("subscribe")), (1, 0));
    assert_eq!((conn.commandstats("punsubscribe"), conn.commandstats("unsubscribe")), (0, 0));
    assert_eq!(stat(&client, &["operations"]), 0);
}

#[test]
fn p2_message_timeout_cancelled_interrupted_and_closed_are_told_apart() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let set = active_set(&client, &tap, 1, b"p:");
    let promise = |token: u64, deadline: Option<Instant>| {
        client.hub().promise(set, b"x", Ticket { inbox: None, token, deadline }).unwrap();
    };
    promise(10, None);
    server.conn().publish(b"p:x", b"kept");
    let kept = tap.done(10);
    assert_eq!((kept.kind, kept.status(), kept.payload()), (Kind::Promise, Status::Ok, "kept".into()));
    promise(11, Some(Instant::now()));
    assert_eq!(tap.done(11).status(), Status::Timeout);
    promise(12, None);
    assert_eq!(client.cancel(tap.inbox().id(), 12), 1);
    assert_eq!(tap.done(12).status(), Status::Cancelled);
    promise(13, None);
    server.conn().kill_pubsub();
    assert_eq!(tap.done(13).status(), Status::Interrupted);
    wait_active(&client, set);
    promise(14, None);
    client.hub().close_source(set).unwrap();
    assert_eq!(tap.done(14).status(), Status::Closed);
    assert_eq!(client.hub().promise(set, b"x", ticket(15)).unwrap_err().status(), Status::Closed);
    for token in [10, 11, 12, 13, 14] {
        assert!(!tap.rest().iter().any(|e| e.kind == Kind::Promise), "{token} ended twice");
    }
}

#[test]
fn p2_a_promise_whose_message_is_too_large_says_so() {
    let server = Server::start();
    let client = open(&server.url(), &[("max_payload", "100000")]);
    let mut tap = Tap::with(&client, &[("inbox_bytes", "8KiB")]);
    let set = active_set(&client, &tap, 1, b"p:");
    tap.expect(Kind::Active);
    client.hub().promise(set, b"keeps the inbox from being empty", endless(1)).unwrap();
    for (token, bytes, why) in [(2, 9_000, "does not fit the inbox"), (3, 100_001, "is over max_payload")] {
        client.hub().promise(set, b"x", endless(token)).unwrap();
        server.conn().publish(b"p:x", &vec![b'x'; bytes]);
        let promise = tap.expect(Kind::Promise);
        assert_eq!((promise.token, promise.status()), (token, Status::TooLarge));
        assert_eq!((promise.channel(), promise.data.len()), ("p:x".into(), 0));
        assert!(promise.text().contains(why), "{promise:?}");
    }
    client.hub().promise(set, b"x", endless(4)).unwrap();
    server.conn().publish(b"p:x", &[b'x'; 500]);
    assert_eq!(tap.ok(4).data.len(), 500);
}

#[test]
fn p2_a_timeout_comes_at_its_deadline_and_not_before_by_an_injected_clock() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let set = active_set(&client, &tap, 1, b"p:");
    tap.expect(Kind::Active);
    let hour = Instant::now() + Duration::from_secs(3600);
    let tick = Duration::from_nanos(1);
    for (token, deadline) in [(2, hour + tick), (1, hour), (3, hour + 2 * tick)] {
        client.hub().promise(set, b"x", until(token, deadline)).unwrap();
    }
    client.hub().promise(set, b"x", endless(4)).unwrap();
    let expire = |now| lock(&client.hub().mux).expire(now);
    assert_eq!(expire(hour - tick), Some(hour));
    assert_eq!(tap.poll(), None);
    for (token, now) in [(1, hour), (2, hour + tick), (3, hour + 2 * tick)] {
        expire(now);
        let promise = tap.poll().expect("it ends at its deadline");
        assert_eq!((promise.token, promise.status()), (token, Status::Timeout));
        assert_eq!(tap.poll(), None);
    }
    assert_eq!(expire(hour + Duration::from_secs(1_000_000)), None, "one without a deadline waits for ever");
    server.conn().publish(b"p:x", b"at last");
    assert_eq!(tap.ok(4).payload(), "at last");
}

#[test]
fn p3_a_hundred_promises_on_one_channel_are_kept_by_one_publish() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let set = active_set(&client, &tap, 1, b"p:");
    tap.expect(Kind::Active);
    for token in 0..100 {
        client.hub().promise(set, b"x", ticket(token)).unwrap();
    }
    assert_eq!(server.conn().publish(b"p:x", b"for all"), 1);
    for token in 0..100 {
        let promise = tap.expect(Kind::Promise);
        assert_eq!((promise.token, promise.code, promise.payload()), (token, 0, "for all".into()));
    }
}

#[test]
fn p3_a_promise_does_not_overtake_the_messages_of_the_inbox_that_it_completes_in() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let (a, mut b) = (Tap::on(&client), Tap::on(&client));
    let set = active_set(&client, &a, 1, b"p:");
    subscribed(&client, &b, 2, &[b"news"]);
    b.expect(Kind::Active);
    for round in 0..20 {
        client.hub().promise(set, b"x", ticket_in(&b, 3)).unwrap();
        // Both reach the client in one piece.
        let both = [["PUBLISH", "news", "before"], ["PUBLISH", "p:x", "kept"]].map(|command| encode(&command)).concat();
        let mut conn = server.conn();
        conn.send(&both).unwrap();
        assert_eq!([conn.read_reply().unwrap().int(), conn.read_reply().unwrap().int()], [1, 1]);
        assert_eq!([b.next().payload(), b.next().payload()], ["before", "kept"], "round {round}");
    }
}

#[test]
fn p6_closing_the_inbox_of_a_promise_takes_it_out_of_its_set_in_another() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let (a, b) = (Tap::on(&client), Tap::on(&client));
    let set = active_set(&client, &a, 1, b"p:");
    for suffix in [b"x", b"y"] {
        client.hub().promise(set, suffix, ticket_in(&b, 2)).unwrap();
    }
    let waiting = || {
        let mux = lock(&client.hub().mux);
        match mux.target(mux.slot(set).unwrap()).map(|target| &target.role) {
            Some(Role::Promises(promises)) => promises.len(),
            other => panic!("no set: {other:?}"),
        }
    };
    assert_eq!(waiting(), 2);
    client.close_inbox(b.inbox(), None).unwrap();
    assert_eq!(waiting(), 0);
}

#[test]
fn p4_waiting_for_activation_ends_at_once_when_active_at_a_close_or_at_its_deadline() {
    let server = Server::builder().prepare();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let hub = client.hub();
    let (early, closed) = (set(&client, &tap, 1, b"a:"), set(&client, &tap, 2, b"b:"));
    hub.wait_active(early, until(10, Instant::now())).unwrap();
    assert_eq!(tap.done(10).status(), Status::Timeout);
    eventually("the deadline says why nothing is active", PATIENCE, || {
        hub.wait_active(early, until(15, Instant::now())).unwrap();
        tap.done(15).text().starts_with("connect to ")
    });
    hub.wait_active(closed, endless(11)).unwrap();
    hub.close_source(closed).unwrap();
    assert_eq!(tap.done(11).status(), Status::Closed);
    assert_eq!(tap.wait(Kind::Closed).source, closed);
    hub.wait_active(early, endless(12)).unwrap();
    hub.wait_active(early, endless(13)).unwrap();
    assert_eq!(client.cancel(tap.inbox().id(), 13), 1);
    assert_eq!(tap.done(13).status(), Status::Cancelled);
    server.restart();
    tap.ok(12);
    hub.wait_active(early, endless(14)).unwrap();
    assert!(tap.rest().iter().any(|e| e.token == 14 && e.code == 0), "already active: it ends in the call");
}

#[test]
fn p5_a_promise_while_down_is_inactive_and_a_waiter_gets_it_after_the_start_with_its_full_time() {
    let server = Server::builder().prepare();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let set = set(&client, &tap, 1, b"p:");
    assert_eq!(client.hub().promise(set, b"x", ticket(1)).unwrap_err().status(), Status::Inactive);
    let hour = Duration::from_secs(3600);
    client.hub().promise_later(set, b"x", endless(2), Some(hour)).unwrap();
    client.hub().promise_later(set, b"x", until(3, Instant::now()), Some(hour)).unwrap();
    assert_eq!(tap.done(3).status(), Status::Timeout, "the ticket bounds the wait");
    assert_eq!(lock(&client.hub().mux).ops.next_deadline(), None, "its time has not begun");
    let before = Instant::now();
    server.restart();
    wait_active(&client, set);
    let deadline = lock(&client.hub().mux).ops.next_deadline().expect("its time runs");
    assert!(deadline >= before + hour && deadline <= Instant::now() + hour);
    server.conn().publish(b"p:x", b"late but there");
    let promise = tap.done(2);
    assert_eq!(
        (promise.kind, promise.status(), promise.payload()),
        (Kind::Promise, Status::Ok, "late but there".into())
    );
    // One that is already active is made at once.
    client.hub().promise_later(set, b"y", endless(4), None).unwrap();
    server.conn().publish(b"p:y", b"now");
    assert_eq!(tap.ok(4).payload(), "now");
}

#[test]
fn p5_the_time_of_a_promise_made_later_ends_though_nothing_else_happens() {
    let server = Server::builder().prepare();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let set = set(&client, &tap, 1, b"p:");
    client.hub().promise_later(set, b"x", endless(2), Some(Duration::from_millis(50))).unwrap();
    server.restart();
    assert_eq!(tap.done(2).status(), Status::Timeout);
}

#[test]
fn p6_clear_fails_all_that_wait_and_close_frees_waiters_and_leaves_others_alone() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let mut other = Tap::on(&client);
    let sub = subscribed(&client, &other, 9, &[b"p:x"]);
    other.expect(Kind::Active);
    let set = active_set(&client, &tap, 1, b"p:");
    for token in 0..1000 {
        client.hub().promise(set, (token % 10).to_string().as_bytes(), endless(token)).unwrap();
    }
    assert_eq!(client.hub().clear_promises(set).unwrap(), 1000);
    let mut tokens: Vec<u64> = (0..1000)
        .map(|_| tap.wait(Kind::Promise))
        .map(|promise| {
            assert_eq!(promise.status(), Status::Cancelled);
            promise.token
        })
        .collect();
    tokens.sort_unstable();
    assert!(tokens.into_iter().eq(0..1000));
    assert_eq!(client.hub().clear_promises(set).unwrap(), 0);
    client.hub().promise(set, b"x", endless(2000)).unwrap();
    server.conn().publish(b"p:x", b"usable after a clear");
    assert_eq!(tap.ok(2000).payload(), "usable after a clear");
    // Close it while down, with somebody waiting in each way.
    server.stop();
    tap.wait(Kind::Lost);
    client.hub().wait_active(set, endless(1)).unwrap();
    client.hub().promise_later(set, b"x", endless(2), None).unwrap();
    client.hub().close_source(set).unwrap();
    assert_eq!((tap.done(1).status(), tap.done(2).status()), (Status::Closed, Status::Closed));
    assert_eq!(tap.wait(Kind::Closed).source, set);
    assert_eq!(tap.rest().into_iter().filter(|e| e.kind != Kind::Active).collect::<Vec<_>>(), []);
    server.restart();
    wait_active(&client, sub);
    assert_eq!(server.conn().numpat(), 0);
    server.conn().publish(b"p:x", b"the other");
    other.through("its message", |e| e.kind == Kind::Message && e.payload() == "the other");
}

#[test]
fn p7_a_lost_link_fails_every_promise_and_the_set_is_usable_again() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let set = active_set(&client, &tap, 1, b"p:");
    tap.expect(Kind::Active);
    let alone = next_id();
    client.hub().promise_alone(alone, b"single", tap.inbox(), endless(50)).unwrap();
    assert_eq!(tap.expect(Kind::Active).channel(), "single");
    for (token, name) in [(1, b"x"), (2, b"x"), (3, b"y")] {
        client.hub().promise(set, name, endless(token)).unwrap();
    }
    server.conn().kill_pubsub();
    for token in [1, 2, 3, 50] {
        assert_eq!(tap.done(token).status(), Status::Interrupted);
    }
    tap.find("lost", |e| e.kind == Kind::Lost && e.source == set);
    tap.find("the end of the single one", |e| e.kind == Kind::Closed && e.source == alone);
    tap.find("whole again", |e| e.kind == Kind::Active && e.source == set && e.name.is_empty());
    client.hub().promise(set, b"x", endless(4)).unwrap();
    server.conn().publish(b"p:x", b"again");
    assert_eq!(tap.ok(4).payload(), "again");
    assert_eq!(server.conn().numsub("single"), 0);
}

#[test]
fn p7_a_single_promise_subscribes_its_channel_only_while_somebody_waits() {
    let server = Server::start();
    let client = open(&server.url(), &[("ping_interval", "1h")]);
    ready(&client);
    let mut tap = Tap::on(&client);
    for round in 0..3 {
        let alone = next_id();
        client.hub().promise_alone(alone, b"single", tap.inbox(), endless(round)).unwrap();
        assert_eq!(tap.expect(Kind::Active).source, alone);
        assert_eq!(server.conn().publish(b"single", b"it"), 1);
        let promise = tap.expect(Kind::Promise);
        assert_eq!((promise.token, promise.code, promise.payload()), (round, 0, "it".into()));
        assert_eq!(tap.expect(Kind::Closed).source, alone);
        eventually("the channel is let go", PATIENCE, || server.conn().numsub("single") == 0);
    }
    let alone = next_id();
    client.hub().promise_alone(alone, b"single", tap.inbox(), endless(9)).unwrap();
    tap.expect(Kind::Active);
    client.cancel(tap.inbox().id(), 9);
    assert_eq!(tap.expect(Kind::Promise).status(), Status::Cancelled);
    tap.expect(Kind::Closed);
    eventually("the channel is let go", PATIENCE, || server.conn().numsub("single") == 0);
    let soon = Instant::now() + Duration::from_millis(100);
    client.hub().promise_alone(alone, b"single", tap.inbox(), until(10, soon)).unwrap();
    assert_eq!(tap.wait(Kind::Promise).status(), Status::Timeout);
    eventually("the channel is let go", PATIENCE, || server.conn().numsub("single") == 0);
}

#[test]
fn p8_two_sets_with_one_prefix_are_both_active_and_both_kept() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let (mut a, mut b) = (Tap::on(&client), Tap::on(&client));
    let (first, second) = (active_set(&client, &a, 1, b"p:"), active_set(&client, &b, 2, b"p:"));
    client.hub().promise(first, b"x", endless(10)).unwrap();
    client.hub().promise(second, b"x", endless(20)).unwrap();
    assert_eq!(server.conn().publish(b"p:x", b"both"), 1);
    assert_eq!((a.ok(10).payload(), b.ok(20).payload()), ("both".into(), "both".into()));
    client.hub().close_source(first).unwrap();
    client.hub().promise(second, b"x", endless(21)).unwrap();
    assert_eq!(server.conn().publish(b"p:x", b"one left"), 1);
    assert_eq!(b.ok(21).payload(), "one left");
    client.hub().close_source(second).unwrap();
    eventually("the pattern is let go", PATIENCE, || server.conn().numpat() == 0);
}

#[test]
fn p9_a_prefix_means_its_bytes_and_nothing_else() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let prefixes: [&[u8]; 7] = [br"p[a]*?\-", b"[^a]", b"*", b"?", b"\\", b"a\0\xff*", b""];
    for prefix in prefixes {
        let mut tap = Tap::on(&client);
        let set = active_set(&client, &tap, 1, prefix);
        tap.expect(Kind::Active);
        client.hub().promise(set, b"x", endless(2)).unwrap();
        let name = [prefix, b"x"].concat();
        if !prefix.is_empty() {
            assert_eq!(server.conn().publish(b"pa12-x", b"no"), 0, "{prefix:?} matched another name");
        }
        assert_eq!(server.conn().publish(&name, b"yes"), 1);
        let promise = tap.expect(Kind::Promise);
        assert_eq!((promise.status(), &promise.name, promise.payload()), (Status::Ok, &name, "yes".into()));
        assert_eq!(promise.aux, prefix.len() as u64);
        client.hub().close_source(set).unwrap();
        eventually("the pattern is let go", PATIENCE, || server.conn().numpat() == 0);
    }
}

#[test]
fn p10_a_burst_of_unmatched_messages_does_not_stall_others() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let set = active_set(&client, &tap, 1, b"p:");
    subscribed(&client, &tap, 2, &[b"live"]);
    tap.wait(Kind::Active);
    tap.wait(Kind::Active);
    let nobody = support::conn::encode(&["PUBLISH", "p:nobody", "x"]).repeat(1000);
    let mut conn = server.conn();
    for round in 0..400u64 {
        // The client may be behind, so the next round needs a name of its own.
        client.hub().promise(set, round.to_string().as_bytes(), ticket(round)).unwrap();
        conn.send(&nobody).unwrap();
        for name in ["live", &format!("p:{round}")] {
            conn.send(&support::conn::encode(&["PUBLISH", name, "on"])).unwrap();
        }
        (0..1002).for_each(|_| assert_eq!(conn.read_reply().unwrap().int(), 1));
    }
    for round in 0..400 {
        let (message, promise) = (tap.expect(Kind::Message), tap.expect(Kind::Promise));
        assert_eq!((message.payload(), promise.token, promise.code), ("on".into(), round, 0));
    }
    assert_eq!(stat(&client, &["messages", "unmatched"]), 400_000);
    assert_eq!(stat(&client, &["messages", "received"]), 400_800);
    assert_eq!((tap.inbox().counters().bytes, tap.inbox().counters().dropped), (0, 0));
    assert_eq!(stat(&client, &["subscriber", "connects"]), 1);
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("resident pages") * 4096
}

#[test]
fn p10_a_million_expired_promises_leave_nothing_behind() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let set = active_set(&client, &tap, 1, b"p:");
    tap.expect(Kind::Active);
    let hour = Instant::now() + Duration::from_secs(3600);
    let mut after_warming = 0;
    for round in 0..100 {
        for i in 0..10_000u64 {
            // Names that never come again: what a table keeps of them would add up. And one token for all.
            let name = (round * 10_000 + i).to_string();
            client.hub().promise(set, name.as_bytes(), until(7, hour)).unwrap();
        }
        lock(&client.hub().mux).expire(hour);
        let mut ended = 0;
        while ended < 10_000 {
            let block = tap.inbox().take(Some(BOUND)).expect("more ends of promises");
            for record in block.records() {
                assert!(record.is(Kind::Promise) && record.status == Status::Timeout.code() && record.token == 7);
            }
            ended += block.records().len();
        }
        assert_eq!(ended, 10_000);
        if round == 9 {
            after_warming = resident_bytes();
        }
    }
    let grown = resident_bytes().saturating_sub(after_warming);
    assert!(grown < 48 << 20, "900,000 expired promises left {grown} bytes");
    assert_eq!((stat(&client, &["operations"]), stat(&client, &["names"])), (0, 1));
    assert_eq!(tap.inbox().counters().bytes, 0);
    assert!(lock(&client.hub().mux).ops.is_empty());
}

#[test]
fn p11_a_cancel_after_the_end_or_twice_does_nothing() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let id = tap.inbox().id();
    let set = active_set(&client, &tap, 1, b"p:");
    client.hub().promise(set, b"x", endless(2)).unwrap();
    server.conn().publish(b"p:x", b"kept");
    tap.ok(2);
    assert_eq!((client.cancel(id, 2), client.cancel(id, 2)), (0, 0));
    client.hub().promise(set, b"x", endless(3)).unwrap();
    client.hub().promise(set, b"x", endless(3)).unwrap();
    client.hub().promise(set, b"x", endless(4)).unwrap();
    assert_eq!((client.cancel(id, 3), client.cancel(id, 3)), (2, 0), "equal tokens are cancelled together");
    assert_eq!((tap.done(3).status(), tap.done(3).status()), (Status::Cancelled, Status::Cancelled));
    server.conn().publish(b"p:x", b"for the last");
    assert_eq!(tap.ok(4).payload(), "for the last");
    let mut marker = Tap::new(&Arc::clone(tap.inbox()));
    client.barrier(ticket_in(&tap, 5)).unwrap();
    let rest = marker.through("the barrier", |e| e.kind == Kind::Done && e.token == 5);
    assert!(!rest.iter().any(|e| e.kind == Kind::Promise), "{rest:?}");
}
