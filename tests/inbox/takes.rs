//! Taking blocks, and how an inbox ends.

use super::*;

/// Runs `f` in a thread that is about to wait in `take`, and returns when it is inside.
fn waiting(inbox: &Arc<Inbox>) -> thread::JoinHandle<Result<Vec<(u16, u64)>, Status>> {
    let taker = Arc::clone(inbox);
    let handle = thread::spawn(move || taker.take(None).map(|lent| said(lent.records())));
    // A poll from here is BUSY exactly while that thread waits.
    while !matches!(inbox.take(POLL), Err(Status::Busy)) {
        thread::yield_now();
    }
    handle
}

#[test]
fn a_poll_takes_what_is_there_and_does_not_wait() {
    let inbox = Client::new().inbox(Policy::DropOldest, 1 << 20, 0);
    assert_eq!(inbox.take(POLL).unwrap_err(), Status::Timeout);
    inbox.push(&hundred(1));
    assert_eq!(drain(&inbox), [(MESSAGE, 1)]);
}

#[test]
fn a_take_times_out() {
    let inbox = Client::new().inbox(Policy::DropOldest, 1 << 20, 0);
    assert_eq!(inbox.take(Some(Duration::from_millis(1))).unwrap_err(), Status::Timeout);
}

#[test]
fn a_waiting_take_gets_what_comes_and_others_are_told_busy_meanwhile() {
    let inbox = Client::new().inbox(Policy::DropOldest, 1 << 20, 0);
    let taker = waiting(&inbox);
    inbox.push(&hundred(1));
    assert_eq!(taker.join().unwrap().unwrap(), [(MESSAGE, 1)]);
    assert_eq!(inbox.take(POLL).unwrap_err(), Status::Timeout, "not busy any more");
}

#[test]
fn a_block_says_how_many_records_stay_behind() {
    let inbox = Client::new().inbox(Policy::DropOldest, 1 << 20, 0);
    push_hundreds(&inbox, 0..1500);
    let (first, second) = (inbox.take(POLL).unwrap(), inbox.take(POLL).unwrap());
    assert_eq!((first.records().len(), first.more()), (1024, 476));
    assert_eq!((second.records().len(), second.more()), (476, 0));
}

#[test]
fn an_ended_inbox_yields_what_it_holds_and_only_then_is_closed() {
    let inbox = Client::new().inbox(Policy::DropOldest, 1 << 20, 0);
    push_hundreds(&inbox, 0..1500);
    inbox.end();
    assert_eq!(inbox.push(&hundred(9)), Pushed::default());
    assert_eq!(inbox.reserve(1), Err(Status::Closed));
    assert_eq!(drain(&inbox).len(), 1500);
    assert_eq!(inbox.take(None).unwrap_err(), Status::Closed);
}

#[test]
fn ending_and_closing_wake_a_waiting_take() {
    let inbox = Client::new().inbox(Policy::DropOldest, 1 << 20, 0);
    let taker = waiting(&inbox);
    inbox.end();
    assert_eq!(taker.join().unwrap(), Err(Status::Closed));
    let inbox = Client::new().inbox(Policy::DropOldest, 1 << 20, 0);
    let taker = waiting(&inbox);
    inbox.close(None).unwrap();
    assert_eq!(taker.join().unwrap(), Err(Status::Closed));
}

#[test]
fn a_lent_block_outlives_its_inbox_and_its_client() {
    let client = Client::new();
    let inbox = client.inbox(Policy::DropOldest, 1 << 20, 0);
    inbox.push(&message(1, b"hello"));
    let lent = inbox.take(POLL).unwrap();
    inbox.close(None).unwrap();
    let budget = Arc::clone(&client.budget);
    drop((inbox, client));
    assert_eq!(lent.records()[0].payload(lent.data()), b"hello");
    assert_eq!(budget.used(), 69);
    drop(lent);
    assert_eq!(budget.used(), 0);
}

#[test]
fn closing_discards_what_waits() {
    let client = Client::new();
    let inbox = client.inbox(Policy::DropOldest, 1 << 20, 0);
    push_hundreds(&inbox, 0..10);
    inbox.close(None).unwrap();
    inbox.close(None).unwrap();
    assert_eq!(client.budget.used(), 0);
    assert_eq!(inbox.take(POLL).unwrap_err(), Status::Closed);
}
