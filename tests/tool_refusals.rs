//! What the command-line tool says when it is refused something or was told something wrong: to whom it happened, what to do,
//! and nothing that may be a secret.
#![cfg(feature = "tool")]

#[path = "support/mod.rs"]
mod support;
mod tool_run;

use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use support::{PATIENCE, Server, eventually};
use tool_run::{Running, run, tool};

/// A server whose user `web`, with the password `secret`, has the channel `ok` alone.
fn strict() -> (Server, String) {
    let server = Server::builder().acl("user web on >secret ~* resetchannels &ok +@all").start();
    let url = server.url_as("web", "secret");
    (server, url)
}

#[test]
fn a_variable_that_is_no_text_is_an_error_and_not_another_server() {
    let given = OsStr::from_bytes(b"redis://web:s3cret@db.example\xff");
    let mut command = tool("", &["pub", "a", "b"]);
    command.env("REDIS_URL", given);
    let ran = run(command);
    assert_eq!((ran.code, ran.stderr.as_str()), (2, "redmux: REDIS_URL: the value is not UTF-8\n"));
    let mut command = tool("", &["pub", "a", "b"]);
    command.env("REDIS_PASSWORD", given).env("REDIS_HOST", "127.0.0.1").env("REDIS_PORT", "1");
    let ran = run(command);
    assert_eq!((ran.code, ran.stderr.as_str()), (2, "redmux: REDIS_PASSWORD: the value is not UTF-8\n"));
    // Whoever says where is not asked of the environment.
    let server = Server::start();
    let mut command = tool("", &["pub", "a", "b", "--url", &server.url()]);
    command.env("REDIS_URL", given);
    assert_eq!(run(command).code, 0);
}

#[test]
fn a_mistyped_secret_is_not_printed() {
    for args in [&["pub", "a", "b", "-o", "password:s3cret"][..], &["request", "a", "b", "--header", "token:s3cret"]] {
        let ran = run(tool("", args));
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains("takes KEY=VALUE") && !ran.stderr.contains("s3cret"), "{}", ran.stderr);
    }
}

#[test]
fn posts_that_redis_refused_are_counted_and_end_with_its_line() {
    let (_server, url) = strict();
    let ran = run(tool(&url, &["pub", "no", "a", "b", "--post"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("redmux: of 2 messages on \"no\" were lost: 2 (NOPERM "), "{}", ran.stderr);
    let ran = run(tool(&url, &["pub", "ok", "a", "b", "--post"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "posted 2 messages\n"), "{}", ran.stderr);
}

#[test]
fn a_refused_channel_is_told_with_its_user_and_what_helps() {
    let (server, url) = strict();
    let sub = Running::start(tool(&url, &["sub", "ok", "no", "-p", "n*"]));
    // In whatever order Redis refuses them.
    let notes = [sub.noted("]: refused"), sub.noted("]: refused")];
    for (name, right) in [("no", "+subscribe"), ("n*", "+psubscribe")] {
        let said =
            format!("[{name}]: refused by ACL (NOPERM) for user \"web\"; it needs: ACL SETUSER web {right} '&{name}'");
        assert!(notes.iter().any(|note| note.ends_with(&said)), "{notes:?}");
    }
    server.conn().expect(&["ACL", "SETUSER", "web", "+subscribe", "&no"]);
    Running::start(tool(&url, &["sub", "no"])).noted("listening on [no]");
}

#[test]
fn a_refused_promise_is_an_outcome_and_the_others_are_waited_for() {
    let (server, url) = strict();
    let mut promises = Running::start(tool(&url, &["promise", "no", "ok", "--json"]));
    promises.noted("waiting for a message on [ok]");
    server.conn().publish(b"ok", b"done");
    let mut lines = [promises.line(), promises.line()].map(|line| serde_json::from_str::<Value>(&line).unwrap());
    lines.sort_by_key(|line| line["name"].to_string());
    assert_eq!((&lines[0]["name"], &lines[0]["status"]), (&"no".into(), &"REDMUX_ERR_REFUSED".into()));
    assert!(lines[0]["text"].as_str().unwrap().ends_with("ACL SETUSER web +subscribe '&no'"), "{}", lines[0]);
    assert_eq!((&lines[1]["name"], &lines[1]["payload"]), (&"ok".into(), &"done".into()));
    assert_eq!(promises.end(support::PATIENCE), 4);
}

#[test]
fn sub_listens_on_while_one_name_is_active_however_often_another_was_refused() {
    let (server, url) = strict();
    let mut sub = Running::start(tool(&url, &["sub", "ok", "no", "-o", "refused_retry=100ms", "--json"]));
    let json = |sub: &Running| serde_json::from_str::<Value>(&sub.line()).unwrap();
    let about_no = |kind: &str| loop {
        let line = json(&sub);
        if line["kind"] == kind && line["name"] == "no" {
            break;
        }
    };
    about_no("refused");
    server.conn().expect(&["ACL", "SETUSER", "web", "&no"]);
    about_no("active");
    // Redis closes connections that are subscribed to what they may not hear any more.
    server.conn().expect(&["ACL", "SETUSER", "web", "resetchannels", "&ok"]);
    about_no("refused");
    eventually("ok is subscribed again", PATIENCE, || server.conn().numsub("ok") == 1);
    server.conn().publish(b"ok", b"still here");
    let heard = std::iter::repeat_with(|| json(&sub)).find(|line| line["kind"] == "message");
    assert_eq!(heard.unwrap()["payload"], "still here");
    // And where nothing is left, it ends.
    server.conn().expect(&["ACL", "SETUSER", "web", "resetchannels"]);
    assert_eq!(sub.end(PATIENCE), 4);
    assert!(sub.rest(false).contains("nothing is left to listen to"));
    assert_eq!(run(tool(&url, &["sub", "no", "no"])).code, 4, "named twice, it is one");
}
