//! The verbs, a file each.

pub mod bench;
pub mod command;
pub mod completions;
pub mod doctor;
pub mod limits;
pub mod monitor;
pub mod monitor_line;
pub mod options;
pub mod promise;
pub mod publish;
pub mod request;
pub mod serve;
pub mod services;
pub mod sub;
