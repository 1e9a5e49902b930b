//! Stands between a client and a server, and misbehaves on demand, to the byte.
//!
//! Faults are switched while connections live, for each direction apart, and add up: `to_client().delay(..)` and
//! `.corrupt(..)` both hold until `.pass()`. They hold for all connections, or for one (`.only(number)`).
//!
//! This is what tests hold; `pump` does the work.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use super::pump::Upstream;

use super::pump::{Rules, Shared, Side};
use super::{PATIENCE, eventually, free_listener, locked};

/// A TCP port of 127.0.0.1 that leads to a server, more or less. Dropping it closes all connections and ends its threads.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    listener: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// Listens on a free port, and passes everything until told otherwise.
    pub fn start(upstream: impl Into<Upstream>) -> Proxy {
        let shared = Arc::new(Shared::new(upstream.into()));
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
        // Knocking wakes the thread from its accept. And it goes on until the kernel refuses: a process that another test is
        // starting right now holds a copy of the listener from its fork to its exec.
        let address = (Ipv4Addr::LOCALHOST, self.port).into();
        eventually("the proxy's port is closed", PATIENCE, || {
            let refused = TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_err();
            thread.is_finished() && refused
        });
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
