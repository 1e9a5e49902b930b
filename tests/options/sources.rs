//! JSON, files and the environment, and which of them wins.

use std::time::Duration;

use redmux::error::Status;
use redmux::options::{Key, Options};

use super::{address, environment, json, set};

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

#[test]
fn what_the_options_of_a_call_do_not_say_is_as_the_client_has_it() {
    let mut client = Options::new();
    client.set_environment(environment(&[("REDIS_URL", "redis://h?strict=true&quiet=1s&expect=7")])).unwrap();
    let mut call = Options::new();
    call.set("expect", "3").unwrap();
    call.set("strict", "false").unwrap(); // its default, and said
    let both = call.over(&client);
    assert_eq!((both.number(Key::Expect), both.flag(Key::Strict)), (3, false), "the call's own");
    assert_eq!((both.duration(Key::Quiet), both.text(Key::Host)), (Duration::from_secs(1), "h"), "the client's");
    assert_eq!(both.number(Key::MaxAnswers), Options::new().number(Key::MaxAnswers), "nobody's");
}
