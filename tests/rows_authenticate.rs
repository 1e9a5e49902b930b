//! Acceptance row X1: credentials that change while a client lives (how it connects: `rows_connect.rs`).
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::mux::subscription::Ticket;
use std::time::Instant;
use support::fake::HELLO_ANSWER;
use support::proxy::Proxy;
use support::server::Server;
use support::{Fake, FakeConn, PATIENCE, eventually};
use tap::*;

#[test]
fn x1_authenticate_changes_the_password_of_live_links_and_of_later_ones() {
    let server = Server::builder().acl("user web on >old ~* &* +@all").start();
    let (client, mut events) = open_with_events(&server.url_as("web", "old"), &[]);
    talks(&client);
    let mut tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"news"]);
    server.conn().acl_setuser("web resetpass >new");
    let monitor = server.monitor();
    client.authenticate(Some("web"), "new", ticket_in(&tap, 5)).unwrap();
    tap.ok(5);
    talks(&client);
    eventually("both links said it", PATIENCE, || {
        monitor.lines().iter().filter(|line| line.contains("\"AUTH\"")).count() == 2
    });
    assert_eq!((stat(&client, &["subscriber", "connects"]), stat(&client, &["publisher", "connects"])), (1, 1));
    server.conn().kill_pubsub();
    server.conn().kill_normal();
    tap.wait(Kind::Lost);
    tap.find("whole again", |e| e.kind == Kind::Active && e.name.is_empty());
    talks(&client);
    assert!(!events.rest().iter().any(|e| e.code == Status::Auth.code()), "the old password was used again");
    // What is refused is told; the live links go on.
    client.authenticate(Some("web"), "nonsense", ticket_in(&tap, 6)).unwrap();
    let refused = tap.done(6);
    assert_eq!(refused.status(), Status::Auth);
    assert!(refused.text().contains("WRONGPASS") && !refused.text().contains("nonsense"), "{refused:?}");
    talks(&client);
    // And later links are made with what was good before.
    events.rest();
    server.conn().kill_pubsub();
    server.conn().kill_normal();
    tap.wait(Kind::Lost);
    tap.find("whole again", |e| e.kind == Kind::Active && e.name.is_empty());
    talks(&client);
    assert!(!events.rest().iter().any(|e| e.code == Status::Auth.code()), "the refused password was used again");
    // However many are refused at once; and one that was not even begun changes nothing.
    server.freeze();
    client.authenticate(Some("web"), "nonsense", ticket_in(&tap, 7)).unwrap();
    client.authenticate(Some("web"), "more of it", ticket_in(&tap, 8)).unwrap();
    let nowhere = Ticket { inbox: None, ..ticket_in(&tap, 9) };
    assert_eq!(client.authenticate(Some("web"), "none", nowhere).unwrap_err().status(), Status::InvalidArgument);
    server.thaw();
    assert_eq!([tap.done(7).status(), tap.done(8).status()], [Status::Auth; 2]);
    server.conn().kill_pubsub();
    server.conn().kill_normal();
    tap.wait(Kind::Lost);
    tap.find("whole again", |e| e.kind == Kind::Active && e.name.is_empty());
    talks(&client);
    assert!(!events.rest().iter().any(|e| e.code == Status::Auth.code()), "a refused password was used again");
}

#[test]
fn x1_names_that_are_added_behind_an_authenticate_are_asked_for_as_the_new_user() {
    let acl = |user: &str| format!("user {user} on >pw ~* resetchannels &{user}:* +@all");
    let server = Server::builder().acl(&acl("old")).acl(&acl("new")).start();
    let client = open(&server.url_as("old", "pw"), &[]);
    ready(&client);
    let mut tap = Tap::on(&client);
    let sub = subscription(&client, &tap, 1);
    for round in 0..20u64 {
        let user = ["new", "old"][round as usize % 2];
        client.authenticate(Some(user), "pw", ticket_in(&tap, 2)).unwrap();
        client.hub().add(sub, &[format!("{user}:{round}").as_bytes()], ticket(3)).unwrap();
        tap.ok(2);
        tap.ok(3);
    }
}

#[test]
fn x1_a_refusal_names_the_user_that_the_link_has_now() {
    let acl = |user: &str| format!("user {user} on >pw ~* resetchannels +@all");
    let server = Server::builder().acl(&acl("old")).acl(&acl("new")).start();
    let (client, mut events) = open_with_events(&server.url_as("old", "pw"), &[]);
    ready(&client);
    let mut tap = Tap::on(&client);
    let sub = subscription(&client, &tap, 1);
    client.authenticate(Some("new"), "pw", ticket_in(&tap, 2)).unwrap();
    tap.ok(2);
    for name in [b"a", b"b"] {
        client.hub().add(sub, &[name], ticket(3)).unwrap();
        let refused = tap.done(3);
        assert_eq!(refused.status(), Status::Refused);
        assert_eq!(refused.text(), "refused by ACL (NOPERM) for user \"new\"");
        logged(&mut events, "refused by ACL (NOPERM) for user \"new\"");
        // Once more on a link that was made as the new user. It has no names, so that it is a normal one.
        server.conn().kill_normal();
        tap.wait(Kind::Lost);
        ready(&client);
    }
}

