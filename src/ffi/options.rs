//! Options: one table of keys, read from settings, URLs, files and the environment.

use super::bytes::{Place, read_text};
use super::error::redmux_error;
use super::guard::{guard, guard_error, guard_value};
use super::handle;
use super::text::{redmux_text, text};
use crate::client::Client;
use crate::error::Result;
use crate::options::Options;
use std::borrow::Cow;
use std::ffi::c_char;
use std::path::Path;
use std::sync::PoisonError;

/// Options of a client, an inbox, a request or a responder. What is not set in those of the last three is as their client
/// has it; {0} is none. May be used from any thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct redmux_options {
    /// Which; 0 is none.
    pub id: u64,
}

/// The options of a call: what it was given, and the rest as its client has it.
pub(super) fn given<'a>(options: redmux_options, client: &'a Client) -> Result<Cow<'a, Options>> {
    if options.id == 0 {
        return Ok(Cow::Borrowed(client.options()));
    }
    with(options, |given| Cow::Owned(given.over(client.options())))
}

fn with<R>(options: redmux_options, f: impl FnOnce(&mut Options) -> R) -> Result<R> {
    let options = handle::options(options.id)?;
    let mut options = options.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(f(&mut options))
}

/// New options with every default.
///
/// out_options: borrowed for the call, written on success; release with redmux_options_free. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_options_new(out_options: *mut redmux_options) -> i32 {
    guard(0, || {
        let place = Place::new(out_options, "out_options")?;
        place.write(redmux_options { id: handle::add_options(Options::new()) });
        Ok(())
    })
}

/// Sets one option. docs/options.md and redmux_options_describe list them. An unknown key is
/// REDMUX_ERR_UNKNOWN_OPTION, and the error names the nearest; a bad value is REDMUX_ERR_INVALID_VALUE.
///
/// key, value: C strings, borrowed for the call. out_error: borrowed for the call, may be NULL; the error is owned by
/// the caller, release with redmux_error_free. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_options_set(
    options: redmux_options,
    key: *const c_char,
    value: *const c_char,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(options.id, out_error, || {
        let (key, value) = (read_text(key, "key")?, read_text(value, "value")?);
        with(options, |options| options.set(key, value))?
    })
}

/// Sets the address, and whatever else a URL says: redis://user:password@host:port, rediss:// (TLS),
/// redis+unix:///path, with options as query parameters (?name=api-3&ping_interval=2s); or a connection string
/// host:port,password=...,name=....
///
/// url: a C string, borrowed for the call. out_error: borrowed for the call, may be NULL; the error is owned by the
/// caller, release with redmux_error_free. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_options_set_url(
    options: redmux_options,
    url: *const c_char,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(options.id, out_error, || {
        let url = read_text(url, "url")?;
        with(options, |options| options.set_url(url))?
    })
}

/// Sets options from a flat JSON object: {"url": "redis://localhost", "ping_interval": "2s"}.
///
/// json: a C string, borrowed for the call. out_error: borrowed for the call, may be NULL; the error is owned by the
/// caller, release with redmux_error_free. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_options_set_json(
    options: redmux_options,
    json: *const c_char,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(options.id, out_error, || {
        let json = read_text(json, "json")?;
        with(options, |options| options.set_json(json))?
    })
}

/// Sets options from a file with a flat JSON object.
///
/// path: a C string, borrowed for the call. out_error: borrowed for the call, may be NULL; the error is owned by the
/// caller, release with redmux_error_free. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_options_set_file(
    options: redmux_options,
    path: *const c_char,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(options.id, out_error, || {
        let path = read_text(path, "path")?;
        with(options, |options| options.set_file(Path::new(path)))?
    })
}

/// The value of one option as text, or every option as one JSON object if key is NULL. Secrets are "***".
///
/// key: a C string, borrowed for the call, may be NULL. out_text: borrowed for the call, written on success; the text is
/// owned by the caller, release with redmux_text_free. out_error: borrowed for the call, may be NULL; the error is
/// owned by the caller, release with redmux_error_free. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_options_get(
    options: redmux_options,
    key: *const c_char,
    out_text: *mut *mut redmux_text,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(options.id, out_error, || {
        let place = Place::new(out_text, "out_text")?;
        let value = if key.is_null() {
            with(options, |options| options.to_json())?
        } else {
            let key = read_text(key, "key")?;
            with(options, |options| options.get(key))??
        };
        place.write(text(value));
        Ok(())
    })
}

/// The table of all options as JSON: key, scope, type, default, range, help. What docs/options.md is made from.
///
/// out_text: borrowed for the call, written on success; the text is owned by the caller, release with
/// redmux_text_free. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_options_describe(out_text: *mut *mut redmux_text) -> i32 {
    guard(0, || {
        Place::new(out_text, "out_text")?.write(text(Options::describe()));
        Ok(())
    })
}

/// Frees options. Clients and inboxes that were made with them keep what they read. {0} and a second call are allowed.
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_options_free(options: redmux_options) {
    guard_value((), || handle::remove_options(options.id));
}
