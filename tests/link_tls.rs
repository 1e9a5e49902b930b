//! TLS against a real redis-server with certificates of our own making, and what each failure says.
#![cfg(feature = "tls")]

mod link_fixture;
#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use link_fixture::{expect, make_ca, make_cert, openssl, options, path, tcp, write};
use redmux::error::{Error, Status};
use redmux::link::dial::{DialOptions, Socket, dial};
use redmux::link::handshake::{Hello, greet};
use redmux::link::tls::{TlsOptions, TlsSetup, explain};
use support::{Server, TempDir, temp_dir};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const HELLO: Hello<'static> =
    Hello { user: None, password: None, client_name: "tls-1", lib_name: "redmux", lib_version: "0.1.0", db: None };

fn trusting(ca: &Path) -> TlsOptions {
    TlsOptions { ca: Some(ca.to_owned()), ..TlsOptions::default() }
}

/// Dial and greet.
async fn open(host: &str, port: u16, tls: &TlsOptions) -> Result<Socket, Error> {
    let options = DialOptions { tls: Some(TlsSetup::load(tls)?), ..options() };
    let mut socket = dial(&tcp(host, port), &options).await?;
    greet(&mut socket.io, &HELLO).await?;
    Ok(socket)
}

/// A server with that certificate, which asks clients for none unless `more` says so.
fn serve(cert: &(PathBuf, PathBuf), ca: &Path, more: &[(&str, &str)]) -> (Server, u16) {
    let mut server = Server::builder().tls(true).config("tls-ca-cert-file", path(ca));
    server = server.config("tls-cert-file", path(&cert.0)).config("tls-key-file", path(&cert.1));
    for (key, value) in more {
        server = server.config(key, value);
    }
    let server = server.start();
    let port = server.tls_port();
    (server, port)
}

/// Sign `<name>.csr` again with the CA "ca", for that time: `openssl x509` knows only days from now.
fn sign_for(dir: &TempDir, name: &str, from: &str, until: &str) {
    write(dir, "index.txt", "");
    write(
        dir,
        "ca.cnf",
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\ndefault_md=sha256\nrand_serial=yes\npolicy=p\n[p]\ncommonName=supplied\n",
    );
    let signed = format!("-startdate {from} -enddate {until} -extfile {name}.ext -in {name}.csr -out {name}.crt");
    openssl(dir, &format!("ca -batch -notext -config ca.cnf -cert ca.crt -keyfile ca.key {signed}"));
}

#[tokio::test]
async fn a_server_with_a_good_certificate_is_dialled_greeted_and_read() {
    let dir = temp_dir("link-tls");
    let ca = make_ca(&dir, "ca");
    let cert = make_cert(&dir, "ca", "server", "DNS:localhost,IP:127.0.0.1");
    let (_redis, port) = serve(&cert, &ca, &[]);
    for host in ["localhost", "127.0.0.1"] {
        let mut socket = open(host, port, &trusting(&ca)).await.unwrap();
        assert!(socket.side_writer().is_none(), "nobody may write past TLS");
        assert!(socket.raw_fd() > 2);
        // More than a record of TLS holds, in both directions.
        let value = "x".repeat(100_000);
        let command = format!("*2\r\n$4\r\nECHO\r\n$100000\r\n{value}\r\n");
        socket.io.write_all(command.as_bytes()).await.unwrap();
        socket.io.flush().await.unwrap();
        let mut reply = vec![0; "$100000\r\n".len() + value.len() + 2];
        socket.io.read_exact(&mut reply).await.unwrap();
        assert!(reply.ends_with(b"xx\r\n"));
    }
}

