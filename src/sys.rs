//! The few things that only the operating system can do, and that std has no safe door to.
//!
//! Floor 0: everything may call it, it calls nothing of ours. All `unsafe` outside `ffi/` is here, so that
//! an auditor reads two places. It never allocates in a fork hook, never blocks, never prints.
#![expect(unsafe_code, reason = "eventfd, signal masks, atfork hooks and the per-process globals have no safe form")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::Duration;
use std::{io, ptr};

/// A descriptor that is readable while it is raised.
#[derive(Debug)]
pub struct Event {
    read: OwnedFd,
    #[cfg(not(target_os = "linux"))]
    write: OwnedFd,
}

impl Event {
    /// A new event, not raised. Both ends are non-blocking and closed on exec.
    pub fn new() -> io::Result<Event> {
        #[cfg(target_os = "linux")]
        {
            // SAFETY: a plain system call without pointers.
            let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the kernel just gave us this descriptor and nobody else has it.
            Ok(Event { read: unsafe { OwnedFd::from_raw_fd(fd) } })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let (read, write) = io::pipe()?;
            let (read, write) = (OwnedFd::from(read), OwnedFd::from(write));
            for fd in [&read, &write] {
                // SAFETY: both descriptors are open and ours; F_SETFL takes an integer.
                if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(Event { read, write })
        }
    }

    /// Makes it readable.
    pub fn raise(&self) {
        let one = 1u64.to_ne_bytes();
        #[cfg(target_os = "linux")]
        let fd = self.read.as_raw_fd();
        #[cfg(not(target_os = "linux"))]
        let fd = self.write.as_raw_fd();
        // SAFETY: eight readable bytes. A full counter or pipe is readable already, so the result does not matter.
        let _ = unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
    }

    /// Makes it unreadable.
    pub fn clear(&self) {
        let mut bytes = [0u8; 64];
        // SAFETY: 64 writable bytes; non-blocking, so an event that is not raised answers EAGAIN.
        while unsafe { libc::read(self.read.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) } == 64 {}
    }

    /// The descriptor to watch for reading.
    pub fn fd(&self) -> RawFd {
        self.read.as_raw_fd()
    }
}

/// A descriptor for a host to watch: readable while it is raised, and while the poller has something that it follows.
#[derive(Debug)]
pub struct Beacon {
    event: Event,
    /// Perhaps raised: set behind each raise, so that none is forgotten.
    raised: AtomicBool,
    /// Has the event in it, and the poller.
    #[cfg(target_os = "linux")]
    both: OwnedFd,
}

impl Beacon {
    /// A new one, not raised.
    pub fn new() -> io::Result<Beacon> {
        let event = Event::new()?;
        #[cfg(target_os = "linux")]
        let both = {
            // SAFETY: a plain system call without pointers.
            let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the kernel just gave us this descriptor and nobody else has it.
            let both = unsafe { OwnedFd::from_raw_fd(fd) };
            // SAFETY: it is open and ours; F_SETFL takes an integer. Go watches only what does not block.
            if unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) } < 0 {
                return Err(io::Error::last_os_error());
            }
            change_epoll(&both, libc::EPOLL_CTL_ADD, event.fd())?;
            both
        };
        Ok(Beacon {
            event,
            raised: AtomicBool::new(false),
            #[cfg(target_os = "linux")]
            both,
        })
    }

    /// Makes it readable.
    pub fn raise(&self) {
        self.event.raise();
        self.raised.store(true, Ordering::SeqCst);
    }

    /// Makes it unreadable, but for what it follows.
    pub fn clear(&self) {
        if self.raised.swap(false, Ordering::SeqCst) {
            self.event.clear();
        }
    }

    /// Readable from now on also while this poller has something. `false`: that cannot be.
    pub fn follow(&self, poller: RawFd) -> bool {
        #[cfg(target_os = "linux")]
        return change_epoll(&self.both, libc::EPOLL_CTL_ADD, poller).is_ok();
        #[cfg(not(target_os = "linux"))]
        return poller < 0;
    }

    /// No longer.
    pub fn part(&self, poller: RawFd) {
        #[cfg(target_os = "linux")]
        let _ = change_epoll(&self.both, libc::EPOLL_CTL_DEL, poller);
        #[cfg(not(target_os = "linux"))]
        let _ = poller;
    }

    /// The descriptor to watch for reading.
    pub fn fd(&self) -> RawFd {
        #[cfg(target_os = "linux")]
        return self.both.as_raw_fd();
        #[cfg(not(target_os = "linux"))]
        return self.event.fd();
    }
}

