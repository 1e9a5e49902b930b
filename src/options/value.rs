//! Values: their grammar, how they are written back, and what an error may say of them.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use super::table::{Key, Kind, Row, Rule};
use crate::error::{Error, Result, Status};

/// The longest path of a unix socket: `sun_path` of Linux without its NUL.
const SOCKET_PATH: usize = 107;
/// Names of clients are shown in every line of `CLIENT LIST`; the longest host name has 253.
const WORD: usize = 256;

/// The words of a list that are chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Words {
    all: &'static [&'static str],
    chosen: u32,
}

impl Words {
    pub(super) const NONE: Words = Words { all: &[], chosen: 0 };

    /// Whether that word is chosen.
    pub fn contains(&self, word: &str) -> bool {
        self.iter().any(|chosen| chosen == word)
    }

    /// Whether none is chosen.
    pub fn is_empty(&self) -> bool {
        self.chosen == 0
    }

    /// The chosen words, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> + use<> {
        let chosen = self.chosen;
        self.all.iter().enumerate().filter(move |(i, _)| chosen >> i & 1 == 1).map(|(_, word)| *word)
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[derive(Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
    Size(u64),
    Duration(Duration),
    Flag(bool),
    Choice(&'static str),
    List(Words),
}

impl Value {
    /// As one would write it: what this gives, [`Row::parse`] takes.
    pub(super) fn write(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Size(bytes) => {
                let units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
                write_units(*bytes, &units, "")
            }
            Value::Duration(duration) => {
                let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
                write_units(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &units, "ms")
            }
            Value::Flag(flag) => flag.to_string(),
            Value::Choice(word) => (*word).to_owned(),
            Value::List(words) => words.iter().collect::<Vec<_>>().join(","),
        }
    }
}

impl Kind {
    /// The type's name in `describe()` and in the documentation.
    pub const fn name(&self) -> &'static str {
        match self {
            Kind::Text(_) => "text",
            Kind::Number(..) => "number",
            Kind::Size(..) => "size",
            Kind::Duration(..) => "duration",
            Kind::Flag => "flag",
            Kind::Choice(_) => "choice",
            Kind::List(_) => "list",
        }
    }

    /// The words to choose from; none for other types.
    pub const fn words(&self) -> &'static [&'static str] {
        match self {
            Kind::Choice(words) | Kind::List(words) => words,
            _ => &[],
        }
    }

    /// The lowest and the highest value, for types that have them.
    pub(super) fn range(&self) -> Option<(Value, Value)> {
        let milliseconds = |ms| Value::Duration(Duration::from_millis(ms));
        match *self {
            Kind::Number(min, max) => Some((Value::Number(min), Value::Number(max))),
            Kind::Size(min, max) => Some((Value::Size(min), Value::Size(max))),
            Kind::Duration(min, max) => Some((milliseconds(min), milliseconds(max))),
            _ => None,
        }
    }

    /// What is allowed, as the end of an error's sentence.
    pub(super) fn allowed(&self) -> String {
        let (min, max) = self.range().map(|(min, max)| (min.write(), max.write())).unwrap_or_default();
        match self {
            Kind::Text(Rule::Any) => "text without a NUL byte".into(),
            Kind::Text(Rule::Host) => {
                "a host name or an IP address, without brackets, scheme or port (the port has its own option)".into()
            }
            Kind::Text(Rule::Socket) => format!("the path of a unix socket, at most {SOCKET_PATH} bytes"),
            Kind::Text(Rule::Word) => format!("printable ASCII without spaces, at most {WORD} characters"),
            Kind::Number(..) => format!("a number from {min} to {max}"),
            Kind::Size(..) => format!("a size like 512, 64KiB or 16MiB, from {min} to {max}"),
            Kind::Duration(..) => format!("a duration like 250ms, 5s or 2m, from {min} to {max}"),
            Kind::Flag => "true or false".into(),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            Kind::List(words) => format!("any of {}, separated by commas", words.join(", ")),
        }
    }

    fn parse(&self, text: &str) -> Option<Value> {
        let word = text.trim();
        match *self {
            Kind::Text(rule) => rule.admits(text).then(|| Value::Text(text.to_owned())),
            Kind::Number(min, max) => digits(word).filter(|n| (min..=max).contains(n)).map(Value::Number),
            Kind::Size(min, max) => size(word).filter(|n| (min..=max).contains(n)).map(Value::Size),
            Kind::Duration(min, max) => milliseconds(word)
                .filter(|n| (min..=max).contains(n))
                .map(|n| Value::Duration(Duration::from_millis(n))),
            Kind::Flag => flag(word).map(Value::Flag),
            Kind::Choice(words) => words.iter().find(|known| **known == word).map(|known| Value::Choice(known)),
            Kind::List(words) => {
                let mut chosen = 0;
                for part in word.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                    chosen |= 1u32.checked_shl(u32::try_from(words.iter().position(|w| *w == part)?).ok()?)?;
                }
                Some(Value::List(Words { all: words, chosen }))
            }
        }
    }

    /// What a value would be if the default of a row could not be read; a test holds that no row needs it.
    fn nothing(&self) -> Value {
        match *self {
            Kind::Text(_) => Value::Text(String::new()),
            Kind::Number(min, _) => Value::Number(min),
            Kind::Size(min, _) => Value::Size(min),
            Kind::Duration(min, _) => Value::Duration(Duration::from_millis(min)),
            Kind::Flag => Value::Flag(false),
            Kind::Choice(words) => Value::Choice(words.first().copied().unwrap_or_default()),
            Kind::List(all) => Value::List(Words { all, chosen: 0 }),
        }
    }
}

