//! What comes to a responder: requests, cancels, and the clocks of what is in work.
//!
//! A request is given to the application at once if it has room. An asker hears `accepted` two milliseconds later, unless it
//! was answered by then, and `alive` each second while the work goes on.

use super::memory::{is_served, serves};
use super::responder::Responder;
use super::{Buffer, State, TOKEN_CLAIM, legacy};
use crate::error::Status;
use crate::inbox::{Kind as Rec, RecordIn};
use crate::mux::events::Often;
use crate::proto::envelope::{Frame, Head, Kind};
use crate::sync::Arc;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a handler may take before its asker is told that somebody works on it.
const ACCEPT_AFTER: Duration = Duration::from_millis(2);
/// How often askers are told that their requests are still worked on.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// A request that says nothing of its time has this long.
const DEFAULT_TTL: Duration = Duration::from_secs(10);
/// And none has longer than this, whatever it says: a number from outside must not overflow a clock.
const LONGEST_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// The longest id of a request.
pub(super) const MAX_ID: usize = 256;
/// How much of a head line the ids of an `alive` may fill, with escapes to spare, and how many they may be.
const ALIVE_BYTES: usize = 8 * 1024;
const ALIVE_IDS: usize = 512;

/// Flag bits of a request: it was sent again; it came in Messaging.Buffer's wire.
const REQUEST_AGAIN: u16 = 1;
const REQUEST_LEGACY: u16 = 2;

#[derive(Debug, PartialEq, Eq)]
enum At {
    /// A claim of its queue group is on the way, since.
    Claiming,
    Waiting,
    WithApplication,
}

/// A request that was taken in.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) responder: u64,
    pub(super) id: String,
    pub(super) reply: String,
    /// Which asking, where its id may be used again.
    pub(super) asking: String,
    pub(super) service: Box<[u8]>,
    /// Head line and body, until the application has them, and the room for them in the responder's inbox.
    kept: Option<[Box<[u8]>; 2]>,
    pub(super) room: usize,
    flags: u16,
    pub(super) repeat: bool,
    at: At,
    accepted: bool,
    /// Its asker does not wait any more, and the application was told.
    pub(super) given_up: bool,
    /// How many answers it has.
    pub(super) said: u64,
    pub(super) began: Instant,
    expires: Instant,
    /// The same as records carry it.
    until: u64,
}

impl Request {
    pub(super) fn is_with_application(&self) -> bool {
        self.at == At::WithApplication
    }

    /// Whether a head speaks of it. Ids that askers choose may meet; a cancel need not name the reply channel, and not every
    /// peer's names the asking.
    fn is_asked(&self, head: &Head<'_>) -> bool {
        self.id == head.id
            && (head.reply.is_empty() || self.reply == head.reply)
            && (head.asking.is_empty() || self.asking == head.asking)
    }

    /// What it is remembered by.
    pub(super) fn unique(&self) -> &str {
        if self.asking.is_empty() { &self.id } else { &self.asking }
    }

    /// Who hears what becomes of it.
    pub(super) fn asker(&self) -> Asker<'_> {
        Asker { id: &self.id, asking: &self.asking, reply: &self.reply }
    }
}

/// Who hears what becomes of a request: whatever is said of one names it as it named itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    id: &'a str,
    asking: &'a str,
    reply: &'a str,
}

impl<'a> Asker<'a> {
    fn of(head: &'a Head<'_>) -> Asker<'a> {
        Asker { id: &head.id, asking: &head.asking, reply: &head.reply }
    }
}

/// The room that a request takes in its responder's inbox, set aside while it waits: what strangers send a responder that
/// is busy is bounded as what it is given is. `None` if there is none.
fn room_for(responder: &Responder, waits: bool, service: &[u8], line: &[u8], body: &[u8]) -> Option<usize> {
    if !waits {
        return Some(0);
    }
    let room = RecordIn { name: service, extra: line, data: body, ..RecordIn::new(Rec::Request, 0, 0) }.cost();
    responder.inbox.reserve(room).ok().map(|()| room)
}

