//! The first words on a socket: RESP3, who we are, our name, the database; all in one round trip.
//!
//! [`greet`] either gives a [`Greeting`] or an error that says which of the many things was wrong. It must never put a
//! password into a message, never read without a bound, and never lose a byte that came after the answers. It has no
//! clock: the caller (an actor of `mux/`) puts a timeout around it, and drops the socket with it when that is over.

use std::fmt;
use std::io::{self, ErrorKind};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{dial::text, tls};
use crate::error::{Error, Result, Status};
use crate::proto::resp::{self, Frame, Limits, Reply, Step};

/// All that a server may send in a handshake. Redis sends about 150 bytes, and 100 for each module it has loaded.
const MAX_BYTES: usize = 64 * 1024;
/// How much of a server's own words goes into a message. Protected mode explains itself in 900 bytes.
const MAX_WORDS: usize = 200;
const LIMITS: Limits = Limits { max_payload: MAX_BYTES, max_name: MAX_BYTES };

/// What we say of ourselves.
#[derive(Clone, Copy, Default)]
pub struct Hello<'a> {
    /// The ACL user; with a password and no user it is `default`.
    pub user: Option<&'a str>,
    /// The password.
    pub password: Option<&'a str>,
    /// The name in `CLIENT LIST`; empty for none.
    pub client_name: &'a str,
    /// The library's name in `CLIENT LIST`; empty for none. Servers before 7.2 have no place for it.
    pub lib_name: &'a str,
    /// The library's version in `CLIENT LIST`; empty for none.
    pub lib_version: &'a str,
    /// The database; `None` and 0 send nothing.
    pub db: Option<u32>,
}

/// Without the password.
impl fmt::Debug for Hello<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("user", &self.user)
            .field("client_name", &self.client_name)
            .finish_non_exhaustive()
    }
}

/// What the server says of itself. What it leaves out is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// `redis` or `valkey`.
    pub server: String,
    /// Its version.
    pub version: String,
    /// The number of this connection, as in `CLIENT LIST`.
    pub id: u64,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: String,
    /// `master` or `replica`.
    pub role: String,
    /// Bytes that came after the answers; nearly always empty. They belong to the reader of the link.
    pub leftover: Vec<u8>,
}

/// The steps whose answers are awaited, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Hello,
    /// What may fail without harm.
    Info,
    Select(u32),
}

/// Greet the server at the other end of `io`. Cancelled by dropping, after which `io` is good for nothing else.
pub async fn greet(io: &mut (impl AsyncRead + AsyncWrite + Unpin), hello: &Hello<'_>) -> Result<Greeting> {
    let (out, asks) = encode(hello);
    let written = match io.write_all(&out).await {
        Ok(()) => io.flush().await,
        failed => failed,
    };
    // Even where writing failed the server may have said why before it hung up ("max number of clients reached", a TLS
    // alert), so reading is what decides.
    let mut buf: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 4096];
    let (mut at, mut answered) = (0, 0);
    let mut greeting = Greeting::default();
    while let Some(&ask) = asks.get(answered) {
        let unread = buf.get(at..).unwrap_or_default();
        match resp::next(unread, &LIMITS) {
            Ok(Step::Frame { used, frame: Frame::Reply(reply) }) => {
                judge(ask, &reply, hello, &mut greeting)?;
                at += used;
                answered += 1;
            }
            Ok(Step::Frame { used, frame: Frame::OtherPush }) => at += used,
            Ok(Step::More { .. }) if buf.len() >= MAX_BYTES => {
                return Err(protocol("the server's answer to the handshake is over 64 KiB"));
            }
            Ok(Step::More { .. }) => {
                let n = io.read(&mut chunk).await.map_err(|e| lost(written.as_ref().err().unwrap_or(&e), &e))?;
                if n == 0 {
                    let eof = io::Error::from(ErrorKind::UnexpectedEof);
                    return Err(lost(written.as_ref().err().unwrap_or(&eof), &eof));
                }
                buf.extend_from_slice(chunk.get(..n).unwrap_or_default());
            }
            Ok(Step::Frame { .. } | Step::Oversized { .. }) => {
                return Err(protocol("the server sent messages before anything was subscribed"));
            }
            Err(_) => return Err(nonsense(unread, hello)),
        }
    }
    greeting.leftover = buf.split_off(at);
    Ok(greeting)
}

