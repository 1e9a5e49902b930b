//! Acceptance rows X1 and X2 (hostile servers: `rows_hostile.rs`): ways to connect, and what a client tells and counts.
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::client::{Client, EventsBy};
use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::mux::events::State;
use std::time::Instant;
use support::server::Server;
use support::{PATIENCE, eventually};
use tap::*;

#[test]
fn x1_the_default_users_password_and_an_acl_user_are_let_in() {
    let server = Server::builder().password("p@ss").acl("user web on >secret ~* &* +@all").start();
    let client = open(&format!("redis://:p%40ss@127.0.0.1:{}", server.port()), &[]);
    talks(&client);
    let client = open(&server.url_as("web", "secret"), &[("name", "web-7")]);
    talks(&client);
    let mine: Vec<_> = server.conn().client_list().into_iter().filter(|c| c["name"] == "web-7").collect();
    assert_eq!(mine.len(), 2, "one link to subscribe and one to publish");
    assert!(mine.iter().all(|c| c["user"] == "web" && c["resp"] == "3"), "{mine:?}");
}

#[test]
fn x1_a_wrong_password_and_a_missing_one_are_told_apart_and_never_shown() {
    let server = Server::builder().password("right").start();
    let (client, mut events) = open_with_events(&server.url(), &[("password", "wr0ng")]);
    let failed = offline(&mut events);
    assert_eq!(failed.status(), Status::Auth);
    assert!(failed.text().contains("refused the password of user \"default\": WRONGPASS"), "{failed:?}");
    logged(&mut events, "retrying in");
    let mut tap = Tap::on(&client);
    client.ready(ticket_in(&tap, 1)).unwrap();
    eventually("a few attempts", PATIENCE, || stat(&client, &["subscriber", "attempts"]) > 3);
    // Once the server is told that password the next attempt gets in.
    server.conn().config_set("requirepass", "wr0ng");
    tap.ok(1);
    talks(&client);
    let told = events.rest();
    assert!(!told.iter().any(|e| e.text().contains("wr0ng")), "{told:?}");
    let (_client, mut events) = open_with_events(&server.url(), &[]);
    let failed = offline(&mut events);
    assert_eq!(failed.status(), Status::Auth);
    assert!(failed.text().contains("the server wants a password"), "{failed:?}");
}

#[test]
fn x1_who_waits_for_a_connection_in_vain_is_told_why() {
    let server = Server::builder().password("right").start();
    let (client, mut events) = open_with_events(&server.url(), &[("password", "wr0ng")]);
    offline(&mut events);
    let mut tap = Tap::on(&client);
    let mut hurried = ticket_in(&tap, 1);
    hurried.deadline = Some(Instant::now());
    client.ready(hurried).unwrap();
    let done = tap.done(1);
    assert_eq!(done.status(), Status::Timeout);
    assert!(done.text().contains("WRONGPASS"), "{done:?}");
}

#[test]
fn x1_who_waits_for_a_stopped_client_is_not_told_of_an_attempt_of_long_ago() {
    let server = Server::builder().prepare();
    let (client, mut events) = open_with_events(&server.url(), &[]);
    offline(&mut events);
    server.restart();
    ready(&client);
    client.stop().unwrap();
    let mut tap = Tap::on(&client);
    let mut hurried = ticket_in(&tap, 1);
    hurried.deadline = Some(Instant::now());
    client.ready(hurried).unwrap();
    let done = tap.done(1);
    assert_eq!((done.status(), done.text()), (Status::Timeout, String::new()));
}

