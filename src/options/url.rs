//! Reading a URL or a connection string, and writing the URL that logs may show.
//!
//! Total over all strings. Nothing that could be a password is ever quoted: in `redis://user:secret` (the host was
//! forgotten) the password stands where the port should be, and an unescaped `/` or `?` puts the rest of it into the
//! path or the query. So an error names the part and its position, not its text.

use super::table::Key;
use super::value::{self, Value};
use super::{Options, Origin, within};
use crate::error::{Error, Result, Status};

const SCHEMES: &str = "redis://, rediss:// (TLS), redis+unix:// and unix:// (a socket's path)";

pub(super) fn read(text: &str, options: &mut Options) -> Result<()> {
    let text = text.trim();
    let reader = Reader { text };
    if text.is_empty() {
        return Err(Error::new(Status::InvalidUrl, "the URL is empty; write redis://host:port or host:port"));
    }
    if let Some(at) = text.find('\0') {
        return Err(reader.fail(text.get(at..).unwrap_or_default(), "a NUL byte"));
    }
    // A password may hold "://" too: only letters before it make a scheme.
    match text.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) => {
            reader.url(scheme, rest, options)
        }
        _ => reader.connection_string(options),
    }
}

struct Reader<'a> {
    text: &'a str,
}

impl<'a> Reader<'a> {
    /// An error at `part`, which is a slice of the text.
    fn fail(&self, part: &str, what: &str) -> Error {
        let at = (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        Error::new(Status::InvalidUrl, format!("the URL cannot be read at byte {}: {what}", at + 1))
    }

    fn url(&self, scheme: &str, rest: &'a str, options: &mut Options) -> Result<()> {
        let scheme = scheme.to_ascii_lowercase();
        if !["redis", "rediss", "redis+unix", "unix"].contains(&scheme.as_str()) {
            let message = format!("unknown scheme {}; known are {SCHEMES}", value::shown(&scheme));
            return Err(Error::new(Status::InvalidUrl, message));
        }
        let (authority, tail) = cut(rest, rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        match self.parts(&scheme, authority, tail, options) {
            Err(_) if tail.contains('@') => Err(self.fail(
                tail,
                "an \"@\" stands after this; in a user or a password write \"/\" as %2F, \"?\" as %3F, \"#\" as %23 \
                 and \"@\" as %40",
            )),
            result => result,
        }
    }

    fn parts(&self, scheme: &str, authority: &'a str, tail: &'a str, options: &mut Options) -> Result<()> {
        if let Some(at) = tail.find('#') {
            return Err(self.fail(cut(tail, at).1, "a \"#\" part has no meaning here; in a value write %23"));
        }
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let (credentials, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        for (key, part) in [(Key::User, user), (Key::Password, password)] {
            if !part.is_empty() {
                self.put(options, key, part, self.decode(part, key.name())?)?;
            }
        }
        if scheme.ends_with("unix") {
            if !address.is_empty() && address != "localhost" {
                return Err(
                    self.fail(address, "a host before the socket's path; write three slashes: redis+unix:///path")
                );
            }
            if path.len() < 2 {
                return Err(self.fail(path, "the socket's path is missing; write redis+unix:///path"));
            }
            self.put(options, Key::Path, path, self.decode(path, "path")?)?;
        } else {
            let (host, port) = self.address(address)?;
            self.put_address(options, host, self.decode(host, "host")?, port)?;
            let db = path.strip_prefix('/').unwrap_or_default();
            if !db.is_empty() {
                self.put(options, Key::Db, db, self.decode(db, "db")?)?;
            }
        }
        if scheme == "rediss" {
            options.put(Key::Tls, Value::Flag(true), Origin::Url);
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(self.fail(pair, "a query parameter without \"=\"; write key=value"));
            };
            let (key, value) = (self.decode(key, "query")?, self.decode(value, "query")?);
            options.apply(&key, &value, Origin::Url).map_err(|error| within("the URL's query", &error))?;
        }
        if scheme == "rediss" && !options.flag(Key::Tls) {
            return Err(self.fail(query, "rediss:// asks for TLS and the query turns it off; write redis://"));
        }
        Ok(())
    }

    /// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`, not decoded; empty when missing.
    fn address(&self, text: &'a str) -> Result<(&'a str, &'a str)> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let Some((host, after)) = rest.split_once(']') else {
                return Err(self.fail(text, "the host opens a bracket \"[\" and does not close it"));
            };
            if !host.contains(':') {
                return Err(self.fail(host, "the host between brackets is not an IPv6 address"));
            }
            match after.strip_prefix(':') {
                Some(port) => (host, port),
                None if after.is_empty() => (host, ""),
                None => {
                    return Err(self.fail(after, "after the host's bracket only a port can follow, like [::1]:6379"));
                }
            }
        } else {
            text.split_once(':').unwrap_or((text, ""))
        };
        if port.contains(':') {
            return Err(
                self.fail(text, "the host has more than one \":\"; an IPv6 address needs brackets, like [::1]:6379")
            );
        }
        Ok((host, port))
    }

    fn put_address(&self, options: &mut Options, part: &str, host: String, port: &str) -> Result<()> {
        let host = if part.is_empty() { Key::Host.row().default.to_owned() } else { host };
        self.put(options, Key::Host, part, host)?;
        let port_or = if port.is_empty() { Key::Port.row().default } else { port };
        self.put(options, Key::Port, port, port_or.to_owned())
    }

    fn put(&self, options: &mut Options, key: Key, part: &str, text: String) -> Result<()> {
        let value = key.row().parse(&text).map_err(|_| {
            let allowed = key.row().kind.allowed();
            self.fail(part, &format!("the {} does not fit; allowed is {allowed}", key.name()))
        })?;
        options.put(key, value, Origin::Url);
        Ok(())
    }

    /// `%41` is `A`; a plus stays a plus, or passwords in a query would lose theirs.
    fn decode(&self, part: &str, name: &str) -> Result<String> {
        let mut bytes = Vec::with_capacity(part.len());
        let mut rest = part;
        while let Some((plain, after)) = rest.split_once('%') {
            bytes.extend_from_slice(plain.as_bytes());
            let hex = after.get(..2).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
            let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) else {
                let what =
                    format!("a bad percent escape in the {name}; write two hex digits after \"%\", and %25 for \"%\"");
                return Err(self.fail(cut(rest, plain.len()).1, &what));
            };
            if byte == 0 {
                return Err(self.fail(cut(rest, plain.len()).1, &format!("a NUL byte in the {name}")));
            }
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        }
        bytes.extend_from_slice(rest.as_bytes());
        String::from_utf8(bytes).map_err(|_| self.fail(part, &format!("the {name} is not UTF-8 when decoded")))
    }

    /// `host:port,password=...,ssl=true`: the words, their units and their defaults are those of StackExchange.Redis.
    fn connection_string(&self, options: &mut Options) -> Result<()> {
        let mut address = "";
        let mut after_password = false;
        for (number, item) in (1..).zip(self.text.split(',').map(str::trim)).filter(|(_, item)| !item.is_empty()) {
            let Some((key, value)) = item.split_once('=') else {
                if number > 1 {
                    let what =
                        "only the first item can be the address (one); a password with a \",\" needs a redis:// URL";
                    return Err(self.fail(item, what));
                }
                address = item;
                continue;
            };
            let (key, value) = (key.trim(), value.trim());
            let place = format!("the connection string, item {number}");
            let named = match word(key, value) {
                Word::Ours(name, value) => Some((name, value)),
                Word::Ignored => None,
                Word::Refused(why) => return Err(self.fail(item, why)),
            };
            match named {
                Some((name, _)) if after_password && Key::find(name).is_none() => {
                    let what = "no option is called so (not shown: a password with a \",\" may have been cut here)";
                    let message = format!("{place}: {what}; {}", value::suggestion(key));
                    return Err(Error::new(Status::UnknownOption, message));
                }
                Some((name, _)) if Key::find(name).is_none() => return Err(within(&place, &value::unknown(key))),
                // An empty value is the absence of one: templates leave `password=` behind.
                Some((name, text)) if !text.is_empty() => {
                    options.apply(name, &text, Origin::Url).map_err(|error| within(&place, &error))?;
                }
                _ => {}
            }
            after_password = key.eq_ignore_ascii_case("password");
        }
        if let Some(path) = address.strip_prefix('!').or_else(|| address.starts_with('/').then_some(address)) {
            return self.put(options, Key::Path, path, path.to_owned());
        }
        if address.contains('@') {
            let what =
                "an \"@\" in the address; write redis://user:password@host:port or host:port,user=...,password=...";
            return Err(self.fail(address, what));
        }
        let tls = options.origin(Key::Tls) == Origin::Url && options.flag(Key::Tls);
        let named = options.origin(Key::Port) == Origin::Url;
        if tls && !named {
            // StackExchange.Redis does so.
            self.put(options, Key::Port, "", "6380".to_owned())?;
        }
        if address.is_empty() && options.origin(Key::Host) == Origin::Url {
            return Ok(());
        }
        let port_or = options.number(Key::Port).to_string();
        let (host, port) = self.address(address)?;
        self.put_address(options, host, host.to_owned(), if port.is_empty() { &port_or } else { port })
    }
}

