//! How requests and responders end: closed, drained, forbidden, too large, too slow; and what is left of them: nothing.
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
use redmux::error::Status;
use redmux::inbox::Kind;
use std::time::Duration;
use support::{PATIENCE, Proxy, Server, eventually};
use tap::*;

const LONG: Duration = Duration::from_secs(600);

fn answer(body: &[u8], last: bool) -> Say<'_> {
    Say::Answer { body, headers: b"", last }
}

#[test]
fn a_responder_whose_client_is_closed_while_it_works_says_so() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[("name", "leaving")]), b"x", &[]);
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    let request = service.request();
    service.client.close(deadline()).unwrap();
    let result = asked.result().expect(Reason::Failed);
    let said = head(&result.errors[0]);
    assert_eq!((&said["code"], &said["retriable"], &said["name"]), (&"CLOSED".into(), &true.into(), &"leaving".into()));
    // It was told that its request is over, and that it is.
    assert_eq!(service.tap.wait(Kind::Cancel).number, request.number);
    service.tap.wait(Kind::Closed);
    assert_eq!(service.try_say(&request, Say::End).unwrap_err().status(), Status::Closed);
}

#[test]
fn an_asker_whose_client_is_closed_gets_its_end_and_then_closed() {
    let server = Server::start();
    let asker = open(&server.url(), &[("strict", "true")]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut tap = Tap::on(&asker);
    let question = Ask { service: b"x", body: b"", headers: b"", options: asker.options() };
    let id = asker.buffer().unwrap().ask(&question, ticket_in(&tap, 9)).unwrap();
    let request = service.request();
    asker.close(deadline()).unwrap();
    let end = tap.expect(Kind::End);
    assert_eq!((end.source, end.token, end.number), (id, 9, Reason::Closed as u64));
    assert_eq!(end.status(), Status::Closed);
    tap.expect_end();
    assert_eq!(service.tap.wait(Kind::Cancel).number, request.number);
    service.say(&request, Say::End);
    let late = Tap::new(&asker.waiter());
    let refused = asker.buffer().unwrap().ask(&question, ticket_in(&late, 1)).unwrap_err();
    assert_eq!(refused.status(), Status::Closed);
}

#[test]
fn a_closed_inbox_ends_what_was_asked_and_served_into_it() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let (asker, mut service) = (open(&server.url(), &[("strict", "true")]), serve(&client, b"x", &[]));
    let tap = Tap::on(&asker);
    let question = Ask { service: b"x", body: b"", headers: b"", options: asker.options() };
    asker.buffer().unwrap().ask(&question, ticket_in(&tap, 9)).unwrap();
    let request = service.request();
    asker.close_inbox(tap.inbox(), deadline()).unwrap();
    assert_eq!(stat(&asker, &["requests", "gathers"]), 0);
    assert_eq!(service.tap.wait(Kind::Cancel).number, request.number);
    service.say(&request, Say::End);
    assert_eq!(asker.buffer().unwrap().ask(&question, ticket_in(&tap, 9)).unwrap_err().status(), Status::Closed);
    // And on the other side.
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    service.request();
    client.close_inbox(service.tap.inbox(), deadline()).unwrap();
    assert_eq!(head(&asked.result().expect(Reason::Failed).errors[0])["code"], "CLOSED");
    eventually("the name is gone", PATIENCE, || server.conn().numsub("redmux:svc:x") == 0);
    assert_eq!(try_serve(&client, &service.tap, b"x", &[]).unwrap_err().status(), Status::Closed);
    serve(&client, b"x", &[]);
}

#[test]
fn a_forbidden_reply_channel_is_told_each_time_until_it_is_allowed() {
    let server = Server::builder().acl("user asker on >pw ~* &none +@all").start();
    let asker = open(&server.url_as("asker", "pw"), &[]);
    for _ in 0..3 {
        let result = ask_for(&asker, b"x", b"", &[], LONG).result().expect(Reason::Interrupted);
        assert_eq!(result.status, Status::Refused);
        assert!(result.report["message"].as_str().unwrap().contains("redmux:reply:"), "{result:?}");
    }
    server.conn().acl_setuser("asker &redmux:*");
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    let request = service.request();
    service.answer(&request, b"allowed");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["allowed"]);
}

