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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// What a process has of us.
struct Process {
    thread: Mutex<Option<Thread>>,
    clients: Mutex<HashMap<u64, std::sync::Weak<Hub>>>,
    next_id: AtomicU64,
    /// Memory will be given back to the system.
    giving_back: AtomicBool,
}

struct Thread {
    handle: Handle,
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
    join: std::thread::JoinHandle<()>,
}

static PROCESS: PerProcess<Process> = PerProcess::new(|| Process {
    thread: Mutex::new(None),
    clients: Mutex::new(HashMap::new()),
    next_id: AtomicU64::new(1),
    giving_back: AtomicBool::new(false),
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

/// The runtime, started if it is not running.
pub fn handle() -> Result<Handle> {
    sys::install_fork_hooks();
    let process = PROCESS.get();
    let mut thread = lock(&process.thread);
    if let Some(thread) = &*thread {
        return Ok(thread.handle.clone());
    }
    let failed =
        |error: std::io::Error| Error::new(Status::Internal, format!("cannot start the redmux-io thread: {error}"));
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::from_secs(1))
        .thread_name("redmux-io")
        .build()
        .map_err(failed)?;
    let (handle, poller) = (runtime.handle().clone(), wheel::poller_of(&runtime));
    let (stop, mut stopping) = watch::channel(false);
    let (end, ended) = watch::channel(false);
    let io = std::thread::Builder::new().name("redmux-io".into());
    let serve = move || {
        wheel::get().run(runtime, poller, async {
            let _ = stopping.wait_for(|stop| *stop).await;
        });
        let _ = end.send(true);
    };
    // The threads on which tokio resolves names are started by this one, and have its signals.
    let join = sys::without_signals(|| io.spawn(serve)).map_err(failed)?;
    *thread = Some(Thread { handle: handle.clone(), stop, ended, join });
    Ok(handle)
}

/// A burst is over: what the allocator kept of it is given back to the system, a little later. Never waits.
pub fn give_memory_back_soon() {
    let process = PROCESS.get();
    // Not `handle`: after a shutdown this must not start the thread again.
    let Some(handle) = lock(&process.thread).as_ref().map(|thread| thread.handle.clone()) else { return };
    if process.giving_back.swap(true, Ordering::Relaxed) {
        return;
    }
    wheel::spawn(&handle, async {
        tokio::time::sleep(GIVE_BACK_AFTER).await;
        PROCESS.get().giving_back.store(false, Ordering::Relaxed);
        // Beside the library's thread, because it walks the whole heap.
        tokio::task::spawn_blocking(sys::give_memory_back);
    });
}

/// Remembers a client, so that a shutdown closes it.
pub fn register(hub: &Arc<Hub>) {
    lock(&PROCESS.get().clients).insert(hub.id, Arc::downgrade(hub));
}

/// Forgets a client.
pub fn unregister(id: u64) {
    lock(&PROCESS.get().clients).remove(&id);
}

/// The clients that are open.
pub fn clients() -> Vec<Arc<Hub>> {
    lock(&PROCESS.get().clients).values().filter_map(std::sync::Weak::upgrade).collect()
}

/// Ends the thread, and with it every link, until `deadline`. The next client starts it again.
pub fn shutdown(deadline: Option<Instant>) -> std::result::Result<(), Status> {
    let process = PROCESS.get();
    for hub in clients() {
        // What waits ends now: without the thread no answer and no deadline would come any more.
        hub.end(Status::Closed);
    }
    let Some(thread) = lock(&process.thread).take() else { return Ok(()) };
    let _ = thread.stop.send(true);
    wheel::get().end();
    while !*thread.ended.borrow() {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            *lock(&process.thread) = Some(thread);
            return Err(Status::Timeout);
        }
        // Only a host that counts threads calls this, once; it is not worth a condition variable.
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = thread.join.join();
    process.giving_back.store(false, Ordering::Relaxed);
    Ok(())
}
