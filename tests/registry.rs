//! The registry against a small model of a server: random and exhaustive programs of everything that can happen.
//!
//! The model handles commands in order and answers into a pipe that is read one answer at a time, so that adds,
//! removes and lost links fall between any two of them. After every step the effects are checked, and when all is
//! quiet the server has exactly what is wanted and not refused.

use proptest::prelude::*;
use redmux::mux::names::Actual;
use redmux::mux::registry::{COMMAND_BYTES, COMMAND_NAMES, Effect, Registry, Verdict, WINDOW_BYTES};
use redmux::proto::resp::{Change, Kind};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

type Name = (u8, Vec<u8>);

const KINDS: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::Shard];

fn number(kind: Kind) -> u8 {
    KINDS.iter().position(|&other| other == kind).unwrap() as u8
}

/// A server with one connection: what it was sent, and what it answered that was not read yet.
#[derive(Default)]
struct Server {
    subscribed: BTreeSet<Name>,
    denied: BTreeSet<Name>,
    commands: VecDeque<(Change, u8, Vec<Vec<u8>>)>,
    answers: VecDeque<Answer>,
    /// How many changes of a name are on their way there or back, and the bytes that acknowledging all of them takes.
    in_flight: HashMap<Name, usize>,
    ack_bytes: usize,
    /// Names that it dropped by itself on this connection: for them an answer may look like another.
    dropped: BTreeSet<Name>,
}

enum Answer {
    Ack(Change, Name),
    Denied(Vec<Name>),
}

