//! Callbacks: order, threads, and the one drop of each sink.

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
