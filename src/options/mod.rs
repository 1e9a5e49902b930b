//! Options: what a client can be told, from a key, a URL, a connection string, JSON, a file or the environment.
//!
//! Every option is one row of `table.rs`; nothing else knows a key, a default or a range. This module opens no
//! connection and reads nothing by itself: the front door and the C ABI call it. A secret never leaves it except
//! through [`Options::text`]. `tests/options.rs` goes over every row and every error.
//!
//! Which source wins: a later call wins over an earlier one, and a URL replaces the address (host, port, path) and
//! everything that an earlier URL said. The environment never wins over anything that was said by the caller, and it
//! does not count at all when the caller gave an address, so that a password from the environment is never sent to it.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod describe;
mod sources;
mod table;
mod url;
mod value;

use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result, Status};
pub use describe::markdown;
pub use table::{Key, Kind, Row, Rule, Scope};
use value::Value;
pub use value::Words;

/// Who said a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Default,
    Environment,
    Url,
    Caller,
}

#[derive(Clone)]
struct Slot {
    value: Value,
    origin: Origin,
}

/// The value of every option.
#[derive(Clone)]
pub struct Options {
    /// One for each of [`Key::ALL`], in its order.
    slots: Vec<Slot>,
    /// Somebody read an environment, which need not be the process'.
    environment: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl Options {
    /// All defaults.
    pub fn new() -> Options {
        let slot = |key: &Key| Slot { value: key.row().default_value(), origin: Origin::Default };
        Options { slots: Key::ALL.iter().map(slot).collect(), environment: false }
    }

    /// Sets one option; the key `url` is the same as [`set_url`](Options::set_url).
    ///
    /// `UnknownOption` names the key and the nearest known one; `InvalidValue` names the key, the value (never that of
    /// a secret) and what is allowed. Nothing is changed then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        if key == "url" { self.set_url(value) } else { self.apply(key, value, Origin::Caller) }
    }

    /// The value of one option, as `set` would read it; a secret as stars. `UnknownOption` as for `set`.
    pub fn get(&self, key: &str) -> Result<String> {
        Key::find(key).map(|key| self.written(key)).ok_or_else(|| value::unknown(key))
    }

    /// Reads a URL, `redis://user:password@host:port/db?option=value` (also `rediss://` and `redis+unix:///path`), or,
    /// when it has no scheme, a connection string as StackExchange.Redis has it: `host:port,password=...,ssl=true`.
    ///
    /// It replaces the address and what an earlier URL said; what was set by its key stays unless the URL says it.
    /// `InvalidUrl` says which part is wrong and where, and never shows a password. Nothing is changed then.
    pub fn set_url(&mut self, url: &str) -> Result<()> {
        let mut next = self.clone();
        next.forget(Origin::Environment);
        next.forget(Origin::Url);
        for key in [Key::Host, Key::Port, Key::Path] {
            next.put(key, key.row().default_value(), Origin::Default);
        }
        url::read(url, &mut next)?;
        *self = next;
        Ok(())
    }

    /// What fits one by one and not together: half a client certificate, TLS files without TLS, TLS on a unix socket,
    /// a backoff whose minimum is over its maximum.
    pub fn check(&self) -> Result<()> {
        let invalid = |message: &str| Err(Error::new(Status::InvalidValue, message));
        if self.flag(Key::Tls) && !cfg!(feature = "tls") {
            return Err(Error::new(Status::NotBuilt, "tls: this build was made without TLS (feature \"tls\")"));
        }
        match (self.text(Key::TlsCert).is_empty(), self.text(Key::TlsKey).is_empty()) {
            (false, true) => return invalid("tls_cert is set and tls_key is not; a client certificate needs both"),
            (true, false) => return invalid("tls_key is set and tls_cert is not; a client certificate needs both"),
            _ => {}
        }
        if self.flag(Key::Tls) && !self.text(Key::Path).is_empty() {
            return invalid("tls is on and path names a unix socket, which has no TLS; set one of the two");
        }
        for key in [Key::TlsCa, Key::TlsCert] {
            if !self.flag(Key::Tls) && !self.text(key).is_empty() {
                return invalid(&format!("{} is set and tls is off; set tls, or use rediss://", key.name()));
            }
        }
        if self.duration(Key::BackoffMin) > self.duration(Key::BackoffMax) {
            let [min, max] = [Key::BackoffMin, Key::BackoffMax].map(|key| self.written(key));
            return invalid(&format!("backoff_min ({min}) is over backoff_max ({max})"));
        }
        Ok(())
    }

