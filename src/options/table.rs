//! The table of every option: the one place where a key, its type, default, range and help are written.
//!
//! The parser, `describe()` and `docs/options.md` are made from it; `tests/options.rs` goes over every row.

/// What an option belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Scope {
    /// Read when a client is opened.
    Client,
    /// Read when an inbox is made; on a client it is the default of its inboxes.
    Inbox,
    /// Read when a request is made.
    Request,
    /// Read when a service is begun to be served.
    Respond,
    /// Read when a mailbox is opened.
    Mailbox,
    /// Read when a gateway is opened.
    Gateway,
}

impl Scope {
    /// The word used in `describe()` and in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Client => "client",
            Scope::Inbox => "inbox",
            Scope::Request => "request",
            Scope::Respond => "respond",
            Scope::Mailbox => "mailbox",
            Scope::Gateway => "gateway",
        }
    }
}

/// What a text may hold. No text holds a NUL byte, and an option whose default is empty may be empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Anything.
    Any,
    /// A host name or an address, without a port.
    Host,
    /// A path that fits a socket address.
    Socket,
    /// What Redis takes for a client's name: printable ASCII, no spaces.
    Word,
}

/// The type of an option and what is allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Text.
    Text(Rule),
    /// A whole number, from and to.
    Number(u64, u64),
    /// Bytes, from and to.
    Size(u64, u64),
    /// Milliseconds, from and to.
    Duration(u64, u64),
    /// True or false.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any of these words.
    List(&'static [&'static str]),
}

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// The option.
    pub key: Key,
    /// Its key as text.
    pub name: &'static str,
    /// What it belongs to.
    pub scope: Scope,
    /// Its type and range.
    pub kind: Kind,
    /// Its default, written like any value.
    pub default: &'static str,
    /// Whether its value must never be shown.
    pub secret: bool,
    /// One line of help.
    pub help: &'static str,
}

macro_rules! table {
    ($($scope:ident {
        $($key:ident $name:literal $kind:expr, $default:literal, $help:literal $($secret:ident)?;)*
    })*) => {
        /// An option; one for each row of the table.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum Key { $($(#[doc = $help] $key,)*)* }

        impl Key {
            /// Every option, in the order of the table.
            pub const ALL: &'static [Key] = &[$($(Key::$key,)*)*];

            /// The row of the table.
            pub const fn row(self) -> &'static Row {
                match self {
                    $($(Key::$key => {
                        const ROW: &Row = &Row {
                            key: Key::$key,
                            name: $name,
                            scope: Scope::$scope,
                            kind: $kind,
                            default: $default,
                            secret: !stringify!($($secret)?).is_empty(),
                            help: $help,
                        };
                        ROW
                    })*)*
                }
            }
        }
    };
}

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const TIB: u64 = 1024 * 1024 * MIB;

const ANY: Kind = Kind::Text(Rule::Any);
const HOST: Kind = Kind::Text(Rule::Host);
const WORD: Kind = Kind::Text(Rule::Word);

