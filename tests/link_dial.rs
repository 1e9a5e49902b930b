//! Dialling real sockets: what is open afterwards, and what a failure says.

mod link_fixture;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use link_fixture::{expect, options, tcp};
use redmux::error::Status;
use redmux::link::dial::{Address, Socket, dial};
use redmux::link::tls::{TlsOptions, TlsSetup};
use support::{Server, free_port, temp_dir};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn ping(socket: &mut Socket) {
    socket.io.write_all(b"PING\r\n").await.unwrap();
    pong(socket).await;
}

async fn pong(socket: &mut Socket) {
    let mut reply = [0; 7];
    socket.io.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"+PONG\r\n");
}

#[tokio::test]
async fn a_unix_socket_is_dialled() {
    let redis = Server::builder().unix_only().start();
    let mut socket = dial(&Address::Unix(redis.path()), &options()).await.unwrap();
    ping(&mut socket).await;
    assert_eq!(socket.peer, redis.path().to_str().unwrap());
    assert!(socket.raw_fd() > 2);
}

#[tokio::test]
async fn a_host_name_and_an_ip_address_are_dialled() {
    let redis = Server::start();
    let port = redis.port();
    let mut socket = dial(&tcp("localhost", port), &options()).await.unwrap();
    ping(&mut socket).await;
    assert_eq!(socket.peer, format!("localhost:{port} (127.0.0.1:{port})"));
    let mut socket = dial(&tcp("127.0.0.1", port), &options()).await.unwrap();
    ping(&mut socket).await;
    assert_eq!(socket.peer, format!("127.0.0.1:{port}"));
}

#[tokio::test]
async fn the_side_writer_sends_on_the_same_connection_from_another_thread() {
    let redis = Server::start();
    for address in [Address::Unix(redis.path()), tcp("127.0.0.1", redis.port())] {
        let mut socket = dial(&address, &options()).await.unwrap();
        let side = socket.side_writer().expect("a plain socket has one");
        let sent = std::thread::spawn(move || side.send(b"PING\r\n"));
        assert_eq!(sent.join().unwrap().unwrap(), 6);
        pong(&mut socket).await;
        ping(&mut socket).await;
    }
}

#[tokio::test]
async fn dropping_a_socket_closes_the_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = dial(&tcp("127.0.0.1", port), &options()).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    drop(socket);
    assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_refused_port_says_who_refused_and_what_to_check() {
    let port = free_port();
    let error = dial(&tcp("127.0.0.1", port), &options()).await.unwrap_err();
    assert_eq!(error.status(), Status::Connect);
    let expected = format!("connect to 127.0.0.1:{port}: refused (Connection refused); is redis-server running there?");
    assert_eq!(error.message(), expected);
}

#[tokio::test]
async fn a_missing_unix_socket_is_named() {
    let dir = temp_dir("link");
    let path = dir.join("none.sock");
    let error = dial(&Address::Unix(path.clone()), &options()).await.unwrap_err();
    expect(&error, Status::Connect, &[path.to_str().unwrap(), "no such socket (No such file or directory)"]);
}

#[tokio::test]
async fn a_unix_socket_that_nobody_serves_is_refused() {
    let dir = temp_dir("link");
    let path = dir.join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = dial(&Address::Unix(path), &options()).await.unwrap_err();
    expect(&error, Status::Connect, &["dead.sock: refused (Connection refused); is redis-server running there?"]);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_apart() {
    let error = dial(&tcp("no-such-host.invalid", 6379), &options()).await.unwrap_err();
    expect(&error, Status::Resolve, &["resolve \"no-such-host.invalid\": "]);
    assert!(!error.message().contains("os error"), "{error}");
}

#[tokio::test]
async fn tls_over_a_unix_socket_is_refused_rather_than_left_out() {
    let dir = temp_dir("link");
    if !cfg!(feature = "tls") {
        return;
    }
    let ca = link_fixture::make_ca(&dir, "ca");
    let tls = TlsSetup::load(&TlsOptions { ca: Some(ca), ..TlsOptions::default() }).unwrap();
    let options = redmux::link::dial::DialOptions { tls: Some(tls), ..options() };
    let error = dial(&Address::Unix(dir.join("any.sock")), &options).await.unwrap_err();
    expect(&error, Status::Tls, &["a unix socket carries no TLS"]);
}

#[tokio::test]
async fn a_dial_that_is_dropped_leaves_no_descriptor() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for _ in 0..20 {
        let address = tcp("127.0.0.1", port);
        let options = options();
        let mut dialling = Box::pin(dial(&address, &options));
        let _ = tokio::time::timeout(Duration::ZERO, &mut dialling).await;
        drop(dialling);
        let (mut peer, _) = match tokio::time::timeout(Duration::from_millis(50), listener.accept()).await {
            Ok(accepted) => accepted.unwrap(),
            Err(_) => continue,
        };
        match peer.read(&mut [0; 8]).await {
            Ok(n) => assert_eq!(n, 0, "the connection is closed"),
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}
