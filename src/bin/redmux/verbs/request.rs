//! `redmux request`: asks a service, prints each answer when it comes, and says why there are no more.

use super::publish::body;
use crate::Context;
use crate::exit::{Exit, Failure, Result, exit_of};
use crate::out::Tone;
use crate::session;
use crate::target::duration;
use crate::text::{Format, clock, count, in_braces, put};
use redmux::buffer::{Ask, Reason};
use redmux::error::Status;
use redmux::inbox::{Kind, Record};
use redmux::mux::subscription::Ticket;
use redmux::options::{Key, Options};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  redmux request time                          # [web-1] 12:00, [web-2] 12:01: everybody answers
  redmux request time --first                  # one answer alone, for a script
  redmux request vote 'tea?' --expect 3        # three answers are enough
  redmux request vote 'tea?' --quiet 200ms     # or nothing new for that long
  redmux request resize - < cat.jpg > small.jpg --first
  redmux request user.find 42 --header tenant=7 --json | jq .payload
  redmux request time --format '{name} says {payload}'

In a format: {payload} {name} {by} {service} {time} {number} {bytes} {took}, \\n, \\t, \\0;
{{ and }} are braces. Answers are on stdout, in the order in which they come; who failed, who is
missing and how it ended is on stderr. With --json everything is on stdout, the last line being of kind \"end\".

Exit codes: 0 answered; 1 fewer answers than --expect; 5 the time is over (what came is printed);
6 nobody serves it; 7 an answer is an error, or somebody who took it fell silent (neither counts
where --expect or --first got their answers).";

/// What a format may name.
const NAMES: [&str; 8] = ["payload", "name", "by", "service", "time", "number", "bytes", "took"];
/// After so long a person is told who works on it.
const LONG: Duration = Duration::from_secs(1);
/// Flag bit of an answer: an error.
const FAILED: u16 = 2;

/// Ask a service, and see every answer and who gave it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The service
    service: String,
    /// What is asked; - is all of stdin
    #[arg(default_value = "", hide_default_value = true)]
    body: String,
    /// This many answers are enough
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    expect: Option<u32>,
    /// The first answer is enough, and is printed alone: into a file or a pipe byte for byte
    #[arg(short = '1', long, conflicts_with = "expect")]
    first: bool,
    /// End when no answer has come for this long after the last one
    #[arg(long, value_name = "TIME", value_parser = duration)]
    quiet: Option<Duration>,
    /// How long to wait in all [default: the option timeout, 10s]
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Wait for everybody who received it, even if they never said that they took it
    #[arg(long)]
    strict: bool,
    /// A header for whoever answers; may be given more than once
    #[arg(long, value_name = "KEY=VALUE")]
    header: Vec<String>,
    /// How each answer is printed
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "json", help = format!("How each answer is printed: {}", in_braces(&NAMES)))]
    format: Option<String>,
    /// Print a line of JSON for each answer, each error and the end
    #[arg(long)]
    json: bool,
    /// No notes on stderr
    #[arg(short = 'q', long)]
    no_notes: bool,
}

/// Runs it.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit> {
    let format = args.format.as_deref().map(|format| Format::parse(format, &NAMES)).transpose()?;
    let headers = headers(&args.header)?;
    let body = body(&args.body)?;
    let client = session::open_with(context, options(args, context)?, false)?;
    let inbox = client.new_inbox(None, None)?;
    let buffer = client.buffer()?;
    let limit = args.timeout.unwrap_or_else(|| client.options().duration(Key::Timeout));
    let began = Instant::now();
    let ticket = Ticket { inbox: Some(inbox.clone()), token: 0, deadline: began.checked_add(limit) };
    let service = args.service.as_bytes();
    let ask = Ask { service, body: &body, headers: headers.as_bytes(), options: client.options() };
    let id = buffer.ask(&ask, ticket)?;
    // Whoever works on it is told that nobody waits any more.
    context.stop.on_signal(move || {
        let _ = buffer.stop(id, Reason::Cancelled);
    });
    let needs = session::needs_channels(client.options());
    let mut asker = Asker { args, context, format, needs, began, answers: 0, working: BTreeMap::new(), told: false };
    let end = 'asking: loop {
        let patience = (!asker.told).then(|| LONG.saturating_sub(began.elapsed()));
        let lent = match inbox.take(patience) {
            Err(Status::Timeout) => {
                asker.tell_who_works();
                continue;
            }
            other => other?,
        };
        for record in lent.records() {
            if record.is(Kind::End) {
                break 'asking asker.end(record, lent.data());
            }
            asker.heard(record, lent.data())?;
        }
        if lent.more() == 0 {
            asker.context.out.flush()?;
        }
    };
    asker.context.out.flush()?;
    let _ = client.close(Instant::now().checked_add(session::CLOSING));
    match context.stop.signal() {
        Some(signal) => Err(Failure::Signal(signal)),
        None => end,
    }
}

