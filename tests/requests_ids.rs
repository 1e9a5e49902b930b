//! Ids that callers choose: two askers may choose the same one, and one may use it again.
#[path = "support/asking.rs"]
mod asking;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use asking::*;
use peer::kill_subscriber;
use redmux::buffer::Reason;
use redmux::inbox::Kind;
use std::time::Duration;
use support::{PATIENCE, Server, eventually};
use tap::*;

const LONG: Duration = Duration::from_secs(600);

#[test]
fn two_askers_may_choose_the_same_id() {
    let server = Server::start();
    let (one, two) = (open(&server.url(), &[]), open(&server.url(), &[]));
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let options = [("request_id", "mine"), ("repeatable", "true")];
    let mut first = ask_for(&one, b"x", b"one", &options, LONG);
    let request_of_one = service.request();
    let mut second = ask_for(&two, b"x", b"two", &options, LONG);
    let request_of_two = service.request();
    one.buffer().unwrap().stop(first.id, Reason::Cancelled).unwrap();
    first.result().expect(Reason::Cancelled);
    assert_eq!(service.tap.wait(Kind::Cancel).number, request_of_one.number);
    service.answer(&request_of_two, b"for two");
    assert_eq!(second.result().expect(Reason::All).bodies(), ["for two"]);
}

/// What is the next request of a group, and which member has it. Nobody else has one.
#[track_caller]
fn claimed(members: &mut [Service]) -> (usize, Event) {
    let mut found = None;
    eventually("a member has it", PATIENCE, || {
        let one = |(at, member): (usize, &mut Service)| Some((at, member.tap.poll().filter(is_request)?));
        found = found.take().or_else(|| members.iter_mut().enumerate().find_map(one));
        found.is_some()
    });
    found.expect("found")
}

fn is_request(event: &Event) -> bool {
    event.kind == Kind::Request
}

#[test]
fn an_id_that_is_used_again_is_claimed_again_and_a_repeat_is_not() {
    let server = Server::start();
    let asker = open(&server.url(), &[("name", "asker")]);
    let mut members: Vec<_> = (0..2).map(|_| serve(&open(&server.url(), &[]), b"x", &[("group", "g")])).collect();
    let options = [("request_id", "mine"), ("repeatable", "true")];
    // Each has ten minutes, and so has its claim.
    for body in ["first", "second"] {
        let mut asked = ask_for(&asker, b"x", body.as_bytes(), &options, LONG);
        let (at, request) = claimed(&mut members);
        assert_eq!(request.payload(), body);
        members[at].answer(&request, &request.data);
        let result = asked.result().expect(Reason::All);
        assert_eq!((result.bodies(), &result.report["expected"]), (vec![body.to_owned()], &2.into()));
    }
    let mut asked = ask_for(&asker, b"x", b"third", &options, LONG);
    let (at, request) = claimed(&mut members);
    kill_subscriber(&server, "asker");
    eventually("it was sent again", PATIENCE, || stat(&asker, &["publisher", "sent"]) == 4);
    members[at].answer(&request, b"once");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["once"]);
    assert!(members.iter_mut().all(|member| !member.tap.rest().iter().any(is_request)), "no handler ran again");
}

#[test]
fn what_is_served_once_is_served_again_under_an_id_that_is_used_again() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let once = [("once", "an_id_that_is_used_again")];
    let mut twice: Vec<_> = (0..2).map(|_| serve(&open(&server.url(), &[]), b"x", &once)).collect();
    for body in ["first", "second"] {
        let mut asked = ask_for(&asker, b"x", body.as_bytes(), &[("request_id", "mine")], LONG);
        let (at, request) = claimed(&mut twice);
        twice[at].answer(&request, &request.data);
        assert_eq!(asked.result().expect(Reason::All).bodies(), [body]);
    }
}
