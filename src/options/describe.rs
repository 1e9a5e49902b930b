//! The table for programs (`describe()`) and for people (`docs/options.md`).

use serde_json::{Map, Value as Json};

use super::Options;
use super::sources::json;
use super::table::{Key, Kind, Row, Scope};

impl Options {
    /// The whole table as a JSON array: `key`, `scope`, `type`, `default`, `secret`, `help`, with `min` and `max` or
    /// `choices` where the type has them.
    pub fn describe() -> String {
        Json::Array(Key::ALL.iter().map(|key| Json::Object(entry(key.row()))).collect()).to_string()
    }
}

fn entry(row: &Row) -> Map<String, Json> {
    let mut entry = Map::new();
    let mut put = |name: &str, value: Json| entry.insert(name.to_owned(), value);
    put("key", row.name.into());
    put("scope", row.scope.name().into());
    put("type", row.kind.name().into());
    put("default", json(&row.default_value()));
    if let Some((min, max)) = row.kind.range() {
        put("min", json(&min));
        put("max", json(&max));
    }
    if !row.kind.words().is_empty() {
        put("choices", row.kind.words().into());
    }
    put("secret", row.secret.into());
    put("help", row.help.into());
    entry
}

const HEAD: &str = r#"# Options

<!-- Made from src/options/table.rs; regenerate with: REDMUX_BLESS=1 cargo test --test options -->

Say where Redis is with a URL; any option can stand in its query:

```
redis://user:password@host:6379/0?ping_interval=2s&name=worker-7
rediss://host                        TLS
redis+unix:///run/redis.sock?db=2    a unix socket
```

or with a connection string of StackExchange.Redis (`host:6379,password=...,ssl=true,name=worker-7`), with JSON
(`{"url": "redis://host", "ping_interval": "2s", "ask": ["address"]}`), or key by key.

- **Nothing given?** `REDIS_URL`, else `REDIS_HOST`, `REDIS_PORT`, `REDIS_USERNAME`, `REDIS_PASSWORD`, `REDIS_DB`, else
  `localhost:6379`. With a host, a port, a path or a URL from you, the environment is not looked at.
- **Said twice?** The later one wins. A URL replaces the whole address (host, port, path) and what an earlier URL said;
  options set by their key stay unless it names them. In JSON, the other keys win over `url`.
- **For one call?** An inbox, a request and a responder may have options of their own; what is not set in them is as the
  client has it.
- **In a URL**, write `@` as `%40`, `/` as `%2F`, `?` as `%3F`, `#` as `%23`, `%` as `%25`. A `+` is a plus.
- **In a connection string**, keys in any case: `password`, `user`, `ssl`, `sslHost`, `name`, `defaultDatabase`,
  `connectTimeout` (ms), `syncTimeout` (ms), `keepAlive` (s), and every key below as it is written. Without a port,
  `ssl=true` means 6380. What StackExchange.Redis knows beyond that is ignored, except `channelPrefix`, `serviceName`
  and `tunnel`, which are errors.

| type | written |
|---|---|
| duration | `250ms`, `5s`, `2m`, `1h`, `1d`; a bare number is milliseconds |
| size | `64MiB`, `64MB`, `64k`: k, M, G and T are powers of 1024; a bare number is bytes |
| flag | `true` `false` `1` `0` `yes` `no` `on` `off` |
| list | words separated by commas |
"#;

/// `docs/options.md`, as the table says it.
pub fn markdown() -> String {
    let mut text = HEAD.to_owned();
    for (scope, title) in
        [(Scope::Client, "Client"), (Scope::Inbox, "Inbox"), (Scope::Request, "Request"), (Scope::Respond, "Responder")]
    {
        text.push_str(&format!("\n## {title}\n\n| key | type | default | allowed | |\n|---|---|---|---|---|\n"));
        for row in Key::ALL.iter().map(|key| key.row()).filter(|row| row.scope == scope) {
            let default = if row.default.is_empty() { String::new() } else { format!("`{}`", row.default) };
            let secret = if row.secret { " Never shown." } else { "" };
            let (name, kind, help) = (row.name, row.kind.name(), row.help);
            let allowed = allowed(row.kind);
            text.push_str(&format!("| `{name}` | {kind} | {default} | {allowed} | {help}{secret} |\n"));
        }
    }
    text
}

impl Row {
    /// What its value may be, in a few words; empty where anything may.
    pub fn allowed(&self) -> String {
        allowed(self.kind).replace("` `", ", ").replace('`', "")
    }
}

fn allowed(kind: Kind) -> String {
    match kind.range() {
        Some((min, max)) => format!("{} to {}", min.write(), max.write()),
        None => kind.words().iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" "),
    }
}
