//! Reads the next batch from a segment: whole records, in order, each of them checked.
//!
//! # Invariants
//!
//! - F1: only records of a whole group are given out.
//! - F2: the seqs of a batch have no gap and begin at the one that was asked for, or at the
//!   next one that is there.
//! - F3: a damaged stretch that a whole group follows is set aside, counted once, and passed;
//!   what nothing follows is a torn tail, and ends the segment.
//! - F4: memory is one window, which holds the largest group, and the batch.
//! - F5: the records from a cursor on are the same wherever the batches before began and ended.
//!
//! Not for: deciding which segment comes next.

use std::io;

use super::directory::Root;
use super::fault::cannot;
use super::reader::{Reader, Stand, length_of};
use super::{file, segments};
use crate::engine::ident::{Cursor, Lane, Term};
use crate::engine::segment::{FIRST_OFFSET, GroupHead, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::engine::share::{Fetch, Fetched, ShareError};
use crate::limits::{BATCH_BYTES_MAX, DAMAGED_COPY_BYTES_MAX, DAMAGED_FILES_MAX};

/// The buffers, kept from batch to batch, and how far damage has been counted.
#[derive(Debug, Default)]
pub(super) struct Fetcher {
    window: Vec<u8>,
    batch: Vec<u8>,
    counted: [(Term, u32, u32); 2],
}

impl Fetcher {
    /// Gives the buffers' memory back; a standby needs none.
    pub(super) fn shrink(&mut self) {
        self.window = Vec::new();
        self.batch = Vec::new();
    }

    /// The records of the last batch.
    pub(super) fn batch(&self) -> &[u8] {
        &self.batch
    }

    /// Reads the next batch.
    pub(super) fn fetch(&mut self, root: &Root, order: Fetch) -> Result<Fetched, ShareError> {
        self.batch.clear();
        let Cursor { term, segment, .. } = order.from;
        let path = segments::path_of(root, order.lane, term, segment);
        let mut seen = nothing(order);
        let file = match root.open(&path) {
            Ok(file) if file.metadata().is_ok_and(|seen| seen.is_dir()) => {
                seen.missing = true;
                return Ok(seen);
            }
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                seen.missing = true;
                return Ok(seen);
            }
            Err(error) => return Err(cannot("open", &path, &error)),
        };
        let header = SegmentHeader { site: root.site, term, lane: order.lane, number: segment };
        let window = std::mem::take(&mut self.window);
        let mut reader = Reader::new(file, path, header.groups(), window);
        let read = reader.limit(order.end).and_then(|()| {
            let Some(offset) = self.begin(root, &mut reader, &header, order, &mut seen)? else {
                seen.at_end = true;
                return Ok(());
            };
            self.gather(root, &mut reader, order, offset, &mut seen)
        });
        self.window = reader.into_window();
        read.map(|()| seen)
    }

    /// Where the first group to be read begins, past a damaged header; `None`: nothing
    /// follows it (F3).
    fn begin(
        &mut self,
        root: &Root,
        reader: &mut Reader,
        header: &SegmentHeader,
        order: Fetch,
        seen: &mut Fetched,
    ) -> Result<Option<u32>, ShareError> {
        if order.from.offset > FIRST_OFFSET {
            return Ok(Some(order.from.offset));
        }
        let there = reader.view(0, SEGMENT_HEADER_BYTES)?;
        if SegmentHeader::decode(there).as_ref() == Some(header) {
            return Ok(Some(FIRST_OFFSET));
        }
        // a header is durable before anything names the segment: this is no torn tail
        self.pass(root, reader, order, 0, true, seen)
    }

    /// Takes records until the batch is full or something ends it.
    fn gather(
        &mut self,
        root: &Root,
        reader: &mut Reader,
        order: Fetch,
        mut offset: u32,
        seen: &mut Fetched,
    ) -> Result<(), ShareError> {
        loop {
            seen.next.offset = offset;
            let head = match reader.group_at(offset)? {
                Stand::Whole(head) => head,
                Stand::End => {
                    seen.at_end = true;
                    return Ok(());
                }
                Stand::Broken if seen.count > 0 => return Ok(()),
                Stand::Broken => {
                    let Some(found) = self.pass(root, reader, order, offset, false, seen)? else {
                        seen.at_end = true;
                        return Ok(());
                    };
                    offset = found;
                    continue;
                }
            };
            let last = head.first_seq + u64::from(head.count) - 1;
            if last >= seen.next.seq && !self.take(reader, order, head, offset, seen)? {
                return Ok(());
            }
            offset += length_of(&head);
        }
    }

    /// Takes what is wanted of a group; `false`: the batch ends within it or before it (F2).
    fn take(
        &mut self,
        reader: &mut Reader,
        order: Fetch,
        head: GroupHead,
        offset: u32,
        seen: &mut Fetched,
    ) -> Result<bool, ShareError> {
        if head.first_seq > seen.next.seq {
            if seen.count > 0 {
                return Ok(false);
            }
            seen.next.seq = head.first_seq;
        }
        if seen.count == 0 {
            seen.first_seq = seen.next.seq;
        }
        let skipped = usize::try_from(seen.next.seq - head.first_seq).unwrap_or(usize::MAX);
        let bytes_max = order.bytes_max.min(BATCH_BYTES_MAX) as usize;
        let records = reader.records(offset, &head)?;
        for line in records.split_inclusive(|&byte| byte == b'\n').skip(skipped) {
            let full = self.batch.len() + line.len() > bytes_max || seen.count >= order.records_max;
            if full && seen.count > 0 {
                return Ok(false);
            }
            self.batch.extend_from_slice(line);
            seen.count += 1;
            seen.bytes += u32::try_from(line.len()).expect("F4: a record is less than a group");
            seen.next.seq += 1;
        }
        Ok(true)
    }

    /// F3: the offset of the next whole group behind a damaged stretch, which is counted and
    /// set aside; `None`: a torn tail. Where the end is known to be durable, or nothing is whole
    /// from the header on, no tail is torn.
    fn pass(
        &mut self,
        root: &Root,
        reader: &mut Reader,
        order: Fetch,
        from: u32,
        is_all: bool,
        seen: &mut Fetched,
    ) -> Result<Option<u32>, ShareError> {
        let found = reader.next_whole(from)?;
        let durable = is_all || (order.end != u32::MAX && reader.end() == order.end);
        let Some(next) = found.or(durable.then_some(reader.end())) else {
            return Ok(None);
        };
        let place = (order.from.term, order.from.segment, from + 1);
        let counted = &mut self.counted[order.lane.index()];
        if place > *counted {
            *counted = place;
            seen.damaged += 1;
            seen.damaged_bytes += next - from;
        }
        // the copy is for people, and best effort: forwarding goes on without it
        let _ = set_aside(root, reader, order.lane, place, from..next);
        Ok(Some(next))
    }
}

