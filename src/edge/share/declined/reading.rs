//! Reads the declined store from its oldest entry to its newest, and lets go of what was read.

use std::vec;

use super::super::directory::Root;
use super::super::file;
use super::entry::{Entry, Scan, entries};
use super::files::{self, Content, FileOf, HEADER_BYTES, Name};
use crate::engine::ident::Term;
use crate::engine::share::ShareError;

/// Where an entry stands; a later one is greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    /// Term that wrote the file.
    pub term: Term,
    /// The file's number in that term, from 1.
    pub number: u32,
    /// Offset of the entry in it, in bytes.
    pub offset: u32,
}

impl Position {
    fn of(name: Name, offset: u32) -> Self {
        Self { term: name.term, number: name.number, offset }
    }

    fn name(self) -> Name {
        Name { term: self.term, number: self.number }
    }
}

/// The entries of the store as it was listed at the beginning. Memory is one file. A file of a
/// newer format is passed over, one that cannot be read is an error between its neighbours.
#[derive(Debug)]
pub struct Entries {
    root: Root,
    after: Option<Position>,
    files: vec::IntoIter<Name>,
    open: Option<(Name, Scan, Vec<u8>)>,
    damaged: u32,
}

impl Entries {
    /// Damaged stretches that were passed over so far.
    pub fn damaged(&self) -> u32 {
        self.damaged
    }

    fn in_file(&mut self) -> Option<(Position, Entry)> {
        let (name, scan, bytes) = self.open.as_mut()?;
        loop {
            let (offset, entry) = scan.next(bytes)?;
            self.damaged += std::mem::take(&mut scan.damaged);
            let position = Position::of(*name, offset);
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
                    self.open = Some((name, Scan::new(of, HEADER_BYTES), bytes));
                }
                Ok(Content::Newer | Content::Gone) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Reads what is not forgotten.
pub(in super::super) fn read(root: &Root) -> Result<Entries, ShareError> {
    let after = files::forgotten(root)?;
    let mut names = files::list(root)?;
    names.retain(|&name| after.is_none_or(|after| name >= after.name()));
    let files = names.into_iter();
    Ok(Entries { root: root.clone(), after, files, open: None, damaged: 0 })
}

/// Forgets everything up to and with `through`. The mark is durable before a file goes; the
/// newest file stays, since its writer may have it open.
pub(in super::super) fn forget(root: &Root, through: Position) -> Result<(), ShareError> {
    let through = files::forgotten(root)?.map_or(through, |before| before.max(through));
    files::write_forgotten(root, through)?;
    let names = files::list(root)?;
    let newest = names.last().copied();
    for name in names.into_iter().take_while(|&name| name <= through.name()) {
        let Content::Ours(bytes) = files::read(root, name)? else { continue };
        if Some(name) != newest && count(root, name, &bytes, Some(through)) == 0 {
            file::delete(&name.path(root))?;
        }
    }
    Ok(())
}

/// Deletes all files but those of a newer format; how many entries went that were not
/// forgotten.
pub(in super::super) fn purge(root: &Root) -> Result<u32, ShareError> {
    let after = files::forgotten(root)?;
    let mut gone = 0;
    for name in files::list(root)? {
        if let Content::Ours(bytes) = files::read(root, name)? {
            file::delete(&name.path(root))?;
            gone += count(root, name, &bytes, after);
        }
    }
    file::sync_directory(&root.declined())?;
    Ok(gone)
}

/// How many entries of a file stand after a position.
pub(super) fn count(root: &Root, name: Name, bytes: &[u8], after: Option<Position>) -> u32 {
    let of = FileOf { site: root.site, name };
    let later = |offset| after.is_none_or(|after| Position::of(name, offset) > after);
    let found = entries(of, bytes).filter(|&(offset, _)| later(offset)).count();
    u32::try_from(found).expect("a file is small")
}
