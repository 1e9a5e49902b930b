//! Promises: wait for one message on a name, without a subscription each.
//!
//! A set holds one literal-safe pattern for a prefix, so that a promise in it costs no traffic; a single promise by
//! name subscribes that channel while somebody waits. Every promise ends once: its message, a timeout, cancelled,
//! interrupted (the link was lost while it waited) or closed.

use super::ops::{Op, Outcome, What};
use super::{Mux, Role};
use crate::error::Status;
use crate::inbox::record::RECORD_SIZE;
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// A set of promises under a prefix.
#[derive(Debug, Default)]
pub struct Promises {
    /// What every name in it begins with.
    pub prefix: Box<[u8]>,
    /// Who waits for which name.
    waiting: HashMap<Box<[u8]>, BTreeSet<u64>>,
    /// Promises to be made when the set is active.
    makers: Vec<u64>,
}

impl Promises {
    /// An empty set.
    pub fn new(prefix: &[u8]) -> Promises {
        Promises { prefix: prefix.into(), ..Promises::default() }
    }

    /// How many promises wait.
    pub fn len(&self) -> usize {
        self.waiting.values().map(BTreeSet::len).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The pattern that matches exactly the names with that prefix.
pub fn pattern_of(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    literal(prefix, &mut pattern);
    pattern.push(b'*');
    pattern
}

/// Writes bytes so that a pattern takes them literally.
pub fn literal(bytes: &[u8], pattern: &mut Vec<u8>) {
    for &byte in bytes {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^' | b'-') {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
}

impl Mux {
    fn promises_mut(&mut self, slot: u32) -> Option<&mut Promises> {
        match &mut self.target_mut(slot)?.role {
            Role::Promises(promises) => Some(promises),
            _ => None,
        }
    }

    /// Whether a set has its pattern at the server, so that a promise in it is in effect at once.
    pub fn promises_active(&self, slot: u32) -> bool {
        self.online() && self.registry.active_count(slot) > 0
    }

    /// Makes a promise in a set whose room is reserved. `INACTIVE` if the set is not subscribed now.
    pub fn promise(&mut self, slot: u32, op: Op) -> Result<(), Status> {
        if !self.promises_active(slot) {
            return Err(Status::Inactive);
        }
        self.make(slot, op);
        Ok(())
    }

    fn make(&mut self, slot: u32, op: Op) {
        let What::Promise { name, .. } = &op.what else { return };
        let name = name.clone();
        let id = self.ops.begin(op);
        if let Some(promises) = self.promises_mut(slot) {
            promises.waiting.entry(name).or_default().insert(id);
        }
    }

    /// Makes a promise as soon as its set is active; its time begins then. `REFUSED` if the set is.
    pub fn promise_later(&mut self, slot: u32, op: Op, now: Instant) {
        let id = self.ops.begin(op);
        if let Some(promises) = self.promises_mut(slot) {
            promises.makers.push(id);
        }
        if self.registry.is_whole(slot) && self.registry.active_count(slot) == 0 {
            // The set is refused: there is nothing more to wait for.
            self.forget_maker(slot, id);
            return self.end_wait(id, slot, true);
        }
        self.make_promises(slot, now);
    }

    /// The set became active: those who waited for it get their promises.
    pub(super) fn make_promises(&mut self, slot: u32, now: Instant) {
        if !self.promises_active(slot) {
            return;
        }
        let makers = self.promises_mut(slot).map(|promises| std::mem::take(&mut promises.makers)).unwrap_or_default();
        for id in makers {
            let Some(mut op) = self.ops.take(id) else { continue };
            let What::Maker { name, timeout, .. } = op.what else { continue };
            op.deadline = timeout.and_then(|timeout| now.checked_add(timeout));
            op.what = What::Promise { slot, name, alone: false };
            self.make(slot, op);
        }
    }

    /// A message for a set or a single promise; `Err` with its length if it was too large to be read. What was staged
    /// before it was handed over by the caller.
    pub(super) fn fulfil(&mut self, slot: u32, name: &[u8], message: Result<&[u8], u64>) {
        let (ids, prefix, alone) = match self.target_mut(slot).map(|target| &mut target.role) {
            Some(Role::Promises(promises)) => {
                let ids: Vec<u64> = promises.waiting.remove(name).into_iter().flatten().collect();
                (ids, promises.prefix.len(), false)
            }
            Some(Role::Promise(id)) => (vec![*id], 0, true),
            _ => return,
        };
        if ids.is_empty() {
            self.unmatched += 1;
        }
        for id in ids {
            let Some(op) = self.ops.take(id) else { continue };
            let outcome = Outcome { aux: prefix as u64, ..Outcome::default() };
            let text = match message {
                Ok(data) if op.inbox.fits(RECORD_SIZE + name.len() + data.len(), op.room) => {
                    op.complete(Outcome { data, ..outcome });
                    continue;
                }
                Ok(data) => format!("its message of {} bytes does not fit the inbox", data.len()),
                Err(len) => format!("its message of {len} bytes is over max_payload"),
            };
            op.complete(Outcome { status: Some(Status::TooLarge), text: &text, ..outcome });
        }
        if alone {
            self.close_source(slot, Status::Ok);
        }
    }

    /// Takes a promise out of its set, when it ends without a message.
    pub(super) fn forget_promise(&mut self, slot: u32, name: &[u8], id: u64) {
        let Some(promises) = self.promises_mut(slot) else { return };
        if let Some(ids) = promises.waiting.get_mut(name) {
            ids.remove(&id);
            if ids.is_empty() {
                promises.waiting.remove(name);
                if promises.waiting.is_empty() {
                    // Room for a million promises is not kept for the next one.
                    promises.waiting.shrink_to(1024);
                }
            }
        }
    }

    /// The same for one that was to be made later.
    pub(super) fn forget_maker(&mut self, slot: u32, id: u64) {
        if let Some(promises) = self.promises_mut(slot) {
            promises.makers.retain(|&other| other != id);
        }
    }

    /// Ends all promises of a set, made and to be made. Returns how many.
    pub fn end_promises(&mut self, slot: u32, status: Status) -> usize {
        let ids: Vec<u64> = match self.target_mut(slot).map(|target| &mut target.role) {
            Some(Role::Promises(promises)) => {
                let made = std::mem::take(&mut promises.waiting).into_values().flatten();
                made.chain(std::mem::take(&mut promises.makers)).collect()
            }
            Some(Role::Promise(id)) => vec![*id],
            _ => return 0,
        };
        ids.iter().filter(|&&id| self.ops.end(id, Outcome::of(status))).count()
    }

    /// The link was lost: what was promised cannot be kept. Those to be made later go on waiting.
    pub(super) fn interrupt_promises(&mut self, slot: u32) {
        let ids: Vec<u64> = match self.target_mut(slot).map(|target| &mut target.role) {
            Some(Role::Promises(promises)) => std::mem::take(&mut promises.waiting).into_values().flatten().collect(),
            _ => Vec::new(),
        };
        for id in ids {
            self.ops.end(id, Outcome::of(Status::Interrupted));
        }
        let alone = self.target(slot).and_then(|target| match target.role {
            Role::Promise(id) => Some(id),
            _ => None,
        });
        // A single promise that was not in effect yet waits on; its message cannot have been missed.
        if let Some(id) = alone.filter(|_| self.registry.active_count(slot) > 0) {
            self.ops.end(id, Outcome::of(Status::Interrupted));
            self.close_source(slot, Status::Ok);
        }
    }

    /// The server refused the set's pattern, or the single promise's channel.
    pub(super) fn refuse_promises(&mut self, slot: u32) {
        let alone = match self.target_mut(slot).map(|target| &mut target.role) {
            Some(Role::Promises(promises)) => {
                let makers = std::mem::take(&mut promises.makers);
                let waiters = self.target_mut(slot).map(|target| std::mem::take(&mut target.waiters));
                for id in makers.into_iter().chain(waiters.unwrap_or_default()) {
                    self.ops.end(id, Outcome::of(Status::Refused));
                }
                return;
            }
            Some(Role::Promise(id)) => *id,
            _ => return,
        };
        self.ops.end(alone, Outcome::of(Status::Refused));
        self.close_source(slot, Status::Ok);
    }
}
