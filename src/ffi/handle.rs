//! Handles: numbers that are never an address and never used again in a process.
//!
//! A stale, closed or forged number finds nothing and gives `CLOSED`; one that was made before a fork gives `FORKED`
//! before any lock is taken. What a call is using stays alive until it returns, whatever is closed meanwhile.

use crate::client::Client;
use crate::error::Status;
use crate::inbox::{Inbox, Lent};
use crate::options::Options;
use crate::runtime::{is_inherited, next_id};
use crate::sys::PerProcess;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

/// What a source is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A subscription.
    Subscription,
    /// A promise set.
    Promises,
    /// A responder.
    Responder,
}

/// What a source needs: its client, and what it is.
#[derive(Clone)]
pub struct Source {
    /// The client, while it lives.
    pub client: Weak<Client>,
    /// What it is.
    pub family: Family,
}

/// What an inbox handle stands for.
#[derive(Clone)]
pub struct InboxRef {
    /// The inbox, which outlives its client.
    pub inbox: Arc<Inbox>,
    /// The client, while it lives.
    pub client: Weak<Client>,
}

#[derive(Clone)]
enum Object {
    Options(Arc<Mutex<Options>>),
    Client(Arc<Client>),
    Inbox(InboxRef),
    Source(Source),
}

const SHARDS: usize = 16;

#[derive(Default)]
struct Table {
    objects: [RwLock<HashMap<u64, Object, RandomState>>; SHARDS],
    lent: [Mutex<HashMap<u64, Lent, RandomState>>; SHARDS],
    poisoned: Mutex<HashSet<u64>>,
    any_poisoned: AtomicBool,
}

static TABLE: PerProcess<Table> = PerProcess::new(Table::default);

fn shard(id: u64) -> usize {
    (id as usize) % SHARDS
}

fn insert(id: u64, object: Object) {
    if let Some(shard) = TABLE.get().objects.get(shard(id)) {
        shard.write().unwrap_or_else(PoisonError::into_inner).insert(id, object);
    }
}

fn find(id: u64) -> Result<Object, Status> {
    check(id)?;
    let found = TABLE.get().objects.get(shard(id)).and_then(|shard| {
        let objects = shard.read().unwrap_or_else(PoisonError::into_inner);
        objects.get(&id).cloned()
    });
    found.ok_or(Status::Closed)
}

