//! Rows M10 to M13: what is edited while the link is down, order of remove and add, backoff, keepalive.

#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::mux::events::State;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, mpsc};
use std::time::Duration;
use support::{Fake, PATIENCE, Proxy, Server, eventually, free_port};
use tap::{
    Event, Tap, add, deadline, endless, open, open_with_events, pattern, ready, stat, subscribed, subscription, ticket,
    ticket_in,
};

#[test]
fn m10_edits_while_down_hold_after_the_reconnect() {
    let server = Server::start();
    let client = open(&server.url(), &[("backoff_max", "20ms")]);
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"b", b"kept"]);
    let news = pattern(&client, &tap, 2, b"news.*");
    server.kill();
    let lost = [tap.wait(Kind::Lost).source, tap.wait(Kind::Lost).source];
    assert_eq!(lost, [source, news]);
    client.hub().add(source, &[b"a"], endless(3)).unwrap();
    client.hub().remove(source, &[b"b"], endless(4)).unwrap();
    client.hub().add(source, &[b"flap"], endless(5)).unwrap();
    client.hub().remove(source, &[b"flap"], endless(6)).unwrap();
    client.hub().close_source(news).unwrap();
    let late = subscription(&client, &tap, 7);
    client.hub().add(late, &[b"late"], endless(8)).unwrap();
    // What needs no server ends at once; the adds wait for it.
    assert_eq!((tap.ok(4).number, tap.done(5).status(), tap.ok(6).number), (0, Status::Superseded, 0));
    server.restart();
    assert_eq!((tap.ok(3).number, tap.ok(8).number), (1, 1));
    let whole = tap.find("whole again", |event| event.kind == Kind::Active && event.name.is_empty());
    assert_eq!((whole.source, whole.number), (source, 2));
    let mut redis = server.conn();
    let counts = ["a", "b", "kept", "flap", "late"].map(|name| redis.numsub(name));
    assert_eq!((counts, redis.numpat()), ([1, 0, 1, 0, 1], 0));
    for name in [&b"a"[..], b"kept", b"late"] {
        redis.publish(name, name);
        assert_eq!(tap.wait(Kind::Message).data, name);
    }
}

#[test]
fn m10_many_thousand_channels_are_all_active_again_after_a_kill() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let source = subscription(&client, &tap, 1);
    let names: Vec<Vec<u8>> = (0..20_000).map(|n| format!("channel:{n}").into_bytes()).collect();
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    client.hub().add(source, &names, ticket(1)).unwrap();
    tap.ok(1);
    for _ in 0..3 {
        assert_eq!(server.conn().kill_pubsub(), 1);
        tap.wait(Kind::Lost);
        tap.find("whole again", |event| event.kind == Kind::Active && event.name.is_empty());
        assert_eq!(server.conn().expect(&["PUBSUB", "CHANNELS"]).items().len(), 20_000);
    }
}

#[test]
fn m11_two_hundred_rounds_of_remove_and_add_lose_nothing() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"x"]);
    let mut redis = server.conn();
    for round in 0..200 {
        client.hub().remove(source, &[b"x"], ticket(2 * round)).unwrap();
        client.hub().add(source, &[b"x"], ticket(2 * round + 1)).unwrap();
        // Every third round the next one begins before the server answered this one.
        if round % 3 > 0 {
            tap.ok(2 * round);
            tap.ok(2 * round + 1);
            assert_eq!(redis.publish(b"x", round.to_string().as_bytes()), 1, "round {round}");
            assert_eq!(tap.wait(Kind::Message).payload(), round.to_string());
        }
    }
    for round in (0..200).filter(|round| round % 3 == 0) {
        tap.ok(2 * round);
        let end = tap.done(2 * round + 1).status();
        assert!(matches!(end, Status::Ok | Status::Superseded), "round {round}: {end:?}");
    }
    assert_eq!((redis.numsub("x"), client.hub().names_of(source).unwrap()), (1, vec![b"x".to_vec()]));
    assert!(tap.rest().iter().all(|event| event.kind == Kind::Active));
}

