//! The declined store's files: their names, their headers, and how far they are forgotten.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use super::super::directory::Root;
use super::super::fault::cannot;
use super::super::{file, segments};
use crate::engine::codec::{CRC_32C, Reader, Writer};
use crate::engine::ident::{SiteId, Term};
use crate::engine::share::ShareError;
use crate::engine::slot::FORMAT;
use crate::engine::store::Position;
use crate::limits::DECLINED_FILE_BYTES_MAX;

/// Bytes of a file's header; the first entry begins here.
pub(super) const HEADER_BYTES: usize = 64;
const HEADER_MAGIC: [u8; 8] = *b"EDGEDECL";
const HEADER_SUM_AT: usize = 36;
const MARK_MAGIC: [u8; 8] = *b"EDGEDGON";
const MARK_BYTES: usize = 28;
const MARK_SUM_AT: usize = 24;

/// A file's name, in the order in which files are read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Name {
    /// The term that wrote it.
    pub(super) term: Term,
    /// Its number in that term, from 1.
    pub(super) number: u32,
}

impl Name {
    /// The file in which an entry stands.
    pub(super) const fn of(position: Position) -> Self {
        Self { term: position.term, number: position.number }
    }

    /// A place in this file.
    pub(super) const fn at(self, offset: u32) -> Position {
        Position { term: self.term, number: self.number, offset }
    }

    /// Where the file is.
    pub(super) fn path(self, root: &Root) -> PathBuf {
        root.declined().join(format!("{:08}-{:06}.log", self.term, self.number))
    }

    fn parse(name: &str) -> Option<Self> {
        let (term, number) = segments::parse_stem(name.strip_suffix(".log")?)?;
        Some(Self { term, number })
    }
}

/// Which file. The CRC of its entries covers this: what strayed here is damage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileOf {
    /// The site that it belongs to.
    pub(super) site: SiteId,
    /// Its name.
    pub(super) name: Name,
}

impl FileOf {
    /// The bytes that begin a new file.
    pub(super) fn header(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut out = Writer::new(&mut bytes);
        out.raw(&HEADER_MAGIC);
        out.u32(FORMAT);
        out.raw(&self.site.0);
        out.u32(self.name.term);
        out.u32(self.name.number);
        let sum = CRC_32C.checksum(&bytes[..HEADER_SUM_AT]);
        bytes[HEADER_SUM_AT..HEADER_SUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

/// Whether these bytes begin a file that a newer version of this program wrote.
fn is_newer(bytes: &[u8]) -> bool {
    let mut fields = Reader::new(bytes);
    let magic: [u8; 8] = fields.raw();
    let format = fields.u32();
    let _: [u8; HEADER_SUM_AT - 12] = fields.raw();
    let sum = fields.u32();
    fields.is_whole()
        && magic == HEADER_MAGIC
        && format > FORMAT
        && sum == CRC_32C.checksum(&bytes[..HEADER_SUM_AT])
}

/// The names of all files, the oldest first.
pub(super) fn list(root: &Root) -> Result<Vec<Name>, ShareError> {
    let mut found = Vec::new();
    file::names(&root.declined(), |name| {
        found.extend(Name::parse(name));
        Ok(())
    })?;
    found.sort_unstable();
    Ok(found)
}

/// Where the store ends: what is written from now on stands there or behind it.
pub(super) fn end(root: &Root) -> Result<Position, ShareError> {
    let Some(newest) = list(root)?.last().copied() else {
        return Ok(Position::default());
    };
    let path = newest.path(root);
    let length = fs::metadata(&path).map_err(|error| cannot("look at", &path, &error))?.len();
    Ok(newest.at(u32::try_from(length).unwrap_or(u32::MAX)))
}

/// What a file holds.
#[derive(Debug)]
pub(super) enum Content {
    /// Entries, perhaps damaged ones.
    Ours(Vec<u8>),
    /// It is of a newer format.
    Newer,
    /// It is not there any more.
    Gone,
}

/// Reads a file, through a fresh open.
pub(super) fn read(root: &Root, name: Name) -> Result<Content, ShareError> {
    let path = name.path(root);
    match root.open(&path) {
        Ok(file) => content(&file).map_err(|error| cannot("read", &path, &error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Content::Gone),
        Err(error) => Err(cannot("open", &path, &error)),
    }
}

/// Reads a file once it is durable: what is not is no ground to leave a record out.
pub(super) fn read_durable(root: &Root, name: Name) -> Result<Content, ShareError> {
    let path = name.path(root);
    match root.open_writable(&path) {
        Ok(file) => {
            file::sync_all(&file).map_err(|error| cannot("sync", &path, &error))?;
            content(&file).map_err(|error| cannot("read", &path, &error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Content::Gone),
        Err(error) => Err(cannot("open", &path, &error)),
    }
}

/// No writer of ours goes further than a file may be long.
fn content(file: &File) -> io::Result<Content> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(DECLINED_FILE_BYTES_MAX)];
    let filled = file::read_at(file, &mut bytes, 0)?;
    bytes.truncate(filled);
    Ok(if is_newer(&bytes) { Content::Newer } else { Content::Ours(bytes) })
}

fn mark_path(root: &Root) -> PathBuf {
    root.declined().join("forgotten")
}

/// The last entry that is forgotten. A mark that is damaged or of a newer format says nothing:
/// what is read once more is not lost.
pub(super) fn forgotten(root: &Root) -> Result<Option<Position>, ShareError> {
    let path = mark_path(root);
    let mut bytes = [0; MARK_BYTES];
    let read = root.open(&path).and_then(|file| file::read_at(&file, &mut bytes, 0));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot("read", &path, &error)),
    }
    let mut fields = Reader::new(&bytes);
    let magic: [u8; 8] = fields.raw();
    let format = fields.u32();
    let (term, number, offset) = (fields.u32(), fields.u32(), fields.u32());
    let good = magic == MARK_MAGIC
        && format == FORMAT
        && fields.u32() == CRC_32C.checksum(&bytes[..MARK_SUM_AT]);
    Ok(good.then_some(Position { term, number, offset }))
}

/// Writes the mark aside, synced, and puts it in the place of the one before.
pub(super) fn write_forgotten(root: &Root, through: Position) -> Result<(), ShareError> {
    let mut bytes = [0; MARK_BYTES];
    let mut out = Writer::new(&mut bytes);
    out.raw(&MARK_MAGIC);
    out.u32(FORMAT);
    out.u32(through.term);
    out.u32(through.number);
    out.u32(through.offset);
    let sum = CRC_32C.checksum(&bytes[..MARK_SUM_AT]);
    bytes[MARK_SUM_AT..].copy_from_slice(&sum.to_le_bytes());
    let aside = root.declined().join("forgotten.new");
    file::delete(&aside)?;
    let path = mark_path(root);
    root.create_new(&aside)
        .and_then(|file| file::write_at(&file, &bytes, 0).and_then(|()| file::sync_all(&file)))
        .and_then(|()| file::rename(&aside, &path))
        .map_err(|error| cannot("write", &path, &error))?;
    file::sync_directory(&root.declined())
}
