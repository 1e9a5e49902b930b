//! Acceptance rows M23 and M25: any bytes, everything's limits, and names that the server refuses, against a real server.
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::inbox::record::ACTIVE_NAME;
use redmux::runtime::next_id;
use support::server::Server;
use support::{PATIENCE, eventually};
use tap::*;

#[test]
fn m23_names_and_payloads_of_any_bytes_come_back_as_they_were() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let every: Vec<u8> = (0..=255).collect();
    let names: [&[u8]; 5] = [b"a\0b", b"\xff\xfe\x80", b"", b"\r\n$5\r\n", &every];
    let payloads: [&[u8]; 4] = [b"", b"\0", b"\xc3\x28\r\n", &every];
    let mut tap = Tap::on(&client);
    let sub = subscription(&client, &tap, 7);
    client.hub().add(sub, &names, ticket(1)).unwrap();
    let done = tap.ok(1);
    assert_eq!(done.number, names.len() as u64);
    let mut numbers = Vec::new();
    for name in names {
        let active = tap.expect(Kind::Active);
        assert_eq!(active.name, name);
        numbers.push(active.number);
    }
    assert_eq!(client.hub().names_of(sub).unwrap().len(), names.len());
    for (name, number) in names.iter().zip(&numbers) {
        for payload in payloads {
            client.hub().publish(name, payload, tap.inbox(), 2, deadline()).unwrap();
            assert_eq!(tap.ok(2).number, 1);
            let message = tap.expect(Kind::Message);
            assert_eq!((&message.name[..], &message.data[..], message.number), (*name, payload, *number));
        }
    }
    // The empty name is a name like others after an outage, and is not mistaken for the subscription.
    server.conn().kill_pubsub();
    tap.expect(Kind::Lost);
    let whole = tap.expect(Kind::Active);
    assert_eq!((whole.flags, whole.number), (0, 2));
    server.conn().publish(b"", b"again");
    assert_eq!(tap.expect(Kind::Message).payload(), "again");
    client.hub().remove(sub, &[b""], ticket(3)).unwrap();
    tap.ok(3);
    assert_eq!(server.conn().numsub(""), 0);
}

#[test]
fn m23_the_active_of_an_empty_name_is_not_merged_with_that_of_the_subscription() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let sub = subscribed(&client, &tap, 1, &[b"a"]);
    tap.expect(Kind::Active);
    server.conn().kill_pubsub();
    // Nothing is taken until both are there.
    eventually("it is lost and whole again", PATIENCE, || tap.inbox().counters().waiting == 2);
    add(&client, sub, &[b""]);
    tap.expect(Kind::Lost);
    let whole = tap.expect(Kind::Active);
    assert_eq!((whole.flags, whole.number), (0, 2));
    let active = tap.expect(Kind::Active);
    assert_eq!((active.flags, active.channel()), (ACTIVE_NAME, String::new()));
    server.conn().publish(b"", b"x");
    assert_eq!(tap.expect(Kind::Message).number, active.number);
}

#[test]
fn m23_a_payload_of_64_mib_makes_the_round_trip() {
    let server = Server::builder().config("client-output-buffer-limit", "pubsub 0 0 0").start();
    let client = open(&server.url(), &[("max_payload", "64MiB")]);
    let mut tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"big"]);
    tap.expect(Kind::Active);
    let some: Vec<u8> = (0..1021u32).map(|i| ((i * 31) >> 2) as u8).collect();
    let mut payload = some.repeat((64 << 20) / some.len() + 1);
    payload.truncate(64 << 20);
    client.hub().publish(b"big", &payload, tap.inbox(), 2, deadline()).unwrap();
    assert_eq!(tap.ok(2).number, 1);
    let message = tap.wait(Kind::Message);
    assert_eq!(message.name, b"big");
    assert!(message.data == payload, "the payload changed on its way");
    server.conn().publish(b"big", b"and a small one");
    assert_eq!(tap.expect(Kind::Message).payload(), "and a small one");
    assert_eq!(stat(&client, &["subscriber", "connects"]), 1);
}

