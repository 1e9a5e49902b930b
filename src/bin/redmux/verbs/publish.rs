//! `redmux pub`: publishes, and says how many received it.

use crate::Context;
use crate::exit::{Exit, Failure, Result, exit_of};
use crate::out::Tone;
use crate::session;
use crate::target::duration;
use crate::text::{count, grouped, put};
use redmux::client::Client;
use redmux::completion::completion;
use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::options::Key;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  redmux pub my_channel 'Hello World!'          # my_channel: 2 receivers
  redmux pub my_channel one two three           # three messages, in this order
  redmux pub images - < cat.jpg                 # all of stdin is one message
  redmux pub numbers -- -1                      # after --, a message may begin with -
  tail -f log | redmux pub lines --lines        # each line of stdin is a message
  redmux pub jobs go --expect 1 || echo nobody  # exit code 1 when nobody received it
  redmux pub tick tock --repeat 10 --every 1s

The number of receivers is what Redis counted: subscriptions that it wrote the message to, not
programs that have read it.";

/// Publish messages, and see how many received each
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The channel
    channel: String,
    /// The messages; - is all of stdin
    #[arg(required_unless_present = "lines")]
    message: Vec<String>,
    /// Each line of stdin is a message
    #[arg(short, long, conflicts_with = "message")]
    lines: bool,
    /// Publish all of it this often
    #[arg(short, long, value_name = "N", default_value_t = 1, conflicts_with = "lines", value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// The pause between two repetitions
    #[arg(long, value_name = "TIME", value_parser = duration)]
    every: Option<Duration>,
    /// Do not wait for the number of receivers: faster, and nothing to show
    #[arg(long, conflicts_with_all = ["expect", "json"])]
    post: bool,
    /// End with exit code 1 if a message had fewer receivers than this
    #[arg(long, value_name = "N")]
    expect: Option<u64>,
    /// Print {"channel":..., "receivers":...} for each message
    #[arg(long)]
    json: bool,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
}

/// Runs it.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit> {
    let client = session::open(context, false)?;
    let mut publisher = Publisher { args, context, client: &client, posted: 0, short: false };
    if args.lines {
        let mut input = std::io::stdin().lock();
        let mut line = Vec::new();
        loop {
            line.clear();
            if input.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
                break;
            }
            publisher.publish(line.strip_suffix(b"\n").unwrap_or(&line))?;
        }
    } else {
        let messages = messages(&args.message)?;
        for round in 0..args.repeat {
            if let Some(pause) = args.every.filter(|_| round > 0) {
                std::thread::sleep(pause);
            }
            messages.iter().try_for_each(|message| publisher.publish(message))?;
        }
    }
    let exit = publisher.finish()?;
    let _ = client.close(Instant::now().checked_add(session::CLOSING));
    Ok(exit)
}

fn messages(words: &[String]) -> Result<Vec<Vec<u8>>> {
    words.iter().map(|word| body(word)).collect()
}

/// A word of the command line, or all of stdin where it is `-`.
pub fn body(word: &str) -> Result<Vec<u8>> {
    if word != "-" {
        return Ok(word.as_bytes().to_vec());
    }
    let mut all = Vec::new();
    std::io::stdin().lock().read_to_end(&mut all).map_err(unreadable)?;
    Ok(all)
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::new(Exit::No, format!("cannot read stdin: {error}"))
}

struct Publisher<'a> {
    args: &'a Args,
    context: &'a mut Context,
    client: &'a Client,
    posted: u64,
    /// A message had fewer receivers than were expected.
    short: bool,
}

