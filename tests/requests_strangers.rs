//! Requests among strangers and in little room: what others send costs little, what has no room is said so, and what is
//! refused or repeated confuses nobody.
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

#[test]
fn a_request_under_an_old_id_is_cancelled_though_the_old_one_is_not_ended_yet() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    // Many, because requests stand in no order.
    for _ in 0..20 {
        let mut asked = ask_for(&asker, b"x", b"", &[("request_id", "mine")], LONG);
        let request = service.request();
        asker.buffer().unwrap().stop(asked.id, Reason::Cancelled).unwrap();
        asked.result().expect(Reason::Cancelled);
        assert_eq!(service.tap.wait(Kind::Cancel).number, request.number);
    }
}

#[test]
fn an_error_that_finds_no_room_ends_the_request_with_overflow() {
    let server = Server::start();
    let asker = open(&server.url(), &[("strict", "true")]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let tap = Tap::with(&asker, &[("inbox_bytes", "8KiB")]);
    let question = Ask { service: b"x", body: b"", headers: b"", options: asker.options() };
    let id = asker.buffer().unwrap().ask(&question, ticket_in(&tap, 77)).unwrap();
    let request = service.request();
    let message = "m".repeat(9000);
    service.say(&request, Say::Error { code: "LONG", message: &message, retriable: false });
    let result = Asked { tap, id }.result().expect(Reason::Overflow);
    assert_eq!((result.errors.len(), &result.report["errors"]), (0, &0.into()));
}

#[test]
fn a_part_that_has_no_room_on_its_way_leaves_no_hole_in_the_numbers() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let asker = open(&server.url(), &[]);
    let client = open(&proxy.url(), &[("name", "full"), ("publish_queue", "4KiB")]);
    let mut service = serve(&client, b"x", &[]);
    let mut asked = ask(&asker, b"x", b"", &[]);
    let request = service.request();
    service.answer(&request, b"");
    asked.result().expect(Reason::All);
    let number = proxy.number_of(&link_of(&server, "full", false)["addr"]).expect("through the proxy");
    let mut asked = ask_for(&asker, b"x", b"", &[("repeatable", "true")], LONG);
    let request = service.request();
    proxy.to_server().only(number).stall();
    let large = vec![b'a'; 1024 * 1024];
    let part = |body: &[u8]| service.try_say(&request, Say::Answer { body, headers: b"", last: false });
    // What the kernel holds may still move after a part was refused, and make room for another one.
    let (mut said, mut refused) = (0, 0);
    while refused < 2 {
        match part(&large) {
            Ok(()) => said += 1,
            Err(error) => {
                assert_eq!(error.status(), Status::Full);
                refused += 1;
            }
        }
    }
    proxy.pass();
    eventually("everything is on its way", PATIENCE, || stat(&client, &["publisher", "pending_bytes"]) == 0);
    part(b"small").unwrap();
    part(b"").unwrap();
    service.say(&request, Say::End);
    let result = asked.result().expect(Reason::All);
    assert_eq!((result.missing().len(), result.answers.len()), (0, said + 2));
    assert!(result.answers.iter().map(|answer| answer.number).eq(0..said as u64 + 2), "without a hole");
}

