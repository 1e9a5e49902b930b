//! The tests' server and proxy for tests that are not written in Rust: a program that talks in lines of JSON.
//!
//! ```text
//! fixture [--tls] [--acl LINE]... [--password X] [--config K=V]... [--unix-only] [--stopped] [--proxy]
//! ```
//!
//! It starts a server and prints one line, `{"url":…,"unix_url":…,"path":…,"port":…,"pid":…}`, with `"tls_url"`, `"tls_port"`
//! and `"certs"` if `--tls`, and `"proxy_url"`, `"proxy_port"` (and `"proxy_tls_url"`) if `--proxy`. Then it reads one command
//! a line, `{"do":"numsub","channel":"news"}`, and answers each with one line: `{"ok":…}` or `{"error":"…"}`. It ends, and the
//! server with it, when its stdin closes.
//!
//! | do | with | answer |
//! |---|---|---|
//! | `command` | `args` | the server's reply |
//! | `publish` | `channel`, or `pattern` for each channel that somebody listens to and that matches; `data` | receivers |
//! | `numsub`, `numpat` | `channel`; nothing | a count |
//! | `client_list` | | one object a client (the fixture's own has user `fixture`) |
//! | `commandstats` | `name` | how often it was called |
//! | `kill_pubsub`, `kill_normal` | | how many were closed |
//! | `stop`, `start`, `restart`, `kill`, `freeze`, `thaw` | | the process id, or null when there is none |
//! | `configure` | `key`, `value` | null; a line of redis.conf from the next start on |
//! | `proxy_pass`, `proxy_refuse`, `proxy_accept`, `proxy_listener_off`, `proxy_listener_on`, `proxy_cut` | | null |
//! | `proxy_stall`, `proxy_resume`, `proxy_swallow` | `to` | null |
//! | `proxy_delay` | `to`, `ms` | null |
//! | `proxy_cut_after`, `proxy_corrupt` | `to`, `bytes` | null |
//! | `proxy_dribble` | `to`, `bytes`, `ms` | null |
//! | `proxy_inject` | `to`, `data` | into how many connections |
//! | `proxy_stats` | | `{"connections":…,"live":…,"to_server":{"passed":…,"swallowed":…},"to_client":{…}}` |
//!
//! `to` is `"server"` or `"client"`; without it, both. Bytes are a string, or `{"hex":"00ff"}`; in replies too, where they
//! are not UTF-8. A refusal of the server is an `error`.

#[path = "mod.rs"]
mod support;

use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use support::{Builder, Conn, Direction, Proxy, Server, Value};

type Answer = Result<Json, String>;

fn main() {
    // Panics become answers; their text on stderr helps who reads the test's output.
    let fixture = match guarded(|| Fixture::start(std::env::args().skip(1))) {
        Ok(fixture) => fixture,
        Err(error) => {
            say(&json!({ "error": error }));
            std::process::exit(2);
        }
    };
    let mut fixture = fixture;
    say(&fixture.describe());
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let answer = serde_json::from_str(&line).map_err(|error| format!("not a line of JSON: {error}"));
        let answer = answer.and_then(|order: Json| guarded(|| fixture.obey(&order)));
        say(&answer.map_or_else(|error| json!({ "error": error }), |ok| json!({ "ok": ok })));
    }
}

/// A test that is gone reads nothing; then stdin is closed too, and the loop ends.
fn say(line: &Json) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}

struct Fixture {
    proxy: Option<Proxy>,
    /// Kept between commands: a connection each would show in the server's counters.
    conn: Option<Conn>,
    server: Server,
    tls: bool,
    tcp: bool,
}

