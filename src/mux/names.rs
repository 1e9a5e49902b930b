//! The names that the mux knows: who listens to each, and where it stands with the server.
//!
//! Looked up for every message, so it is made for the cache: an index of eight bytes a name that is searched without
//! looking at any name, and entries of one cache line each that hold short names and a single listener in place. With
//! 100,000 channels in use a message cost 168 ns more than with one when names and listeners were allocated apart; the
//! wave looks many names up together, so that what still misses the cache is waited for at once.
//!
//! A name's number is given once and never again, so that a wrapper can keep strings by number.

use super::few::Few;
use crate::proto::resp::Kind;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::ops::Deref;

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

/// The longest name that is kept in its entry.
const SHORT: usize = 22;

/// The bytes of a name.
#[derive(Clone)]
pub struct Name(Bytes);

#[derive(Clone)]
enum Bytes {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl Name {
    fn new(name: &[u8]) -> Name {
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..name.len()) {
            Some(place) => {
                place.copy_from_slice(name);
                Name(Bytes::Short { len: name.len() as u8, bytes })
            }
            None => Name(Bytes::Long(name.into())),
        }
    }
}

impl Deref for Name {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Bytes::Long(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self))
    }
}

/// One name.
#[derive(Debug)]
#[repr(align(64))]
pub struct Entry {
    /// The name itself.
    pub name: Name,
    /// Its number, never used again.
    pub number: u64,
    /// The slots of the subscriptions that want it, in the order of their coming.
    pub listeners: Few<u32>,
    /// Operations that end when nobody here is subscribed to it any more.
    pub leavers: Option<Box<Few<u64>>>,
    /// Channel, pattern or shard channel.
    pub kind: Kind,
    /// Where it stands with the server.
    pub actual: Actual,
    /// The server refused it; it is tried again alone, slowly.
    pub refused: bool,
    /// It stands in a queue of names to be changed.
    pub queued: bool,
}

const _: () = assert!(size_of::<Option<Entry>>() == 64);

impl Entry {
    /// Whether nothing more is to be waited for: active or refused.
    pub fn settled(&self) -> bool {
        self.actual == Actual::Active || self.refused
    }

    /// Takes out the operations that wait for it to be gone.
    pub fn take_leavers(&mut self) -> Few<u64> {
        self.leavers.take().map(|leavers| *leavers).unwrap_or_default()
    }
}

/// Whether two names are equal. Most are short, and to call the system's comparison costs more than theirs.
#[inline(always)]
fn same(one: &[u8], other: &[u8]) -> bool {
    fn ends<const N: usize>(one: &[u8], other: &[u8]) -> bool {
        one.first_chunk::<N>() == other.first_chunk::<N>() && one.last_chunk::<N>() == other.last_chunk::<N>()
    }
    one.len() == other.len()
        && match one.len() {
            4..8 => ends::<4>(one, other),
            8..=16 => ends::<8>(one, other),
            17..=32 => ends::<16>(one, other),
            _ => one == other,
        }
}

/// One place of the index: what the name hashes to, and where its entry is.
#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u32,
    at: u32,
}

