//! An event loop that watches a client's descriptor is woken by what comes from the server, and turns the library's runtime
//! when it looks (`src/wheel/watch.rs`). Whatever it does or leaves undone, everybody is served.
//!
//! What is lent is a process' one runtime, so these tests take turns.
#[path = "support/lent.rs"]
mod lent;
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use lent::{alone, hear_away};
use redmux::client::Client;
use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::{runtime, sys, wheel};
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use support::server::Server;
use support::{PATIENCE, eventually};
use tap::*;

/// A program with an event loop, and what it hears.
struct Host {
    client: Arc<Client>,
    fd: RawFd,
    tap: Tap,
}

impl Host {
    /// One that listens to a channel.
    fn new(server: &Server, name: &str, options: &[(&str, &str)]) -> Host {
        let client = open(&server.url(), &[options, &[("wrapper", "test/1")]].concat());
        let tap = Tap::on(&client);
        subscribed(&client, &tap, 1, &[name.as_bytes()]);
        let fd = client.ready_list().fd().unwrap();
        Host { client, fd, tap }
    }

    /// Waits until the descriptor is readable, and looks.
    fn look(&self) -> Result<usize, Status> {
        let began = Instant::now();
        while !sys::readable(self.fd) {
            assert!(began.elapsed() < PATIENCE, "the descriptor does not become readable");
            thread::yield_now();
        }
        match self.client.ready_list().wait(Some(Duration::ZERO), 8) {
            Err(Status::Timeout) => Ok(0),
            found => found.map(|inboxes| inboxes.len()),
        }
    }

    /// The next event, which it finds in its loop.
    fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.tap.poll() {
                return event;
            }
            self.look().unwrap();
        }
    }

    /// The next event that does not tell of a link.
    fn heard(&mut self) -> Event {
        loop {
            let event = self.next();
            if !matches!(event.kind, Kind::Active | Kind::Done) {
                return event;
            }
        }
    }

    fn wait(&mut self, kind: Kind) -> Event {
        loop {
            let event = self.next();
            if event.kind == kind {
                return event;
            }
        }
    }

    fn message(&mut self) -> String {
        self.wait(Kind::Message).payload()
    }

    fn post(&self, name: &str, text: &str) {
        self.client.hub().post(name.as_bytes(), text.as_bytes(), None).unwrap();
    }

    /// Hears something until the runtime was turned here.
    fn turn(&mut self, name: &str) {
        let before = wheel::get().turns();
        for n in 0..10_000 {
            self.post(name, &n.to_string());
            assert_eq!(self.message(), n.to_string());
            if wheel::get().turns() > before {
                return;
            }
        }
        panic!("it was never lent");
    }
}

#[test]
fn who_watches_hears_everything_and_turns() {
    let _alone = alone();
    let server = Server::start();
    let mut host = Host::new(&server, "x", &[]);
    let before = wheel::get().turns();
    for n in 0..500u64 {
        host.client.hub().publish(b"x", n.to_string().as_bytes(), host.tap.inbox(), n, deadline()).unwrap();
        let (one, other) = (host.heard(), host.heard());
        let (message, answer) = if one.kind == Kind::Message { (one, other) } else { (other, one) };
        assert_eq!((message.kind, message.payload()), (Kind::Message, n.to_string()));
        assert_eq!((answer.kind, answer.token, answer.number), (Kind::Published, n, 1));
    }
    assert!(wheel::get().turns() > before);
}

#[test]
fn a_flood_comes_whole_and_in_order() {
    const MESSAGES: usize = 200_000;
    let _alone = alone();
    let server = Server::start();
    let mut host = Host::new(&server, "x", &[("inbox_policy", "pause")]);
    host.turn("x");
    let port = server.port();
    let publisher = thread::spawn(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut answers = stream.try_clone().unwrap();
        let reader = thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()).unwrap());
        for from in (0..MESSAGES).step_by(1000) {
            let commands: String = (from..from + 1000).map(|n| format!("PUBLISH x {n}\r\n")).collect();
            stream.write_all(commands.as_bytes()).unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        reader.join().unwrap();
    });
    for n in 0..MESSAGES {
        assert_eq!(host.message(), n.to_string());
    }
    publisher.join().unwrap();
}

