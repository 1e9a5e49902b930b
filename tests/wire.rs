//! The wire format: a peer written by `docs/wire.md` alone, in Perl, against the library in both directions; and the
//! page's tables against what the library reads and writes.
#![cfg(feature = "tool")]

#[path = "support/asking.rs"]
mod asking;
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;
mod tool_run;

use asking::*;
use redmux::buffer::{Reason, Say};
use redmux::error::Status;
use redmux::inbox::Kind as Record;
use redmux::proto::envelope::{self, Head, Kind};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use support::server::Server;
use tap::*;
use tool_run::Running;

const PAGE: &str = include_str!("../docs/wire.md");
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/peer.pl");
/// So long that only a test that hangs meets it.
const LONG: Duration = Duration::from_secs(600);

fn peer(server: &Server, words: &[&str]) -> Running {
    let (mode, rest) = words.split_first().expect("a mode");
    let mut command = Command::new("perl");
    command.arg(PEER).arg(mode).arg(server.port().to_string()).args(rest);
    Running::start(command)
}

fn serving(server: &Server, words: &[&str]) -> Running {
    let peer = peer(server, words);
    assert_eq!(peer.line(), "serving");
    peer
}

fn head_of(frame: &[u8]) -> Value {
    serde_json::from_slice(envelope::read(frame).expect("a frame").line).expect("a head")
}

#[test]
fn a_peer_answers_with_values_parts_and_errors() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let _peer = serving(&server, &["serve", "x"]);
    let result = ask(&asker, b"x", b"hello\nworld", &[]).result().expect(Reason::All);
    assert_eq!(result.bodies(), ["HELLO\nWORLD"]);
    assert_eq!(head(&result.answers[0])["name"], "perl peer");
    let result = ask(&asker, b"x", b"parts 3", &[]).result().expect(Reason::All);
    assert_eq!(result.bodies(), ["part 0", "part 1", "part 2"]);
    let result = ask(&asker, b"x", b"fail no luck", &[]).result().expect(Reason::Failed);
    assert_eq!((result.errors[0].status(), &head(&result.errors[0])["message"]), (Status::Remote, &json!("no luck")));
    let result = ask(&asker, b"x", b"busy", &[]).result().expect(Reason::Failed);
    assert_eq!((result.errors[0].status(), &head(&result.errors[0])["retriable"]), (Status::Full, &json!(true)));
}

#[test]
fn a_peer_that_says_each_second_that_it_is_alive_is_waited_for_and_a_silent_one_is_not() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let peer = serving(&server, &["serve", "x"]);
    let mut slow = ask_for(&asker, b"x", b"slow 4.5", &[], LONG);
    let mut silent = ask_for(&asker, b"x", b"silent", &[], LONG);
    let result = silent.result().expect(Reason::All);
    assert_eq!((result.answers.len(), result.missing()), (0, vec!["perl peer".into()]));
    let result = slow.result().expect(Reason::All);
    assert_eq!((result.bodies(), result.missing()), (vec!["at last".into()], vec![]));
    drop(peer);
}

#[test]
fn a_peer_hears_a_cancel_and_gives_up_when_the_time_is_over() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let peer = serving(&server, &["serve", "x"]);
    let mut asked = ask(&asker, b"x", b"slow 600", &[("accepted", "true"), ("request_id", "mine")]);
    asked.tap.wait(Record::Accepted);
    asker.buffer().unwrap().stop(asked.id, Reason::Cancelled).unwrap();
    assert_eq!(peer.line(), "cancelled mine");
    ask_for(&asker, b"x", b"slow 600", &[("request_id", "brief")], Duration::from_millis(200))
        .result()
        .expect(Reason::Deadline);
    assert_eq!(peer.line(), "gave up brief");
}

#[test]
fn one_member_of_a_group_answers_whatever_it_is_written_in() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let _peers = [serving(&server, &["serve", "x", "g"]), serving(&server, &["serve", "x", "g"])];
    let member = open(&server.url(), &[]);
    let ours = serve(&member, b"x", &[("group", "g")]).on_a_thread(<[u8]>::to_ascii_uppercase);
    for _ in 0..30 {
        let result = ask(&asker, b"x", b"a", &[]).result().expect(Reason::All);
        assert_eq!((result.bodies(), result.report["expected"].as_u64()), (vec!["A".into()], Some(3)));
    }
    member.close(None).unwrap();
    ours.join().unwrap();
}

