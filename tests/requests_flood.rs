//! What lies in the socket was in time, however much lies before it. In a process of its own: it holds up the library's thread.
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
use std::time::Duration;
use support::{PATIENCE, Server, eventually};
use tap::*;

const LONG: Duration = Duration::from_secs(600);

#[test]
fn an_answer_behind_a_flood_that_is_not_read_yet_is_in_time() {
    let server = Server::start();
    let asker = open(&server.url(), &[("strict", "false")]);
    ask(&asker, b"nobody", b"", &[]).result().expect(Reason::NoResponders);
    let flood = Tap::on(&asker);
    subscribed(&asker, &flood, 1, &[b"flood"]);
    let mut peer = Peer::serve(&server, "x");
    for _ in 0..3 {
        let mut asked = ask_for(&asker, b"x", b"", &[("strict", "false")], LONG);
        let request = peer.request();
        // The accept window has begun.
        eventually("it is published", PATIENCE, || stat(&asker, &["publisher", "pending"]) == 0);
        // The library's thread stands still here, as one does that is not let run.
        let mux = asker.hub().mux.lock().unwrap();
        for _ in 0..16 {
            server.conn().publish(b"flood", &[b'.'; 64 * 1024]);
        }
        peer.say(&request, "end", Some(0), "in time");
        // Longer than the window, by another process's clock.
        server.conn().command(&["BLPOP", "nothing", "1.2"]);
        drop(mux);
        assert_eq!(asked.result().expect(Reason::All).bodies(), ["in time"]);
    }
}
