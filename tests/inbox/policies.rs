//! What gives way when an inbox is full.

use super::*;

#[test]
fn drop_oldest_keeps_the_newest_and_says_how_many_went() {
    let inbox = Client::new().inbox(Policy::DropOldest, 1 << 20, 3);
    let pushed = push_hundreds(&inbox, 0..5);
    assert!(pushed[..3].iter().all(|pushed| *pushed == Pushed::default()));
    assert_eq!(pushed[3], Pushed { dropped: 1, slow: true, ..Pushed::default() });
    assert_eq!(pushed[4], Pushed { dropped: 1, slow: false, ..Pushed::default() });
    assert_eq!(drain(&inbox), [(DROPPED, 2), (MESSAGE, 2), (MESSAGE, 3), (MESSAGE, 4)]);
    assert_eq!(inbox.counters().dropped, 2);
}

#[test]
fn a_new_episode_of_being_slow_begins_when_the_inbox_was_emptied() {
    let inbox = Client::new().inbox(Policy::DropNewest, 1 << 20, 1);
    let slow = |inbox: &Arc<Inbox>| push_hundreds(inbox, 0..3).iter().map(|pushed| pushed.slow).collect::<Vec<_>>();
    assert_eq!(slow(&inbox), [false, true, false]);
    drain(&inbox);
    assert_eq!(slow(&inbox), [false, true, false]);
}

#[test]
fn what_gives_way_to_a_reservation_is_counted_and_told_with_the_next_push() {
    let client = Client::new();
    let inbox = client.inbox(Policy::DropOldest, 1000, 0);
    assert!(push_hundreds(&inbox, 0..10).iter().all(|pushed| *pushed == Pushed::default()));
    inbox.reserve(300).unwrap();
    let dropped = inbox.counters().dropped;
    assert!(dropped >= 3 && client.budget.dropped() == dropped, "{dropped}");
    let told = push_hundreds(&inbox, 10..12).iter().map(|pushed| pushed.slow).collect::<Vec<_>>();
    assert_eq!(told, [true, false], "once");
    assert_eq!((inbox.counters().dropped, client.budget.dropped()), (dropped + 2, dropped + 2));
    inbox.complete(&done(1), 300);
    drain(&inbox);
    assert!(push_hundreds(&inbox, 0..9).iter().all(|pushed| !pushed.slow), "and not again in the next episode");
}

#[test]
fn drop_newest_keeps_the_oldest_and_marks_the_hole_behind_them() {
    let inbox = Client::new().inbox(Policy::DropNewest, 1 << 20, 2);
    push_hundreds(&inbox, 0..5);
    assert_eq!(drain(&inbox), [(MESSAGE, 0), (MESSAGE, 1), (DROPPED, 3)]);
    push_hundreds(&inbox, 5..6);
    assert_eq!(drain(&inbox), [(MESSAGE, 5)]);
}

#[test]
fn close_reports_its_overflow_once_and_takes_no_message_after_it() {
    let client = Client::new();
    let inbox = client.inbox(Policy::Close, 1 << 20, 2);
    let overflows = push_hundreds(&inbox, 0..5).iter().map(|pushed| pushed.overflow).collect::<Vec<_>>();
    assert_eq!(overflows, [false, false, true, false, false]);
    inbox.reserve(64).unwrap();
    inbox.complete(&done(9), 64);
    assert_eq!(drain(&inbox), [(MESSAGE, 0), (MESSAGE, 1), (DROPPED, 3), (DONE, 9)]);
    push_hundreds(&inbox, 5..6);
    assert_eq!(drain(&inbox), [(DROPPED, 1)], "it has room and takes none all the same");
}

#[test]
fn pause_drops_nothing_and_says_when_it_is_full_and_when_there_is_room() {
    let client = Client::new();
    let inbox = client.inbox(Policy::Pause, 300, 0);
    let full = push_hundreds(&inbox, 0..4).iter().map(|pushed| pushed.full).collect::<Vec<_>>();
    assert_eq!(full, [false, false, true, true]);
    assert!(inbox.is_full());
    let lent = inbox.take(POLL).unwrap();
    assert_eq!(lent.records().len(), 4);
    assert!(inbox.is_full(), "what is lent counts");
    assert_eq!(client.room(), 0);
    drop(lent);
    assert!(!inbox.is_full());
    assert_eq!(client.room(), 1);
}

#[test]
fn a_reservation_that_is_given_back_makes_room_for_a_paused_socket() {
    let client = Client::new();
    let inbox = client.inbox(Policy::Pause, 300, 0);
    inbox.reserve(300).unwrap();
    inbox.push(&message(1, &[0; 136]));
    assert!(inbox.is_full());
    inbox.unreserve(201);
    assert!(!inbox.is_full());
    assert_eq!(client.room(), 1);
    inbox.push(&message(1, &[0; 36]));
    assert!(inbox.is_full());
    inbox.complete(&done(1), 99);
    assert_eq!(client.room(), 2);
}

#[test]
fn a_reservation_alone_never_pauses_the_socket_that_what_it_is_for_comes_through() {
    let client = Client::new();
    let inbox = client.inbox(Policy::Pause, 300, 0);
    inbox.reserve(4096).unwrap();
    assert!(!inbox.is_full());
    assert!(inbox.push(&message(1, b"x")).full, "somebody can take this one");
    let lent = inbox.take(POLL).unwrap();
    assert!(inbox.is_full());
    drop(lent);
    assert!(!inbox.is_full());
}
