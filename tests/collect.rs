//! When a request is complete (`buffer/collect.rs`), with a clock that the test winds: whatever comes in whatever order,
//! there is one end, with the reason and the missing that an independent model gives, and no clock runs in circles.

use proptest::collection::vec;
use proptest::prelude::*;
use redmux::buffer::collect::{Collect, Reason, Rules, Verdict, Window};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const WHO: [&str; 4] = ["a", "b", "c", "d"];
const MS: Duration = Duration::from_millis(1);
/// A responder that accepted has missed three signs of life, and a little.
const SILENT: u64 = 3200;

/// What may happen to a request.
#[derive(Debug, Clone)]
enum Step {
    Published {
        receivers: u64,
        window: u64,
    },
    Accepted(usize),
    Part {
        who: usize,
        seq: u64,
        bytes: usize,
    },
    Last {
        who: usize,
        seq: u64,
        bytes: usize,
    },
    End(usize, Option<u64>),
    Failed(usize),
    Alive(usize),
    Declined(usize),
    /// The link was lost and it is sent again.
    Again,
    /// So many ms later; the clock is looked at as often as it asked for.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0..WHO.len();
    let (seq, bytes) = (|| 0..4u64, || 0..40usize);
    let step = prop_oneof![
        2 => (0..6u64, 20..=1000u64).prop_map(|(receivers, window)| Step::Published { receivers, window }),
        3 => who().prop_map(Step::Accepted),
        4 => (who(), seq(), bytes()).prop_map(|(who, seq, bytes)| Step::Part { who, seq, bytes }),
        4 => (who(), seq(), bytes()).prop_map(|(who, seq, bytes)| Step::Last { who, seq, bytes }),
        1 => (who(), proptest::option::of(0..5u64)).prop_map(|(who, n)| Step::End(who, n)),
        1 => who().prop_map(Step::Failed),
        2 => who().prop_map(Step::Alive),
        1 => who().prop_map(Step::Declined),
        1 => Just(Step::Again),
        3 => prop_oneof![0..50u64, 0..4000u64].prop_map(Step::Wait),
    ];
    vec(step, 0..40)
}

fn rules() -> impl Strategy<Value = (Rules, Instant)> {
    let quiet = prop_oneof![Just(None), (1..500u64).prop_map(|ms| Some(ms as u32 * MS))];
    (0..4u64, quiet, any::<bool>(), 1..8u64, 20..200u64, 1..15_000u64).prop_map(
        |(count, quiet, strict, most, most_bytes, deadline)| {
            let began = Instant::now();
            (Rules { count, quiet, strict, most, most_bytes, deadline: began + deadline as u32 * MS }, began)
        },
    )
}

/// The rules as they are told on paper, over everything that happened, without any state of its own.
#[derive(Debug, Default)]
struct Model {
    /// Since it was last sent: what Redis counted, when that is no longer the whole story, and the last sign of each.
    receivers: Option<u64>,
    window_closes: Option<u64>,
    signs: BTreeMap<usize, u64>,
    state: BTreeMap<usize, &'static str>,
    /// Over all times that it was sent.
    finished_before: BTreeSet<usize>,
    took_before: BTreeSet<usize>,
    seen: BTreeSet<(usize, u64)>,
    /// How many answers each says that it gave.
    totals: BTreeMap<usize, u64>,
    failed: BTreeSet<usize>,
    answers: u64,
    bytes: u64,
    duplicates: u64,
    last_answer: Option<u64>,
}

impl Model {
    /// Who gave a sign is at work, unless it was finished or left it to another.
    fn sign(&mut self, who: usize, now: u64) {
        self.signs.insert(who, now);
        self.state.entry(who).or_insert("works");
    }

    fn set(&mut self, who: usize, to: &'static str) {
        if self.state.get(&who) != Some(&"finished") {
            self.state.insert(who, to);
        }
    }

