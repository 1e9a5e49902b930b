//! The inbox from outside: policies, budgets, reservations, takers, the ready list and callbacks.
//!
//! Threads meet at events, never at sleeps; a limit of time appears only where running out of it is what is tested.
#![cfg(not(redmux_model))]

use redmux::error::Status;
use redmux::inbox::dispatch::{Dispatcher, Sink, inside_callback};
use redmux::inbox::inbox::{Config, Policy};
use redmux::inbox::queue::Wave;
use redmux::inbox::ready::Ready;
use redmux::inbox::{Budget, Inbox, Kind, Lent, Pushed, Record, RecordIn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const POLL: Option<Duration> = Some(Duration::ZERO);

/// A client's part: what its inboxes share.
struct Client {
    budget: Arc<Budget>,
    ready: Arc<Ready>,
    room: Arc<AtomicUsize>,
}

impl Client {
    fn new() -> Client {
        Client::with_budget(1 << 30)
    }

    fn with_budget(bytes: usize) -> Client {
        Client { budget: Arc::new(Budget::new(bytes)), ready: Arc::default(), room: Arc::default() }
    }

    fn inbox(&self, policy: Policy, bytes: usize, records: u64) -> Arc<Inbox> {
        let room = Arc::clone(&self.room);
        let on_room = move || {
            room.fetch_add(1, Ordering::SeqCst);
        };
        let config = Config { bytes, records, policy };
        Inbox::by_take(1, config, Arc::clone(&self.budget), Arc::clone(&self.ready), on_room)
    }

    fn callback(&self, dispatcher: &Arc<Dispatcher>, sink: impl Sink + 'static) -> Arc<Inbox> {
        let config = Config { bytes: 1 << 20, records: 0, policy: Policy::DropOldest };
        let inbox =
            Inbox::by_callback(2, config, Arc::clone(&self.budget), Arc::clone(dispatcher), Box::new(sink), || ());
        dispatcher.start().unwrap();
        inbox
    }

    fn room(&self) -> usize {
        self.room.load(Ordering::SeqCst)
    }
}

fn message<'a>(number: u64, data: &'a [u8]) -> RecordIn<'a> {
    RecordIn { number, data, ..RecordIn::new(Kind::Message, 1, 7) }
}

fn done(number: u64) -> RecordIn<'static> {
    RecordIn { number, ..RecordIn::new(Kind::Done, 1, 7) }
}

/// A message that costs 100 bytes.
fn hundred(number: u64) -> RecordIn<'static> {
    message(number, &[0; 36])
}

fn push_hundreds(inbox: &Arc<Inbox>, numbers: std::ops::Range<u64>) -> Vec<Pushed> {
    numbers.map(|number| inbox.push(&hundred(number))).collect()
}

fn said(records: &[Record]) -> Vec<(u16, u64)> {
    records.iter().map(|record| (record.kind, record.number)).collect()
}

fn drain(inbox: &Arc<Inbox>) -> Vec<(u16, u64)> {
    let mut all = Vec::new();
    while let Ok(lent) = inbox.take(POLL) {
        all.extend(said(lent.records()));
    }
    all
}

const MESSAGE: u16 = Kind::Message as u16;
const DROPPED: u16 = Kind::Dropped as u16;
const DONE: u16 = Kind::Done as u16;

mod policies {
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
}

mod budgets {
    use super::*;

    #[test]
    fn five_thousand_records_are_exactly_five_thousand_messages() {
        let inbox = Client::new().inbox(Policy::DropOldest, 64 << 20, 5000);
        assert!(push_hundreds(&inbox, 0..5000).iter().all(|pushed| pushed.dropped == 0));
        assert_eq!(inbox.push(&hundred(5000)).dropped, 1);
        let all = drain(&inbox);
        assert_eq!(all[0], (DROPPED, 1));
        assert!(all[1..].iter().copied().eq((1..=5000).map(|number| (MESSAGE, number))));
    }

