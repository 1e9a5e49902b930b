//! The tests' own tools, tested: a fault that they invent, or fail to make, would be looked for in the library.

#[path = "support/mod.rs"]
mod support;

#[path = "support/selftest/fake.rs"]
mod fake;
#[path = "support/selftest/program.rs"]
mod program;
#[path = "support/selftest/proxy.rs"]
mod proxy;
#[path = "support/selftest/server.rs"]
mod server;

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use support::{PATIENCE, Value, eventually, temp_dir};

fn pong() -> Value {
    Value::Simple("PONG".into())
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn waiting_in_vain_ends_with_a_sentence_and_a_directory_ends_with_its_owner() {
    let vain = std::thread::spawn(|| eventually("pigs fly", Duration::from_millis(5), || false)).join();
    assert!(vain.unwrap_err().downcast::<String>().unwrap().contains("did not happen: pigs fly"));
    let dir = temp_dir("selftest");
    std::fs::write(dir.join("file"), "x").unwrap();
    let path = dir.path().to_owned();
    drop(dir);
    assert!(!path.exists());
}
