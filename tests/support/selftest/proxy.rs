//! The proxy's faults, to the byte.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::{Conn, Fake, PATIENCE, Proxy, Server, Value, eventually};
use crate::{connect, pong, read_to_end};

/// A server that says these bytes to each client, and tells what each client said to it, once that client has closed.
fn talker(says: Vec<u8>) -> (Fake, mpsc::Receiver<Vec<u8>>) {
    let (tell, told) = mpsc::channel();
    let fake = Fake::scripted(move |mut conn| {
        let _ = conn.write(&says);
        let mut heard = Vec::new();
        while let Ok(bytes) = conn.read_some() {
            heard.extend(bytes);
        }
        let _ = tell.send(heard);
    });
    (fake, told)
}

fn all_bytes() -> Vec<u8> {
    (0..=255).collect()
}

#[test]
fn a_proxy_passes_everything_to_a_port_and_to_a_socket() {
    let server = Server::start();
    for proxy in [Proxy::start(&server), Proxy::start(server.path())] {
        let mut conn = Conn::tcp(proxy.port()).unwrap();
        let big = vec![0xa5; 3 << 20];
        conn.expect(&[&b"SET"[..], b"big", &big]);
        assert_eq!(conn.expect(&["GET", "big"]), Value::Bulk(big));
        assert_eq!((proxy.connections(), proxy.live()), (1, 1));
        // A chunk is counted after it was handed on, so the last one may be on its way into the count.
        eventually("both directions counted what passed", PATIENCE, || {
            proxy.to_server().passed() > 3 << 20 && proxy.to_client().passed() > 3 << 20
        });
        drop(conn);
        eventually("the closed connection is gone from the proxy", PATIENCE, || proxy.live() == 0);
    }
}

#[test]
fn a_cut_comes_after_exactly_so_many_bytes_in_either_direction() {
    let (fake, told) = talker(all_bytes());
    let proxy = Proxy::start(fake.port());
    for bytes in [0, 1, 37, 255, 256] {
        proxy.to_client().cut_after(bytes);
        assert_eq!(read_to_end(&mut connect(proxy.port())), all_bytes()[..bytes]);
        assert!(told.recv_timeout(PATIENCE).unwrap().is_empty());
        proxy.to_server().cut_after(bytes);
        let mut client = connect(proxy.port());
        client.read_exact(&mut [0; 256]).unwrap();
        client.write_all(&all_bytes()).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), all_bytes()[..bytes]);
        assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
    assert_eq!(proxy.live(), 0);
    // The rule held once.
    connect(proxy.port()).read_exact(&mut [0; 256]).unwrap();
}

#[test]
fn exactly_so_many_bytes_are_corrupted() {
    let (fake, _told) = talker(all_bytes());
    let proxy = Proxy::start(fake.port());
    proxy.to_client().corrupt(3);
    let mut bytes = [0; 256];
    connect(proxy.port()).read_exact(&mut bytes).unwrap();
    assert_eq!(bytes[..5], [255, 254, 253, 3, 4]);
    connect(proxy.port()).read_exact(&mut bytes).unwrap();
    assert_eq!(bytes[..], all_bytes());
}

#[test]
fn swallowed_bytes_are_counted_and_never_arrive() {
    let (fake, told) = talker(Vec::new());
    let proxy = Proxy::start(fake.port());
    let mut client = connect(proxy.port());
    proxy.to_server().swallow();
    client.write_all(b"lost").unwrap();
    eventually("four bytes are swallowed", PATIENCE, || proxy.to_server().swallowed() == 4);
    proxy.to_server().pass();
    client.write_all(b"kept").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), b"kept");
}

#[test]
fn injected_bytes_arrive_in_all_connections_or_in_the_chosen_one() {
    let (fake, _told) = talker(Vec::new());
    let proxy = Proxy::start(fake.port());
    let mut clients = [connect(proxy.port()), connect(proxy.port())];
    eventually("both connections are live", PATIENCE, || proxy.live() == 2);
    assert_eq!(proxy.live_numbers(), [0, 1]);
    assert_eq!(proxy.to_client().inject(b"all;"), 2);
    assert_eq!(proxy.to_client().only(1).inject(b"one;"), 1);
    proxy.to_client().pass();
    assert_eq!(proxy.to_client().inject(b"end"), 2);
    proxy.cut_all();
    assert_eq!(clients.each_mut().map(read_to_end), [b"all;end".to_vec(), b"all;one;end".to_vec()]);
}

