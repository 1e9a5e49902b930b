//! The registry against a small model of a server: random and exhaustive programs of everything that can happen.
//!
//! The model handles commands in order and answers into a pipe that is read one answer at a time, so that adds,
//! removes and lost links fall between any two of them. After every step the effects are checked, and when all is
//! quiet the server has exactly what is wanted and not refused.

#[path = "registry/world.rs"]
mod world;

use proptest::prelude::*;
use redmux::mux::registry::{COMMAND_BYTES, COMMAND_NAMES, Verdict};
use redmux::proto::resp::{Change, Kind};
use world::{KINDS, World};

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
    Busy(usize),
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
        2 => (1..4usize).prop_map(Step::Busy),
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
            Step::Busy(commands) => self.server.busy = commands,
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
