//! Asking: requests that are open, the one channel that all answers come to, and how each request ends.
//!
//! A request is published as soon as the reply channel is active, so that no answer can be missed, and costs nothing
//! but that PUBLISH. Everything that happens to it goes through `collect.rs`; its end is one record, always.

use super::collect::{Collect, Reason, Rules, Verdict, Window};
use super::{Buffer, FRAME_TIME, State, headers};
use crate::error::{Error, Result, Status};
use crate::inbox::record::RECORD_SIZE;
use crate::inbox::{Inbox, Kind as Rec, RecordIn};
use crate::mux::events::Level;
use crate::mux::subscription::Ticket;
use crate::options::{Key, Options};
use crate::proto::envelope::{Frame, Head, Kind};
use crate::runtime::next_id;
use crate::sync::Arc;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Room for an end: its record and what it says. A long list of who is missing is cut to fit, and counted.
const END_ROOM: usize = RECORD_SIZE + 2048;

/// Flag bits of an answer.
const ANSWER_LAST: u16 = 1;
const ANSWER_FAILED: u16 = 2;

/// What is asked.
#[derive(Debug)]
pub struct Ask<'a> {
    /// Whom.
    pub service: &'a [u8],
    /// With what.
    pub body: &'a [u8],
    /// Headers of the application: a JSON object of strings, or nothing.
    pub headers: &'a [u8],
    /// How.
    pub options: &'a Options,
}

/// An open request.
#[derive(Debug)]
pub(super) struct Gather {
    pub(super) inbox: Arc<Inbox>,
    pub(super) token: u64,
    pub(super) collect: Collect,
    pub(super) service: Box<[u8]>,
    /// In Messaging.Buffer's wire: the source of the channel for its answers.
    legacy: Option<u64>,
    /// The id on the wire, where the caller gave one.
    named: Option<Box<str>>,
    tell_accepted: bool,
    /// Responders of this client may answer too.
    own: bool,
    repeatable: bool,
    attempt: u32,
    expect: Option<u64>,
    /// Body and headers, while they may have to be sent (again).
    keep: Option<[Box<[u8]>; 2]>,
    /// When it was last sent; none while it waits for the reply channel.
    sent: Option<Instant>,
    /// When the task is to look at it.
    due: Instant,
}

impl Gather {
    /// Its id in Messaging.Buffer's wire.
    pub(super) fn legacy_id(&self) -> Option<&str> {
        self.named.as_deref().filter(|_| self.legacy.is_some())
    }
}