enum Word<'a> {
    Ours(&'a str, String),
    Ignored,
    Refused(&'static str),
}

/// A key of StackExchange.Redis in any case, or one of ours, and its value in our units.
fn word<'a>(key: &'a str, value: &str) -> Word<'a> {
    let ours = |key: Key, value: &str| Word::Ours(key.name(), value.to_owned());
    match key.to_ascii_lowercase().as_str() {
        "password" => ours(Key::Password, value),
        "user" => ours(Key::User, value),
        "name" => ours(Key::Name, value),
        "ssl" => ours(Key::Tls, value),
        "sslhost" => ours(Key::TlsServerName, value),
        "defaultdatabase" => ours(Key::Db, value),
        "connecttimeout" => ours(Key::ConnectTimeout, value),
        "synctimeout" => ours(Key::Timeout, value),
        // The only one in seconds.
        "keepalive" if value::digits(value).is_some() => ours(Key::Keepalive, &format!("{value}s")),
        "keepalive" => ours(Key::Keepalive, value),
        "channelprefix" => Word::Refused("channelPrefix would rename every channel, and there is no such option"),
        "servicename" => Word::Refused("serviceName asks for a Sentinel, which a connection string cannot name"),
        "tunnel" => Word::Refused("there is no tunnel"),
        other if IGNORED.contains(&other) || other.starts_with('$') => Word::Ignored,
        _ => Word::Ours(key, value.to_owned()),
    }
}

