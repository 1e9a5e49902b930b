//! A server that follows a script, for what a real one never does: nonsense, half a frame for ever, the answers of an old
//! version.
//!
//! Either the test takes the connections itself (`Fake::listen`, then `accept`), or each connection runs a closure on a
//! thread of its own (`Fake::scripted`, `Fake::answering_hello`). Reads are bounded by `PATIENCE`, and end with an error
//! when the client closes or the `Fake` is dropped; so a script may loop until one fails.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{PATIENCE, eventually, free_listener, locked};

/// The answer to `HELLO 3` of the server that `answering_hello` plays.
pub const HELLO_ANSWER: &[u8] =
    b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n\
$2\r\nid\r\n:7\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";

type Script = Box<dyn Fn(FakeConn) + Send + Sync>;

/// A TCP port of 127.0.0.1 with a script behind it.
pub struct Fake {
    port: u16,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    closing: bool,
    accepted: usize,
    waiting: VecDeque<FakeConn>,
    sockets: Vec<Weak<TcpStream>>,
    scripts: Vec<JoinHandle<()>>,
    panicked: usize,
}

impl State {
    /// Lets go of the scripts that ended, and counts those that panicked; whether all have ended.
    fn reap(&mut self) -> bool {
        let (ended, running) = std::mem::take(&mut self.scripts).into_iter().partition(JoinHandle::is_finished);
        let ended: Vec<_> = ended;
        self.scripts = running;
        self.panicked += ended.into_iter().filter_map(|script| script.join().err()).count();
        self.scripts.is_empty()
    }
}

impl Fake {
    /// The test takes the connections with `accept`.
    pub fn listen() -> Fake {
        Fake::run(None)
    }

    /// Each connection runs the script on a thread of its own, and is closed when the script returns.
    pub fn scripted(script: impl Fn(FakeConn) + Send + Sync + 'static) -> Fake {
        Fake::run(Some(Box::new(script)))
    }

    /// Greets each connection like a Redis 7.0.15, and leaves what follows to the script.
    pub fn answering_hello(script: impl Fn(FakeConn) + Send + Sync + 'static) -> Fake {
        Fake::scripted(move |mut conn| {
            if conn.greet().is_ok() {
                script(conn);
            }
        })
    }

    /// Answers the first command of each connection, and each after it, with this one line (`-ERR unknown command 'HELLO'`).
    pub fn refusing(line: &str) -> Fake {
        let answer = format!("{line}\r\n");
        Fake::scripted(move |mut conn| while conn.read_command().and_then(|_| conn.write(answer.as_bytes())).is_ok() {})
    }

    fn run(script: Option<Script>) -> Fake {
        let (listener, port) = free_listener();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || theirs.listen(&listener, script.map(Arc::new)));
        Fake { port, shared, listener: Some(thread) }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        locked(&self.shared.state).accepted
    }

    /// The next connection; panics if none comes within `PATIENCE`. Only after `listen`.
    #[track_caller]
    pub fn accept(&self) -> FakeConn {
        let state = locked(&self.shared.state);
        let waited = self.shared.arrived.wait_timeout_while(state, PATIENCE, |state| state.waiting.is_empty());
        let conn = waited.unwrap_or_else(PoisonError::into_inner).0.waiting.pop_front();
        conn.unwrap_or_else(|| panic!("no client connected to the fake server within {PATIENCE:?}"))
    }

    /// Closes all connections, and panics if a script did.
    #[track_caller]
    pub fn finish(mut self) {
        self.close();
        let ended = || locked(&self.shared.state).reap();
        eventually("the fake server's scripts end when their connections close", PATIENCE, ended);
        let panicked = locked(&self.shared.state).panicked;
        assert_eq!(panicked, 0, "scripts of the fake server panicked; the reasons stand above");
    }

    fn close(&mut self) {
        locked(&self.shared.state).closing = true;
        if let Some(listener) = self.listener.take() {
            while !listener.is_finished() {
                let _ =
                    TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, self.port).into(), Duration::from_millis(100));
            }
            let _ = listener.join();
        }
        let mut state = locked(&self.shared.state);
        for socket in state.sockets.drain(..).filter_map(|socket| socket.upgrade()) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // Not joined: a script may wait for something of the test that ends only after this.
        self.close();
    }
}

