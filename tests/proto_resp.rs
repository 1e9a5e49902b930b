//! What the RESP3 reader and the command writer promise, one sentence a test.

use redmux::proto::resp::{
    Change, Frame, Kind, Limits, ProtocolError, Reply, Step, argument, begin, command, encoded_len, fields, next,
    values,
};

const LIMITS: Limits = Limits { max_payload: 64, max_name: 16 };

/// The one frame that `bytes` are.
fn whole(bytes: &[u8]) -> Frame<'_> {
    match next(bytes, &LIMITS) {
        Ok(Step::Frame { used, frame }) if used == bytes.len() => frame,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn reply(bytes: &[u8]) -> Reply<'_> {
    match whole(bytes) {
        Frame::Reply(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn error(bytes: &[u8]) -> ProtocolError {
    match next(bytes, &LIMITS) {
        Err(error) => error,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn more(bytes: &[u8]) -> usize {
    match next(bytes, &LIMITS) {
        Ok(Step::More { at_least }) => at_least,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

/// `before`, then `byte` so many times, then `after`.
fn long(before: &str, byte: u8, times: usize, after: &str) -> Vec<u8> {
    let mut bytes = before.as_bytes().to_vec();
    bytes.resize(bytes.len() + times, byte);
    bytes.extend_from_slice(after.as_bytes());
    bytes
}

#[test]
fn every_kind_of_message_is_read() {
    assert_eq!(
        whole(b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n"),
        Frame::Message { channel: b"news", payload: b"hello" }
    );
    assert_eq!(
        whole(b">4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$5\r\nhello\r\n"),
        Frame::PatternMessage { pattern: b"n*", channel: b"news", payload: b"hello" }
    );
    assert_eq!(
        whole(b">3\r\n$8\r\nsmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n"),
        Frame::ShardMessage { channel: b"news", payload: b"hello" }
    );
}

#[test]
fn names_and_payloads_may_be_empty_and_hold_any_byte() {
    assert_eq!(whole(b">3\r\n$7\r\nmessage\r\n$0\r\n\r\n$0\r\n\r\n"), Frame::Message { channel: b"", payload: b"" });
    assert_eq!(
        whole(b">3\r\n$7\r\nmessage\r\n$4\r\n\r\n$1\r\n$3\r\n\xff\0\n\r\n"),
        Frame::Message { channel: b"\r\n$1", payload: b"\xff\0\n" }
    );
}

#[test]
fn a_message_in_an_unusual_spelling_is_the_same_message() {
    let message = Frame::Message { channel: b"news", payload: b"hi" };
    for spelling in [
        &b">3\r\n+message\r\n$4\r\nnews\r\n$2\r\nhi\r\n"[..],
        b">0000000003\r\n$7\r\nmessage\r\n$0000000004\r\nnews\r\n$000000002\r\nhi\r\n",
        b"|0\r\n>3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n",
        b">3\r\n|1\r\n+a\r\n:1\r\n$7\r\nmessage\r\n|0\r\n$4\r\nnews\r\n|0\r\n$2\r\nhi\r\n",
    ] {
        assert_eq!(whole(spelling), message);
    }
}

#[test]
fn every_kind_of_acknowledgement_is_read() {
    use Change::{Subscribed, Unsubscribed};
    use Kind::{Channel, Pattern, Shard};
    for (word, change, kind) in [
        ("subscribe", Subscribed, Channel),
        ("psubscribe", Subscribed, Pattern),
        ("ssubscribe", Subscribed, Shard),
        ("unsubscribe", Unsubscribed, Channel),
        ("punsubscribe", Unsubscribed, Pattern),
        ("sunsubscribe", Unsubscribed, Shard),
    ] {
        let named = format!(">3\r\n${}\r\n{word}\r\n$4\r\nnews\r\n:7\r\n", word.len());
        assert_eq!(whole(named.as_bytes()), Frame::Change { change, kind, name: Some(b"news"), count: 7 });
        let null = format!(">3\r\n${}\r\n{word}\r\n_\r\n:0\r\n", word.len());
        assert_eq!(whole(null.as_bytes()), Frame::Change { change, kind, name: None, count: 0 });
    }
}

#[test]
fn every_kind_of_reply_is_read() {
    assert_eq!(reply(b"+OK\r\n"), Reply::Status(b"OK"));
    assert_eq!(reply(b"+\r\n"), Reply::Status(b""));
    assert_eq!(reply(b"-ERR no\r\n"), Reply::Error(b"ERR no"));
    assert_eq!(reply(b"!7\r\nERR\r\nno\r\n"), Reply::Error(b"ERR\r\nno"));
    assert_eq!(reply(b":-12\r\n"), Reply::Integer(-12));
    assert_eq!(reply(b"$4\r\nPONG\r\n"), Reply::Bulk(b"PONG"));
    assert_eq!(reply(b"_\r\n"), Reply::Null);
    for other in [
        &b"*0\r\n"[..],
        b"*2\r\n:1\r\n*1\r\n_\r\n",
        b"%1\r\n+a\r\n:1\r\n",
        b"~2\r\n+a\r\n+b\r\n",
        b",-1.5e3\r\n",
        b",inf\r\n",
        b"#t\r\n",
        b"(-123456789012345678901234567890\r\n",
        b"=6\r\ntxt:hi\r\n",
    ] {
        assert_eq!(reply(other), Reply::Other(other));
    }
}

#[test]
fn integers_reach_both_ends_of_64_bits_and_not_beyond() {
    assert_eq!(reply(b":9223372036854775807\r\n"), Reply::Integer(i64::MAX));
    assert_eq!(reply(b":-9223372036854775808\r\n"), Reply::Integer(i64::MIN));
    assert_eq!(reply(b":+5\r\n"), Reply::Integer(5));
    for bad in [&b":9223372036854775808\r\n"[..], b":-9223372036854775809\r\n", b":00000000000000000001\r\n"] {
        error(bad);
    }
    for bad in [&b":\r\n"[..], b":-\r\n", b":--1\r\n", b":1-\r\n", b": 1\r\n", b":1.0\r\n", b":1\n"] {
        error(bad);
    }
}

#[test]
fn an_unknown_push_is_skipped_whole() {
    assert_eq!(whole(b">2\r\n$10\r\ninvalidate\r\n*2\r\n+a\r\n%1\r\n+b\r\n_\r\n"), Frame::OtherPush);
    assert_eq!(whole(b">1\r\n+hello\r\n"), Frame::OtherPush);
}

#[test]
fn an_invalidation_that_poses_as_a_message_is_skipped() {
    let bytes = b">3\r\n$7\r\nmessage\r\n$11\r\n__r__:inval\r\n*1\r\n$1\r\nk\r\n";
    assert_eq!(whole(bytes), Frame::OtherPush);
    assert_eq!(whole(b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n_\r\n"), Frame::OtherPush);
}

#[test]
fn an_attribute_is_no_part_of_the_value_behind_it() {
    assert_eq!(reply(b"|1\r\n+ttl\r\n:5\r\n+OK\r\n"), Reply::Status(b"OK"));
    assert_eq!(
        reply(b"|1\r\n+ttl\r\n:5\r\n|0\r\n*1\r\n|1\r\n_\r\n_\r\n+a\r\n"),
        Reply::Other(b"*1\r\n|1\r\n_\r\n_\r\n+a\r\n")
    );
    assert_eq!(more(b"|1\r\n+ttl\r\n:5\r\n"), 14 + 1);
}

#[test]
fn a_push_of_the_wrong_shape_is_an_error() {
    for bad in [
        &b">0\r\n"[..],
        b">1\r\n:5\r\n",
        b">2\r\n$7\r\nmessage\r\n$1\r\na\r\n",
        b">4\r\n$7\r\nmessage\r\n$1\r\na\r\n",
        b">3\r\n$8\r\npmessage\r\n$1\r\na\r\n",
        b">2\r\n$9\r\nsubscribe\r\n$1\r\na\r\n",
        b">3\r\n$7\r\nmessage\r\n+a\r\n",
        b">3\r\n$7\r\nmessage\r\n_\r\n",
        b">3\r\n$9\r\nsubscribe\r\n:1\r\n",
        b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n+1\r\n",
        b">3\r\n$7\r\nmessage\r\n>",
        b"*1\r\n>",
    ] {
        error(bad);
    }
}

#[test]
fn a_length_is_nothing_but_digits() {
    for bad in
        ["-1", "+1", " 1", "1 ", "", "x", "1x", "?", "12345678901", "99999999999999999999", "1\n", "1\rx", "0x1", "\r1"]
    {
        for mark in ["$", "*", "%", "~", "|", ">", "!", "=", ">3\r\n$7\r\nmessage\r\n$"] {
            let bytes = format!("{mark}{bad}\r\n");
            assert!(next(bytes.as_bytes(), &LIMITS).is_err(), "{bytes:?}");
        }
    }
}

#[test]
fn a_string_must_end_where_its_length_says() {
    for bad in
        [&b"$2\r\nabc\r\n"[..], b"$2\r\nab\n\r", b"$2\r\nab\rx", b">3\r\n$7\r\nmessage\r\n$1\r\nab\r\n$0\r\n\r\n"]
    {
        error(bad);
    }
}

#[test]
fn a_line_holds_no_bare_carriage_return_or_line_feed() {
    for bad in [&b"+a\nb\r\n"[..], b"+a\rb\r\n", b"-a\n", b"-\n\r\n", b"+a\r\r\n", b"_a\r\n", b"#\n"] {
        error(bad);
    }
}

#[test]
fn an_ill_formed_scalar_is_an_error() {
    for bad in [
        &b"#x\r\n"[..],
        b"#\r\n",
        b",\r\n",
        b",one\r\n",
        b"(\r\n",
        b"(-\r\n",
        b"(1x\r\n",
        b"=3\r\ntxt\r\n",
        b"=5\r\ntxt;a\r\n",
        b"HTTP/1.1 400\r\n",
        b"\r\n",
        b"\0",
    ] {
        error(bad);
    }
}

#[test]
fn a_name_over_the_limit_is_an_error_as_soon_as_its_length_is_known() {
    for push in [
        ">3\r\n$7\r\nmessage\r\n$17\r\n",
        ">3\r\n$8\r\nsmessage\r\n$17\r\n",
        ">4\r\n$8\r\npmessage\r\n$17\r\n",
        ">3\r\n$9\r\nsubscribe\r\n$17\r\n",
    ] {
        error(push.as_bytes());
        assert_eq!(more(push.replace("$17", "$16").as_bytes()), push.len() + 18);
    }
    // What a pattern matches may be longer: as long as a payload.
    let push = |len: usize| format!(">4\r\n$8\r\npmessage\r\n$1\r\na\r\n${len}\r\n");
    error(push(65).as_bytes());
    assert_eq!(more(push(64).as_bytes()), push(64).len() + 66);
}

#[test]
fn a_payload_over_the_limit_is_announced_before_it_comes() {
    let head = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$65\r\n";
    let expected = Step::Oversized { used: head.len(), skip: 67, pattern: None, channel: b"a", len: 65 };
    assert_eq!(next(head, &LIMITS), Ok(expected));
    assert_eq!(next(&[&head[..], &[b'x'; 65], b"\r\n"].concat(), &LIMITS), Ok(expected));

    let head = b">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$9999999999\r\n";
    let (skip, len) = (10_000_000_001, 9_999_999_999);
    let expected = Step::Oversized { used: head.len(), skip, pattern: Some(b"*"), channel: b"a", len };
    assert_eq!(next(head, &LIMITS), Ok(expected));
}

#[test]
fn a_payload_at_the_limit_is_asked_for_whole_as_soon_as_its_length_is_known() {
    let head = b">3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$64\r\n";
    assert_eq!(more(head), head.len() + 66);
    let full = [&head[..], &[b'x'; 64], b"\r\n"].concat();
    assert_eq!(more(&full[..full.len() - 1]), full.len());
    assert_eq!(whole(&full), Frame::ShardMessage { channel: b"a", payload: &[b'x'; 64] });
}

#[test]
fn payloads_with_lengths_of_any_number_of_digits_are_read() {
    let limits = Limits { max_payload: 1 << 20, max_name: 16 };
    for len in [0, 9, 10, 99, 100, 999, 1000, 9999, 10_000, 99_999, 100_000, 999_999, 1_000_000] {
        let payload = vec![b'7'; len];
        for zeros in ["", "0", "00", "000"] {
            let head = format!(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n${zeros}{len}\r\n");
            let bytes = [head.as_bytes(), &payload, b"\r\n"].concat();
            let frame = Frame::Message { channel: b"a", payload: &payload };
            assert_eq!(next(&bytes, &limits), Ok(Step::Frame { used: bytes.len(), frame }));
            let more = next(&bytes[..head.len()], &limits);
            assert_eq!(more, Ok(Step::More { at_least: bytes.len() }));
        }
    }
}

#[test]
fn unlimited_limits_do_not_overflow() {
    let limits = Limits { max_payload: usize::MAX, max_name: usize::MAX };
    let head = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$9999999999\r\n";
    match next(head, &limits) {
        Ok(Step::More { at_least }) => assert_eq!(at_least as u64, head.len() as u64 + 10_000_000_001),
        Ok(Step::Oversized { .. }) | Err(_) if usize::BITS < 64 => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_line_is_at_most_64_kib_long() {
    assert_eq!(reply(&long("+", b'a', 65_536, "\r\n")), Reply::Status(&[b'a'; 65_536]));
    assert_eq!(more(&long("+", b'a', 65_536, "")), 65_538);
    error(&long("+", b'a', 65_537, ""));
    error(&long("*1\r\n-", b'a', 65_537, "\r\n"));
}

#[test]
fn an_aggregate_has_at_most_1024_elements() {
    for (mark, most) in [("*", 1024), ("~", 1024), ("%", 512), ("|", 512), (">", 1024)] {
        more(format!("{mark}{most}\r\n").as_bytes());
        error(format!("{mark}{}\r\n", most + 1).as_bytes());
    }
    let full = format!("*1024\r\n{}", "_\r\n".repeat(1024));
    assert_eq!(reply(full.as_bytes()), Reply::Other(full.as_bytes()));
}

#[test]
fn aggregates_are_nested_at_most_8_deep() {
    let nested = |depth| format!("{}_\r\n", "*1\r\n".repeat(depth));
    whole(nested(8).as_bytes());
    error(nested(9).as_bytes());
    error("*1\r\n".repeat(1_000_000).as_bytes());
    error("|1\r\n".repeat(1_000_000).as_bytes());
    error(format!(">2\r\n+x\r\n{}", nested(8)).as_bytes());
}

#[test]
fn a_reply_is_at_most_1_mib_long_and_refused_early() {
    let head = "*2\r\n$524288\r\n";
    let first = long(head, b'a', 524_288, "\r\n");
    let second = |len: usize| [&first[..], format!("${len}\r\n").as_bytes()].concat();
    let room = (1 << 20) - first.len() - "$524000\r\n\r\n".len();
    assert_eq!(more(&second(room)), 1 << 20);
    error(&second(room + 1));
    error(b"$1048577\r\n");
    error(b"*1\r\n$9999999999\r\n");
}

#[test]
fn a_frame_has_a_bounded_number_of_values() {
    let inner = format!("*1000\r\n{}", "_\r\n".repeat(1000));
    let outer = |count: usize| format!("*{count}\r\n{}", inner.repeat(count));
    whole(outer(32).as_bytes());
    error(outer(33).as_bytes());
    error("|0\r\n".repeat(40_000).as_bytes());
}

#[test]
fn an_error_says_what_and_where() {
    let error = error(b"*2\r\n:1\r\n$-1\r\n");
    assert_eq!(error, ProtocolError { what: "a length is negative", at: 9 });
    assert_eq!(error.to_string(), "not valid RESP3: a length is negative (byte 9 of the frame)");
}

#[test]
fn the_answer_to_hello_is_read_as_fields() {
    let hello = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n\
        $2\r\nid\r\n:5\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n\
        $7\r\nmodules\r\n*1\r\n%1\r\n$4\r\nname\r\n$2\r\nbf\r\n";
    let Reply::Other(raw) = reply(hello) else { panic!() };
    let read: Vec<_> = fields(raw).collect();
    assert_eq!(
        read,
        [
            (&b"server"[..], Reply::Bulk(b"redis")),
            (b"version", Reply::Bulk(b"7.0.15")),
            (b"proto", Reply::Integer(3)),
            (b"id", Reply::Integer(5)),
            (b"mode", Reply::Bulk(b"standalone")),
            (b"role", Reply::Bulk(b"master")),
            (b"modules", Reply::Other(b"*1\r\n%1\r\n$4\r\nname\r\n$2\r\nbf\r\n")),
        ]
    );
    let (_, Reply::Other(modules)) = read[6] else { panic!() };
    let Some(Reply::Other(module)) = values(modules).next() else { panic!() };
    assert_eq!(fields(module).collect::<Vec<_>>(), [(&b"name"[..], Reply::Bulk(b"bf"))]);
}

#[test]
fn fields_of_an_array_are_pairs_and_of_anything_else_nothing() {
    assert_eq!(fields(b"*5\r\n+a\r\n:1\r\n:2\r\n:3\r\n+odd\r\n").collect::<Vec<_>>(), [(&b"a"[..], Reply::Integer(1))]);
    for nothing in [&b""[..], b"+a\r\n", b"*", b"*-1\r\n", b"*9\r\n", b"%1\r\n+a\r\n", b"*2\r\n+a\r\n?", b"#t\r\n"] {
        assert_eq!(fields(nothing).next(), None);
    }
}

#[test]
fn a_command_is_an_array_of_strings_of_exactly_the_announced_size() {
    let parts: [&[u8]; 3] = [b"PUBLISH", b"", &[b'\r'; 100]];
    let mut out = b"before".to_vec();
    command(&mut out, &parts);
    assert_eq!(out, long("before*3\r\n$7\r\nPUBLISH\r\n$0\r\n\r\n$100\r\n", b'\r', 100, "\r\n"));
    assert_eq!(out.len(), "before".len() + encoded_len(&parts));

    let mut pieces = b"before".to_vec();
    begin(&mut pieces, parts.len());
    parts.iter().for_each(|part| argument(&mut pieces, part));
    assert_eq!(pieces, out);

    let mut empty = Vec::new();
    command(&mut empty, &[]);
    assert_eq!((empty.len(), &empty[..]), (encoded_len(&[]), &b"*0\r\n"[..]));
    begin(&mut empty, usize::MAX);
    assert_eq!(empty, format!("*0\r\n*{}\r\n", usize::MAX).as_bytes());
}
