//! The envelope of requests and answers: one line of JSON, a newline, then the body, untouched. Pure.
//!
//! A person can read it in `redis-cli`, and any language can speak it: `docs/wire.md` is the page for whoever writes a
//! peer. Keys that are not known are ignored; strings are borrowed from the payload unless they hold escapes.

use crate::proto::json::{self, Value};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The version of the wire format.
const VERSION: u32 = 1;
/// The longest head, its newline included; one that is longer is no head.
const MAX_HEAD: usize = 64 * 1024;

/// How long a head line may be, its newline included.
pub fn max_head() -> usize {
    MAX_HEAD
}

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To a service: please answer.
    Request,
    /// To the asker: it is being worked on.
    Accepted,
    /// One answer of several.
    Part,
    /// The last thing a responder says; with a sequence number it carries an answer.
    End,
    /// It failed: code, message, retriable.
    Error,
    /// These requests are still being worked on.
    Alive,
    /// Somebody else of the group does it.
    Declined,
    /// To a service: no answer is wanted any more.
    Cancel,
}

impl Kind {
    const ALL: [(Kind, &'static str); 8] = [
        (Kind::Request, "request"),
        (Kind::Accepted, "accepted"),
        (Kind::Part, "part"),
        (Kind::End, "end"),
        (Kind::Error, "error"),
        (Kind::Alive, "alive"),
        (Kind::Declined, "declined"),
        (Kind::Cancel, "cancel"),
    ];

    /// The word in the head line.
    pub fn word(self) -> &'static str {
        Kind::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }

    fn of(word: &str) -> Option<Kind> {
        Kind::ALL.iter().find(|(_, other)| *other == word).map(|(kind, _)| *kind)
    }
}

/// The head line. What a kind does not use is empty and not written.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Head<'a> {
    /// The version of the wire format.
    pub v: u32,
    /// The word of its kind; `Frame` has it read.
    #[serde(borrow)]
    pub k: Cow<'a, str>,
    /// The request.
    #[serde(borrow, default)]
    pub id: Cow<'a, str>,
    /// The requests that are still being worked on (alive).
    #[serde(borrow, default)]
    pub ids: Vec<Cow<'a, str>>,
    /// Which responder.
    #[serde(borrow, default)]
    pub by: Cow<'a, str>,
    /// Its display name.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// The answer's number within its responder, from 0.
    #[serde(default)]
    pub seq: Option<u64>,
    /// How many answers a responder gave, in an end that carries none.
    #[serde(default)]
    pub n: Option<u64>,
    /// Who asks, by display name.
    #[serde(borrow, default)]
    pub from: Cow<'a, str>,
    /// The channel that answers go to.
    #[serde(borrow, default)]
    pub reply: Cow<'a, str>,
    /// What is left of the asker's time, in ms.
    #[serde(default)]
    pub ttl: Option<u64>,
    /// 1, and more when it was sent again.
    #[serde(default)]
    pub attempt: u32,
    /// How many answers the asker waits for.
    #[serde(default)]
    pub expect: Option<u64>,
    /// An instance that must not answer: the asker's own.
    #[serde(borrow, default)]
    pub not: Cow<'a, str>,
    /// Which asking this is, where the caller chose the id and may use it again. What is said of a request names it too.
    #[serde(borrow, default)]
    pub asking: Cow<'a, str>,
    /// It may be sent again under the same id: answers are to be remembered.
    #[serde(default)]
    pub repeat: bool,
    /// A word for what failed.
    #[serde(borrow, default)]
    pub code: Cow<'a, str>,
    /// A sentence about what failed.
    #[serde(borrow, default)]
    pub message: Cow<'a, str>,
    /// Whether asking again may help.
    #[serde(default)]
    pub retriable: bool,
    /// Headers of the application.
    #[serde(borrow, default)]
    pub h: Option<&'a RawValue>,
}

