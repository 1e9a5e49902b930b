//! The oracle sees what it is for: each rule with a history that breaks it, beside one that does not.

use super::oracle::{CHANNELS, Mask, Rule, Source, State, Truth, count};

/// Everything below `next` was published; `unanswered` may not have been.
struct Known {
    next: u64,
    unanswered: (u64, u64),
}

impl Truth for Known {
    fn next(&self, _: usize) -> u64 {
        self.next
    }

    fn unanswered(&self, _: usize, from: u64, to: u64, mask: Mask) -> u64 {
        count(from.max(self.unanswered.0), to.min(self.unanswered.1), mask)
    }
}

const ALL: Known = Known { next: 1_000_000, unanswered: (0, 0) };

fn known(next: u64) -> Known {
    Known { next, ..ALL }
}

/// Subscribed to three channels, of which the first two are active from number 0 on.
fn source() -> Source {
    let names: Vec<(String, Mask)> = (0..3).map(|at| (format!("a:{at:02}"), 1 << at)).collect();
    let mut source = Source::new("test", 0, &names);
    for (at, (name, _)) in names.iter().enumerate().take(2) {
        source.adding(at);
        source.active_name(name, &known(0)).unwrap();
        source.ended(at, true, true, &known(0));
    }
    source
}

fn hear(source: &mut Source, numbers: &[u64]) -> Result<(), Rule> {
    numbers.iter().try_for_each(|&number| source.message(number, &ALL))
}

#[test]
fn what_comes_in_order_is_well() {
    assert_eq!(hear(&mut source(), &[0, 1, 32, 33, 64]), Ok(()));
}

#[test]
fn a_message_that_is_missing_is_seen() {
    assert_eq!(hear(&mut source(), &[0, 1, 33]), Err(Rule::Missing { must: 1, dropped: 0 }));
    let mut source = source();
    hear(&mut source, &[0, 1, 32]).unwrap();
    assert_eq!(source.barrier(33, &ALL), Ok(()));
    assert_eq!(source.barrier(34, &ALL), Err(Rule::Missing { must: 1, dropped: 0 }));
}

#[test]
fn a_message_that_comes_twice_or_late_is_seen() {
    assert_eq!(hear(&mut source(), &[0, 1, 1]), Err(Rule::Twice));
    assert_eq!(hear(&mut source(), &[0, 1, 32, 1]), Err(Rule::Order));
}

#[test]
fn a_message_that_nobody_sent_is_seen() {
    assert_eq!(source().message(32, &known(32)), Err(Rule::Phantom));
}

#[test]
fn a_drop_is_counted_exactly() {
    for (dropped, verdict) in [
        (1, Err(Rule::Missing { must: 2, dropped: 1 })),
        (2, Ok(())),
        (3, Err(Rule::Overcounted { may: 2, dropped: 3 })),
    ] {
        let mut source = source();
        hear(&mut source, &[0, 1]).unwrap();
        source.dropped(dropped).unwrap();
        assert_eq!(hear(&mut source, &[64]), verdict);
    }
}

#[test]
fn a_lost_link_excuses_what_was_published_before_active_and_nothing_behind_it() {
    let mut source = source();
    hear(&mut source, &[0, 1]).unwrap();
    source.lost(1).unwrap();
    source.active(2, &known(65)).unwrap();
    assert_eq!(hear(&mut source, &[65, 96]), Ok(()));
    assert_eq!(hear(&mut source, &[128]), Err(Rule::Missing { must: 1, dropped: 0 }));
    let mut late = self::source();
    hear(&mut late, &[0, 1]).unwrap();
    late.lost(1).unwrap();
    late.active(2, &known(65)).unwrap();
    assert_eq!(hear(&mut late, &[96]), Err(Rule::Missing { must: 1, dropped: 0 }));
}

#[test]
fn a_channel_that_came_back_before_active_has_no_further_excuse() {
    let mut source = source();
    hear(&mut source, &[0]).unwrap();
    source.lost(1).unwrap();
    assert_eq!(hear(&mut source, &[64, 128]), Err(Rule::Missing { must: 1, dropped: 0 }));
}

