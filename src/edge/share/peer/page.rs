//! What a host says in `.edge.peer`: its page, and which of the two it is.

use std::fs::File;
use std::io;

use super::super::file;
use crate::engine::codec::{CRC_32C, Reader, Writer};
use crate::limits::SLOT_BYTES;

const MAGIC: &[u8; 8] = b"EDGEPEER";
const PAGE_BYTES: usize = 56;
/// The step of a host that has ended before its time.
pub(super) const ENDED: u32 = u32::MAX;

/// Which of the two a host is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// Made the file.
    First,
    /// Found it.
    Second,
}

impl Side {
    /// Both.
    pub(super) const BOTH: [Self; 2] = [Self::First, Self::Second];

    /// As findings name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::First => "the first host",
            Self::Second => "the second host",
        }
    }

    /// The one that it is not.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// Where its page begins.
    pub(super) const fn offset(self) -> u64 {
        match self {
            Self::First => 0,
            Self::Second => SLOT_BYTES as u64,
        }
    }
}

/// What a host says.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Page {
    /// Random, never 0.
    pub(super) nonce: u64,
    /// The other's nonce; 0: nobody is there yet.
    pub(super) other: u64,
    /// How far it is.
    pub(super) step: u32,
    /// Of the steps with even and odd numbers.
    pub(super) values: [u64; 2],
    /// Changes while it waits.
    pub(super) beat: u64,
}

impl Page {
    /// As it stands in the file.
    pub(super) fn to_bytes(self) -> [u8; PAGE_BYTES] {
        let mut bytes = [0; PAGE_BYTES];
        let mut out = Writer::new(&mut bytes[..PAGE_BYTES - 4]);
        out.raw(MAGIC);
        out.u64(self.nonce);
        out.u64(self.other);
        out.u32(self.step);
        out.u64(self.values[0]);
        out.u64(self.values[1]);
        out.u64(self.beat);
        let crc = CRC_32C.checksum(&bytes[..PAGE_BYTES - 4]);
        bytes[PAGE_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None`: damaged, or none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        let mut fields = Reader::new(content);
        let is_ours = fields.raw::<8>() == *MAGIC;
        let page = Self {
            nonce: fields.u64(),
            other: fields.u64(),
            step: fields.u32(),
            values: [fields.u64(), fields.u64()],
            beat: fields.u64(),
        };
        let is_whole = CRC_32C.checksum(content) == u32::from_le_bytes(*crc);
        (is_ours && is_whole && fields.is_whole()).then_some(page)
    }
}

/// A host's page in an open file; `None`: none that is whole.
pub(super) fn read_page(file: &File, side: Side) -> io::Result<Option<Page>> {
    let mut bytes = [0; PAGE_BYTES];
    let length = file::read_at(file, &mut bytes, side.offset())?;
    Ok(Page::read(&bytes[..length]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_back_and_a_damaged_one_does_not() {
        let page = Page { nonce: 1, other: 2, step: 3, values: [4, 5], beat: 6 };
        let mut bytes = page.to_bytes();
        assert_eq!(Page::read(&bytes), Some(page));
        assert_eq!(Page::read(&bytes[..PAGE_BYTES - 1]), None);
        for at in 0..PAGE_BYTES {
            bytes[at] ^= 0x10;
            assert_eq!(Page::read(&bytes), None, "byte {at}");
            bytes[at] ^= 0x10;
        }
    }
}
