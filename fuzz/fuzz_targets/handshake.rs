//! Any bytes as a server's answers to the handshake, read whole and in two pieces: it ends, both ways agree on what was
//! used, no byte is lost, and our password is never repeated.
//!
//! The first byte of an input chooses what we ask, the next two where the bytes are cut, the rest is what comes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redmux::link::handshake::{Greeting, Hello, auth_refused, greet};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const SECRET: &str = "hunter2hunter2";

fuzz_target!(|input: &[u8]| {
    let Some((&[asks, high, low], stream)) = input.split_first_chunk() else { return };
    let on = |bit: u8| asks >> bit & 1 == 1;
    let hello = Hello {
        user: on(0).then_some("web"),
        password: on(1).then_some(SECRET),
        client_name: if on(2) { "api" } else { "" },
        lib_name: if on(3) { "redmux" } else { "" },
        lib_version: if on(4) { "1" } else { "" },
        db: on(5).then_some(3),
    };
    let cut = usize::from(u16::from_be_bytes([high, low])) % (stream.len() + 1);
    let (head, tail) = stream.split_at(cut);
    let (whole, pieces) = (run(&hello, &[stream]), run(&hello, &[head, tail]));
    assert_eq!(whole, pieces);
    if let Some((greeting, used)) = whole {
        assert!(used <= stream.len() && !greeting.server.is_empty());
    }
    let refused = auth_refused(hello.user, SECRET, stream);
    assert!(!refused.message().contains(SECRET), "{}", refused.message());
});

/// What was agreed on, without what came behind it, and how many bytes that took. `None` for a refusal.
fn run(hello: &Hello<'_>, pieces: &[&[u8]]) -> Option<(Greeting, usize)> {
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut server = Server { pieces: pieces.iter().copied().filter(|piece| !piece.is_empty()).collect() };
    let result = {
        let future = pin!(greet(&mut server, hello));
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("it waits for bytes that are there"),
        }
    };
    match result {
        Ok(mut greeting) => {
            let leftover = std::mem::take(&mut greeting.leftover);
            let unread = server.pieces.concat();
            assert!(pieces.concat().ends_with(&[leftover.as_slice(), &unread].concat()), "no byte is lost");
            Some((greeting, total - leftover.len() - unread.len()))
        }
        Err(error) => {
            assert!(hello.password.is_none() || !error.message().contains(SECRET), "{}", error.message());
            None
        }
    }
}

/// A server that takes whatever it is sent, and sends what it has, a piece a read.
struct Server<'a> {
    pieces: Vec<&'a [u8]>,
}

impl AsyncRead for Server<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(first) = self.pieces.first_mut() {
            let (now, later) = first.split_at(first.len().min(buf.remaining()));
            buf.put_slice(now);
            *first = later;
            self.pieces.retain(|piece| !piece.is_empty());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Server<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
