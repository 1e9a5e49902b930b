//! The numbers and layouts of the C ABI, frozen: what C sees, what the library uses, and the table here agree.
#![expect(unsafe_code, reason = "reading the C strings that the library gives out")]

use redmux::error::Status;
use redmux::ffi::block::{redmux_block, redmux_record};
use redmux::ffi::bytes::redmux_bytes;
use redmux::ffi::status::{redmux_status_message, redmux_status_name};
use redmux::ffi::version::{
    REDMUX_ABI_VERSION, redmux_abi_version, redmux_debug_live, redmux_version_number, redmux_version_string,
};
use redmux::ffi::{client, inbox, options, promises, subscription};
use redmux::inbox::{Kind, Record};
use redmux::mux::events::{Level, State};
use std::collections::BTreeSet;
use std::ffi::{CStr, c_char};
use std::fs;
use std::mem::offset_of;
use std::path::{Path, PathBuf};

/// Statuses: a number here is never changed, and one that goes is never given again.
const STATUSES: &str = "
    REDMUX_OK 0
    REDMUX_ERR_INVALID_ARGUMENT -100
    REDMUX_ERR_UNKNOWN_OPTION -101
    REDMUX_ERR_INVALID_VALUE -102
    REDMUX_ERR_INVALID_URL -103
    REDMUX_ERR_NOT_BUILT -104
    REDMUX_ERR_CLOSED -200
    REDMUX_ERR_FORKED -201
    REDMUX_ERR_BUSY -202
    REDMUX_ERR_WOULD_DEADLOCK -203
    REDMUX_ERR_INACTIVE -204
    REDMUX_ERR_CANCELLED -205
    REDMUX_ERR_SUPERSEDED -206
    REDMUX_ERR_STOPPED -207
    REDMUX_ERR_NOT_STOPPED -208
    REDMUX_ERR_ALREADY_SUBSCRIBED -209
    REDMUX_ERR_CONFLICT -210
    REDMUX_ERR_CONNECT -300
    REDMUX_ERR_RESOLVE -301
    REDMUX_ERR_TLS -302
    REDMUX_ERR_LINK_LOST -303
    REDMUX_ERR_INTERRUPTED -304
    REDMUX_ERR_NOT_SENT -305
    REDMUX_ERR_UNKNOWN -306
    REDMUX_ERR_PROTOCOL -307
    REDMUX_ERR_PING_TIMEOUT -308
    REDMUX_ERR_NO_RESPONDERS -309
    REDMUX_ERR_REMOTE -310
    REDMUX_ERR_REDIS -400
    REDMUX_ERR_AUTH -401
    REDMUX_ERR_REFUSED -402
    REDMUX_ERR_PARTIAL -403
    REDMUX_ERR_OLD_SERVER -404
    REDMUX_ERR_FULL -500
    REDMUX_ERR_TOO_LARGE -501
    REDMUX_ERR_OVERFLOW -502
    REDMUX_ERR_NO_MEMORY -503
    REDMUX_ERR_TIMEOUT -600
    REDMUX_ERR_INTERNAL -900
";

/// Kinds, flags, states, levels and how events come: as above.
const KINDS: &str = "
    REDMUX_KIND_MESSAGE 1
    REDMUX_KIND_ACTIVE 2
    REDMUX_KIND_LOST 3
    REDMUX_KIND_DROPPED 4
    REDMUX_KIND_DONE 5
    REDMUX_KIND_PUBLISHED 6
    REDMUX_KIND_PROMISE 7
    REDMUX_KIND_REFUSED 8
    REDMUX_KIND_REQUEST 9
    REDMUX_KIND_CANCEL 10
    REDMUX_KIND_ACCEPTED 11
    REDMUX_KIND_ANSWER 12
    REDMUX_KIND_END 13
    REDMUX_KIND_MAIL 14
    REDMUX_KIND_GAP 15
    REDMUX_KIND_QUESTION 16
    REDMUX_KIND_LOG 17
    REDMUX_KIND_STATE 18
    REDMUX_KIND_CLOSED 19
    REDMUX_FLAG_PATTERN 1
    REDMUX_FLAG_NAME 1
    REDMUX_STATE_CONNECTING 1
    REDMUX_STATE_ONLINE 2
    REDMUX_STATE_OFFLINE 3
    REDMUX_STATE_STOPPED 4
    REDMUX_STATE_SLOW_CONSUMER 5
    REDMUX_STATE_PUBLISH_ONLINE 6
    REDMUX_STATE_PUBLISH_OFFLINE 7
    REDMUX_STATE_SUBSCRIBED 8
    REDMUX_LOG_ERROR 1
    REDMUX_LOG_WARN 2
    REDMUX_LOG_INFO 3
    REDMUX_LOG_DEBUG 4
    REDMUX_FLAG_LAST 1
    REDMUX_FLAG_FAILED 2
    REDMUX_FLAG_AGAIN 1
    REDMUX_REASON_NO_RESPONDERS 1
    REDMUX_REASON_ALL 2
    REDMUX_REASON_COUNT 3
    REDMUX_REASON_PREDICATE 4
    REDMUX_REASON_QUIET 5
    REDMUX_REASON_DEADLINE 6
    REDMUX_REASON_CANCELLED 7
    REDMUX_REASON_CLOSED 8
    REDMUX_REASON_INTERRUPTED 9
    REDMUX_REASON_FAILED 10
    REDMUX_REASON_OVERFLOW 11
    REDMUX_EVENTS_NONE 0
    REDMUX_EVENTS_TAKE 1
    REDMUX_EVENTS_CALLBACK 2
