//! Rows M1 to M5 of what users of RedisMPX must find: connecting, sharing, adding and removing, clearing, closing.

#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::client::{Client, EventsBy};
use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::link::backoff::Rng;
use redmux::mux::events::State;
use redmux::runtime::next_id;
use std::collections::BTreeSet;
use support::{PATIENCE, Server, eventually, free_port};
use tap::{Tap, add, deadline, open, open_with_events, pattern, ready, remove, stat, subscribed, subscription, ticket};
use tap::{endless, ticket_in, url_options};

#[test]
fn m01_opening_with_redis_down_waits_for_nobody_and_activation_comes_when_redis_does() {
    let server = Server::builder().prepare();
    // The cap is small only so that the test is not kept waiting by a pause that grew to seconds.
    let (client, mut events) = open_with_events(&server.url(), &[("backoff_max", "50ms")]);
    let mut tap = Tap::on(&client);
    let source = subscription(&client, &tap, 7);
    client.hub().add(source, &[b"early"], endless(1)).unwrap();
    for _ in 0..5 {
        let offline = events.find("a failed attempt", |event| event.is_state(State::Offline));
        assert_eq!(offline.status(), Status::Connect, "{offline:?}");
    }
    assert_eq!(tap.poll(), None);
    server.restart();
    let active = tap.next();
    assert_eq!((active.kind, active.token, active.channel().as_str()), (Kind::Active, 7, "early"));
    assert_eq!(tap.ok(1).number, 1);
    server.conn().publish(b"early", b"bird");
    assert_eq!(tap.expect(Kind::Message).payload(), "bird");
    // Not connected for ever and then activated twice: one subscription, one connection.
    assert_eq!((stat(&client, &["subscriber", "connects"]), tap.rest()), (1, vec![]));
}

#[test]
fn m01_open_returns_while_the_question_for_the_address_is_still_open() {
    let options = [("ask", "address"), ("connect_timeout", "10m")];
    let (client, mut events) = open_with_events("redis://127.0.0.1", &options);
    let question = events.wait(Kind::Question);
    assert_eq!(question.name, b"address");
    assert_eq!((client.hub().running(), stat(&client, &["subscriber", "connects"])), (true, 0));
    client.close(deadline()).unwrap();
    assert_eq!(client.hub().questions.answer(question.number, Ok(vec![])), Err(Status::Timeout));
}

#[test]
fn m01_the_address_is_asked_for_once_an_attempt_and_may_change() {
    let (first, second) = (Server::start(), Server::start());
    let (client, mut events) =
        open_with_events("redis://127.0.0.1", &[("ask", "address"), ("backoff_max", "20ms"), ("backoff_min", "1ms")]);
    let mut tap = Tap::on(&client);
    let source = subscription(&client, &tap, 1);
    client.hub().add(source, &[b"x"], endless(1)).unwrap();
    let mut answers = |ports: &[u16]| {
        for port in ports {
            let seen = events.through("the next question", |event| event.kind == Kind::Question);
            let attempts = seen.iter().filter(|event| event.is_state(State::Connecting)).count();
            assert_eq!(attempts, 1, "one question an attempt: {seen:?}");
            let id = seen.last().unwrap().number;
            let values = vec![b"127.0.0.1".to_vec(), port.to_string().into_bytes()];
            client.hub().questions.answer(id, Ok(values.clone())).unwrap();
            // A second answer has nobody who waits for it.
            assert_eq!(client.hub().questions.answer(id, Ok(values)), Err(Status::Timeout));
        }
    };
    answers(&[free_port(), free_port(), first.port()]);
    tap.ok(1);
    assert_eq!((first.conn().numsub("x"), second.conn().numsub("x")), (1, 0));
    first.stop();
    answers(&[first.port(), free_port(), second.port()]);
    tap.find("whole again", |event| event.kind == Kind::Active && event.name.is_empty());
    assert_eq!(second.conn().numsub("x"), 1);
    assert_eq!(stat(&client, &["subscriber", "attempts"]), 6);
}

