//! Ids that callers choose: two askers may choose the same one, and one may use it again. And what comes again under the
//! same id: it is the same request, and served once.
#[path = "support/asking.rs"]
mod asking;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use asking::*;
use peer::{Peer, kill_subscriber, listen};
use redmux::buffer::{Ask, Reason, Say};
use redmux::error::Status;
use redmux::inbox::Kind;
use serde_json::{Value, json};
use std::time::Duration;
use support::conn::Conn;
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

/// Asks by hand, with answers to the channel `replies`.
#[track_caller]
fn ask_by_hand(server: &Server, more: Value) {
    let mut head = json!({"v": 1, "k": "request", "reply": "replies", "ttl": 600_000});
    let more = more.as_object().expect("keys").clone();
    head.as_object_mut().expect("keys").extend(more);
    assert!(server.conn().publish(b"redmux:svc:x", format!("{head}\n").as_bytes()) > 0, "somebody is there");
}

/// The next frame on a channel, signs of life left out: its head, with the body as text beside it.
#[track_caller]
fn next_frame(replies: &mut Conn) -> Value {
    loop {
        let text = replies.read_reply().expect("a frame").items()[2].text();
        let (line, body) = text.split_once('\n').expect("a head line");
        let mut head: Value = serde_json::from_str(line).expect("a head");
        head["body"] = body.into();
        if head["k"] != "alive" {
            return head;
        }
    }
}

#[test]
fn an_answer_to_an_earlier_asking_under_the_same_id_is_late() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut peer = Peer::serve(&server, "x");
    let mut first = ask_for(&asker, b"x", b"first", &[("request_id", "mine")], LONG);
    let old = peer.request();
    asker.buffer().unwrap().stop(first.id, Reason::Cancelled).unwrap();
    first.result().expect(Reason::Cancelled);
    let cancel = peer.next();
    assert_eq!((&cancel["k"], &cancel["id"], &cancel["asking"]), (&"cancel".into(), &"mine".into(), &old["asking"]));
    let mut second = ask_for(&asker, b"x", b"second", &[("request_id", "mine")], LONG);
    let new = peer.request();
    assert_ne!(old["asking"], new["asking"]);
    for kind in ["accepted", "part", "end", "error", "declined"] {
        peer.say(&old, kind, Some(0), "to the first");
    }
    peer.say(&new, "end", Some(0), "to the second");
    let result = second.result().expect(Reason::All);
    assert_eq!((result.bodies(), result.errors.len()), (vec!["to the second".to_owned()], 0));
    assert_eq!((&result.report["duplicates"], stat(&asker, &["requests", "late"])), (&0.into(), 5));
}

#[test]
fn a_peer_that_does_not_name_the_asking_is_heard() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut peer = Peer::serve(&server, "x");
    let mut asked = ask_for(&asker, b"x", b"", &[("request_id", "mine")], LONG);
    let mut request = peer.request();
    request.as_object_mut().unwrap().remove("asking");
    peer.say(&request, "end", Some(0), "as ever");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["as ever"]);
}

#[test]
fn whoever_answers_names_the_asking_where_one_was_named() {
    let server = Server::start();
    let mut service = serve(&open(&server.url(), &[]), b"x", &[("concurrency", "1"), ("waiting", "0")]);
    let mut replies = listen(&server, "replies");
    let mut said = Vec::new();
    for asking in [json!({"asking": "a.1"}), json!({})] {
        let ask = |server: &Server| {
            let mut more = json!({"id": "mine"});
            more.as_object_mut().unwrap().extend(asking.as_object().unwrap().clone());
            ask_by_hand(server, more);
        };
        let mut heard = |count: usize| {
            for _ in 0..count {
                let frame = next_frame(&mut replies);
                assert_eq!(frame["asking"], asking["asking"], "{frame}");
                said.push(frame["k"].as_str().unwrap().to_owned());
            }
        };
        ask(&server);
        let request = service.request();
        heard(1);
        ask(&server);
        heard(1);
        service.part(&request, b"");
        service.say(&request, Say::End);
        heard(2);
        ask(&server);
        let request = service.request();
        heard(1);
        service.say(&request, Say::Error { code: "NO", message: "no", retriable: false });
        heard(1);
    }
    let once = ["accepted", "error", "part", "end", "accepted", "error"];
    assert_eq!(said, [once, once].concat());
    // Who leaves it to another member of his group names it too; and so does who tells what he serves.
    service.client.buffer().unwrap().close_service(service.id).unwrap();
    let _member = serve(&open(&server.url(), &[]), b"x", &[("group", "g")]);
    server.conn().command(&["SET", "redmux:claim:a.2:g", "another"]);
    ask_by_hand(&server, json!({"id": "mine", "asking": "a.2"}));
    let frame = next_frame(&mut replies);
    assert_eq!((&frame["k"], &frame["asking"]), (&"declined".into(), &"a.2".into()));
    let question = json!({"v": 1, "k": "request", "id": "mine", "asking": "a.3", "reply": "replies"});
    server.conn().publish(b"redmux:svc:$", format!("{question}\nPING").as_bytes());
    let frame = next_frame(&mut replies);
    assert_eq!((&frame["body"], &frame["asking"]), (&"PONG".into(), &"a.3".into()));
}