#[test]
fn a_stall_fills_the_senders_buffers_and_loses_nothing() {
    let (fake, told) = talker(Vec::new());
    let proxy = Proxy::start(fake.port());
    let mut client = connect(proxy.port());
    proxy.to_server().stall();
    client.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let chunk: Vec<u8> = (0..=250).cycle().take(64 * 1024).collect();
    let mut sent = 0;
    while let Ok(written) = client.write(&chunk[sent % 251..]) {
        sent += written;
        assert!(sent < 1 << 30, "a stalled proxy took a gigabyte");
    }
    assert_eq!(proxy.to_server().passed(), 0);
    proxy.to_server().resume();
    client.shutdown(Shutdown::Write).unwrap();
    let heard = told.recv_timeout(PATIENCE * 3).unwrap();
    assert_eq!(heard.len(), sent);
    assert!(heard.iter().copied().eq((0..=250).cycle().take(sent)));
}

#[test]
fn a_delay_holds_bytes_back_and_a_cut_does_not_wait_for_it() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let mut conn = Conn::tcp(proxy.port()).unwrap();
    conn.expect(&["PING"]);
    proxy.to_client().delay(Duration::from_millis(60));
    let started = Instant::now();
    conn.expect(&["PING"]);
    assert!(started.elapsed() >= Duration::from_millis(60));
    proxy.to_client().delay(Duration::from_secs(3600));
    conn.send(b"PING\r\n").unwrap();
    eventually("the server was asked thrice", PATIENCE, || server.conn().commandstats("ping") >= 3);
    proxy.cut_all();
    assert_eq!(conn.read_reply().unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_dribble_keeps_order_and_takes_its_time() {
    let (fake, _told) = talker(all_bytes());
    let proxy = Proxy::start(fake.port());
    proxy.to_client().dribble(64, Duration::from_millis(250));
    let started = Instant::now();
    let (mut bytes, mut client, mut largest) = (Vec::<u8>::new(), connect(proxy.port()), 0);
    while bytes.len() < 256 {
        let mut part = [0; 256];
        let read = client.read(&mut part).unwrap();
        largest = largest.max(read);
        bytes.extend(&part[..read]);
    }
    assert_eq!(bytes, all_bytes());
    assert!(started.elapsed() >= Duration::from_millis(750) && largest < 256);
}

#[test]
fn refused_connections_are_counted_and_live_ones_stay() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let mut old = Conn::tcp(proxy.port()).unwrap();
    old.expect(&["PING"]);
    proxy.refuse();
    assert!(Conn::tcp(proxy.port()).unwrap().try_command(&["PING"]).is_err());
    assert_eq!((proxy.connections(), proxy.live(), proxy.attempts().len()), (2, 1, 2));
    assert_eq!(old.command(&["PING"]), pong());
    proxy.listener_off();
    assert_eq!(Conn::tcp(proxy.port()).err().map(|error| error.kind()), Some(ErrorKind::ConnectionRefused));
    assert_eq!((proxy.connections(), old.command(&["PING"])), (2, pong()));
    proxy.pass();
    assert_eq!(Conn::tcp(proxy.port()).unwrap().command(&["PING"]), pong());
    assert_eq!(proxy.connections(), 3);
}

#[test]
fn one_connection_of_several_can_be_found_by_its_address_and_cut() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let mut conns = [Conn::tcp(proxy.port()).unwrap(), Conn::tcp(proxy.port()).unwrap()];
    conns[0].expect(&["PING"]);
    conns[1].expect(&["CLIENT", "SETNAME", "victim"]);
    let list = server.conn().client_list();
    let victim = list.iter().find(|client| client["name"] == "victim").unwrap();
    assert_eq!(proxy.number_of(&victim["addr"]), Some(1));
    assert!(proxy.cut(1) && !proxy.cut(1));
    assert!(conns[1].try_command(&["PING"]).is_err());
    assert_eq!(conns[0].command(&["PING"]), pong());
}

#[test]
fn connections_through_a_proxy_end_with_their_server_and_come_back_with_it() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    let mut conn = Conn::tcp(proxy.port()).unwrap();
    conn.expect(&["PING"]);
    server.kill();
    assert!(conn.read_reply().is_err());
    assert!(Conn::tcp(proxy.port()).unwrap().try_command(&["PING"]).is_err());
    server.restart();
    assert_eq!(Conn::tcp(proxy.port()).unwrap().command(&["PING"]), pong());
}

#[test]
fn a_dropped_proxy_closes_its_port_and_its_connections_even_stalled_ones() {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    proxy.to_client().stall();
    let port = proxy.port();
    let mut conn = Conn::tcp(port).unwrap();
    conn.send(b"PING\r\n").unwrap();
    eventually("the connection is live", PATIENCE, || proxy.live() == 1);
    drop(proxy);
    assert!(conn.read_reply().is_err());
    assert!(Conn::tcp(port).is_err());
}
