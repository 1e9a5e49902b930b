//! The fixture program, end to end, as tests in other languages use it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value as Json, json};

use crate::support::{Conn, PATIENCE, Value, eventually, process};

struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    about: Json,
}

impl Program {
    fn start(args: &[&str]) -> Program {
        let mut command = Command::new(program_path());
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = process::spawn(command).unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut program = Program { child, stdin, stdout, about: Json::Null };
        program.about = program.line();
        program
    }

    fn line(&mut self) -> Json {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("not a line of JSON: {error}: {line:?}"))
    }

    fn send(&mut self, line: &str) -> Json {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
        self.line()
    }

    #[track_caller]
    fn ok(&mut self, order: Json) -> Json {
        let answer = self.send(&order.to_string());
        answer.get("ok").cloned().unwrap_or_else(|| panic!("{order}: {answer}"))
    }

    fn number(&self, key: &str) -> u64 {
        self.about[key].as_u64().unwrap_or_else(|| panic!("no {key} in {}", self.about))
    }

    fn port(&self, key: &str) -> u16 {
        self.number(key).try_into().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// Beside this test's own directory. `cargo test` builds it; `cargo test --test …` does not.
fn program_path() -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().join("examples/fixture");
    assert!(path.exists(), "{} is missing: run `cargo build --example fixture` first", path.display());
    path
}

#[test]
fn the_fixture_program_does_what_it_is_told_and_ends_with_its_stdin() {
    let acl = "user web on >secret ~* &allowed:* +@all";
    let mut program = Program::start(&["--proxy", "--acl", acl, "--config", "maxmemory=10mb", "--password", "x"]);
    let mut conn = Conn::tcp(program.port("proxy_port")).unwrap();
    conn.expect(&["AUTH", "x"]);
    conn.expect(&["SUBSCRIBE", "news"]);
    assert_eq!(program.ok(json!({"do": "numsub", "channel": "news"})), 1);
    assert_eq!(program.ok(json!({"do": "publish", "channel": "news", "data": {"hex": "00ff"}})), 1);
    assert_eq!(conn.read_reply().unwrap().items()[2], Value::Bulk(vec![0, 255]));
    assert_eq!(program.ok(json!({"do": "commandstats", "name": "subscribe"})), 1);
    assert_eq!(program.ok(json!({"do": "numpat"})), 0);
    program.ok(json!({"do": "command", "args": ["SET", "k", {"hex": "ff"}]}));
    assert_eq!(program.ok(json!({"do": "command", "args": ["GET", "k"]})), json!({"hex": "ff"}));
    assert!(program.ok(json!({"do": "client_list"})).as_array().unwrap().iter().any(|client| client["sub"] == "1"));
    assert_eq!(program.ok(json!({"do": "proxy_stats"}))["live"], 1);
    assert_eq!(program.ok(json!({"do": "proxy_inject", "to": "client", "data": ":7\r\n"})), 1);
    assert_eq!(conn.read_reply().unwrap(), Value::Int(7));
    assert_eq!(program.ok(json!({"do": "kill_pubsub"})), 1);
    assert!(conn.read_reply().is_err());

    program.ok(json!({"do": "proxy_refuse"}));
    assert!(Conn::tcp(program.port("proxy_port")).unwrap().try_command(&["PING"]).is_err());
    program.ok(json!({"do": "proxy_pass"}));
    for fault in ["stall", "resume", "swallow", "delay", "cut_after", "corrupt", "dribble", "pass", "cut"] {
        program.ok(json!({"do": format!("proxy_{fault}"), "to": "client", "bytes": 1, "ms": 1}));
    }
    assert_eq!(program.ok(json!({"do": "freeze"})), program.about["pid"]);
    program.ok(json!({"do": "thaw"}));
    program.ok(json!({"do": "configure", "key": "timeout", "value": "77"}));
    assert_eq!(program.ok(json!({"do": "stop"})), Json::Null);
    assert!(Conn::tcp(program.port("port")).is_err());
    let pid = program.ok(json!({"do": "start"})).as_u64().unwrap();
    assert_eq!(program.ok(json!({"do": "command", "args": ["CONFIG", "GET", "timeout"]})), json!(["timeout", "77"]));

    for nonsense in ["{", "{}", r#"{"do":"dance"}"#, r#"{"do":"proxy_dance"}"#, r#"{"do":"command","args":["DANCE"]}"#]
    {
        assert!(program.send(nonsense)["error"].is_string(), "{nonsense}");
    }
    program.stdin = None;
    assert!(program.child.wait().unwrap().success());
    assert!(!process::is_running(u32::try_from(pid).unwrap()));
}

#[test]
fn a_fixture_program_with_tls_says_where_the_certificates_are() {
    let mut program = Program::start(&["--tls", "--proxy"]);
    let (proxy, certs) = (program.about["proxy_url"].as_str().unwrap(), &program.about["certs"]);
    let client = Command::new("openssl")
        .args(["s_client", "-brief", "-verify_return_error", "-verify_ip", "127.0.0.1", "-CAfile"])
        .args([certs["ca"].as_str().unwrap(), "-connect", proxy.strip_prefix("rediss://").unwrap()])
        .stdin(Stdio::null())
        .output();
    assert!(client.unwrap().status.success());
    assert!(program.about["tls_url"].as_str().unwrap().starts_with("rediss://127.0.0.1:"));
    assert_eq!(program.ok(json!({"do": "proxy_stats"}))["connections"], 1);
}

#[test]
fn a_fixture_program_may_begin_with_its_server_stopped() {
    let mut program = Program::start(&["--stopped"]);
    assert_eq!(program.about["pid"], Json::Null);
    assert!(Conn::tcp(program.port("port")).is_err());
    assert!(program.ok(json!({"do": "start"})).is_u64());
    assert!(Conn::tcp(program.port("port")).is_ok());
    assert!(program.send(r#"{"do":"proxy_cut"}"#)["error"].as_str().unwrap().contains("--proxy"));
}

#[test]
fn a_fixture_program_that_cannot_start_says_why_in_its_one_line() {
    let error = |args: &[&str]| Program::start(args).about["error"].as_str().unwrap().to_owned();
    assert_eq!(error(&["--dance"]), "--dance: not a flag of the fixture");
    assert!(error(&["--config", "maxmemory=much"]).contains("argument must be a memory value"));
}

#[test]
fn a_killed_fixture_program_takes_its_server_along() {
    let mut program = Program::start(&[]);
    let pid = u32::try_from(program.number("pid")).unwrap();
    assert!(process::is_running(pid));
    program.child.kill().unwrap();
    eventually("the server of a killed process ends", PATIENCE, || !process::is_running(pid));
    // No destructor ran, so its directory is left to us.
    let socket = PathBuf::from(program.about["path"].as_str().unwrap());
    std::fs::remove_dir_all(socket.parent().unwrap()).unwrap();
}
