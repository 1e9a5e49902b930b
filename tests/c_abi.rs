//! The C ABI from outside: the tests in `tests/c`, one `#[test]` a file, and what the header promises about itself.
//!
//! Each file is compiled as strict C99 against the shared library that cargo built with this test, linked by its
//! SONAME, and run for 60 s at most. Servers and faults come from the fixture program
//! (`cargo build --example fixture`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// One test a file of `tests/c`.
macro_rules! c_tests {
    ($($name:ident)*) => {
        const TABLE: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { run(stringify!($name)); })*
    };
}

c_tests! {
    golden
    rule_01_02_names_and_types
    rule_03_handles
    rule_04_05_bytes
    rule_06_outputs
    rule_07_release
    rule_08_10_statuses
    rule_09_errors
    rule_12_bad_arguments
    rule_12_bad_arguments_of_requests
    rule_13_options
    rule_14_layout
    rule_16_17_taking
    rule_18_20_callbacks
    rule_19_drop_exactly_once
    rule_21_inside_a_callback
    rule_21_a_question_is_answered_inside_a_callback
    rule_21_asking_and_answering_inside_a_callback
    rule_22_identity_is_the_id_and_nothing_early_is_dropped
    rule_23_every_operation_completes_exactly_once_in_a_storm
    rule_24_a_gather_says_why_it_ended_and_keeps_what_came
    rule_25_every_policy_drops_exactly_and_says_so_once
    rule_26_lost_and_active_on_every_subscription
    rule_28_after_close_no_callback_runs_and_drop_has_run_once
    rule_29_any_order_of_closing_is_legal
    rule_30_a_process_may_exit_while_busy
    rule_31_a_fork_inside_a_callback
    rule_31_after_a_fork_handles_are_forked_and_new_clients_work
    rule_32_logs_and_states_are_records_and_none_by_default
    rule_35_versions
    host_memory_of_idle_clients_and_after_a_burst
    host_survives_a_dead_peer_and_few_descriptors
    host_threads_signals_and_shutdown
    m18_no_callback_runs_after_close_returned
    m21_sixteen_threads_make_and_end_everything
}

/// How long one program may take; longer where REDMUX_DEEP asks for more.
fn limit() -> Duration {
    Duration::from_secs(if std::env::var_os("REDMUX_DEEP").is_some() { 600 } else { 60 })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Where cargo puts what it built with this test.
fn built() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_path_buf()
}

fn library() -> PathBuf {
    let library = built().join("libredmux.so");
    assert!(library.exists(), "{} is missing: run `cargo build` first", library.display());
    library
}

fn fixture() -> PathBuf {
    let fixture = built().parent().unwrap().join("examples/fixture");
    assert!(fixture.exists(), "{} is missing: run `cargo build --example fixture` first", fixture.display());
    fixture
}

/// A directory with the library under the names that the linker and the loader look for, made once.
fn link_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("c-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for name in ["libredmux.so", concat!("libredmux.so.0.", env!("CARGO_PKG_VERSION_MINOR"))] {
            let _ = fs::remove_file(dir.join(name));
            std::os::unix::fs::symlink(library(), dir.join(name)).unwrap();
        }
        dir
    })
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output
}

/// Compiles a file and runs it.
fn run(name: &str) {
    let (dir, source) = (link_dir(), root().join("tests/c").join(name).with_extension("c"));
    let (program, log) = (dir.join(name), dir.join(name).with_extension("log"));
    let strict = ["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-I"];
    let mut cc = Command::new("cc");
    cc.args(strict).arg(root().join("include")).arg(source).arg("-o").arg(&program);
    succeed(cc.arg("-L").arg(dir).args(["-lredmux", "-lpthread"]).arg(format!("-Wl,-rpath,{}", dir.display())));

    let out = fs::File::create(&log).unwrap();
    let mut command = Command::new(&program);
    // No server of the machine may stand in for the fixture's.
    for name in ["REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_DB"] {
        command.env_remove(name);
    }
    // Cargo's LD_LIBRARY_PATH comes before the program's own, and may lead to the library of an earlier build.
    command.env("LD_LIBRARY_PATH", dir);
    command.env("REDMUX_FIXTURE", fixture()).stdin(Stdio::null());
    command.stdout(out.try_clone().unwrap()).stderr(out);
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + limit();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let said = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    match status {
        Some(status) => assert!(status.success(), "{name}: {status}\n{said}"),
        None => panic!("{name} did not end in {:?}\n{said}", limit()),
    }
}