impl Shared {
    fn listen(&self, listener: &TcpListener, script: Option<Arc<Script>>) {
        for stream in listener.incoming() {
            let mut state = locked(&self.state);
            if state.closing {
                return;
            }
            let Ok(conn) = stream.and_then(FakeConn::over) else { continue };
            state.accepted += 1;
            state.reap();
            state.sockets.retain(|socket| socket.strong_count() > 0);
            state.sockets.push(Arc::downgrade(&conn.stream.get_ref().0));
            match &script {
                None => state.waiting.push_back(conn),
                Some(script) => {
                    let script = Arc::clone(script);
                    state.scripts.push(std::thread::spawn(move || script(conn)));
                }
            }
            self.arrived.notify_all();
        }
    }
}

/// The server's end of one connection. Dropping it closes the connection.
pub struct FakeConn {
    stream: BufReader<Socket>,
    /// In the client's greeting, whose commands are answered on the side.
    greeting: bool,
}

/// The script owns it, and the `Fake` can close it.
struct Socket(Arc<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl FakeConn {
    fn over(stream: TcpStream) -> io::Result<FakeConn> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(FakeConn { stream: BufReader::new(Socket(Arc::new(stream))), greeting: false })
    }

    /// Reads a line, and returns it without its end.
    pub fn read_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.pop_if(|last| *last == b'\r');
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Reads exactly so many bytes.
    pub fn read_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads what there is, at least a byte; an error once the client has closed.
    pub fn read_some(&mut self) -> io::Result<Vec<u8>> {
        let bytes = self.stream.fill_buf()?.to_vec();
        self.stream.consume(bytes.len());
        if bytes.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
    }

    /// Reads one command: its name and arguments. After `greet`, the rest of a greeting is answered and skipped.
    pub fn read_command(&mut self) -> io::Result<Vec<Vec<u8>>> {
        loop {
            let command = self.read_any_command()?;
            self.greeting = self.greeting && self.answer_greeting(&command)?;
            if !self.greeting {
                return Ok(command);
            }
        }
    }

    /// As `read_command`, as text: `["SUBSCRIBE", "news"]`.
    pub fn read_words(&mut self) -> io::Result<Vec<String>> {
        let words = self.read_command()?;
        Ok(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    }

    /// Answers `HELLO 3`, whatever the credentials, and those of AUTH, CLIENT and SELECT that came with it.
    pub fn greet(&mut self) -> io::Result<()> {
        let hello = self.read_any_command()?;
        if !(hello[0].eq_ignore_ascii_case(b"HELLO") && hello.get(1).is_some_and(|version| version == b"3")) {
            self.write(b"-ERR this server waits for HELLO 3\r\n")?;
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.write(HELLO_ANSWER)?;
        self.greeting = true;
        while self.greeting_follows() {
            let command = self.read_any_command()?;
            self.answer_greeting(&command)?;
        }
        Ok(())
    }

    /// Whether the bytes at hand begin with one more command of the greeting.
    fn greeting_follows(&self) -> bool {
        let name = self.stream.buffer().split(|byte| *byte == b'\n').nth(2).unwrap_or_default();
        [&b"AUTH\r"[..], b"CLIENT\r", b"SELECT\r"].iter().any(|known| name.eq_ignore_ascii_case(known))
    }

    fn answer_greeting(&mut self, command: &[Vec<u8>]) -> io::Result<bool> {
        let subcommand = command.get(1).map_or(&b""[..], Vec::as_slice);
        match command[0].to_ascii_uppercase().as_slice() {
            // As 7.0 does: CLIENT SETINFO came with 7.2.
            b"CLIENT" if subcommand.eq_ignore_ascii_case(b"SETINFO") => {
                self.write(b"-ERR unknown subcommand 'SETINFO'. Try CLIENT HELP.\r\n").map(|()| true)
            }
            b"AUTH" | b"CLIENT" | b"SELECT" => self.write(b"+OK\r\n").map(|()| true),
            _ => Ok(false),
        }
    }

    fn read_any_command(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let words = self.read_length(b'*')?;
        if words == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a command without a name"));
        }
        let mut command = Vec::new();
        for _ in 0..words {
            let length = self.read_length(b'$')?;
            let mut word = self.read_bytes(length + 2)?;
            word.truncate(length);
            command.push(word);
        }
        Ok(command)
    }

    fn read_length(&mut self, kind: u8) -> io::Result<usize> {
        let line = self.read_line()?;
        let length = line.strip_prefix(char::from(kind)).and_then(|digits| digits.parse().ok());
        length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("not a command: {line:?}")))
    }

    /// Writes bytes as they are, at once.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&*self.stream.get_ref().0).write_all(bytes)
    }

    /// Reads and forgets until the client closes, for as long as that takes.
    pub fn wait_closed(&mut self) {
        let _ = self.stream.get_ref().0.set_read_timeout(None);
        let _ = io::copy(&mut self.stream, &mut io::sink());
    }
}
