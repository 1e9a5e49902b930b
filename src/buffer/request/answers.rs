//! What requests hear: accepted, answers, errors, signs of life; each counted by `collect.rs` before its asker reads it.

use crate::buffer::collect::Verdict;
use crate::buffer::serve::MAX_ID;
use crate::buffer::{Buffer, State};
use crate::error::Status;
use crate::inbox::{Kind as Rec, RecordIn};
use crate::mux::events::Often;
use crate::mux::ops::cut;
use crate::proto::envelope::{Frame, Kind};
use crate::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Flag bits of an answer.
const ANSWER_LAST: u16 = 1;
const ANSWER_FAILED: u16 = 2;

impl Buffer {
    /// A frame came to the reply channel.
    pub(in crate::buffer) fn answered(&self, state: &mut State, frame: &Frame<'_>, read_at: u64) {
        let now = Instant::now();
        let head = &frame.head;
        if head.by.is_empty() || head.by.len() > MAX_ID {
            // All that say nothing of who they are would be one responder; and who says too much is kept with all of it.
            self.counted.malformed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let name = cut(&head.name, MAX_ID);
        if frame.kind == Kind::Alive {
            for id in &head.ids {
                if let Some(id) = state.requests.find(&self.instance, id)
                    && let Some(gather) = state.requests.open.get_mut(&id)
                {
                    gather.collect.alive(&head.by, name, now);
                    self.after(state, id);
                }
            }
            return;
        }
        let found = state.requests.find(&self.instance, &head.id);
        // Who names no asking is heard: not every peer does.
        let found = found.filter(|&id| head.asking.is_empty() || head.asking == self.unique_id(id));
        let Some((id, gather)) = found.and_then(|id| Some((id, state.requests.open.get_mut(&id)?))) else {
            self.counted.late.fetch_add(1, Ordering::Relaxed);
            if matches!(frame.kind, Kind::Part | Kind::Error) || head.seq.is_some() {
                self.hub.events.often(Often::Late, || {
                    format!("an answer of {:?} to a request that is not open: {:?}", head.name, head.id)
                });
            }
            return;
        };
        let known = gather.collect.accepted_count();
        let answer = RecordIn {
            aux: read_at,
            name: &gather.service,
            extra: frame.line,
            data: frame.body,
            ..RecordIn::new(Rec::Answer, id, gather.token)
        };
        match frame.kind {
            Kind::Accepted => {
                if gather.collect.accepted(&head.by, name, now) && gather.tell_accepted {
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
                self.hub.events.often(Often::Malformed, || format!("a part without seq, of {:?}", head.name));
            }
            Kind::Part | Kind::End => match head.seq {
                Some(seq) => {
                    let last = frame.kind == Kind::End;
                    let len = frame.body.len();
                    let record = RecordIn { flags: if last { ANSWER_LAST } else { 0 }, number: seq, ..answer };
                    // What came before needs no room.
                    if !gather.collect.has_answer(&head.by, seq) && !gather.inbox.fits(record.cost(), 0) {
                        gather.collect.overflow();
                    } else if gather.collect.answer(&head.by, name, seq, len, last, now) == Verdict::Deliver {
                        gather.inbox.push_quietly(&record);
                    }
                }
                None => drop(gather.collect.finished(&head.by, name, head.n, now)),
            },
            Kind::Error => {
                let busy = head.code == "BUSY";
                let status = if busy { Status::Full } else { Status::Remote };
                let record = RecordIn { flags: ANSWER_LAST | ANSWER_FAILED, status: status.code(), ..answer };
                // Asked before it is counted, as for an answer: the last one ends the request, which has failed then only
                // if its caller gets to read why.
                if !gather.collect.has_failed(&head.by, busy) && !gather.inbox.fits(record.cost(), 0) {
                    gather.collect.overflow();
                } else if gather.collect.failed(&head.by, name, busy, now) {
                    gather.inbox.push_quietly(&record);
                }
            }
            Kind::Declined => gather.collect.declined(&head.by, name, now),
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
        self.after(state, id);
    }
}
