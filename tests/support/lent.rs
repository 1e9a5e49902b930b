//! The library's runtime, lent to a test that waits for what comes (`src/wheel.rs`).
//!
//! Beside `tap.rs`: a test that wants it writes `#[path = "support/lent.rs"] mod lent;`.

use crate::support::conn::Conn;
use redmux::wheel;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time, with a wheel that is lent at once: what is lent is a process' one runtime.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    wheel::get().lend_eagerly();
    turn
}

/// Reads so many messages, each of which says y. They come though the test is nowhere in the library.
pub fn hear_away(conn: &mut Conn, count: usize) {
    for _ in 0..count {
        let message = conn.read_reply().unwrap();
        assert_eq!(message.items()[2].text(), "y");
    }
}
