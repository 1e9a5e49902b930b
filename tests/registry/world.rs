//! The world in which `tests/registry.rs` runs its programs: the registry, a model of a server, and what must hold
//! between them after every step.

use redmux::mux::names::{Actual, NameId};
use redmux::mux::registry::{COMMAND_BYTES, COMMAND_NAMES, Effect, Registry, Verdict, WINDOW_BYTES};
use redmux::proto::resp::{Change, Kind};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

pub type Name = (u8, Vec<u8>);

pub const KINDS: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::Shard];

pub fn number(kind: Kind) -> u8 {
    KINDS.iter().position(|&other| other == kind).unwrap() as u8
}

/// A server with one connection: what it was sent, and what it answered that was not read yet.
#[derive(Default)]
pub struct Server {
    pub subscribed: BTreeSet<Name>,
    pub denied: BTreeSet<Name>,
    pub commands: VecDeque<(Change, u8, Vec<Vec<u8>>)>,
    pub answers: VecDeque<Answer>,
    /// How many changes of a name are on their way there or back, and the bytes that acknowledging all of them takes.
    pub in_flight: HashMap<Name, usize>,
    pub ack_bytes: usize,
    /// How many commands it refuses, because it runs a script.
    pub busy: usize,
    /// Names that it dropped by itself on this connection: for them an answer may look like another.
    pub dropped: BTreeSet<Name>,
}

pub enum Answer {
    Ack(Change, Name),
    Denied(Vec<Name>),
    Busy(Vec<Name>),
}

impl Server {
    /// Executes one command, as Redis does: an ACL refuses it whole, before anything of it happened.
    pub fn handle(&mut self) -> bool {
        let Some((change, kind, names)) = self.commands.pop_front() else { return false };
        let names: Vec<Name> = names.into_iter().map(|name| (kind, name)).collect();
        // The answer of a name that it dropped may stand for that of the command.
        if self.busy > 0 && !names.iter().any(|name| self.dropped.contains(name)) {
            self.busy -= 1;
            self.answers.push_back(Answer::Busy(names));
            return true;
        }
        if change == Change::Subscribed && names.iter().any(|name| self.denied.contains(name)) {
            // The refusal is on its way; nothing else is sent for these names before it is read.
            self.answers.push_back(Answer::Denied(names));
            return true;
        }
        for name in names {
            match change {
                Change::Subscribed => _ = self.subscribed.insert(name.clone()),
                Change::Unsubscribed => _ = self.subscribed.remove(&name),
            }
            self.answers.push_back(Answer::Ack(change, name));
        }
        true
    }

    /// Lets a name go by itself, as it does when a slot moves.
    pub fn drop_name(&mut self, name: Name) {
        if self.subscribed.remove(&name) {
            self.dropped.insert(name.clone());
            self.track(&name);
            self.answers.push_back(Answer::Ack(Change::Unsubscribed, name));
        }
    }

    pub fn disconnect(&mut self) {
        self.subscribed.clear();
        self.commands.clear();
        self.answers.clear();
        self.in_flight.clear();
        self.ack_bytes = 0;
        self.dropped.clear();
    }

    /// What one acknowledgement takes, as RESP3 writes it.
    pub fn ack_len(name: &Name) -> usize {
        format!(">3\r\n$12\r\npunsubscribe\r\n${0}\r\n\r\n:9999999\r\n", name.1.len()).len() + name.1.len()
    }

    pub fn track(&mut self, name: &Name) {
        *self.in_flight.entry(name.clone()).or_default() += 1;
        self.ack_bytes += Server::ack_len(name);
    }

    pub fn untrack(&mut self, name: &Name) {
        self.ack_bytes -= Server::ack_len(name);
        let count = self.in_flight.get_mut(name).expect("what is answered was on its way");
        *count -= 1;
        if *count == 0 {
            self.in_flight.remove(name);
        }
    }
}

/// What an operation given to the registry waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Add,
    Remove,
}

/// What a subscription was last told of one of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Nothing,
    Active,
    Refused,
}

/// The registry, the server, and what must hold between them.
#[derive(Default)]
pub struct World {
    pub registry: Registry,
    pub server: Server,
    pub online: bool,
    /// Wanted names by slot, and what each was told.
    pub wanted: BTreeMap<u32, (Kind, BTreeMap<Vec<u8>, Told>)>,
    /// Operations that have not ended.
    pub open: HashMap<u64, Op>,
    pub next_op: u64,
    pub unsettled: HashMap<u32, usize>,
    pub ever_denied: BTreeSet<Name>,
    /// Cleared by tests that do many steps and check at the end.
    pub lax: bool,
}

impl World {
    pub fn op(&mut self, what: Op) -> u64 {
        self.next_op += 1;
        self.open.insert(self.next_op, what);
        self.next_op
    }

    pub fn open(&mut self, slot: u32, kind: Kind) {
        if !self.wanted.contains_key(&slot) {
            self.registry.open(slot, kind);
            self.wanted.insert(slot, (kind, BTreeMap::new()));
            self.check(false);
        }
    }

