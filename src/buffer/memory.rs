//! What responders remember: their answers to requests that may be sent again, and what was served once.

use crate::sync::{Mutex, lock};
use crate::sys::PerProcess;
use std::collections::{BTreeMap, HashSet, VecDeque};

/// Answers to requests that may be sent again, for a while. A request is known by its reply channel and what is unique of
/// it, because two askers may choose the same id, and one may choose it again.
#[derive(Debug, Default)]
pub(super) struct Memory {
    frames: BTreeMap<(String, String), Remembered>,
    order: VecDeque<(String, String)>,
    bytes: usize,
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

    /// A new request has the id of an old one.
    pub(super) fn forget(&mut self, reply: &str, id: &str) {
        let key = (reply.to_owned(), id.to_owned());
        if let Some(gone) = self.frames.remove(&key) {
            self.bytes -= Memory::cost(&key, &gone);
            self.order.retain(|other| *other != key);
        }
    }
}

/// Requests that responders of this process served once, by their word and what is unique of a request.
#[derive(Default)]
struct Served {
    ids: HashSet<(String, String)>,
    order: VecDeque<(String, String)>,
}

static SERVED: PerProcess<Mutex<Served>> = PerProcess::new(|| Mutex::new(Served::default()));

/// Whether a request is served under a word. The same request comes more than once where a process listens through several
/// clients to the same server.
pub(super) fn is_served(word: &str, id: &str) -> bool {
    !word.is_empty() && lock(SERVED.get()).ids.contains(&(word.to_owned(), id.to_owned()))
}

/// A request is served under a word. Known when it is taken, not when it comes: one that has no room for it leaves it to
/// another. All responders of a process hear of requests in its one runtime, so nothing comes between.
pub(super) fn serves(word: &str, id: &str) {
    const MOST: usize = 4096;
    if word.is_empty() {
        return;
    }
    let key = (word.to_owned(), id.to_owned());
    let mut served = lock(SERVED.get());
    if !served.ids.insert(key.clone()) {
        return;
    }
    served.order.push_back(key);
    if served.order.len() > MOST
        && let Some(oldest) = served.order.pop_front()
    {
        served.ids.remove(&oldest);
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
        (0..500).for_each(|n| memory.forget(&reply, &n.to_string()));
        assert_eq!((memory.bytes, memory.frames.len(), memory.order.len()), (0, 0, 0));
    }

    #[test]
    fn what_was_taken_back_is_not_remembered() {
        let mut memory = Memory::default();
        memory.keep("r", "1", b"never sent", true, false);
        memory.take_back("r", "1");
        memory.keep("r", "1", b"sent", true, false);
        assert_eq!(memory.recall("r", "1"), ([b"sent".to_vec()].as_slice(), false));
        memory.forget("r", "1");
        memory.take_back("r", "1");
        assert_eq!(memory.bytes, 0);
    }
}