#[test]
fn every_c_file_is_in_the_table() {
    let files = fs::read_dir(root().join("tests/c")).unwrap().map(|entry| entry.unwrap().path());
    let names: BTreeSet<String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let table: BTreeSet<String> = TABLE.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(names, table, "add it to c_tests! in tests/c_abi.rs");
}

/// A test of yesterday's library proves nothing.
#[test]
fn the_library_is_as_new_as_its_sources() {
    fn newest(dir: &Path) -> std::time::SystemTime {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let time = |path: PathBuf| match path.is_dir() {
            true => newest(&path),
            false => fs::metadata(&path).unwrap().modified().unwrap(),
        };
        entries.map(time).max().unwrap()
    }
    let library = library();
    let built = fs::metadata(&library).unwrap().modified().unwrap();
    assert!(built >= newest(&root().join("src")), "{} is old: run `cargo build`", library.display());
}

// ---- The header ----

/// A declaration of the header with the comment before it.
struct Item {
    comment: String,
    code: String,
}

/// The header's declarations: a comment, and the code up to the `;` that ends it, or one line of `#define`.
fn items() -> Vec<Item> {
    let header = read("include/redmux.h");
    let (mut items, mut comment, mut code) = (Vec::new(), String::new(), String::new());
    let (mut in_comment, mut depth) = (false, 0);
    for line in header.lines() {
        let text = line.trim();
        if depth == 0 && code.is_empty() && text.starts_with("/*") {
            (in_comment, comment) = (true, String::new());
        }
        if in_comment || depth == 0 && text.starts_with("/*") {
            let words = text.trim_start_matches("/*").trim_end_matches("*/").trim_matches(['*', ' ']);
            comment.push_str(words);
            comment.push(' ');
            in_comment = !text.ends_with("*/");
            continue;
        }
        if text.starts_with("#define") && text.split(' ').nth(2).is_some() {
            items.push(Item { comment: std::mem::take(&mut comment), code: text.to_owned() });
        }
        if text.is_empty() || text.starts_with('#') || text.starts_with("extern \"C\"") || text.starts_with("}  //") {
            continue;
        }
        code.push_str(text);
        code.push('\n');
        depth += text.matches('{').count();
        depth -= text.matches('}').count();
        if depth == 0 && text.ends_with(';') {
            items.push(Item { comment: std::mem::take(&mut comment), code: std::mem::take(&mut code) });
        }
    }
    assert!(items.len() > 100, "the header was read");
    items
}

impl Item {
    /// A function, or the type of one: its name and its parameters.
    fn signature(&self) -> Option<(String, Vec<String>)> {
        let code = self.code.replace(['\n'], " ");
        if code.starts_with("#define") || code.contains('{') || !code.contains('(') {
            return None;
        }
        let (before, rest) = match code.strip_prefix("typedef ").and_then(|code| code.split_once("(*")) {
            Some((_, rest)) => rest.split_once(")(")?,
            None => code.split_once('(')?,
        };
        let name = before.rsplit([' ', '*']).next()?.to_owned();
        let list = rest.rsplit_once(')')?.0.split(',').map(|part| part.trim().to_owned());
        Some((name, list.filter(|part| part != "void").collect()))
    }

    fn is_type(&self) -> bool {
        self.code.starts_with("typedef")
    }
}

fn functions() -> Vec<(String, Vec<String>, Item)> {
    let functions = items().into_iter().filter(|item| !item.is_type());
    functions.filter_map(|item| item.signature().map(|(name, list)| (name, list, item))).collect()
}

