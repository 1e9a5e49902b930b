//! A plain blocking client (RESP2): how a test looks at a server past the library under test, and pokes it.
//!
//! Every read is bounded by `PATIENCE`, so that a test with a hanging server fails with a sentence instead of hanging.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{PATIENCE, eventually, locked};

/// A TCP or a unix socket.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Connects to a TCP port of 127.0.0.1, with small writes sent at once.
    pub fn tcp(port: u16) -> io::Result<Stream> {
        let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
        stream.set_nodelay(true)?;
        Ok(Stream::Tcp(stream))
    }

    /// Connects to a unix socket.
    pub fn unix(path: &Path) -> io::Result<Stream> {
        UnixStream::connect(path).map(Stream::Unix)
    }

    /// A second handle to the same socket.
    pub fn try_clone(&self) -> io::Result<Stream> {
        match self {
            Stream::Tcp(stream) => stream.try_clone().map(Stream::Tcp),
            Stream::Unix(stream) => stream.try_clone().map(Stream::Unix),
        }
    }

    /// Ends one or both directions, for all handles, and wakes who waits in them.
    pub fn shutdown(&self, how: Shutdown) {
        // Fails only when the other side was faster.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(how),
            Stream::Unix(stream) => stream.shutdown(how),
        };
    }

    /// How long a read may wait; `None` is for ever.
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(limit),
            Stream::Unix(stream) => stream.set_read_timeout(limit),
        }
    }

    /// This end's address, if it has one (unix sockets have none).
    pub fn local_addr(&self) -> Option<String> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().ok().map(|addr| addr.to_string()),
            Stream::Unix(_) => None,
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => { stream }.read(buffer),
            Stream::Unix(stream) => { stream }.read(buffer),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => { stream }.write(bytes),
            Stream::Unix(stream) => { stream }.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reply of the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Value>),
}

impl Value {
    /// The text of a simple or bulk string; panics for anything else.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Value::Simple(text) => text.clone(),
            Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("expected a string from the server, got {other:?}"),
        }
    }

    /// The number; panics for anything else.
    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Value::Int(number) => *number,
            other => panic!("expected a number from the server, got {other:?}"),
        }
    }

    /// The items of an array; panics for anything else.
    #[track_caller]
    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(items) => items,
            other => panic!("expected an array from the server, got {other:?}"),
        }
    }
}

/// One connection.
pub struct Conn {
    stream: BufReader<HalfOwned>,
}

/// `BufReader` wants a reader of its own, while reading goes through a shared reference.
struct HalfOwned(Stream);

impl Read for HalfOwned {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }
}

impl Conn {
    /// Connects to a TCP port of 127.0.0.1: a server's or a proxy's.
    pub fn tcp(port: u16) -> io::Result<Conn> {
        Stream::tcp(port).and_then(Conn::over)
    }

    /// Connects to a unix socket.
    pub fn unix(path: &Path) -> io::Result<Conn> {
        Stream::unix(path).and_then(Conn::over)
    }

