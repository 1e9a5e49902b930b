//! Rows M6 to M9: patterns, who is told of activation and of a lost link, and when.

#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::mux::events::State;
use std::collections::HashMap;
use support::conn::{Value, encode};
use support::{PATIENCE, Server, eventually};
use tap::{
    Event, Tap, add, open, open_with_events, pattern, remove, stat, subscribed, subscription, ticket, ticket_in,
};

/// Everything that was published before has come when this returns.
#[track_caller]
fn barrier(client: &redmux::client::Client) {
    let mut own = Tap::new(&client.waiter());
    client.barrier(ticket_in(&own, 0)).unwrap();
    own.ok(0);
}

#[test]
fn m06_a_shared_pattern_is_one_for_the_server_goes_with_its_last_subscription_and_comes_again() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let mut redis = server.conn();
    for round in 0..3 {
        let first = pattern(&client, &tap, 1, b"news.*");
        let second = pattern(&client, &tap, 2, b"news.*");
        assert_eq!((redis.numpat(), redis.commandstats("psubscribe")), (1, round + 1));
        assert_eq!(redis.publish(b"news.x", b"both"), 1);
        let mut got = tap.messages(2);
        got.sort_by_key(|event| event.token);
        assert_eq!((got[0].source, got[1].source), (first, second));
        for event in &got {
            let parts = (event.channel(), event.text(), event.payload(), event.flags, event.number);
            assert_eq!(parts, ("news.x".into(), "news.*".into(), "both".into(), 1, 0));
        }
        client.hub().close_source(first).unwrap();
        assert_eq!(tap.wait(Kind::Closed).source, first);
        assert_eq!((redis.numpat(), redis.publish(b"news.y", b"one")), (1, 1));
        assert_eq!(tap.wait(Kind::Message).source, second);
        client.hub().close_source(second).unwrap();
        assert_eq!(tap.wait(Kind::Closed).source, second);
        eventually("no pattern is left", PATIENCE, || redis.numpat() == 0);
        assert_eq!((redis.publish(b"news.z", b"none"), redis.commandstats("punsubscribe")), (0, round + 1));
    }
    // Said to be active by name, once for each of the six.
    let rest = tap.rest();
    assert!(rest.iter().all(|event| event.kind == Kind::Active && event.name == b"news.*"), "{rest:?}");
    assert_eq!(rest.len(), 6);
}

#[test]
fn m06_a_pattern_subscription_has_one_pattern_for_its_whole_life() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let tap = Tap::on(&client);
    let source = pattern(&client, &tap, 1, b"news.*");
    let refused = client.hub().add(source, &[b"sport.*"], ticket_in(&tap, 2)).unwrap_err();
    assert_eq!(refused.status(), Status::Conflict);
    assert_eq!(client.hub().names_of(source).unwrap(), [b"news.*".to_vec()]);
}

#[test]
fn m06_a_pattern_closed_and_recreated_at_once_is_active_again() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let mut last = pattern(&client, &tap, 0, b"p?");
    for round in 1..=100 {
        client.hub().close_source(last).unwrap();
        last = redmux::runtime::next_id();
        client.hub().subscribe(last, round, tap.inbox(), Some((b"p?", ticket(round)))).unwrap();
        if round % 10 == 0 {
            tap.ok(round);
        }
    }
    for round in (1..=100).filter(|round| round % 10 != 0) {
        let status = tap.done(round).status();
        assert!(matches!(status, Status::Ok | Status::Closed), "{status:?}");
    }
    let mut redis = server.conn();
    assert_eq!((redis.numpat(), redis.publish(b"p1", b"here")), (1, 1));
    assert_eq!(tap.wait(Kind::Message).source, last);
}

#[test]
fn m07_one_publish_reaches_a_channel_and_a_matching_pattern_exactly_once_each() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let channel = subscribed(&client, &tap, 1, &[b"news.x"]);
    let both = pattern(&client, &tap, 2, b"news.*");
    let other = pattern(&client, &tap, 3, b"*.x");
    let none = pattern(&client, &tap, 4, b"sport.*");
    for n in 0..50 {
        assert_eq!(server.conn().publish(b"news.x", n.to_string().as_bytes()), 3);
    }
    barrier(&client);
    let mut got: HashMap<u64, Vec<String>> = HashMap::new();
    for event in tap.rest().into_iter().filter(|event| event.kind == Kind::Message) {
        got.entry(event.source).or_default().push(event.payload());
    }
    let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    for source in [channel, both, other] {
        assert_eq!(got.remove(&source).as_ref(), Some(&expected));
    }
    assert_eq!((got.remove(&none), got.len()), (None, 0));
}