#[test]
fn x1_a_unix_socket() {
    let server = Server::builder().unix_only().start();
    let (client, mut events) = open_with_events(&server.unix_url(), &[]);
    talks(&client);
    let connected = logged(&mut events, "connected to ");
    assert!(connected.text().contains("redis.sock"), "{connected:?}");
    server.stop();
    offline(&mut events);
    server.restart();
    talks(&client);
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use support::proxy::Proxy;

    fn path(path: &std::path::Path) -> &str {
        path.to_str().expect("a path of plain text")
    }

    #[test]
    fn x1_tls_with_its_own_ca_a_client_certificate_and_a_server_name() {
        let server = Server::builder().tls(true).config("tls-auth-clients", "yes").start();
        let certs = server.certs();
        let known =
            [("tls_ca", path(&certs.ca)), ("tls_cert", path(&certs.client_cert)), ("tls_key", path(&certs.client_key))];
        talks(&open(&server.tls_url(), &known));
        talks(&open(&server.tls_url(), &[&known[..], &[("tls_server_name", "localhost")]].concat()));
        let (_client, mut events) =
            open_with_events(&server.tls_url(), &[&known[..], &[("tls_server_name", "db.example")]].concat());
        let failed = offline(&mut events);
        assert_eq!(failed.status(), Status::Tls);
        assert!(failed.text().contains("db.example"), "{failed:?}");
        let (_client, mut events) = open_with_events(&server.tls_url(), &known[..1]);
        let failed = offline(&mut events);
        assert_eq!(failed.status(), Status::Tls, "a server that wants a certificate: {failed:?}");
    }

    #[test]
    fn x1_tls_with_an_unknown_ca_or_on_the_wrong_port_is_told_apart() {
        let server = Server::builder().tls(true).start();
        let certs = server.certs();
        let (_client, mut events) = open_with_events(&server.tls_url(), &[("tls_ca", path(&certs.other_ca))]);
        let failed = offline(&mut events);
        assert_eq!(failed.status(), Status::Tls, "{failed:?}");
        let plain_port = format!("rediss://127.0.0.1:{}", server.port());
        let (_client, mut events) =
            open_with_events(&plain_port, &[("tls_ca", path(&certs.ca)), ("connect_timeout", "200ms")]);
        let failed = offline(&mut events);
        assert_eq!(failed.status(), Status::Connect, "such a server waits for the end of a line");
        assert!(failed.text().contains("does the server speak TLS on that port?"), "{failed:?}");
        let tls_port = format!("redis://127.0.0.1:{}", server.tls_port());
        let (_client, mut events) = open_with_events(&tls_port, &[]);
        let failed = offline(&mut events);
        assert!(failed.text().contains("TLS") || failed.text().contains("tls"), "plain to a TLS port: {failed:?}");
    }

    #[test]
    fn x1_a_lost_tls_connection_is_made_again_and_carries_large_payloads() {
        let server = Server::builder().tls(true).config("client-output-buffer-limit", "pubsub 0 0 0").start();
        let proxy = Proxy::start(server.tls_port());
        let client = open(&proxy.tls_url(), &[("tls_ca", path(&server.certs().ca))]);
        talks(&client);
        let mut tap = Tap::on(&client);
        subscribed(&client, &tap, 1, &[b"big"]);
        proxy.cut_all();
        tap.wait(Kind::Lost);
        tap.find("whole again", |e| e.kind == Kind::Active && e.name.is_empty());
        let payload = b"0123456789abcde\n".repeat(200_000);
        client.hub().publish(b"big", &payload, tap.inbox(), 2, deadline()).unwrap();
        assert_eq!(tap.ok(2).number, 1);
        assert!(tap.wait(Kind::Message).data == payload);
    }
}

/// The next question, which must be for that.
#[track_caller]
fn question(events: &mut Tap, what: &str) -> Event {
    let question = events.wait(Kind::Question);
    assert_eq!(question.channel(), what);
    question
}

