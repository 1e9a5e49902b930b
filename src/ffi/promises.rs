//! Promises: one message on a name, awaited without a subscription each.

use super::bytes::{Place, read};
use super::client::{open, redmux_client};
use super::error::redmux_error;
use super::guard::{guard, guard_error};
use super::handle::{self, Family};
use super::inbox::{allowed, redmux_inbox, ticket};
use super::text::{redmux_text, text};
use crate::client::Client;
use crate::completion::{completion, completion_with_data};
use crate::error::{Result, Status};
use crate::runtime::next_id;
use std::sync::Arc;

/// A set of promises under a prefix: one subscription of Redis, however many promises. Its id is the source of its
/// records. {0} is none. May be used from any thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct redmux_promises {
    /// Which; 0 is none.
    pub id: u64,
}

fn client_of(promises: redmux_promises) -> Result<Arc<Client>> {
    Ok(handle::source(promises.id, Family::Promises)?)
}

/// A new set of promises on the channels that begin with a prefix. The prefix is taken literally, whatever bytes are in
/// it. Whoever publishes on prefix and suffix, from wherever, fulfils the promises made there. The set's own records
/// (active, lost, closed) come into inbox like those of a subscription. The server is asked for the prefix at once:
/// wait for it with redmux_promises_active.
///
/// inbox: of this client. prefix: any bytes, NULL only with length 0; borrowed for the call. token: comes back in the
/// set's records. out_promises: borrowed for the call, written on success; release with redmux_promises_close. Any
/// thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_promises_new(
    client: redmux_client,
    inbox: redmux_inbox,
    prefix: *const u8,
    prefix_len: usize,
    token: u64,
    out_promises: *mut redmux_promises,
) -> i32 {
    guard(client.id, || {
        let place = Place::new(out_promises, "out_promises")?;
        let client = open(client)?;
        let prefix = read(prefix, prefix_len, "prefix")?;
        let inbox = ticket(inbox, token, -1, &client)?.inbox.ok_or(Status::InvalidArgument)?;
        let id = next_id();
        handle::with_source(id, &client, Family::Promises, || client.hub().promises(id, token, &inbox, prefix))?;
        place.write(redmux_promises { id });
        Ok(())
    })
}

/// Makes a promise, which is in effect when this returns: the next message on prefix and suffix completes it. Costs no
/// traffic. Several promises on one name are all completed by one message. REDMUX_ERR_INACTIVE at once if the set is not
/// subscribed at this moment: wait with redmux_promises_active, or use redmux_promises_make_later.
///
/// Completes with promise: status 0 and the message in data, or REDMUX_ERR_TIMEOUT, REDMUX_ERR_CANCELLED (also by
/// redmux_promises_clear), REDMUX_ERR_INTERRUPTED (the connection was lost), REDMUX_ERR_CLOSED, REDMUX_ERR_TOO_LARGE.
/// redmux_inbox_cancel cancels it. suffix: any bytes, NULL only with length 0; borrowed for the call. inbox: where
/// promise comes; {0} is the set's own. token: comes back in it. timeout_ms: 0 is the client's option timeout, -1 for
/// ever. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_promises_make(
    promises: redmux_promises,
    suffix: *const u8,
    suffix_len: usize,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
) -> i32 {
    guard(promises.id, || {
        let client = client_of(promises)?;
        let suffix = read(suffix, suffix_len, "suffix")?;
        client.hub().promise(promises.id, suffix, ticket(inbox, token, timeout_ms, &client)?)
    })
}

/// Makes a promise as soon as the set is active. Its time begins then. Completes like redmux_promises_make; with
/// REDMUX_ERR_TIMEOUT also if the set is not active within wait_ms.
///
/// suffix: any bytes, NULL only with length 0; borrowed for the call. inbox: where promise comes; {0} is the set's own.
/// token: comes back in it. timeout_ms: 0 is the client's option timeout, -1 for ever. wait_ms: the same, for the wait
/// until it is made. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_promises_make_later(
    promises: redmux_promises,
    suffix: *const u8,
    suffix_len: usize,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
    wait_ms: i64,
) -> i32 {
    guard(promises.id, || {
        let client = client_of(promises)?;
        let suffix = read(suffix, suffix_len, "suffix")?;
        let timeout = allowed(timeout_ms, client.options())?;
        client.hub().promise_later(promises.id, suffix, ticket(inbox, token, wait_ms, &client)?, timeout)
    })
}

