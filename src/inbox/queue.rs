//! The queue inside an inbox: pure, without a lock or a clock, so that its rules can be tested exhaustively.
//!
//! It keeps records in order, drops messages where it must, and leaves an exact mark in every hole. Marks of one
//! source merge only while no message of that source stands between them, so that an inbox nobody reads holds a
//! bounded number of them. Records that are not messages are never dropped.

use super::block::{BLOCK_BYTES, BLOCK_RECORDS, Block, Buffer};
use super::record::{ACTIVE_NAME, Kind, RECORD_SIZE, Record, RecordIn};
use crate::error::Status;
use crate::sync::Arc;
use std::collections::{HashMap, VecDeque};

/// Emptied vectors kept for the next block, and how large they may be to be kept.
const SPARES: usize = 2;
const SPARE_RECORDS: usize = BLOCK_RECORDS;

/// Where a mark lies: which block (counted since the beginning of its lane), and which record in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    block: u64,
    index: usize,
}

/// How many reasons of drops are told apart at once; a further one joins the first.
const REASONS: usize = 4;

/// The marks of one source that later marks may merge into.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    /// By status: what was dropped for want of room says nothing about what was too large.
    dropped: [Option<(i32, Place)>; REASONS],
    lost: Option<Place>,
    /// Blanked (kind 0) while it is lost again: the next one takes its place, or a link that flaps for ever would
    /// leave a blank each time.
    active: Option<Place>,
}

/// By how much a queue's sums changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Change {
    cost: isize,
    records: i64,
}

/// A run of blocks with the marks that may still merge in it.
#[derive(Debug, Default)]
struct Lane {
    blocks: VecDeque<Block>,
    /// The number of `blocks[0]`.
    first: u64,
    marks: HashMap<u64, Marks>,
}

impl Marks {
    /// The mark that a drop with that status merges into.
    fn dropped(&self, status: i32) -> Option<Place> {
        let same = self.dropped.iter().flatten().find(|(other, _)| *other == status);
        let full = self.dropped.iter().all(Option::is_some);
        let first = self.dropped.first().and_then(Option::as_ref).filter(|_| full);
        same.or(first).map(|&(_, place)| place)
    }
}

impl Lane {
    fn record(&mut self, place: Place) -> Option<(&mut Block, usize)> {
        let at = usize::try_from(place.block.checked_sub(self.first)?).ok()?;
        let block = self.blocks.get_mut(at)?;
        (place.index >= block.start && place.index < block.records.len()).then_some((block, place.index))
    }

    /// The block that takes the next record of `bytes`, and where that record will be.
    fn tail(&mut self, bytes: usize, spares: &mut Vec<(Vec<Record>, Vec<u8>)>) -> Option<(&mut Block, Place)> {
        if !self.blocks.back().is_some_and(|block| block.has_room(bytes)) {
            self.append(Block::own(spares.pop()));
        }
        let number = self.first + self.blocks.len() as u64 - 1;
        let block = self.blocks.back_mut()?;
        let place = Place { block: number, index: block.records.len() };
        Some((block, place))
    }

    /// Appends a block. The one before it gets no more records, so it gives back room that it has too much: a small
    /// block in vectors that were used before held several times what it was charged, for as long as nobody took it.
    fn append(&mut self, block: Block) {
        if let Some(last) = self.blocks.back_mut() {
            last.settle();
        }
        self.blocks.push_back(block);
    }

    /// Merges a mark into an earlier one of its source. Returns what changed, or `None`.
    fn merge(&mut self, mark: &Mark) -> Option<Change> {
        let Mark { kind, source, status, number, aux } = *mark;
        let marks = *self.marks.get(&source)?;
        let mut change = Change::default();
        if kind == Kind::Dropped as u16 {
            let (block, at) = self.record(marks.dropped(status)?)?;
            block.records.get_mut(at)?.number += number;
        } else if kind == Kind::Lost as u16 {
            // Lost, active, lost: whoever reads it next must not believe it to be active.
            let (block, at) = self.record(marks.lost?)?;
            block.records.get_mut(at)?.number += number;
            if let Some(active) = marks.active
                && let Some((block, at)) = self.record(active)
                && let Some(record) = block.records.get_mut(at)
                && record.kind != 0
            {
                let cost = record.cost();
                record.kind = 0;
                block.cost -= cost;
                block.blanks += 1;
                change = Change { cost: -(cost as isize), records: -1 };
            }
        } else {
            let (block, at) = self.record(marks.active?)?;
            let record = block.records.get_mut(at)?;
            record.number = number;
            record.aux += aux;
            if record.kind == 0 {
                let cost = record.cost();
                record.kind = kind;
                block.cost += cost;
                block.blanks -= 1;
                change = Change { cost: cost as isize, records: 1 };
            }
        }
        Some(change)
    }

