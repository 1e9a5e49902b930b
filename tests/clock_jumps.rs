//! The wall clock may jump: requests and responders go by a clock that does not. Both run as processes of their own under a
//! wall clock that is an hour behind and an hour ahead in turn, at each look at it.
#![cfg(feature = "tool")]

#[path = "support/peer.rs"]
mod peer;
#[path = "support/mod.rs"]
mod support;
mod tool_run;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{PATIENCE, Server, process, temp_dir};
use tool_run::{Running, tool};

/// The clock, compiled.
fn jumps(dir: &Path) -> PathBuf {
    let (library, source) = (dir.join("jumps.so"), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clock/jumps.c"));
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]).arg(source).arg("-o").arg(&library);
    assert!(cc.status().expect("a C compiler").success(), "the clock does not compile");
    library
}

/// A command of the tool under that clock, and the file that says in the end how often it was looked at.
fn under(clock: &Path, server: &Server, name: &str, args: &[&str]) -> (Running, PathBuf) {
    let looks = clock.with_file_name(name);
    let mut command = tool(&server.url(), args);
    command.env("LD_PRELOAD", clock).env("REDMUX_CLOCK_LOOKS", &looks);
    (Running::start(command), looks)
}

#[track_caller]
fn was_looked_at(looks: &Path) {
    let looks = std::fs::read_to_string(looks).expect("it has ended");
    assert_ne!(looks.trim(), "0", "or nothing was tried");
}

/// A serving command whose answer takes longer than a silent responder is waited for.
const SLOW: [&str; 9] = ["serve", "x", "--name", "slow", "--group", "g", "--", "sh", "-c"];
const WORK: Duration = Duration::from_millis(3500);

#[test]
fn a_wall_clock_that_jumps_an_hour_forth_and_back_changes_nothing() {
    let server = Server::start();
    let dir = temp_dir("clock");
    let clock = jumps(dir.path());
    let script = format!("sleep {}; echo done", WORK.as_secs_f64());
    let (mut serving, looks_of_serving) = under(&clock, &server, "serving", &[&SLOW[..], &[&script]].concat());
    serving.noted("serving [");
    let mut requests = peer::listen(&server, "redmux:svc:x");

    let (began, time) = (Instant::now(), Duration::from_secs(600));
    let (mut asking, looks) = under(&clock, &server, "asking", &["request", "x", "--json", "--timeout", "600s"]);
    let frame = requests.read_reply().expect("a request").items()[2].text();
    let head: Value = serde_json::from_str(frame.lines().next().expect("a head line")).unwrap();
    let ttl = Duration::from_millis(head["ttl"].as_u64().unwrap());
    assert!(
        ttl <= time && ttl + began.elapsed() + Duration::from_millis(1) >= time,
        "what is left of its time: {ttl:?}"
    );
    let accepted: Value = serde_json::from_str(&asking.line()).unwrap();
    assert_eq!((&accepted["kind"], &accepted["name"]), (&"accepted".into(), &"slow".into()));
    // Its claim holds as long as somebody waits.
    let claim = server.conn().command(&["KEYS", "redmux:claim:*"]).items()[0].text();
    let left = Duration::from_millis(server.conn().command(&["PTTL", &claim]).int().try_into().expect("it expires"));
    assert!(left <= time && left + began.elapsed() + Duration::from_millis(1) >= time, "what is left of it: {left:?}");

    let answer: Value = serde_json::from_str(&asking.line()).unwrap();
    assert_eq!((&answer["kind"], &answer["payload"]), (&"answer".into(), &"done\n".into()));
    let end: Value = serde_json::from_str(&asking.line()).unwrap();
    assert_eq!(asking.end(PATIENCE), 0);
    assert_eq!((&end["reason"], &end["missing_count"]), (&"all".into(), &0.into()), "{end}");
    let took = Duration::from_secs_f64(end["ms"].as_f64().unwrap() / 1e3);
    assert!((WORK..=began.elapsed()).contains(&took), "{took:?} of {:?}", began.elapsed());
    was_looked_at(&looks);

    let (began, time) = (Instant::now(), Duration::from_secs(2));
    let (mut asking, looks) = under(&clock, &server, "in vain", &["request", "x", "--json", "--timeout", "2s"]);
    assert_eq!(asking.end(PATIENCE), 5);
    let end: Value = serde_json::from_str(asking.rest(true).lines().last().unwrap()).unwrap();
    let took = Duration::from_secs_f64(end["ms"].as_f64().unwrap() / 1e3);
    assert!((time..=began.elapsed()).contains(&took), "{took:?} of {:?}", began.elapsed());
    was_looked_at(&looks);
    // It knows by itself that nobody waits any more.
    serving.noted("given up after");
    process::send_signal(&serving.child, libc::SIGINT);
    assert_eq!(serving.end(PATIENCE), 0);
    was_looked_at(&looks_of_serving);
}
