//! Any payload as a frame of requests and answers: nothing panics, what is read is what stands there, and what is written
//! of it again is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redmux::proto::envelope::{headers, max_head, read};

fuzz_target!(|input: &[u8]| {
    let as_headers = headers(input);
    if let Ok(h) = as_headers {
        assert!(!h.get().contains('\n'), "headers stay on their line");
        assert!(headers(h.get().as_bytes()).is_ok());
    }
    let frame = match read(input) {
        Ok(frame) => frame,
        Err(why) => {
            assert!(!why.is_empty());
            return;
        }
    };
    assert!(frame.line.len() < max_head());
    assert_eq!([frame.line, b"\n", frame.body].concat(), input);
    assert_eq!(frame.head.k, frame.kind.word());
    let written = frame.head.frame(frame.body);
    if written.len() - frame.body.len() > max_head() {
        // Escapes may make it longer than it came; who writes it looks at that.
        return;
    }
    let again = read(&written).unwrap_or_else(|why| panic!("{}: {why}", String::from_utf8_lossy(&written)));
    assert_eq!((again.kind, again.body), (frame.kind, frame.body));
    assert_eq!(format!("{:?}", again.head), format!("{:?}", frame.head));
});
