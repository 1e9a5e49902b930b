//! `redmux serve`: answers requests, by echo or with what a command prints.

use super::command::{Asked, Outcome, Running};
use crate::Context;
use crate::exit::{Exit, Failure, Result};
use crate::out::{Notes, Tone};
use crate::session;
use crate::text::{clock, count, now};
use redmux::buffer::{Buffer, Say, Serve};
use redmux::client::Client;
use redmux::error::Status;
use redmux::inbox::record::ACTIVE_NAME;
use redmux::inbox::{Inbox, Kind, Record};
use redmux::mux::subscription::Ticket;
use redmux::options::{Key, Options};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  redmux serve ping --echo                     # answers with what was asked
  redmux serve shout -- tr a-z A-Z             # a command per request: the body is its stdin,
                                               # what it prints is the answer
  redmux serve load --name web-1 -- cat /proc/loadavg
  redmux serve jobs --group workers --concurrency 2 -- ./work    # exactly one of a group answers
  redmux serve '' --catch-all -- sh -c 'echo \"$REDMUX_SERVICE?\"'  # every service there is

The command finds REDMUX_SERVICE, REDMUX_FROM (who asks), REDMUX_ID, and each header as
REDMUX_HEADER_NAME in its environment. If its exit status is not 0 the answer is an error with the
first line of its stderr (status 75: trying again may help). When nobody waits any more it gets
SIGTERM, and SIGKILL a second later, with everything that it started.

Ctrl-C takes no more requests in, gives those in work a moment, and tells whoever still waits.
Lines with -- are on stderr, and say what was answered. A version for `redmux services`:
-o version=1.2";

/// Answer requests, by echo or with a command
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The service; with --catch-all what its name begins with
    service: String,
    /// Answer with what was asked
    #[arg(long, conflicts_with = "command")]
    echo: bool,
    /// The command and its arguments, behind --
    #[arg(last = true, required_unless_present = "echo", value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Who this is, for those who ask [default: the name of this machine]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How many requests may be in work at once [default: the option concurrency, 64]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: Option<u32>,
    /// A queue group: of all its members exactly one answers a request
    #[arg(short, long, value_name = "GROUP")]
    group: Option<String>,
    /// Serve every service whose name begins with SERVICE
    #[arg(long)]
    catch_all: bool,
    /// Begin even if the server is not there yet
    #[arg(short, long)]
    wait: bool,
    /// No notes on stderr, and not what commands write there
    #[arg(short, long)]
    quiet: bool,
}

/// How long requests in work may take after Ctrl-C, and then commands that are told to end.
const DRAIN: Duration = Duration::from_millis(250);
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long a command may take to end when nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs it.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit> {
    let client = session::open_with(context, options(args, context)?, args.wait)?;
    let inbox = client.new_inbox(None, None)?;
    let buffer = client.buffer()?;
    let serve = Serve { service: args.service.as_bytes(), options: client.options(), inbox: &inbox, token: 0 };
    let id = buffer.serve(&serve)?;
    let draining = Arc::clone(&buffer);
    context.stop.on_signal(move || {
        let ticket = Ticket { inbox: None, token: 0, deadline: Instant::now().checked_add(DRAIN) };
        let _ = draining.drain_responder(id, ticket);
    });
    let mut server = Server {
        shared: Arc::new(Shared {
            most: client.options().bytes(Key::MaxPayload),
            buffer,
            id,
            notes: context.out.notes(),
            quiet: args.quiet,
            running: Mutex::default(),
            fewer: Condvar::new(),
        }),
        args,
        needs: session::needs_channels(client.options()),
        given_up: Vec::new(),
    };
    let served = server.serve(&inbox);
    server.shared.end_all();
    close(&client);
    served
}

fn options(args: &Args, context: &Context) -> Result<Options> {
    let mut options = context.target.options()?;
    let concurrency = args.concurrency.map(|n| n.to_string());
    let given = [(Key::Name, &args.name), (Key::Concurrency, &concurrency), (Key::Group, &args.group)];
    for (key, value) in given {
        if let Some(value) = value {
            options.set(key.name(), value)?;
        }
    }
    if args.catch_all {
        options.set(Key::CatchAll.name(), "true")?;
    }
    Ok(options)
}

fn close(client: &Client) {
    let _ = client.close(Instant::now().checked_add(Duration::from_millis(200)));
}

struct Server<'a> {
    args: &'a Args,
    /// What is said where its channel is refused.
    needs: String,
    shared: Arc<Shared>,
    /// Commands that were told to end, and when they are ended.
    given_up: Vec<(Instant, Arc<Running>)>,
}

/// What the threads of requests use too.
struct Shared {
    buffer: Arc<Buffer>,
    id: u64,
    /// The longest answer.
    most: usize,
    notes: Notes,
    quiet: bool,
    /// Commands by the ticket of their request.
    running: Mutex<HashMap<u64, Arc<Running>>>,
    /// There are fewer of them.
    fewer: Condvar,
}

