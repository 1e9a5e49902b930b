//! The private server, and the client that looks at it.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::pong;
use crate::support::{Conn, PATIENCE, Server, Value, process};

#[test]
fn a_started_server_answers_on_its_port_and_on_its_socket() {
    let server = Server::start();
    assert_eq!(Conn::tcp(server.port()).unwrap().command(&["PING"]), pong());
    assert_eq!(Conn::unix(&server.path()).unwrap().command(&["PING"]), pong());
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
}

#[test]
fn a_stopped_server_refuses_and_a_restarted_one_has_the_same_port_and_nothing_in_it() {
    let server = Server::start();
    let (port, pid) = (server.port(), server.pid());
    server.conn().command(&["SET", "kept", "no"]);
    server.stop();
    server.stop();
    assert!(!server.is_running() && !process::is_running(pid));
    assert_eq!(Conn::tcp(port).err().map(|error| error.kind()), Some(ErrorKind::ConnectionRefused));
    server.restart();
    assert_eq!((server.port(), server.conn().command(&["GET", "kept"])), (port, Value::Nil));
    server.kill();
    assert!(!server.is_running());
    server.restart();
    assert_ne!(server.pid(), pid);
}

#[test]
fn a_prepared_server_has_its_port_before_it_runs() {
    let server = Server::builder().prepare();
    assert!(!server.is_running());
    assert!(Conn::tcp(server.port()).is_err());
    let port = server.port();
    server.restart();
    assert_eq!(Conn::tcp(port).unwrap().command(&["PING"]), pong());
}

#[test]
fn a_frozen_server_keeps_its_connections_and_answers_when_thawed() {
    let server = Server::start();
    let mut conn = Conn::tcp(server.port()).unwrap();
    server.freeze();
    conn.stream().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(conn.try_command(&["PING"]).unwrap_err().kind(), ErrorKind::WouldBlock);
    server.thaw();
    conn.stream().set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(conn.read_reply().unwrap(), pong());
    server.freeze();
    server.stop();
    assert!(!server.is_running());
}

#[test]
fn a_server_ends_with_a_panicking_test_and_takes_its_directory_along() {
    let (tell, told) = mpsc::channel();
    let test = std::thread::spawn(move || {
        let server = Server::start();
        tell.send((server.pid(), server.path())).unwrap();
        panic!("as tests do");
    });
    assert!(test.join().is_err());
    let (pid, path) = told.recv().unwrap();
    assert!(!process::is_running(pid));
    assert!(!path.parent().unwrap().exists());
}

#[test]
fn a_server_outlives_the_thread_that_started_it() {
    let server = std::thread::spawn(Server::start).join().unwrap();
    // The kernel would kill it at once if the thread that ended were its parent.
    assert_eq!(server.conn().command(&["PING"]), pong());
    assert!(server.is_running());
}

#[test]
fn two_servers_never_share_a_port() {
    let (one, other) = (Server::start(), Server::start());
    assert_ne!(one.port(), other.port());
    one.conn().command(&["SET", "whose", "one"]);
    assert_eq!(other.conn().command(&["GET", "whose"]), Value::Nil);
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let failed = std::thread::spawn(|| drop(Server::builder().config("maxmemory", "much").start())).join();
    let text = failed.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("argument must be a memory value"), "{text}");
}

#[test]
fn users_passwords_and_configuration_hold_and_the_fixture_still_gets_in() {
    let line = "user web on >secret ~* &allowed:* +@all";
    let server = Server::builder().acl(line).password("a \"b\" c").config("maxmemory", "10mb").start();
    let mut web = Conn::tcp(server.port()).unwrap();
    assert!(matches!(web.command(&["PING"]), Value::Error(error) if error.starts_with("NOAUTH")));
    web.expect(&["AUTH", "web", "secret"]);
    assert!(matches!(web.command(&["SUBSCRIBE", "denied"]), Value::Error(error) if error.starts_with("NOPERM")));
    assert_eq!(web.expect(&["SUBSCRIBE", "allowed:x"]).items()[2], Value::Int(1));
    Conn::tcp(server.port()).unwrap().expect(&["AUTH", "a \"b\" c"]);
    assert_eq!(server.conn().command(&["CONFIG", "GET", "maxmemory"]).items()[1].text(), "10485760");
    server.conn().acl_setuser("default off");
    server.conn().acl_setuser("web ~* &* +@all");
    server.reconfigure("requirepass", "new");
    server.restart();
    Conn::tcp(server.port()).unwrap().expect(&["AUTH", "new"]);
}

