//! A private redis-server for one test: its own directory, port, socket and log; gone when dropped, also by a panic, and
//! killed by the kernel when the test process dies without running destructors (see `process`).
//!
//! It saves nothing, allows DEBUG, and always listens on a unix socket, over which the fixture talks to it as a user of its
//! own (`fixture`): so it can still look and poke when the test has changed the default user's password, or turned it off.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::process::{self, send_signal};
use super::{Certs, Conn, Monitor, PATIENCE, TempDir, Value, eventually, free_port, locked, temp_dir};

const ADMIN: &str = "fixture";
const ADMIN_PASSWORD: &str = "only-the-fixture-knows";

/// How the next server shall be; `Server::builder()`.
#[derive(Default)]
pub struct Builder {
    tls: bool,
    unix_only: bool,
    sentinel: bool,
    password: Option<String>,
    lines: Vec<String>,
}

impl Builder {
    /// Whether it has a TLS port too, with certificates of its own. Clients may show one, and need not: to demand one, add
    /// `.config("tls-auth-clients", "yes")`.
    pub fn tls(mut self, on: bool) -> Builder {
        self.tls = on;
        self
    }

    /// A line of redis.conf about a user, e.g. `user web on >secret ~* &allowed:* +@all`.
    pub fn acl(mut self, line: &str) -> Builder {
        self.lines.push(line.to_owned());
        self
    }

    /// A line of redis.conf. The value stands as it is: quote it if it holds spaces that are not between words.
    pub fn config(mut self, key: &str, value: &str) -> Builder {
        self.lines.push(format!("{key} {value}"));
        self
    }

    /// The default user's password.
    pub fn password(mut self, password: &str) -> Builder {
        self.password = Some(password.to_owned());
        self
    }

    /// No TCP port: only the unix socket.
    pub fn unix_only(mut self) -> Builder {
        self.unix_only = true;
        self
    }

    /// A Sentinel that watches the master `name` at 127.0.0.1:`port`, alone (a quorum of one).
    pub fn sentinel_of(mut self, name: &str, port: u16) -> Builder {
        self.sentinel = true;
        self.config("sentinel", &format!("monitor {name} 127.0.0.1 {port} 1"))
    }

    /// Starts it, and returns when it answers.
    #[track_caller]
    pub fn start(self) -> Server {
        let server = self.prepare();
        server.restart();
        server
    }

    /// A server that is not running yet, but has its port and its urls; `restart` starts it.
    #[track_caller]
    pub fn prepare(self) -> Server {
        let dir = temp_dir("server");
        let certs = self.tls.then(|| Certs::write_into(dir.path()));
        let ports = Ports::choose(&self);
        let state = State { child: None, ports, started: false, lines: self.lines.clone() };
        Server { dir, certs, builder: self, state: Mutex::new(state), owner: std::process::id() }
    }
}

#[derive(Clone, Copy)]
struct Ports {
    tcp: u16,
    tls: u16,
}

impl Ports {
    fn choose(builder: &Builder) -> Ports {
        let tcp = if builder.unix_only { 0 } else { free_port() };
        Ports { tcp, tls: if builder.tls { free_port() } else { 0 } }
    }
}

/// A redis-server. All methods take `&self`, so that a test may share it between threads.
pub struct Server {
    dir: TempDir,
    certs: Option<Certs>,
    builder: Builder,
    state: Mutex<State>,
    owner: u32,
}

struct State {
    child: Option<Child>,
    ports: Ports,
    /// Once clients may know the ports, they stay.
    started: bool,
    lines: Vec<String>,
}

enum Failure {
    PortTaken,
    Other(String),
}

impl Server {
    /// A server with nothing special about it.
    #[track_caller]
    pub fn start() -> Server {
        Server::builder().start()
    }