    /// Finished when it has ended and all that it gave is there.
    fn stands(&self, who: usize) -> &'static str {
        let whole = |total: &u64| (0..*total).all(|seq| self.seen.contains(&(who, seq)));
        if self.totals.get(&who).is_some_and(whole) { "finished" } else { "works" }
    }

    /// Finished since it was last sent, or before and not heard of since.
    fn had_finished(&self, who: usize) -> bool {
        self.state.get(&who).map_or(self.finished_before.contains(&who), |at| *at == "finished")
    }

    /// The first number of a responder that did not come.
    fn first_gap(&self, who: usize) -> u64 {
        (0..).find(|&seq| !self.seen.contains(&(who, seq))).expect("few came")
    }

    fn count(&self, state: &str) -> u64 {
        self.state.values().filter(|at| **at == state).count() as u64
    }

    fn missing(&self) -> BTreeSet<&'static str> {
        let now = self.state.iter().filter(|(_, at)| matches!(**at, "works" | "lost")).map(|(who, _)| *who);
        let before = self.took_before.iter().filter(|who| !self.state.contains_key(who)).copied();
        let gone = before.filter(|who| !self.finished_before.contains(who));
        now.chain(gone).map(|who| WHO[who]).collect()
    }

    /// One step; whether an answer in it is handed to the caller. What it ends with, if it does.
    fn step(&mut self, rules: &Rules, step: &Step, now: u64) -> (bool, Option<Reason>) {
        let mut delivered = false;
        match *step {
            Step::Published { receivers, window } => {
                (self.receivers, self.window_closes) = (Some(receivers), Some(now + window));
                self.last_answer = self.last_answer.or((self.answers > 0).then_some(now));
            }
            Step::Accepted(who) | Step::Alive(who) => {
                self.sign(who, now);
                self.set(who, "works");
            }
            Step::Part { who, seq, bytes } | Step::Last { who, seq, bytes } => {
                let last = matches!(step, Step::Last { .. });
                self.sign(who, now);
                if last {
                    self.totals.insert(who, seq + 1);
                }
                if !self.seen.insert((who, seq)) {
                    self.duplicates += 1;
                    if last {
                        self.set(who, self.stands(who));
                    } else {
                        // Nothing new was said, and nothing is decided by it.
                        return (false, None);
                    }
                } else if self.answers == rules.most || self.bytes + bytes as u64 > rules.most_bytes {
                    return (false, Some(Reason::Overflow));
                } else {
                    (self.answers, self.bytes) = (self.answers + 1, self.bytes + bytes as u64);
                    (self.last_answer, delivered) = (Some(now), true);
                    self.set(who, self.stands(who));
                    if rules.count != 0 && self.answers >= rules.count {
                        return (true, Some(Reason::Count));
                    }
                }
            }
            Step::End(who, n) => {
                self.sign(who, now);
                self.duplicates += u64::from(self.state.get(&who) == Some(&"finished"));
                self.totals.insert(who, n.unwrap_or(self.first_gap(who)));
                self.set(who, self.stands(who));
            }
            Step::Failed(who) => {
                let again = self.had_finished(who) || self.failed.contains(&who);
                self.sign(who, now);
                self.duplicates += u64::from(again);
                delivered = !again;
                if !again {
                    self.failed.insert(who);
                }
                self.set(who, "finished");
            }
            Step::Declined(who) => {
                let first = !self.state.contains_key(&who);
                // It gave signs before it was sent again: it is at work, for whoever works says so later, unless it had finished.
                let known = self.took_before.contains(&who);
                let finished = self.had_finished(who);
                self.sign(who, now);
                if first {
                    self.set(
                        who,
                        if !known {
                            "declined"
                        } else if finished {
                            "finished"
                        } else {
                            "works"
                        },
                    );
                }
            }
            Step::Again => {
                for (who, at) in std::mem::take(&mut self.state) {
                    if at != "declined" {
                        self.took_before.insert(who);
                        if at == "finished" {
                            self.finished_before.insert(who);
                        } else {
                            self.finished_before.remove(&who);
                        }
                    }
                }
                (self.receivers, self.window_closes, self.last_answer) = (None, None, None);
                return (false, None);
            }
            Step::Wait(_) => {
                for (who, at) in &mut self.state {
                    if *at == "works" && now >= self.signs[who] + SILENT {
                        *at = "lost";
                    }
                }
            }
        }
        (delivered, self.complete(rules, now))
    }

    fn complete(&self, rules: &Rules, now: u64) -> Option<Reason> {
        let done = self.state.len() as u64 - self.count("works");
        let all_counted = self.receivers.is_some_and(|n| done >= n);
        let closed = self.window_closes.is_some_and(|closes| now >= closes);
        if all_counted || closed && !rules.strict && self.count("works") == 0 {
            let now = self.state.iter().filter(|(_, at)| matches!(**at, "finished" | "lost")).map(|(who, _)| *who);
            let earlier = self.finished_before.iter().filter(|who| !self.state.contains_key(who)).copied();
            let took: BTreeSet<usize> = now.chain(earlier).collect();
            return Some(match took.is_empty() {
                true => Reason::NoResponders,
                false if self.answers == 0 && took.is_subset(&self.failed) => Reason::Failed,
                false => Reason::All,
            });
        }
        let quiet = rules.quiet.map(|quiet| quiet.as_millis() as u64);
        let silent = self.last_answer.zip(quiet).is_some_and(|(last, quiet)| now >= last + quiet);
        silent.then_some(Reason::Quiet)
    }
}

