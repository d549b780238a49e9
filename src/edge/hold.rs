//! Values of sources that wait in memory: while the wall clock is not set, or while the journal
//! has no room.
//!
//! # Invariants
//!
//! - H1: bounded by [`HELD_BYTES_MAX`]: what does not fit is not taken.
//! - H2: first in, first out.
//! - H3: a record's timestamp is the wall time of when it was taken, reckoned back from a wall
//!   clock that is set now by the time since boot that has passed in between.
//!
//! Nothing in here was acknowledged to anybody, and it goes with the process.

use super::intake::push_number;
use crate::limits::HELD_BYTES_MAX;

/// Bytes before a value: when it was taken (u64), its length (u16).
const HEAD_BYTES: usize = 10;
/// Memory that is kept while nothing waits.
const SPARE_BYTES: usize = 4 << 10;

/// The values.
#[derive(Debug, Default)]
pub struct Hold {
    bytes: Vec<u8>,
}

/// There is no room for another value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl Hold {
    /// Takes a record without its first member, the timestamp: what follows
    /// `{"timestamp":1`, line break included.
    pub fn push(&mut self, taken_ms: u64, rest: &[u8]) -> Result<(), Full> {
        let length = u16::try_from(rest.len()).map_err(|_| Full)?;
        if self.bytes.len() + HEAD_BYTES + rest.len() > HELD_BYTES_MAX {
            return Err(Full);
        }
        self.bytes.extend_from_slice(&taken_ms.to_le_bytes());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(rest);
        Ok(())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends the records of the first values to `lines`, about `bytes_max` of them, at least
    /// one if there is any; tells how much of the hold they are, for [`Hold::forget`].
    pub fn peek(&self, now_ms: u64, wall_ms: u64, bytes_max: usize, lines: &mut Vec<u8>) -> usize {
        let mut at = 0;
        let begin = lines.len();
        while let Some((taken_ms, rest)) = entry(&self.bytes[at..]) {
            if lines.len() - begin >= bytes_max {
                break;
            }
            lines.extend_from_slice(b"{\"timestamp\":");
            push_number(wall_ms.saturating_sub(now_ms.saturating_sub(taken_ms)), lines);
            lines.extend_from_slice(rest);
            at += HEAD_BYTES + rest.len();
        }
        at
    }

    /// Lets go of what [`Hold::peek`] gave.
    pub fn forget(&mut self, bytes: usize) {
        self.bytes.drain(..bytes);
        if self.bytes.is_empty() {
            self.bytes.shrink_to(SPARE_BYTES);
        }
    }

    /// Lets go of everything; tells how many values that were.
    pub fn clear(&mut self) -> u32 {
        let mut count = 0;
        let mut at = 0;
        while let Some((_, rest)) = entry(&self.bytes[at..]) {
            at += HEAD_BYTES + rest.len();
            count += 1;
        }
        self.bytes = Vec::new();
        count
    }
}

/// The first value: when it was taken, and the rest of its record.
fn entry(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (taken_ms, bytes) = bytes.split_first_chunk::<8>()?;
    let (length, bytes) = bytes.split_first_chunk::<2>()?;
    let rest = bytes.get(..usize::from(u16::from_le_bytes(*length)))?;
    Some((u64::from_le_bytes(*taken_ms), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peek(hold: &Hold, bytes_max: usize) -> (usize, String) {
        let mut lines = Vec::new();
        let taken = hold.peek(50_000, 1_700_000_000_000, bytes_max, &mut lines);
        (taken, String::from_utf8(lines).expect("ASCII"))
    }

    #[test]
    fn what_was_held_is_stamped_with_when_it_was_taken() {
        let mut hold = Hold::default();
        assert_eq!(peek(&hold, 1), (0, String::new()));
        hold.push(20_000, b",\"a\":1}\n").expect("room");
        hold.push(50_000, b",\"a\":2}\n").expect("room");
        let first = "{\"timestamp\":1699999970000,\"a\":1}\n";
        let second = "{\"timestamp\":1700000000000,\"a\":2}\n";
        assert_eq!(peek(&hold, 1_000).1, [first, second].concat(), "H2, H3");
        let (taken, lines) = peek(&hold, 1);
        assert_eq!(lines, first, "at least one");
        hold.forget(taken);
        assert_eq!(peek(&hold, 1).1, second);
        assert_eq!((hold.clear(), hold.is_empty()), (1, true));
    }

    #[test]
    fn it_is_bounded_and_gives_its_memory_back() {
        let mut hold = Hold::default();
        let mut count = 0;
        while hold.push(1, &[b'x'; 100]).is_ok() {
            count += 1;
        }
        assert_eq!(count, HELD_BYTES_MAX / 110, "H1");
        assert_eq!(hold.push(1, &vec![0; 70_000]), Err(Full));
        let (taken, lines) = peek(&hold, usize::MAX);
        assert_eq!(lines.len(), count * (100 + "{\"timestamp\":1699999950001".len()));
        hold.forget(taken);
        assert!(hold.is_empty() && hold.bytes.capacity() <= SPARE_BYTES);
    }
}