";

type Table = BTreeSet<(String, i64)>;

fn frozen(table: &str) -> Table {
    let rows = table.lines().filter_map(|line| line.trim().split_once(' '));
    rows.map(|(name, number)| (name.to_owned(), number.parse().unwrap())).collect()
}

/// The constants of a source of the C ABI.
fn constants(source: &str) -> Table {
    let rows = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.strip_suffix(';')?.split_once(": "));
    rows.map(|(name, rest)| (name.to_owned(), rest.split_once(" = ").unwrap().1.parse().unwrap())).collect()
}

/// Those of the table whose name begins so.
fn with_prefix(table: &Table, prefix: &str) -> Table {
    table.iter().filter(|(name, _)| name.starts_with(prefix)).cloned().collect()
}

/// `SlowConsumer` is `REDMUX_STATE_SLOW_CONSUMER`.
fn c_name(prefix: &str, variant: &impl std::fmt::Debug) -> String {
    let mut name = prefix.to_owned();
    for (at, letter) in format!("{variant:?}").chars().enumerate() {
        if at > 0 && letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

fn text(pointer: *const c_char) -> &'static str {
    assert!(!pointer.is_null());
    // SAFETY: the library's functions give static strings that end with a NUL.
    unsafe { CStr::from_ptr(pointer) }.to_str().unwrap()
}

#[test]
fn rule_08_statuses_are_the_numbers_that_c_sees() {
    let used: Table = Status::ALL.iter().map(|s| (s.c_name().to_str().unwrap().to_owned(), s.code().into())).collect();
    assert_eq!(used.len(), Status::ALL.len(), "each has a name of its own");
    assert_eq!(used, constants(include_str!("../src/ffi/status.rs")));
    assert_eq!(used, frozen(STATUSES));
    for status in Status::ALL {
        assert_eq!(Status::from_code(status.code()), Some(*status));
    }
}

#[test]
fn rule_08_kinds_states_and_levels_are_the_numbers_that_c_sees() {
    let c = constants(include_str!("../src/ffi/kinds.rs"));
    assert_eq!(c, frozen(KINDS));
    let kinds: Table = Kind::ALL.iter().map(|&kind| (c_name("REDMUX_KIND_", &kind), kind as i64)).collect();
    assert_eq!(kinds, with_prefix(&c, "REDMUX_KIND_"));
    let states = [
        State::Connecting,
        State::Online,
        State::Offline,
        State::Stopped,
        State::SlowConsumer,
        State::PublishOnline,
        State::PublishOffline,
        State::Subscribed,
    ];
    let states: Table = states.iter().map(|&state| (c_name("REDMUX_STATE_", &state), state as i64)).collect();
    assert_eq!(states, with_prefix(&c, "REDMUX_STATE_"));
    let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug];
    let levels: Table = levels.iter().map(|&level| (c_name("REDMUX_LOG_", &level), level as i64)).collect();
    assert_eq!(levels, with_prefix(&c, "REDMUX_LOG_"));
}

