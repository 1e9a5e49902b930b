//! Gathers: one request, and the answers of everybody who serves it.

use super::bytes::{Place, read};
use super::client::{open, redmux_client};
use super::error::redmux_error;
use super::guard::{guard, guard_error};
use super::inbox::{allowed, redmux_inbox, ticket};
use super::kinds::{REDMUX_REASON_CANCELLED, REDMUX_REASON_PREDICATE};
use super::options::{given, redmux_options};
use super::text::{redmux_text, text};
use crate::buffer::{Ask, Reason};
use crate::client::Client;
use crate::completion::first_answer;
use crate::error::{Error, Result, Status};
use crate::mux::subscription::Ticket;

/// A request under way. Its id is the source of its records. {0} is none. Nothing has to be released: it ends with its end
/// record. May be used from any thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct redmux_gather {
    /// Which; 0 is none.
    pub id: u64,
}

/// What is asked, as C gives it.
struct Question {
    service: (*const u8, usize),
    body: (*const u8, usize),
    headers: (*const u8, usize),
    options: redmux_options,
}

impl Question {
    fn ask(&self, client: &Client, ticket: Ticket) -> Result<u64> {
        let options = given(self.options, client)?;
        let ask = Ask {
            service: read(self.service.0, self.service.1, "service")?,
            body: read(self.body.0, self.body.1, "body")?,
            headers: read(self.headers.0, self.headers.1, "headers")?,
            options: &options,
        };
        client.buffer()?.ask(&ask, ticket)
    }
}

/// Asks a service. Every responder that serves it, in whatever process, gets the request and may answer. Each answer is an
/// answer record; then comes one end record, which says why it ended: everybody who took it has finished, or an option said
/// that it is enough, or the time was over. What came is never thrown away.
///
/// The answers of all requests of a client come through one channel, so a request costs one PUBLISH. redmux_gather_stop or
/// redmux_inbox_cancel end it early; responders that still work on it are told. REDMUX_ERR_CONFLICT: a request of this client
/// with that request_id is open.
///
/// inbox: where answers and the end come, an inbox of this client; the room of the end is reserved
/// (REDMUX_ERR_FULL). service: any bytes, NULL only with length 0; borrowed for the call. body: any bytes, NULL only with
/// length 0; borrowed for the call. headers: a JSON object of strings, or NULL with length 0; borrowed for the call. options: expect, quiet, strict, others_only, repeatable,
/// accepted, max_answers, max_answer_bytes, request_id, wire; {0} takes those of the client. token: comes back in the records.
/// timeout_ms: 0 is the client's option timeout; -1 is refused, a request has an end. out_gather: borrowed for the call, may
/// be NULL; written on success. out_error: borrowed for the call, may be NULL; the error is owned by the caller, release with
/// redmux_error_free. Any thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_gather_open(
    client: redmux_client,
    inbox: redmux_inbox,
    service: *const u8,
    service_len: usize,
    body: *const u8,
    body_len: usize,
    headers: *const u8,
    headers_len: usize,
    options: redmux_options,
    token: u64,
    timeout_ms: i64,
    out_gather: *mut redmux_gather,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(client.id, out_error, || {
        let client = open(client)?;
        let question = Question {
            service: (service, service_len),
            body: (body, body_len),
            headers: (headers, headers_len),
            options,
        };
        let id = question.ask(&client, ticket(inbox, token, timeout_ms, &client)?)?;
        if let Some(place) = Place::optional(out_gather) {
            place.write(redmux_gather { id });
        }
        Ok(())
    })
}

/// Ends a gather: its end record comes with this reason. REDMUX_ERR_CLOSED if it has ended, which is harmless.
///
/// reason: REDMUX_REASON_PREDICATE if you have what you wanted, REDMUX_REASON_CANCELLED if you do not want it any more. Any
/// thread, also inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_gather_stop(client: redmux_client, gather: redmux_gather, reason: u64) -> i32 {
    guard(client.id, || {
        let reason = match reason {
            REDMUX_REASON_PREDICATE => Reason::Predicate,
            REDMUX_REASON_CANCELLED => Reason::Cancelled,
            other => {
                let text = format!("{other} is not a reason to stop: REDMUX_REASON_PREDICATE or _CANCELLED");
                return Err(Error::new(Status::InvalidArgument, text));
            }
        };
        Ok(open(client)?.buffer()?.stop(gather.id, reason)?)
    })
}

/// Asks a service and waits for the first answer; who else works on it is told that it is enough. REDMUX_ERR_NO_RESPONDERS:
/// nobody serves it. REDMUX_ERR_REMOTE: errors came and no answer, and out_error has the first one's sentence;
/// REDMUX_ERR_FULL instead if that one says that it is busy. REDMUX_ERR_TIMEOUT: no answer in time.
///
/// service: any bytes, NULL only with length 0; borrowed for the call. body: the same, borrowed for the call. headers: a JSON object of strings,
/// or NULL with length 0; borrowed for the call. options: as for redmux_gather_open; {0} takes those of the client.
/// timeout_ms: 0 is the client's option timeout; -1 is refused. out_text: borrowed for the call, written on success; the
/// answer is owned by the caller, release with redmux_text_free. out_error: borrowed for the call, may be NULL; the error is
/// owned by the caller, release with redmux_error_free. Any thread; REDMUX_ERR_WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_gather_first_wait(
    client: redmux_client,
    service: *const u8,
    service_len: usize,
    body: *const u8,
    body_len: usize,
    headers: *const u8,
    headers_len: usize,
    options: redmux_options,
    timeout_ms: i64,
    out_text: *mut *mut redmux_text,
    out_error: *mut *mut redmux_error,
) -> i32 {
    guard_error(client.id, out_error, || {
        let place = Place::new(out_text, "out_text")?;
        let client = open(client)?;
        let question = Question {
            service: (service, service_len),
            body: (body, body_len),
            headers: (headers, headers_len),
            options,
        };
        let limit = allowed(timeout_ms, client.options())?;
        let mut found = None;
        let mut failed = None;
        let mut id = 0;
        let asked = std::cell::Cell::new(0);
        let result = client.wait_for(
            limit,
            |ticket| {
                asked.set(question.ask(&client, ticket)?);
                Ok(())
            },
            |lent| {
                id = asked.get();
                let ended = first_answer(lent, &mut found, &mut failed);
                if found.is_some() { Some(Ok(())) } else { ended }
            },
        );
        if found.is_some() {
            // It may have ended by itself, or with its client; who still works on it is told.
            let _ = client.buffer().map(|buffer| buffer.stop(id, Reason::Predicate));
        }
        match found {
            Some(data) => {
                place.write(text(data));
                Ok(())
            }
            None => result,
        }
    })
}