#[test]
fn m07_messages_of_all_kinds_that_come_together_keep_their_order_their_names_and_their_numbers() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let (mut one, mut other) = (Tap::on(&client), Tap::on(&client));
    let names: [&[u8]; 5] = [b"a1", b"a2", b"b1", b"both", b"a long name that does not fit its entry"];
    subscribed(&client, &one, 1, &[names[0], names[1], names[3], names[4]]);
    subscribed(&client, &one, 2, &[names[2], names[3]]);
    subscribed(&client, &other, 3, &[names[1], names[2]]);
    pattern(&client, &one, 4, b"a?");

    let mut redis = server.conn();
    let mut random = 1u32;
    let sent: Vec<(usize, String)> = (0..2_000)
        .map(|n| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((random >> 16) as usize % names.len(), n.to_string())
        })
        .collect();
    // At once, so that they come in few reads.
    let all: Vec<u8> = sent.iter().flat_map(|(at, n)| encode(&[b"PUBLISH", names[*at], n.as_bytes()])).collect();
    redis.send(&all).unwrap();
    let mut numbers: HashMap<Vec<u8>, u64> = HashMap::new();
    for (at, n) in &sent {
        assert!(matches!(redis.read_reply().unwrap(), Value::Int(1..)), "{n} was published");
        let mut expect = |tap: &mut Tap, tokens: &[u64]| {
            let mut got = tap.messages(tokens.len());
            got.sort_by_key(|event| event.token);
            assert_eq!(got.iter().map(|event| event.token).collect::<Vec<_>>(), tokens, "message {n}");
            for event in got {
                assert_eq!((event.name.as_slice(), event.payload()), (names[*at], n.clone()));
                let known = if event.token == 4 { 0 } else { *numbers.entry(event.name).or_insert(event.number) };
                assert_eq!((event.number, u64::from(event.flags)), (known, u64::from(event.token == 4)));
            }
        };
        let (here, there): (&[u64], &[u64]) = match at {
            0 => (&[1, 4], &[]),
            1 => (&[1, 4], &[3]),
            2 => (&[2], &[3]),
            3 => (&[1, 2], &[]),
            _ => (&[1], &[]),
        };
        expect(&mut one, here);
        expect(&mut other, there);
    }
    let mut different: Vec<u64> = numbers.into_values().collect();
    different.sort_unstable();
    different.dedup();
    assert!(different.len() == names.len() && different[0] > 0, "{different:?}");
}

#[test]
fn m08_activation_is_told_at_the_acknowledgement_to_a_late_joiner_and_after_each_reconnect() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    // Not before the server said so: while it stands still there is nothing to tell.
    subscribed(&client, &tap, 0, &[b"warm"]);
    tap.wait(Kind::Active);
    server.freeze();
    let first = subscription(&client, &tap, 1);
    client.hub().add(first, &[b"x"], ticket(11)).unwrap();
    assert_eq!(tap.poll(), None);
    server.thaw();
    let active = tap.expect(Kind::Active);
    assert_eq!((active.source, active.token, active.channel().as_str()), (first, 1, "x"));
    assert_eq!(tap.ok(11).number, 1);
    // The late joiner is told at once, though the server has nothing to say about it.
    server.freeze();
    let second = subscription(&client, &tap, 2);
    client.hub().add(second, &[b"x"], ticket(22)).unwrap();
    let late = tap.expect(Kind::Active);
    assert_eq!((late.source, late.token, late.channel().as_str()), (second, 2, "x"));
    assert_eq!(late.number, active.number, "the name's number is one");
    tap.ok(22);
    server.thaw();
    for generation in 2..5 {
        server.conn().kill_pubsub();
        for _ in 0..3 {
            tap.wait(Kind::Lost);
        }
        let mut whole: Vec<Event> = (0..3).map(|_| tap.expect(Kind::Active)).collect();
        whole.sort_by_key(|event| event.token);
        for (token, event) in whole.iter().enumerate() {
            assert_eq!((event.token, event.name.len(), event.number), (token as u64, 0, generation));
            assert!(event.aux > 0, "how long the outage took: {event:?}");
        }
        // And it is true: the next message comes to both.
        assert_eq!(server.conn().publish(b"x", b"again"), 1);
        assert_eq!(tap.messages(2).iter().map(|event| event.source).collect::<Vec<_>>(), [first, second]);
    }
}

#[test]
fn m08_every_subscription_of_a_name_is_told_once_for_each_of_its_adds() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let sources: Vec<u64> = (0..20).map(|token| subscription(&client, &tap, token)).collect();
    for (token, source) in sources.iter().enumerate() {
        client.hub().add(*source, &[b"x"], ticket(token as u64)).unwrap();
    }
    for token in 0..20 {
        tap.ok(token);
    }
    let mut told: Vec<u64> = tap.rest().iter().filter(|event| event.kind == Kind::Active).map(|e| e.token).collect();
    told.sort_unstable();
    assert_eq!(told, (0..20).collect::<Vec<_>>());
    remove(&client, sources[3], &[b"x"]);
    add(&client, sources[3], &[b"x"]);
    assert_eq!(tap.expect(Kind::Active).token, 3);
}

