//! Messages of one channel that follow each other: all but their payloads is the same, and is read by one comparison.

use super::{Limits, MESSAGE, bulk, length};

/// What stands before the payload's length of each of these messages.
#[derive(Debug, Clone, Copy)]
pub struct Repeat<'a> {
    head: &'a [u8],
    channel: usize,
}

impl<'a> Repeat<'a> {
    /// Of a message on that channel, if it is spelled as servers do.
    pub fn of(message: &'a [u8], name: &[u8]) -> Option<Repeat<'a>> {
        let (len, channel) = length(message, MESSAGE.len())?;
        let head = message.get(..channel.checked_add(len)?.checked_add(3)?)?;
        let spelled = head.starts_with(MESSAGE) && head.ends_with(b"\r\n$");
        (spelled && head.get(channel..channel + len)? == name).then_some(Repeat { head, channel })
    }

    /// Another one at the front of `buf`: how many bytes it took, its channel and its payload. `None` decides nothing.
    #[inline(always)]
    pub fn read<'b>(&self, buf: &'b [u8], limits: &Limits) -> Option<(usize, &'b [u8], &'b [u8])> {
        if !buf.starts_with(self.head) {
            return None;
        }
        let channel = buf.get(self.channel..self.head.len() - 3)?;
        let (payload, used) = bulk(buf, self.head.len(), limits.max_payload)?;
        Some((used, channel, payload))
    }
}