impl Server {
    /// Executes one command, as Redis does: an ACL refuses it whole, before anything of it happened.
    fn handle(&mut self) -> bool {
        let Some((change, kind, names)) = self.commands.pop_front() else { return false };
        let names: Vec<Name> = names.into_iter().map(|name| (kind, name)).collect();
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
    fn drop_name(&mut self, name: Name) {
        if self.subscribed.remove(&name) {
            self.dropped.insert(name.clone());
            self.track(&name);
            self.answers.push_back(Answer::Ack(Change::Unsubscribed, name));
        }
    }

    fn disconnect(&mut self) {
        self.subscribed.clear();
        self.commands.clear();
        self.answers.clear();
        self.in_flight.clear();
        self.ack_bytes = 0;
        self.dropped.clear();
    }

    /// What one acknowledgement takes, as RESP3 writes it.
    fn ack_len(name: &Name) -> usize {
        format!(">3\r\n$12\r\npunsubscribe\r\n${0}\r\n\r\n:9999999\r\n", name.1.len()).len() + name.1.len()
    }

    fn track(&mut self, name: &Name) {
        *self.in_flight.entry(name.clone()).or_default() += 1;
        self.ack_bytes += Server::ack_len(name);
    }

    fn untrack(&mut self, name: &Name) {
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
enum Op {
    Add,
    Remove,
}

/// What a subscription was last told of one of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Active,
    Refused,
}

/// The registry, the server, and what must hold between them.
#[derive(Default)]
struct World {
    registry: Registry,
    server: Server,
    online: bool,
    /// Wanted names by slot, and what each was told.
    wanted: BTreeMap<u32, (Kind, BTreeMap<Vec<u8>, Told>)>,
    /// Operations that have not ended.
    open: HashMap<u64, Op>,
    next_op: u64,
    unsettled: HashMap<u32, usize>,
    ever_denied: BTreeSet<Name>,
    /// Cleared by tests that do many steps and check at the end.
    lax: bool,
}

impl World {
    fn op(&mut self, what: Op) -> u64 {
        self.next_op += 1;
        self.open.insert(self.next_op, what);
        self.next_op
    }

    fn open(&mut self, slot: u32, kind: Kind) {
        if !self.wanted.contains_key(&slot) {
            self.registry.open(slot, kind);
            self.wanted.insert(slot, (kind, BTreeMap::new()));
            self.check(false);
        }
    }

    fn add(&mut self, slot: u32, name: &[u8]) {
        if !self.wanted.contains_key(&slot) {
            return;
        }
        let op = self.op(Op::Add);
        self.registry.add(slot, name, Some(op));
        self.wanted.get_mut(&slot).unwrap().1.entry(name.to_vec()).or_insert(Told::Nothing);
        self.check(false);
    }

    fn remove(&mut self, slot: u32, name: &[u8]) {
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

    fn clear(&mut self, slot: u32) {
        let Some((_, names)) = self.wanted.get_mut(&slot) else { return };
        let count = std::mem::take(names).len();
        // One operation waits for all of them, so each name gives it one `Gone`: the model counts them apart.
        assert_eq!(self.registry.clear(slot, None), count);
        self.check(false);
    }

    fn close(&mut self, slot: u32) {
        if self.wanted.remove(&slot).is_some() {
            self.registry.close(slot);
            self.unsettled.remove(&slot);
            self.check(false);
        }
    }

    fn up(&mut self) {
        if !self.online {
            self.online = true;
            self.registry.link_up();
            self.check(true);
        }
    }

    fn down(&mut self) {
        if self.online {
            self.online = false;
            self.server.disconnect();
            self.registry.link_down();
            self.check(false);
        }
    }

    fn deny(&mut self, name: Name) {
        self.server.denied.insert(name.clone());
        self.ever_denied.insert(name);
    }

    /// Sends one command. `false` if there is none.
    fn send(&mut self) -> bool {
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
    fn read(&mut self) -> bool {
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
        }
        self.check(false);
        true
    }

    /// Takes the effects of a step, and checks each.
    fn check(&mut self, link_came_up: bool) {
        let mut whole: HashMap<u32, usize> = HashMap::new();
        for effect in self.registry.effects() {
            match effect {
                Effect::Active { slot, name, ops } => self.told(slot, name, &ops, Told::Active),
                Effect::Refused { slot, name, ops } => self.told(slot, name, &ops, Told::Refused),
                Effect::Superseded { ops, .. } => self.end(&ops, Op::Add),
                Effect::Gone { ops } => self.end(&ops, Op::Remove),
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

    fn leavers(&self, id: redmux::mux::names::NameId) -> Vec<u64> {
        let entry = self.registry.names().get(id).unwrap();
        assert!(
            entry.leavers.is_empty() || entry.listeners.is_empty() && self.online,
            "a remove waits although somebody wants {:?}, or although there is no link",
            String::from_utf8_lossy(&entry.name)
        );
        entry.leavers.clone()
    }

    fn told(&mut self, slot: u32, name: redmux::mux::names::NameId, ops: &[u64], told: Told) {
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

    fn end(&mut self, ops: &[u64], what: Op) {
        for op in ops {
            assert_eq!(self.open.remove(op), Some(what), "operation {op} ended twice, or as what it is not");
        }
    }

    /// Lets everything run out.
    fn quiesce(&mut self) {
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
    fn check_quiet(&mut self, settled_acl: bool) {
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

    fn finish(&mut self) {
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

#[derive(Debug, Clone)]
enum Step {
    Open(u32),
    Add(u32, u8),
    Remove(u32, u8),
    Clear(u32),
    Close(u32),
    Send,
    Handle,
    Read,
    Quiesce,
    Down,
    Up,
    Retry(usize),
    Deny(u8, u8),
    Allow(u8, u8),
    Drop(u8, u8),
}

const SLOTS: u32 = 6;

fn slot_kind(slot: u32) -> Kind {
    KINDS[slot as usize % 3]
}

fn step() -> impl Strategy<Value = Step> {
    let (slot, name, kind) = (0..SLOTS, 0..6u8, 0..3u8);
    prop_oneof![
        4 => slot.clone().prop_map(Step::Open),
        16 => (slot.clone(), name.clone()).prop_map(|(slot, name)| Step::Add(slot, name)),
        10 => (slot.clone(), name.clone()).prop_map(|(slot, name)| Step::Remove(slot, name)),
        1 => slot.clone().prop_map(Step::Clear),
        1 => slot.prop_map(Step::Close),
        10 => Just(Step::Send),
        10 => Just(Step::Handle),
        14 => Just(Step::Read),
        1 => Just(Step::Quiesce),
        1 => Just(Step::Down),
        3 => Just(Step::Up),
        2 => (1..4usize).prop_map(Step::Retry),
        3 => (kind.clone(), name.clone()).prop_map(|(kind, name)| Step::Deny(kind, name)),
        2 => (kind.clone(), name.clone()).prop_map(|(kind, name)| Step::Allow(kind, name)),
        2 => (kind, name).prop_map(|(kind, name)| Step::Drop(kind, name)),
    ]
}

impl World {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Open(slot) => self.open(slot, slot_kind(slot)),
            Step::Add(slot, name) => self.add(slot, &[b'a' + name]),
            Step::Remove(slot, name) => self.remove(slot, &[b'a' + name]),
            Step::Clear(slot) => self.clear(slot),
            Step::Close(slot) => self.close(slot),
            Step::Send => _ = self.send(),
            Step::Handle => _ = self.server.handle(),
            Step::Read => _ = self.read(),
            Step::Quiesce => self.quiesce(),
            Step::Down => self.down(),
            Step::Up => self.up(),
            Step::Retry(most) => {
                let tried = self.registry.retry_refused(most);
                assert!(tried <= most && (self.online || tried == 0));
                self.check(false);
            }
            Step::Deny(kind, name) => self.deny((kind, vec![b'a' + name])),
            Step::Allow(kind, name) => _ = self.server.denied.remove(&(kind, vec![b'a' + name])),
            Step::Drop(kind, name) => self.server.drop_name((kind, vec![b'a' + name])),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_server_ends_with_what_is_wanted_and_every_operation_with_one_end(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::default();
        for slot in 0..SLOTS / 2 {
            world.open(slot, slot_kind(slot));
        }
        steps.iter().for_each(|step| world.step(step));
        world.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_refused_name_never_takes_an_allowed_one_with_it(
        count in 1..600usize, denied in prop::collection::btree_set(0..600usize, 0..12), gone in 0..600usize,
    ) {
        let mut world = World { lax: true, ..World::default() };
        world.open(0, Kind::Channel);
        world.open(1, Kind::Channel);
        let name = |n: usize| format!("name:{n}").into_bytes();
        denied.iter().for_each(|&n| world.deny((0, name(n))));
        world.up();
        (0..count).for_each(|n| world.add((n % 2) as u32, &name(n)));
        // One goes while its batch is on its way.
        world.send();
        world.remove(0, &name(gone));
        world.quiesce();
        world.check_quiet(true);
        let refused = denied.iter().filter(|&&n| n < count && !(n == gone && n % 2 == 0)).count();
        prop_assert_eq!(world.registry.refused_count(), refused);
    }
}

/// Runs every program of `length` steps out of `alphabet`, each from the start to a quiet end.
fn every_program(alphabet: &[&dyn Fn(&mut World)], length: u32) {
    for program in 0..alphabet.len().pow(length) {
        let mut world = World::default();
        world.open(0, Kind::Channel);
        world.open(1, Kind::Channel);
        world.up();
        let mut rest = program;
        for _ in 0..length {
            alphabet[rest % alphabet.len()](&mut world);
            rest /= alphabet.len();
        }
        world.finish();
    }
}

#[test]
fn every_short_program_about_one_name_of_two_subscriptions_ends_well() {
    let add_0 = |world: &mut World| world.add(0, b"x");
    let add_1 = |world: &mut World| world.add(1, b"x");
    let remove_0 = |world: &mut World| world.remove(0, b"x");
    let remove_1 = |world: &mut World| world.remove(1, b"x");
    let send = |world: &mut World| _ = world.send();
    let answer = |world: &mut World| {
        world.server.handle();
        world.read();
    };
    let reconnect = |world: &mut World| {
        world.down();
        world.up();
    };
    every_program(&[&add_0, &add_1, &remove_0, &remove_1, &send, &answer, &reconnect], 5);
}

#[test]
fn every_short_program_about_a_name_that_is_refused_ends_well() {
    let add_0 = |world: &mut World| world.add(0, b"x");
    let add_1 = |world: &mut World| world.add(1, b"x");
    let remove_0 = |world: &mut World| world.remove(0, b"x");
    let turn = |world: &mut World| {
        world.send();
        world.server.handle();
        world.read();
    };
    let rights = |world: &mut World| {
        if !world.server.denied.remove(&(0, b"x".to_vec())) {
            world.deny((0, b"x".to_vec()));
        }
    };
    let retry = |world: &mut World| {
        world.registry.retry_refused(1);
        world.check(false);
    };
    let denied = |world: &mut World| {
        world.deny((0, b"x".to_vec()));
        world.add(0, b"x");
        world.quiesce();
    };
    every_program(&[&denied, &add_0, &add_1, &remove_0, &turn, &rights, &retry], 5);
}

#[test]
fn removing_and_adding_a_name_in_one_batch_keeps_it_subscribed() {
    let mut world = World::default();
    world.open(0, Kind::Channel);
    world.up();
    world.add(0, b"x");
    world.quiesce();
    for round in 0..200 {
        world.remove(0, b"x");
        world.add(0, b"x");
        // At every other point of the way there and back.
        if round % 4 > 0 {
            world.send();
        }
        if round % 4 > 1 {
            world.server.handle();
        }
        if round % 4 > 2 {
            world.read();
        }
        world.remove(0, b"x");
        world.add(0, b"x");
        world.quiesce();
        world.check_quiet(true);
        assert!(world.server.subscribed.contains(&(0, b"x".to_vec())));
    }
}

/// The number, filled up with zeros to that many bytes.
fn numbered(n: usize, len: usize) -> Vec<u8> {
    let digits = n.to_string();
    [&vec![b'0'; len.saturating_sub(digits.len())], digits.as_bytes()].concat()
}

#[test]
fn a_command_and_the_window_of_acknowledgements_keep_their_limits() {
    for (count, len) in
        [(30_000_usize, 8), (30_000, 200), (2_000, 3_000), (60, 60_000), (40, COMMAND_BYTES), (1, COMMAND_BYTES)]
    {
        let mut world = World { lax: true, ..World::default() };
        world.open(0, Kind::Channel);
        world.up();
        let names: Vec<Vec<u8>> = (0..count).map(|n| numbered(n, len)).collect();
        names.iter().for_each(|name| world.add(0, name));
        let mut commands = 0;
        // As fast as the window allows: `send` asserts the limits.
        loop {
            while world.send() {
                commands += 1;
            }
            if world.server.commands.is_empty() {
                break;
            }
            while world.server.handle() {}
            while world.read() {}
        }
        let bytes: usize = names.iter().map(Vec::len).sum();
        let fewest = count.div_ceil(COMMAND_NAMES).max(bytes.div_ceil(COMMAND_BYTES));
        assert!((fewest..=2 * fewest).contains(&commands), "{commands} commands for {count} names of {len}");
        world.lax = false;
        world.check_quiet(true);
    }
}

#[test]
fn flapping_a_million_times_while_nothing_is_acknowledged_keeps_little() {
    for (online, rounds) in [(false, 100_000), (true, 1_000_000)] {
        let mut world = World { lax: true, ..World::default() };
        world.open(0, Kind::Channel);
        world.open(1, Kind::Pattern);
        if online {
            world.up();
        }
        let names: Vec<Vec<u8>> = (0..64).map(|n| format!("name:{n}").into_bytes()).collect();
        for n in 0..rounds {
            let name = &names[n % names.len()];
            let slot = (n / 7 % 2) as u32;
            if world.wanted[&slot].1.contains_key(name) {
                world.remove(slot, name);
            } else {
                world.add(slot, name);
            }
            if n % 1_000 == 0 {
                // Sent as far as the window goes, and never answered.
                while world.send() {}
                let held: usize = world.registry.names().ids().map(|id| world.leavers(id).len()).sum();
                let pending: usize = (0..2).map(|slot| world.registry.pending(slot).len()).sum();
                assert!(world.registry.names().len() <= 2 * names.len());
                assert!(world.registry.backlog().0 <= 4 * names.len(), "{:?}", world.registry.backlog());
                assert!(world.registry.in_flight() <= 2 * names.len());
                assert!(held + pending <= 4 * names.len(), "{held} removes and {pending} adds wait");
                assert_eq!(held + pending, world.open.len());
            }
        }
        world.lax = false;
        world.finish();
    }
}

#[test]
fn an_answer_that_fits_nothing_is_state_and_no_answer() {
    let mut world = World::default();
    world.open(0, Kind::Channel);
    world.up();
    world.add(0, b"x");
    world.send();
    // Neither another name, nor another kind, nor the other change is taken for the answer.
    for (change, kind, name) in [
        (Change::Subscribed, Kind::Channel, &b"y"[..]),
        (Change::Subscribed, Kind::Pattern, b"x"),
        (Change::Unsubscribed, Kind::Channel, b"x"),
        (Change::Unsubscribed, Kind::Channel, b""),
    ] {
        world.registry.acknowledged(change, kind, name);
        world.check(false);
        assert_eq!((world.registry.in_flight(), world.registry.active_count(0)), (1, 0));
    }
    world.server.handle();
    world.read();
    assert_eq!((world.registry.in_flight(), world.registry.active_count(0)), (0, 1));
    // An error that answers no subscribe makes no sense.
    assert_eq!(world.registry.failed(true), Verdict::Confused);
    world.remove(0, b"x");
    world.send();
    assert_eq!(world.registry.failed(true), Verdict::Confused);
}

#[test]
fn names_that_the_server_drops_by_itself_are_subscribed_again() {
    let mut world = World::default();
    world.open(0, Kind::Shard);
    world.up();
    world.add(0, b"x");
    world.add(0, b"y");
    world.quiesce();
    world.server.drop_name((2, b"x".to_vec()));
    assert!(world.read());
    assert!(!world.registry.is_whole(0));
    world.quiesce();
    world.check_quiet(true);
    assert!(world.server.subscribed.contains(&(2, b"x".to_vec())));
}