    #[test]
    fn lent_blocks_count_until_they_are_given_back() {
        let client = Client::new();
        let inbox = client.inbox(Policy::DropNewest, 300, 0);
        push_hundreds(&inbox, 0..2);
        let lent = inbox.take(POLL).unwrap();
        assert_eq!((inbox.counters().bytes, client.budget.used()), (200, 200));
        let dropped: u64 = push_hundreds(&inbox, 2..5).iter().map(|pushed| pushed.dropped).sum();
        assert_eq!(dropped, 2);
        drop(lent);
        assert_eq!(client.budget.used() as u64, inbox.counters().bytes);
        assert_eq!(drain(&inbox), [(MESSAGE, 2), (DROPPED, 2)]);
        assert_eq!(client.budget.used(), 0);
    }

    #[test]
    fn lent_messages_count_for_the_limit_of_records_too() {
        let inbox = Client::new().inbox(Policy::DropNewest, 1 << 20, 2);
        push_hundreds(&inbox, 0..1);
        let lent = inbox.take(POLL).unwrap();
        push_hundreds(&inbox, 1..4);
        drop(lent);
        assert_eq!(drain(&inbox), [(MESSAGE, 1), (DROPPED, 2)]);
    }

    #[test]
    fn an_empty_inbox_accepts_any_one_record_with_every_policy() {
        for policy in [Policy::DropOldest, Policy::DropNewest, Policy::Close, Policy::Pause] {
            let inbox = Client::with_budget(50).inbox(policy, 100, 0);
            let pushed = inbox.push(&message(1, &[0; 5000]));
            assert_eq!((pushed.dropped, pushed.overflow), (0, false));
            let lent = inbox.take(POLL).unwrap();
            assert_eq!(lent.records()[0].payload(lent.data()).len(), 5000);
        }
    }

    #[test]
    fn the_budget_of_the_client_is_over_all_its_inboxes_and_the_receiving_one_pays() {
        let client = Client::with_budget(500);
        let (a, b) = (client.inbox(Policy::DropOldest, 1000, 0), client.inbox(Policy::DropNewest, 1000, 0));
        push_hundreds(&a, 0..4);
        let dropped = push_hundreds(&b, 0..3).iter().map(|pushed| pushed.dropped).collect::<Vec<_>>();
        assert_eq!(dropped, [0, 1, 1]);
        assert_eq!(drain(&b), [(MESSAGE, 0), (DROPPED, 2)]);
        assert_eq!(drain(&a).len(), 4);
        assert_eq!(client.budget.used(), 0);
    }

    #[test]
    fn a_wave_counts_its_own_messages_in_the_budget_of_the_client() {
        let client = Client::with_budget(500);
        let (a, b) = (client.inbox(Policy::DropNewest, 10_000, 0), client.inbox(Policy::DropNewest, 10_000, 0));
        push_hundreds(&a, 0..2);
        let record = |number| Record { kind: MESSAGE, number, data_len: 36, ..Record::default() };
        let mut records: Vec<_> = (0..10).map(record).collect();
        let pushed = b.push_wave(&mut records, 0, Wave::Bytes(&[0; 36]));
        assert_eq!(pushed.dropped, 7);
        assert_eq!(drain(&b), [(MESSAGE, 0), (MESSAGE, 1), (MESSAGE, 2), (DROPPED, 7)]);
    }

    #[test]
    fn after_a_burst_every_byte_is_back() {
        let client = Client::with_budget(300_000);
        let inbox = client.inbox(Policy::DropOldest, 200_000, 0);
        push_hundreds(&inbox, 0..10_000);
        inbox.push(&message(1, &[0; 250_000]));
        assert!(inbox.counters().peak >= 200_000);
        let blocks: Vec<_> = std::iter::from_fn(|| inbox.take(POLL).ok()).collect();
        assert!(client.budget.used() > 0);
        drop(blocks);
        let counters = inbox.counters();
        assert_eq!((client.budget.used(), counters.bytes, counters.waiting), (0, 0, 0));
        assert_eq!(counters.received, 10_001);
        assert_eq!(counters.received, counters.dropped + 1);
    }

