//! The library's own thread: one a process, shared by all clients, made by the first.
//!
//! It stays, parked, when the last client is gone; `shutdown` ends it. A forked child makes its own: what it inherited
//! is a copy without a thread. Its signals are blocked, it is called `redmux-io`, and it never runs a callback.

use crate::error::{Error, Result, Status};
use crate::mux::hub::Hub;
use crate::sync::{Arc, Mutex, lock};
use crate::sys::{self, PerProcess};
use crate::wheel;
use std::collections::HashMap;
use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// What a process has of us.
struct Process {
    /// Locked before `clients`, where both are.
    threads: Mutex<Threads>,
    clients: Mutex<HashMap<u64, std::sync::Weak<Hub>>>,
    next_id: AtomicU64,
}

#[derive(Default)]
struct Threads {
    current: Option<Thread>,
    /// Told to end, and nobody saw yet that they have.
    ending: Vec<JoinHandle<()>>,
}

struct Thread {
    handle: Handle,
    stop: watch::Sender<bool>,
    join: JoinHandle<()>,
    /// Memory will be given back to the system.
    giving_back: Arc<AtomicBool>,
}

static PROCESS: PerProcess<Process> = PerProcess::new(|| Process {
    threads: Mutex::new(Threads::default()),
    clients: Mutex::new(HashMap::new()),
    next_id: AtomicU64::new(1),
});

/// How long after a burst memory is given back: bursts that follow each other share one walk through the heap.
const GIVE_BACK_AFTER: Duration = Duration::from_secs(1);

/// How many low bits of an id count; the bits above are the process' generation, so that a forked child tells the
/// handles that it inherited.
const COUNT_BITS: u32 = 48;

/// An id that this process never gave out before. Never 0.
pub fn next_id() -> u64 {
    // With the first handle, not with the first client: options may be all that a process has when it forks.
    sys::install_fork_hooks();
    let count = PROCESS.get().next_id.fetch_add(1, Ordering::Relaxed);
    (u64::from(sys::generation() & 0xffff) << COUNT_BITS) | (count & ((1 << COUNT_BITS) - 1))
}

/// Whether an id was given out by an ancestor of this process.
pub fn is_inherited(id: u64) -> bool {
    id != 0 && (id >> COUNT_BITS) < u64::from(sys::generation() & 0xffff)
}

/// The runtime, started if it is not running. For a client, see `admit`.
pub fn handle() -> Result<Handle> {
    sys::install_fork_hooks();
    lock(&PROCESS.get().threads).handle()
}

/// The runtime for a new client, which is remembered, so that a shutdown closes it.
///
/// Both under one lock: a shutdown finds the client with its thread, or neither. Else its tasks could be given to a
/// runtime that is about to end, which drops them and says nothing.
pub fn admit(hub: &Arc<Hub>) -> Result<Handle> {
    sys::install_fork_hooks();
    let process = PROCESS.get();
    let mut threads = lock(&process.threads);
    let handle = threads.handle()?;
    lock(&process.clients).insert(hub.id, Arc::downgrade(hub));
    Ok(handle)
}

impl Threads {
    fn handle(&mut self) -> Result<Handle> {
        if let Some(thread) = &self.current {
            return Ok(thread.handle.clone());
        }
        let thread = Thread::start()
            .map_err(|error| Error::new(Status::Internal, format!("cannot start the redmux-io thread: {error}")))?;
        Ok(self.current.insert(thread).handle.clone())
    }
}

impl Thread {
    fn start() -> std::io::Result<Thread> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(4)
            .thread_keep_alive(Duration::from_secs(1))
            .thread_name("redmux-io")
            // It is started by who turns the runtime, and has his signals: where that is a consumer, the host's. That one
            // could arrive just before costs less than two system calls for each time that somebody turns.
            .on_thread_start(sys::block_signals)
            .build()?;
        let (handle, poller) = (runtime.handle().clone(), wheel::poller_of(&runtime));
        let runtime = StdArc::new(runtime);
        let turned = StdArc::clone(&runtime);
        let (stop, mut stopping) = watch::channel(false);
        let io = std::thread::Builder::new().name("redmux-io".into());
        let serve = move || {
            wheel::get().run(turned, async {
                let _ = stopping.wait_for(|stop| *stop).await;
            });
        };
        let join = sys::without_signals(|| io.spawn(serve))?;
        // Not on the thread itself, which may come late: behind a shutdown, and the thread that follows it.
        wheel::get().begin(runtime, poller);
        Ok(Thread { handle, stop, join, giving_back: Arc::default() })
    }
}

/// A burst is over: what the allocator kept of it is given back to the system, a little later. Never waits.
pub fn give_memory_back_soon() {
    // Not `handle`: after a shutdown this must not start the thread again.
    let current =
        lock(&PROCESS.get().threads).current.as_ref().map(|one| (one.handle.clone(), Arc::clone(&one.giving_back)));
    let Some((handle, giving_back)) = current else { return };
    if giving_back.swap(true, Ordering::Relaxed) {
        return;
    }
    wheel::spawn(&handle, async move {
        tokio::time::sleep(GIVE_BACK_AFTER).await;
        giving_back.store(false, Ordering::Relaxed);
        // Beside the library's thread, because it walks the whole heap.
        tokio::task::spawn_blocking(sys::give_memory_back);
    });
}

/// Forgets a client.
pub fn unregister(id: u64) {
    lock(&PROCESS.get().clients).remove(&id);
}

/// The clients that are open.
fn clients() -> Vec<Arc<Hub>> {
    lock(&PROCESS.get().clients).values().filter_map(std::sync::Weak::upgrade).collect()
}

/// Ends the thread, and with it every link, until `deadline`. The next client starts it again, also where `TIMEOUT` says
/// that it has not ended yet; a later shutdown waits for it.
pub fn shutdown(deadline: Option<Instant>) -> std::result::Result<(), Status> {
    let process = PROCESS.get();
    let mut threads = lock(&process.threads);
    // From here on it is nobody's: whoever opens a client meanwhile has a thread of its own.
    let stop = threads.current.take().map(|thread| {
        threads.ending.push(thread.join);
        thread.stop
    });
    let clients = clients();
    if stop.is_some() {
        // Under the lock, or it would be the next runtime that is lent no more.
        wheel::get().end();
    }
    drop(threads);
    for hub in clients {
        // What waits ends now: without the thread no answer and no deadline would come any more.
        hub.end(Status::Closed);
    }
    if let Some(stop) = stop {
        let _ = stop.send(true);
    }
    loop {
        let mut threads = lock(&process.threads);
        // Under the lock: of two who shut down neither says that a thread has ended which the other still joins.
        for ended in threads.ending.extract_if(.., |thread| thread.is_finished()) {
            let _ = ended.join();
        }
        if threads.ending.is_empty() {
            return Ok(());
        }
        drop(threads);
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Status::Timeout);
        }
        // Only a host that counts threads calls this, once; it is not worth a condition variable.
        std::thread::sleep(Duration::from_millis(1));
    }
}
