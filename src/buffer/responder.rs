//! Responders: who serves what, what was handed out, and what handlers say.
//!
//! A responder is a source of the mux with the same id. At most `concurrency` of its requests are with the application
//! at a time; more wait here, and what comes beyond that is answered with a retriable error at once.

use super::memory::Memory;
use super::serve::Request;
use super::{Buffer, FRAME_TIME, State, TOKEN_ANSWER, check_head, headers};
use crate::error::{Error, Result, Status};
use crate::inbox::{Inbox, Kind as Rec, RecordIn};
use crate::mux::events::Level;
use crate::mux::ops::cut;
use crate::mux::promise::pattern_of;
use crate::mux::subscription::Ticket;
use crate::options::{Key, Options};
use crate::proto::envelope::{Head, Kind};
use crate::runtime::next_id;
use crate::sync::Arc;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The token by which a responder that drains knows that the server let go of its name.
pub(super) const LET_GO: u64 = 1;

/// How much is said of a failure, in bytes: however many of them JSON writes as six, a head line has room for it. Whoever
/// fails must be able to say so, or his asker hears of an end without a reason.
const MOST_CODE: usize = 256;
const MOST_MESSAGE: usize = 8 * 1024;

/// What is served.
#[derive(Debug)]
pub struct Serve<'a> {
    /// The service, or what the services' names begin with.
    pub service: &'a [u8],
    /// How.
    pub options: &'a Options,
    /// Where requests come.
    pub inbox: &'a Arc<Inbox>,
    /// The caller's number.
    pub token: u64,
}

/// One that serves.
#[derive(Debug)]
pub(super) struct Responder {
    pub(super) inbox: Arc<Inbox>,
    pub(super) token: u64,
    /// Its id on the wire.
    pub(super) by: Arc<str>,
    pub(super) service: Box<[u8]>,
    pub(super) catch_all: bool,
    /// In Messaging.Buffer's wire.
    pub(super) legacy: bool,
    pub(super) group: String,
    pub(super) once: String,
    pub(super) version: String,
    /// The server has its name, since.
    pub(super) active: Option<Instant>,
    pub(super) concurrency: usize,
    pub(super) most_waiting: usize,
    /// How long a request has in Messaging.Buffer's wire, where no asker says it.
    pub(super) ttl: Duration,
    pub(super) handed: usize,
    /// Requests that are being claimed for its group.
    pub(super) claiming: usize,
    /// Tickets of requests that wait for the application.
    pub(super) waiting: VecDeque<u64>,
    pub(super) memory: Memory,
    saying: Arc<Saying>,
    /// It takes nothing more in and closes when nothing is in work.
    draining: Option<Ticket>,
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) answered: u64,
    pub(super) busy: Duration,
}

/// How many threads have said something of a responder's requests that the publish link was not handed yet: without the
/// lock of the state, so that none of them waits for it twice.
#[derive(Debug, Default)]
struct Saying(AtomicUsize);

impl Saying {
    /// Somebody waits until nobody does. The rest of the number counts.
    const AWAITED: usize = 1 << (usize::BITS - 1);

    fn begin(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// `true` if somebody waits for that.
    fn end(&self) -> bool {
        self.0.fetch_sub(1, Ordering::SeqCst) & Saying::AWAITED != 0
    }

    /// Whether nobody is saying anything. Whoever is, or will, comes and looks when he has said it.
    fn is_over(&self) -> bool {
        self.0.fetch_or(Saying::AWAITED, Ordering::SeqCst) & !Saying::AWAITED == 0
    }
}

/// The responders of a client.
#[derive(Debug, Default)]
pub(super) struct Responders {
    pub(super) all: BTreeMap<u64, Responder>,
    pub(super) tickets: HashMap<u64, Request, RandomState>,
    pub(super) next_ticket: u64,
    made: u64,
    /// Requests and when they are to be told that they are accepted, in that order.
    pub(super) unaccepted: VecDeque<(Instant, u64)>,
    pub(super) next_alive: Option<Instant>,
    /// When a request runs out of time, or before.
    pub(super) next_over: Option<Instant>,
    /// Where questions about services come, while anything is served.
    pub(super) discovery: Option<u64>,
}

impl Responders {
    pub(super) fn select(&self, which: impl Fn(&Responder) -> bool) -> Vec<u64> {
        self.all.iter().filter(|(_, responder)| which(responder)).map(|(&id, _)| id).collect()
    }

