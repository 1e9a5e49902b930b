//! Options: every row of the table, every source, every part of a URL, every error.
//!
//! `REDMUX_BLESS=1 cargo test --test options` writes `docs/options.md` again.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use redmux::error::{Error, Status};
use redmux::options::{Key, Kind, Options, Rule, markdown};
use serde_json::Value as Json;

const SECRET: &str = "Zq9hunter2Zq9";

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

// The table

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

// Values

#[test]
fn durations_have_units_and_a_bare_number_is_milliseconds() {
    for (text, ms) in [
        ("250ms", 250),
        ("250", 250),
        ("5s", 5_000),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
        (" 7 s ", 7_000),
    ] {
        assert_eq!(set(&[("timeout", text)]).duration(Key::Timeout), Duration::from_millis(ms), "{text}");
    }
    for text in
        ["", "s", "5 parsecs", "5S", "-5s", "+5s", "1.5s", "5s5", "99999999999999999999d", "18446744073709551615d"]
    {
        assert_eq!(set_error("timeout", text).status(), Status::InvalidValue, "{text}");
    }
    assert_eq!(set(&[("keepalive", "0")]).duration(Key::Keepalive), Duration::ZERO);
}

#[test]
fn sizes_have_units_of_1024_and_a_bare_number_is_bytes() {
    for (text, bytes) in [
        ("4096", 4096),
        ("64k", 65536),
        ("64K", 65536),
        ("64KB", 65536),
        ("64KiB", 65536),
        ("64 kb", 65536),
        ("8192b", 8192),
    ] {
        assert_eq!(set(&[("inbox_bytes", text)]).bytes(Key::InboxBytes), bytes, "{text}");
    }
    for text in ["64m", "64MB", "64MiB"] {
        assert_eq!(set(&[("inbox_bytes", text)]).bytes(Key::InboxBytes), 64 << 20, "{text}");
    }
    assert_eq!(set(&[("inbox_bytes", "1GiB")]).bytes(Key::InboxBytes), 1 << 30);
    for text in ["", "MiB", "64 TiB", "-1", "1.5k", "18446744073709551615G"] {
        assert_eq!(set_error("inbox_bytes", text).status(), Status::InvalidValue, "{text}");
    }
}

#[test]
fn flags_are_read_in_any_case_and_choices_word_for_word() {
    for (text, on) in [("true", true), ("1", true), ("yes", true), ("on", true), ("True", true)].into_iter().chain([
        ("false", false),
        ("0", false),
        ("no", false),
        ("off", false),
        ("FALSE", false),
    ]) {
        assert_eq!(set(&[("tls", text)]).flag(Key::Tls), on, "{text}");
    }
    for text in ["", "2", "y", "maybe"] {
        set_error("tls", text);
    }
    for text in ["", "drop", "Drop-Oldest", "drop_oldest"] {
        set_error("inbox_policy", text);
    }
}

#[test]
fn lists_are_words_with_commas() {
    let ask = set(&[("ask", " authorize, address,")]).list(Key::Ask);
    assert_eq!(ask.iter().collect::<Vec<_>>(), ["address", "authorize"]);
    assert!(ask.contains("address") && !ask.contains("credentials") && !ask.contains("nonsense"));
    assert!(set(&[("ask", "address"), ("ask", "")]).list(Key::Ask).is_empty());
    set_error("ask", "address,nonsense");
}

#[test]
fn a_host_is_a_name_or_an_address_and_nothing_more() {
    for host in ["localhost", "redis-0.redis", "10.0.0.1", "::1", "fe80::1%eth0", "bücher.example", "under_score"] {
        assert_eq!(set(&[("host", host)]).text(Key::Host), host);
    }
    for host in ["", "a b", "localhost:6379", "[::1]", "a/b", "a,b", "a\n", "redis://h", "50%", "::1::"] {
        let error = set_error("host", host);
        assert!(error.message().contains("without brackets, scheme or port"), "{error}");
    }
    set_error("host", &"a".repeat(256));
}

