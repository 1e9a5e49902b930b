//! Rows X3, B2 and B4 in C, and what README.md says: its program compiles and runs, its examples print what stands there.
//!
//! A `console` block of the README is played line by line: `$ ./program` starts an example, `$ redis-cli` asks the
//! private server, `$ kill` sends SIGTERM, `> text` is typed, and every other line must be printed next.

#[path = "support/mod.rs"]
mod support;

use redmux::options::Options;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;
use support::{PATIENCE, Server, TempDir, Value, process, temp_dir};

const README: &str = include_str!("../README.md");

/// The blocks of the README in a language, without their fences.
fn blocks(language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = README.lines();
    while let Some(of) = lines.by_ref().find_map(|line| line.strip_prefix("```")) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if of == language {
            blocks.push(block.join("\n") + "\n");
        }
    }
    blocks
}

/// The console block that runs an example, from the line that starts it.
fn transcript(example: &str) -> Vec<String> {
    let start = |line: &&str| *line == format!("$ ./{example}") || line.starts_with(&format!("$ ./{example} "));
    let found = blocks("console").into_iter().find(|block| block.lines().any(|line| start(&line)));
    let block = found.unwrap_or_else(|| panic!("the README does not run ./{example}"));
    block.lines().skip_while(|line| !start(line)).map(str::to_owned).collect()
}

/// The words of a line as a shell would see them; single quotes are all that the README uses.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// A directory with the shared library that cargo built for this test, under the names that a linker and a loader look for.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let exe = std::env::current_exe().expect("the test knows its own path");
        let built = exe.parent().expect("the test lies in a directory").join("libredmux.so");
        assert!(built.exists(), "{} is missing; cargo builds it with every test", built.display());
        // Shared by all tests, and so not removed with one of them: it lies in cargo's own directory.
        let dir = exe.with_extension("lib");
        std::fs::create_dir_all(&dir).expect("a directory beside the test");
        let soname = format!("libredmux.so.0.{}", env!("CARGO_PKG_VERSION_MINOR"));
        for name in ["libredmux.so", &soname] {
            let linked = std::os::unix::fs::symlink(&built, dir.join(name));
            assert!(linked.is_ok() || dir.join(name).exists(), "cannot link to {}: {linked:?}", built.display());
        }
        dir
    })
}

/// Compiles a C program as strictly as its users may.
#[track_caller]
fn compile(source: &Path, program: &Path) {
    let lib = library();
    let cc = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut command = Command::new(&cc);
    command.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1"]);
    command.arg("-I").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"));
    command.arg(source).arg("-o").arg(program).arg("-L").arg(lib).arg("-lredmux");
    command.arg(format!("-Wl,-rpath,{}", lib.display()));
    let output = command.output().unwrap_or_else(|error| panic!("tests need a C compiler ({cc}): {error}"));
    assert!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
}

/// A running C program.
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    _dir: TempDir,
}

impl Program {
    /// Compiles `source` and runs it with the server in its environment.
    #[track_caller]
    fn run(source: &Path, args: &[String], server: &Server) -> Program {
        let dir = temp_dir("example");
        let program = dir.join("program");
        compile(source, &program);
        let mut command = Command::new(&program);
        command.args(args).env("REDIS_URL", server.url());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = process::spawn(command).expect("what was compiled can be run");
        let stdout = child.stdout.take().expect("its output is a pipe");
        let stdin = child.stdin.take();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Program { child, stdin, lines, _dir: dir }
    }

    /// Runs an example of examples/c.
    #[track_caller]
    fn example(name: &str, args: &[String], server: &Server) -> Program {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/c/{name}.c"));
        Program::run(&source, args, server)
    }

    /// The next line that it prints.
    #[track_caller]
    fn line(&self, wanted: &str) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("it did not print {wanted:?} within {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("it ended before it printed {wanted:?}"),
        }
    }

    #[track_caller]
    fn type_in(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        writeln!(stdin, "{line}").expect("it reads its input");
    }

    /// Waits until it has ended, with its input closed and nothing more printed.
    #[track_caller]
    fn end(mut self) -> ExitStatus {
        self.stdin = None;
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is a child of this process") {
                break status;
            }
            assert!(started.elapsed() < PATIENCE, "it has not ended within {PATIENCE:?}");
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        let rest: Vec<String> = self.lines.iter().collect();
        assert_eq!(rest, Vec::<String>::new(), "it printed more than it should");
        status
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A test that failed leaves it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As redis-cli shows it to a person.
fn shown(value: &Value) -> String {
    match value {
        Value::Int(number) => format!("(integer) {number}"),
        other => other.text(),
    }
}

