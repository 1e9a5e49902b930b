//! The ready list and its descriptor.

use super::*;

fn readable(ready: &Ready) -> bool {
    let mut poll = libc::pollfd { fd: ready.fd().unwrap(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    #[expect(unsafe_code, reason = "poll(2) is what a host calls")]
    let count = unsafe { libc::poll(&mut poll, 1, 0) };
    count == 1
}

fn poll(ready: &Ready) -> Result<usize, Status> {
    ready.wait(POLL, 100).map(|popped| popped.len())
}

#[test]
fn an_inbox_enters_once_however_much_arrives() {
    let client = Client::new();
    let inbox = client.inbox(Policy::DropOldest, 1 << 20, 0);
    push_hundreds(&inbox, 0..10);
    let popped = client.ready.wait(POLL, 100).unwrap();
    assert_eq!(popped.len(), 1);
    assert!(Arc::ptr_eq(&popped[0], &inbox));
    assert_eq!(poll(&client.ready), Err(Status::Timeout));
}

#[test]
fn an_inbox_enters_again_when_a_take_leaves_records_behind() {
    let client = Client::new();
    let inbox = client.inbox(Policy::DropOldest, 1 << 20, 0);
    push_hundreds(&inbox, 0..2000);
    for _ in 0..2 {
        assert_eq!(poll(&client.ready), Ok(1));
        inbox.take(POLL).unwrap();
    }
    assert_eq!(poll(&client.ready), Err(Status::Timeout));
}

#[test]
fn a_popped_inbox_may_have_been_emptied_meanwhile() {
    let client = Client::new();
    let inbox = client.inbox(Policy::DropOldest, 1 << 20, 0);
    inbox.push(&hundred(1));
    drain(&inbox);
    assert_eq!(poll(&client.ready), Ok(1));
    assert_eq!(inbox.take(POLL).unwrap_err(), Status::Timeout);
}

#[test]
fn the_descriptor_is_readable_exactly_while_the_list_is_not_empty() {
    let client = Client::new();
    let inboxes: Vec<_> = (0..3).map(|_| client.inbox(Policy::DropOldest, 1 << 20, 0)).collect();
    inboxes[0].push(&hundred(1));
    assert!(readable(&client.ready), "made while the list had one");
    inboxes[1].push(&hundred(1));
    inboxes[2].push(&hundred(1));
    assert_eq!(client.ready.wait(None, 2).unwrap().len(), 2);
    assert!(readable(&client.ready));
    assert_eq!(client.ready.wait(None, 2).unwrap().len(), 1);
    assert!(!readable(&client.ready));
    client.ready.wake();
    assert!(!readable(&client.ready), "a wake is for a wait");
    inboxes[0].push(&hundred(2));
    assert!(readable(&client.ready));
    client.ready.clear();
    assert!(readable(&client.ready), "who watches a dup, and comes late, finds out that the client has ended");
}

#[test]
fn a_look_at_a_readable_descriptor_finds_something_whatever_arrives_beside_it() {
    const ROUNDS: usize = 20_000;
    let client = Client::new();
    let inbox = client.inbox(Policy::DropOldest, 1 << 20, 0);
    assert!(!readable(&client.ready));
    let (heard, hear) = channel();
    let pusher = thread::spawn({
        let inbox = Arc::clone(&inbox);
        // The next one comes while the one before is being looked for.
        move || {
            (0..ROUNDS).for_each(|_| {
                inbox.push(&hundred(1));
                hear.recv().unwrap()
            })
        }
    });
    for round in 0..ROUNDS {
        while !readable(&client.ready) {
            std::hint::spin_loop();
        }
        assert_eq!(poll(&client.ready), Ok(1), "round {round}");
        heard.send(()).unwrap();
        drain(&inbox);
    }
    pusher.join().unwrap();
}

#[test]
fn a_wake_makes_one_wait_return_empty() {
    let ready = Arc::new(Ready::default());
    ready.wake();
    assert_eq!(ready.wait(None, 1).unwrap().len(), 0);
    assert_eq!(poll(&ready), Err(Status::Timeout));
    let waiter = Arc::clone(&ready);
    let (inside, is_inside) = channel();
    let handle = thread::spawn(move || {
        inside.send(()).unwrap();
        waiter.wait(None, 1).map(|popped| popped.len())
    });
    is_inside.recv().unwrap();
    ready.wake();
    assert_eq!(handle.join().unwrap(), Ok(0));
}

#[test]
fn a_consumer_that_takes_once_each_time_it_is_named_reads_everything_and_then_the_end() {
    let client = Client::new();
    let inbox = client.inbox(Policy::DropOldest, 1 << 20, 0);
    push_hundreds(&inbox, 0..2000);
    inbox.end();
    client.ready.close();
    let mut read = 0;
    let mut closed = false;
    loop {
        match client.ready.wait(None, 10) {
            Ok(popped) => popped.iter().for_each(|inbox| match inbox.take(POLL) {
                Ok(lent) => read += lent.records().len(),
                Err(status) => closed = status == Status::Closed,
            }),
            Err(status) => break assert_eq!(status, Status::Closed),
        }
    }
    assert_eq!((read, closed), (2000, true));
}

#[test]
fn a_closed_inbox_is_named_once_to_whoever_waits() {
    let client = Client::new();
    assert_eq!(poll(&client.ready), Err(Status::Timeout));
    let inbox = client.inbox(Policy::DropOldest, 1 << 20, 0);
    inbox.close(None).unwrap();
    assert_eq!(poll(&client.ready), Ok(1));
    assert_eq!(inbox.take(POLL).unwrap_err(), Status::Closed);
    assert_eq!(poll(&client.ready), Err(Status::Timeout));
}

#[test]
fn a_closed_inbox_leaves_nothing_behind_where_nobody_waits_for_the_list() {
    let client = Client::new();
    let inbox = client.inbox(Policy::DropOldest, 1 << 20, 0);
    push_hundreds(&inbox, 0..2000);
    inbox.take(POLL).unwrap();
    inbox.close(None).unwrap();
    let weak = Arc::downgrade(&inbox);
    drop(inbox);
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_cleared_list_holds_no_inbox_alive() {
    let client = Client::new();
    let inbox = client.inbox(Policy::DropOldest, 1 << 20, 0);
    push_hundreds(&inbox, 0..2000);
    client.ready.clear();
    inbox.end();
    inbox.take(POLL).unwrap();
    assert_eq!(client.ready.wait(None, 1).unwrap_err(), Status::Closed);
    let (inbox, ready) = (Arc::downgrade(&{ inbox }), Arc::downgrade(&client.ready));
    drop(client);
    assert!(inbox.upgrade().is_none() && ready.upgrade().is_none());
}