    pub fn add(&mut self, slot: u32, name: &[u8]) {
        if !self.wanted.contains_key(&slot) {
            return;
        }
        let op = self.op(Op::Add);
        self.registry.add(slot, name, Some(op));
        self.wanted.get_mut(&slot).unwrap().1.entry(name.to_vec()).or_insert(Told::Nothing);
        self.check(false);
    }

    pub fn remove(&mut self, slot: u32, name: &[u8]) {
        if !self.wanted.contains_key(&slot) {
            return;
        }
        let op = self.op(Op::Remove);
        let had = self.wanted.get_mut(&slot).unwrap().1.remove(name).is_some();
        assert_eq!(self.registry.remove(slot, name, Some(op)), had);
        if !had {
            self.open.remove(&op);
        }
        self.check(false);
    }

    pub fn clear(&mut self, slot: u32) {
        let Some((_, names)) = self.wanted.get_mut(&slot) else { return };
        let count = std::mem::take(names).len();
        // One operation waits for all of them, so each name gives it one `Gone`: the model counts them apart.
        assert_eq!(self.registry.clear(slot, None), count);
        self.check(false);
    }

    pub fn close(&mut self, slot: u32) {
        if self.wanted.remove(&slot).is_some() {
            self.registry.close(slot);
            self.unsettled.remove(&slot);
            self.check(false);
        }
    }

    pub fn up(&mut self) {
        if !self.online {
            self.online = true;
            self.registry.link_up();
            self.check(true);
        }
    }

    pub fn down(&mut self) {
        if self.online {
            self.online = false;
            self.server.disconnect();
            self.registry.link_down();
            self.check(false);
        }
    }

    pub fn deny(&mut self, name: Name) {
        self.server.denied.insert(name.clone());
        self.ever_denied.insert(name);
    }

    /// Sends one command. `false` if there is none.
    pub fn send(&mut self) -> bool {
        let mut command = None;
        let sent = self.registry.send(|change, kind, names| {
            command = Some((change, number(kind), names.iter().map(|name| name.to_vec()).collect::<Vec<_>>()));
        });
        assert_eq!(sent == Some(true), command.is_some());
        if let Some((change, kind, names)) = command {
            assert!(self.online, "nothing is sent while there is no link");
            assert!(!names.is_empty() && names.len() <= COMMAND_NAMES, "{} names in a command", names.len());
            let bytes: usize = names.iter().map(Vec::len).sum();
            assert!(bytes <= COMMAND_BYTES || names.len() == 1, "{bytes} bytes of {} names", names.len());
            let distinct: HashSet<&Vec<u8>> = names.iter().collect();
            assert_eq!(distinct.len(), names.len(), "a name stands twice in a command");
            for name in &names {
                let name = (kind, name.clone());
                let sure = !self.server.dropped.contains(&name);
                let other = self.server.in_flight.contains_key(&name);
                assert!(!sure || !other, "two changes of {name:?} are in flight");
                self.server.track(&name);
            }
            self.server.commands.push_back((change, kind, names));
            assert!(self.server.ack_bytes <= WINDOW_BYTES, "{} bytes of acknowledgements", self.server.ack_bytes);
        }
        self.check(false);
        sent.is_some()
    }

    /// Reads one answer. `false` if there is none.
    pub fn read(&mut self) -> bool {
        match self.server.answers.pop_front() {
            None => return false,
            Some(Answer::Ack(change, name)) => {
                self.server.untrack(&name);
                self.registry.acknowledged(change, KINDS[usize::from(name.0)], &name.1);
            }
            Some(Answer::Denied(names)) => {
                names.iter().for_each(|name| self.server.untrack(name));
                let verdict = self.registry.failed(true);
                assert_ne!(verdict, Verdict::Confused);
            }
            Some(Answer::Busy(names)) => {
                names.iter().for_each(|name| self.server.untrack(name));
                assert_eq!(self.registry.busy(), Verdict::Postponed);
            }
        }
        self.check(false);
        true
    }

