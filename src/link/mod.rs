//! The life of one socket: dialling it, greeting the server, watching its health, and how long to wait before the next.
//!
//! Nothing here knows of subscriptions, and nothing here spawns a task or keeps a global: each piece is driven by the
//! one task that owns a link (the actors of `mux/`). An error here says which address, which step, and what to change.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod backoff;
pub mod dial;
pub mod handshake;
pub mod health;
pub mod quiet;
pub mod tls;
