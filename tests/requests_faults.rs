//! Requests when something goes wrong on the way: each ends exactly once, with the right reason, and nothing is left.
#[path = "support/asking.rs"]
mod asking;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use asking::*;
use peer::*;
use redmux::buffer::{Ask, Reason, Say};
use redmux::client::Client;
use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::mux::subscription::Ticket;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use support::{PATIENCE, Proxy, Server, eventually};
use tap::*;

/// Ten minutes: whatever ends before did not end by its deadline.
const LONG: Duration = Duration::from_secs(600);
/// Ten times what it takes until a silent responder is given up.
const GIVEN_UP: Duration = Duration::from_secs(40);

/// Waits for an end that takes as long as a silent responder is waited for.
#[track_caller]
fn given_up(asker: &Client, asked: &mut Asked) -> asking::Result {
    eventually("the silent one is given up", GIVEN_UP, || stat(asker, &["requests", "gathers"]) == 0);
    let result = asked.result();
    assert!(result.elapsed < GIVEN_UP, "not at the deadline: {result:?}");
    result
}

#[test]
fn a_responder_that_dies_before_it_accepts_was_nobody() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut peer = Peer::serve(&server, "x");
    let mut asked = ask_for(&asker, b"x", b"", &[("strict", "false")], LONG);
    peer.request();
    peer.die();
    let result = asked.result().expect(Reason::NoResponders);
    assert_eq!((result.report["expected"].as_u64(), result.missing().len()), (Some(1), 0));
}

#[test]
fn a_responder_that_dies_after_it_accepted_is_named_long_before_the_deadline() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut peer = Peer::serve(&server, "x");
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    let request = peer.request();
    peer.say(&request, "accepted", None, "");
    peer.die();
    let result = given_up(&asker, &mut asked).expect(Reason::All);
    assert_eq!((result.missing(), result.answers.len()), (vec!["peer".to_owned()], 0));
    assert!(result.elapsed > Duration::from_secs(3), "three signs of life are waited for");
}

#[test]
fn a_responder_that_dies_between_its_parts_is_named_and_its_parts_are_kept() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut peer = Peer::serve(&server, "x");
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    let request = peer.request();
    peer.say(&request, "part", Some(0), "one");
    peer.say(&request, "part", Some(1), "two");
    peer.die();
    let result = given_up(&asker, &mut asked).expect(Reason::All);
    assert_eq!((result.missing(), result.bodies()), (vec!["peer".into()], vec!["one".to_owned(), "two".to_owned()]));
}

#[test]
fn a_stranger_with_a_pattern_does_not_hide_that_a_responder_died() {
    let server = Server::start();
    let mut stranger = server.conn();
    stranger.expect(&["PSUBSCRIBE", "*"]);
    let asker = open(&server.url(), &[]);
    let mut peer = Peer::serve(&server, "x");
    let mut asked = ask_for(&asker, b"x", b"", &[("strict", "false")], LONG);
    let request = peer.request();
    peer.say(&request, "part", Some(0), "one");
    peer.die();
    let result = given_up(&asker, &mut asked).expect(Reason::All);
    assert_eq!((result.missing(), result.bodies()), (vec!["peer".into()], vec!["one".to_owned()]));
    assert_eq!(result.report["expected"], 2);
}

#[test]
fn a_member_that_dies_with_the_claim_of_its_group_is_named() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let mut member = serve(&open(&proxy.url(), &[("name", "member")]), b"x", &[("group", "g")]);
    let asker = open(&server.url(), &[]);
    // The first one makes its publish link, through which claims go.
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    let request = member.request();
    member.answer(&request, b"");
    asked.result().expect(Reason::All);
    let number = proxy.number_of(&link_of(&server, "member", false)["addr"]).expect("through the proxy");
    proxy.to_server().only(number).stall();
    let mut peer = Peer::serve(&server, "x");
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    let request = peer.request();
    let claim = format!("redmux:claim:{}:g", request["id"].as_str().unwrap());
    assert_eq!(server.conn().expect(&["SET", &claim, "peer.1", "NX", "PX", "600000"]).text(), "OK");
    peer.say(&request, "accepted", None, "");
    peer.die();
    proxy.pass();
    let result = given_up(&asker, &mut asked).expect(Reason::All);
    assert_eq!((result.missing(), result.answers.len()), (vec!["peer".to_owned()], 0));
    assert!(member.tap.rest().iter().all(|event| event.kind != Kind::Request), "the claim was not its own");
}

