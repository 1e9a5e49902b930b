//! The command-line tool: what the library does, from a terminal.
//!
//! A verb is a file in `verbs/` with its arguments, its help and a `run`; a new one gets a line in [`Verb`] and one in
//! [`Verb::run`]. Around them: `target.rs` (which server), `session.rs` (a client that is up), `wire.rs` (a connection
//! for questions), `out.rs` (what is printed), `stop.rs` (Ctrl-C) and `exit.rs` (how it ends). It stands on the crate's
//! public modules like any other program, and holds no unsafe code. `tests/tool_*.rs` run what is built.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod exit;
mod out;
mod session;
mod stop;
mod target;
mod text;
mod verbs;
mod wire;

use clap::builder::styling::{AnsiColor, Style, Styles};
use clap::{Parser, Subcommand};
use exit::{Exit, Result};
use out::{Color, Out};
use std::process::ExitCode;
use stop::Stop;
use target::Target;
use verbs::{bench, completions, doctor, monitor, options, promise, publish, request, serve, services, sub};

/// What a verb is given beside its own arguments.
pub struct Context {
    /// Which server, and the options.
    pub target: Target,
    /// Where it prints.
    pub out: Out,
    /// What Ctrl-C does.
    pub stop: Stop,
}

const HEADING: Style = AnsiColor::Yellow.on_default().bold();
const LITERAL: Style = AnsiColor::Green.on_default();
const STYLES: Styles =
    Styles::styled().header(HEADING).usage(HEADING).literal(LITERAL).placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Begin with three terminals:
  redmux sub my_channel                      # hears
  redmux monitor                             # watches what goes over the wire
  redmux pub my_channel 'Hello World!'       # speaks

Or with two, one that answers and one that asks:
  redmux serve shout -- tr a-z A-Z
  redmux request shout hello                 # [HOST] HELLO

The server: --url, else REDIS_URL, else REDIS_HOST, REDIS_PORT, REDIS_USERNAME and
REDIS_PASSWORD, else localhost:6379. Others here can see a password in --url (ps), not in REDIS_URL.

Exit codes:
  0  it did what was asked; sub, serve and monitor also when you end them; or its output is closed
  1  the answer is no: doctor found a fault, too few heard or answered; or something else
  2  the command line or an option is wrong
  3  the server cannot be reached, does not let us in, or was lost before it was done
  4  Redis refused: an error, or no right to (ACL)
  5  the time given is over
  6  nobody is there to answer (request, services)
  7  an answer is an error, or somebody who took the request fell silent
  129, 130, 143  ended by SIGHUP, Ctrl-C or SIGTERM before it was done";

/// One Redis connection, every conversation: subscribe, publish, ask, answer, wait and watch.
#[derive(Parser)]
#[command(name = "redmux", version, styles = STYLES, max_term_width = 110, after_help = EXAMPLES)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    target: Target,
    /// Colours: when the output is a terminal (and NO_COLOR is not set), always, or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    #[arg(help_heading = "Everywhere")]
    color: Color,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    #[command(name = "pub")]
    Pub(publish::Args),
    Sub(sub::Args),
    Promise(promise::Args),
    Request(request::Args),
    Serve(serve::Args),
    Services(services::Args),
    Monitor(monitor::Args),
    Doctor(doctor::Args),
    Bench(bench::Args),
    Options(options::Args),
    Completions(completions::Args),
}

impl Verb {
    fn run(&self, context: &mut Context) -> Result<Exit> {
        match self {
            Verb::Pub(args) => publish::run(args, context),
            Verb::Sub(args) => sub::run(args, context),
            Verb::Promise(args) => promise::run(args, context),
            Verb::Request(args) => request::run(args, context),
            Verb::Serve(args) => serve::run(args, context),
            Verb::Services(args) => services::run(args, context),
            Verb::Monitor(args) => monitor::run(args, context),
            Verb::Doctor(args) => doctor::run(args, context),
            Verb::Bench(args) => bench::run(args, context),
            Verb::Options(args) => options::run(args, context),
            Verb::Completions(args) => completions::run(args, context),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Out::new(cli.color);
    let mut context = match Stop::install() {
        Ok(stop) => Context { target: cli.target, out, stop },
        Err(failure) => return failure.tell(&out),
    };
    let result = cli.verb.run(&mut context).and_then(|exit| context.out.flush().map(|()| exit));
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => failure.tell(&context.out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