#[test]
fn m01_an_answer_that_is_no_address_or_that_is_refused_fails_that_attempt_and_the_next_one_asks_again() {
    let server = Server::start();
    let (client, mut events) = open_with_events("redis://127.0.0.1", &[("ask", "address"), ("backoff_max", "20ms")]);
    let nonsense: [Result<Vec<Vec<u8>>, Status>; 4] = [
        Ok(vec![]),
        Ok(vec![b"localhost".to_vec(), b"seven".to_vec()]),
        Err(Status::Cancelled),
        Ok(vec![b"".to_vec()]),
    ];
    for answer in nonsense {
        let expected = *answer.as_ref().err().unwrap_or(&Status::InvalidValue);
        client.hub().questions.answer(events.wait(Kind::Question).number, answer).unwrap();
        assert_eq!(events.find("offline", |event| event.is_state(State::Offline)).status(), expected);
    }
    let unix = server.path().into_os_string().into_encoded_bytes();
    client.hub().questions.answer(events.wait(Kind::Question).number, Ok(vec![unix])).unwrap();
    ready(&client);
}

#[test]
fn m02_ten_thousand_subscriptions_share_one_connection() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let names: Vec<Vec<u8>> = (0..10_000).map(|n| format!("user:{n}").into_bytes()).collect();
    for (n, name) in names.iter().enumerate() {
        let source = subscription(&client, &tap, n as u64);
        client.hub().add(source, &[name], endless(n as u64)).unwrap();
    }
    for n in 0..10_000 {
        let event = tap.wait(Kind::Done);
        assert_eq!((event.status(), event.number), (Status::Ok, 1), "{n}: {event:?}");
    }
    let mut redis = server.conn();
    assert_eq!(redis.expect(&["PUBSUB", "CHANNELS"]).items().len(), 10_000);
    let clients = redis.client_list();
    let subscribers: Vec<_> = clients.iter().filter(|client| client["flags"].contains('P')).collect();
    assert_eq!(subscribers.len(), 1, "{clients:?}");
    assert_eq!(subscribers[0]["sub"], "10000");
    assert_eq!(clients.iter().filter(|client| client["user"] != "fixture").count(), 1, "{clients:?}");
    // And each gets its own.
    for n in [0, 4_999, 9_999] {
        assert_eq!(redis.publish(&names[n], b"yours"), 1);
        let message = tap.wait(Kind::Message);
        assert_eq!((message.token, &message.name), (n as u64, &names[n]));
    }
}

#[test]
fn m03_two_subscriptions_of_a_channel_are_one_for_the_server_and_the_last_lets_it_go() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let (first, second) = (subscription(&client, &tap, 1), subscription(&client, &tap, 2));
    add(&client, first, &[b"x"]);
    add(&client, second, &[b"x"]);
    let mut redis = server.conn();
    assert_eq!((redis.numsub("x"), redis.commandstats("subscribe")), (1, 1));
    remove(&client, first, &[b"x"]);
    assert_eq!((redis.numsub("x"), redis.publish(b"x", b"still here")), (1, 1));
    let message = tap.wait(Kind::Message);
    assert_eq!((message.token, message.source, message.payload().as_str()), (2, second, "still here"));
    client.hub().close_source(second).unwrap();
    assert_eq!(tap.wait(Kind::Closed).token, 2);
    eventually("nobody is subscribed to x", PATIENCE, || redis.numsub("x") == 0);
    assert_eq!(redis.commandstats("unsubscribe"), 1);
}

#[test]
fn m03_many_names_at_once_and_duplicates_are_ignored() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let source = subscription(&client, &tap, 1);
    let names: Vec<Vec<u8>> = (0..1_000).map(|n| format!("n{}", n % 500).into_bytes()).collect();
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    client.hub().add(source, &names, ticket(1)).unwrap();
    tap.ok(1);
    let mut redis = server.conn();
    assert_eq!(redis.expect(&["PUBSUB", "CHANNELS"]).items().len(), 500);
    assert_eq!(client.hub().names_of(source).unwrap().len(), 500);
    let active = tap.rest();
    let once: BTreeSet<_> = active.iter().map(|event| event.name.clone()).collect();
    assert_eq!((active.len(), once.len()), (500, 500), "each name is said to be active once");
    // Adding again what is there completes, and costs the server nothing.
    let commands = redis.commandstats("subscribe");
    client.hub().add(source, &names[..10], ticket(2)).unwrap();
    tap.ok(2);
    assert_eq!(redis.commandstats("subscribe"), commands);
    // One remove takes it away, however often it was added; what is not there is no error.
    client.hub().remove(source, &[b"n0", b"n1", b"n1", b"never"], ticket(3)).unwrap();
    tap.ok(3);
    assert_eq!((redis.numsub("n0"), redis.numsub("n1"), redis.numsub("n2")), (0, 0, 1));
    assert_eq!(redis.publish(b"n0", b"gone"), 0);
    assert_eq!(redis.publish(b"n2", b"once"), 1);
    client.barrier(ticket_in(&tap, 4)).unwrap();
    tap.ok(4);
    let messages = tap.rest().into_iter().filter(|event| event.kind == Kind::Message).count();
    assert_eq!(messages, 1);
}

