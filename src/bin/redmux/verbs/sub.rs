//! `redmux sub`: hears channels and patterns until it is ended, and shows what was lost when it was lost.

use crate::Context;
use crate::exit::{Exit, Failure, Result};
use crate::out::Tone;
use crate::session;
use crate::target::duration;
use crate::text::{Format, clock, count, in_braces, now, put};
use redmux::client::Client;
use redmux::error::Status;
use redmux::inbox::record::ACTIVE_NAME;
use redmux::inbox::{Inbox, Kind, Record};
use redmux::mux::subscription::Ticket;
use redmux::runtime::next_id;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  redmux sub my_channel
  redmux sub orders users -p 'news.*'           # two channels and a pattern, over one connection
  redmux sub my_channel --format 'I heard [{payload}] on channel [{channel}]'
  redmux sub my_channel --json | jq .payload    # a line of JSON for everything that happens
  redmux sub my_channel --count 1 --timeout 5s  # one message, or exit code 5
  redmux sub -p '*' --counts                    # at the end, how many came on each channel

In a format: {payload} {channel} {pattern} {time} {number} {bytes}, \\n, \\t, \\0; {{ and }} are
braces. A lost connection is made again for ever. Lines with -- are on stderr: they say what is
heard, and from when to when messages may be missing. Times are UTC. On a terminal, control
characters in messages are written out.";

/// What a format may name.
const NAMES: [&str; 6] = ["payload", "channel", "pattern", "time", "number", "bytes"];

/// Hear channels and patterns, and be told when messages may be missing
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The channels
    #[arg(required_unless_present = "pattern")]
    channel: Vec<String>,
    /// A pattern, such as 'news.*'; may be given more than once
    #[arg(short, long, value_name = "PATTERN")]
    pattern: Vec<String>,
    /// How each message is printed
    #[arg(short, long, value_name = "FORMAT", conflicts_with_all = ["json", "counts"], help = format!("How each message is printed: {}", in_braces(&NAMES)))]
    format: Option<String>,
    /// Print a line of JSON for each message, and for each loss and subscription too
    #[arg(long, conflicts_with = "counts")]
    json: bool,
    /// Print no messages, but at the end how many came on each channel
    #[arg(long)]
    counts: bool,
    /// End after this many messages
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time; with --count, exit code 5 if fewer came
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Begin even if the server is not there yet
    #[arg(short, long)]
    wait: bool,
    /// No notes on stderr
    #[arg(short, long)]
    quiet: bool,
}

/// Runs it.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit> {
    let format = args.format.as_deref().map(|format| Format::parse(format, &NAMES)).transpose()?;
    let client = session::open(context, args.wait)?;
    let inbox = client.new_inbox(None, None)?;
    let closing = Arc::clone(&client);
    // The inbox ends with the client, and the loop below with the inbox.
    context.stop.on_signal(move || {
        let _ = closing.close(Instant::now().checked_add(session::CLOSING));
    });
    subscribe(args, &client, &inbox)?;
    let deadline = args.timeout.and_then(|limit| Instant::now().checked_add(limit));
    let mut listener = Listener {
        args,
        context,
        client: &client,
        format,
        heard: 0,
        dropped: 0,
        outages: 0,
        // A channel that is named twice is one of its subscription, a pattern is a subscription each time.
        names: args.channel.iter().collect::<HashSet<_>>().len() + args.pattern.len(),
        refused: HashSet::new(),
        away: HashSet::new(),
        seen: BTreeMap::new(),
    };
    let exit = listener.listen(&inbox, deadline)?;
    listener.finish()?;
    let _ = client.close(Instant::now().checked_add(session::CLOSING));
    Ok(exit)
}

/// One subscription for all channels and one for each pattern: all of them deliver into one inbox, in order.
fn subscribe(args: &Args, client: &Client, inbox: &Arc<Inbox>) -> Result<()> {
    let ticket = || Ticket { inbox: None, token: 0, deadline: None };
    for pattern in &args.pattern {
        client.hub().subscribe(next_id(), 0, inbox, Some((pattern.as_bytes(), ticket())))?;
    }
    if !args.channel.is_empty() {
        let id = next_id();
        let names: Vec<&[u8]> = args.channel.iter().map(String::as_bytes).collect();
        client.hub().subscribe(id, 0, inbox, None)?;
        client.hub().add(id, &names, ticket())?;
    }
    Ok(())
}

struct Listener<'a> {
    args: &'a Args,
    context: &'a mut Context,
    client: &'a Client,
    format: Option<Format>,
    heard: u64,
    dropped: u64,
    outages: u64,
    /// How many names were asked for.
    names: usize,
    /// Those that Redis refuses at this moment, each with its source.
    refused: HashSet<(u64, Vec<u8>)>,
    /// Sources that are not whole at this moment.
    away: HashSet<u64>,
    /// How many came on each channel, for `--counts`.
    seen: BTreeMap<Vec<u8>, u64>,
}