/// The requests of a client.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// The source of the reply channel, once there is one, and whether the server has it now.
    pub(super) source: Option<u64>,
    pub(super) active: bool,
    open: HashMap<u64, Gather, RandomState>,
    named: HashMap<Box<str>, u64, RandomState>,
    /// Requests in Messaging.Buffer's wire, by the source of the channel for their answers.
    legacy: HashMap<u64, u64, RandomState>,
    /// Those that wait for the reply channel, in their order.
    waiting: Vec<u64>,
    timers: BTreeSet<(Instant, u64)>,
    window: Window,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn select(&self, which: impl Fn(&Gather) -> bool) -> Vec<u64> {
        let mut ids: Vec<u64> = self.open.iter().filter(|(_, gather)| which(gather)).map(|(&id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Gather> {
        self.open.get_mut(&id)
    }

    /// The request in Messaging.Buffer's wire whose answers come from a source.
    pub(super) fn of_legacy_source(&self, source: u64) -> Option<u64> {
        self.legacy.get(&source).copied()
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.timers.first().map(|&(due, _)| due)
    }

    /// The task is to look at a gather then, or before.
    fn arm(&mut self, id: u64, due: Instant) {
        let Some(gather) = self.open.get_mut(&id) else { return };
        // A later one is found out when the earlier one is looked at.
        if due < gather.due {
            self.timers.remove(&(gather.due, id));
            self.timers.insert((due, id));
            gather.due = due;
        }
    }

    /// Whose answer an id belongs to.
    fn find(&self, instance: &str, id: &str) -> Option<u64> {
        let number = id.strip_prefix(instance).and_then(|rest| rest.strip_prefix('.'));
        match number.and_then(|number| u64::from_str_radix(number, 16).ok()) {
            Some(number) => self.open.contains_key(&number).then_some(number),
            None => self.named.get(id).copied(),
        }
    }
}

impl Buffer {
    /// Asks. Its answers and its end come into the inbox of the ticket. Returns its id, the source of its records.
    pub fn ask(&self, ask: &Ask<'_>, ticket: Ticket) -> Result<u64> {
        let invalid = |text: &str| Error::new(Status::InvalidArgument, text);
        let inbox = ticket.inbox.ok_or_else(|| invalid("a request needs an inbox"))?;
        let deadline = ticket.deadline.ok_or_else(|| invalid("a request needs a time limit; -1 is none"))?;
        let options = ask.options;
        let h = headers(ask.headers)?;
        let legacy = options.choice(Key::Wire) == "messaging-buffer";
        if legacy && options.flag(Key::OthersOnly) {
            return Err(invalid("Messaging.Buffer's wire has no way to leave the asker's own handlers out"));
        }
        let now = Instant::now();
        let rules = Rules {
            count: options.number(Key::Expect),
            quiet: Some(options.duration(Key::Quiet)).filter(|quiet| !quiet.is_zero()),
            // There is no sign of a responder there but its answer: who was counted is waited for.
            strict: options.flag(Key::Strict) || legacy,
            most: options.number(Key::MaxAnswers),
            most_bytes: options.bytes(Key::MaxAnswerBytes) as u64,
            deadline,
        };
        let named = Some(options.text(Key::RequestId)).filter(|id| !id.is_empty());
        if named.is_some_and(|id| id.len() > 256) {
            return Err(invalid("request_id is longer than 256 bytes"));
        }
        let named = match named {
            given if legacy => Some(super::legacy::correlation_id(given)?.into()),
            given => given.map(Into::into),
        };
        let id = next_id();
        let repeatable = options.flag(Key::Repeatable);
        let expect = Some(rules.count).filter(|&count| count > 0);
        let mut gather = Gather {
            inbox: Arc::clone(&inbox),
            token: ticket.token,
            collect: Collect::new(rules, now),
            service: ask.service.into(),
            legacy: legacy.then(next_id),
            named,
            tell_accepted: options.flag(Key::Accepted),
            own: !options.flag(Key::OthersOnly),
            repeatable,
            attempt: 1,
            expect,
            keep: None,
            sent: None,
            due: deadline,
        };
        let frame = if legacy { ask.body.to_vec() } else { self.frame_of(id, &gather, ask.body, h, now) };
        let most = self.hub.settings.limits.max_payload;
        if frame.len() > most {
            let text = format!("the request has {} bytes with its head line; max_payload is {most}", frame.len());
            return Err(Error::new(Status::TooLarge, text));
        }
        inbox.reserve(END_ROOM)?;
        let mut state = self.enter();
        let refused = if state.closed {
            Some(Status::Closed.into())
        } else if gather.named.as_ref().is_some_and(|id| state.requests.named.contains_key(id)) {
            Some(Error::new(Status::Conflict, "a request with that request_id is open; it goes on"))
        } else if let (Some(source), Some(named)) = (gather.legacy, &gather.named) {
            self.listen_for_responses(source, named).err()
        } else {
            self.listen_for_answers(&mut state).err()
        };
        if let Some(error) = refused {
            drop(state);
            inbox.unreserve(END_ROOM);
            return Err(error);
        }
        if let Some(named) = gather.named.clone() {
            state.requests.named.insert(named, id);
        }
        let at_once = state.requests.active && !legacy;
        if at_once {
            gather.sent = Some(now);
        } else if let Some(source) = gather.legacy {
            state.requests.legacy.insert(source, id);
        } else {
            state.requests.waiting.push(id);
        }
        if !at_once || repeatable {
            gather.keep = Some([ask.body.into(), ask.headers.into()]);
        }
        state.requests.open.insert(id, gather);
        state.requests.timers.insert((deadline, id));
        let wake = state.wakes.is_none_or(|wakes| deadline < wakes);
        drop(state);
        if wake {
            self.work.notify_one();
        }
        if at_once {
            // Without the lock: the write may take as long as everything else here.
            let sent = self.hub.publish(&self.service_channel(ask.service), &frame, &self.inbox, id, Some(deadline));
            if let Err(error) = sent {
                let why = Some((error.status(), error.message()));
                self.end_gather(&mut self.enter(), id, Reason::Interrupted, why);
            }
        }
        Ok(id)
    }

    /// Subscribes the reply channel, once.
    fn listen_for_answers(&self, state: &mut State) -> Result<()> {
        if state.requests.source.is_some() {
            return Ok(());
        }
        let source = next_id();
        self.hub.subscribe(source, 0, &self.inbox, None)?;
        state.requests.source = Some(source);
        let ticket = Ticket { inbox: None, token: 0, deadline: None };
        self.hub.add(source, &[self.reply.as_bytes()], ticket)
    }

    fn wire_id(&self, id: u64, gather: &Gather) -> String {
        gather.named.as_deref().map_or_else(|| format!("{}.{id:x}", self.instance), str::to_owned)
    }

    fn frame_of(
        &self,
        id: u64,
        gather: &Gather,
        body: &[u8],
        h: Option<&serde_json::value::RawValue>,
        now: Instant,
    ) -> Vec<u8> {
        let left = gather.collect.deadline().saturating_duration_since(now);
        let head = Head {
            id: self.wire_id(id, gather).into(),
            from: self.name.as_str().into(),
            reply: self.reply.as_str().into(),
            ttl: Some(left.as_millis().max(1) as u64),
            attempt: gather.attempt,
            expect: gather.expect,
            not: if gather.own { "".into() } else { self.instance.as_str().into() },
            repeat: gather.repeatable,
            h,
            ..Head::new(Kind::Request)
        };
        head.frame(body)
    }

    /// Publishes a request. What it completes with comes into the buffer's own inbox under the gather's id.
    fn publish_request(
        &self,
        state: &mut State,
        id: u64,
        body: &[u8],
        h: Option<&serde_json::value::RawValue>,
        now: Instant,
    ) {
        let Some(gather) = state.requests.open.get_mut(&id) else { return };
        gather.sent = Some(now);
        let frame = self.frame_of(id, gather, body, h, now);
        let channel = self.service_channel(&gather.service);
        let deadline = gather.collect.deadline();
        if let Err(error) = self.hub.publish(&channel, &frame, &self.inbox, id, Some(deadline)) {
            self.end_gather(state, id, Reason::Interrupted, Some((error.status(), error.message())));
        }
    }

    /// Publishes a request in Messaging.Buffer's wire, once its channel for answers is there.
    pub(super) fn send_legacy(&self, state: &mut State, id: u64) {
        let Some(gather) = state.requests.open.get_mut(&id) else { return };
        let (Some([body, _]), Some(named)) = (gather.keep.take(), gather.named.clone()) else { return };
        gather.sent = Some(Instant::now());
        let channel = super::legacy::request_channel(&named, &gather.service);
        let deadline = gather.collect.deadline();
        if let Err(error) = self.hub.publish(&channel, &body, &self.inbox, id, Some(deadline)) {
            self.end_gather(state, id, Reason::Interrupted, Some((error.status(), error.message())));
        }
    }

    /// Publishes what waited for the reply channel.
    pub(super) fn send_waiting(&self, state: &mut State, now: Instant) {
        state.requests.active = true;
        for id in std::mem::take(&mut state.requests.waiting) {
            let Some(gather) = state.requests.open.get_mut(&id) else { continue };
            let kept = if gather.repeatable { gather.keep.clone() } else { gather.keep.take() };
            let Some([body, h]) = kept else { continue };
            let h = headers(&h).ok().flatten();
            self.publish_request(state, id, &body, h, now);
        }
    }

    /// The link that answers come through was lost: answers may be missing.
    pub(super) fn answers_lost(&self, state: &mut State) {
        state.requests.active = false;
        for id in state.requests.select(|gather| gather.sent.is_some() && gather.legacy.is_none()) {
            self.interrupt(state, id, Status::Interrupted, "the connection was lost while it waited for answers");
        }
    }

    /// Ends a request that may have been missed, or puts it in line to be sent again if it may be repeated.
    fn interrupt(&self, state: &mut State, id: u64, status: Status, text: &str) {
        let Some(gather) = state.requests.open.get_mut(&id) else { return };
        if !gather.repeatable || gather.legacy.is_some() || status == Status::Refused {
            self.end_gather(state, id, Reason::Interrupted, Some((status, text)));
            return;
        }
        if gather.sent.take().is_some() {
            gather.attempt += 1;
            gather.collect.sent_again();
            state.requests.waiting.push(id);
        }
        if state.requests.active {
            self.send_waiting(state, Instant::now());
        }
    }

    /// The reply channel was refused: no answer can ever come.
    pub(super) fn answers_refused(&self, state: &mut State) {
        let text = format!("Redis refused the channel for answers, {:?}; allow it to the user", self.reply);
        for id in state.requests.select(|gather| gather.legacy.is_none()) {
            self.end_gather(state, id, Reason::Interrupted, Some((Status::Refused, &text)));
        }
    }

    /// The PUBLISH of a request ended.
    pub(super) fn request_published(&self, state: &mut State, id: u64, status: i32, number: u64, text: &str) {
        let now = Instant::now();
        let status = Status::from_code(status).unwrap_or(Status::Internal);
        if status != Status::Ok {
            // A refused request was never received; whoever asks again is refused again.
            self.interrupt(state, id, status, text);
            return;
        }
        let Some(gather) = state.requests.open.get(&id) else { return };
        let own = if gather.own { 0 } else { state.responders.reached(&gather.service) };
        let window = state.requests.window.length();
        let Some(gather) = state.requests.open.get_mut(&id) else { return };
        gather.collect.published(number.saturating_sub(own), window, now);
        self.after(state, id, now);
    }

    /// A frame came to the reply channel.
    pub(super) fn answered(&self, state: &mut State, frame: &Frame<'_>, read_at: u64) {
        let now = Instant::now();
        let head = &frame.head;
        if frame.kind == Kind::Alive {
            for id in &head.ids {
                if let Some(id) = state.requests.find(&self.instance, id)
                    && let Some(gather) = state.requests.open.get_mut(&id)
                {
                    gather.collect.alive(&head.by, &head.name, now);
                }
            }
            return;
        }
        let found = state.requests.find(&self.instance, &head.id);
        let Some((id, gather)) = found.and_then(|id| Some((id, state.requests.open.get_mut(&id)?))) else {
            self.counted.late.fetch_add(1, Ordering::Relaxed);
            if matches!(frame.kind, Kind::Part | Kind::Error) || head.seq.is_some() {
                let text = format!("an answer of {:?} to a request that is not open: {:?}", head.name, head.id);
                self.hub.events.log(Level::Warn, &text);
            }
            return;
        };
        let known = gather.collect.accepted_count();
        match frame.kind {
            Kind::Accepted => {
                if gather.collect.accepted(&head.by, &head.name, now) && gather.tell_accepted {
                    let record = RecordIn {
                        number: gather.collect.accepted_count(),
                        aux: read_at,
                        name: &gather.service,
                        extra: frame.line,
                        ..RecordIn::new(Rec::Accepted, id, gather.token)
                    };
                    gather.inbox.offer_quietly(&record);
                }
            }
            // It would be taken for the end of its responder, and what comes behind it would be lost.
            Kind::Part if head.seq.is_none() => {
                self.counted.malformed.fetch_add(1, Ordering::Relaxed);
                self.hub.events.log(Level::Warn, &format!("a part without seq, of {:?}", head.name));
            }
            Kind::Part | Kind::End => match head.seq {
                Some(seq) => {
                    let last = frame.kind == Kind::End;
                    let len = frame.body.len();
                    let record = RecordIn {
                        flags: if last { ANSWER_LAST } else { 0 },
                        number: seq,
                        aux: read_at,
                        name: &gather.service,
                        extra: frame.line,
                        data: frame.body,
                        ..RecordIn::new(Rec::Answer, id, gather.token)
                    };
                    if !gather.inbox.fits(record.cost(), 0) {
                        gather.collect.overflow();
                    } else if gather.collect.answer(&head.by, &head.name, seq, len, last, now) == Verdict::Deliver {
                        gather.inbox.push_quietly(&record);
                    }
                }
                None => drop(gather.collect.finished(&head.by, &head.name, now)),
            },
            Kind::Error => {
                if gather.collect.failed(&head.by, &head.name, now) {
                    let status = if head.code == "BUSY" { Status::Full } else { Status::Remote };
                    let record = RecordIn {
                        flags: ANSWER_LAST | ANSWER_FAILED,
                        status: status.code(),
                        aux: read_at,
                        name: &gather.service,
                        extra: frame.line,
                        data: frame.body,
                        ..RecordIn::new(Rec::Answer, id, gather.token)
                    };
                    if !gather.inbox.offer_quietly(&record) {
                        gather.collect.overflow();
                    }
                }
            }
            Kind::Declined => gather.collect.declined(&head.by, &head.name, now),
            Kind::Request | Kind::Cancel | Kind::Alive => {}
        }
        // The first sign of the first responder is what the accept window is measured by.
        if known == 0
            && gather.collect.accepted_count() > 0
            && let Some(sent) = gather.sent
        {
            let took = now.saturating_duration_since(sent);
            state.requests.window.measured(took);
        }
        let inbox = Arc::clone(&gather.inbox);
        state.gave(&inbox);
        self.after(state, id, now);
    }

    /// Something happened to a request: it may be complete.
    pub(super) fn after(&self, state: &mut State, id: u64, now: Instant) {
        let Some(gather) = state.requests.open.get(&id) else { return };
        match gather.collect.ended() {
            Some(reason) => self.end_gather(state, id, reason, None),
            None => {
                if let Some(due) = gather.collect.next(now) {
                    state.requests.arm(id, due);
                }
            }
        }
    }

    /// Looks at the requests whose time has come.
    pub(super) fn requests_due(&self, state: &mut State, now: Instant) {
        while let Some((due, id)) = state.requests.timers.first().copied().filter(|&(due, _)| due <= now) {
            state.requests.timers.remove(&(due, id));
            let Some(gather) = state.requests.open.get_mut(&id) else { continue };
            gather.collect.time(now);
            if let Some(reason) = gather.collect.ended() {
                self.end_gather(state, id, reason, None);
            } else if let Some(next) = gather.collect.next(now) {
                // Never at once again, whatever the rules say: a clock that stands still must not hold the thread.
                let next = next.max(now + Duration::from_millis(1));
                gather.due = next;
                state.requests.timers.insert((next, id));
            }
        }
    }

    /// The caller stops a gather. `CLOSED` if it has ended.
    pub fn stop(&self, id: u64, reason: Reason) -> Result<(), Status> {
        let mut state = self.enter();
        if !state.requests.open.contains_key(&id) {
            return Err(Status::Closed);
        }
        self.end_gather(&mut state, id, reason, None);
        Ok(())
    }

    /// The one end of a request.
    pub(super) fn end_gather(&self, state: &mut State, id: u64, reason: Reason, why: Option<(Status, &str)>) {
        let Some(mut gather) = state.requests.open.remove(&id) else { return };
        state.requests.timers.remove(&(gather.due, id));
        if let Some(named) = &gather.named {
            state.requests.named.remove(named);
        }
        gather.collect.stop(reason);
        let reason = gather.collect.ended().unwrap_or(reason);
        let status = match (why, reason) {
            (Some((status, _)), _) => status,
            (None, Reason::All | Reason::Count | Reason::Predicate | Reason::Quiet) => Status::Ok,
            (None, Reason::NoResponders) => Status::NoResponders,
            (None, Reason::Deadline) => Status::Timeout,
            (None, Reason::Cancelled) => Status::Cancelled,
            (None, Reason::Closed) => Status::Closed,
            (None, Reason::Interrupted) => Status::Interrupted,
            (None, Reason::Failed) => Status::Remote,
            (None, Reason::Overflow) => Status::Overflow,
        };
        let extra = said(&gather, why.map(|(_, text)| text));
        let record = RecordIn {
            status: status.code(),
            number: reason as u64,
            aux: gather.collect.elapsed(Instant::now()).as_nanos() as u64,
            name: if gather.service.len() <= 512 { &gather.service } else { &[] },
            extra: extra.as_bytes(),
            ..RecordIn::new(Rec::End, id, gather.token)
        };
        gather.inbox.complete_quietly(&record, END_ROOM);
        state.gave(&gather.inbox);
        if let Some(source) = gather.legacy {
            state.requests.legacy.remove(&source);
            let _ = self.hub.close_source(source);
            return;
        }
        // Who still works on it is told that nobody waits; at the deadline they know it themselves.
        if gather.sent.is_some() && reason != Reason::Deadline && gather.collect.is_worked_on() {
            let head = Head { id: self.wire_id(id, &gather).into(), ..Head::new(Kind::Cancel) };
            let deadline = Instant::now().checked_add(FRAME_TIME);
            let _ = self.hub.post(&self.service_channel(&gather.service), &head.frame(b""), deadline);
        }
    }
}

/// What an end says: counts, and who is missing, as many as there is room for.
fn said(gather: &Gather, why: Option<&str>) -> String {
    let report = gather.collect.report();
    let most = END_ROOM - RECORD_SIZE - 512;
    let (answers, errors, duplicates, late) = (report.answers, report.errors, report.duplicates, report.late);
    let expected = report.expected.map_or_else(|| "null".to_owned(), |expected| expected.to_string());
    let count = report.missing.len();
    let message = why.map(|why| json!(crate::mux::ops::cut(why, 300)).to_string());
    let message = message.map(|message| format!(",\"message\":{message}")).unwrap_or_default();
    for kept in [count, 16, 4, 0] {
        let missing: Vec<_> =
            report.missing.iter().take(kept).map(|(by, name)| json!({"by": by, "name": name})).collect();
        let missing = if missing.is_empty() { "[]".to_owned() } else { json!(missing).to_string() };
        let text = format!(
            "{{\"expected\":{expected},\"answers\":{answers},\"errors\":{errors},\"missing\":{missing},\
             \"missing_count\":{count},\"duplicates\":{duplicates},\"late\":{late}{message}}}"
        );
        if text.len() <= most || kept == 0 {
            return text;
        }
    }
    String::new()
}