/// Plays a transcript of the README with an example, which must end well.
#[track_caller]
fn play(example: &str) {
    let server = Server::start();
    let mut conn = server.conn();
    let mut program = None;
    let mut replies: Vec<String> = Vec::new();
    for line in transcript(example) {
        if let Some(typed) = line.strip_prefix("> ") {
            program.as_mut().map(|program: &mut Program| program.type_in(typed)).expect("it runs");
        } else if let Some(command) = line.strip_prefix("$ ") {
            let words = words(command);
            match words[0].as_str() {
                "redis-cli" => replies.push(shown(&conn.expect(&words[1..]))),
                "kill" => {
                    process::send_signal(&program.as_ref().expect("it runs").child, libc::SIGTERM);
                }
                _ => {
                    // The README's server is at localhost.
                    let url = |word: &String| word.replace("redis://localhost", &server.url());
                    let args: Vec<String> = words[1..].iter().map(url).collect();
                    program = Some(Program::example(example, &args, &server));
                }
            }
        } else {
            let program = program.as_ref().expect("it runs");
            let said = if replies.is_empty() { program.line(&line) } else { replies.remove(0) };
            let said = said.replace(&format!("127.0.0.1:{}", server.port()), "localhost:6379");
            assert_eq!(said, line, "{example} prints something else than the README says");
        }
    }
    let status = program.expect("the transcript starts it").end();
    assert!(status.success(), "{example}: {status}");
}

#[test]
fn x3_the_program_of_the_readme_compiles_and_prints_what_it_says() {
    let server = Server::start();
    let programs = blocks("c");
    assert_eq!(programs.len(), 1, "each C program of the README is run here; this test knows of one");
    let dir = temp_dir("readme");
    let source = dir.join("simple.c");
    std::fs::write(&source, &programs[0]).unwrap();
    let program = Program::run(&source, &[], &server);
    for line in &transcript("simple")[1..] {
        assert_eq!(program.line(line), *line);
    }
    assert!(program.end().success());
}

#[test]
fn x3_the_program_of_the_header_compiles_and_prints_messages() {
    let server = Server::start();
    let header = include_str!("../include/redmux.h");
    // It stands in the comment at the top, indented, and has no frame of its own.
    let code: Vec<&str> = header.lines().take_while(|line| *line != " */").collect();
    let body: Vec<&str> = code.iter().filter_map(|line| line.strip_prefix(" *     ")).collect();
    let body = body.join("\n").replace("redis://localhost", &server.url());
    assert!(body.contains("redmux_client_open") && body.contains("redmux_client_close"), "{body}");
    let dir = temp_dir("header");
    let source = dir.join("news.c");
    let frame =
        format!("#include <redmux.h>\n#include <stdio.h>\nint main(void)\n{{\nsetbuf(stdout, NULL);\n{body}\n}}\n");
    std::fs::write(&source, frame).unwrap();
    let program = Program::run(&source, &[], &server);
    let mut conn = server.conn();
    support::eventually("it subscribes", PATIENCE, || conn.numsub("news") == 1);
    conn.publish(b"news", b"first");
    conn.publish(b"news", b"second");
    assert_eq!((program.line("first").as_str(), program.line("second").as_str()), ("first", "second"));
}

#[test]
fn x3_simple_prints_what_the_readme_says() {
    play("simple");
}

#[test]
fn x3_chat_prints_what_the_readme_says() {
    play("chat");
}

#[test]
fn x3_pattern_prints_what_the_readme_says() {
    play("pattern");
}

#[test]
fn x3_promises_prints_what_the_readme_says() {
    play("promises");
}

#[test]
fn x3_poll_prints_what_the_readme_says() {
    play("poll");
}

#[test]
fn x3_broker_prints_what_the_readme_says() {
    play("broker");
}