impl Listener<'_> {
    fn listen(&mut self, inbox: &Arc<Inbox>, deadline: Option<Instant>) -> Result<Exit> {
        loop {
            let lent = match inbox.take(deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))) {
                Ok(lent) => lent,
                Err(Status::Closed) => return Ok(Exit::Ok),
                Err(Status::Timeout) => return Ok(self.over()),
                Err(status) => return Err(status.into()),
            };
            for record in lent.records() {
                if record.is(Kind::Message) {
                    self.message(record, lent.data())?;
                    if self.args.count == Some(self.heard) {
                        return Ok(Exit::Ok);
                    }
                } else {
                    self.event(record, lent.data())?;
                }
            }
            // Whoever is slower than what comes never finds nothing there.
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(self.over());
            }
            if lent.more() == 0 {
                self.context.out.flush()?;
            }
        }
    }

    /// How it ends when the time given is over.
    fn over(&self) -> Exit {
        if self.args.count.is_some() { Exit::Timeout } else { Exit::Ok }
    }

    fn message(&mut self, record: &Record, data: &[u8]) -> Result<()> {
        self.heard += 1;
        let (channel, pattern, payload) = (record.name(data), record.extra(data), record.payload(data));
        let out = &mut self.context.out;
        if self.args.counts {
            match self.seen.get_mut(channel) {
                Some(seen) => *seen += 1,
                None => drop(self.seen.insert(channel.to_vec(), 1)),
            }
            return Ok(());
        }
        if self.args.json {
            let mut object = json!({ "kind": "message", "time": record.aux / 1_000_000 });
            put(&mut object, "channel", channel);
            if !pattern.is_empty() {
                put(&mut object, "pattern", pattern);
            }
            put(&mut object, "payload", payload);
            return out.line(&object.to_string());
        }
        if let Some(format) = &self.format {
            let number = self.heard;
            return format.print(out, |name| match name {
                "payload" => payload.into(),
                "channel" => channel.into(),
                "pattern" => pattern.into(),
                "time" => clock(record.aux).into_bytes().into(),
                "number" => number.to_string().into_bytes().into(),
                _ => payload.len().to_string().into_bytes().into(),
            });
        }
        let name = out.safe(channel).into_owned();
        let name = out.tone(Tone::Name, &String::from_utf8_lossy(&name));
        out.bytes(format!("[{name}] ").as_bytes())?;
        out.bytes(&out.safe(payload))?;
        out.bytes(b"\n")
    }

    /// Whatever is not a message.
    fn event(&mut self, record: &Record, data: &[u8]) -> Result<()> {
        let name = String::from_utf8_lossy(record.name(data)).into_owned();
        let mut text = String::from_utf8_lossy(record.extra(data)).into_owned();
        let about_name = record.flags & ACTIVE_NAME != 0;
        // A channel and a pattern are two sources of one connection: one outage, told once.
        let was_whole = self.away.is_empty();
        if record.is(Kind::Lost) {
            self.away.insert(record.source);
        } else if record.is(Kind::Active) && !about_name {
            self.away.remove(&record.source);
        } else if record.is(Kind::Active) {
            self.refused.remove(&(record.source, record.name(data).to_vec()));
        }
        let (kind, tone, note) = if record.is(Kind::Active) && about_name {
            ("active", Tone::Dim, format!("listening on [{name}]"))
        } else if record.is(Kind::Active) && self.away.is_empty() {
            let away = Duration::from_nanos(record.aux);
            ("active", Tone::Good, format!("connected again after {away:.1?}; messages up to here may be missing"))
        } else if record.is(Kind::Lost) && was_whole {
            self.outages += 1;
            ("lost", Tone::Bad, format!("{text}; from here messages may be missing"))
        } else if record.is(Kind::Dropped) {
            self.dropped += record.number;
            let why = match Status::from_code(record.status) {
                Some(Status::TooLarge) => "over max_payload",
                _ => "they came faster than they were printed",
            };
            ("dropped", Tone::Bad, format!("{} missing here: {why}", count(record.number, "message")))
        } else if record.is(Kind::Refused) {
            self.refused.insert((record.source, record.name(data).to_vec()));
            let command = if self.args.channel.contains(&name) { "subscribe" } else { "psubscribe" };
            text = session::refusal(self.client, command, &name);
            ("refused", Tone::Bad, format!("[{name}]: {text}"))
        } else {
            return Ok(());
        };
        if self.args.json {
            // In the stream, where a program sees what comes before and after it.
            let mut object = json!({ "kind": kind, "time": now() / 1_000_000 });
            if about_name || kind == "refused" {
                put(&mut object, "name", record.name(data));
            }
            if kind == "dropped" {
                object["count"] = record.number.into();
            }
            if !text.is_empty() {
                object["text"] = text.clone().into();
            }
            self.context.out.line(&object.to_string())?;
        } else if !self.args.quiet {
            self.context.out.flush()?;
            self.context.out.note(tone, &format!("-- {} {note}", clock(now())));
        }
        if self.refused.len() == self.names {
            self.context.out.flush()?;
            let text = "nothing is left to listen to: every name was refused; `redmux doctor` looks at your rights";
            return Err(Failure::new(Exit::Refused, text));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        for (channel, seen) in &self.seen {
            let name = String::from_utf8_lossy(&self.context.out.safe(channel)).into_owned();
            let line = format!("{} {seen}", self.context.out.tone(Tone::Name, &name));
            self.context.out.line(&line)?;
        }
        self.context.out.flush()?;
        if !self.args.quiet && !self.args.json {
            let mut text = format!("-- {}", count(self.heard, "message"));
            if self.dropped > 0 {
                text.push_str(&format!(", {} dropped", count(self.dropped, "message")));
            }
            if self.outages > 0 {
                text.push_str(&format!(", {}: what was published meanwhile is missing", count(self.outages, "outage")));
            }
            self.context.out.note(Tone::Dim, &text);
        }
        Ok(())
    }
}
