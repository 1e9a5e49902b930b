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

#[cfg(test)]
mod tests {
    use super::super::handle::{add_options, options, remove_options};
    use super::*;
    use crate::options::Options;

    /// A defect, as it would happen. Its text on stderr is the test's.
    fn defect() -> Result<()> {
        panic!("a defect for the test")
    }

    #[test]
    fn rule_11_a_panic_is_a_status_and_the_handle_can_only_be_closed() {
        let (broken, whole) = (add_options(Options::new()), add_options(Options::new()));
        assert_eq!(guard(broken, defect), Status::Internal.code());

        assert_eq!(guard(broken, || Ok(())), Status::Internal.code(), "nothing half-done is used");
        assert_eq!(options(broken).err(), Some(Status::Internal), "not through another call either");
        assert_eq!(guard(whole, || Ok(())), 0, "other handles go on");

        remove_options(broken);
        assert_eq!(options(broken).err(), Some(Status::Closed), "a poisoned handle can be closed");
        remove_options(whole);
    }

    #[test]
    fn rule_11_a_panic_gives_an_error_with_a_sentence() {
        let mut error = std::ptr::null_mut();
        let handle = add_options(Options::new());
        assert_eq!(guard_error(handle, &mut error, defect), Status::Internal.code());
        let shown = super::super::error::redmux_error_code(error);
        assert_eq!(shown, Status::Internal.code());
        super::super::error::redmux_error_free(error);
        assert_eq!(guard_error(handle, std::ptr::null_mut(), defect), Status::Internal.code());
        remove_options(handle);
    }

    #[test]
    fn rule_11_a_panic_without_a_handle_poisons_nothing() {
        assert_eq!(guard(0, defect), Status::Internal.code());
        assert_eq!(guard(0, || Ok(())), 0, "opening and closing go on");
    }

    #[test]
    fn rule_11_a_panic_where_there_is_no_status_gives_the_stand_in() {
        assert_eq!(guard_value(7, || panic!("a defect for the test")), 7);
    }
}
