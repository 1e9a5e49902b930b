//! Rows M1 to M5 of what users of RedisMPX must find: connecting, sharing, adding and removing, clearing, closing.

#[path = "support/mod.rs"]
mod support;
#[path = "support/tap.rs"]
mod tap;

use redmux::inbox::Kind;
use support::Server;
use tap::{Tap, add, open, remove, subscription};

#[test]
fn m03_two_subscriptions_of_a_channel_are_one_for_the_server_and_the_last_lets_it_go() {
    let server = Server::start();
    let client = open(&server.url(), &[]);
    let mut tap = Tap::on(&client);
    let (first, second) = (subscription(&client, &tap, 1), subscription(&client, &tap, 2));
    add(&client, first, &[b"x"]);
    add(&client, second, &[b"x"]);
    let mut redis = server.conn();
    assert_eq!(redis.numsub("x"), 1);
    remove(&client, first, &[b"x"]);
    assert_eq!((redis.numsub("x"), redis.publish(b"x", b"still here")), (1, 1));
    let message = tap.wait(Kind::Message);
    assert_eq!((message.token, message.source, message.payload().as_str()), (2, second, "still here"));
    client.hub().close_source(second).unwrap();
    assert_eq!(tap.wait(Kind::Closed).token, 2);
    support::eventually("nobody is subscribed to x", support::PATIENCE, || redis.numsub("x") == 0);
}
