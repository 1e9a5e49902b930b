//! The command-line tool asks and answers: `request`, `serve`, `services`, and requests as `monitor` shows them.
#![cfg(feature = "tool")]

#[path = "support/mod.rs"]
mod support;
mod tool_run;

use serde_json::Value;
use std::io::Write;
use std::process::Stdio;
use support::{PATIENCE, Server, eventually, process, temp_dir};
use tool_run::{Ran, Running, run, tool};

/// Serves, and returns when requests come.
fn serve(server: &Server, args: &[&str]) -> Running {
    let serving = Running::start(tool(&server.url(), &[&["serve"], args].concat()));
    serving.noted("serving [");
    serving
}

fn request(server: &Server, args: &[&str]) -> Ran {
    run(tool(&server.url(), &[&["request"], args].concat()))
}

fn lines(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn every_answer_is_printed_with_who_gave_it() {
    let server = Server::start();
    let _one = serve(&server, &["x", "--name", "one", "--echo"]);
    let _two = serve(&server, &["x", "--name", "two", "--", "sh", "-c", "sleep 0.3; tr a-z A-Z; echo"]);
    let ran = request(&server, &["x", "hello"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "[one] hello\n[two] HELLO\n"), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("-- 2 answers in ") && ran.stderr.ends_with("finished\n"), "{}", ran.stderr);
    let first = tool(&server.url(), &["request", "x", "hello", "--first", "-q"]).output().unwrap();
    assert_eq!((first.status.code(), &first.stdout[..], &first.stderr[..]), (Some(0), &b"hello"[..], &b""[..]));
    let ran = request(&server, &["x", "hello", "--format", "{number} {name} {service} {bytes}: {payload}", "-q"]);
    assert_eq!(ran.stdout, "1 one x 5: hello\n2 two x 6: HELLO\n\n");
    let all = lines(&request(&server, &["x", "hello", "--json"]));
    let kinds: Vec<&str> = all.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    let answers: Vec<_> = all.iter().filter(|line| line["kind"] == "answer").map(|line| &line["payload"]).collect();
    assert_eq!(answers, ["hello", "HELLO\n"]);
    assert_eq!((kinds.last(), &all.last().unwrap()["reason"]), (Some(&"end"), &"all".into()));
}

#[test]
fn a_body_comes_from_stdin_and_headers_reach_the_command() {
    let server = Server::start();
    let script = "cat; echo \" $REDMUX_SERVICE $REDMUX_FROM $REDMUX_HEADER_TRACE_ID ${REDMUX_ID:+id}\"";
    let _all = serve(&server, &["user.", "--catch-all", "--", "sh", "-c", script]);
    let options = ["request", "user.find", "-", "-o", "name=me", "--header", "trace-id=a=b", "--first"];
    let mut command = tool(&server.url(), &options);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = process::spawn(command).unwrap();
    child.stdin.take().unwrap().write_all(b"41\n42").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "41\n42 user.find me a=b id\n");
}