impl Place {
    /// The hash as the index wants it, which uses its first and its last bits. Growing looks at no name.
    fn spread(hash: u32) -> u64 {
        u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct Names {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    index: HashTable<Place>,
    hasher: RandomState,
    next_number: u64,
}

impl Names {
    /// What a name hashes to.
    #[inline]
    pub fn hash(&self, kind: Kind, name: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name);
        (hasher.finish() >> 16) as u32 ^ kind as u32
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
    #[inline]
    pub fn get(&self, id: NameId) -> Option<&Entry> {
        self.entries.get(id.0 as usize)?.as_ref()
    }

    /// The entry of an id, to change.
    pub fn get_mut(&mut self, id: NameId) -> Option<&mut Entry> {
        self.entries.get_mut(id.0 as usize)?.as_mut()
    }

    /// The first half of a lookup: where the name will be, if it is known. Looks at the index alone.
    #[inline]
    pub fn guess(&self, hash: u32) -> Option<NameId> {
        self.index.find(Place::spread(hash), |place| place.hash == hash).map(|place| NameId(place.at))
    }

    /// The number of what was guessed; reads its entry, no more, so that entries of many guesses are waited for at once.
    #[inline]
    pub fn number(&self, guess: Option<NameId>) -> u64 {
        guess.and_then(|id| self.get(id)).map_or(0, |entry| entry.number)
    }

    /// The second half: the entry, if the guess was right, or of another name with the same hash.
    #[inline(always)]
    pub fn confirm(&self, guess: Option<NameId>, hash: u32, kind: Kind, name: &[u8]) -> Option<&Entry> {
        let entry = self.get(guess?)?;
        if entry.kind == kind && same(&entry.name, name) {
            return Some(entry);
        }
        self.get(self.find_by(hash, kind, name)?)
    }

    /// Finds a name.
    pub fn find(&self, kind: Kind, name: &[u8]) -> Option<NameId> {
        self.find_by(self.hash(kind, name), kind, name)
    }

    fn find_by(&self, hash: u32, kind: Kind, name: &[u8]) -> Option<NameId> {
        let same = |place: &Place| {
            place.hash == hash
                && self.get(NameId(place.at)).is_some_and(|entry| entry.kind == kind && *entry.name == *name)
        };
        self.index.find(Place::spread(hash), same).map(|place| NameId(place.at))
    }

    /// Finds a name, or adds it with a number of its own.
    pub fn intern(&mut self, kind: Kind, name: &[u8]) -> NameId {
        let hash = self.hash(kind, name);
        if let Some(id) = self.find_by(hash, kind, name) {
            return id;
        }
        self.next_number += 1;
        let entry = Entry {
            name: Name::new(name),
            number: self.next_number,
            listeners: Few::None,
            leavers: None,
            kind,
            actual: Actual::None,
            refused: false,
            queued: false,
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
        self.index.insert_unique(Place::spread(hash), Place { hash, at }, |place| Place::spread(place.hash));
        NameId(at)
    }

    /// Forgets a name.
    pub fn remove(&mut self, id: NameId) {
        let Some(entry) = self.entries.get_mut(id.0 as usize).and_then(Option::take) else { return };
        let hash = self.hash(entry.kind, &entry.name);
        if let Ok(found) = self.index.find_entry(Place::spread(hash), |place| place.at == id.0) {
            found.remove();
        }
        self.free.push(id.0);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_length_are_found_again_and_forgotten() {
        let mut names = Names::default();
        let all: Vec<Vec<u8>> = (0..=2 * SHORT).map(|len| vec![b'n'; len]).collect();
        let ids: Vec<NameId> = all.iter().map(|name| names.intern(Kind::Channel, name)).collect();
        for (name, &id) in all.iter().zip(&ids) {
            assert_eq!(names.find(Kind::Channel, name), Some(id));
            assert_eq!(names.intern(Kind::Channel, name), id);
            assert_eq!(names.find(Kind::Pattern, name), None);
            assert_eq!(*names.get(id).unwrap().name, **name);
        }
        ids.iter().for_each(|&id| names.remove(id));
        assert!(names.is_empty() && all.iter().all(|name| names.find(Kind::Channel, name).is_none()));
    }

    #[test]
    fn names_that_differ_in_one_byte_are_told_apart() {
        for len in 1..=40 {
            let name: Vec<u8> = (0..len).collect();
            assert!(same(&name, &name.clone()) && !same(&name, &name[1..]));
            for at in 0..usize::from(len) {
                let mut other = name.clone();
                other[at] ^= 1;
                assert!(!same(&name, &other), "{len} bytes, the one at {at}");
            }
        }
    }

    #[test]
    fn a_name_behind_another_one_with_the_same_hash_is_found() {
        let mut names = Names::default();
        let (a, b) = (names.intern(Kind::Channel, b"a"), names.intern(Kind::Channel, b"b"));
        let hash = names.hash(Kind::Channel, b"b");
        let found = names.confirm(Some(a), hash, Kind::Channel, b"b").map(|entry| entry.number);
        assert_eq!(found, names.get(b).map(|entry| entry.number), "a wrong guess is looked up properly");
        assert!(names.confirm(Some(a), names.hash(Kind::Channel, b"c"), Kind::Channel, b"c").is_none());
    }

    #[test]
    fn numbers_are_never_given_twice() {
        let mut names = Names::default();
        let mut seen = std::collections::HashSet::new();
        for round in 0..100u32 {
            let id = names.intern(Kind::Channel, format!("name {}", round % 3).as_bytes());
            assert!(seen.insert(names.get(id).unwrap().number));
            names.remove(id);
        }
    }
}
