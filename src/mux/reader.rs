//! The buffer that a link reads into. Blocks may point into it, so what is read next goes elsewhere until they are back.

use crate::inbox::block::BLOCK_BYTES;
use crate::inbox::{Buffer, BufferPool};
use std::sync::Arc as StdArc;

/// The buffer that a link reads into, shared with the blocks that point into it.
pub struct Reader {
    pool: StdArc<BufferPool>,
    buffer: StdArc<Buffer>,
    start: usize,
    end: usize,
    need: usize,
    skip: u64,
}

impl Reader {
    /// An empty one.
    pub fn new(pool: &StdArc<BufferPool>) -> Reader {
        Reader { pool: StdArc::clone(pool), buffer: BufferPool::get(pool), start: 0, end: 0, need: 1, skip: 0 }
    }

    /// Bytes that were read before it was there.
    pub fn preload(&mut self, bytes: &[u8]) {
        if let Some(buffer) = StdArc::get_mut(&mut self.buffer)
            && let Some(space) = buffer.bytes_mut().get_mut(..bytes.len())
        {
            space.copy_from_slice(bytes);
            self.end = bytes.len();
        }
    }

    /// Makes room for the next read. `false` if there is no memory for a large frame.
    pub fn prepare(&mut self) -> bool {
        let len = self.buffer.bytes().len();
        let held = self.end - self.start;
        let unique = StdArc::get_mut(&mut self.buffer).is_some();
        if unique && held == 0 && len <= BLOCK_BYTES {
            (self.start, self.end) = (0, 0);
            return true;
        }
        let fits = self.need <= len - self.start && self.end < len;
        if unique && fits && (held > 0 || len <= BLOCK_BYTES) {
            return true;
        }
        // Blocks point into the buffer, or the frame does not fit what is left of it: what is unread moves to another.
        let next = if self.need > BLOCK_BYTES { Buffer::large(self.need) } else { Some(BufferPool::get(&self.pool)) };
        let Some(mut next) = next else { return false };
        if let Some(target) = StdArc::get_mut(&mut next)
            && let Some(space) = target.bytes_mut().get_mut(..held)
            && let Some(unread) = self.buffer.bytes().get(self.start..self.end)
        {
            space.copy_from_slice(unread);
        }
        self.buffer = next;
        (self.start, self.end) = (0, held);
        true
    }

    /// Where the next bytes go.
    pub fn space(&mut self) -> Option<&mut [u8]> {
        StdArc::get_mut(&mut self.buffer)?.bytes_mut().get_mut(self.end..)
    }

    /// So many bytes were read into the space.
    pub fn filled(&mut self, count: usize) {
        self.end += count;
        let skipped = self.skip.min((self.end - self.start) as u64);
        self.skip -= skipped;
        self.start += skipped as usize;
    }

    /// Whether the last read filled all the space that it was given: there is probably more.
    pub fn is_filled(&self) -> bool {
        self.end == self.buffer.bytes().len()
    }

    /// What is to be parsed, if there may be a whole frame in it.
    pub fn unread(&self) -> Option<(StdArc<Buffer>, usize, usize)> {
        (self.end - self.start >= self.need && self.start < self.end && self.skip == 0)
            .then(|| (StdArc::clone(&self.buffer), self.start, self.end))
    }

    /// So many bytes were used up, and the next frame needs so many.
    pub fn used(&mut self, used: usize, need: usize, skip: u64) {
        self.start += used;
        self.need = need.max(1);
        let skipped = skip.min((self.end - self.start) as u64);
        self.start += skipped as usize;
        self.skip = skip - skipped;
    }
}
