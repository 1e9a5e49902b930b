//! Whatever text comes: no panic, nothing half done, no password in an error.

use proptest::prelude::*;
use redmux::options::{Key, Options};

use super::url;

fn piece() -> impl Strategy<Value = String> {
    let words =
        ["redis", "rediss", "unix", "://", ":", "@", "/", "?", "#", "[", "]", "%", "%4", "%41", "&", "=", ",", "!"];
    let more =
        ["::1", "6379", "ssl", "true", "password", "port", "\0", " ", "é", "h", "db", "keepAlive", "$", "{", "\""];
    let words: Vec<_> = words.into_iter().chain(more).collect();
    prop::collection::vec(
        prop_oneof![3 => prop::sample::select(words).prop_map(str::to_owned), 1 => any::<String>()],
        0..16,
    )
    .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics_any_reader(text in piece(), value in piece()) {
        let mut options = Options::new();
        let _ = options.set_json(&text);
        let _ = options.set(&text, &value);
        for key in Key::ALL {
            let _ = options.set(key.name(), &value);
        }
        let _ = options.check();
        let before = options.to_json();
        if options.set_url(&text).is_err() {
            prop_assert_eq!(options.to_json(), before);
        } else {
            let mut again = Options::new();
            prop_assert!(again.set_url(&options.url_without_secrets()).is_ok(), "{}", options.url_without_secrets());
        }
        let _ = Options::new().set_environment(|_| Some(text.clone()));
    }

    #[test]
    fn no_error_of_a_url_shows_its_password(
        before in piece(), odd in "[/?#@:%&= a-z]{0,4}", after in piece(), template in 0..4
    ) {
        let secret = format!("Zq9{odd}Zq9");
        let text = match template {
            0 => format!("redis://{before}:{secret}@{after}"),
            1 => format!("redis://user:{secret}@host{after}"),
            2 => format!("{},password={secret},{after}", before.replace("://", "")),
            _ => format!("redis://h?password={secret}&{after}"),
        };
        // A query's "&" ends a value: what follows is a key, as the caller wrote it.
        prop_assume!(template != 3 || !odd.contains('&'));
        if let Err(error) = Options::new().set_url(&text) {
            prop_assert!(!error.message().contains("Zq9"), "{}: {}", text, error);
        }
    }

    #[test]
    fn an_escaped_password_comes_back_whole(password in "\\PC{1,20}") {
        let escaped: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let by_user = url(&format!("redis://:{escaped}@h"));
        prop_assert_eq!(by_user.text(Key::Password), &password);
        let by_query = url(&format!("redis://h?password={escaped}"));
        prop_assert_eq!(by_query.text(Key::Password), &password);
    }
}
