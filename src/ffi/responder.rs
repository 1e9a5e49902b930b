//! Responders: serving a service, as one of however many.

use super::bytes::{Place, read};
use super::client::{open, redmux_client};
use super::error::redmux_error;
use super::guard::{guard, guard_error};
use super::handle::{self, Family};
use super::inbox::{allowed, redmux_inbox, ticket};
use super::options::{given, redmux_options};
use crate::buffer::{Say, Serve};
use crate::client::Client;
use crate::completion::completion;
use crate::error::{Error, Result, Status};
use crate::runtime::next_id;
use std::sync::Arc;

/// One that serves a service. Its id is the source of its records. {0} is none. May be used from any thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct redmux_responder {
    /// Which; 0 is none.
    pub id: u64,
}

fn client_of(responder: redmux_responder) -> Result<Arc<Client>> {
    Ok(handle::source(responder.id, Family::Responder)?)
}

fn say(responder: redmux_responder, request: u64, say: Say<'_>) -> Result<()> {
    client_of(responder)?.buffer()?.say(responder.id, request, say)
}

/// Serves a service from now on. Its records come into inbox: active with its name when Redis has it, request for
/// each request, cancel when nobody waits for one any more, lost and active when the connection goes and comes, closed as the
/// last. Each request has to be ended: by a last answer, redmux_responder_end or redmux_responder_fail.
///
/// At most as many requests as the option concurrency says are with you and not ended; as many more as the option waiting
/// says wait in the library, and what comes beyond is answered with a retriable error. REDMUX_ERR_ALREADY_SUBSCRIBED: this
/// client serves it. REDMUX_ERR_CONFLICT: on Messaging.Buffer's wire (option wire) one responder for all types and one for a
/// type exclude each other in a client. With the option group exactly one member of the group serves a request. With catch_all the service is
/// what the names of the services begin with.
///
/// inbox: of this client. service: any bytes, NULL only with length 0; borrowed for the call. options: concurrency, waiting,
/// group, catch_all, version, once, wire; {0} takes those of the client. token: comes back in the records. out_responder: borrowed for
/// the call, written on success; release with redmux_responder_close. out_error: borrowed for the call, may be NULL; the
/// error is owned by the caller, release with redmux_error_free. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_responder_open(
    client: redmux_client,
    inbox: redmux_inbox,
    service: *const u8,
    service_len: usize,
    options: redmux_options,
    token: u64,
    out_responder: *mut redmux_responder,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(client.id, out_error, || {
        let place = Place::new(out_responder, "out_responder")?;
        let client = open(client)?;
        let options = given(options, &client)?;
        let inbox = ticket(inbox, token, -1, &client)?.inbox.ok_or(Status::InvalidArgument)?;
        let serve = Serve { service: read(service, service_len, "service")?, options: &options, inbox: &inbox, token };
        let buffer = client.buffer()?;
        let id = next_id();
        handle::with_source(id, &client, Family::Responder, || buffer.serve_as(id, &serve))?;
        place.write(redmux_responder { id });
        Ok(())
    })
}

/// Completes with done when Redis has the service's name, so that requests come; at once if it has. REDMUX_ERR_REFUSED: the
/// user may not listen there (ACL); the responder stays, and is tried again.
///
/// inbox: where done comes, an inbox of this client. token: comes back in it. timeout_ms: 0 is the client's option timeout,
/// -1 for ever. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_responder_active(
    responder: redmux_responder,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
) -> i32 {
    guard(responder.id, || {
        let client = client_of(responder)?;
        let ticket = ticket(inbox, token, timeout_ms, &client)?;
        if ticket.inbox.is_none() {
            return Err(Error::new(Status::InvalidArgument, "the inbox is {0}"));
        }
        client.hub().wait_allowed(responder.id, ticket)
    })
}

/// Waits until Redis has the service's name, so that requests come. REDMUX_ERR_REFUSED: the user may not listen there (ACL);
/// the responder stays, and is tried again.
///
/// timeout_ms: 0 is the client's option timeout, -1 for ever. out_error: borrowed for the call, may be NULL; the error is
/// owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_responder_active_wait(
    responder: redmux_responder,
    timeout_ms: i64,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(responder.id, out_error, || {
        let client = client_of(responder)?;
        let limit = allowed(timeout_ms, client.options())?;
        let start = |ticket| client.hub().wait_allowed(responder.id, ticket);
        client.wait_for(limit, start, |lent| completion("wait until served", lent))
    })
}

