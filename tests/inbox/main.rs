//! The inbox from outside: policies, budgets, reservations, takers, the ready list and callbacks.
//!
//! Threads meet at events, never at sleeps; a limit of time appears only where running out of it is what is tested.
#![cfg(not(redmux_model))]

mod budgets;
mod callbacks;
mod policies;
mod ready;
mod reservations;
mod takes;

use redmux::error::Status;
use redmux::inbox::budget::{Config, Policy};
use redmux::inbox::dispatch::{Dispatcher, Sink, inside_callback};
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
