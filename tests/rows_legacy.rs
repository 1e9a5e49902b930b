//! Acceptance rows R3, R7, R8, R9, R11, R13, R14 and R15 on Messaging.Buffer's wire, and requests over several servers.
//! The other side is a plain connection that writes what the original was seen to write.
#[path = "support/asking.rs"]
mod asking;
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use asking::*;
use redmux::buffer::{Ask, Reason, Say};
use redmux::error::Status;
use redmux::inbox::Kind;
use std::time::Duration;
use support::server::Server;
use support::{PATIENCE, eventually};
use tap::*;

const WIRE: (&str, &str) = ("wire", "messaging-buffer");

/// An old instance: a client of ours that only listens, and a connection that publishes.
fn listener(server: &Server, names: &[&[u8]], pattern_name: Option<&[u8]>) -> Tap {
    let client = open(&server.url(), &[]);
    let tap = Tap::on(&client);
    if !names.is_empty() {
        subscribed(&client, &tap, 1, names);
    }
    if let Some(name) = pattern_name {
        pattern(&client, &tap, 1, name);
    }
    // It lives as long as the test's process.
    std::mem::forget(client);
    tap
}

#[test]
fn r8_a_request_is_what_an_old_responder_understands() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut old = listener(&server, &[], Some(b"Request:*:Demo.PingRequest"));
    let mut asked = ask(&asker, b"Demo.PingRequest", br#"{"Body":"hello"}"#, &[WIRE]);
    let request = old.wait(Kind::Message);
    let channel = request.channel();
    let id = channel.strip_prefix("Request:").unwrap().strip_suffix(":Demo.PingRequest").unwrap();
    assert_eq!((id.len(), request.payload()), (36, r#"{"Body":"hello"}"#.to_owned()));
    let answer = format!(r#"{{"Text":"pong","Answers":0,"CorrelationId":"{id}","ResponseServerName":"old-vm"}}"#);
    assert_eq!(server.conn().publish(format!("Response:{id}").as_bytes(), answer.as_bytes()), 1);
    let result = asked.result().expect(Reason::All);
    assert_eq!(result.bodies(), [answer]);
    assert_eq!(head(&result.answers[0])["name"], "old-vm");
    eventually("its channel is let go", PATIENCE, || {
        server.conn().command(&["PUBSUB", "CHANNELS", "Response:*"]).items().is_empty()
    });
}

#[test]
fn r8_an_answer_is_what_an_old_asker_understands() {
    let server = Server::start();
    let serving = open(&server.url(), &[("name", "new-vm")]);
    let mut service = serve(&serving, b"Demo.PingRequest", &[WIRE]);
    let id = "52333da4-f51c-4094-9a3b-53243f15bd82";
    let mut old = listener(&server, &[], Some(format!("Response:{id}").as_bytes()));
    let channel = format!("Request:{id}:Demo.PingRequest");
    assert_eq!(server.conn().publish(channel.as_bytes(), br#"{"Body":"hello"}"#), 1);
    let request = service.request();
    assert_eq!(
        (request.channel(), request.payload(), request.flags),
        ("Demo.PingRequest".into(), r#"{"Body":"hello"}"#.into(), 2)
    );
    service.answer(&request, br#"{"Text":"pong 0 hello","Answers":0}"#);
    let wanted =
        format!(r#"{{"Text":"pong 0 hello","Answers":0,"CorrelationId":"{id}","ResponseServerName":"new-vm"}}"#);
    assert_eq!(old.wait(Kind::Message).payload(), wanted);
    // A type whose name ends alike is another type.
    server.conn().publish(b"Request:1:Other:Demo.PingRequest", b"{}");
    server.conn().publish(channel.as_bytes(), b"{}");
    assert_eq!(service.request().payload(), "{}");
    assert!(service.tap.rest().iter().all(|event| event.kind != Kind::Request));
}

#[test]
fn r3_of_two_old_responders_one_answers_and_the_result_says_two_were_expected() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut one = listener(&server, &[], Some(b"Request:*:T"));
    let _two = listener(&server, &[], Some(b"Request:*:T"));
    let mut asked = ask_for(&asker, b"T", b"{}", &[WIRE], Duration::from_secs(3));
    let channel = one.wait(Kind::Message).channel();
    let id = channel.split(':').nth(1).unwrap().to_owned();
    let answer = format!(r#"{{"CorrelationId":"{id}","ResponseServerName":"vm"}}"#);
    server.conn().publish(format!("Response:{id}").as_bytes(), answer.as_bytes());
    let result = asked.result().expect(Reason::Deadline);
    assert_eq!((result.bodies().len(), result.report["expected"].as_u64()), (1, Some(2)));
}

#[test]
fn r3_an_answer_behind_the_time_of_who_serves_is_sent_to_who_still_waits() {
    let server = Server::start();
    let mut service = serve(&open(&server.url(), &[]), b"T", &[WIRE, ("timeout", "50ms")]);
    let asker = open(&server.url(), &[]);
    let mut asked = ask_for(&asker, b"T", b"{}", &[WIRE], Duration::from_secs(600));
    let request = service.request();
    // Nobody says there how long an asker waits.
    assert_eq!(service.tap.wait(Kind::Cancel).number, request.number);
    service.answer(&request, b"{}");
    assert_eq!(asked.result().expect(Reason::All).answers.len(), 1);
}

#[test]
fn r5_an_answer_with_the_id_of_another_request_is_counted_and_changes_nothing() {
    let server = Server::start();
    let (asker, mut events) = open_with_events(&server.url(), &[]);
    let mut old = listener(&server, &[], Some(b"Request:*:T"));
    let mut asked = ask(&asker, b"T", b"{}", &[WIRE]);
    let id = old.wait(Kind::Message).channel().split(':').nth(1).unwrap().to_owned();
    let reply = format!("Response:{id}");
    server.conn().publish(reply.as_bytes(), br#"{"CorrelationId":"another","ResponseServerName":"vm"}"#);
    server.conn().publish(reply.as_bytes(), b"no JSON");
    let answer = format!(r#"{{"CorrelationId":"{id}","ResponseServerName":"vm"}}"#);
    server.conn().publish(reply.as_bytes(), answer.as_bytes());
    assert_eq!(asked.result().expect(Reason::All).bodies(), [answer]);
    assert_eq!((stat(&asker, &["requests", "late"]), stat(&asker, &["requests", "malformed"])), (1, 1));
    events.find("a warning", |event| event.kind == Kind::Log && event.text().contains("another"));
}

#[test]
fn an_answer_that_holds_its_own_id_and_name_reaches_its_asker_on_the_old_wire() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[("name", "new-vm")]), b"T", &[WIRE]);
    let mut asked = ask_for(&asker, b"T", b"{}", &[WIRE, ("request_id", "mine")], Duration::from_secs(600));
    let request = service.request();
    service.answer(&request, br#"{"ResponseServerName":null,"Text":"a","CorrelationId":"old","Sum":1.50}"#);
    let result = asked.result().expect(Reason::All);
    assert_eq!(result.bodies(), [r#"{"Sum":1.50,"Text":"a","CorrelationId":"mine","ResponseServerName":"new-vm"}"#]);
}

#[test]
fn an_answer_that_says_twice_who_it_is_or_not_at_all_is_read_on_the_old_wire() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut old = listener(&server, &[], Some(b"Request:*:T"));
    for (said, name) in [
        (r#"{"CorrelationId":"","ResponseServerName":null,"CorrelationId":"ID","ResponseServerName":"vm"}"#, "vm"),
        (r#"{"CorrelationId":"ID","ResponseServerName":null,"Deep":{"CorrelationId":5}}"#, ""),
        (r#"{"CorrelationId":"ID"}"#, ""),
    ] {
        let mut asked = ask_for(&asker, b"T", b"{}", &[WIRE], Duration::from_secs(600));
        let id = old.wait(Kind::Message).channel().split(':').nth(1).unwrap().to_owned();
        let answer = said.replace("ID", &id);
        server.conn().publish(format!("Response:{id}").as_bytes(), answer.as_bytes());
        eventually("it is read", PATIENCE, || {
            stat(&asker, &["requests", "malformed"]) > 0 || stat(&asker, &["requests", "gathers"]) == 0
        });
        assert_eq!(stat(&asker, &["requests", "malformed"]), 0, "{answer}");
        let result = asked.result().expect(Reason::All);
        assert_eq!((result.bodies(), &head(&result.answers[0])["name"]), (vec![answer], &name.into()));
    }
}

#[test]
fn an_endless_name_on_the_old_wire_is_kept_with_its_beginning() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut old = listener(&server, &[], Some(b"Request:*:T"));
    let mut asked = ask(&asker, b"T", b"{}", &[WIRE]);
    let channel = old.wait(Kind::Message).channel();
    let id = channel.split(':').nth(1).unwrap().to_owned();
    let answer = format!(r#"{{"CorrelationId":"{id}","ResponseServerName":"{}"}}"#, "n".repeat(100_000));
    server.conn().publish(format!("Response:{id}").as_bytes(), answer.as_bytes());
    let result = asked.result().expect(Reason::All);
    assert_eq!((result.bodies(), head(&result.answers[0])["name"].as_str()), (vec![answer], Some(&*"n".repeat(256))));
}

#[test]
fn r7_on_the_old_wire_a_type_has_one_handler_and_all_types_exclude_one() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let tap = Tap::on(&client);
    let all = [WIRE, ("catch_all", "true")];
    let typed = serve(&client, b"T", &[WIRE]);
    assert_eq!(try_serve(&client, &tap, b"T", &[WIRE]).unwrap_err().status(), Status::AlreadySubscribed);
    assert_eq!(try_serve(&client, &tap, b"", &all).unwrap_err().status(), Status::Conflict);
    client.buffer().unwrap().close_service(typed.id).unwrap();
    let mut everything = serve(&client, b"", &all);
    assert_eq!(try_serve(&client, &tap, b"T", &[WIRE]).unwrap_err().status(), Status::Conflict);
    // R15: who catches all sees the channel, the id, the type and the JSON.
    server.conn().publish(b"Request:17:Demo.Any", br#"{"a":1}"#);
    let request = everything.request();
    assert_eq!((request.channel(), request.payload()), ("Demo.Any".into(), r#"{"a":1}"#.into()));
    assert_eq!((&head(&request)["id"], &head(&request)["channel"]), (&"17".into(), &"Request:17:Demo.Any".into()));
    everything.say(&request, Say::End);
    client.buffer().unwrap().close_service(everything.id).unwrap();
    for _ in 0..100 {
        let again = serve(&client, b"T", &[WIRE]);
        client.buffer().unwrap().close_service(again.id).unwrap();
    }
    let mut last = serve(&client, b"T", &[WIRE]);
    assert_eq!(server.conn().publish(b"Request:18:T", b"{}"), 1);
    assert_eq!(last.request().payload(), "{}");
}

#[test]
fn who_looks_for_services_sees_which_are_on_the_old_wire() {
    let server = Server::start();
    let serving = open(&server.url(), &[]);
    let _services = [serve(&serving, b"new", &[]), serve(&serving, b"old", &[WIRE])];
    let asker = open(&server.url(), &[]);
    for question in ["INFO", "STATS"] {
        let answers = ask(&asker, b"$", question.as_bytes(), &[]).result().expect(Reason::All).bodies();
        let about: serde_json::Value = serde_json::from_str(&answers[0]).unwrap();
        let wires = about["services"].as_array().unwrap().iter().map(|one| (&one["service"], one.get("wire")));
        let wires: Vec<_> =
            wires.map(|(service, wire)| (service.as_str(), wire.and_then(|one| one.as_str()))).collect();
        assert_eq!(wires, [(Some("new"), None), (Some("old"), Some("messaging-buffer"))], "{question}");
    }
}

#[test]
fn r9_on_the_old_wire_a_handler_that_fails_is_a_line_of_log() {
    let server = Server::start();
    let (client, mut events) = open_with_events(&server.url(), &[]);
    let mut service = serve(&client, b"T", &[WIRE]);
    let mut old = listener(&server, &[b"Response:1"], None);
    old.wait(Kind::Active);
    server.conn().publish(b"Request:1:T", b"{}");
    let request = service.request();
    service.say(&request, Say::Error { code: "BROKEN", message: "no luck", retriable: false });
    events.find("the failure", |event| event.kind == Kind::Log && event.text().contains("no luck"));
    server.conn().publish(b"Request:1:T", b"{}");
    let request = service.request();
    service.answer(&request, b"{}");
    assert!(old.wait(Kind::Message).payload().contains("CorrelationId"), "only the answer, and no frame of ours");
}

#[test]
fn r13_a_hundred_requests_on_the_old_wire_have_a_channel_each_and_none_after() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"T", &[WIRE, ("concurrency", "100")]);
    let mut asked: Vec<_> = (0..100).map(|n| ask(&asker, b"T", format!("{{\"n\":{n}}}").as_bytes(), &[WIRE])).collect();
    let requests: Vec<_> = (0..100).map(|_| service.request()).collect();
    let open = |pattern: &str| server.conn().command(&["PUBSUB", "CHANNELS", pattern]).items().len();
    assert_eq!(open("Response:*"), 100);
    for request in &requests {
        service.answer(request, &request.data);
    }
    for (n, asked) in asked.iter_mut().enumerate() {
        let bodies = asked.result().expect(Reason::All).bodies();
        assert!(bodies.len() == 1 && bodies[0].starts_with(&format!("{{\"n\":{n},")), "{bodies:?}");
    }
    eventually("no channel is left", PATIENCE, || open("Response:*") == 0);
}

#[test]
fn r14_an_id_with_a_colon_is_refused_and_a_live_one_too() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let _old = listener(&server, &[], Some(b"Request:*:T"));
    let tap = Tap::new(&asker.waiter());
    let refused = |id: &str| {
        let options = with_options(asker.options().clone(), &[WIRE, ("request_id", id)]);
        let question = Ask { service: b"T", body: b"{}", headers: b"", options: &options };
        asker.buffer().unwrap().ask(&question, ticket_in(&tap, 1)).unwrap_err().status()
    };
    assert_eq!(refused("a:b"), Status::InvalidArgument);
    let mut asked = ask(&asker, b"T", b"{}", &[WIRE, ("request_id", "mine")]);
    assert_eq!(refused("mine"), Status::Conflict);
    asker.buffer().unwrap().stop(asked.id, Reason::Cancelled).unwrap();
    asked.result().expect(Reason::Cancelled);
}

#[test]
fn r11_over_two_servers_a_request_is_served_once_and_a_server_listed_twice_serves_once() {
    let (one, two) = (Server::start(), Server::start());
    let urls = [one.url(), two.url(), one.url()];
    let mut services: Vec<_> = urls.iter().map(|url| serve(&open(url, &[]), b"x", &[("once", "fleet")])).collect();
    let (asker, other) = (open(&one.url(), &[]), open(&two.url(), &[]));
    for (asker, expected) in [(&asker, 2), (&other, 1)] {
        let mut asked = ask(asker, b"x", b"", &[]);
        let served = std::cell::RefCell::new(Vec::new());
        eventually("somebody got it", PATIENCE, || {
            for (at, service) in services.iter_mut().enumerate() {
                let requests = service.tap.rest().into_iter().filter(|event| event.kind == Kind::Request);
                served.borrow_mut().extend(requests.map(|request| (at, request)));
            }
            !served.borrow().is_empty()
        });
        let (at, request) = served.take().remove(0);
        services[at].answer(&request, b"once");
        let result = asked.result().expect(Reason::All);
        assert_eq!((result.bodies(), result.report["expected"].as_u64()), (vec!["once".into()], Some(expected)));
        for service in &mut services {
            assert!(service.tap.rest().iter().all(|event| event.kind != Kind::Request), "a second handler call");
        }
    }
    // The server dies while it is worked on: interrupted, and what the handler says then reaches nobody.
    let mut asked = ask(&other, b"x", b"", &[]);
    let request = services[1].request();
    two.stop();
    let result = asked.result().expect(Reason::Interrupted);
    assert_eq!(result.status, Status::Interrupted);
    let _ = services[1].try_say(&request, Say::End);
}
