//! What a client counted, as one JSON document. `docs/stats.schema.json` describes it and a test holds it to that.

use crate::inbox::Budget;
use crate::mux::hub::Hub;
use crate::sync::lock;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// The document.
pub fn of(hub: &Hub, inboxes: usize, budget: &Budget, buffer: Option<Value>) -> Value {
    let c = &hub.counters;
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let greeting = lock(&hub.greeting).clone();
    let (queued, pending) = lock(&hub.outgoing).backlog();
    let mux = lock(&hub.mux);
    json!({
        "schema_version": 1,
        "client": hub.id,
        "online": mux.online(),
        "server": greeting.as_ref().map(|g| g.server.clone()),
        "server_version": greeting.as_ref().map(|g| g.version.clone()),
        "subscriber": {
            "attempts": get(&c.attempts),
            "connects": get(&c.connects),
            "reconnects": get(&c.connects).saturating_sub(1),
            "losts": get(&c.losts),
            "bytes_in": get(&c.bytes_in),
            "commands": get(&c.commands),
        },
        "publisher": {
            "connects": get(&c.publish_connects),
            "sent": get(&c.published),
            "lost": get(&c.publish_lost),
            "pending": pending,
            "pending_bytes": queued,
        },
        "messages": {
            "received": mux.received,
            "dropped": budget.dropped() + mux.too_large,
            "unmatched": mux.unmatched,
        },
        "names": mux.registry.names().len(),
        "refused": mux.registry.refused_count(),
        "sources": mux.sources(),
        "operations": mux.ops.len(),
        "inboxes": inboxes,
        "inbox_bytes": budget.used(),
        "requests": buffer,
    })
}

/// The counters of an inbox.
pub fn of_inbox(counters: &crate::inbox::Counters) -> Value {
    json!({
        "schema_version": 1,
        "received": counters.received,
        "taken": counters.taken,
        "dropped": counters.dropped,
        "waiting": counters.waiting,
        "bytes": counters.bytes,
        "peak": counters.peak,
    })
}
