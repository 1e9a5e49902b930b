//! Acceptance rows R2 to R7, R9, R10, R13 to R16 and R19: one request, many answers, against a real server.
#[path = "support/asking.rs"]
mod asking;
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use asking::*;
use redmux::buffer::{Reason, Say};
use redmux::error::Status;
use redmux::inbox::Kind;
use serde_json::json;
use std::time::Duration;
use support::server::Server;
use support::{PATIENCE, Proxy, eventually};
use tap::*;

#[test]
fn r1_every_responder_answers_and_the_answers_say_who() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut services: Vec<Service> =
        (0..3).map(|n| serve(&open(&server.url(), &[("name", &format!("node-{n}"))]), b"count", &[])).collect();
    let mut asked = ask(&asker, b"count", b"how many?", &[]);
    for (n, service) in services.iter_mut().enumerate() {
        let request = service.request();
        assert_eq!((request.payload(), request.channel()), ("how many?".into(), "count".into()));
        service.answer(&request, (n + 1).to_string().as_bytes());
    }
    let result = asked.result().expect(Reason::All);
    let mut seen: Vec<_> = result
        .answers
        .iter()
        .map(|answer| (head(answer)["name"].as_str().unwrap().to_owned(), answer.payload(), answer.flags))
        .collect();
    seen.sort();
    let wanted = |n: u32| (format!("node-{n}"), (n + 1).to_string(), 1);
    assert_eq!(seen, (0..3).map(wanted).collect::<Vec<_>>());
    assert_eq!((result.status, result.report["expected"].as_u64()), (Status::Ok, Some(3)));
}

#[test]
fn r2_ten_thousand_instant_answers_and_none_is_missing() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let answering = serve(&open(&server.url(), &[]), b"echo", &[]);
    let server_side = std::sync::Arc::clone(&answering.client);
    let thread = answering.on_a_thread(<[u8]>::to_vec);
    for round in 0..100u32 {
        let asked: Vec<_> =
            (0..100u32).map(|n| (n, ask(&asker, b"echo", format!("{round}/{n}").as_bytes(), &[]))).collect();
        for (n, mut asked) in asked {
            assert_eq!(asked.result().expect(Reason::All).bodies(), [format!("{round}/{n}")]);
        }
    }
    server_side.close(None).unwrap();
    thread.join().unwrap();
}

#[test]
fn r3_a_deadline_gives_what_came_and_names_the_silent_one() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut good = serve(&open(&server.url(), &[("name", "good")]), b"x", &[]);
    let mut silent = serve(&open(&server.url(), &[("name", "silent")]), b"x", &[]);
    let mut asked = ask_for(&asker, b"x", b"", &[("accepted", "true")], Duration::from_secs(3));
    let request = good.request();
    good.answer(&request, b"here");
    let _unanswered = silent.request();
    let result = asked.result().expect(Reason::Deadline);
    assert_eq!(
        (result.status, result.bodies(), result.missing()),
        (Status::Timeout, vec!["here".into()], vec!["silent".into()])
    );
    // And the one that worked too long is told.
    let cancel = silent.tap.wait(Kind::Cancel);
    assert_eq!(cancel.status(), Status::Timeout);
}

#[test]
fn r4_nobody_there_is_told_at_once() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let result = ask(&asker, b"nobody", b"", &[]).result().expect(Reason::NoResponders);
    assert_eq!((result.status, result.report["expected"].as_u64()), (Status::NoResponders, Some(0)));
    assert!(result.elapsed < BOUND);
}

