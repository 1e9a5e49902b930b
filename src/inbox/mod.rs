//! Where everything arrives: bounded, counted queues of records, taken in blocks or given to callbacks.
//!
//! Floor 1. The mux and everything above deliver here; `ffi/` lends what is taken to other languages.
//! Nothing here knows of Redis, sockets or time zones. The rules are in `docs/records.md`.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod block;
pub mod budget;
pub mod dispatch;
mod ending;
#[allow(clippy::module_inception, reason = "the file is named for the one idea it holds")]
pub mod inbox;
pub mod queue;
pub mod ready;
pub mod record;
mod room;

pub use block::{Block, Buffer, BufferPool, Lent};
pub use budget::{Budget, Config, Policy};
pub use inbox::{Counters, Inbox, Pushed};
pub use record::{Kind, Record, RecordIn};
