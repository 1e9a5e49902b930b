//! The wire of Messaging.Buffer, so that old and new instances can ask and serve side by side while a fleet moves over.
//!
//! A request is `PUBLISH Request:{id}:{type}`; its answers come to `Response:{id}`, subscribed for that request alone. Bodies are
//! JSON objects; an answer carries `CorrelationId` and `ResponseServerName` behind its own properties. There is no sign
//! of a responder but its one answer, so a request waits for as many as Redis counted, or for its deadline.

use super::collect::{Reason, Verdict};
use super::serve::MAX_ID;
use super::{Buffer, State};
use crate::error::{Error, Result, Status};
use crate::inbox::{Kind as Rec, Record, RecordIn};
use crate::mux::events::Often;
use crate::mux::ops::cut;
use crate::mux::promise::literal;
use crate::sync::Arc;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

const REQUEST: &[u8] = b"Request:";
const RESPONSE: &[u8] = b"Response:";

/// What an answer says of itself, and under which names.
#[derive(Default)]
struct Response<'a> {
    id: Cow<'a, str>,
    server: Cow<'a, str>,
}

const ID: &str = "CorrelationId";
const SERVER: &str = "ResponseServerName";

/// A text, borrowed where it holds no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Any JSON object: of what came twice the last counts, and what is null is empty. The original reads it so.
impl<'de: 'a, 'a> Deserialize<'de> for Response<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Response<'a>, D::Error> {
        from.deserialize_map(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Response<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Response<'de>, A::Error> {
        let mut said = Response::default();
        while let Some(Text(key)) = map.next_key()? {
            let place = match &*key {
                ID => &mut said.id,
                SERVER => &mut said.server,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *place = map.next_value::<Option<Text<'_>>>()?.map_or(Cow::Borrowed(""), |Text(text)| text);
        }
        Ok(said)
    }
}

/// The pattern of the requests of a type, or of all.
pub(super) fn pattern(service: &[u8], catch_all: bool) -> Vec<u8> {
    let mut pattern = [REQUEST, b"*"].concat();
    if !catch_all {
        pattern.push(b':');
        literal(service, &mut pattern);
    }
    pattern
}

/// The id and the type in the name of a request's channel.
pub(super) fn parts(channel: &[u8]) -> Option<(&str, &[u8])> {
    let rest = channel.strip_prefix(REQUEST)?;
    let colon = memchr::memchr(b':', rest)?;
    let (id, service) = rest.split_at_checked(colon)?;
    Some((std::str::from_utf8(id).ok()?, service.get(1..)?))
}

pub(super) fn request_channel(id: &str, service: &[u8]) -> Vec<u8> {
    [REQUEST, id.as_bytes(), b":", service].concat()
}

pub(super) fn response_channel(id: &str) -> Vec<u8> {
    [RESPONSE, id.as_bytes()].concat()
}

/// The id that the caller gave, or a new one.
pub(super) fn correlation_id(given: Option<&str>) -> Result<String> {
    match given {
        Some(id) if id.contains(':') => {
            let text = format!("the request_id {id:?} holds a colon, which ends an id in Messaging.Buffer's channels");
            Err(Error::new(Status::InvalidArgument, text))
        }
        Some(id) => Ok(id.to_owned()),
        None => Ok(uuid::Uuid::now_v7().to_string()),
    }
}

/// An answer as the original writes it: the body's own properties, then the id and who answered.
pub(super) fn response(body: &[u8], id: &str, server: &str) -> Result<Vec<u8>> {
    let invalid = |error| {
        Error::new(Status::InvalidArgument, format!("an answer in Messaging.Buffer's wire is a JSON object: {error}"))
    };
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body).map_err(invalid)?;
    let mut out = if object.contains_key(ID) || object.contains_key(SERVER) {
        // It says so already, as one that was received and is sent on does: twice is more than peers read. The other values
        // are written as they were.
        let mut object: BTreeMap<String, &RawValue> = serde_json::from_slice(body).map_err(invalid)?;
        object.retain(|key, _| key != ID && key != SERVER);
        serde_json::to_vec(&object).map_err(invalid)?
    } else {
        body.trim_ascii_end().to_vec()
    };
    out.pop();
    if out.trim_ascii() != b"{" {
        out.push(b',');
    }
    let (id, server) = (json!(id), json!(server));
    out.extend_from_slice(format!("\"{ID}\":{id},\"{SERVER}\":{server}}}").as_bytes());
    Ok(out)
}

impl Buffer {
    /// Subscribes the channel for the answers to one request. It is published when that is active.
    pub(super) fn listen_for_responses(&self, id: &str) -> Result<u64> {
        self.subscribe_own(&response_channel(id))
    }

    /// Something came for the channel of one request.
    pub(super) fn legacy_arrived(&self, state: &mut State, id: u64, record: &Record, data: &[u8]) {
        if record.is(Rec::Message) {
            self.responded(state, id, record.payload(data), record.aux);
        } else if record.is(Rec::Active) {
            self.send_legacy(state, id);
        } else if record.is(Rec::Lost) && state.requests.get_mut(id).is_some_and(|gather| gather.sent.is_some()) {
            let why = Some((Status::Interrupted, "the connection was lost while it waited for answers"));
            self.end_gather(state, id, Reason::Interrupted, why);
        } else if record.is(Rec::Refused) {
            let why = Some((Status::Refused, "Redis refused the channel for its answers"));
            self.end_gather(state, id, Reason::Interrupted, why);
        }
    }