#[test]
fn who_may_not_publish_a_request_is_told_once_even_if_it_may_be_repeated() {
    let server = Server::builder().acl("user asker on >pw ~* &redmux:reply:* +@all").start();
    let asker = open(&server.url_as("asker", "pw"), &[]);
    for repeatable in ["false", "true"] {
        let mut asked = ask_for(&asker, b"x", b"", &[("repeatable", repeatable)], LONG);
        let result = asked.result().expect(Reason::Interrupted);
        assert_eq!(result.status, Status::Refused);
        assert!(result.report["message"].as_str().unwrap().contains("NOPERM"), "{result:?}");
    }
    assert_eq!(stat(&asker, &["publisher", "sent"]), 2);
}

#[test]
fn an_error_of_the_server_is_not_asked_for_again() {
    let server = Server::builder().config("rename-command", "PUBLISH \"\"").start();
    let asker = open(&server.url(), &[]);
    let result = ask_for(&asker, b"x", b"", &[("repeatable", "true")], LONG).result().expect(Reason::Interrupted);
    assert_eq!(result.status, Status::Redis);
    assert_eq!(stat(&asker, &["publisher", "sent"]), 1);
}

#[test]
fn a_responder_that_may_not_listen_is_refused() {
    let server = Server::builder().acl("user server on >pw ~* &redmux:reply:* +@all").start();
    let client = open(&server.url_as("server", "pw"), &[]);
    let mut tap = Tap::on(&client);
    let id = try_serve(&client, &tap, b"x", &[]).unwrap();
    let refused = tap.wait(Kind::Refused);
    assert_eq!((refused.source, refused.channel()), (id, "x".into()));
    client.hub().wait_allowed(id, ticket_in(&tap, 7)).unwrap();
    let done = tap.wait(Kind::Done);
    assert_eq!((done.status(), done.text().as_str()), (Status::Refused, "refused by ACL (NOPERM) for user \"server\""));
    client.buffer().unwrap().close_service(id).unwrap();
    tap.wait(Kind::Closed);
}

#[test]
fn an_answer_that_is_too_large_does_not_end_the_request_and_a_smaller_one_does() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[("max_payload", "4KiB")]), b"x", &[]);
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    let request = service.request();
    let refused = service.try_say(&request, answer(&[b'a'; 5000], true)).unwrap_err();
    assert_eq!(refused.status(), Status::TooLarge);
    let headers = format!("{{\"h\":\"{}\"}}", "a".repeat(70_000));
    let too_long = Say::Answer { body: b"", headers: headers.as_bytes(), last: true };
    assert_eq!(service.try_say(&request, too_long).unwrap_err().status(), Status::TooLarge);
    service.answer(&request, b"small");
    let result = asked.result().expect(Reason::All);
    assert_eq!((result.bodies(), result.answers[0].number), (vec!["small".to_owned()], 0));
}

#[test]
fn a_head_that_nobody_could_read_is_too_large_at_the_call() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let tap = Tap::new(&client.waiter());
    let headers = format!("{{\"h\":\"{}\"}}", "a".repeat(70_000));
    let ask = |service: &[u8], headers: &[u8]| {
        let question = Ask { service, body: b"", headers, options: client.options() };
        client.buffer().unwrap().ask(&question, ticket_in(&tap, 1)).unwrap_err().status()
    };
    assert_eq!(ask(b"x", headers.as_bytes()), Status::TooLarge);
    assert_eq!(ask(&[b'x'; 65_536], b""), Status::TooLarge);
    let mut service = serve(&client, b"x", &[]);
    let mut asked = ask_with_long_headers(&client, headers.get(..60_000).unwrap().trim_end_matches('a'));
    let request = service.request();
    service.answer(&request, b"");
    asked.result().expect(Reason::All);
}