impl Publisher<'_> {
    fn publish(&mut self, payload: &[u8]) -> Result<()> {
        if self.args.post { self.post(payload) } else { self.counted(payload) }
    }

    fn post(&mut self, payload: &[u8]) -> Result<()> {
        let channel = self.args.channel.as_bytes();
        match self.client.hub().post(channel, payload, None) {
            Err(error) if error.status() == Status::Full => {
                flush(self.client)?;
                self.client.hub().post(channel, payload, None)?;
            }
            result => result?,
        }
        self.posted += 1;
        Ok(())
    }

    fn counted(&mut self, payload: &[u8]) -> Result<()> {
        let Args { channel, json, quiet, .. } = self.args;
        let receivers = receivers(self.client, channel.as_bytes(), payload)?;
        self.short |= self.args.expect.is_some_and(|expected| receivers < expected);
        if *quiet {
            return Ok(());
        }
        let out = &mut self.context.out;
        if *json {
            let mut object = json!({});
            put(&mut object, "channel", channel.as_bytes());
            object["receivers"] = receivers.into();
            out.line(&object.to_string())?;
        } else {
            let tone = if receivers == 0 { Tone::Warn } else { Tone::Good };
            let name = out.tone(Tone::Name, channel);
            let text = out.tone(tone, &count(receivers, "receiver"));
            out.line(&format!("{name}: {text}"))?;
        }
        out.flush()
    }

    fn finish(self) -> Result<Exit> {
        if self.args.post {
            let flushed = flush(self.client);
            self.all_taken()?;
            flushed?;
            if !self.args.quiet {
                self.context.out.line(&format!("posted {}", count(self.posted, "message")))?;
            }
        }
        Ok(if self.short { Exit::No } else { Exit::Ok })
    }

    /// Nobody answers a post: how many were refused or lost is counted in the events of the client, before the flush that
    /// stands behind them has ended.
    fn all_taken(&self) -> Result<()> {
        let mut lost = BTreeMap::new();
        let mut line = String::new();
        while let Some(lent) = self.client.events().and_then(|events| events.take(Some(Duration::ZERO)).ok()) {
            for record in lent.records() {
                if record.is(Kind::Dropped) && record.status != 0 {
                    *lost.entry(record.status).or_insert(0) += record.number;
                } else if record.is(Kind::Log) && line.is_empty() {
                    let text = String::from_utf8_lossy(record.extra(lent.data())).into_owned();
                    line = text.strip_prefix("a post was refused: ").unwrap_or_default().to_owned();
                }
            }
        }
        let Some(status) = lost.keys().next().and_then(|status| Status::from_code(*status)) else { return Ok(()) };
        let why = |status| match Status::from_code(status) {
            Some(Status::Redis) if !line.is_empty() => line.clone(),
            other => other.unwrap_or(Status::Internal).to_string(),
        };
        let said: Vec<String> = lost.iter().map(|(status, n)| format!("{} ({})", grouped(*n), why(*status))).collect();
        let posted = count(self.posted, "message");
        let text = format!("of {posted} on {:?} were lost: {}", self.args.channel, said.join(", "));
        Err(Failure::new(exit_of(status), text))
    }
}

/// Publishes one message and waits for how many received it.
pub fn receivers(client: &Client, channel: &[u8], payload: &[u8]) -> Result<u64> {
    let mut receivers = 0;
    let limit = client.options().duration(Key::Timeout);
    client.wait_for(
        Some(limit),
        |ticket| {
            let inbox = ticket.inbox.ok_or(Status::Internal)?;
            client.hub().publish(channel, payload, &inbox, ticket.token, ticket.deadline)
        },
        |lent| {
            if let Some(record) = lent.records().iter().find(|record| record.is(Kind::Published)) {
                receivers = record.number;
            }
            completion(&format!("publish on {:?}", String::from_utf8_lossy(channel)), lent)
        },
    )?;
    Ok(receivers)
}

/// Waits until everything that was published is answered.
pub fn flush(client: &Client) -> Result<()> {
    let limit = client.options().duration(Key::Timeout);
    Ok(client.wait_for(Some(limit), |ticket| client.flush(ticket), |lent| completion("publish", lent))?)
}