/// Answers a request; a request may have several answers. Returns at once. REDMUX_ERR_CLOSED: the request has ended.
/// REDMUX_ERR_CANCELLED: nobody waits for it any more; it still has to be ended, and the last answer is REDMUX_OK then, as an
/// end is. REDMUX_ERR_TOO_LARGE: over max_payload; the request goes on. REDMUX_ERR_FULL: publish_queue has no room, or
/// REDMUX_ERR_STOPPED: the client is stopped; a part may be tried again, a last answer is lost: it has ended the request, and
/// who asked finds this responder missing.
///
/// request: the ticket, the request record's number. body: any bytes, NULL only with length 0; borrowed for the call.
/// headers: a JSON object of strings, or NULL with length 0; borrowed for the call. last: 1 ends the request, 0 does not.
/// Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_responder_answer(
    responder: redmux_responder,
    request: u64,
    body: *const u8,
    body_len: usize,
    headers: *const u8,
    headers_len: usize,
    last: i32,
) -> i32 {
    guard(responder.id, || {
        let last = match last {
            0 => false,
            1 => true,
            _ => return Err(Error::new(Status::InvalidArgument, "last is neither 0 nor 1")),
        };
        let (body, headers) = (read(body, body_len, "body")?, read(headers, headers_len, "headers")?);
        say(responder, request, Say::Answer { body, headers, last })
    })
}

/// Ends a request without an answer, or without another one. REDMUX_ERR_CLOSED: it has ended.
///
/// request: the ticket, the request record's number. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_responder_end(responder: redmux_responder, request: u64) -> i32 {
    guard(responder.id, || say(responder, request, Say::End))
}

/// Ends a request with an error, which its asker gets as an answer with REDMUX_FLAG_FAILED, however long it is: of code 256
/// bytes are sent and of message 8 KiB, or less where max_payload is small. REDMUX_ERR_CLOSED: it has ended.
///
/// request: the ticket, the request record's number. code: a word, UTF-8, NULL only with length 0; borrowed for the call.
/// message: a sentence, UTF-8, NULL only with length 0; borrowed for the call. retriable: 1 if asking again may help, 0 if
/// not. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_responder_fail(
    responder: redmux_responder,
    request: u64,
    code: *const u8,
    code_len: usize,
    message: *const u8,
    message_len: usize,
    retriable: i32,
) -> i32 {
    guard(responder.id, || {
        if !matches!(retriable, 0 | 1) {
            return Err(Error::new(Status::InvalidArgument, "retriable is neither 0 nor 1"));
        }
        let utf8 = |what: &str| Error::new(Status::InvalidArgument, format!("{what} is not UTF-8"));
        let code = std::str::from_utf8(read(code, code_len, "code")?).map_err(|_| utf8("code"))?;
        let message = std::str::from_utf8(read(message, message_len, "message")?).map_err(|_| utf8("message"))?;
        say(responder, request, Say::Error { code, message, retriable: retriable != 0 })
    })
}

/// Serves what was published before, lets what it has finish, and closes it: closed comes, and then done. With
/// REDMUX_ERR_TIMEOUT, REDMUX_ERR_CANCELLED (redmux_inbox_cancel) or REDMUX_ERR_CLOSED it was closed with requests
/// unfinished; their askers were told.
///
/// inbox: where done comes; {0} is the responder's own. token: comes back in it. timeout_ms: 0 is the client's option
/// timeout, -1 for ever. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_responder_drain(
    responder: redmux_responder,
    inbox: redmux_inbox,
    token: u64,
    timeout_ms: i64,
) -> i32 {
    guard(responder.id, || {
        let client = client_of(responder)?;
        client.buffer()?.drain_responder(responder.id, ticket(inbox, token, timeout_ms, &client)?)
    })
}

/// Closes a responder at once: requests that it has end, their askers are told, and closed is its last record. {0} and a
/// second call give REDMUX_ERR_CLOSED and are harmless.
///
/// Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_responder_close(responder: redmux_responder) -> i32 {
    guard(0, || {
        let source = handle::remove_source(responder.id, Family::Responder)?;
        if let Some(client) = source.client.upgrade() {
            let _ = client.buffer()?.close_service(responder.id);
        }
        Ok(())
    })
}