/// The header without comments.
fn bare_header() -> String {
    let mut code = String::new();
    for item in items() {
        let mut rest = item.code.as_str();
        while let Some((before, after)) = rest.split_once("/*") {
            code.push_str(before);
            rest = after.split_once("*/").map_or("", |(_, rest)| rest);
        }
        code.push_str(rest);
        code.push('\n');
    }
    code
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[test]
fn rule_01_every_name_has_the_prefix() {
    for item in items() {
        if let Some(define) = item.code.strip_prefix("#define ") {
            assert!(define.starts_with("REDMUX_"), "{}", item.code);
        } else if let Some((name, _)) = item.signature() {
            assert!(name.starts_with("redmux_"), "{}", item.code);
        } else {
            let last = words(&item.code).last().unwrap_or_default();
            assert!(last.starts_with("redmux_"), "{}", item.code);
        }
    }
}

#[test]
fn rule_02_every_type_is_as_wide_everywhere() {
    let allowed: BTreeSet<&str> =
        "int32_t int64_t uint8_t uint16_t uint32_t uint64_t size_t double char void const struct typedef"
            .split(' ')
            .collect();
    let code = bare_header();
    for banned in ["long", "int", "short", "unsigned", "bool", "float", "union", "enum"] {
        assert!(!words(&code).any(|word| word == banned), "`{banned}` in the header");
    }
    assert!(!code.contains("..."), "varargs in the header");
    assert!(!code.contains(':'), "a bit-field in the header");
    for (name, list, _) in functions() {
        for parameter in list {
            let mut types = words(&parameter).collect::<Vec<_>>();
            types.pop();
            let known = types.iter().all(|word| allowed.contains(word) || word.starts_with("redmux_"));
            assert!(known, "{name}: `{parameter}`");
        }
    }
}

#[test]
fn rule_06_parameters_stand_in_order() {
    for (name, list, _) in functions() {
        let rank = |parameter: &String| match words(parameter).last().unwrap_or_default() {
            "out_error" => 2,
            // How much room an output has.
            "capacity" => 1,
            word => usize::from(word.starts_with("out_")),
        };
        let ranks: Vec<usize> = list.iter().map(rank).collect();
        assert!(ranks.is_sorted(), "{name}: outputs come last, out_error behind them");
        let names: Vec<&str> = list.iter().filter_map(|parameter| words(parameter).last()).collect();
        if let Some(at) = names.iter().position(|&name| name == "callback") {
            assert_eq!(names.get(at..at + 3), Some(&["callback", "user", "drop"][..]), "{name}: the triple");
        }
    }
}

/// Whether a comment says whose the pointer is, in one of the fixed phrases.
fn says_whose(comment: &str) -> bool {
    let comment = comment.to_lowercase();
    let until = |at: usize| {
        let clause = comment.get(at..).and_then(|rest| rest.split(['.', ';', ':']).next()).unwrap_or_default();
        ["is freed", "is released", "is called", "ends", "callback returns"].iter().any(|end| clause.contains(end))
    };
    comment.contains("borrowed for the call")
        || comment.match_indices("borrowed until ").any(|(at, _)| until(at))
        || comment.contains("owned by the caller, release with redmux_")
}

/// What a comment says about a parameter: from `name:` or `name, other:` to the next such label.
fn about<'a>(comment: &'a str, name: &str, all: &[&str]) -> Option<&'a str> {
    let mut labels: Vec<(usize, usize)> = Vec::new();
    for (at, _) in comment.match_indices(": ") {
        let mut start = at;
        // Back over a list of names.
        while let Some(word) = comment.get(..start).and_then(|text| text.rsplit([' ']).next()) {
            if !all.contains(&word.trim_end_matches(',')) {
                break;
            }
            start -= word.len();
            match comment.get(..start) {
                Some(before) if before.ends_with(", ") => start -= 1,
                _ => break,
            }
        }
        if start < at {
            labels.push((start, at));
        }
    }
    let which = labels.iter().rposition(|&(start, end)| words(&comment[start..end]).any(|word| word == name))?;
    let end = labels.get(which + 1).map_or(comment.len(), |&(start, _)| start);
    comment.get(labels[which].1..end)
}

#[test]
fn rule_15_ownership_is_said_beside_every_pointer() {
    let mut missing = Vec::new();
    for item in items() {
        if let Some((function, list)) = item.signature() {
            let names: Vec<&str> = list.iter().filter_map(|parameter| words(parameter).last()).collect();
            for (parameter, name) in list.iter().zip(&names).filter(|(parameter, _)| parameter.contains('*')) {
                let said = about(&item.comment, name, &names).unwrap_or_default();
                let given = parameter.contains("**") && !said.contains("owned by the caller, release with redmux_");
                if !says_whose(said) || given {
                    missing.push(format!("{function}: {name}: {said}"));
                }
            }
            let result = item.code.split('(').next().unwrap_or_default();
            let borrowed = result.contains('*') || result.contains("redmux_bytes ");
            if borrowed && !item.is_type() && !item.comment.contains("borrowed until ") {
                missing.push(format!("{function}: its result"));
            }
        } else if item.code.contains('{') {
            let mut comment = String::new();
            for line in item.code.lines() {
                if line.starts_with("/*") || line.starts_with('*') {
                    comment.push_str(line.trim_matches(['/', '*', ' ']));
                    comment.push(' ');
                } else {
                    if line.contains('*') && !says_whose(&comment) {
                        missing.push(format!("{line} of {}", item.code.lines().last().unwrap_or_default()));
                    }
                    comment.clear();
                }
            }
        }
    }
    assert!(missing.is_empty(), "no fixed phrase says whose it is:\n{}", missing.join("\n"));
}

