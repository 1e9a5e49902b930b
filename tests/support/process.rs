//! Children that cannot outlive the test process, and the signals that tests send them.
//!
//! A test that is killed (a timeout in CI, an abort, a crash under a sanitizer) runs no destructors, and a server it left
//! behind would hold its port and its memory for ever. So each child asks the kernel to be killed with its parent.

use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, OnceLock, mpsc};

use super::locked;

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts `command` as a child that the kernel kills when this process ends, however it ends.
///
/// The kernel's rule names the *thread* that forked, not the process. A test's thread ends with its test, and a server
/// kept in a static would die with the first test that used it. So one thread that never ends does all the forking.
pub fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        let body = move || {
            for (mut command, reply) in inbox {
                die_with_this_process(&mut command);
                let _ = reply.send(command.spawn());
            }
        };
        std::thread::Builder::new().name("spawner".into()).spawn(body).expect("a thread that starts children");
        Mutex::new(orders)
    });
    let (reply, answer) = mpsc::channel();
    locked(spawner).send((command, reply)).expect("the thread that starts children is alive");
    answer.recv().expect("the thread that starts children answers")
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "std has no other way to set a parent-death signal in the child")]
fn die_with_this_process(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let parent = std::process::id();
    let ask = move || {
        // SAFETY: both are plain system calls that take no pointers, and are safe to make between fork and exec.
        let (asked, parent_now) =
            unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong), libc::getppid()) };
        if asked != 0 {
            return Err(io::Error::last_os_error());
        }
        // The parent may have died before the call, and then no signal ever comes.
        if u32::try_from(parent_now) == Ok(parent) { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
    };
    // SAFETY: the closure allocates nothing and takes no lock, as code between fork and exec must not.
    unsafe { command.pre_exec(ask) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_this_process(_command: &mut Command) {}

/// Sends `signal` to a child that has not been waited for, so that its id cannot belong to another process by now.
#[expect(unsafe_code, reason = "std can only send SIGKILL")]
pub fn send_signal(child: &Child, signal: i32) {
    let pid = libc::pid_t::try_from(child.id()).expect("a process id");
    // SAFETY: a system call that takes no pointers; the child is ours and not yet reaped.
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "cannot send signal {signal} to {pid}: {}", io::Error::last_os_error());
}

/// Whether a process with this id exists and is not a zombie.
pub fn is_running(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// The kernel's letter for what the process is doing: `S` sleeps, `T` is stopped, `Z` is dead and not yet reaped.
pub fn state(pid: u32) -> Option<char> {
    let shown = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().expect("`ps` runs");
    String::from_utf8_lossy(&shown.stdout).trim().chars().next()
}