/// Lets a clock run to `until` as the task does, and only when it is told to look. Returns how often it looked.
fn run(collect: &mut Collect, mut now: Instant, until: Instant) -> usize {
    let mut looked = 0;
    while let Some(next) = collect.next().filter(|&next| next <= until) {
        now = next.max(now);
        let before = format!("{collect:?}");
        collect.time(now);
        looked += 1;
        let changed = format!("{collect:?}") != before;
        // A time at which nothing changes may come once: when the accept window closes and somebody is at work.
        assert!(changed || collect.next().is_none_or(|next| next > now), "it asks for the same time again: {before}");
        assert!(looked < 200, "it asks again and again: {collect:?}");
    }
    looked
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_order_of_anything_has_one_end_and_the_model_agrees((rules, began) in rules(), steps in steps()) {
        let mut collect = Collect::new(rules.clone(), began);
        let (mut model, mut now, mut expected) = (Model::default(), 0u64, None);
        let deadline = (rules.deadline - began).as_millis() as u64;
        let at = |ms: u64| began + ms as u32 * MS;
        for step in steps {
            if let Step::Wait(ms) = step {
                // The model has no clock of its own: it looks at each ms.
                let until = now + ms;
                run(&mut collect, at(now), at(until));
                while now < until && expected.is_none() {
                    now += 1;
                    expected = model.step(&rules, &step, now).1.or((now >= deadline).then_some(Reason::Deadline));
                }
                now = until;
            } else {
                let (delivered, reason) = model.step(&rules, &step, now);
                let said = match step {
                    Step::Published { receivers, window } => {
                        collect.published(receivers, window as u32 * MS, at(now));
                        false
                    }
                    Step::Accepted(who) => {
                        collect.accepted(WHO[who], "", at(now));
                        false
                    }
                    Step::Alive(who) => {
                        collect.alive(WHO[who], "", at(now));
                        false
                    }
                    Step::Part { who, seq, bytes } => {
                        collect.answer(WHO[who], "", seq, bytes, false, at(now)) == Verdict::Deliver
                    }
                    Step::Last { who, seq, bytes } => {
                        collect.answer(WHO[who], "", seq, bytes, true, at(now)) == Verdict::Deliver
                    }
                    Step::End(who, n) => {
                        collect.finished(WHO[who], "", n, at(now));
                        false
                    }
                    Step::Failed(who) => collect.failed(WHO[who], "", false, at(now)),
                    Step::Declined(who) => {
                        collect.declined(WHO[who], "", at(now));
                        false
                    }
                    Step::Again => {
                        collect.sent_again();
                        false
                    }
                    Step::Wait(_) => unreachable!("handled above"),
                };
                prop_assert_eq!(said, delivered, "whether it is handed out, at {} ms: {:?}", now, step);
                expected = reason;
            }
            prop_assert_eq!(collect.ended(), expected, "at {} ms after {:?}: {:?}", now, step, model);
            if expected.is_some() {
                break;
            }
        }
        if expected.is_none() {
            // Whatever it was told, the deadline ends it.
            run(&mut collect, at(now), rules.deadline + Duration::from_secs(1));
            while expected.is_none() {
                now += 1;
                expected = model.step(&rules, &Step::Wait(1), now).1.or((now >= deadline).then_some(Reason::Deadline));
            }
            prop_assert_eq!(collect.ended(), expected, "{:?}", model);
        }
        let report = collect.report();
        let missing: BTreeSet<&str> = report.missing.iter().map(|(by, _)| *by).collect();
        prop_assert_eq!(missing, model.missing());
        prop_assert_eq!(report.missing.len(), model.missing().len(), "nobody is named twice");
        let errors = model.failed.len() as u64;
        prop_assert_eq!(
            (report.answers, report.errors, report.duplicates),
            (model.answers, errors, model.duplicates)
        );
        // And that was the only end.
        collect.stop(Reason::Cancelled);
        collect.overflow();
        collect.time(rules.deadline + Duration::from_secs(60));
        collect.published(0, MS, rules.deadline);
        prop_assert_eq!(collect.ended(), expected);
        prop_assert_eq!(collect.next(), None, "what has ended needs no clock");
    }

    #[test]
    fn the_accept_window_stays_between_a_tenth_of_a_second_and_one(took in vec(0..10_000_000u64, 0..400)) {
        let mut window = Window::default();
        prop_assert_eq!(window.length(), Duration::from_secs(1), "nothing is known yet");
        for (n, &us) in took.iter().enumerate() {
            window.measured(Duration::from_micros(us));
            let length = window.length();
            prop_assert!((100 * MS..=1000 * MS).contains(&length), "{:?}", length);
            if n == 0 {
                prop_assert_eq!(length, (Duration::from_micros(us) * 4).clamp(100 * MS, 1000 * MS));
            }
        }
    }
}

