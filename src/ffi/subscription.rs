//! Subscriptions: a set of channels that changes while it lives, or one pattern.

use super::bytes::{Place, read, read_list, redmux_bytes};
use super::client::{open, redmux_client};
use super::error::redmux_error;
use super::guard::{guard, guard_error};
use super::handle::{self, Family};
use super::inbox::{allowed, redmux_inbox, ticket};
use super::text::{list, redmux_list};
use crate::client::Client;
use crate::completion::{completion, completion_of_add};
use crate::error::{Result, Status};
use crate::mux::subscription::Ticket;
use crate::runtime::next_id;
use std::sync::Arc;

/// A subscription: a set of channels, or one pattern. Its id is the source of its records. {0} is none. May be used from
/// any thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct redmux_subscription {
    /// Which; 0 is none.
    pub id: u64,
}

fn client_of(subscription: redmux_subscription) -> Result<Arc<Client>> {
    Ok(handle::source(subscription.id, Family::Subscription)?)
}

/// A new subscription to channels, without any yet: add them with redmux_subscription_add. Its records come into inbox:
/// message for each message of its channels, active when a channel that was added is subscribed, lost at once when the
/// connection is lost, active without a name when it is whole again, dropped where messages had no room, closed as the
/// last.
///
/// Several subscriptions on one name share one subscription of Redis, and each gets every message once. inbox: of this
/// client; several sources may share one. token: comes back in the records. out_subscription: borrowed for the call,
/// written on success; release with redmux_subscription_close. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_subscription_new(
    client: redmux_client,
    inbox: redmux_inbox,
    token: u64,
    out_subscription: *mut redmux_subscription,
) -> i32 {
    guard(client.id, || {
        let place = Place::new(out_subscription, "out_subscription")?;
        let client = open(client)?;
        let inbox = ticket(inbox, token, -1, &client)?.inbox.ok_or(Status::InvalidArgument)?;
        let id = next_id();
        handle::with_source(id, &client, Family::Subscription, || client.hub().subscribe(id, token, &inbox, None))?;
        place.write(redmux_subscription { id });
        Ok(())
    })
}

/// A new subscription to a pattern of Redis' (h?llo, news.*, [ab]*), for its whole life. Completes like
/// redmux_subscription_add. The messages' name is the channel, extra is the pattern; the name of its active is the
/// pattern.
///
/// inbox: of this client, for the subscription's records. pattern: any bytes, NULL only with length 0; borrowed for the
/// call. token: comes back in the records. done_inbox, done_token: where and with which token done comes; {0} is inbox.
/// timeout_ms: 0 is the client's option timeout, -1 for ever. out_subscription: borrowed for the call, written on
/// success; release with redmux_subscription_close. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_subscription_new_pattern(
    client: redmux_client,
    inbox: redmux_inbox,
    pattern: *const u8,
    pattern_len: usize,
    token: u64,
    done_inbox: redmux_inbox,
    done_token: u64,
    timeout_ms: i64,
    out_subscription: *mut redmux_subscription,
) -> i32 {
    guard(client.id, || {
        let place = Place::new(out_subscription, "out_subscription")?;
        let client = open(client)?;
        let pattern = read(pattern, pattern_len, "pattern")?;
        let inbox = ticket(inbox, token, -1, &client)?.inbox.ok_or(Status::InvalidArgument)?;
        let done = ticket(done_inbox, done_token, timeout_ms, &client)?;
        let id = next_id();
        handle::with_source(id, &client, Family::Subscription, || {
            client.hub().subscribe(id, token, &inbox, Some((pattern, done)))
        })?;
        place.write(redmux_subscription { id });
        Ok(())
    })
}

/// Adds channels. Completes with done when each is active or refused: number is how many are active, aux how many were
/// refused. REDMUX_ERR_PARTIAL or REDMUX_ERR_REFUSED: a refused record for each stands before it, in the same inbox with
/// the same token; the others are active. REDMUX_ERR_SUPERSEDED: a later remove won. REDMUX_ERR_TIMEOUT: not yet; they
/// stay wanted. Names that it has already are counted and not subscribed twice.
///
/// REDMUX_ERR_CONFLICT at once: it is to a pattern, which it has for its whole life. REDMUX_ERR_FULL at once: room for the completion and for a refused record per name must be free in the inbox; add
/// many names in several calls. names: count names of any bytes, borrowed for the call. inbox: where done comes; {0} is
/// the subscription's own. token: comes back in it. timeout_ms: 0 is the client's option timeout, -1 for ever. Any
/// thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_subscription_add(
    subscription: redmux_subscription,
    names: *const redmux_bytes,
    count: usize,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
) -> i32 {
    guard(subscription.id, || {
        let client = client_of(subscription)?;
        let names = read_list(names, count, "names")?;
        client.hub().add(subscription.id, &names, ticket(inbox, token, timeout_ms, &client)?)
    })
}

/// Adds channels and waits until each is active or refused. The error names the refused ones; the others are active.
/// REDMUX_ERR_TIMEOUT: not yet, the server may be away; they stay wanted.
///
/// names: count names of any bytes, borrowed for the call. timeout_ms: 0 is the client's option timeout, -1 for ever.
/// out_error: borrowed for the call, may be NULL; the error is owned by the caller, release with redmux_error_free. Any
/// thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_subscription_add_wait(
    subscription: redmux_subscription,
    names: *const redmux_bytes,
    count: usize,
    timeout_ms: i64,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(subscription.id, out_error, || {
        let client = client_of(subscription)?;
        let names = read_list(names, count, "names")?;
        let limit = allowed(timeout_ms, client.options())?;
        let mut refused = Vec::new();
        client.wait_for(
            limit,
            |ticket| client.hub().add(subscription.id, &names, ticket),
            |lent| completion_of_add(lent, &mut refused),
        )
    })
}

