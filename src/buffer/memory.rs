//! What responders remember: their answers to requests that may be sent again, and what was served once.

use crate::sync::{Mutex, lock};
use crate::sys::PerProcess;
use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

/// Answers to requests that may be sent again, for a while. A request is known by its reply channel and what is unique of
/// it, because two askers may choose the same id, and one may choose it again.
#[derive(Debug, Default)]
pub(super) struct Memory {
    frames: BTreeMap<(String, String), Remembered>,
    order: VecDeque<(String, String)>,
    bytes: usize,
    /// Requests that were taken, and whether a claim of a queue group was won for them.
    taken: Latest<String, bool>,
}

#[derive(Debug, Default)]
struct Remembered {
    frames: Vec<Vec<u8>>,
    whole: bool,
}

impl Memory {
    const MOST: usize = 1024;
    const MOST_BYTES: usize = 4 * 1024 * 1024;

    pub(super) fn keep(&mut self, reply: &str, id: &str, frame: &[u8], first: bool, last: bool) {
        let key = (reply.to_owned(), id.to_owned());
        if !self.frames.contains_key(&key) {
            if !first {
                // What came before was too much to remember, and a part is not the whole.
                return;
            }
            self.bytes += Memory::cost(&key, &Remembered::default());
            self.order.push_back(key.clone());
        }
        let one = self.frames.entry(key).or_default();
        one.frames.push(frame.to_vec());
        one.whole = last;
        self.bytes += frame.len();
        while self.order.len() > Memory::MOST || self.bytes > Memory::MOST_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            let gone = self.frames.remove(&oldest).unwrap_or_default();
            self.bytes -= Memory::cost(&oldest, &gone);
        }
    }

    /// Who asks names the channel: it may be as long as a head line, and is kept twice.
    fn cost((reply, id): &(String, String), one: &Remembered) -> usize {
        2 * (reply.len() + id.len()) + one.frames.iter().map(Vec::len).sum::<usize>()
    }

    /// The last frame of a request was not sent after all.
    pub(super) fn take_back(&mut self, reply: &str, id: &str) {
        let gone = self.frames.get_mut(&(reply.to_owned(), id.to_owned())).and_then(|one| one.frames.pop());
        self.bytes -= gone.map_or(0, |frame| frame.len());
    }

    /// What was said to a request so far, and whether that is all.
    pub(super) fn recall(&self, reply: &str, id: &str) -> (&[Vec<u8>], bool) {
        let key = (reply.to_owned(), id.to_owned());
        self.frames.get(&key).map_or((&[], false), |one| (one.frames.as_slice(), one.whole))
    }

    /// A request that may be sent again is taken.
    pub(super) fn takes(&mut self, id: &str) {
        self.taken.note(id.to_owned(), false);
    }

    /// Whether it was taken, lately.
    pub(super) fn took(&self, id: &str) -> bool {
        self.taken.get(id).is_some()
    }

    /// It is this member's to serve, whatever becomes of its answers here: nobody else of the group can claim it.
    pub(super) fn wins(&mut self, id: &str) {
        self.taken.note(id.to_owned(), true);
    }

    /// Whether it was.
    pub(super) fn won(&self, id: &str) -> bool {
        self.taken.get(id) == Some(&true)
    }
}

/// What was noted latest, and no more than is good for anybody.
#[derive(Debug)]
struct Latest<K, V> {
    all: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Latest<K, V> {
    fn default() -> Latest<K, V> {
        Latest { all: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Hash + Eq + Clone, V> Latest<K, V> {
    const MOST: usize = 4096;

    fn note(&mut self, key: K, value: V) {
        if self.all.insert(key.clone(), value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.all.get(key)
    }
}

/// Requests that responders of this process served once, by their word and what is unique of a request.
static SERVED: PerProcess<Mutex<Latest<(String, String), ()>>> = PerProcess::new(|| Mutex::new(Latest::default()));

/// Whether a request is served under a word. The same request comes more than once where a process listens through several
/// clients to the same server.
pub(super) fn is_served(word: &str, id: &str) -> bool {
    !word.is_empty() && lock(SERVED.get()).get(&(word.to_owned(), id.to_owned())).is_some()
}

/// A request is served under a word. Known when it is taken, not when it comes: one that has no room for it leaves it to
/// another. All responders of a process hear of requests in its one runtime, so nothing comes between.
pub(super) fn serves(word: &str, id: &str) {
    if !word.is_empty() {
        lock(SERVED.get()).note((word.to_owned(), id.to_owned()), ());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_with_the_names_that_it_is_remembered_by() {
        let mut memory = Memory::default();
        let reply = "r".repeat(60_000);
        let keep = |memory: &mut Memory, n: usize| memory.keep(&reply, &n.to_string(), b"answer", true, true);
        (0..500).for_each(|n| keep(&mut memory, n));
        assert!(memory.order.len() * 2 * reply.len() <= Memory::MOST_BYTES, "{} are kept", memory.order.len());
        assert!(memory.recall(&reply, "499").1 && !memory.recall(&reply, "0").1, "the latest are");
        // And all of it is given back: what is too much by itself pushes everything out.
        memory.keep("r", "large", &vec![0; Memory::MOST_BYTES], true, true);
        assert_eq!((memory.bytes, memory.frames.len(), memory.order.len()), (0, 0, 0));
    }

    #[test]
    fn what_was_taken_back_is_not_remembered() {
        let mut memory = Memory::default();
        memory.keep("r", "1", b"never sent", true, false);
        memory.take_back("r", "1");
        memory.keep("r", "1", b"sent", true, false);
        assert_eq!(memory.recall("r", "1"), ([b"sent".to_vec()].as_slice(), false));
        memory.take_back("r", "1");
        memory.take_back("r", "1");
        assert_eq!(memory.bytes, Memory::cost(&("r".into(), "1".into()), &Remembered::default()));
    }

    #[test]
    fn what_was_taken_latest_is_known_and_what_was_won_of_it() {
        let mut memory = Memory::default();
        let most = Latest::<String, bool>::MOST;
        (0..=most).for_each(|n| memory.takes(&n.to_string()));
        memory.wins("1");
        assert!(!memory.took("0") && memory.took("1") && memory.won("1") && !memory.won("2"));
        memory.takes("next");
        assert!(!memory.won("1"), "it was the oldest one");
        assert_eq!((memory.taken.all.len(), memory.taken.order.len()), (most, most));
    }
}