#[test]
fn the_name_of_a_client_is_what_redis_takes() {
    assert_eq!(set(&[("name", "api-3.example")]).text(Key::Name), "api-3.example");
    for name in ["two words", "line\nbreak", "tab\t", "Zürich", "nul\0", &"n".repeat(257)] {
        for key in ["name", "wrapper"] {
            let error = set_error(key, name);
            assert!(error.message().contains("printable ASCII without spaces"), "{error}");
        }
    }
    set(&[("name", &"n".repeat(256)), ("wrapper", "python/1.2.3")]);
}

#[test]
fn the_path_of_a_socket_fits_a_socket_address() {
    set(&[("path", &"p".repeat(107)), ("path", "")]);
    assert!(set_error("path", &"p".repeat(108)).message().contains("107"));
    set_error("path", "/run/");
}

// Errors of set

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    for (wrong, nearest) in [
        ("passwrod", "password"),
        ("Password", "password"),
        ("hots", "host"),
        ("ping-interval", "ping_interval"),
        ("backof_max", "backoff_max"),
        ("username", "user"),
        ("database", "db"),
        ("ssl", "tls"),
        ("inboxpolicy", "inbox_policy"),
    ] {
        let error = set_error(wrong, "x");
        assert_eq!(error.status(), Status::UnknownOption);
        assert_eq!(error.message(), format!("no option is called {wrong:?}; did you mean \"{nearest}\"?"));
    }
    let far = set_error("completely_else", "x");
    assert!(far.message().contains("completely_else") && far.message().contains("the nearest is \""), "{far}");
    assert!(set_error("", "x").message().contains("nearest"));
    assert!(set_error(&"k".repeat(100_000), "x").message().len() < 200);
}

#[test]
fn a_secret_never_appears_in_an_error_in_debug_in_json_or_in_the_url() {
    let options = url(&format!("redis://web:{SECRET}@h:7000/2"));
    assert_eq!(options.text(Key::Password), SECRET);
    for text in [format!("{options:?}"), format!("{options:#?}"), options.to_json(), options.url_without_secrets()] {
        assert!(!text.contains("Zq9"), "{text}");
    }
    let shown: Json = serde_json::from_str(&options.to_json()).unwrap();
    assert_eq!((&shown["password"], &shown["user"]), (&"***".into(), &"web".into()));
    let none: Json = serde_json::from_str(&Options::new().to_json()).unwrap();
    assert_eq!(none["password"], "");
    assert_eq!(set_error("password", &format!("{SECRET}\0")).status(), Status::InvalidValue);
    for (key, value) in [
        ("password", format!("{SECRET}\0")),
        ("host", format!("redis://:{SECRET}@host")),
        ("port", format!("host:6379,password={SECRET}")),
        (&format!("redis://:{SECRET}@host"), "x".into()),
        (&format!("host,password={SECRET}"), "x".into()),
    ] {
        let error = set_error(key, &value);
        assert!(!error.message().contains("Zq9"), "{error}");
    }
}