#[test]
fn r5_answers_of_strangers_are_counted_and_change_nothing() {
    let server = Server::start();
    let (asker, mut events) = open_with_events(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask(&asker, b"x", b"", &[]);
    let request = service.request();
    let reply = head(&request)["reply"].as_str().unwrap().to_owned();
    let id = head(&request)["id"].as_str().unwrap().to_owned();
    let mut conn = server.conn();
    conn.publish(
        reply.as_bytes(),
        br#"{"v":1,"k":"end","id":"unknown","by":"z","name":"z","seq":0}
foreign"#,
    );
    conn.publish(reply.as_bytes(), b"nonsense");
    service.part(&request, b"one");
    let twice = format!("{{\"v\":1,\"k\":\"part\",\"id\":\"{id}\",\"by\":\"{}\",\"seq\":0}}\none", "q.1");
    conn.publish(reply.as_bytes(), twice.as_bytes());
    conn.publish(reply.as_bytes(), twice.as_bytes());
    service.answer(&request, b"two");
    let result = asked.result();
    assert_eq!((result.bodies().len(), result.report["duplicates"].as_u64()), (3, Some(1)));
    assert_eq!((stat(&asker, &["requests", "late"]), stat(&asker, &["requests", "malformed"])), (1, 1));
    events.find("a warning about the stranger", |event| event.kind == Kind::Log && event.text().contains("not open"));
    events.find("a warning about nonsense", |event| event.kind == Kind::Log && event.text().contains("not a frame"));
}

#[test]
fn r6_as_many_answers_as_were_asked_for_are_enough_beside_a_stranger_with_a_pattern() {
    let server = Server::start();
    let stranger = open(&server.url(), &[]);
    let listening = Tap::on(&stranger);
    pattern(&stranger, &listening, 1, b"*");
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask(&asker, b"x", b"", &[("expect", "1")]);
    let request = service.request();
    service.answer(&request, b"one");
    let result = asked.result().expect(Reason::Count);
    assert_eq!((result.bodies(), result.report["expected"].as_u64()), (vec!["one".into()], Some(2)));
}

#[test]
fn a_stranger_with_a_pattern_costs_the_accept_window_and_not_the_deadline() {
    let server = Server::start();
    let stranger = open(&server.url(), &[]);
    let listening = Tap::on(&stranger);
    pattern(&stranger, &listening, 1, b"*");
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask_for(&asker, b"x", b"", &[("strict", "false")], Duration::from_secs(600));
    let request = service.request();
    service.answer(&request, b"one");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["one"]);
    ask_for(&asker, b"nobody", b"", &[("strict", "false")], Duration::from_secs(600))
        .result()
        .expect(Reason::NoResponders);
}

#[test]
fn r7_one_live_handler_a_service_and_a_hundred_times_again() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let first = serve(&client, b"x", &[]);
    let tap = Tap::on(&client);
    let refused = try_serve(&client, &tap, b"x", &[]).unwrap_err();
    assert_eq!(refused.status(), Status::AlreadySubscribed);
    // One for everything below a prefix lives beside it, and each answers for itself.
    let mut all = serve(&client, b"", &[("catch_all", "true")]);
    let mut asked = ask(&client, b"x", b"", &[]);
    let mut first = first;
    let request = first.request();
    first.answer(&request, b"typed");
    let request = all.request();
    assert_eq!(request.channel(), "x");
    all.answer(&request, b"all");
    let mut bodies = asked.result().expect(Reason::All).bodies();
    bodies.sort();
    assert_eq!(bodies, ["all", "typed"]);
    client.buffer().unwrap().close_service(all.id).unwrap();
    client.buffer().unwrap().close_service(first.id).unwrap();
    for _ in 0..100 {
        let again = serve(&client, b"x", &[]);
        client.buffer().unwrap().close_service(again.id).unwrap();
    }
    let mut last = serve(&client, b"x", &[]);
    eventually("the pattern is gone", PATIENCE, || server.conn().numpat() == 0);
    let mut asked = ask(&client, b"x", b"", &[]);
    let request = last.request();
    last.answer(&request, b"once");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["once"]);
}

#[test]
fn r9_a_handler_that_fails_is_an_error_answer() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[("name", "shaky")]), b"x", &[]);
    let mut asked = ask(&asker, b"x", b"", &[]);
    let request = service.request();
    service.say(&request, Say::Error { code: "BROKEN", message: "no luck", retriable: true });
    let result = asked.result().expect(Reason::Failed);
    assert_eq!((result.status, result.answers.len(), result.errors.len()), (Status::Remote, 0, 1));
    let said = head(&result.errors[0]);
    assert_eq!(
        (&said["code"], &said["message"], &said["retriable"], &said["name"]),
        (&"BROKEN".into(), &"no luck".into(), &true.into(), &"shaky".into())
    );
    assert_eq!(result.errors[0].status(), Status::Remote);
}

#[test]
fn r10_an_answer_that_nobody_or_more_than_one_heard_is_logged() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let asker = open(&proxy.url(), &[]);
    let (serving, mut events) = open_with_events(&server.url(), &[]);
    let mut service = serve(&serving, b"x", &[]);
    let stranger = open(&server.url(), &[]);
    let listening = Tap::on(&stranger);
    pattern(&stranger, &listening, 1, b"redmux:reply:*");
    let mut asked = ask(&asker, b"x", b"", &[]);
    let request = service.request();
    service.answer(&request, b"");
    asked.result().expect(Reason::All);
    logged(&mut events, "2 receivers");
    stranger.close(None).unwrap();
    let _asked = ask(&asker, b"x", b"", &[]);
    let request = service.request();
    // It is gone without a word, and the answer is published to nobody.
    proxy.refuse();
    proxy.cut_all();
    let replies = || server.conn().command(&["PUBSUB", "CHANNELS", "redmux:reply:*"]).items().len();
    eventually("the asker is gone", PATIENCE, || replies() == 0);
    service.answer(&request, b"");
    logged(&mut events, "reached nobody");
}