#[test]
fn m05_a_drain_whose_subscription_is_closed_under_it_lets_nothing_of_another_go() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let client = open(&proxy.url(), &[]);
    let mut tap = Tap::on(&client);
    let one = subscribed(&client, &tap, 1, &[b"a"]);
    proxy.to_client().stall();
    client.hub().clear(one, true, ticket_in(&tap, 2)).unwrap();
    client.hub().close_source(one).unwrap();
    let other = subscription(&client, &tap, 3);
    client.hub().add(other, &[b"b"], ticket_in(&tap, 4)).unwrap();
    proxy.pass();
    assert_eq!(tap.done(2).status(), Status::Closed);
    tap.ok(4);
    client.barrier(ticket_in(&tap, 5)).unwrap();
    tap.ok(5);
    assert_eq!((server.conn().publish(b"b", b"it"), server.conn().numsub("a")), (1, 0));
    assert_eq!(tap.wait(Kind::Message).token, 3);
}

#[test]
fn m13_a_server_that_refuses_a_ping_lives() {
    let fake = Fake::answering_hello(move |mut server| {
        assert_eq!(server.read_words().unwrap(), ["SUBSCRIBE", "a"]);
        server.write(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n").unwrap();
        for _ in 0..3 {
            assert_eq!(server.read_words().unwrap(), ["PING"]);
            server.write(b"-LOADING Redis is loading the dataset in memory\r\n").unwrap();
        }
        server.write(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nthere\r\n").unwrap();
        server.wait_closed();
    });
    let client = open(&fake.url(), &[("ping_interval", "20ms"), ("ping_timeout", "30s")]);
    let mut tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"a"]);
    let until = tap.through("a message", |event| event.kind == Kind::Message);
    assert!(until.iter().all(|event| event.kind != Kind::Lost), "{until:?}");
    client.close(deadline()).unwrap();
    fake.finish();
}

#[test]
fn m05_a_drain_hears_what_is_published_until_the_server_has_let_go() {
    let fake = Fake::answering_hello(move |mut server| {
        assert_eq!(server.read_words().unwrap(), ["SUBSCRIBE", "a"]);
        server.write(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n").unwrap();
        assert_eq!(server.read_words().unwrap(), ["PING"]);
        server.write(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$6\r\nbefore\r\n+PONG\r\n").unwrap();
        assert_eq!(server.read_words().unwrap(), ["UNSUBSCRIBE", "a"]);
        // Published before the server came to the unsubscribe, and counted by whoever published it.
        server.write(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$4\r\nlast\r\n").unwrap();
        server.write(b">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n").unwrap();
        server.wait_closed();
    });
    let client = open(&fake.url(), &[]);
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"a"]);
    client.hub().clear(source, true, ticket_in(&tap, 2)).unwrap();
    let heard = tap.through("the end of the drain", |event| event.token == 2);
    let messages = heard.iter().filter(|event| event.kind == Kind::Message).map(Event::payload);
    assert_eq!(messages.collect::<Vec<_>>(), ["before", "last"]);
    client.close(deadline()).unwrap();
    fake.finish();
}

#[test]
fn m05_a_drain_whose_completion_nobody_can_take_any_more_still_closes_its_subscription() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let (mut tap, other) = (Tap::on(&client), Tap::on(&client));
    let source = subscribed(&client, &tap, 1, &[b"a"]);
    server.freeze();
    client.hub().clear(source, true, ticket_in(&other, 2)).unwrap();
    client.close_inbox(other.inbox(), None).unwrap();
    server.thaw();
    tap.wait(Kind::Closed);
    eventually("the server has let go", PATIENCE, || server.conn().numsub("a") == 0);
}

