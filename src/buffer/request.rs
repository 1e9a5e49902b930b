//! Asking: requests that are open, and the one channel that all answers come to. What they hear is in
//! `request/answers.rs`, and how they end in `request/ending.rs`.
//!
//! A request is published as soon as the reply channel is active, so that no answer can be missed, and costs nothing
//! but that PUBLISH. Everything that happens to it goes through `collect.rs`; its end is one record, always.

mod answers;
mod ending;

use super::collect::{Collect, Reason, Rules, Window};
use super::{Buffer, State, check_head, headers};
use crate::error::{Error, Result, Status};
use crate::inbox::Inbox;
use crate::inbox::record::RECORD_SIZE;
use crate::mux::subscription::Ticket;
use crate::options::{Key, Options};
use crate::proto::envelope::{Head, Kind};
use crate::proto::resp::Limits;
use crate::runtime::next_id;
use crate::sync::Arc;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Room for an end: its record and what it says. A long list of who is missing is cut to fit, and counted.
const END_ROOM: usize = RECORD_SIZE + 2048;

/// How often a request that was sent again and reached nobody is tried once more.
const SENT_AGAIN_EVERY: Duration = Duration::from_millis(100);

/// How long the way to the server may take until the time that a request says it has left is another one than its asker's.
const LATE: Duration = Duration::from_millis(100);

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
    pub(super) sent: Option<Instant>,
    /// Publishes of it that have not completed. What an earlier one than the last says counts no more.
    publishing: u32,
    /// It got to the server so much later than it was written that who works on it believes that it has more time.
    late: bool,
    /// When it is sent again to a service that is not back yet.
    again: Option<Instant>,
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
    waiting: BTreeSet<u64>,
    timers: BTreeSet<(Instant, u64)>,
    /// Cancels that may have to be said again, by the id of what they cancel.
    cancels: HashMap<u64, ending::Cancel, RandomState>,
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

    /// Where the answers to a request come from.
    #[cfg(test)]
    pub(super) fn source_of(&self, id: u64) -> Option<u64> {
        self.open.get(&id)?.legacy.or(self.source)
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

    /// Whose answer an id belongs to. A caller may have chosen one that was given to an earlier request.
    fn find(&self, instance: &str, id: &str) -> Option<u64> {
        if !self.named.is_empty()
            && let Some(&number) = self.named.get(id)
        {
            return Some(number);
        }
        let number = id.strip_prefix(instance).and_then(|rest| rest.strip_prefix('.'))?;
        u64::from_str_radix(number, 16).ok().filter(|number| self.open.contains_key(number))
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
            // Its source is known when it is subscribed.
            legacy: legacy.then_some(0),
            named,
            tell_accepted: options.flag(Key::Accepted),
            own: !options.flag(Key::OthersOnly),
            repeatable,
            attempt: 1,
            expect,
            keep: None,
            sent: None,
            publishing: 0,
            late: false,
            again: None,
            due: deadline,
        };
        let frame = if legacy { ask.body.to_vec() } else { self.frame_of(id, &gather, ask.body, h, now) };
        let Limits { max_payload: most, max_name } = self.hub.settings.limits;
        if frame.len() > most {
            let text = format!("the request has {} bytes with its head line; max_payload is {most}", frame.len());
            return Err(Error::new(Status::TooLarge, text));
        }
        if !legacy {
            check_head(&frame, ask.body)?;
        }
        let channel = self.service_channel(ask.service);
        if channel.len() > max_name {
            let text = format!("the service's channel has a name of {} bytes; max_name is {max_name}", channel.len());
            return Err(Error::new(Status::TooLarge, text));
        }
        inbox.reserve(END_ROOM)?;
        let mut state = self.enter();
        let refused = if state.closed || inbox.is_closed() {
            Some(Status::Closed.into())
        } else if gather.named.as_ref().is_some_and(|id| state.requests.find(&self.instance, id).is_some()) {
            Some(Error::new(Status::Conflict, "a request with that request_id is open; it goes on"))
        } else if let Some(named) = gather.legacy_id() {
            self.listen_for_responses(named).map(|source| gather.legacy = Some(source)).err()
        } else {
            self.listen_for_answers(&mut state).err()
        };
        if let Some(error) = refused {
            drop(state);
            inbox.unreserve(END_ROOM);
            return Err(error);
        }
        let named = gather.named.clone();
        if let Some(named) = &named {
            state.requests.named.insert(named.clone(), id);
        }
        let at_once = state.requests.active && !legacy;
        if at_once {
            gather.sent = Some(now);
            gather.publishing = 1;
        } else if let Some(source) = gather.legacy {
            state.requests.legacy.insert(source, id);
        } else {
            state.requests.waiting.insert(id);
        }
        if !at_once || repeatable {
            gather.keep = Some([ask.body.into(), ask.headers.into()]);
        }
        state.requests.open.insert(id, gather);
        state.requests.timers.insert((deadline, id));
        let wake = state.wakes.is_none_or(|wakes| deadline < wakes);
        let overtaken = self.overtaken.load(Ordering::Relaxed);
        drop(state);
        if wake {
            self.work.notify_one();
        }
        if at_once {
            // Without the lock: the write may take as long as everything else here.
            let sent = self.hub.publish(&channel, &frame, &self.inbox, id, Some(deadline));
            if let Err(error) = sent {
                self.not_published(&mut self.enter(), id, &error);
            } else if overtaken != self.overtaken.load(Ordering::Relaxed)
                && !self.enter().requests.open.contains_key(&id)
            {
                // Its cancel went before it: here is one behind it.
                let frame = self.cancel_frame(id, named.as_deref());
                self.send(&channel, &frame);
            }
        }
        Ok(id)
    }

    /// Subscribes the reply channel, once.
    fn listen_for_answers(&self, state: &mut State) -> Result<()> {
        if state.requests.source.is_some() {
            return Ok(());
        }
        state.requests.source = Some(self.subscribe_own(self.reply.as_bytes())?);
        Ok(())
    }

    fn wire_id(&self, id: u64, named: Option<&str>) -> String {
        named.map_or_else(|| self.unique_id(id), str::to_owned)
    }

    /// Which asking it is, where its id may be used again.
    fn asking(&self, id: u64, named: Option<&str>) -> String {
        named.map_or_else(String::new, |_| self.unique_id(id))
    }

    fn unique_id(&self, id: u64) -> String {
        let mut text = String::with_capacity(self.instance.len() + 17);
        text.push_str(&self.instance);
        // Writing into memory cannot fail.
        let _ = write!(text, ".{id:x}");
        text
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
            id: self.wire_id(id, gather.named.as_deref()).into(),
            from: self.name.as_str().into(),
            reply: self.reply.as_str().into(),
            ttl: Some(left.as_millis().max(1) as u64),
            attempt: gather.attempt,
            expect: gather.expect,
            not: if gather.own { "".into() } else { self.instance.as_str().into() },
            asking: self.asking(id, gather.named.as_deref()).into(),
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
        gather.publishing += 1;
        let frame = self.frame_of(id, gather, body, h, now);
        let channel = self.service_channel(&gather.service);
        let deadline = gather.collect.deadline();
        if let Err(error) = self.hub.publish(&channel, &frame, &self.inbox, id, Some(deadline)) {
            self.not_published(state, id, &error);
        }
    }

    /// A request could not even be queued.
    fn not_published(&self, state: &mut State, id: u64, error: &Error) {
        let Some(gather) = state.requests.open.get_mut(&id) else { return };
        if gather.repeatable && error.status() == Status::Stopped {
            // The reply channel is about to be lost, and comes again when the client is started again.
            gather.sent = None;
            gather.publishing = gather.publishing.saturating_sub(1);
            state.requests.waiting.insert(id);
            return;
        }
        // Nothing of it stands in the queue, which would be looked through for it.
        gather.publishing = 0;
        self.end_gather(state, id, Reason::Interrupted, Some((error.status(), error.message())));
    }

    /// Publishes a request in Messaging.Buffer's wire, once its channel for answers is there.
    pub(super) fn send_legacy(&self, state: &mut State, id: u64) {
        let Some(gather) = state.requests.open.get_mut(&id) else { return };
        let (Some([body, _]), Some(named)) = (gather.keep.take(), gather.named.clone()) else { return };
        gather.sent = Some(Instant::now());
        gather.publishing += 1;
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
    pub(super) fn answers_lost(&self, state: &mut State, why: &str) {
        state.requests.active = false;
        // Those with a channel of their own have been told, or are now.
        let ending = state.requests.select(|gather| gather.sent.is_some() && !gather.repeatable);
        let ids = state.requests.select(|gather| gather.sent.is_some());
        self.unsend(state, &ending);
        for id in ids {
            self.interrupt(state, id, Status::Interrupted, why);
        }
    }

    /// Ends a request that may have been missed, or puts it in line to be sent again if it may be repeated.
    fn interrupt(&self, state: &mut State, id: u64, status: Status, text: &str) {
        let Some(gather) = state.requests.open.get_mut(&id) else { return };
        // What the server refuses it refuses again, at once and for ever.
        let lost = matches!(status, Status::Interrupted | Status::NotSent | Status::Unknown);
        if !lost || status == Status::NotSent {
            // It reached nobody: there is nobody to tell that it is over.
            gather.sent = gather.sent.filter(|_| lost && gather.repeatable);
        }
        if !gather.repeatable || gather.legacy.is_some() || !lost {
            self.end_gather(state, id, Reason::Interrupted, Some((status, text)));
            return;
        }
        if gather.sent.take().is_some() {
            gather.attempt += 1;
            gather.collect.sent_again();
            state.requests.waiting.insert(id);
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
        // The next request asks again: it may have been allowed by then.
        if let Some(source) = state.requests.source.take() {
            let _ = self.hub.close_source(source);
        }
    }

    /// The PUBLISH of a request ended.
    pub(super) fn request_published(&self, state: &mut State, id: u64, status: i32, number: u64, text: &str) {
        let now = Instant::now();
        let status = Status::from_code(status).unwrap_or(Status::Internal);
        let Some(gather) = state.requests.open.get_mut(&id) else { return };
        gather.publishing = gather.publishing.saturating_sub(1);
        if gather.publishing > 0 || gather.sent.is_none() {
            // It has been sent again since, or is about to be.
            return;
        }
        if status != Status::Ok {
            // A publish has the request's own deadline, and may end a moment before it is looked at here.
            if now >= gather.collect.deadline() {
                // Who gets it after all, or an earlier attempt of it, does not know.
                gather.late = true;
                gather.sent = gather.sent.filter(|_| status != Status::NotSent);
                self.end_gather(state, id, Reason::Deadline, None);
            } else {
                self.interrupt(state, id, status, text);
            }
            return;
        }
        gather.late |= gather.sent.is_some_and(|sent| now > sent + LATE);
        let own = if gather.own { 0 } else { state.responders.reached(&gather.service, gather.sent) };
        let window = state.requests.window.length();
        let Some(gather) = state.requests.open.get_mut(&id) else { return };
        if gather.attempt > 1 && number <= own {
            // After an outage who asks may be back before who answers: they are given the time that is left.
            let again = now + SENT_AGAIN_EVERY;
            gather.sent = None;
            gather.again = Some(again);
            state.requests.arm(id, again);
            return;
        }
        gather.collect.published(number.saturating_sub(own), window, now);
        self.after(state, id);
    }

    /// Something happened to a request: it may be complete.
    pub(super) fn after(&self, state: &mut State, id: u64) {
        let Some(gather) = state.requests.open.get(&id) else { return };
        match gather.collect.ended() {
            Some(reason) => self.end_gather(state, id, reason, None),
            None => {
                if let Some(due) = gather.collect.next() {
                    state.requests.arm(id, due);
                }
            }
        }
    }

    /// Looks at the requests whose time has come.
    pub(super) fn requests_due(&self, state: &mut State, now: Instant) {
        let mut deaf = None;
        while let Some((due, id)) = state.requests.timers.first().copied().filter(|&(due, _)| due <= now) {
            state.requests.timers.remove(&(due, id));
            let Some(gather) = state.requests.open.get_mut(&id) else { continue };
            // While a full inbox keeps the link from reading, answers lie in the socket, and have come in time.
            if let Some(until) = *deaf.get_or_insert_with(|| self.hub.deaf_until(now)) {
                gather.collect.deaf_until(until);
            }
            gather.collect.time(now);
            let again = gather.again.take_if(|again| *again <= now).is_some();
            let later = gather.again;
            if let Some(reason) = gather.collect.ended() {
                if reason == Reason::NoResponders && gather.collect.is_unheard() {
                    state.requests.window.closed_on_nobody();
                }
                self.end_gather(state, id, reason, None);
            } else if let Some(next) = [gather.collect.next(), later].into_iter().flatten().min() {
                // Never at once again, whatever the rules say: a clock that stands still must not hold the thread.
                let next = next.max(now + Duration::from_millis(1));
                gather.due = next;
                state.requests.timers.insert((next, id));
                if again {
                    state.requests.waiting.insert(id);
                    if state.requests.active {
                        self.send_waiting(state, now);
                    }
                }
            }
        }
    }
}