/// A frame that was read.
#[derive(Debug)]
pub struct Frame<'a> {
    /// What it says.
    pub kind: Kind,
    /// The head.
    pub head: Head<'a>,
    /// The head's JSON as it came.
    pub line: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Head<'a> {
    /// A head of a kind, everything else empty.
    pub fn new(kind: Kind) -> Head<'a> {
        Head { v: VERSION, k: Cow::Borrowed(kind.word()), ..Head::default() }
    }

    /// The same head as another kind.
    pub fn of_kind(self, kind: Kind) -> Head<'a> {
        Head { k: Cow::Borrowed(kind.word()), ..self }
    }

    /// What this asking has for itself, in each of its attempts: its id, unless that may be used again.
    pub fn unique(&self) -> &str {
        if self.asking.is_empty() { &self.id } else { &self.asking }
    }

    /// The frame with a body.
    ///
    /// Written by hand: with serde's writer a request cost a quarter more.
    pub fn frame(&self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(320 + body.len());
        out.extend_from_slice(b"{\"v\":1,\"k\":\"");
        out.extend_from_slice(self.k.as_bytes());
        out.push(b'"');
        text(&mut out, b",\"id\":", &self.id);
        if let Some((first, rest)) = self.ids.split_first() {
            out.extend_from_slice(b",\"ids\":[");
            json::string(&mut out, first);
            for id in rest {
                out.push(b',');
                json::string(&mut out, id);
            }
            out.push(b']');
        }
        text(&mut out, b",\"by\":", &self.by);
        text(&mut out, b",\"name\":", &self.name);
        number(&mut out, b",\"seq\":", self.seq);
        number(&mut out, b",\"n\":", self.n);
        text(&mut out, b",\"from\":", &self.from);
        text(&mut out, b",\"reply\":", &self.reply);
        number(&mut out, b",\"ttl\":", self.ttl);
        number(&mut out, b",\"attempt\":", Some(self.attempt.into()).filter(|&attempt| attempt > 0));
        number(&mut out, b",\"expect\":", self.expect);
        text(&mut out, b",\"not\":", &self.not);
        text(&mut out, b",\"asking\":", &self.asking);
        flag(&mut out, b",\"repeat\":", self.repeat);
        text(&mut out, b",\"code\":", &self.code);
        text(&mut out, b",\"message\":", &self.message);
        flag(&mut out, b",\"retriable\":", self.retriable);
        if let Some(h) = self.h {
            out.extend_from_slice(b",\"h\":");
            out.extend_from_slice(h.get().as_bytes());
        }
        out.extend_from_slice(b"}\n");
        out.extend_from_slice(body);
        out
    }

    /// The head of a line as nearly all are. `None` where it takes a full parser, also to say what is wrong: what is
    /// empty, false or 0 is not written, so a place that is taken means that a key came twice.
    fn usual(line: &'a [u8]) -> Option<Head<'a>> {
        let mut head = Head::default();
        json::flat(line, |key, value| {
            let once = match value {
                Value::Text(text) => {
                    let place = match key {
                        "k" => &mut head.k,
                        "id" => &mut head.id,
                        "by" => &mut head.by,
                        "name" => &mut head.name,
                        "from" => &mut head.from,
                        "reply" => &mut head.reply,
                        "not" => &mut head.not,
                        "asking" => &mut head.asking,
                        _ => return None,
                    };
                    std::mem::replace(place, Cow::Borrowed(text)).is_empty() && !text.is_empty()
                }
                Value::Number(number) if key == "v" => {
                    std::mem::replace(&mut head.v, VERSION) == 0 && number == u64::from(VERSION)
                }
                Value::Number(number) if key == "attempt" => {
                    std::mem::replace(&mut head.attempt, u32::try_from(number).ok()?) == 0 && number > 0
                }
                Value::Number(number) => {
                    let place = match key {
                        "seq" => &mut head.seq,
                        "n" => &mut head.n,
                        "ttl" => &mut head.ttl,
                        "expect" => &mut head.expect,
                        _ => return None,
                    };
                    place.replace(number).is_none()
                }
                Value::Flag(flag) => key == "repeat" && !std::mem::replace(&mut head.repeat, flag) && flag,
            };
            once.then_some(())
        })?;
        (head.v == VERSION && !head.k.is_empty()).then_some(head)
    }
}

// Each key as it stands in the line, with what is around it.

fn text(out: &mut Vec<u8>, key: &[u8], value: &str) {
    if !value.is_empty() {
        out.extend_from_slice(key);
        json::string(out, value);
    }
}

fn number(out: &mut Vec<u8>, key: &[u8], value: Option<u64>) {
    if let Some(value) = value {
        out.extend_from_slice(key);
        json::number(out, value);
    }
}

fn flag(out: &mut Vec<u8>, key: &[u8], value: bool) {
    if value {
        out.extend_from_slice(key);
        out.extend_from_slice(b"true");
    }
}

/// Reads a frame; a sentence says what is wrong with it.
pub fn read(payload: &[u8]) -> Result<Frame<'_>, String> {
    let within = payload.get(..MAX_HEAD).unwrap_or(payload);
    let end = memchr::memchr(b'\n', within).ok_or("there is no head line")?;
    let (line, rest) = payload.split_at_checked(end).ok_or("there is no head line")?;
    let head = match Head::usual(line) {
        Some(head) => head,
        None => unusual(line).map_err(|why| format!("the head line: {why}"))?,
    };
    if head.v != VERSION {
        return Err(format!("version {} of the wire format; this speaks {VERSION}", head.v));
    }
    let kind = Kind::of(&head.k).ok_or_else(|| format!("a frame of kind {:?}", head.k))?;
    Ok(Frame { kind, head, line, body: rest.get(1..).unwrap_or_default() })
}