impl Fixture {
    fn start(mut args: impl Iterator<Item = String>) -> Result<Fixture, String> {
        let mut builder = Builder::default();
        let (mut tls, mut tcp, mut stopped, mut proxied) = (false, true, false, false);
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--tls" => (builder, tls) = (builder.tls(true), true),
                "--unix-only" => (builder, tcp) = (builder.unix_only(), false),
                "--stopped" => stopped = true,
                "--proxy" => proxied = true,
                "--acl" => builder = builder.acl(&value()?),
                "--password" => builder = builder.password(&value()?),
                "--config" => {
                    let pair = value()?;
                    let (key, value) = pair.split_once('=').ok_or_else(|| format!("--config {pair}: not KEY=VALUE"))?;
                    builder = builder.config(key, value);
                }
                other => return Err(format!("{other}: not a flag of the fixture")),
            }
        }
        let server = if stopped { builder.prepare() } else { builder.start() };
        let proxy = proxied.then(|| match (tls, tcp) {
            (true, _) => Proxy::start(server.tls_port()),
            (false, true) => Proxy::start(&server),
            (false, false) => Proxy::start(server.path()),
        });
        Ok(Fixture { proxy, conn: None, server, tls, tcp })
    }

    fn describe(&self) -> Json {
        let server = &self.server;
        let mut line = json!({ "unix_url": server.unix_url(), "path": show(&server.path()), "pid": self.pid() });
        if self.tcp {
            line["url"] = json!(server.url());
            line["port"] = json!(server.port());
        }
        if self.tls {
            let certs = server.certs();
            line["tls_url"] = json!(server.tls_url());
            line["tls_port"] = json!(server.tls_port());
            line["certs"] = json!({
                "ca": show(&certs.ca), "other_ca": show(&certs.other_ca),
                "client_cert": show(&certs.client_cert), "client_key": show(&certs.client_key),
                "server_cert": show(&certs.server_cert), "server_key": show(&certs.server_key),
            });
        }
        if let Some(proxy) = &self.proxy {
            line["proxy_port"] = json!(proxy.port());
            // With --tls the proxy leads to the TLS port.
            line["proxy_url"] = json!(if self.tls { proxy.tls_url() } else { proxy.url() });
        }
        line
    }

    fn pid(&self) -> Option<u32> {
        self.server.is_running().then(|| self.server.pid())
    }

    fn obey(&mut self, order: &Json) -> Answer {
        let order = Order(order);
        let word = order.text("do")?;
        if let Some(fault) = word.strip_prefix("proxy_") {
            let proxy = self.proxy.as_ref().ok_or("this fixture was started without --proxy")?;
            return obey_proxy(proxy, fault, &order);
        }
        if matches!(word, "stop" | "start" | "restart" | "kill" | "freeze" | "thaw") {
            self.conn = None;
            match word {
                "stop" => self.server.stop(),
                "kill" => self.server.kill(),
                "freeze" => self.server.freeze(),
                "thaw" => self.server.thaw(),
                "start" if self.server.is_running() => {}
                _ => self.server.restart(),
            }
            return Ok(json!(self.pid()));
        }
        if word == "configure" {
            self.server.reconfigure(order.text("key")?, order.text("value")?);
            return Ok(Json::Null);
        }
        // Taken for the command and put back after it: one that failed half-way must not answer the next.
        let conn = self.conn.take().map_or_else(|| self.server.try_conn(), Ok);
        let mut conn = conn.map_err(|error| format!("cannot reach the server: {error}"))?;
        let answer = obey_server(&mut conn, word, &order)?;
        self.conn = Some(conn);
        Ok(answer)
    }
}

fn obey_server(conn: &mut Conn, word: &str, order: &Order) -> Answer {
    Ok(match word {
        "command" => {
            let args = order.0["args"].as_array().ok_or("`args` is not a list")?;
            let args = args.iter().map(bytes).collect::<Result<Vec<_>, _>>()?;
            if args.is_empty() {
                return Err("`args` is empty: a command has a name".into());
            }
            return reply(&conn.try_command(&args).map_err(|error| format!("no reply: {error}"))?);
        }
        "publish" if order.0["pattern"].is_null() => {
            json!(conn.publish(&order.bytes("channel")?, &order.bytes("data")?))
        }
        "publish" => {
            let data = order.bytes("data")?;
            let channels = conn.command(&[b"PUBSUB".to_vec(), b"CHANNELS".to_vec(), order.bytes("pattern")?]);
            json!(channels.items().iter().map(|channel| conn.publish(channel.text().as_bytes(), &data)).sum::<i64>())
        }
        "numsub" => json!(conn.numsub(order.bytes("channel")?)),
        "numpat" => json!(conn.numpat()),
        "client_list" => json!(conn.client_list()),
        "commandstats" => json!(conn.commandstats(order.text("name")?)),
        "kill_pubsub" => json!(conn.kill_pubsub()),
        "kill_normal" => json!(conn.kill_normal()),
        other => return Err(format!("{other:?}: not a command of the fixture")),
    })
}

