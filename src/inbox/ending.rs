//! How an inbox' callback runs, and how an inbox ends.
//!
//! A callback runs with no lock held; its sink is out of the state meanwhile, and whoever closes waits for it to come
//! back. The sink is dropped exactly once, after the last call, and before any closer is let go.

use super::block::Lent;
use super::dispatch::{Dispatcher, as_callback, inside_callback};
use super::inbox::{Delivery, Inbox, Phase, State};
use crate::error::Status;
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, MutexGuard, lock, wait};
use std::time::Instant;

impl Inbox {
    /// Runs the callback on one block. Returns whether the inbox must be put in line again.
    pub(super) fn run(self: &Arc<Inbox>, dispatcher: &Dispatcher) -> bool {
        let mut state = lock(&self.state);
        let block = if state.phase == Phase::Closed { None } else { self.pop(&mut state) };
        let Some(block) = block else {
            state.scheduled = false;
            if state.phase != Phase::Open {
                state.phase = Phase::Closed;
                self.retire(state);
            }
            return false;
        };
        let Some(mut sink) = state.sink.take() else { return false };
        let more = u32::try_from(state.queue.len()).unwrap_or(u32::MAX);
        state.running = true;
        drop(state);
        let lent = Lent::new(block, Arc::clone(self), more);
        let code = as_callback(|| sink.deliver(&lent)).unwrap_or(Status::Internal.code());
        drop(lent);
        if code != 0 {
            dispatcher.failed(self.id, code);
        }
        let mut state = lock(&self.state);
        state.sink = Some(sink);
        if state.phase == Phase::Closed {
            state.scheduled = false;
            self.retire(state);
            return false;
        }
        state.running = false;
        let again = !state.queue.is_empty() || state.phase == Phase::Ending;
        state.scheduled = again;
        again
    }

    /// Drops the sink, which tells its owner that no call will come, and then lets closers go.
    ///
    /// Nothing to do if there is none: another thread may be dropping it just now, and closers wait for that one.
    pub(super) fn retire(&self, mut state: MutexGuard<'_, State>) {
        let Some(sink) = state.sink.take() else { return };
        state.running = true;
        drop(state);
        as_callback(|| drop(sink));
        lock(&self.state).running = false;
        self.quiet.notify_all();
    }

    /// Its client was closed: it yields what it holds, then answers `CLOSED`.
    pub fn end(self: &Arc<Inbox>) {
        let mut state = lock(&self.state);
        if state.phase == Phase::Open {
            state.phase = Phase::Ending;
            self.tell(state);
        }
    }

    /// Whether no callback of it runs or will run, and its sink is dropped.
    pub fn is_quiet(&self) -> bool {
        self.is_taken() || Inbox::is_quiet_now(&lock(&self.state))
    }

    fn is_quiet_now(state: &State) -> bool {
        !state.running && state.sink.is_none()
    }

    /// Waits until an ended inbox has no callback left. `TIMEOUT` says that drop has not run.
    pub fn wait_quiet(&self, deadline: Option<Instant>) -> Result<(), Status> {
        if self.is_taken() || inside_callback() {
            return Ok(());
        }
        let mut state = lock(&self.state);
        while !Inbox::is_quiet_now(&state) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Status::Timeout);
            }
            state = wait(&self.quiet, state, left);
        }
        Ok(())
    }

    /// Closes it now: what waits is discarded, and its callback, if one runs, is the last.
    ///
    /// On an application's thread it returns when no callback runs and the sink is dropped; inside a callback at once.
    pub fn close(self: &Arc<Inbox>, deadline: Option<Instant>) -> Result<(), Status> {
        let mut state = lock(&self.state);
        let before = state.bytes();
        state.phase = Phase::Closed;
        state.queue.clear();
        state.reserved = 0;
        self.charge(&mut state, before);
        self.closed.store(true, Ordering::SeqCst);
        match &self.delivery {
            Delivery::Take(ready) => {
                drop(state);
                self.filled.ring();
                ready.forget(self);
            }
            Delivery::Task(_) => drop(state),
            Delivery::Callback(_) if state.running => drop(state),
            Delivery::Callback(_) => self.retire(state),
        }
        (self.on_room)();
        self.wait_quiet(deadline)
    }
}
