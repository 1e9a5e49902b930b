//! The command-line tool against real servers: rows B5, B9, B10 and M23 (its doctor), and what its help promises.
#![cfg(feature = "tool")]

#[path = "support/mod.rs"]
mod support;
mod tool_run;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{PATIENCE, Server, eventually, process, temp_dir};
use tool_run::{Running, TOOL, clean, run, tool};

/// What is promised for the end after Ctrl-C, with room for a machine that is busy with other tests.
const END: Duration = PATIENCE;

#[test]
fn b5_two_subscribers_print_what_is_published_once() {
    let server = Server::start();
    let monitor = server.monitor();
    let both: Vec<Running> = (0..2).map(|_| Running::start(tool(&server.url(), &["sub", "my_channel"]))).collect();
    both.iter().for_each(|sub| drop(sub.noted("listening on [my_channel]")));
    let ran = run(tool(&server.url(), &["pub", "my_channel", "Hello World!"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "my_channel: 2 receivers\n"), "{}", ran.stderr);
    for sub in &both {
        assert_eq!(sub.line(), "[my_channel] Hello World!");
    }
    monitor.wait_for("PUBLISH");
    let published = monitor.lines().iter().filter(|line| line.contains("PUBLISH")).count();
    assert_eq!(published, 1, "one message is one command");
}

#[test]
fn b9_monitor_shows_subscribe_and_publish_with_receivers() {
    let server = Server::start();
    let monitor = Running::start(tool(&server.url(), &["monitor"]));
    monitor.noted("watching Pub/Sub");
    let sub = Running::start(tool(&server.url(), &["sub", "my_channel", "-q"]));
    let line = monitor.line();
    assert!(line.ends_with("SUBSCRIBE my_channel"), "{line}");
    run(tool(&server.url(), &["pub", "my_channel", "Hello World!", "--json"]));
    let line = monitor.line();
    assert!(line.ends_with("PUBLISH my_channel 'Hello World!'  -> 1 receiver"), "{line}");
    assert_eq!(sub.line(), "[my_channel] Hello World!");
    run(tool(&server.url(), &["pub", "nobody", "x"]));
    let line = monitor.line();
    assert!(line.ends_with("PUBLISH nobody x  -> 0 receivers"), "{line}");
    let pattern = Running::start(tool(&server.url(), &["sub", "-p", "no*"]));
    pattern.noted("listening on [no*]");
    assert!(monitor.line().ends_with("PSUBSCRIBE no*"));
    run(tool(&server.url(), &["pub", "nobody", "x"]));
    let line = monitor.line();
    assert!(line.ends_with("-> 0 receivers or more (1 pattern in use)"), "{line}");
}

#[test]
fn b9_monitor_says_what_it_cut_and_keeps_what_is_no_text() {
    let server = Server::start();
    let [shown, json] = [&["monitor"][..], &["monitor", "--json"]].map(|args| {
        let monitor = Running::start(tool(&server.url(), args));
        monitor.noted("watching Pub/Sub");
        monitor
    });
    let mut conn = server.conn();
    conn.publish(b"big", &[b'x'; 40 * 1024]);
    conn.publish(b"small", b"\xff\x00");
    let line = shown.line();
    assert!(line.contains("xxx… (16,") && line.ends_with(" bytes or more)  -> 0 receivers"), "{line}");
    assert!(shown.line().contains("PUBLISH small"));
    let [big, small] = [json.line(), json.line()].map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap());
    let kept = big["payload"].as_str().unwrap();
    assert!(big["cut"] == true && kept.len() > 16_000 && kept.bytes().all(|byte| byte == b'x'), "{big}");
    assert_eq!((&small["payload_base64"], small.get("cut")), (&"/wA=".into(), None));
}

