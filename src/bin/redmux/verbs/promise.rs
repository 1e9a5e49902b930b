//! `redmux promise`: waits for one message on each name.

use crate::Context;
use crate::exit::{Exit, Result, exit_of};
use crate::out::Tone;
use crate::session;
use crate::target::duration;
use crate::text::put;
use redmux::error::Status;
use redmux::inbox::{Kind, Record};
use redmux::mux::subscription::Ticket;
use redmux::runtime::next_id;
use serde_json::json;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  redmux promise job-42                       # prints the message when it comes
  redmux promise job-42 --timeout 30s || echo 'it did not come'
  redmux promise job-1 job-2 job-3            # one message of each: name: message

Exit code 5 when the time is over, 3 when the connection was lost meanwhile: then a message
may have been missed.";

/// Wait for one message on a name, and print it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The names (channels) on which one message each is promised
    #[arg(required = true)]
    name: Vec<String>,
    /// How long to wait; without it, for ever
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Print each outcome as a line of JSON
    #[arg(long)]
    json: bool,
    /// No notes on stderr
    #[arg(short, long)]
    quiet: bool,
}

/// Runs it.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit> {
    let client = session::open(context, false)?;
    let inbox = client.new_inbox(None, None)?;
    let deadline = args.timeout.and_then(|limit| Instant::now().checked_add(limit));
    for (token, name) in args.name.iter().enumerate() {
        let ticket = Ticket { inbox: None, token: token as u64, deadline };
        client.hub().promise_alone(next_id(), name.as_bytes(), &inbox, ticket)?;
    }
    let mut left = args.name.len();
    let mut exit = Exit::Ok;
    while left > 0 {
        let lent = inbox.take(None)?;
        for record in lent.records() {
            let name = args.name.get(record.token as usize).map_or("", String::as_str);
            if record.is(Kind::Active) && !args.quiet {
                context.out.note(Tone::Dim, &format!("-- waiting for a message on [{name}]"));
            } else if record.is(Kind::Promise) {
                left -= 1;
                let refused = record.status == Status::Refused.code();
                let why = refused.then(|| session::refusal(&client, "subscribe", name));
                let ended = ended(args, context, name, record, lent.data(), why)?;
                // The first failure is the one to tell.
                exit = if exit == Exit::Ok { ended } else { exit };
            }
        }
        context.out.flush()?;
    }
    let _ = client.close(Instant::now().checked_add(session::CLOSING));
    Ok(exit)
}

/// Tells how a promise ended; `why` where there is more to say than its status.
fn ended(
    args: &Args,
    context: &mut Context,
    name: &str,
    record: &Record,
    data: &[u8],
    why: Option<String>,
) -> Result<Exit> {
    let status = Status::from_code(record.status).unwrap_or(Status::Internal);
    let payload = record.payload(data);
    let out = &mut context.out;
    if args.json {
        let mut object = json!({ "name": name, "status": status.c_name().to_string_lossy() });
        if status == Status::Ok {
            put(&mut object, "payload", payload);
        }
        if let Some(why) = why {
            object["text"] = why.into();
        }
        out.line(&object.to_string())?;
    } else if status == Status::Ok {
        if args.name.len() > 1 {
            out.bytes(format!("{}: ", out.tone(Tone::Name, name)).as_bytes())?;
        }
        out.bytes(&out.safe(payload))?;
        out.bytes(b"\n")?;
    } else {
        // Behind the messages that came before it.
        out.flush()?;
        out.complain(&format!("[{name}]: {}", why.unwrap_or_else(|| status.to_string())));
    }
    Ok(exit_of(status))
}