#[cfg(target_os = "linux")]
fn change_epoll(epoll: &OwnedFd, change: i32, fd: RawFd) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
    // SAFETY: one event of our own, borrowed for the call; the kernel checks both descriptors.
    let done = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), change, fd, &mut event) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How long this process has used a processor, with all its threads.
pub fn processor_time() -> Duration {
    // SAFETY: `timespec` is plain data, filled before it is read; at worst it stays 0.
    let spent = unsafe {
        let mut spent: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut spent);
        spent
    };
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// Whether a descriptor is readable now.
pub fn readable(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&mut poll, 1, 0) == 1 }
}

/// The epolls of this process that watch a descriptor, or one that was closed and had its number; none if the system does not say.
pub fn epolls_with(watched: RawFd) -> Vec<RawFd> {
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let is_epoll = |fd: &RawFd| {
        let link = std::fs::read_link(format!("/proc/self/fd/{fd}"));
        link.is_ok_and(|link| link.as_os_str() == "anon_inode:[eventpoll]")
    };
    let has_it = |fd: &RawFd| {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        let mut targets = text.lines().filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next());
        targets.any(|target| target.parse() == Ok(watched))
    };
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    entries.flatten().filter_map(number).filter(is_epoll).filter(has_it).collect()
}

/// Starts a thread in which every signal is blocked, so that the host's handlers run on the host's own threads.
///
/// A thread begins with the signals of the one that starts it: had it to block them itself, one could arrive first.
/// Also what keeps a write to a closed peer from raising SIGPIPE in a host that left it at its default.
pub fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    let before = block();
    let started = start();
    // SAFETY: the set was filled by the system. The mask that was is put back on every way out but a panic of `start`,
    // which makes a thread and no more.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    started
}

/// Blocks every signal in this thread, for one of ours that was started by a thread of the host.
pub fn block_signals() {
    block();
}

/// Blocks them, and gives what was blocked before.
fn block() -> libc::sigset_t {
    // SAFETY: both sets are filled before they are read; the faults are left out, or a crash would be silent.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut set);
        for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP] {
            libc::sigdelset(&mut set, fault);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut before);
        before
    }
}

/// Where a thread's own stack lies.
#[derive(Debug, Clone, Copy)]
pub struct Stack {
    lowest: usize,
    size: usize,
}

impl Stack {
    /// That of the thread that asks; `None` if the system does not say.
    pub fn of_this_thread() -> Option<Stack> {
        #[cfg(target_os = "linux")]
        // SAFETY: the attributes are filled by the first call before they are read, and destroyed once; the pointers are
        // to our own variables.
        unsafe {
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
                return None;
            }
            let (mut lowest, mut size) = (ptr::null_mut(), 0);
            let found = libc::pthread_attr_getstack(&attributes, &mut lowest, &mut size) == 0;
            libc::pthread_attr_destroy(&mut attributes);
            found.then_some(Stack { lowest: lowest as usize, size })
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// How many bytes are left of it below the caller, about; `None` on another stack, as that of a fiber. No system call.
    pub fn left(self) -> Option<usize> {
        let here = 0u8;
        let left = (ptr::from_ref(&here) as usize).checked_sub(self.lowest)?;
        (left <= self.size).then_some(left)
    }
}

/// Gives the allocator's free memory back to the system.
///
/// glibc keeps blocks of 64 KiB for ever once it had them: after a burst of a million messages that nobody read, 94 MiB
/// stayed resident when the inbox was empty; with this, less than 1 MiB.
pub fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes an integer; glibc locks what it walks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// How many forks lie between the process that loaded the library and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// A socket that a forked child closes: its descriptor, and what tells it from a later one with the same number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Known {
    fd: RawFd,
    inode: u64,
}

/// The sockets that a forked child must not keep open, or Redis would keep a ghost subscriber.
static SOCKETS: Mutex<Vec<Known>> = Mutex::new(Vec::new());

/// The lock on `SOCKETS` between the hooks around a fork.
static HELD: AtomicPtr<MutexGuard<'static, Vec<Known>>> = AtomicPtr::new(ptr::null_mut());

