//! `redmux completions`: what a shell needs to complete its arguments.

use crate::Context;
use crate::exit::{Exit, Result};
use clap::CommandFactory;
use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  redmux completions bash > ~/.local/share/bash-completion/completions/redmux
  redmux completions zsh > \"${fpath[1]}/_redmux\"
  redmux completions fish > ~/.config/fish/completions/redmux.fish";

/// Print what your shell needs to complete redmux' arguments
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// bash, zsh or fish
    #[arg(hide_possible_values = true)]
    shell: Shell,
}

/// Runs it.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "redmux", &mut script);
    context.out.bytes(&script)?;
    Ok(Exit::Ok)
}