#[test]
fn b9_monitor_never_shows_a_password() {
    let server = Server::builder().acl("user web on >s3cret ~* &* +@all").start();
    let url = server.url_as("web", "s3cret");
    let mut monitor = Running::start(tool(&url, &["monitor", "--all"]));
    monitor.noted("watching every command");
    let mut conn = server.conn();
    conn.expect(&["AUTH", "web", "s3cret"]);
    conn.expect(&["ACL", "SETUSER", "web", ">s3cret"]);
    conn.expect(&["CONFIG", "SET", "masterauth", "s3cret"]);
    run(tool(&url, &["pub", "before", "them"]));
    let ran = run(tool(&url, &["pub", "after", "them"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut all = String::new();
    while !all.contains("PUBLISH after them") {
        all.push_str(&monitor.line());
    }
    process::send_signal(&monitor.child, libc::SIGINT);
    assert_eq!(monitor.end(END), 0);
    assert!(!all.contains("PUBSUB"), "what monitor itself asks is no news: {all}");
    assert!(!all.contains("s3cret") && !monitor.rest(false).contains("s3cret"), "{all}");
}

#[test]
fn b10_a_format_of_ones_own() {
    let server = Server::start();
    let format = "I heard [{payload}] on channel [{channel}]";
    let mut sub = Running::start(tool(&server.url(), &["sub", "my_channel", "--format", format, "--count", "2"]));
    sub.noted("listening on [my_channel]");
    let mut conn = server.conn();
    conn.publish(b"my_channel", b"Hello World!");
    conn.publish(b"my_channel", b"\x1b[2J\xff");
    assert_eq!(sub.line(), "I heard [Hello World!] on channel [my_channel]");
    assert_eq!(sub.line(), "I heard [\x1b[2J\u{fffd}] on channel [my_channel]", "into a pipe, byte for byte");
    assert_eq!(sub.end(END), 0);
    assert!(sub.rest(false).contains("-- 2 messages"));
}

#[test]
fn b10_a_lost_connection_is_shown_once_with_its_begin_and_its_end() {
    let server = Server::start();
    let sub = Running::start(tool(&server.url(), &["sub", "a", "-p", "b*", "--json"]));
    let kinds = |wanted: &str| {
        let line = sub.line();
        let json: serde_json::Value = serde_json::from_str(&line).expect(&line);
        assert_eq!(json["kind"], wanted, "{line}");
        json
    };
    kinds("active");
    kinds("active");
    let mut conn = server.conn();
    conn.kill_pubsub();
    assert!(kinds("lost")["text"].as_str().unwrap().contains("closed by the server"));
    kinds("active");
    conn.publish(b"bc", b"\xff\x00");
    let message = kinds("message");
    assert_eq!((&message["pattern"], &message["payload_base64"]), (&"b*".into(), &"/wA=".into()));
}

#[test]
fn b10_messages_that_were_dropped_are_counted_where_they_are_missing() {
    let server = Server::start();
    // Room for one message, and a reader that does not read: its pipe fills, and the inbox drops.
    let args = ["sub", "flood", "-o", "inbox_records=1", "-q", "--json"];
    let mut command = tool(&server.url(), &args);
    command.stdout(Stdio::piped());
    let mut child = process::spawn(command).unwrap();
    let mut conn = server.conn();
    eventually("it subscribes", PATIENCE, || conn.numsub("flood") == 1);
    let payload = vec![b'x'; 4096];
    let sent = 2000;
    for _ in 0..sent {
        conn.publish(b"flood", &payload);
    }
    conn.publish(b"flood", b"last");
    let (mut heard, mut dropped) = (0, 0);
    let stdout = child.stdout.take().unwrap();
    for line in std::io::BufRead::lines(std::io::BufReader::new(stdout)) {
        let json: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        match json["kind"].as_str().unwrap() {
            "message" => heard += 1,
            "dropped" => dropped += json["count"].as_u64().unwrap(),
            _ => {}
        }
        if json["payload"] == "last" {
            break;
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    assert!(dropped > 0, "nothing was dropped");
    assert_eq!(heard + dropped, sent + 1, "each message was printed or counted");
}

#[test]
fn b10_the_time_of_a_subscriber_is_over_also_while_it_is_slower_than_what_comes() {
    let server = Server::start();
    let time = Duration::from_secs(2);
    let sent = 2000;
    let mut command = tool(&server.url(), &["sub", "flood", "--timeout", "2s", "--count", "2000"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = process::spawn(command).unwrap();
    let mut conn = server.conn();
    eventually("it subscribes", PATIENCE, || conn.numsub("flood") == 1);
    let subscribed = Instant::now();
    // More than a pipe and a block hold, and all of it has room in the inbox.
    for _ in 0..sent {
        conn.publish(b"flood", &[b'x'; 16 * 1024]);
    }
    // Nobody reads until its time is over.
    std::thread::sleep((subscribed + time).saturating_duration_since(Instant::now()));
    let printed = std::io::BufReader::new(child.stdout.take().unwrap());
    let heard = std::io::BufRead::split(printed, b'\n').count();
    assert!(heard < sent, "it went on until there was nothing more");
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn m23_doctor_warns_of_a_payload_that_closes_subscribers() {
    let server = Server::start();
    let ran = run(tool(&server.url(), &["doctor"]));
    assert_eq!(ran.code, 0, "a warning is no fault: {}{}", ran.stdout, ran.stderr);
    for part in [
        &format!("server       redis {}", server.conn().version()),
        "round trip",
        "client-output-buffer-limit pubsub is 32MiB",
        "max_payload is 64MiB: a payload from 32MiB on closes every subscriber",
        "CONFIG SET client-output-buffer-limit \"pubsub 128mb 64mb 60\"",
        "connections in use",
        "a message made the round",
        "it works; 1 warning",
    ] {
        assert!(ran.stdout.contains(part), "no {part:?} in\n{}", ran.stdout);
    }
    assert_eq!(run(tool(&server.url(), &["doctor", "--strict"])).code, 1);
    // What it says to do helps.
    server.conn().config_set("client-output-buffer-limit", "pubsub 128mb 64mb 60");
    let ran = run(tool(&server.url(), &["doctor", "--strict"]));
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert!(ran.stdout.ends_with("all is well\n"), "{}", ran.stdout);
}

#[test]
fn m23_doctor_names_the_rights_that_a_user_lacks() {
    let line = "user web on >secret ~* resetchannels &orders +@all -@admin -@dangerous";
    let server = Server::builder().acl(line).start();
    let url = server.url_as("web", "secret");
    let ran = run(tool(&url, &["doctor", "--channel", "orders", "--channel", "news"]));
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    let line = |part: &str| {
        ran.stdout.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {}", ran.stdout))
    };
    assert!(line("orders: allowed").starts_with("ok"));
    assert!(line("add \"news\"").starts_with("fail") && line("add \"news\"").contains("NOPERM"));
    assert!(line("may not ask CONFIG GET").starts_with("note"));
    assert!(!ran.stdout.contains("secret"), "{}", ran.stdout);
}

#[test]
fn m23_doctor_says_why_there_is_no_connection() {
    let ran = run(tool("redis://127.0.0.1:1", &["doctor"]));
    assert_eq!(ran.code, 3);
    assert!(ran.stdout.contains("is redis-server running there?"), "{}", ran.stdout);
    assert!(ran.stdout.contains("the address is from REDIS_URL"), "{}", ran.stdout);
    let server = Server::builder().password("right").start();
    let ran = run(tool(&server.url_as("default", "wr0ng"), &["doctor", "--json"]));
    assert_eq!(ran.code, 3);
    assert!(ran.stdout.contains("WRONGPASS") && !ran.stdout.contains("wr0ng"), "{}", ran.stdout);
}

#[test]
fn every_exit_code_of_the_help_is_given() {
    let server = Server::builder().acl("user web on >secret ~* resetchannels &mine +@all").start();
    let url = server.url();
    let code = |args: &[&str]| run(tool(&url, args)).code;
    assert_eq!(code(&["pub", "nobody", "x"]), 0);
    assert_eq!(code(&["pub", "nobody", "x", "--expect", "1"]), 1);
    assert_eq!(code(&["sub"]), 2);
    assert_eq!(code(&["sub", "a", "-o", "ping_intervall=1s"]), 2);
    assert_eq!(code(&["sub", "a", "--format", "{pay}"]), 2);
    assert_eq!(code(&["sub", "a", "--format", "{payload"]), 2);
    assert_eq!(code(&["pub", "nobody", "x", "--repeat", "0", "--expect", "1"]), 2);
    assert_eq!(code(&["sub", "a", "--url", "redis://127.0.0.1:1"]), 3);
    let web = server.url_as("web", "secret");
    assert_eq!(code(&["sub", "others", "--url", &web]), 4);
    assert_eq!(code(&["promise", "never", "--timeout", "50ms"]), 5);
    assert_eq!(code(&["sub", "a", "--count", "1", "--timeout", "50ms"]), 5);
}

#[test]
fn what_runs_until_it_is_ended_ends_well_and_the_rest_says_that_it_was_interrupted() {
    let server = Server::start();
    for (args, ready, signal, code) in [
        (&["sub", "a"][..], "listening", libc::SIGINT, 0),
        (&["sub", "a"], "listening", libc::SIGTERM, 0),
        (&["monitor"], "watching", libc::SIGTERM, 0),
        (&["promise", "a"], "waiting", libc::SIGINT, 130),
        (&["promise", "a"], "waiting", libc::SIGTERM, 143),
        (&["promise", "a"], "waiting", libc::SIGHUP, 129),
    ] {
        let mut running = Running::start(tool(&server.url(), args));
        running.noted(ready);
        process::send_signal(&running.child, signal);
        assert_eq!(running.end(END), code, "{args:?}");
    }
    let mut conn = server.conn();
    eventually("nobody is subscribed any more", PATIENCE, || conn.numsub("a") == 0);
}

#[test]
fn a_subscriber_whose_output_nobody_reads_any_more_ends_without_a_word() {
    let server = Server::start();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("'{TOOL}' sub -q busy | head -n 1")]);
    clean(&mut command, &server.url());
    let mut running = Running::start(command);
    let mut conn = server.conn();
    eventually("it subscribes", PATIENCE, || conn.numsub("busy") == 1);
    // The first is printed, and later ones find that head is gone.
    eventually("it ends", PATIENCE, || {
        conn.publish(b"busy", b"x");
        matches!(running.child.try_wait(), Ok(Some(_)))
    });
    assert_eq!((running.end(END), running.rest(true).as_str(), running.rest(false).as_str()), (0, "[busy] x\n", ""));
    eventually("it is gone", PATIENCE, || conn.numsub("busy") == 0);
}

#[test]
fn a_subscriber_that_cannot_print_still_ends_at_sigterm() {
    let server = Server::start();
    let mut command = tool(&server.url(), &["sub", "flood", "-q"]);
    command.stdout(Stdio::piped());
    let mut child = process::spawn(command).unwrap();
    let mut conn = server.conn();
    eventually("it subscribes", PATIENCE, || conn.numsub("flood") == 1);
    // More than a pipe holds, and nobody reads it.
    for _ in 0..100 {
        conn.publish(b"flood", &[b'x'; 16 * 1024]);
    }
    process::send_signal(&child, libc::SIGTERM);
    eventually("it ends", END, || matches!(child.try_wait(), Ok(Some(_))));
}

#[test]
fn stdin_is_one_message_or_one_a_line() {
    let server = Server::start();
    let sub = Running::start(tool(&server.url(), &["sub", "in"]));
    sub.noted("listening");
    for (args, wanted) in [
        (&["pub", "in", "-q", "-"][..], &["[in] a", "b", ""][..]),
        (&["pub", "in", "-q", "--lines"], &["[in] a", "[in] b"]),
    ] {
        let mut command = tool(&server.url(), args);
        command.stdin(Stdio::piped());
        let mut child = process::spawn(command).unwrap();
        child.stdin.take().unwrap().write_all(b"a\nb\n").unwrap();
        assert!(child.wait().unwrap().success());
        for line in wanted {
            assert_eq!(sub.line(), *line);
        }
    }
}

#[test]
fn a_promise_prints_its_message() {
    let server = Server::start();
    let mut promise = Running::start(tool(&server.url(), &["promise", "job-42", "--timeout", "1m"]));
    promise.noted("waiting for a message on [job-42]");
    server.conn().publish(b"job-42", b"done");
    assert_eq!(promise.line(), "done");
    assert_eq!(promise.end(END), 0);
}

#[test]
fn a_subscriber_may_begin_before_its_server() {
    let server = Server::builder().prepare();
    let sub = Running::start(tool(&server.url(), &["sub", "early", "--wait", "-o", "backoff_max=50ms"]));
    sub.noted("trying until it is there");
    server.restart();
    sub.noted("listening on [early]");
    server.conn().publish(b"early", b"bird");
    assert_eq!(sub.line(), "[early] bird");
}

#[test]
fn bench_measures_and_leaves_nothing_behind() {
    let server = Server::start();
    let args = ["bench", "--messages", "2000", "--round-trips", "20", "--json"];
    let ran = run(tool(&server.url(), &args));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    for key in ["post_per_second", "receive_per_second", "publish_p50_us", "round_trip_p99_us"] {
        assert!(json[key].as_u64().is_some_and(|figure| figure > 0), "{key}: {json}");
    }
    // 2 x 2000 posts, and 20 of each kind of round trip.
    assert_eq!(server.conn().commandstats("publish"), 4040);
}

#[test]
fn options_are_the_librarys_table_with_secrets_hidden() {
    let ran = run(tool("redis://web:s3cret@db.example", &["options", "--current", "-o", "ping_interval=2s"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for key in redmux::options::Key::ALL {
        assert!(ran.stdout.contains(key.name()), "{} is missing", key.name());
    }
    assert!(ran.stdout.contains("db.example") && !ran.stdout.contains("s3cret"), "{}", ran.stdout);
    let line = ran.stdout.lines().find(|line| line.contains("ping_interval")).unwrap();
    assert!(line.contains(" 2s "), "{line}");
    let ran = run(tool("", &["options", "--json"]));
    assert_eq!(ran.stdout.trim(), redmux::options::Options::describe());
}

#[test]
fn colours_are_for_terminals_and_no_color_is_obeyed() {
    let dir = temp_dir("colours");
    // `script` gives it a terminal.
    let coloured = |name: &str, no_color: Option<&str>, args: &str| {
        let file = dir.join(name);
        let mut command = Command::new("script");
        command.args(["-qec", &format!("'{TOOL}' options ping {args}"), file.to_str().unwrap()]);
        clean(&mut command, "");
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let status = process::spawn(command).expect("`script` (util-linux) runs").wait().unwrap();
        assert!(status.success());
        std::fs::read(file).unwrap().windows(2).any(|bytes| bytes == b"\x1b[")
    };
    assert!(coloured("terminal", None, ""));
    assert!(!coloured("no-color", Some("1"), ""));
    assert!(!coloured("never", None, "--color never"));
    let piped = |args: &[&str]| run(tool("", args)).stdout.contains('\x1b');
    assert!(!piped(&["options", "ping"]) && piped(&["options", "ping", "--color", "always"]));
}

#[test]
fn completions_are_scripts_that_name_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(tool("", &["completions", shell]));
        assert_eq!(ran.code, 0, "{shell}: {}", ran.stderr);
        for verb in [
            "pub",
            "sub",
            "promise",
            "request",
            "serve",
            "services",
            "monitor",
            "doctor",
            "bench",
            "options",
            "completions",
        ] {
            assert!(ran.stdout.contains(verb), "{shell} does not know {verb}");
        }
    }
    // Bash is there; it must be able to read it.
    let script = run(tool("", &["completions", "bash"])).stdout;
    let mut command = Command::new("bash");
    command.args(["-n", "-c", &script]);
    assert!(command.status().expect("bash runs").success());
}
