//! `redmux options`: the table of the library's options, and what they are just now.

use crate::Context;
use crate::exit::{Exit, Failure, Result};
use crate::out::Tone;
use redmux::error::Error;
use redmux::options::{Key, Options, Row, Scope};

const EXAMPLES: &str = "\
Examples:
  redmux options                   # all of them
  redmux options ping              # those with \"ping\" in their name
  redmux options --current         # their values now (URL, -o, environment); secrets hidden
  redmux options --json | jq       # for programs: type, range, choices and help of each

Set one with -o KEY=VALUE, or in the query of a URL: redis://host?ping_interval=2s";

/// List the library's options: key, type, default, range, and what each does
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only keys that contain this
    part: Option<String>,
    /// The values as they are now, instead of the defaults
    #[arg(long)]
    current: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit> {
    let part = args.part.as_deref().unwrap_or_default();
    let keys: Vec<Key> = Key::ALL.iter().copied().filter(|key| key.name().contains(part)).collect();
    if keys.is_empty() {
        // What the library says of an unknown key names the nearest one, where one is near.
        let said = Options::new().get(part).err().map_or_else(String::new, |error: Error| error.message().to_owned());
        let near = said.contains("did you mean");
        let said = if near { said } else { format!("no option's key contains {part:?}; `redmux options` lists them") };
        return Err(Failure::new(Exit::Usage, said));
    }
    let current = if args.current { Some(context.target.options()?) } else { None };
    if args.json {
        return json(&keys, current.as_ref(), context);
    }
    for (scope, title) in
        [(Scope::Client, "Client"), (Scope::Inbox, "Inbox"), (Scope::Request, "Request"), (Scope::Respond, "Responder")]
    {
        let rows: Vec<&Row> = keys.iter().map(|key| key.row()).filter(|row| row.scope == scope).collect();
        if rows.is_empty() {
            continue;
        }
        context.out.line(&context.out.tone(Tone::Warn, title))?;
        for row in rows {
            let value = match &current {
                Some(options) => options.get(row.name)?,
                None => row.default.to_owned(),
            };
            let value = if value.is_empty() { "-".to_owned() } else { value };
            let changed = current.as_ref().is_some_and(|options| options.is_set(row.key));
            let name = context.out.tone(Tone::Name, &format!("{:<17}", row.name));
            let value = context.out.tone(if changed { Tone::Good } else { Tone::Dim }, &format!("{value:<12}"));
            let secret = if row.secret { " Never shown." } else { "" };
            context.out.line(&format!("  {name} {value} {}{secret}{}", row.help, allowed(row)))?;
        }
    }
    Ok(Exit::Ok)
}

fn allowed(row: &Row) -> String {
    match row.allowed() {
        allowed if allowed.is_empty() => allowed,
        allowed => format!(" ({allowed})"),
    }
}

fn json(keys: &[Key], current: Option<&Options>, context: &mut Context) -> Result<Exit> {
    let text = match current {
        Some(options) => options.to_json(),
        None => Options::describe(),
    };
    let mut json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| Failure::new(Exit::No, error.to_string()))?;
    let known = |name: &str| keys.iter().any(|key| key.name() == name);
    match &mut json {
        serde_json::Value::Array(rows) => rows.retain(|row| row["key"].as_str().is_some_and(known)),
        serde_json::Value::Object(values) => values.retain(|name, _| known(name)),
        _ => {}
    }
    context.out.line(&json.to_string())?;
    Ok(Exit::Ok)
}
