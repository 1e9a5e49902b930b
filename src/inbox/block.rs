//! Blocks: what a take hands over, and the buffers that they point into.
//!
//! A block either owns a copy of its bytes, which later records are appended to, or shares the buffer that the
//! socket was read into. Sharing saves the copy where an inbox uses most of a buffer; an inbox that uses little of
//! it copies, or a trickle of small messages would pin 64 KiB each.

use super::inbox::Inbox;
use super::record::{Record, RecordIn};
use crate::sync::{Arc, Mutex, lock};

/// The most bytes of data in a block of more than one record. .NET moves arrays over 85,000 bytes into its
/// large-object heap, where a message cost 41 ns instead of 5.5.
pub const BLOCK_BYTES: usize = 64 * 1024;
/// The most records in a block.
pub const BLOCK_RECORDS: usize = 1024;
/// How many buffers a pool keeps for the next read: what is read before a taker is told, and as much in its hands.
const POOLED: usize = 8;

/// Read buffers that wait for their next use.
#[derive(Debug, Default)]
pub struct BufferPool {
    free: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// A buffer of `BLOCK_BYTES`, used before or new.
    pub fn get(pool: &Arc<BufferPool>) -> Arc<Buffer> {
        let bytes = lock(&pool.free).pop().unwrap_or_else(|| vec![0; BLOCK_BYTES]);
        Arc::new(Buffer { bytes, pool: Some(Arc::clone(pool)) })
    }

    /// Forgets the buffers that it keeps.
    pub fn clear(&self) {
        lock(&self.free).clear();
    }
}

/// Bytes as they were read from a socket, shared by the blocks that point into them.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    pool: Option<Arc<BufferPool>>,
}