#[test]
fn what_a_handler_says_of_a_failure_is_cut_and_ends_the_request_however_long_it_is() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    // Each of these is written as six in JSON.
    let (code, message) = ("\u{1}".repeat(300), "\u{1}".repeat(70_000));
    // Cut to what every peer reads, and to what little a responder may send.
    for (max_payload, kept) in [("64MiB", 8192), ("4KiB", 256)] {
        let mut service = serve(&open(&server.url(), &[("max_payload", max_payload)]), b"x", &[]);
        let id = "\u{1}".repeat(256);
        let id = if kept == 8192 { id.as_str() } else { "short" };
        let mut asked = ask_for(&asker, b"x", b"", &[("request_id", id)], LONG);
        let request = service.request();
        service.say(&request, Say::Error { code: &code, message: &message, retriable: false });
        let result = asked.result().expect(Reason::Failed);
        let said = head(&result.errors[0]);
        let len = |key: &str| said[key].as_str().unwrap().len();
        assert_eq!((len("code"), len("message")), (256, kept));
        assert_eq!(service.try_say(&request, Say::End).unwrap_err().status(), Status::Closed, "it has ended");
        service.client.buffer().unwrap().close_service(service.id).unwrap();
        eventually("its name is gone", PATIENCE, || server.conn().numsub("redmux:svc:x") == 0);
    }
    // A character is never cut in two.
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    let request = service.request();
    service.say(&request, Say::Error { code: "LONG", message: &"€".repeat(5000), retriable: false });
    let said = head(&asked.result().expect(Reason::Failed).errors[0]);
    assert_eq!((&said["code"], said["message"].as_str().unwrap()), (&"LONG".into(), "€".repeat(2730).as_str()));
}

/// A request whose headers fill a head line nearly.
fn ask_with_long_headers(client: &redmux::client::Client, begins: &str) -> Asked {
    let tap = Tap::new(&client.waiter());
    let headers = format!("{begins}{}\"}}", "a".repeat(64_000));
    let question = Ask { service: b"x", body: b"", headers: headers.as_bytes(), options: client.options() };
    let id = client.buffer().unwrap().ask(&question, ticket_in(&tap, 77)).unwrap();
    Asked { tap, id }
}

#[test]
fn answers_over_the_limit_of_the_asker_end_it_and_keep_what_came() {
    let server = Server::start();
    let asker = open(&server.url(), &[("strict", "true")]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask_for(&asker, b"x", b"", &[("max_answer_bytes", "10")], LONG);
    let request = service.request();
    service.part(&request, b"12345678");
    service.part(&request, b"123");
    let result = asked.result().expect(Reason::Overflow);
    assert_eq!((result.bodies(), result.status), (vec!["12345678".to_owned()], Status::Overflow));
    assert_eq!(service.tap.wait(Kind::Cancel).number, request.number);
    // The same for an inbox that has no room for it.
    let tap = Tap::with(&asker, &[("inbox_bytes", "8KiB")]);
    let question = Ask { service: b"x", body: b"", headers: b"", options: asker.options() };
    let id = asker.buffer().unwrap().ask(&question, ticket_in(&tap, 77)).unwrap();
    let mut asked = Asked { tap, id };
    service.say(&request, Say::End);
    let request = service.request();
    service.part(&request, &[b'a'; 3000]);
    service.part(&request, &[b'b'; 6000]);
    assert_eq!(asked.result().expect(Reason::Overflow).answers.len(), 1);
}

#[test]
fn an_answer_that_the_askers_client_cannot_take_makes_its_responder_missing() {
    let server = Server::start();
    let asker = open(&server.url(), &[("max_payload", "4KiB")]);
    let mut service = serve(&open(&server.url(), &[("name", "verbose")]), b"x", &[]);
    let mut asked = ask_for(&asker, b"x", b"", &[("accepted", "true")], LONG);
    let request = service.request();
    asked.tap.find("accepted", |event| event.kind == Kind::Accepted);
    service.answer(&request, &[b'a'; 5000]);
    eventually("it is given up", Duration::from_secs(40), || stat(&asker, &["requests", "gathers"]) == 0);
    assert_eq!(asked.result().expect(Reason::All).missing(), ["verbose"]);
}

#[test]
fn a_handler_that_is_slow_and_alive_is_waited_for() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    let request = service.request();
    let mut replies = listen(&server, head(&request)["reply"].as_str().unwrap());
    // Longer than a silent one is waited for: three signs are missed in 3.2 s, and it gives one each second.
    for _ in 0..5 {
        let frame = replies.read_reply().expect("a sign of life").items()[2].text();
        assert!(frame.contains("\"k\":\"alive\"") || frame.contains("\"k\":\"accepted\""), "{frame}");
    }
    service.answer(&request, b"at last");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["at last"]);
}