#[test]
fn rule_10_name_and_message_are_total() {
    // Every number near the table, and a walk over all the others.
    let near = -2000..=2000;
    let far = (i32::MIN..=i32::MAX).step_by(999_983);
    for code in near.chain(far).chain([i32::MIN, i32::MAX]) {
        let (name, message) = (text(redmux_status_name(code)), text(redmux_status_message(code)));
        match Status::from_code(code) {
            Some(status) => {
                assert_eq!(name.as_bytes(), status.c_name().to_bytes());
                assert_eq!(message.as_bytes(), status.c_message().to_bytes());
            }
            None => assert_eq!((name, message), ("REDMUX_ERR_?", "unknown status"), "{code}"),
        }
        assert!(!message.is_empty());
    }
}

#[test]
fn rule_14_records_and_blocks_are_frozen() {
    assert_eq!((size_of::<redmux_record>(), align_of::<redmux_record>()), (64, 8));
    assert_eq!((size_of::<Record>(), align_of::<Record>()), (64, 8));
    macro_rules! both {
        ($($field:ident $at:literal)*) => {
            $(assert_eq!(offset_of!(redmux_record, $field), $at, stringify!($field));)*
            $(assert_eq!(offset_of!(Record, $field), $at, stringify!($field));)*
        };
    }
    both!(kind 0 flags 2 status 4 source 8 token 16 number 24 aux 32);
    both!(name_off 40 name_len 44 extra_off 48 extra_len 52 data_off 56 data_len 60);

    assert_eq!((size_of::<redmux_block>(), align_of::<redmux_block>()), (56, 8));
    macro_rules! block {
        ($($field:ident $at:literal)*) => {
            $(assert_eq!(offset_of!(redmux_block, $field), $at, stringify!($field));)*
        };
    }
    block!(id 0 inbox 8 records 16 count 24 data 32 data_len 40 more 48 status 52);
    assert_eq!((size_of::<redmux_bytes>(), offset_of!(redmux_bytes, len)), (16, 8));
}

#[test]
fn rule_03_handles_are_one_number() {
    let sizes = [
        size_of::<client::redmux_client>(),
        size_of::<inbox::redmux_inbox>(),
        size_of::<options::redmux_options>(),
        size_of::<promises::redmux_promises>(),
        size_of::<subscription::redmux_subscription>(),
    ];
    assert_eq!(sizes, [8; 5]);
    assert!(redmux_debug_live() >= 0);
}

#[test]
fn rule_35_the_versions_agree() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(text(redmux_version_string()), version);
    let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
    assert_eq!(redmux_version_number(), parts[0] << 16 | parts[1] << 8 | parts[2]);
    assert_eq!(redmux_abi_version(), REDMUX_ABI_VERSION);
    let header = include_str!("../include/redmux.h");
    for line in
        [format!("#define REDMUX_VERSION \"{version}\""), format!("#define REDMUX_ABI_VERSION {REDMUX_ABI_VERSION}")]
    {
        assert!(header.lines().any(|there| there == line), "{line}: not in the header");
    }
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Whoever audits the unsafe code reads these files and no other.
#[test]
fn unsafe_code_stands_only_where_it_is_said_to() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed = ["sys.rs", "ffi/bytes.rs", "ffi/callback.rs"];
    for path in sources(&root) {
        let file = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        let source = fs::read_to_string(&path).unwrap();
        let lines = source.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        let mut code = lines.map(|line| line.split("//").next().unwrap_or_default());
        let found = code.any(|line| ["unsafe {", "unsafe impl", "unsafe fn"].iter().any(|word| line.contains(word)));
        assert_eq!(found, allowed.contains(&file.as_str()), "{file}");
        assert!(!found || source.contains("#![expect(unsafe_code, reason ="), "{file} says why");
    }
}

/// Every exported function passes through the guard.
#[test]
fn rule_11_every_entry_point_passes_through_the_guard() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ffi");
    let mut seen = 0;
    for path in sources(&root) {
        let source = fs::read_to_string(&path).unwrap();
        for function in source.split("#[unsafe(no_mangle)]").skip(1) {
            let body = function.split("\n}\n").next().unwrap_or_default();
            let name = body.split('(').next().unwrap_or_default().rsplit(' ').next().unwrap_or_default();
            let constant = name.starts_with("redmux_version_") || name == "redmux_abi_version";
            let guarded = ["guard(", "guard_error(", "guard_value("].iter().any(|guard| body.contains(guard));
            assert!(guarded || constant, "{name} in {}", path.display());
            seen += 1;
        }
    }
    let exports = include_str!("../include/redmux.exports").lines().count();
    assert_eq!(seen, exports, "every export is a function of src/ffi");
}