/// Takes an object out if `which` picks it. Poisoned ones can be taken out too: they can be closed.
fn remove(id: u64, which: impl FnOnce(&Object) -> bool) -> Result<Object, Status> {
    if is_inherited(id) {
        return Err(Status::Forked);
    }
    let table = TABLE.get();
    let Some(shard) = table.objects.get(shard(id)) else { return Err(Status::Closed) };
    let mut objects = shard.write().unwrap_or_else(PoisonError::into_inner);
    if !objects.get(&id).is_some_and(which) {
        return Err(Status::Closed);
    }
    let object = objects.remove(&id).ok_or(Status::Closed)?;
    drop(objects);
    if table.any_poisoned.load(Ordering::Relaxed) {
        table.poisoned.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
    Ok(object)
}

/// Refuses handles of a parent process, and poisoned ones.
pub fn check(id: u64) -> Result<(), Status> {
    if is_inherited(id) {
        return Err(Status::Forked);
    }
    let table = TABLE.get();
    let poisoned = table.any_poisoned.load(Ordering::Relaxed)
        && table.poisoned.lock().unwrap_or_else(PoisonError::into_inner).contains(&id);
    if poisoned { Err(Status::Internal) } else { Ok(()) }
}

/// Marks a handle on which a panic happened. 0 is none: calls that make or close a handle have none to mark.
pub fn poison(id: u64) {
    if id == 0 {
        return;
    }
    let table = TABLE.get();
    table.poisoned.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    table.any_poisoned.store(true, Ordering::Relaxed);
}

/// How many handles and lent blocks there are.
pub fn live() -> i64 {
    let table = TABLE.get();
    let objects: usize =
        table.objects.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum();
    let lent: usize = table.lent.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum();
    (objects + lent) as i64
}

/// A handle for options.
pub fn add_options(options: Options) -> u64 {
    let id = next_id();
    insert(id, Object::Options(Arc::new(Mutex::new(options))));
    id
}

/// The options of a handle.
pub fn options(id: u64) -> Result<Arc<Mutex<Options>>, Status> {
    match find(id)? {
        Object::Options(options) => Ok(options),
        _ => Err(Status::Closed),
    }
}

/// Forgets options.
pub fn remove_options(id: u64) {
    let _ = remove(id, |object| matches!(object, Object::Options(_)));
}

/// The handle of a client is its id.
pub fn add_client(client: &Arc<Client>) -> u64 {
    insert(client.id(), Object::Client(Arc::clone(client)));
    client.id()
}

/// The client of a handle.
pub fn client(id: u64) -> Result<Arc<Client>, Status> {
    match find(id)? {
        Object::Client(client) => Ok(client),
        _ => Err(Status::Closed),
    }
}

/// Takes a client out: every later call on it gives `CLOSED`.
pub fn remove_client(id: u64) -> Result<Arc<Client>, Status> {
    match remove(id, |object| matches!(object, Object::Client(_)))? {
        Object::Client(client) => Ok(client),
        _ => Err(Status::Closed),
    }
}

/// The handle of an inbox is its id.
pub fn add_inbox(inbox: &Arc<Inbox>, client: &Arc<Client>) -> u64 {
    let object = InboxRef { inbox: Arc::clone(inbox), client: Arc::downgrade(client) };
    insert(inbox.id(), Object::Inbox(object));
    inbox.id()
}

/// The inbox of a handle.
pub fn inbox(id: u64) -> Result<InboxRef, Status> {
    match find(id)? {
        Object::Inbox(inbox) => Ok(inbox),
        _ => Err(Status::Closed),
    }
}

/// Takes an inbox out.
pub fn remove_inbox(id: u64) -> Result<InboxRef, Status> {
    match remove(id, |object| matches!(object, Object::Inbox(_)))? {
        Object::Inbox(inbox) => Ok(inbox),
        _ => Err(Status::Closed),
    }
}

/// A handle for a source, its id, there before the source is: a callback on another thread may use it before the call that
/// opens it returns.
pub fn with_source<T, E>(
    id: u64,
    client: &Arc<Client>,
    family: Family,
    open: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    insert(id, Object::Source(Source { client: Arc::downgrade(client), family }));
    open().inspect_err(|_| {
        let _ = remove_source(id, family);
    })
}

/// The client of a source, and of the right kind.
pub fn source(id: u64, family: Family) -> Result<Arc<Client>, Status> {
    match find(id)? {
        Object::Source(source) if source.family == family => source.client.upgrade().ok_or(Status::Closed),
        _ => Err(Status::Closed),
    }
}

/// Takes a source out.
pub fn remove_source(id: u64, family: Family) -> Result<Source, Status> {
    match remove(id, |object| matches!(object, Object::Source(source) if source.family == family))? {
        Object::Source(source) => Ok(source),
        _ => Err(Status::Closed),
    }
}

/// Lends a block: it lives until it is given back, whatever is closed meanwhile.
pub fn lend(lent: Lent) -> u64 {
    let id = next_id();
    if let Some(shard) = TABLE.get().lent.get(shard(id)) {
        shard.lock().unwrap_or_else(PoisonError::into_inner).insert(id, lent);
    }
    id
}

/// Takes a lent block back; harmless when stale.
pub fn give_back(id: u64) {
    if id == 0 || is_inherited(id) {
        return;
    }
    let lent = TABLE.get().lent.get(shard(id)).and_then(|shard| {
        let mut lent = shard.lock().unwrap_or_else(PoisonError::into_inner);
        lent.remove(&id)
    });
    drop(lent);
}
