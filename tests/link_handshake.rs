//! Greeting servers: real ones, old ones, broken ones, and those that are no Redis at all.

mod link_fixture;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use link_fixture::{expect, options, tcp};
use redmux::error::{Error, Result, Status};
use redmux::link::dial::{Address, dial};
use redmux::link::handshake::{Greeting, Hello, auth_command, auth_refused, greet};
use support::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const HELLO: Hello<'static> =
    Hello { user: None, password: None, client_name: "api-3", lib_name: "redmux", lib_version: "0.1.0", db: None };
const SECRET: &str = "hunter2-secret";
const WEB: Hello<'static> = Hello { user: Some("web"), password: Some(SECRET), ..HELLO };
const SEVEN: &str = "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:4711\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";

async fn greet_at(address: &Address, hello: &Hello<'_>) -> Result<Greeting> {
    let mut socket = dial(address, &options()).await.unwrap();
    greet(&mut socket.io, hello).await
}

/// Greet a server that answers with these bytes, whatever it is sent, and then hangs up.
async fn greet_fake(hello: &Hello<'_>, answer: &[u8]) -> Result<Greeting> {
    let (mut ours, mut theirs) = duplex(1 << 20);
    theirs.write_all(answer).await.unwrap();
    theirs.shutdown().await.unwrap();
    greet(&mut ours, hello).await
}

async fn refused(answer: &str) -> Error {
    let error = greet_fake(&WEB, answer.as_bytes()).await.unwrap_err();
    assert!(!error.message().contains(SECRET), "{error}");
    assert!(!format!("{error:?}").contains(SECRET));
    error
}

async fn ask(io: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), command: &[u8]) -> String {
    io.write_all(command).await.unwrap();
    let mut reply = vec![0; 4096];
    let n = io.read(&mut reply).await.unwrap();
    String::from_utf8_lossy(&reply[..n]).into_owned()
}

#[tokio::test]
async fn a_real_server_is_greeted_with_name_and_database() {
    let redis = Server::builder().unix_only().start();
    let mut socket = dial(&Address::Unix(redis.path()), &options()).await.unwrap();
    let greeting = greet(&mut socket.io, &Hello { db: Some(5), ..HELLO }).await.unwrap();
    assert_eq!(
        (greeting.server.as_str(), greeting.mode.as_str(), greeting.role.as_str()),
        ("redis", "standalone", "master")
    );
    assert!(greeting.version.starts_with("7.") && greeting.id > 0 && greeting.leftover.is_empty(), "{greeting:?}");
    let info = ask(&mut socket.io, b"CLIENT INFO\r\n").await;
    for part in [" name=api-3 ", " db=5 ", " resp=3", &format!("id={} ", greeting.id)] {
        assert!(info.contains(part), "{part} is not in {info}");
    }
}

