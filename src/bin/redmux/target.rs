//! Which server and which options, said in the same way to every verb.

use crate::exit::{Exit, Failure, Result};
use redmux::options::{Key, Options};
use std::time::Duration;

/// The arguments that every verb has.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Everywhere")]
pub struct Target {
    /// Where Redis is: redis://user:password@host:6379, rediss://host, redis+unix:///path
    #[arg(short, long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// An option of the library, for example -o ping_interval=2s; `redmux options` lists them
    #[arg(short = 'o', long = "option", global = true, value_name = "KEY=VALUE")]
    pub option: Vec<String>,
}

impl Target {
    /// The options as the library reads them: the URL, then each `-o`, then the environment where neither said where.
    pub fn options(&self) -> Result<Options> {
        let mut options = Options::new();
        if let Some(url) = &self.url {
            options.set_url(url)?;
        }
        for entry in &self.option {
            let Some((key, value)) = entry.split_once('=') else {
                // Not shown: it may be a mistyped secret.
                let text = "-o takes KEY=VALUE, for example -o ping_interval=2s; one that was given has no =";
                return Err(Failure::new(Exit::Usage, text));
            };
            options.set(key, value)?;
        }
        options.set_process_environment()?;
        options.check()?;
        Ok(options)
    }

    /// Who said where the server is, for a person who wonders.
    pub fn said_by(&self) -> &'static str {
        let given = |name: &str| std::env::var(name).is_ok_and(|value| !value.trim().is_empty());
        let places = ["host=", "port=", "path=", "url="];
        if self.url.is_some() {
            "--url"
        } else if self.option.iter().any(|entry| places.iter().any(|place| entry.starts_with(place))) {
            "-o"
        } else if given("REDIS_URL") {
            "REDIS_URL"
        } else if given("REDIS_HOST") || given("REDIS_PORT") {
            "REDIS_HOST and REDIS_PORT"
        } else {
            "the default"
        }
    }
}

/// A duration as options are written: `250ms`, `5s`, `2m`. For clap.
pub fn duration(text: &str) -> std::result::Result<Duration, String> {
    let mut options = Options::new();
    // The option that takes any duration a person would wait for.
    options.set(Key::Timeout.name(), text).map_err(|error| error.message().to_owned())?;
    Ok(options.duration(Key::Timeout))
}