#[test]
fn m04_the_listing_is_exactly_what_was_added_and_not_removed() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let source = subscription(&client, &tap, 1);
    let mut expected = BTreeSet::new();
    let mut rng = Rng::seeded(4);
    for round in 0..400 {
        let names: Vec<Vec<u8>> = (0..rng.next_u64() % 6).map(|_| vec![b'a' + (rng.next_u64() % 20) as u8]).collect();
        let given: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        if rng.next_u64().is_multiple_of(2) {
            client.hub().add(source, &given, endless(round)).unwrap();
            expected.extend(names);
        } else {
            client.hub().remove(source, &given, endless(round)).unwrap();
            expected.retain(|name| !names.contains(name));
        }
        let listed = client.hub().names_of(source).unwrap();
        assert_eq!((listed.len(), listed.into_iter().collect::<BTreeSet<_>>()), (expected.len(), expected.clone()));
    }
    // Every one of these operations ends, and then the server agrees.
    for round in 0..400 {
        let end = tap.done(round);
        assert!(matches!(end.status(), Status::Ok | Status::Superseded), "{end:?}");
    }
    let mut redis = server.conn();
    let same = |redis: &mut support::Conn| {
        let channels = redis.expect(&["PUBSUB", "CHANNELS"]);
        channels.items().iter().map(|name| name.text().into_bytes()).collect::<BTreeSet<_>>() == expected
    };
    eventually("the server has exactly what is wanted", PATIENCE, || same(&mut redis));
}

#[test]
fn m04_a_pattern_subscription_tells_its_pattern() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let tap = Tap::on(&client);
    let source = pattern(&client, &tap, 1, b"news.*");
    assert_eq!(client.hub().names_of(source).unwrap(), [b"news.*"]);
}

#[test]
fn m05_clear_lets_everything_go_and_the_subscription_goes_on() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"a", b"b", b"c"]);
    let other = subscribed(&client, &tap, 2, &[b"c"]);
    client.hub().clear(source, false, ticket(3)).unwrap();
    tap.ok(3);
    let mut redis = server.conn();
    assert_eq!((redis.numsub("a"), redis.numsub("b"), redis.numsub("c")), (0, 0, 1));
    assert_eq!(client.hub().names_of(source).unwrap(), [b""; 0]);
    // Nothing is left to clear, and that is no error.
    client.hub().clear(source, false, ticket(4)).unwrap();
    tap.ok(4);
    add(&client, source, &[b"a"]);
    redis.publish(b"a", b"back");
    assert_eq!(tap.wait(Kind::Message).token, 1);
    // A drain is a clear that closes in the end: its `closed` is the last that comes.
    client.hub().clear(source, true, ticket_in(&tap, 5)).unwrap();
    tap.ok(5);
    assert_eq!((redis.numsub("a"), redis.numsub("c")), (0, 1));
    assert_eq!(tap.wait(Kind::Closed).source, source);
    assert_eq!(client.hub().names_of(source), Err(Status::Closed.into()));
    assert_eq!(client.hub().names_of(other).unwrap(), [b"c"]);
}

#[test]
fn m05_a_closed_subscription_answers_every_call_with_closed() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"a"]);
    let never = next_id();
    client.hub().close_source(source).unwrap();
    assert_eq!(tap.wait(Kind::Closed).source, source);
    let hub = client.hub();
    for source in [source, never, 0, u64::MAX] {
        let results = [
            hub.add(source, &[b"a"], ticket(9)),
            hub.remove(source, &[b"a"], ticket(9)),
            hub.clear(source, false, ticket(9)),
            hub.clear(source, true, ticket(9)),
            hub.wait_active(source, ticket(9)),
            hub.promise(source, b"x", ticket(9)),
            hub.promise_later(source, b"x", ticket(9), None),
            hub.clear_promises(source).map(drop),
            hub.names_of(source).map(drop),
            hub.close_source(source),
        ];
        for (at, result) in results.into_iter().enumerate() {
            assert_eq!(result.map_err(|error| error.status()), Err(Status::Closed), "call {at} of source {source}");
        }
    }
    let after: Vec<_> = tap.rest().into_iter().filter(|event| event.token == 9).collect();
    assert_eq!(after, [], "a call that failed completes nothing");
    eventually("nobody is subscribed to a", PATIENCE, || server.conn().numsub("a") == 0);
}