fn nothing(order: Fetch) -> Fetched {
    Fetched {
        request: order.request,
        first_seq: order.from.seq,
        count: 0,
        bytes: 0,
        next: order.from,
        at_end: false,
        missing: false,
        damaged: 0,
        damaged_bytes: 0,
    }
}

/// Copies a damaged stretch to `declined/`, once, and only so much and so many.
fn set_aside(
    root: &Root,
    reader: &Reader,
    lane: Lane,
    (term, segment, _): (Term, u32, u32),
    stretch: std::ops::Range<u32>,
) -> Result<(), ShareError> {
    let folder = root.declined();
    let name = format!("damaged-{term}-{}-{segment}-{}.bin", lane.name(), stretch.start);
    let path = folder.join(name);
    let mut kept = 0;
    file::names(&folder, |name| {
        kept += usize::from(name.starts_with("damaged-"));
        Ok(())
    })?;
    if kept >= DAMAGED_FILES_MAX || stretch.is_empty() {
        return Ok(());
    }
    let Ok(aside) = root.create_new(&path) else { return Ok(()) };
    let length = (stretch.end - stretch.start).min(DAMAGED_COPY_BYTES_MAX);
    let mut piece = [0; 4_096];
    let mut done = 0;
    while done < length {
        let wanted = piece.len().min((length - done) as usize);
        let from = u64::from(stretch.start + done);
        let copied = reader
            .read_raw(&mut piece[..wanted], from)
            .and_then(|count| {
                file::write_at(&aside, &piece[..count], u64::from(done)).map(|()| count)
            })
            .map_err(|error| cannot("write", &path, &error))?;
        if copied == 0 {
            break;
        }
        done += u32::try_from(copied).expect("a small piece");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
