//! `redmux monitor`: what goes over the wire, readable: MONITOR of the server, and for each PUBLISH how many have it.
//!
//! MONITOR does not tell answers. A second connection asks right after a PUBLISH how many subscribe to its channel, once
//! for all channels of what was read together, so that watching a busy server stays cheap.

use super::monitor_line::{Line, long};
use crate::Context;
use crate::exit::{Exit, Failure, Result};
use crate::out::Tone;
use crate::text::{clock, count, put};
use crate::wire::{Answer, Wire};
use redmux::options::Options;
use serde_json::json;
use std::collections::HashMap;

const EXAMPLES: &str = "\
Examples:
  redmux monitor                       # who subscribes, who publishes, how many receive it
  redmux monitor --all                 # every command
  redmux monitor 'news.*' --hide       # channels that begin with news. ; no payloads
  redmux monitor --json | jq .command

Requests and answers (redmux request, serve) are shown as what they are: which kind, the end of
the request's id, who, then the body. Passwords are never shown. Redis does not tell MONITOR how
many received a message, so a second connection asks just after it: \"2 receivers\" is exact while
nobody comes or goes in that moment; \"or more\" is added while anyone subscribes to patterns, of
which Redis tells only how many there are. Watching costs a busy server much of its speed: do not
leave it on. Lines over 16 KiB are cut, and say so. Times are UTC.";

/// Watch what goes over the wire: who subscribes, who publishes, how many receive it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only commands about names that this matches; * stands for anything
    name: Option<String>,
    /// Every command, not only those of Pub/Sub
    #[arg(short, long)]
    all: bool,
    /// Do not show what the messages say, only how long they are
    #[arg(long)]
    hide: bool,
    /// Do not ask how many receive a message
    #[arg(long)]
    no_receivers: bool,
    /// Print a line of JSON for each command
    #[arg(long)]
    json: bool,
    /// End after this many lines
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// No notes on stderr
    #[arg(short, long)]
    quiet: bool,
}

/// Longer lines are cut: a payload may have 512 MB.
const LONGEST: usize = 16 * 1024;

/// Runs it.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit> {
    let options = context.target.options()?;
    let mut asker = if args.no_receivers { None } else { Some(Asker::connect(&options)?) };
    let mut wire = Wire::connect(&options)?;
    if let Answer::Error(error) = wire.ask(&[b"MONITOR"])? {
        return Err(Failure::new(Exit::Refused, format!("MONITOR: {error}")));
    }
    // Everything is flushed whenever it waits: there is nothing to say or to save at the end.
    context.stop.on_signal(|| std::process::exit(Exit::Ok as i32));
    if !args.quiet {
        let what = if args.all { "every command" } else { "Pub/Sub" };
        context.out.note(Tone::Dim, &format!("-- watching {what} on {}", wire.peer()));
    }
    let mut lines = Lines::default();
    let mut shown = 0;
    loop {
        lines.feed(&wire.read()?);
        let mut batch: Vec<Line> =
            std::mem::take(&mut lines.whole).iter().filter_map(|(line, cut)| Line::parse(line, *cut)).collect();
        batch.retain(|line| wanted(args, line, asker.as_ref()));
        let receivers = match &mut asker {
            Some(asker) => asker.receivers(&batch)?,
            None => HashMap::new(),
        };
        for line in &mut batch {
            line.hide_secrets();
            show(args, context, line, &receivers)?;
            shown += 1;
            if args.count == Some(shown) {
                return Ok(Exit::Ok);
            }
        }
        context.out.flush()?;
    }
}

fn wanted(args: &Args, line: &Line, asker: Option<&Asker>) -> bool {
    let ours = asker.is_some_and(|asker| asker.is_own(line));
    let named = |name: &String| line.words.iter().skip(1).any(|word| matches(name.as_bytes(), word));
    !ours && (args.all || line.is_pubsub()) && args.name.as_ref().is_none_or(named)
}

/// Whether a name matches a pattern in which only `*` is special.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|at| matches(rest, name.get(at..).unwrap_or_default())),
        Some((byte, rest)) => name.split_first().is_some_and(|(first, tail)| first == byte && matches(rest, tail)),
    }
}

