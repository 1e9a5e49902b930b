//! The other places that options come from: JSON, a file of JSON, the environment.

use std::cell::Cell;
use std::env::VarError;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::table::Key;
use super::value::{self, Value};
use super::{Options, Origin, within};
use crate::error::{Error, Result, Status};

/// No file of options is larger; what is larger is another file.
const FILE_LIMIT: u64 = 1 << 20;

impl Options {
    /// Reads a flat JSON object: `{"url": "redis://host", "tls": true, "ping_interval": "5s", "ask": ["address"]}`.
    ///
    /// `url` is read first, the other keys win over what it says; `null` is the absence of a value. Errors are those
    /// of [`set`](Options::set), or `InvalidArgument` with line and column where it is not JSON. Nothing is changed
    /// then.
    pub fn set_json(&mut self, text: &str) -> Result<()> {
        let json: Json = serde_json::from_str(text)
            .map_err(|error| Error::new(Status::InvalidArgument, format!("the options are not JSON: {error}")))?;
        let Json::Object(entries) = json else {
            let message = format!("the options must be a JSON object, and this is {}", kind_of(&json));
            return Err(Error::new(Status::InvalidArgument, message));
        };
        let mut next = self.clone();
        let (urls, others): (Vec<_>, Vec<_>) = entries.iter().partition(|(key, _)| *key == "url");
        for (key, json) in urls.into_iter().chain(others) {
            // Before its value: the type matters only where the key is known.
            if key != "url" && Key::find(key).is_none() {
                return Err(value::unknown(key));
            }
            if let Some(text) = plain(key, json)? {
                next.set(key, &text)?;
            }
        }
        *self = next;
        Ok(())
    }

    /// Reads a file of such JSON; every error names the path.
    pub fn set_file(&mut self, path: &Path) -> Result<()> {
        let place = format!("options file {path:?}");
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(FILE_LIMIT + 1).read_to_string(&mut text))
            .map_err(|error| Error::new(Status::InvalidArgument, format!("{place}: {error}")))?;
        if text.len() as u64 > FILE_LIMIT {
            return Err(Error::new(Status::InvalidArgument, format!("{place}: over 1 MiB")));
        }
        self.set_json(text.strip_prefix('\u{feff}').unwrap_or(&text)).map_err(|error| within(&place, &error))
    }

    /// Reads the environment through `get`: `REDIS_URL`, or else `REDIS_HOST`, `REDIS_PORT`, `REDIS_USERNAME`,
    /// `REDIS_PASSWORD` and `REDIS_DB`. A variable that is empty counts as missing.
    ///
    /// Nothing is looked at when a host, a port, a path or a URL was given, and what was set is never overridden, so
    /// this may be called at any moment before the client opens.
    pub fn set_environment(&mut self, get: impl Fn(&str) -> Option<String>) -> Result<()> {
        self.environment = true;
        let given = |key: &Key| matches!(self.origin(*key), Origin::Url | Origin::Caller);
        if [Key::Host, Key::Port, Key::Path].iter().any(given) {
            return Ok(());
        }
        let found = from_environment(|name| get(name).filter(|value| !value.trim().is_empty()))?;
        self.forget(Origin::Environment);
        for (key, slot) in Key::ALL.iter().copied().zip(found.slots) {
            if slot.origin != Origin::Default && !self.is_set(key) {
                self.put(key, slot.value, Origin::Environment);
            }
        }
        Ok(())
    }

    /// The same from the environment of this process. A variable that is not UTF-8 is an error, not a missing one: whoever
    /// set it did not mean `localhost`.
    pub fn set_process_environment(&mut self) -> Result<()> {
        let unreadable = Cell::new(None);
        let read = self.set_environment(|name| match std::env::var(name) {
            Ok(value) => Some(value),
            Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(_)) => {
                // Without its value, which may be a secret.
                let text = || Error::new(Status::InvalidValue, format!("{name}: the value is not UTF-8"));
                unreadable.set(Some(unreadable.take().unwrap_or_else(text)));
                None
            }
        });
        unreadable.into_inner().map_or(read, Err)
    }

    /// The current values as one JSON object; secrets that are set are `"***"`.
    pub fn to_json(&self) -> String {
        let entry = |key: &Key| {
            let json = match self.value(*key) {
                Some(value) if !key.row().secret => json(value),
                _ => Json::from(self.written(*key)),
            };
            (key.name().to_owned(), json)
        };
        Json::Object(Key::ALL.iter().map(entry).collect::<Map<_, _>>()).to_string()
    }
}

fn from_environment(get: impl Fn(&str) -> Option<String>) -> Result<Options> {
    let mut found = Options::new();
    if let Some(url) = get("REDIS_URL") {
        found.set_url(&url).map_err(|error| within("REDIS_URL", &error))?;
        return Ok(found);
    }
    let mut host = get("REDIS_HOST").map(|host| host.trim().to_owned());
    let mut port = get("REDIS_PORT");
    // Kubernetes sets REDIS_PORT=tcp://10.0.0.7:6379 in every pod beside a service that is called redis.
    if let Some((address, number)) =
        port.as_deref().and_then(|port| port.trim().strip_prefix("tcp://")?.rsplit_once(':'))
    {
        host.get_or_insert_with(|| address.trim_matches(['[', ']']).to_owned());
        port = Some(number.to_owned());
    }
    let (user, password, db) = (get("REDIS_USERNAME"), get("REDIS_PASSWORD"), get("REDIS_DB"));
    for (name, key, value) in [
        ("REDIS_HOST", Key::Host, host),
        ("REDIS_PORT", Key::Port, port),
        ("REDIS_USERNAME", Key::User, user),
        ("REDIS_PASSWORD", Key::Password, password),
        ("REDIS_DB", Key::Db, db),
    ] {
        if let Some(value) = value {
            found.set(key.name(), &value).map_err(|error| within(name, &error))?;
        }
    }
    Ok(found)
}

/// The value as text, as `set` takes it.
fn plain(key: &str, json: &Json) -> Result<Option<String>> {
    let text = match json {
        Json::Null => return Ok(None),
        Json::Bool(flag) => flag.to_string(),
        Json::Number(number) => number.to_string(),
        Json::String(text) => text.clone(),
        Json::Array(items) if items.iter().all(Json::is_string) => {
            items.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(",")
        }
        Json::Array(_) | Json::Object(_) => {
            let message = format!("{key}: {} does not fit; allowed is text, a number or true/false", kind_of(json));
            return Err(Error::new(Status::InvalidValue, message));
        }
    };
    Ok(Some(text))
}

fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

/// The value in the JSON type that reads best; `set_json` takes it back.
pub(super) fn json(value: &Value) -> Json {
    match value {
        Value::Number(number) => Json::from(*number),
        Value::Flag(flag) => Json::from(*flag),
        Value::List(words) => words.iter().map(Json::from).collect(),
        Value::Text(_) | Value::Size(_) | Value::Duration(_) | Value::Choice(_) => Json::from(value.write()),
    }
}
