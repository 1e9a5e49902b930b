//! Errors with a sentence, owned by the caller.

use super::bytes::{Place, give, look, take_back};
use super::guard::guard_value;
use crate::error::{Error, Status};
use std::ffi::{CString, c_char};
use std::ptr;

/// What went wrong: a status, a sentence that says what happened, to what, and what to do, and Redis' own error word.
/// A pointer for one is written only when the call fails: begin with NULL, and set it to NULL after redmux_error_free.
///
/// Immutable; may be read from any thread and freed on any.
pub struct redmux_error {
    status: Status,
    message: CString,
    redis: Option<CString>,
}

fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// Gives an error to the caller, if it wants one.
pub(super) fn write_error(out_error: *mut *mut redmux_error, error: Error) {
    if let Some(place) = Place::optional(out_error) {
        let redis = error.redis().map(c_string);
        place.write(give(redmux_error { status: error.status(), message: c_string(error.message()), redis }));
    }
}

/// The status of an error, as the call returned it; REDMUX_ERR_INVALID_ARGUMENT for NULL.
///
/// error: borrowed for the call. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_error_code(error: *const redmux_error) -> i32 {
    guard_value(Status::Internal.code(), || {
        look(error).map_or(Status::InvalidArgument.code(), |error| error.status.code())
    })
}

/// The sentence of an error: what happened, to what, and what to do. Never NULL, ends with a NUL, UTF-8; "" for NULL.
///
/// error: borrowed for the call. The result: borrowed until error is freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_error_message(error: *const redmux_error) -> *const c_char {
    guard_value(c"".as_ptr(), || look(error).map_or(c"".as_ptr(), |error| error.message.as_ptr()))
}

/// Redis' own error word (NOPERM, WRONGPASS, ...), or NULL where Redis said nothing.
///
/// error: borrowed for the call. The result: borrowed until error is freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_error_redis(error: *const redmux_error) -> *const c_char {
    guard_value(ptr::null(), || {
        look(error).and_then(|error| error.redis.as_ref()).map_or(ptr::null(), |word| word.as_ptr())
    })
}

/// 1 if the same call may succeed later without any change, else 0.
///
/// error: borrowed for the call. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_error_retriable(error: *const redmux_error) -> i32 {
    guard_value(0, || look(error).map_or(0, |error| i32::from(error.status.retriable())))
}

/// Frees an error. NULL is allowed.
///
/// error: owned by the caller, release with redmux_error_free, once. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_error_free(error: *mut redmux_error) {
    guard_value((), || take_back(error));
}
