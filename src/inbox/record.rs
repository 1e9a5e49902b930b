//! The record: one cache line, frozen. `docs/records.md` says what each kind puts in each field.
//!
//! `tests/records.rs` holds the layout and the golden blocks that every language decodes.

/// What a record says. Numbers are frozen; a reader skips a kind that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Kind {
    /// A message of a channel or a pattern.
    Message = 1,
    /// A name is subscribed (with a name), or the subscription is whole again (without).
    Active = 2,
    /// The connection was lost; what comes until `active` may be missing.
    Lost = 3,
    /// Messages that had no room, counted, where they would have been.
    Dropped = 4,
    /// An operation ended.
    Done = 5,
    /// A publish ended; `number` is how many received it.
    Published = 6,
    /// A promise ended, with its message or with the reason why not.
    Promise = 7,
    /// Redis refused a name.
    Refused = 8,
    /// A request to answer.
    Request = 9,
    /// The asker of a request wants no answer any more.
    Cancel = 10,
    /// A responder took a request.
    Accepted = 11,
    /// An answer to a request.
    Answer = 12,
    /// A gather ended.
    End = 13,
    /// A message of a mailbox.
    Mail = 14,
    /// Mail that can no longer be had.
    Gap = 15,
    /// The library asks the application.
    Question = 16,
    /// A line of log.
    Log = 17,
    /// The client's state changed.
    State = 18,
    /// A source ended; its last record.
    Closed = 19,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Kind; 19] = [
        Kind::Message,
        Kind::Active,
        Kind::Lost,
        Kind::Dropped,
        Kind::Done,
        Kind::Published,
        Kind::Promise,
        Kind::Refused,
        Kind::Request,
        Kind::Cancel,
        Kind::Accepted,
        Kind::Answer,
        Kind::End,
        Kind::Mail,
        Kind::Gap,
        Kind::Question,
        Kind::Log,
        Kind::State,
        Kind::Closed,
    ];
}

/// One record, as C sees it. Offsets count from the start of its block's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Record {
    /// A [`Kind`].
    pub kind: u16,
    /// By kind; 0 where a kind names none.
    pub flags: u16,
    /// A [`Status`](crate::error::Status); 0 is OK.
    pub status: i32,
    /// What it belongs to: the id of the subscription, promise set, promise.
    pub source: u64,
    /// The caller's own number.
    pub token: u64,
    /// By kind.
    pub number: u64,
    /// By kind.
    pub aux: u64,
    /// Offset of the name.
    pub name_off: u32,
    /// Length of the name.
    pub name_len: u32,
    /// Offset of the extra bytes.
    pub extra_off: u32,
    /// Length of the extra bytes.
    pub extra_len: u32,
    /// Offset of the payload.
    pub data_off: u32,
    /// Length of the payload.
    pub data_len: u32,
}

const _: () = assert!(size_of::<Record>() == 64 && align_of::<Record>() == 8);

/// In the flags of an `active`: it is about a name, which may be empty. Without it, the subscription is whole again.
pub const ACTIVE_NAME: u16 = 1;

/// The size of a record, which every budget counts.
pub const RECORD_SIZE: usize = size_of::<Record>();

impl Record {
    /// What it costs in a budget: itself and the bytes that it points to.
    pub fn cost(&self) -> usize {
        RECORD_SIZE + self.name_len as usize + self.extra_len as usize + self.data_len as usize
    }

    /// Whether a full inbox may drop it: messages, and the log lines and states that nobody takes.
    pub fn droppable(&self) -> bool {
        matches!(self.kind, k if k == Kind::Message as u16 || k == Kind::Log as u16 || k == Kind::State as u16)
    }

    /// Whether it is a record of that kind.
    pub fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u16
    }

    /// Moves every non-empty part back by `base`; an empty part is at 0.
    pub fn rebase(&mut self, base: u32) {
        self.name_off = if self.name_len == 0 { 0 } else { self.name_off.wrapping_sub(base) };
        self.extra_off = if self.extra_len == 0 { 0 } else { self.extra_off.wrapping_sub(base) };
        self.data_off = if self.data_len == 0 { 0 } else { self.data_off.wrapping_sub(base) };
    }

    /// The first and the end offset of its bytes; `None` if it has none.
    pub fn span(&self) -> Option<(u32, u32)> {
        [(self.name_off, self.name_len), (self.extra_off, self.extra_len), (self.data_off, self.data_len)]
            .into_iter()
            .filter(|&(_, len)| len != 0)
            .map(|(off, len)| (off, off.wrapping_add(len)))
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// One part of it within `data`; empty if it has none or `data` is not its block's.
    pub fn name<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        part(data, self.name_off, self.name_len)
    }

    /// The extra bytes.
    pub fn extra<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        part(data, self.extra_off, self.extra_len)
    }

    /// The payload.
    pub fn payload<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        part(data, self.data_off, self.data_len)
    }
}

fn part(data: &[u8], off: u32, len: u32) -> &[u8] {
    data.get(off as usize..off as usize + len as usize).unwrap_or_default()
}

/// A record before it is laid into a block: its fields, and its bytes by reference.
#[derive(Debug, Clone, Copy)]
pub struct RecordIn<'a> {
    /// A [`Kind`].
    pub kind: Kind,
    /// By kind.
    pub flags: u16,
    /// How it ended.
    pub status: i32,
    /// What it belongs to.
    pub source: u64,
    /// The caller's number.
    pub token: u64,
    /// By kind.
    pub number: u64,
    /// By kind.
    pub aux: u64,
    /// Channel, service or mailbox.
    pub name: &'a [u8],
    /// By kind: pattern, error text.
    pub extra: &'a [u8],
    /// The payload.
    pub data: &'a [u8],
}

impl<'a> RecordIn<'a> {
    /// A record of a kind, everything else empty.
    pub fn new(kind: Kind, source: u64, token: u64) -> RecordIn<'a> {
        RecordIn { kind, flags: 0, status: 0, source, token, number: 0, aux: 0, name: &[], extra: &[], data: &[] }
    }

    /// What it will cost in a budget.
    pub fn cost(&self) -> usize {
        RECORD_SIZE + self.name.len() + self.extra.len() + self.data.len()
    }
}
