//! The library's thread is ended while clients come and go (`src/runtime.rs`): no client is ever left with one that is dead.
//!
//! The thread is a process' one, so these tests take turns.
#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::client::Client;
use redmux::error::Status;
use redmux::inbox::Kind;
use redmux::runtime;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use support::server::Server;
use support::{PATIENCE, eventually};
use tap::*;

/// One test at a time, and it begins without a thread.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    runtime::shutdown(deadline()).unwrap();
    turn
}

/// Keeps the library's thread busy, so that it cannot end, until this is dropped.
struct Held {
    _release: Sender<()>,
}

fn hold() -> Held {
    let ((entered, enters), (release, released)) = (channel(), channel::<()>());
    runtime::handle().unwrap().spawn(async move {
        entered.send(()).unwrap();
        let _ = released.recv();
    });
    enters.recv_timeout(PATIENCE).unwrap();
    Held { _release: release }
}

/// How many threads of the library there are.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.filter(|name| name.trim_end() == "redmux-io").count()
}

/// A moment that is over, so that nothing is waited for.
fn at_once() -> Option<Instant> {
    Some(Instant::now())
}

/// The client connects, subscribes, and hears.
fn works(client: &Client) {
    let mut tap = Tap::on(client);
    subscribed(client, &tap, 1, &[b"x"]);
    client.hub().post(b"x", b"heard", None).unwrap();
    assert_eq!(tap.wait(Kind::Message).payload(), "heard");
}

#[test]
fn a_client_that_is_opened_after_a_shutdown_that_ran_out_of_time_works() {
    let _alone = alone();
    let server = Server::start();
    for ended in [false, true] {
        let held = hold();
        assert_eq!(runtime::shutdown(at_once()), Err(Status::Timeout));
        if ended {
            drop(held);
            eventually("the thread ends", PATIENCE, || threads() == 0);
            works(&open(&server.url(), &[]));
        } else {
            // The one that is to end is still there.
            let client = open(&server.url(), &[]);
            works(&client);
            drop(held);
            eventually("the first thread ends", PATIENCE, || threads() == 1);
            works(&client);
        }
        runtime::shutdown(deadline()).unwrap();
    }
}

#[test]
fn a_shutdown_waits_for_a_thread_that_an_earlier_one_did_not_wait_for() {
    let _alone = alone();
    let held = hold();
    assert_eq!(runtime::shutdown(at_once()), Err(Status::Timeout));
    assert_eq!(runtime::shutdown(at_once()), Err(Status::Timeout));
    // Also beside a second one, which was started since.
    let second = hold();
    assert_eq!(runtime::shutdown(at_once()), Err(Status::Timeout));
    drop(second);
    eventually("the second thread ends", PATIENCE, || threads() == 1);
    assert_eq!(runtime::shutdown(at_once()), Err(Status::Timeout));
    drop(held);
    assert_eq!(runtime::shutdown(deadline()), Ok(()));
    eventually("no thread is left", PATIENCE, || threads() == 0);
}

#[test]
fn of_two_shutdowns_at_once_both_wait_for_the_thread() {
    let _alone = alone();
    let client = open("redis://127.0.0.1:1", &[]);
    let held = hold();
    let first = thread::spawn(|| runtime::shutdown(deadline()));
    eventually("the first began", PATIENCE, || !client.hub().running());
    assert_eq!(runtime::shutdown(at_once()), Err(Status::Timeout));
    drop(held);
    assert_eq!(first.join().unwrap(), Ok(()));
    assert_eq!(runtime::shutdown(deadline()), Ok(()));
}

#[test]
fn a_client_that_is_opened_while_a_shutdown_waits_keeps_its_thread_when_the_time_is_over() {
    let _alone = alone();
    let server = Server::start();
    let before = open(&server.url(), &[]);
    let held = hold();
    let waits = thread::spawn(|| runtime::shutdown(Some(Instant::now() + Duration::from_millis(300))));
    eventually("the shutdown began", PATIENCE, || !before.hub().running());
    // Usually before that time is over. It must not matter.
    let client = open(&server.url(), &[]);
    works(&client);
    assert_eq!(waits.join().unwrap(), Err(Status::Timeout));
    works(&client);
    drop(held);
    eventually("the first thread ends", PATIENCE, || threads() == 1);
    works(&client);
}

#[test]
fn a_client_that_is_opened_while_another_thread_shuts_down_works_or_is_closed() {
    let _alone = alone();
    let server = Server::start();
    let start = Barrier::new(2);
    for _ in 0..100 {
        // There is a thread to end, and much to be ended before it.
        let before: Vec<_> = (0..32).map(|_| open("redis://127.0.0.1:1", &[])).collect();
        let client = thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                runtime::shutdown(deadline()).unwrap();
            });
            start.wait();
            open(&server.url(), &[])
        });
        assert!(before.iter().all(|client| !client.hub().running()));
        if client.hub().running() {
            works(&client);
        } else {
            let refused = client.ready(ticket_in(&Tap::on(&client), 0));
            assert_eq!(refused.unwrap_err().status(), Status::Closed);
        }
    }
}