#[test]
fn r13_a_thousand_requests_open_at_once_all_get_their_own_answer() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[("concurrency", "2000")]);
    let mut asked: Vec<_> = (0..1000u32).map(|n| ask(&asker, b"x", n.to_string().as_bytes(), &[])).collect();
    let requests: Vec<_> = (0..1000).map(|_| service.request()).collect();
    for request in requests.iter().rev() {
        service.answer(request, &request.data);
    }
    for (n, asked) in asked.iter_mut().enumerate() {
        assert_eq!(asked.result().expect(Reason::All).bodies(), [n.to_string()]);
    }
    let replies =
        |conn: &mut support::conn::Conn| conn.command(&["PUBSUB", "CHANNELS", "redmux:reply:*"]).items().len();
    assert_eq!(replies(&mut server.conn()), 1);
    asker.close(None).unwrap();
    eventually("the reply channel is gone", PATIENCE, || replies(&mut server.conn()) == 0);
}

#[test]
fn r14_an_id_of_a_live_request_is_refused_and_the_first_is_unharmed() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask(&asker, b"x", b"1", &[("request_id", "mine")]);
    let request = service.request();
    assert_eq!(head(&request)["id"], "mine");
    let options = with_options(asker.options().clone(), &[("request_id", "mine")]);
    let tap = Tap::new(&asker.waiter());
    let again = redmux::buffer::Ask { service: b"x", body: b"2", headers: b"", options: &options };
    let refused = asker.buffer().unwrap().ask(&again, ticket_in(&tap, 1)).unwrap_err();
    assert_eq!(refused.status(), Status::Conflict);
    service.answer(&request, b"first");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["first"]);
    let mut asked = ask(&asker, b"x", b"3", &[("request_id", "mine")]);
    let request = service.request();
    service.answer(&request, b"again");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["again"]);
}

#[test]
fn r16_the_asking_instance_answers_too_unless_it_says_otherwise() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut service = serve(&client, b"x", &[]);
    let mut asked = ask(&client, b"x", b"", &[]);
    let request = service.request();
    service.answer(&request, b"me");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["me"]);
    ask(&client, b"x", b"", &[("others_only", "true")]).result().expect(Reason::NoResponders);
    assert!(service.tap.rest().iter().all(|event| event.kind != Kind::Request));
}

#[test]
fn r19_a_strict_request_waits_for_everybody_that_redis_counted() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    // A peer that speaks the wire by hand, and is in no hurry to accept.
    let late = open(&server.url(), &[]);
    let mut listening = Tap::on(&late);
    subscribed(&late, &listening, 1, &[b"redmux:svc:x", b"redmux:svc:y"]);
    let mut quick = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask(&asker, b"x", b"", &[("strict", "true")]);
    let request = quick.request();
    quick.answer(&request, b"quick");
    let frame = listening.wait(Kind::Message).payload();
    // Here only the late one listens: when this has ended, whoever had not accepted x by then is too late as well.
    ask(&asker, b"y", b"", &[("strict", "false")]).result().expect(Reason::NoResponders);
    let request: serde_json::Value = serde_json::from_str(frame.lines().next().unwrap()).unwrap();
    let answer = json!({"v": 1, "k": "end", "id": request["id"], "by": "late.1", "name": "late", "seq": 0});
    server.conn().publish(request["reply"].as_str().unwrap().as_bytes(), format!("{answer}\nlate").as_bytes());
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["quick", "late"]);
}

#[test]
fn parts_come_in_order_and_an_end_without_an_answer_is_an_end() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask(&asker, b"x", b"", &[]);
    let request = service.request();
    for n in 0..50 {
        service.part(&request, n.to_string().as_bytes());
    }
    service.say(&request, Say::End);
    let result = asked.result().expect(Reason::All);
    assert_eq!(result.bodies(), (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(result.answers.iter().map(|answer| answer.number).collect::<Vec<_>>(), (0..50).collect::<Vec<u64>>());
    assert_eq!(service.try_say(&request, Say::End).unwrap_err().status(), Status::Closed);
    let mut asked = ask(&asker, b"x", b"", &[]);
    let request = service.request();
    service.say(&request, Say::End);
    let result = asked.result().expect(Reason::All);
    assert_eq!((result.answers.len(), result.status), (0, Status::Ok));
}

#[test]
fn a_cancel_reaches_the_handler_and_what_it_says_then_is_told_so() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask(&asker, b"x", b"", &[]);
    let request = service.request();
    assert_eq!(asker.cancel(asked.tap.inbox().id(), 77), 1);
    assert_eq!(asked.result().expect(Reason::Cancelled).status, Status::Cancelled);
    let cancel = service.tap.wait(Kind::Cancel);
    assert_eq!((cancel.number, cancel.status()), (request.number, Status::Cancelled));
    let part = Say::Answer { body: b"", headers: b"", last: false };
    assert_eq!(service.try_say(&request, part).unwrap_err().status(), Status::Cancelled);
    service.say(&request, Say::End);
}