#[test]
fn the_accept_window_follows_what_is_measured_and_one_slow_answer_does_not_move_it() {
    let mut window = Window::default();
    (0..128).for_each(|_| window.measured(50 * MS));
    assert_eq!(window.length(), 200 * MS);
    window.measured(Duration::from_secs(9));
    (0..127).for_each(|_| window.measured(50 * MS));
    assert_eq!(window.length(), 200 * MS, "one in a hundred may be slow");
    (0..256).for_each(|_| window.measured(MS));
    assert_eq!(window.length(), 100 * MS);
}

/// A request with ten seconds, published to so many, who may accept for 100 ms.
fn published(receivers: u64, strict: bool) -> (Collect, Instant) {
    let began = Instant::now();
    let deadline = began + Duration::from_secs(10);
    let rules = Rules { count: 0, quiet: None, strict, most: 100, most_bytes: 1000, deadline };
    let mut collect = Collect::new(rules, began);
    collect.published(receivers, 100 * MS, began);
    (collect, began)
}

#[test]
fn who_accepted_and_fell_silent_is_missing_within_four_seconds() {
    let (mut collect, began) = published(1, false);
    collect.accepted("a", "node", began);
    let end = began + 4000 * MS;
    assert!(run(&mut collect, began, end) <= 3, "and hardly anything was looked at for it");
    assert_eq!(collect.ended(), Some(Reason::All));
    assert_eq!(collect.report().missing, [("a", "node")]);
}

#[test]
fn who_says_that_it_is_alive_is_waited_for_until_the_deadline() {
    let (mut collect, began) = published(1, false);
    collect.accepted("a", "node", began);
    for second in 1..10 {
        let now = began + second * 1000 * MS;
        run(&mut collect, now - 1000 * MS, now);
        assert_eq!(collect.ended(), None);
        collect.alive("a", "node", now);
    }
    run(&mut collect, began + 9000 * MS, began + 10_000 * MS);
    assert_eq!(collect.ended(), Some(Reason::Deadline));
}

#[test]
fn a_foreign_receiver_costs_the_accept_window_unless_it_is_strict() {
    for (strict, reason, took) in [(false, Reason::All, 100), (true, Reason::Deadline, 10_000)] {
        let (mut collect, began) = published(2, strict);
        assert_eq!(collect.answer("a", "", 0, 1, true, began + MS), Verdict::Deliver);
        run(&mut collect, began + MS, began + took * MS - MS);
        assert_eq!(collect.ended(), None);
        run(&mut collect, began + took * MS - MS, began + took * MS);
        assert_eq!(collect.ended(), Some(reason));
    }
}

