//! The locks that the inbox is built from, in one place, so that a model checker can take their place.
//!
//! `RUSTFLAGS="--cfg redmux_model"` swaps std's for shuttle's, which explores schedules (`tests/model.rs`).
//! A poisoned lock is entered all the same: every critical section here leaves its data whole between statements,
//! and an inbox that stopped working because some thread panicked would lose what it holds.

#[cfg(not(redmux_model))]
pub use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, atomic},
    thread, thread_local,
};

#[cfg(redmux_model)]
pub use shuttle::{
    sync::{Arc, Condvar, Mutex, MutexGuard, atomic},
    thread, thread_local,
};

use std::time::Duration;

/// Locks, whether or not a panic passed through it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits on `condvar`; `None` waits without limit. May wake early: callers loop. A model never times out.
pub fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>, limit: Option<Duration>) -> MutexGuard<'a, T> {
    match limit {
        None => condvar.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner),
        Some(limit) => match condvar.wait_timeout(guard, limit) {
            Ok((guard, _)) => guard,
            Err(poisoned) => poisoned.into_inner().0,
        },
    }
}
