//! Records and blocks, as C sees them. Their layout is frozen; `docs/records.md` says what each kind of record means.

use super::bytes::{Place, first};
use super::guard::guard_value;
use super::handle;
use super::inbox::redmux_inbox;
use crate::inbox::{Lent, Record};
use std::ptr;

/// One record: 64 bytes, little-endian, frozen. Offsets count from the start of its block's data; an empty part has
/// length 0 and offset 0, and none ends with a NUL. A kind that you do not know is to be skipped.
///
/// What each kind puts into number, aux, name, extra and data stands beside REDMUX_KIND_... and in docs/records.md.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct redmux_record {
    /// One of REDMUX_KIND_...
    pub kind: u16,
    /// By kind: REDMUX_FLAG_PATTERN of a message, REDMUX_FLAG_NAME of active; the other kinds have none.
    pub flags: u16,
    /// How it ended: a status. 0 is REDMUX_OK.
    pub status: i32,
    /// The id of the handle it belongs to: a subscription, promise set, or the client; of one promise by name its own.
    pub source: u64,
    /// Your own number: of the source for what it tells (message, active, lost, dropped, closed), of the operation for
    /// its end (done, published, promise; refused). 0 in the event inbox.
    pub token: u64,
    /// By kind.
    pub number: u64,
    /// By kind.
    pub aux: u64,
    /// Where the name begins.
    pub name_off: u32,
    /// How long it is.
    pub name_len: u32,
    /// Where the extra bytes begin.
    pub extra_off: u32,
    /// How many they are.
    pub extra_len: u32,
    /// Where the payload begins.
    pub data_off: u32,
    /// How long it is.
    pub data_len: u32,
}

const _: () = assert!(size_of::<redmux_record>() == size_of::<Record>());

/// A block: an array of records and the bytes that they point into; at most 1,024 records and 64 KiB of data, or one
/// larger record alone.
///
/// Zero it before the first take, and pass the same struct to the next: that gives the last block back first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct redmux_block {
    /// Which lent block this is; 0 is none, also in a callback, where there is nothing to release.
    pub id: u64,
    /// The inbox that it came from.
    pub inbox: redmux_inbox,
    /// The records: borrowed until the block is released, or borrowed until the callback returns.
    pub records: *const redmux_record,
    /// How many records.
    pub count: usize,
    /// The bytes that they point into: borrowed until the block is released, or borrowed until the callback returns.
    pub data: *const u8,
    /// How many bytes.
    pub data_len: usize,
    /// How many records stayed behind in the inbox when this block was taken.
    pub more: u32,
    /// REDMUX_OK; REDMUX_ERR_CLOSED in an entry of redmux_client_take_many whose inbox has ended.
    pub status: i32,
}

impl redmux_block {
    /// The block that stands for none.
    pub const NONE: redmux_block = redmux_block {
        id: 0,
        inbox: redmux_inbox { id: 0 },
        records: ptr::null(),
        count: 0,
        data: ptr::null(),
        data_len: 0,
        more: 0,
        status: 0,
    };

    /// A view of a lent block.
    pub fn view(lent: &Lent) -> redmux_block {
        redmux_block {
            id: 0,
            inbox: redmux_inbox { id: lent.inbox().id() },
            records: lent.records().as_ptr().cast(),
            count: lent.records().len(),
            data: first(lent.data()),
            data_len: lent.data().len(),
            more: lent.more(),
            status: 0,
        }
    }

    /// Lends a block to C.
    pub fn lend(lent: Lent) -> redmux_block {
        // The view's pointers go into vectors, which do not move with the block.
        let view = redmux_block::view(&lent);
        redmux_block { id: handle::lend(lent), ..view }
    }
}

/// Gives a lent block back and zeroes the struct. Ends a loop of takes. Harmless when it was given back before, when
/// its inbox or its client is closed, and for NULL and a zeroed struct.
///
/// block: borrowed for the call. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn redmux_block_release(block: *mut redmux_block) {
    guard_value((), || {
        if let Some(place) = Place::optional(block) {
            handle::give_back(place.peek().id);
            place.write(redmux_block::NONE);
        }
    });
}