fn options(args: &Args, context: &Context) -> Result<Options> {
    let mut options = context.target.options()?;
    if let Some(enough) = if args.first { Some(1) } else { args.expect } {
        options.set(Key::Expect.name(), &enough.to_string())?;
    }
    if let Some(quiet) = args.quiet {
        options.set(Key::Quiet.name(), &format!("{}ms", quiet.as_millis()))?;
    }
    if args.strict {
        options.set(Key::Strict.name(), "true")?;
    }
    options.set(Key::Accepted.name(), "true")?;
    Ok(options)
}

fn headers(given: &[String]) -> Result<String> {
    if given.is_empty() {
        return Ok(String::new());
    }
    let mut headers = serde_json::Map::new();
    for header in given {
        let Some((key, value)) = header.split_once('=') else {
            // Not shown: it may be a mistyped secret.
            let text = "--header takes KEY=VALUE, for example --header tenant=7; one that was given has no =";
            return Err(Failure::new(Exit::Usage, text));
        };
        headers.insert(key.into(), value.into());
    }
    Ok(Value::from(headers).to_string())
}

struct Asker<'a> {
    args: &'a Args,
    context: &'a mut Context,
    format: Option<Format>,
    /// What is said where a channel is refused.
    needs: String,
    began: Instant,
    answers: u64,
    /// Who took it and has not answered, by id.
    working: BTreeMap<String, String>,
    /// They were told of.
    told: bool,
}

impl Asker<'_> {
    fn heard(&mut self, record: &Record, data: &[u8]) -> Result<()> {
        let head: Value = serde_json::from_slice(record.extra(data)).unwrap_or_default();
        let (name, by) = (text(&head, "name"), text(&head, "by"));
        let name = if name.is_empty() { by } else { name };
        if record.is(Kind::Accepted) {
            self.working.insert(by.to_owned(), name.to_owned());
            if self.args.json {
                self.context.out.line(&json!({ "kind": "accepted", "name": name, "by": by }).to_string())?;
            } else if self.told {
                self.tell_who_works();
            }
            return Ok(());
        }
        if !record.is(Kind::Answer) {
            return Ok(());
        }
        self.working.remove(by);
        if record.flags & FAILED != 0 {
            return self.failed(&head, name, by);
        }
        self.answers += 1;
        let payload = record.payload(data);
        let took = self.began.elapsed();
        let out = &mut self.context.out;
        if self.args.json {
            let mut object = json!({ "kind": "answer", "name": name, "by": by, "seq": record.number });
            put(&mut object, "payload", payload);
            if !head["h"].is_null() {
                object["headers"] = head["h"].clone();
            }
            object["ms"] = json!((took.as_secs_f64() * 1e6).round() / 1e3);
            return out.line(&object.to_string());
        }
        if let Some(format) = &self.format {
            let number = self.answers;
            return format.print(out, |word| match word {
                "payload" => payload.into(),
                "name" => name.as_bytes().into(),
                "by" => by.as_bytes().into(),
                "service" => self.args.service.as_bytes().into(),
                "time" => clock(record.aux).into_bytes().into(),
                "number" => number.to_string().into_bytes().into(),
                "bytes" => payload.len().to_string().into_bytes().into(),
                _ => format!("{took:.1?}").into_bytes().into(),
            });
        }
        if !self.args.first {
            let name = String::from_utf8_lossy(&out.safe(name.as_bytes())).into_owned();
            out.bytes(format!("[{}] ", out.tone(Tone::Name, &name)).as_bytes())?;
        }
        out.bytes(&out.safe(payload))?;
        // What a command printed ends its last line itself; and an answer alone goes into a file as it is.
        let as_it_is = self.args.first && !out.is_terminal();
        if as_it_is || payload.ends_with(b"\n") { Ok(()) } else { out.bytes(b"\n") }
    }

    /// A person who waits wants to know for whom.
    fn tell_who_works(&mut self) {
        self.told = true;
        if !self.working.is_empty() && !self.args.json && !self.args.no_notes {
            let names: Vec<&str> = self.working.values().map(String::as_str).collect();
            self.context.out.note(Tone::Dim, &format!("-- working on it: {}", names.join(", ")));
        }
    }

    fn failed(&mut self, head: &Value, name: &str, by: &str) -> Result<()> {
        let (code, message) = (text(head, "code"), text(head, "message"));
        let retriable = head["retriable"] == true;
        let out = &mut self.context.out;
        if self.args.json {
            let object = json!({ "kind": "error", "name": name, "by": by, "code": code, "message": message, "retriable": retriable });
            return out.line(&object.to_string());
        }
        out.flush()?;
        let again = if retriable { "; asking again may help" } else { "" };
        out.complain(&format!("[{name}] {code}: {message}{again}"));
        Ok(())
    }

    /// Says how it ended, and with which number.
    fn end(&mut self, record: &Record, data: &[u8]) -> Result<Exit> {
        let mut report: Value = serde_json::from_slice(record.extra(data)).unwrap_or_default();
        let took = Duration::from_nanos(record.aux);
        let ended = Ended {
            reason: record.number,
            status: Status::from_code(record.status).unwrap_or(Status::Internal),
            answers: self.answers,
            errors: report["errors"].as_u64().unwrap_or(0),
            missing: report["missing_count"].as_u64().unwrap_or(0),
            expected: self.args.expect.map(u64::from),
        };
        if ended.status == Status::Refused {
            report["message"] = format!("{}{}", text(&report, "message"), self.needs).into();
        }
        self.context.out.flush()?;
        if self.args.json {
            let mut object = report;
            object["kind"] = "end".into();
            object["reason"] = ended.word().into();
            object["ms"] = json!((took.as_secs_f64() * 1e6).round() / 1e3);
            self.context.out.line(&object.to_string())?;
            return Ok(ended.exit());
        }
        let said = ended.said(&self.args.service, text(&report, "message"));
        let line = format!("{} in {took:.1?}; {said}", count(self.answers, "answer"));
        let out = &self.context.out;
        match ended.exit() {
            _ if self.context.stop.signal().is_some() => {}
            Exit::Ok if self.args.no_notes => {}
            Exit::Ok => out.note(Tone::Dim, &format!("-- {line}")),
            _ if ended.reason == Reason::NoResponders as u64 => out.complain(&said),
            _ => {
                for one in report["missing"].as_array().into_iter().flatten() {
                    out.complain(&format!(
                        "[{}] took it and has not finished ({})",
                        text(one, "name"),
                        text(one, "by")
                    ));
                }
                out.complain(&line);
            }
        }
        Ok(ended.exit())
    }
}