#[test]
fn m05_a_closed_client_answers_every_call_with_an_error_and_its_inbox_yields_what_it_holds() {
    let server = Server::start();
    let client = Client::open(url_options(&server.url(), &[]), EventsBy::None).unwrap();
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"a"]);
    let set = next_id();
    client.hub().promises(set, 2, tap.inbox(), b"p:").unwrap();
    client.hub().wait_active(set, ticket(2)).unwrap();
    tap.ok(2);
    client.hub().promise(set, b"x", ticket(3)).unwrap();
    server.conn().publish(b"a", b"held");
    client.barrier(ticket_in(&tap, 4)).unwrap();
    tap.ok(4);
    client.close(deadline()).unwrap();
    let hub = client.hub();
    let fresh = next_id();
    let results = [
        client.ready(ticket_in(&tap, 9)),
        client.flush(ticket_in(&tap, 9)),
        client.barrier(ticket_in(&tap, 9)),
        client.authenticate(None, "password", ticket_in(&tap, 9)),
        client.stop().map_err(Into::into),
        client.restart().map_err(Into::into),
        client.close(deadline()).map_err(Into::into),
        client.new_inbox(None, None).map(drop),
        hub.subscribe(fresh, 9, tap.inbox(), None),
        hub.subscribe(fresh, 9, tap.inbox(), Some((b"p*", ticket(9)))),
        hub.promises(fresh, 9, tap.inbox(), b"p:"),
        hub.promise_alone(fresh, b"p", tap.inbox(), ticket_in(&tap, 9)),
        hub.publish(b"a", b"late", tap.inbox(), 9, None).map(drop),
        hub.post(b"a", b"late", None).map(drop),
        hub.add(source, &[b"a"], ticket(9)),
        hub.remove(source, &[b"a"], ticket(9)),
        hub.clear(source, false, ticket(9)),
        hub.wait_active(source, ticket(9)),
        hub.names_of(source).map(drop),
        hub.close_source(source),
        hub.promise(set, b"x", ticket(9)),
        hub.promise_later(set, b"x", ticket(9), None),
        hub.clear_promises(set).map(drop),
    ];
    for (at, result) in results.into_iter().enumerate() {
        assert_eq!(result.map_err(|error| error.status()), Err(Status::Closed), "call {at}");
    }
    assert_eq!((client.cancel(tap.inbox().id(), 3), stat(&client, &["sources"])), (0, 0));
    // What was held comes, completions included; then the end.
    assert_eq!(tap.wait(Kind::Message).payload(), "held");
    assert_eq!(tap.done(3).status(), Status::Closed);
    let closed = [tap.wait(Kind::Closed), tap.wait(Kind::Closed)];
    assert_eq!(closed.map(|event| (event.source, event.status())), [(source, Status::Closed), (set, Status::Closed)]);
    assert!(tap.rest().iter().all(|event| event.kind == Kind::Active));
    tap.expect_end();
    client.close_inbox(tap.inbox(), deadline()).unwrap();
    eventually("the connections are gone", PATIENCE, || {
        server.conn().client_list().iter().all(|client| client["user"] == "fixture")
    });
}

#[test]
fn m05_what_is_opened_into_an_inbox_while_it_closes_ends_with_it() {
    let client = open("redis://127.0.0.1:1", &[]);
    for round in 0..2_000 {
        let tap = Tap::on(&client);
        let inbox = tap.inbox().clone();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let refused = (0..1_000).any(|_| client.hub().promises(next_id(), 1, &inbox, b"p:").is_err());
                assert!(refused || !inbox.is_closed(), "round {round}: a closed inbox takes nothing more");
            });
            scope.spawn(|| client.close_inbox(&inbox, deadline()).unwrap());
        });
        assert_eq!(stat(&client, &["sources"]), 0, "round {round}");
    }
    client.close(deadline()).unwrap();
}
