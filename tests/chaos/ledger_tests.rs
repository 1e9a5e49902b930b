//! The ledger sees what it is for: an operation that ends twice, never, too early or otherwise than it can.

use super::ledger::{Fates, Ledger, Op};
use super::oracle::Rule;
use redmux::error::Status;

#[test]
fn an_operation_ends_once() {
    let mut ledger = Ledger::default();
    let token = ledger.begin(Op::Flush, 1, 0);
    assert_eq!(ledger.open(), 1);
    assert_eq!(ledger.end(token, Status::Ok, 0), Ok(Op::Flush));
    assert_eq!(ledger.end(token, Status::Ok, 0), Err(Rule::EndedTwice));
    assert_eq!(ledger.end(77, Status::Ok, 0), Err(Rule::EndedTwice));
}

#[test]
fn an_operation_that_does_not_end_is_left() {
    let mut ledger = Ledger::default();
    ledger.begin(Op::Drain, 1, 0);
    assert_eq!(ledger.left().len(), 1);
    ledger.discard(2);
    assert_eq!(ledger.left().len(), 1);
    ledger.discard(1);
    assert_eq!(ledger.left().len(), 0);
}

#[test]
fn an_operation_ends_as_it_can() {
    for (op, status, cancelled, fits) in [
        (Op::Flush, Status::Interrupted, false, true),
        (Op::Drain, Status::Interrupted, false, false),
        (Op::Flush, Status::Internal, false, false),
        (Op::Flush, Status::Cancelled, false, false),
        (Op::Flush, Status::Cancelled, true, true),
        (Op::Publish { number: 0 }, Status::Timeout, false, false),
        (Op::Publish { number: 0 }, Status::Unknown, false, true),
    ] {
        let mut ledger = Ledger::default();
        let token = ledger.begin(op.clone(), 1, 0);
        if cancelled {
            ledger.cancelling(token);
        }
        assert_eq!(ledger.end(token, status, 10_000).is_ok(), fits, "{op:?} {status:?}");
    }
}

#[test]
fn a_timeout_does_not_come_before_its_time() {
    for (now, verdict) in [(900, Err(Rule::Outcome)), (1000, Ok(Op::Flush))] {
        let mut ledger = Ledger::default();
        let token = ledger.begin(Op::Flush, 1, 1000);
        assert_eq!(ledger.end(token, Status::Timeout, now), verdict);
    }
}

#[test]
fn a_promise_whose_message_was_answered_does_not_time_out() {
    let mut ledger = Ledger::default();
    let token = ledger.begin(Op::Promise { text: "p".into(), published: false }, 1, 0);
    ledger.kept(token);
    assert_eq!(ledger.end(token, Status::Timeout, 10_000), Err(Rule::Promise));
}

#[test]
fn what_is_said_of_a_publish_holds() {
    for (arrived, missed, status, receivers, fits) in [
        (true, false, Status::Ok, 1, true),
        (true, false, Status::Ok, 0, false),
        (false, true, Status::Ok, 1, false),
        (false, false, Status::Ok, 1, true),
        (true, false, Status::NotSent, 0, false),
        (false, true, Status::NotSent, 0, true),
        (true, false, Status::Unknown, 0, true),
        (false, true, Status::Unknown, 0, true),
    ] {
        // Whichever is known first.
        for outcome_first in [true, false] {
            let mut fates = Fates::default();
            let number = fates.begin();
            let mut verdicts = Vec::new();
            if outcome_first {
                verdicts.push(fates.outcome(number, status, receivers));
            }
            if arrived {
                verdicts.push(fates.arrived(number));
            }
            if missed {
                verdicts.push(fates.missed(number));
            }
            verdicts.push(fates.outcome(number, status, receivers));
            let all = verdicts.iter().all(Result::is_ok);
            assert_eq!(all, fits, "{arrived} {missed} {status:?} {receivers}");
        }
    }
    assert_eq!(Fates::default().arrived(0), Err(Rule::Phantom));
}