#[test]
fn many_long_ids_in_work_are_all_alive() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[("concurrency", "1000")]);
    // Together they are longer than a head line may be.
    let ids: Vec<String> = (0..400).map(|n| format!("{n:0>256}")).collect();
    let mut asked: Vec<_> = ids.iter().map(|id| ask_for(&asker, b"x", b"", &[("request_id", id)], LONG)).collect();
    let requests: Vec<_> = ids.iter().map(|_| service.request()).collect();
    let mut replies = listen(&server, head(&requests[0])["reply"].as_str().unwrap());
    let mut alive = std::collections::BTreeSet::new();
    while alive.len() < ids.len() {
        let frame = replies.read_reply().expect("a sign of life").items()[2].text();
        let (line, _) = frame.split_once('\n').expect("a head line");
        assert!(line.len() < redmux::proto::envelope::max_head());
        let head: serde_json::Value = serde_json::from_str(line).unwrap();
        let named = head["ids"].as_array().into_iter().flatten();
        alive.extend(named.map(|id| id.as_str().unwrap().to_owned()));
    }
    requests.iter().for_each(|request| service.answer(request, b""));
    asked.iter_mut().for_each(|asked| drop(asked.result().expect(Reason::All)));
}

#[test]
fn no_sign_of_life_names_more_than_512_requests() {
    let server = Server::start();
    let mut service = serve(&open(&server.url(), &[]), b"x", &[("concurrency", "1000")]);
    let mut replies = listen(&server, "replies");
    let mut conn = server.conn();
    for id in 0..600 {
        let frame = format!("{{\"v\":1,\"k\":\"request\",\"id\":\"{id}\",\"reply\":\"replies\",\"ttl\":600000}}\n");
        conn.publish(b"redmux:svc:x", frame.as_bytes());
    }
    let requests: Vec<_> = (0..600).map(|_| service.request()).collect();
    let mut alive = std::collections::BTreeSet::new();
    while alive.len() < requests.len() {
        let frame = replies.read_reply().expect("a sign of life").items()[2].text();
        let head: serde_json::Value = serde_json::from_str(frame.trim_end()).expect("a head line alone");
        let ids = head["ids"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(ids.len() <= 512, "{} in one", ids.len());
        alive.extend(ids.iter().map(|id| id.as_str().unwrap().to_owned()));
    }
}

#[test]
fn a_time_to_live_near_the_largest_number_is_served() {
    let server = Server::start();
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut member = serve(&open(&server.url(), &[]), b"y", &[("group", "g")]);
    for name in ["x", "y"] {
        let frame = format!("{{\"v\":1,\"k\":\"request\",\"id\":\"1\",\"reply\":\"r\",\"ttl\":{}}}\n", u64::MAX);
        server.conn().publish(format!("redmux:svc:{name}").as_bytes(), frame.as_bytes());
    }
    let request = service.request();
    service.say(&request, Say::End);
    let request = member.request();
    member.say(&request, Say::End);
}

#[test]
fn a_drain_waits_for_what_is_in_work_and_what_is_being_claimed() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let client = open(&proxy.url(), &[("name", "member")]);
    let mut service = serve(&client, b"x", &[("group", "workers")]);
    let asker = open(&server.url(), &[]);
    // The first one makes its publish link, through which claims go.
    let mut asked = ask(&asker, b"x", b"", &[]);
    let request = service.request();
    service.answer(&request, b"");
    asked.result().expect(Reason::All);
    let number = proxy.number_of(&link_of(&server, "member", false)["addr"]).expect("through the proxy");
    proxy.to_server().only(number).stall();
    let before = stat(&client, &["publisher", "sent"]);
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    eventually("it claims", PATIENCE, || stat(&client, &["publisher", "sent"]) == before + 1);
    client.buffer().unwrap().drain_responder(service.id, ticket(6)).unwrap();
    eventually("its name is gone", PATIENCE, || server.conn().numsub("redmux:svc:x") == 0);
    proxy.pass();
    let request = service.request();
    service.answer(&request, b"still");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["still"]);
    service.tap.find("closed before done", |event| event.kind == Kind::Closed);
    service.tap.ok(6);
}