#[test]
fn a_responder_whose_network_is_dead_is_named_too() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&proxy.url(), &[("name", "far")]), b"x", &[]);
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    let request = service.request();
    service.part(&request, b"one");
    asked.tap.find("the part", |event| event.kind == Kind::Answer);
    proxy.to_server().swallow();
    let result = given_up(&asker, &mut asked).expect(Reason::All);
    assert_eq!(result.missing(), ["far"]);
}

/// Waits until Redis has its name again.
#[track_caller]
fn active_again(service: &Service) {
    let mut tap = Tap::new(&service.client.waiter());
    service.client.hub().wait_active(service.id, ticket_in(&tap, 1)).expect("an open responder");
    tap.ok(1);
}

/// What has happened to a request when the asker's subscriber link is cut.
const STATES: [&str; 3] = ["sent", "accepted", "some parts"];

fn until(peer: &mut Peer, asked: &mut Asked, state: &str) -> Value {
    let request = peer.request();
    match state {
        "accepted" => {
            peer.say(&request, "accepted", None, "");
            asked.tap.wait(Kind::Accepted);
        }
        "some parts" => {
            peer.say(&request, "part", Some(0), "one");
            // Left where it is: the result has it.
            let (tap, token) = (&mut asked.tap, 77);
            let part = tap.find("a part", |event| event.kind == Kind::Answer);
            assert_eq!((part.payload(), part.token), ("one".into(), token));
        }
        _ => {}
    }
    request
}

#[test]
fn a_lost_subscriber_link_interrupts_what_was_sent_and_its_responder_is_told() {
    for state in STATES {
        let server = Server::start();
        let asker = open(&server.url(), &[("name", "asker")]);
        let mut peer = Peer::serve(&server, "x");
        let mut asked = ask_for(&asker, b"x", b"", &[("accepted", "true")], LONG);
        let request = until(&mut peer, &mut asked, state);
        kill_subscriber(&server, "asker");
        let result = asked.result().expect(Reason::Interrupted);
        assert_eq!(result.status, Status::Interrupted, "{state}");
        assert_eq!(result.report["answers"], u64::from(state == "some parts"), "{state}");
        assert_eq!(result.missing().len(), usize::from(state != "sent"), "{state}");
        let cancel = peer.next();
        assert_eq!((&cancel["k"], &cancel["id"]), (&"cancel".into(), &request["id"]), "{state}");
        // Once, and what is said of it now is late.
        peer.say(&request, "end", Some(0), "late");
        assert_eq!(asked.tap.rest(), []);
    }
}

#[test]
fn who_works_for_an_asker_that_loses_both_links_is_told_when_it_is_back() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let (asker, _) = with_publish_link(&server, &proxy);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    for _ in 0..10 {
        let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
        let request = service.request();
        proxy.cut_all();
        asked.result().expect(Reason::Interrupted);
        assert_eq!(service.tap.wait(Kind::Cancel).number, request.number);
        service.say(&request, Say::End);
        ready(&asker);
    }
}

#[test]
fn a_lost_subscriber_link_repeats_what_is_repeatable_and_it_is_answered_once() {
    for state in STATES {
        let server = Server::start();
        let asker = open(&server.url(), &[("name", "asker")]);
        let mut peer = Peer::serve(&server, "x");
        let options = [("accepted", "true"), ("repeatable", "true")];
        let mut asked = ask_for(&asker, b"x", b"body", &options, LONG);
        let first = until(&mut peer, &mut asked, state);
        kill_subscriber(&server, "asker");
        let again = peer.request();
        assert_eq!(
            (&again["id"], &again["attempt"], &again["body"]),
            (&first["id"], &2.into(), &"body".into()),
            "{state}"
        );
        peer.say(&again, "part", Some(0), "one");
        peer.say(&again, "end", Some(1), "two");
        let result = asked.result().expect(Reason::All);
        let before = u64::from(state == "some parts");
        assert_eq!((&result.report["answers"], &result.report["duplicates"]), (&2.into(), &before.into()), "{state}");
        assert_eq!((result.missing().len(), asked.tap.rest().len()), (0, 0), "{state}");
    }
}