#[test]
fn rule_38_every_item_says_what_it_is_and_on_which_thread() {
    for item in items() {
        let first = item.code.lines().next().unwrap_or_default();
        assert!(item.comment.trim().len() > 4, "no comment: {first}");
        if item.signature().is_some() && !item.is_type() {
            let always = ["redmux_status_", "redmux_version_"].iter().any(|name| item.code.contains(name));
            assert!(always || item.comment.to_lowercase().contains("thread"), "nothing about threads: {first}");
        }
    }
}

#[test]
fn rule_37_the_exports_are_those_of_the_list_and_of_the_header() {
    let listed: BTreeSet<String> = read("include/redmux.exports").lines().map(str::to_owned).collect();
    let output = succeed(Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(library()));
    let text = String::from_utf8(output.stdout).unwrap();
    let exported: BTreeSet<String> =
        text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert_eq!(exported, listed, "nm -D, and include/redmux.exports");
    let declared: BTreeSet<String> = functions().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(declared, listed, "include/redmux.h, and include/redmux.exports");
}

#[test]
fn rule_36_the_soname_carries_the_minor_version() {
    let output = succeed(Command::new("readelf").arg("-d").arg(library()));
    let text = String::from_utf8(output.stdout).unwrap();
    let soname = concat!("[libredmux.so.0.", env!("CARGO_PKG_VERSION_MINOR"), "]");
    assert!(text.lines().any(|line| line.contains("SONAME") && line.contains(soname)), "{text}");
    assert!(text.contains("NODELETE"), "{text}");
}

/// Whether a compiler is there and knows the option.
fn knows(compiler: &str, option: &str) -> bool {
    let mut command = Command::new(compiler);
    command.args([option, "-fsyntax-only", "-x", "c", "/dev/null"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn rule_38_the_header_compiles_alone_and_twice_in_every_language() {
    let include = "#include <redmux.h>\n";
    let twice = include.repeat(2);
    let use_it = format!("{include}int main(void) {{ redmux_block b = {{0}}; redmux_block_release(&b); return 0; }}\n");
    let mut compiled = 0;
    for compiler in ["cc", "gcc", "clang", "c++", "g++", "clang++"] {
        for (language, standard) in
            [("c", "-std=c99"), ("c", "-std=c11"), ("c", "-std=c23"), ("c", "-std=c2x"), ("c++", "-std=c++17")]
        {
            if compiler.ends_with("++") != (language == "c++") {
                continue;
            }
            // C23 only where the compiler has it; all others must be there, if the compiler is.
            if !knows(compiler, if standard.starts_with("-std=c2") { standard } else { "-w" }) {
                continue;
            }
            for (name, text) in [("alone", include), ("twice", &twice), ("used", &use_it)] {
                let extension = if language == "c" { "c" } else { "cpp" };
                let file = link_dir().join(format!("{compiler}{standard}-{name}.{extension}"));
                fs::write(&file, if language == "c" { text.to_owned() } else { text.replace("{0}", "{}") }).unwrap();
                let mut command = Command::new(compiler);
                command.args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-x", language]);
                succeed(command.arg("-I").arg(root().join("include")).arg(file));
                compiled += 1;
            }
        }
    }
    assert!(compiled >= 9, "a C and a C++ compiler are there");
}

/// Where the pinned cbindgen is, if it was installed; without it the check is made by `make header`.
#[test]
fn rule_38_the_header_is_what_cbindgen_writes() {
    let own = built().parent().unwrap().parent().unwrap().join("tools/bin/cbindgen");
    let tool = std::env::var_os("CBINDGEN").map_or(own, PathBuf::from);
    if !tool.exists() {
        eprintln!("skipped: {} is not installed", tool.display());
        return;
    }
    let file = link_dir().join("redmux.h");
    let mut command = Command::new(tool);
    command.current_dir(root()).args(["-q", "--config", "cbindgen.toml", "--crate", "redmux", "--output"]).arg(&file);
    succeed(&mut command);
    let fresh = fs::read_to_string(&file).unwrap();
    assert!(fresh == read("include/redmux.h"), "src/ffi and include/redmux.h differ: run `make header`");
}
