//! The shortest way through the core: subscribe, publish, lose the server, get it back, promise, close.
#[path = "support/mod.rs"]
mod support;

use redmux::client::{Client, EventsBy};
use redmux::error::Status;
use redmux::inbox::{Inbox, Kind, Record};
use redmux::mux::subscription::Ticket;
use redmux::options::Options;
use redmux::runtime::next_id;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::server::Server;

type Seen = (Kind, i32, u64, u64, Vec<u8>, Vec<u8>);

fn next(inbox: &Arc<Inbox>, queue: &mut Vec<Seen>) -> Seen {
    if queue.is_empty() {
        let lent = inbox.take(Some(Duration::from_secs(10))).expect("a record within 10 s");
        for r in lent.records() {
            let r: &Record = r;
            let kind = *Kind::ALL.iter().find(|k| **k as u16 == r.kind).unwrap();
            queue.push((
                kind,
                r.status,
                r.token,
                r.number,
                r.name(lent.data()).to_vec(),
                r.payload(lent.data()).to_vec(),
            ));
        }
        queue.reverse();
    }
    queue.pop().unwrap()
}

fn ticket(token: u64) -> Ticket {
    Ticket { inbox: None, token, deadline: Some(Instant::now() + Duration::from_secs(10)) }
}

#[test]
fn a_client_subscribes_publishes_loses_the_server_and_gets_it_back() {
    let server = Server::start();
    let mut options = Options::new();
    options.set_url(&server.url()).unwrap();
    let client = Client::open(options, EventsBy::None).unwrap();
    let inbox = client.new_inbox(None, None).unwrap();
    let mut queue = Vec::new();
    let sub = next_id();
    client.hub().subscribe(sub, 7, &inbox, None).unwrap();
    client.hub().add(sub, &[b"news", b"sport"], ticket(1)).unwrap();
    assert_eq!(next(&inbox, &mut queue).0, Kind::Active);
    assert_eq!(next(&inbox, &mut queue).0, Kind::Active);
    let done = next(&inbox, &mut queue);
    assert_eq!((done.0, done.1, done.2, done.3), (Kind::Done, 0, 1, 2));
    client.hub().publish(b"news", b"hello", &inbox, 9, None).unwrap();
    let mut both = [next(&inbox, &mut queue), next(&inbox, &mut queue)];
    both.sort_by_key(|seen| seen.0);
    assert_eq!((both[0].0, both[0].2, &both[0].4[..], &both[0].5[..]), (Kind::Message, 7, &b"news"[..], &b"hello"[..]));
    assert_eq!((both[1].0, both[1].1, both[1].2, both[1].3), (Kind::Published, 0, 9, 1));
    server.conn().kill_pubsub();
    assert_eq!(next(&inbox, &mut queue).0, Kind::Lost);
    assert_eq!(next(&inbox, &mut queue).0, Kind::Active);
    let set = next_id();
    client.hub().promises(set, 8, &inbox, b"p:").unwrap();
    assert_eq!(next(&inbox, &mut queue).0, Kind::Active);
    client.hub().promise(set, b"x", ticket(33)).unwrap();
    client.hub().post(b"p:x", b"kept", None).unwrap();
    let promise = next(&inbox, &mut queue);
    assert_eq!((promise.0, promise.1, promise.2, &promise.5[..]), (Kind::Promise, 0, 33, &b"kept"[..]));
    client.close(Some(Instant::now() + Duration::from_secs(5))).unwrap();
    assert_eq!(next(&inbox, &mut queue).0, Kind::Closed);
    assert_eq!(next(&inbox, &mut queue).0, Kind::Closed);
    assert_eq!(inbox.take(None).unwrap_err(), Status::Closed);
}