impl Buffer {
    /// A buffer for one large frame; `None` if there is no memory for it.
    pub fn large(len: usize) -> Option<Arc<Buffer>> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).ok()?;
        bytes.resize(len, 0);
        Some(Arc::new(Buffer { bytes, pool: None }))
    }

    /// All of it, filled or not.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All of it, to read into.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            let mut free = lock(&pool.free);
            if free.len() < POOLED {
                free.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

#[derive(Debug)]
enum Data {
    Own(Vec<u8>),
    Shared { buffer: Arc<Buffer>, off: usize, len: usize },
}

/// An array of records and the bytes that they point into.
#[derive(Debug)]
pub struct Block {
    pub(super) records: Vec<Record>,
    /// Records before this one were dropped.
    pub(super) start: usize,
    /// How many records were blanked out (kind 0); `tidy` removes them.
    pub(super) blanks: usize,
    pub(super) cost: usize,
    pub(super) messages: u64,
    /// The part of `cost` that is messages.
    pub(super) message_cost: usize,
    data: Data,
}

impl Block {
    /// An empty block that owns its bytes.
    pub(super) fn own(spare: Option<(Vec<Record>, Vec<u8>)>) -> Block {
        let (records, data) = spare.unwrap_or_default();
        Block::new(records, Data::Own(data))
    }

    /// A block over the `span` of a shared buffer that the records use; their offsets count from `base`.
    pub(super) fn shared(records: Vec<Record>, buffer: Arc<Buffer>, base: usize, span: (u32, u32)) -> Block {
        let (from, to) = span;
        let data = Data::Shared { buffer, off: base + from as usize, len: (to - from) as usize };
        let mut block = Block::new(records, data);
        let (mut cost, mut messages, mut message_cost) = (0, 0, 0);
        for record in &mut block.records {
            record.rebase(from);
            cost += record.cost();
            if record.droppable() {
                messages += 1;
                message_cost += record.cost();
            }
        }
        (block.cost, block.messages, block.message_cost) = (cost, messages, message_cost);
        block
    }

    /// A block over `len` bytes of a shared buffer from `base` on, all messages, whose cost is known.
    pub(super) fn staged(records: Vec<Record>, buffer: Arc<Buffer>, base: usize, len: usize, cost: usize) -> Block {
        let messages = records.len() as u64;
        let block = Block::new(records, Data::Shared { buffer, off: base, len });
        Block { cost, messages, message_cost: cost, ..block }
    }

    fn new(records: Vec<Record>, data: Data) -> Block {
        Block { records, start: 0, blanks: 0, cost: 0, messages: 0, message_cost: 0, data }
    }

    /// The records.
    pub fn records(&self) -> &[Record] {
        self.records.get(self.start..).unwrap_or_default()
    }

    /// The bytes that the records point into.
    pub fn data(&self) -> &[u8] {
        match &self.data {
            Data::Own(bytes) => bytes,
            Data::Shared { buffer, off, len } => buffer.bytes().get(*off..off + len).unwrap_or_default(),
        }
    }

    /// Whether a record with `bytes` of data may be appended.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        match &self.data {
            Data::Own(data) => {
                self.records.is_empty() || (self.records.len() < BLOCK_RECORDS && data.len() + bytes <= BLOCK_BYTES)
            }
            Data::Shared { .. } => false,
        }
    }

    /// Appends a record whose bytes lie elsewhere. `false` if there is no memory for them; nothing changed then.
    pub(super) fn push(&mut self, mut record: Record, name: &[u8], extra: &[u8], payload: &[u8]) -> bool {
        let Data::Own(data) = &mut self.data else { return false };
        if data.try_reserve(name.len() + extra.len() + payload.len()).is_err() {
            return false;
        }
        let mut lay = |bytes: &[u8]| {
            let at = if bytes.is_empty() { 0 } else { data.len() as u32 };
            data.extend_from_slice(bytes);
            (at, bytes.len() as u32)
        };
        (record.name_off, record.name_len) = lay(name);
        (record.extra_off, record.extra_len) = lay(extra);
        (record.data_off, record.data_len) = lay(payload);
        self.cost += record.cost();
        if record.droppable() {
            self.messages += 1;
            self.message_cost += record.cost();
        }
        self.records.push(record);
        true
    }

    /// Whether messages that use `len` bytes in a row may be appended together.
    pub(super) fn has_room_for(&self, records: usize, len: usize) -> bool {
        match &self.data {
            Data::Own(data) => self.records.len() + records <= BLOCK_RECORDS && data.len() + len <= BLOCK_BYTES,
            Data::Shared { .. } => false,
        }
    }

    /// Appends messages whose bytes lie together in `bytes`, with one copy of all of it. `false` if there is no memory
    /// for it; nothing changed then.
    pub(super) fn push_span(&mut self, messages: &[Record], bytes: &[u8], cost: usize) -> bool {
        let Data::Own(data) = &mut self.data else { return false };
        if data.try_reserve(bytes.len()).is_err() {
            return false;
        }
        let at = data.len() as u32;
        data.extend_from_slice(bytes);
        self.records.extend(messages.iter().map(|record| {
            let mut record = *record;
            record.rebase(0u32.wrapping_sub(at));
            record
        }));
        self.cost += cost;
        self.messages += messages.len() as u64;
        self.message_cost += cost;
        true
    }

    /// Appends a record from its fields.
    pub(super) fn push_in(&mut self, r: &RecordIn<'_>) -> bool {
        let record = Record {
            kind: r.kind as u16,
            flags: r.flags,
            status: r.status,
            source: r.source,
            token: r.token,
            number: r.number,
            aux: r.aux,
            ..Record::default()
        };
        self.push(record, r.name, r.extra, r.data)
    }

    /// Removes blanked records, and makes `data` span only what is left. Called once, before it is handed over.
    pub(super) fn tidy(&mut self) {
        if self.start == 0 && self.blanks == 0 {
            return;
        }
        self.records.drain(..self.start);
        self.start = 0;
        self.records.retain(|record| record.kind != 0);
        self.blanks = 0;
        let span = self.records.iter().filter_map(Record::span).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let (from, to) = span.unwrap_or((0, 0));
        self.records.iter_mut().for_each(|record| record.rebase(from));
        match &mut self.data {
            Data::Own(data) => {
                data.truncate(to as usize);
                data.drain(..from as usize);
            }
            Data::Shared { off, len, .. } => {
                *off += from as usize;
                *len = (to - from) as usize;
            }
        }
    }

    /// Gives back room that it will not use, where that is more than it uses.
    pub(super) fn settle(&mut self) {
        if self.records.capacity() > 2 * self.records.len() + 16 {
            self.records.shrink_to_fit();
        }
        if let Data::Own(data) = &mut self.data
            && data.capacity() > 2 * data.len() + 1024
        {
            data.shrink_to_fit();
        }
    }

    /// Its vectors, emptied, for the next block; `None` if they are not worth keeping.
    pub(super) fn recycle(self) -> (Vec<Record>, Vec<u8>) {
        let mut records = self.records;
        records.clear();
        let data = match self.data {
            Data::Own(mut data) => {
                data.clear();
                data
            }
            Data::Shared { .. } => Vec::new(),
        };
        (records, data)
    }
}

/// A block that was taken. Dropping it gives the block back to its inbox' budget; it outlives the inbox.
#[derive(Debug)]
pub struct Lent {
    block: Option<Block>,
    inbox: Arc<Inbox>,
    more: u32,
}

impl Lent {
    pub(super) fn new(block: Block, inbox: Arc<Inbox>, more: u32) -> Lent {
        Lent { block: Some(block), inbox, more }
    }

    /// The records.
    pub fn records(&self) -> &[Record] {
        self.block.as_ref().map_or(&[], Block::records)
    }

    /// The bytes that the records point into.
    pub fn data(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], Block::data)
    }

    /// How many records stayed behind when it was taken.
    pub fn more(&self) -> u32 {
        self.more
    }

    /// The inbox that it came from.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.inbox.give_back(block);
        }
    }
}
