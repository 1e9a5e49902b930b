//! What the registry did, as records for inboxes and as ends of operations.

use super::Mux;
use super::events::Level;
use super::names;
use super::ops::{Op, Outcome, REFUSED_ROOM, What};
use super::registry::Effect;
use crate::error::Status;
use crate::inbox::record::ACTIVE_NAME;
use crate::inbox::{Kind as Record, RecordIn};
use crate::sync::Arc;
use std::time::Instant;

impl Mux {
    /// Turns what the registry did into records and completions.
    pub fn apply(&mut self, now: Instant) {
        let mut effects = std::mem::take(&mut self.effects);
        loop {
            self.registry.effects_into(&mut effects);
            if effects.is_empty() {
                break;
            }
            for effect in effects.drain(..) {
                self.apply_one(effect, now);
            }
        }
        effects.shrink_to(64);
        self.effects = effects;
    }

    fn apply_one(&mut self, effect: Effect, now: Instant) {
        match effect {
            Effect::Active { slot, name, ops } => {
                let known = self.registry.names().get(name).zip(self.target(slot));
                let Some((entry, target)) = known else { return self.end_with_source(ops.as_slice()) };
                let record = RecordIn {
                    flags: ACTIVE_NAME,
                    number: entry.number,
                    name: &entry.name,
                    ..RecordIn::new(Record::Active, target.source, target.token)
                };
                let stage = target.stage;
                if let Some(inbox) = self.stages.get(stage as usize).map(|stage| Arc::clone(&stage.inbox)) {
                    let pushed = inbox.push(&record);
                    self.pushed(&inbox, pushed);
                }
                self.count(ops.as_slice(), |_, active, _, _| *active += 1);
            }
            Effect::Refused { slot, name, ops } => self.refused(slot, name, ops.as_slice()),
            Effect::Superseded { ops, .. } => self.count(ops.as_slice(), |_, _, _, superseded| *superseded += 1),
            Effect::Gone { ops } => self.left(ops.as_slice()),
            Effect::Whole { slot } => self.whole(slot, now),
        }
    }

    fn refused(&mut self, slot: u32, name: names::NameId, ops: &[u64]) {
        let known = self.registry.names().get(name).zip(self.target(slot));
        let Some((entry, target)) = known else { return self.end_with_source(ops) };
        let name = entry.name.clone();
        let mut record = RecordIn {
            status: Status::Refused.code(),
            number: entry.number,
            name: &name,
            extra: b"NOPERM",
            ..RecordIn::new(Record::Refused, target.source, target.token)
        };
        let stage = target.stage;
        let mut told = false;
        for &id in ops {
            if let Some(op) = self.ops.get_mut(id) {
                let room = (REFUSED_ROOM + name.len()).min(op.room);
                op.room -= room;
                record.token = op.token;
                op.inbox.complete(&record, room);
                told = true;
            }
        }
        let text = format!(
            "{:?}: refused by ACL (NOPERM) for user {:?}; it is tried again now and then",
            String::from_utf8_lossy(&name),
            self.user
        );
        self.events.log(Level::Warn, &text);
        if !told {
            let token = self.target(slot).map_or(0, |target| target.token);
            record.token = token;
            self.push(stage, &record);
        }
        self.refuse_promises(slot);
        self.count(ops, |_, _, refused, _| *refused += 1);
    }

    /// What was told before may have closed the source, as the end of a drain does: what waited for it ends with it.
    fn end_with_source(&mut self, ops: &[u64]) {
        for &id in ops {
            self.ops.end(id, Outcome::of(Status::Closed));
        }
    }