/// This process' generation: 0 in the process that loaded the library, one more in each forked child.
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// A forked child closes its copy of this socket. To be dropped when the socket is closed, not before.
#[derive(Debug)]
pub struct Tracked {
    fd: RawFd,
    inode: u64,
}

/// Opens a socket, so that at no moment a fork could copy it unseen: one that was copied while it was being dialed
/// stayed with the server as a ghost for as long as the child lived.
pub fn open_tracked<S: AsRawFd>(open: impl FnOnce() -> io::Result<S>) -> io::Result<(S, Tracked)> {
    install_fork_hooks();
    let mut sockets = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    let socket = open()?;
    let fd = socket.as_raw_fd();
    let inode = inode(fd).ok_or_else(io::Error::last_os_error)?;
    sockets.push(Known { fd, inode });
    Ok((socket, Tracked { fd, inode }))
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let gone = Known { fd: self.fd, inode: self.inode };
        let mut sockets = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = sockets.iter().position(|&known| known == gone) {
            sockets.swap_remove(at);
        }
    }
}

/// The number that the kernel gave a socket, never used again soon. May be called in a fork hook.
fn inode(fd: RawFd) -> Option<u64> {
    // SAFETY: `stat` is plain data, filled by fstat before it is read.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::fstat(fd, &mut stat) == 0).then_some(stat.st_ino as u64)
    }
}

/// Installs the hooks around fork, once.
pub fn install_fork_hooks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: three functions of the right type that live as long as the library, which is never unloaded.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_parent), Some(after_fork_child)) };
    });
}

extern "C" fn before_fork() {
    let guard = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    // Boxing here may allocate: this runs in the parent, before the fork, where that is allowed.
    HELD.store(Box::into_raw(Box::new(guard)), Ordering::Relaxed);
}

fn take_held() -> Option<Box<MutexGuard<'static, Vec<Known>>>> {
    let held = HELD.swap(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: the pointer came from Box::into_raw in `before_fork`, and the swap makes us its only owner.
    (!held.is_null()).then(|| unsafe { Box::from_raw(held) })
}

extern "C" fn after_fork_parent() {
    drop(take_held());
}

extern "C" fn after_fork_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    if let Some(mut sockets) = take_held() {
        for known in sockets.drain(..) {
            // One that was closed just before the fork may have left its number to a file of the host.
            if inode(known.fd) == Some(known.inode) {
                // SAFETY: close(2) on a socket of ours; only this child's copy goes.
                unsafe { libc::close(known.fd) };
            }
        }
    }
}

/// A value that every process has one of, made when first asked for; a forked child gets a fresh one.
///
/// What the parent had is left alone in the child: its locks may be held by threads that do not exist here.
pub struct PerProcess<T: 'static> {
    current: AtomicPtr<Slot<T>>,
    make: fn() -> T,
}

struct Slot<T> {
    generation: u32,
    value: OnceLock<T>,
}

impl<T: Send + Sync + 'static> PerProcess<T> {
    /// For a `static`.
    pub const fn new(make: fn() -> T) -> PerProcess<T> {
        PerProcess { current: AtomicPtr::new(ptr::null_mut()), make }
    }

    /// This process' value.
    pub fn get(&self) -> &'static T {
        let generation = generation();
        loop {
            let seen = self.current.load(Ordering::Acquire);
            // SAFETY: a non-null pointer came from Box::into_raw below and is never freed.
            if let Some(slot) = unsafe { seen.as_ref() }
                && slot.generation == generation
            {
                return slot.value.get_or_init(self.make);
            }
            let fresh = Box::into_raw(Box::new(Slot { generation, value: OnceLock::new() }));
            if self.current.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: nobody saw it; another thread was first.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_readable_exactly_while_it_is_raised() {
        let event = Event::new().unwrap();
        assert!(!readable(event.fd()));
        event.raise();
        event.raise();
        assert!(readable(event.fd()));
        event.clear();
        assert!(!readable(event.fd()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_left_of_a_stack_is_known_on_it_alone() {
        let own = Stack::of_this_thread().unwrap();
        assert!(own.left().is_some_and(|left| left > 0 && left < own.size));
        let beside = std::thread::spawn(|| {
            let stack = Stack::of_this_thread().unwrap();
            assert!(stack.left().is_some());
            stack
        });
        // As one who stands on a fiber's stack.
        assert_eq!(beside.join().unwrap().left(), None);
    }
}