#[test]
fn m05_a_message_over_max_payload_is_missing_in_a_drain_until_the_server_has_let_go() {
    let fake = Fake::answering_hello(move |mut server| {
        assert_eq!(server.read_words().unwrap(), ["SUBSCRIBE", "a"]);
        server.write(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n").unwrap();
        assert_eq!(server.read_words().unwrap(), ["PING"]);
        server.write(b"+PONG\r\n").unwrap();
        assert_eq!(server.read_words().unwrap(), ["UNSUBSCRIBE", "a"]);
        server.write(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$6\r\nbefore\r\n").unwrap();
        server.write(b">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n").unwrap();
        server.wait_closed();
    });
    let client = open(&fake.url(), &[("max_payload", "5")]);
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"a"]);
    tap.expect(Kind::Active);
    client.hub().clear(source, true, ticket_in(&tap, 2)).unwrap();
    let dropped = tap.expect(Kind::Dropped);
    assert_eq!((dropped.status(), dropped.number, dropped.source), (Status::TooLarge, 1, source));
    assert_eq!([tap.next().kind, tap.next().kind], [Kind::Closed, Kind::Done]);
    assert_eq!(stat(&client, &["messages", "dropped"]), 1);
    client.close(deadline()).unwrap();
    fake.finish();
}

#[test]
fn m11_a_name_that_is_added_again_is_missing_no_large_message_from_before_it_was_active() {
    let (removed, is_removed) = mpsc::channel();
    let (added, is_added) = mpsc::channel();
    let is_added = Mutex::new(is_added);
    let fake = Fake::answering_hello(move |mut server| {
        assert_eq!(server.read_words().unwrap(), ["SUBSCRIBE", "a"]);
        server.write(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n").unwrap();
        assert_eq!(server.read_words().unwrap(), ["UNSUBSCRIBE", "a"]);
        removed.send(()).unwrap();
        is_added.lock().unwrap().recv().unwrap();
        server.write(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$6\r\nbefore\r\n").unwrap();
        server.write(b">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n").unwrap();
        assert_eq!(server.read_words().unwrap(), ["SUBSCRIBE", "a"]);
        server.write(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n").unwrap();
        server.wait_closed();
    });
    let client = open(&fake.url(), &[("max_payload", "5")]);
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"a"]);
    tap.expect(Kind::Active);
    client.hub().remove(source, &[b"a"], ticket(2)).unwrap();
    is_removed.recv().unwrap();
    client.hub().add(source, &[b"a"], ticket(3)).unwrap();
    added.send(()).unwrap();
    let heard = tap.through("the end of the add", |event| event.token == 3);
    let kinds: Vec<Kind> = heard.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::Done, Kind::Active, Kind::Done]);
    assert_eq!((stat(&client, &["messages", "dropped"]), stat(&client, &["messages", "unmatched"])), (0, 1));
    client.close(deadline()).unwrap();
    fake.finish();
}