    /// Counts one name of adds, and ends those that have no more to wait for.
    fn count(&mut self, ops: &[u64], f: impl Fn(u32, &mut u64, &mut u64, &mut u64)) {
        for &id in ops {
            let Some(op) = self.ops.get_mut(id) else { continue };
            let What::Add { slot, remaining, active, refused, superseded, lost } = &mut op.what else { continue };
            f(*slot, active, refused, superseded);
            *remaining = remaining.saturating_sub(1);
            if *remaining == 0 {
                let (slot, lost) = (*slot, *lost);
                match self.target_mut(slot) {
                    // What was active before the link was lost may not be so again yet.
                    Some(target) if lost && target.gap.is_some() => target.waiters.push(id),
                    _ => self.end_add(id),
                }
            }
        }
    }

    /// Ends an add whose names are all settled.
    pub(crate) fn end_add(&mut self, id: u64) {
        let Some(Op { what: What::Add { active, refused, superseded, .. }, .. }) = self.ops.get(id) else { return };
        let (active, refused, superseded) = (*active, *refused, *superseded);
        let status = match (active, refused, superseded) {
            (_, 0, 0) => Status::Ok,
            (0, 1.., 0) => Status::Refused,
            (_, 1.., _) => Status::Partial,
            _ => Status::Superseded,
        };
        let text = match status {
            Status::Ok => String::new(),
            Status::Superseded => format!("{superseded} of the names were removed again before they were active"),
            Status::Refused if refused == 1 => self.refusal(),
            Status::Refused => format!("all {refused} {}", self.refusal()),
            _ => format!("{refused} {}; the other {active} are active", self.refusal()),
        };
        let outcome = Outcome { status: Some(status), number: active, aux: refused, text: &text, ..Outcome::default() };
        self.ops.end(id, outcome);
    }

    /// Counts names that are gone, and ends the operations that waited for the last.
    fn left(&mut self, ops: &[u64]) {
        for &id in ops {
            let Some(op) = self.ops.get_mut(id) else { continue };
            let What::Leave { remaining, .. } = &mut op.what else { continue };
            *remaining = remaining.saturating_sub(1);
            if *remaining == 0 {
                self.end_leave(id);
            }
        }
    }

    /// Lets every name go of the subscription that an operation clears or drains.
    pub(crate) fn let_go(&mut self, id: u64) {
        let Some(&Op { source, what: What::Leave { slot, .. }, .. }) = self.ops.get(id) else { return };
        if self.target(slot).is_none_or(|target| target.source != source) {
            // It was closed meanwhile, and another one may have its place.
            return self.end_with_source(&[id]);
        }
        let members = self.registry.member_count(slot);
        if let Some(What::Leave { remaining, .. }) = self.ops.get_mut(id).map(|op| &mut op.what) {
            *remaining += members;
        }
        self.registry.clear(slot, Some(id));
        self.apply(Instant::now());
        // One for the call itself, which kept it from ending too early.
        self.left(&[id]);
    }

    /// The server answered a PING of the subscriber link: what was on its way has been delivered. Or the link is lost, and
    /// nothing of it is on its way any more.
    pub(crate) fn pinged(&mut self, id: u64, outcome: Outcome<'_>) {
        if matches!(self.ops.get(id).map(|op| &op.what), Some(What::Leave { .. })) {
            self.let_go(id);
        } else {
            self.ops.end(id, outcome);
        }
    }

    /// Ends a remove, clear or drain. A drain closes its subscription first, so that `done` says all is over.
    pub(crate) fn end_leave(&mut self, id: u64) {
        let Some(op) = self.ops.take(id) else { return };
        if let What::Leave { slot, drain: true, .. } = op.what {
            self.close_same(slot, op.source);
        }
        op.complete(Outcome::default());
    }

    /// Closes a slot if it still holds that source; another may have taken its place.
    pub(super) fn close_same(&mut self, slot: u32, source: u64) {
        if self.target(slot).is_some_and(|target| target.source == source) {
            self.close_source(slot, Status::Ok);
        }
    }