impl Buffer {
    /// A frame came for a responder, on the channel of a service.
    pub(super) fn served(&self, state: &mut State, id: u64, channel: &[u8], frame: &Frame<'_>, read_at: u64) {
        match frame.kind {
            Kind::Request => self.requested(state, id, channel, frame, read_at),
            Kind::Cancel => self.cancelled(state, id, &frame.head),
            _ => {}
        }
    }

    fn requested(&self, state: &mut State, id: u64, channel: &[u8], frame: &Frame<'_>, read_at: u64) {
        let head = &frame.head;
        let service = channel.get(self.namespace.len() + ":svc:".len()..).unwrap_or_default();
        let Some(responder) = state.responders.all.get_mut(&id) else { return };
        if head.not == self.instance {
            return;
        }
        if responder.catch_all && service == b"$" {
            // Answered elsewhere in this client; but Redis counted this one too.
            self.decline(&responder.by, Asker::of(head));
            return;
        }
        if head.id.is_empty() || head.id.len().max(head.asking.len()) > MAX_ID || head.reply.is_empty() {
            self.counted.malformed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // From now on: the link read it in this turn of the thread. `read_at` is of the wall clock, which may jump: it is told,
        // and nothing is reckoned by it.
        let left = head.ttl.map_or(DEFAULT_TTL, Duration::from_millis).min(LONGEST_TTL);
        if left.is_zero() {
            return;
        }
        if head.repeat {
            // Perhaps again: its asker was away, and knows what came before. Attempts may overtake each other, so the first
            // one is no less again than any other.
            let (frames, whole) = responder.memory.recall(&head.reply, head.unique());
            for frame in frames {
                self.send(head.reply.as_bytes(), frame);
            }
            if whole {
                return;
            }
            let same = |one: &&Request| one.responder == id && one.is_asked(head) && !one.given_up;
            // All that is in work is looked through only for what may be there.
            let may_be_open = head.attempt > 1 || responder.memory.took(head.unique());
            if may_be_open && let Some(request) = state.responders.tickets.values().find(same) {
                // It is worked on: whoever asks again waits for the same work. A claim that is on its way says itself
                // what becomes of it.
                if request.at != At::Claiming {
                    self.tell_accepted(&responder.by, Asker::of(head));
                }
                return;
            }
            if responder.memory.won(head.unique()) {
                // Its claim stands: were it declined here, all of the group would say that somebody else does it.
                let text = "this request was served, and what was answered is not remembered any more";
                self.fail(&responder.by, Asker::of(head), "FORGOTTEN", text, false);
                return;
            }
        }
        if is_served(&responder.once, head.unique()) {
            self.decline(&responder.by, Asker::of(head));
            return;
        }
        responder.requests += 1;
        if responder.is_full() {
            responder.errors += 1;
            let waiting = responder.waiting.len() + responder.claiming;
            let text = format!("{} requests are in work and {waiting} wait", responder.handed);
            self.refuse(&responder.by, Asker::of(head), "BUSY", &text);
            return;
        }
        let now = Instant::now();
        let claims = !responder.group.is_empty();
        let waits = claims || responder.handed >= responder.concurrency || !responder.waiting.is_empty();
        let Some(room) = room_for(responder, waits, service, frame.line, frame.body) else {
            responder.errors += 1;
            self.refuse(&responder.by, Asker::of(head), "BUSY", "the inbox of the responder is full");
            return;
        };
        if head.repeat {
            responder.memory.takes(head.unique());
        }
        if waits {
            // It has its room. What is given to the application at once may find none.
            serves(&responder.once, head.unique());
        }
        let (group, by) = if claims { (responder.group.clone(), responder.by.clone()) } else { Default::default() };
        state.responders.next_ticket += 1;
        let ticket = state.responders.next_ticket;
        let request = Request {
            responder: id,
            id: head.id.clone().into_owned(),
            reply: head.reply.clone().into_owned(),
            asking: head.asking.clone().into_owned(),
            service: service.into(),
            kept: None,
            room,
            flags: if head.attempt > 1 { REQUEST_AGAIN } else { 0 },
            repeat: head.repeat,
            at: if claims { At::Claiming } else { At::Waiting },
            accepted: false,
            given_up: false,
            said: 0,
            began: now,
            expires: now + left,
            until: read_at.saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)),
        };
        if claims {
            responder.claiming += 1;
        }
        state.responders.tickets.insert(ticket, request);
        if claims {
            self.keep(state, ticket, frame);
            // Whoever sets the key first serves it.
            let key = format!("{}:claim:{}:{group}", self.namespace, head.unique());
            let ttl = left.as_millis().max(1).to_string();
            let command = [b"SET", key.as_bytes(), by.as_bytes(), b"NX", b"PX", ttl.as_bytes()];
            let deadline = now.checked_add(left);
            if let Err(error) = self.hub.command(&command, &self.inbox, TOKEN_CLAIM | ticket, deadline) {
                self.claimed(state, ticket, error.status().code(), false, error.message());
            }
            return;
        }
        state.responders.unaccepted.push_back((now + ACCEPT_AFTER, ticket));
        if waits {
            self.keep(state, ticket, frame);
            if let Some(responder) = state.responders.all.get_mut(&id) {
                responder.waiting.push_back(ticket);
            }
        } else if self.hand_out(state, ticket, Some((frame.line, frame.body)))
            && let Some(responder) = state.responders.all.get(&id)
        {
            serves(&responder.once, head.unique());
        }
    }

    fn keep(&self, state: &mut State, ticket: u64, frame: &Frame<'_>) {
        if let Some(request) = state.responders.tickets.get_mut(&ticket) {
            request.kept = Some([frame.line.into(), frame.body.into()]);
        }
    }

    /// A request came in Messaging.Buffer's wire.
    pub(super) fn legacy_requested(&self, state: &mut State, id: u64, channel: &[u8], body: &[u8], read_at: u64) {
        let Some(responder) = state.responders.all.get_mut(&id) else { return };
        let Some((correlation, service)) = legacy::parts(channel) else { return };
        // A pattern's star also matches what holds colons.
        if !responder.catch_all && service != &*responder.service || is_served(&responder.once, correlation) {
            return;
        }
        if correlation.len() > MAX_ID {
            self.counted.malformed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        responder.requests += 1;
        let line = json!({"id": correlation, "channel": String::from_utf8_lossy(channel), "attempt": 1}).to_string();
        let room = if responder.is_full() { None } else { room_for(responder, true, service, line.as_bytes(), body) };
        let Some(room) = room else {
            responder.errors += 1;
            self.hub.events.often(Often::NotTaken, || {
                format!("a request {correlation:?} was not taken: {} are in work", responder.handed)
            });
            return;
        };
        serves(&responder.once, correlation);
        let ttl = responder.ttl.min(LONGEST_TTL);
        let now = Instant::now();
        state.responders.next_ticket += 1;
        let ticket = state.responders.next_ticket;
        let request = Request {
            responder: id,
            id: correlation.to_owned(),
            reply: String::from_utf8_lossy(&legacy::response_channel(correlation)).into_owned(),
            asking: String::new(),
            service: service.into(),
            kept: Some([line.into_bytes().into(), body.into()]),
            room,
            flags: REQUEST_LEGACY,
            repeat: false,
            at: At::Waiting,
            accepted: false,
            given_up: false,
            said: 0,
            began: now,
            expires: now + ttl,
            until: read_at.saturating_add(ttl.as_nanos() as u64),
        };
        state.responders.tickets.insert(ticket, request);
        // Only for its clock: nobody there understands that it was accepted.
        state.responders.unaccepted.push_back((now + ACCEPT_AFTER, ticket));
        if let Some(responder) = state.responders.all.get_mut(&id) {
            responder.waiting.push_back(ticket);
        }
        self.hand_out_waiting(state, id);
    }

    /// The server said whether a claim of a queue group was the first.
    pub(super) fn claimed(&self, state: &mut State, ticket: u64, status: i32, first: bool, text: &str) {
        let Some(request) = state.responders.tickets.get_mut(&ticket) else { return };
        let id = request.responder;
        let Some(responder) = state.responders.all.get_mut(&id) else { return };
        responder.claiming = responder.claiming.saturating_sub(1);
        if status == Status::Ok.code() && first {
            request.at = At::Waiting;
            if request.repeat {
                responder.memory.wins(request.unique());
            }
            // The way to the server and back has been waited for already.
            state.responders.unaccepted.push_back((Instant::now(), ticket));
            responder.waiting.push_back(ticket);
            self.hand_out_waiting(state, id);
            return;
        }
        let by = responder.by.clone();
        responder.inbox.unreserve(std::mem::take(&mut request.room));
        let Some(request) = state.responders.tickets.remove(&ticket) else { return };
        if status == Status::Ok.code() {
            self.decline(&by, request.asker());
        } else {
            let text = format!("a request could not be claimed for its queue group: {text}");
            self.hub.events.often(Often::NotTaken, || text.clone());
            self.refuse(&by, request.asker(), "CLAIM", &text);
        }
        self.settle_drain(state, id);
    }

    /// Gives the application what waits, as far as it has room.
    pub(super) fn hand_out_waiting(&self, state: &mut State, id: u64) {
        while let Some(responder) = state.responders.all.get_mut(&id).filter(|one| one.handed < one.concurrency) {
            let Some(ticket) = responder.waiting.pop_front() else { return };
            self.hand_out(state, ticket, None);
        }
    }

    /// Gives one request to the application. `false` if it did not get it: there was no room, which its asker is told.
    fn hand_out(&self, state: &mut State, ticket: u64, fresh: Option<(&[u8], &[u8])>) -> bool {
        let Some(request) = state.responders.tickets.get_mut(&ticket) else { return false };
        let Some(responder) = state.responders.all.get_mut(&request.responder) else { return false };
        let kept = request.kept.take();
        let (line, body) = match (&kept, fresh) {
            (Some([line, body]), _) => (&**line, &**body),
            (None, Some(fresh)) => fresh,
            (None, None) => return false,
        };
        let record = RecordIn {
            flags: request.flags,
            number: ticket,
            aux: request.until,
            name: &request.service,
            extra: line,
            data: body,
            ..RecordIn::new(Rec::Request, request.responder, responder.token)
        };
        let placed = match std::mem::take(&mut request.room) {
            0 => responder.inbox.offer_quietly(&record),
            room => {
                responder.inbox.complete_quietly(&record, room);
                true
            }
        };
        if placed {
            request.at = At::WithApplication;
            responder.handed += 1;
            let inbox = Arc::clone(&responder.inbox);
            state.gave(&inbox);
            return true;
        }
        responder.errors += 1;
        let by = responder.by.clone();
        let gone = state.responders.tickets.remove(&ticket);
        if let Some(request) = gone.filter(|request| request.flags & REQUEST_LEGACY == 0) {
            self.refuse(&by, request.asker(), "BUSY", "the inbox of the responder is full");
        }
        false
    }

    fn cancelled(&self, state: &mut State, id: u64, head: &Head<'_>) {
        // One that was given up before may not be ended yet, and its id used again.
        let open = |one: &Request| one.responder == id && one.is_asked(head) && !one.given_up;
        let found = state.responders.tickets.iter().find(|(_, one)| open(one));
        let Some((&ticket, _)) = found else { return };
        self.give_up(state, ticket, Status::Cancelled);
    }

    /// Nobody waits for a request any more: the application is told if it has it, else it is forgotten.
    fn give_up(&self, state: &mut State, ticket: u64, status: Status) {
        let Some(request) = state.responders.tickets.get_mut(&ticket) else { return };
        let Some(responder) = state.responders.all.get_mut(&request.responder) else { return };
        if request.at != At::WithApplication {
            let id = request.responder;
            responder.claiming = responder.claiming.saturating_sub(usize::from(request.at == At::Claiming));
            responder.waiting.retain(|&other| other != ticket);
            responder.inbox.unreserve(request.room);
            state.responders.tickets.remove(&ticket);
            self.settle_drain(state, id);
            return;
        }
        if !std::mem::replace(&mut request.given_up, true) {
            let record = RecordIn {
                status: status.code(),
                number: ticket,
                name: &request.service,
                ..RecordIn::new(Rec::Cancel, request.responder, responder.token)
            };
            responder.inbox.push_quietly(&record);
            let inbox = Arc::clone(&responder.inbox);
            state.gave(&inbox);
        }
    }

    fn decline(&self, by: &str, asker: Asker<'_>) {
        self.tell(by, asker, Head::new(Kind::Declined));
    }

    fn tell_accepted(&self, by: &str, asker: Asker<'_>) {
        self.tell(by, asker, Head::new(Kind::Accepted));
    }

    /// Tells an asker that its request will not be answered, and that another may be.
    pub(super) fn refuse(&self, by: &str, asker: Asker<'_>, code: &str, message: &str) {
        self.fail(by, asker, code, message, true);
    }

    fn fail(&self, by: &str, asker: Asker<'_>, code: &str, message: &str, retriable: bool) {
        let head = Head { code: code.into(), message: message.into(), retriable, ..Head::new(Kind::Error) };
        self.tell(by, asker, head);
    }

    fn tell(&self, by: &str, asker: Asker<'_>, head: Head<'_>) {
        let Asker { id, asking, reply } = asker;
        let name = self.name.as_str().into();
        let head = Head { id: id.into(), asking: asking.into(), by: by.into(), name, ..head };
        self.send(reply.as_bytes(), &head.frame(b""));
    }

    /// Tells askers what has become due, and gives up what has run out of time. Returns when to look again.
    pub(super) fn requests_in_work(&self, state: &mut State, now: Instant) -> Option<Instant> {
        while let Some((due, ticket)) = state.responders.unaccepted.front().copied() {
            if due > now {
                break;
            }
            state.responders.unaccepted.pop_front();
            let Some(request) = state.responders.tickets.get_mut(&ticket) else { continue };
            let Some(responder) = state.responders.all.get(&request.responder) else { continue };
            request.accepted = !responder.legacy;
            if !request.given_up && !responder.legacy {
                self.tell_accepted(&responder.by, request.asker());
            }
            let expires = request.expires;
            state.responders.next_alive.get_or_insert(now + ALIVE_EVERY);
            state.responders.next_over = Some(state.responders.next_over.map_or(expires, |next| next.min(expires)));
        }
        if state.responders.next_over.is_some_and(|due| due <= now) {
            self.give_up_over(state, now);
        }
        if state.responders.next_alive.is_some_and(|due| due <= now) {
            self.tell_alive(state, now);
        }
        let first = state.responders.unaccepted.front().map(|&(due, _)| due);
        [first, state.responders.next_alive, state.responders.next_over].into_iter().flatten().min()
    }

    /// What has run out of time is given up. A clock of its own: were askers told each time, many requests that end one
    /// by one would cost a frame for each of them to each asker.
    fn give_up_over(&self, state: &mut State, now: Instant) {
        let waited_for = |one: &&Request| !one.given_up;
        let is_over = |(&ticket, one): (&u64, &Request)| (!one.given_up && one.expires <= now).then_some(ticket);
        let mut over: Vec<u64> = state.responders.tickets.iter().filter_map(is_over).collect();
        over.sort_unstable();
        for ticket in over {
            self.give_up(state, ticket, Status::Timeout);
        }
        state.responders.next_over = state.responders.tickets.values().filter(waited_for).map(|one| one.expires).min();
    }

    /// One frame for each asker and responder with all requests in work.
    fn tell_alive(&self, state: &mut State, now: Instant) {
        let mut by_asker: BTreeMap<(u64, &str), Vec<&str>> = BTreeMap::new();
        for request in state.responders.tickets.values().filter(|one| one.accepted && !one.given_up) {
            by_asker.entry((request.responder, &request.reply)).or_default().push(&request.id);
        }
        state.responders.next_alive = (!by_asker.is_empty()).then(|| now + ALIVE_EVERY);
        for ((id, reply), ids) in by_asker {
            let Some(responder) = state.responders.all.get(&id) else { continue };
            // A head line has an end.
            let mut left = ids.as_slice();
            while !left.is_empty() {
                let mut bytes = 0;
                let fits = left.iter().take(ALIVE_IDS).take_while(|id| {
                    bytes += id.len() + 3;
                    bytes <= ALIVE_BYTES
                });
                let (ids, rest) = left.split_at_checked(fits.count().max(1)).unwrap_or((left, &[]));
                left = rest;
                let head = Head {
                    ids: ids.iter().map(|&id| id.into()).collect(),
                    by: (*responder.by).into(),
                    name: self.name.as_str().into(),
                    ..Head::new(Kind::Alive)
                };
                self.send(reply.as_bytes(), &head.frame(b""));
            }
        }
    }
}