    /// These, and what nobody set in them as another has it: a call's options over its client's.
    pub fn over(&self, other: &Options) -> Options {
        let slot = |(own, other): (&Slot, &Slot)| if own.origin == Origin::Default { other } else { own }.clone();
        let slots = self.slots.iter().zip(&other.slots).map(slot).collect();
        Options { slots, environment: self.environment || other.environment }
    }

    /// Whether anyone set it: a caller, a URL or the environment.
    pub fn is_set(&self, key: Key) -> bool {
        self.origin(key) != Origin::Default
    }

    /// Whether [`set_environment`](Options::set_environment) was called: whoever opens a client need not do it again.
    pub fn has_environment(&self) -> bool {
        self.environment
    }

    /// The value of a text option.
    pub fn text(&self, key: Key) -> &str {
        match self.value(key) {
            Some(Value::Text(text)) => text,
            _ => misread(key, ""),
        }
    }

    /// The value of a number option.
    pub fn number(&self, key: Key) -> u64 {
        match self.value(key) {
            Some(Value::Number(number)) => *number,
            _ => misread(key, 0),
        }
    }

    /// The value of a size option.
    pub fn bytes(&self, key: Key) -> usize {
        match self.value(key) {
            Some(Value::Size(bytes)) => usize::try_from(*bytes).unwrap_or(usize::MAX),
            _ => misread(key, 0),
        }
    }

    /// The value of a duration option.
    pub fn duration(&self, key: Key) -> Duration {
        match self.value(key) {
            Some(Value::Duration(duration)) => *duration,
            _ => misread(key, Duration::ZERO),
        }
    }

    /// The value of a flag option.
    pub fn flag(&self, key: Key) -> bool {
        match self.value(key) {
            Some(Value::Flag(flag)) => *flag,
            _ => misread(key, false),
        }
    }

    /// The value of a choice option.
    pub fn choice(&self, key: Key) -> &'static str {
        match self.value(key) {
            Some(Value::Choice(word)) => word,
            _ => misread(key, ""),
        }
    }

    /// The value of a list option.
    pub fn list(&self, key: Key) -> Words {
        match self.value(key) {
            Some(Value::List(words)) => *words,
            _ => misread(key, Words::NONE),
        }
    }

    fn slot(&self, key: Key) -> Option<&Slot> {
        self.slots.get(key as usize)
    }

    fn value(&self, key: Key) -> Option<&Value> {
        self.slot(key).map(|slot| &slot.value)
    }

    fn origin(&self, key: Key) -> Origin {
        self.slot(key).map_or(Origin::Default, |slot| slot.origin)
    }

    /// The value as text, a secret as stars.
    fn written(&self, key: Key) -> String {
        let text = self.value(key).map(Value::write).unwrap_or_default();
        if key.row().secret && !text.is_empty() { "***".to_owned() } else { text }
    }

    fn put(&mut self, key: Key, value: Value, origin: Origin) {
        if let Some(slot) = self.slots.get_mut(key as usize) {
            *slot = Slot { value, origin };
        }
    }

    /// Back to the default, whatever that origin said.
    fn forget(&mut self, origin: Origin) {
        for key in Key::ALL.iter().copied().filter(|key| self.origin(*key) == origin).collect::<Vec<_>>() {
            self.put(key, key.row().default_value(), Origin::Default);
        }
    }

    fn apply(&mut self, key: &str, value: &str, origin: Origin) -> Result<()> {
        let key = Key::find(key).ok_or_else(|| value::unknown(key))?;
        let value = key.row().parse(value)?;
        if matches!(key, Key::Host | Key::Port | Key::Path) {
            // Else the order of calls would decide whether the environment's password goes to this address.
            self.forget(Origin::Environment);
        }
        self.put(key, value, origin);
        Ok(())
    }
}

/// A getter was asked for an option of another type: a defect of this library, told in debug builds.
fn misread<T>(key: Key, nothing: T) -> T {
    debug_assert!(false, "{} is a {}", key.name(), key.row().kind.name());
    nothing
}

/// The same error with where it happened before its sentence.
fn within(place: &str, error: &Error) -> Error {
    Error::new(error.status(), format!("{place}: {}", error.message()))
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(Key::ALL.iter().map(|key| (key.name(), self.written(*key)))).finish()
    }
}