#[test]
fn x3_request_prints_what_the_readme_says() {
    let server = Server::start();
    let serving: Vec<String> = transcript("request");
    let program = Program::example("request", &words(&serving[0])[2..], &server);
    assert_eq!(program.line(&serving[1]), serving[1]);
    let block = blocks("console").into_iter().find(|block| block.starts_with("$ ./request ask\n")).expect("ask");
    let asker = Program::example("request", &["ask".into()], &server);
    for line in block.lines().skip(1) {
        assert_eq!(asker.line(line), line);
    }
    assert_eq!(program.line(&serving[2]), serving[2]);
}

#[test]
fn r1_total_count_prints_what_the_readme_says() {
    play("total_count");
}

#[test]
fn r1_total_count_knows_what_all_instances_count() {
    let server = Server::start();
    let [mut one, two] = ["5", "7"].map(|count| {
        let program = Program::example("total_count", &[count.into()], &server);
        assert_eq!(program.line("counting"), format!("counting {count}"));
        program
    });
    one.type_in("how many?");
    assert_eq!(one.line("the total"), "total: 12 of 2 instances");
    assert!(two.end().success());
    one.type_in("and now?");
    assert_eq!(one.line("the total"), "total: 5 of 1 instance");
    assert!(one.end().success());
}

#[test]
fn r17_resource_answers_for_what_it_holds_until_its_input_is_closed() {
    let server = Server::start();
    let said = transcript("resource");
    let mut program = Program::example("resource", &words(&said[0])[2..], &server);
    assert_eq!(program.line(&said[1]), said[1]);
    let asker = Program::example("request", &["ask".into()], &server);
    assert!(asker.line("an end").starts_with("0 answers: nobody"), "nobody serves hello");
    program.stdin = None;
    let status = program.child.wait().expect("it ends");
    assert!(status.success(), "{status}");
}

#[test]
fn x3_every_example_has_its_place_in_the_readme() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/c");
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(transcript(&name).len() > 1, "the README says nothing of what {name} prints");
    }
}

#[test]
fn b2_broker_hears_seven_messages_on_five_channels_and_ends() {
    let server = Server::start();
    let program = Program::example("broker", &[], &server);
    let listening = "listening on 5 channels";
    assert_eq!(program.line(listening), listening);
    let mut conn = server.conn();
    let sent: Vec<(String, String)> = ["orders", "users", "stock", "prices", "alerts", "orders", "users"]
        .into_iter()
        .enumerate()
        .map(|(index, channel)| (channel.to_owned(), format!("{{\"id\":{index}}}")))
        .collect();
    for (channel, json) in &sent {
        assert_eq!(
            conn.publish(channel.as_bytes(), json.as_bytes()),
            1,
            "it is subscribed to {channel} since it said so"
        );
    }
    for (channel, json) in &sent {
        let wanted = format!("{channel}: {json}");
        assert_eq!(program.line(&wanted), wanted);
    }
    assert!(program.end().success());
}

#[test]
fn b4_broker_ends_well_at_sigterm() {
    let server = Server::start();
    let program = Program::example("broker", &[], &server);
    let listening = "listening on 5 channels";
    assert_eq!(program.line(listening), listening);
    process::send_signal(&program.child, libc::SIGTERM);
    // `end` waits ten times the second that is promised.
    let status = program.end();
    assert!(status.success(), "{status}");
    support::eventually("nobody is subscribed any more", PATIENCE, || server.conn().numsub("orders") == 0);
}

#[test]
fn the_urls_of_the_readme_can_be_read() {
    let urls: Vec<String> = blocks("").concat().lines().map(str::to_owned).collect();
    assert!(urls.len() >= 3 && urls.iter().all(|url| url.starts_with("redis")), "{urls:?}");
    for url in urls.iter().filter(|url| cfg!(feature = "tls") || !url.starts_with("rediss")) {
        Options::new().set_url(url).unwrap_or_else(|error| panic!("{url}: {error:?}"));
    }
}

#[test]
fn what_the_readme_links_to_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let links: Vec<&str> = README.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 8, "{links:?}");
    for link in links {
        assert!(root.join(link).exists(), "README.md links to {link}, which is not there");
    }
}