#[test]
fn m23_an_inbound_message_over_max_payload_is_a_drop_and_the_client_lives_on() {
    let server = Server::start();
    let (client, mut events) = open_with_events(&server.url(), &[("max_payload", "1000")]);
    let mut tap = Tap::on(&client);
    let mut other = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"news"]);
    pattern(&client, &tap, 2, b"ne*");
    subscribed(&client, &other, 3, &[b"sport"]);
    let mut conn = server.conn();
    conn.publish(b"news", &[b'a'; 1000]);
    conn.publish(b"news", &[b'b'; 1001]);
    conn.publish(b"news", &vec![b'c'; 3_000_000]);
    conn.publish(b"news", b"small");
    conn.publish(b"sport", b"small");
    for token in [1, 2] {
        let mut of = |kind| tap.find(&format!("{kind:?} of {token}"), |e| e.kind == kind && e.token == token);
        of(Kind::Active);
        assert_eq!(of(Kind::Message).data, [b'a'; 1000]);
        // One mark or two, as the taker is slow or quick; the count is exact.
        let (mut dropped, mut last) = (0, None);
        while last.is_none() {
            let event = tap.find("a drop or a message", |e| e.kind != Kind::Active && e.token == token);
            if event.kind == Kind::Dropped {
                assert_eq!(event.status(), Status::TooLarge);
                dropped += event.number;
            } else {
                last = Some(event.payload());
            }
        }
        assert_eq!((dropped, last.as_deref()), (2, Some("small")));
    }
    assert_eq!(tap.rest(), []);
    other.expect(Kind::Active);
    assert_eq!(other.expect(Kind::Message).payload(), "small");
    assert_eq!(stat(&client, &["subscriber", "connects"]), 1);
    assert_eq!(stat(&client, &["messages", "dropped"]), 4);
    events.find("a log line", |e| e.kind == Kind::Log && e.text().contains("a message of 1001 bytes on \"news\""));
}

#[test]
fn m23_an_outbound_payload_or_name_over_its_limit_is_an_error_at_once() {
    let server = Server::start();
    let client = open(&server.url(), &[("max_payload", "1000"), ("max_name", "100")]);
    let mut tap = Tap::on(&client);
    let error = client.hub().publish(b"news", &[0; 1001], tap.inbox(), 1, None).unwrap_err();
    assert_eq!(error.status(), Status::TooLarge);
    assert!(error.message().contains("1001 bytes; max_payload is 1000"), "{error}");
    assert_eq!(client.hub().post(b"news", &[0; 1001], None).unwrap_err().status(), Status::TooLarge);
    assert_eq!(client.hub().post(&[b'n'; 101], b"", None).unwrap_err().status(), Status::TooLarge);
    let sub = subscription(&client, &tap, 1);
    assert_eq!(client.hub().add(sub, &[&[b'n'; 101]], ticket(1)).unwrap_err().status(), Status::TooLarge);
    assert_eq!(tap.inbox().counters().bytes, 0, "the room of what was refused is given back");
    client.hub().publish(b"news", &[0; 1000], tap.inbox(), 2, deadline()).unwrap();
    tap.ok(2);
}

#[test]
fn m25_a_refused_name_is_told_to_its_subscription_and_nothing_reconnects() {
    let server = Server::builder().acl("user web on >secret ~* &allowed:* +@all").start();
    let (client, mut events) = open_with_events(&server.url_as("web", "secret"), &[("refused_retry", "100ms")]);
    let mut tap = Tap::on(&client);
    let mut other = Tap::on(&client);
    subscribed(&client, &other, 9, &[b"allowed:other"]);
    other.expect(Kind::Active);
    let sub = subscription(&client, &tap, 1);
    client.hub().add(sub, &[b"allowed:a", b"forbidden", b"allowed:b"], ticket(5)).unwrap();
    let refused = tap.wait(Kind::Refused);
    assert_eq!((refused.channel(), refused.text()), ("forbidden".into(), "NOPERM".into()));
    assert_eq!((refused.token, refused.source, refused.status()), (5, sub, Status::Refused));
    let done = tap.done(5);
    assert_eq!((done.status(), done.number, done.aux), (Status::Partial, 2, 1));
    assert_eq!(done.text(), "1 refused by ACL (NOPERM) for user \"web\"; the other 2 are active");
    events.find("a log line", |e| e.kind == Kind::Log && e.text().contains("\"forbidden\": refused by ACL (NOPERM)"));
    server.conn().publish(b"allowed:a", b"works");
    assert_eq!(tap.wait(Kind::Message).payload(), "works");
    // A pattern, and a subscription all of whose names are refused.
    let refused = next_id();
    client.hub().subscribe(refused, 2, tap.inbox(), Some((b"forbidden:*", ticket(6)))).unwrap();
    assert_eq!(tap.done(6).status(), Status::Refused);
    // It is tried again alone, on the same connection, and comes once it is allowed.
    let before = stat(&client, &["subscriber", "commands"]);
    eventually("it is tried again", PATIENCE, || stat(&client, &["subscriber", "commands"]) >= before + 4);
    assert_eq!(stat(&client, &["subscriber", "attempts"]), 1);
    assert_eq!(stat(&client, &["refused"]), 2);
    server.conn().acl_setuser("web allchannels");
    let active = tap.find("the name", |e| e.kind == Kind::Active && e.name == b"forbidden");
    assert_eq!((active.source, active.token), (sub, 1));
    server.conn().publish(b"forbidden", b"now allowed");
    assert_eq!(tap.wait(Kind::Message).payload(), "now allowed");
    assert_eq!(stat(&client, &["subscriber", "connects"]), 1);
    assert_eq!(other.rest(), [], "nobody else hears of it");
}

