//! Stands between a client and a server, and misbehaves on demand, to the byte.
//!
//! Faults are switched while connections live, for each direction apart, and add up: `to_client().delay(..)` and
//! `.corrupt(..)` both hold until `.pass()`. They hold for all connections, or for one (`.only(number)`).
//!
//! Two threads a connection, one a direction; they wait for bytes or for a changed rule, never for a fixed time. Bytes are
//! judged in the order in which they came, and a rule counts from the first byte judged after it was set.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::conn::Stream;
use super::{Server, free_listener, locked};

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

/// A TCP port of 127.0.0.1 that leads to a server, more or less. Dropping it closes all connections and ends its threads.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    listener: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    upstream: Upstream,
    state: Mutex<State>,
    /// A rule changed, or a connection went.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    listening: bool,
    refusing: bool,
    attempts: Vec<Instant>,
    live: BTreeMap<usize, Arc<Link>>,
    pumps: Vec<JoinHandle<()>>,
    rules: [Rules; 2],
    passed: [u64; 2],
    swallowed: [u64; 2],
}

/// What is done to the bytes of one direction.
#[derive(Clone, Default)]
struct Rules {
    only: Option<usize>,
    stalled: bool,
    swallow: bool,
    delay: Duration,
    dribble: Option<(usize, Duration)>,
    cut_after: Option<usize>,
    corrupt: usize,
}

/// One connection: the sockets that lead to the server and to the client, in the order of `Side`.
struct Link {
    ends: [Stream; 2],
    /// Held for a write, so that injected bytes stand between the writes of a pump, and not within one.
    writing: [Mutex<()>; 2],
    pumps: AtomicU8,
}

#[derive(Clone, Copy)]
enum Side {
    ToServer = 0,
    ToClient = 1,
}

impl Proxy {
    /// Listens on a free port, and passes everything until told otherwise.
    pub fn start(upstream: impl Into<Upstream>) -> Proxy {
        let shared =
            Arc::new(Shared { upstream: upstream.into(), state: Mutex::default(), changed: Condvar::default() });
        let (listener, port) = free_listener();
        let proxy = Proxy { shared, port, listener: Mutex::default() };
        proxy.listen(&mut locked(&proxy.listener), listener);
        proxy
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// `rediss://127.0.0.1:port`, if upstream is a TLS port; the certificates of `Server::certs` hold for it.
    pub fn tls_url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.port)
    }

    /// The bytes on their way to the server.
    pub fn to_server(&self) -> Direction<'_> {
        Direction { shared: &self.shared, side: Side::ToServer }
    }

    /// The bytes on their way to the client.
    pub fn to_client(&self) -> Direction<'_> {
        Direction { shared: &self.shared, side: Side::ToClient }
    }

    /// Ends all faults: both directions pass, new connections are welcome.
    pub fn pass(&self) {
        self.to_server().pass();
        self.to_client().pass();
        self.accept();
        self.listener_on();
    }

    /// From now on new connections are accepted and closed at once. Live ones stay.
    pub fn refuse(&self) {
        self.shared.lock().refusing = true;
    }

    /// Ends `refuse`.
    pub fn accept(&self) {
        self.shared.lock().refusing = false;
    }

    /// Closes the port: from now on connecting is refused by the kernel, and not counted. Live connections stay.
    pub fn listener_off(&self) {
        let Some(thread) = locked(&self.listener).take() else { return };
        self.shared.lock().listening = false;
        while !thread.is_finished() {
            // Wakes the thread from its accept.
            let _ = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, self.port).into(), Duration::from_millis(100));
        }
        let _ = thread.join();
    }

    /// Opens the same port again.
    #[track_caller]
    pub fn listener_on(&self) {
        let mut thread = locked(&self.listener);
        if thread.is_none() {
            let listener = TcpListener::bind(("127.0.0.1", self.port))
                .unwrap_or_else(|error| panic!("the proxy cannot listen on its port {}: {error}", self.port));
            self.listen(&mut thread, listener);
        }
    }

    fn listen(&self, thread: &mut Option<JoinHandle<()>>, listener: TcpListener) {
        self.shared.lock().listening = true;
        let shared = Arc::clone(&self.shared);
        *thread = Some(std::thread::spawn(move || shared.listen(&listener)));
    }

    /// Closes all live connections now.
    pub fn cut_all(&self) {
        let links = std::mem::take(&mut self.shared.lock().live);
        links.values().for_each(|link| link.shutdown());
        self.shared.changed.notify_all();
    }

    /// Closes one connection, by its number; whether it was live.
    pub fn cut(&self, number: usize) -> bool {
        self.shared.cut(number)
    }

    /// How many connections were accepted so far, refused ones too.
    pub fn connections(&self) -> usize {
        self.shared.lock().attempts.len()
    }

    /// When each of them was accepted; a connection's number is its place here, from 0.
    pub fn attempts(&self) -> Vec<Instant> {
        self.shared.lock().attempts.clone()
    }

    /// How many connections are live: one end at least has not closed yet.
    pub fn live(&self) -> usize {
        self.shared.lock().live.len()
    }

    /// The numbers of the live connections, oldest first.
    pub fn live_numbers(&self) -> Vec<usize> {
        self.shared.lock().live.keys().copied().collect()
    }

    /// The number of the live connection that the server knows by this address (`addr` in CLIENT LIST).
    pub fn number_of(&self, addr: &str) -> Option<usize> {
        let state = self.shared.lock();
        state
            .live
            .iter()
            .find(|(_, link)| link.ends[0].local_addr().as_deref() == Some(addr))
            .map(|(number, _)| *number)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener_off();
        self.cut_all();
        let pumps = std::mem::take(&mut self.shared.lock().pumps);
        for pump in pumps {
            let _ = pump.join();
        }
    }
}