    /// How many of ours received a request to a service that was sent then. One that came since, or is going, may not
    /// have been counted by the server: nobody is taken for it.
    pub(super) fn reached(&self, service: &[u8], sent: Option<Instant>) -> u64 {
        let reached = |responder: &&Responder| {
            let served = &*responder.service;
            let there = responder.active.is_some_and(|since| sent.is_some_and(|sent| since <= sent));
            there
                && responder.draining.is_none()
                && !responder.legacy
                && if responder.catch_all { service.starts_with(served) } else { service == served }
        };
        let discovery = u64::from(service == b"$" && self.discovery.is_some());
        self.all.values().filter(reached).count() as u64 + discovery
    }

    pub(super) fn stats(&self) -> Value {
        self.all.values().map(Responder::stats).collect()
    }
}

impl Responder {
    /// Whether it has as many requests as it takes, with the application and waiting.
    pub(super) fn is_full(&self) -> bool {
        self.handed + self.claiming + self.waiting.len() >= self.concurrency + self.most_waiting
    }

    /// Whether it drains and the server has its name no more.
    pub(super) fn is_let_go(&self) -> bool {
        self.draining.is_some() && self.active.is_none()
    }

    /// What it tells of itself.
    pub(super) fn info(&self) -> Value {
        let service = String::from_utf8_lossy(&self.service);
        self.with_wire(
            json!({"service": service, "catch_all": self.catch_all, "group": self.group, "version": self.version}),
        )
    }

    /// The same, with what it counted.
    pub(super) fn stats(&self) -> Value {
        let average = self.busy.checked_div(u32::try_from(self.answered).unwrap_or(u32::MAX)).unwrap_or_default();
        self.with_wire(json!({
            "service": String::from_utf8_lossy(&self.service),
            "catch_all": self.catch_all,
            "group": self.group,
            "version": self.version,
            "requests": self.requests,
            "errors": self.errors,
            "in_work": self.handed,
            "waiting": self.waiting.len(),
            "average_ms": average.as_secs_f64() * 1000.0,
        }))
    }

    /// A native asker does not reach one of another wire.
    fn with_wire(&self, mut told: Value) -> Value {
        if let Some(told) = told.as_object_mut().filter(|_| self.legacy) {
            told.insert("wire".into(), "messaging-buffer".into());
        }
        told
    }
}

/// What a handler says of a request.
#[derive(Debug, Clone, Copy)]
pub enum Say<'a> {
    /// An answer, with headers; perhaps the last.
    Answer {
        /// The body.
        body: &'a [u8],
        /// A JSON object of strings, or nothing.
        headers: &'a [u8],
        /// Nothing comes behind it.
        last: bool,
    },
    /// That was all, or there is no answer.
    End,
    /// It failed.
    Error {
        /// A word.
        code: &'a str,
        /// A sentence.
        message: &'a str,
        /// Whether asking again may help.
        retriable: bool,
    },
}

impl Buffer {
    /// Serves a service from now on. Its own `active` says when; requests follow. Returns its id.
    pub fn serve(&self, serve: &Serve<'_>) -> Result<u64> {
        let id = next_id();
        self.serve_as(id, serve).map(|()| id)
    }