table! {
    Client {
        Host "host" HOST, "localhost", "The server's host name or IP address.";
        Port "port" Kind::Number(1, 65535), "6379", "The server's TCP port.";
        Path "path" Kind::Text(Rule::Socket), "", "The server's unix socket; when given, it wins over host and port.";
        Db "db" Kind::Number(0, 65535), "0", "The database's number; used by mailboxes, Pub/Sub ignores it.";
        User "user" ANY, "", "The ACL user; empty is Redis' default user.";
        Password "password" ANY, "", "The password; empty sends none." secret;
        Tls "tls" Kind::Flag, "false", "Whether to speak TLS.";
        TlsCa "tls_ca" ANY, "", "A PEM file with the roots to trust; empty trusts the system's.";
        TlsCert "tls_cert" ANY, "", "A PEM file with this client's certificate; needs tls_key.";
        TlsKey "tls_key" ANY, "", "A PEM file with the key of tls_cert.";
        TlsServerName "tls_server_name" HOST, "", "The name that the server's certificate must carry; empty is host.";
        Name "name" WORD, "", "The connection's name (CLIENT SETNAME); empty is the machine's host name.";
        Wrapper "wrapper" WORD, "",
            "language/version of a language binding (CLIENT SETINFO); set by the binding itself.";
        ConnectTimeout "connect_timeout" Kind::Duration(10, 10 * MINUTE), "5s",
            "How long one attempt to connect may take, TLS and the handshake included.";
        Timeout "timeout" Kind::Duration(1, DAY), "10s", "The deadline of operations whose caller gives none.";
        PingInterval "ping_interval" Kind::Duration(10, HOUR), "5s",
            "How long the server may be silent before it is asked with a PING.";
        PingTimeout "ping_timeout" Kind::Duration(10, HOUR), "5s",
            "How long the server may take to answer that PING before the connection is given up.";
        Keepalive "keepalive" Kind::Duration(0, DAY), "15s", "How often TCP probes an idle connection; 0 is off.";
        UserTimeout "user_timeout" Kind::Duration(0, DAY), "10s",
            "How long sent bytes may stay unacknowledged by the server's machine (TCP_USER_TIMEOUT); 0 is off.";
        BackoffMin "backoff_min" Kind::Duration(1, MINUTE), "8ms",
            "The longest wait before the first attempt to reconnect; each wait is random below its limit.";
        BackoffMax "backoff_max" Kind::Duration(1, 10 * MINUTE), "5s",
            "Where the doubling of that wait stops; RedisMPX stops at 512ms, which is a storm with 10,000 clients.";
        StableAfter "stable_after" Kind::Duration(0, HOUR), "1s",
            "How long a connection must have been fully subscribed before the backoff starts from its minimum again.";
        RefusedRetry "refused_retry" Kind::Duration(100, DAY), "30s",
            "How often names that the server refused (ACL) are tried again, 64 of them at a time.";
        MaxName "max_name" Kind::Size(1, 64 * KIB), "64KiB", "The longest name of a channel or a pattern.";
        MaxPayload "max_payload" Kind::Size(1, 512 * MIB), "64MiB", "The largest payload, in and out.";
        ClientBytes "client_bytes" Kind::Size(64 * KIB, TIB), "256MiB",
            "What all inboxes of a client may hold together.";
        CallbackThreads "callback_threads" Kind::Number(1, 64), "1",
            "How many threads run callbacks; with 1, never two at once.";
        PublishQueue "publish_queue" Kind::Size(4 * KIB, TIB), "16MiB",
            "Bytes of publishes that may wait for the server; a larger one alone is taken when nothing waits.";
        Ask "ask" Kind::List(&["address", "credentials", "authorize"]), "",
            "What the application is asked by question records instead of being read from here.";
        Namespace "namespace" WORD, "redmux",
            "What the names of the channels for requests and answers begin with; who is to meet has the same.";
        LogLevel "log_level" Kind::Choice(&["off", "error", "warn", "info", "debug"]), "info",
            "Which log records the event inbox gets; nothing is ever printed.";
    }
    Request {
        Wire "wire" Kind::Choice(&["native", "messaging-buffer"]), "native",
            "The format of requests and answers: redmux' own, or that of Messaging.Buffer.";
        Expect "expect" Kind::Number(0, u32::MAX as u64), "0", "How many answers are enough; 0: everybody's.";
        Quiet "quiet" Kind::Duration(0, DAY), "0", "The silence after an answer that ends a request; 0: none does.";
        Strict "strict" Kind::Flag, "false",
            "Whether to wait for everybody who received the request, and not only for those who took it.";
        OthersOnly "others_only" Kind::Flag, "false", "Whether responders of the asking client itself are left out.";
        Repeatable "repeatable" Kind::Flag, "false",
            "Whether a request may be sent again after a connection was lost; responders then remember their answers.";
        Accepted "accepted" Kind::Flag, "false", "Whether to be told of each responder that takes the request.";
        MaxAnswers "max_answers" Kind::Number(1, u32::MAX as u64), "1000000", "The most answers to one request.";
        MaxAnswerBytes "max_answer_bytes" Kind::Size(1, TIB), "64MiB", "The most bytes of answers to one request.";
        RequestId "request_id" ANY, "", "The id of a request; empty makes one.";
    }
    Respond {
        Concurrency "concurrency" Kind::Number(1, 1_000_000), "64",
            "How many requests may be in work at once in one responder.";
        Waiting "waiting" Kind::Number(0, 1_000_000), "1024",
            "How many more may wait for that; what comes beyond is answered with a retriable error.";
        Group "group" ANY, "",
            "A queue group: of all its members exactly one serves a request; empty: everybody does. A busy member claims what comes and lets it wait; with `waiting` 0 it leaves it to the others.";
        Once "once" ANY, "",
            "Responders of this process with the same word serve a request once that reaches several of them.";
        CatchAll "catch_all" Kind::Flag, "false", "Whether to serve every service whose name begins with the given one.";
        Version "version" WORD, "", "The version that a responder tells whoever looks for services.";
    }
    Inbox {
        InboxBytes "inbox_bytes" Kind::Size(4 * KIB, TIB), "64MiB", "What an inbox may hold, lent blocks included.";
        InboxRecords "inbox_records" Kind::Number(0, u32::MAX as u64), "0",
            "How many messages may wait in an inbox; 0: only bytes count.";
        InboxPolicy "inbox_policy" Kind::Choice(&["drop-oldest", "drop-newest", "close", "pause"]), "drop-oldest",
            "What a full inbox does: drop messages, close itself, or pause reading from the server.";
    }
}

impl Key {
    /// The key as text.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The option with exactly that key.
    pub fn find(name: &str) -> Option<Key> {
        Key::ALL.iter().copied().find(|key| key.name() == name)
    }
}