#[test]
fn quiet_ends_it_after_the_first_answer() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask(&asker, b"x", b"", &[("quiet", "50ms")]);
    let request = service.request();
    service.part(&request, b"one");
    assert_eq!(asked.result().expect(Reason::Quiet).bodies(), ["one"]);
    assert_eq!(service.tap.wait(Kind::Cancel).number, request.number);
}

#[test]
fn what_is_over_the_concurrency_waits_and_what_is_over_that_is_told_to_come_again() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[("concurrency", "2"), ("waiting", "1")]);
    let mut asked: Vec<_> = (0..4u32).map(|n| ask(&asker, b"x", n.to_string().as_bytes(), &[])).collect();
    let busy = asked[3].result().expect(Reason::Failed);
    assert_eq!(head(&busy.errors[0])["code"], "BUSY");
    assert_eq!(busy.errors[0].status(), Status::Full);
    let (one, two) = (service.request(), service.request());
    assert!(service.tap.rest().iter().all(|event| event.kind != Kind::Request), "only two at a time");
    service.answer(&two, b"two");
    let three = service.request();
    service.answer(&one, b"one");
    service.answer(&three, b"three");
    for (n, body) in [(0, "one"), (1, "two"), (2, "three")] {
        assert_eq!(asked[n].result().expect(Reason::All).bodies(), [body]);
    }
}

#[test]
fn more_answers_than_are_wanted_end_it_and_keep_what_came() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask(&asker, b"x", b"", &[("max_answers", "3")]);
    let request = service.request();
    for n in 0..4 {
        let _ = service.try_say(&request, Say::Answer { body: n.to_string().as_bytes(), headers: b"", last: false });
    }
    let result = asked.result().expect(Reason::Overflow);
    assert_eq!((result.bodies(), result.status), (vec!["0".into(), "1".into(), "2".into()], Status::Overflow));
}

#[test]
fn of_a_queue_group_exactly_one_serves_a_request() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut members: Vec<_> = (0..3).map(|_| serve(&open(&server.url(), &[]), b"x", &[("group", "workers")])).collect();
    for n in 0..30u32 {
        let mut asked = ask(&asker, b"x", n.to_string().as_bytes(), &[]);
        let found = std::cell::Cell::new(None);
        eventually("somebody has it", PATIENCE, || {
            for (at, member) in members.iter_mut().enumerate() {
                for event in member.tap.rest() {
                    if event.kind == Kind::Request {
                        assert!(found.replace(Some((at, event))).is_none(), "two have it");
                    }
                }
            }
            let taken = found.take();
            let some = taken.is_some();
            found.set(taken);
            some
        });
        let (at, request) = found.take().unwrap();
        members[at].answer(&request, b"mine");
        let result = asked.result().expect(Reason::All);
        assert_eq!((result.bodies().len(), result.report["expected"].as_u64()), (1, Some(3)));
    }
}