/// Write the `AUTH` that authenticates a live link again. Its answer is `OK`, or what [`auth_refused`] explains.
pub fn auth_command(out: &mut Vec<u8>, user: Option<&str>, password: &str) {
    resp::command(out, &[b"AUTH", user.unwrap_or("default").as_bytes(), password.as_bytes()]);
}

/// What the error line that answered an `AUTH` or a `HELLO` means.
pub fn auth_refused(user: Option<&str>, password: &str, line: &[u8]) -> Error {
    if line.to_ascii_lowercase().starts_with(b"err unknown command") {
        // Such a server repeats what it was sent.
        return Error::new(Status::Auth, "the server does not know AUTH; was it renamed?");
    }
    refused(&Hello { user, password: Some(password), ..Hello::default() }, line)
}

fn encode(hello: &Hello<'_>) -> (Vec<u8>, Vec<Ask>) {
    let mut out = Vec::with_capacity(256);
    let mut asks = vec![Ask::Hello];
    let mut parts: Vec<&[u8]> = vec![b"HELLO", b"3"];
    if hello.user.is_some() || hello.password.is_some() {
        let (user, password) = (hello.user.unwrap_or("default"), hello.password.unwrap_or_default());
        parts.extend([&b"AUTH"[..], user.as_bytes(), password.as_bytes()]);
    }
    if !hello.client_name.is_empty() {
        parts.extend([&b"SETNAME"[..], hello.client_name.as_bytes()]);
    }
    resp::command(&mut out, &parts);
    for (what, value) in [(&b"LIB-NAME"[..], hello.lib_name), (b"LIB-VER", hello.lib_version)] {
        if !value.is_empty() {
            resp::command(&mut out, &[b"CLIENT", b"SETINFO", what, value.as_bytes()]);
            asks.push(Ask::Info);
        }
    }
    if let Some(db) = hello.db.filter(|&db| db != 0) {
        resp::command(&mut out, &[b"SELECT", db.to_string().as_bytes()]);
        asks.push(Ask::Select(db));
    }
    (out, asks)
}

fn judge(ask: Ask, reply: &Reply<'_>, hello: &Hello<'_>, greeting: &mut Greeting) -> Result<()> {
    match (ask, reply) {
        (Ask::Info, _) | (Ask::Select(_), Reply::Status(_)) => Ok(()),
        (Ask::Hello, Reply::Error(line)) => Err(refused(hello, line)),
        (Ask::Hello, Reply::Other(map)) => read_greeting(map, hello, greeting),
        (Ask::Select(db), Reply::Error(line)) => {
            let status = if line.starts_with(b"NOPERM") { Status::Auth } else { Status::Redis };
            Err(Error::from_redis(status, &format!("select database {db}"), &speakable(hello, line)))
        }
        (Ask::Hello | Ask::Select(_), _) => Err(protocol("the server answered the handshake with something else")),
    }
}

fn read_greeting(map: &[u8], hello: &Hello<'_>, greeting: &mut Greeting) -> Result<()> {
    let mut protocol_version = None;
    for (key, value) in resp::fields(map) {
        let words = match value {
            Reply::Bulk(words) | Reply::Status(words) => String::from_utf8_lossy(words).into_owned(),
            _ => String::new(),
        };
        match (key, value) {
            (b"server", _) => greeting.server = words,
            (b"version", _) => greeting.version = words,
            (b"mode", _) => greeting.mode = words,
            (b"role", _) => greeting.role = words,
            (b"proto", Reply::Integer(number)) => protocol_version = Some(number),
            (b"id", Reply::Integer(number)) => greeting.id = u64::try_from(number).unwrap_or_default(),
            _ => {}
        }
    }
    if protocol_version.is_none() || greeting.server.is_empty() {
        return Err(protocol("the server answered HELLO with something else"));
    }
    // Valkey began to count anew from 7.2. A version that is no number is that of a server that only resembles Redis:
    // it said yes to RESP3, which is what is needed.
    let major = greeting.version.split('.').next().and_then(|digits| digits.parse::<u64>().ok());
    let old = greeting.server != "valkey" && major.is_some_and(|major| major < 7);
    if old || protocol_version != Some(3) {
        let said = speakable(hello, format!("{} {}", greeting.server, greeting.version).as_bytes());
        return Err(old_server(&format!("the server is {}", String::from_utf8_lossy(&said))));
    }
    Ok(())
}

