//! A responder written by hand, over connections of its own: it says what a test tells it to, or nothing any more.
//!
//! A test that wants it writes `#[path = "support/peer.rs"] mod peer;` after `mod support;`.
#![allow(dead_code, reason = "each test uses its part")]

use crate::support::Server;
use crate::support::conn::{Conn, encode};
use serde_json::{Value, json};

/// One that serves a service by hand.
pub struct Peer {
    listening: Conn,
    saying: Conn,
}

impl Peer {
    /// Subscribes the service's channel.
    #[track_caller]
    pub fn serve(server: &Server, service: &str) -> Peer {
        let mut listening = server.conn();
        listening.expect(&["SUBSCRIBE", &format!("redmux:svc:{service}")]);
        Peer { listening, saying: server.conn() }
    }

    /// The next frame on the service's channel: its head, with the body as text beside it.
    #[track_caller]
    pub fn next(&mut self) -> Value {
        let message = self.listening.read_reply().expect("a frame on the service's channel");
        let text = message.items()[2].text();
        let (head, body) = text.split_once('\n').expect("a head line");
        let mut head: Value = serde_json::from_str(head).expect("a head of JSON");
        head["body"] = body.into();
        head
    }

    /// The next request.
    #[track_caller]
    pub fn request(&mut self) -> Value {
        let frame = self.next();
        assert_eq!(frame["k"], "request");
        frame
    }

    /// Says something of a request, as the responder `peer`.
    #[track_caller]
    pub fn say(&mut self, request: &Value, kind: &str, seq: Option<u64>, body: &str) {
        let mut head = json!({"v": 1, "k": kind, "id": request["id"], "by": "peer.1", "name": "peer"});
        if let Some(seq) = seq {
            head["seq"] = seq.into();
        }
        if let Some(asking) = request.get("asking") {
            head["asking"] = asking.clone();
        }
        let reply = request["reply"].as_str().expect("a reply channel");
        self.saying.publish(reply.as_bytes(), format!("{head}\n{body}").as_bytes());
    }

    /// The process that it stands for dies: its connections are gone, without a word.
    pub fn die(self) {}
}

/// Listens to a channel, past the library.
#[track_caller]
pub fn listen(server: &Server, channel: &str) -> Conn {
    let mut conn = server.conn();
    conn.send(&encode(&["SUBSCRIBE", channel])).expect("a connection");
    conn.read_reply().expect("a subscription");
    conn
}

/// The address of a client's connection, as the server knows it: of its subscriber link, or of its publish link.
#[track_caller]
pub fn link_of(server: &Server, name: &str, subscriber: bool) -> std::collections::HashMap<String, String> {
    let all = server.conn().client_list();
    let is_it = |one: &&std::collections::HashMap<String, String>| {
        one["name"] == name && (one["flags"].contains('P') == subscriber)
    };
    all.iter().find(is_it).cloned().unwrap_or_else(|| panic!("no such link of {name}: {all:?}"))
}

/// The server closes the subscriber link of a client.
#[track_caller]
pub fn kill_subscriber(server: &Server, name: &str) {
    let id = link_of(server, name, true)["id"].clone();
    assert_eq!(server.conn().expect(&["CLIENT", "KILL", "ID", &id]).int(), 1);
}