#[test]
fn headers_travel_both_ways() {
    let server = Server::start();
    let asker = open(&server.url(), &[("strict", "true")]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut tap = Tap::new(&asker.waiter());
    let headers = br#"{"traceparent":"00-1"}"#;
    let question = redmux::buffer::Ask { service: b"x", body: b"", headers, options: asker.options() };
    asker.buffer().unwrap().ask(&question, ticket_in(&tap, 1)).unwrap();
    let request = service.request();
    assert_eq!(head(&request)["h"]["traceparent"], "00-1");
    service.say(&request, Say::Answer { body: b"", headers: br#"{"a":"b"}"#, last: true });
    assert_eq!(head(&tap.wait(Kind::Answer))["h"]["a"], "b");
    let bad = redmux::buffer::Ask { service: b"x", body: b"", headers: b"[1]", options: asker.options() };
    let refused = asker.buffer().unwrap().ask(&bad, ticket_in(&tap, 2)).unwrap_err();
    assert_eq!(refused.status(), Status::InvalidArgument);
}

#[test]
fn whoever_serves_is_found() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let one = serve(&open(&server.url(), &[("name", "one")]), b"x", &[("version", "2.1")]);
    let two = serve(&open(&server.url(), &[("name", "two")]), b"y", &[("group", "g")]);
    let mut found: Vec<serde_json::Value> = ask(&asker, b"$", b"INFO", &[])
        .result()
        .expect(Reason::All)
        .answers
        .iter()
        .map(|answer| serde_json::from_slice(&answer.data).unwrap())
        .collect();
    found.sort_by_key(|info| info["name"].as_str().unwrap().to_owned());
    assert_eq!(
        (&found[0]["services"][0]["service"], &found[0]["services"][0]["version"]),
        (&"x".into(), &"2.1".into())
    );
    assert_eq!((&found[1]["name"], &found[1]["services"][0]["group"]), (&"two".into(), &"g".into()));
    assert_eq!(ask(&asker, b"$", b"PING", &[]).result().bodies(), ["PONG", "PONG"]);
    ask(&asker, b"$", b"STATS", &[]).result().expect(Reason::All);
    ask(&asker, b"$", b"WHAT", &[]).result().expect(Reason::Failed);
    one.client.buffer().unwrap().close_service(one.id).unwrap();
    two.client.close(None).unwrap();
    eventually("nobody serves", PATIENCE, || server.conn().numsub("redmux:svc:$") == 0);
    ask(&asker, b"$", b"PING", &[]).result().expect(Reason::NoResponders);
}

#[test]
fn a_request_that_is_asked_again_while_it_is_worked_on_gets_what_was_said_before() {
    let server = Server::start();
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    // An asker that speaks the wire by hand, and does not listen at first.
    let asker = open(&server.url(), &[]);
    let mut listening = Tap::on(&asker);
    let ask = |attempt: u32| {
        let head = json!({"v": 1, "k": "request", "id": "q.1", "from": "q", "reply": "replies", "ttl": 60_000,
            "attempt": attempt, "repeat": true});
        assert_eq!(server.conn().publish(b"redmux:svc:x", format!("{head}\n").as_bytes()), 1);
    };
    ask(1);
    let request = service.request();
    service.part(&request, b"said to nobody");
    eventually("nobody heard it", PATIENCE, || stat(&service.client, &["requests", "unheard"]) >= 1);
    subscribed(&asker, &listening, 1, &[b"replies"]);
    ask(2);
    let parts = |event: &Event| event.kind == Kind::Message && event.payload().ends_with("\nsaid to nobody");
    listening.find("what was said before", parts);
    service.say(&request, Say::End);
    listening.find("the end", |event| event.kind == Kind::Message && event.payload().contains("\"k\":\"end\""));
}

#[test]
fn nothing_is_left_of_requests_and_responders() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let answering = serve(&open(&server.url(), &[]), b"echo", &[]);
    let serving = std::sync::Arc::clone(&answering.client);
    let thread = answering.on_a_thread(<[u8]>::to_vec);
    for _ in 0..200 {
        let mut asked: Vec<_> = (0..50).map(|_| ask(&asker, b"echo", b"x", &[])).collect();
        asked.iter_mut().for_each(|asked| drop(asked.result().expect(Reason::All)));
    }
    assert_eq!(stat(&asker, &["requests", "gathers"]), 0);
    assert_eq!(stat(&asker, &["operations"]), 0);
    serving.close(None).unwrap();
    thread.join().unwrap();
    eventually("no channel is left", PATIENCE, || {
        server.conn().command(&["PUBSUB", "CHANNELS", "redmux:svc:*"]).items().is_empty()
    });
}

#[test]
fn r5_a_flood_of_strangers_is_counted_and_told_once_a_second() {
    let server = Server::start();
    let (asker, mut events) = open_with_events(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask(&asker, b"x", b"", &[]);
    let request = service.request();
    let reply = head(&request)["reply"].as_str().unwrap().to_owned();
    let began = std::time::Instant::now();
    let mut conn = server.conn();
    for _ in 0..500 {
        conn.publish(reply.as_bytes(), b"nonsense");
    }
    service.answer(&request, b"");
    asked.result().expect(Reason::All);
    let seconds = began.elapsed().as_secs() as usize;
    assert_eq!(stat(&asker, &["requests", "malformed"]), 500);
    let told =
        events.rest().iter().filter(|event| event.kind == Kind::Log && event.text().contains("not a frame")).count();
    assert!((1..=seconds + 1).contains(&told), "{told} lines in {seconds} s");
}
