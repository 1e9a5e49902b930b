//! Who wants which names, and how to make the link agree. Pure: no socket, no clock, no inbox.
//!
//! Wanted is the list of subscriptions of a name; actual is where the name stands with the server. At most one change
//! of a name is in flight, and its acknowledgement is compared with what is wanted by then: flapping collapses, and
//! no order of adds and removes can leave a name dead. What happened comes out as [`Effect`]s.
//!
//! Called under the mux' lock by callers that subscribe and by the task of the link. `tests/registry.rs` runs random
//! programs against a model server.

mod flight;

use super::few::Few;
use super::names::{Actual, NameId, Names};
use crate::proto::resp::{Change, Kind};
use std::collections::VecDeque;

type Map<K, V> = hashbrown::HashMap<K, V, foldhash::fast::RandomState>;
type Set<K> = hashbrown::HashSet<K, foldhash::fast::RandomState>;

/// The most names in one command.
pub const COMMAND_NAMES: usize = 512;
/// The most bytes of names in one command.
pub const COMMAND_BYTES: usize = 64 * 1024;
/// The most bytes of acknowledgements that may be outstanding: Redis closes a subscriber whose output buffer passes
/// 32 MiB at once or 8 MiB for a minute, and one SUBSCRIBE of a million names makes 43 MB of them.
pub const WINDOW_BYTES: usize = 1024 * 1024;
/// What a command's acknowledgements cost at most; one more must fit the window before it is sent.
const FULL_COMMAND: usize = COMMAND_BYTES + COMMAND_NAMES * ACK_OVERHEAD;
/// What an acknowledgement costs beside its name: `>3\r\n$12\r\npunsubscribe\r\n$…\r\n…\r\n:…\r\n`.
const ACK_OVERHEAD: usize = 48;

/// What happened to a name or a subscription, which is told by its slot. `ops` are the operations that waited for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the same in every variant and said above")]
pub enum Effect {
    /// The server has the name, and this subscription was waiting for it.
    Active { slot: u32, name: NameId, ops: Few<u64> },
    /// The server refused the name to this subscription.
    Refused { slot: u32, name: NameId, ops: Few<u64> },
    /// The subscription let the name go before the server had it.
    Superseded { slot: u32, name: NameId, ops: Few<u64> },
    /// Every name of the subscription is active or refused.
    Whole { slot: u32 },
    /// An operation that waited for a name to be gone may count it.
    Gone { ops: Few<u64> },
}

/// A command that was sent and is not wholly acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Subscribe or unsubscribe.
    pub change: Change,
    /// Of channels, patterns or shards.
    pub kind: Kind,
    /// The names, in the order of the command.
    pub names: Vec<NameId>,
    acked: usize,
    bytes: usize,
}

/// What an error answer to a command means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was about one name, which is refused now.
    Refused,
    /// The batch is cut in halves to find the name.
    Halved,
    /// The server has no time now: its names are queued again, to be sent a little later.
    Postponed,
    /// Not an answer to a subscribe: the link makes no sense any more.
    Confused,
}

/// A subscription: which names it wants, and for whom it waits.
#[derive(Debug)]
struct Sub {
    kind: Kind,
    members: Set<NameId>,
    /// The names of which the subscription is still to be told what became of them, and the operations that wait for
    /// that. Apart from `members`, because names live long and wait shortly.
    waiting: Map<NameId, Few<u64>>,
    /// How many of its names are neither active nor refused.
    unsettled: usize,
}

impl Sub {
    /// Takes out what waits for a name; `None` if nothing is to be told.
    fn told(&mut self, id: NameId) -> Option<Few<u64>> {
        let ops = self.waiting.remove(&id)?;
        if self.waiting.is_empty() {
            self.waiting = Map::default();
        }
        Some(ops)
    }
}

/// Wanted and actual names of one link.
#[derive(Debug, Default)]
pub struct Registry {
    names: Names,
    /// By slot, of which the caller keeps few.
    subs: Vec<Option<Sub>>,
    /// Names to change, by what and of which kind. May hold names whose need is gone.
    subscribe: Waiting,
    unsubscribe: Waiting,
    /// Batches that are sent as they are: halves of refused ones, and names that are tried again alone.
    batches: VecDeque<(Kind, Vec<NameId>)>,
    /// Refused names in the order in which they are tried again; may hold names whose refusal is over.
    refused: VecDeque<NameId>,
    in_refused: Set<NameId>,
    /// How many names are refused, those that are being tried again included.
    refused_names: usize,
    in_flight: VecDeque<Command>,
    in_flight_bytes: usize,
    online: bool,
    effects: Vec<Effect>,
}