#[test]
fn requests_that_wait_have_their_room_in_the_responders_inbox() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let asker = open(&server.url(), &[]);
    for options in [&[("concurrency", "1")][..], &[("concurrency", "1"), ("group", "g")]] {
        let tap = Tap::with(&client, &[("inbox_bytes", "8KiB")]);
        let id = try_serve(&client, &tap, b"x", options).unwrap();
        let mut service = Service { client: client.clone(), tap, id };
        service.tap.wait(Kind::Active);
        let body = [b'a'; 3000];
        let mut first = ask_for(&asker, b"x", &body, &[], LONG);
        let request = service.request();
        // It is taken, and two fit; what strangers send cannot fill the memory of a busy responder.
        let mut asked: Vec<_> = (0..6).map(|_| ask_for(&asker, b"x", &body, &[], LONG)).collect();
        eventually("four are refused", PATIENCE, || stat(&asker, &["requests", "gathers"]) == 3);
        service.answer(&request, b"");
        first.result().expect(Reason::All);
        for _ in 0..2 {
            let request = service.request();
            service.answer(&request, b"");
        }
        let results: Vec<_> = asked.iter_mut().map(Asked::result).collect();
        let refused: Vec<_> = results.iter().filter(|result| result.reason == Reason::Failed as u64).collect();
        assert_eq!(refused.len(), 4, "{results:?}");
        assert!(refused.iter().all(|result| head(&result.errors[0])["code"] == "BUSY"));
        // What waited has given its room back.
        let held = || service.tap.inbox().counters().bytes;
        eventually("nothing is held", PATIENCE, || held() == 0);
        client.buffer().unwrap().close_service(id).unwrap();
    }
}

#[test]
fn a_request_that_is_given_up_while_it_waits_gives_its_room_back() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let asker = open(&server.url(), &[]);
    let mut service = serve(&client, b"x", &[("concurrency", "1")]);
    let mut first = ask_for(&asker, b"x", b"", &[], LONG);
    let request = service.request();
    let held = || service.tap.inbox().counters().bytes;
    let mut second = ask_for(&asker, b"x", b"waits", &[], LONG);
    eventually("it waits", PATIENCE, || held() > 0);
    asker.buffer().unwrap().stop(second.id, Reason::Cancelled).unwrap();
    second.result().expect(Reason::Cancelled);
    eventually("it does not any more", PATIENCE, || held() == 0);
    let mut third = ask_for(&asker, b"x", b"waits", &[], LONG);
    eventually("another one waits", PATIENCE, || held() > 0);
    client.buffer().unwrap().close_service(service.id).unwrap();
    assert_eq!(head(&third.result().expect(Reason::Failed).errors[0])["code"], "CLOSED");
    first.result();
    assert_eq!(service.try_say(&request, Say::End).unwrap_err().status(), Status::Closed);
    assert!(service.tap.rest().iter().all(|event| event.kind != Kind::Request));
    assert_eq!(service.tap.inbox().counters().bytes, 0);
}

#[test]
fn of_responders_that_serve_once_a_busy_one_leaves_the_request_to_another() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let options = [("once", "one of two"), ("concurrency", "1"), ("waiting", "0")];
    let mut services: Vec<_> = (0..2).map(|_| serve(&open(&server.url(), &[]), b"x", &options)).collect();
    let mut taken = Vec::new();
    let mut asked: Vec<_> = (0..2)
        .map(|n| {
            let asked = ask_for(&asker, b"x", b"", &[("expect", "1")], LONG);
            eventually("one of them takes it", PATIENCE, || {
                for (at, service) in services.iter_mut().enumerate() {
                    let requests = service.tap.rest().into_iter().filter(|event| event.kind == Kind::Request);
                    taken.extend(requests.map(|request| (at, request)));
                }
                taken.len() > n
            });
            asked
        })
        .collect();
    assert_ne!(taken[0].0, taken[1].0, "the one that is busy takes no second one");
    for (asked, (at, request)) in asked.iter_mut().zip(&taken) {
        services[*at].answer(request, b"");
        asked.result().expect(Reason::Count);
    }
}