/// Removes channels. Completes with done when the server let them go, or somebody else here still has them. Names that
/// it does not have are ignored. Messages that were read before the call may still be in the inbox.
///
/// names: count names of any bytes, borrowed for the call. inbox: where done comes; {0} is the subscription's own.
/// token: comes back in it. timeout_ms: 0 is the client's option timeout, -1 for ever. Any thread, also inside a
/// callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_subscription_remove(
    subscription: redmux_subscription,
    names: *const redmux_bytes,
    count: usize,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
) -> i32 {
    guard(subscription.id, || {
        let client = client_of(subscription)?;
        let names = read_list(names, count, "names")?;
        client.hub().remove(subscription.id, &names, ticket(inbox, token, timeout_ms, &client)?)
    })
}

/// Removes channels and waits until the server let them go, or somebody else here still has them.
///
/// names: count names of any bytes, borrowed for the call. timeout_ms: 0 is the client's option timeout, -1 for ever.
/// out_error: borrowed for the call, may be NULL; the error is owned by the caller, release with redmux_error_free. Any
/// thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_subscription_remove_wait(
    subscription: redmux_subscription,
    names: *const redmux_bytes,
    count: usize,
    timeout_ms: i64,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(subscription.id, out_error, || {
        let client = client_of(subscription)?;
        let names = read_list(names, count, "names")?;
        wait(&client, timeout_ms, "remove", |ticket| client.hub().remove(subscription.id, &names, ticket))
    })
}

fn wait(client: &Client, timeout_ms: i64, what: &str, start: impl FnOnce(Ticket) -> Result<()>) -> Result<()> {
    client.wait_for(allowed(timeout_ms, client.options())?, start, |lent| completion(what, lent))
}

/// Removes every channel or the pattern. Completes like redmux_subscription_remove; the subscription stays and may get
/// channels again.
///
/// inbox: where done comes; {0} is the subscription's own. token: comes back in it. timeout_ms: 0 is the client's option
/// timeout, -1 for ever. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_subscription_clear(
    subscription: redmux_subscription,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
) -> i32 {
    guard(subscription.id, || {
        let client = client_of(subscription)?;
        client.hub().clear(subscription.id, false, ticket(inbox, token, timeout_ms, &client)?)
    })
}

/// Removes every channel or the pattern and waits until the server let them go.
///
/// timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error
/// is owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_subscription_clear_wait(
    subscription: redmux_subscription,
    timeout_ms: i64,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(subscription.id, out_error, || {
        let client = client_of(subscription)?;
        wait(&client, timeout_ms, "clear", |ticket| client.hub().clear(subscription.id, false, ticket))
    })
}

/// Delivers everything that was published before, unsubscribes, and closes: closed is the subscription's last record, and
/// done follows. The handle stays until redmux_subscription_close, which is then harmless.
///
/// inbox: where done comes; {0} is the subscription's own. token: comes back in it. timeout_ms: when it is closed without
/// the server's word; 0 is the client's option timeout, -1 never. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_subscription_drain(
    subscription: redmux_subscription,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
) -> i32 {
    guard(subscription.id, || {
        let client = client_of(subscription)?;
        client.hub().clear(subscription.id, true, ticket(inbox, token, timeout_ms, &client)?)
    })
}

/// Delivers everything that was published before, unsubscribes, waits for the server's word, and closes: closed is then in
/// the inbox, behind everything that came.
///
/// timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error
/// is owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_subscription_drain_wait(
    subscription: redmux_subscription,
    timeout_ms: i64,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(subscription.id, out_error, || {
        let client = client_of(subscription)?;
        wait(&client, timeout_ms, "drain", |ticket| client.hub().clear(subscription.id, true, ticket))
    })
}

/// Completes with done when every channel, or the pattern, is active or refused; at once if that is so.
///
/// inbox: where done comes; {0} is the subscription's own. token: comes back in it. timeout_ms: 0 is the client's option
/// timeout, -1 for ever. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_subscription_active(
    subscription: redmux_subscription,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
) -> i32 {
    guard(subscription.id, || {
        let client = client_of(subscription)?;
        client.hub().wait_active(subscription.id, ticket(inbox, token, timeout_ms, &client)?)
    })
}

/// Waits until every channel, or the pattern, is active or refused.
///
/// timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error
/// is owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_subscription_active_wait(
    subscription: redmux_subscription,
    timeout_ms: i64,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(subscription.id, out_error, || {
        let client = client_of(subscription)?;
        let what = "wait until active";
        wait(&client, timeout_ms, what, |ticket| client.hub().wait_active(subscription.id, ticket))
    })
}

/// The channels that a subscription wants, or its pattern: added minus removed, in no order.
///
/// out_list: borrowed for the call, written on success; the list is owned by the caller, release with
/// redmux_list_free. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_subscription_names(subscription: redmux_subscription, out_list: *mut *mut redmux_list) -> i32 {
    guard(subscription.id, || {
        let place = Place::new(out_list, "out_list")?;
        place.write(list(client_of(subscription)?.hub().names_of(subscription.id)?));
        Ok(())
    })
}

/// Closes a subscription at once: what its inbox holds of it stays, and closed is its last record. Never waits for the
/// network. {0} and a second call give REDMUX_ERR_CLOSED and are harmless.
///
/// Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_subscription_close(subscription: redmux_subscription) -> i32 {
    guard(0, || {
        let source = handle::remove_source(subscription.id, Family::Subscription)?;
        // Its client may be closed before it: then it ended with that.
        if let Some(client) = source.client.upgrade() {
            let _ = client.hub().close_source(subscription.id);
        }
        Ok(())
    })
}