fn show(args: &Args, context: &mut Context, line: &Line, receivers: &HashMap<Vec<u8>, Receivers>) -> Result<()> {
    let out = &mut context.out;
    let found = line.published_on().and_then(|channel| receivers.get(channel));
    let mut words = line.words.clone();
    let frame = line.frame();
    let message = line.message();
    // Of a request or an answer, what is behind its head.
    let size = frame.as_ref().map(|frame| frame.body).or(message).map_or(0, <[u8]>::len);
    if let (true, Some(_), Some(payload)) = (args.hide, message, words.get_mut(2)) {
        *payload = long(size, line.is_cut(2)).into_bytes();
    }
    if let (Some(frame), false, Some(payload)) = (&frame, args.json, words.get_mut(2)) {
        *payload = [frame.told().as_bytes(), if args.hide { payload } else { frame.body }].concat();
    }
    if args.json {
        let mut object = json!({ "time": line.at / 1_000_000, "client": line.who, "command": line.command() });
        let arguments: Vec<String> = words.iter().skip(1).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
        object["arguments"] = arguments.into();
        if let Some(channel) = line.published_on() {
            put(&mut object, "channel", channel);
        }
        if let (Some(message), false) = (message, args.hide) {
            put(&mut object, "payload", message);
        }
        if line.cut {
            object["cut"] = true.into();
        }
        if let Some(frame) = &frame {
            object["frame"] = frame.kind.into();
            object["id"] = frame.id.as_str().into();
        }
        if let Some(receivers) = found {
            object["receivers"] = receivers.by_name.into();
            object["patterns"] = receivers.patterns.into();
        }
        return out.line(&object.to_string());
    }
    let time = out.tone(Tone::Dim, &clock(line.at));
    let who = out.tone(Tone::Dim, &format!("{:<21}", line.who));
    let tone = if line.published_on().is_some() { Tone::Good } else { Tone::Name };
    let command = out.tone(tone, &line.command());
    // What is hidden has said already that it was cut.
    let cut = line.cut && !(args.hide && message.is_some());
    let shown = Line { words, cut, ..line.clone() }.arguments(120, size);
    let mut text = format!("{time}  {who}  {command} {}", shown.join(" "));
    if let Some(receivers) = found {
        text.push_str(&format!("  -> {}", out.tone(Tone::Warn, &receivers.told())));
    }
    out.line(text.trim_end())
}

/// How many have a message.
struct Receivers {
    by_name: i64,
    patterns: i64,
}

impl Receivers {
    fn told(&self) -> String {
        let told = count(self.by_name.max(0) as u64, "receiver");
        if self.patterns == 0 {
            told
        } else {
            format!("{told} or more ({} in use)", count(self.patterns as u64, "pattern"))
        }
    }
}

/// The connection that asks how many subscribe.
struct Asker {
    wire: Wire,
    /// As MONITOR names it.
    address: String,
    allowed: bool,
}

impl Asker {
    fn connect(options: &Options) -> Result<Asker> {
        let mut wire = Wire::connect(options)?;
        let info = wire.ask_words("CLIENT INFO")?.text();
        let address = info.split(' ').find_map(|field| field.strip_prefix("addr=")).unwrap_or_default();
        // A unix socket's client has no port of its own: MONITOR shows the socket's path for all of them.
        let address =
            if address.contains('/') { format!("unix:{}", address.trim_end_matches(":0")) } else { address.into() };
        Ok(Asker { wire, address, allowed: true })
    }

    /// Whether a line is one of our own questions.
    fn is_own(&self, line: &Line) -> bool {
        line.who == self.address && line.command() == "PUBSUB"
    }

    fn receivers(&mut self, batch: &[Line]) -> Result<HashMap<Vec<u8>, Receivers>> {
        let mut channels: Vec<&[u8]> = batch.iter().filter_map(Line::published_on).collect();
        channels.sort_unstable();
        channels.dedup();
        let mut found = HashMap::new();
        if channels.is_empty() || !self.allowed {
            return Ok(found);
        }
        let Answer::Number(patterns) = self.wire.ask_words("PUBSUB NUMPAT")? else {
            self.allowed = false;
            return Ok(found);
        };
        let command: Vec<&[u8]> = [&b"PUBSUB"[..], b"NUMSUB"].into_iter().chain(channels).collect();
        for pair in self.wire.ask(&command)?.items().chunks(2) {
            if let [Answer::Text(channel), Answer::Number(by_name)] = pair {
                found.insert(channel.clone(), Receivers { by_name: *by_name, patterns });
            }
        }
        Ok(found)
    }
}

/// Lines out of what was read, however it was cut.
#[derive(Default)]
struct Lines {
    /// Each with whether its end is missing.
    whole: Vec<(Vec<u8>, bool)>,
    part: Vec<u8>,
    cut: bool,
}

impl Lines {
    fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.keep(&bytes[..end]);
            let mut line = std::mem::take(&mut self.part);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            self.whole.push((line, std::mem::take(&mut self.cut)));
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LONGEST.saturating_sub(self.part.len());
        self.cut |= bytes.len() > room;
        self.part.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_were_cut_and_no_longer_than_the_bound() {
        let mut lines = Lines::default();
        for part in [&b"+a"[..], b"b\r", b"\n+c\r\n+", b"d"] {
            lines.feed(part);
        }
        assert_eq!(lines.whole, [(b"+ab".to_vec(), false), (b"+c".to_vec(), false)]);
        lines.feed(&vec![b'x'; 3 * LONGEST]);
        lines.feed(b"\r\n+e\r\n");
        assert_eq!((lines.whole[2].0.len(), lines.whole[2].1), (LONGEST, true));
        assert_eq!(lines.whole[3], (b"+e".to_vec(), false), "the next one is whole");
    }

    #[test]
    fn a_star_stands_for_anything() {
        assert!(matches(b"news.*", b"news.a") && matches(b"*", b"") && matches(b"a*c", b"abbc"));
        assert!(!matches(b"news.*", b"new") && !matches(b"a", b"ab"));
    }
}
