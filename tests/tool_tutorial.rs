//! The tutorial and the pages beside it: every command is typed into its terminal, and prints what stands there.
//!
//! A `console` block begins with its terminal. `$ command` is typed there, `^C` interrupts what runs there, and every
//! other line must be the next one printed there; `…` stands for anything, and times and ports are all alike.
#![cfg(feature = "tool")]

#[path = "support/mod.rs"]
mod support;
mod tool_run;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use support::{PATIENCE, Server, process};
use tool_run::{Running, TOOL, clean, run, tool};

const TUTORIAL: &str = include_str!("../docs/tutorial.md");
const NAMES: &str = include_str!("../docs/from-redismpx.md");
const BUFFER_NAMES: &str = include_str!("../docs/from-messaging-buffer.md");
const PAGE: &str = include_str!("../docs/tool.md");
const WIRE: &str = include_str!("../docs/wire.md");

fn blocks(page: &'static str) -> Vec<Vec<&'static str>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while lines.by_ref().any(|line| line == "```console") {
        blocks.push(lines.by_ref().take_while(|line| *line != "```").collect());
    }
    blocks
}

/// A line without what differs from run to run: times, ports of clients, and how far columns are apart.
fn alike(line: &str, port: u16) -> String {
    let line = line
        .replace(&format!("127.0.0.1:{port}"), "localhost:6379")
        .replace("localhost:6379 (localhost:6379)", "localhost:6379");
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let shape: String = word.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
        words.push(match shape.as_str() {
            "99:99:99.999" => "TIME".into(),
            _ if word.strip_prefix("127.0.0.1:").is_some_and(|port| port.parse::<u16>().is_ok()) => "CLIENT".into(),
            _ => word.into(),
        });
    }
    words.join(" ")
}

/// Whether a printed line is the one of the page.
fn fits(page: &str, printed: &str) -> bool {
    let mut rest = printed;
    let parts: Vec<&str> = page.split('…').collect();
    for (at, part) in parts.iter().enumerate() {
        let found = if at == 0 { rest.starts_with(part).then_some(0) } else { rest.find(part) };
        let Some(found) = found else { return false };
        rest = &rest[found + part.len()..];
    }
    rest.is_empty() || page.ends_with('…')
}

/// Types a command into a shell with the tool on its PATH. Its notes and its results are on one terminal.
fn type_in(command: &str, server: &Server) -> Running {
    let dir = Path::new(TOOL).parent().unwrap();
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default());
    let line = command.replace("redis-cli ", &format!("redis-cli --no-raw -p {} ", server.port()));
    // A signal is for the tool, not for a shell around it; and what is killed at the end must not be that shell alone.
    let unquoted: String = line.split('\'').step_by(2).collect();
    let exec = if unquoted.contains(['|', ';', '&']) { "" } else { "exec " };
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec 2>&1; {exec}{line}")]).env("PATH", path);
    clean(&mut shell, &server.url());
    Running::start(shell)
}

/// Types every command of a page, compares what comes, and says how many there were.
fn type_page(page: &'static str) -> usize {
    let server = Server::start();
    let mut terminals: BTreeMap<&str, Running> = BTreeMap::new();
    let mut commands = 0;
    for block in blocks(page) {
        let (terminal, lines) = block.split_first().expect("a block is not empty");
        assert!(terminal.starts_with("# terminal "), "a block begins with its terminal, not with {terminal:?}");
        for line in lines {
            if let Some(command) = line.strip_prefix("$ ") {
                if let Some(mut before) = terminals.remove(terminal) {
                    before.end(PATIENCE);
                    assert_eq!(before.rest(true), "", "{terminal} printed more before {command:?}");
                }
                terminals.insert(terminal, type_in(command, &server));
                commands += 1;
                continue;
            }
            let running = terminals.get(terminal).unwrap_or_else(|| panic!("nothing runs in {terminal}"));
            if *line == "^C" {
                process::send_signal(&running.child, libc::SIGINT);
                continue;
            }
            let (page, printed) = (alike(line, server.port()), alike(&running.line(), server.port()));
            assert!(fits(&page, &printed), "{terminal} printed\n  {printed}\ninstead of\n  {page}");
        }
    }
    commands
}

#[test]
fn every_command_of_the_tutorial_prints_what_stands_there() {
    let commands = type_page(TUTORIAL);
    assert!(commands >= 20, "{commands} commands were found; is the tutorial still made of console blocks?");
}

#[test]
fn the_wire_can_be_spoken_by_hand_as_its_page_shows() {
    let commands = type_page(WIRE);
    assert_eq!(commands, 5, "is the page still made of console blocks?");
}

#[test]
fn the_matching_of_this_test_tells_lines_apart() {
    assert!(fits("a … c", "a b c") && fits("a …", "a b") && fits("a", "a"));
    assert!(!fits("a", "a b") && !fits("a … d", "a b c") && !fits("b …", "a b"));
    assert_eq!(alike("10:46:12.003  127.0.0.1:50312   X", 1), "TIME CLIENT X");
}

#[test]
fn every_name_of_the_c_abi_on_the_pages_for_who_comes_from_elsewhere_exists() {
    let header = include_str!("../include/redmux.h");
    let words = |text: &'static str| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let known: BTreeSet<&str> = words(header).collect();
    for (page, least) in [(NAMES, 25), (BUFFER_NAMES, 8)] {
        let named: BTreeSet<&str> = words(page).filter(|word| word.to_lowercase().starts_with("redmux_")).collect();
        assert!(named.len() > least, "{named:?}");
        for name in named {
            assert!(known.contains(name), "{name} is not in redmux.h");
        }
    }
}

#[test]
fn the_page_of_the_tool_names_every_verb_and_every_exit_code_of_its_help() {
    let help = run(tool("", &["--help"])).stdout;
    let part =
        |from: &str, to: &str| help.split(from).nth(1).and_then(|rest| rest.split(to).next()).expect(from).to_owned();
    let verbs = part("Commands:\n", "\n\n");
    let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    // A verb stands two columns in; what its line continues with stands further.
    for verb in verbs.lines().filter(|line| !line.starts_with("   ")).map(first) {
        assert!(PAGE.contains(&format!("| `{verb}` |")), "docs/tool.md does not tell of {verb}");
        assert_eq!(run(tool("", &[&verb, "--help"])).code, 0);
    }
    // Two spaces stand behind a code, or behind several.
    for code in part("Exit codes:\n", "\n\n").lines().filter_map(|line| line.trim().split("  ").next()) {
        assert!(PAGE.contains(&format!("| {code} |")), "docs/tool.md does not tell of exit code {code}");
    }
}

#[test]
fn what_the_pages_link_to_is_there() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for page in [TUTORIAL, NAMES, BUFFER_NAMES, PAGE, WIRE] {
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(docs.join(link).exists(), "{link} is not there");
        }
    }
}