#[test]
fn m23_a_name_that_is_longer_than_ours_may_be_costs_nobody_the_link() {
    let server = Server::start();
    let client = open(&server.url(), &[("max_name", "16")]);
    let mut tap = Tap::on(&client);
    pattern(&client, &tap, 1, b"a*");
    let long = [b'a'; 100];
    server.conn().publish(&long, b"x");
    let heard = tap.through("its message", |event| event.kind == Kind::Message);
    assert!(heard.iter().all(|event| event.kind != Kind::Lost));
    assert_eq!(heard.last().unwrap().name, long);
}

#[test]
fn m25_a_set_that_is_refused_is_not_active_also_when_it_is_waited_for_offline() {
    let server = Server::builder().acl("user web on >pw ~* resetchannels +@all").start();
    let client = open(&server.url_as("web", "pw"), &[]);
    let mut tap = Tap::on(&client);
    let set = next_id();
    client.hub().promises(set, 1, tap.inbox(), b"p:").unwrap();
    client.hub().wait_active(set, ticket_in(&tap, 2)).unwrap();
    assert_eq!(tap.done(2).status(), Status::Refused);
    // Nor is a promise to be made in it waited for.
    client.hub().promise_later(set, b"x", endless(4), None).unwrap();
    let refused = tap.done(4);
    assert_eq!((refused.kind, refused.status(), refused.channel()), (Kind::Promise, Status::Refused, "p:x".into()));
    server.stop();
    tap.wait(Kind::Lost);
    client.hub().wait_active(set, ticket_in(&tap, 3)).unwrap();
    server.restart();
    assert_eq!(tap.done(3).status(), Status::Refused);
}

#[test]
fn m25_one_forbidden_name_among_a_hundred_allowed_ones_is_found_and_named() {
    let server = Server::builder().acl("user web on >secret ~* &allowed:* +@all").start();
    let client = open(&server.url_as("web", "secret"), &[]);
    let mut tap = Tap::on(&client);
    let sub = subscription(&client, &tap, 1);
    let mut names: Vec<String> = (0..100).map(|number| format!("allowed:{number}")).collect();
    names.insert(37, "forbidden".into());
    let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    client.hub().add(sub, &names, ticket(5)).unwrap();
    let done = tap.done(5);
    assert_eq!((done.status(), done.number, done.aux), (Status::Partial, 100, 1));
    assert_eq!(server.conn().publish(b"allowed:99", b"works"), 1);
    assert_eq!(tap.wait(Kind::Message).payload(), "works");
    // A blocking add names who was refused, and the client lives on.
    let more: [&[u8]; 2] = [b"allowed:more", b"forbidden too"];
    let mut refused = Vec::new();
    let error = client
        .wait_for(
            Some(PATIENCE),
            |ticket| client.hub().add(sub, &more, ticket),
            |lent| redmux::completion::completion_of_add(lent, &mut refused),
        )
        .unwrap_err();
    assert_eq!(error.status(), Status::Partial);
    assert!(error.message().starts_with("add \"forbidden too\": 1 refused by ACL (NOPERM)"), "{error}");
    assert_eq!(stat(&client, &["subscriber", "connects"]), 1);
}
