//! Room that is set aside for completions.

use super::*;

#[test]
fn what_is_reserved_is_never_dropped_and_a_completion_always_fits() {
    let client = Client::new();
    let inbox = client.inbox(Policy::DropOldest, 1000, 0);
    for _ in 0..5 {
        inbox.reserve(64).unwrap();
    }
    push_hundreds(&inbox, 0..100);
    for number in 0..5 {
        assert_eq!(inbox.complete(&done(number), 64).dropped, 0);
        push_hundreds(&inbox, 0..100);
    }
    let completions: Vec<_> = drain(&inbox).into_iter().filter(|said| said.0 == DONE).collect();
    assert_eq!(completions, [0, 1, 2, 3, 4].map(|number| (DONE, number)));
    assert_eq!(client.budget.used(), 0);
}

#[test]
fn reserving_more_than_there_is_answers_full_until_room_is_given_back() {
    let client = Client::with_budget(500);
    let inbox = client.inbox(Policy::DropOldest, 300, 0);
    inbox.reserve(200).unwrap();
    assert_eq!(inbox.reserve(101), Err(Status::Full));
    inbox.reserve(100).unwrap();
    let other = client.inbox(Policy::DropOldest, 300, 0);
    other.reserve(200).unwrap();
    assert_eq!(other.reserve(1), Err(Status::Full), "the client's");
    inbox.unreserve(100);
    other.reserve(1).unwrap();
    inbox.unreserve(200);
    other.unreserve(201);
    assert_eq!(client.budget.used(), 0);
}

#[test]
fn with_drop_oldest_messages_give_way_to_a_reservation_and_are_marked() {
    let inbox = Client::new().inbox(Policy::DropOldest, 1000, 0);
    push_hundreds(&inbox, 0..10);
    inbox.reserve(300).unwrap();
    assert!(inbox.counters().bytes <= 1000);
    let all = drain(&inbox);
    let (kind, dropped) = all[0];
    assert_eq!(kind, DROPPED);
    assert_eq!(all.len() as u64, 11 - dropped);
    assert_eq!(inbox.counters().dropped, dropped);
}

#[test]
fn no_message_goes_for_a_reservation_that_fails() {
    let inbox = Client::new().inbox(Policy::DropOldest, 1000, 0);
    push_hundreds(&inbox, 0..10);
    assert_eq!(inbox.reserve(5000), Err(Status::Full));
    assert_eq!(inbox.counters().dropped, 0);
    assert_eq!(drain(&inbox).len(), 10);
}

#[test]
fn with_drop_newest_messages_do_not_give_way() {
    let inbox = Client::new().inbox(Policy::DropNewest, 1000, 0);
    push_hundreds(&inbox, 0..10);
    assert_eq!(inbox.reserve(64), Err(Status::Full));
    drain(&inbox);
    inbox.reserve(64).unwrap();
}

#[test]
fn an_empty_inbox_reserves_any_one_record() {
    let inbox = Client::new().inbox(Policy::DropOldest, 100, 0);
    inbox.reserve(5000).unwrap();
    assert_eq!(inbox.reserve(1), Err(Status::Full));
    inbox.complete(&done(1), 5000);
    assert_eq!(drain(&inbox), [(DONE, 1)]);
}

#[test]
fn completions_that_wait_are_not_taken_for_room() {
    let inbox = Client::new().inbox(Policy::DropOldest, 10_000, 0);
    let large = vec![0; 5000];
    let mut accepted = 0;
    for number in 0..10 {
        if inbox.reserve(64).is_ok() && inbox.fits(5064, 64) {
            inbox.complete(&RecordIn { data: &large, ..done(number) }, 64);
            accepted += 1;
        }
    }
    assert_eq!(accepted, 1);
    push_hundreds(&inbox, 0..30);
    assert!(!inbox.fits(5064, 0), "messages give way, and the completion does not");
    assert!(inbox.fits(4000, 0), "messages give way");
}

#[test]
fn a_closed_inbox_reserves_nothing_and_takes_late_completions_without_harm() {
    let client = Client::new();
    let inbox = client.inbox(Policy::DropOldest, 1000, 0);
    inbox.reserve(64).unwrap();
    inbox.reserve(64).unwrap();
    inbox.close(None).unwrap();
    assert_eq!(inbox.reserve(64), Err(Status::Closed));
    inbox.complete(&done(1), 64);
    inbox.unreserve(64);
    assert_eq!((client.budget.used(), inbox.counters().bytes), (0, 0));
}
