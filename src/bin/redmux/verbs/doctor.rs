//! `redmux doctor`: looks at a server as a subscriber would, says what is wrong, and what to do about it.

use super::limits::{OutputLimit, size};
use super::publish::receivers;
use crate::Context;
use crate::exit::{Exit, Failure, Result};
use crate::out::Tone;
use crate::session;
use crate::text::{count, grouped};
use crate::wire::{Answer, Wire};
use redmux::client::Client;
use redmux::completion::completion_of_add;
use redmux::inbox::{Inbox, Kind};
use redmux::options::{Key, Options};
use redmux::runtime::next_id;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  redmux doctor
  redmux doctor --url rediss://web:secret@db.example -o tls_ca=ca.pem
  redmux doctor --channel orders --channel news       # may this user subscribe to these?
  redmux doctor --json | jq '.[] | select(.level != \"ok\")'

Levels: ok; note (worth knowing); warn (works, with a limit that may surprise); fail (does not
work). Exit code 1 if anything fails; with --strict also for a warning. When there is no
connection at all, exit code 3.";

/// Look at a server: what is wrong with it, and what to do
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Try to subscribe to this channel too; may be given more than once
    #[arg(long, value_name = "NAME")]
    channel: Vec<String>,
    /// A warning counts as a failure
    #[arg(long)]
    strict: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    Note,
    Warn,
    Fail,
}

impl Level {
    fn word(self) -> (&'static str, Tone) {
        match self {
            Level::Ok => ("ok", Tone::Good),
            Level::Note => ("note", Tone::Name),
            Level::Warn => ("warn", Tone::Warn),
            Level::Fail => ("fail", Tone::Bad),
        }
    }
}

struct Finding {
    level: Level,
    what: &'static str,
    text: String,
    /// What to do.
    advice: String,
}

/// What it found, printed as it finds it: a step that hangs shows after which one.
struct Findings<'a> {
    context: &'a mut Context,
    json: bool,
    all: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, level: Level, what: &'static str, text: impl Into<String>, advice: &str) -> Result<()> {
        let finding = Finding { level, what, text: text.into(), advice: advice.to_owned() };
        if !self.json {
            let out = &mut self.context.out;
            let (word, tone) = level.word();
            let safe = String::from_utf8_lossy(&crate::out::visible(finding.text.as_bytes())).into_owned();
            out.line(&format!("{}  {what:<12} {safe}", out.tone(tone, &format!("{word:<4}"))))?;
            if !finding.advice.is_empty() {
                out.line(&format!("      {:<12} {}", "", out.tone(Tone::Dim, &format!("-> {}", finding.advice))))?;
            }
            out.flush()?;
        }
        self.all.push(finding);
        Ok(())
    }
}

/// Runs it.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit> {
    let options = context.target.options()?;
    let said_by = context.target.said_by();
    let mut findings = Findings { context, json: args.json, all: Vec::new() };
    let mut exit = examine(args, &options, said_by, &mut findings)?;
    let worst = findings.all.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    if exit == Exit::Ok && (worst == Level::Fail || (args.strict && worst == Level::Warn)) {
        exit = Exit::No;
    }
    let all = findings.all;
    if args.json {
        let one =
            |f: &Finding| json!({ "level": f.level.word().0, "what": f.what, "text": f.text, "advice": f.advice });
        context.out.line(&serde_json::Value::from(all.iter().map(one).collect::<Vec<_>>()).to_string())?;
    } else {
        let number = |level| all.iter().filter(|finding| finding.level == level).count() as u64;
        let (fails, warns) = (number(Level::Fail), number(Level::Warn));
        let (tone, text) = match (fails, warns) {
            (0, 0) => (Tone::Good, "all is well".to_owned()),
            (0, warns) => (Tone::Warn, format!("it works; {}", count(warns, "warning"))),
            (fails, warns) => (Tone::Bad, format!("{}, {}", count(fails, "fault"), count(warns, "warning"))),
        };
        let text = context.out.tone(tone, &text);
        context.out.line(&text)?;
    }
    Ok(exit)
}

fn examine(args: &Args, options: &Options, said_by: &str, findings: &mut Findings<'_>) -> Result<Exit> {
    let mut wire = match Wire::connect(options) {
        Ok(wire) => wire,
        Err(Failure::Told(exit, text)) => {
            findings.add(Level::Fail, "connection", text, &cure(options, said_by))?;
            return Ok(exit);
        }
        Err(closed) => return Err(closed),
    };
    let safety = if options.flag(Key::Tls) { ", with TLS" } else { "" };
    findings.add(Level::Ok, "connection", format!("{}{safety}; the address is from {said_by}", wire.peer()), "")?;
    server(&mut wire, findings)?;
    round_trip(&mut wire, findings)?;
    user(&mut wire, findings)?;
    output_limit(&mut wire, options, findings)?;
    other_limits(&mut wire, options, findings)?;
    let client = match session::open_with(findings.context, options.clone(), false) {
        Ok(client) => client,
        Err(Failure::Told(exit, text)) => {
            findings.add(Level::Fail, "client", text, "the first connection worked; is the server at its limit?")?;
            return Ok(exit);
        }
        Err(closed) => return Err(closed),
    };
    rights(args, &client, findings)?;
    let _ = client.close(Instant::now().checked_add(session::CLOSING));
    Ok(Exit::Ok)
}

