//! Which library this is, how many handles are open, and its end.

use super::guard::{guard, guard_value};
use super::handle;
use super::inbox::until;
use crate::runtime;
use std::ffi::c_char;

/// The number of the ABI: raised when something that was there changed or went.
pub const REDMUX_ABI_VERSION: u32 = 1;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

const fn part(text: &str) -> u32 {
    let bytes = text.as_bytes();
    let (mut value, mut at) = (0, 0);
    while at < bytes.len() {
        value = value * 10 + (bytes[at] - b'0') as u32;
        at += 1;
    }
    value
}

/// The version of the library, "0.1.0". The result is static: borrowed until the process ends. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_version_string() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// The version as a number: 0xMMmmpp (major, minor, patch). Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_version_number() -> u32 {
    let (major, minor) = (part(env!("CARGO_PKG_VERSION_MAJOR")), part(env!("CARGO_PKG_VERSION_MINOR")));
    (major << 16) | (minor << 8) | part(env!("CARGO_PKG_VERSION_PATCH"))
}

/// The ABI number of the library. A program compiled against REDMUX_ABI_VERSION runs with exactly that number.
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_abi_version() -> u32 {
    REDMUX_ABI_VERSION
}

/// How many handles and lent blocks are open in this process: 0 when everything was closed. For tests. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_debug_live() -> i64 {
    guard_value(-1, handle::live)
}

/// Ends the library's own thread, for hosts that count threads. Close the clients first: those that are still open
/// lose their links. The next client starts the thread again. Without this call the thread stays, parked.
///
/// timeout_ms: how long to wait for it; -1 waits for ever. REDMUX_ERR_TIMEOUT: it has not ended yet.
/// REDMUX_ERR_WOULD_DEADLOCK inside a callback. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_shutdown(timeout_ms: i64) -> i32 {
    guard(0, || {
        if crate::inbox::dispatch::inside_callback() {
            return Err(crate::error::Status::WouldDeadlock.into());
        }
        Ok(runtime::shutdown(until(timeout_ms)?)?)
    })
}