impl Server<'_> {
    /// Serves until the responder has ended.
    fn serve(&mut self, inbox: &Arc<Inbox>) -> Result<Exit> {
        loop {
            let due = self.given_up.iter().map(|(due, _)| due.saturating_duration_since(Instant::now())).min();
            match inbox.take(due) {
                Ok(lent) => {
                    for record in lent.records() {
                        if record.is(Kind::Closed) {
                            return Ok(Exit::Ok);
                        }
                        self.record(record, lent.data())?;
                    }
                }
                Err(Status::Timeout) => {}
                Err(Status::Closed) => return Ok(Exit::Ok),
                Err(status) => return Err(status.into()),
            }
            let now = Instant::now();
            self.given_up.retain(|(due, running)| {
                if *due <= now {
                    running.give_up(Signal::KILL);
                }
                *due > now
            });
        }
    }

    fn record(&mut self, record: &Record, data: &[u8]) -> Result<()> {
        let shared = &self.shared;
        let service = &self.args.service;
        let text = String::from_utf8_lossy(record.extra(data));
        if record.is(Kind::Request) {
            self.request(record, data);
        } else if record.is(Kind::Cancel) {
            let running = shared.lock().get(&record.number).cloned();
            if let Some(running) = running {
                running.give_up(Signal::TERM);
                self.given_up.push((Instant::now() + PATIENCE, running));
            }
        } else if record.is(Kind::Active) && record.flags & ACTIVE_NAME != 0 {
            let all = if self.args.catch_all { "*" } else { "" };
            shared.note(Tone::Dim, &format!("serving [{service}{all}]; Ctrl-C ends it"));
        } else if record.is(Kind::Active) {
            let away = Duration::from_nanos(record.aux);
            shared.note(Tone::Good, &format!("connected again after {away:.1?}; requests up to here may be missing"));
        } else if record.is(Kind::Lost) {
            shared.note(Tone::Bad, &format!("{text}; from here requests may be missing"));
        } else if record.is(Kind::Refused) {
            let text = format!("[{service}]: {text}{}", self.needs);
            return Err(Failure::new(Exit::Refused, text));
        }
        Ok(())
    }

    fn request(&self, record: &Record, data: &[u8]) {
        let began = Instant::now();
        let ticket = record.number;
        let service = record.name(data);
        let head: Value = serde_json::from_slice(record.extra(data)).unwrap_or_default();
        let asked = Asked { service, head: &head };
        // Only a peer that is not ours leaves its name out.
        let from = asked.text("from");
        let who = Who {
            service: String::from_utf8_lossy(service).into_owned(),
            name: if from.is_empty() { "nameless" } else { from }.to_owned(),
        };
        let body = record.payload(data);
        if self.args.echo {
            return self.shared.answer(ticket, &who, began, Outcome::Answer(body.to_vec()));
        }
        let running = match Running::start(&self.args.command, &asked) {
            Ok(running) => Arc::new(running),
            Err(error) => {
                let program = self.args.command.first().cloned().unwrap_or_default();
                let text = format!("{} cannot be run: {error}", program.to_string_lossy());
                return self.shared.answer(ticket, &who, began, Outcome::failed("START", text));
            }
        };
        self.shared.lock().insert(ticket, Arc::clone(&running));
        let (shared, body, started) = (Arc::clone(&self.shared), body.to_vec(), Arc::clone(&running));
        let told = who.clone();
        let work = move || {
            let notes = (!shared.quiet).then_some(shared.notes);
            let outcome = started.finish(&body, shared.most, notes);
            // Its command has ended: another may begin.
            shared.lock().remove(&ticket);
            shared.fewer.notify_all();
            shared.answer(ticket, &told, began, outcome);
        };
        if let Err(error) = std::thread::Builder::new().name("request".into()).spawn(work) {
            running.give_up(Signal::KILL);
            self.shared.lock().remove(&ticket);
            self.shared.answer(ticket, &who, began, Outcome::failed("START", format!("no thread: {error}")));
        }
    }
}

/// Who asks, and what.
#[derive(Clone)]
struct Who {
    service: String,
    name: String,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, tone: Tone, text: &str) {
        if !self.quiet {
            self.notes.note(tone, &format!("-- {} {text}", clock(now())));
        }
    }

    /// Ends a request, and says how.
    fn answer(&self, ticket: u64, Who { service, name }: &Who, began: Instant, outcome: Outcome) {
        let said = match &outcome {
            Outcome::Answer(body) => {
                let said = self.buffer.say(self.id, ticket, Say::Answer { body, headers: b"", last: true });
                if let Err(error) = &said {
                    // Too large with its head line: its asker is told, or would wait for nothing.
                    let (code, message) = ("TOO_LARGE", error.message());
                    let _ = self.buffer.say(self.id, ticket, Say::Error { code, message, retriable: false });
                }
                said
            }
            Outcome::Failed { code, message, retriable } => {
                self.buffer.say(self.id, ticket, Say::Error { code, message, retriable: *retriable })
            }
            // Its ticket still has to be handed back.
            Outcome::GivenUp => self.buffer.say(self.id, ticket, Say::End),
        };
        let took = began.elapsed();
        match (outcome, said) {
            (Outcome::GivenUp, _) => {
                self.note(Tone::Warn, &format!("[{service}] given up after {took:.1?}: {name} does not wait any more"));
            }
            (_, Err(error)) => self.note(Tone::Bad, &format!("[{service}] no answer to {name}: {}", error.message())),
            (Outcome::Answer(body), Ok(())) => {
                self.note(
                    Tone::Dim,
                    &format!("[{service}] {} to {name} in {took:.1?}", count(body.len() as u64, "byte")),
                );
            }
            (Outcome::Failed { code, message, .. }, Ok(())) => {
                self.note(Tone::Bad, &format!("[{service}] {code} to {name} in {took:.1?}: {message}"));
            }
        }
    }

    /// Nothing that was started outlives the tool: what runs may say its last words, and is ended.
    fn end_all(&self) {
        let mut running = self.lock();
        running.values().for_each(|one| one.give_up(Signal::TERM));
        let gone = |running: &mut HashMap<_, _>| !running.is_empty();
        running = match self.fewer.wait_timeout_while(running, LAST_WORDS, gone) {
            Ok((running, _)) => running,
            Err(poisoned) => poisoned.into_inner().0,
        };
        running.values().for_each(|one| one.give_up(Signal::KILL));
    }
}
