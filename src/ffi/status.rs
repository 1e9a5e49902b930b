//! Statuses for C: the numbers of `crate::error::Status`, their names and one line each.
//!
//! The constants are written out because cbindgen reads sources, not macros; `tests/abi.rs` holds them to the table.

use super::guard::guard_value;
use crate::error::Status;
use std::ffi::c_char;

/// Success.
pub const REDMUX_OK: i32 = 0;
/// An argument is NULL, empty, out of range or not a known value.
pub const REDMUX_ERR_INVALID_ARGUMENT: i32 = -100;
/// No option has that key; the message names the nearest.
pub const REDMUX_ERR_UNKNOWN_OPTION: i32 = -101;
/// The option exists and the value does not fit it.
pub const REDMUX_ERR_INVALID_VALUE: i32 = -102;
/// The URL or connection string cannot be read.
pub const REDMUX_ERR_INVALID_URL: i32 = -103;
/// This build was made without the feature.
pub const REDMUX_ERR_NOT_BUILT: i32 = -104;
/// The handle is closed, stale or was never given out.
pub const REDMUX_ERR_CLOSED: i32 = -200;
/// The handle was made by the parent of this process; open a new client here.
pub const REDMUX_ERR_FORKED: i32 = -201;
/// Another thread is inside this inbox; an inbox has one taker at a time.
pub const REDMUX_ERR_BUSY: i32 = -202;
/// The call would wait for itself; it was made inside a callback.
pub const REDMUX_ERR_WOULD_DEADLOCK: i32 = -203;
/// The promise set is not subscribed at this moment.
pub const REDMUX_ERR_INACTIVE: i32 = -204;
/// Cancelled by the caller.
pub const REDMUX_ERR_CANCELLED: i32 = -205;
/// A later remove won over this add.
pub const REDMUX_ERR_SUPERSEDED: i32 = -206;
/// The client is stopped.
pub const REDMUX_ERR_STOPPED: i32 = -207;
/// Only a stopped client can be started again.
pub const REDMUX_ERR_NOT_STOPPED: i32 = -208;
/// The service or name is already served by this client.
pub const REDMUX_ERR_ALREADY_SUBSCRIBED: i32 = -209;
/// What is asked cannot live beside what is there.
pub const REDMUX_ERR_CONFLICT: i32 = -210;
/// No connection could be made.
pub const REDMUX_ERR_CONNECT: i32 = -300;
/// The host name could not be resolved.
pub const REDMUX_ERR_RESOLVE: i32 = -301;
/// TLS could not be agreed; the message says which part failed.
pub const REDMUX_ERR_TLS: i32 = -302;
/// The connection was lost.
pub const REDMUX_ERR_LINK_LOST: i32 = -303;
/// The connection was lost while this was waiting.
pub const REDMUX_ERR_INTERRUPTED: i32 = -304;
/// Never given to the kernel; it is safe to send again.
pub const REDMUX_ERR_NOT_SENT: i32 = -305;
/// Sent, and the connection was lost before the answer came.
pub const REDMUX_ERR_UNKNOWN: i32 = -306;
/// The server sent something that is not RESP3.
pub const REDMUX_ERR_PROTOCOL: i32 = -307;
/// The server did not answer a PING in time.
pub const REDMUX_ERR_PING_TIMEOUT: i32 = -308;
/// Nobody serves it.
pub const REDMUX_ERR_NO_RESPONDERS: i32 = -309;
/// The responder answered with an error.
pub const REDMUX_ERR_REMOTE: i32 = -310;
/// Redis answered with an error.
pub const REDMUX_ERR_REDIS: i32 = -400;
/// Redis refused the user or the password.
pub const REDMUX_ERR_AUTH: i32 = -401;
/// Redis refused the name (ACL).
pub const REDMUX_ERR_REFUSED: i32 = -402;
/// Some names are active and some were refused.
pub const REDMUX_ERR_PARTIAL: i32 = -403;
/// The server is older than Redis 7.0 or does not speak RESP3.
pub const REDMUX_ERR_OLD_SERVER: i32 = -404;
/// There is no room; take some records first.
pub const REDMUX_ERR_FULL: i32 = -500;
/// A name or a payload is over its limit.
pub const REDMUX_ERR_TOO_LARGE: i32 = -501;
/// The inbox was full and its policy is to close.
pub const REDMUX_ERR_OVERFLOW: i32 = -502;
/// The machine has no memory for it.
pub const REDMUX_ERR_NO_MEMORY: i32 = -503;
/// The time given is over.
pub const REDMUX_ERR_TIMEOUT: i32 = -600;
/// A defect of this library; the handle can still be closed.
pub const REDMUX_ERR_INTERNAL: i32 = -900;

/// The name of a status, "REDMUX_ERR_CLOSED"; "REDMUX_ERR_?" for a number that is none.
///
/// The result is static: borrowed until the process ends. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_status_name(status: i32) -> *const c_char {
    guard_value(c"REDMUX_ERR_?".as_ptr(), || Status::from_code(status).map_or(c"REDMUX_ERR_?", Status::c_name).as_ptr())
}

/// One line about a status, for a person; defined for every number.
///
/// The result is static: borrowed until the process ends. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_status_message(status: i32) -> *const c_char {
    guard_value(c"unknown status".as_ptr(), || {
        Status::from_code(status).map_or(c"unknown status", Status::c_message).as_ptr()
    })
}