    fn over(stream: Stream) -> io::Result<Conn> {
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Conn { stream: BufReader::new(HalfOwned(stream)) })
    }

    /// The socket, to shut it down or to give reads another limit.
    pub fn stream(&self) -> &Stream {
        &self.stream.get_ref().0
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream().write_all(bytes)
    }

    /// Reads one reply, or one Pub/Sub message.
    pub fn read_reply(&mut self) -> io::Result<Value> {
        let line = self.read_line()?;
        let rest = line.get(1..).unwrap_or_default();
        let number = || rest.parse::<i64>().map_err(|_| nonsense(&line));
        Ok(match line.as_bytes().first() {
            Some(b'+') => Value::Simple(rest.to_owned()),
            Some(b'-') => Value::Error(rest.to_owned()),
            Some(b':') => Value::Int(number()?),
            Some(b'$' | b'*') if number()? < 0 => Value::Nil,
            Some(b'$') => {
                let mut bytes = vec![0; usize::try_from(number()?).map_err(|_| nonsense(&line))? + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Value::Bulk(bytes)
            }
            Some(b'*') => Value::Array((0..number()?).map(|_| self.read_reply()).collect::<io::Result<_>>()?),
            _ => return Err(nonsense(&line)),
        })
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.pop();
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Sends a command and reads its reply; a refusal is `Ok(Value::Error)`.
    pub fn try_command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Value> {
        self.send(&encode(args))?;
        self.read_reply()
    }

    /// Sends a command and reads its reply, which may be `Value::Error`; panics if the connection fails.
    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.try_command(args).unwrap_or_else(|error| panic!("{}: no reply: {error}", show(args)))
    }

    /// As `command`, and panics if the server refuses.
    #[track_caller]
    pub fn expect<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        match self.command(args) {
            Value::Error(error) => panic!("{}: refused: {error}", show(args)),
            reply => reply,
        }
    }

    /// Publishes; how many clients the server gave it to.
    #[track_caller]
    pub fn publish(&mut self, channel: &[u8], data: &[u8]) -> i64 {
        self.expect(&[b"PUBLISH", channel, data]).int()
    }

    /// How many clients are subscribed to the channel.
    #[track_caller]
    pub fn numsub(&mut self, channel: impl AsRef<[u8]>) -> i64 {
        self.expect(&[b"PUBSUB", b"NUMSUB", channel.as_ref()]).items()[1].int()
    }

    /// What the server says that its version is.
    #[track_caller]
    pub fn version(&mut self) -> String {
        let info = self.expect(&["INFO", "server"]).text();
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        version.expect("a server tells its version").to_owned()
    }

    /// How many patterns are subscribed to, over all clients.
    #[track_caller]
    pub fn numpat(&mut self) -> i64 {
        self.expect(&["PUBSUB", "NUMPAT"]).int()
    }

    /// CLIENT LIST, one map a client; the asking connection is one of them (its user is `fixture`).
    #[track_caller]
    pub fn client_list(&mut self) -> Vec<HashMap<String, String>> {
        let list = self.expect(&["CLIENT", "LIST"]).text();
        let field = |field: &str| field.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        list.lines().map(|line| line.split(' ').filter_map(field).collect()).collect()
    }

    /// Closes all clients that are subscribed to anything; how many.
    #[track_caller]
    pub fn kill_pubsub(&mut self) -> i64 {
        self.expect(&["CLIENT", "KILL", "TYPE", "pubsub"]).int()
    }

    /// Closes all clients without subscriptions, but for this one; how many.
    #[track_caller]
    pub fn kill_normal(&mut self) -> i64 {
        self.expect(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).int()
    }

    /// How often a command was called since the server started, e.g. `subscribe` or `client|list`.
    #[track_caller]
    pub fn commandstats(&mut self, name: &str) -> u64 {
        let info = self.expect(&["INFO", "commandstats"]).text();
        let head = format!("cmdstat_{}:calls=", name.to_lowercase());
        let calls = info.lines().find_map(|line| line.strip_prefix(&head)).and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse().expect("commandstats counts calls"))
    }

    /// CONFIG SET.
    #[track_caller]
    pub fn config_set(&mut self, key: &str, value: &str) {
        self.expect(&["CONFIG", "SET", key, value]);
    }

    /// ACL SETUSER with a line such as `web on >secret ~* &allowed:* +@all`. A restart forgets it.
    #[track_caller]
    pub fn acl_setuser(&mut self, line: &str) {
        let args: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(line.split_whitespace()).collect();
        self.expect(&args);
    }

    /// Turns this connection into a record of every command the server executes from now on.
    #[track_caller]
    pub fn monitor(mut self) -> Monitor {
        self.expect(&["MONITOR"]);
        self.stream().set_read_timeout(None).expect("a socket without a read timeout");
        let handle = self.stream().try_clone().expect("a second handle to a socket");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&lines);
        let collect = move || {
            while let Ok(line) = self.read_line() {
                locked(&shared).push(line);
            }
        };
        Monitor { lines, handle, thread: Some(std::thread::spawn(collect)) }
    }
}

/// A command in the form that servers read.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args.iter().map(AsRef::as_ref) {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn show<A: AsRef<[u8]>>(args: &[A]) -> String {
    let words: Vec<_> = args.iter().take(4).map(|arg| String::from_utf8_lossy(arg.as_ref())).collect();
    let mut words = words.join(" ");
    words.truncate(words.char_indices().nth(120).map_or(words.len(), |(end, _)| end));
    words
}

fn nonsense(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a RESP2 reply: {line:?}"))
}

/// What MONITOR shows: a line a command, like `1700000000.123456 [0 127.0.0.1:50000] "SUBSCRIBE" "news"`.
pub struct Monitor {
    lines: Arc<Mutex<Vec<String>>>,
    handle: Stream,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        locked(&self.lines).clone()
    }

    /// Waits until a line contains `part`, and returns it.
    #[track_caller]
    pub fn wait_for(&self, part: &str) -> String {
        let find = || locked(&self.lines).iter().find(|line| line.contains(part)).cloned();
        eventually(&format!("MONITOR shows a line with {part:?}"), PATIENCE, || find().is_some());
        find().unwrap_or_default()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.handle.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
