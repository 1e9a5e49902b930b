//! The table itself: every row, `describe()` and `docs/options.md`.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use redmux::error::Status;
use redmux::options::{Key, Kind, Options, Rule, markdown};
use serde_json::Value as Json;

use super::{address, json, set, set_error, url};

fn row(description: &Json, key: &str) -> Json {
    description.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone()
}

/// A value that fits the row and is not its default.
fn another(key: Key) -> String {
    let row = key.row();
    match row.kind {
        Kind::Text(Rule::Socket) => "/run/redis.sock".into(),
        Kind::Text(_) => "other.example".into(),
        Kind::Number(min, max) => if row.default == max.to_string() { min } else { max }.to_string(),
        Kind::Size(_, max) => {
            if row.default == "64KiB" {
                "63KiB".into()
            } else {
                format!("{}KiB", max / 1024)
            }
        }
        Kind::Duration(_, max) => format!("{}ms", max - 1),
        Kind::Flag => "true".into(),
        Kind::Choice(words) | Kind::List(words) => (*words.iter().rfind(|word| **word != row.default).unwrap()).into(),
    }
}

#[test]
fn every_key_is_named_once_in_lower_case_and_found_by_its_name() {
    let mut names = HashSet::new();
    for key in Key::ALL.iter().copied() {
        assert!(names.insert(key.name()), "{key:?} twice");
        assert!(key.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{key:?}");
        assert_eq!(Key::find(key.name()), Some(key));
        assert_eq!(key.row().key, key);
        assert_eq!(Key::ALL[key as usize], key);
        assert!(key.row().help.ends_with('.') && !key.row().help.contains(['|', '\n']), "{key:?}");
    }
    assert_eq!(Key::find("url"), None);
}

#[test]
fn every_default_fits_its_own_row_and_means_what_the_table_says() {
    let fresh = Options::new();
    for key in Key::ALL.iter().copied() {
        assert!(!fresh.is_set(key), "{key:?}");
        let mut options = Options::new();
        options.set(key.name(), key.row().default).unwrap();
        assert!(options.is_set(key), "{key:?}");
        assert_eq!(options.to_json(), fresh.to_json(), "{key:?}");
    }
    assert_eq!(address(&fresh), ("localhost", 6379));
    assert_eq!(fresh.duration(Key::BackoffMin), Duration::from_millis(8));
    assert_eq!(fresh.duration(Key::BackoffMax), Duration::from_secs(5));
    assert_eq!(fresh.duration(Key::RefusedRetry), Duration::from_secs(30));
    assert_eq!(fresh.bytes(Key::MaxName), 64 << 10);
    assert_eq!(fresh.bytes(Key::MaxPayload), 64 << 20);
    assert_eq!(fresh.bytes(Key::ClientBytes), 256 << 20);
    assert_eq!(fresh.bytes(Key::InboxBytes), 64 << 20);
    assert_eq!(fresh.choice(Key::InboxPolicy), "drop-oldest");
    assert_eq!(fresh.choice(Key::LogLevel), "info");
    assert!(fresh.list(Key::Ask).is_empty() && !fresh.flag(Key::Tls));
    fresh.check().unwrap();
}

#[test]
fn every_key_can_be_set_by_key_by_json_and_in_the_query_of_a_url() {
    for key in Key::ALL.iter().copied() {
        let (name, value) = (key.name(), another(key));
        let by_key = set(&[(name, &value)]);
        assert_ne!(format!("{by_key:?}"), format!("{:?}", Options::new()), "{name}");
        let by_json = json(&serde_json::json!({ name: value }).to_string());
        let by_url = url(&format!("redis://?{name}={value}"));
        for other in [by_json, by_url] {
            assert!(other.is_set(key), "{name}");
            assert_eq!(other.to_json(), by_key.to_json(), "{name}");
            match key.row().kind {
                Kind::Text(_) => assert_eq!(other.text(key), value, "{name}"),
                Kind::Number(..) => assert_eq!(other.number(key).to_string(), value, "{name}"),
                Kind::Size(..) => assert_eq!(other.bytes(key), by_key.bytes(key), "{name}"),
                Kind::Duration(..) => assert_eq!(other.duration(key), by_key.duration(key), "{name}"),
                Kind::Flag => assert!(other.flag(key), "{name}"),
                Kind::Choice(_) => assert_eq!(other.choice(key), value, "{name}"),
                Kind::List(_) => assert!(other.list(key).contains(&value), "{name}"),
            }
        }
    }
}

#[test]
fn what_to_json_writes_set_json_reads_back() {
    for key in Key::ALL.iter().copied().filter(|key| !key.row().secret) {
        let before = set(&[(key.name(), &another(key))]);
        assert_eq!(json(&before.to_json()).to_json(), before.to_json(), "{key:?}");
    }
}

#[test]
fn both_ends_of_every_range_are_taken_and_what_lies_beyond_is_not() {
    for key in Key::ALL.iter().copied() {
        let (min, max, unit) = match key.row().kind {
            Kind::Number(min, max) | Kind::Size(min, max) => (min, max, ""),
            Kind::Duration(min, max) => (min, max, "ms"),
            _ => continue,
        };
        for inside in [min, max] {
            set(&[(key.name(), &format!("{inside}{unit}"))]);
        }
        for outside in [min.checked_sub(1), Some(max + 1), Some(u64::MAX)].into_iter().flatten() {
            let error = set_error(key.name(), &format!("{outside}{unit}"));
            assert_eq!(error.status(), Status::InvalidValue);
            assert!(error.message().contains(key.name()) && error.message().contains(&outside.to_string()), "{error}");
            assert!(error.message().contains(" from ") && error.message().contains(" to "), "{error}");
        }
    }
}

#[test]
fn every_value_that_does_not_fit_is_told_with_its_key_its_value_and_what_is_allowed() {
    for key in Key::ALL.iter().copied() {
        let bad = match key.row().kind {
            Kind::Text(Rule::Any) => "odd\0value",
            Kind::Text(Rule::Socket) => "odd\0socket",
            Kind::Text(_) => "odd value",
            _ => "odd",
        };
        let mut options = Options::new();
        let error = options.set(key.name(), bad).expect_err(key.name());
        assert_eq!(error.status(), Status::InvalidValue, "{error}");
        assert!(error.message().starts_with(&format!("{}: ", key.name())), "{error}");
        assert_eq!(error.message().contains("odd"), !key.row().secret, "{error}");
        assert!(error.message().contains("allowed is "), "{error}");
        for word in key.row().kind.words() {
            assert!(error.message().contains(word), "{error}");
        }
        assert!(!options.is_set(key));
        assert_eq!(options.to_json(), Options::new().to_json());
    }
}

#[test]
fn describe_gives_every_row_as_json() {
    let description: Json = serde_json::from_str(&Options::describe()).unwrap();
    let rows = description.as_array().unwrap();
    assert_eq!(rows.len(), Key::ALL.len());
    for (described, key) in rows.iter().zip(Key::ALL) {
        assert_eq!(described["key"], key.name());
        assert_eq!(described["scope"], key.row().scope.name());
        assert_eq!(described["type"], key.row().kind.name());
        assert_eq!(described["help"], key.row().help);
        assert_eq!(described["secret"], key.row().secret);
        assert!(!described["default"].is_null(), "{key:?}");
        let ranged = matches!(key.row().kind, Kind::Number(..) | Kind::Size(..) | Kind::Duration(..));
        assert_eq!(described.get("min").is_some() && described.get("max").is_some(), ranged, "{key:?}");
        assert_eq!(described.get("choices").is_some(), !key.row().kind.words().is_empty(), "{key:?}");
    }
    let port = row(&description, "port");
    assert_eq!((&port["default"], &port["min"], &port["max"]), (&6379.into(), &1.into(), &65535.into()));
    assert_eq!(row(&description, "backoff_min")["default"], "8ms");
    assert_eq!(row(&description, "max_payload")["max"], "512MiB");
    assert_eq!(row(&description, "log_level")["choices"][4], "debug");
    let secrets: Vec<_> = rows.iter().filter(|row| row["secret"] == true).map(|row| row["key"].clone()).collect();
    assert_eq!(secrets, ["password"]);
}

#[test]
fn docs_options_md_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/options.md");
    if std::env::var_os("REDMUX_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, markdown()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let hint = "docs/options.md is stale; regenerate it with: REDMUX_BLESS=1 cargo test --test options";
    assert!(found.replace("\r\n", "\n") == markdown(), "{hint}");
    for key in Key::ALL {
        assert!(found.contains(&format!("| `{}` |", key.name())), "{key:?} is not documented");
    }
}