#[test]
fn m09_a_kill_is_one_lost_for_each_subscription_after_its_last_message_and_before_any_active() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    // One inbox each, and one that several share: the order holds in both.
    let mut own: Vec<(u64, Tap)> = Vec::new();
    for token in 0..5 {
        let tap = Tap::on(&client);
        let name = format!("c{token}");
        own.push((subscribed(&client, &tap, token, &[name.as_bytes(), b"all"]), tap));
    }
    let mut shared = Tap::on(&client);
    let in_shared = [
        subscribed(&client, &shared, 10, &[b"all"]),
        pattern(&client, &shared, 11, b"al?"),
        subscription(&client, &shared, 12),
    ];
    let mut empty = Tap::on(&client);
    let without_names = subscription(&client, &empty, 13);
    for round in 0..3_u64 {
        let mut redis = server.conn();
        for n in 0..200 {
            redis.publish(b"all", n.to_string().as_bytes());
        }
        redis.kill_pubsub();
        let whole = |event: &Event| event.kind == Kind::Active && event.name.is_empty();
        let check = |source: u64, events: &[Event], has_messages: bool| {
            let mine: Vec<&Event> = events.iter().filter(|event| event.source == source).collect();
            let named = |event: &&&Event| event.kind == Kind::Active && !event.name.is_empty();
            let mine: Vec<&Event> = mine.iter().filter(|event| !named(event)).copied().collect();
            let (messages, rest) = mine.split_at(mine.iter().take_while(|e| e.kind == Kind::Message).count());
            // What came is what was published, without holes; the server may have thrown the rest away.
            for (n, message) in messages.iter().enumerate() {
                assert_eq!(message.payload(), n.to_string());
            }
            assert!(has_messages || messages.is_empty());
            assert_eq!(rest.iter().map(|e| e.kind).collect::<Vec<_>>(), [Kind::Lost, Kind::Active], "{rest:?}");
            let lost = rest[0];
            assert_eq!(lost.status(), Status::LinkLost);
            assert!(lost.text().starts_with("lost the connection to 127.0.0.1:"), "{lost:?}");
            assert!(lost.aux > 0 && messages.iter().all(|message| message.aux <= lost.aux), "when the last byte came");
            assert_eq!((rest[1].status(), rest[1].number), (Status::Ok, round + 2));
        };
        for (source, tap) in &mut own {
            let events = tap.through("whole again", whole);
            check(*source, &events, true);
        }
        let mut left = in_shared.len();
        let events = shared.through("all whole again", |event| {
            left -= usize::from(whole(event));
            left == 0
        });
        for source in in_shared {
            check(source, &events, source != in_shared[2]);
        }
        // Nobody is whole before everybody was told of the loss.
        let first_active = events.iter().position(whole).unwrap();
        let lost = events.iter().filter(|event| event.kind == Kind::Lost).count();
        assert_eq!((events[..first_active].iter().filter(|e| e.kind == Kind::Lost).count(), lost), (3, 3));
        check(without_names, &empty.through("whole again", whole), false);
    }
    assert_eq!(stat(&client, &["subscriber", "losts"]), 3);
}

#[test]
fn m09_a_subscription_that_was_told_is_not_told_again_while_attempts_fail() {
    let server = Server::start();
    let options = [("backoff_min", "1ms"), ("backoff_max", "10ms")];
    let (client, mut events) = open_with_events(&server.url(), &options);
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"x"]);
    tap.expect(Kind::Active);
    server.kill();
    let lost = tap.expect(Kind::Lost);
    assert_eq!((lost.source, lost.status()), (source, Status::LinkLost));
    for _ in 0..10 {
        events.find("a failed attempt", |event| event.is_state(State::Offline));
    }
    server.restart();
    let active = tap.expect(Kind::Active);
    assert_eq!((active.name.len(), active.number), (0, 2));
    barrier(&client);
    assert_eq!(tap.rest(), []);
}

#[test]
fn m09_a_stop_is_no_lost() {
    let server = Server::start();
    let (client, mut events) = open_with_events(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"x"]);
    subscription(&client, &tap, 2);
    tap.expect(Kind::Active);
    client.stop().unwrap();
    events.find("stopped", |event| event.is_state(State::Stopped));
    eventually("the connection is closed", PATIENCE, || server.conn().numsub("x") == 0);
    client.restart().unwrap();
    client.hub().wait_active(source, ticket(3)).unwrap();
    tap.ok(3);
    barrier(&client);
    let rest = tap.rest();
    assert!(rest.iter().all(|event| event.kind == Kind::Active && event.name.is_empty()), "{rest:?}");
    client.close(tap::deadline()).unwrap();
    let rest = tap.rest();
    assert!(rest.iter().all(|event| event.kind == Kind::Closed), "{rest:?}");
    assert_eq!(stat(&client, &["subscriber", "losts"]), 0);
}