/// How a request ended.
struct Ended {
    reason: u64,
    status: Status,
    answers: u64,
    errors: u64,
    missing: u64,
    /// What `--expect` wanted.
    expected: Option<u64>,
}

impl Ended {
    const WORDS: [&'static str; 12] = [
        "unknown",
        "no_responders",
        "all",
        "count",
        "predicate",
        "quiet",
        "deadline",
        "cancelled",
        "closed",
        "interrupted",
        "failed",
        "overflow",
    ];

    fn word(&self) -> &'static str {
        let at = usize::try_from(self.reason).unwrap_or(0);
        Ended::WORDS.get(at).copied().unwrap_or("unknown")
    }

    fn exit(&self) -> Exit {
        let is = |reason: Reason| self.reason == reason as u64;
        if is(Reason::Count) {
            Exit::Ok
        } else if self.status != Status::Ok {
            exit_of(self.status)
        } else if self.errors > 0 || self.missing > 0 {
            Exit::Failed
        } else if self.expected.is_some_and(|expected| self.answers < expected) {
            Exit::No
        } else {
            Exit::Ok
        }
    }

    fn said(&self, service: &str, message: &str) -> String {
        let text = match self.word() {
            "no_responders" => {
                return format!("nobody serves {service:?}; `redmux services` lists who is there");
            }
            "all" if self.exit() == Exit::No => "there are no more who serve it",
            "all" => "everybody who took it has finished",
            "count" => "that is enough",
            "quiet" => "nothing more came",
            "deadline" => "the time given is over",
            "failed" => "everybody who took it failed",
            "overflow" => "more came than there is room for (-o max_answers, max_answer_bytes)",
            "interrupted" => "the connection was lost while it waited; answers may be missing",
            other => other,
        };
        if message.is_empty() { text.to_owned() } else { message.to_owned() }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_how_it_went() {
        let ended = |reason: Reason, status, answers, errors, missing, expected| {
            Ended { reason: reason as u64, status, answers, errors, missing, expected }.exit()
        };
        assert_eq!(ended(Reason::All, Status::Ok, 2, 0, 0, None), Exit::Ok);
        assert_eq!(ended(Reason::All, Status::Ok, 2, 0, 0, Some(3)), Exit::No);
        assert_eq!(ended(Reason::All, Status::Ok, 2, 1, 0, None), Exit::Failed);
        assert_eq!(ended(Reason::All, Status::Ok, 2, 0, 1, None), Exit::Failed);
        assert_eq!(ended(Reason::Count, Status::Ok, 2, 1, 1, Some(2)), Exit::Ok);
        assert_eq!(ended(Reason::Failed, Status::Remote, 0, 1, 0, None), Exit::Failed);
        assert_eq!(ended(Reason::NoResponders, Status::NoResponders, 0, 0, 0, None), Exit::Nobody);
        assert_eq!(ended(Reason::Deadline, Status::Timeout, 1, 0, 1, None), Exit::Timeout);
        assert_eq!(ended(Reason::Interrupted, Status::Refused, 0, 0, 0, None), Exit::Refused);
    }

    #[test]
    fn headers_are_an_object_of_strings() {
        assert_eq!(headers(&["a=b=c".into(), "d=\"".into()]).unwrap(), r#"{"a":"b=c","d":"\""}"#);
        assert!(matches!(headers(&["a".into()]), Err(Failure::Told(Exit::Usage, _))));
    }
}
