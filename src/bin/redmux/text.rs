//! How a message or an answer becomes a line: by a format that the person chose, or as JSON.

use crate::exit::{Exit, Failure, Result};
use crate::out::Out;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Name(&'static str),
}

/// A format, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(Vec<Part>);

impl Format {
    /// Reads a format: the names that are known in braces, `{{` and `}}` for braces, `\n`, `\t`, `\\` and `\0`.
    pub fn parse(format: &str, known: &[&'static str]) -> Result<Format> {
        let wrong = |what: String| {
            let text = format!("--format: {what}; known are {}, and {{{{ and }}}} for braces", in_braces(known));
            Failure::new(Exit::Usage, text)
        };
        let (mut parts, mut text) = (Vec::new(), String::new());
        let mut chars = format.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' if chars.next_if_eq(&'{').is_some() => text.push('{'),
                '}' if chars.next_if_eq(&'}').is_some() => text.push('}'),
                '}' => return Err(wrong("a } stands alone".into())),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(c) => name.push(c),
                            None => return Err(wrong("a { is not closed".into())),
                        }
                    }
                    let Some(name) = known.iter().find(|known| **known == name) else {
                        return Err(wrong(format!("{{{name}}} is not known")));
                    };
                    parts.push(Part::Text(std::mem::take(&mut text).into_bytes()));
                    parts.push(Part::Name(name));
                }
                '\\' => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('0') => text.push('\0'),
                    Some('\\') => text.push('\\'),
                    other => return Err(wrong(format!("\\{} is not known", other.unwrap_or(' ')))),
                },
                c => text.push(c),
            }
        }
        parts.push(Part::Text(text.into_bytes()));
        Ok(Format(parts))
    }

    /// Prints a line, with what `value` gives for each name.
    pub fn print<'a>(&self, out: &mut Out, value: impl Fn(&'static str) -> Cow<'a, [u8]>) -> Result<()> {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.bytes(text)?,
                Part::Name(name) => out.bytes(&out.safe(&value(name)))?,
            }
        }
        out.bytes(b"\n")
    }
}

/// Names as they stand in a format.
pub fn in_braces(names: &[&str]) -> String {
    names.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(" ")
}

/// The time of day, UTC, to the millisecond.
pub fn clock(unix_ns: u64) -> String {
    let ms = unix_ns / 1_000_000;
    let (s, ms) = (ms / 1000, ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3600 % 24, s / 60 % 60, s % 60)
}

/// Now, ns since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Puts bytes into a JSON object: as text where they are UTF-8, else in base64 under `<key>_base64`.
pub fn put(object: &mut Value, key: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object[key] = json!(text),
        Err(_) => object[format!("{key}_base64")] = json!(base64(bytes)),
    }
}

/// Base64, as RFC 4648 has it.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// `1 message`, `2 messages`; the number in groups of three.
pub fn count(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A number in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_format_with_an_unknown_name_or_a_lone_brace_is_refused_by_its_name() {
        for (format, named) in [("{pay}", "{pay}"), ("}", "a }"), ("\\q", "\\q"), ("{payload", "a { is not closed")] {
            let Err(Failure::Told(Exit::Usage, text)) = Format::parse(format, &["payload"]) else {
                panic!("{format} was taken")
            };
            assert!(text.contains(named) && text.contains("{payload}"), "{text}");
        }
        assert_eq!(Format::parse("{{x}}\\t", &[]).unwrap(), Format(vec![Part::Text(b"{x}\t".to_vec())]));
    }

    #[test]
    fn numbers_are_grouped_and_counted() {
        assert_eq!(count(1, "message"), "1 message");
        assert_eq!(count(1_234_567, "message"), "1,234,567 messages");
        assert_eq!(clock(1_000_000 * (3_600_000 + 61_007)), "01:01:01.007");
    }
}
