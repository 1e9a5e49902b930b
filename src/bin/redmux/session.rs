//! A client of the library that is up: what most verbs begin with.

use crate::Context;
use crate::exit::{Exit, Failure, Result, exit_of};
use crate::out::Tone;
use redmux::client::{Client, EventsBy};
use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::mux::events::State;
use redmux::options::{Key, Options};
use std::sync::Arc;
use std::time::Duration;

/// How long the end of a client may take: less than what Ctrl-C leaves.
pub const CLOSING: Duration = Duration::from_millis(400);

/// Opens a client and waits until it is connected. A server that is not there is an error, unless `wait` says that it
/// may come later.
pub fn open(context: &Context, wait: bool) -> Result<Arc<Client>> {
    open_with(context, context.target.options()?, wait)
}

/// The same with options that a verb has made its own.
pub fn open_with(context: &Context, options: Options, wait: bool) -> Result<Arc<Client>> {
    if options.list(Key::Ask).iter().next().is_some() {
        return Err(Failure::new(Exit::Usage, "ask is for programs, which answer; give the address with --url"));
    }
    let client = Client::open(options, EventsBy::Take)?;
    let events = Arc::clone(client.events().ok_or(Status::Internal)?);
    let mut told = false;
    loop {
        let lent = events.take(None)?;
        for record in lent.records().iter().filter(|record| record.is(Kind::State)) {
            if record.number == State::Online as u64 {
                return Ok(client);
            }
            if record.number == State::Offline as u64 {
                let text = String::from_utf8_lossy(record.extra(lent.data())).into_owned();
                if !wait {
                    let status = Status::from_code(record.status).unwrap_or(Status::Connect);
                    return Err(Failure::new(exit_of(status), text));
                }
                if !told {
                    context.out.note(Tone::Warn, &format!("-- trying until it is there: {text}"));
                    told = true;
                }
            }
        }
    }
}

/// What is said of a name that Redis refused: to whom, and what to do about it.
pub fn refusal(client: &Client, command: &str, name: &str) -> String {
    let user = user(client.options());
    format!("refused by ACL (NOPERM) for user {user:?}; it needs: ACL SETUSER {user} +{command} '&{name}'")
}

/// What is said where a channel of requests was refused. The names of some are new with each client, and cannot be
/// allowed one by one. Nothing where another wire has other channels.
pub fn needs_channels(options: &Options) -> String {
    if options.choice(Key::Wire) != "native" {
        return String::new();
    }
    let (user, namespace) = (user(options), options.text(Key::Namespace));
    format!("; user {user:?} needs the channels of requests: ACL SETUSER {user} '&{namespace}:*'")
}

fn user(options: &Options) -> &str {
    match options.text(Key::User) {
        "" => "default",
        user => user,
    }
}