    /// Appends what outlives dropped messages, or merges it if it is a mark. Returns what changed.
    fn keep(&mut self, record: Record, parts: [&[u8]; 3], spares: &mut Vec<(Vec<Record>, Vec<u8>)>) -> Change {
        let mark = is_mark(&record);
        let Record { kind, source, status, number, aux, .. } = record;
        let key = Mark { kind, source, status, number, aux };
        if mark && let Some(change) = self.merge(&key) {
            return change;
        }
        let [name, extra, payload] = parts;
        let Some((block, place)) = self.tail(name.len() + extra.len() + payload.len(), spares) else {
            return Change::default();
        };
        let mut cost = record.cost();
        if !block.push(record, name, extra, payload) {
            // No memory for its bytes: what its reader waits for is that it ended.
            block.push(Record { status: Status::NoMemory.code(), ..record }, &[], &[], &[]);
            cost = RECORD_SIZE;
        }
        if mark {
            self.note(&key, place);
        }
        Change { cost: cost as isize, records: 1 }
    }

    fn note(&mut self, mark: &Mark, place: Place) {
        let kind = mark.kind;
        let marks = self.marks.entry(mark.source).or_default();
        if kind == Kind::Dropped as u16 {
            let at = marks.dropped.iter().position(|old| old.is_none_or(|(status, _)| status == mark.status));
            if let Some(old) = marks.dropped.get_mut(at.unwrap_or(0)) {
                *old = Some((mark.status, place));
            }
        } else if kind == Kind::Lost as u16 {
            marks.lost = Some(place);
            marks.active = None;
        } else {
            marks.active = Some(place);
        }
    }

    fn pop(&mut self) -> Option<Block> {
        let block = self.blocks.pop_front()?;
        self.first += 1;
        // Marks that left can take no more; forgetting them all costs at most one more mark a source.
        self.marks.clear();
        Some(block)
    }
}

/// What of a mark decides where it merges.
struct Mark {
    kind: u16,
    source: u64,
    status: i32,
    number: u64,
    aux: u64,
}

/// Whether records of this kind merge: `dropped`, `lost`, and `active` without a name.
fn is_mark(record: &Record) -> bool {
    record.is(Kind::Dropped) || record.is(Kind::Lost) || (record.is(Kind::Active) && record.flags & ACTIVE_NAME == 0)
}

/// The bytes of a wave: records point into them.
#[derive(Clone, Copy)]
pub enum Wave<'a> {
    /// The buffer that was read into, which blocks may share.
    Shared(&'a Arc<Buffer>),
    /// The same, summed up while it was staged, so that nothing looks at each record again: the records fit one block,
    /// are all messages, use the `len` bytes from `base` on, and cost `cost`.
    Staged {
        /// The buffer.
        buffer: &'a Arc<Buffer>,
        /// How many bytes from `base` on the records use.
        len: usize,
        /// What they cost together.
        cost: usize,
    },
    /// Bytes that must be copied.
    Bytes(&'a [u8]),
}

impl<'a> Wave<'a> {
    /// The bytes from `base` on.
    pub fn bytes(self, base: usize) -> &'a [u8] {
        let bytes = match self {
            Wave::Shared(buffer) | Wave::Staged { buffer, .. } => buffer.bytes(),
            Wave::Bytes(bytes) => bytes,
        };
        bytes.get(base..).unwrap_or_default()
    }
}

/// Records in order, with marks where some are missing.
#[derive(Debug, Default)]
pub struct Queue {
    /// What outlived messages that were dropped before and around it; read before `back`.
    front: Lane,
    back: Lane,
    cost: usize,
    messages: u64,
    /// The part of `cost` that is messages, and the part of that which is the newest one.
    message_cost: usize,
    newest_cost: usize,
    records: u64,
    spares: Vec<(Vec<Record>, Vec<u8>)>,
}

impl Queue {
    /// What all waiting records cost.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// How many waiting records may be dropped.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The bytes of the messages that `drop_oldest` may drop: all but the newest one.
    pub fn droppable_cost(&self) -> usize {
        if self.messages > 1 { self.message_cost - self.newest_cost } else { 0 }
    }