/// A head by a full parser. What stands in it is given on, so it is held to its form: serde takes a list for a struct, and
/// anything for what is kept as it came.
fn unusual(line: &[u8]) -> Result<Head<'_>, String> {
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err("it is no JSON object".into());
    }
    let line = std::str::from_utf8(line).map_err(|error| error.to_string())?; // what is passed over, too
    let head: Head<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if let Some(h) = head.h {
        headers(h.get().as_bytes())?;
    }
    Ok(head)
}

/// Whether bytes are headers: one JSON object of strings. What they are, checked.
pub fn headers(json: &[u8]) -> Result<&RawValue, String> {
    let _: std::collections::BTreeMap<Cow<'_, str>, Cow<'_, str>> =
        serde_json::from_slice(json).map_err(|error| format!("headers are a JSON object of strings: {error}"))?;
    if json.contains(&b'\n') {
        return Err("headers are one line of JSON".into());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let h = headers(br#"{"traceparent":"00-ab"}"#).unwrap();
        let head = Head {
            id: "x.1".into(),
            from: "api \"3\"".into(),
            reply: "redmux:reply:1".into(),
            ttl: Some(4990),
            attempt: 1,
            h: Some(h),
            ..Head::new(Kind::Request)
        };
        let bytes = head.frame(b"a\nb");
        assert!(bytes.starts_with(br#"{"v":1,"k":"request","id":"x.1","from":"api \"3\"","reply":"redmux:reply:1","#));
        let frame = read(&bytes).unwrap();
        assert_eq!((frame.kind, frame.body), (Kind::Request, b"a\nb".as_slice()));
        assert_eq!((frame.head.from.as_ref(), frame.head.ttl), ("api \"3\"", Some(4990)));
        assert_eq!(frame.head.h.unwrap().get(), r#"{"traceparent":"00-ab"}"#);
    }

    #[test]
    fn the_short_way_reads_what_the_long_one_reads() {
        let head = Head {
            id: "x.1".into(),
            by: "é".into(),
            name: "n".into(),
            from: "f".into(),
            reply: "r".into(),
            not: "x".into(),
            asking: "a".into(),
            seq: Some(0),
            n: Some(7),
            ttl: Some(u64::MAX / 2),
            expect: Some(1),
            attempt: u32::MAX,
            repeat: true,
            ..Head::new(Kind::Request)
        };
        let frame = head.frame(b"");
        let line = frame.strip_suffix(b"\n").unwrap();
        let short = Head::usual(line).expect("our own line is usual");
        let long: Head<'_> = serde_json::from_slice(line).unwrap();
        assert_eq!(format!("{short:?}"), format!("{long:?}"));
        for unusual in [
            r#"{"v":1}"#,
            r#"{"v":1,"k":""}"#,
            r#"{"v":2,"k":"end"}"#,
            r#"{"v":1,"k":"end","k":"end"}"#,
            r#"{"v":1,"v":1,"k":"end"}"#,
            r#"{"v":1,"k":"end","attempt":0,"attempt":1}"#,
            r#"{"v":1,"k":"end","attempt":4294967296}"#,
            r#"{"v":1,"k":"end","seq":1,"seq":1}"#,
            r#"{"v":1,"k":"end","repeat":false}"#,
            r#"{"v":1,"k":"end","new":1}"#,
        ] {
            assert!(Head::usual(unusual.as_bytes()).is_none(), "{unusual}");
        }
    }

    #[test]
    fn strings_without_escapes_are_borrowed() {
        let bytes = Head { id: "x".into(), ..Head::new(Kind::Cancel) }.frame(b"");
        assert!(matches!(read(&bytes).unwrap().head.id, Cow::Borrowed("x")));
    }

    #[test]
    fn what_is_no_frame_is_told_why() {
        for (bytes, why) in [
            (b"hello".as_slice(), "no head line"),
            (b"hello\n", "the head line"),
            (b"{\"v\":2,\"k\":\"end\"}\n", "version 2"),
            (b"{\"v\":1,\"k\":\"dance\"}\n", "\"dance\""),
            (b"{\"v\":1}\n", "missing field"),
            (b"{\"v\":1,\"k\":\"end\",\"new\":\"caf\xe9\"}\n", "utf-8"),
            (b"{\"v\":1,\"k\":\"end\",\"caf\xe9\":1}\n", "utf-8"),
        ] {
            let said = read(bytes).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert!(read(b"{\"v\":1,\"k\":\"end\",\"new\":[1,{}]}\nbody").is_ok(), "unknown keys are ignored");
        assert!(headers(b"{\"a\":1}").is_err());
        assert!(headers(b"{\"a\":\"b\"\n}").is_err());
    }
}
