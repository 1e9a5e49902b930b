//! The commands of a registry: what is sent next, and what the server says to it.

use super::{
    ACK_OVERHEAD, COMMAND_BYTES, COMMAND_NAMES, Command, Effect, FULL_COMMAND, KINDS, Registry, Verdict, WINDOW_BYTES,
    sub_mut,
};
use crate::mux::few::Few;
use crate::mux::names::{Actual, NameId};
use crate::proto::resp::{Change, Kind};
use std::collections::VecDeque;

impl Registry {
    /// How many names wait to be sent, and how many bytes of acknowledgements are outstanding.
    pub fn backlog(&self) -> (usize, usize) {
        let queued = self.subscribe.len() + self.unsubscribe.len();
        let batches: usize = self.batches.iter().map(|(_, names)| names.len()).sum();
        (queued + batches, self.in_flight_bytes)
    }

    /// Whether batches wait that are sent as they are, however small.
    pub fn has_batches(&self) -> bool {
        !self.batches.is_empty()
    }

    /// How many commands are not wholly acknowledged.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Gives the next command within the window to `write`. `None` if there is none; `Some(false)` if what was
    /// queued needed no command after all.
    pub fn send(&mut self, write: impl FnOnce(Change, Kind, &[&[u8]])) -> Option<bool> {
        if !self.online || self.in_flight_bytes + FULL_COMMAND > WINDOW_BYTES || self.backlog().0 == 0 {
            return None;
        }
        let Some(command) = self.next_batch().or_else(|| self.next_queued()) else { return Some(false) };
        let names: Vec<&[u8]> =
            command.names.iter().filter_map(|&id| self.names.get(id)).map(|entry| &*entry.name).collect();
        write(command.change, command.kind, &names);
        self.in_flight_bytes += command.bytes;
        self.in_flight.push_back(command);
        Some(true)
    }

    fn next_batch(&mut self) -> Option<Command> {
        while let Some((kind, names)) = self.batches.pop_front() {
            // Names of a batch are marked Subscribing and so cannot have been queued elsewhere; some may be unwanted
            // by now, and are subscribed and let go again, which is rare and right.
            let names: Vec<NameId> = names.into_iter().filter(|&id| self.names.get(id).is_some()).collect();
            if !names.is_empty() {
                let bytes = self.ack_bytes(&names);
                return Some(Command { change: Change::Subscribed, kind, names, acked: 0, bytes });
            }
        }
        None
    }

    fn ack_bytes(&self, names: &[NameId]) -> usize {
        names.iter().filter_map(|&id| self.names.get(id)).map(|entry| entry.name.len() + ACK_OVERHEAD).sum()
    }

    fn next_queued(&mut self) -> Option<Command> {
        // Unsubscribing first: it makes room on the server, and its names are few.
        for (change, kind) in KINDS
            .into_iter()
            .map(|kind| (Change::Unsubscribed, kind))
            .chain(KINDS.into_iter().map(|kind| (Change::Subscribed, kind)))
        {
            let names = self.take_queued(change, kind);
            if !names.is_empty() {
                let bytes = self.ack_bytes(&names);
                return Some(Command { change, kind, names, acked: 0, bytes });
            }
        }
        None
    }

    fn take_queued(&mut self, change: Change, kind: Kind) -> Vec<NameId> {
        let mut names = Vec::new();
        let mut bytes = 0;
        while names.len() < COMMAND_NAMES {
            let queue = match change {
                Change::Subscribed => self.subscribe.of(kind),
                Change::Unsubscribed => self.unsubscribe.of(kind),
            };
            let Some(&id) = queue.front() else { break };
            let Some(entry) = self.names.get_mut(id) else {
                queue.pop_front();
                continue;
            };
            let wanted = !entry.listeners.is_empty();
            let due = match change {
                Change::Subscribed => entry.actual == Actual::None && wanted && !entry.refused,
                Change::Unsubscribed => entry.actual == Actual::Active && !wanted,
            };
            if !due {
                queue.pop_front();
                entry.queued = false;
                self.touch(id);
                continue;
            }
            if !names.is_empty() && bytes + entry.name.len() > COMMAND_BYTES {
                break;
            }
            queue.pop_front();
            bytes += entry.name.len();
            entry.queued = false;
            entry.actual = match change {
                Change::Subscribed => Actual::Subscribing,
                Change::Unsubscribed => Actual::Unsubscribing,
            };
            names.push(id);
        }
        let queue = match change {
            Change::Subscribed => self.subscribe.of(kind),
            Change::Unsubscribed => self.unsubscribe.of(kind),
        };
        if queue.is_empty() && queue.capacity() > COMMAND_NAMES {
            *queue = VecDeque::new();
        }
        names
    }