#[tokio::test]
async fn an_unknown_issuer_is_named_with_its_cure() {
    let dir = temp_dir("link-tls");
    let (ca, other) = (make_ca(&dir, "ca"), make_ca(&dir, "other"));
    let cert = make_cert(&dir, "ca", "server", "DNS:localhost");
    let (_redis, port) = serve(&cert, &ca, &[]);
    let error = open("localhost", port, &trusting(&other)).await.unwrap_err();
    let expected = format!(
        "connect to localhost:{port}: the server's certificate is not signed by a CA we trust (UnknownIssuer): set tls_ca"
    );
    assert_eq!((error.status(), error.message()), (Status::Tls, expected.as_str()));
    // By the system's roots as well, where there are any.
    match open("localhost", port, &TlsOptions::default()).await {
        Err(error) if error.message().contains("this system has no CA") => {}
        Err(error) => expect(&error, Status::Tls, &["UnknownIssuer", "set tls_ca"]),
        Ok(_) => panic!("a certificate of our own making is trusted"),
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_lists_its_names_and_a_server_name_cures_it() {
    let dir = temp_dir("link-tls");
    let ca = make_ca(&dir, "ca");
    let cert = make_cert(&dir, "ca", "server", "DNS:db.example,DNS:*.db.example");
    let (_redis, port) = serve(&cert, &ca, &[]);
    let error = open("localhost", port, &trusting(&ca)).await.unwrap_err();
    let part = "the certificate is for \"db.example\", \"*.db.example\", not \"localhost\": set tls_server_name";
    expect(&error, Status::Tls, &[part]);
    for name in ["db.example", "one.db.example"] {
        open("localhost", port, &TlsOptions { server_name: Some(name.into()), ..trusting(&ca) }).await.unwrap();
    }
    let wrong = TlsOptions { server_name: Some("else.example".into()), ..trusting(&ca) };
    expect(&open("localhost", port, &wrong).await.unwrap_err(), Status::Tls, &["not \"else.example\""]);
}

#[tokio::test]
async fn an_expired_certificate_says_so() {
    let dir = temp_dir("link-tls");
    let ca = make_ca(&dir, "ca");
    let cert = make_cert(&dir, "ca", "server", "DNS:localhost");
    sign_for(&dir, "server", "20200101000000Z", "20200201000000Z");
    let (_redis, port) = serve(&cert, &ca, &[]);
    let error = open("localhost", port, &trusting(&ca)).await.unwrap_err();
    expect(&error, Status::Tls, &["the server's certificate has expired (", " days ago by this machine's clock)"]);
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_asks_about_the_clock() {
    let dir = temp_dir("link-tls");
    let ca = make_ca(&dir, "ca");
    let cert = make_cert(&dir, "ca", "server", "DNS:localhost");
    sign_for(&dir, "server", "20990101000000Z", "20990201000000Z");
    let (_redis, port) = serve(&cert, &ca, &[]);
    let error = open("localhost", port, &trusting(&ca)).await.unwrap_err();
    expect(&error, Status::Tls, &["the server's certificate is not valid yet; is this machine's clock right?"]);
}

#[tokio::test]
async fn a_ca_used_as_the_servers_certificate_is_explained() {
    let dir = temp_dir("link-tls");
    let ca = make_ca(&dir, "localhost");
    let (_redis, port) = serve(&(ca.clone(), dir.join("localhost.key")), &ca, &[]);
    let error = open("localhost", port, &trusting(&ca)).await.unwrap_err();
    expect(&error, Status::Tls, &["the server's certificate is itself a CA"]);
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_gets_one_of_any_key_format() {
    let dir = temp_dir("link-tls");
    let ca = make_ca(&dir, "ca");
    let cert = make_cert(&dir, "ca", "server", "DNS:localhost");
    let (client, sec1) = make_cert(&dir, "ca", "client", "DNS:client");
    openssl(&dir, "pkcs8 -topk8 -nocrypt -in client.key -out client.pk8");
    openssl(&dir, "req -newkey rsa:2048 -nodes -keyout rsa.pk8 -subj /CN=rsa -out rsa.csr");
    openssl(&dir, "rsa -in rsa.pk8 -traditional -out rsa.pk1");
    write(&dir, "rsa.ext", "subjectAltName=DNS:rsa\n");
    openssl(
        &dir,
        "x509 -req -in rsa.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile rsa.ext -out rsa.crt",
    );
    let rsa = dir.join("rsa.crt");

    for protocols in ["TLSv1.3", "TLSv1.2"] {
        let (_redis, port) = serve(&cert, &ca, &[("tls-auth-clients", "yes"), ("tls-protocols", protocols)]);
        let pairs = [(&client, sec1.clone()), (&client, dir.join("client.pk8")), (&rsa, dir.join("rsa.pk1"))];
        for (cert, key) in pairs {
            let tls = TlsOptions { cert: Some(cert.clone()), key: Some(key), ..trusting(&ca) };
            open("localhost", port, &tls).await.unwrap();
        }
        // With 1.3 the refusal comes after our side is done: in the greeting, whichever of write and read meets it.
        for _ in 0..20 {
            let error = open("localhost", port, &trusting(&ca)).await.unwrap_err();
            expect(&error, Status::Tls, &["client certificate", "tls_cert", "tls_key"]);
            if protocols == "TLSv1.3" {
                assert_eq!(error.message(), "the server wants a client certificate: set tls_cert and tls_key");
            }
        }
    }
}

#[tokio::test]
async fn a_client_certificate_that_the_server_does_not_trust_is_told_apart() {
    let dir = temp_dir("link-tls");
    let (ca, _) = (make_ca(&dir, "ca"), make_ca(&dir, "other"));
    let cert = make_cert(&dir, "ca", "server", "DNS:localhost");
    let (client, key) = make_cert(&dir, "other", "client", "DNS:client");
    let (_redis, port) = serve(&cert, &ca, &[("tls-auth-clients", "yes")]);
    let tls = TlsOptions { cert: Some(client), key: Some(key), ..trusting(&ca) };
    let error = open("localhost", port, &tls).await.unwrap_err();
    expect(&error, Status::Tls, &["the server does not trust our certificate (UnknownCA)"]);
}

#[tokio::test]
async fn plain_and_tls_that_meet_each_other_say_what_to_change() {
    let dir = temp_dir("link-tls");
    let ca = make_ca(&dir, "ca");
    let cert = make_cert(&dir, "ca", "server", "DNS:localhost");
    let (server, tls_port) = serve(&cert, &ca, &[]);
    let plain_port = server.port();

    // A plain redis-server waits for the end of a line, for ever.
    let tls = TlsSetup::load(&trusting(&ca)).unwrap();
    let hasty = DialOptions { tls: Some(tls), connect_timeout: Duration::from_secs(2), ..options() };
    let error = dial(&tcp("localhost", plain_port), &hasty).await.unwrap_err();
    let part = "connected, but no answer within 2s to TLS; does the server speak TLS on that port?";
    expect(&error, Status::Connect, &[part]);

    let mut socket = dial(&tcp("localhost", tls_port), &options()).await.unwrap();
    let error = greet(&mut socket.io, &HELLO).await.unwrap_err();
    expect(&error, Status::Connect, &["closed the connection during the handshake", "is tls set as it wants?"]);
}

#[tokio::test]
async fn a_server_that_answers_tls_with_something_else_does_not_speak_it() {
    let dir = temp_dir("link-tls");
    let ca = make_ca(&dir, "ca");
    for answer in [&b"-ERR unknown command\r\n"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+PONG\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            peer.write_all(answer).await.unwrap();
            let _ = peer.read(&mut [0; 4096]).await;
            peer
        };
        let tls = trusting(&ca);
        let (opened, _) = tokio::join!(open("localhost", port, &tls), serve);
        expect(&opened.unwrap_err(), Status::Tls, &["the server does not speak TLS on that port"]);
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_or_stays_silent_in_the_handshake_is_told_apart() {
    let dir = temp_dir("link-tls");
    let tls = TlsSetup::load(&trusting(&make_ca(&dir, "ca"))).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp("127.0.0.1", listener.local_addr().unwrap().port());
    let patient = DialOptions { tls: Some(tls), connect_timeout: Duration::from_secs(10), ..options() };
    let hasty = DialOptions { connect_timeout: Duration::from_secs(2), ..patient.clone() };

    let hang_up = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        let _ = peer.read(&mut [0; 4096]).await;
    };
    let (dialled, ()) = tokio::join!(dial(&address, &patient), hang_up);
    expect(&dialled.unwrap_err(), Status::Tls, &["closed the connection during the TLS handshake"]);

    let dialled = dial(&address, &hasty).await;
    expect(&dialled.unwrap_err(), Status::Connect, &["connected, but no answer within 2s to TLS"]);
}

#[test]
fn each_file_that_cannot_be_used_is_named() {
    let dir = temp_dir("link-tls");
    let ca = make_ca(&dir, "ca");
    let (cert, key) = make_cert(&dir, "ca", "client", "DNS:client");
    let (_, other_key) = make_cert(&dir, "ca", "other", "DNS:other");
    openssl(&dir, "pkcs8 -topk8 -in client.key -passout pass:open -out locked.key");
    let empty = write(&dir, "empty.pem", "nothing here\n");
    let damaged = write(&dir, "damaged.pem", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
    let broken = write(&dir, "broken.key", "-----BEGIN PRIVATE KEY-----\nSECRET!!\n-----END PRIVATE KEY-----\n");
    let absent = dir.join("absent.pem");
    let at = |path: &Path| path.display().to_string();
    let load = |ca: &Path, cert: Option<&Path>, key: Option<&Path>| {
        let [cert, key] = [cert, key].map(|path| path.map(Path::to_owned));
        TlsSetup::load(&TlsOptions { ca: Some(ca.to_owned()), cert, key, server_name: None }).map(|_| ())
    };

    load(&ca, Some(&cert), Some(&key)).unwrap();
    for (loaded, sentence) in [
        (load(&absent, None, None), format!("tls_ca {}: no such file", at(&absent))),
        (load(&dir.join("."), None, None), format!("tls_ca {}: it is a directory, not a PEM file", at(&dir.join(".")))),
        (load(&empty, None, None), format!("tls_ca {}: no certificate in it", at(&empty))),
        (load(&key, None, None), format!("tls_ca {}: no certificate in it", at(&key))),
        (load(&damaged, None, None), format!("tls_ca {}: damaged PEM", at(&damaged))),
        (load(&ca, Some(&absent), Some(&key)), format!("tls_cert {}: no such file", at(&absent))),
        (load(&ca, Some(&cert), Some(&absent)), format!("tls_key {}: no such file", at(&absent))),
        (load(&ca, Some(&cert), Some(&empty)), format!("tls_key {}: no private key in it", at(&empty))),
        (load(&ca, Some(&cert), Some(&broken)), format!("tls_key {}: damaged PEM", at(&broken))),
        (load(&ca, Some(&cert), None), "tls_cert is set and tls_key is not".into()),
        (load(&ca, None, Some(&key)), "tls_key is set and tls_cert is not".into()),
        (
            load(&ca, Some(&cert), Some(&dir.join("locked.key"))),
            format!("tls_key {}: it is encrypted; give one that is not", at(&dir.join("locked.key"))),
        ),
        (
            load(&ca, Some(&cert), Some(&other_key)),
            format!("tls_key does not fit tls_cert ({}, {})", at(&other_key), at(&cert)),
        ),
    ] {
        let error = loaded.unwrap_err();
        assert_eq!((error.status(), error.message()), (Status::Tls, sentence.as_str()));
    }
    let options = TlsOptions { server_name: Some("not a name".into()), ..trusting(&ca) };
    expect(&TlsSetup::load(&options).unwrap_err(), Status::Tls, &["tls_server_name \"not a name\" is no name"]);
}

#[test]
fn a_setup_shows_no_key() {
    let dir = temp_dir("link-tls");
    let ca = make_ca(&dir, "ca");
    let (cert, key) = make_cert(&dir, "ca", "client", "DNS:client");
    let tls = TlsSetup::load(&TlsOptions { cert: Some(cert), key: Some(key), ..trusting(&ca) }).unwrap();
    assert!(format!("{tls:?}").len() < 100);
}

#[test]
fn errors_that_are_not_of_tls_are_left_alone() {
    assert!(explain(&std::io::Error::from(std::io::ErrorKind::ConnectionReset)).is_none());
    assert!(explain(&std::io::Error::other("something")).is_none());
}
