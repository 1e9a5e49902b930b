//! Opening one socket: resolve, connect, set its options, and speak TLS if asked.
//!
//! The whole of it happens within one `connect_timeout`. A dial never tries twice, never remembers an address (names
//! are resolved anew each time, so that a failover by DNS is followed), and never sends anything of Redis.
//! Called by the actors of `mux/`. Its sockets are tracked from the moment they exist, so that a fork leaves no copy.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixSocket};
use tokio::time::{Instant, timeout, timeout_at};

use super::quiet::{Quiet, Stream};
use super::tls::TlsSetup;
use crate::error::{Error, Result, Status};
use crate::sys::{Tracked, open_tracked};

/// Linux takes no longer silence before a keep-alive probe.
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(32_767);

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// A host name or IP address, and a port.
    Tcp {
        /// The name or address; an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How to dial.
#[derive(Clone, Debug)]
pub struct DialOptions {
    /// The time for all of it: resolving, connecting, TLS.
    pub connect_timeout: Duration,
    /// TCP keepalive: the silence after which the kernel probes the peer; zero turns it off.
    pub keepalive: Duration,
    /// `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged; zero leaves the system's own. Linux only.
    pub user_timeout: Duration,
    /// Speak TLS with this set-up, which is loaded once and shared by all dials.
    pub tls: Option<TlsSetup>,
}

/// A stream of bytes in both directions.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {
    /// The descriptor, if what is written to it reaches the server as it is (TCP and unix sockets, not TLS).
    fn plain_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl<S: Stream> Transport for Quiet<S> {
    fn plain_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

/// An in-memory pipe, for tests.
impl Transport for tokio::io::DuplexStream {}

/// An open socket. Dropping it closes it.
pub struct Socket {
    /// What to read from and write to.
    pub io: Box<dyn Transport>,
    /// Who is at the other end, for messages: `db.example:6379 (10.0.0.7:6379)`.
    pub peer: String,
    fd: RawFd,
    /// After `io`, which closes the socket.
    _tracked: Tracked,
}

/// A second descriptor of a socket, for writing from other threads.
#[derive(Debug)]
pub struct SideWriter {
    socket: socket2::Socket,
    /// After `socket`, which is closed first.
    _tracked: Tracked,
}

impl SideWriter {
    /// Sends what the kernel takes at once. A closed peer is an error, never SIGPIPE.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.send_with_flags(bytes, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
    }
}

impl Socket {
    /// The number of the descriptor, for messages. Never to be read, written or closed.
    pub fn raw_fd(&self) -> RawFd {
        self.fd
    }

    /// A second descriptor of the same socket, for sending from a thread that has no runtime; none with TLS.
    ///
    /// The connection stays open as long as either lives: drop this one first.
    pub fn side_writer(&self) -> Option<SideWriter> {
        let fd = self.io.plain_fd()?;
        let (socket, tracked) = open_tracked(|| SockRef::from(&fd).try_clone()).ok()?;
        Some(SideWriter { socket, _tracked: tracked })
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("peer", &self.peer).field("fd", &self.fd).finish_non_exhaustive()
    }
}

/// Open a socket to `address`. Cancelled by dropping; nothing stays behind.
pub async fn dial(address: &Address, options: &DialOptions) -> Result<Socket> {
    let deadline = deadline_after(options.connect_timeout);
    match address {
        Address::Unix(path) => {
            if options.tls.is_some() {
                let message = format!("connect to {address}: a unix socket carries no TLS; turn tls off");
                return Err(Error::new(Status::Tls, message));
            }
            // Declared before the stream, so that a dial that is dropped closes it first.
            let (socket, tracked) = open_tracked(UnixSocket::new_stream).map_err(|e| failed(address, &reason(&e)))?;
            let stream = match timeout_at(deadline, socket.connect(path)).await {
                Ok(connected) => connected.map_err(|e| failed(address, &reason(&e)))?,
                Err(_) => return Err(failed(address, &no_answer(options))),
            };
            let fd = stream.as_raw_fd();
            Ok(Socket { fd, peer: address.to_string(), io: Box::new(Quiet(stream)), _tracked: tracked })
        }
        Address::Tcp { host, port } => {
            let found = resolve(host, *port, deadline, options).await?;
            let (tracked, stream, ip) = connect_any(address, &found, deadline, options).await?;
            let fd = stream.as_raw_fd();
            let (named, ip) = (address.to_string(), ip.to_string());
            let peer = if named == ip { named } else { format!("{named} ({ip})") };
            let Some(tls) = &options.tls else {
                return Ok(Socket { io: Box::new(Quiet(stream)), peer, fd, _tracked: tracked });
            };
            match timeout_at(deadline, tls.connect(Quiet(stream), host)).await {
                Ok(Ok(io)) => Ok(Socket { io, peer, fd, _tracked: tracked }),
                Ok(Err(error)) => Err(Error::new(error.status(), format!("connect to {address}: {}", error.message()))),
                Err(_) => {
                    // A plain redis-server waits for the rest of a line that our first bytes do not end, and says
                    // nothing; so does one that hangs. Which of the two cannot be known.
                    let why = format!("connected, but {} to TLS", no_answer(options));
                    Err(failed(address, &format!("{why}; does the server speak TLS on that port?")))
                }
            }
        }
    }
}

async fn resolve(host: &str, port: u16, deadline: Instant, options: &DialOptions) -> Result<Vec<SocketAddr>> {
    let failed = |why: String| Error::new(Status::Resolve, format!("resolve \"{host}\": {why}"));
    match timeout_at(deadline, tokio::net::lookup_host((host, port))).await {
        Err(_) => Err(failed(format!("{} from the name server", no_answer(options)))),
        // The resolver's own words come with a prefix that says nothing.
        Ok(Err(e)) => Err(failed(text(&e).replace("failed to lookup address information: ", ""))),
        Ok(Ok(found)) => {
            // The resolver may list an address more than once.
            let mut addresses: Vec<SocketAddr> = Vec::new();
            for one in found {
                if !addresses.contains(&one) {
                    addresses.push(one);
                }
            }
            if addresses.is_empty() {
                return Err(failed("the name has no address".into()));
            }
            Ok(addresses)
        }
    }
}

/// Try the addresses in order. Each gets an even share of the time that is left, so that one that swallows packets
/// (often IPv6) does not use up the time of the others.
async fn connect_any(
    address: &Address,
    found: &[SocketAddr],
    deadline: Instant,
    options: &DialOptions,
) -> Result<(Tracked, TcpStream, SocketAddr)> {
    let mut reasons: Vec<(SocketAddr, String)> = Vec::new();
    for (tried, &ip) in found.iter().enumerate() {
        let left = u32::try_from(found.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left.max(1);
        let why = match timeout(share, connect_one(ip, options)).await {
            Ok(Ok((tracked, stream))) => return Ok((tracked, stream, ip)),
            Ok(Err(e)) => reason(&e),
            Err(_) if found.len() == 1 => no_answer(options),
            Err(_) => format!("no answer within its share ({share:.1?}) of {:?}", options.connect_timeout),
        };
        reasons.push((ip, why));
    }
    let same = reasons.windows(2).all(|pair| matches!(pair, [(_, a), (_, b)] if a == b));
    Err(match reasons.first() {
        Some((_, why)) if same => failed(address, why),
        _ => {
            let all: Vec<String> = reasons.iter().map(|(ip, why)| format!("{ip} {why}")).collect();
            failed(address, &all.join("; "))
        }
    })
}

async fn connect_one(ip: SocketAddr, options: &DialOptions) -> io::Result<(Tracked, TcpStream)> {
    let (socket, tracked) = open_tracked(if ip.is_ipv4() { TcpSocket::new_v4 } else { TcpSocket::new_v6 })?;
    let stream = socket.connect(ip).await?;
    if is_its_own_peer(&stream)? {
        return Err(io::Error::from_raw_os_error(libc::ECONNREFUSED));
    }
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    if !options.keepalive.is_zero() {
        let idle = options.keepalive.clamp(Duration::from_secs(1), LONGEST_KEEPALIVE);
        let between = (idle / 3).max(Duration::from_secs(1));
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(between).with_retries(3);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    if !options.user_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some(options.user_timeout))?;
    }
    Ok((tracked, stream))
}

/// A dial to a dead local port in the ephemeral range can be given that very port as its own, and is then connected to
/// itself: TCP's simultaneous open. It would greet its own echo, and keep the server from ever starting again.
fn is_its_own_peer(stream: &TcpStream) -> io::Result<bool> {
    Ok(stream.local_addr()? == stream.peer_addr()?)
}

fn failed(address: &Address, why: &str) -> Error {
    Error::new(Status::Connect, format!("connect to {address}: {why}"))
}

fn no_answer(options: &DialOptions) -> String {
    format!("no answer within {:?}", options.connect_timeout)
}

/// What the operating system said, and what it most likely means.
fn reason(error: &io::Error) -> String {
    let said = text(error);
    match error.kind() {
        ErrorKind::ConnectionRefused => format!("refused ({said}); is redis-server running there?"),
        ErrorKind::NotFound => format!("no such socket ({said}); is redis-server running there?"),
        ErrorKind::PermissionDenied => format!("not allowed ({said})"),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => format!("unreachable ({said})"),
        ErrorKind::TimedOut => format!("no answer ({said})"),
        _ => said,
    }
}

/// The error's words without "(os error 111)".
pub(super) fn text(error: &io::Error) -> String {
    let words = error.to_string();
    match words.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => words,
    }
}