#[test]
fn a_peer_is_found_by_who_looks_for_services() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let _peer = serving(&server, &["serve", "x", "g"]);
    assert_eq!(ask(&asker, b"$", b"PING", &[]).result().expect(Reason::All).bodies(), ["PONG"]);
    ask(&asker, b"$", b"SING", &[]).result().expect(Reason::Failed);
    let ran = tool_run::run(tool_run::tool(&server.url(), &["services", "--stats", "--json"]));
    let line: Value = serde_json::from_str(&ran.stdout).expect(&ran.stdout);
    assert_eq!((&line["service"], &line["group"], &line["name"]), (&json!("x"), &json!("g"), &json!("perl peer")));
    assert_eq!((&line["requests"], &line["errors"]), (&json!(0), &json!(0)));
}

#[test]
fn a_peer_asks_and_has_every_answer() {
    let server = Server::start();
    let mut parts = serve(&open(&server.url(), &[("name", "one")]), b"x", &[]);
    let mut fails = serve(&open(&server.url(), &[("name", "two")]), b"x", &[]);
    let mut asker = peer(&server, &["ask", "x", "what?", "600"]);
    let request = parts.request();
    assert_eq!((request.payload(), &head(&request)["h"]["lang"]), ("what?".into(), &json!("perl")));
    parts.part(&request, b"a");
    parts.answer(&request, b"b");
    assert_eq!([asker.line(), asker.line(), asker.line()], ["n 2", "answer one 0: a", "answer one 1: b"]);
    let request = fails.request();
    fails.say(&request, Say::Error { code: "BROKEN", message: "no luck", retriable: false });
    assert_eq!([asker.line(), asker.line()], ["error two BROKEN: no luck", "end all"]);
    assert_eq!(asker.end(support::PATIENCE), 0);
    let nobody = peer(&server, &["ask", "nobody", "", "600"]);
    assert_eq!([nobody.line(), nobody.line()], ["n 0", "end nobody"]);
}

#[test]
fn the_library_tells_a_peer_that_it_is_alive() {
    let server = Server::start();
    let mut service = serve(&open(&server.url(), &[("name", "slow")]), b"x", &[]);
    let watching = open(&server.url(), &[]);
    let mut replies = Tap::on(&watching);
    pattern(&watching, &replies, 1, b"redmux:reply:*");
    let asker = peer(&server, &["ask", "x", "", "600"]);
    let request = service.request();
    // More of them than an asker waits without.
    for kind in ["accepted", "alive", "alive", "alive", "alive"] {
        let frame = replies.wait(Record::Message);
        assert_eq!(envelope::read(&frame.data).unwrap().kind.word(), kind);
    }
    service.answer(&request, b"done");
    assert_eq!([asker.line(), asker.line(), asker.line()], ["n 1", "answer slow 0: done", "end all"]);
}