#[test]
fn a_call_that_fails_changes_nothing() {
    let mut options = url("redis://u:p@first:7000/3?ping_interval=2s");
    let before = options.to_json();
    for bad in ["redis://second?nonsense=1", "redis://second:0", "second,ssl=true,port=0", ""] {
        options.set_url(bad).unwrap_err();
        options.set("url", bad).unwrap_err();
    }
    options.set_json(r#"{"host": "second", "port": 0}"#).unwrap_err();
    options.set_environment(environment(&[("REDIS_URL", "nonsense://")])).unwrap();
    assert_eq!(options.to_json(), before);
    let mut fresh = Options::new();
    fresh.set_environment(environment(&[("REDIS_HOST", "second"), ("REDIS_PORT", "0")])).unwrap_err();
    assert!(!fresh.is_set(Key::Host));
}

// URLs

#[test]
fn every_part_of_a_url_is_read() {
    let options = url("redis://web:s3cret@redis.example:7000/5?ping_interval=2s&name=worker-7&inbox_policy=close");
    assert_eq!(address(&options), ("redis.example", 7000));
    assert_eq!((options.text(Key::User), options.text(Key::Password)), ("web", "s3cret"));
    assert_eq!(options.number(Key::Db), 5);
    assert_eq!(options.duration(Key::PingInterval), Duration::from_secs(2));
    assert_eq!((options.text(Key::Name), options.choice(Key::InboxPolicy)), ("worker-7", "close"));
    assert!(!options.flag(Key::Tls));
    assert_eq!(options.url_without_secrets(), "redis://web@redis.example:7000/5");
}

#[test]
fn what_a_url_leaves_out_has_its_default() {
    for text in ["redis://", "redis:///", "redis://localhost", "redis://:6379", "REDIS://localhost:/", " redis://? "] {
        let options = url(text);
        assert_eq!(address(&options), ("localhost", 6379), "{text}");
        assert_eq!(options.to_json(), Options::new().to_json(), "{text}");
        assert!(options.is_set(Key::Host), "{text}");
    }
    assert_eq!(url("redis:///4").number(Key::Db), 4);
    assert_eq!(url("redis://?host=other&port=1").url_without_secrets(), "redis://other:1/0");
    assert_eq!(url("redis://h?&name=a&&name=b&").text(Key::Name), "b");
}

#[test]
fn a_user_or_a_password_may_stand_alone() {
    for (text, user, password) in [
        ("redis://:pw@h", "", "pw"),
        ("redis://web@h", "web", ""),
        ("redis://web:@h", "web", ""),
        ("redis://@h", "", ""),
        ("redis://web:a:b@h", "web", "a:b"),
        ("redis://web:a@b@h", "web", "a@b"),
    ] {
        let options = url(text);
        assert_eq!((options.text(Key::User), options.text(Key::Password)), (user, password), "{text}");
        assert_eq!(options.text(Key::Host), "h", "{text}");
    }
}

#[test]
fn user_password_path_and_query_are_percent_decoded_and_a_plus_stays_a_plus() {
    let options = url("redis://w%40b:p%2Fa%3As%25+%c3%a9@h/%31?name=a%26b+c");
    assert_eq!((options.text(Key::User), options.text(Key::Password)), ("w@b", "p/a:s%+é"));
    assert_eq!((options.number(Key::Db), options.text(Key::Name)), (1, "a&b+c"));
    assert_eq!(options.url_without_secrets(), "redis://w%40b@h:6379/1");
    assert_eq!(url("unix:///run/my%20redis.sock").text(Key::Path), "/run/my redis.sock");
    assert_eq!(url("redis://h?password=a%3Db").text(Key::Password), "a=b");
}

#[test]
fn an_ipv6_address_stands_in_brackets() {
    assert_eq!(address(&url("redis://[::1]")), ("::1", 6379));
    let options = url("rediss://u:p@[2001:db8::7]:7000/1");
    assert_eq!(address(&options), ("2001:db8::7", 7000));
    assert_eq!(options.url_without_secrets(), "rediss://u@[2001:db8::7]:7000/1");
    let zone = url("redis://[fe80::1%25eth0]:1");
    assert_eq!(zone.text(Key::Host), "fe80::1%eth0");
    assert_eq!(address(&url(&zone.url_without_secrets())), address(&zone));
}

#[test]
fn rediss_turns_tls_on_and_redis_leaves_alone_what_was_set_by_key() {
    assert!(
        url("rediss://h").flag(Key::Tls)
            && !url("redis://h").flag(Key::Tls)
            && url("redis://h?tls=true").flag(Key::Tls)
    );
    let mut options = url("rediss://h");
    options.set_url("redis://h").unwrap();
    assert!(!options.flag(Key::Tls), "TLS came from the URL that was replaced");
    options.set("tls", "true").unwrap();
    options.set_url("redis://h").unwrap();
    assert!(options.flag(Key::Tls), "a URL must not turn off what was asked for by key");
    assert_eq!(options.url_without_secrets(), "rediss://h:6379/0");
    url_error("rediss://h?tls=no", Status::InvalidUrl, &["TLS", "redis://"]);
}

#[test]
fn a_unix_socket_is_a_path() {
    for text in
        ["redis+unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2", "unix://localhost/run/redis.sock?db=2"]
    {
        let options = url(text);
        assert_eq!((options.text(Key::Path), options.number(Key::Db)), ("/run/redis.sock", 2), "{text}");
        assert_eq!(options.url_without_secrets(), "redis+unix:///run/redis.sock?db=2");
        assert!(options.is_set(Key::Path) && !options.is_set(Key::Host));
    }
    let options = url("unix://web:pw@/run/a%40b.sock");
    assert_eq!((options.text(Key::User), options.text(Key::Path)), ("web", "/run/a@b.sock"));
    assert_eq!(options.url_without_secrets(), "redis+unix://web@/run/a%40b.sock");
    assert_eq!(set(&[("path", "relative.sock")]).url_without_secrets(), "redis+unix:///relative.sock");
    url_error("unix://", Status::InvalidUrl, &["path is missing", "redis+unix:///path"]);
    url_error("redis+unix:///", Status::InvalidUrl, &["path is missing"]);
    url_error("unix://run/redis.sock", Status::InvalidUrl, &["byte 8", "three slashes"]);
    url_error(&format!("unix:///{}", "p".repeat(200)), Status::InvalidUrl, &["path", "107"]);
}

#[test]
fn a_wrong_url_is_told_with_the_part_and_the_position() {
    let invalid = Status::InvalidUrl;
    url_error("", invalid, &["empty", "redis://"]);
    url_error(" \n", invalid, &["empty"]);
    url_error("http://h", invalid, &["\"http\"", "redis://", "rediss://", "redis+unix://", "unix://"]);
    url_error("://h", invalid, &["scheme", "redis://"]);
    url_error("redis://h:0", invalid, &["byte 11", "port", "1 to 65535"]);
    url_error("redis://h:65536", invalid, &["byte 11", "port"]);
    url_error("redis://h:+1", invalid, &["byte 11", "port"]);
    url_error("redis://h:abc", invalid, &["byte 11", "port"]);
    url_error("redis://h:1:2", invalid, &["byte 9", "more than one \":\""]);
    url_error("redis://::1", invalid, &["byte 9", "IPv6", "[::1]"]);
    url_error("redis://[::1", invalid, &["byte 9", "bracket"]);
    url_error("redis://[::1]x", invalid, &["byte 14", "port"]);
    url_error("redis://[h]", invalid, &["IPv6"]);
    url_error("redis://[::g]", invalid, &["byte 10", "host"]);
    url_error("redis://a b", invalid, &["byte 9", "host"]);
    url_error("redis://h/x", invalid, &["byte 11", "db", "0 to 65535"]);
    url_error("redis://h/65536", invalid, &["byte 11", "db"]);
    url_error("redis://h/1/2", invalid, &["byte 11", "db"]);
    url_error("redis://h/-1", invalid, &["byte 11", "db"]);
    url_error("redis://h#x", invalid, &["byte 10", "\"#\"", "%23"]);
    url_error("redis://h?tls", invalid, &["byte 11", "query", "key=value"]);
    url_error("redis://u%4@h", invalid, &["byte 10", "percent", "user"]);
    url_error("redis://:%zz@h", invalid, &["byte 10", "percent", "password", "%25"]);
    url_error("redis://:%@h", invalid, &["byte 10", "percent"]);
    url_error("redis://:%é@h", invalid, &["byte 10", "percent"]);
    url_error("redis://:%ff@h", invalid, &["byte 10", "password", "UTF-8"]);
    url_error("redis://h\0", invalid, &["byte 10", "NUL"]);
    url_error("redis://:a%00@h", invalid, &["byte 11", "NUL", "password"]);
    url_error("redis://h?name=a%zz", invalid, &["byte 17", "percent", "query"]);
}

#[test]
fn the_query_of_a_url_has_the_errors_of_set() {
    url_error("redis://h?ping_intervall=2s", Status::UnknownOption, &["query", "ping_intervall", "\"ping_interval\""]);
    url_error("redis://h?url=redis", Status::UnknownOption, &["\"url\""]);
    url_error("redis://h?port=0", Status::InvalidValue, &["query", "port", "\"0\"", "1 to 65535"]);
    url_error("redis://h?tls=", Status::InvalidValue, &["tls", "true or false"]);
    url_error("redis://h?password=Zq9%01%", Status::InvalidUrl, &["query", "percent"]);
}

#[test]
fn a_password_with_unescaped_characters_is_explained_and_not_shown() {
    for text in [
        "redis://:Zq9/Zq9@host:6379/0",
        "redis://:Zq9?Zq9@host:6379/0",
        "redis://:Zq9#Zq9@host:6379/0",
        "redis://:Zq9?a=Zq9@host",
        "redis://:Zq9?Zq9=a@host",
        "redis://:Zq9@Zq9/Zq9@host",
        "redis://:Zq9@Zq9?Zq9=1@host",
    ] {
        url_error(text, Status::InvalidUrl, &["%2F", "%3F", "%23", "%40"]);
    }
    url_error("redis://:Zq9%Zq9@host", Status::InvalidUrl, &["password", "%25"]);
    url_error("redis://user:Zq9", Status::InvalidUrl, &["port"]);
    url_error("redis://:Zq9:Zq9", Status::InvalidUrl, &["\":\""]);
    url_error("user:Zq9@host:6379", Status::InvalidUrl, &["\"@\"", "redis://user:password@host:port"]);
    url_error("redis:/:Zq9@host", Status::InvalidUrl, &["redis://"]);
}

#[test]
fn a_second_url_replaces_the_first_and_keys_stay() {
    let mut options = set(&[("name", "mine"), ("user", "mine"), ("port", "7000")]);
    options.set_url("rediss://first:pw@a:1/3?timeout=1s").unwrap();
    assert_eq!((options.text(Key::User), options.number(Key::Port)), ("first", 1));
    options.set_url("redis://b").unwrap();
    assert_eq!(options.url_without_secrets(), "redis://b:6379/0");
    assert_eq!((options.text(Key::Password), options.text(Key::Name)), ("", "mine"));
    assert!(!options.is_set(Key::Timeout));
    options.set_url("unix:///run/s").unwrap();
    assert!(!options.is_set(Key::Host) && options.is_set(Key::Path));
    options.set_url("redis://c").unwrap();
    assert_eq!(options.url_without_secrets(), "redis://c:6379/0");
    options.set("port", "7001").unwrap();
    options.set("url", "redis://d").unwrap();
    assert_eq!(options.url_without_secrets(), "redis://d:6379/0");
}

// Connection strings

#[test]
fn a_connection_string_of_stackexchange_redis_is_read() {
    let text = "redis.example:7000,password=pa=ss,USER=web,ssl=True, sslHost = tls.example ,name=api-3,defaultDatabase=4,\
                connectTimeout=1500,keepAlive=60,syncTimeout=2500,abortConnect=false,allowAdmin=true,resolveDns=1,\
                configChannel=,tiebreaker=\"\",protocol=resp3,$CLIENT=,connectRetry=3";
    let options = url(text);
    assert_eq!(address(&options), ("redis.example", 7000));
    assert_eq!((options.text(Key::User), options.text(Key::Password)), ("web", "pa=ss"));
    assert!(options.flag(Key::Tls));
    assert_eq!((options.text(Key::TlsServerName), options.text(Key::Name)), ("tls.example", "api-3"));
    assert_eq!(options.number(Key::Db), 4);
    assert_eq!(options.duration(Key::ConnectTimeout), Duration::from_millis(1500));
    assert_eq!(options.duration(Key::Keepalive), Duration::from_secs(60));
    assert_eq!(options.duration(Key::Timeout), Duration::from_millis(2500));
    let azure = url("cache.redis.cache.windows.net:6380,password=abc123=,ssl=True,abortConnect=False");
    assert_eq!(azure.url_without_secrets(), "rediss://cache.redis.cache.windows.net:6380/0");
    assert_eq!(azure.text(Key::Password), "abc123=");
}

#[test]
fn a_connection_string_may_be_short_empty_in_places_or_hold_our_keys() {
    assert_eq!(address(&url("redis.example")), ("redis.example", 6379));
    assert_eq!(address(&url("localhost:7000")), ("localhost", 7000));
    assert_eq!(address(&url("[::1]:7000,name=a")), ("::1", 7000));
    assert_eq!(address(&url("password=x")), ("localhost", 6379));
    assert_eq!(address(&url("h,ssl=true")), ("h", 6380));
    assert_eq!(address(&url("h:6379,ssl=true")), ("h", 6379));
    assert_eq!(url("h,ping_interval=2s").duration(Key::PingInterval), Duration::from_secs(2));
    assert_eq!(url("host=other,port=7000").url_without_secrets(), "redis://other:7000/0");
    assert_eq!(url("!/run/redis.sock,defaultDatabase=1").url_without_secrets(), "redis+unix:///run/redis.sock?db=1");
    assert_eq!(url("/run/redis.sock").text(Key::Path), "/run/redis.sock");
    let template = url("host:6379,password=,user=,ssl=,name=,defaultDatabase=,");
    assert_eq!(template.url_without_secrets(), "redis://host:6379/0");
    assert_eq!(url("h:1,password=a://b").text(Key::Password), "a://b");
}

#[test]
fn a_wrong_connection_string_is_told_with_its_item_and_never_with_a_password() {
    url_error("h,pasword=Zq9", Status::UnknownOption, &["item 2", "pasword", "did you mean \"password\""]);
    url_error("h,colour=red", Status::UnknownOption, &["item 2", "\"colour\""]);
    url_error("h,ssl=maybe", Status::InvalidValue, &["item 2", "tls", "\"maybe\"", "true or false"]);
    url_error("h,keepAlive=-1", Status::InvalidValue, &["item 2", "keepalive"]);
    url_error("h,name=My App", Status::InvalidValue, &["name", "without spaces"]);
    url_error("h:0", Status::InvalidUrl, &["byte 3", "port"]);
    url_error("a b", Status::InvalidUrl, &["byte 1", "host"]);
    url_error("::1", Status::InvalidUrl, &["IPv6", "[::1]"]);
    url_error("h\0", Status::InvalidUrl, &["byte 2", "NUL"]);
    url_error("a:1,b:2", Status::InvalidUrl, &["byte 5", "only the first item"]);
    url_error("h,channelPrefix=x", Status::InvalidUrl, &["byte 3", "channelPrefix"]);
    url_error("h,serviceName=x", Status::InvalidUrl, &["Sentinel"]);
    url_error("h,password=Zq9,Zq9", Status::InvalidUrl, &["password", "redis:// URL"]);
    url_error("h,password=Zq9,Zq9=Zq9", Status::UnknownOption, &["item 3", "password"]);
    url_error("h,password=Zq9,colr=x,name=a b", Status::UnknownOption, &["item 3"]);
    url_error("h:x,password=Zq9", Status::InvalidUrl, &["port"]);
}

// JSON and files

#[test]
fn json_takes_values_in_their_own_types_and_reads_the_url_first() {
    let options = json(
        r#"{"host": "other", "port": 7000, "tls": true, "ping_interval": "5s", "timeout": 250, "ask": ["address",
            "authorize"], "user": null, "password": 12345, "url": "redis://web@h:1/9"}"#,
    );
    assert_eq!(options.url_without_secrets(), "rediss://web@other:7000/9");
    assert_eq!(options.duration(Key::Timeout), Duration::from_millis(250));
    assert_eq!(options.text(Key::Password), "12345");
    assert!(options.list(Key::Ask).contains("authorize"));
    assert_eq!(json("{}").to_json(), Options::new().to_json());
}