fn deadline_after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or_else(|| now + Duration::from_secs(30 * 365 * 24 * 3600))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_a_person_writes_it() {
        let tcp = |host: &str| Address::Tcp { host: host.into(), port: 6379 }.to_string();
        assert_eq!(tcp("localhost"), "localhost:6379");
        assert_eq!(tcp("::1"), "[::1]:6379");
        assert_eq!(Address::Unix("/run/redis.sock".into()).to_string(), "/run/redis.sock");
    }

    fn quick() -> DialOptions {
        DialOptions {
            connect_timeout: Duration::from_millis(400),
            keepalive: Duration::from_secs(60),
            user_timeout: Duration::from_secs(15),
            tls: None,
        }
    }

    /// A listener whose backlog is full: the kernel drops what comes further, as a firewall does.
    async fn silent() -> (tokio::net::TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let ip = listener.local_addr().unwrap();
        let mut held = Vec::new();
        while let Ok(Ok(stream)) = timeout(Duration::from_millis(100), TcpStream::connect(ip)).await {
            held.push(stream);
        }
        (listener, held, ip)
    }

    #[tokio::test]
    async fn the_second_address_is_tried_when_the_first_refuses_or_is_silent() {
        let refusing: SocketAddr = ([127, 0, 0, 1], 1).into();
        let (_silent, _held, swallowing) = silent().await;
        let good = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good_ip = good.local_addr().unwrap();
        let address = Address::Tcp { host: "db.example".into(), port: 1 };
        // The silent one takes its share of the time, and the good one has as much.
        let options = DialOptions { connect_timeout: Duration::from_secs(2), ..quick() };
        let deadline = deadline_after(options.connect_timeout);
        let (_, _, ip) = connect_any(&address, &[refusing, swallowing, good_ip], deadline, &options).await.unwrap();
        assert_eq!(ip, good_ip);
    }

    #[tokio::test]
    async fn an_error_lists_the_addresses_only_where_they_failed_differently() {
        let refusing: SocketAddr = ([127, 0, 0, 1], 1).into();
        let (_silent, _held, swallowing) = silent().await;
        let address = Address::Tcp { host: "db.example".into(), port: 1 };
        let deadline = deadline_after(quick().connect_timeout);
        let error = connect_any(&address, &[refusing, swallowing], deadline, &quick()).await.unwrap_err();
        assert!(error.message().contains("127.0.0.1:1 refused"), "{error}");
        assert!(error.message().contains(&format!("{swallowing} no answer within its share")), "{error}");
        let deadline = deadline_after(quick().connect_timeout);
        let error = connect_any(&address, &[refusing, refusing], deadline, &quick()).await.unwrap_err();
        let expected = "connect to db.example:1: refused (Connection refused); is redis-server running there?";
        assert_eq!(error.message(), expected);
    }

    #[tokio::test]
    async fn a_silent_address_is_given_up_after_the_timeout() {
        let (_silent, _held, ip) = silent().await;
        let address = Address::Tcp { host: ip.ip().to_string(), port: ip.port() };
        let error = dial(&address, &quick()).await.unwrap_err();
        assert_eq!(error.status(), Status::Connect);
        assert_eq!(error.message(), format!("connect to {ip}: no answer within 400ms"));
    }

    #[tokio::test]
    async fn a_socket_that_is_connected_to_itself_is_noticed() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let own = socket.local_addr().unwrap();
        assert!(is_its_own_peer(&socket.connect(own).await.unwrap()).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(!is_its_own_peer(&other).unwrap());
    }

    #[tokio::test]
    async fn every_option_is_set_on_the_socket() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_tracked, stream) = connect_one(listener.local_addr().unwrap(), &quick()).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(20));
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(15)));
        let off = DialOptions { keepalive: Duration::ZERO, user_timeout: Duration::ZERO, ..quick() };
        let (_tracked, stream) = connect_one(listener.local_addr().unwrap(), &off).await.unwrap();
        assert!(!SockRef::from(&stream).keepalive().unwrap());
    }
}
