//! What a hundred thousand requests leave behind. Alone in its file: it looks at what its process has.
#[path = "support/asking.rs"]
mod asking;
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use asking::*;
use redmux::buffer::{Ask, Reason};
use redmux::inbox::Kind;
use support::{PATIENCE, Server, eventually};
use tap::*;

#[test]
fn a_hundred_thousand_requests_leave_nothing() {
    let server = Server::start();
    let asker = open(&server.url(), &[("strict", "true")]);
    let answering = serve(&open(&server.url(), &[]), b"echo", &[("concurrency", "1000")]);
    let serving = std::sync::Arc::clone(&answering.client);
    let thread = answering.on_a_thread(<[u8]>::to_vec);
    let mut tap = Tap::on(&asker);
    let mut round = |count: u64| {
        let question = Ask { service: b"echo", body: b"x", headers: b"", options: asker.options() };
        for token in 0..count {
            asker.buffer().unwrap().ask(&question, ticket_in(&tap, token)).unwrap();
        }
        for _ in 0..count {
            let end = tap.find("an end", |event| {
                assert!(matches!(event.kind, Kind::End | Kind::Answer), "{event:?}");
                event.kind == Kind::End
            });
            assert_eq!(end.number, Reason::All as u64, "{end:?}");
        }
        assert_eq!(tap.rest().len() as u64, count, "an answer each");
    };
    (0..20).for_each(|_| round(500));
    let sizes = || {
        let count = |what: &str| server.conn().command(&["PUBSUB", "CHANNELS", what]).items().len();
        let mine = [&["sources"][..], &["operations"], &["names"], &["requests", "gathers"]].map(|at| stat(&asker, at));
        (count("*"), mine, stat(&serving, &["sources"]), descriptors())
    };
    let (before, memory) = (sizes(), resident());
    (0..180).for_each(|_| round(500));
    assert_eq!(sizes(), before);
    let grown = resident().saturating_sub(memory);
    assert!(grown < 8 * 1024 * 1024, "90,000 requests left {grown} bytes");
    serving.close(deadline()).unwrap();
    thread.join().unwrap();
    asker.close(deadline()).unwrap();
    eventually("no channel is left", PATIENCE, || {
        server.conn().command(&["PUBSUB", "CHANNELS", "*"]).items().is_empty()
    });
}

/// How many bytes of memory this process has.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells it");
    let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * 4096
}

/// How many descriptors this process has.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux tells it").count()
}
