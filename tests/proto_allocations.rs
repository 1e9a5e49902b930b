//! Reading messages must not allocate. The counting allocator is why this is a test binary of its own with one test.
#![allow(unsafe_code, reason = "a global allocator that counts is an unsafe trait to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use redmux::proto::resp::{Frame, Limits, Step, next};

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

#[test]
fn reading_100_000_messages_allocates_nothing() {
    let stream = b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n\
        >4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$5\r\nhello\r\n\
        >3\r\n$8\r\nsmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n\
        |1\r\n+a\r\n*1\r\n_\r\n>3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n"
        .repeat(25_000);
    let limits = Limits { max_payload: 1024, max_name: 1024 };
    let (mut at, mut messages) = (0, 0);
    // The test harness allocates from its own thread at its own times, so a single clean pass out of a few is proof.
    let clean = (0..5).any(|_| {
        (at, messages) = (0, 0);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        while let Ok(Step::Frame { used, frame }) = next(black_box(&stream[at..]), &limits) {
            if let Frame::Message { payload, .. }
            | Frame::PatternMessage { payload, .. }
            | Frame::ShardMessage { payload, .. } = black_box(frame)
            {
                messages += usize::from(payload == b"hello");
            }
            at += used;
        }
        ALLOCATIONS.load(Ordering::Relaxed) == before
    });
    assert_eq!((at, messages), (stream.len(), 100_000));
    assert!(clean);
}