/// Makes a promise as soon as the set is active, and waits for its message.
///
/// suffix: any bytes, NULL only with length 0; borrowed for the call. timeout_ms: how long the set may take to be active,
/// and then the message as long again; 0 is the client's option timeout, -1 for ever. out_text: borrowed for the call, written on success; the message is owned by the caller, release with
/// redmux_text_free. out_error: borrowed for the call, may be NULL; the error is owned by the caller, release with
/// redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_promises_make_wait(
    promises: redmux_promises,
    suffix: *const u8,
    suffix_len: usize,
    timeout_ms: i64,
    out_text: *mut *mut redmux_text,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(promises.id, out_error, || {
        let place = Place::new(out_text, "out_text")?;
        let client = client_of(promises)?;
        let suffix = read(suffix, suffix_len, "suffix")?;
        let limit = allowed(timeout_ms, client.options())?;
        let mut data = Vec::new();
        client.wait_for(
            limit,
            |ticket| client.hub().promise_later(promises.id, suffix, ticket, limit),
            |lent| completion_with_data("promise", lent, &mut data),
        )?;
        place.write(text(data));
        Ok(())
    })
}

/// Completes with done when the set is active, so that a promise can be made; at once if it is.
///
/// inbox: where done comes; {0} is the set's own. token: comes back in it. timeout_ms: 0 is the client's option timeout,
/// -1 for ever. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_promises_active(
    promises: redmux_promises,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
) -> i32 {
    guard(promises.id, || {
        let client = client_of(promises)?;
        client.hub().wait_active(promises.id, ticket(inbox, token, timeout_ms, &client)?)
    })
}

/// Waits until the set is active, so that a promise can be made.
///
/// timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error
/// is owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_promises_active_wait(
    promises: redmux_promises,
    timeout_ms: i64,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(promises.id, out_error, || {
        let client = client_of(promises)?;
        let limit = allowed(timeout_ms, client.options())?;
        let start = |ticket| client.hub().wait_active(promises.id, ticket);
        client.wait_for(limit, start, |lent| completion("wait until active", lent))
    })
}

/// Ends every promise of the set with REDMUX_ERR_CANCELLED, made and to be made; the set goes on.
///
/// out_count: borrowed for the call, may be NULL; written on success with how many. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_promises_clear(promises: redmux_promises, out_count: *mut usize) -> i32 {
    guard(promises.id, || {
        let count = client_of(promises)?.hub().clear_promises(promises.id)?;
        if let Some(place) = Place::optional(out_count) {
            place.write(count);
        }
        Ok(())
    })
}

/// Closes the set at once: its promises end with REDMUX_ERR_CLOSED, then closed is its last record. {0} and a second
/// call give REDMUX_ERR_CLOSED and are harmless.
///
/// Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_promises_close(promises: redmux_promises) -> i32 {
    guard(0, || {
        let source = handle::remove_source(promises.id, Family::Promises)?;
        if let Some(client) = source.client.upgrade() {
            let _ = client.hub().close_source(promises.id);
        }
        Ok(())
    })
}

/// One promise on one channel, which is subscribed while somebody waits. An active record with the channel's name says
/// that it is in effect; then it completes like redmux_promises_make, and closed follows. For many promises a set is
/// cheaper. redmux_inbox_cancel cancels it.
///
/// name: any bytes, NULL only with length 0; borrowed for the call. inbox: of this client, where its records come. token:
/// comes back in them. timeout_ms: from now on; 0 is the client's option timeout, -1 for ever. Any thread, also inside a
/// callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_promise_make(
    client: redmux_client,
    name: *const u8,
    name_len: usize,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
) -> i32 {
    guard(client.id, || {
        let client = open(client)?;
        let name = read(name, name_len, "name")?;
        let ticket = ticket(inbox, token, timeout_ms, &client)?;
        let inbox = ticket.inbox.clone().ok_or(Status::InvalidArgument)?;
        client.hub().promise_alone(next_id(), name, &inbox, ticket)
    })
}

/// Waits for one message on one channel.
///
/// name: any bytes, NULL only with length 0; borrowed for the call. timeout_ms: 0 is the client's option timeout, -1 for
/// ever. out_text: borrowed for the call, written on success; the message is owned by the caller, release with
/// redmux_text_free. out_error: borrowed for the call, may be NULL; the error is owned by the caller, release with
/// redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_promise_wait(
    client: redmux_client,
    name: *const u8,
    name_len: usize,
    timeout_ms: i64,
    out_text: *mut *mut redmux_text,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(client.id, out_error, || {
        let place = Place::new(out_text, "out_text")?;
        let client = open(client)?;
        let name = read(name, name_len, "name")?;
        let mut data = Vec::new();
        client.wait_for(
            allowed(timeout_ms, client.options())?,
            |ticket| match ticket.inbox.clone() {
                Some(inbox) => client.hub().promise_alone(next_id(), name, &inbox, ticket),
                None => Err(Status::Internal.into()),
            },
            |lent| completion_with_data("promise", lent, &mut data),
        )?;
        place.write(text(data));
        Ok(())
    })
}
