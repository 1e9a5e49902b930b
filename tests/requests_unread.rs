//! What lies unread in the socket was in time: no clock of a request runs out while the asker's own side keeps its link from
//! reading.
#[path = "support/asking.rs"]
mod asking;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use asking::*;
use peer::Peer;
use redmux::buffer::Reason;
use redmux::client::Client;
use redmux::inbox::Kind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{PATIENCE, Server, eventually};
use tap::*;

const LONG: Duration = Duration::from_secs(600);

/// An asker whose channel for answers is there.
fn asker(server: &Server) -> Arc<Client> {
    let asker = open(&server.url(), &[("strict", "false")]);
    ask(&asker, b"nobody", b"", &[]).result().expect(Reason::NoResponders);
    asker
}

/// Lets so much time pass, by another process's clock.
fn pass(server: &Server, time: &str) {
    server.conn().command(&["BLPOP", "nothing", time]);
}

#[test]
fn while_a_full_inbox_pauses_the_link_no_responder_is_missed() {
    let server = Server::start();
    let asker = asker(&server);
    let mut flood = Tap::with(&asker, &[("inbox_policy", "pause"), ("inbox_records", "2")]);
    subscribed(&asker, &flood, 1, &[b"flood"]);
    let mut peer = Peer::serve(&server, "x");
    let mut accepted = ask_for(&asker, b"x", b"accepted", &[("strict", "false"), ("accepted", "true")], LONG);
    let request = peer.request();
    peer.say(&request, "accepted", None, "");
    accepted.tap.wait(Kind::Accepted);
    for _ in 0..10 {
        server.conn().publish(b"flood", b"");
    }
    eventually("it reads no more", PATIENCE, || asker.hub().paused.load(Ordering::SeqCst));
    let mut unheard = ask_for(&asker, b"x", b"unheard", &[("strict", "false")], LONG);
    let other = peer.request();
    peer.say(&other, "end", Some(0), "for the second");
    // Longer than a silent responder is waited for, and than any may take until its first sign.
    pass(&server, "3.5");
    assert_eq!((accepted.tap.rest(), unheard.tap.rest()), (vec![], vec![]));
    flood.messages(10);
    assert_eq!(unheard.result().expect(Reason::All).bodies(), ["for the second"]);
    peer.say(&request, "end", Some(0), "for the first");
    let result = accepted.result().expect(Reason::All);
    assert_eq!((result.bodies(), &result.report["late"]), (vec!["for the first".to_owned()], &0.into()));
}

#[test]
fn a_deadline_ends_a_request_while_the_link_is_paused() {
    let server = Server::start();
    let asker = asker(&server);
    let mut flood = Tap::with(&asker, &[("inbox_policy", "pause"), ("inbox_records", "2")]);
    subscribed(&asker, &flood, 1, &[b"flood"]);
    let mut peer = Peer::serve(&server, "x");
    for _ in 0..10 {
        server.conn().publish(b"flood", b"");
    }
    eventually("it reads no more", PATIENCE, || asker.hub().paused.load(Ordering::SeqCst));
    let options = [("strict", "false")];
    let mut asked = ask_for(&asker, b"x", b"", &options, Duration::from_millis(1500));
    peer.request();
    asked.result().expect(Reason::Deadline);
    // And the clocks run when it reads again.
    let mut asked = ask_for(&asker, b"x", b"", &options, LONG);
    flood.messages(10);
    peer.request();
    asked.result().expect(Reason::NoResponders);
}
