//! A task of the library, which is counted while it has something to do.
//!
//! Who turns the runtime for a moment must know whether it leaves work behind; tokio does not say. So each task is woken
//! through a waker of ours, which notes that it was woken and not yet polled.

use super::{Wheel, get};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

const RESTING: u8 = 0;
const WOKEN: u8 = 1;
const OVER: u8 = 2;

/// A future to spawn.
pub struct Task {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    wheel: &'static Wheel,
    /// How it is woken, once it was polled.
    called: Option<(Arc<Call>, Waker)>,
}

struct Call {
    state: AtomicU8,
    wheel: &'static Wheel,
    task: Waker,
}

impl Task {
    /// Counted from now on: a new task is to be polled.
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Task {
        let wheel = get();
        wheel.pending.fetch_add(1, Ordering::SeqCst);
        Task { future: Box::pin(future), wheel, called: None }
    }

    /// It is being polled, or never will be again.
    fn answer(&self, state: u8) {
        let was = self.called.as_ref().map_or(WOKEN, |(call, _)| call.state.swap(state, Ordering::SeqCst));
        if was == WOKEN {
            self.wheel.pending.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.answer(RESTING);
        let same = self.called.as_ref().is_some_and(|(call, _)| call.task.will_wake(cx.waker()));
        if !same {
            if let Some((before, _)) = &self.called {
                before.state.store(OVER, Ordering::SeqCst);
            }
            let call = Arc::new(Call { state: AtomicU8::new(RESTING), wheel: self.wheel, task: cx.waker().clone() });
            self.called = Some((Arc::clone(&call), Waker::from(call)));
        }
        let Task { future, called, .. } = &mut *self;
        match called {
            Some((_, waker)) => future.as_mut().poll(&mut Context::from_waker(waker)),
            None => Poll::Pending,
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.answer(OVER);
    }
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.compare_exchange(RESTING, WOKEN, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.wheel.pending.fetch_add(1, Ordering::SeqCst);
        }
        self.task.wake_by_ref();
    }
}
