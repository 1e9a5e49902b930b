//! Who turns the library's runtime: its own thread, or a consumer that waits (here) or watches a descriptor (`watch`).
//!
//! What `redmux-io` reads and a taker waits for costs a change of thread, which is more than all the rest of a lone message. So a
//! consumer that waits again and again, each time for a moment and nobody beside it, is lent the runtime: it turns it while
//! it waits, and what comes has arrived where it is wanted. tokio lets any thread do that (`Runtime::block_on`), one at a time.
//!
//! Between two waits of the consumer nobody turns it. The library's own thread sleeps meanwhile and looks once a millisecond
//! whether the consumer came back; if not, it goes on itself. It goes on at once when somebody else begins to wait, when
//! another thread has work for a task (`Nudge`), and when the library is shut down. Floor 0: it knows of nothing but threads.

mod task;
mod watch;

pub use watch::{poller_of, spawn};

use crate::sys::{self, Stack};
use std::cell::OnceCell;
use std::os::fd::RawFd;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// How long the consumer may be away before the library's thread goes on; and what is a moment of waiting.
const MOMENT: Duration = Duration::from_millis(1);
/// So many moments of waiting in a row make a consumer worth lending to.
const MOMENTS: u32 = 3;
/// So long nothing is lent after somebody else needed the runtime.
const PAUSE: Duration = Duration::from_millis(20);
/// What a thread's stack must have left: a task may be in the middle of a TLS handshake.
const STACK: usize = 256 * 1024;

#[derive(Debug, Default)]
struct State {
    runtime: Option<Arc<Runtime>>,
    /// Consumers that wait in a bell.
    waiting: usize,
    /// Those who watch a descriptor: consumers that wait, and nobody sees it.
    watchers: watch::Watchers,
    lent: bool,
    /// The consumer that it is lent to turns it now.
    inside: bool,
    /// How often it was turned by a consumer.
    turns: u64,
    /// The library's thread looks again by itself.
    looking: bool,
    /// Moments of waiting in a row, and when the next may count.
    moments: u32,
    not_before: Option<Instant>,
    /// Lent to whoever waits alone, at once.
    eager: bool,
}

impl State {
    /// Whether this is the runtime that may be lent.
    fn is_of(&self, runtime: &Arc<Runtime>) -> bool {
        self.runtime.as_ref().is_some_and(|now| Arc::ptr_eq(now, runtime))
    }
}

/// The runtime of a process, and who turns it.
#[derive(Debug, Default)]
pub struct Wheel {
    state: Mutex<State>,
    /// The library's thread waits here while it is lent. All are to be told: one that ends may stand beside the next.
    changed: Condvar,
    /// A consumer asks for it.
    asked: Notify,
    /// The consumer that turns it is to leave it.
    recalled: Notify,
    /// It is lent and nobody turns it.
    idle: AtomicBool,
    /// The thread that it is lent to.
    holder: AtomicUsize,
    /// How many tasks have something to do.
    pending: AtomicUsize,
}

static WHEEL: sys::PerProcess<Wheel> = sys::PerProcess::new(Wheel::default);

thread_local! {
    /// Its address is the thread's name here. What it holds: where the thread's stack lies, once it was asked.
    static OWN: OnceCell<Option<Stack>> = const { OnceCell::new() };
}

/// This process' wheel.
pub fn get() -> &'static Wheel {
    WHEEL.get()
}

/// A name for the thread that asks, which no other one has now. Never 0.
pub fn this_thread() -> usize {
    OWN.with(|own| std::ptr::from_ref(own) as usize)
}

/// Whether this thread may turn a runtime: it is inside of none, and has enough of its stack left. Where it stands is
/// looked at each time: a host may wait deep in a recursion, or on the stack of a fiber, of which nothing is known.
fn may_turn() -> bool {
    let stack = OWN.with(|own| *own.get_or_init(Stack::of_this_thread));
    let roomy = stack.and_then(Stack::left).is_some_and(|left| left >= STACK);
    // A thread that is ending has lost what a runtime needs of it.
    roomy && tokio::runtime::Handle::try_current().is_err_and(|error| error.is_missing_context())
}

/// Wakes a task of the library; where the runtime is lent and idle, somebody turns it.
#[derive(Debug, Default)]
pub struct Nudge(Notify);

impl Nudge {
    /// Wakes the task, now or when it next waits.
    pub fn notify_one(&self) {
        self.0.notify_one();
        get().stir();
    }

    /// The task waits for the next one.
    pub fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.notified()
    }
}

/// A consumer that waits: turning the runtime, or not.
#[derive(Debug)]
pub struct Turn {
    wheel: &'static Wheel,
    runtime: Option<Arc<Runtime>>,
    began: Instant,
}

impl Turn {
    /// Whether it turns the runtime.
    pub fn turns(&self) -> bool {
        self.runtime.is_some()
    }

