//! One request, many answers: askers and responders of a client.
//!
//! Floor 3. The buffer is itself a user of the mux: its channels (one for all answers, one a service) deliver into an
//! inbox of the library's own, publishes complete there, and one task on the library's thread drains it. Its state
//! stands behind one lock that callers and the task enter for one step at a time. Lock order: buffer, then mux or
//! outgoing, then inbox.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod collect;
mod discovery;
mod legacy;
mod memory;
mod request;
mod responder;
mod serve;
mod task;

pub use collect::Reason;
pub use request::Ask;
pub use responder::{Say, Serve};

use crate::error::{Error, Result, Status};
use crate::inbox::budget::{Config, Policy};
use crate::inbox::{Budget, Inbox};
use crate::mux::hub::Hub;
use crate::mux::subscription::Ticket;
use crate::proto::envelope;
use crate::runtime;
use crate::sync::{Arc, Mutex, MutexGuard, lock};
use crate::wheel::Nudge;
use request::Requests;
use responder::Responders;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a frame that nobody waits for may stay on its way.
const FRAME_TIME: Duration = Duration::from_secs(5);

/// Tokens of what the buffer sends, so that its completions are told apart. Ids of gathers have none of these bits.
const TOKEN_ANSWER: u64 = 1 << 63;
const TOKEN_CLAIM: u64 = 1 << 62;
const TOKEN_CANCEL: u64 = 1 << 61;

/// What the buffer counted, beside what each gather and responder says.
#[derive(Debug, Default)]
struct Counted {
    /// Answers to requests that have ended, or were never made.
    late: AtomicU64,
    /// Frames that could not be read.
    malformed: AtomicU64,
    /// Answers that nobody received.
    unheard: AtomicU64,
}

/// The askers and responders of one client.
#[derive(Debug)]
pub struct Buffer {
    hub: Arc<Hub>,
    /// Where everything for the buffer arrives.
    inbox: Arc<Inbox>,
    work: Arc<Nudge>,
    /// This client, for ever: a v7 UUID.
    instance: String,
    namespace: String,
    name: String,
    /// The channel that answers to its requests come to.
    reply: String,
    state: Mutex<State>,
    /// How many requests ended while they were being published.
    overtaken: AtomicU64,
    counted: Counted,
}

#[derive(Debug)]
struct State {
    requests: Requests,
    responders: Responders,
    /// When the task looks at the clock next; what is due later need not wake it.
    wakes: Option<Instant>,
    /// Inboxes that were given something of which nobody was told yet.
    untold: Vec<Arc<Inbox>>,
    closed: bool,
}

impl State {
    /// An inbox was given a record: whoever waits for it is told when the state is left.
    fn gave(&mut self, inbox: &Arc<Inbox>) {
        if self.untold.last().is_none_or(|last| !Arc::ptr_eq(last, inbox)) {
            self.untold.push(Arc::clone(inbox));
        }
    }
}

/// The state, entered for one step. Who got records in it is told once, and when the lock is gone: a taker that is woken
/// under it runs into it at once.
struct Entered<'a> {
    // Fields are dropped in this order.
    state: MutexGuard<'a, State>,
    told: Told,
}

struct Told(Vec<Arc<Inbox>>);

impl Drop for Told {
    fn drop(&mut self) {
        for inbox in &self.0 {
            inbox.announce();
        }
    }
}

impl std::ops::Deref for Entered<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl std::ops::DerefMut for Entered<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.told.0 = std::mem::take(&mut self.state.untold);
    }
}

impl Buffer {
    /// The buffer of a client, and its task.
    pub fn start(hub: &Arc<Hub>, namespace: &str) -> Result<(Arc<Buffer>, impl Future<Output = ()> + use<>)> {
        let work = Arc::new(Nudge::default());
        let wake = Arc::clone(&work);
        // Of its own: what is in it is between the reader and the task on the same thread, and gone at the next turn.
        let unlimited = usize::MAX / 4;
        let config = Config { bytes: unlimited, records: 0, policy: Policy::DropNewest };
        let budget = std::sync::Arc::new(Budget::new(unlimited));
        let inbox = Inbox::by_task(runtime::next_id(), config, budget, Box::new(move || wake.notify_one()));
        let instance = uuid::Uuid::now_v7().to_string();
        let state = State {
            requests: Requests::default(),
            responders: Responders::default(),
            wakes: None,
            untold: Vec::new(),
            closed: false,
        };
        let buffer = Arc::new(Buffer {
            hub: Arc::clone(hub),
            inbox,
            work,
            reply: format!("{namespace}:reply:{instance}"),
            instance,
            namespace: namespace.into(),
            name: hub.settings.name.clone(),
            state: Mutex::new(state),
            overtaken: AtomicU64::new(0),
            counted: Counted::default(),
        });
        let task = task::run(Arc::clone(&buffer));
        Ok((buffer, task))
    }

