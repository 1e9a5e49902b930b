//! What the tests stand on: private servers, a proxy that misbehaves to the byte, and a server that follows a script.
//!
//! | module | what it gives |
//! |---|---|
//! | `server` | `Server`: a private redis-server with its own directory, port and socket, gone when the test is gone |
//! | `conn` | `Conn`: a plain blocking client, the test's own view of the server; `Monitor`: what the server was told |
//! | `proxy` | `Proxy`: stands between a client and a server, and delays, swallows, cuts, corrupts or stalls (its inside: `pump`) |
//! | `fake` | `Fake`: a server that answers what the test says, for nonsense, half frames and old versions |
//! | `certs` | `Certs`: an authority, certificates it signed, and an authority that signed none of them |
//! | `process` | children that cannot outlive the test process |
//!
//! An integration test includes it with `#[path = "support/mod.rs"] mod support;`. Tests in other languages start
//! `fixture.rs` (`cargo run --example fixture`) and talk to it in lines of JSON.
//!
//! Only std and libc: what checks the library must not share its runtime. Everything here panics with a sentence when the
//! surroundings fail; a test that goes wrong should say what it waited for, and for how long.

#![allow(dead_code, unused_imports, reason = "each test uses its part")]

pub mod certs;
pub mod conn;
pub mod fake;
pub mod process;
pub mod proxy;
pub mod pump;
pub mod server;

pub use certs::Certs;
pub use conn::{Conn, Monitor, Value};
pub use fake::{Fake, FakeConn};
pub use proxy::{Direction, Proxy, Upstream};
pub use server::{Builder, Server};

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long anything here waits for a healthy neighbour before it gives up and says so.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `condition` holds, for facts that no event announces; panics with a sentence at `limit`.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if condition() {
            return;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for this, and it did not happen: {what}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// A directory of its own, removed when dropped.
pub struct TempDir {
    path: PathBuf,
    owner: u32,
}

/// Makes a new, empty directory with `name` in its name.
pub fn temp_dir(name: &str) -> TempDir {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // A socket's path has room for 107 bytes, so a deep TMPDIR (macOS has one) cannot hold it.
    let base = Some(std::env::temp_dir()).filter(|dir| dir.as_os_str().len() <= 50).unwrap_or_else(|| "/tmp".into());
    let owner = std::process::id();
    loop {
        let path = base.join(format!("redmux-{name}-{owner}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        match std::fs::create_dir(&path) {
            Ok(()) => return TempDir { path, owner },
            // Left by a killed process that had this one's id.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("cannot make the directory {}: {error}", path.display()),
        }
    }
}

impl TempDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` inside it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A forked child holds a copy of this value, but not the directory.
        if self.owner == std::process::id() {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A TCP port of 127.0.0.1 on which nothing listens; see `free_listener`.
pub fn free_port() -> u16 {
    free_listener().1
}

/// Listens on a TCP port of 127.0.0.1 that is never handed out twice in this process.
///
/// It lies below the range from which the kernel takes ports for outgoing connections. Out of that range, a client that
/// keeps dialling a stopped server would sooner or later be given the very port it dials, and be connected to itself.
pub fn free_listener() -> (TcpListener, u16) {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    for _ in 0..10_000 {
        let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
        let port = 10_000 + (random % 22_000) as u16;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            && locked(&GIVEN).get_or_insert_default().insert(port)
        {
            return (listener, port);
        }
    }
    panic!("no free TCP port found on 127.0.0.1 from 10000 to 31999");
}

/// A lock that a panicking test has poisoned is still needed, to clean up.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
