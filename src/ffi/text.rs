//! Text and lists that the library gives away: statistics, descriptions, payloads of blocking calls, names.

use super::bytes::{give, look, redmux_bytes, take_back};
use super::guard::guard_value;

/// Bytes that belong to the caller: a JSON document, or the payload of a promise.
pub struct redmux_text(Vec<u8>);

/// Byte strings that belong to the caller: the names of a subscription.
pub struct redmux_list(Vec<Vec<u8>>);

/// Gives bytes to C.
pub(super) fn text(bytes: impl Into<Vec<u8>>) -> *mut redmux_text {
    let mut bytes: Vec<u8> = bytes.into();
    // A final NUL behind the length, so that C may print JSON as a string.
    bytes.push(0);
    give(redmux_text(bytes))
}

/// Gives a list to C.
pub(super) fn list(items: Vec<Vec<u8>>) -> *mut redmux_list {
    give(redmux_list(items))
}

const NONE: redmux_bytes = redmux_bytes { data: c"".as_ptr().cast(), len: 0 };

/// The bytes of a text. A NUL stands behind them and is not counted, so that JSON can be printed as a C string.
///
/// text: borrowed for the call. The result's data: borrowed until text is freed. NULL has no bytes. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_text_bytes(text: *const redmux_text) -> redmux_bytes {
    guard_value(NONE, || {
        look(text).and_then(|text| text.0.split_last()).map_or(NONE, |(_, bytes)| redmux_bytes::of(bytes))
    })
}

/// Frees a text. NULL is allowed.
///
/// text: owned by the caller, release with redmux_text_free, once. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_text_free(text: *mut redmux_text) {
    guard_value((), || take_back(text));
}

/// How many byte strings a list has; 0 for NULL.
///
/// list: borrowed for the call. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_list_count(list: *const redmux_list) -> usize {
    guard_value(0, || look(list).map_or(0, |list| list.0.len()))
}

/// One byte string of a list; empty beyond its end.
///
/// list: borrowed for the call. The result's data: borrowed until list is freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_list_item(list: *const redmux_list, index: usize) -> redmux_bytes {
    guard_value(NONE, || look(list).and_then(|list| list.0.get(index)).map_or(NONE, |item| redmux_bytes::of(item)))
}

/// Frees a list. NULL is allowed.
///
/// list: owned by the caller, release with redmux_list_free, once. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_list_free(list: *mut redmux_list) {
    guard_value((), || take_back(list));
}