    fn enter(&self) -> Entered<'_> {
        Entered { state: lock(&self.state), told: Told(Vec::new()) }
    }

    fn service_channel(&self, service: &[u8]) -> Vec<u8> {
        [self.namespace.as_bytes(), b":svc:", service].concat()
    }

    /// Subscribes a channel of the buffer's own. Returns its source.
    fn subscribe_own(&self, channel: &[u8]) -> Result<u64> {
        let source = runtime::next_id();
        self.hub.subscribe(source, 0, &self.inbox, None)?;
        let ticket = Ticket { inbox: None, token: 0, deadline: None };
        if let Err(error) = self.hub.add(source, &[channel], ticket) {
            let _ = self.hub.close_source(source);
            return Err(error);
        }
        Ok(source)
    }

    /// Sends a frame that nobody waits for. Where it cannot even be queued the other side's clocks notice.
    fn send(&self, channel: &[u8], frame: &[u8]) {
        let _ = self.hub.post(channel, frame, Instant::now().checked_add(FRAME_TIME));
    }

    /// Ends gathers and drains with a token, as their caller wants. Returns how many.
    pub fn cancel(&self, inbox: u64, token: u64) -> usize {
        let mut state = self.enter();
        let ids = state.requests.select(|gather| gather.inbox.id() == inbox && gather.token == token);
        self.end_gathers(&mut state, &ids, Reason::Cancelled);
        ids.len() + self.cancel_drains(&mut state, inbox, token)
    }

    /// An inbox is closed: what delivers into it ends.
    pub fn close_inbox(&self, inbox: u64) {
        let mut state = self.enter();
        let ids = state.requests.select(|gather| gather.inbox.id() == inbox);
        self.end_gathers(&mut state, &ids, Reason::Closed);
        for id in state.responders.select(|responder| responder.inbox.id() == inbox) {
            self.close_responder(&mut state, id, Status::Closed);
        }
    }

    /// The client is stopped, of which no record tells: what waits for answers would wait in vain. First the requests:
    /// who works on them is told, by a last publish.
    pub fn stopped(&self) {
        let mut state = self.enter();
        self.answers_lost(&mut state, "the client was stopped while it waited for answers");
        for responder in state.responders.all.values_mut() {
            responder.active = None;
        }
    }

    /// The client closes: everything ends, and who waits for answers of ours is told.
    pub fn close(&self) {
        let mut state = self.enter();
        state.closed = true;
        let ids = state.requests.select(|_| true);
        self.end_gathers(&mut state, &ids, Reason::Closed);
        for id in state.responders.select(|_| true) {
            self.close_responder(&mut state, id, Status::Closed);
        }
    }

    /// What it counted, for the client's statistics.
    pub fn stats(&self) -> Value {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let state = lock(&self.state);
        json!({
            "instance": self.instance,
            "gathers": state.requests.len(),
            "late": get(&self.counted.late),
            "malformed": get(&self.counted.malformed),
            "unheard": get(&self.counted.unheard),
            "services": state.responders.stats(),
        })
    }
}

/// Headers of the application, checked.
fn headers(json: &[u8]) -> Result<Option<&serde_json::value::RawValue>> {
    if json.is_empty() {
        return Ok(None);
    }
    envelope::headers(json).map(Some).map_err(|text| Error::new(Status::InvalidArgument, text))
}

/// Whoever gets the frame must be able to read its head.
fn check_head(frame: &[u8], body: &[u8]) -> Result<()> {
    let (head, most) = (frame.len() - body.len(), envelope::max_head());
    if head > most {
        let text = format!("the head line has {head} bytes, headers included; it may have {most}");
        return Err(Error::new(Status::TooLarge, text));
    }
    Ok(())
}