#[test]
fn x1_a_good_password_is_kept_though_a_later_one_is_refused_before_all_links_took_it() {
    let server = Server::builder().acl("user web on >old >good ~* &* +@all").start();
    let proxy = Proxy::start(server.port());
    let url = proxy.url().replace("//", "//web:old@");
    let (client, mut events) = open_with_events(&url, &[("ping_interval", "1h")]);
    ready(&client);
    talks(&client);
    let mut tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"news"]);
    // Only the subscriber link is slow.
    proxy.to_client().only(0).stall();
    client.authenticate(Some("web"), "good", ticket_in(&tap, 2)).unwrap();
    client.authenticate(Some("web"), "bad", ticket_in(&tap, 3)).unwrap();
    assert_eq!(tap.done(3).status(), Status::Auth);
    proxy.pass();
    tap.ok(2);
    server.conn().acl_setuser("web resetpass >good");
    events.rest();
    server.conn().kill_pubsub();
    tap.wait(Kind::Lost);
    tap.find("whole again", |e| e.kind == Kind::Active && e.name.is_empty());
    assert!(!events.rest().iter().any(|e| e.code == Status::Auth.code()), "the first password was used again");
}

#[test]
fn x1_an_authenticate_in_the_middle_of_a_dial_reaches_the_link_that_comes_of_it() {
    let fake = Fake::listen();
    let client = open(&fake.url().replace("//", "//web:first@"), &[("ping_interval", "1h")]);
    let mut tap = Tap::on(&client);
    let asked = |password: &str| {
        let mut link = fake.accept();
        assert_eq!(link.read_words().unwrap()[..5], ["HELLO", "3", "AUTH", "web", password]);
        link
    };
    let greet = |link: &mut FakeConn| {
        link.write(HELLO_ANSWER).unwrap();
        for _ in 0..2 {
            assert_eq!(link.read_words().unwrap()[..2], ["CLIENT", "SETINFO"]);
            link.write(b"+OK\r\n").unwrap();
        }
    };
    // The subscriber link: what was made with the old password is made again.
    let mut link = asked("first");
    client.authenticate(Some("web"), "second", ticket_in(&tap, 1)).unwrap();
    tap.ok(1);
    greet(&mut link);
    let mut subscriber = asked("second");
    greet(&mut subscriber);
    ready(&client);
    // The publish link.
    client.hub().publish(b"news", b"x", tap.inbox(), 2, None).unwrap();
    let mut link = asked("second");
    client.authenticate(Some("web"), "third", ticket_in(&tap, 3)).unwrap();
    assert_eq!(subscriber.read_words().unwrap(), ["AUTH", "web", "third"]);
    subscriber.write(b"+OK\r\n").unwrap();
    tap.ok(3);
    greet(&mut link);
    let mut publisher = asked("third");
    greet(&mut publisher);
    assert_eq!(publisher.read_words().unwrap(), ["PUBLISH", "news", "x"]);
    publisher.write(b":1\r\n").unwrap();
    assert_eq!(tap.ok(2).number, 1);
}

#[test]
fn x1_a_password_that_is_refused_when_nobody_waits_any_more_is_not_that_of_later_links() {
    let server = Server::builder().acl("user web on >good ~* &* +@all").start();
    let (client, mut events) = open_with_events(&server.url_as("web", "good"), &[("ping_interval", "1h")]);
    talks(&client);
    let mut tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"news"]);
    server.freeze();
    client.authenticate(Some("web"), "bad", Ticket { deadline: Some(Instant::now()), ..ticket_in(&tap, 2) }).unwrap();
    assert_eq!(tap.done(2).status(), Status::Timeout);
    server.thaw();
    // Behind the answers.
    client.barrier(ticket_in(&tap, 3)).unwrap();
    tap.ok(3);
    events.rest();
    server.conn().kill_pubsub();
    server.conn().kill_normal();
    tap.wait(Kind::Lost);
    tap.find("whole again", |e| e.kind == Kind::Active && e.name.is_empty());
    talks(&client);
    assert!(!events.rest().iter().any(|e| e.code == Status::Auth.code()), "the refused password was used again");
}

#[test]
fn x1_authenticate_while_down_counts_for_the_next_connection() {
    let server = Server::builder().acl("user web on >new ~* &* +@all").start();
    let (client, mut events) = open_with_events(&server.url_as("web", "old"), &[]);
    assert_eq!(offline(&mut events).status(), Status::Auth);
    let mut tap = Tap::on(&client);
    client.authenticate(Some("web"), "new", ticket_in(&tap, 1)).unwrap();
    tap.ok(1);
    talks(&client);
}
