//! Clients: open, wait, stop, restart, close.

use super::block::redmux_block;
use super::bytes::{Place, read_array, read_list, read_text, write_array};
use super::callback::{Callback, redmux_block_fn, redmux_drop_fn};
use super::error::redmux_error;
use super::guard::{guard, guard_error};
use super::handle;
use super::inbox::{allowed, limit, redmux_inbox, ticket, until};
use super::kinds::{REDMUX_EVENTS_CALLBACK, REDMUX_EVENTS_NONE, REDMUX_EVENTS_TAKE};
use super::options::redmux_options;
use super::text::{redmux_text, text};
use crate::client::{Client, EventsBy};
use crate::completion::completion;
use crate::error::{Error, Result, Status};
use crate::options::Options;
use std::ffi::{c_char, c_void};
use std::sync::{Arc, PoisonError};

/// A client: one subscriber connection and one publish connection, made again for ever. {0} is none. May be used from
/// any thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct redmux_client {
    /// Which; 0 is none.
    pub id: u64,
}

/// Opens a client, and returns at once: the server may be away, and is connected to as soon as it is there. Wait for it
/// with redmux_client_ready_wait if you want to know.
///
/// url: a C string, as for redmux_options_set_url; borrowed for the call. NULL reads the environment: REDIS_URL, else
/// REDIS_HOST, REDIS_PORT, REDIS_USERNAME, REDIS_PASSWORD and REDIS_DB, else localhost:6379. out_client: borrowed for the call, written on
/// success; release with redmux_client_close. out_error: borrowed for the call, may be NULL; the error is owned by the
/// caller, release with redmux_error_free. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_open(
    url: *const c_char,
    out_client: *mut redmux_client,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(0, out_error, || {
        let place = Place::new(out_client, "out_client")?;
        let mut options = Options::new();
        if !url.is_null() {
            options.set_url(read_text(url, "url")?)?;
        }
        Client::open_known(options, EventsBy::None, |client| {
            place.write(redmux_client { id: handle::add_client(client) });
        })?;
        Ok(())
    })
}

/// Opens a client with options and, if wanted, an event inbox, where states, logs and questions come.
///
/// options: from redmux_options_new, borrowed for the call; free them when you like. Without an address in them the
/// environment is read, as in redmux_client_open. events: REDMUX_EVENTS_NONE, REDMUX_EVENTS_TAKE or
/// REDMUX_EVENTS_CALLBACK. callback: for the last of them, else NULL. user: given to it, borrowed until drop is called.
/// drop: called exactly once after the last call, also when this function fails; may be NULL. out_client: borrowed for
/// the call, written on success, before the first callback; release with redmux_client_close. out_events: borrowed for the
/// call, may be NULL where nobody takes; written as out_client with the event inbox, {0} if there is none; release with
/// redmux_inbox_close. out_error: borrowed for the call, may be NULL; the
/// error is owned by the caller, release with redmux_error_free. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_open_with(
    options: redmux_options,
    events: i32,
    callback: redmux_block_fn,
    user: *mut c_void,
    drop: redmux_drop_fn,
    out_client: *mut redmux_client,
    out_events: *mut redmux_inbox,
    out_error: *mut *mut redmux_error,
) -> i32 {
    let callback = Callback::new(callback, user, drop);
    guard_error(0, out_error, move || {
        let place = Place::new(out_client, "out_client")?;
        let options = handle::options(options.id)?.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let events = match events {
            REDMUX_EVENTS_NONE => EventsBy::None,
            REDMUX_EVENTS_TAKE => EventsBy::Take,
            REDMUX_EVENTS_CALLBACK => EventsBy::Callback(callback.sink()?),
            other => {
                return Err(Error::new(Status::InvalidArgument, format!("events is {other}, no REDMUX_EVENTS_...")));
            }
        };
        Client::open_known(options, events, |client| {
            // Whom nobody can name has no handle, which nobody could close.
            if let Some(place) = Place::optional(out_events) {
                place.write(redmux_inbox { id: client.events().map_or(0, |inbox| handle::add_inbox(inbox, client)) });
            }
            place.write(redmux_client { id: handle::add_client(client) });
        })?;
        Ok(())
    })
}

/// Completes with done when the subscriber link is up (number: how often it came up), with REDMUX_ERR_TIMEOUT and the
/// reason of the last failed attempt if it is not in time.
///
/// inbox: where done comes, an inbox of this client. token: comes back in it. timeout_ms: 0 is the client's option
/// timeout, -1 for ever. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_ready(client: redmux_client, inbox: redmux_inbox, token: u64, timeout_ms: i64) -> i32 {
    guard(client.id, || {
        let client = handle::client(client.id)?;
        client.ready(ticket(inbox, token, timeout_ms, &client)?)
    })
}

/// Waits until the subscriber link is up. REDMUX_ERR_TIMEOUT: it is not yet, and the error says why the last attempt
/// failed; the client goes on trying.
///
/// timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error
/// is owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_ready_wait(
    client: redmux_client,
    timeout_ms: i64,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(client.id, out_error, || {
        let client = handle::client(client.id)?;
        let limit = allowed(timeout_ms, client.options())?;
        client.wait_for(limit, |ticket| client.ready(ticket), |lent| completion("wait for the connection", lent))
    })
}