    /// The same under an id that its caller knows before the first request can come.
    pub fn serve_as(&self, id: u64, serve: &Serve<'_>) -> Result<()> {
        let options = serve.options;
        let catch_all = options.flag(Key::CatchAll);
        let legacy = options.choice(Key::Wire) == "messaging-buffer";
        let pattern = if legacy {
            Some(super::legacy::pattern(serve.service, catch_all))
        } else {
            catch_all.then(|| pattern_of(&self.service_channel(serve.service)))
        };
        let mut state = self.enter();
        if state.closed || serve.inbox.is_closed() {
            return Err(Status::Closed.into());
        }
        if serve.service == b"$" {
            let text = "the service \"$\" is where services are looked for; every responder serves it by itself";
            return Err(Error::new(Status::InvalidArgument, text));
        }
        if legacy && !options.text(Key::Group).is_empty() {
            let text = "Messaging.Buffer has no queue groups: every instance that serves a type answers";
            return Err(Error::new(Status::InvalidArgument, text));
        }
        let mut legacies = state.responders.all.values().filter(|other| other.legacy && legacy);
        if legacies.any(|other| other.catch_all != catch_all) {
            let text = "in Messaging.Buffer's wire a handler of all types cannot live beside one of a type";
            return Err(Error::new(Status::Conflict, text));
        }
        let same = |other: &Responder| {
            other.legacy == legacy
                && other.catch_all == catch_all
                && (*other.service == *serve.service || legacy && catch_all)
        };
        if state.responders.all.values().any(same) {
            let text = format!("{:?} is served by this client already", String::from_utf8_lossy(serve.service));
            return Err(Error::new(Status::AlreadySubscribed, text));
        }
        state.responders.made += 1;
        let responder = Responder {
            inbox: Arc::clone(serve.inbox),
            token: serve.token,
            by: format!("{}.{}", self.instance, state.responders.made).into(),
            service: serve.service.into(),
            catch_all,
            legacy,
            group: options.text(Key::Group).into(),
            once: options.text(Key::Once).into(),
            version: options.text(Key::Version).into(),
            active: None,
            concurrency: options.number(Key::Concurrency) as usize,
            most_waiting: options.number(Key::Waiting) as usize,
            ttl: options.duration(Key::Timeout),
            handed: 0,
            claiming: 0,
            waiting: VecDeque::new(),
            memory: Memory::default(),
            saying: Arc::default(),
            draining: None,
            requests: 0,
            errors: 0,
            answered: 0,
            busy: Duration::ZERO,
        };
        // Before it is asked for: its acknowledgement comes to the task, which finds it.
        state.responders.all.insert(id, responder);
        let ticket = Ticket { inbox: None, token: 0, deadline: None };
        let asked = match &pattern {
            Some(pattern) => self.hub.subscribe(id, 0, &self.inbox, Some((pattern, ticket))),
            None => {
                let channel = self.service_channel(serve.service);
                let subscribed = self.hub.subscribe(id, 0, &self.inbox, None);
                subscribed.and_then(|()| self.hub.add(id, &[&channel], ticket))
            }
        };
        if let Err(error) = asked {
            state.responders.all.remove(&id);
            let _ = self.hub.close_source(id);
            return Err(error);
        }
        if let Err(error) = self.listen_for_discovery(&mut state) {
            self.close_responder(&mut state, id, Status::Closed);
            return Err(error);
        }
        Ok(())
    }