#[test]
fn a_peer_names_who_is_missing_and_its_cancel_is_heard() {
    let server = Server::start();
    let mut quick = serve(&open(&server.url(), &[("name", "quick")]), b"x", &[]);
    let mut slow = serve(&open(&server.url(), &[("name", "slow")]), b"x", &[]);
    let asker = peer(&server, &["ask", "x", "", "600", "1"]);
    let (of_quick, of_slow) = (quick.request(), slow.request());
    // Its two milliseconds are over for the slow one when its acceptance has reached somebody.
    let watching = open(&server.url(), &[]);
    let mut replies = Tap::on(&watching);
    pattern(&watching, &replies, 1, b"redmux:reply:*");
    replies.find("a sign of the slow one", |event| {
        event.kind == Record::Message && event.payload().contains(r#""name":"slow""#)
    });
    quick.answer(&of_quick, b"here");
    assert_eq!([asker.line(), asker.line()], ["n 2", "answer quick 0: here"]);
    assert_eq!([asker.line(), asker.line()], ["missing slow", "end enough"]);
    let cancel = slow.tap.wait(Record::Cancel);
    assert_eq!((cancel.number, cancel.status()), (of_slow.number, Status::Cancelled));
    let asker = peer(&server, &["ask", "x", "", "5"]);
    let request = quick.request();
    quick.answer(&request, b"here");
    assert_eq!([asker.line(), asker.line()], ["n 2", "answer quick 0: here"]);
    assert_eq!([asker.line(), asker.line()], ["missing slow", "end deadline"]);
}

#[test]
fn a_part_without_a_number_is_no_frame_and_ends_nothing() {
    let server = Server::start();
    let asker = open(&server.url(), &[]);
    let by_hand = open(&server.url(), &[]);
    let mut listening = Tap::on(&by_hand);
    subscribed(&by_hand, &listening, 1, &[b"redmux:svc:x"]);
    let mut asked = ask(&asker, b"x", b"", &[("request_id", "mine")]);
    let request = listening.wait(Record::Message);
    let reply = head_of(&request.data)["reply"].as_str().unwrap().to_owned();
    let mut conn = server.conn();
    conn.publish(reply.as_bytes(), b"{\"v\":1,\"k\":\"part\",\"id\":\"mine\",\"by\":\"hand\"}\nlost");
    conn.publish(reply.as_bytes(), b"{\"v\":1,\"k\":\"end\",\"id\":\"mine\",\"by\":\"hand\",\"seq\":0}\nkept");
    assert_eq!(asked.result().expect(Reason::All).bodies(), ["kept"]);
    assert_eq!(stat(&asker, &["requests", "malformed"]), 1);
}

#[test]
fn the_page_has_every_key_and_every_kind() {
    let h = envelope::headers(b"{}").unwrap();
    let full = Head {
        id: "a".into(),
        ids: vec!["a".into()],
        by: "a".into(),
        name: "a".into(),
        seq: Some(0),
        n: Some(1),
        from: "a".into(),
        reply: "a".into(),
        ttl: Some(1),
        attempt: 1,
        expect: Some(1),
        not: "a".into(),
        asking: "a".into(),
        repeat: true,
        code: "a".into(),
        message: "a".into(),
        retriable: true,
        h: Some(h),
        ..Head::new(Kind::Request)
    };
    let keys: Value = serde_json::from_slice(envelope::read(&full.frame(b"")).unwrap().line).unwrap();
    let rows = |header: &str| {
        let rows = PAGE.split(header).nth(1).expect(header).lines().skip(2).take_while(|line| line.starts_with('|'));
        rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut on_page = rows("| key | type | in | means |");
    let mut known: Vec<String> = keys.as_object().unwrap().keys().cloned().collect();
    known.sort();
    on_page.sort();
    assert_eq!(on_page, known);
    let kinds = rows("| kind | to | says | needs |");
    for word in &kinds {
        assert!(envelope::read(format!("{{\"v\":1,\"k\":\"{word}\"}}\n").as_bytes()).is_ok(), "{word} is no kind");
    }
    let all =
        [Kind::Request, Kind::Accepted, Kind::Part, Kind::End, Kind::Error, Kind::Alive, Kind::Declined, Kind::Cancel];
    assert!(all.iter().all(|kind| kinds.iter().any(|word| word == kind.word())) && kinds.len() == all.len());
    // What stands there as a frame is one.
    let frame = PAGE.split("```\n{\"v\":1").nth(1).unwrap().split("\n```").next().unwrap();
    let frame = format!("{{\"v\":1{}", frame.replace('⏎', ""));
    assert_eq!(envelope::read(frame.as_bytes()).unwrap().kind, Kind::Part);
}

#[test]
fn what_the_page_says_of_heads_is_what_the_library_does() {
    let read = |frame: &str| envelope::read(frame.as_bytes()).map(|frame| frame.body.to_vec());
    assert_eq!(read("{\"new\":[1],\"k\":\"cancel\",\"v\":1}\n").unwrap(), b"", "any order, unknown keys, no body");
    for bad in [
        "{\"v\":1,\"k\":\"end\",\"name\":null}\n",
        "{\"v\":1,\"k\":\"end\",\"seq\":0.5}\n",
        "{\"v\":1,\"k\":\"end\",\"seq\":-1}\n",
        "{\"v\":1,\"k\":\"end\",\"seq\":1e3}\n",
        "{\"v\":1,\"k\":\"end\"}",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    let head = |len: usize| format!("{{\"v\":1,\"k\":\"end\",\"id\":\"{}\"}}\n", "x".repeat(len - 26));
    assert_eq!(head(65_536).len(), 65_536);
    assert!(read(&head(65_536)).is_ok() && read(&head(65_537)).is_err());
}