#[test]
fn a_drain_serves_what_was_on_its_way_when_it_began() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let client = open(&proxy.url(), &[]);
    let mut service = serve(&client, b"x", &[]);
    let asker = open(&server.url(), &[]);
    proxy.to_client().stall();
    // Redis has counted it as who will answer.
    let mut asked = ask_for(&asker, b"x", b"", &[("strict", "true")], LONG);
    eventually("it is published", PATIENCE, || server.conn().commandstats("publish") == 1);
    client.buffer().unwrap().drain_responder(service.id, ticket(6)).unwrap();
    proxy.pass();
    let request = service.request();
    service.answer(&request, b"still");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["still"]);
    service.tap.ok(6);
}

#[test]
fn a_drain_that_runs_out_of_time_tells_the_askers() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"", &[("catch_all", "true")]);
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    service.request();
    let soon = std::time::Instant::now() + Duration::from_millis(50);
    let ticket = redmux::mux::subscription::Ticket { inbox: None, token: 6, deadline: Some(soon) };
    service.client.buffer().unwrap().drain_responder(service.id, ticket).unwrap();
    assert_eq!(service.tap.done(6).status(), Status::Timeout);
    assert_eq!(head(&asked.result().expect(Reason::Failed).errors[0])["code"], "CLOSED");
}

#[test]
fn a_drain_that_is_given_up_or_closed_says_so() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    for status in [Status::Cancelled, Status::Closed] {
        let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
        let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
        service.request();
        service.client.buffer().unwrap().drain_responder(service.id, endless(6)).unwrap();
        match status {
            Status::Cancelled => assert_eq!(service.client.cancel(service.tap.inbox().id(), 6), 1),
            _ => service.client.buffer().unwrap().close_service(service.id).unwrap(),
        }
        assert_eq!(service.tap.done(6).status(), status);
        assert_eq!(head(&asked.result().expect(Reason::Failed).errors[0])["code"], "CLOSED");
    }
}

#[test]
fn requests_that_wait_for_a_claim_are_no_more_than_may_wait() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let client = open(&proxy.url(), &[("name", "member")]);
    let mut service = serve(&client, b"x", &[("group", "g"), ("concurrency", "2"), ("waiting", "3")]);
    let asker = open(&server.url(), &[]);
    let mut first = ask(&asker, b"x", b"", &[]);
    let request = service.request();
    service.answer(&request, b"");
    first.result().expect(Reason::All);
    let number = proxy.number_of(&link_of(&server, "member", false)["addr"]).expect("through the proxy");
    proxy.to_server().only(number).stall();
    let mut asked: Vec<_> = (0..8).map(|_| ask_for(&asker, b"x", b"", &[], LONG)).collect();
    // Five claims and three refusals are on their way.
    let requests = |client: &redmux::client::Client| -> u64 {
        let stats: serde_json::Value = serde_json::from_str(&client.stats()).unwrap();
        stats["requests"]["services"][0]["errors"].as_u64().unwrap()
    };
    eventually("what has no room is refused", PATIENCE, || requests(&client) == 3);
    proxy.pass();
    for _ in 0..5 {
        let request = service.request();
        service.answer(&request, b"");
    }
    let failed = asked.iter_mut().map(|asked| asked.result().reason);
    assert_eq!(failed.filter(|&reason| reason == Reason::Failed as u64).count(), 3);
}

#[test]
fn a_drain_is_done_though_the_link_was_lost_while_it_waited() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let client = open(&server.url(), &[("name", "leaving")]);
    let mut service = serve(&client, b"x", &[]);
    let mut asked = ask_for(&asker, b"x", b"", &[], LONG);
    let request = service.request();
    client.buffer().unwrap().drain_responder(service.id, endless(6)).unwrap();
    eventually("its name is gone", PATIENCE, || server.conn().numsub("redmux:svc:x") == 0);
    service.tap.wait(Kind::Active);
    kill_subscriber(&server, "leaving");
    eventually("its link is lost", PATIENCE, || stat(&client, &["subscriber", "losts"]) == 1);
    // Who is there is asked through the same inbox that says that the link is whole again.
    eventually("it is whole again", PATIENCE, || ask(&asker, b"$", b"PING", &[]).result().answers.len() == 1);
    service.answer(&request, b"still");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["still"]);
    service.tap.ok(6);
    let left: Vec<_> = service.tap.rest().into_iter().map(|event| event.kind).collect();
    assert_eq!(left, [Kind::Closed], "it had no name any more, and could miss nothing");
}