/// Authenticates the live connections again, and every later one: for passwords and tokens that change. Completes with
/// done; REDMUX_ERR_AUTH if the server refused. Connections that are away use it when they are made.
///
/// user: a C string, borrowed for the call; NULL is Redis' default user. password: a C string, borrowed for the call.
/// inbox: where done comes, an inbox of this client. token: comes back in it. timeout_ms: 0 is the client's option
/// timeout, -1 for ever. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_authenticate(
    client: redmux_client,
    user: *const c_char,
    password: *const c_char,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
) -> i32 {
    guard(client.id, || {
        let client = handle::client(client.id)?;
        let user = if user.is_null() { None } else { Some(read_text(user, "user")?) };
        let password = read_text(password, "password")?;
        client.authenticate(user, password, ticket(inbox, token, timeout_ms, &client)?)
    })
}

/// Answers a question of the event inbox: REDMUX_KIND_QUESTION, whose number is the question's id.
///
/// "address": values are host and port, or the path of a unix socket. "credentials": user and password, or the password
/// alone, or nothing. REDMUX_ERR_TIMEOUT: it came too late, or was answered before.
///
/// question: the id. status: 0, or a status that refuses: the attempt to connect fails with it. values: count byte
/// strings, borrowed for the call. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_question_answer(
    client: redmux_client,
    question: u64,
    status: i32,
    values: *const super::bytes::redmux_bytes,
    count: usize,
) -> i32 {
    guard(client.id, || {
        let client = handle::client(client.id)?;
        let values = read_list(values, count, "values")?.into_iter().map(<[u8]>::to_vec).collect();
        let answer = match Status::from_code(status) {
            Some(Status::Ok) => Ok(values),
            Some(status) => Err(status),
            None => return Err(Error::new(Status::InvalidArgument, format!("{status} is no status"))),
        };
        Ok(client.hub().questions.answer(question, answer)?)
    })
}

/// Disconnects and keeps everything that is subscribed. Promises end with REDMUX_ERR_INTERRUPTED, publishes that have no
/// answer with REDMUX_ERR_NOT_SENT or REDMUX_ERR_UNKNOWN, and new ones are refused with REDMUX_ERR_STOPPED; there is no
/// lost record. REDMUX_ERR_STOPPED if it is stopped already.
///
/// Returns at once. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_stop(client: redmux_client) -> i32 {
    guard(client.id, || Ok(handle::client(client.id)?.stop()?))
}

/// Connects a stopped client again: every subscription gets active when it is whole. REDMUX_ERR_NOT_STOPPED if it runs.
///
/// Returns at once. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_restart(client: redmux_client) -> i32 {
    guard(client.id, || Ok(handle::client(client.id)?.restart()?))
}

/// Waits for inboxes that have something to take, and takes them off the client's ready list. An inbox enters the list
/// when it becomes non-empty or ends, and again when a take leaves records behind; one with a callback never does. By
/// the time you look, another thread may have emptied it.
///
/// REDMUX_OK with a count of 0: redmux_client_wake was called. REDMUX_ERR_TIMEOUT: nothing came. REDMUX_ERR_CLOSED: the
/// client is closed. timeout_ms: 0 polls, -1 waits for ever. out_inboxes: room for capacity inboxes, borrowed for the
/// call. out_count: borrowed for the call, written on success. Any thread; inside a callback only timeout_ms 0.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_wait(
    client: redmux_client,
    timeout_ms: i64,
    out_inboxes: *mut redmux_inbox,
    capacity: usize,
    out_count: *mut usize,
) -> i32 {
    guard(client.id, || {
        let place = Place::new(out_count, "out_count")?;
        Place::new(out_inboxes, "out_inboxes")?;
        if capacity == 0 {
            return Err(Error::new(Status::InvalidArgument, "capacity is 0"));
        }
        let limit = limit(timeout_ms)?;
        if timeout_ms != 0 && crate::inbox::dispatch::inside_callback() {
            return Err(Status::WouldDeadlock.into());
        }
        // Only the list is held while waiting, so that the client can be closed meanwhile.
        let ready = Arc::clone(handle::client(client.id)?.ready_list());
        let inboxes: Vec<redmux_inbox> =
            ready.wait(limit, capacity)?.iter().map(|inbox| redmux_inbox { id: inbox.id() }).collect();
        write_array(out_inboxes, capacity, &inboxes, "out_inboxes")?;
        place.write(inboxes.len());
        Ok(())
    })
}

/// Makes one redmux_client_wait, running or the next, return REDMUX_OK with a count of 0. It does not end a waiting
/// redmux_inbox_take. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_wake(client: redmux_client) -> i32 {
    guard(client.id, || {
        handle::client(client.id)?.ready_list().wake();
        Ok(())
    })
}