/// What to look at when there is no connection.
fn cure(options: &Options, said_by: &str) -> String {
    let user = if options.text(Key::Password).is_empty() { "no password was given" } else { "a password was given" };
    format!("the address is from {said_by}, and {user}; change it with --url redis://user:password@host:6379")
}

fn server(wire: &mut Wire, findings: &mut Findings<'_>) -> Result<()> {
    let greeting = wire.greeting.clone();
    let what = format!("{} {}, {}, {}", greeting.server, greeting.version, greeting.mode, greeting.role);
    findings.add(Level::Ok, "server", what, "")?;
    if greeting.mode == "cluster" {
        let advice = "messages reach every node, and sharded channels are not supported yet";
        findings.add(Level::Note, "cluster", "this is one node of a Redis Cluster", advice)?;
    }
    if greeting.mode == "sentinel" {
        let advice = "give the address of the master; asking a Sentinel for it is not supported yet";
        findings.add(Level::Fail, "sentinel", "this is a Sentinel, not a server", advice)?;
    }
    if greeting.role == "replica" || greeting.role == "slave" {
        let advice = "publish to the master: what is published here reaches this server's subscribers only";
        findings.add(Level::Warn, "replica", "this is a replica", advice)?;
    }
    Ok(())
}

fn round_trip(wire: &mut Wire, findings: &mut Findings<'_>) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        if let Answer::Error(error) = wire.ask(&[b"PING"])? {
            let advice = "the library asks a silent server with PING: ACL SETUSER <user> +ping";
            return findings.add(Level::Fail, "round trip", format!("PING: {error}"), advice);
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    let text = format!("{median:.0?} (median of {} PINGs), {worst:.0?} at worst", times.len());
    if median > Duration::from_millis(50) {
        return findings.add(
            Level::Warn,
            "round trip",
            text,
            "far away, or busy: look at the network and at SLOWLOG GET",
        );
    }
    findings.add(Level::Ok, "round trip", text, "")
}

fn user(wire: &mut Wire, findings: &mut Findings<'_>) -> Result<()> {
    match wire.ask_words("ACL WHOAMI")? {
        Answer::Text(user) => {
            findings.add(Level::Ok, "user", String::from_utf8_lossy(&user).into_owned(), "")?;
        }
        _ => findings.add(Level::Note, "user", "not told: this user may not ask ACL WHOAMI", "")?,
    }
    Ok(())
}

/// One value of the configuration; none if the server does not tell.
fn config(wire: &mut Wire, key: &str) -> Result<Option<String>> {
    let answer = wire.ask(&[b"CONFIG", b"GET", key.as_bytes()])?;
    Ok(answer.items().get(1).map(Answer::text))
}

fn output_limit(wire: &mut Wire, options: &Options, findings: &mut Findings<'_>) -> Result<()> {
    let payload = options.bytes(Key::MaxPayload) as u64;
    let value = config(wire, "client-output-buffer-limit")?;
    let Some(limit) = value.as_deref().and_then(OutputLimit::parse) else {
        let text = "client-output-buffer-limit is not told: this user may not ask CONFIG GET";
        let advice = "Redis' default closes a subscriber from 32 MiB of unread messages on, or one payload as large";
        return findings.add(Level::Note, "output limit", text, advice);
    };
    let soft = match limit.soft {
        0 => String::new(),
        soft => format!(", and {} for {} s", size(soft), limit.seconds),
    };
    let shown = match limit.hard {
        0 => "none".to_owned(),
        hard => format!("{}{soft}", size(hard)),
    };
    if limit.closes_at(payload) {
        let text = format!(
            "client-output-buffer-limit pubsub is {shown}; max_payload is {}: a payload from {} on closes every subscriber",
            size(payload),
            size(limit.hard)
        );
        let advice =
            format!("{}, or -o max_payload={}MiB", OutputLimit::fitting(payload), (limit.hard >> 20).max(2) / 2);
        return findings.add(Level::Warn, "output limit", text, &advice);
    }
    let text = format!("client-output-buffer-limit pubsub is {shown}; max_payload ({}) fits", size(payload));
    findings.add(Level::Ok, "output limit", text, "")
}

