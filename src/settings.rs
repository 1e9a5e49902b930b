//! From options to what each part of a client needs to know: the one place where both are named.

use crate::error::Result;
use crate::inbox::budget::{Config, Policy};
use crate::link::dial::{Address, DialOptions};
use crate::link::tls::{TlsOptions, TlsSetup};
use crate::mux::hub::Settings;
use crate::options::{Key, Options};
use crate::proto::resp::Limits;
use std::path::PathBuf;

fn path(options: &Options, key: Key) -> Option<PathBuf> {
    Some(options.text(key)).filter(|text| !text.is_empty()).map(PathBuf::from)
}

/// An option's text; none if it is empty.
pub(crate) fn text(options: &Options, key: Key) -> Option<String> {
    Some(options.text(key)).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The machine's name, for CLIENT LIST.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().chars().filter(|c| c.is_ascii_graphic()).collect()
}

/// What the links of a client need to know. Files of TLS are read here, so that a bad one fails the open.
pub fn settings(options: &Options) -> Result<Settings> {
    let address = match path(options, Key::Path) {
        Some(path) => Address::Unix(path),
        None => Address::Tcp { host: options.text(Key::Host).into(), port: options.number(Key::Port) as u16 },
    };
    let tls = if options.flag(Key::Tls) {
        Some(TlsSetup::load(&TlsOptions {
            ca: path(options, Key::TlsCa),
            cert: path(options, Key::TlsCert),
            key: path(options, Key::TlsKey),
            server_name: text(options, Key::TlsServerName),
        })?)
    } else {
        None
    };
    let ask = options.list(Key::Ask);
    let wrapper = options.text(Key::Wrapper);
    Ok(Settings {
        address,
        dial: DialOptions {
            connect_timeout: options.duration(Key::ConnectTimeout),
            keepalive: options.duration(Key::Keepalive),
            user_timeout: options.duration(Key::UserTimeout),
            tls,
        },
        name: text(options, Key::Name).unwrap_or_else(host_name),
        lib_name: if wrapper.is_empty() { "redmux".into() } else { format!("redmux({wrapper})") },
        limits: Limits { max_payload: options.bytes(Key::MaxPayload), max_name: options.bytes(Key::MaxName) },
        ping_interval: options.duration(Key::PingInterval),
        ping_timeout: options.duration(Key::PingTimeout),
        backoff_min: options.duration(Key::BackoffMin),
        backoff_max: options.duration(Key::BackoffMax),
        stable_after: options.duration(Key::StableAfter),
        refused_retry: options.duration(Key::RefusedRetry),
        publish_queue: options.bytes(Key::PublishQueue),
        ask_address: ask.contains("address"),
        ask_credentials: ask.contains("credentials"),
    })
}

/// The limits of an inbox.
pub(crate) fn inbox_config(options: &Options) -> Config {
    Config {
        bytes: options.bytes(Key::InboxBytes),
        records: options.number(Key::InboxRecords),
        policy: match options.choice(Key::InboxPolicy) {
            "drop-newest" => Policy::DropNewest,
            "close" => Policy::Close,
            "pause" => Policy::Pause,
            _ => Policy::DropOldest,
        },
    }
}

/// The most that is logged; 0 is nothing.
pub(crate) fn log_level(options: &Options) -> u8 {
    ["off", "error", "warn", "info", "debug"].iter().position(|&l| l == options.choice(Key::LogLevel)).unwrap_or(0)
        as u8
}
