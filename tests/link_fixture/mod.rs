//! A redis-server in a directory of its own, and certificates made by `openssl`, for the tests of `link/`.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use redmux::error::{Error, Status};
use redmux::link::dial::{Address, DialOptions};

/// A directory that is removed with this value.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("redmux-link-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.join(name), text).unwrap();
        self.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server on a unix socket, killed with this value.
pub struct Redis {
    child: Child,
    dir: TempDir,
}

impl Redis {
    pub fn start(arguments: &[&str]) -> Redis {
        let dir = TempDir::new();
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--unixsocket")
            .arg(dir.join("redis.sock"))
            .arg("--dir")
            .arg(&dir.0)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let mut redis = Redis { child, dir };
        let give_up = Instant::now() + Duration::from_secs(10);
        while !redis.answers() {
            assert!(redis.child.try_wait().unwrap().is_none(), "redis-server ended at once: {arguments:?}");
            assert!(Instant::now() < give_up, "redis-server did not start within 10 s");
            std::thread::sleep(Duration::from_millis(5));
        }
        redis
    }

    /// Whether it answers anything at all: the socket exists before the rest of the configuration is read.
    fn answers(&self) -> bool {
        let Ok(mut probe) = std::os::unix::net::UnixStream::connect(self.socket()) else { return false };
        probe.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        probe.write_all(b"PING\r\n").is_ok() && matches!(probe.read(&mut [0; 64]), Ok(n) if n > 0)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("redis.sock")
    }

    pub fn address(&self) -> Address {
        Address::Unix(self.socket())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A redis-server that also listens on 127.0.0.1; another port is tried if someone else took the first.
pub fn redis_on_tcp(flag: &str, arguments: &[&str]) -> (Redis, u16) {
    for _ in 0..5 {
        let port = free_port();
        let text = port.to_string();
        let mut all = vec![flag, &text, "--bind", "127.0.0.1"];
        all.extend_from_slice(arguments);
        if let Ok(redis) = std::panic::catch_unwind(|| Redis::start(&all)) {
            return (redis, port);
        }
    }
    panic!("no free port found");
}

pub fn options() -> DialOptions {
    DialOptions {
        connect_timeout: Duration::from_secs(5),
        keepalive: Duration::from_secs(60),
        user_timeout: Duration::from_secs(15),
        tls: None,
    }
}

pub fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp { host: host.into(), port }
}

/// The status and each of the parts of the sentence.
#[track_caller]
pub fn expect(error: &Error, status: Status, parts: &[&str]) {
    assert_eq!(error.status(), status, "{error}");
    for part in parts {
        assert!(error.message().contains(part), "{part:?} is not in: {error}");
    }
}

/// Run openssl in `dir`.
pub fn openssl(dir: &TempDir, arguments: &str) {
    let output =
        Command::new("openssl").args(arguments.split_whitespace()).current_dir(dir.join(".")).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A CA as `<name>.crt` and `<name>.key`.
pub fn make_ca(dir: &TempDir, name: &str) -> PathBuf {
    openssl(dir, &format!("ecparam -name prime256v1 -genkey -noout -out {name}.key"));
    openssl(dir, &format!("req -x509 -new -key {name}.key -subj /CN={name} -days 2 -out {name}.crt"));
    dir.join(&format!("{name}.crt"))
}

/// A certificate `<name>.crt` by `ca` with these `subjectAltName`s, and `<name>.key` (SEC1).
pub fn make_cert(dir: &TempDir, ca: &str, name: &str, alternatives: &str) -> (PathBuf, PathBuf) {
    openssl(dir, &format!("ecparam -name prime256v1 -genkey -noout -out {name}.key"));
    openssl(dir, &format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
    dir.write(&format!("{name}.ext"), &format!("subjectAltName={alternatives}\n"));
    openssl(
        dir,
        &format!(
            "x509 -req -in {name}.csr -CA {ca}.crt -CAkey {ca}.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.crt"
        ),
    );
    (dir.join(&format!("{name}.crt")), dir.join(&format!("{name}.key")))
}

pub fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
