//! How requests end: one record each, always, with what came; and who still works on one is told that nobody waits.

use super::{END_ROOM, Gather};
use crate::buffer::collect::Reason;
use crate::buffer::{Buffer, FRAME_TIME, State, TOKEN_CANCEL};
use crate::error::Status;
use crate::inbox::record::RECORD_SIZE;
use crate::inbox::{Kind as Rec, RecordIn};
use crate::mux::ops::cut;
use crate::proto::envelope::{Head, Kind};
use crate::proto::json;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A cancel on its way.
#[derive(Debug)]
pub(super) struct Cancel {
    channel: Vec<u8>,
    frame: Vec<u8>,
    deadline: Option<Instant>,
}

impl Buffer {
    /// Takes back what the kernel was not given yet of requests that are about to end, in one pass: each by itself has the
    /// whole queue moved.
    pub(super) fn unsend(&self, state: &mut State, ids: &[u64]) {
        let unsent = self.hub.cancel_publishes(self.inbox.id(), |token| ids.binary_search(&token).is_ok());
        for id in unsent {
            if let Some(gather) = state.requests.open.get_mut(&id).filter(|gather| gather.attempt == 1) {
                gather.sent = None;
            }
        }
        for id in ids {
            if let Some(gather) = state.requests.open.get_mut(id).filter(|gather| gather.publishing > 0) {
                self.overtaken.fetch_add(1, Ordering::Relaxed);
                gather.publishing = 0;
            }
        }
    }

    /// Ends several requests.
    pub(in crate::buffer) fn end_gathers(&self, state: &mut State, ids: &[u64], reason: Reason) {
        self.unsend(state, ids);
        for &id in ids {
            self.end_gather(state, id, reason, None);
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
    pub(in crate::buffer) fn end_gather(
        &self,
        state: &mut State,
        id: u64,
        reason: Reason,
        why: Option<(Status, &str)>,
    ) {
        let Some(mut gather) = state.requests.open.remove(&id) else { return };
        state.requests.timers.remove(&(gather.due, id));
        state.requests.waiting.remove(&id);
        if let Some(named) = &gather.named {
            state.requests.named.remove(named);
        }
        gather.collect.stop(reason);
        let reason = gather.collect.ended().unwrap_or(reason);
        let status = match (why, reason) {
            (Some((status, _)), _) => status,
            // No answer, and errors: that is what a caller raises who wanted one.
            (None, Reason::All) if gather.collect.only_errors() => Status::Remote,
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
            extra: &extra,
            ..RecordIn::new(Rec::End, id, gather.token)
        };
        gather.inbox.complete_quietly(&record, END_ROOM);
        state.gave(&gather.inbox);
        // What the kernel was not given yet is never sent: nobody waits for it.
        let unsent =
            gather.publishing > 0 && !self.hub.cancel_publishes(self.inbox.id(), |token| token == id).is_empty();
        if gather.publishing > 0 && !unsent {
            self.overtaken.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(source) = gather.legacy {
            state.requests.legacy.remove(&source);
            let _ = self.hub.close_source(source);
            return;
        }
        // Who still works on it is told that nobody waits; at the deadline they know it themselves, if their clocks began with
        // ours.
        let sent = gather.attempt > 1 || gather.sent.is_some() && !unsent;
        let known = reason == Reason::Deadline && !gather.late && gather.publishing == 0;
        if sent && !known && gather.collect.is_worked_on() {
            let frame = self.cancel_frame(id, gather.named.as_deref());
            let channel = self.service_channel(&gather.service);
            let deadline = Instant::now().checked_add(FRAME_TIME);
            if reason == Reason::Interrupted {
                self.send_cancel(state, id, Cancel { channel, frame, deadline });
            } else {
                let _ = self.hub.post(&channel, &frame, deadline);
            }
        }
    }

    /// Says of a request that nobody waits for it any more.
    pub(super) fn cancel_frame(&self, id: u64, named: Option<&str>) -> Vec<u8> {
        let head = Head {
            id: self.wire_id(id, named).into(),
            reply: self.reply.as_str().into(),
            asking: self.asking(id, named).into(),
            ..Head::new(Kind::Cancel)
        };
        head.frame(b"")
    }

    /// A link was lost just now, and the one that a cancel leaves by may be lost as well and not know it: what becomes of it is
    /// awaited.
    fn send_cancel(&self, state: &mut State, id: u64, cancel: Cancel) {
        let Cancel { channel, frame, deadline } = &cancel;
        if self.hub.publish(channel, frame, &self.inbox, TOKEN_CANCEL | id, *deadline).is_ok() {
            state.requests.cancels.insert(id, cancel);
        }
    }

    /// The PUBLISH of a cancel ended. Where nobody knows whether it was heard it is said again, within its time: twice is as good
    /// as once.
    pub(in crate::buffer) fn cancel_published(&self, state: &mut State, id: u64, status: i32) {
        let Some(cancel) = state.requests.cancels.remove(&id) else { return };
        let in_time = cancel.deadline.is_none_or(|deadline| Instant::now() < deadline);
        if status == Status::Unknown.code() && in_time {
            self.send_cancel(state, id, cancel);
        }
    }
}

/// What an end says: counts, and who is missing, as many as there is room for.
fn said(gather: &Gather, why: Option<&str>) -> Vec<u8> {
    let report = gather.collect.report();
    let most = END_ROOM - RECORD_SIZE - 512;
    let count = report.missing.len();
    let counted = |text: &mut Vec<u8>, key: &[u8], count: u64| {
        text.extend_from_slice(key);
        json::number(text, count);
    };
    for kept in [count, 16, 4, 0] {
        let mut text = Vec::with_capacity(192);
        text.extend_from_slice(b"{\"expected\":");
        match report.expected {
            Some(expected) => json::number(&mut text, expected),
            None => text.extend_from_slice(b"null"),
        }
        counted(&mut text, b",\"answers\":", report.answers);
        counted(&mut text, b",\"errors\":", report.errors);
        text.extend_from_slice(b",\"missing\":[");
        for (at, (by, name)) in report.missing.iter().take(kept).enumerate() {
            text.extend_from_slice(if at == 0 { b"{\"by\":" } else { b",{\"by\":" });
            json::string(&mut text, by);
            text.extend_from_slice(b",\"name\":");
            json::string(&mut text, name);
            text.push(b'}');
        }
        text.push(b']');
        counted(&mut text, b",\"missing_count\":", count as u64);
        counted(&mut text, b",\"duplicates\":", report.duplicates);
        counted(&mut text, b",\"late\":", report.late);
        if let Some(why) = why {
            text.extend_from_slice(b",\"message\":");
            json::string(&mut text, cut(why, 300));
        }
        text.push(b'}');
        if text.len() <= most || kept == 0 {
            return text;
        }
    }
    Vec::new()
}