    /// How many records wait.
    pub fn len(&self) -> u64 {
        self.records
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Appends a record, or merges it if it is a mark. `false` if there is no memory for its bytes.
    pub fn push(&mut self, r: &RecordIn<'_>) -> bool {
        let mark =
            matches!(r.kind, Kind::Dropped | Kind::Lost) || (r.kind == Kind::Active && r.flags & ACTIVE_NAME == 0);
        let key = Mark { kind: r.kind as u16, source: r.source, status: r.status, number: r.number, aux: r.aux };
        if mark && let Some(change) = self.back.merge(&key) {
            self.apply(change);
            return true;
        }
        let droppable = matches!(r.kind, Kind::Message | Kind::Log | Kind::State);
        if droppable && !self.back.marks.is_empty() {
            self.back.marks.remove(&r.source);
        }
        let bytes = r.name.len() + r.extra.len() + r.data.len();
        let Some((block, place)) = self.back.tail(bytes, &mut self.spares) else { return false };
        if !block.push_in(r) {
            if block.records.is_empty() {
                self.back.blocks.pop_back();
            }
            return false;
        }
        if mark {
            self.back.note(&key, place);
        }
        self.added(r.cost(), droppable);
        true
    }

    fn added(&mut self, cost: usize, message: bool) {
        self.cost += cost;
        self.records += 1;
        if message {
            self.messages += 1;
            self.message_cost += cost;
            self.newest_cost = cost;
        }
    }

    fn apply(&mut self, change: Change) {
        self.cost = self.cost.saturating_add_signed(change.cost);
        self.records = self.records.saturating_add_signed(change.records);
    }

    /// Appends the messages of a wave, whose offsets count from `base` in its bytes. `records` comes back empty.
    ///
    /// Returns source and token of those that had to be left out for want of memory.
    pub fn push_wave(&mut self, records: &mut Vec<Record>, base: usize, wave: Wave<'_>) -> Vec<(u64, u64)> {
        if let Wave::Staged { buffer, len, cost } = wave
            && cost * 2 >= buffer.bytes().len()
        {
            debug_assert_eq!(next_block(records), Some((records.len(), (0, len as u32), cost)));
            let records = self.swap_spare(records);
            self.push_shared(Block::staged(records, Arc::clone(buffer), base, len, cost));
            return Vec::new();
        }
        if let Wave::Staged { len, cost, .. } = wave
            && len <= 2 * (cost - records.len() * RECORD_SIZE)
            && self.push_span(records, wave.bytes(base).get(..len).unwrap_or_default(), cost)
        {
            return Vec::new();
        }
        let bytes = wave.bytes(base);
        let mut missing = Vec::new();
        while let Some((count, span, cost)) = next_block(records) {
            match wave {
                // A block pins the whole buffer, so what it is charged must be worth half of it.
                Wave::Shared(buffer) if cost * 2 >= buffer.bytes().len() => {
                    self.share(records, count, Arc::clone(buffer), base, span);
                }
                _ => {
                    for record in records.drain(..count) {
                        if !self.push_copy(record, bytes) {
                            missing.push((record.source, record.token));
                        }
                    }
                }
            }
        }
        missing
    }

    /// Appends a copy of messages that use most of `bytes`, with all of it: what lies between them costs less to copy
    /// than it costs to copy them one by one. `false` if it has to be done one by one; `records` is empty else.
    fn push_span(&mut self, records: &mut Vec<Record>, bytes: &[u8], cost: usize) -> bool {
        let Some(last) = records.last().map(Record::cost) else { return true };
        if !self.back.blocks.back().is_some_and(|block| block.has_room_for(records.len(), bytes.len())) {
            let block = Block::own(self.spares.pop());
            self.back.append(block);
        }
        let Some(block) = self.back.blocks.back_mut() else { return false };
        if !block.push_span(records, bytes, cost) {
            if block.records.is_empty() {
                self.back.blocks.pop_back();
            }
            return false;
        }
        if !self.back.marks.is_empty() {
            for record in records.iter() {
                self.back.marks.remove(&record.source);
            }
        }
        self.cost += cost;
        self.messages += records.len() as u64;
        self.message_cost += cost;
        self.newest_cost = last;
        self.records += records.len() as u64;
        records.clear();
        true
    }

    /// Appends the first `count` records as a block over the buffer that they point into.
    fn share(&mut self, records: &mut Vec<Record>, count: usize, buffer: Arc<Buffer>, base: usize, span: (u32, u32)) {
        let vec = if count == records.len() {
            self.swap_spare(records)
        } else {
            let mut vec = self.spare_records();
            vec.extend(records.drain(..count));
            vec
        };
        self.push_shared(Block::shared(vec, buffer, base, span));
    }

    /// Takes the records and leaves an empty vector that was used before.
    fn swap_spare(&mut self, records: &mut Vec<Record>) -> Vec<Record> {
        let spare = self.spare_records();
        std::mem::replace(records, spare)
    }

    fn push_shared(&mut self, block: Block) {
        if !self.back.marks.is_empty() {
            for record in &block.records {
                self.back.marks.remove(&record.source);
            }
        }
        if let Some(last) = block.records.iter().rev().find(|record| record.droppable()) {
            self.newest_cost = last.cost();
        }
        self.cost += block.cost;
        self.messages += block.messages;
        self.message_cost += block.message_cost;
        self.records += block.records.len() as u64;
        self.back.append(block);
    }

    /// Appends a copy of one message. `false` if there is no memory for it.
    pub fn push_copy(&mut self, record: Record, bytes: &[u8]) -> bool {
        if !self.back.marks.is_empty() {
            self.back.marks.remove(&record.source);
        }
        let len = record.cost() - RECORD_SIZE;
        let Some((block, _)) = self.back.tail(len, &mut self.spares) else { return false };
        let pushed = block.push(record, record.name(bytes), record.extra(bytes), record.payload(bytes));
        if pushed {
            self.added(record.cost(), record.droppable());
        } else if block.records.is_empty() {
            self.back.blocks.pop_back();
        }
        pushed
    }

    /// Drops the oldest messages while `over` says so, all but the newest one, and marks the holes. Returns how many.
    pub fn drop_oldest(&mut self, mut over: impl FnMut(&Queue) -> bool) -> u64 {
        let mut dropped = 0;
        while self.messages > 1 && over(self) {
            let Some(message) = self.shift() else { break };
            dropped += u64::from(message);
        }
        dropped
    }

    /// Takes the oldest record out of `back`: a message becomes a mark in `front`, everything else moves there.
    /// Returns whether it was a message.
    fn shift(&mut self) -> Option<bool> {
        let block = self.back.blocks.front_mut()?;
        let record = *block.records.get(block.start)?;
        let message = record.droppable();
        let cost = record.cost();
        if !message && cost > RECORD_SIZE + BLOCK_BYTES {
            // So large a record is alone in its block, which moves as it is: a copy would double the memory.
            self.front.blocks.push_back(self.back.blocks.pop_front()?);
            self.back.first += 1;
            return Some(false);
        }
        block.start += 1;
        if record.kind != 0 {
            block.cost -= cost;
            let change = if message {
                block.messages -= 1;
                block.message_cost -= cost;
                self.messages -= 1;
                self.message_cost -= cost;
                let mark = Record { kind: Kind::Dropped as u16, number: 1, ..mark_of(&record) };
                self.front.keep(mark, [&[]; 3], &mut self.spares)
            } else {
                let data = block.data();
                let parts = [record.name(data), record.extra(data), record.payload(data)];
                self.front.keep(record, parts, &mut self.spares)
            };
            self.apply(Change { cost: change.cost - cost as isize, records: change.records - 1 });
        }
        // At once, not when the next one is dropped: its data may be one large message that nothing counts any more.
        if self.back.blocks.front().is_some_and(|block| block.start == block.records.len())
            && let Some(block) = self.back.blocks.pop_front()
        {
            self.back.first += 1;
            self.recycle(block);
        }
        Some(message)
    }

    /// Takes the oldest block.
    pub fn pop(&mut self) -> Option<Block> {
        loop {
            let mut block = match self.front.pop() {
                Some(block) => block,
                None => self.back.pop()?,
            };
            block.tidy();
            if block.records.is_empty() {
                self.recycle(block);
                continue;
            }
            self.cost -= block.cost;
            self.messages -= block.messages;
            self.message_cost -= block.message_cost;
            self.records -= block.records.len() as u64;
            return Some(block);
        }
    }

    /// Keeps a block's vectors for the next one.
    pub fn recycle(&mut self, block: Block) {
        let (records, data) = block.recycle();
        if self.spares.len() < SPARES && records.capacity() <= SPARE_RECORDS && data.capacity() <= BLOCK_BYTES {
            self.spares.push((records, data));
        }
    }

    /// A vector for the next wave's records.
    pub fn spare_records(&mut self) -> Vec<Record> {
        self.spares.last_mut().map(|(records, _)| std::mem::take(records)).unwrap_or_default()
    }

    /// Forgets everything that waits, and how it was laid out.
    pub fn clear(&mut self) {
        *self = Queue { spares: Vec::new(), ..Queue::default() };
    }
}

/// How many of the records fit in one block, the span of the bytes that they use, and what they cost.
fn next_block(records: &[Record]) -> Option<(usize, (u32, u32), usize)> {
    let mut all: Option<(u32, u32)> = None;
    let (mut count, mut cost) = (0, 0);
    for record in records.iter().take(BLOCK_RECORDS) {
        let wider = match (all, record.span()) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
        if count > 0 && wider.is_some_and(|(from, to)| (to - from) as usize > BLOCK_BYTES) {
            break;
        }
        all = wider;
        count += 1;
        cost += record.cost();
    }
    (count > 0).then(|| (count, all.unwrap_or_default(), cost))
}

/// The mark that stands for a message: its source and its token.
fn mark_of(record: &Record) -> Record {
    Record { source: record.source, token: record.token, ..Record::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(queue: &Queue) -> usize {
        queue.front.blocks.iter().chain(&queue.back.blocks).map(|block| block.records.len()).sum()
    }

    #[test]
    fn a_link_that_flaps_for_ever_leaves_no_blanks_behind() {
        let mut queue = Queue::default();
        for generation in 0..5000 {
            for source in 0..3 {
                queue.push(&RecordIn { number: 1, ..RecordIn::new(Kind::Lost, source, 0) });
                queue.push(&RecordIn { number: generation, ..RecordIn::new(Kind::Active, source, 0) });
            }
        }
        assert_eq!((queue.len(), laid(&queue)), (6, 6));
    }

    #[test]
    fn flapping_between_messages_that_are_dropped_leaves_no_blanks_behind() {
        let mut queue = Queue::default();
        for _ in 0..5000 {
            for kind in [Kind::Lost, Kind::Active, Kind::Message, Kind::Message] {
                queue.push(&RecordIn { number: 1, ..RecordIn::new(kind, 1, 0) });
            }
            queue.drop_oldest(|queue| queue.messages() > 4);
        }
        assert!(queue.len() < 20 && laid(&queue) < 2 * BLOCK_RECORDS, "{} {}", queue.len(), laid(&queue));
    }

    #[test]
    fn the_memory_of_a_large_message_goes_when_it_is_dropped() {
        let mut queue = Queue::default();
        let large = vec![1; 4 << 20];
        queue.push(&RecordIn { data: &large, ..RecordIn::new(Kind::Message, 1, 0) });
        queue.push(&RecordIn::new(Kind::Message, 1, 0));
        queue.drop_oldest(|queue| queue.messages() > 1);
        let held: usize = queue.front.blocks.iter().chain(&queue.back.blocks).map(|block| block.data().len()).sum();
        assert_eq!(held, 0);
    }

    #[test]
    fn a_large_completion_moves_without_a_copy_when_messages_around_it_go() {
        let mut queue = Queue::default();
        let large = vec![1; 4 << 20];
        queue.push(&RecordIn::new(Kind::Message, 1, 0));
        queue.push(&RecordIn { data: &large, ..RecordIn::new(Kind::Promise, 1, 0) });
        let at = queue.back.blocks[1].data().as_ptr();
        queue.push(&RecordIn::new(Kind::Message, 1, 0));
        queue.push(&RecordIn::new(Kind::Message, 1, 0));
        assert_eq!(queue.drop_oldest(|queue| queue.messages() > 1), 2);
        let kinds: Vec<_> = std::iter::from_fn(|| queue.pop())
            .flat_map(|block| {
                let large = block.data().as_ptr() == at;
                block.records().iter().map(|record| (record.kind, record.number, large)).collect::<Vec<_>>()
            })
            .collect();
        let (dropped, promise, message) = (Kind::Dropped as u16, Kind::Promise as u16, Kind::Message as u16);
        assert_eq!(kinds, [(dropped, 2, false), (promise, 0, true), (message, 0, false)]);
    }
}