#[test]
fn of_responders_that_serve_once_one_whose_inbox_is_full_leaves_the_request_to_another() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let client = open(&server.url(), &[]);
    // To one connection Redis sends what came to a name before what came to a pattern: the one without room hears it first.
    let tap = Tap::with(&client, &[("inbox_bytes", "8KiB")]);
    let id = try_serve(&client, &tap, b"x", &[("once", "little room and much")]).unwrap();
    let mut full = Service { client: client.clone(), tap, id };
    full.tap.wait(Kind::Active);
    let mut other = serve(&client, b"", &[("once", "little room and much"), ("catch_all", "true")]);
    // What stands in its inbox and is not read leaves no room for the second.
    let mut first = ask_for(&asker, b"x", &[b'a'; 6000], &[], LONG);
    let mut second = ask_for(&asker, b"x", &[b'b'; 6000], &[], LONG);
    let request = other.request();
    assert_eq!(request.data, [b'b'; 6000]);
    other.answer(&request, b"taken");
    let result = second.result().expect(Reason::All);
    assert_eq!((result.bodies(), &head(&result.errors[0])["code"]), (vec!["taken".to_owned()], &"BUSY".into()));
    let request = full.request();
    full.answer(&request, b"");
    first.result().expect(Reason::All);
}

#[test]
fn a_long_question_about_services_is_refused_in_few_words() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let _service = serve(&open(&server.url(), &[]), b"x", &[]);
    let result = ask_for(&asker, b"$", &[0xff; 100_000], &[], LONG).result().expect(Reason::Failed);
    let said = head(&result.errors[0]);
    assert_eq!(said["code"], "UNKNOWN");
    assert!(said["message"].as_str().unwrap().len() < 1000, "{said}");
}

#[test]
fn who_says_it_is_somebody_with_an_endless_name_is_nobody() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut service = serve(&open(&server.url(), &[]), b"x", &[]);
    let mut asked = ask(&asker, b"x", b"", &[]);
    let request = service.request();
    let (id, reply) = (head(&request)["id"].clone(), head(&request)["reply"].clone());
    let by = "b".repeat(257);
    let frame = format!("{{\"v\":1,\"k\":\"accepted\",\"id\":{id},\"by\":\"{by}\"}}\n");
    server.conn().publish(reply.as_str().unwrap().as_bytes(), frame.as_bytes());
    eventually("it is counted", PATIENCE, || stat(&asker, &["requests", "malformed"]) == 1);
    service.answer(&request, b"");
    assert_eq!(asked.result().expect(Reason::All).missing().len(), 0);
}

#[test]
fn the_accept_window_grows_again_when_it_closes_on_nobody() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let mut peer = Peer::serve(&server, "x");
    let options = [("strict", "false")];
    for _ in 0..20 {
        let mut asked = ask_for(&asker, b"x", b"", &options, LONG);
        let request = peer.request();
        peer.say(&request, "end", Some(0), "at once");
        asked.result().expect(Reason::All);
    }
    // From now on nobody is as quick as that, and each time a little more is waited for.
    for least in [100, 200, 400, 800] {
        let result = ask_for(&asker, b"x", b"", &options, LONG).result().expect(Reason::NoResponders);
        assert!(result.elapsed >= Duration::from_millis(least), "{least} ms: {result:?}");
        peer.request();
        assert_eq!(peer.next()["k"], "cancel");
    }
}

#[test]
fn an_answer_that_came_before_needs_no_room() {
    let server = Server::start();
    let asker = open(&server.url(), &[("strict", "true")]);
    let mut peer = Peer::serve(&server, "x");
    let mut tap = Tap::with(&asker, &[("inbox_bytes", "8KiB")]);
    let question = Ask { service: b"x", body: b"", headers: b"", options: asker.options() };
    let id = asker.buffer().unwrap().ask(&question, ticket_in(&tap, 77)).unwrap();
    let request = peer.request();
    let part = "p".repeat(5000);
    for _ in 0..2 {
        peer.say(&request, "part", Some(0), &part);
    }
    // Behind both: what was asked by others comes through the same channel.
    let mut other = ask_for(&asker, b"x", b"", &[], LONG);
    let behind = peer.request();
    peer.say(&behind, "end", Some(0), "");
    other.result().expect(Reason::All);
    assert_eq!(tap.wait(Kind::Answer).payload(), part);
    peer.say(&request, "end", Some(1), "last");
    let result = Asked { tap, id }.result().expect(Reason::All);
    assert_eq!((result.bodies(), &result.report["duplicates"]), (vec!["last".into()], &1.into()));
}