fn other_limits(wire: &mut Wire, options: &Options, findings: &mut Findings<'_>) -> Result<()> {
    let payload = options.bytes(Key::MaxPayload) as u64;
    for key in ["proto-max-bulk-len", "client-query-buffer-limit"] {
        if let Some(most) = config(wire, key)?.and_then(|value| value.parse::<u64>().ok())
            && most < payload
        {
            let text = format!("{key} is {}; max_payload is {}: publishing more is refused", size(most), size(payload));
            findings.add(Level::Warn, "input limit", text, &format!("CONFIG SET {key} {payload}"))?;
        }
    }
    if let Some(value) = config(wire, "maxmemory-clients")?
        && value != "0"
    {
        let advice = "with it, Redis closes the client with the fullest buffers, a slow subscriber first";
        findings.add(Level::Warn, "eviction", format!("maxmemory-clients is {value}"), advice)?;
    }
    let info = wire.ask_words("INFO clients")?.text();
    let number = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse::<u64>().ok())
    };
    if let (Some(connected), Some(most)) = (number("connected_clients"), number("maxclients")) {
        let text = format!("{} of {} connections in use", grouped(connected), grouped(most));
        let (level, advice) = match connected + 10 > most || connected * 10 > most * 9 {
            true => (Level::Warn, "raise maxclients, or find who keeps so many: CLIENT LIST"),
            false => (Level::Ok, ""),
        };
        findings.add(level, "connections", text, advice)?;
    }
    Ok(())
}

/// What this user may do, tried: on a name of our own, and subscribing on those that were given.
fn rights(args: &Args, client: &Client, findings: &mut Findings<'_>) -> Result<()> {
    let own = format!("redmux:doctor:{}:{:x}", std::process::id(), crate::text::now());
    let inbox = client.new_inbox(None, None)?;
    let subscribed = subscribe(client, &inbox, &own)?;
    let advice = format!("ACL SETUSER <user> +subscribe +psubscribe +unsubscribe +punsubscribe '&{own}'");
    let advice = advice.replace(&own, "redmux:doctor:*");
    match &subscribed {
        None => findings.add(Level::Ok, "subscribe", "allowed", "")?,
        Some(error) => {
            let level = if args.channel.is_empty() { Level::Fail } else { Level::Note };
            let advice = format!("name channels that it should have with --channel, or: {advice}");
            findings.add(level, "subscribe", error, &advice)?;
        }
    }
    for channel in &args.channel {
        match subscribe(client, &inbox, channel)? {
            None => findings.add(Level::Ok, "subscribe", format!("{channel}: allowed"), "")?,
            Some(error) => {
                let advice = format!("ACL SETUSER <user> '&{channel}'");
                findings.add(Level::Fail, "subscribe", error, &advice)?;
            }
        }
    }
    // Only on our own name: on another there may be people who listen.
    match receivers(client, own.as_bytes(), b"redmux doctor") {
        Ok(count) if subscribed.is_none() => heard(&inbox, &own, count, findings),
        Ok(_) => findings.add(Level::Ok, "publish", "allowed", ""),
        Err(Failure::Told(_, error)) => {
            let level = if args.channel.is_empty() { Level::Fail } else { Level::Note };
            findings.add(
                level,
                "publish",
                error,
                "to publish it needs: ACL SETUSER <user> +publish, and '&...' of its channels",
            )
        }
        Err(closed) => Err(closed),
    }
}

/// Subscribes for as long as the client lives; why not, if not.
fn subscribe(client: &Client, inbox: &Arc<Inbox>, name: &str) -> Result<Option<String>> {
    let id = next_id();
    client.hub().subscribe(id, 0, inbox, None)?;
    let mut refused = Vec::new();
    let limit = client.options().duration(Key::Timeout);
    let added = client.wait_for(
        Some(limit),
        |ticket| client.hub().add(id, &[name.as_bytes()], ticket),
        |lent| completion_of_add(lent, &mut refused),
    );
    Ok(added.err().map(|error| error.message().to_owned()))
}

/// Waits for the message that was just published.
fn heard(inbox: &Arc<Inbox>, own: &str, receivers: u64, findings: &mut Findings<'_>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while let Ok(lent) = inbox.take(Some(deadline.saturating_duration_since(Instant::now()))) {
        let message =
            |record: &&redmux::inbox::Record| record.is(Kind::Message) && record.name(lent.data()) == own.as_bytes();
        if lent.records().iter().any(|record| message(&record)) {
            return findings.add(Level::Ok, "publish", "a message made the round: published, and received", "");
        }
    }
    let text = format!("a message with {} did not come back within 5 s", count(receivers, "receiver"));
    findings.add(Level::Fail, "publish", text, "is this a proxy, or a server in between that holds messages back?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_level_is_the_largest() {
        assert!(Level::Fail > Level::Warn && Level::Warn > Level::Note && Level::Note > Level::Ok);
    }
}
