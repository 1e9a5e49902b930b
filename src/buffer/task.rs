//! The buffer's task: drains what arrived for it, and keeps the clocks of requests.

use super::responder::LET_GO;
use super::{Buffer, State, TOKEN_ANSWER, TOKEN_CANCEL, TOKEN_CLAIM};
use crate::error::Status;
use crate::inbox::record::ACTIVE_NAME;
use crate::inbox::{Kind as Rec, Record, RecordIn};
use crate::mux::events::Often;
use crate::mux::hub::{Either, Run, race};
use crate::proto::envelope::{self, Frame};
use crate::sync::{Arc, lock};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How many turns the link is given to read what its socket holds: each is 256 KiB in a flood, and a socket holds a few MiB.
const TURNS: usize = 64;

/// Runs until the client closes. However it ends, also before it began, everything that is open ends with it: nobody else would.
pub(super) fn run(buffer: Arc<Buffer>) -> impl Future<Output = ()> {
    let closes = Closes(Arc::clone(&buffer));
    async move {
        let _closes = closes;
        turns(buffer).await;
    }
}

async fn turns(buffer: Arc<Buffer>) {
    let mut control = buffer.hub.control.subscribe();
    let mut closed = pin!(control.wait_for(|run| *run == Run::Closed));
    // One sleep for ever, moved only when something is due earlier: each time that one is begun the runtime wakes itself.
    let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
    let mut armed = None;
    loop {
        let notified = buffer.work.notified();
        // Not a time after it was read: a thread that is not let run for a while in between judges nothing unread.
        let now = Instant::now();
        buffer.drain();
        if buffer.enter().wakes.is_some_and(|wakes| wakes <= now) {
            buffer.read_on().await;
        }
        let next = buffer.due(now);
        if let Some(next) = next.filter(|_| next != armed) {
            sleep.as_mut().reset(next.into());
        }
        armed = next;
        let slept = async {
            match next {
                Some(_) => sleep.as_mut().await,
                None => std::future::pending().await,
            }
        };
        if let Either::Right(_) = race(race(notified, slept), closed.as_mut()).await {
            return;
        }
    }
}

