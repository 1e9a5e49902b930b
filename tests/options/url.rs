//! URLs and connection strings: every part, every error.

use std::time::Duration;

use redmux::error::Status;
use redmux::options::{Key, Options};

use super::{address, set, url, url_error};

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
    assert_eq!(address(&url("host=h,ssl=true")), ("h", 6380));
    assert_eq!(address(&url("h,port=7000")), ("h", 7000));
    assert_eq!(address(&url("h,ssl=true,port=7000")), ("h", 7000));
    assert_eq!(address(&url("host=h,port=7000,ssl=true")), ("h", 7000));
    assert_eq!(address(&url("port=7000,password=x")), ("localhost", 7000));
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
