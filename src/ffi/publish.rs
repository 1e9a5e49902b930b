//! Publishing, and knowing what became of it.

use super::bytes::{Place, read};
use super::client::{open, redmux_client};
use super::error::redmux_error;
use super::guard::{guard, guard_error};
use super::inbox::{allowed, redmux_inbox, ticket};
use crate::completion::completion;
use crate::error::{Error, Status};
use std::time::Instant;

/// Publishes a message. Completes with published: number is how many received it; REDMUX_ERR_NOT_SENT if it was never
/// given to the kernel by its deadline (publish it again if you like), REDMUX_ERR_UNKNOWN if it was and nobody answered,
/// REDMUX_ERR_REFUSED if the ACL forbids the channel. Nothing is ever repeated silently. published may come before or
/// behind the message itself, where that is subscribed here: redmux_client_barrier gives an order.
///
/// While the server is away it waits for it, until timeout_ms. REDMUX_ERR_STOPPED at once: the client is stopped.
/// REDMUX_ERR_FULL at once: the inbox has no room for the completion, or publish_queue is full. REDMUX_ERR_TOO_LARGE:
/// over max_name or max_payload.
///
/// channel, data: any bytes, NULL only with length 0; borrowed for the call. inbox: where published comes, an inbox of
/// this client. token: comes back in it. timeout_ms: 0 is the client's option timeout, -1 for ever. Any thread, also
/// inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_publish(
    client: redmux_client,
    channel: *const u8,
    channel_len: usize,
    data: *const u8,
    data_len: usize,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
) -> i32 {
    guard(client.id, || {
        let client = open(client)?;
        let (channel, data) = (read(channel, channel_len, "channel")?, read(data, data_len, "data")?);
        let ticket = ticket(inbox, token, timeout_ms, &client)?;
        let none = || Error::new(Status::InvalidArgument, "a publish completes in an inbox; post needs none");
        client.hub().publish(channel, data, &ticket.inbox.ok_or_else(none)?, token, ticket.deadline)
    })
}

/// Publishes a message and waits for the number of receivers. It fails as redmux_client_publish completes.
///
/// channel, data: any bytes, NULL only with length 0; borrowed for the call. timeout_ms: 0 is the client's option
/// timeout, -1 for ever. out_receivers: borrowed for the call, may be NULL; written on success. out_error: borrowed for
/// the call, may be NULL; the error is owned by the caller, release with redmux_error_free. Any thread;
/// REDMUX_ERR_WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_publish_wait(
    client: redmux_client,
    channel: *const u8,
    channel_len: usize,
    data: *const u8,
    data_len: usize,
    timeout_ms: i64,
    out_receivers: *mut u64,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(client.id, out_error, || {
        let client = open(client)?;
        let (channel, data) = (read(channel, channel_len, "channel")?, read(data, data_len, "data")?);
        let limit = allowed(timeout_ms, client.options())?;
        let mut receivers = 0;
        client.wait_for(
            limit,
            |ticket| match ticket.inbox {
                Some(inbox) => client.hub().publish(channel, data, &inbox, 0, ticket.deadline),
                None => Err(Status::Internal.into()),
            },
            |lent| {
                receivers = lent.records().first().map_or(0, |record| record.number);
                completion("publish", lent)
            },
        )?;
        if let Some(place) = Place::optional(out_receivers) {
            place.write(receivers);
        }
        Ok(())
    })
}

/// Publishes a message and completes with nothing: the cheapest way. What is lost is counted in the client's statistics
/// and told in the event inbox as one dropped record. REDMUX_ERR_FULL at once: publish_queue is full. REDMUX_ERR_TOO_LARGE:
/// over max_name or max_payload. REDMUX_ERR_STOPPED: the client is stopped.
///
/// channel, data: any bytes, NULL only with length 0; borrowed for the call. While the server is away a post waits as
/// long as the client's option timeout says. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_post(
    client: redmux_client,
    channel: *const u8,
    channel_len: usize,
    data: *const u8,
    data_len: usize,
) -> i32 {
    guard(client.id, || {
        let client = open(client)?;
        let (channel, data) = (read(channel, channel_len, "channel")?, read(data, data_len, "data")?);
        let deadline = allowed(0, client.options())?.and_then(|limit| Instant::now().checked_add(limit));
        client.hub().post(channel, data, deadline)
    })
}

/// Completes with done when everything that was published and posted before is answered. REDMUX_ERR_INTERRUPTED, with
/// how many in number, if some of it was lost: not sent in its time, or not answered before the connection was lost.
///
/// inbox: where done comes, an inbox of this client. token: comes back in it. timeout_ms: 0 is the client's option
/// timeout, -1 for ever. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_flush(client: redmux_client, inbox: redmux_inbox, token: u64, timeout_ms: i64) -> i32 {
    guard(client.id, || {
        let client = open(client)?;
        client.flush(ticket(inbox, token, timeout_ms, &client)?)
    })
}

/// Waits until everything that was published and posted before is answered.
///
/// timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error
/// is owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_flush_wait(
    client: redmux_client,
    timeout_ms: i64,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(client.id, out_error, || {
        let client = open(client)?;
        let limit = allowed(timeout_ms, client.options())?;
        client.wait_for(limit, |ticket| client.flush(ticket), |lent| completion("flush", lent))
    })
}

/// A flush, and then a PING through the subscriber link: its done stands, in an inbox that messages of this client come
/// to, behind everything that was published before. REDMUX_ERR_INTERRUPTED if the link was lost meanwhile.
///
/// inbox: where done comes, an inbox of this client. token: comes back in it. timeout_ms: 0 is the client's option
/// timeout, -1 for ever. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_barrier(
    client: redmux_client,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
) -> i32 {
    guard(client.id, || {
        let client = open(client)?;
        client.barrier(ticket(inbox, token, timeout_ms, &client)?)
    })
}

/// Waits until everything that was published before has come through the subscriber link: what is subscribed here has
/// it in its inbox.
///
/// timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error
/// is owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_barrier_wait(
    client: redmux_client,
    timeout_ms: i64,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(client.id, out_error, || {
        let client = open(client)?;
        let limit = allowed(timeout_ms, client.options())?;
        client.wait_for(limit, |ticket| client.barrier(ticket), |lent| completion("barrier", lent))
    })
}