    /// Turns it until `rung`, for so long, or until somebody else needs it. May end early.
    pub fn until(&self, rung: impl Future<Output = ()>, limit: Option<Duration>) {
        let Some(runtime) = &self.runtime else { return };
        runtime.block_on(async {
            let (mut rung, mut recalled) = (pin!(rung), pin!(self.wheel.recalled.notified()));
            let either = std::future::poll_fn(|cx| {
                if rung.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                recalled.as_mut().poll(cx)
            });
            match limit {
                Some(limit) => drop(tokio::time::timeout(limit, either).await),
                None => either.await,
            }
        });
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let turned = self.runtime.take().is_some();
        let mut state = self.wheel.enter();
        state.waiting -= 1;
        if turned {
            state.inside = false;
            self.wheel.idle.store(state.lent, Ordering::SeqCst);
            if !state.looking {
                self.wheel.changed.notify_one();
            }
        } else if state.waiting == 0 && self.began.elapsed() < MOMENT {
            state.moments += 1;
        } else {
            state.moments = 0;
        }
    }
}

impl Wheel {
    fn enter(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A consumer begins to wait.
    pub fn wait(&'static self) -> Turn {
        let began = Instant::now();
        let mut state = self.enter();
        state.waiting += 1;
        Turn { wheel: self, runtime: self.lend(&mut state, began), began }
    }

    fn lend(&self, state: &mut State, now: Instant) -> Option<Arc<Runtime>> {
        let alone = state.waiting == 1 && state.watchers.is_empty();
        let due = state.moments >= MOMENTS && state.not_before.is_none_or(|moment| moment <= now);
        let wanted = state.lent || state.eager || due;
        if !alone || !wanted || !may_turn() {
            self.take_back(state);
            return None;
        }
        let runtime = Arc::clone(state.runtime.as_ref()?);
        if !state.lent {
            state.lent = true;
            self.asked.notify_one();
        }
        state.inside = true;
        state.turns += 1;
        self.idle.store(false, Ordering::SeqCst);
        self.holder.store(this_thread(), Ordering::SeqCst);
        Some(runtime)
    }

    /// The library's thread is to turn it again, because somebody else needs it.
    fn take_back(&self, state: &mut State) {
        if state.lent {
            state.not_before = Instant::now().checked_add(PAUSE);
            self.go_on(state);
        }
    }

    /// The library's thread turns it again.
    fn go_on(&self, state: &mut State) {
        state.lent = false;
        state.moments = 0;
        state.watchers.part();
        self.idle.store(false, Ordering::SeqCst);
        if state.inside {
            self.recalled.notify_one();
        }
        self.changed.notify_all();
    }

    /// Nothing is lent any more: the runtime is about to end.
    pub fn end(&self) {
        self.end_now(&mut self.enter());
    }

    fn end_now(&self, state: &mut State) {
        state.runtime = None;
        self.take_back(state);
        state.watchers.poller = None;
    }

    /// Lends to whoever waits alone, at once, however long it waits. For tests, which would have to time the machine.
    pub fn lend_eagerly(&self) {
        self.enter().eager = true;
    }

    /// How often a consumer turned the runtime.
    pub fn turns(&self) -> u64 {
        self.enter().turns
    }

    /// A task has work. The one that it is lent to comes back to it soon, or is found to be away.
    fn stir(&self) {
        if self.idle.load(Ordering::SeqCst) && self.holder.load(Ordering::SeqCst) != this_thread() {
            self.take_back(&mut self.enter());
        }
    }

    /// A runtime that may be lent, until `end`; a thread of the library is to `run` it.
    pub fn begin(&self, runtime: Arc<Runtime>, poller: Option<RawFd>) {
        let mut state = self.enter();
        (state.runtime, state.watchers.poller) = (Some(runtime), poller);
    }

    /// What the library's thread does: turns the runtime wherever nobody else does, until `stopped`.
    pub fn run(&self, runtime: Arc<Runtime>, stopped: impl Future<Output = ()>) {
        let mut stopped = pin!(stopped);
        loop {
            let asked = runtime.block_on(async {
                let mut asked = pin!(self.asked.notified());
                std::future::poll_fn(|cx| match stopped.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(false),
                    Poll::Pending => asked.as_mut().poll(cx).map(|()| true),
                })
                .await
            });
            if !asked {
                break;
            }
            self.stand_by(&runtime);
        }
        let mut state = self.enter();
        // Another thread may have begun already, with a runtime of its own.
        if state.is_of(&runtime) {
            self.end_now(&mut state);
        }
        // Who turns it was told to leave.
        while Arc::strong_count(&runtime) > 1 {
            state = self.changed.wait_timeout(state, MOMENT).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        // A name that is being resolved must not hold the end up.
        if let Some(runtime) = Arc::into_inner(runtime) {
            runtime.shutdown_background();
        }
    }

    /// Sleeps while it is lent, and takes it back from a consumer that stays away.
    fn stand_by(&self, runtime: &Arc<Runtime>) {
        let mut state = self.enter();
        let mut seen = None;
        // What is lent may be the runtime of the thread that follows this one.
        while state.lent && state.is_of(runtime) {
            let same = seen == Some(state.turns);
            if same && !state.inside {
                self.go_on(&mut state);
                break;
            }
            // One that waits for long is left alone; it says when it leaves.
            state.looking = !same;
            seen = state.looking.then_some(state.turns);
            state = if state.looking {
                self.changed.wait_timeout(state, MOMENT).unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
        state.looking = false;
    }
}
