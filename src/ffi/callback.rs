//! Callbacks of C: a function, its user data, and what tells that no call will come any more.
#![expect(unsafe_code, reason = "calling functions of C")]

use super::block::redmux_block;
use crate::error::{Error, Result, Status};
use crate::inbox::Lent;
use crate::inbox::dispatch::Sink;
use std::ffi::c_void;

/// Receives blocks, on a thread of the client named redmux-cb.
///
/// user: what was given with the function, borrowed until drop is called. block: borrowed until the callback returns;
/// copy what you keep. Return 0; anything else is logged, unless it was the logs that the block held, and the next block is
/// delivered. Every function of the library may be called, except the ones that block, which return
/// REDMUX_ERR_WOULD_DEADLOCK. It must not throw or longjmp. All signals but those of faults are blocked on that thread, and
/// what is started there inherits that: a program that you run from a callback needs its own mask (POSIX_SPAWN_SETSIGMASK,
/// or pthread_sigmask in the child).
pub type redmux_block_fn = Option<unsafe extern "C" fn(user: *mut c_void, block: *const redmux_block) -> i32>;

/// Tells that a callback will not be called any more, exactly once, also when it could not be registered. user data
/// may be freed here.
///
/// user: what was given with the callback, borrowed until the callback returns, its last use. A thread of the client, or
/// the one that closes or that could not register.
pub type redmux_drop_fn = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// A registered callback. Dropping it calls `drop`, once.
pub struct Callback {
    function: redmux_block_fn,
    user: *mut c_void,
    drop: redmux_drop_fn,
}

// SAFETY: the contract says that the function and `drop` may be called on the client's threads with `user`; the
// dispatcher never calls from two threads at once.
unsafe impl Send for Callback {}

impl Callback {
    /// Made before anything is checked, so that `drop` runs whatever is wrong.
    pub fn new(function: redmux_block_fn, user: *mut c_void, drop: redmux_drop_fn) -> Callback {
        Callback { function, user, drop }
    }

    /// As a sink; there must be a function.
    pub fn sink(self) -> Result<Box<dyn Sink>> {
        if self.function.is_none() {
            return Err(Error::new(Status::InvalidArgument, "the callback is NULL"));
        }
        Ok(Box::new(self))
    }
}

impl Sink for Callback {
    fn deliver(&mut self, block: &Lent) -> i32 {
        let view = redmux_block::view(block);
        match self.function {
            // SAFETY: `view` lives across the call, and `user` is what the application registered with the function.
            Some(function) => unsafe { function(self.user, &view) },
            None => 0,
        }
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        if let Some(drop) = self.drop.take() {
            // SAFETY: the last use of `user`; `take` makes it the only call.
            unsafe { drop(self.user) };
        }
    }
}
