//! The one way into the library: every exported function runs inside `guard`.
//!
//! A panic of ours becomes `REDMUX_ERR_INTERNAL` and poisons the handle that it happened on; the handle can still be
//! closed. Unwinding never crosses into C, which would abort the host.

use super::error::{redmux_error, write_error};
use super::handle;
use crate::error::{Error, Result, Status};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `f`, whose only result is a status.
pub fn guard(handle: u64, f: impl FnOnce() -> Result<()>) -> i32 {
    run(handle, f).map_or_else(|error| error.status().code(), |()| 0)
}

/// Runs `f` and gives its error to the caller, if the caller wants it.
pub fn guard_error(handle: u64, out_error: *mut *mut redmux_error, f: impl FnOnce() -> Result<()>) -> i32 {
    match run(handle, f) {
        Ok(()) => 0,
        Err(error) => {
            let code = error.status().code();
            write_error(out_error, error);
            code
        }
    }
}

/// Runs `f`, which cannot fail; a panic gives `otherwise`.
pub fn guard_value<T>(otherwise: T, f: impl FnOnce() -> T) -> T {
    // Nothing that `f` borrows is used after a panic but `otherwise`.
    catch_unwind(AssertUnwindSafe(f)).unwrap_or(otherwise)
}

fn run(handle: u64, f: impl FnOnce() -> Result<()>) -> Result<()> {
    handle::check(handle)?;
    // Every lock below is entered again after a panic (sync.rs), and the handle is poisoned: nothing half-done is used.
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| {
        handle::poison(handle);
        let text = "a defect of redmux; this handle can only be closed now. Please report it with what you called";
        Err(Error::new(Status::Internal, text))
    })
}