#[test]
fn a_publish_that_nobody_answered_may_be_missing_and_may_come() {
    let doubtful = Known { unanswered: (32, 40), ..ALL };
    for numbers in [&[0, 1, 64][..], &[0, 1, 32, 64], &[0, 1, 33, 64]] {
        let mut source = source();
        assert_eq!(numbers.iter().try_for_each(|&number| source.message(number, &doubtful)), Ok(()), "{numbers:?}");
    }
    let mut source = source();
    hear(&mut source, &[0]).unwrap();
    assert_eq!(source.message(32, &doubtful), Err(Rule::Missing { must: 1, dropped: 0 }));
}

#[test]
fn nothing_comes_before_active_or_after_the_removal_is_done() {
    assert_eq!(hear(&mut source(), &[0, 1, 2]), Err(Rule::Unwanted));
    let mut source = source();
    hear(&mut source, &[0, 1]).unwrap();
    source.adding(2);
    assert_eq!(hear(&mut source, &[2]), Err(Rule::BeforeActive));
    source.active_name("a:02", &known(34)).unwrap();
    source.ended(2, true, true, &ALL);
    assert_eq!(hear(&mut source, &[32, 33, 34]), Ok(()));
    source.removing(2);
    assert_eq!(hear(&mut source, &[64, 65, 66]), Ok(()));
    source.ended(2, false, true, &ALL);
    assert_eq!(hear(&mut source, &[96, 97, 98]), Err(Rule::Unwanted));
}

#[test]
fn a_refused_name_is_silent_until_it_is_active() {
    let mut source = source();
    source.refused("a:01").unwrap();
    assert_eq!(hear(&mut source, &[1]), Err(Rule::BeforeActive));
    assert_eq!(source.refused("b:01"), Err(Rule::Stranger));
    assert_eq!(source.whole(), Err(Rule::NotWhole));
}

#[test]
fn a_name_that_was_refused_while_it_flapped_is_owed_only_from_its_own_active() {
    let mut source = source();
    source.removing(1);
    source.adding(1);
    source.refused("a:01").unwrap();
    source.ended(1, false, true, &ALL);
    source.ended(1, true, false, &ALL);
    source.lost(1).unwrap();
    source.active(2, &known(32)).unwrap();
    assert_eq!(hear(&mut source, &[32, 64]), Ok(()));
    source.active_name("a:01", &known(65)).unwrap();
    assert_eq!(hear(&mut source, &[96]), Err(Rule::Missing { must: 1, dropped: 0 }));
}

#[test]
fn active_needs_a_lost_and_a_higher_generation() {
    assert_eq!(source().active(1, &ALL), Err(Rule::ActiveWithoutLost));
    let mut source = source();
    for (generation, verdict) in [(2, Ok(())), (2, Err(Rule::Generation))] {
        source.lost(1).unwrap();
        assert_eq!(source.active(generation, &ALL), verdict);
    }
}

#[test]
fn a_stop_without_a_word_excuses_until_the_generation_that_follows_it() {
    let mut source = source();
    source.stopping();
    source.active(4, &known(32)).unwrap();
    source.restarted(5, &known(64));
    assert_eq!(source.names[0].state, State::Fuzzy);
    source.active(5, &known(64)).unwrap();
    assert_eq!(hear(&mut source, &[64, 96]), Err(Rule::Missing { must: 1, dropped: 0 }));
}

#[test]
fn a_name_refused_in_a_stop_is_owed_again_once_its_own_active_came() {
    for active in [true, false] {
        let mut source = source();
        source.stopping();
        source.refused("a:01").unwrap();
        if active {
            source.active_name("a:01", &known(32)).unwrap();
        }
        source.active(5, &known(64)).unwrap();
        source.restarted(5, &known(64));
        assert_eq!(source.names[1].state, if active { State::On { from: 64 } } else { State::Fuzzy });
    }
}

#[test]
fn closed_is_the_last_record() {
    let mut source = source();
    source.closing();
    source.close(&ALL).unwrap();
    assert_eq!(hear(&mut source, &[0]), Err(Rule::AfterClosed));
    assert_eq!(source.dropped(1), Err(Rule::AfterClosed));
    assert_eq!(source.close(&ALL), Err(Rule::AfterClosed));
}

#[test]
fn numbers_are_counted_by_channel() {
    for (from, to, mask) in [(0, 0, 1), (0, 100, 1), (5, 69, 0b1010_0000), (31, 33, 1 << 31 | 1), (7, 1000, Mask::MAX)]
    {
        let slow = (from..to).filter(|number| mask >> (number % CHANNELS) & 1 == 1).count() as u64;
        assert_eq!(count(from, to, mask), slow, "{from}..{to} {mask:b}");
    }
}
