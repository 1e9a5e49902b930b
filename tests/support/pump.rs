//! The inside of `proxy`: takes bytes from one end, does to them what the rules say, and gives them to the other.
//!
//! Two threads a connection, one a direction; they wait for bytes or for a changed rule, never for a fixed time. Bytes are
//! judged in the order in which they came, and a rule counts from the first byte judged after it was set. No lock is held
//! while a socket is written, but the one that keeps writers of the same socket apart: a stuck client must not keep the
//! test from changing the rules.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::conn::Stream;
use super::{Server, locked};

/// Where the proxy connects to.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// A port of 127.0.0.1.
    Tcp(u16),
    /// A unix socket.
    Unix(PathBuf),
}

impl From<u16> for Upstream {
    fn from(port: u16) -> Upstream {
        Upstream::Tcp(port)
    }
}

impl From<PathBuf> for Upstream {
    fn from(path: PathBuf) -> Upstream {
        Upstream::Unix(path)
    }
}

/// A server's TCP port. For its TLS port, `Proxy::start(server.tls_port())`.
impl From<&Server> for Upstream {
    fn from(server: &Server) -> Upstream {
        Upstream::Tcp(server.port())
    }
}

pub struct Shared {
    upstream: Upstream,
    pub state: Mutex<State>,
    /// A rule changed, or a connection went.
    pub changed: Condvar,
}

#[derive(Default)]
pub struct State {
    pub listening: bool,
    pub refusing: bool,
    pub attempts: Vec<Instant>,
    pub live: BTreeMap<usize, Arc<Link>>,
    pub pumps: Vec<JoinHandle<()>>,
    pub rules: [Rules; 2],
    pub passed: [u64; 2],
    pub swallowed: [u64; 2],
}

/// What is done to the bytes of one direction.
#[derive(Clone, Default)]
pub struct Rules {
    pub only: Option<usize>,
    pub stalled: bool,
    pub swallow: bool,
    pub delay: Duration,
    pub dribble: Option<(usize, Duration)>,
    pub cut_after: Option<usize>,
    pub corrupt: usize,
}

/// One connection: the sockets that lead to the server and to the client, in the order of `Side`.
pub struct Link {
    pub ends: [Stream; 2],
    /// Held for a write, so that injected bytes stand between the writes of a pump, and not within one.
    writing: [Mutex<()>; 2],
    pumps: AtomicU8,
}

#[derive(Clone, Copy)]
pub enum Side {
    ToServer = 0,
    ToClient = 1,
}

impl Link {
    pub fn shutdown(&self) {
        self.ends.iter().for_each(|end| end.shutdown(Shutdown::Both));
    }

    pub fn write(&self, side: Side, bytes: &[u8]) -> io::Result<()> {
        let _writing = locked(&self.writing[side as usize]);
        (&self.ends[side as usize]).write_all(bytes)
    }
}

/// What to do with the first of the bytes at hand.
enum Step {
    Pass {
        bytes: usize,
        corrupt: usize,
        then_cut: bool,
        pause: Duration,
    },
    Swallow,
    Cut,
    /// The connection was closed meanwhile.
    Gone,
}