/// One direction, and the switches of its faults. Each returns itself: `proxy.to_client().only(1).stall()`.
#[derive(Clone, Copy)]
pub struct Direction<'a> {
    shared: &'a Shared,
    side: Side,
}

impl Direction<'_> {
    /// No faults. What a stall or a delay held back goes on.
    pub fn pass(self) -> Self {
        self.set(|rules| *rules = Rules::default())
    }

    /// The faults of this direction hold for this connection alone, until `pass`.
    pub fn only(self, number: usize) -> Self {
        self.set(|rules| rules.only = Some(number))
    }

    /// Holds what is read for this long. What arrives meanwhile is read afterwards, and held for as long again.
    pub fn delay(self, delay: Duration) -> Self {
        self.set(|rules| rules.delay = delay)
    }

    /// Reads everything and passes nothing: a host that died without a farewell.
    pub fn swallow(self) -> Self {
        self.set(|rules| rules.swallow = true)
    }

    /// Passes exactly `bytes` more, then closes the connection whose byte was the last. Once; counted over all
    /// connections that the rule holds for. After 0, the next connection with a byte to pass is closed in its stead.
    pub fn cut_after(self, bytes: usize) -> Self {
        self.set(|rules| rules.cut_after = Some(bytes))
    }

    /// Writes at most so many bytes at a time, and waits so long after each write.
    pub fn dribble(self, bytes: usize, pause: Duration) -> Self {
        assert_ne!(bytes, 0, "a dribble of no bytes is a stall");
        self.set(|rules| rules.dribble = Some((bytes, pause)))
    }

    /// Stops reading (what was just read is held), so that the sender's buffers fill.
    pub fn stall(self) -> Self {
        self.set(|rules| rules.stalled = true)
    }

    /// Ends `stall`; nothing was lost.
    pub fn resume(self) -> Self {
        self.set(|rules| rules.stalled = false)
    }

    /// Inverts all bits of the next `bytes`.
    pub fn corrupt(self, bytes: usize) -> Self {
        self.set(|rules| rules.corrupt = bytes)
    }

    /// Writes bytes that nobody sent into each live connection (or the `only` one), now; into how many.
    pub fn inject(self, bytes: &[u8]) -> usize {
        let links: Vec<_> = {
            let state = self.shared.lock();
            let only = state.rules[self.side as usize].only;
            let chosen = state.live.iter().filter(|(number, _)| only.is_none_or(|only| only == **number));
            chosen.map(|(_, link)| Arc::clone(link)).collect()
        };
        links.iter().filter(|link| link.write(self.side, bytes).is_ok()).count()
    }

    /// How many bytes went through so far, corrupted ones too, injected ones not.
    pub fn passed(self) -> u64 {
        self.shared.lock().passed[self.side as usize]
    }

    /// How many bytes were swallowed so far.
    pub fn swallowed(self) -> u64 {
        self.shared.lock().swallowed[self.side as usize]
    }

    fn set(self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut self.shared.lock().rules[self.side as usize]);
        self.shared.changed.notify_all();
        self
    }
}

impl Link {
    fn shutdown(&self) {
        self.ends.iter().for_each(|end| end.shutdown(Shutdown::Both));
    }

    fn write(&self, side: Side, bytes: &[u8]) -> io::Result<()> {
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
    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn listen(self: &Arc<Shared>, listener: &TcpListener) {
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

    fn cut(&self, number: usize) -> bool {
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
