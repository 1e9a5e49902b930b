//! Rules 33 and 34 of the C contract: statistics are what their schema says, and a wrapper names itself.

#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::client::{Client, EventsBy};
use redmux::inbox::dispatch::Sink;
use redmux::inbox::{Kind, Lent};
use redmux::mux::subscription::Ticket;
use serde_json::Value;
use std::sync::{Arc, mpsc};
use std::time::Instant;
use support::{Fake, PATIENCE, Server, eventually};
use tap::{Tap, add, open, open_with_events, ready, remove, stat, subscribed, subscription, ticket_in, url_options};

/// As much of JSON Schema as the schema here uses. An unknown keyword is an error: it would be a rule nobody checks.
fn problems(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let mut must = |ok: bool| {
            if !ok {
                found.push(format!("{at}: {value} is against {keyword}: {rule}"));
            }
        };
        match keyword.as_str() {
            "$schema" | "title" | "description" => {}
            "type" => {
                let names = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                must(names.iter().any(|name| is_a(value, name.as_str().expect("a type"))));
            }
            "const" => must(value == rule),
            "minimum" => must(value.as_f64().is_none_or(|number| number >= rule.as_f64().expect("a number"))),
            // Of a null nothing is required: its type says whether it may be one.
            "required" if value.is_null() => {}
            "required" => {
                for key in rule.as_array().expect("a list") {
                    must(value.get(key.as_str().expect("a key")).is_some());
                }
            }
            "additionalProperties" => {
                assert_eq!(*rule, false, "only `false` is understood here");
                let known = schema["properties"].as_object().expect("properties");
                for key in value.as_object().into_iter().flatten().map(|(key, _)| key) {
                    must(known.contains_key(key));
                }
            }
            "properties" => {
                for (key, schema) in rule.as_object().expect("an object") {
                    if let Some(value) = value.get(key) {
                        problems(schema, value, &format!("{at}.{key}"), found);
                    }
                }
            }
            other => panic!("{at}: the keyword {other} is not understood here"),
        }
    }
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not understood here"),
    }
}

fn schema() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/stats.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect(path)).expect("the schema is JSON")
}

#[track_caller]
fn assert_fits(text: &str) {
    let mut found = Vec::new();
    problems(&schema(), &serde_json::from_str(text).expect("statistics are JSON"), "stats", &mut found);
    assert_eq!(found, Vec::<String>::new(), "{text}");
}

#[test]
fn rule_33_every_key_of_the_schema_is_described_and_required() {
    fn walk(schema: &Value, at: &str) {
        assert!(schema["description"].as_str().is_some_and(|text| text.len() > 4), "{at} has no description");
        let Some(properties) = schema["properties"].as_object() else { return };
        let required: Vec<_> = schema["required"].as_array().expect(at).iter().filter_map(Value::as_str).collect();
        for (key, schema) in properties {
            assert!(required.contains(&key.as_str()), "{at}.{key} is not required");
            walk(schema, &format!("{at}.{key}"));
        }
        assert_eq!(required.len(), properties.len(), "{at} requires what it does not describe");
    }
    walk(&schema(), "stats");
}

