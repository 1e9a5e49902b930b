//! Acceptance rows X2: servers that are hostile, old, loading, or gone in the middle.
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::mux::events::State;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use support::server::Server;
use support::{Fake, FakeConn, PATIENCE, Value, eventually};
use tap::*;

/// Plays a server well enough: acknowledges what is subscribed, answers PING, counts PUBLISH.
fn behave(conn: &mut FakeConn) {
    let mut subscribed = 0;
    while let Ok(words) = conn.read_words() {
        let mut answer = String::new();
        match words[0].as_str() {
            "SUBSCRIBE" => {
                for name in &words[1..] {
                    subscribed += 1;
                    answer += &format!(">3\r\n$9\r\nsubscribe\r\n${}\r\n{name}\r\n:{subscribed}\r\n", name.len());
                }
            }
            "PING" => answer += "+PONG\r\n",
            "PUBLISH" => answer += ":1\r\n",
            other => answer += &format!("-ERR {other}\r\n"),
        }
        if conn.write(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A server that does something hostile to its first connection, and behaves to later ones.
fn hostile_once(hostile: impl Fn(&mut FakeConn) + Send + Sync + 'static) -> Fake {
    let connections = AtomicUsize::new(0);
    Fake::answering_hello(move |mut conn| {
        if connections.fetch_add(1, Ordering::SeqCst) == 0 {
            hostile(&mut conn);
        } else {
            behave(&mut conn);
        }
    })
}

/// The client hears `said`, with that status, and is whole with the next connection.
#[track_caller]
fn survives(fake: &Fake, options: &[(&str, &str)], status: Status, said: &str) {
    let options = [options, &[("refused_retry", "1h")]].concat();
    let (client, mut events) = open_with_events(&fake.url(), &options);
    let mut tap = Tap::on(&client);
    let sub = subscription(&client, &tap, 1);
    client.hub().add(sub, &[b"news"], ticket(1)).unwrap();
    let line = logged(&mut events, said);
    assert!(line.text().contains("retrying in"), "{line:?}");
    let failed = offline(&mut events);
    assert_eq!(failed.status(), status, "{failed:?}");
    assert_eq!(tap.ok(1).number, 1);
    let lost = tap.wait(Kind::Lost);
    assert_eq!(lost.status(), status);
    assert!(lost.text().contains(said), "{lost:?}");
    client.close(deadline()).unwrap();
}

#[test]
fn x2_nonsense_instead_of_a_frame_is_told_and_the_client_connects_again() {
    let nonsense: [&[u8]; 6] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0\0\0\0",
        b"$99999999999999999999\r\n",
        b"*-5\r\n",
        b">3\r\n:x\r\n",
        b"$3\r\nabcdef",
    ];
    for bytes in nonsense {
        let fake = hostile_once(move |conn| {
            let _ = conn.read_command();
            let _ = conn.write(bytes);
            conn.wait_closed();
        });
        survives(&fake, &[], Status::Protocol, "the server sent ");
        fake.finish();
    }
}

#[test]
fn x2_half_a_frame_for_ever_ends_in_a_ping_timeout() {
    for half in [&b">3\r\n$7\r\nmess"[..], b">", b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1000000\r\nonly a little"] {
        let fake = hostile_once(move |conn| {
            let _ = conn.read_command();
            let _ = conn.write(half);
            conn.wait_closed();
        });
        survives(&fake, &[("ping_interval", "30ms"), ("ping_timeout", "200ms")], Status::PingTimeout, "ping timeout");
        fake.finish();
    }
}

#[test]
fn x2_a_reply_that_nobody_asked_for_ends_the_link_and_not_the_client() {
    for reply in [&b"+OK\r\n"[..], b":1\r\n", b"$2\r\nhi\r\n", b"%1\r\n+a\r\n+b\r\n", b"_\r\n"] {
        for acknowledged in [&b""[..], b">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"] {
            let fake = hostile_once(move |conn| {
                let _ = conn.read_command();
                let _ = conn.write(&[acknowledged, reply].concat());
                conn.wait_closed();
            });
            survives(&fake, &[], Status::Protocol, "an answer to nothing that was asked");
            fake.finish();
        }
    }
}

#[test]
fn x2_an_error_to_a_subscribe_that_is_not_about_permission_ends_the_link() {
    let fake = hostile_once(|conn| {
        let _ = conn.read_command();
        let _ = conn.write(b"-ERR something is wrong with me\r\n");
        conn.wait_closed();
    });
    survives(&fake, &[], Status::Redis, "the server refused to subscribe: ERR something is wrong with me");
    fake.finish();
}

#[test]
fn x2_a_server_that_has_no_time_to_subscribe_or_unsubscribe_is_asked_again_on_the_same_link() {
    let (asked, seen) = channel();
    let fake = Fake::answering_hello(move |mut conn| {
        let mut refused = HashSet::new();
        while let Ok(words) = conn.read_words() {
            let again = !refused.insert(words.clone());
            let answer = match (words[0].as_str(), words.get(1)) {
                ("PING", _) => "+PONG\r\n".to_owned(),
                (_, Some(name)) if name != "a" && !again => "-BUSY Redis is busy running a script.\r\n".to_owned(),
                (verb, Some(name)) => {
                    let verb = verb.to_lowercase();
                    format!(">3\r\n${}\r\n{verb}\r\n${}\r\n{name}\r\n:1\r\n", verb.len(), name.len())
                }
                _ => return,
            };
            let _ = asked.send((words, Instant::now()));
            if conn.write(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    let client = open(&fake.url(), &[]);
    let mut tap = Tap::on(&client);
    let sub = subscribed(&client, &tap, 1, &[b"a"]);
    client.hub().add(sub, &[b"b"], ticket(1)).unwrap();
    tap.ok(1);
    client.hub().remove(sub, &[b"b"], ticket(2)).unwrap();
    tap.ok(2);
    assert!(tap.rest().iter().all(|event| event.kind != Kind::Lost));
    assert_eq!((stat(&client, &["subscriber", "connects"]), fake.connections()), (1, 1));
    let asked: Vec<_> = seen.try_iter().filter(|(words, _)| words[0] != "PING").collect();
    let verbs: Vec<_> = asked.iter().map(|(words, _)| words.join(" ")).collect();
    assert_eq!(verbs, ["SUBSCRIBE a", "SUBSCRIBE b", "SUBSCRIBE b", "UNSUBSCRIBE b", "UNSUBSCRIBE b"]);
    let pauses = [(1, 2), (3, 4)].map(|(one, two)| asked[two].1 - asked[one].1);
    assert!(pauses.iter().all(|pause| *pause >= Duration::from_millis(100)), "{pauses:?}");
}

#[test]
fn x2_a_script_that_runs_for_long_delays_a_subscription_and_costs_nobody_the_link() {
    let server = Server::builder().config("busy-reply-threshold", "1").start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let sub = subscribed(&client, &tap, 1, &[b"a"]);
    let (mut one, mut other) = (server.conn(), server.conn());
    std::thread::scope(|scope| {
        let script = scope.spawn(move || one.command(&["EVAL", "while true do end", "0"]));
        eventually("the script runs", PATIENCE, || matches!(other.command(&["PING"]), Value::Error(_)));
        client.hub().add(sub, &[b"b"], ticket(1)).unwrap();
        client.hub().remove(sub, &[b"a"], ticket(2)).unwrap();
        eventually("both are asked again", PATIENCE, || stat(&client, &["subscriber", "commands"]) >= 5);
        other.expect(&["SCRIPT", "KILL"]);
        assert!(matches!(script.join(), Ok(Value::Error(_))));
    });
    tap.ok(1);
    tap.ok(2);
    assert!(tap.rest().iter().all(|event| event.kind != Kind::Lost));
    assert_eq!(stat(&client, &["subscriber", "connects"]), 1);
    assert_eq!((server.conn().numsub("a"), server.conn().numsub("b")), (0, 1));
}

#[test]
fn x2_a_server_that_closes_at_once_is_dialled_again() {
    let fake = hostile_once(|conn| drop(conn.read_command()));
    survives(&fake, &[], Status::LinkLost, "lost the connection to 127.0.0.1:");
    fake.finish();
}

#[test]
fn x2_pushes_that_nobody_knows_change_nothing() {
    let fake = Fake::answering_hello(|mut conn| {
        let pushes = [
            ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
            ">3\r\n$9\r\nsubscribe\r\n$5\r\nother\r\n:1\r\n",
            ">3\r\n$11\r\nunsubscribe\r\n$5\r\nother\r\n:0\r\n",
            ">3\r\n$7\r\nmessage\r\n$5\r\nother\r\n$1\r\nx\r\n",
            ">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$4\r\nnews\r\n$1\r\nx\r\n",
        ];
        if conn.write(pushes.concat().as_bytes()).is_ok() {
            behave(&mut conn);
        }
    });
    let client = open(&fake.url(), &[]);
    let mut tap = Tap::on(&client);
    subscribed(&client, &tap, 1, &[b"news"]);
    assert_eq!(tap.next().kind, Kind::Active);
    assert_eq!(tap.rest(), []);
    assert_eq!((stat(&client, &["messages", "unmatched"]), stat(&client, &["subscriber", "losts"])), (2, 0));
    client.close(deadline()).unwrap();
    fake.finish();
}

#[test]
fn x2_a_server_that_is_old_or_still_loading_is_named_in_the_error() {
    for (answer, status, said) in [
        ("-ERR unknown command 'HELLO', with args beginning with: '3'", Status::OldServer, "redmux needs Redis 7.0"),
        ("-NOPROTO unsupported protocol version", Status::OldServer, "does not speak RESP3"),
        ("-LOADING Redis is loading the dataset in memory", Status::Redis, "still loading"),
        ("+hello to you too", Status::Protocol, ""),
    ] {
        let fake = Fake::refusing(answer);
        let (client, mut events) = open_with_events(&fake.url(), &[]);
        let failed = offline(&mut events);
        assert_eq!(failed.status(), status, "{answer}: {failed:?}");
        assert!(failed.text().contains(said), "{failed:?}");
        offline(&mut events);
        client.close(deadline()).unwrap();
        fake.finish();
    }
}

#[test]
fn x2_a_hostile_answer_to_a_publish_leaves_it_unknown_and_the_next_one_goes_out() {
    for (answer, said) in [
        (&b"nonsense\r\n"[..], "publish link: lost the connection"),
        (b":1\r\n:1\r\n", "an answer to nothing that was asked"),
        (b"", "closed by the server"),
    ] {
        let publishes = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&publishes);
        let fake = Fake::answering_hello(move |mut conn| {
            while let Ok(words) = conn.read_words() {
                let first = words[0] == "PUBLISH" && seen.fetch_add(1, Ordering::SeqCst) == 0;
                let reply = match words[0].as_str() {
                    "PUBLISH" if first => answer,
                    "PUBLISH" => b":1\r\n",
                    _ => b"+PONG\r\n",
                };
                if conn.write(reply).is_err() || first && answer.is_empty() {
                    return;
                }
            }
        });
        let (client, mut events) = open_with_events(&fake.url(), &[]);
        let mut tap = Tap::on(&client);
        client.hub().publish(b"news", b"x", tap.inbox(), 1, None).unwrap();
        let first = tap.done(1).status();
        assert_eq!(first, if answer.starts_with(b":1") { Status::Ok } else { Status::Unknown });
        logged(&mut events, said);
        client.hub().publish(b"news", b"x", tap.inbox(), 2, None).unwrap();
        assert_eq!(tap.ok(2).number, 1);
        assert_eq!(publishes.load(Ordering::SeqCst), 2, "nothing is repeated");
        client.close(deadline()).unwrap();
        fake.finish();
    }
}

#[test]
fn x2_a_publish_link_that_never_answers_is_given_up_while_others_go_on_posting() {
    let fake = Fake::answering_hello(|mut conn| while conn.read_some().is_ok() {});
    // A small queue, so that the kernel always takes all of it.
    let options = [("ping_interval", "500ms"), ("ping_timeout", "500ms"), ("publish_queue", "4KiB")];
    let (client, mut events) = open_with_events(&fake.url(), &options);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _ = client.hub().post(b"news", b"x", None);
                }
            });
        }
        let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            events.find("the end of the publish link", |event| event.is_state(State::PublishOffline))
        }));
        over.store(true, Ordering::Relaxed);
        let gone = gone.expect("the link is given up");
        assert!(gone.text().contains("ping timeout"), "{gone:?}");
    });
}

#[test]
fn x2_a_server_that_greets_and_hangs_up_is_dialled_at_growing_intervals_by_both_links() {
    let fake = Fake::answering_hello(|_| {});
    let (client, mut events) = open_with_events(&fake.url(), &[("backoff_min", "1ms"), ("backoff_max", "20ms")]);
    client.hub().post(b"news", b"x", None).unwrap();
    // A pause of the first attempt is below a millisecond, and is shown in microseconds.
    let grown = |e: &Event| e.kind == Kind::Log && e.text().ends_with("ms");
    events.find("a longer pause of the publish link", |e| grown(e) && e.text().starts_with("publish link: "));
    events.find("a longer pause of the subscriber link", |e| grown(e) && e.text().starts_with("lost the connection"));
    client.close(deadline()).unwrap();
    fake.finish();
}