#[test]
fn a_first_attempt_that_comes_behind_the_second_is_the_same_request() {
    let server = Server::start();
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut replies = listen(&server, "replies");
    ask_by_hand(&server, json!({"id": "q.1", "attempt": 2, "repeat": true}));
    let request = service.request();
    // It is in work, and then it is answered.
    ask_by_hand(&server, json!({"id": "q.1", "attempt": 1, "repeat": true}));
    service.answer(&request, b"once");
    ask_by_hand(&server, json!({"id": "q.1", "attempt": 1, "repeat": true}));
    ask_by_hand(&server, json!({"id": "q.2", "attempt": 1, "repeat": true}));
    let next = service.request();
    assert_eq!(head(&next)["id"], "q.2", "no handler ran again");
    service.answer(&next, b"the next one");
    let mut bodies = Vec::new();
    while bodies.last().is_none_or(|body| body != "the next one") {
        let frame = next_frame(&mut replies);
        if frame["k"] == "end" {
            bodies.push(frame["body"].clone());
        }
    }
    assert!(bodies.iter().filter(|body| *body == "once").count() >= 2, "it was said again: {bodies:?}");
}

#[test]
fn a_member_of_a_group_that_is_busy_and_lets_nothing_wait_leaves_a_request_to_another() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let options = [("group", "g"), ("concurrency", "1"), ("waiting", "0")];
    let mut members: Vec<_> = (0..2).map(|_| serve(&open(&server.url(), &[]), b"x", &options)).collect();
    let mut first = ask_for(&asker, b"x", b"", &[], LONG);
    let (busy, request) = claimed(&mut members);
    let mut second = ask_for(&asker, b"x", b"", &[], LONG);
    let (at, other) = claimed(&mut members);
    assert_ne!(at, busy);
    members[at].answer(&other, b"by the idle one");
    let result = second.result().expect(Reason::All);
    assert_eq!((result.bodies(), &head(&result.errors[0])["code"]), (vec!["by the idle one".into()], &"BUSY".into()));
    members[busy].answer(&request, b"");
    first.result().expect(Reason::All);
}

#[test]
fn a_group_that_served_a_request_and_forgot_what_it_answered_says_so() {
    let server = Server::start();
    let mut members: Vec<_> = (0..2).map(|_| serve(&open(&server.url(), &[]), b"x", &[("group", "g")])).collect();
    let mut replies = listen(&server, "replies");
    ask_by_hand(&server, json!({"id": "q.1", "attempt": 1, "repeat": true}));
    let (at, request) = claimed(&mut members);
    // More than anybody remembers.
    members[at].answer(&request, &vec![b'a'; 5 * 1024 * 1024]);
    let mut kinds = std::collections::BTreeSet::new();
    while !(kinds.contains("end") && kinds.contains("declined")) {
        kinds.insert(next_frame(&mut replies)["k"].as_str().unwrap().to_owned());
    }
    ask_by_hand(&server, json!({"id": "q.1", "attempt": 2, "repeat": true}));
    let mut said = [next_frame(&mut replies), next_frame(&mut replies)];
    said.sort_by_key(|frame| frame["k"].as_str().unwrap().to_owned());
    assert_eq!([&said[0]["k"], &said[1]["k"]], ["declined", "error"]);
    assert_eq!((&said[1]["code"], &said[1]["retriable"]), (&"FORGOTTEN".into(), &Value::Null));
    assert!(members.iter_mut().all(|member| !member.tap.rest().iter().any(is_request)), "no handler ran again");
}

#[test]
fn a_repeat_names_the_same_reply_channel_and_the_same_id_for_another_one_is_another_request() {
    let server = Server::start();
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let (mut replies, mut others) = (listen(&server, "replies"), listen(&server, "others"));
    let end = |replies: &mut Conn| loop {
        let frame = next_frame(replies);
        if frame["k"] == "end" {
            return (frame["id"].clone(), frame["body"].clone());
        }
    };
    ask_by_hand(&server, json!({"id": "q.1", "attempt": 1, "repeat": true}));
    let first = service.request();
    ask_by_hand(&server, json!({"id": "q.1", "attempt": 1, "repeat": true, "reply": "others"}));
    let other = service.request();
    service.answer(&first, b"to the first");
    service.answer(&other, b"to the other");
    assert_eq!(end(&mut replies), ("q.1".into(), "to the first".into()));
    assert_eq!(end(&mut others), ("q.1".into(), "to the other".into()));
    ask_by_hand(&server, json!({"id": "q.1", "attempt": 2, "repeat": true}));
    assert_eq!(end(&mut replies), ("q.1".into(), "to the first".into()));
    assert!(!service.tap.rest().iter().any(is_request), "no handler ran again");
}

#[test]
fn an_id_that_the_library_gave_an_earlier_request_may_be_chosen() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut open_one = ask_for(&asker, b"x", b"", &[], LONG);
    let request = service.request();
    let id = head(&request)["id"].as_str().unwrap().to_owned();
    let options = with_options(asker.options().clone(), &[("request_id", &id)]);
    let tap = Tap::new(&asker.waiter());
    let same = Ask { service: b"x", body: b"", headers: b"", options: &options };
    let refused = asker.buffer().unwrap().ask(&same, ticket_in(&tap, 1)).unwrap_err();
    assert_eq!(refused.status(), Status::Conflict, "it is open");
    service.answer(&request, b"given");
    assert_eq!(open_one.result().expect(Reason::All).bodies(), ["given"]);
    let mut asked = ask_for(&asker, b"x", b"", &[("request_id", &id)], BOUND);
    let request = service.request();
    assert_eq!(head(&request)["id"], id);
    service.answer(&request, b"chosen");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["chosen"]);
}