#[test]
fn x1_credentials_are_asked_for_at_each_attempt_and_a_late_answer_is_a_timeout() {
    let server = Server::builder().acl("user web on >today ~* &* +@all").start();
    let options = [("ask", "credentials"), ("connect_timeout", "2s")];
    let (client, mut events) = open_with_events(&server.url(), &options);
    let answer = |question: &Event, password: &str| {
        client.hub().questions.answer(question.number, Ok(vec![b"web".to_vec(), password.into()]))
    };
    let first = question(&mut events, "credentials");
    assert!(first.aux > 0, "it has a deadline");
    answer(&first, "yesterday").unwrap();
    assert_eq!(offline(&mut events).status(), Status::Auth);
    let second = question(&mut events, "credentials");
    assert_ne!(first.number, second.number);
    assert_eq!(answer(&first, "today"), Err(Status::Timeout), "answered before");
    assert_eq!(client.hub().questions.answer(second.number, Err(Status::Cancelled)), Ok(()));
    let refused = offline(&mut events);
    assert!(refused.text().contains("refused to give the credentials"), "{refused:?}");
    let third = question(&mut events, "credentials");
    answer(&third, "today").unwrap();
    ready(&client);
    // The publish link asks on its own account.
    let mut tap = Tap::on(&client);
    client.hub().publish(b"news", b"x", tap.inbox(), 1, None).unwrap();
    answer(&question(&mut events, "credentials"), "today").unwrap();
    tap.ok(1);
    // A new password while the link is down: the next attempt asks, and connects.
    server.conn().acl_setuser("web resetpass >tomorrow");
    server.conn().kill_pubsub();
    server.conn().kill_normal();
    for _ in 0..2 {
        answer(&question(&mut events, "credentials"), "tomorrow").unwrap();
    }
    ready(&client);
    eventually("both links are back", PATIENCE, || stat(&client, &["publisher", "connects"]) == 2);
    assert_eq!(stat(&client, &["subscriber", "connects"]), 2);
}

#[test]
fn x1_a_question_nobody_answers_fails_the_attempt_and_its_answer_comes_too_late() {
    let server = Server::start();
    let (client, mut events) = open_with_events(&server.url(), &[("ask", "credentials"), ("connect_timeout", "10ms")]);
    let first = question(&mut events, "credentials");
    let failed = offline(&mut events);
    assert_eq!(failed.status(), Status::Timeout);
    assert!(failed.text().contains("did not answer the question for credentials"), "{failed:?}");
    assert_eq!(client.hub().questions.answer(first.number, Ok(Vec::new())), Err(Status::Timeout));
    assert_eq!(client.hub().questions.answer(u64::MAX, Ok(Vec::new())), Err(Status::Timeout));
    let error = Client::open(url_options(&server.url(), &[("ask", "credentials")]), EventsBy::None).unwrap_err();
    assert_eq!(error.status(), Status::InvalidValue);
}

