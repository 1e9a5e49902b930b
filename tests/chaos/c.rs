//! The functions of the C ABI as this test calls them: what C passes as pointers, from Rust's slices.
#![allow(unsafe_code, reason = "a caller of a C library reads what it is lent, and is called back")]

use redmux::error::Status;
use redmux::ffi::block::{redmux_block, redmux_block_release, redmux_record};
use redmux::ffi::bytes::redmux_bytes;
use redmux::ffi::client::{redmux_client, redmux_client_open_with};
use redmux::ffi::inbox::{redmux_inbox, redmux_inbox_new, redmux_inbox_new_callback, redmux_inbox_take};
use redmux::ffi::options::{redmux_options, redmux_options_free, redmux_options_new, redmux_options_set_json};
use redmux::ffi::subscription::{
    redmux_subscription, redmux_subscription_add, redmux_subscription_new, redmux_subscription_new_pattern,
    redmux_subscription_remove,
};
use std::ffi::{CString, c_void};
use std::ptr::null_mut;
use std::sync::Arc;

/// No inbox, no options.
pub const NO_INBOX: redmux_inbox = redmux_inbox { id: 0 };

/// A status code as a status.
#[track_caller]
pub fn status(code: i32) -> Status {
    Status::from_code(code).unwrap_or_else(|| panic!("the library answered with {code}, which is no status"))
}

#[track_caller]
fn succeed(what: &str, code: i32) {
    assert_eq!(status(code), Status::Ok, "{what}");
}

fn options(json: &str) -> redmux_options {
    let mut options = redmux_options { id: 0 };
    succeed("options", redmux_options_new(&mut options));
    let text = CString::new(json).expect("JSON without a NUL");
    succeed(json, redmux_options_set_json(options, text.as_ptr(), null_mut()));
    options
}

/// A client with an event inbox that is taken from.
pub fn open(json: &str) -> (redmux_client, redmux_inbox) {
    let options = options(json);
    let (mut client, mut events) = (redmux_client { id: 0 }, NO_INBOX);
    let code = redmux_client_open_with(options, 1, None, null_mut(), None, &mut client, &mut events, null_mut());
    succeed("open", code);
    redmux_options_free(options);
    (client, events)
}

/// An inbox that is taken from.
pub fn inbox(client: redmux_client, json: &str) -> redmux_inbox {
    let (options, mut inbox) = (options(json), NO_INBOX);
    succeed("inbox", redmux_inbox_new(client, options, &mut inbox, null_mut()));
    redmux_options_free(options);
    inbox
}

/// Who is called back with the blocks of an inbox.
pub trait Hears: Send + Sync {
    /// A block.
    fn hear(&self, records: &[redmux_record], data: &[u8]);
}

/// An inbox that calls back.
pub fn callback_inbox<H: Hears>(client: redmux_client, json: &str, hears: Arc<H>) -> redmux_inbox {
    let (options, mut inbox) = (options(json), NO_INBOX);
    let user = Arc::into_raw(hears).cast_mut().cast::<c_void>();
    let (call, drop) = (Some(on_block::<H> as _), Some(on_drop::<H> as _));
    succeed("inbox", redmux_inbox_new_callback(client, options, call, user, drop, &mut inbox, null_mut()));
    redmux_options_free(options);
    inbox
}

unsafe extern "C" fn on_block<H: Hears>(user: *mut c_void, block: *const redmux_block) -> i32 {
    // SAFETY: `user` is the Arc that was registered, which `on_drop` gives back; the block is lent for this call.
    let (hears, block) = unsafe { (&*user.cast::<H>(), &*block) };
    let (records, data) = parts(block);
    hears.hear(records, data);
    0
}

unsafe extern "C" fn on_drop<H: Hears>(user: *mut c_void) {
    // SAFETY: called once, with the Arc that was registered.
    drop(unsafe { Arc::from_raw(user.cast::<H>()) });
}

fn parts(block: &redmux_block) -> (&[redmux_record], &[u8]) {
    let bytes = |len| if len == 0 { &[] } else { lent(block.data, len) };
    (if block.count == 0 { &[] } else { lent(block.records, block.count) }, bytes(block.data_len))
}

fn lent<'a, T>(at: *const T, count: usize) -> &'a [T] {
    // SAFETY: the library lends `count` of them there while the block is held.
    unsafe { std::slice::from_raw_parts(at, count) }
}

/// A part of a record.
pub fn part(data: &[u8], offset: u32, len: u32) -> &[u8] {
    data.get(offset as usize..(offset + len) as usize).expect("a part within its block")
}

/// Takes blocks until there is none within the time, and gives the last one back. CLOSED or TIMEOUT.
pub fn take_all(
    inbox: redmux_inbox,
    timeout_ms: i64,
    most: usize,
    mut f: impl FnMut(&[redmux_record], &[u8]),
) -> Status {
    let mut block = redmux_block::NONE;
    for turn in 0..most {
        let code = redmux_inbox_take(inbox, if turn == 0 { timeout_ms } else { 0 }, &mut block);
        if code != 0 {
            return status(code);
        }
        let (records, data) = parts(&block);
        f(records, data);
    }
    redmux_block_release(&mut block);
    Status::Ok
}

/// A new subscription to channels.
pub fn subscribe(client: redmux_client, inbox: redmux_inbox, token: u64) -> Result<redmux_subscription, Status> {
    let mut made = redmux_subscription { id: 0 };
    match redmux_subscription_new(client, inbox, token, &mut made) {
        0 => Ok(made),
        code => Err(status(code)),
    }
}

/// A new subscription to a pattern.
pub fn subscribe_pattern(
    client: redmux_client,
    inbox: redmux_inbox,
    pattern: &str,
    token: u64,
    done: u64,
    timeout_ms: i64,
) -> Result<redmux_subscription, Status> {
    let mut made = redmux_subscription { id: 0 };
    let (at, len) = (pattern.as_ptr(), pattern.len());
    match redmux_subscription_new_pattern(client, inbox, at, len, token, NO_INBOX, done, timeout_ms, &mut made) {
        0 => Ok(made),
        code => Err(status(code)),
    }
}

/// Adds or removes names, completing in the subscription's own inbox.
pub fn change(subscription: redmux_subscription, add: bool, names: &[&str], token: u64, timeout_ms: i64) -> Status {
    let names: Vec<redmux_bytes> = names.iter().map(|name| redmux_bytes::of(name.as_bytes())).collect();
    let (at, count) = (names.as_ptr(), names.len());
    let call = if add { redmux_subscription_add } else { redmux_subscription_remove };
    status(call(subscription, at, count, NO_INBOX, token, timeout_ms))
}
