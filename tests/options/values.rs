//! The grammar of values, what `set` says of wrong ones, and what does not fit together.

use std::time::Duration;

use redmux::error::Status;
use redmux::options::{Key, Options};
use serde_json::Value as Json;

use super::{environment, set, set_error, url};

const SECRET: &str = "Zq9hunter2Zq9";

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

#[test]
fn what_does_not_fit_together_is_found_by_check() {
    let tls: &[(&str, &str)] = if cfg!(feature = "tls") { &[("tls", "true")] } else { &[] };
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: [Case; 6] = [
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
