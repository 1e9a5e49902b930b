//! JSON by hand, where a parser for all of it costs more than the message: one flat object on a line. Pure.
//!
//! What is written here is what is read here the short way. Whatever else may stand in a line (spaces, escapes, nested
//! values, other numbers) is left to serde.

/// A value of a flat object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Without escapes.
    Text(&'a str),
    /// Whole, not negative.
    Number(u64),
    /// `true` or `false`.
    Flag(bool),
}

/// Gives each pair of an object to `each`. `None` if there is anything that only a full parser can judge, or if `each`
/// says so: pairs that were given before then count for nothing.
pub fn flat<'a>(line: &'a [u8], mut each: impl FnMut(&'a str, Value<'a>) -> Option<()>) -> Option<()> {
    // Not with `any`: looking at every byte is what the compiler makes wide.
    if line.iter().fold(false, |found, &byte| found | (byte < 0x20) | (byte == b'\\')) {
        return None;
    }
    let mut rest = std::str::from_utf8(line).ok()?.strip_prefix('{')?;
    loop {
        let (key, behind) = quoted(rest)?;
        let (value, behind) = value(behind.strip_prefix(':')?)?;
        each(key, value)?;
        match behind.as_bytes() {
            b"}" => return Some(()),
            [b',', ..] => rest = behind.get(1..)?,
            _ => return None,
        }
    }
}

fn quoted(rest: &str) -> Option<(&str, &str)> {
    let rest = rest.strip_prefix('"')?;
    let end = memchr::memchr(b'"', rest.as_bytes())?;
    Some((rest.get(..end)?, rest.get(end + 1..)?))
}

fn value(rest: &str) -> Option<(Value<'_>, &str)> {
    match rest.as_bytes().first()? {
        b'"' => quoted(rest).map(|(text, behind)| (Value::Text(text), behind)),
        b't' => rest.strip_prefix("true").map(|behind| (Value::Flag(true), behind)),
        b'f' => rest.strip_prefix("false").map(|behind| (Value::Flag(false), behind)),
        _ => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            // Where it might not fit, or begins with a zero that JSON does not allow.
            if digits == 0 || digits > 19 || digits > 1 && rest.starts_with('0') {
                return None;
            }
            let (number, behind) = rest.split_at_checked(digits)?;
            let number = number.bytes().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            Some((Value::Number(number), behind))
        }
    }
}

/// Writes a string with its quotes.
pub fn string(out: &mut Vec<u8>, value: &str) {
    let escapes =
        value.as_bytes().iter().fold(false, |found, &byte| found | (byte < 0x20) | (byte == b'"') | (byte == b'\\'));
    if escapes {
        // Writing a string into memory cannot fail.
        let _ = serde_json::to_writer(out, value);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

/// Writes a number.
pub fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
        at -= 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(line: &str) -> Option<Vec<(&str, Value<'_>)>> {
        let mut found = Vec::new();
        flat(line.as_bytes(), |key, value| {
            found.push((key, value));
            Some(())
        })?;
        Some(found)
    }

    #[test]
    fn a_flat_object_is_read() {
        let found = pairs(r#"{"a":"é","b":0,"c":9999999999999999999,"d":true,"e":false,"f":""}"#).unwrap();
        let values: Vec<Value<'_>> = found.iter().map(|&(_, value)| value).collect();
        let (text, number) = (Value::Text, Value::Number);
        let wanted =
            [text("é"), number(0), number(9_999_999_999_999_999_999), Value::Flag(true), Value::Flag(false), text("")];
        assert_eq!(values, wanted);
        assert_eq!(found.iter().map(|&(key, _)| key).collect::<String>(), "abcdef");
    }

    #[test]
    fn whatever_else_there_is_is_left_to_a_full_parser() {
        for line in [
            "",
            "{",
            "{}",
            "[]",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1"#,
            r#"{"a":1,}"#,
            r#"{"a":1}}"#,
            r#"{"a":1} "#,
            r#"{ "a":1}"#,
            r#"{"a": 1}"#,
            r#"{"a":01}"#,
            r#"{"a":-1}"#,
            r#"{"a":1.5}"#,
            r#"{"a":1e3}"#,
            r#"{"a":null}"#,
            r#"{"a":[]}"#,
            r#"{"a":{}}"#,
            r#"{"a":"\n"}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":tru}"#,
            r#"{"a":10000000000000000000}"#,
        ] {
            assert_eq!(pairs(line), None, "{line}");
        }
        assert_eq!(flat(b"{\"a\":\"\xff\"}", |_, _| Some(())), None);
    }

    #[test]
    fn numbers_and_strings_are_written_as_json() {
        for value in [0, 1, 9, 10, 1234567890, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string().into_bytes());
        }
        for value in ["", "é\u{2028}", "a\"b\\c\n\u{1}"] {
            let mut out = Vec::new();
            string(&mut out, value);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), value);
        }
    }
}