#[tokio::test]
async fn nothing_is_said_that_was_not_asked_for() {
    let redis = Server::builder().unix_only().start();
    let mut socket = dial(&Address::Unix(redis.path()), &options()).await.unwrap();
    greet(&mut socket.io, &Hello { db: Some(0), ..Hello::default() }).await.unwrap();
    let info = ask(&mut socket.io, b"CLIENT INFO\r\n").await;
    assert!(info.contains(" name= ") && info.contains(" db=0 "), "{info}");
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_an_error_of_redis() {
    let redis = Server::builder().unix_only().start();
    let error = greet_at(&Address::Unix(redis.path()), &Hello { db: Some(99), ..HELLO }).await.unwrap_err();
    expect(&error, Status::Redis, &["select database 99: ERR DB index is out of range"]);
    assert_eq!(error.redis(), Some("ERR"));
}

#[tokio::test]
async fn a_client_name_with_a_space_is_refused_in_the_servers_words() {
    let redis = Server::builder().unix_only().start();
    let error = greet_at(&Address::Unix(redis.path()), &Hello { client_name: "a b", ..HELLO }).await.unwrap_err();
    expect(&error, Status::Redis, &["Client names cannot contain spaces"]);
}

#[tokio::test]
async fn passwords_and_users_are_accepted_refused_and_missed() {
    let redis = Server::builder()
        .password("open")
        .acl("user web on >hunter2-secret +@all")
        .acl("user mute on >hunter2-secret +@all -hello")
        .acl("user fixed on >hunter2-secret +@all -select")
        .start();
    let at = Address::Unix(redis.path());
    greet_at(&at, &Hello { password: Some("open"), ..HELLO }).await.unwrap();
    greet_at(&at, &WEB).await.unwrap();

    let error = greet_at(&at, &HELLO).await.unwrap_err();
    expect(&error, Status::Auth, &["the server wants a password: set user and password", "NOAUTH"]);
    let error = greet_at(&at, &Hello { password: Some("shut"), ..HELLO }).await.unwrap_err();
    expect(&error, Status::Auth, &["refused the password of user \"default\": WRONGPASS"]);
    let error = greet_at(&at, &Hello { password: Some("shut"), ..WEB }).await.unwrap_err();
    expect(&error, Status::Auth, &["refused the password of user \"web\": WRONGPASS"]);
    assert_eq!(error.redis(), Some("WRONGPASS"));
    assert!(!error.message().contains("shut"));
    let error = greet_at(&at, &Hello { user: Some("nobody"), ..WEB }).await.unwrap_err();
    expect(&error, Status::Auth, &["user \"nobody\""]);
    let error = greet_at(&at, &Hello { user: Some("fixed"), db: Some(1), ..WEB }).await.unwrap_err();
    expect(&error, Status::Auth, &["select database 1: NOPERM"]);
    // HELLO is open to everyone before AUTH, so a user who may not say it still gets in with it.
    greet_at(&at, &Hello { user: Some("mute"), ..WEB }).await.unwrap();
}

#[tokio::test]
async fn a_live_link_is_authenticated_again() {
    let redis = Server::builder().password("open").acl("user web on >hunter2-secret +@all").start();
    let mut socket = dial(&Address::Unix(redis.path()), &options()).await.unwrap();
    greet(&mut socket.io, &Hello { password: Some("open"), ..HELLO }).await.unwrap();
    let mut out = Vec::new();
    auth_command(&mut out, Some("web"), SECRET);
    assert_eq!(ask(&mut socket.io, &out).await, "+OK\r\n");
    assert!(ask(&mut socket.io, b"ACL WHOAMI\r\n").await.contains("web"));
    out.clear();
    auth_command(&mut out, None, "shut");
    let line = ask(&mut socket.io, &out).await;
    let error = auth_refused(None, "shut", line.trim_start_matches('-').trim_end().as_bytes());
    expect(&error, Status::Auth, &["refused the password of user \"default\": WRONGPASS"]);
}

#[tokio::test]
async fn a_full_server_says_so() {
    let redis = Server::builder().config("maxclients", "1").start();
    for address in [Address::Unix(redis.path()), tcp("127.0.0.1", redis.port())] {
        let mut first = loop {
            // The probe of the fixture may still hold the only place.
            let mut socket = dial(&Address::Unix(redis.path()), &options()).await.unwrap();
            if greet(&mut socket.io, &HELLO).await.is_ok() {
                break socket;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let error = greet_at(&address, &HELLO).await.unwrap_err();
        expect(&error, Status::Redis, &["refused the connection: ERR max number of clients reached"]);
        first.io.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn answers_that_come_byte_by_byte_are_read_and_what_follows_is_kept() {
    let (mut ours, mut theirs) = duplex(1);
    let serve = async move {
        let mut asked = vec![0; 512];
        let _ = theirs.read(&mut asked).await;
        let (mut reads, mut writes) = tokio::io::split(theirs);
        let mut sink = tokio::io::sink();
        let text = format!("{SEVEN}-ERR unknown subcommand 'SETINFO'\r\n-ERR no\r\n");
        let _ = tokio::join!(tokio::io::copy(&mut reads, &mut sink), async {
            for byte in text.as_bytes() {
                writes.write_all(&[*byte]).await.unwrap();
            }
            writes.shutdown().await.unwrap();
        });
    };
    let (greeting, ()) = tokio::join!(
        async {
            let greeting = greet(&mut ours, &HELLO).await;
            drop(ours);
            greeting
        },
        serve
    );
    assert_eq!(greeting.unwrap().id, 4711);

    let push = ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx";
    let answer = format!("{SEVEN}+OK\r\n+OK\r\n{push}");
    let greeting = greet_fake(&HELLO, answer.as_bytes()).await.unwrap();
    assert_eq!(greeting.leftover, push.as_bytes());
}

#[tokio::test]
async fn every_cut_of_the_answer_is_a_lost_connection() {
    let answer = format!("{SEVEN}+OK\r\n+OK\r\n+OK\r\n");
    let hello = Hello { db: Some(2), ..HELLO };
    for end in 0..answer.len() {
        let error = greet_fake(&hello, &answer.as_bytes()[..end]).await.unwrap_err();
        expect(&error, Status::Connect, &["closed the connection during the handshake"]);
    }
    greet_fake(&hello, answer.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn old_servers_are_told_apart_and_their_echo_of_the_password_is_not_repeated() {
    let echo = format!("-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `web`, `{SECRET}`, \r\n");
    expect(&refused(&echo).await, Status::OldServer, &["does not know HELLO", "Redis 7.0 or later"]);
    expect(&refused("-ERR unknown command 'HELLO'\r\n").await, Status::OldServer, &[]);
    expect(&refused("-NOPROTO unsupported protocol version\r\n").await, Status::OldServer, &["RESP3"]);
    let six = SEVEN.replace("7.0.15", "6.2.14");
    expect(&refused(&six).await, Status::OldServer, &["the server is redis 6.2.14"]);
    // The greeting of what only resembles a server may repeat it as well, or be long.
    let echo = SEVEN.replace("$6\r\n7.0.15", &format!("${}\r\n6.{SECRET}", SECRET.len() + 2));
    expect(&refused(&echo).await, Status::OldServer, &["withheld"]);
    let long = SEVEN.replace("$6\r\n7.0.15", &format!("$1002\r\n6.{}", "0".repeat(1000)));
    assert!(refused(&long).await.message().len() < 400);
    let two = SEVEN.replace("proto\r\n:3", "proto\r\n:2");
    expect(&refused(&two).await, Status::OldServer, &[]);
}

#[tokio::test]
async fn valkey_is_accepted_in_any_version_and_so_is_an_unreadable_one() {
    for (server, version) in [("valkey", "8.1.0"), ("valkey", "1.0.0"), ("redis", "255.255.255"), ("other", "df-v1.2")]
    {
        let answer = SEVEN
            .replace("$5\r\nredis", &format!("${}\r\n{server}", server.len()))
            .replace("$6\r\n7.0.15", &format!("${}\r\n{version}", version.len()));
        let greeting = greet_fake(&HELLO, format!("{answer}+OK\r\n+OK\r\n").as_bytes()).await.unwrap();
        assert_eq!((greeting.server.as_str(), greeting.version.as_str()), (server, version));
    }
}

#[tokio::test]
async fn errors_of_redis_keep_their_word() {
    for (line, word, part) in [
        ("-LOADING Redis is loading the dataset in memory", "LOADING", "still loading"),
        ("-MASTERDOWN Link with MASTER is down", "MASTERDOWN", "Link with MASTER is down"),
        ("-DENIED Redis is running in protected mode because", "DENIED", "protected mode"),
        ("-ERR Syntax error in HELLO option 'SETNAME'", "ERR", "Syntax error"),
    ] {
        let error = refused(&format!("{line}\r\n")).await;
        expect(&error, Status::Redis, &[part, word]);
        assert_eq!(error.redis(), Some(word));
    }
    let error = refused("-NOPERM this user has no permissions to run the 'hello' command\r\n").await;
    expect(&error, Status::Auth, &["user \"web\" may not"]);
    let error = refused(&format!("-ERR bad option '{SECRET}'\r\n")).await;
    expect(&error, Status::Redis, &["withheld"]);
    let error = refused(&format!("-ERR {}\r\n", "long ".repeat(1000))).await;
    assert!(error.message().len() < 300, "{error}");
}

#[tokio::test]
async fn those_that_are_no_redis_are_told_apart() {
    let error = refused("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    expect(&error, Status::Protocol, &["does not speak RESP3", "begins with \"HTTP/1.1 400 Bad Request\""]);
    expect(&refused(&format!("HTTP {SECRET}\r\n")).await, Status::Protocol, &["does not speak RESP3"]);
    expect(&refused("\u{15}\u{3}\u{3}").await, Status::Tls, &["wants TLS on that port"]);
    expect(&refused("+OK\r\n").await, Status::Protocol, &["something else"]);
    expect(&refused("%1\r\n+a\r\n+b\r\n").await, Status::Protocol, &["HELLO with something else"]);
    expect(&refused(&format!("{SEVEN}+OK\r\n")).await, Status::Connect, &["closed"]);
    let message = ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n";
    expect(&refused(message).await, Status::Protocol, &["before anything was subscribed"]);
    // An echo service gives back what it was sent.
    let (mut ours, theirs) = duplex(4096);
    let (mut reads, mut writes) = tokio::io::split(theirs);
    let (error, _) = tokio::join!(
        async {
            let error = greet(&mut ours, &WEB).await.unwrap_err();
            drop(ours);
            error
        },
        tokio::io::copy(&mut reads, &mut writes)
    );
    expect(&error, Status::Protocol, &["HELLO with something else"]);
}

#[tokio::test]
async fn no_answer_is_read_without_bound() {
    let flood = ">2\r\n+a\r\n+b\r\n".repeat(20_000);
    expect(&refused(&flood).await, Status::Protocol, &["64 KiB"]);
    let line = format!("-ERR {}", "x".repeat(200_000));
    expect(&refused(&line).await, Status::Protocol, &[]);
    let bulk = format!("$60000\r\n{}", "x".repeat(60_000));
    expect(&refused(&bulk.repeat(2)).await, Status::Protocol, &[]);
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_to_the_callers_timeout() {
    let (mut ours, theirs): (DuplexStream, DuplexStream) = duplex(4096);
    let greeting = tokio::time::timeout(Duration::from_millis(20), greet(&mut ours, &HELLO)).await;
    assert!(greeting.is_err());
    drop((ours, theirs));
}

#[tokio::test]
async fn a_reset_is_a_lost_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut socket = dial(&tcp("127.0.0.1", port), &options()).await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    let error = greet(&mut socket.io, &HELLO).await.unwrap_err();
    expect(&error, Status::Connect, &["closed the connection during the handshake"]);
}

#[test]
fn a_server_without_auth_gives_no_password_away() {
    let line = b"ERR unknown command 'AUTH', with args beginning with: 'web' 'hunter2-secret' ";
    expect(&auth_refused(Some("web"), SECRET, line), Status::Auth, &["does not know AUTH"]);
}
