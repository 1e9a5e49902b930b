//! Bytes and their meaning. No I/O, no clock.
