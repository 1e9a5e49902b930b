//! Two million messages, from the socket to the taker, must not allocate for each. The counting allocator is why this is a
//! test binary of its own with one test.
#![allow(unsafe_code, reason = "a global allocator that counts is an unsafe trait to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redmux::client::{Client, EventsBy};
use redmux::inbox::Kind;
use redmux::mux::subscription::Ticket;
use redmux::options::Options;
use redmux::runtime::next_id;

#[path = "support/mod.rs"]
mod support;

use support::fake::Fake;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MESSAGES: usize = 2_000_000;
const MESSAGE: &[u8] = b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$64\r\n\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n";

#[test]
fn two_million_messages_through_an_inbox_allocate_nothing_for_each() {
    let chunk = MESSAGE.repeat(10_000);
    let fake = Fake::answering_hello(move |mut conn| {
        // The publish link, if there is one, has nothing to say here.
        if conn.read_words().is_ok_and(|words| words == ["SUBSCRIBE", "news"]) {
            conn.write(b">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n").unwrap();
            for _ in 0..MESSAGES / 10_000 {
                conn.write(&chunk).unwrap();
            }
            conn.wait_closed();
        }
    });
    let mut options = Options::new();
    options.set_url(&format!("{}?inbox_policy=pause", fake.url())).unwrap();
    let client = Client::open(options, EventsBy::None).unwrap();
    let inbox = client.new_inbox(None, None).unwrap();
    let source = next_id();
    client.hub().subscribe(source, 1, &inbox, None).unwrap();
    let deadline = Some(Instant::now() + Duration::from_secs(60));
    client.hub().add(source, &[b"news"], Ticket { inbox: None, token: 2, deadline }).unwrap();

    let (mut messages, mut blocks, mut before) = (0, 0, 0);
    while messages < MESSAGES {
        let lent = inbox.take(Some(Duration::from_secs(60))).unwrap();
        assert!(!lent.records().iter().any(|record| record.is(Kind::Dropped) || record.is(Kind::Lost)));
        let got = lent.records().iter().filter(|record| record.is(Kind::Message)).count();
        // What the first tenth needed to begin (buffers, the pool) is not counted.
        if messages < MESSAGES / 10 && messages + got >= MESSAGES / 10 {
            (before, blocks) = (ALLOCATIONS.load(Ordering::Relaxed), 0);
        }
        messages += got;
        blocks += 1;
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(messages, MESSAGES);
    println!("{allocations} allocations for {MESSAGES} messages in {blocks} blocks");
    // A block may need a few while its buffer is still lent; a message may not.
    assert!(allocations < MESSAGES / 50, "{allocations} allocations for {MESSAGES} messages in {blocks} blocks");
    client.close(Some(Instant::now() + Duration::from_secs(10))).unwrap();
}