    /// Says something of a request that was handed out. `CLOSED` if it has ended, `CANCELLED` if nobody waits any more;
    /// what ends a request ends it in any case.
    pub fn say(&self, responder: u64, ticket: u64, say: Say<'_>) -> Result<()> {
        let h = match say {
            Say::Answer { headers: json, .. } => headers(json)?,
            _ => None,
        };
        let mut state = self.enter();
        let last = !matches!(say, Say::Answer { last: false, .. });
        let Responders { all, tickets, .. } = &mut state.responders;
        let (Some(request), Some(one)) = (tickets.get_mut(&ticket), all.get_mut(&responder)) else {
            return Err(Status::Closed.into());
        };
        if request.responder != responder || !request.is_with_application() {
            return Err(Status::Closed.into());
        }
        let given_up = request.given_up;
        let legacy = one.legacy;
        let head = Head {
            id: request.id.as_str().into(),
            by: (*one.by).into(),
            name: self.name.as_str().into(),
            asking: request.asking.as_str().into(),
            h,
            ..Head::new(Kind::End)
        };
        let most = self.hub.settings.limits.max_payload;
        let frame = match say {
            Say::Answer { last: false, .. } if legacy => {
                let text = "in Messaging.Buffer's wire a request has one answer";
                return Err(Error::new(Status::InvalidArgument, text));
            }
            Say::Answer { body, .. } if legacy => super::legacy::response(body, &request.id, &self.name)?,
            Say::Error { code, message, .. } if legacy => {
                // Its peers could not read more.
                let text = format!("a request {:?} failed: {code}: {message}; its asker is not told", request.id);
                self.hub.events.log(Level::Error, &text);
                Vec::new()
            }
            Say::End if legacy => Vec::new(),
            Say::Answer { body, last, .. } => {
                let kind = if last { Kind::End } else { Kind::Part };
                Head { seq: Some(request.said), ..head.of_kind(kind) }.frame(body)
            }
            Say::End => Head { n: Some(request.said), ..head }.frame(b""),
            Say::Error { code, message, retriable } => {
                let head = Head { code: cut(code, MOST_CODE).into(), retriable, ..head.of_kind(Kind::Error) };
                let said = |most| Head { message: cut(message, most).into(), ..head.clone() }.frame(b"");
                let frame = said(MOST_MESSAGE);
                if frame.len() > most { said(most / 16) } else { frame }
            }
        };
        if frame.len() > most {
            let text = format!("the answer has {} bytes with its head line; max_payload is {most}", frame.len());
            return Err(Error::new(Status::TooLarge, text));
        }
        if let (Say::Answer { body, .. }, false) = (say, legacy) {
            check_head(&frame, body)?;
        }
        let number = request.said;
        let first = number == 0;
        request.said += 1;
        let reply = request.reply.clone();
        let saying = Arc::clone(&one.saying);
        saying.begin();
        if request.repeat {
            one.memory.keep(&request.reply, request.unique(), &frame, first, last);
        }
        if last {
            let failed = matches!(say, Say::Error { .. });
            self.end_request(&mut state, ticket, failed);
        }
        drop(state);
        let sent = if legacy && frame.is_empty() {
            Ok(())
        } else if given_up && !legacy {
            if last { Ok(()) } else { Err(Status::Cancelled.into()) }
        } else {
            // In Messaging.Buffer's wire nobody says how long who asks waits: the answer is sent, and Redis says whether it was
            // heard. With a completion: an answer that nobody received is worth a line of log.
            let deadline = Instant::now().checked_add(FRAME_TIME);
            let token = TOKEN_ANSWER | (responder & !TOKEN_ANSWER);
            let sent = self.hub.publish(reply.as_bytes(), &frame, &self.inbox, token, deadline);
            if sent.is_err() && !last {
                self.unsay(responder, ticket, number);
            }
            sent
        };
        // Not before: who drains it may close the client when that is done, and what is not handed in by then is lost.
        if saying.end() {
            self.settle_drain(&mut self.enter(), responder);
        }
        sent
    }

    /// A part could not be sent, which its handler is told. The next one takes its number: who asked would wait for it, and
    /// name the responder as missing in the end.
    fn unsay(&self, responder: u64, ticket: u64, number: u64) {
        let mut state = self.enter();
        let Responders { all, tickets, .. } = &mut state.responders;
        let (Some(request), Some(one)) = (tickets.get_mut(&ticket), all.get_mut(&responder)) else { return };
        // Unless another thread has said more of it since.
        if request.said == number + 1 {
            request.said = number;
            if request.repeat {
                one.memory.take_back(&request.reply, request.unique());
            }
        }
    }

    /// A request is over for the application: the next one may come.
    fn end_request(&self, state: &mut State, ticket: u64, failed: bool) {
        let Some(request) = state.responders.tickets.remove(&ticket) else { return };
        let Some(responder) = state.responders.all.get_mut(&request.responder) else { return };
        responder.handed = responder.handed.saturating_sub(1);
        responder.answered += 1;
        responder.errors += u64::from(failed);
        responder.busy += request.began.elapsed();
        self.hand_out_waiting(state, request.responder);
    }

    /// Stops taking requests in, lets those in work finish, and closes it. Completes with `done` behind its `closed`.
    pub fn drain_responder(&self, id: u64, ticket: Ticket) -> Result<()> {
        let mut state = self.enter();
        let Some(responder) = state.responders.all.get_mut(&id) else { return Err(Status::Closed.into()) };
        let ticket = Ticket { inbox: ticket.inbox.or_else(|| Some(Arc::clone(&responder.inbox))), ..ticket };
        if responder.draining.is_some() {
            return Err(Error::new(Status::Busy, "it drains already"));
        }
        if let Some(inbox) = &ticket.inbox {
            inbox.reserve(crate::mux::ops::COMPLETION_ROOM)?;
        }
        let until = ticket.deadline;
        responder.draining = Some(ticket);
        // Let go at the server: what it sends until then is still served.
        let gone = Ticket { inbox: Some(Arc::clone(&self.inbox)), token: LET_GO, deadline: None };
        let _ = self.hub.clear(id, true, gone);
        self.settle_drain(&mut state, id);
        let wake = until.is_some_and(|until| state.wakes.is_none_or(|wakes| until < wakes));
        drop(state);
        if wake {
            self.work.notify_one();
        }
        Ok(())
    }