#[test]
fn rule_33_the_validator_finds_what_is_wrong() {
    let server = Server::builder().prepare();
    let good: Value = serde_json::from_str(&open(&server.url(), &[]).stats()).unwrap();
    for (key, bad) in [("online", Value::from(1)), ("names", Value::from(-1)), ("server", Value::from(7))] {
        let (mut stats, mut found) = (good.clone(), Vec::new());
        stats[key] = bad;
        problems(&schema(), &stats, "stats", &mut found);
        assert_eq!(found.len(), 1, "{found:?}");
    }
    let (mut stats, mut found) = (good, Vec::new());
    stats["subscriber"]["new"] = Value::from(1);
    stats["publisher"].as_object_mut().unwrap().remove("lost");
    problems(&schema(), &stats, "stats", &mut found);
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn rule_33_the_statistics_fit_their_schema_through_the_life_of_a_client_and_count_right() {
    let server = Server::builder().prepare();
    let client = open(&server.url(), &[("backoff_max", "20ms")]);
    let mut tap = Tap::with(&client, &[("inbox_records", "10")]);
    assert_fits(&client.stats());
    server.restart();
    ready(&client);
    assert_fits(&client.stats());
    let source = subscribed(&client, &tap, 1, &[b"a", b"b"]);
    assert_eq!((stat(&client, &["names"]), stat(&client, &["sources"]), stat(&client, &["inboxes"])), (2, 1, 1));
    tap.rest();
    let mut conn = server.conn();
    (0..25).for_each(|number: u32| {
        conn.publish(b"a", number.to_string().as_bytes());
    });
    eventually("25 messages were read", PATIENCE, || stat(&client, &["messages", "received"]) == 25);
    assert_eq!(stat(&client, &["messages", "dropped"]), 15);
    let events = tap.rest();
    let dropped: u64 = events.iter().filter(|event| event.kind == Kind::Dropped).map(|event| event.number).sum();
    assert_eq!((dropped, events.iter().filter(|event| event.kind == Kind::Message).count()), (15, 10));
    for token in 0..3 {
        client.hub().publish(b"nobody", b"x", tap.inbox(), token, tap::deadline()).unwrap();
        tap.ok(token);
    }
    assert_eq!((stat(&client, &["publisher", "sent"]), stat(&client, &["publisher", "pending"])), (3, 0));
    conn.kill_pubsub();
    tap.find("whole again", |event| event.kind == Kind::Active && event.name.is_empty());
    let link = |key| stat(&client, &["subscriber", key]);
    assert_eq!((link("connects"), link("reconnects"), link("losts")), (2, 1, 1));
    remove(&client, source, &[b"a"]);
    assert_eq!(stat(&client, &["names"]), 1);
    // The block that was taken last is given back, so nothing is held.
    tap.rest();
    eventually("nothing is held", PATIENCE, || stat(&client, &["inbox_bytes"]) == 0);
    assert_fits(&client.stats());
    server.stop();
    eventually("the link is down", PATIENCE, || client.stats().contains("\"online\":false"));
    assert_fits(&client.stats());
    client.close(tap::deadline()).unwrap();
    assert_fits(&client.stats());
    assert_eq!((stat(&client, &["names"]), stat(&client, &["sources"]), stat(&client, &["operations"])), (0, 0, 0));
}

#[test]
fn rule_32_refused_retried_lost_and_dropped_are_logged_at_the_default_level() {
    let server = Server::builder().acl("user limited on nopass +@all resetchannels &yes").start();
    let (client, mut events) = open_with_events(&server.url_as("limited", ""), &[("backoff_max", "20ms")]);
    let mut tap = Tap::with(&client, &[("inbox_records", "2")]);
    let source = subscription(&client, &tap, 1);
    add(&client, source, &[b"yes"]);
    client.hub().add(source, &[b"no"], ticket_in(&tap, 5)).unwrap();
    tap.done(5);
    let mut conn = server.conn();
    (0..5).for_each(|_| {
        conn.publish(b"yes", b"x");
    });
    let mut log = |part: &str| {
        events.find(part, |event| event.kind == Kind::Log && event.text().to_lowercase().contains(part));
    };
    log("refused");
    log("dropped");
    conn.kill_pubsub();
    log("lost");
    server.stop();
    log("retrying");
}

/// Tells the lines that it is given, and fails each time.
struct Fails(mpsc::Sender<String>);

impl Sink for Fails {
    fn deliver(&mut self, block: &Lent) -> i32 {
        for record in block.records() {
            let _ = self.0.send(String::from_utf8_lossy(record.extra(block.data())).into_owned());
        }
        7
    }
}

/// A client without a server, whose event callback fails, and what that is given.
fn with_failing_events() -> (Arc<Client>, mpsc::Receiver<String>) {
    let options = url_options("redis://127.0.0.1:1", &[("log_level", "warn")]);
    let (tells, told) = mpsc::channel();
    (Client::open(options, EventsBy::Callback(Box::new(Fails(tells)))).unwrap(), told)
}

/// All lines up to that one.
fn lines_to(last: &str, told: &mpsc::Receiver<String>) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != last) {
        lines.push(told.recv_timeout(PATIENCE).unwrap());
    }
    lines
}

#[test]
fn rule_32_an_event_callback_that_fails_is_not_told_so_for_ever() {
    let (client, told) = with_failing_events();
    let mut lines = vec![told.recv_timeout(PATIENCE).unwrap()];
    client.stop().unwrap();
    // One thread delivers: what came of the first failure is in the inbox by now, or was here.
    lines.extend(lines_to("stopped by the application", &told));
    client.close(None).unwrap();
    drop(client);
    lines.extend(told);
    assert!(!lines.iter().any(|line| line.contains("returned 7")), "{lines:?}");
}

#[test]
fn rule_32_an_event_callback_that_fails_is_told_of_others_that_fail() {
    let (client, told) = with_failing_events();
    let (tells, _told) = mpsc::channel();
    let inbox = client.new_inbox(None, Some(Box::new(Fails(tells)))).unwrap();
    // Completes at once, because its time is over.
    client.ready(Ticket { inbox: Some(Arc::clone(&inbox)), token: 1, deadline: Some(Instant::now()) }).unwrap();
    lines_to(&format!("the callback of inbox {:#x} returned 7; delivery goes on", inbox.id()), &told);
    client.close(None).unwrap();
}

/// What a client sends before anything else, to a server that answers the greeting.
fn greeting(options: &[(&str, &str)]) -> Vec<Vec<String>> {
    let (sender, commands) = mpsc::channel();
    let fake = Fake::scripted(move |mut conn| {
        while let Ok(words) = conn.read_words() {
            let hello = words[0] == "HELLO";
            let _ = sender.send(words);
            let answer = if hello { support::fake::HELLO_ANSWER } else { b"+OK\r\n" };
            if conn.write(answer).is_err() {
                return;
            }
        }
    });
    let client = open(&fake.url(), options);
    ready(&client);
    let said: Vec<_> = (0..3).map(|_| commands.recv_timeout(PATIENCE).expect("three commands")).collect();
    client.close(tap::deadline()).unwrap();
    fake.finish();
    said
}

#[test]
fn rule_34_a_wrapper_names_itself_to_the_server() {
    let said = greeting(&[("wrapper", "python/3.12.1"), ("name", "api-3")]);
    let has = |words: &[&str]| said.iter().any(|said| said == words);
    assert!(has(&["CLIENT", "SETINFO", "LIB-NAME", "redmux(python/3.12.1)"]), "{said:?}");
    assert!(has(&["CLIENT", "SETINFO", "LIB-VER", env!("CARGO_PKG_VERSION")]), "{said:?}");
    assert!(said.concat().contains(&"api-3".to_owned()), "{said:?}");
    let said = greeting(&[]);
    let plain = ["CLIENT", "SETINFO", "LIB-NAME", "redmux"];
    assert!(said.iter().any(|said| said == &plain), "{said:?}");
}
