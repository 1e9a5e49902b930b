//! The dispatcher: threads of a client that hand blocks to callbacks.
//!
//! One inbox is served in order by one thread at a time, with no lock held; with one thread there are never two
//! callbacks at once. A callback that blocks holds up only its own client. The threads begin with the first inbox
//! that has a callback, and end with their client.

use super::block::Lent;
use super::inbox::Inbox;
use crate::bell::Bell;
use crate::sync::{Arc, Mutex, lock, thread, thread_local};
use crate::sys::{generation, without_signals};
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What receives blocks. Dropping it tells its owner that no further call will come.
pub trait Sink: Send {
    /// Looks at a block, borrowed until it returns. Nonzero is logged, and the next block is delivered.
    fn deliver(&mut self, block: &Lent) -> i32;
}

thread_local! {
    /// In a callback: one more than the process' generation, so that a child forked there is outside of it. Else 0.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// Whether this thread is running a callback: blocking calls refuse then.
pub fn inside_callback() -> bool {
    INSIDE.with(Cell::get) == generation() + 1
}

/// Runs `f` as a callback; `None` if it panicked. A thread that unwound would leave its inbox running for ever.
pub(super) fn as_callback<R>(f: impl FnOnce() -> R) -> Option<R> {
    let before = INSIDE.with(|inside| inside.replace(generation() + 1));
    let result = catch_unwind(AssertUnwindSafe(f)).ok();
    INSIDE.with(|inside| inside.set(before));
    result
}

#[derive(Default)]
struct Line {
    inboxes: VecDeque<Arc<Inbox>>,
    threads: usize,
    ended: bool,
}

/// The threads of one client, and the inboxes that wait for them.
pub struct Dispatcher {
    line: Mutex<Line>,
    filled: Bell,
    threads: usize,
    on_error: Box<dyn Fn(u64, i32) + Send + Sync>,
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl Dispatcher {
    /// A dispatcher of `threads` threads; `on_error` hears of callbacks that return something else than 0.
    pub fn new(threads: usize, on_error: impl Fn(u64, i32) + Send + Sync + 'static) -> Dispatcher {
        Dispatcher {
            line: Mutex::new(Line::default()),
            filled: Bell::default(),
            threads: threads.max(1),
            on_error: Box::new(on_error),
        }
    }

    /// Starts the threads, once.
    pub fn start(self: &Arc<Dispatcher>) -> std::io::Result<()> {
        let mut line = lock(&self.line);
        while line.threads < self.threads && !line.ended {
            let dispatcher = Arc::clone(self);
            let thread = thread::Builder::new().name("redmux-cb".into());
            without_signals(|| thread.spawn(move || dispatcher.serve()))?;
            line.threads += 1;
        }
        Ok(())
    }

    /// Puts an inbox in line, of which `ring` tells. `false` if no thread is left that could serve it.
    ///
    /// Under the inbox' lock or not: nobody takes one while he has the line's.
    pub(super) fn schedule(&self, inbox: Arc<Inbox>) -> bool {
        let mut line = lock(&self.line);
        if line.ended && line.threads == 0 {
            return false;
        }
        line.inboxes.push_back(inbox);
        true
    }

    /// Wakes a thread that waits for the line. Not under the inbox' lock, which it would run into.
    pub(super) fn ring(&self) {
        self.filled.ring();
    }

    /// Ends the threads once the line is empty. Does not wait for them.
    pub fn end(&self) {
        lock(&self.line).ended = true;
        self.filled.ring_all();
    }

    pub(super) fn failed(&self, inbox: u64, code: i32) {
        (self.on_error)(inbox, code);
    }

    /// What a thread does.
    pub(super) fn serve(&self) {
        let mut line = lock(&self.line);
        loop {
            if let Some(inbox) = line.inboxes.pop_front() {
                drop(line);
                if inbox.run(self) {
                    // This thread is there to serve it, if no other is.
                    self.schedule(inbox);
                    self.ring();
                }
                line = lock(&self.line);
            } else if line.ended {
                line.threads -= 1;
                return;
            } else {
                line = self.filled.wait(&self.line, line, None);
            }
        }
    }
}
