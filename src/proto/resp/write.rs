//! The writer of commands: arrays of blob strings, the only shape in which a server reads them.
//!
//! It must never look into what it writes: names and payloads are any bytes. The links and whoever encodes a publish
//! on its own thread call it. Memory comes from `out` alone; reserve [`encoded_len`] there first to do so fallibly.

/// Appends a whole command.
pub fn command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.reserve(encoded_len(parts));
    begin(out, parts.len());
    for part in parts {
        argument(out, part);
    }
}

/// Appends the head of a command; exactly `parts` calls of [`argument`] must follow.
pub fn begin(out: &mut Vec<u8>, parts: usize) {
    head(out, b'*', parts);
}

/// Appends one part of a command.
pub fn argument(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// How many bytes [`command`] appends.
pub fn encoded_len(parts: &[&[u8]]) -> usize {
    parts.iter().fold(head_len(parts.len()), |sum, part| sum + argument_len(part))
}

/// How many bytes [`argument`] appends.
pub fn argument_len(bytes: &[u8]) -> usize {
    head_len(bytes.len()) + bytes.len() + 2
}

/// A mark, a number and a line end, written from the back.
fn head(out: &mut Vec<u8>, mark: u8, mut number: usize) {
    let mut line = [0; 23];
    let mut start = line.len();
    let mut fill = line.iter_mut().rev();
    let mut put = |byte| {
        if let Some(slot) = fill.next() {
            *slot = byte;
            start -= 1;
        }
    };
    put(b'\n');
    put(b'\r');
    loop {
        put(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    put(mark);
    out.extend_from_slice(line.get(start..).unwrap_or_default());
}

fn head_len(number: usize) -> usize {
    // A mark, the digits and a line end.
    4 + number.checked_ilog10().unwrap_or(0) as usize
}