impl Rule {
    fn admits(self, text: &str) -> bool {
        !text.contains('\0')
            && match self {
                Rule::Any => true,
                Rule::Host => host(text),
                Rule::Socket => !text.is_empty() && !text.ends_with('/') && text.len() <= SOCKET_PATH,
                Rule::Word => !text.is_empty() && text.len() <= WORD && text.bytes().all(|b| b.is_ascii_graphic()),
            }
    }
}

impl Row {
    pub(super) fn parse(&self, text: &str) -> Result<Value> {
        if text.is_empty() && self.default.is_empty() && matches!(self.kind, Kind::Text(_)) {
            return Ok(Value::Text(String::new()));
        }
        self.kind.parse(text).ok_or_else(|| {
            let value = if self.secret { "the value (not shown)".to_owned() } else { shown(text) };
            let message = format!("{}: {value} does not fit; allowed is {}", self.name, self.kind.allowed());
            Error::new(Status::InvalidValue, message)
        })
    }

    pub(super) fn default_value(&self) -> Value {
        self.parse(self.default).unwrap_or_else(|_| self.kind.nothing())
    }
}

fn host(text: &str) -> bool {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/\\@?#[],=\"".contains(c);
    !text.is_empty()
        && text.len() <= 255
        && !text.contains(odd)
        && if text.contains(':') { address.parse::<Ipv6Addr>().is_ok() } else { address == text }
}

/// Digits only: `parse` would take a sign.
pub(super) fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn with_unit(text: &str, factor: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    digits(number)?.checked_mul(factor(unit.trim_start())?)
}

fn milliseconds(text: &str) -> Option<u64> {
    with_unit(text, |unit| match unit {
        "" | "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    })
}

fn size(text: &str) -> Option<u64> {
    with_unit(text, |unit| match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kb" | "kib" => Some(1 << 10),
        "m" | "mb" | "mib" => Some(1 << 20),
        "g" | "gb" | "gib" => Some(1 << 30),
        "t" | "tb" | "tib" => Some(1 << 40),
        _ => None,
    })
}

/// In any case: .NET and Python write `True`.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn write_units(number: u64, units: &[(&str, u64)], smallest: &str) -> String {
    match units.iter().find(|(_, factor)| number >= *factor && number.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", number / factor),
        None if number == 0 => "0".to_owned(),
        None => format!("{number}{smallest}"),
    }
}

/// A value or a key of the caller as an error may show it: short, escaped, and not at all when it looks like a whole
/// URL or connection string given to the wrong option, because those carry passwords.
pub(super) fn shown(text: &str) -> String {
    if text.contains(['@', '=']) || text.contains("://") {
        return "the text with \"@\", \"=\" or \"://\" (not shown, it may hold a password)".to_owned();
    }
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

pub(super) fn unknown(key: &str) -> Error {
    let message = format!("no option is called {}; {}", shown(key), suggestion(key));
    Error::new(Status::UnknownOption, message)
}

/// What people write who come from another library.
const ELSEWHERE: &[(&str, Key)] = &[
    ("address", Key::Host),
    ("server", Key::Host),
    ("username", Key::User),
    ("database", Key::Db),
    ("auth", Key::Password),
    ("ssl", Key::Tls),
    ("socket", Key::Path),
    ("unix_socket", Key::Path),
    ("client_name", Key::Name),
    ("ca", Key::TlsCa),
];

/// The nearest known key, as the end of a sentence.
pub(super) fn suggestion(key: &str) -> String {
    let key: String = key.chars().take(64).collect::<String>().to_ascii_lowercase().replace('-', "_");
    let elsewhere = ELSEWHERE.iter().map(|(word, key)| (*word, *key));
    let nearest = Key::ALL
        .iter()
        .map(|known| (known.name(), *known))
        .chain(elsewhere)
        .min_by_key(|(word, _)| distance(&key, word))
        .map(|(word, known)| (distance(&key, word), known.name()));
    match nearest {
        Some((n, name)) if n <= 2.max(name.len() / 3) && n < key.len() => format!("did you mean \"{name}\"?"),
        Some((_, name)) => format!("the nearest is \"{name}\""),
        None => String::new(),
    }
}

/// Levenshtein's distance, where two neighbours that changed places count once.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (i, x) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (at(&last, j) + usize::from(x != *y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if let Some(k) = j.checked_sub(1)
                && previous == Some(*y)
                && b.get(k) == Some(&x)
            {
                best = best.min(at(&before, k) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
        previous = Some(x);
    }
    at(&last, b.len())
}
