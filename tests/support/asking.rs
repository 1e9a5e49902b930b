//! Asking and serving in tests: what came of a request, responders that answer on threads, and a peer written by hand.
//!
//! Beside `tap.rs`: a test that wants it writes `#[path = "support/asking.rs"] mod asking;` after `mod tap;`.
#![allow(dead_code, reason = "each test uses its part")]

use crate::support::{PATIENCE, eventually};
use crate::tap::{BOUND, Event, Tap, with_options};
use redmux::buffer::{Ask, Reason, Say, Serve};
use redmux::client::Client;
use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::mux::subscription::Ticket;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request on its way: its own tap and its id.
pub struct Asked {
    pub tap: Tap,
    pub id: u64,
}

/// What a request came to.
#[derive(Debug)]
pub struct Result {
    pub reason: u64,
    pub status: Status,
    pub answers: Vec<Event>,
    pub errors: Vec<Event>,
    pub report: Value,
    pub elapsed: Duration,
}

impl Result {
    /// The bodies of the answers, in the order in which they came.
    pub fn bodies(&self) -> Vec<String> {
        self.answers.iter().map(Event::payload).collect()
    }

    /// The names of who is missing.
    pub fn missing(&self) -> Vec<String> {
        let missing = self.report["missing"].as_array().expect("missing is a list");
        missing.iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
    }

    #[track_caller]
    pub fn expect(self, reason: Reason) -> Result {
        assert_eq!(self.reason, reason as u64, "not {reason:?}: {self:?}");
        self
    }
}

/// Asks with options, with that much time, into an inbox of its own. Strict unless the options say otherwise: who was counted
/// is waited for, and how soon he takes it is not measured.
#[track_caller]
pub fn ask_for(client: &Client, service: &[u8], body: &[u8], options: &[(&str, &str)], time: Duration) -> Asked {
    let tap = Tap::new(&client.waiter());
    let options = with_options(with_options(client.options().clone(), &[("strict", "true")]), options);
    let ticket = Ticket { inbox: Some(Arc::clone(tap.inbox())), token: 77, deadline: Some(Instant::now() + time) };
    let ask = Ask { service, body, headers: b"", options: &options };
    let id = client.buffer().expect("a buffer").ask(&ask, ticket).expect("a request");
    Asked { tap, id }
}

/// Asks, with ten seconds.
#[track_caller]
pub fn ask(client: &Client, service: &[u8], body: &[u8], options: &[(&str, &str)]) -> Asked {
    ask_for(client, service, body, options, BOUND)
}

impl Asked {
    /// Waits for its end.
    #[track_caller]
    pub fn result(&mut self) -> Result {
        let all = self.tap.through("the end of a request", |event| event.kind == Kind::End);
        let end = all.last().expect("an end").clone();
        assert_eq!((end.source, end.token), (self.id, 77));
        let of_kind = |failed: bool| {
            let answers = all.iter().filter(|event| event.kind == Kind::Answer);
            answers.filter(|event| (event.flags & 2 != 0) == failed).cloned().collect::<Vec<_>>()
        };
        Result {
            reason: end.number,
            status: end.status(),
            answers: of_kind(false),
            errors: of_kind(true),
            report: serde_json::from_slice(&end.extra).expect("an end says JSON"),
            elapsed: Duration::from_nanos(end.aux),
        }
    }
}

/// The head of an answer or a request.
pub fn head(event: &Event) -> Value {
    serde_json::from_slice(&event.extra).expect("a head line")
}

/// What is the next request of a group, and which member has it. Nobody else has one.
#[track_caller]
pub fn claimed(members: &mut [Service]) -> (usize, Event) {
    let mut found = None;
    eventually("a member has it", PATIENCE, || {
        let one = |(at, member): (usize, &mut Service)| Some((at, member.tap.poll().filter(is_request)?));
        found = found.take().or_else(|| members.iter_mut().enumerate().find_map(one));
        found.is_some()
    });
    found.expect("found")
}

/// Whether it is a request.
pub fn is_request(event: &Event) -> bool {
    event.kind == Kind::Request
}

/// A responder and its requests.
pub struct Service {
    pub client: Arc<Client>,
    pub tap: Tap,
    pub id: u64,
}

/// Serves, and waits until Redis has the name.
#[track_caller]
pub fn serve(client: &Arc<Client>, service: &[u8], options: &[(&str, &str)]) -> Service {
    let tap = Tap::on(client);
    let id = try_serve(client, &tap, service, options).expect("a responder");
    let mut own = Tap::new(&client.waiter());
    client.hub().wait_active(id, crate::tap::ticket_in(&own, 0)).expect("an open responder");
    own.ok(0);
    Service { client: Arc::clone(client), tap, id }
}

/// Serves into that tap, if it may.
pub fn try_serve(client: &Client, tap: &Tap, service: &[u8], options: &[(&str, &str)]) -> redmux::error::Result<u64> {
    let options = with_options(client.options().clone(), options);
    client.buffer()?.serve(&Serve { service, options: &options, inbox: tap.inbox(), token: 5 })
}

impl Service {
    /// The next request.
    #[track_caller]
    pub fn request(&mut self) -> Event {
        let request = self.tap.wait(Kind::Request);
        assert_eq!((request.source, request.token), (self.id, 5));
        request
    }

    #[track_caller]
    pub fn say(&self, request: &Event, say: Say<'_>) {
        self.try_say(request, say).expect("an open request");
    }

    pub fn try_say(&self, request: &Event, say: Say<'_>) -> redmux::error::Result<()> {
        self.client.buffer()?.say(self.id, request.number, say)
    }

    /// Answers, and ends the request.
    #[track_caller]
    pub fn answer(&self, request: &Event, body: &[u8]) {
        self.say(request, Say::Answer { body, headers: b"", last: true });
    }

    /// Answers, and does not end the request.
    #[track_caller]
    pub fn part(&self, request: &Event, body: &[u8]) {
        self.say(request, Say::Answer { body, headers: b"", last: false });
    }

    /// Answers on a thread of its own, with what `answer` makes of a body, until its client is closed.
    pub fn on_a_thread(mut self, answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            loop {
                let event = match self.tap.poll() {
                    Some(event) => event,
                    None => match self.tap.inbox().take(None) {
                        Ok(lent) => {
                            for record in lent.records() {
                                let event = Event::of(record, lent.data());
                                if event.kind == Kind::Request {
                                    let _ = self.try_say(
                                        &event,
                                        Say::Answer { body: &answer(&event.data), headers: b"", last: true },
                                    );
                                }
                            }
                            continue;
                        }
                        Err(_) => return,
                    },
                };
                if event.kind == Kind::Request {
                    let body = answer(&event.data);
                    let _ = self.try_say(&event, Say::Answer { body: &body, headers: b"", last: true });
                }
            }
        })
    }
}
