//! The tests' own tools, tested.
#[path = "support/mod.rs"]
mod support;
use support::*;
#[test]
fn a() {
    let s = Server::builder().tls(true).password("x").start();
    assert_eq!(s.conn().command(&["PING"]), Value::Simple("PONG".into()));
    s.freeze();
    s.thaw();
    s.restart();
    s.kill();
    let t = Server::start();
    let q = Server::builder().sentinel_of("m", t.port()).start();
    println!("{:?}", q.conn().command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m"]));
    println!("{}", q.log());
}
