//! The C ABI: one file a noun, no logic. The doc comments here are the documentation of `include/redmux.h`.
//!
//! Every function passes through one guard (`guard.rs`), takes handles out of one table (`handle.rs`), reads what C
//! gave it in one place (`bytes.rs`), and calls one method of the floors below. All unsafe code of the boundary is in
//! `bytes.rs` and `callback.rs`; `tests/abi.rs` holds it there.
//!
//! A rule for each promise made here is in the contract, with a test named after it.
#![allow(non_camel_case_types, reason = "these are the names that C sees")]
#![allow(unsafe_code, reason = "an exported name is an unsafe attribute; unsafe blocks stand only in the files above")]

pub mod block;
pub mod bytes;
pub mod callback;
pub mod client;
pub mod error;
pub mod gather;
pub mod guard;
pub mod handle;
pub mod inbox;
pub mod kinds;
pub mod options;
pub mod promises;
pub mod publish;
pub mod responder;
pub mod status;
pub mod subscription;
pub mod text;
pub mod version;
