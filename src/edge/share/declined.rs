//! The declined store: what the cloud refused, with its identity, the reason and the time.
//!
//! # Format
//!
//! `declined/<term>-<number>.log`, eight and six digits or more: the term that wrote it, and the
//! file's number in that term.
//!
//! | bytes of a file's header | what |
//! |---|---|
//! | 0..8 | magic `EDGEDECL` |
//! | 8..12 | format version |
//! | 12..28 | site id |
//! | 28..32 | term of the writer |
//! | 32..36 | number, from 1 |
//! | 36..40 | CRC-32C of bytes 0..36; it stands here in every format |
//! | 40..64 | zero |
//!
//! | bytes of an entry | what |
//! |---|---|
//! | 0..4 | magic `0xE9 D C L`: no JSON text of ours holds a byte above 127 |
//! | 4..8 | length of the line |
//! | 8..12 | CRC-32C of site id, term and number as in the header (its bytes 12..36), of bytes 0..8 and the line |
//! | 12.. | a line of JSON ended by `\n`: `{"term":3,"lane":"readings","seq":17,"status":400,"reason":"…","time":1700000000000,"record":…}`, the record last and as it was journalled |
//!
//! | bytes of `declined/forgotten` | what |
//! |---|---|
//! | 0..8 | magic `EDGEDGON` |
//! | 8..12 | format version |
//! | 12..24 | term, number and offset of the last entry that is forgotten |
//! | 24..28 | CRC-32C of bytes 0..24 |
//!
//! # Invariants
//!
//! - X1: a master's keeper writes files of its own term alone, so that what an old master
//!   writes late never meets what the new one writes.
//! - X2: an outcome is given once every entry is synced, and the names of new files too.
//! - X3: a record that stands at the store's durable end is not written again. How far that
//!   end reaches is bounded; beyond it a record may stand there twice, under one identity.
//! - X4: a file that failed is cut back to what was synced and never written again; no file of
//!   an earlier keeper is.
//! - X5: all files together stay within the bound, as far as one entry does and nothing is put
//!   back; whole files
//!   make room, the oldest first, and their entries are counted. A file of a newer format is
//!   neither deleted nor counted.
//! - X6: a damaged entry is passed over; what no whole entry follows is a torn tail.
//!
//! - X7: a record that is put back is written anew, synced, before its old entry is forgotten.
//!
//! Not for: deciding what is refused, or what is sent again.

mod entry;
mod files;
mod known;
mod orders;
mod reading;

use std::fs::{self, File};
use std::io;

use entry::About;
pub use entry::Entry;
use files::{Content, FileOf, HEADER_BYTES, Name};
use known::Known;
pub use reading::Entries;
pub(super) use reading::read;

use super::directory::{self, Root};
use super::fault::cannot;
use super::fetch::Fetcher;
use super::file;
use crate::engine::ident::{Cursor, Term};
use crate::engine::share::{Decline, Declined, Fetch, Fetched, ShareError};
use crate::engine::store::Position;
use crate::limits::{
    BATCH_BYTES_MAX, DECLINED_FILE_BYTES_MAX, DECLINED_FILES_MAX, DECLINED_TAIL_BYTES_MAX,
    DECLINED_TAIL_FILES_MAX,
};

/// Entries gathered before they are written, in bytes.
const GATHER_BYTES: usize = 64 << 10;

/// The store, as the keeper of one term writes it. Nothing is read before the first order.
#[derive(Debug, Default)]
pub(super) struct Store {
    term: Term,
    is_open: bool,
    /// The oldest first.
    files: Vec<Stored>,
    known: Known,
    /// The highest number of our term so far.
    number: u32,
    writer: Option<Writer>,
    /// Written and dropped, and not told yet.
    owed: (u32, u32),
    /// Purged, and not told yet.
    purged: u64,
    /// The entry that is being put back: with it, what stands before it is done with.
    putting_back: Option<Position>,
    /// The entry that was put back last, and may not be forgotten yet (X7).
    put_back: Option<Position>,
}

/// A file of the store.
#[derive(Clone, Copy, Debug)]
struct Stored {
    name: Name,
    bytes: u64,
    /// It is of a newer format, or cannot be read: it stays (X5).
    is_left: bool,
    /// Its entries that are not forgotten; `None`: not counted yet.
    records: Option<u32>,
}

/// The file that entries go to.
#[derive(Debug)]
struct Writer {
    file: File,
    name: Name,
    /// What is synced ends here; 0: not even the name is.
    synced: u64,
    /// What is written ends here.
    written: u64,
    /// What is still to be written,
    gathered: Vec<u8>,
    /// and what is not yet synced.
    fresh: Known,
    fresh_count: u32,
}

impl Writer {
    fn end(&self) -> u64 {
        self.written + self.gathered.len() as u64
    }
}