#[test]
fn m11_a_name_that_is_added_again_before_it_was_gone_is_active_before_its_first_message() {
    let (removed, is_removed) = mpsc::channel();
    let (added, is_added) = mpsc::channel();
    let is_added = Mutex::new(is_added);
    let fake = Fake::answering_hello(move |mut server| {
        assert_eq!(server.read_words().unwrap(), ["SUBSCRIBE", "a"]);
        server.write(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n").unwrap();
        assert_eq!(server.read_words().unwrap(), ["UNSUBSCRIBE", "a"]);
        removed.send(()).unwrap();
        is_added.lock().unwrap().recv().unwrap();
        // Published before the server came to the unsubscribe.
        server.write(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$6\r\nbefore\r\n").unwrap();
        server.write(b">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n").unwrap();
        assert_eq!(server.read_words().unwrap(), ["SUBSCRIBE", "a"]);
        server.write(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n").unwrap();
        server.write(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nafter\r\n").unwrap();
        server.wait_closed();
    });
    let client = open(&fake.url(), &[]);
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"a"]);
    tap.wait(Kind::Active);
    client.hub().remove(source, &[b"a"], ticket(2)).unwrap();
    is_removed.recv().unwrap();
    client.hub().add(source, &[b"a"], ticket(3)).unwrap();
    added.send(()).unwrap();
    let before = tap.through("the message behind its activation", |event| event.kind == Kind::Message);
    let kinds: Vec<Kind> = before.iter().map(|event| event.kind).filter(|&kind| kind != Kind::Done).collect();
    assert_eq!((kinds, before.last().unwrap().payload()), (vec![Kind::Active, Kind::Message], "after".into()));
    assert_eq!(stat(&client, &["messages", "unmatched"]), 1, "what came before it was wanted again is counted");
    client.close(deadline()).unwrap();
    fake.finish();
}

#[test]
fn m10_an_add_that_a_loss_came_into_ends_when_all_its_names_are_active_again() {
    let (asked, is_asked) = mpsc::channel();
    let (cut, is_cut) = mpsc::channel();
    let (seen, is_seen) = mpsc::channel();
    let (is_cut, is_seen) = (Mutex::new(is_cut), Mutex::new(is_seen));
    let first = AtomicBool::new(true);
    let ack =
        |verb: &str, name: &str| format!(">3\r\n${}\r\n{verb}\r\n$1\r\n{name}\r\n:1\r\n", verb.len()).into_bytes();
    let fake = Fake::answering_hello(move |mut server| {
        if first.swap(false, SeqCst) {
            for (command, name) in [("SUBSCRIBE", "x"), ("SUBSCRIBE", "a"), ("UNSUBSCRIBE", "x")] {
                assert_eq!(server.read_words().unwrap(), [command, name]);
                server.write(&ack(&command.to_lowercase(), name)).unwrap();
            }
            // It never hears of b.
            assert_eq!(server.read_words().unwrap(), ["SUBSCRIBE", "b"]);
            asked.send(()).unwrap();
            is_cut.lock().unwrap().recv().unwrap();
            return;
        }
        // b took the place of x, so it comes first.
        assert_eq!(server.read_words().unwrap(), ["SUBSCRIBE", "b", "a"]);
        server.write(&ack("subscribe", "b")).unwrap();
        is_seen.lock().unwrap().recv().unwrap();
        server.write(&ack("subscribe", "a")).unwrap();
        server.wait_closed();
    });
    let client = open(&fake.url(), &[]);
    let mut tap = Tap::on(&client);
    let source = subscribed(&client, &tap, 1, &[b"x"]);
    client.hub().add(source, &[b"a"], ticket(2)).unwrap();
    tap.ok(2);
    client.hub().remove(source, &[b"x"], ticket(3)).unwrap();
    tap.ok(3);
    client.hub().add(source, &[b"a", b"b"], ticket(4)).unwrap();
    is_asked.recv().unwrap();
    cut.send(()).unwrap();
    tap.find("b is active", |event| event.kind == Kind::Active && event.name == b"b");
    seen.send(()).unwrap();
    let rest = tap.through("the add ends", |event| event.kind == Kind::Done);
    let kinds: Vec<Kind> = rest.iter().map(|event| event.kind).collect();
    assert_eq!(kinds.last_chunk(), Some(&[Kind::Active, Kind::Done]), "active as a whole comes first: {kinds:?}");
    let end = rest.last().unwrap();
    assert_eq!((end.status(), end.number), (Status::Ok, 2));
    client.close(deadline()).unwrap();
    fake.finish();
}

/// What `{:?}` made of a duration.
fn parse_pause(text: &str) -> Duration {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').expect("a unit");
    let value: f64 = text[..at].parse().expect("a number");
    let unit = match &text[at..] {
        "ns" => 1e-9,
        "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        other => panic!("the unit {other:?}"),
    };
    Duration::from_secs_f64(value * unit)
}

#[test]
fn m12_the_first_pause_is_at_most_the_minimum_and_every_pause_at_most_the_doubling_cap() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    let (client, mut events) = open_with_events(&url, &[("backoff_min", "2ms"), ("backoff_max", "16ms")]);
    let mut pauses = Vec::new();
    for _ in 0..30 {
        let line = events.find("a retry", |event| event.kind == Kind::Log && event.text().contains("retrying in "));
        assert!(line.text().contains(&url["redis://".len()..]), "it says where: {line:?}");
        pauses.push(parse_pause(line.text().rsplit("retrying in ").next().unwrap()));
    }
    let caps = [2, 4, 8].into_iter().chain(std::iter::repeat(16)).map(Duration::from_millis);
    for (at, (pause, cap)) in pauses.iter().zip(caps).enumerate() {
        assert!(*pause <= cap, "pause {at} is {pause:?} and its cap {cap:?}");
    }
    // Full jitter: no two are alike.
    pauses.sort_unstable();
    pauses.dedup();
    assert!(pauses.len() > 25, "{pauses:?}");
    assert!(stat(&client, &["subscriber", "attempts"]) >= 30);
}

#[test]
fn m12_attempts_go_on_until_there_is_a_server_and_pauses_begin_small_again_after_a_stable_link() {
    let server = Server::start();
    let proxy = Proxy::start(server.port());
    let options = [("backoff_min", "1ms"), ("backoff_max", "10m"), ("stable_after", "0")];
    let (client, mut events) = open_with_events(&proxy.url(), &options);
    let mut tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"x"]);
    // With a cap of ten minutes the pauses would soon be seconds, if they did not begin at 1 ms after each stable link.
    for _ in 0..30 {
        proxy.cut_all();
        tap.find("whole again", |event| event.kind == Kind::Active && event.name.is_empty());
        let line = events.find("a retry", |event| event.kind == Kind::Log && event.text().contains("retrying in "));
        let pause = parse_pause(line.text().rsplit("retrying in ").next().unwrap());
        assert!(pause <= Duration::from_millis(1), "{line:?}");
    }
}