    /// Takes the effects of a step, and checks each.
    pub fn check(&mut self, link_came_up: bool) {
        let mut whole: HashMap<u32, usize> = HashMap::new();
        for effect in self.registry.effects() {
            match effect {
                Effect::Active { slot, name, ops } => self.told(slot, name, ops.as_slice(), Told::Active),
                Effect::Refused { slot, name, ops } => self.told(slot, name, ops.as_slice(), Told::Refused),
                Effect::Superseded { ops, .. } => self.end(ops.as_slice(), Op::Add),
                Effect::Gone { ops } => self.end(ops.as_slice(), Op::Remove),
                Effect::Whole { slot } => *whole.entry(slot).or_default() += 1,
            }
        }
        if self.lax {
            return;
        }
        for (&slot, (_, names)) in &self.wanted {
            let members = self.registry.members(slot);
            assert_eq!((members.len(), self.registry.member_count(slot)), (names.len(), names.len()));
            let entry = |id: &_| self.registry.names().get(*id).expect("a member's name is in the table");
            let now = members.iter().filter(|id| !entry(id).settled()).count();
            let before = self.unsettled.insert(slot, now).unwrap_or(0);
            let expected = usize::from(now == 0 && (before > 0 || link_came_up));
            assert_eq!(whole.remove(&slot).unwrap_or(0), expected, "whole of {slot}: {before} unsettled, then {now}");
            assert_eq!(self.registry.is_whole(slot), self.online && now == 0);
            // An add is open only while its name is wanted and not settled.
            let open: usize = members.iter().filter(|id| !entry(id).settled()).count();
            assert!(open > 0 || self.registry.pending(slot).is_empty(), "operations wait for settled names");
        }
        let pending: HashSet<u64> = self.wanted.keys().flat_map(|&slot| self.registry.pending(slot)).collect();
        let adds: HashSet<u64> = self.open.iter().filter(|(_, op)| **op == Op::Add).map(|(&id, _)| id).collect();
        assert_eq!(pending, adds, "an add that has not ended waits in its subscription");
        let leavers: HashSet<u64> = self.registry.names().ids().flat_map(|id| self.leavers(id)).collect();
        let removes: HashSet<u64> = self.open.iter().filter(|(_, op)| **op == Op::Remove).map(|(&id, _)| id).collect();
        assert_eq!(leavers, removes, "a remove that has not ended waits at its name");
    }

    pub fn leavers(&self, id: NameId) -> Vec<u64> {
        let entry = self.registry.names().get(id).unwrap();
        assert!(
            entry.leavers.is_none() || entry.listeners.is_empty() && self.online,
            "a remove waits although somebody wants {:?}, or although there is no link",
            String::from_utf8_lossy(&entry.name)
        );
        entry.leavers.as_deref().map(|leavers| leavers.as_slice().to_vec()).unwrap_or_default()
    }

    pub fn told(&mut self, slot: u32, name: NameId, ops: &[u64], told: Told) {
        self.end(ops, Op::Add);
        let entry = self.registry.names().get(name).expect("an effect names a name that is there");
        let key = (number(entry.kind), entry.name.to_vec());
        let (kind, names) = self.wanted.get_mut(&slot).expect("an effect is for an open subscription");
        assert_eq!(number(*kind), key.0);
        *names.get_mut(&key.1).expect("only those who want a name are told of it") = told;
        match told {
            Told::Refused => assert!(self.ever_denied.contains(&key), "{key:?} was refused and never denied"),
            _ => assert_eq!(entry.actual, Actual::Active),
        }
    }

    pub fn end(&mut self, ops: &[u64], what: Op) {
        for op in ops {
            assert_eq!(self.open.remove(op), Some(what), "operation {op} ended twice, or as what it is not");
        }
    }

    /// Lets everything run out.
    pub fn quiesce(&mut self) {
        let mut turns = 0;
        loop {
            let mut moved = false;
            while self.send() {
                moved = true;
            }
            moved |= self.server.handle();
            moved |= self.read();
            if !moved {
                return;
            }
            turns += 1;
            assert!(turns < 1_000_000, "it never comes to rest");
        }
    }

    /// What must hold when the link is up and nothing is under way. `settled_acl`: every refusal was tried again since
    /// the rights changed last.
    pub fn check_quiet(&mut self, settled_acl: bool) {
        assert!(self.online && self.registry.is_settled());
        assert_eq!(self.registry.backlog(), (0, 0));
        assert_eq!(self.registry.in_flight(), 0);
        assert_eq!(self.open, HashMap::new(), "with nothing under way no operation waits");
        let mut expected = BTreeSet::new();
        let mut refused = BTreeSet::new();
        for (slot, (kind, names)) in &self.wanted {
            assert!(self.registry.is_whole(*slot));
            for (name, told) in names {
                let id = self.registry.names().find(*kind, name).expect("a wanted name is in the table");
                let entry = self.registry.names().get(id).unwrap();
                let key = (number(*kind), name.clone());
                assert_eq!(*told, if entry.refused { Told::Refused } else { Told::Active }, "{slot} about {key:?}");
                if entry.refused {
                    assert!(!settled_acl || self.server.denied.contains(&key), "{key:?} is allowed, and not had");
                    refused.insert(key);
                } else {
                    expected.insert(key);
                }
            }
        }
        assert_eq!(self.server.subscribed, expected, "the server has what is wanted and not refused");
        let all: BTreeSet<Name> = expected.union(&refused).cloned().collect();
        assert_eq!(self.registry.names().len(), all.len(), "nobody wants the other names");
        assert_eq!(self.registry.refused_count(), refused.len());
    }

    pub fn finish(&mut self) {
        self.up();
        self.quiesce();
        self.check_quiet(false);
        self.registry.retry_refused(usize::MAX);
        self.check(false);
        self.quiesce();
        self.check_quiet(true);
        // Everybody goes, and nothing is left, neither here nor there.
        for slot in self.wanted.keys().copied().collect::<Vec<_>>() {
            self.close(slot);
        }
        self.quiesce();
        self.check_quiet(true);
        assert!(self.registry.names().is_empty());
    }
}
