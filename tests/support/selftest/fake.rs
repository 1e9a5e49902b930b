//! The fake server.

use std::io::{BufRead, BufReader, Read, Write};

use crate::support::conn::encode;
use crate::support::fake::HELLO_ANSWER;
use crate::support::{Conn, Fake, Value};
use crate::{connect, read_to_end};

#[test]
fn a_fake_server_greets_in_one_round_trip_and_leaves_the_rest_to_its_script() {
    let fake = Fake::answering_hello(|mut conn| {
        assert_eq!(conn.read_words().unwrap(), ["SUBSCRIBE", "news"]);
        conn.write(b">3\r\n$9\r\nsubscr").unwrap();
        conn.wait_closed();
    });
    let mut client = BufReader::new(connect(fake.port()));
    let hello = ["HELLO", "3", "AUTH", "u", "p", "SETNAME", "n"];
    let mut pipeline = encode(&hello);
    pipeline.extend(encode(&["CLIENT", "SETINFO", "LIB-NAME", "redmux"]));
    client.get_mut().write_all(&pipeline).unwrap();
    let mut answer = vec![0; HELLO_ANSWER.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, HELLO_ANSWER);
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    assert!(line.starts_with("-ERR unknown subcommand"));
    // What belongs to the greeting and comes late is answered too.
    client.get_mut().write_all(&encode(&["SELECT", "2"])).unwrap();
    client.get_mut().write_all(&encode(&["SUBSCRIBE", "news"])).unwrap();
    let mut rest = [0; 19];
    client.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"+OK\r\n>3\r\n$9\r\nsubscr");
    assert_eq!(fake.connections(), 1);
    drop(client);
    fake.finish();
}

#[test]
fn a_fake_server_can_be_old_or_played_by_the_test() {
    let old = Fake::refusing("-ERR unknown command 'HELLO'");
    let answer = Conn::tcp(old.port()).unwrap().command(&["HELLO", "3"]);
    assert_eq!(answer, Value::Error("ERR unknown command 'HELLO'".into()));
    let fake = Fake::listen();
    let mut client = connect(fake.port());
    client.write_all(b"a line\r\nfour").unwrap();
    let mut conn = fake.accept();
    assert_eq!((conn.read_line().unwrap().as_str(), conn.read_bytes(4).unwrap()), ("a line", b"four".to_vec()));
    conn.write(b"nonsense").unwrap();
    drop(conn);
    assert_eq!(read_to_end(&mut client), b"nonsense");
}

#[test]
fn a_script_that_panics_fails_the_test_that_asks() {
    let fake = Fake::scripted(|_| panic!("as scripts do"));
    let _ = connect(fake.port()).read(&mut [0; 1]);
    assert!(std::thread::spawn(move || fake.finish()).join().is_err());
}