    /// The server let go of a responder that drains.
    pub(super) fn let_go(&self, state: &mut State, id: u64) {
        if let Some(responder) = state.responders.all.get_mut(&id) {
            responder.active = None;
        }
        self.settle_drain(state, id);
    }

    /// Closes a responder that drains and has nothing in work any more.
    pub(super) fn settle_drain(&self, state: &mut State, id: u64) {
        let Some(one) = state.responders.all.get(&id).filter(|one| one.draining.is_some()) else { return };
        // From now on whoever says something of its requests comes here behind it.
        let said = one.saying.is_over();
        let idle = one.handed == 0 && one.claiming == 0 && one.waiting.is_empty();
        if one.is_let_go() && idle && said {
            self.close_responder(state, id, Status::Ok);
        }
    }

    /// Responders that drain and whose time is over are closed as they are. Returns when to look again.
    pub(super) fn drains_due(&self, state: &mut State, now: Instant) -> Option<Instant> {
        let deadline = |one: &Responder| one.draining.as_ref().and_then(|ticket| ticket.deadline);
        for id in state.responders.select(|one| deadline(one).is_some_and(|deadline| deadline <= now)) {
            self.close_responder(state, id, Status::Timeout);
        }
        state.responders.all.values().filter_map(deadline).min()
    }

    /// Closes a responder at once. `CLOSED` if it is.
    pub fn close_service(&self, id: u64) -> Result<(), Status> {
        let mut state = self.enter();
        if !state.responders.all.contains_key(&id) {
            return Err(Status::Closed);
        }
        self.close_responder(&mut state, id, Status::Closed);
        Ok(())
    }

    /// The drains that complete in an inbox with a token are given up, and their responders closed as they are. Returns how many.
    pub(super) fn cancel_drains(&self, state: &mut State, inbox: u64, token: u64) -> usize {
        let is_it =
            |ticket: &Ticket| ticket.token == token && ticket.inbox.as_ref().is_some_and(|one| one.id() == inbox);
        let ids = state.responders.select(|one| one.draining.as_ref().is_some_and(is_it));
        for &id in &ids {
            self.close_responder(state, id, Status::Cancelled);
        }
        ids.len()
    }

    /// Ends a responder: askers are told that it does not go on, and `closed` is its last record. A drain of it that had not done
    /// ends with `why`.
    pub(super) fn close_responder(&self, state: &mut State, id: u64, why: Status) {
        let Some(responder) = state.responders.all.remove(&id) else { return };
        let mut tickets: Vec<u64> =
            state.responders.tickets.iter().filter(|(_, one)| one.responder == id).map(|(&ticket, _)| ticket).collect();
        tickets.sort_unstable();
        for ticket in tickets {
            let Some(request) = state.responders.tickets.remove(&ticket) else { continue };
            responder.inbox.unreserve(request.room);
            if request.is_with_application() && !request.given_up {
                let record = RecordIn {
                    status: Status::Closed.code(),
                    number: ticket,
                    name: &request.service,
                    ..RecordIn::new(Rec::Cancel, id, responder.token)
                };
                responder.inbox.push_quietly(&record);
            }
            if !request.given_up && !responder.legacy {
                self.refuse(&responder.by, request.asker(), "CLOSED", "the responder was closed");
            }
        }
        let _ = self.hub.close_source(id);
        responder.inbox.push_quietly(&RecordIn::new(Rec::Closed, id, responder.token));
        state.gave(&responder.inbox);
        if let Some(Ticket { inbox: Some(inbox), token, .. }) = &responder.draining {
            let record = RecordIn { status: why.code(), ..RecordIn::new(Rec::Done, id, *token) };
            inbox.complete_quietly(&record, crate::mux::ops::COMPLETION_ROOM);
            state.gave(inbox);
        }
        if state.responders.all.is_empty()
            && let Some(discovery) = state.responders.discovery.take()
        {
            let _ = self.hub.close_source(discovery);
        }
    }
}
