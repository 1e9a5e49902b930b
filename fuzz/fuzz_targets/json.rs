//! Any text as JSON options: nothing panics, a refusal changes nothing, and what is accepted is accepted again as it is
//! written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redmux::options::Options;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut options = Options::new();
    options.set("name", "before").unwrap();
    let before = options.to_json();
    if let Err(error) = options.set_json(text) {
        assert_eq!(options.to_json(), before, "a refusal changes nothing");
        assert!(!error.message().is_empty());
        return;
    }
    let _ = options.check();
    let written = options.to_json();
    let mut again = Options::new();
    again.set_json(&written).unwrap_or_else(|error| panic!("{written}: {}", error.message()));
    assert_eq!(again.to_json(), written);
});