#[test]
fn a_request_that_waits_for_its_reply_channel_when_the_link_is_lost_was_never_sent_and_is_sent_then() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let asker = open(&proxy.url(), &[]);
    ready(&asker);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    proxy.to_client().stall();
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    let replies = || server.conn().command(&["PUBSUB", "CHANNELS", "redmux:reply:*"]).items().len();
    eventually("it was asked for", PATIENCE, || replies() == 1);
    proxy.cut_all();
    proxy.pass();
    let request = service.request();
    assert_eq!(head(&request)["attempt"], 1);
    service.answer(&request, b"once");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["once"]);
}

#[test]
fn what_was_answered_while_the_asker_was_away_is_answered_from_memory() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let asker = open(&proxy.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask_for(&asker, b"x", b"", &[("repeatable", "true")], LONG);
    let request = service.request();
    proxy.refuse();
    proxy.cut_all();
    eventually("the server knows", PATIENCE, || {
        server.conn().command(&["PUBSUB", "CHANNELS", "redmux:reply:*"]).items().is_empty()
    });
    service.part(&request, b"one");
    service.answer(&request, b"two");
    proxy.accept();
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["one", "two"]);
    assert!(service.tap.rest().iter().all(|event| event.kind != Kind::Request), "its handler ran once");
}

#[test]
fn a_new_request_under_an_old_id_is_not_answered_from_memory() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    for body in ["first", "second"] {
        let options = [("repeatable", "true"), ("request_id", "mine")];
        let mut asked = ask(&asker, b"x", body.as_bytes(), &options);
        let request = service.request();
        service.answer(&request, &request.data);
        assert_eq!(asked.result().expect(Reason::All).bodies(), [body]);
    }
}

/// An asker behind a proxy, connected whole, and the number of its publish link there.
fn with_publish_link(server: &Server, proxy: &Proxy) -> (Arc<Client>, usize) {
    let asker = open(&proxy.url(), &[("name", "asker")]);
    ask(&asker, b"nobody", b"", &[]).result().expect(Reason::NoResponders);
    let number = proxy.number_of(&link_of(server, "asker", false)["addr"]).expect("it goes through the proxy");
    (asker, number)
}

#[test]
fn thousands_of_requests_that_a_stalled_link_never_took_end_together() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let (asker, number) = with_publish_link(&server, &proxy);
    proxy.to_server().only(number).stall();
    let (mut tap, buffer) = (Tap::new(&asker.waiter()), asker.buffer().unwrap());
    let ask = Ask { service: b"x", body: &[b'.'; 200], headers: b"", options: &asker.options().clone() };
    let mut open = 0;
    let full = loop {
        let deadline = Some(std::time::Instant::now() + LONG);
        let ticket = Ticket { inbox: Some(Arc::clone(tap.inbox())), token: 7, deadline };
        buffer.ask(&ask, ticket).unwrap();
        match tap.poll() {
            Some(event) => break event,
            None => open += 1,
        }
    };
    assert_eq!((full.kind, full.status()), (Kind::End, Status::Full), "the queue of publishes has no more room");
    assert!(open > 10_000, "{open}");
    assert_eq!(buffer.cancel(tap.inbox().id(), 7), open);
    for _ in 0..open {
        assert_eq!(tap.expect(Kind::End).number, Reason::Cancelled as u64);
    }
    assert_eq!(stat(&asker, &["requests", "gathers"]), 0);
}

#[test]
fn a_lost_publish_link_interrupts_what_may_have_been_sent_and_repeats_what_is_repeatable() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let (asker, number) = with_publish_link(&server, &proxy);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    proxy.to_server().only(number).swallow();
    let mut lost = ask_for(&asker, b"x", b"lost", &[], LONG);
    let mut again = ask_for(&asker, b"x", b"again", &[("repeatable", "true")], LONG);
    eventually("both were given to the kernel", PATIENCE, || proxy.to_server().swallowed() > 0);
    assert!(proxy.cut(number));
    proxy.pass();
    assert_eq!(lost.result().expect(Reason::Interrupted).status, Status::Unknown);
    let request = service.request();
    assert_eq!((request.payload(), head(&request)["attempt"].as_u64()), ("again".into(), Some(2)));
    service.answer(&request, b"");
    again.result().expect(Reason::All);
}

