//! `redmux bench`: a quick look at what this machine, this network and this server give together. Not a benchmark of
//! the library: that takes pinned processors and peers beside it (`make bench`).

use super::publish::{flush, receivers};
use crate::Context;
use crate::exit::{Exit, Failure, Result};
use crate::out::Tone;
use crate::session;
use crate::text::grouped;
use redmux::client::Client;
use redmux::completion::completion;
use redmux::error::Status;
use redmux::inbox::{Inbox, Kind};
use redmux::options::Key;
use redmux::runtime::next_id;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  redmux bench
  redmux bench --messages 1000000 --size 1024
  redmux bench --json | jq .receive_per_second

It publishes on a name of its own, which nobody else hears, for a few seconds, and then is gone.
Publisher and subscriber are this one process: with two machines each side has more.";

/// Measure publishing, receiving and the round trip against the server
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How many messages are published and received
    #[arg(short, long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(100..))]
    messages: u64,
    /// Bytes of each message
    #[arg(short, long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// How many round trips are measured
    #[arg(short, long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(10..))]
    round_trips: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit> {
    let mut options = context.target.options()?;
    // Nothing may be dropped, or rates would be counted that nobody received.
    options.set(Key::InboxPolicy.name(), "pause")?;
    let client = session::open_with(context, options, false)?;
    let name = format!("redmux:bench:{}:{:x}", std::process::id(), crate::text::now());
    let bench = Bench { args, client: &client, channel: name.into_bytes(), payload: vec![b'x'; args.size] };
    let lines = bench.measure()?;
    if args.json {
        let mut object = json!({ "messages": args.messages, "bytes": args.size, "round_trips": args.round_trips });
        for (key, _, value) in &lines {
            object[*key] = value.clone();
        }
        context.out.line(&object.to_string())?;
    } else {
        let head = format!(
            "{} messages of {} bytes, {} round trips",
            grouped(args.messages),
            args.size,
            grouped(args.round_trips)
        );
        context.out.line(&context.out.tone(Tone::Dim, &head))?;
        for (key, what, value) in &lines {
            let unit = if key.ends_with("_us") { "µs" } else { "a second" };
            let number = context.out.tone(Tone::Good, &format!("{:>12}", grouped(value.as_u64().unwrap_or(0))));
            context.out.line(&format!("{number} {unit:<9} {what}"))?;
        }
    }
    let _ = client.close(Instant::now().checked_add(session::CLOSING));
    Ok(Exit::Ok)
}

struct Bench<'a> {
    args: &'a Args,
    client: &'a Client,
    channel: Vec<u8>,
    payload: Vec<u8>,
}

type Lines = Vec<(&'static str, &'static str, Value)>;

impl Bench<'_> {
    fn measure(&self) -> Result<Lines> {
        let Bench { args, client, .. } = self;
        // Before anybody subscribes: publishing alone.
        let began = Instant::now();
        self.post_all()?;
        flush(client)?;
        let post = rate(args.messages, began.elapsed());
        let mut answered = self.times(|| receivers(client, &self.channel, &self.payload).map(drop))?;

        let inbox = client.new_inbox(None, None)?;
        self.subscribe(&inbox)?;
        let began = Instant::now();
        let receive = std::thread::scope(|scope| {
            let poster = scope.spawn(|| self.post_all());
            let received = self.receive(&inbox, args.messages).map(|()| rate(args.messages, began.elapsed()));
            let posted = poster.join().map_err(|_| Failure::new(Exit::No, "the thread that posts panicked"));
            posted.and_then(|result| result).and(received)
        })?;
        flush(client)?;
        let mut trips = self.times(|| {
            client.hub().post(&self.channel, &self.payload, None)?;
            self.receive(&inbox, 1)
        })?;
        Ok(vec![
            ("post_per_second", "published without waiting for answers (post)", post.into()),
            ("receive_per_second", "published and received, by the same process", receive.into()),
            ("publish_p50_us", "a publish and its number of receivers: half are faster", at(&mut answered, 50)),
            ("publish_p99_us", "and 99 of 100", at(&mut answered, 99)),
            ("round_trip_p50_us", "from a post to its message received: half are faster", at(&mut trips, 50)),
            ("round_trip_p99_us", "and 99 of 100", at(&mut trips, 99)),
        ])
    }

    fn times(&self, mut turn: impl FnMut() -> Result<()>) -> Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(self.args.round_trips as usize);
        for _ in 0..self.args.round_trips {
            let began = Instant::now();
            turn()?;
            times.push(began.elapsed());
        }
        Ok(times)
    }

    fn post_all(&self) -> Result<()> {
        for _ in 0..self.args.messages {
            match self.client.hub().post(&self.channel, &self.payload, None) {
                // publish_queue is full: the server is behind, and this is its speed.
                Err(error) if error.status() == Status::Full => {
                    flush(self.client)?;
                    self.client.hub().post(&self.channel, &self.payload, None)?;
                }
                result => result?,
            }
        }
        Ok(())
    }

    fn subscribe(&self, inbox: &Arc<Inbox>) -> Result<()> {
        let (hub, id) = (self.client.hub(), next_id());
        hub.subscribe(id, 0, inbox, None)?;
        let limit = self.client.options().duration(Key::Timeout);
        let done = |lent: &_| completion("subscribe", lent);
        Ok(self.client.wait_for(Some(limit), |ticket| hub.add(id, &[self.channel.as_slice()], ticket), done)?)
    }

    fn receive(&self, inbox: &Arc<Inbox>, mut left: u64) -> Result<()> {
        let patience = self.client.options().duration(Key::Timeout);
        while left > 0 {
            let lent = inbox.take(Some(patience)).map_err(|status| {
                Failure::new(crate::exit::exit_of(status), format!("{left} messages have not come: {status}"))
            })?;
            for record in lent.records() {
                if record.is(Kind::Message) {
                    left = left.saturating_sub(1);
                } else if record.is(Kind::Lost) || record.is(Kind::Dropped) {
                    let why = String::from_utf8_lossy(record.extra(lent.data())).into_owned();
                    return Err(Failure::new(Exit::Server, format!("messages were lost while measuring: {why}")));
                }
            }
        }
        Ok(())
    }
}

fn rate(messages: u64, time: Duration) -> u64 {
    (messages as f64 / time.as_secs_f64().max(1e-9)) as u64
}

fn at(times: &mut [Duration], percent: usize) -> Value {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(0, |time| time.as_micros() as u64).into()
}
