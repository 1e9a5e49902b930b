//! What a consumer waits for. Whoever waits may turn the library's runtime meanwhile (`wheel.rs`).
//!
//! A condition variable with one more difference: to ring where nobody waits is no system call.

use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};
use crate::wheel;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Rings for those who wait for a change of what a lock holds. To be rung after the change, under the lock or behind it.
#[derive(Debug, Default)]
pub struct Bell {
    parked: AtomicUsize,
    filled: Condvar,
    turned: Turned,
}

/// The one who turns the runtime while it waits.
#[derive(Debug, Default)]
struct Turned {
    here: AtomicBool,
    rings: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    /// Wakes one of those who park here, and who turns the runtime.
    pub fn ring(&self) {
        self.turned.ring();
        if self.parked.load(Ordering::SeqCst) > 0 {
            self.filled.notify_one();
        }
    }

    /// Wakes everybody.
    pub fn ring_all(&self) {
        self.turned.ring();
        if self.parked.load(Ordering::SeqCst) > 0 {
            self.filled.notify_all();
        }
    }

    /// Waits for the next ring, for so long at most. May end early: callers loop.
    pub fn wait<'a, T>(
        &self,
        mutex: &'a Mutex<T>,
        guard: MutexGuard<'a, T>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, T> {
        let turn = wheel::get().wait();
        if turn.turns() {
            let heard = self.turned.rings.load(Ordering::SeqCst);
            // Before the lock is left: whoever changes what it holds finds that somebody is here.
            self.turned.here.store(true, Ordering::SeqCst);
            drop(guard);
            turn.until(self.turned.rung(heard), limit);
            self.turned.here.store(false, Ordering::SeqCst);
            drop(turn);
            return lock(mutex);
        }
        self.parked.fetch_add(1, Ordering::SeqCst);
        let guard = wait(&self.filled, guard, limit);
        self.parked.fetch_sub(1, Ordering::SeqCst);
        guard
    }
}

impl Turned {
    fn ring(&self) {
        if self.here.load(Ordering::SeqCst) {
            self.rings.fetch_add(1, Ordering::SeqCst);
            let waker = lock(&self.waker).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Ready when it was rung since so many rings were heard.
    fn rung(&self, heard: u64) -> impl Future<Output = ()> {
        std::future::poll_fn(move |cx| {
            let over = || self.rings.load(Ordering::SeqCst) != heard;
            if over() {
                return Poll::Ready(());
            }
            *lock(&self.waker) = Some(cx.waker().clone());
            if over() { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}