impl Store {
    /// Keeps the records of an order (X2). Counts what failed orders before it had done already.
    pub(super) fn decline(
        &mut self,
        root: &Root,
        term: Term,
        order: &Decline,
    ) -> Result<Declined, ShareError> {
        self.enter(term);
        let end = order.from.seq.saturating_add(u64::from(order.records));
        let mut fetcher = Fetcher::default();
        let mut next = order.from;
        if order.records > 0 {
            let seen = fetcher.fetch(root, fetch_of(order))?;
            next = behind(order, &seen, end);
            let wanted = usize::try_from(end.saturating_sub(seen.first_seq)).unwrap_or(usize::MAX);
            let lines = fetcher.batch().split_inclusive(|&byte| byte == b'\n').take(wanted);
            let kept = self.keep(root, order, (seen.first_seq..).zip(lines));
            if let Err(error) = kept {
                self.abandon(root);
                return Err(error);
            }
        }
        let (count, dropped) = std::mem::take(&mut self.owed);
        Ok(Declined { count, next, dropped })
    }

    fn enter(&mut self, term: Term) {
        if self.term != term {
            *self = Self { term, ..Self::default() };
        }
    }

    fn keep<'a>(
        &mut self,
        root: &Root,
        order: &Decline,
        records: impl Iterator<Item = (u64, &'a [u8])>,
    ) -> Result<(), ShareError> {
        self.look(root)?;
        if !self.is_open {
            self.known = tail(root, &self.files);
            self.is_open = true;
        }
        let mut scratch = Vec::new();
        for (seq, record) in records {
            if !self.known.has(order.from.term, order.lane, seq) {
                let about = about(order, seq);
                entry::write(&about, record, &mut scratch);
                self.put(root, &about, order.bytes_max, &mut scratch)?;
            }
        }
        self.sync(root)
    }

    /// Lists the files afresh: others may have deleted some, ours too.
    fn look(&mut self, root: &Root) -> Result<(), ShareError> {
        let mut files = Vec::new();
        for name in files::list(root)? {
            let before = self.files.binary_search_by_key(&name, |stored| stored.name);
            if let Ok(at) = before {
                files.push(self.files[at]);
                continue;
            }
            let path = name.path(root);
            match fs::metadata(&path) {
                Ok(seen) => {
                    let (bytes, is_left, records) = (seen.len(), false, None);
                    files.push(Stored { name, bytes, is_left, records });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(cannot("look at", &path, &error)),
            }
        }
        self.files = files;
        let ours = self.files.iter().map(|stored| stored.name).filter(|it| it.term == self.term);
        self.number = ours.map(|name| name.number).fold(self.number, u32::max);
        let is_there = |name| self.files.iter().any(|stored| stored.name == name);
        let is_gone = |writer: &Writer| {
            // a folder may stand at its path
            let path = writer.name.path(root);
            let deleted = |seen| file::is_deleted(&seen, &path);
            !is_there(writer.name) || writer.file.metadata().is_ok_and(deleted)
        };
        if self.writer.as_ref().is_some_and(is_gone) {
            self.writer = None;
        }
        Ok(())
    }

    /// Gathers an entry for the newest file, or for another one if it would not fit.
    fn put(
        &mut self,
        root: &Root,
        about: &About<'_>,
        bytes_max: u64,
        entry: &mut [u8],
    ) -> Result<(), ShareError> {
        let bytes = entry.len() as u64;
        let file_bytes_max = (bytes_max / 4).min(DECLINED_FILE_BYTES_MAX as u64);
        let fits = |writer: &Writer| writer.end() + bytes <= file_bytes_max;
        if self.writer.as_ref().is_some_and(|writer| !fits(writer)) {
            self.sync(root)?;
            self.writer = None;
        }
        if self.writer.is_none() {
            self.make_room(root, HEADER_BYTES as u64 + bytes, bytes_max)?;
            self.begin(root)?;
        } else {
            self.make_room(root, bytes, bytes_max)?;
        }
        let writer = self.writer.as_mut().expect("begun above");
        entry::seal(entry, FileOf { site: root.site, name: writer.name });
        writer.gathered.extend_from_slice(entry);
        writer.fresh.add(about.term, about.lane, about.seq);
        writer.fresh_count += 1;
        if let Some(stored) = self.files.iter_mut().find(|stored| stored.name == writer.name) {
            stored.bytes = writer.end();
            stored.records = stored.records.map(|records| records + 1);
        }
        if writer.gathered.len() >= GATHER_BYTES { write(root, writer) } else { Ok(()) }
    }

    /// X5. The file that is being written stays; and all do while a record is put back, whose old
    /// entry may be the only one, and whose neighbours are still to be tried.
    fn make_room(&mut self, root: &Root, bytes: u64, bytes_max: u64) -> Result<(), ShareError> {
        if self.putting_back.is_some() {
            return Ok(());
        }
        let open = self.writer.as_ref().map(|writer| writer.name);
        loop {
            let ours = || self.files.iter().filter(|stored| !stored.is_left);
            let there: u64 = ours().map(|stored| stored.bytes).sum();
            let is_full = there + bytes > bytes_max || ours().count() >= DECLINED_FILES_MAX;
            let oldest = self.files.iter().position(|it| !it.is_left && Some(it.name) != open);
            let Some(oldest) = oldest.filter(|_| is_full) else {
                return Ok(());
            };
            let name = self.files[oldest].name;
            match files::read(root, name) {
                Ok(Content::Ours(held)) => {
                    let forgotten = files::forgotten(root)?;
                    file::delete(&name.path(root))?;
                    self.owed.1 += reading::count(root, name, &held, forgotten);
                    self.files.remove(oldest);
                }
                Ok(Content::Gone) => {
                    self.files.remove(oldest);
                }
                Ok(Content::Newer) | Err(_) => self.files[oldest].is_left = true,
            }
        }
    }

    /// Creates the next file of our term (X1).
    fn begin(&mut self, root: &Root) -> Result<(), ShareError> {
        let folder = root.declined();
        directory::check_site(root)?;
        file::make_directory(&folder).map_err(|error| cannot("make", &folder, &error))?;
        // also if it was there: an attempt before this one may have failed here
        file::sync_directory(&root.path)?;
        self.number += 1;
        let name = Name { term: self.term, number: self.number };
        let path = name.path(root);
        let file = root.create_new(&path).map_err(|error| cannot("create", &path, &error))?;
        let gathered = FileOf { site: root.site, name }.header().to_vec();
        let fresh = Known::default();
        let bytes = gathered.len() as u64;
        let stored = Stored { name, bytes, is_left: false, records: Some(0) };
        self.files.insert(self.files.partition_point(|before| before.name < name), stored);
        self.writer =
            Some(Writer { file, name, synced: 0, written: 0, gathered, fresh, fresh_count: 0 });
        Ok(())
    }

    /// Writes and syncs what is gathered (X2).
    fn sync(&mut self, root: &Root) -> Result<(), ShareError> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        write(root, writer)?;
        if writer.synced < writer.written {
            let path = writer.name.path(root);
            file::sync(&writer.file).map_err(|error| cannot("sync", &path, &error))?;
            if writer.synced == 0 {
                file::sync_directory(&root.declined())?;
            }
            writer.synced = writer.written;
        }
        self.known.extend(&std::mem::take(&mut writer.fresh));
        self.owed.0 += std::mem::take(&mut writer.fresh_count);
        Ok(())
    }