    fn whole(&mut self, slot: u32, now: Instant) {
        if !self.registry.is_whole(slot) {
            return;
        }
        let generation = self.generation;
        let Some(target) = self.target_mut(slot) else { return };
        if let Some(since) = target.gap.take() {
            let record = RecordIn {
                number: generation,
                aux: now.saturating_duration_since(since).as_nanos() as u64,
                ..RecordIn::new(Record::Active, target.source, target.token)
            };
            let stage = target.stage;
            self.push(stage, &record);
        }
        let waiters = self.target_mut(slot).map(|target| std::mem::take(&mut target.waiters)).unwrap_or_default();
        for id in waiters {
            match self.ops.get(id).map(|op| &op.what) {
                Some(What::Add { .. }) => self.end_add(id),
                Some(&What::Active { insist, .. }) => self.end_wait(id, slot, insist),
                _ => {}
            }
        }
        self.make_promises(slot, now);
    }

    /// Ends a wait for a source that is whole. One that insists is refused where not one name is active.
    pub(super) fn end_wait(&mut self, id: u64, slot: u32, insist: bool) {
        let outcome = Outcome { number: self.generation, ..Outcome::default() };
        if insist && self.registry.active_count(slot) == 0 {
            let text = self.refusal();
            self.ops.end(id, Outcome { status: Some(Status::Refused), text: &text, ..outcome });
        } else {
            self.ops.end(id, outcome);
        }
    }

    /// What is said of names that Redis refused.
    fn refusal(&self) -> String {
        format!("refused by ACL (NOPERM) for user {:?}", self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::ready::Ready;
    use crate::inbox::{Budget, Config, Inbox, Policy};
    use crate::mux::Role;
    use crate::mux::events::Events;
    use crate::mux::ops::COMPLETION_ROOM;
    use crate::proto::resp::{Change, Kind};
    use std::time::Duration;

    #[test]
    fn an_add_that_ends_the_drain_of_its_subscription_ends_with_it() {
        let config = Config { bytes: 1 << 20, records: 0, policy: Policy::DropOldest };
        let inbox = Inbox::by_take(1, config, Arc::new(Budget::new(1 << 20)), Arc::new(Ready::default()), || {});
        let mut mux = Mux::new(Events::new(None, 0));
        let slot = mux.open(7, 0, &inbox, Kind::Channel, Role::Subscription).unwrap();
        mux.link_up(Instant::now());
        for name in [&b"a"[..], b"b"] {
            mux.registry.add(slot, name, None);
        }
        while mux.registry.send(|_, _, _| {}).is_some() {}
        for name in [&b"a"[..], b"b"] {
            mux.registry.acknowledged(Change::Subscribed, Kind::Channel, name);
        }
        mux.apply(Instant::now());
        let begin = |mux: &mut Mux, token, what| {
            inbox.reserve(COMPLETION_ROOM).unwrap();
            let inbox = Arc::clone(&inbox);
            mux.ops.begin(Op { inbox, token, source: 7, room: COMPLETION_ROOM, deadline: None, what })
        };
        // The names are let go and still active: that the link unsubscribes them is to come.
        let drain = begin(&mut mux, 1, What::Leave { slot, remaining: 1, drain: true });
        mux.let_go(drain);
        let what = What::Add { slot, remaining: 3, active: 0, refused: 0, superseded: 0, lost: false };
        let add = begin(&mut mux, 2, what);
        for name in [&b"a"[..], b"b", b"a"] {
            mux.registry.add(slot, name, Some(add));
        }
        mux.apply(Instant::now());
        assert!(mux.ops.is_empty(), "{:?}", mux.ops);
        let mut ends = Vec::new();
        while let Ok(block) = inbox.take(Some(Duration::ZERO)) {
            let done = block.records().iter().filter(|record| record.is(Record::Done));
            ends.extend(done.map(|record| (record.token, record.status)));
        }
        ends.sort_unstable();
        assert_eq!(ends, [(1, 0), (2, Status::Closed.code())]);
    }
}