    /// A server with something special about it.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `redis://127.0.0.1:port`, without credentials.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// `redis://user:password@127.0.0.1:port`; both as they stand in a url.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}", self.port())
    }

    /// `unix:///path/to/redis.sock`.
    pub fn unix_url(&self) -> String {
        format!("unix://{}", self.path().display())
    }

    /// `rediss://127.0.0.1:port`; panics unless built with `tls(true)`.
    #[track_caller]
    pub fn tls_url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.tls_port())
    }

    /// The TCP port; panics if it has none.
    #[track_caller]
    pub fn port(&self) -> u16 {
        let port = locked(&self.state).ports.tcp;
        assert_ne!(port, 0, "this server was built with unix_only(): it has no TCP port");
        port
    }

    /// The TLS port; panics unless built with `tls(true)`.
    #[track_caller]
    pub fn tls_port(&self) -> u16 {
        let port = locked(&self.state).ports.tls;
        assert_ne!(port, 0, "this server was built without tls(true): it has no TLS port");
        port
    }

    /// The unix socket.
    pub fn path(&self) -> PathBuf {
        self.dir.join("redis.sock")
    }

    /// The certificates; panics unless built with `tls(true)`.
    #[track_caller]
    pub fn certs(&self) -> &Certs {
        self.certs.as_ref().expect("this server was built without tls(true): it has no certificates")
    }

    /// The running server's process; panics while it is stopped.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        locked(&self.state).child.as_ref().expect("the server is stopped: it has no process").id()
    }

    /// Whether it was started and neither stopped nor killed.
    pub fn is_running(&self) -> bool {
        locked(&self.state).child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// What it logged, over all its runs.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// A connection with all rights; panics if the server does not let it in.
    #[track_caller]
    pub fn conn(&self) -> Conn {
        self.try_conn().unwrap_or_else(|error| panic!("cannot reach the test's server: {error}\n{}", self.log_tail()))
    }

    /// As `conn`, for a server that may be stopped or starting.
    pub fn try_conn(&self) -> io::Result<Conn> {
        let mut conn = Conn::unix(&self.path())?;
        match conn.try_command(&["AUTH", ADMIN, ADMIN_PASSWORD])? {
            Value::Error(error) => Err(io::Error::other(error)),
            _ => Ok(conn),
        }
    }

    /// A record of every command from now on.
    #[track_caller]
    pub fn monitor(&self) -> Monitor {
        self.conn().monitor()
    }

    /// SIGTERM, and waits for the end. A frozen server is thawed first. Stopping twice is fine.
    #[track_caller]
    pub fn stop(&self) {
        self.end(libc::SIGTERM);
    }

    /// SIGKILL, and waits for the end: its clients get no farewell from the server, only from the kernel.
    #[track_caller]
    pub fn kill(&self) {
        self.end(libc::SIGKILL);
    }

    /// Stops it if it runs, and starts it on the same ports, empty; returns when it answers.
    #[track_caller]
    pub fn restart(&self) {
        self.stop();
        let mut state = locked(&self.state);
        // Another process may take the port between the look and the bind; and a port that clients know must be awaited.
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.launch(&state) {
                Ok(child) => {
                    (state.child, state.started) = (Some(child), true);
                    return;
                }
                Err(Failure::PortTaken) if Instant::now() < deadline => {
                    if !state.started {
                        state.ports = Ports::choose(&self.builder);
                    }
                }
                Err(Failure::PortTaken) => panic!("no free port for redis-server\n{}", self.log_tail()),
                Err(Failure::Other(error)) => panic!("{error}\n{}", self.log_tail()),
            }
        }
    }

    /// A line of redis.conf for the next start, which overrules earlier ones: `reconfigure("requirepass", "new")`.
    pub fn reconfigure(&self, key: &str, value: &str) {
        locked(&self.state).lines.push(format!("{key} {value}"));
    }

    /// SIGSTOP: connections stay open, and nothing is read or answered. Returns when it stands still.
    #[track_caller]
    pub fn freeze(&self) {
        let pid = self.signal(libc::SIGSTOP);
        eventually("the frozen server stands still", PATIENCE, || process::state(pid) == Some('T'));
    }

    /// SIGCONT: it goes on where it was. Returns when it answers.
    #[track_caller]
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
        self.conn().expect(&["PING"]);
    }

    #[track_caller]
    fn signal(&self, signal: i32) -> u32 {
        let state = locked(&self.state);
        let child = state.child.as_ref().expect("the server is stopped: there is no process to signal");
        send_signal(child, signal);
        child.id()
    }

    #[track_caller]
    fn end(&self, signal: i32) {
        let Some(mut child) = locked(&self.state).child.take() else { return };
        send_signal(&child, signal);
        if signal != libc::SIGKILL {
            // A frozen process sees the signal only when it goes on.
            send_signal(&child, libc::SIGCONT);
            let started = Instant::now();
            while matches!(child.try_wait(), Ok(None)) {
                if started.elapsed() > PATIENCE {
                    kill_and_reap(&mut child);
                    panic!("redis-server did not end within {PATIENCE:?} of SIGTERM\n{}", self.log_tail());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let _ = child.wait();
    }

    fn launch(&self, state: &State) -> Result<Child, Failure> {
        let conf = self.dir.join("redis.conf");
        std::fs::write(&conf, self.conf(state)).map_err(explain("cannot write redis.conf"))?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log"));
        let log = log.map_err(explain("cannot open the server's log"))?;
        let logged_before = self.log().len();
        let mut command = Command::new("redis-server");
        command.arg(&conf).args(self.builder.sentinel.then_some("--sentinel")).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stderr(log.try_clone().map_err(explain("cannot share the log"))?).stdout(log);
        let mut child = process::spawn(command).map_err(explain("tests need `redis-server` on the PATH"))?;
        let started = Instant::now();
        // The unix socket lies in a directory that is ours alone, and is opened after the ports are bound: who answers there
        // is this server, and not the owner of a port that we lost.
        while !self.answers() {
            if let Ok(Some(status)) = child.try_wait() {
                let taken = self.log().get(logged_before..).is_some_and(|log| log.contains("Failed listening on port"));
                return Err(if taken { Failure::PortTaken } else { Failure::Other(format!("redis-server: {status}")) });
            }
            if started.elapsed() > PATIENCE {
                kill_and_reap(&mut child);
                return Err(Failure::Other(format!("redis-server did not answer PING within {PATIENCE:?}")));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(child)
    }

    fn answers(&self) -> bool {
        let pong = self.try_conn().and_then(|mut conn| conn.try_command(&["PING"]));
        pong.is_ok_and(|pong| pong == Value::Simple("PONG".into()))
    }

    fn conf(&self, state: &State) -> String {
        let mut conf = format!(
            "bind 127.0.0.1\nport {}\nunixsocket {}\ndir {}\ndaemonize no\nuser {ADMIN} on >{ADMIN_PASSWORD} ~* &* +@all\n",
            state.ports.tcp,
            self.path().display(),
            self.dir.path().display(),
        );
        if !self.builder.sentinel {
            conf.push_str("save \"\"\nappendonly no\nenable-debug-command yes\n");
        }
        if let Some(certs) = &self.certs {
            let (cert, key, ca) = (certs.server_cert.display(), certs.server_key.display(), certs.ca.display());
            conf.push_str(&format!("tls-port {}\ntls-cert-file {cert}\ntls-key-file {key}\n", state.ports.tls));
            conf.push_str(&format!("tls-ca-cert-file {ca}\ntls-auth-clients optional\n"));
        }
        if let Some(password) = &self.builder.password {
            conf.push_str(&format!("requirepass \"{}\"\n", password.replace('\\', "\\\\").replace('"', "\\\"")));
        }
        for line in &state.lines {
            conf.push_str(line);
            conf.push('\n');
        }
        conf
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("the server's log ends with:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}

fn explain(what: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Other(format!("{what}: {error}"))
}

fn kill_and_reap(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

impl Drop for Server {
    fn drop(&mut self) {
        // A forked child holds a copy of this value, but not the server.
        if self.owner == std::process::id()
            && let Some(mut child) = locked(&self.state).child.take()
        {
            kill_and_reap(&mut child);
        }
    }
}
