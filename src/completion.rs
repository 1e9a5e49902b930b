//! What a blocking call makes of the completion that it waited for: a result, and a sentence that says what happened.

use crate::error::{Error, Result, Status};
use crate::inbox::{Kind, Lent, Record};

/// The completion in a block, if there is one: the result of a blocking call. `what` begins its sentence.
pub fn completion(what: &str, lent: &Lent) -> Option<Result<()>> {
    let is_completion =
        |record: &&Record| [Kind::Done, Kind::Published, Kind::Promise].into_iter().any(|kind| record.is(kind));
    let record = lent.records().iter().find(is_completion)?;
    let status = Status::from_code(record.status).unwrap_or(Status::Internal);
    if status == Status::Ok {
        return Some(Ok(()));
    }
    let text = String::from_utf8_lossy(record.extra(lent.data()));
    let word = redis_word(status, &text);
    let text = if text.is_empty() { format!("{what}: {status}") } else { format!("{what}: {text}") };
    let error = Error::new(status, text);
    Some(Err(match word {
        Some(word) => error.said_by_redis(word),
        None => error,
    }))
}

/// Redis' own error word in what a completion says: what is refused is refused with NOPERM, and a line of Redis begins
/// with its word, behind what we say of it.
fn redis_word(status: Status, text: &str) -> Option<&str> {
    let line = match status {
        Status::Refused | Status::Partial => "NOPERM",
        Status::Redis => text,
        Status::Auth => text.split_once(": ").map_or(text, |(_, line)| line),
        _ => return None,
    };
    let word = line.split(' ').next().unwrap_or_default();
    (!word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase())).then_some(word)
}

/// The same for names that were added: refused ones are collected from the records before it, and named.
pub fn completion_of_add(lent: &Lent, refused: &mut Vec<String>) -> Option<Result<()>> {
    for record in lent.records().iter().filter(|record| record.is(Kind::Refused)) {
        refused.push(format!("{:?}", String::from_utf8_lossy(record.name(lent.data()))));
    }
    let most = 10;
    let mut names = refused.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    if refused.len() > most {
        names.push_str(&format!(" and {} more", refused.len() - most));
    }
    completion(format!("add {names}").trim_end(), lent)
}

/// The same for a promise, whose message goes into `data`.
pub fn completion_with_data(what: &str, lent: &Lent, data: &mut Vec<u8>) -> Option<Result<()>> {
    if let Some(record) = lent.records().iter().find(|record| record.is(Kind::Promise)) {
        data.extend_from_slice(record.payload(lent.data()));
    }
    completion(what, lent)
}

/// The first answer of a gather in a block, into `found`, and the first error into `failed`. `Some` when the gather has
/// ended: the result of a call that waited for one answer.
pub fn first_answer(
    lent: &Lent,
    found: &mut Option<Vec<u8>>,
    failed: &mut Option<(i32, String)>,
) -> Option<Result<()>> {
    for record in lent.records() {
        if record.is(Kind::Answer) {
            if record.status == 0 {
                found.get_or_insert_with(|| record.payload(lent.data()).to_vec());
            } else {
                let said = sentence_of(record.extra(lent.data()));
                failed.get_or_insert_with(|| (record.status, said));
            }
        } else if record.is(Kind::End) {
            let ended = Status::from_code(record.status).unwrap_or(Status::Internal);
            let name = String::from_utf8_lossy(record.name(lent.data())).into_owned();
            let error = match (ended, failed.take()) {
                // Everybody ended without an answer: that is nobody who had one.
                (Status::Ok, _) => Error::new(Status::NoResponders, format!("{name:?}: nobody had an answer")),
                (Status::Remote, Some((status, said))) => {
                    let status = Status::from_code(status).unwrap_or(Status::Remote);
                    Error::new(status, format!("{name:?}: {said}"))
                }
                (status, _) => {
                    let said = sentence_of(record.extra(lent.data()));
                    let said = if said.is_empty() { status.to_string() } else { said };
                    Error::new(status, format!("{name:?}: {said}"))
                }
            };
            return Some(Err(error));
        }
    }
    None
}

/// The sentence in the JSON of an answer or an end.
fn sentence_of(json: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    let part = |key: &str| value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    match (part("code"), part("message")) {
        (code, message) if code.is_empty() => message,
        (code, message) if message.is_empty() => code,
        (code, message) => format!("{code}: {message}"),
    }
}