    /// X4. What cannot be cut off or deleted either stays; it is the same record.
    fn abandon(&mut self, root: &Root) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        if writer.synced == 0 {
            let _ = file::delete(&writer.name.path(root));
            self.files.retain(|stored| stored.name != writer.name);
            return;
        }
        let _ = file::cut(&writer.file, writer.synced);
        if let Some(stored) = self.files.iter_mut().find(|stored| stored.name == writer.name) {
            (stored.bytes, stored.records) = (writer.synced, None);
        }
    }
}

fn write(root: &Root, writer: &mut Writer) -> Result<(), ShareError> {
    let written = file::write_at(&writer.file, &writer.gathered, writer.written);
    written.map_err(|error| cannot("write", &writer.name.path(root), &error))?;
    writer.written = writer.end();
    writer.gathered.clear();
    Ok(())
}

/// Which records the newest files hold (X3). One that cannot be read, or made durable, is no
/// reason to keep nothing any more.
fn tail(root: &Root, files: &[Stored]) -> Known {
    let mut known = Known::default();
    if files.is_empty() || file::sync_directory(&root.declined()).is_err() {
        return known;
    }
    let forgotten = files::forgotten(root).unwrap_or(None);
    let mut bytes = 0;
    let within = |stored: &&Stored| {
        let is_first = bytes == 0;
        bytes += stored.bytes;
        is_first || bytes <= DECLINED_TAIL_BYTES_MAX
    };
    let newest: Vec<_> =
        files.iter().rev().take(DECLINED_TAIL_FILES_MAX).take_while(within).collect();
    for Stored { name, .. } in newest.into_iter().rev() {
        if let Ok(Content::Ours(held)) = files::read_durable(root, *name) {
            for (offset, entry) in entry::entries(FileOf { site: root.site, name: *name }, &held) {
                if forgotten.is_none_or(|forgotten| name.at(offset) > forgotten) {
                    known.add(entry.term, entry.lane, entry.seq);
                }
            }
        }
    }
    known
}

fn about(order: &Decline, seq: u64) -> About<'_> {
    About {
        term: order.from.term,
        lane: order.lane,
        seq,
        status: order.status,
        reason: &order.reason,
        wall_ms: order.wall_ms,
    }
}

fn fetch_of(order: &Decline) -> Fetch {
    Fetch {
        request: 0,
        lane: order.lane,
        from: order.from,
        end: order.end,
        records_max: order.records,
        bytes_max: BATCH_BYTES_MAX,
    }
}

/// The cursor behind what was read of an order. Where damage was passed it stands before it,
/// so that the next batch sees and counts it.
fn behind(order: &Decline, seen: &Fetched, end: u64) -> Cursor {
    if seen.count == 0 {
        return order.from;
    }
    if seen.damaged > 0 || seen.next.seq > end {
        return Cursor { seq: seen.next.seq.min(end), ..order.from };
    }
    seen.next
}

#[cfg(test)]
mod tests;