#[test]
fn what_was_read_late_is_read_to_its_end_before_the_accept_window_is_looked_at() {
    // One of the three is a stranger; the machine was busy, and what two said in time is read when the window is over.
    let (mut collect, began) = published(3, false);
    let late = began + 150 * MS;
    assert_eq!(collect.answer("a", "", 0, 1, true, late), Verdict::Deliver);
    assert_eq!(collect.ended(), None);
    collect.accepted("b", "", late);
    run(&mut collect, late, late);
    assert_eq!(collect.ended(), None);
    assert_eq!(collect.answer("b", "", 0, 1, true, late), Verdict::Deliver);
    assert_eq!(collect.ended(), Some(Reason::All));
}

#[test]
fn what_was_read_late_was_no_silence() {
    let (_, began) = published(1, false);
    let rules = Rules {
        count: 0,
        quiet: Some(50 * MS),
        strict: false,
        most: 100,
        most_bytes: 1000,
        deadline: began + Duration::from_secs(10),
    };
    let mut collect = Collect::new(rules, began);
    collect.published(1, 100 * MS, began);
    assert_eq!(collect.answer("a", "", 0, 1, false, began), Verdict::Deliver);
    collect.alive("a", "", began + 60 * MS);
    assert_eq!(collect.answer("a", "", 1, 1, false, began + 60 * MS), Verdict::Deliver);
    run(&mut collect, began + 60 * MS, began + 109 * MS);
    assert_eq!(collect.ended(), None);
    run(&mut collect, began + 109 * MS, began + 110 * MS);
    assert_eq!(collect.ended(), Some(Reason::Quiet));
}

#[test]
fn the_silence_of_a_lost_connection_is_nobodys() {
    let (_, began) = published(2, false);
    let deadline = began + Duration::from_secs(10);
    let rules = Rules { count: 0, quiet: Some(50 * MS), strict: false, most: 100, most_bytes: 1000, deadline };
    let mut collect = Collect::new(rules, began);
    collect.published(2, 100 * MS, began);
    collect.alive("b", "", began);
    assert_eq!(collect.answer("a", "", 0, 1, true, began), Verdict::Deliver);
    collect.sent_again();
    let later = began + 1000 * MS;
    run(&mut collect, began, later);
    assert_eq!(collect.ended(), None, "nobody could be heard");
    collect.published(2, 100 * MS, later);
    run(&mut collect, later, later + 49 * MS);
    assert_eq!(collect.ended(), None);
    run(&mut collect, later + 49 * MS, later + 50 * MS);
    assert_eq!(collect.ended(), Some(Reason::Quiet));
}

#[test]
fn what_was_answered_before_it_was_sent_again_is_a_duplicate_when_it_is_said_again() {
    let (mut collect, began) = published(1, false);
    assert_eq!(collect.answer("a", "", 0, 1, false, began), Verdict::Deliver);
    collect.sent_again();
    collect.published(1, 100 * MS, began);
    assert_eq!(collect.answer("a", "", 0, 1, false, began), Verdict::Duplicate);
    assert_eq!(collect.answer("a", "", 1, 1, true, began), Verdict::Deliver);
    assert_eq!((collect.ended(), collect.report().answers), (Some(Reason::All), 2));
}

#[test]
fn who_finished_before_it_was_sent_again_does_not_stand_for_who_receives_it_now() {
    let (mut collect, began) = published(2, false);
    assert_eq!(collect.answer("gone", "", 0, 1, true, began), Verdict::Deliver);
    collect.sent_again();
    collect.published(1, 100 * MS, began);
    assert_eq!(collect.ended(), None, "another one has it");
    assert_eq!(collect.answer("there", "", 0, 1, true, began), Verdict::Deliver);
    assert_eq!((collect.ended(), collect.report().answers), (Some(Reason::All), 2));
}

