//! What the tests of `link/` share: dial options, what an error must say, and certificates good and bad, by `openssl`.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use redmux::error::{Error, Status};
use redmux::link::dial::{Address, DialOptions};

use crate::support::TempDir;

/// Write a file into `dir`.
pub fn write(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    std::fs::write(dir.join(name), text).unwrap();
    dir.join(name)
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
    let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(dir.path()).output().unwrap();
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
    write(dir, &format!("{name}.ext"), &format!("subjectAltName={alternatives}\n"));
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