/// What StackExchange.Redis knows and what changes nothing here.
const IGNORED: &[&str] = &[
    "abortconnect",
    "allowadmin",
    "asynctimeout",
    "checkcertificaterevocation",
    "configchannel",
    "configcheckseconds",
    "connectretry",
    "heartbeatconsistencychecks",
    "heartbeatinterval",
    "highintegrity",
    "highprioritythreads",
    "includedetailinexceptions",
    "includeperformancecountersinexceptions",
    "libname",
    "loggerfactory",
    "preserveasyncorder",
    "protocol",
    "proxy",
    "resolvedns",
    "responsetimeout",
    "setlib",
    "sslprotocols",
    "tiebreaker",
    "version",
    "writebuffer",
];

/// Like `split_at`, and total.
fn cut(text: &str, at: usize) -> (&str, &str) {
    text.split_at_checked(at).unwrap_or((text, ""))
}

impl Options {
    /// `redis://user@host:6379/0` or `redis+unix:///path`: where it connects to, for logs and errors, without secrets.
    pub fn url_without_secrets(&self) -> String {
        let mut user = escape(self.text(Key::User), "");
        if !user.is_empty() {
            user.push('@');
        }
        let (host, port, db) = (self.text(Key::Host), self.number(Key::Port), self.number(Key::Db));
        if !self.text(Key::Path).is_empty() {
            let path = escape(self.text(Key::Path), "/");
            let slash = if path.starts_with('/') { "" } else { "/" };
            let query = if db == 0 { String::new() } else { format!("?db={db}") };
            return format!("redis+unix://{user}{slash}{path}{query}");
        }
        let scheme = if self.flag(Key::Tls) { "rediss" } else { "redis" };
        let host = if host.contains(':') { format!("[{}]", escape(host, ":")) } else { escape(host, "") };
        format!("{scheme}://{user}{host}:{port}/{db}")
    }
}

fn escape(text: &str, keep: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match char::from(byte) {
            c if c.is_ascii_alphanumeric() || "-._~".contains(c) || keep.contains(c) && c.is_ascii() => out.push(c),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