fn obey_proxy(proxy: &Proxy, fault: &str, order: &Order) -> Answer {
    match fault {
        "pass" => proxy.pass(),
        "refuse" => proxy.refuse(),
        "accept" => proxy.accept(),
        "listener_off" => proxy.listener_off(),
        "listener_on" => proxy.listener_on(),
        "cut" => proxy.cut_all(),
        "stats" => {
            let side = |way: Direction| json!({ "passed": way.passed(), "swallowed": way.swallowed() });
            let (to_server, to_client) = (side(proxy.to_server()), side(proxy.to_client()));
            let (connections, live) = (proxy.connections(), proxy.live());
            let stats =
                json!({ "connections": connections, "live": live, "to_server": to_server, "to_client": to_client });
            return Ok(stats);
        }
        "inject" => {
            let data = order.bytes("data")?;
            return Ok(json!(order.ways(proxy)?.iter().map(|way| way.inject(&data)).sum::<usize>()));
        }
        _ => {
            for way in order.ways(proxy)? {
                match fault {
                    "stall" => way.stall(),
                    "resume" => way.resume(),
                    "swallow" => way.swallow(),
                    "delay" => way.delay(order.millis()?),
                    "cut_after" => way.cut_after(order.number("bytes")?),
                    "corrupt" => way.corrupt(order.number("bytes")?),
                    "dribble" => way.dribble(order.number("bytes")?, order.millis()?),
                    other => return Err(format!("proxy_{other}: not a command of the fixture")),
                };
            }
        }
    }
    Ok(Json::Null)
}

/// One line of the test, and what it says.
struct Order<'a>(&'a Json);

impl Order<'_> {
    fn text(&self, key: &str) -> Result<&str, String> {
        self.0[key].as_str().ok_or_else(|| format!("`{key}` is not a string"))
    }

    fn bytes(&self, key: &str) -> Result<Vec<u8>, String> {
        bytes(&self.0[key]).map_err(|error| format!("`{key}`: {error}"))
    }

    fn number(&self, key: &str) -> Result<usize, String> {
        let number = self.0[key].as_u64().and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| format!("`{key}` is not a count"))
    }

    fn millis(&self) -> Result<Duration, String> {
        self.number("ms").map(|ms| Duration::from_millis(ms as u64))
    }

    fn ways<'p>(&self, proxy: &'p Proxy) -> Result<Vec<Direction<'p>>, String> {
        match self.0["to"].as_str() {
            Some("server") => Ok(vec![proxy.to_server()]),
            Some("client") => Ok(vec![proxy.to_client()]),
            None if self.0["to"].is_null() => Ok(vec![proxy.to_server(), proxy.to_client()]),
            _ => Err("`to` is neither \"server\" nor \"client\"".into()),
        }
    }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

fn bytes(value: &Json) -> Result<Vec<u8>, String> {
    let hex = |text: &str| {
        let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
        digits
            .filter(|digits| digits.len() % 2 == 0)
            .map(|digits| digits.chunks(2).map(|two| two[0] << 4 | two[1]).collect())
    };
    match value {
        Json::String(text) => Ok(text.clone().into_bytes()),
        Json::Number(number) => Ok(number.to_string().into_bytes()),
        Json::Object(object) => {
            object.get("hex").and_then(Json::as_str).and_then(hex).ok_or_else(|| "not {\"hex\":\"00ff\"}".into())
        }
        _ => Err("neither a string nor {\"hex\":\"00ff\"}".into()),
    }
}

fn reply(value: &Value) -> Answer {
    Ok(match value {
        Value::Simple(text) => json!(text),
        Value::Error(error) => return Err(error.clone()),
        Value::Int(number) => json!(number),
        Value::Nil => Json::Null,
        Value::Array(items) => json!(items.iter().map(reply).collect::<Result<Vec<_>, _>>()?),
        Value::Bulk(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                Json::Object(Map::from_iter([("hex".to_owned(), json!(hex))]))
            }
        },
    })
}
