//! Small readers over the raw bytes of an aggregate, as [`Reply::Other`] holds it.
//!
//! They must end, not fail, at whatever they cannot read: the bytes were checked when the reply was. The handshake
//! reads the answer to `HELLO` with [`fields`].

use super::Reply;
use super::read::Cursor;

/// The elements of an array, set or map, in order; see [`values`].
#[derive(Debug, Clone)]
pub struct Values<'a> {
    rest: &'a [u8],
    left: u64,
}

/// The elements of an array, set or map (whose keys and values alternate). Nested aggregates come as [`Reply::Other`].
/// Nothing, if `aggregate` is none of them.
pub fn values(aggregate: &[u8]) -> Values<'_> {
    open(aggregate).unwrap_or(Values { rest: &[], left: 0 })
}

fn open(aggregate: &[u8]) -> Option<Values<'_>> {
    let each = match aggregate.first()? {
        b'*' | b'~' => 1,
        b'%' => 2,
        _ => return None,
    };
    let mut cursor = Cursor::new(aggregate);
    cursor.step();
    let left = cursor.count(each).ok()?;
    Some(Values { rest: aggregate.get(cursor.at()..)?, left })
}

impl<'a> Iterator for Values<'a> {
    type Item = Reply<'a>;

    fn next(&mut self) -> Option<Reply<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut cursor = Cursor::new(self.rest);
        match cursor.value(1) {
            Ok(reply) => {
                self.rest = self.rest.get(cursor.at()..).unwrap_or_default();
                Some(reply)
            }
            Err(_) => {
                self.left = 0;
                None
            }
        }
    }
}

/// The entries of a map, or of an array that spells one; see [`fields`].
#[derive(Debug, Clone)]
pub struct Fields<'a>(Values<'a>);

/// The entries of a map, or of an array of keys and values. An entry whose key is not a string is left out.
pub fn fields(map: &[u8]) -> Fields<'_> {
    Fields(values(map))
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], Reply<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (key, value) = (self.0.next()?, self.0.next()?);
            if let Reply::Bulk(key) | Reply::Status(key) = key {
                return Some((key, value));
            }
        }
    }
}