#[test]
fn a_server_of_unix_sockets_only_has_no_port() {
    let server = Server::builder().unix_only().start();
    assert_eq!(Conn::unix(&server.path()).unwrap().command(&["PING"]), pong());
    assert_eq!(server.unix_url(), format!("unix://{}", server.path().display()));
    assert_eq!(server.conn().command(&["CONFIG", "GET", "port"]).items()[1].text(), "0");
}

#[test]
fn tls_is_trusted_through_its_authority_and_for_its_names_only() {
    let server = Server::builder().tls(true).start();
    let certs = server.certs();
    let address = format!("127.0.0.1:{}", server.tls_port());
    let handshake = |ca: &Path, more: &[&str]| {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-brief", "-verify_return_error", "-connect", &address, "-CAfile"]).arg(ca).args(more);
        client.stdin(Stdio::null()).output().unwrap().status.success()
    };
    assert!(handshake(&certs.ca, &["-verify_ip", "127.0.0.1"]));
    assert!(handshake(&certs.ca, &["-verify_hostname", "localhost"]));
    assert!(!handshake(&certs.ca, &["-verify_hostname", "redis.example"]));
    assert!(!handshake(&certs.other_ca, &[]));
    let (cert, key) = (certs.client_cert.to_str().unwrap(), certs.client_key.to_str().unwrap());
    assert!(handshake(&certs.ca, &["-cert", cert, "-key", key]));
    assert_eq!(server.tls_url(), format!("rediss://{address}"));
}

#[test]
fn a_sentinel_names_the_master_it_watches() {
    let master = Server::start();
    let sentinel = Server::builder().sentinel_of("mymaster", master.port()).start();
    let address = sentinel.conn().expect(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]);
    assert_eq!(address.items()[1].text(), master.port().to_string());
}

#[test]
fn the_client_counts_lists_and_kills_subscribers() {
    let server = Server::start();
    let mut conn = server.conn();
    let monitor = server.monitor();
    let mut subscriber = Conn::tcp(server.port()).unwrap();
    subscriber.expect(&["CLIENT", "SETNAME", "me"]);
    subscriber.expect(&[&b"SUBSCRIBE"[..], b"\0\xff"]);
    subscriber.expect(&["PSUBSCRIBE", "a*"]);
    assert_eq!((conn.numsub(b"\0\xff"), conn.numsub("other"), conn.numpat()), (1, 0, 1));
    assert_eq!((conn.publish(b"\0\xff", b"\r\n"), conn.publish(b"other", b"")), (1, 0));
    assert_eq!(subscriber.read_reply().unwrap().items()[2], Value::Bulk(b"\r\n".to_vec()));
    let list = conn.client_list();
    let me = list.iter().find(|client| client["name"] == "me").unwrap();
    assert_eq!((me["sub"].as_str(), me["psub"].as_str()), ("1", "1"));
    assert_eq!(
        (conn.commandstats("subscribe"), conn.commandstats("client|setname"), conn.commandstats("get")),
        (1, 1, 0)
    );
    assert!(monitor.wait_for("\"PSUBSCRIBE\" \"a*\"").contains("[0 127.0.0.1:"));
    let published = monitor.wait_for("\"PUBLISH\" \"other\"");
    assert!(monitor.lines().contains(&published));
    assert_eq!(conn.kill_pubsub(), 1);
    assert_eq!(subscriber.read_reply().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(conn.numsub(b"\0\xff"), 0);
    let mut idle = Conn::tcp(server.port()).unwrap();
    idle.expect(&["PING"]);
    assert!(conn.kill_normal() >= 1);
    assert!(idle.try_command(&["PING"]).is_err());
    conn.config_set("timeout", "77");
    assert_eq!(conn.command(&["CONFIG", "GET", "timeout"]).items()[1].text(), "77");
}
