//! `redmux services`: who is there, and what they serve.

use crate::Context;
use crate::exit::{Exit, Result, exit_of};
use crate::out::Tone;
use crate::session;
use crate::target::duration;
use crate::text::grouped;
use redmux::buffer::Ask;
use redmux::error::Status;
use redmux::inbox::{Kind, Record};
use redmux::mux::subscription::Ticket;
use redmux::options::Key;
use serde_json::Value;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  redmux services                # what is served, by whom
  redmux services --stats        # and how many requests, errors, how long they took on average
  redmux services --json | jq -r .service | sort -u

It asks, and whoever serves anything answers: one that hangs is not in the list. A service with
* is a prefix: everything whose name begins so. Exit code 6 when nobody serves anything; where the
list may not be whole, stderr says why, and the code is that of the reason.";

/// List who serves what
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Also how many requests each had, how many of them failed, and how long they took
    #[arg(short, long)]
    stats: bool,
    /// How long to wait for those who do not answer
    #[arg(short, long, value_name = "TIME", value_parser = duration, default_value = "2s")]
    timeout: Duration,
    /// Print a line of JSON for each service and who serves it
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit> {
    let client = session::open(context, false)?;
    let inbox = client.new_inbox(None, None)?;
    let body: &[u8] = if args.stats { b"STATS" } else { b"INFO" };
    let ask = Ask { service: b"$", body, headers: b"", options: client.options() };
    let deadline = Instant::now().checked_add(args.timeout);
    client.buffer()?.ask(&ask, Ticket { inbox: Some(inbox.clone()), token: 0, deadline })?;
    let mut served = Vec::new();
    let (status, why) = 'asking: loop {
        let lent = inbox.take(None)?;
        for record in lent.records() {
            if record.is(Kind::End) {
                let report: Value = serde_json::from_slice(record.extra(lent.data())).unwrap_or_default();
                let status = Status::from_code(record.status).unwrap_or(Status::Internal);
                break 'asking (status, text(&report, "message").to_owned());
            }
            answered(&mut served, record, lent.data());
        }
    };
    let _ = client.close(Instant::now().checked_add(session::CLOSING));
    let whole = matches!(status, Status::Ok | Status::NoResponders);
    if whole && served.is_empty() {
        let namespace = client.options().text(Key::Namespace);
        context.out.complain(&format!(
            "nobody serves anything in the namespace {namespace:?}; `redmux serve ping --echo` would"
        ));
        return Ok(Exit::Nobody);
    }
    served.sort_by_key(|one| ["service", "name", "instance"].map(|key| text(one, key).to_owned()));
    if args.json {
        served.iter().try_for_each(|one| context.out.line(&one.to_string()))?;
    } else if !served.is_empty() {
        table(args, context, &served)?;
    }
    if whole {
        return Ok(Exit::Ok);
    }
    context.out.flush()?;
    let why = match status {
        Status::Refused => why + &session::needs_channels(client.options()),
        other if why.is_empty() => other.to_string(),
        _ => why,
    };
    let heard = if served.is_empty() { "nobody has answered" } else { "this may not be all" };
    context.out.complain(&format!("{heard}: {why}"));
    Ok(exit_of(status))
}

/// One answer: a client and everything that it serves.
fn answered(served: &mut Vec<Value>, record: &Record, data: &[u8]) {
    let about: Value = serde_json::from_slice(record.payload(data)).unwrap_or_default();
    for service in about["services"].as_array().into_iter().flatten().filter(|one| one.is_object()) {
        let mut one = service.clone();
        one["name"] = about["name"].clone();
        one["instance"] = about["instance"].clone();
        one["redmux"] = about["version"].clone();
        served.push(one);
    }
}

fn table(args: &Args, context: &mut Context, served: &[Value]) -> Result<()> {
    let mut titles = vec!["SERVICE", "NAME", "VERSION", "GROUP"];
    if args.stats {
        titles.extend(["REQUESTS", "ERRORS", "IN WORK", "AVERAGE"]);
    }
    let number = |one: &Value, key: &str| grouped(one[key].as_u64().unwrap_or(0));
    let out = &mut context.out;
    let safe = |text: &str| String::from_utf8_lossy(&out.safe(text.as_bytes())).into_owned();
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { safe(text) };
    let mut rows: Vec<Vec<String>> = vec![titles.iter().map(|title| (*title).to_owned()).collect()];
    for one in served {
        let star = if one["catch_all"] == true { "*" } else { "" };
        let mut row = vec![
            safe(text(one, "service")) + star,
            or_dash(text(one, "name")),
            or_dash(text(one, "version")),
            or_dash(text(one, "group")),
        ];
        if args.stats {
            let average = Duration::from_secs_f64(one["average_ms"].as_f64().unwrap_or(0.0).clamp(0.0, 1e12) / 1e3);
            row.extend(["requests", "errors", "in_work"].map(|key| number(one, key)));
            row.push(if average.is_zero() { "-".into() } else { format!("{average:.1?}") });
        }
        rows.push(row);
    }
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    for (line, row) in rows.iter().enumerate() {
        let cell = |(at, text): (usize, &String)| {
            // Figures stand under each other by their last digit.
            let padded = if at < 4 { format!("{text:<0$}", widths[at]) } else { format!("{text:>0$}", widths[at]) };
            match (line, at) {
                (0, _) => out.tone(Tone::Dim, &padded),
                (_, 0) => out.tone(Tone::Name, &padded),
                _ => padded,
            }
        };
        let text = row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ");
        out.line(text.trim_end())?;
    }
    Ok(())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