#[test]
fn every_end_of_a_request_has_its_exit_code() {
    let server = Server::builder().acl("user web on >secret ~* resetchannels &redmux:reply:* +@all").start();
    let _good = serve(&server, &["x", "--name", "good", "--echo"]);
    let _bad = serve(&server, &["y", "--name", "bad", "--", "sh", "-c", "echo no such user >&2; exit 3"]);
    let _slow = serve(&server, &["z", "--name", "slow", "--", "sleep", "60"]);
    assert_eq!(request(&server, &["x", "a", "--expect", "1"]).code, 0);
    assert_eq!(request(&server, &["x", "a", "--expect", "2"]).code, 1, "only one is there");
    assert_eq!(request(&server, &["x", "a", "--header", "b"]).code, 2);
    assert_eq!(request(&server, &["x", "a", "--url", "redis://127.0.0.1:1"]).code, 3);
    let ran = request(&server, &["x", "a", "--url", &server.url_as("web", "secret")]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stderr.ends_with("user \"web\" needs the channels of requests: ACL SETUSER web '&redmux:*'\n"),
        "{}",
        ran.stderr
    );
    let ran = request(&server, &["z", "--timeout", "2s", "--strict"]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("[slow] took it and has not finished"), "{}", ran.stderr);
    let ran = request(&server, &["nobody"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (6, ""));
    assert!(ran.stderr.contains("nobody serves \"nobody\""), "{}", ran.stderr);
    let ran = request(&server, &["y"]);
    assert_eq!(ran.code, 7);
    assert!(ran.stderr.contains("[bad] EXIT_3: no such user"), "{}", ran.stderr);
    let all = lines(&request(&server, &["y", "--json"]));
    let error = all.iter().find(|line| line["kind"] == "error").unwrap();
    assert_eq!((&error["code"], &error["retriable"]), (&"EXIT_3".into(), &false.into()));
}

#[test]
fn whoever_gives_up_ends_the_command_that_works_for_him() {
    let server = Server::start();
    let dir = temp_dir("cancel");
    let file = dir.join("pid");
    // It says that it was told to end; what it started would keep its stdout open.
    let script = format!("trap 'echo ended > {0}.end; exit' TERM; echo $$ > {0}; sleep 60 & wait", file.display());
    let serving = serve(&server, &["slow", "--", "sh", "-c", &script]);
    let mut asking = Running::start(tool(&server.url(), &["request", "slow", "--timeout", "10m", "-o", "name=me"]));
    eventually("the command runs", PATIENCE, || std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n')));
    let pid: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    process::send_signal(&asking.child, libc::SIGINT);
    assert_eq!(asking.end(PATIENCE), 130);
    let note = serving.noted("[slow] given up after");
    assert!(note.ends_with(": me does not wait any more"), "{note}");
    eventually("the command is gone", PATIENCE, || !process::is_running(pid));
    assert_eq!(std::fs::read_to_string(file.with_extension("end")).unwrap(), "ended\n");
    let ran = run(tool(&server.url(), &["services", "--stats", "--json"]));
    let line: Value = serde_json::from_str(&ran.stdout).expect(&ran.stdout);
    assert_eq!((&line["requests"], &line["in_work"]), (&1.into(), &0.into()));
}

#[test]
fn ctrl_c_ends_a_server_and_tells_whoever_still_waits() {
    let server = Server::start();
    let dir = temp_dir("drain");
    let file = dir.join("pid");
    let script = format!("echo $$ > {}; exec sleep 60", file.display());
    let mut serving = serve(&server, &["slow", "--", "sh", "-c", &script]);
    let mut asking = Running::start(tool(&server.url(), &["request", "slow", "--timeout", "10m"]));
    eventually("the command runs", PATIENCE, || std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n')));
    let pid: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    process::send_signal(&serving.child, libc::SIGINT);
    assert_eq!(serving.end(PATIENCE), 0);
    assert_eq!(asking.end(PATIENCE), 7);
    assert!(asking.rest(false).contains("CLOSED: the responder was closed; asking again may help"));
    eventually("its command is gone", PATIENCE, || !process::is_running(pid));
    assert_eq!(server.conn().numsub("redmux:svc:slow"), 0);
}

#[test]
fn one_of_a_group_answers_and_no_more_commands_run_at_once_than_allowed() {
    let server = Server::start();
    let dir = temp_dir("group");
    let lock = dir.join("lock");
    // Two at once would find the directory there.
    let script = format!("mkdir {0} || exit 1; sleep 0.05; rmdir {0}; echo done", lock.display());
    let _members: Vec<Running> =
        (0..2).map(|_| serve(&server, &["jobs", "--group", "g", "--", "sh", "-c", "echo done"])).collect();
    let _alone = serve(&server, &["alone", "--concurrency", "1", "--", "sh", "-c", &script]);
    for _ in 0..5 {
        assert_eq!(request(&server, &["jobs", "-q"]).stdout.matches("done").count(), 1);
    }
    let asking: Vec<Running> =
        (0..5).map(|_| Running::start(tool(&server.url(), &["request", "alone", "--first"]))).collect();
    for mut one in asking {
        assert_eq!((one.end(PATIENCE * 3), one.rest(true).as_str()), (0, "done\n"), "{}", one.rest(false));
    }
}

#[test]
fn services_are_a_table_or_lines_of_json() {
    let server = Server::start();
    let nobody = run(tool(&server.url(), &["services"]));
    assert_eq!((nobody.code, nobody.stdout.as_str()), (6, ""));
    let _one = serve(&server, &["user.find", "--name", "web-1", "--group", "users", "-o", "version=1.2", "--echo"]);
    let _two = serve(&server, &["user.", "--name", "web-2", "--catch-all", "--", "false"]);
    assert_eq!(request(&server, &["user.find", "x"]).code, 7);
    let ran = run(tool(&server.url(), &["services"]));
    let table = "SERVICE    NAME   VERSION  GROUP\nuser.*     web-2  -        -\nuser.find  web-1  1.2      users\n";
    assert_eq!((ran.code, ran.stdout.as_str()), (0, table), "{}", ran.stderr);
    let ran = run(tool(&server.url(), &["services", "--stats"]));
    let words: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0].join(" "), "SERVICE NAME VERSION GROUP REQUESTS ERRORS IN WORK AVERAGE");
    assert_eq!(words[1][..7], ["user.*", "web-2", "-", "-", "1", "1", "0"]);
    assert_eq!(words[2][..7], ["user.find", "web-1", "1.2", "users", "1", "0", "0"]);
    let all = lines(&run(tool(&server.url(), &["services", "--json", "--stats"])));
    assert_eq!((&all[0]["catch_all"], &all[0]["errors"]), (&true.into(), &1.into()));
    assert_eq!((&all[1]["version"], &all[1]["name"]), (&"1.2".into(), &"web-1".into()));
}

#[test]
fn services_does_not_say_nobody_where_nobody_was_asked() {
    let server = Server::start();
    let _serving = serve(&server, &["x", "--echo"]);
    server.conn().expect(&["CLIENT", "PAUSE", "60000", "WRITE"]); // a PUBLISH waits, too
    let ran = run(tool(&server.url(), &["services", "--timeout", "300ms"]));
    server.conn().expect(&["CLIENT", "UNPAUSE"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (5, ""));
    assert_eq!(ran.stderr, "redmux: nobody has answered: the time given is over\n");
}

#[test]
fn services_says_when_its_list_may_not_be_whole() {
    let server = Server::start();
    let _one = serve(&server, &["x", "--name", "one", "--echo"]);
    let frozen = serve(&server, &["x", "--name", "two", "--echo"]);
    process::send_signal(&frozen.child, libc::SIGSTOP);
    let monitor = server.monitor();
    let mut asking =
        Running::start(tool(&server.url(), &["services", "--timeout", "10m", "-o", "strict=true", "--json"]));
    monitor.wait_for(r#"\"end\""#);
    server.conn().kill_pubsub();
    assert_eq!(asking.end(PATIENCE), 3);
    assert_eq!(serde_json::from_str::<Value>(&asking.line()).unwrap()["name"], "one");
    let said = asking.rest(false);
    assert!(said.starts_with("redmux: this may not be all: the connection was lost"), "{said}");
}

#[test]
fn monitor_tells_the_receivers_of_every_message_of_a_burst() {
    let server = Server::start();
    let burst = 1000;
    let monitor = Running::start(tool(&server.url(), &["monitor", "--json", "--count", &burst.to_string()]));
    monitor.noted("watching Pub/Sub");
    // A script, so that it finds all of them there at once.
    let script = format!("for n = 0, {burst} - 1 do redis.call('PUBLISH', 'c' .. n, 'x') end");
    server.conn().expect(&["EVAL", &script, "0"]);
    for n in 0..burst {
        let line: Value = serde_json::from_str(&monitor.line()).unwrap();
        assert_eq!((&line["channel"], &line["receivers"]), (&format!("c{n}").into(), &0.into()));
    }
}

#[test]
fn a_command_that_cannot_run_is_an_error_answer() {
    let server = Server::start();
    let _serving = serve(&server, &["x", "--", "/no/such/command"]);
    let ran = request(&server, &["x"]);
    assert_eq!(ran.code, 7);
    assert!(ran.stderr.contains("START: /no/such/command cannot be run"), "{}", ran.stderr);
}

#[test]
fn a_server_without_the_right_to_its_channel_says_so() {
    let server = Server::builder().acl("user web on >secret ~* resetchannels &mine +@all").start();
    let ran = run(tool(&server.url_as("web", "secret"), &["serve", "x", "--echo"]));
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("[x]: NOPERM"), "{}", ran.stderr);
}

#[test]
fn monitor_shows_a_request_and_its_answer_as_what_they_are() {
    let server = Server::start();
    let _serving = serve(&server, &["shout", "--name", "web-1", "--echo"]);
    let [monitor, hiding] = [&["monitor"][..], &["monitor", "--hide"]].map(|args| {
        let monitor = Running::start(tool(&server.url(), args));
        monitor.noted("watching Pub/Sub");
        monitor
    });
    request(&server, &["shout", "hello", "-o", "name=me"]);
    let shown = |monitor: &Running, part: &str| loop {
        let line = monitor.line();
        if line.contains(part) {
            return line;
        }
    };
    let line = shown(&monitor, "PUBLISH redmux:svc:shout");
    assert!(line.contains("'request …") && line.contains(" me: hello'  -> 1 receiver"), "{line}");
    let line = shown(&hiding, "PUBLISH redmux:svc:shout");
    assert!(line.contains("'request …") && line.contains(" me: 5 bytes'  -> 1 receiver"), "{line}");
    let line = shown(&monitor, "'end ");
    assert!(line.contains("PUBLISH redmux:reply:") && line.contains(" web-1: hello'"), "{line}");
}