impl Shared {
    pub fn new(upstream: Upstream) -> Shared {
        Shared { upstream, state: Mutex::default(), changed: Condvar::default() }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    pub fn listen(self: &Arc<Shared>, listener: &TcpListener) {
        for client in listener.incoming() {
            let mut state = self.lock();
            if !state.listening {
                return;
            }
            let Ok(client) = client else { continue };
            let number = state.attempts.len();
            state.attempts.push(Instant::now());
            if !state.refusing {
                drop(state);
                // A server that is down is the client's to find out: its connection is closed.
                let _ = self.connect(client, number);
            }
        }
    }

    fn connect(self: &Arc<Shared>, client: TcpStream, number: usize) -> io::Result<()> {
        client.set_nodelay(true)?;
        let server = match &self.upstream {
            Upstream::Tcp(port) => Stream::tcp(*port)?,
            Upstream::Unix(path) => Stream::unix(path)?,
        };
        let link = Link { ends: [server, Stream::Tcp(client)], writing: Default::default(), pumps: AtomicU8::new(2) };
        let link = Arc::new(link);
        let mut state = self.lock();
        state.live.insert(number, Arc::clone(&link));
        state.pumps.retain(|pump| !pump.is_finished());
        for side in [Side::ToServer, Side::ToClient] {
            let (shared, link) = (Arc::clone(self), Arc::clone(&link));
            state.pumps.push(std::thread::spawn(move || shared.pump(side, number, &link)));
        }
        Ok(())
    }

    fn pump(&self, side: Side, number: usize, link: &Link) {
        let from = &link.ends[1 - side as usize];
        let mut buffer = vec![0; 64 * 1024];
        let ended = loop {
            match { from }.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(read) => {
                    if let Err(error) = self.forward(side, number, link, &mut buffer[..read]) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        match ended {
            // A half-closed connection stays half-closed, as without a proxy.
            Ok(()) => link.ends[side as usize].shutdown(Shutdown::Write),
            Err(_) => {
                self.cut(number);
                // Closing a socket with bytes unread would reset the connection, and the other end might not see the last
                // bytes that it was to see.
                while matches!({ from }.read(&mut buffer), Ok(1..)) {}
            }
        }
        if link.pumps.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.lock().live.remove(&number);
        }
    }

    /// Does to the bytes what the rules say; an error when the connection shall end, or has.
    fn forward(&self, side: Side, number: usize, link: &Link, mut bytes: &mut [u8]) -> io::Result<()> {
        let arrived = Instant::now();
        while !bytes.is_empty() {
            match self.decide(side, number, arrived, bytes.len()) {
                Step::Pass { bytes: count, corrupt, then_cut, pause } => {
                    let (now, later) = bytes.split_at_mut(count);
                    now.iter_mut().take(corrupt).for_each(|byte| *byte = !*byte);
                    link.write(side, now)?;
                    self.lock().passed[side as usize] += count as u64;
                    if then_cut {
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                    self.pause(number, pause);
                    bytes = later;
                }
                Step::Swallow => return Ok(()),
                Step::Cut | Step::Gone => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        Ok(())
    }

    /// Waits while the rules hold the bytes back, and then says what becomes of the first of them.
    fn decide(&self, side: Side, number: usize, arrived: Instant, available: usize) -> Step {
        let mut state = self.lock();
        loop {
            if !state.live.contains_key(&number) {
                return Step::Gone;
            }
            let mut untouched = Rules::default();
            let rules = &mut state.rules[side as usize];
            let rules = if rules.only.is_none_or(|only| only == number) { rules } else { &mut untouched };
            let left = rules.delay.saturating_sub(arrived.elapsed());
            if rules.stalled {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else if !left.is_zero() {
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            } else if rules.swallow {
                state.swallowed[side as usize] += available as u64;
                return Step::Swallow;
            } else {
                return rules.next(available);
            }
        }
    }

    /// Waits, unless the connection is closed meanwhile.
    fn pause(&self, number: usize, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        while state.live.contains_key(&number) && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub fn cut(&self, number: usize) -> bool {
        let link = self.lock().live.remove(&number);
        link.iter().for_each(|link| link.shutdown());
        self.changed.notify_all();
        link.is_some()
    }
}

impl Rules {
    fn next(&mut self, available: usize) -> Step {
        let (most, pause) = self.dribble.unwrap_or((usize::MAX, Duration::ZERO));
        let bytes = available.min(most).min(self.cut_after.unwrap_or(usize::MAX));
        let corrupt = self.corrupt.min(bytes);
        self.corrupt -= corrupt;
        let mut then_cut = false;
        if let Some(left) = &mut self.cut_after {
            *left -= bytes;
            then_cut = *left == 0;
        }
        if then_cut {
            self.cut_after = None;
        }
        if bytes == 0 { Step::Cut } else { Step::Pass { bytes, corrupt, then_cut, pause } }
    }
}
