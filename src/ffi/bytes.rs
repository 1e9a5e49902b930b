//! What C gives and gets: bytes with a length, C strings, and places to write to.
//!
//! Inputs are borrowed for the call and copied inside it. NULL is a status, never a crash.
#![expect(unsafe_code, reason = "reading and writing what C points to")]
#![expect(clippy::not_unsafe_ptr_arg_deref, reason = "the contract of the header is what makes C's pointers good")]

use crate::error::{Error, Result, Status};
use std::ffi::{CStr, c_char};
use std::slice;

/// Bytes with a length. Any byte may be in them; there is no final NUL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct redmux_bytes {
    /// The first byte; NULL only if len is 0. Borrowed for the call where it goes in, borrowed until the thing named
    /// in the function's documentation is freed where it comes out.
    pub data: *const u8,
    /// How many there are.
    pub len: usize,
}

impl redmux_bytes {
    /// A view of bytes that live elsewhere.
    pub fn of(bytes: &[u8]) -> redmux_bytes {
        redmux_bytes { data: first(bytes), len: bytes.len() }
    }
}

/// Where bytes begin, for C: an address in memory also where there are none. Rust's own is then a small number, at which
/// Go ends a program that holds it.
pub fn first(bytes: &[u8]) -> *const u8 {
    if bytes.is_empty() { c"".as_ptr().cast() } else { bytes.as_ptr() }
}

fn null(what: &str) -> Error {
    Error::new(Status::InvalidArgument, format!("{what} is NULL"))
}

/// The bytes at `data`.
pub fn read<'a>(data: *const u8, len: usize, what: &str) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(null(what));
    }
    if len > isize::MAX as usize {
        return Err(Error::new(Status::InvalidArgument, format!("{what} has an impossible length")));
    }
    // SAFETY: not NULL, and the contract says that `len` bytes can be read there for the time of the call.
    Ok(unsafe { slice::from_raw_parts(data, len) })
}

/// The byte strings in an array of C's.
pub fn read_list<'a>(list: *const redmux_bytes, count: usize, what: &str) -> Result<Vec<&'a [u8]>> {
    read_array(list, count, what)?.iter().map(|bytes| read(bytes.data, bytes.len, what)).collect()
}

/// An array of C's.
pub fn read_array<'a, T>(list: *const T, count: usize, what: &str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if list.is_null() {
        return Err(null(what));
    }
    if count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Error::new(Status::InvalidArgument, format!("{what} has an impossible length")));
    }
    if !list.is_aligned() {
        return Err(Error::new(Status::InvalidArgument, format!("{what} is not aligned")));
    }
    // SAFETY: not NULL, aligned, and the contract says that `count` elements can be read there for the call.
    Ok(unsafe { slice::from_raw_parts(list, count) })
}

/// The text of a C string.
pub fn read_text<'a>(text: *const c_char, what: &str) -> Result<&'a str> {
    if text.is_null() {
        return Err(null(what));
    }
    // SAFETY: not NULL, and the contract says that it ends with a NUL.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Error::new(Status::InvalidArgument, format!("{what} is not UTF-8")))
}

/// A place that C gave us for a result. Checked before the work is done, so that nothing is made and then lost.
pub struct Place<T>(*mut T);

impl<T> Place<T> {
    /// A place that must be there.
    pub fn new(place: *mut T, what: &str) -> Result<Place<T>> {
        if place.is_null() || !place.is_aligned() { Err(null(what)) } else { Ok(Place(place)) }
    }

    /// A place that may be missing.
    pub fn optional(place: *mut T) -> Option<Place<T>> {
        (!place.is_null() && place.is_aligned()).then_some(Place(place))
    }

    /// Writes the result.
    pub fn write(self, value: T) {
        // SAFETY: not NULL, aligned, and the contract says that it can be written for the time of the call.
        unsafe { self.0.write(value) };
    }

    /// What is there now. Only for places that the contract says are initialised.
    pub fn peek(&self) -> T
    where
        T: Copy,
    {
        // SAFETY: not NULL, aligned, and the contract says that it is initialised.
        unsafe { self.0.read() }
    }
}

/// Gives a value to C as an owned pointer.
pub fn give<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// Takes back what `give` gave.
pub fn take_back<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: the contract says that it came from `give` and was not given back before.
        drop(unsafe { Box::from_raw(pointer) });
    }
}

/// Looks at what `give` gave.
pub fn look<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: NULL is None; else the contract says that it came from `give` and was not given back.
    unsafe { pointer.as_ref() }
}

/// Writes an array of results, `capacity` long at most.
pub fn write_array<T: Copy>(place: *mut T, capacity: usize, values: &[T], what: &str) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    if place.is_null() || !place.is_aligned() {
        return Err(null(what));
    }
    let count = values.len().min(capacity);
    // SAFETY: not NULL, aligned, and the contract says that `capacity` elements can be written there.
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), place, count) };
    Ok(())
}