/// Names that wait to be changed, by kind.
#[derive(Debug, Default)]
struct Waiting {
    channels: VecDeque<NameId>,
    patterns: VecDeque<NameId>,
    shards: VecDeque<NameId>,
}

impl Waiting {
    fn of(&mut self, kind: Kind) -> &mut VecDeque<NameId> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shards,
        }
    }

    fn len(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.shards.len()
    }
}

/// The subscription in a slot, to change beside the names.
fn sub_mut(subs: &mut [Option<Sub>], slot: u32) -> Option<&mut Sub> {
    subs.get_mut(slot as usize)?.as_mut()
}

const KINDS: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::Shard];

impl Registry {
    /// What happened since the last call, in order.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The same into an empty list, which is used again: there is one for each acknowledgement.
    pub fn effects_into(&mut self, into: &mut Vec<Effect>) {
        std::mem::swap(&mut self.effects, into);
    }

    /// The names.
    pub fn names(&self) -> &Names {
        &self.names
    }

    fn sub(&self, slot: u32) -> Option<&Sub> {
        self.subs.get(slot as usize)?.as_ref()
    }

    /// A new subscription in a slot of the caller's.
    pub fn open(&mut self, slot: u32, kind: Kind) {
        let at = slot as usize;
        if at >= self.subs.len() {
            self.subs.resize_with(at + 1, || None);
        }
        if let Some(place) = self.subs.get_mut(at) {
            *place = Some(Sub { kind, members: Set::default(), waiting: Map::default(), unsettled: 0 });
        }
    }

    /// Wants a name for a subscription. `op` waits until it is settled. Duplicates are one.
    pub fn add(&mut self, slot: u32, name: &[u8], op: Option<u64>) {
        let Some(sub) = sub_mut(&mut self.subs, slot) else { return };
        let id = self.names.intern(sub.kind, name);
        let Some(entry) = self.names.get_mut(id) else { return };
        let new = sub.members.insert(id);
        if new {
            if std::mem::take(&mut entry.refused) {
                self.refused_names -= 1;
                // Asking again is a fresh try, for everyone who wants it.
                for &other in entry.listeners.as_slice() {
                    if let Some(sub) = sub_mut(&mut self.subs, other) {
                        sub.unsettled += 1;
                        // They were told that it is refused, and are to be told what comes of it.
                        sub.waiting.entry(id).or_default();
                    }
                }
            }
            entry.listeners.push(slot);
        }
        let Some(sub) = sub_mut(&mut self.subs, slot) else { return };
        if new && entry.actual != Actual::Active {
            sub.unsettled += 1;
        }
        if entry.actual == Actual::Active {
            let waited = sub.told(id);
            if new || waited.is_some() || op.is_some() {
                let mut ops = waited.unwrap_or_default();
                ops.extend(op);
                self.effects.push(Effect::Active { slot, name: id, ops });
            }
        } else if entry.refused && !new && !sub.waiting.contains_key(&id) {
            if let Some(op) = op {
                self.effects.push(Effect::Refused { slot, name: id, ops: Few::One(op) });
            }
            return;
        } else {
            // New, or waited for, or known from before an outage and being subscribed again.
            sub.waiting.entry(id).or_default().extend(op);
        }
        self.touch(id);
    }

    /// Lets a name go. `op` waits until nobody here is subscribed to it, or somebody else still wants it.
    ///
    /// Returns whether the subscription had it.
    pub fn remove(&mut self, slot: u32, name: &[u8], op: Option<u64>) -> bool {
        let Some(sub) = self.sub(slot) else { return false };
        match self.names.find(sub.kind, name) {
            Some(id) => self.remove_id(slot, id, op),
            None => false,
        }
    }

    /// The same by id.
    pub fn remove_id(&mut self, slot: u32, id: NameId, op: Option<u64>) -> bool {
        let Some(sub) = sub_mut(&mut self.subs, slot) else { return false };
        if !sub.members.remove(&id) {
            return false;
        }
        if sub.members.is_empty() {
            sub.members = Set::default();
        }
        let Some(entry) = self.names.get_mut(id) else { return false };
        if let Some(ops) = sub.told(id)
            && !ops.is_empty()
        {
            self.effects.push(Effect::Superseded { slot, name: id, ops });
        }
        if !entry.settled() {
            sub.unsettled -= 1;
            if sub.unsettled == 0 {
                self.effects.push(Effect::Whole { slot });
            }
        }
        entry.listeners.remove(slot);
        if let Some(op) = op {
            if entry.listeners.is_empty() && entry.actual != Actual::None {
                entry.leavers.get_or_insert_default().push(op);
            } else {
                self.effects.push(Effect::Gone { ops: Few::One(op) });
            }
        }
        self.touch(id);
        true
    }

