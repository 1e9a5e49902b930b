//! Certificates for servers with TLS: an authority, a server and a client it signed, and an authority that signed neither.
//!
//! Made by `openssl` once a process (some 50 ms) and kept as text; each server writes them into its own directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::temp_dir;

/// The paths of PEM files. All keys are P-256.
#[derive(Clone, Debug)]
pub struct Certs {
    /// The authority that signed the server and the client.
    pub ca: PathBuf,
    /// For `localhost` and `127.0.0.1`, and for no other name.
    pub server_cert: PathBuf,
    /// The server's key.
    pub server_key: PathBuf,
    /// For a server that asks its clients who they are.
    pub client_cert: PathBuf,
    /// The client's key.
    pub client_key: PathBuf,
    /// An authority that signed nothing here: trusting it alone must fail.
    pub other_ca: PathBuf,
}

const FILES: [&str; 6] = ["ca.pem", "server.pem", "server.key", "client.pem", "client.key", "other-ca.pem"];

const CONFIG: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = redmux test
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
[client]
basicConstraints = CA:FALSE
extendedKeyUsage = clientAuth
";

impl Certs {
    /// Writes this process's certificates into `dir`.
    pub fn write_into(dir: &Path) -> Certs {
        static MADE: OnceLock<[String; 6]> = OnceLock::new();
        let texts = MADE.get_or_init(generate);
        for (file, text) in FILES.iter().zip(texts) {
            std::fs::write(dir.join(file), text).unwrap_or_else(|error| panic!("cannot write {file}: {error}"));
        }
        let [ca, server_cert, server_key, client_cert, client_key, other_ca] = FILES.map(|file| dir.join(file));
        Certs { ca, server_cert, server_key, client_cert, client_key, other_ca }
    }
}

fn generate() -> [String; 6] {
    let dir = temp_dir("certs");
    std::fs::write(dir.join("conf"), CONFIG).expect("the configuration for openssl can be written");
    for authority in ["ca", "other-ca"] {
        key(dir.path(), authority);
        // A name of its own: a verifier finds an issuer by name, and must find the wrong one by its key alone.
        let subject = format!("/CN=redmux test {authority}");
        let (key, cert) = (format!("{authority}.key"), format!("{authority}.pem"));
        let head = ["req", "-x509", "-new", "-config", "conf", "-extensions", "ca", "-days", "3650"];
        openssl(dir.path(), &[&head[..], &["-subj", &subject, "-key", &key, "-out", &cert]].concat());
    }
    for (serial, name) in [("1", "server"), ("2", "client")] {
        key(dir.path(), name);
        let (key, request, cert) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let subject = format!("/CN=redmux test {name}");
        openssl(dir.path(), &["req", "-new", "-config", "conf", "-subj", &subject, "-key", &key, "-out", &request]);
        let head = ["x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "3650", "-set_serial", serial];
        let tail = ["-extfile", "conf", "-extensions", name, "-in", &request, "-out", &cert];
        openssl(dir.path(), &[&head[..], &tail[..]].concat());
    }
    FILES.map(|file| std::fs::read_to_string(dir.join(file)).expect("openssl wrote what it was asked for"))
}

fn key(dir: &Path, name: &str) {
    let out = format!("{name}.key");
    openssl(dir, &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &out]);
}

fn openssl(dir: &Path, args: &[&str]) {
    let run = Command::new("openssl").args(args).current_dir(dir).stdin(Stdio::null()).output();
    let run = run.unwrap_or_else(|error| panic!("tests with TLS need `openssl` on the PATH: {error}"));
    assert!(run.status.success(), "openssl {args:?} failed: {}", String::from_utf8_lossy(&run.stderr));
}
