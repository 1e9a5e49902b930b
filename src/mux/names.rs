//! The names that the mux knows: who listens to each, and where it stands with the server.
//!
//! Looked up once per message, so it is a slab behind a hash table of indices, and the name asked for last is
//! remembered. A name's number is given once and never again, so that a wrapper can keep strings by number.

use crate::proto::resp::Kind;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Where a name is in the table. Valid until the name is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(pub u32);

/// Where a name stands with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actual {
    /// Not subscribed.
    None,
    /// SUBSCRIBE was sent.
    Subscribing,
    /// Acknowledged.
    Active,
    /// UNSUBSCRIBE was sent.
    Unsubscribing,
}

/// One name.
#[derive(Debug)]
pub struct Entry {
    /// Channel, pattern or shard channel.
    pub kind: Kind,
    /// The name itself.
    pub name: Box<[u8]>,
    /// Its number, never used again.
    pub number: u64,
    /// The slots of the subscriptions that want it, in the order of their coming.
    pub listeners: Vec<u32>,
    /// Where it stands with the server.
    pub actual: Actual,
    /// The server refused it; it is tried again alone, slowly.
    pub refused: bool,
    /// It stands in a queue of names to be changed.
    pub queued: bool,
    /// Operations that end when nobody here is subscribed to it any more.
    pub leavers: Vec<u64>,
}

impl Entry {
    /// Whether nothing more is to be waited for: active or refused.
    pub fn settled(&self) -> bool {
        self.actual == Actual::Active || self.refused
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct Names {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
    last: Option<NameId>,
    next_number: u64,
}

impl Names {
    fn hash(hasher: &RandomState, kind: Kind, name: &[u8]) -> u64 {
        hasher.hash_one((kind as u8, name))
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The entry of an id.
    pub fn get(&self, id: NameId) -> Option<&Entry> {
        self.entries.get(id.0 as usize)?.as_ref()
    }

    /// The entry of an id, to change.
    pub fn get_mut(&mut self, id: NameId) -> Option<&mut Entry> {
        self.entries.get_mut(id.0 as usize)?.as_mut()
    }

    /// Finds a name.
    pub fn find(&self, kind: Kind, name: &[u8]) -> Option<NameId> {
        let hash = Names::hash(&self.hasher, kind, name);
        let same = |&at: &u32| self.get(NameId(at)).is_some_and(|entry| entry.kind == kind && *entry.name == *name);
        self.index.find(hash, same).map(|&at| NameId(at))
    }

    /// Finds a name for a message: the one of the message before is tried first.
    #[inline]
    pub fn find_again(&mut self, kind: Kind, name: &[u8]) -> Option<&Entry> {
        let same = |entry: &Entry| *entry.name == *name && entry.kind == kind;
        if !self.last.and_then(|last| self.get(last)).is_some_and(same) {
            self.last = self.find(kind, name);
        }
        self.get(self.last?)
    }

    /// Finds a name, or adds it with a number of its own.
    pub fn intern(&mut self, kind: Kind, name: &[u8]) -> NameId {
        if let Some(id) = self.find(kind, name) {
            return id;
        }
        self.next_number += 1;
        let entry = Entry {
            kind,
            name: name.into(),
            number: self.next_number,
            listeners: Vec::new(),
            actual: Actual::None,
            refused: false,
            queued: false,
            leavers: Vec::new(),
        };
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.entries.push(None);
                (self.entries.len() - 1) as u32
            }
        };
        if let Some(slot) = self.entries.get_mut(at as usize) {
            *slot = Some(entry);
        }
        let hash = Names::hash(&self.hasher, kind, name);
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.index.insert_unique(hash, at, |&other| {
            entries
                .get(other as usize)
                .and_then(Option::as_ref)
                .map_or(0, |entry| Names::hash(hasher, entry.kind, &entry.name))
        });
        NameId(at)
    }

    /// Forgets a name.
    pub fn remove(&mut self, id: NameId) {
        let Some(entry) = self.entries.get_mut(id.0 as usize).and_then(Option::take) else { return };
        let hash = Names::hash(&self.hasher, entry.kind, &entry.name);
        if let Ok(found) = self.index.find_entry(hash, |&at| at == id.0) {
            found.remove();
        }
        self.free.push(id.0);
        if self.last == Some(id) {
            self.last = None;
        }
        if self.index.is_empty() {
            // A client that let a million names go does not keep their table.
            self.entries = Vec::new();
            self.free = Vec::new();
            self.index = HashTable::new();
        }
    }

    /// Every id in use.
    pub fn ids(&self) -> impl Iterator<Item = NameId> + '_ {
        self.entries.iter().enumerate().filter(|(_, entry)| entry.is_some()).map(|(at, _)| NameId(at as u32))
    }
}