    /// Lets every name of a subscription go. Returns how many they were.
    pub fn clear(&mut self, slot: u32, op: Option<u64>) -> usize {
        let ids = self.members(slot);
        for &id in &ids {
            self.remove_id(slot, id, op);
        }
        ids.len()
    }

    /// Forgets a subscription and lets its names go.
    pub fn close(&mut self, slot: u32) {
        self.clear(slot, None);
        if let Some(place) = self.subs.get_mut(slot as usize) {
            *place = None;
        }
    }

    /// The names that a subscription wants.
    pub fn members(&self, slot: u32) -> Vec<NameId> {
        self.sub(slot).map(|sub| sub.members.iter().copied().collect()).unwrap_or_default()
    }

    /// How many names a subscription wants.
    pub fn member_count(&self, slot: u32) -> usize {
        self.sub(slot).map_or(0, |sub| sub.members.len())
    }

    /// What a subscription is to.
    pub fn kind(&self, slot: u32) -> Option<Kind> {
        self.sub(slot).map(|sub| sub.kind)
    }

    /// How many names of a subscription the server has.
    pub fn active_count(&self, slot: u32) -> usize {
        let Some(sub) = self.sub(slot) else { return 0 };
        let active = |id: &&NameId| self.names.get(**id).is_some_and(|entry| entry.actual == Actual::Active);
        sub.members.iter().filter(active).count()
    }

    /// The operations that wait for names of a subscription.
    pub fn pending(&self, slot: u32) -> Vec<u64> {
        let Some(sub) = self.sub(slot) else { return Vec::new() };
        sub.waiting.values().flat_map(Few::as_slice).copied().collect()
    }

    /// Whether the link is up and every name of the subscription is active or refused.
    pub fn is_whole(&self, slot: u32) -> bool {
        self.online && self.sub(slot).is_some_and(|sub| sub.unsettled == 0)
    }

    /// Whether the link is up and every wanted name is active or refused.
    pub fn is_settled(&self) -> bool {
        self.online && self.in_flight.is_empty() && self.batches.is_empty() && self.subscribe.len() == 0
    }

    /// Queues a name if what is wanted and what is differ and nothing is in flight for it.
    fn touch(&mut self, id: NameId) {
        let online = self.online;
        let Some(entry) = self.names.get_mut(id) else { return };
        let wanted = !entry.listeners.is_empty();
        if entry.leavers.is_some() && (wanted || entry.actual == Actual::None) {
            // Gone; or somebody wants it again: then there is no going to wait for, and if it is refused there never
            // will be.
            self.effects.push(Effect::Gone { ops: entry.take_leavers() });
        }
        match entry.actual {
            // While a queue holds the id the entry stays, or a name that comes and goes would fill the queue.
            Actual::None if !wanted && entry.queued => {}
            Actual::None if !wanted => {
                self.refused_names -= usize::from(entry.refused);
                self.names.remove(id);
            }
            Actual::None if online && !entry.refused && !entry.queued => {
                entry.queued = true;
                self.subscribe.of(entry.kind).push_back(id);
            }
            Actual::Active if online && !wanted && !entry.queued => {
                entry.queued = true;
                self.unsubscribe.of(entry.kind).push_back(id);
            }
            _ => {}
        }
    }

    /// How many names are refused, those included that are being tried again.
    pub fn refused_count(&self) -> usize {
        self.refused_names
    }

    /// The link is up: everything that is wanted and not refused is to be subscribed.
    pub fn link_up(&mut self) {
        self.online = true;
        let ids: Vec<NameId> = self.names.ids().collect();
        for id in ids {
            self.touch(id);
        }
        let whole = |(at, sub): (usize, &Option<Sub>)| {
            sub.as_ref().is_some_and(|sub| sub.unsettled == 0).then_some(Effect::Whole { slot: at as u32 })
        };
        self.effects.extend(self.subs.iter().enumerate().filter_map(whole));
    }

    /// The link is gone: nothing is subscribed, nothing is in flight. What is wanted stays.
    pub fn link_down(&mut self) {
        self.online = false;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.batches.clear();
        (self.subscribe, self.unsubscribe) = Default::default();
        for sub in self.subs.iter_mut().flatten() {
            sub.unsettled = sub.members.len();
        }
        let ids: Vec<NameId> = self.names.ids().collect();
        for id in ids {
            let Some(entry) = self.names.get_mut(id) else { continue };
            entry.actual = Actual::None;
            entry.queued = false;
            if entry.refused && self.in_refused.insert(id) {
                // It was being tried again when the link went.
                self.refused.push_back(id);
            }
            if entry.refused {
                for &slot in entry.listeners.as_slice() {
                    if let Some(sub) = sub_mut(&mut self.subs, slot) {
                        sub.unsettled -= 1;
                    }
                }
            }
            self.touch(id);
        }
    }
}