    #[test]
    fn a_pool_keeps_few_buffers_and_forgets_them_when_asked() {
        use redmux::inbox::{Buffer, BufferPool};
        let pool = Arc::new(BufferPool::default());
        let addresses = |buffers: &[Arc<Buffer>]| buffers.iter().map(|b| b.bytes().as_ptr()).collect::<Vec<_>>();
        let buffers: Vec<_> = (0..50).map(|_| BufferPool::get(&pool)).collect();
        let first = addresses(&buffers);
        drop(buffers);
        let again = addresses(&[BufferPool::get(&pool)]);
        assert!(first.contains(&again[0]), "used again");
        pool.clear();
        assert_eq!(Arc::strong_count(&pool), 1, "no buffer holds it");
    }
}

mod reservations {
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
}

mod takes {
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
}

mod ready {
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
}

mod callbacks {
    use super::*;
    use std::sync::OnceLock;

    #[derive(Debug, PartialEq, Eq)]
    enum Seen {
        /// Kind and number of each record.
        Block(Vec<(u16, u64)>),
        Dropped,
    }

    type Answer = Box<dyn FnMut(&Lent) -> i32 + Send>;

    /// Tells what it was given, and answers as it was told to.
    struct Probe {
        seen: Sender<Seen>,
        answer: Answer,
        running: Arc<AtomicUsize>,
    }

    impl Sink for Probe {
        fn deliver(&mut self, block: &Lent) -> i32 {
            assert!(inside_callback());
            self.running.fetch_add(1, Ordering::SeqCst);
            self.seen.send(Seen::Block(said(block.records()))).unwrap();
            let code = (self.answer)(block);
            assert_eq!(self.running.fetch_sub(1, Ordering::SeqCst), 1, "one at a time");
            code
        }
    }

    impl Drop for Probe {
        fn drop(&mut self) {
            let _ = self.seen.send(Seen::Dropped);
        }
    }

    fn probe(answer: impl FnMut(&Lent) -> i32 + Send + 'static) -> (Probe, Receiver<Seen>) {
        let (seen, sees) = channel();
        (Probe { seen, answer: Box::new(answer), running: Arc::default() }, sees)
    }

    /// A probe that stands still in each call until it is let go.
    fn gated() -> (Probe, Receiver<Seen>, Sender<()>) {
        let (go, goes) = channel();
        let (probe, sees) = probe(move |_| goes.recv().map_or(1, |()| 0));
        (probe, sees, go)
    }