    fn responded(&self, state: &mut State, id: u64, body: &[u8], read_at: u64) {
        let now = Instant::now();
        let Some(gather) = state.requests.get_mut(id) else { return };
        let said: Response<'_> = match serde_json::from_slice(body) {
            Ok(said) => said,
            Err(error) => {
                self.counted.malformed.fetch_add(1, Ordering::Relaxed);
                self.hub.events.often(Often::Malformed, || format!("an answer that is no JSON object: {error}"));
                return;
            }
        };
        if Some(&*said.id) != gather.legacy_id() {
            self.counted.late.fetch_add(1, Ordering::Relaxed);
            self.hub
                .events
                .often(Often::Late, || format!("an answer with the CorrelationId {:?} of another request", said.id));
            return;
        }
        // One answer each, and nothing but a name says whose: each is a responder of its own.
        let number = gather.collect.report().answers;
        // Who says too much is kept with as much as names have.
        let server = cut(&said.server, MAX_ID);
        let by = format!("{server}#{number}");
        let head = json!({"by": by, "name": server}).to_string();
        let record = RecordIn {
            flags: 1,
            aux: read_at,
            name: &gather.service,
            extra: head.as_bytes(),
            data: body,
            ..RecordIn::new(Rec::Answer, id, gather.token)
        };
        if !gather.inbox.fits(record.cost(), 0) {
            gather.collect.overflow();
        } else if gather.collect.answer(&by, server, 0, body.len(), true, now) == Verdict::Deliver {
            gather.inbox.push_quietly(&record);
        }
        let inbox = Arc::clone(&gather.inbox);
        state.gave(&inbox);
        self.after(state, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_written_as_the_original_writes_it() {
        let written = response(br#"{"Text":"pong 0 hello","Answers":0}"#, "52333da4-f51c", "vm").unwrap();
        let seen = r#"{"Text":"pong 0 hello","Answers":0,"CorrelationId":"52333da4-f51c","ResponseServerName":"vm"}"#;
        assert_eq!(String::from_utf8(written).unwrap(), seen);
        let empty = response(b"{} ", "x", "a\"b").unwrap();
        assert_eq!(String::from_utf8(empty).unwrap(), r#"{"CorrelationId":"x","ResponseServerName":"a\"b"}"#);
        let commas = response(b"{}", "a,b", "c,d").unwrap();
        assert_eq!(String::from_utf8(commas).unwrap(), r#"{"CorrelationId":"a,b","ResponseServerName":"c,d"}"#);
        assert!(response(b"[1]", "x", "vm").is_err());
        // What says it already says it once.
        for own in [r#"{"CorrelationId":"y"}"#, r#" { "ResponseServerName" : null , "CorrelationId" : 1 } "#] {
            let written = response(own.as_bytes(), "x", "vm").unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), r#"{"CorrelationId":"x","ResponseServerName":"vm"}"#);
        }
        let deep = response(
            br#"{"b":[1.0, 12345678901234567890123],"CorrelationId":"y","a":{"CorrelationId":"z"}}"#,
            "x",
            "vm",
        );
        let wanted = r#"{"a":{"CorrelationId":"z"},"b":[1.0, 12345678901234567890123],"CorrelationId":"x","ResponseServerName":"vm"}"#;
        assert_eq!(String::from_utf8(deep.unwrap()).unwrap(), wanted);
    }

    #[test]
    fn an_answer_is_read_with_what_it_says_last() {
        let read =
            |body: &str| serde_json::from_str::<Response<'_>>(body).map(|said| (said.id.into(), said.server.into()));
        let text = |id: &str, server: &str| (id.to_owned(), server.to_owned());
        assert_eq!(read(r#"{"CorrelationId":"a","n":[{}],"CorrelationId":"b\u0063"}"#).unwrap(), text("bc", ""));
        assert_eq!(read(r#"{"ResponseServerName":"vm","ResponseServerName":null}"#).unwrap(), text("", ""));
        assert_eq!(read(r#"{"Correlation\u0049d":"a"}"#).unwrap(), text("a", ""));
        for no_answer in [r#"["a","vm"]"#, r#"{"CorrelationId":1}"#, "null", "{} x"] {
            assert!(read(no_answer).is_err(), "{no_answer}");
        }
    }

    #[test]
    fn channels_are_taken_apart_as_they_are_made() {
        let channel = request_channel("52333da4", b"Demo.PingRequest");
        assert_eq!(channel, b"Request:52333da4:Demo.PingRequest");
        assert_eq!(parts(&channel), Some(("52333da4", b"Demo.PingRequest".as_slice())));
        assert_eq!(parts(b"Request:x"), None);
        assert_eq!(pattern(b"Demo.Ping*", false), b"Request:*:Demo.Ping\\*");
        assert_eq!(pattern(b"", true), b"Request:*");
        assert!(correlation_id(Some("a:b")).is_err());
    }
}