    /// The server acknowledged a change.
    pub fn acknowledged(&mut self, change: Change, kind: Kind, name: &[u8]) {
        let Some(front) = self.in_flight.front_mut() else { return self.unsolicited(change, kind, name) };
        let expected = front.names.get(front.acked).copied();
        let matches = front.change == change
            && front.kind == kind
            && expected.and_then(|id| self.names.get(id)).is_some_and(|entry| *entry.name == *name);
        let (true, Some(id)) = (matches, expected) else { return self.unsolicited(change, kind, name) };
        front.acked += 1;
        if front.acked == front.names.len() {
            self.in_flight_bytes = self.in_flight_bytes.saturating_sub(front.bytes);
            self.in_flight.pop_front();
        }
        self.changed(id, change);
    }

    fn changed(&mut self, id: NameId, change: Change) {
        let Some(entry) = self.names.get_mut(id) else { return };
        match change {
            Change::Subscribed => {
                entry.actual = Actual::Active;
                let was_refused = std::mem::take(&mut entry.refused);
                self.refused_names -= usize::from(was_refused);
                self.settle(id, true, was_refused);
            }
            Change::Unsubscribed => {
                entry.actual = Actual::None;
                if entry.leavers.is_some() {
                    self.effects.push(Effect::Gone { ops: entry.take_leavers() });
                }
            }
        }
        self.touch(id);
    }

    /// A name became active or refused: tells everyone who waits. `counted`: it was settled before, as refused.
    fn settle(&mut self, id: NameId, active: bool, counted: bool) {
        let Some(entry) = self.names.get(id) else { return };
        for &slot in entry.listeners.as_slice() {
            let Some(sub) = sub_mut(&mut self.subs, slot) else { continue };
            if let Some(ops) = sub.told(id) {
                self.effects.push(if active {
                    Effect::Active { slot, name: id, ops }
                } else {
                    Effect::Refused { slot, name: id, ops }
                });
            } else if !active {
                self.effects.push(Effect::Refused { slot, name: id, ops: Few::None });
            } else if counted {
                self.effects.push(Effect::Active { slot, name: id, ops: Few::None });
            }
            if counted {
                continue;
            }
            sub.unsettled = sub.unsettled.saturating_sub(1);
            if sub.unsettled == 0 {
                self.effects.push(Effect::Whole { slot });
            }
        }
    }

    /// An acknowledgement that nobody asked for: state, never an answer.
    fn unsolicited(&mut self, change: Change, kind: Kind, name: &[u8]) {
        let Some(id) = self.names.find(kind, name) else { return };
        let Some(entry) = self.names.get_mut(id) else { return };
        if change == Change::Unsubscribed && entry.actual == Actual::Active {
            entry.actual = Actual::None;
            for &slot in entry.listeners.as_slice() {
                if let Some(sub) = sub_mut(&mut self.subs, slot) {
                    sub.unsettled += 1;
                }
            }
            self.touch(id);
        }
    }

    /// The server answered the oldest command with an error; `denied` when it is about permission.
    pub fn failed(&mut self, denied: bool) -> Verdict {
        let front = match self.in_flight.pop_front() {
            Some(front) if front.acked == 0 && front.change == Change::Subscribed && denied => front,
            _ => return Verdict::Confused,
        };
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(front.bytes);
        let (first, second) = front.names.split_at(front.names.len() / 2);
        if first.is_empty() {
            if let Some(&id) = second.first() {
                self.refuse(id);
            }
            return Verdict::Refused;
        }
        self.batches.push_front((front.kind, second.to_vec()));
        self.batches.push_front((front.kind, first.to_vec()));
        Verdict::Halved
    }

    /// The server answered the oldest command that it has no time for it: nothing of it happened.
    pub fn busy(&mut self) -> Verdict {
        let Some(front) = self.in_flight.pop_front().filter(|front| front.acked == 0) else { return Verdict::Confused };
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(front.bytes);
        for id in front.names {
            let Some(entry) = self.names.get_mut(id) else { continue };
            if front.change == Change::Unsubscribed {
                entry.actual = Actual::Active;
                // Who wants it again has it.
                self.settle(id, true, false);
            } else {
                entry.actual = Actual::None;
                if entry.refused && self.in_refused.insert(id) {
                    // It was being tried again.
                    self.refused.push_back(id);
                }
            }
            self.touch(id);
        }
        Verdict::Postponed
    }

    fn refuse(&mut self, id: NameId) {
        let Some(entry) = self.names.get_mut(id) else { return };
        let known = entry.refused;
        entry.actual = Actual::None;
        entry.refused = true;
        if self.in_refused.insert(id) {
            self.refused.push_back(id);
        }
        if !known {
            self.refused_names += 1;
            self.settle(id, false, false);
        }
        self.touch(id);
    }

    /// Tries up to `most` refused names again, each alone. Returns how many.
    pub fn retry_refused(&mut self, most: usize) -> usize {
        if !self.online {
            return 0;
        }
        let mut tried = 0;
        while tried < most {
            let Some(id) = self.refused.pop_front() else { break };
            self.in_refused.remove(&id);
            let Some(entry) = self.names.get_mut(id) else { continue };
            if entry.refused && entry.actual == Actual::None && !entry.listeners.is_empty() {
                entry.actual = Actual::Subscribing;
                self.batches.push_back((entry.kind, vec![id]));
                tried += 1;
            }
        }
        tried
    }
}
