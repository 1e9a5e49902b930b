//! redmux: one connection, every conversation.
//!
//! The house has floors, lowest first, and a file imports from its own floor and from floors below:
//!
//! * 0 `proto`, `sys`, `sync`, `wheel`, `bell`, `error`: bytes and their meaning; what only the system can do; waiting.
//! * 1 `link`: the life of one socket. `inbox`: where everything arrives.
//! * 2 `mux`: who wants which names, and making the links agree.
//! * 3 `buffer`: one request, many answers.
//! * 4 `client`, `completion`, `options`, `settings`, `runtime`, `stats`: the front door.
//! * 5 `ffi`: the C ABI, a file a noun, no logic. `bin/redmux`: the command-line tool, a file a verb.
//!
//! `docs/architecture.md` tells why it is built so, and `include/redmux.h` is what C programs read.
#![warn(missing_docs)]

pub mod bell;
pub mod buffer;
pub mod client;
pub mod completion;
pub mod error;
pub mod ffi;
pub mod inbox;
pub mod link;
pub mod mux;
pub mod options;
pub mod proto;
pub mod runtime;
pub mod settings;
pub mod stats;
pub mod sync;
pub mod sys;
pub mod wheel;