#[test]
fn the_descriptor_is_readable_until_somebody_looks_and_not_for_nothing() {
    let _alone = alone();
    let server = Server::start();
    let mut host = Host::new(&server, "x", &[]);
    let mut conn = server.conn();
    for n in 0..50 {
        host.turn("x");
        conn.publish(b"x", n.to_string().as_bytes());
        eventually("it is readable", PATIENCE, || sys::readable(host.fd));
        assert_eq!(host.message(), n.to_string());
        // One look more may be needed, also for an inbox that was emptied while it was put on the list; then nothing is there.
        eventually("it is not readable", PATIENCE, || {
            let listed = host.client.ready_list().wait(Some(Duration::ZERO), 8);
            assert!(listed.is_ok() || listed.err() == Some(Status::Timeout));
            !sys::readable(host.fd)
        });
        assert_eq!(host.tap.poll(), None);
    }
}

#[test]
fn while_the_loop_is_busy_elsewhere_the_library_goes_on() {
    let _alone = alone();
    let server = Server::start();
    let mut hears = server.conn();
    hears.expect(&["SUBSCRIBE", "away"]);
    let mut host = Host::new(&server, "x", &[]);
    for _ in 0..10 {
        host.turn("x");
        // More than goes out at once, and nobody looks until it is heard.
        for _ in 0..50 {
            host.post("away", "y");
        }
        hear_away(&mut hears, 50);
    }
}

#[test]
fn other_threads_that_publish_and_take_are_served_beside_it() {
    let _alone = alone();
    let server = Server::start();
    let mut host = Host::new(&server, "x", &[]);
    let mut other = Tap::on(&host.client);
    subscribed(&host.client, &other, 2, &[b"y"]);
    for _ in 0..20 {
        host.turn("x");
        let client = Arc::clone(&host.client);
        let speaks = thread::spawn(move || {
            for n in 0..20 {
                client.hub().post(b"x", b"for the loop", None).unwrap();
                client.hub().post(b"y", n.to_string().as_bytes(), None).unwrap();
                assert_eq!(other.wait(Kind::Message).payload(), n.to_string());
            }
            other
        });
        for _ in 0..20 {
            assert_eq!(host.message(), "for the loop");
        }
        other = speaks.join().unwrap();
    }
}

#[test]
fn two_loops_are_both_served() {
    let _alone = alone();
    let server = Server::start();
    let mut conn = server.conn();
    let loops: Vec<_> = ["a", "b"]
        .into_iter()
        .map(|name| {
            let mut host = Host::new(&server, name, &[]);
            thread::spawn(move || (0..300).map(|_| host.message()).collect::<Vec<_>>())
        })
        .collect();
    for n in 0..300 {
        for name in ["a", "b"] {
            conn.publish(name.as_bytes(), n.to_string().as_bytes());
        }
    }
    let expected: Vec<_> = (0..300).map(|n| n.to_string()).collect();
    for one in loops {
        assert_eq!(one.join().unwrap(), expected);
    }
}

#[test]
fn a_loop_that_is_alone_again_is_lent_again() {
    let _alone = alone();
    let server = Server::start();
    let mut host = Host::new(&server, "x", &[]);
    for _ in 0..5 {
        host.turn("x");
        let mut second = Host::new(&server, "y", &[]);
        let before = wheel::get().turns();
        host.post("y", "1");
        assert_eq!(second.message(), "1");
        assert_eq!(wheel::get().turns(), before, "with two of them nobody is lent anything");
        second.client.close(deadline()).unwrap();
    }
}

#[test]
fn a_server_that_restarts_is_found_again() {
    let _alone = alone();
    let server = Server::start();
    let mut host = Host::new(&server, "x", &[]);
    for _ in 0..3 {
        host.turn("x");
        server.kill();
        host.wait(Kind::Lost);
        server.restart();
        host.wait(Kind::Active);
    }
}

#[test]
fn the_end_of_the_client_or_of_the_library_is_seen() {
    let _alone = alone();
    let server = Server::start();
    for whole in [false, true, false, true] {
        let mut host = Host::new(&server, "x", &[]);
        host.turn("x");
        if whole {
            runtime::shutdown(deadline()).unwrap();
            host.wait(Kind::Closed);
        }
        host.client.close(deadline()).unwrap();
        let list = Arc::clone(host.client.ready_list());
        eventually("the list ends", PATIENCE, || list.wait(Some(Duration::ZERO), 8).err() == Some(Status::Closed));
        drop(host.client);
        assert!(sys::readable(host.fd), "who comes late sees it");
    }
}
