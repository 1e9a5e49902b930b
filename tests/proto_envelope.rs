//! The envelope of requests and answers: what was written is read again, whatever the strings hold, and nothing that
//! comes from outside makes it panic.

use proptest::collection::vec;
use proptest::prelude::*;
use redmux::proto::envelope::{Head, Kind, headers, max_head, read};

const KINDS: [Kind; 8] =
    [Kind::Request, Kind::Accepted, Kind::Part, Kind::End, Kind::Error, Kind::Alive, Kind::Declined, Kind::Cancel];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\"\\\\\n\r\t\u{0}\u{1f}é\u{2028}😀a]{0,12}", Just(String::new())]
}

/// What heads hold, owned.
#[derive(Debug, Clone)]
struct Parts {
    kind: Kind,
    texts: Vec<String>,
    ids: Vec<String>,
    numbers: (Option<u64>, Option<u64>, Option<u64>, u32),
    flags: (bool, bool),
    headers: Option<String>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let number = || proptest::option::of(any::<u64>());
    let headers = proptest::option::of(proptest::collection::btree_map(text(), text(), 0..4));
    let numbers = (number(), number(), number(), any::<u32>());
    let kind = prop::sample::select(KINDS.to_vec());
    (kind, vec(text(), 8), vec(text(), 0..4), numbers, any::<(bool, bool)>(), headers).prop_map(
        |(kind, texts, ids, numbers, flags, headers)| {
            let headers = headers.map(|map| serde_json::to_string(&map).expect("strings are JSON"));
            Parts { kind, texts, ids, numbers, flags, headers }
        },
    )
}

impl Parts {
    fn head(&self) -> Head<'_> {
        let text = |n: usize| self.texts[n].as_str().into();
        Head {
            id: text(0),
            by: text(1),
            name: text(2),
            from: text(3),
            reply: text(4),
            not: text(5),
            code: text(6),
            message: text(7),
            ids: self.ids.iter().map(|id| id.as_str().into()).collect(),
            seq: self.numbers.0,
            ttl: self.numbers.1,
            expect: self.numbers.2,
            attempt: self.numbers.3,
            repeat: self.flags.0,
            retriable: self.flags.1,
            h: self.headers.as_ref().map(|json| headers(json.as_bytes()).expect("headers")),
            ..Head::new(self.kind)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn what_was_written_is_read_again(parts in parts(), body in vec(any::<u8>(), 0..40)) {
        let head = parts.head();
        let bytes = head.frame(&body);
        prop_assume!(bytes.len() - body.len() <= max_head());
        prop_assert_eq!(bytes.iter().position(|&byte| byte == b'\n'), Some(bytes.len() - body.len() - 1), "one line");
        let frame = read(&bytes).map_err(TestCaseError::fail)?;
        prop_assert_eq!((frame.kind, frame.body), (parts.kind, body.as_slice()));
        prop_assert_eq!(format!("{:?}", frame.head), format!("{:?}", head));
    }

    #[test]
    fn arbitrary_bytes_are_a_frame_or_a_sentence(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(read(&bytes).is_ok() || !read(&bytes).unwrap_err().is_empty());
        let _ = headers(&bytes);
    }

    #[test]
    fn a_frame_with_any_bytes_changed_is_a_frame_or_a_sentence(
        parts in parts(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = parts.head().frame(b"body");
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(frame) = read(bytes) {
                prop_assert_eq!([frame.line, b"\n", frame.body].concat(), bytes);
            }
        }
    }
}

#[test]
fn a_head_of_the_greatest_length_is_read_and_one_byte_more_is_not() {
    for (len, fits) in [(max_head(), true), (max_head() + 1, false)] {
        let empty = Head::new(Kind::Cancel).frame(b"").len() + ",\"id\":\"\"".len();
        let id = "a".repeat(len - empty);
        let bytes = Head { id: id.as_str().into(), ..Head::new(Kind::Cancel) }.frame(b"");
        assert_eq!(bytes.len(), len);
        assert_eq!(read(&bytes).is_ok(), fits, "{len}");
    }
}

#[test]
fn a_head_that_is_no_object_or_has_headers_that_are_no_texts_is_no_head() {
    for line in [
        r#"[1,"end","x.1",[],"me","name",0]"#,
        r#" [1,"end"]"#,
        r#"{"v":1,"k":"end","h":5}"#,
        r#"{"v":1,"k":"end","h":"a"}"#,
        r#"{"v":1,"k":"end","h":["a"]}"#,
        r#"{"v":1,"k":"end","h":{"a":1}}"#,
        r#"{"v":1,"k":"end","h":{"a":{"b":"c"}}}"#,
    ] {
        let frame = format!("{line}\nbody");
        assert!(read(frame.as_bytes()).is_err(), "{line}");
    }
    for line in [r#"{"v":1,"k":"end","h":{}}"#, r#" {"v":1,"k":"end","h":{"a":"\u0062"}}"#] {
        let frame = format!("{line}\nbody");
        assert!(read(frame.as_bytes()).is_ok(), "{line}");
    }
}
