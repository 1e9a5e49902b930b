//! The queue inside an inbox: pure, without a lock or a clock, so that its rules can be tested exhaustively.
//!
//! It keeps records in order, drops messages where it must, and leaves an exact mark in every hole. Marks of one
//! source merge only while no message of that source stands between them, so that an inbox nobody reads holds a
//! bounded number of them. Records that are not messages are never dropped.

use super::block::{BLOCK_BYTES, BLOCK_RECORDS, Block, Buffer};
use super::record::{ACTIVE_NAME, Kind, Record, RecordIn};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

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
    active: Option<Place>,
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
            self.blocks.push_back(Block::own(spares.pop()));
        }
        let number = self.first + self.blocks.len() as u64 - 1;
        let block = self.blocks.back_mut()?;
        let place = Place { block: number, index: block.records.len() };
        Some((block, place))
    }

    /// Merges a mark into an earlier one of its source. Returns by how much the cost changed, or `None`.
    fn merge(&mut self, mark: &Mark) -> Option<isize> {
        let Mark { kind, source, status, number, aux } = *mark;
        let marks = *self.marks.get(&source)?;
        let mut change = 0;
        if kind == Kind::Dropped as u16 {
            let (block, at) = self.record(marks.dropped(status)?)?;
            block.records.get_mut(at)?.number += number;
        } else if kind == Kind::Lost as u16 {
            // Lost, active, lost: whoever reads it next must not believe it to be active.
            let lost = marks.lost?;
            self.record(lost)?;
            if let Some(active) = marks.active
                && let Some((block, at)) = self.record(active)
                && let Some(record) = block.records.get_mut(at)
            {
                let cost = record.cost();
                *record = Record::default();
                block.cost -= cost;
                block.blanks += 1;
                change = -(cost as isize);
            }
            let (block, at) = self.record(lost)?;
            block.records.get_mut(at)?.number += number;
            self.marks.entry(source).or_default().active = None;
        } else {
            let (block, at) = self.record(marks.active?)?;
            let record = block.records.get_mut(at)?;
            record.number = number;
            record.aux += aux;
        }
        Some(change)
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
    /// Bytes that must be copied.
    Bytes(&'a [u8]),
}

impl<'a> Wave<'a> {
    /// The bytes from `base` on.
    pub fn bytes(self, base: usize) -> &'a [u8] {
        let bytes = match self {
            Wave::Shared(buffer) => buffer.bytes(),
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
            if change < 0 {
                self.records -= 1;
            }
            self.cost = self.cost.saturating_add_signed(change);
            return true;
        }
        if r.kind == Kind::Message && !self.back.marks.is_empty() {
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
        self.added(r.cost(), matches!(r.kind, Kind::Message | Kind::Log | Kind::State));
        true
    }

    fn added(&mut self, cost: usize, message: bool) {
        self.cost += cost;
        self.records += 1;
        self.messages += u64::from(message);
    }

    /// Appends the messages of a wave, whose offsets count from `base` in its bytes. `records` comes back empty.
    ///
    /// Returns source and token of those that had to be left out for want of memory.
    pub fn push_wave(&mut self, records: &mut Vec<Record>, base: usize, wave: Wave<'_>) -> Vec<(u64, u64)> {
        let end = records.last().map_or(0, |last| last.span().map_or(0, |(_, end)| end as usize));
        if let Wave::Shared(buffer) = wave
            && end * 2 >= buffer.bytes().len()
        {
            if !self.back.marks.is_empty() {
                for record in records.iter() {
                    self.back.marks.remove(&record.source);
                }
            }
            let (mut vec, data) = self.spares.pop().unwrap_or_default();
            if data.capacity() > 0 {
                self.spares.push((Vec::new(), data));
            }
            std::mem::swap(&mut vec, records);
            let block = Block::shared(vec, Arc::clone(buffer), base, end);
            self.cost += block.cost;
            self.messages += block.messages;
            self.records += block.records.len() as u64;
            self.back.blocks.push_back(block);
            return Vec::new();
        }
        let bytes = wave.bytes(base);
        let mut missing = Vec::new();
        for record in records.drain(..) {
            if !self.push_copy(record, bytes) {
                missing.push((record.source, record.token));
            }
        }
        missing
    }

    /// Appends a copy of one message. `false` if there is no memory for it.
    pub fn push_copy(&mut self, record: Record, bytes: &[u8]) -> bool {
        if !self.back.marks.is_empty() {
            self.back.marks.remove(&record.source);
        }
        let len = record.cost() - super::record::RECORD_SIZE;
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
            let Some(block) = self.back.blocks.front_mut() else { break };
            let Some(&record) = block.records.get(block.start) else {
                if let Some(block) = self.back.blocks.pop_front() {
                    self.back.first += 1;
                    self.recycle(block);
                }
                continue;
            };
            if record.kind == 0 {
                block.start += 1;
                continue;
            }
            let cost = record.cost();
            self.cost -= cost;
            self.records -= 1;
            block.cost -= cost;
            if record.droppable() {
                block.start += 1;
                block.messages -= 1;
                self.messages -= 1;
                dropped += 1;
                self.keep(Record { kind: Kind::Dropped as u16, number: 1, ..mark_of(&record) }, &[], &[], &[]);
            } else {
                let data = block.data();
                let parts = [record.name(data), record.extra(data), record.payload(data)].map(<[u8]>::to_vec);
                block.start += 1;
                let [name, extra, payload] = parts;
                self.keep(record, &name, &extra, &payload);
            }
        }
        dropped
    }

    /// Puts what outlives dropped messages before everything that still waits.
    fn keep(&mut self, record: Record, name: &[u8], extra: &[u8], payload: &[u8]) {
        let mark = is_mark(&record);
        let Record { kind, source, status, number, aux, .. } = record;
        let key = Mark { kind, source, status, number, aux };
        if mark && let Some(change) = self.front.merge(&key) {
            if change < 0 {
                self.records -= 1;
            }
            self.cost = self.cost.saturating_add_signed(change);
            return;
        }
        let bytes = name.len() + extra.len() + payload.len();
        let Some((block, place)) = self.front.tail(bytes, &mut self.spares) else { return };
        if block.push(record, name, extra, payload) {
            if mark {
                self.front.note(&key, place);
            }
            self.added(record.cost(), record.droppable());
        }
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

/// The mark that stands for a message: its source and its token.
fn mark_of(record: &Record) -> Record {
    Record { source: record.source, token: record.token, ..Record::default() }
}