/// A descriptor that is readable exactly while some inbox waits in the ready list; for poll, epoll and event loops. With the
/// option `wrapper` it may be readable where nothing waits yet: for one who looks often, the look itself reads what the
/// server sent. Do not read, write or close it; it is closed with the client, so watch a dup of it if you may outlive that:
/// the dup stays readable when the client has ended. Drain it with redmux_client_wait(client, 0, ...).
///
/// out_fd: borrowed for the call, written on success. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_fd(client: redmux_client, out_fd: *mut i32) -> i32 {
    guard(client.id, || {
        let place = Place::new(out_fd, "out_fd")?;
        let fd = handle::client(client.id)?.ready_list().fd();
        place.write(fd.map_err(|error| Error::new(Status::Internal, format!("no descriptor to be had: {error}")))?);
        Ok(())
    })
}

/// Takes one block from each of many inboxes in one call. Never waits; inboxes that are empty are skipped, one that has
/// ended gives an entry with status REDMUX_ERR_CLOSED and nothing else in it. Release each block with
/// redmux_block_release, or take again with it.
///
/// inboxes: count inboxes, borrowed for the call. out_blocks: room for count blocks, borrowed for the call; entries are
/// written from the first on, what was in them is not given back. out_count: borrowed for the call, written on success
/// with how many. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_take_many(
    client: redmux_client,
    inboxes: *const redmux_inbox,
    count: usize,
    out_blocks: *mut redmux_block,
    out_count: *mut usize,
) -> i32 {
    guard(client.id, || {
        let place = Place::new(out_count, "out_count")?;
        handle::client(client.id)?;
        let inboxes = read_array(inboxes, count, "inboxes")?;
        if count > 0 {
            Place::new(out_blocks, "out_blocks")?;
        }
        let mut blocks = Vec::new();
        for &inbox in inboxes {
            let taken = match handle::inbox(inbox.id) {
                Ok(found) => found.inbox.take(Some(std::time::Duration::ZERO)),
                Err(status) => Err(status),
            };
            match taken {
                Ok(lent) => blocks.push(redmux_block::lend(lent)),
                Err(Status::Timeout | Status::Busy) => {}
                Err(status) => blocks.push(redmux_block { inbox, status: status.code(), ..redmux_block::NONE }),
            }
        }
        write_array(out_blocks, count, &blocks, "out_blocks")?;
        place.write(blocks.len());
        Ok(())
    })
}

/// What the client counted, as one JSON document; docs/stats.schema.json describes it.
///
/// out_text: borrowed for the call, written on success; the text is owned by the caller, release with
/// redmux_text_free. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_stats(client: redmux_client, out_text: *mut *mut redmux_text) -> i32 {
    guard(client.id, || {
        let place = Place::new(out_text, "out_text")?;
        place.write(text(handle::client(client.id)?.stats()));
        Ok(())
    })
}

/// Begins to close a client and returns at once. done comes when every source and operation has ended, before the
/// inboxes end; status REDMUX_ERR_TIMEOUT if publishes had no answer by then, REDMUX_ERR_INTERRUPTED if publishes were
/// lost. The handle is closed from now on; its inboxes yield what they hold and then answer REDMUX_ERR_CLOSED.
///
/// inbox: where done comes, an inbox of this client. token: comes back in it. timeout_ms: how long publishes may still
/// take; 0 is the client's option timeout, -1 for ever. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_close_begin(
    client: redmux_client,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
) -> i32 {
    guard(0, || {
        let open = handle::client(client.id)?;
        let ticket = ticket(inbox, token, timeout_ms, &open)?;
        open.close_begin(ticket)?;
        // A close on another thread may have taken it out, and was refused; this one has begun.
        let _ = handle::remove_client(client.id);
        Ok(())
    })
}

/// Closes a client: publishes that were handed in get their time, then every source and operation ends, then callbacks
/// get what their inboxes hold. Inboxes that are taken from yield what they hold (closed of each source, the ends of
/// operations) and then answer REDMUX_ERR_CLOSED. Publishes without an answer by then end with REDMUX_ERR_NOT_SENT or
/// REDMUX_ERR_UNKNOWN; a server that is away can so hold the close up until timeout_ms.
///
/// When it returns REDMUX_OK on a thread of yours, no callback of the client runs or will run, and every drop has been
/// called. REDMUX_ERR_TIMEOUT: the client is closed, and a callback still runs; its drop has not been called and nothing
/// of it may be freed before that. Inside a callback it returns at once, and drop says when all is over. A second call
/// gives REDMUX_ERR_CLOSED and is harmless. The handles of its inboxes and sources stay until they are closed, in any
/// order, before or after.
///
/// timeout_ms: how long publishes and callbacks may take; 0 does not wait for them, -1 for ever. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_client_close(client: redmux_client, timeout_ms: i64) -> i32 {
    guard(0, || {
        let deadline = until(timeout_ms)?;
        Ok(handle::remove_client(client.id)?.close(deadline)?)
    })
}

/// The client of a handle, for the files that work on it.
pub(super) fn open(client: redmux_client) -> Result<Arc<Client>> {
    Ok(handle::client(client.id)?)
}
