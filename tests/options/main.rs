//! Options: every row of the table, every source, every part of a URL, every error.
//!
//! `REDMUX_BLESS=1 cargo test --test options` writes `docs/options.md` again.

mod any;
mod sources;
mod table;
mod url;
mod values;

use redmux::error::{Error, Status};
use redmux::options::{Key, Options};

fn url(text: &str) -> Options {
    let mut options = Options::new();
    options.set_url(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    options
}

fn json(text: &str) -> Options {
    let mut options = Options::new();
    options.set_json(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    options
}

fn set(pairs: &[(&str, &str)]) -> Options {
    let mut options = Options::new();
    for (key, value) in pairs {
        options.set(key, value).unwrap_or_else(|error| panic!("{key}={value}: {error}"));
    }
    options
}

fn set_error(key: &str, value: &str) -> Error {
    Options::new().set(key, value).expect_err(&format!("{key}={value} was taken"))
}

#[track_caller]
fn url_error(text: &str, status: Status, names: &[&str]) {
    let error = Options::new().set_url(text).expect_err(&format!("{text} was taken"));
    assert_eq!(error.status(), status, "{text}: {error}");
    for name in names {
        assert!(error.message().contains(name), "{text}: {error:?} does not say {name:?}");
    }
    assert!(!error.message().contains("Zq9"), "{text}: {error:?} shows the password");
}

#[track_caller]
fn address(options: &Options) -> (&str, u64) {
    (options.text(Key::Host), options.number(Key::Port))
}

fn environment<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
}