#[test]
fn who_finished_before_it_was_sent_again_and_leaves_it_to_another_then_is_not_waited_for() {
    let (mut again, began) = published(2, true);
    assert_eq!(again.answer("a", "a", 0, 1, true, began), Verdict::Deliver);
    again.sent_again();
    again.published(2, 100 * MS, began);
    again.declined("a", "a", began);
    assert_eq!(again.ended(), None, "the other one is");
    again.declined("b", "b", began);
    let report = again.report();
    assert_eq!((again.ended(), report.answers, report.missing), (Some(Reason::All), 1, vec![]));
    // The same for one that says that it forgot what it had answered: its answer is here.
    let (mut forgot, _) = published(2, true);
    assert_eq!(forgot.answer("a", "a", 0, 1, true, began), Verdict::Deliver);
    forgot.sent_again();
    forgot.published(1, 100 * MS, began);
    assert!(!forgot.failed("a", "a", false, began), "nobody is told of a failure");
    let report = forgot.report();
    assert_eq!((forgot.ended(), report.errors, report.missing), (Some(Reason::All), 0, vec![]));
}

#[test]
fn who_was_busy_when_it_was_first_asked_and_fails_when_it_is_asked_again_has_failed() {
    let (mut again, began) = published(2, true);
    assert!(again.failed("a", "a", true, began));
    again.sent_again();
    again.published(2, 100 * MS, began);
    assert!(!again.failed("a", "a", true, began), "it is still busy, which is known");
    again.sent_again();
    again.published(2, 100 * MS, began);
    assert!(!again.has_failed("a", false));
    assert!(again.failed("a", "a", false, began), "and this is what went wrong");
    assert!(!again.failed("a", "a", false, began) && !again.failed("a", "a", true, began), "once");
    assert_eq!((again.ended(), again.report().errors, again.report().duplicates), (None, 1, 3), "one responder failed");
    again.declined("b", "b", began);
    assert_eq!(again.ended(), Some(Reason::Failed));
}

#[test]
fn an_answer_that_was_lost_before_an_end_makes_its_responder_missing() {
    let (mut collect, now) = published(1, false);
    assert_eq!(collect.answer("a", "a", 0, 1, false, now), Verdict::Deliver);
    // It gave two, and the second did not come.
    collect.finished("a", "a", Some(2), now);
    assert_eq!(collect.ended(), None);
    collect.time(now + SILENT as u32 * MS);
    assert_eq!((collect.ended(), collect.report().missing), (Some(Reason::All), vec![("a", "a")]));
    let (mut collect, now) = published(1, false);
    // The same where the end carries an answer; and what was late makes it whole.
    assert_eq!(collect.answer("a", "a", 1, 1, true, now), Verdict::Deliver);
    assert_eq!(collect.ended(), None);
    assert_eq!(collect.answer("a", "a", 0, 1, false, now), Verdict::Deliver);
    assert_eq!((collect.ended(), collect.report().missing), (Some(Reason::All), vec![]));
}

#[test]
fn there_is_an_end_to_how_many_may_say_that_they_took_it() {
    let (mut collect, now) = published(u64::MAX, false);
    let mut taken = 0u64;
    while collect.ended().is_none() {
        collect.accepted(&format!("stranger {taken}"), "", now);
        taken += 1;
        assert!(taken < 20_000, "{taken} are kept, and more would be");
    }
    assert_eq!(collect.ended(), Some(Reason::Overflow));
    assert_eq!(collect.accepted_count(), taken - 1, "who is one too many is nobody");
}

#[test]
fn only_where_everybody_who_took_it_failed_it_has_failed() {
    let ended = |other: Step| {
        let (mut collect, began) = published(2, true);
        collect.failed("a", "", false, began);
        match other {
            Step::Failed(_) => _ = collect.failed("b", "", false, began),
            Step::Declined(_) => collect.declined("b", "", began),
            Step::End(_, n) => _ = collect.finished("b", "", n, began),
            Step::Last { seq, bytes, .. } => _ = collect.answer("b", "", seq, bytes, true, began),
            _ => _ = collect.accepted("b", "", began),
        }
        run(&mut collect, began, began + Duration::from_secs(4));
        collect.ended().expect("everybody has finished")
    };
    assert_eq!(ended(Step::Failed(1)), Reason::Failed);
    assert_eq!(ended(Step::Declined(1)), Reason::Failed, "another of its group took it, and failed");
    assert_eq!(ended(Step::End(1, Some(0))), Reason::All);
    assert_eq!(ended(Step::Last { who: 1, seq: 0, bytes: 1 }), Reason::All);
    assert_eq!(ended(Step::Accepted(1)), Reason::All, "it fell silent: who knows what it would have said");
}
