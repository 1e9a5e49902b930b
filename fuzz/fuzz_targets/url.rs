//! Any text as a URL or a connection string: nothing panics, a refusal changes nothing, what is accepted leads to the
//! same place when it is written again, and no password is ever shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redmux::options::{Key, Options};

const SECRET: &str = "hunter2hunter2";

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    read(text);
    // Where a password may stand, and what an unescaped one leaves elsewhere.
    if !text.contains(SECRET) {
        let mut texts = vec![
            format!("redis://user:{SECRET}@{text}"),
            format!("redis://user:{SECRET}{text}"),
            format!("host,password={SECRET},{text}"),
        ];
        // Behind a URL it would be a part of the path.
        if !text.contains("://") {
            texts.push(format!("{text},password={SECRET}"));
        }
        for text in texts {
            for shown in read(&text) {
                assert!(!shown.contains(SECRET), "{text:?} shows it: {shown}");
            }
        }
    }
});

/// Reads it into options that say something already. Returns everything that may be shown.
fn read(text: &str) -> Vec<String> {
    let mut options = Options::new();
    options.set("host", "before").unwrap();
    let before = options.to_json();
    if let Err(error) = options.set_url(text) {
        assert_eq!(options.to_json(), before, "a refusal changes nothing");
        assert!(!error.message().is_empty());
        return vec![error.message().to_owned()];
    }
    let url = options.url_without_secrets();
    // A path from the current directory has no URL; it is shown as if from the root, and the longest is too long there.
    if options.text(Key::Path).len() == 107 && !options.text(Key::Path).starts_with('/') {
        return vec![url, options.to_json()];
    }
    let mut again = Options::new();
    again.set_url(&url).unwrap_or_else(|error| panic!("{text:?} became {url:?}: {}", error.message()));
    for key in [Key::Host, Key::User] {
        assert_eq!(options.text(key), again.text(key), "{text:?} became {url:?}");
    }
    let path = |options: &Options| options.text(Key::Path).trim_start_matches('/').to_owned();
    assert_eq!(path(&options), path(&again), "{text:?} became {url:?}");
    for key in [Key::Port, Key::Db] {
        assert_eq!(options.number(key), again.number(key), "{text:?} became {url:?}");
    }
    let refused = options.check().err().map(|error| error.message().to_owned());
    vec![url, options.to_json(), format!("{options:?}"), refused.unwrap_or_default()]
}
