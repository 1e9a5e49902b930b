//! Any text as the value of any option, under any key, and in the environment: nothing panics, and what is accepted is
//! accepted again as it is written.
//!
//! The first byte of an input chooses the option; the highest ones are for unknown keys (a line, then the value) and for
//! the environment (a line a variable).
#![no_main]

use libfuzzer_sys::fuzz_target;
use redmux::options::{Key, Options};

const VARIABLES: [&str; 6] = ["REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_DB"];

fuzz_target!(|input: &[u8]| {
    let Some((&which, rest)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match which {
        255 => environment(text),
        254 => {
            let (key, value) = text.split_once('\n').unwrap_or((text, ""));
            set(key, value, false);
        }
        _ => {
            let key = Key::ALL[usize::from(which) % Key::ALL.len()];
            set(key.name(), text, key.row().secret);
        }
    }
});

fn set(key: &str, value: &str, secret: bool) {
    let mut options = Options::new();
    let before = options.to_json();
    if let Err(error) = options.set(key, value) {
        assert_eq!(options.to_json(), before, "a refusal changes nothing");
        assert!(!error.message().is_empty());
        return;
    }
    let _ = options.check();
    if key == "url" {
        return;
    }
    let written = options.get(key).unwrap();
    if secret {
        assert!(written.is_empty() || written == "***", "{key}: {written:?}");
        return;
    }
    let mut again = Options::new();
    again.set(key, &written).unwrap_or_else(|error| panic!("{key}: {value:?} is written {written:?}: {error:?}"));
    assert_eq!(again.get(key).unwrap(), written, "{key}");
}

fn environment(text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    let mut options = Options::new();
    let before = options.to_json();
    let get = |name: &str| {
        let at = VARIABLES.iter().position(|variable| *variable == name)?;
        lines.get(at).map(|line| (*line).to_owned())
    };
    if options.set_environment(get).is_err() {
        assert_eq!(options.to_json(), before, "a refusal changes nothing");
    }
    // Whoever said an address is not led elsewhere by an environment.
    let mut said = Options::new();
    said.set("host", "said").unwrap();
    let before = said.to_json();
    said.set_environment(get).unwrap();
    assert_eq!(said.to_json(), before);
}