/// What the error that answered `HELLO` means.
fn refused(hello: &Hello<'_>, line: &[u8]) -> Error {
    let user = hello.user.unwrap_or("default");
    let word = line.split(|&byte| byte == b' ').next().unwrap_or_default();
    let lower = line.to_ascii_lowercase();
    let (status, context) = match word {
        b"WRONGPASS" => (Status::Auth, format!("the server refused the password of user \"{user}\"")),
        b"NOAUTH" => (Status::Auth, "the server wants a password: set user and password".to_owned()),
        b"NOPERM" => (Status::Auth, format!("user \"{user}\" may not do what a connection needs")),
        b"NOPROTO" => return old_server("the server does not speak RESP3"),
        // Such a server repeats what it was sent, the password included: none of its words may be used.
        _ if lower.starts_with(b"err unknown command") => return old_server("the server does not know HELLO"),
        b"LOADING" => (Status::Redis, "the server is still loading its data".to_owned()),
        b"DENIED" => (Status::Redis, "the server is in protected mode: set a password there, or bind it".to_owned()),
        _ => (Status::Redis, "the server refused the connection".to_owned()),
    };
    Error::from_redis(status, &context, &speakable(hello, line))
}

/// The server's words as they may be shown: one line, not too long, and never with the password in them.
fn speakable(hello: &Hello<'_>, line: &[u8]) -> Vec<u8> {
    if hello.password.is_some_and(|password| contains(line, password.as_bytes())) {
        return b"(the server's words are withheld, because the password is among them)".to_vec();
    }
    let mut words: Vec<u8> = line.iter().map(|&byte| if byte.is_ascii_control() { b' ' } else { byte }).collect();
    if words.len() > MAX_WORDS {
        words.truncate(MAX_WORDS);
        words.extend_from_slice(b"...");
    }
    words
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|window| window == needle)
}

fn nonsense(bytes: &[u8], hello: &Hello<'_>) -> Error {
    // The head of a TLS alert: we spoke plainly to a server that wants TLS.
    if bytes.starts_with(&[0x15, 0x03]) {
        return Error::new(Status::Tls, "the server wants TLS on that port: turn tls on");
    }
    if hello.password.is_some_and(|password| contains(bytes, password.as_bytes())) {
        return protocol("the server does not speak RESP3; is it Redis?");
    }
    let begin = bytes.get(..24).unwrap_or(bytes).escape_ascii();
    protocol(&format!("the server does not speak RESP3 (its answer begins with \"{begin}\"); is it Redis?"))
}

fn protocol(what: &str) -> Error {
    Error::new(Status::Protocol, what)
}

fn old_server(what: &str) -> Error {
    Error::new(Status::OldServer, format!("{what}; redmux needs Redis 7.0 or later, or Valkey"))
}

/// The connection is gone: by what TLS says of either failure, else by how it ended.
fn lost(first: &io::Error, then: &io::Error) -> Error {
    if let Some(error) = tls::explain(then).or_else(|| tls::explain(first)) {
        return error;
    }
    let hint = "is that a Redis port, and is tls set as it wants?";
    let message = match then.kind() {
        ErrorKind::UnexpectedEof => format!("the server closed the connection during the handshake; {hint}"),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            format!("the server closed the connection during the handshake ({}); {hint}", text(then))
        }
        _ => format!("the connection was lost during the handshake ({})", text(then)),
    };
    Error::new(Status::Connect, message)
}