#[test]
fn a_request_whose_time_is_over_while_its_publish_waits_ends_so_and_is_never_sent() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let (asker, number) = with_publish_link(&server, &proxy);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    proxy.refuse();
    assert!(proxy.cut(number));
    eventually("it dials again, in vain", PATIENCE, || proxy.connections() > 2);
    // Many, because two clocks have the same deadline.
    let mut asked: Vec<_> =
        (0..50).map(|n| ask_for(&asker, b"x", b"late", &[], Duration::from_millis(100 + n))).collect();
    let mut given_up = ask_for(&asker, b"x", b"given up", &[], LONG);
    for asked in &mut asked {
        assert_eq!(asked.result().expect(Reason::Deadline).status, Status::Timeout);
    }
    asker.buffer().unwrap().stop(given_up.id, Reason::Cancelled).unwrap();
    given_up.result().expect(Reason::Cancelled);
    let mut asked = ask_for(&asker, b"x", b"in time", &[], LONG);
    proxy.accept();
    let request = service.request();
    assert_eq!(request.payload(), "in time");
    service.answer(&request, b"");
    asked.result().expect(Reason::All);
}

#[test]
fn a_server_that_stands_still_costs_the_deadline_and_no_more() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    ask(&asker, b"nobody", b"", &[]).result().expect(Reason::NoResponders);
    server.freeze();
    for _ in 0..5 {
        let result = ask_for(&asker, b"x", b"late", &[], Duration::from_millis(50)).result().expect(Reason::Deadline);
        assert_eq!(result.status, Status::Timeout);
    }
    server.thaw();
    let mut asked = ask_for(&asker, b"x", b"in time", &[], LONG);
    loop {
        let request = service.request();
        let in_time = request.payload() == "in time";
        // What the kernel had was published when the server went on: it says so, or that its time is over.
        let _ = service.try_say(&request, Say::Answer { body: b"here", headers: b"", last: true });
        if in_time {
            break;
        }
    }
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["here"]);
}

#[test]
fn an_asker_that_connects_late_gets_its_answer() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    proxy.listener_off();
    let asker = open(&proxy.url(), &[]);
    let mut asked = ask_for(&asker, b"x", b"early", &[], LONG);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    proxy.listener_on();
    let request = service.request();
    service.answer(&request, &request.data);
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["early"]);
}

#[test]
fn a_restarted_server_interrupts_what_was_sent_and_serves_what_comes_then() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    let request = service.request();
    server.kill();
    asked.result().expect(Reason::Interrupted);
    service.tap.wait(Kind::Lost);
    server.restart();
    active_again(&service);
    let _ = service.try_say(&request, Say::End);
    let mut asked = ask_for(&asker, b"x", b"again", &[], LONG);
    let request = service.request();
    service.answer(&request, &request.data);
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["again"]);
}

#[test]
fn a_stopped_client_interrupts_its_requests_and_a_repeatable_one_is_answered_when_it_goes_on() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut lost = ask_for(&asker, b"x", b"lost", &[], LONG);
    let mut again = ask_for(&asker, b"x", b"again", &[("repeatable", "true")], LONG);
    let requests = [service.request(), service.request()];
    asker.stop().unwrap();
    lost.result().expect(Reason::Interrupted);
    let mut meanwhile = ask_for(&asker, b"x", b"meanwhile", &[("repeatable", "true")], LONG);
    asker.restart().unwrap();
    let request = service.request();
    assert_eq!(request.payload(), "meanwhile");
    service.answer(&request, b"meanwhile");
    // It is in work: it is not handed out again.
    service.answer(&requests[1], b"again");
    assert_eq!(again.result().expect(Reason::All).bodies(), ["again"]);
    assert_eq!(meanwhile.result().expect(Reason::All).bodies(), ["meanwhile"]);
    service.client.stop().unwrap();
    eventually("it is not there", PATIENCE, || server.conn().numsub("redmux:svc:x") == 0);
    ask(&asker, b"x", b"", &[]).result().expect(Reason::NoResponders);
    service.client.restart().unwrap();
    active_again(&service);
    let mut asked = ask_for(&asker, b"x", b"back", &[], LONG);
    let request = service.request();
    service.answer(&request, b"back");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["back"]);
}
