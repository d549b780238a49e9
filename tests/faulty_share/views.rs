//! What a mount does not see yet: names that the other has made, bytes that it has written.
//!
//! Names are hidden from looks and listings alone: an exclusive create finds them, since the
//! server decides that.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::gate::Side;

/// A name that was made.
struct Made {
    path: PathBuf,
    by: Side,
    at: Instant,
}

/// What a write covered.
struct Covered {
    by: Side,
    at: Instant,
    offset: u64,
    before: Vec<u8>,
    /// The file's length before.
    length: u64,
}

/// What each mount is kept from seeing, and for how long.
#[derive(Default)]
pub(crate) struct Views {
    names_hidden: [Duration; 2],
    bytes_hidden: [Duration; 2],
    /// Nothing else is hidden than what has this in its path.
    part: &'static str,
    gives_hidden: bool,
    names: Vec<Made>,
    writes: HashMap<u64, Vec<Covered>>,
}

impl Views {
    /// From now on a mount sees the names that the other makes so much later.
    pub(crate) fn hide_names(&mut self, from: Side, time: Duration) {
        self.names_hidden[from.index()] = time;
    }

    /// From now on a mount sees what the other writes so much later.
    pub(crate) fn hide_bytes(&mut self, from: Side, time: Duration) {
        self.bytes_hidden[from.index()] = time;
    }

    /// From now on nothing else is hidden than what has this in its path.
    pub(crate) fn hide_only(&mut self, part: &'static str) {
        self.part = part;
    }

    /// From now on an exclusive create of a name that is hidden from its mount succeeds.
    pub(crate) fn give_hidden(&mut self) {
        self.gives_hidden = true;
    }

    /// Whether a mount is given a name that the other has made.
    pub(crate) fn is_given(&self, to: Side, path: &Path) -> bool {
        self.gives_hidden && self.is_hidden(to, path)
    }

    fn may_hide(&self, path: &Path) -> bool {
        path.to_string_lossy().contains(self.part)
    }

    /// A name was made.
    pub(crate) fn note_name(&mut self, by: Side, path: &Path) {
        let longest = self.names_hidden.iter().max().copied().unwrap_or_default();
        self.names.retain(|made| made.at.elapsed() < longest && made.path != path);
        if !longest.is_zero() && self.may_hide(path) {
            self.names.push(Made { path: path.to_owned(), by, at: Instant::now() });
        }
    }

    /// Whether a name is hidden from a mount.
    pub(crate) fn is_hidden(&self, from: Side, path: &Path) -> bool {
        let time = self.names_hidden[from.index()];
        self.names
            .iter()
            .any(|made| made.by != from && made.path == path && made.at.elapsed() < time)
    }

    /// Whether what writes to a file cover is to be noted.
    pub(crate) fn wants_writes(&self, path: &Path) -> bool {
        self.bytes_hidden.iter().any(|time| !time.is_zero()) && self.may_hide(path)
    }

    /// A write is about to cover `before`, in a file of this length.
    pub(crate) fn note_write(
        &mut self,
        by: Side,
        inode: u64,
        offset: u64,
        before: Vec<u8>,
        length: u64,
    ) {
        let longest = self.bytes_hidden.iter().max().copied().unwrap_or_default();
        let writes = self.writes.entry(inode).or_default();
        writes.retain(|covered| covered.at.elapsed() < longest);
        writes.push(Covered { by, at: Instant::now(), offset, before, length });
    }

    /// The writes that a mount does not see yet, the newest first.
    fn unseen(&self, from: Side, inode: u64) -> impl Iterator<Item = &Covered> {
        let time = self.bytes_hidden[from.index()];
        let writes = self.writes.get(&inode).into_iter().flatten().rev();
        writes.filter(move |covered| covered.by != from && covered.at.elapsed() < time)
    }

    /// The length that a mount sees of a file of this length.
    pub(crate) fn length(&self, from: Side, inode: u64, length: u64) -> u64 {
        self.unseen(from, inode).last().map_or(length, |covered| covered.length)
    }

    /// Turns what stands at `offset` into what a mount sees of it; it asked for so many bytes.
    pub(crate) fn turn_back(
        &self,
        from: Side,
        inode: u64,
        offset: u64,
        wanted: usize,
        bytes: &mut Vec<u8>,
    ) {
        for covered in self.unseen(from, inode) {
            let length = usize::try_from(covered.length.saturating_sub(offset)).unwrap_or(wanted);
            bytes.resize(length.min(wanted), 0);
            for (place, byte) in (covered.offset..).zip(&covered.before) {
                let index = place.checked_sub(offset).and_then(|index| usize::try_from(index).ok());
                if let Some(there) = index.and_then(|index| bytes.get_mut(index)) {
                    *there = *byte;
                }
            }
        }
    }
}