#[test]
fn wrong_json_is_told_with_its_position_or_its_key() {
    let error = |text: &str| Options::new().set_json(text).expect_err(text);
    let broken = error("{\"host\": \"h\",\n \"port\" 1}");
    assert_eq!(broken.status(), Status::InvalidArgument);
    assert!(broken.message().contains("line 2 column 9"), "{broken}");
    for (text, kind) in [("[]", "an array"), ("1", "a number"), ("null", "null"), ("\"Zq9\"", "a string")] {
        let error = error(text);
        assert_eq!(error.status(), Status::InvalidArgument);
        assert!(error.message().contains(kind) && !error.message().contains("Zq9"), "{error}");
    }
    let unknown = error(r#"{"hosts": {}}"#);
    assert_eq!(unknown.status(), Status::UnknownOption);
    assert!(unknown.message().contains("\"hosts\"") && unknown.message().contains("\"host\"?"), "{unknown}");
    for text in [r#"{"port": 0}"#, r#"{"port": 1.5}"#, r#"{"port": true}"#, r#"{"port": {}}"#, r#"{"port": [1]}"#] {
        let error = error(text);
        assert_eq!(error.status(), Status::InvalidValue, "{error}");
        assert!(error.message().starts_with("port: "), "{error}");
    }
    assert!(!error(r#"{"password": {"a": "Zq9"}}"#).message().contains("Zq9"));
    assert!(!error(r#"{"password": "Zq9", }"#).message().contains("Zq9"));
    assert_eq!(error(r#"{"url": "redis://h:0"}"#).status(), Status::InvalidUrl);
    error(&"[".repeat(100_000));
}

#[test]
fn a_file_holds_json_and_its_errors_name_the_path() {
    let directory = std::env::temp_dir().join(format!("redmux-options-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("redmux.json");
    let attempt = |text: &[u8]| {
        std::fs::write(&path, text).unwrap();
        let mut options = Options::new();
        options.set_file(&path).map(|()| options)
    };
    assert_eq!(attempt("\u{feff}{\"host\": \"h\"}".as_bytes()).unwrap().text(Key::Host), "h");
    for (text, status, says) in [
        (&b"{"[..], Status::InvalidArgument, "line 1"),
        (b"\xff", Status::InvalidArgument, "UTF-8"),
        (b"{\"prot\": 1}", Status::UnknownOption, "\"port\""),
        (&[b' '; (1 << 20) + 1], Status::InvalidArgument, "1 MiB"),
    ] {
        let error = attempt(text).unwrap_err();
        assert_eq!(error.status(), status, "{error}");
        assert!(error.message().contains("redmux.json") && error.message().contains(says), "{error}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
    let missing = Options::new().set_file(&path).unwrap_err();
    assert_eq!(missing.status(), Status::InvalidArgument);
    assert!(missing.message().contains("redmux.json"), "{missing}");
}

// The environment

#[test]
fn redis_url_wins_over_redis_host_and_both_over_localhost() {
    let parts = [("REDIS_HOST", "parts"), ("REDIS_PORT", "7000"), ("REDIS_PASSWORD", "pw")];
    let read = |pairs: &[(&str, &str)]| {
        let mut options = Options::new();
        options.set_environment(environment(pairs)).unwrap();
        options
    };
    let with_url = read(&[&parts[..], &[("REDIS_URL", "redis://url:7001/2")]].concat());
    assert_eq!(with_url.url_without_secrets(), "redis://url:7001/2");
    assert_eq!(with_url.text(Key::Password), "");
    let with_parts = read(&[&parts[..], &[("REDIS_URL", " "), ("REDIS_USERNAME", "web"), ("REDIS_DB", "3")]].concat());
    assert_eq!(with_parts.url_without_secrets(), "redis://web@parts:7000/3");
    assert_eq!(with_parts.text(Key::Password), "pw");
    let nothing = read(&[("REDIS_HOST", ""), ("REDIS_PORT", "")]);
    assert_eq!(nothing.url_without_secrets(), "redis://localhost:6379/0");
    assert!(!nothing.is_set(Key::Host));
    let only_password = read(&[("REDIS_PASSWORD", "pw")]);
    assert_eq!((address(&only_password), only_password.text(Key::Password)), (("localhost", 6379), "pw"));
}

#[test]
fn with_an_explicit_address_the_environment_is_not_looked_at() {
    let nobody = |name: &str| -> Option<String> { panic!("{name} was looked at") };
    let addresses = [("host", "h"), ("port", "7000"), ("path", "/run/s"), ("url", "redis://"), ("url", "password=x")];
    for (key, value) in addresses {
        let mut options = set(&[(key, value)]);
        options.set_environment(nobody).unwrap();
        let mut options = json(&serde_json::json!({ key: value }).to_string());
        options.set_environment(nobody).unwrap();
    }
}

#[test]
fn the_environment_never_overrides_what_was_set_whatever_the_order_of_calls() {
    let env = [("REDIS_URL", "rediss://web:envpw@env:7000/2?timeout=1s")];
    let mut options = set(&[("user", "mine"), ("timeout", "3s"), ("tls", "false")]);
    options.set_environment(environment(&env)).unwrap();
    assert_eq!(options.url_without_secrets(), "redis://mine@env:7000/2");
    assert_eq!(options.text(Key::Password), "envpw");
    assert_eq!(options.duration(Key::Timeout), Duration::from_secs(3));
    for (key, value) in [("host", "mine"), ("port", "1"), ("path", "/run/s"), ("url", "redis://mine")] {
        let mut late = Options::new();
        late.set_environment(environment(&env)).unwrap();
        late.set(key, value).unwrap();
        assert_eq!(late.to_json(), set(&[(key, value)]).to_json(), "a password from the environment went to {key}");
    }
    let mut twice = Options::new();
    twice.set_environment(environment(&env)).unwrap();
    twice.set_environment(environment(&[("REDIS_HOST", "second")])).unwrap();
    assert_eq!((twice.url_without_secrets().as_str(), twice.text(Key::Password)), ("redis://second:6379/0", ""));
}

#[test]
fn a_wrong_environment_is_told_with_the_variable() {
    for (name, value) in [
        ("REDIS_URL", "redis://:Zq9@h:0"),
        ("REDIS_URL", "redis://h?nonsense=1"),
        ("REDIS_HOST", "redis://:Zq9@h"),
        ("REDIS_PORT", "abc"),
        ("REDIS_PASSWORD", "Zq9\0"),
        ("REDIS_USERNAME", "a\0"),
        ("REDIS_DB", "-1"),
    ] {
        let error = Options::new().set_environment(environment(&[(name, value)])).expect_err(name);
        assert!(error.message().starts_with(&format!("{name}: ")) && !error.message().contains("Zq9"), "{error}");
    }
}

#[test]
fn a_service_called_redis_in_kubernetes_does_no_harm() {
    for (port, host, expected) in [
        ("tcp://10.0.0.7:6379", None, ("10.0.0.7", 6379)),
        ("tcp://10.0.0.7:7000", Some("named"), ("named", 7000)),
        ("tcp://[fd00::7]:6379", None, ("fd00::7", 6379)),
    ] {
        let pairs: Vec<_> = [("REDIS_PORT", port)].into_iter().chain(host.map(|host| ("REDIS_HOST", host))).collect();
        let mut options = Options::new();
        options.set_environment(environment(&pairs)).unwrap();
        assert_eq!(address(&options), expected);
    }
}

// Together

#[test]
fn what_does_not_fit_together_is_found_by_check() {
    let tls: &[(&str, &str)] = if cfg!(feature = "tls") { &[("tls", "true")] } else { &[] };
    let cases: [(&[(&str, &str)], &[&str]); 6] = [
        (&[("tls_cert", "c.pem")], &["tls_cert is set", "tls_key is not"]),
        (&[("tls_key", "k.pem")], &["tls_key is set", "tls_cert is not"]),
        (&[("backoff_min", "6s")], &["backoff_min (6s)", "backoff_max (5s)"]),
        (&[("backoff_max", "1ms")], &["backoff_min (8ms)", "backoff_max (1ms)"]),
        (&[("tls_ca", "ca.pem")], &["tls_ca", "tls is off"]),
        (&[("tls_cert", "c.pem"), ("tls_key", "k.pem")], &["tls_cert", "tls is off"]),
    ];
    for (pairs, says) in cases {
        let error = set(pairs).check().expect_err(says[0]);
        assert_eq!(error.status(), Status::InvalidValue);
        assert!(says.iter().all(|say| error.message().contains(say)), "{error}");
    }
    set(&[tls, &[("tls_server_name", "x"), ("backoff_min", "5s")]].concat()).check().unwrap();
    let socket = set(&[("tls", "true"), ("path", "/run/s")]).check().unwrap_err();
    if cfg!(feature = "tls") {
        assert!(socket.message().contains("path") && socket.message().contains("tls"), "{socket}");
        set(&[tls, &[("tls_cert", "c"), ("tls_key", "k"), ("tls_ca", "a")]].concat()).check().unwrap();
    } else {
        assert_eq!(socket.status(), Status::NotBuilt);
    }
}

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
