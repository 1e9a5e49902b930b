//! Inboxes: where everything arrives.

use super::block::redmux_block;
use super::bytes::Place;
use super::callback::{Callback, redmux_block_fn, redmux_drop_fn};
use super::client::redmux_client;
use super::error::redmux_error;
use super::guard::{guard, guard_error};
use super::handle;
use super::options::{given, redmux_options};
use super::text::{redmux_text, text};
use crate::error::{Error, Result, Status};
use crate::inbox::dispatch::inside_callback;
use crate::mux::subscription::Ticket;
use crate::options::{Key, Options};
use std::ffi::c_void;
use std::time::{Duration, Instant};

/// An inbox: a bounded queue of records that belongs to a client. {0} is none, or where the documentation says so, the
/// source's own. May be used from any thread; one thread at a time takes from it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct redmux_inbox {
    /// Which; 0 is none.
    pub id: u64,
}

/// How long to wait: 0 polls, -1 waits for ever.
pub(super) fn limit(timeout_ms: i64) -> Result<Option<Duration>> {
    match timeout_ms {
        -1 => Ok(None),
        0.. => Ok(Some(Duration::from_millis(timeout_ms as u64))),
        _ => Err(Error::new(Status::InvalidArgument, format!("a timeout of {timeout_ms} ms; -1 waits for ever"))),
    }
}

/// Until when: -1 is never.
pub(super) fn until(timeout_ms: i64) -> Result<Option<Instant>> {
    Ok(limit(timeout_ms)?.and_then(|limit| Instant::now().checked_add(limit)))
}

/// How long an operation may take: 0 is the client's option `timeout`, -1 for ever.
pub(super) fn allowed(timeout_ms: i64, options: &Options) -> Result<Option<Duration>> {
    if timeout_ms == 0 { Ok(Some(options.duration(Key::Timeout))) } else { limit(timeout_ms) }
}

/// Where an operation completes. {0} is the source's own inbox. An inbox of another client is refused.
pub(super) fn ticket(
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
    client: &crate::client::Client,
) -> Result<Ticket> {
    let deadline = allowed(timeout_ms, client.options())?.and_then(|limit| Instant::now().checked_add(limit));
    if inbox.id == 0 {
        return Ok(Ticket { inbox: None, token, deadline });
    }
    let found = handle::inbox(inbox.id)?;
    if found.client.upgrade().is_none_or(|owner| owner.id() != client.id()) {
        return Err(Error::new(Status::InvalidArgument, "the inbox belongs to another client"));
    }
    Ok(Ticket { inbox: Some(found.inbox), token, deadline })
}

fn make(
    client: redmux_client,
    options: redmux_options,
    callback: Option<Callback>,
    out_inbox: *mut redmux_inbox,
) -> Result<()> {
    let place = Place::new(out_inbox, "out_inbox")?;
    let client = handle::client(client.id)?;
    let sink = callback.map(Callback::sink).transpose()?;
    let inbox = client.new_inbox(Some(&*given(options, &client)?), sink)?;
    place.write(redmux_inbox { id: handle::add_inbox(&inbox, &client) });
    Ok(())
}

/// A new inbox that is drained by redmux_inbox_take. It ends with its client; its handle stays until redmux_inbox_close.
///
/// options: inbox_bytes, inbox_records and inbox_policy; {0} takes those of the client. out_inbox: borrowed for the
/// call, written on success; release with redmux_inbox_close. out_error: borrowed for the call, may be NULL; the error
/// is owned by the caller, release with redmux_error_free. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_inbox_new(
    client: redmux_client,
    options: redmux_options,
    out_inbox: *mut redmux_inbox,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(client.id, out_error, || make(client, options, None, out_inbox))
}

/// A new inbox that hands its blocks to a callback, in order, by one thread at a time. With the option callback_threads
/// at 1, its default, there are never two callbacks of a client at once.
///
/// options: as for redmux_inbox_new. callback: called on a thread of the client. user: given to it, borrowed until drop
/// is called. drop: called exactly once after the last call, also when this function fails; may be NULL. out_inbox:
/// borrowed for the call, written on success; release with redmux_inbox_close. out_error: borrowed for the call, may be
/// NULL; the error is owned by the caller, release with redmux_error_free. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_inbox_new_callback(
    client: redmux_client,
    options: redmux_options,
    callback: redmux_block_fn,
    user: *mut c_void,
    drop: redmux_drop_fn,
    out_inbox: *mut redmux_inbox,
    out_error: *mut *mut redmux_error,
) -> i32 {
    let callback = Callback::new(callback, user, drop);
    guard_error(client.id, out_error, move || make(client, options, Some(callback), out_inbox))
}

