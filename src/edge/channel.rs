//! Frames between our own processes, over stream socket pairs.
//!
//! A frame: the length of all that follows (u32), the head's length (u32), the head (postcard of
//! a serde type, at most [`FRAME_HEAD_MAX`] bytes), the body (raw bytes, at most
//! [`FRAME_BODY_MAX`]). Integers are little-endian.
//!
//! 1. A [`Link`], the agent's end, never blocks and, once its buffers have held the largest frame,
//!    never allocates. A [`Port`], a child's end, blocks.
//! 2. A descriptor goes with the first byte of its frame, and a port reads no byte past a frame:
//!    what it hands out came with that very frame.
//! 3. A frame whose lengths make no sense, or whose head is not of the type expected, is
//!    `InvalidData`; the channel is of no use after it.
//!
//! Not for: talking to other programs; both ends are one build of this one.

mod link;
mod port;

use std::io::{self, ErrorKind};

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};

pub use link::Link;
pub use port::Port;

use crate::limits::{FRAME_BODY_MAX, FRAME_HEAD_MAX};

/// The two lengths before a head.
const LENGTHS: usize = 8;
/// The whole of the largest frame.
const FRAME_MAX: usize = LENGTHS + FRAME_HEAD_MAX + FRAME_BODY_MAX;

/// The two lengths of a frame, checked.
struct Lengths {
    head: usize,
    body: usize,
}

impl Lengths {
    fn parse(bytes: [u8; LENGTHS]) -> io::Result<Self> {
        let (total, head) = bytes.split_at(LENGTHS / 2);
        let total = u32::from_le_bytes(total.try_into().expect("half of eight"));
        let head = u32::from_le_bytes(head.try_into().expect("half of eight"));
        let parts = || {
            let body = usize::try_from(total.checked_sub(4)?.checked_sub(head)?).ok()?;
            let head = usize::try_from(head).ok()?;
            (head <= FRAME_HEAD_MAX && body <= FRAME_BODY_MAX).then_some(Self { head, body })
        };
        parts().ok_or_else(|| {
            let text = format!("channel: a frame of {total} bytes with a head of {head}");
            io::Error::new(ErrorKind::InvalidData, text)
        })
    }

    fn whole(&self) -> usize {
        LENGTHS + self.head + self.body
    }
}

/// Appends a frame's lengths and head; its body is to follow. Leaves `out` alone on error.
fn append_head(out: &mut Vec<u8>, head: &impl Serialize, body_length: usize) -> io::Result<()> {
    let start = out.len();
    if body_length > FRAME_BODY_MAX {
        return Err(too_large("body"));
    }
    out.extend_from_slice(&[0; LENGTHS]);
    let head_start = out.len();
    let place = HeadOf { out, end: head_start + FRAME_HEAD_MAX };
    if postcard::serialize_with_flavor(head, place).is_err() {
        out.truncate(start);
        return Err(too_large("head"));
    }
    let head_length = out.len() - head_start;
    out[start..start + 4].copy_from_slice(&length_bytes(4 + head_length + body_length));
    out[start + 4..head_start].copy_from_slice(&length_bytes(head_length));
    Ok(())
}

fn length_bytes(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("a frame is far smaller than 4 GiB").to_le_bytes()
}

fn too_large(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("channel: the {what} of a frame is too large"))
}

fn parse_head<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((head, [])) => Ok(head),
        Ok(_) | Err(_) => {
            Err(io::Error::new(ErrorKind::InvalidData, "channel: a head of another type"))
        }
    }
}

/// Where postcard writes a head: the end of a buffer, up to a limit.
struct HeadOf<'a> {
    out: &'a mut Vec<u8>,
    end: usize,
}

impl Flavor for HeadOf<'_> {
    type Output = ();

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if self.out.len() + bytes.len() > self.end {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