/// Ends everything when the task ends, in whatever way.
struct Closes(Arc<Buffer>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Buffer {
    /// What the socket holds by now was in time: it is read before any clock is looked at. There is an end to it, because a
    /// flood may have none.
    async fn read_on(&self) {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            self.drain();
            let hub = &self.hub;
            if !hub.left_unread.load(Ordering::SeqCst) || hub.paused.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    /// Takes everything that arrived.
    fn drain(&self) {
        while let Ok(lent) = self.inbox.take(Some(Duration::ZERO)) {
            // Left now and then: a caller that asks or answers must not wait for a whole block.
            for records in lent.records().chunks(64) {
                let mut state = self.enter();
                for record in records {
                    self.arrived(&mut state, record, lent.data());
                }
            }
        }
    }

    /// Does what is due, and says when to come again.
    fn due(&self, now: Instant) -> Option<Instant> {
        let mut state = self.enter();
        self.requests_due(&mut state, now);
        let work = self.requests_in_work(&mut state, now);
        let drains = self.drains_due(&mut state, now);
        let next = [state.requests.next(), work, drains].into_iter().flatten().min();
        // What was to be looked at earlier and is gone costs one look at nothing; to forget it would let each request of
        // a caller who asks one after another wake this task to be told of its deadline.
        let before = state.wakes.filter(|&wakes| wakes > now);
        state.wakes = [next, before].into_iter().flatten().min();
        state.wakes
    }

    fn arrived(&self, state: &mut State, record: &Record, data: &[u8]) {
        let source = record.source;
        let kind = [Rec::Message, Rec::Published, Rec::Active, Rec::Lost, Rec::Refused, Rec::Done, Rec::Dropped]
            .into_iter()
            .find(|&kind| record.is(kind));
        if let Some(id) = state.requests.of_legacy_source(source).filter(|_| kind != Some(Rec::Published)) {
            if kind != Some(Rec::Active) || self.is_online() {
                self.legacy_arrived(state, id, record, data);
            }
            return;
        }
        let for_answers = state.requests.source == Some(source);
        match kind {
            Some(Rec::Message) => self.message(state, record, data),
            Some(Rec::Published) => self.published(state, record, data),
            Some(Rec::Active) if for_answers && self.is_online() => self.send_waiting(state, Instant::now()),
            Some(Rec::Active) if for_answers => {}
            Some(Rec::Lost) if for_answers => {
                self.answers_lost(state, "the connection was lost while it waited for answers");
            }
            Some(Rec::Refused) if for_answers => self.answers_refused(state),
            Some(Rec::Active | Rec::Lost | Rec::Refused) => self.pass_on(state, record, data),
            Some(Rec::Done) if record.token == LET_GO => self.let_go(state, source),
            // A frame over max_payload: told in the log by the mux, and found missing by its asker's clock.
            _ => {}
        }
    }

    /// Whether the link that a record told of is still there. A stop is told by no record: what was acknowledged just before
    /// it stands behind it in line, and requests would be sent whose answers nobody hears.
    fn is_online(&self) -> bool {
        lock(&self.hub.mux).online()
    }

    /// What the link says of a responder's name is a record of the responder.
    fn pass_on(&self, state: &mut State, record: &Record, data: &[u8]) {
        let Some(responder) = state.responders.all.get_mut(&record.source) else { return };
        if record.is(Rec::Active) && responder.is_let_go() {
            // A link that comes back finds it whole, without a name: it is not active, or its drain would have no end.
            return;
        }
        let kind = if record.is(Rec::Active) {
            responder.active = Some(Instant::now());
            Rec::Active
        } else if record.is(Rec::Lost) {
            responder.active = None;
            Rec::Lost
        } else {
            Rec::Refused
        };
        let told = RecordIn {
            flags: record.flags,
            status: record.status,
            number: if record.flags & ACTIVE_NAME == 0 { record.number } else { 0 },
            aux: record.aux,
            name: if kind == Rec::Lost { &[] } else { &responder.service },
            extra: record.extra(data),
            ..RecordIn::new(kind, record.source, responder.token)
        };
        responder.inbox.push_quietly(&told);
        let inbox = Arc::clone(&responder.inbox);
        state.gave(&inbox);
    }

    fn message(&self, state: &mut State, record: &Record, data: &[u8]) {
        let source = record.source;
        if state.responders.all.get(&source).is_some_and(|one| one.legacy) {
            self.legacy_requested(state, source, record.name(data), record.payload(data), record.aux);
            return;
        }
        let frame = match envelope::read(record.payload(data)) {
            Ok(frame) => frame,
            Err(why) => {
                self.counted.malformed.fetch_add(1, Ordering::Relaxed);
                self.hub.events.often(Often::Malformed, || {
                    format!("not a frame, on {:?}: {why}", String::from_utf8_lossy(record.name(data)))
                });
                return;
            }
        };
        self.framed(state, source, record.name(data), &frame, record.aux);
    }

    fn framed(&self, state: &mut State, source: u64, channel: &[u8], frame: &Frame<'_>, read_at: u64) {
        if state.requests.source == Some(source) {
            self.answered(state, frame, read_at);
        } else if state.responders.discovery == Some(source) {
            self.discovered(state, frame);
        } else {
            self.served(state, source, channel, frame, read_at);
        }
    }

    /// A PUBLISH of the buffer ended: a request, an answer, a cancel, or the claim of a queue group.
    fn published(&self, state: &mut State, record: &Record, data: &[u8]) {
        let text = String::from_utf8_lossy(record.extra(data));
        if record.token & TOKEN_ANSWER != 0 {
            self.answer_published(record, &text);
        } else if record.token & TOKEN_CLAIM != 0 {
            self.claimed(state, record.token & !TOKEN_CLAIM, record.status, record.number > 0, &text);
        } else if record.token & TOKEN_CANCEL != 0 {
            self.cancel_published(state, record.token & !TOKEN_CANCEL, record.status);
        } else {
            self.request_published(state, record.token, record.status, record.number, &text);
        }
    }

    fn answer_published(&self, record: &Record, text: &str) {
        if record.status == Status::Ok.code() && record.number == 1 {
            return;
        }
        if record.number > 1 {
            self.hub.events.often(Often::Overheard, || {
                let count = record.number;
                format!("an answer reached {count} receivers: somebody else listens to the channel of who asked")
            });
            return;
        }
        self.counted.unheard.fetch_add(1, Ordering::Relaxed);
        self.hub.events.often(Often::Unheard, || {
            if record.status == Status::Ok.code() {
                "an answer reached nobody: who asked is gone".to_owned()
            } else {
                format!("an answer was lost: {text}")
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Ask;
    use crate::client::{Client, EventsBy};
    use crate::mux::subscription::Ticket;
    use crate::options::Options;

    #[test]
    fn an_acknowledgement_of_a_link_that_is_gone_sends_nothing() {
        let mut options = Options::new();
        options.set_url("redis+unix:///nowhere/redis.sock").unwrap();
        let client = Client::open(options, EventsBy::None).unwrap();
        let buffer = client.buffer().unwrap();
        for wire in ["native", "messaging-buffer"] {
            let mut options = client.options().clone();
            options.set("wire", wire).unwrap();
            let ask = Ask { service: b"x", body: b"{}", headers: b"", options: &options };
            let deadline = Instant::now().checked_add(Duration::from_secs(600));
            let id = buffer.ask(&ask, Ticket { inbox: Some(client.waiter()), token: 1, deadline }).unwrap();
            let mut state = buffer.enter();
            let source = state.requests.source_of(id).unwrap();
            let record = Record { kind: Rec::Active as u16, flags: ACTIVE_NAME, source, ..Record::default() };
            buffer.arrived(&mut state, &record, &[]);
            assert!(!state.requests.active, "{wire}");
            assert!(state.requests.get_mut(id).unwrap().sent.is_none(), "{wire}: it waits for the next one");
        }
    }
}