/// Takes the oldest block of an inbox. The block that the struct holds from an earlier take is given back first, so a
/// loop calls nothing else; redmux_block_release ends it.
///
/// The struct is always written: unless the result is REDMUX_OK it is {0}, and nothing is to be released.
/// REDMUX_ERR_TIMEOUT: nothing came.
/// REDMUX_ERR_CLOSED: the inbox or its client is closed and everything was taken. REDMUX_ERR_BUSY: another thread is
/// inside. REDMUX_ERR_CONFLICT: the inbox has a callback. REDMUX_ERR_WOULD_DEADLOCK: inside a callback only timeout_ms 0 is
/// allowed.
///
/// timeout_ms: 0 polls, -1 waits for ever. block: borrowed for the call, zeroed before its first use; what it points to
/// is borrowed until the block is released. Any thread, one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_inbox_take(inbox: redmux_inbox, timeout_ms: i64, block: *mut redmux_block) -> i32 {
    let mut taken = redmux_block::NONE;
    let status = guard(0, || {
        if let Some(place) = Place::optional(block) {
            handle::give_back(place.peek().id);
        }
        Ok(())
    });
    let status = if status != 0 {
        status
    } else {
        guard(inbox.id, || {
            let limit = limit(timeout_ms)?;
            Place::new(block, "block")?;
            // Also where something waits: else it would be the timing that decides.
            if timeout_ms != 0 && inside_callback() {
                return Err(Status::WouldDeadlock.into());
            }
            taken = redmux_block::lend(handle::inbox(inbox.id)?.inbox.take(limit)?);
            Ok(())
        })
    };
    if let Some(place) = Place::optional(block) {
        place.write(taken);
    }
    status
}

/// Asks the operations of an inbox that have this token to end: those that have not ended complete with
/// REDMUX_ERR_CANCELLED. A completion comes in any case; what was fulfilled before stays so. A publish that was given
/// to the kernel cannot be taken back and completes as it would. Never an error when there is nothing to cancel.
///
/// Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_inbox_cancel(inbox: redmux_inbox, token: u64) -> i32 {
    guard(inbox.id, || {
        let found = handle::inbox(inbox.id)?;
        found.client.upgrade().ok_or(Status::Closed)?.cancel(inbox.id, token);
        Ok(())
    })
}

/// The counters of an inbox as JSON: received, taken, dropped, waiting, bytes, peak.
///
/// out_text: borrowed for the call, written on success; the text is owned by the caller, release with
/// redmux_text_free. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_inbox_stats(inbox: redmux_inbox, out_text: *mut *mut redmux_text) -> i32 {
    guard(inbox.id, || {
        let place = Place::new(out_text, "out_text")?;
        let counters = handle::inbox(inbox.id)?.inbox.counters();
        place.write(text(crate::stats::of_inbox(&counters).to_string()));
        Ok(())
    })
}

/// Closes an inbox and everything that delivers into it. What waits in it is discarded, completions included.
///
/// When it returns REDMUX_OK on a thread of yours, no callback of it runs or will run, and drop has been called.
/// REDMUX_ERR_TIMEOUT: a callback still runs; drop has not been called and nothing may be freed yet. Inside a callback
/// it returns at once: the running call is the last, and drop says when all is over. Blocks that were taken stay valid
/// until they are released. A second call gives REDMUX_ERR_CLOSED and is harmless.
///
/// timeout_ms: how long to wait for a running callback; 0 does not wait, -1 waits for ever. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_inbox_close(inbox: redmux_inbox, timeout_ms: i64) -> i32 {
    guard(0, || {
        let deadline = until(timeout_ms)?;
        let found = handle::remove_inbox(inbox.id)?;
        match found.client.upgrade() {
            Some(client) => client.close_inbox(&found.inbox, deadline)?,
            None => found.inbox.close(deadline)?,
        }
        Ok(())
    })
}