    fn dispatcher(threads: usize) -> (Arc<Dispatcher>, Arc<Mutex<Vec<i32>>>) {
        let errors = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&errors);
        let dispatcher = Dispatcher::new(threads, move |inbox, code| {
            assert_eq!(inbox, 2);
            heard.lock().unwrap().push(code);
        });
        (Arc::new(dispatcher), errors)
    }

    fn one(number: u64) -> Seen {
        Seen::Block(vec![(MESSAGE, number)])
    }

    /// Waits until another thread has closed it.
    fn closing(inbox: &Arc<Inbox>) {
        while inbox.reserve(0) != Err(Status::Closed) {
            thread::yield_now();
        }
    }

    #[test]
    fn one_inbox_is_served_in_order_and_one_call_at_a_time_by_several_threads() {
        let client = Client::new();
        let (dispatcher, _) = dispatcher(4);
        let (probe, sees) = probe(|_| 0);
        let inbox = client.callback(&dispatcher, probe);
        push_hundreds(&inbox, 0..5000);
        inbox.end();
        inbox.wait_quiet(None).unwrap();
        dispatcher.end();
        let mut all: Vec<_> = sees.iter().collect();
        assert_eq!(all.pop(), Some(Seen::Dropped));
        let numbers = all.into_iter().flat_map(|seen| match seen {
            Seen::Block(records) => records,
            Seen::Dropped => panic!("dropped twice, or before the last call"),
        });
        assert!(numbers.eq((0..5000).map(|number| (MESSAGE, number))));
        assert_eq!(client.budget.used(), 0);
    }

    #[test]
    fn two_threads_serve_two_inboxes_at_once() {
        let client = Client::new();
        let (dispatcher, _) = dispatcher(2);
        let ((a, sees_a, go_a), (b, sees_b, go_b)) = (gated(), gated());
        let (a, b) = (client.callback(&dispatcher, a), client.callback(&dispatcher, b));
        a.push(&hundred(1));
        b.push(&hundred(2));
        assert_eq!(sees_a.recv().unwrap(), one(1));
        assert_eq!(sees_b.recv().unwrap(), one(2));
        go_a.send(()).unwrap();
        go_b.send(()).unwrap();
        a.close(None).unwrap();
        b.close(None).unwrap();
        dispatcher.end();
    }

    #[test]
    fn one_thread_never_runs_two_callbacks_at_once() {
        let client = Client::new();
        let (dispatcher, _) = dispatcher(1);
        let (a, sees_a, go) = gated();
        let running = Arc::clone(&a.running);
        let (b, sees_b) = probe(move |_| running.load(Ordering::SeqCst) as i32);
        let (a, b) = (client.callback(&dispatcher, a), client.callback(&dispatcher, b));
        a.push(&hundred(1));
        assert_eq!(sees_a.recv().unwrap(), one(1));
        b.push(&hundred(2));
        assert!(sees_b.try_recv().is_err());
        go.send(()).unwrap();
        assert_eq!(sees_b.recv().unwrap(), one(2));
        a.close(None).unwrap();
        b.close(None).unwrap();
        dispatcher.end();
    }

    #[test]
    fn nonzero_is_reported_and_the_next_block_is_delivered() {
        let client = Client::new();
        let (dispatcher, errors) = dispatcher(1);
        let (probe, sees) = probe(|block| block.records()[0].number as i32);
        let inbox = client.callback(&dispatcher, probe);
        for number in [5, 0, 6] {
            inbox.push(&hundred(number));
            assert_eq!(sees.recv().unwrap(), one(number));
        }
        inbox.close(None).unwrap();
        dispatcher.end();
        assert_eq!(*errors.lock().unwrap(), [5, 6]);
    }

    #[test]
    fn a_callback_that_panics_is_reported_and_the_next_block_is_delivered() {
        let client = Client::new();
        let (dispatcher, errors) = dispatcher(1);
        let (seen, sees) = channel();
        struct Panics(Sender<u64>);
        impl Sink for Panics {
            fn deliver(&mut self, block: &Lent) -> i32 {
                let number = block.records()[0].number;
                self.0.send(number).unwrap();
                assert_ne!(number, 1, "meant to happen");
                0
            }
        }
        let inbox = client.callback(&dispatcher, Panics(seen));
        inbox.push(&hundred(1));
        assert_eq!(sees.recv(), Ok(1));
        inbox.push(&hundred(2));
        assert_eq!(sees.recv(), Ok(2));
        inbox.close(None).unwrap();
        dispatcher.end();
        assert_eq!(*errors.lock().unwrap(), [Status::Internal.code()]);
        assert_eq!(client.budget.used(), 0);
    }

    #[test]
    fn a_close_from_another_thread_waits_for_the_running_call_and_the_drop() {
        let client = Client::new();
        let (dispatcher, _) = dispatcher(1);
        let (probe, sees, go) = gated();
        let inbox = client.callback(&dispatcher, probe);
        inbox.push(&hundred(1));
        assert_eq!(sees.recv().unwrap(), one(1));
        inbox.push(&hundred(2));
        let closes = Arc::clone(&inbox);
        let closer = thread::spawn(move || closes.close(None));
        closing(&inbox);
        assert!(sees.try_recv().is_err() && !closer.is_finished());
        go.send(()).unwrap();
        closer.join().unwrap().unwrap();
        assert_eq!(sees.try_recv(), Ok(Seen::Dropped), "the second message was discarded");
        assert!(sees.try_recv().is_err());
        assert_eq!(client.budget.used(), 0);
        dispatcher.end();
    }

    #[test]
    fn a_close_from_inside_returns_at_once_and_the_running_call_is_the_last() {
        let client = Client::new();
        let (dispatcher, _) = dispatcher(1);
        let own: Arc<OnceLock<Arc<Inbox>>> = Arc::default();
        let (closed, is_closed) = channel();
        let me = Arc::clone(&own);
        let (probe, sees) = probe(move |_| {
            let inbox = me.get().unwrap();
            inbox.push(&hundred(2));
            closed.send(inbox.close(None)).unwrap();
            inbox.push(&hundred(3));
            0
        });
        let inbox = client.callback(&dispatcher, probe);
        own.set(Arc::clone(&inbox)).unwrap();
        inbox.push(&hundred(1));
        assert_eq!(is_closed.recv().unwrap(), Ok(()));
        inbox.close(None).unwrap();
        assert_eq!(sees.iter().collect::<Vec<_>>(), [one(1), Seen::Dropped]);
        dispatcher.end();
    }

    #[test]
    fn a_close_that_runs_into_its_deadline_says_so_and_drop_has_not_run() {
        let client = Client::new();
        let (dispatcher, _) = dispatcher(1);
        let (probe, sees, go) = gated();
        let inbox = client.callback(&dispatcher, probe);
        inbox.push(&hundred(1));
        assert_eq!(sees.recv().unwrap(), one(1));
        assert_eq!(inbox.close(Some(Instant::now())), Err(Status::Timeout));
        assert!(sees.try_recv().is_err());
        go.send(()).unwrap();
        inbox.close(None).unwrap();
        assert_eq!(sees.try_recv(), Ok(Seen::Dropped));
        dispatcher.end();
    }

    #[test]
    fn an_ended_inbox_delivers_what_it_holds_and_then_drops_its_sink_once() {
        let client = Client::new();
        let (dispatcher, _) = dispatcher(2);
        let (probe, sees, go) = gated();
        let inbox = client.callback(&dispatcher, probe);
        inbox.push(&hundred(1));
        assert_eq!(sees.recv().unwrap(), one(1));
        inbox.push(&hundred(2));
        inbox.end();
        inbox.push(&hundred(3));
        go.send(()).unwrap();
        go.send(()).unwrap();
        inbox.wait_quiet(None).unwrap();
        inbox.close(None).unwrap();
        assert_eq!(sees.iter().collect::<Vec<_>>(), [one(2), Seen::Dropped]);
        dispatcher.end();
    }

    #[test]
    fn an_empty_inbox_that_ends_drops_its_sink() {
        let client = Client::new();
        let (dispatcher, _) = dispatcher(1);
        let (probe, sees) = probe(|_| 0);
        let inbox = client.callback(&dispatcher, probe);
        inbox.end();
        inbox.wait_quiet(None).unwrap();
        assert_eq!(sees.try_recv(), Ok(Seen::Dropped));
        dispatcher.end();
    }

    #[test]
    fn an_inbox_that_ends_when_no_thread_is_left_drops_its_sink_all_the_same() {
        let client = Client::new();
        let (dispatcher, _) = dispatcher(1);
        let (probe, sees) = probe(|_| 0);
        let inbox = client.callback(&dispatcher, probe);
        dispatcher.end();
        while Arc::strong_count(&dispatcher) > 2 {
            thread::yield_now();
        }
        inbox.push(&hundred(1));
        inbox.end();
        inbox.wait_quiet(None).unwrap();
        assert_eq!(sees.try_recv(), Ok(Seen::Dropped));
        let weak = Arc::downgrade(&inbox);
        drop(inbox);
        assert!(weak.upgrade().is_none(), "the line holds nothing alive");
    }

    #[test]
    fn every_closer_waits_for_a_drop_that_is_running() {
        struct SlowDrop(Sender<()>, Receiver<()>);
        impl Sink for SlowDrop {
            fn deliver(&mut self, _: &Lent) -> i32 {
                panic!("closed before it was served")
            }
        }
        impl Drop for SlowDrop {
            fn drop(&mut self) {
                self.0.send(()).unwrap();
                self.1.recv().unwrap();
            }
        }
        let client = Client::new();
        let (dispatcher, _) = dispatcher(1);
        let (busy, sees_busy, go) = gated();
        let busy = client.callback(&dispatcher, busy);
        busy.push(&hundred(1));
        assert_eq!(sees_busy.recv().unwrap(), one(1));
        // The only thread is busy; this one stands in line behind it, and is closed there.
        let ((dropping, is_dropping), (finish, finishes)) = (channel(), channel());
        let slow = client.callback(&dispatcher, SlowDrop(dropping, finishes));
        slow.push(&hundred(1));
        let closes = Arc::clone(&slow);
        let closer = thread::spawn(move || closes.close(None));
        is_dropping.recv().unwrap();
        // When the one behind it was served, it was served too.
        let (behind, sees_behind) = probe(|_| 0);
        let behind = client.callback(&dispatcher, behind);
        behind.push(&hundred(1));
        go.send(()).unwrap();
        assert_eq!(sees_behind.recv().unwrap(), one(1));
        assert_eq!(slow.close(Some(Instant::now())), Err(Status::Timeout), "the drop is still running");
        finish.send(()).unwrap();
        closer.join().unwrap().unwrap();
        slow.close(Some(Instant::now())).unwrap();
        busy.close(None).unwrap();
        behind.close(None).unwrap();
        dispatcher.end();
    }

    #[test]
    fn calls_that_would_block_refuse_inside_a_callback_and_polls_do_not() {
        let client = Client::new();
        let (dispatcher, _) = dispatcher(1);
        let other = client.inbox(Policy::DropOldest, 1 << 20, 0);
        let ready = Arc::clone(&client.ready);
        let (told, tells) = channel();
        let (probe, _sees) = probe(move |_| {
            told.send((
                other.take(POLL).err(),
                other.take(None).err(),
                ready.wait(POLL, 1).err(),
                ready.wait(None, 1).err(),
            ))
            .unwrap();
            0
        });
        let inbox = client.callback(&dispatcher, probe);
        inbox.push(&hundred(1));
        let refused = (Some(Status::Timeout), Some(Status::WouldDeadlock));
        assert_eq!(tells.recv().unwrap(), (refused.0, refused.1, refused.0, refused.1));
        assert_eq!(inbox.take(POLL).unwrap_err(), Status::Conflict, "it has a callback");
        inbox.close(None).unwrap();
        dispatcher.end();
    }

    #[test]
    fn inboxes_with_callbacks_never_enter_the_ready_list() {
        let client = Client::new();
        let (dispatcher, _) = dispatcher(1);
        let (probe, sees) = probe(|_| 0);
        let inbox = client.callback(&dispatcher, probe);
        inbox.push(&hundred(1));
        sees.recv().unwrap();
        inbox.close(None).unwrap();
        assert_eq!(client.ready.wait(POLL, 1).unwrap_err(), Status::Timeout);
        dispatcher.end();
    }

    #[test]
    fn nothing_of_a_closed_inbox_and_an_ended_dispatcher_stays() {
        let client = Client::new();
        let (dispatcher, _) = dispatcher(2);
        let (probe, _sees) = probe(|_| 0);
        let inbox = client.callback(&dispatcher, probe);
        push_hundreds(&inbox, 0..3000);
        inbox.close(None).unwrap();
        dispatcher.end();
        let (inbox, dispatcher) = (Arc::downgrade(&{ inbox }), Arc::downgrade(&{ dispatcher }));
        // The threads let go when they end.
        while inbox.strong_count() > 0 || dispatcher.strong_count() > 0 {
            thread::yield_now();
        }
    }
}
