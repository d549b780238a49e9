//! A segment, seen through a window: its groups, one after another.
//!
//! # Invariants
//!
//! - W1: a group is whole if its head is possible, its CRC right, and its lines are as many as it
//!   says.
//! - W2: memory is one window, which holds the largest group and the head of the next.
//! - W3: what is found behind damage depends on the segment alone, not on what was read before:
//!   else it would be read differently by where a batch began.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::fault::cannot;
use super::file;
use crate::engine::segment::{GROUP_HEAD_BYTES, GROUP_MAGIC, GroupHead, GroupOf};
use crate::engine::share::ShareError;
use crate::limits::{GROUP_BYTES_MAX, SEGMENT_READ_BYTES_MAX};

/// Bytes read at a time: the largest group, and the head of the next.
const WINDOW_BYTES: usize = GROUP_HEAD_BYTES + GROUP_BYTES_MAX + 4_096;
const _: () = assert!(WINDOW_BYTES < SEGMENT_READ_BYTES_MAX as usize);

/// Bytes of a whole group.
pub(super) fn length_of(head: &GroupHead) -> u32 {
    u32::try_from(head.group_bytes()).expect("W1: a possible head")
}

/// What stands at an offset.
pub(super) enum Stand {
    Whole(GroupHead),
    Broken,
    End,
}

/// A segment, seen through a window.
pub(super) struct Reader {
    file: File,
    path: PathBuf,
    of: GroupOf,
    /// Nothing is read from here on.
    end: u32,
    window: Vec<u8>,
    /// Offset of the window's first byte.
    start: u32,
    /// How much of the window was read.
    filled: usize,
}

impl Reader {
    /// Reads groups of `of`; nothing until a [`Reader::limit`] is set. `window` is used again.
    pub(super) fn new(file: File, path: PathBuf, of: GroupOf, window: Vec<u8>) -> Self {
        Self { file, path, of, end: 0, window, start: 0, filled: 0 }
    }

    /// The window, for the next segment.
    pub(super) fn into_window(self) -> Vec<u8> {
        self.window
    }

    /// Nothing is read from here on.
    pub(super) const fn end(&self) -> u32 {
        self.end
    }

    /// Reads past the window, at most as much as there is room for.
    pub(super) fn read_raw(&self, room: &mut [u8], from: u64) -> io::Result<usize> {
        file::read_at(&self.file, room, from)
    }

    /// Sets the end: the one given, the file's, or the longest segment's.
    pub(super) fn limit(&mut self, end: u32) -> Result<(), ShareError> {
        let length = match self.file.metadata() {
            Ok(seen) => seen.len(),
            Err(error) => return Err(cannot("look at", &self.path, &error)),
        };
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.end = length.min(end).min(SEGMENT_READ_BYTES_MAX);
        Ok(())
    }

    /// At least `wanted` bytes from `offset` on, or as many as there are; at most a window.
    pub(super) fn view(&mut self, offset: u32, wanted: usize) -> Result<&[u8], ShareError> {
        let inside = offset.checked_sub(self.start).map(|skip| skip as usize);
        let covered = inside.is_some_and(|skip| skip + wanted <= self.filled);
        if !covered {
            self.window.resize(WINDOW_BYTES, 0);
            let left = self.end.saturating_sub(offset) as usize;
            let room = &mut self.window[..left.min(WINDOW_BYTES)];
            self.start = offset;
            self.filled = 0;
            self.filled = file::read_at(&self.file, room, u64::from(offset))
                .map_err(|error| cannot("read", &self.path, &error))?;
        }
        let skip = (offset - self.start) as usize;
        Ok(&self.window[skip..self.filled])
    }

    /// The group that begins there, if it is whole (W1).
    pub(super) fn group_at(&mut self, offset: u32) -> Result<Stand, ShareError> {
        if offset >= self.end {
            return Ok(Stand::End);
        }
        let of = self.of;
        let Some(head) = GroupHead::decode(self.view(offset, GROUP_HEAD_BYTES)?) else {
            return Ok(Stand::Broken);
        };
        let Some(group) = self.view(offset, head.group_bytes())?.get(..head.group_bytes()) else {
            return Ok(Stand::Broken);
        };
        let payload = &group[GROUP_HEAD_BYTES..];
        let whole = head.matches(of, &group[..GROUP_HEAD_BYTES], payload)
            && head.first_seq.checked_add(u64::from(head.count)).is_some()
            && has_lines(&payload[head.marks as usize..], head.count);
        Ok(if whole { Stand::Whole(head) } else { Stand::Broken })
    }

    /// The records of a whole group.
    pub(super) fn records(&mut self, offset: u32, head: &GroupHead) -> Result<&[u8], ShareError> {
        let group = self.view(offset, head.group_bytes())?;
        Ok(&group[GROUP_HEAD_BYTES + head.marks as usize..head.group_bytes()])
    }

    /// The next whole group behind `from`, whatever its seqs (W3).
    pub(super) fn next_whole(&mut self, from: u32) -> Result<Option<u32>, ShareError> {
        let mut offset = from + 1;
        while offset < self.end {
            let rest = self.view(offset, 1)?;
            if rest.is_empty() {
                return Ok(None);
            }
            let Some(skip) = rest.iter().position(|&byte| byte == GROUP_MAGIC[0]) else {
                offset += u32::try_from(rest.len()).expect("W2");
                continue;
            };
            offset += u32::try_from(skip).expect("W2");
            if let Stand::Whole(_) = self.group_at(offset)? {
                return Ok(Some(offset));
            }
            offset += 1;
        }
        Ok(None)
    }
}

#[allow(clippy::naive_bytecount, reason = "not worth a crate")]
fn has_lines(records: &[u8], count: u32) -> bool {
    let lines = records.iter().filter(|&&byte| byte == b'\n').count();
    records.last() == Some(&b'\n') && lines == count as usize
}