#[test]
fn m12_a_stop_and_a_close_interrupt_the_pause() {
    let server = Server::builder().prepare();
    let (client, mut events) = open_with_events(&server.url(), &[("backoff_min", "1m"), ("backoff_max", "10m")]);
    events.find("offline", |event| event.is_state(State::Offline));
    // In a pause that may be minutes long; a restart begins another attempt without waiting for its end.
    client.stop().unwrap();
    server.restart();
    client.restart().unwrap();
    ready(&client);
    server.kill();
    events.find("offline", |event| event.is_state(State::Offline) && event.status() == Status::LinkLost);
    client.close(deadline()).unwrap();
    events.rest();
    events.expect_end();
}

#[test]
fn m12_the_default_cap_is_explained_where_options_are() {
    let table = redmux::options::Key::find("backoff_max").unwrap().row();
    assert_eq!(table.default, "5s");
    assert!(table.help.contains("RedisMPX stops at 512ms, which is a storm with 10,000 clients"), "{}", table.help);
    assert_eq!(redmux::options::Key::find("backoff_min").unwrap().row().default, "8ms");
}

#[test]
fn m13_a_frozen_server_is_a_lost_link_with_a_ping_timeout_while_it_is_still_frozen() {
    let server = Server::start();
    let client = open(&server.url(), &[("ping_interval", "1s"), ("ping_timeout", "1s")]);
    let mut tap = Tap::on(&client);
    let sources = [subscribed(&client, &tap, 1, &[b"x"]), subscription(&client, &tap, 2)];
    server.freeze();
    for source in sources {
        let lost = tap.wait(Kind::Lost);
        assert_eq!((lost.source, lost.status()), (source, Status::PingTimeout));
        assert!(lost.text().starts_with("ping timeout: 127.0.0.1:"), "{lost:?}");
    }
    server.thaw();
    for _ in sources {
        tap.find("whole again", |event| event.kind == Kind::Active && event.name.is_empty());
    }
    server.conn().publish(b"x", b"alive");
    assert_eq!(tap.wait(Kind::Message).payload(), "alive");
    assert_eq!(stat(&client, &["subscriber", "losts"]), 1);
}

#[test]
fn m13_an_idle_client_without_subscriptions_never_disconnects() {
    // The server closes who is silent for a second and is no subscriber: this client is not silent.
    let server = Server::builder().config("timeout", "1").start();
    let client = open(&server.url(), &[("ping_interval", "100ms")]);
    ready(&client);
    let mut redis = server.conn();
    let before = redis.commandstats("ping");
    let patience = 3 * PATIENCE;
    eventually("30 pings", patience, || redis.commandstats("ping") >= before + 30);
    let counts = ["connects", "losts"].map(|counter| stat(&client, &["subscriber", counter]));
    assert_eq!(counts, [1, 0]);
    let mut tap = Tap::on(&client);
    let source = subscription(&client, &tap, 1);
    add(&client, source, &[b"x"]);
    redis.publish(b"x", b"there");
    assert_eq!(tap.wait(Kind::Message).payload(), "there");
}