#[test]
fn x2_connected_lost_retrying_offline_and_stopped_are_all_told() {
    let server = Server::start();
    let (client, mut events) = open_with_events(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let state = |events: &mut Tap, state: State| events.find(&format!("{state:?}"), |e| e.is_state(state));
    state(&mut events, State::Connecting);
    let connected = logged(&mut events, "connected to 127.0.0.1:");
    let version = format!("redis {}", server.conn().version());
    assert!(connected.number == 3 && connected.text().contains(&version) && connected.aux > 0, "{connected:?}");
    assert_eq!(state(&mut events, State::Online).source, client.id());
    subscribed(&client, &tap, 1, &[b"news"]);
    state(&mut events, State::Subscribed);
    client.hub().publish(b"news", b"x", tap.inbox(), 2, None).unwrap();
    tap.ok(2);
    state(&mut events, State::PublishOnline);
    server.stop();
    let line = |e: &Event| e.kind == Kind::Log && e.text().starts_with("lost the connection to 127.0.0.1:");
    let lost = events.find("a line about the lost link", line);
    assert!(lost.number == 2 && lost.text().contains("retrying in"), "{lost:?}");
    assert_eq!(state(&mut events, State::Offline).status(), Status::LinkLost);
    assert_eq!(state(&mut events, State::PublishOffline).status(), Status::LinkLost);
    logged(&mut events, "publish link: lost the connection");
    let failed = events.find("a refused attempt", |e| e.is_state(State::Offline) && e.status() == Status::Connect);
    assert!(failed.text().contains("is redis-server running there?"), "{failed:?}");
    server.restart();
    state(&mut events, State::Online);
    state(&mut events, State::Subscribed);
    client.stop().unwrap();
    state(&mut events, State::Stopped);
    assert_eq!(client.stop(), Err(Status::Stopped));
    eventually("it is disconnected", PATIENCE, || server.conn().client_list().len() == 1);
    events.rest();
    client.restart().unwrap();
    state(&mut events, State::Online);
    assert_eq!(client.restart(), Err(Status::NotStopped));
}

#[test]
fn x2_a_slow_consumer_is_told_once_an_episode_and_counted_to_the_message() {
    let server = Server::start();
    let (client, mut events) = open_with_events(&server.url(), &[]);
    let mut tap = Tap::with(&client, &[("inbox_records", "10")]);
    subscribed(&client, &tap, 1, &[b"news"]);
    let mut conn = server.conn();
    for episode in 1..=3 {
        for _ in 0..25 {
            conn.publish(b"news", b"x");
        }
        eventually("the drops are counted", PATIENCE, || tap.inbox().counters().dropped == 15 * episode);
        let slow = events.find("slow consumer", |e| e.is_state(State::SlowConsumer));
        assert_eq!(slow.source, tap.inbox().id());
        assert_eq!(logged(&mut events, "slow consumer").number, 2);
        let got = tap.rest();
        let dropped: u64 = got.iter().filter(|e| e.kind == Kind::Dropped).map(|e| e.number).sum();
        assert_eq!((dropped, got.iter().filter(|e| e.kind == Kind::Message).count()), (15, 10));
        assert!(!events.rest().iter().any(|e| e.is_state(State::SlowConsumer)), "told twice in one episode");
    }
    assert_eq!(stat(&client, &["messages", "dropped"]), 45);
    assert_eq!(stat(&client, &["messages", "received"]), 75);
}

#[test]
fn x2_statistics_count_sent_received_dropped_and_reconnects() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"news"]);
    for i in 0..10 {
        client.hub().post(b"news", b"x", None).unwrap();
        client.hub().publish(b"nobody", b"x", tap.inbox(), i, None).unwrap();
    }
    client.flush(ticket_in(&tap, 100)).unwrap();
    client.barrier(ticket_in(&tap, 101)).unwrap();
    tap.ok(101);
    for losses in 1..=3 {
        server.conn().kill_pubsub();
        tap.wait(Kind::Lost);
        tap.find("whole again", |e| e.kind == Kind::Active && e.name.is_empty());
        assert_eq!(stat(&client, &["subscriber", "reconnects"]), losses);
        assert_eq!(stat(&client, &["subscriber", "losts"]), losses);
    }
    let number = |path: &[&str]| stat(&client, path);
    assert_eq!((number(&["publisher", "sent"]), number(&["publisher", "lost"])), (20, 0));
    assert_eq!((number(&["messages", "received"]), number(&["messages", "dropped"])), (10, 0));
    assert_eq!((number(&["publisher", "connects"]), number(&["publisher", "pending"])), (1, 0));
    assert_eq!((number(&["names"]), number(&["sources"]), number(&["refused"])), (1, 1, 0));
    assert!(number(&["subscriber", "bytes_in"]) > 0 && number(&["subscriber", "attempts"]) >= 4);
    assert_eq!(number(&["client"]), client.id());
}

#[test]
fn x2_the_log_level_decides_which_lines_come_and_states_come_always() {
    let server = Server::start();
    for (level, info, warn) in
        [("off", false, false), ("error", false, false), ("warn", false, true), ("info", true, true)]
    {
        let (client, mut events) = open_with_events(&server.url(), &[("log_level", level)]);
        let mut tap = Tap::on(&client);
        subscribed(&client, &tap, 1, &[b"news"]);
        server.conn().kill_pubsub();
        tap.wait(Kind::Lost);
        tap.find("whole again", |e| e.kind == Kind::Active && e.name.is_empty());
        let told = events.rest();
        let has = |part: &str| told.iter().any(|e| e.kind == Kind::Log && e.text().contains(part));
        assert_eq!((has("connected to"), has("lost the connection")), (info, warn), "{level}");
        assert!(told.iter().any(|e| e.is_state(State::Offline)));
        client.close(deadline()).unwrap();
    }
}
