//! Reads the declined store from its oldest entry to its newest, and lets go of what was read.

use std::path::Path;
use std::vec;

use super::super::directory::Root;
use super::super::fault::{said, short_name};
use super::super::file;
use super::entry::{Entry, Scan, entries};
use super::files::{self, Content, FileOf, HEADER_BYTES, Name};
use crate::engine::ident::{Lane, Ranges, SiteId};
use crate::engine::share::{ShareError, ShareFault};
use crate::engine::store::{Position, ReplayFetch, Replayed};

/// The entries of the store as it was listed at the beginning. Memory is one file. A file that
/// cannot be read, or is of a newer format, is an error between its neighbours.
#[derive(Debug)]
pub struct Entries {
    root: Root,
    after: Option<Position>,
    files: vec::IntoIter<Name>,
    open: Option<(Name, Scan, Vec<u8>)>,
    damaged: u32,
}

impl Entries {
    /// The site whose store this is.
    pub fn site(&self) -> SiteId {
        self.root.site
    }

    /// Damaged stretches that were passed over so far.
    pub fn damaged(&self) -> u32 {
        self.damaged
    }

    fn in_file(&mut self) -> Option<(Position, Entry)> {
        let (name, scan, bytes) = self.open.as_mut()?;
        loop {
            let (offset, entry) = scan.next(bytes)?;
            self.damaged += std::mem::take(&mut scan.damaged);
            let position = name.at(offset);
            if self.after.is_none_or(|after| position > after) {
                return Some((position, entry));
            }
        }
    }
}

impl Iterator for Entries {
    type Item = Result<(Position, Entry), ShareError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.in_file() {
                return Some(Ok(found));
            }
            self.open = None;
            let name = self.files.next()?;
            match files::read(&self.root, name) {
                Ok(Content::Ours(bytes)) => {
                    let of = FileOf { site: self.root.site, name };
                    // What is forgotten is not looked through each time.
                    let known = self.after.filter(|after| Name::of(*after) == name);
                    let begin = known.map_or(HEADER_BYTES, |after| after.offset as usize);
                    self.open = Some((name, Scan::new(of, begin), bytes));
                }
                Ok(Content::Gone) => {}
                // passed over, its entries would count as forgotten once later ones are
                Ok(Content::Newer) => return Some(Err(written_by_newer(&name.path(&self.root)))),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn written_by_newer(path: &Path) -> ShareError {
    let name = short_name(path);
    let text = format_args!("share: {name} was written by a newer version: upgrade this node");
    said(ShareFault::Newer, 0, text)
}

/// Reads what is not forgotten.
pub(in super::super) fn read(root: &Root) -> Result<Entries, ShareError> {
    let after = files::forgotten(root)?;
    let mut names = files::list(root)?;
    names.retain(|&name| after.is_none_or(|after| name >= Name::of(after)));
    let files = names.into_iter();
    Ok(Entries { root: root.clone(), after, files, open: None, damaged: 0 })
}

/// Forgets everything up to and with `through`; how many entries are left in its file. The mark
/// is durable before a file goes; one that does not go now goes with the next.
pub(super) fn forget(root: &Root, through: Position) -> Result<u32, ShareError> {
    let through = files::forgotten(root)?.map_or(through, |before| before.max(through));
    files::write_forgotten(root, through)?;
    let mut left = 0;
    let names = files::list(root)?;
    for name in names.into_iter().take_while(|&name| name <= Name::of(through)) {
        if let Ok(Content::Ours(bytes)) = files::read(root, name) {
            left = count(root, name, &bytes, Some(through));
            if left == 0 {
                let _ = file::delete(&name.path(root));
            }
        }
    }
    Ok(left)
}

/// Deletes all files but those of a newer format; adds up how many entries went that were not
/// forgotten. What cannot be read or deleted holds up nothing else.
pub(super) fn purge(root: &Root, gone: &mut u64) -> Result<(), ShareError> {
    let after = files::forgotten(root)?;
    let mut outcome = Ok(());
    let names = files::list(root)?;
    if names.is_empty() {
        // there may not even be a folder
        return Ok(());
    }
    for name in names {
        match files::read(root, name) {
            Ok(Content::Ours(bytes)) => match file::delete(&name.path(root)) {
                Ok(()) => *gone += u64::from(count(root, name, &bytes, after)),
                Err(error) => outcome = Err(error),
            },
            Ok(Content::Newer | Content::Gone) => {}
            Err(error) => outcome = Err(error),
        }
    }
    outcome?;
    file::sync_directory(&root.declined())
}

/// Reads the next batch of a replay: the oldest records of one lane, in a few ranges. A record
/// that stands there twice goes once.
pub(super) fn batch(
    root: &Root,
    order: &ReplayFetch,
    bytes: &mut Vec<u8>,
) -> Result<Replayed, ShareError> {
    let end = order.end.map_or_else(|| files::end(root), Ok)?;
    let mut seen = Replayed {
        request: order.request,
        lane: Lane::Readings,
        ranges: Ranges::default(),
        count: 0,
        bytes: 0,
        through: Position::default(),
        end,
        left: false,
    };
    for found in read(root)? {
        let (position, entry) = match found {
            Ok(found) => found,
            Err(error) if seen.count == 0 => return Err(error),
            Err(_) => {
                seen.left = true;
                break;
            }
        };
        if position >= end {
            break;
        }
        if seen.count == 0 {
            seen.lane = entry.lane;
        }
        if !seen.ranges.has(entry.term, entry.lane, entry.seq) {
            if !fits(order, &seen, &entry, bytes.len())
                || !seen.ranges.add(entry.term, entry.lane, entry.seq)
            {
                seen.left = true;
                break;
            }
            bytes.extend_from_slice(&entry.record);
            bytes.push(b'\n');
            seen.count += 1;
        }
        seen.through = position;
    }
    seen.bytes = u32::try_from(bytes.len()).expect("a batch is small");
    Ok(seen)
}

/// Alerts go one at a time.
fn fits(order: &ReplayFetch, seen: &Replayed, entry: &Entry, bytes: usize) -> bool {
    let records_max = match seen.lane {
        Lane::Readings => order.records_max,
        Lane::Alerts => 1,
    };
    let is_first = seen.count == 0;
    let bytes_max = usize::try_from(order.bytes_max).unwrap_or(usize::MAX);
    is_first
        || (entry.lane == seen.lane
            && seen.count < records_max
            && bytes + entry.record.len() < bytes_max)
}

/// How many entries of a file stand after a position.
pub(super) fn count(root: &Root, name: Name, bytes: &[u8], after: Option<Position>) -> u32 {
    let of = FileOf { site: root.site, name };
    let later = |offset| after.is_none_or(|after| name.at(offset) > after);
    let found = entries(of, bytes).filter(|&(offset, _)| later(offset)).count();
    u32::try_from(found).expect("a file is small")
}
