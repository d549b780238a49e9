//! The journal's files as their own master makes, extends and deletes them.
//!
//! # Invariants
//!
//! - G1: a segment is created exclusively, with its header, and durable before anything
//!   names it; only a header that nothing follows may be written anew.
//! - G2: groups go exactly behind those that are there; a writer that failed is dropped,
//!   and a segment that is longer than it should be is never written again.
//! - G3: a name is `<term>-<number>.seg`, eight and six digits or more; what is named
//!   otherwise is not ours and stays.
//! - G4: what went to a file that was deleted meanwhile counts as not written.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::directory::{self, Root};
use super::fault::{cannot, missing, said, short_name};
use super::file;
use crate::engine::ident::{Cursor, Lane, Term};
use crate::engine::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::engine::share::{Append, ShareError, ShareFault};

/// The open end of a lane's newest segment.
#[derive(Debug)]
pub(super) struct Writer {
    term: Term,
    segment: u32,
    file: File,
    end: u64,
}

/// Where a segment is.
pub(super) fn path_of(root: &Root, lane: Lane, term: Term, number: u32) -> PathBuf {
    root.lane(lane).join(format!("{term:08}-{number:06}.seg"))
}

/// The term and number that a file's name says (G3).
fn parse_name(name: &str) -> Option<(Term, u32)> {
    parse_stem(name.strip_suffix(".seg")?)
}

/// The term and number that a name says before its suffix (G3).
pub(super) fn parse_stem(stem: &str) -> Option<(Term, u32)> {
    let (term, number) = stem.split_once('-')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if term.len() < 8 || number.len() < 6 || !digits(term) || !digits(number) {
        return None;
    }
    Some((term.parse().ok()?, number.parse().ok()?))
}

/// What lies in a lane's folder.
pub(super) struct Listed {
    /// The segments, in their order.
    pub(super) found: Vec<(Term, u32)>,
    /// The names of everything else.
    pub(super) others: Vec<String>,
}

/// Lists a lane.
pub(super) fn list(root: &Root, lane: Lane) -> Result<Listed, ShareError> {
    let (mut found, mut others) = (Vec::new(), Vec::new());
    file::names(&root.lane(lane), |name| {
        match parse_name(name) {
            Some(number) => found.push(number),
            None => others.push(name.to_owned()),
        }
        Ok(())
    })?;
    found.sort_unstable();
    Ok(Listed { found, others })
}

/// Creates a segment of our own term with its header, and makes both durable (G1).
pub(super) fn create(root: &Root, lane: Lane, term: Term, number: u32) -> Result<(), ShareError> {
    let path = path_of(root, lane, term, number);
    let header = SegmentHeader { site: root.site, term, lane, number }.encode();
    let mut created = root.create_new(&path);
    if created.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        // somebody has deleted the folder: what was in it is missed when it is read
        directory::check_site(root)?;
        directory::make_lanes(root)?;
        created = root.create_new(&path);
    }
    let file = match created {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            reopen_bare(root, &path, &header)?
        }
        Err(error) => return Err(cannot("create", &path, &error)),
    };
    file::write_at(&file, &header, 0)
        .and_then(|()| file::sync_all(&file))
        .map_err(|error| cannot("write", &path, &error))?;
    file::sync_directory(&root.lane(lane))
}

/// Opens a segment that an attempt of ours left behind: its header or a part of it at most.
fn reopen_bare(
    root: &Root,
    path: &Path,
    header: &[u8; SEGMENT_HEADER_BYTES],
) -> Result<File, ShareError> {
    let file = root.open_writable(path).map_err(|error| cannot("open", path, &error))?;
    let mut there = [0; SEGMENT_HEADER_BYTES + 1];
    let length =
        file::read_at(&file, &mut there, 0).map_err(|error| cannot("read", path, &error))?;
    if header.starts_with(&there[..length.min(SEGMENT_HEADER_BYTES)])
        && length <= SEGMENT_HEADER_BYTES
    {
        return Ok(file);
    }
    let name = short_name(path);
    let text = format_args!("journal: cannot create {name}: it is there already");
    Err(said(ShareFault::Other, libc::EEXIST, text))
}

/// Writes sealed groups and syncs them. A writer that failed is gone.
pub(super) fn append(
    root: &Root,
    writer: &mut Option<Writer>,
    order: Append,
    groups: &[u8],
) -> Result<(), ShareError> {
    let path = path_of(root, order.lane, order.term, order.segment);
    if groups.len() as u64 != u64::from(order.bytes) {
        return Err(misplaced(&path, groups.len() as u64, "bytes to write", order.bytes));
    }
    let mut open = match writer.take() {
        Some(open) if (open.term, open.segment) == (order.term, order.segment) => open,
        Some(_) | None => open_end(root, &path, order)?,
    };
    let seen = open.file.metadata().map_err(|error| cannot("look at", &path, &error))?;
    if seen.len() != u64::from(order.offset) {
        return Err(misplaced(&path, seen.len(), "bytes long", order.offset));
    }
    if let Err(error) = file::write_at(&open.file, groups, open.end) {
        // the part that was written is cut off, so that the same groups may go here later
        let _ = file::cut(&open.file, open.end);
        return Err(cannot("write", &path, &error));
    }
    file::sync(&open.file).map_err(|error| cannot("sync", &path, &error))?;
    let seen = open.file.metadata().map_err(|error| cannot("look at", &path, &error))?;
    if file::is_deleted(&seen, &path) {
        return Err(deleted(&path));
    }
    open.end += groups.len() as u64;
    *writer = Some(open);
    Ok(())
}

fn open_end(root: &Root, path: &Path, order: Append) -> Result<Writer, ShareError> {
    let file = root.open_writable(path).map_err(|error| cannot("open", path, &error))?;
    let seen = file.metadata().map_err(|error| cannot("look at", path, &error))?;
    Ok(Writer { term: order.term, segment: order.segment, file, end: seen.len() })
}

fn deleted(path: &Path) -> ShareError {
    let name = short_name(path);
    missing(format_args!("journal: cannot write {name}: somebody has deleted it"))
}

fn misplaced(path: &Path, found: u64, what: &str, expected: u32) -> ShareError {
    let name = short_name(path);
    let text = format_args!("journal: cannot write {name}: {found} {what}, expected {expected}");
    said(ShareFault::Other, 0, text)
}

/// The number of the newest segment of a term; 0: none.
pub(super) fn newest(root: &Root, lane: Lane, term: Term) -> Result<u32, ShareError> {
    let mut newest = 0;
    file::names(&root.lane(lane), |name| {
        if let Some((_, number)) = parse_name(name).filter(|&(of, _)| of == term) {
            newest = newest.max(number);
        }
        Ok(())
    })?;
    Ok(newest)
}

/// The highest term that any segment's name says; 0: none.
pub(super) fn highest_term(root: &Root) -> Result<Term, ShareError> {
    let mut highest = 0;
    for lane in Lane::ALL {
        file::names(&root.lane(lane), |name| {
            highest = highest.max(parse_name(name).map_or(0, |(term, _)| term));
            Ok(())
        })?;
    }
    Ok(highest)
}

/// Deletes what lies before (term, segment) of a cursor; the bytes that are left of the lane.
pub(super) fn sweep(root: &Root, lane: Lane, before: Cursor) -> Result<u64, ShareError> {
    let folder = root.lane(lane);
    let (mut left, mut deleted) = (0, false);
    file::names(&folder, |name| {
        let Some(number) = parse_name(name) else { return Ok(()) };
        let path = folder.join(name);
        if number < (before.term, before.segment) {
            return match file::delete(&path) {
                // a folder is not ours (G3)
                Err(_) if path.is_dir() => Ok(()),
                done => {
                    deleted = true;
                    done
                }
            };
        }
        match fs::metadata(&path) {
            Ok(seen) => left += seen.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot("look at", &path, &error)),
        }
        Ok(())
    })?;
    if deleted {
        file::sync_directory(&folder)?;
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, group};
    use super::*;

    const LANE: Lane = Lane::Readings;

    fn at(offset: usize, groups: &[u8]) -> Append {
        let offset = u32::try_from(offset).expect("small");
        let bytes = u32::try_from(groups.len()).expect("small");
        Append { lane: LANE, term: 3, segment: 1, offset, bytes }
    }

    #[test]
    fn names_read_back() {
        let folder = Folder::new();
        let root = folder.root();
        let name = |term, number| {
            let path = path_of(&root, LANE, term, number);
            path.file_name().expect("a name").to_string_lossy().into_owned()
        };
        assert_eq!(name(7, 3), "00000007-000003.seg");
        for (term, number) in [(1, 1), (99_999_999, 999_999), (u32::MAX, u32::MAX)] {
            assert_eq!(parse_name(&name(term, number)), Some((term, number)));
        }
        for bad in ["7-3.seg", "00000007-000003.tmp", "+0000007-000003.seg", "x", "-.seg"] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn groups_go_exactly_behind_each_other() {
        let folder = Folder::new();
        let root = folder.root();
        create(&root, LANE, 3, 1).expect("created");
        let (a, b) = (group(1, 2), group(3, 1));
        let mut writer = None;
        append(&root, &mut writer, at(64, &a), &a).expect("appended");
        let early = append(&root, &mut writer, at(64, &b), &b).expect_err("G2");
        assert_eq!(early.fault, ShareFault::Other);
        let behind = at(64 + a.len(), &b);
        append(&root, &mut writer, behind, &b).expect("appended by a fresh writer");
        append(&root, &mut writer, behind, &b).expect_err("G2");
        assert!(writer.is_none());
        let gap = at(64 + a.len() + b.len() + 1, &b);
        append(&root, &mut writer, gap, &b).expect_err("G2");
        let bytes = fs::read(path_of(&root, LANE, 3, 1)).expect("read");
        assert_eq!(bytes[64..], [a, b].concat());
    }

    #[test]
    fn a_frame_of_the_wrong_length_is_not_written() {
        let folder = Folder::new();
        let root = folder.root();
        create(&root, LANE, 3, 1).expect("created");
        let a = group(1, 2);
        append(&root, &mut None, at(64, &a), &a[1..]).expect_err("too short");
        assert_eq!(fs::read(path_of(&root, LANE, 3, 1)).expect("read").len(), 64);
    }

    #[test]
    fn a_segment_that_was_left_bare_is_taken_and_a_filled_one_is_not() {
        let folder = Folder::new();
        let root = folder.root();
        let path = path_of(&root, LANE, 3, 1);
        create(&root, LANE, 3, 1).expect("created");
        create(&root, LANE, 3, 1).expect("again");
        fs::write(&path, b"EDGES").expect("a torn header");
        create(&root, LANE, 3, 1).expect("again");
        let bytes = fs::read(&path).expect("read");
        assert!(SegmentHeader::decode(&bytes).is_some());
        let a = group(1, 1);
        append(&root, &mut None, at(64, &a), &a).expect("appended");
        create(&root, LANE, 3, 1).expect_err("G1");
        fs::write(&path, [1; 64]).expect("written");
        create(&root, LANE, 3, 1).expect_err("G1: another header");
        assert_eq!(fs::read(&path).expect("read"), [1; 64]);
    }

    #[test]
    fn the_newest_is_found_by_listing() {
        let folder = Folder::new();
        let root = folder.root();
        for (term, number) in [(3, 1), (3, 12), (4, 2)] {
            create(&root, LANE, term, number).expect("created");
        }
        assert_eq!(newest(&root, LANE, 3).expect("listed"), 12);
        assert_eq!(newest(&root, LANE, 5).expect("listed"), 0);
        assert_eq!(newest(&root, Lane::Alerts, 3).expect("listed"), 0);
        assert_eq!(highest_term(&root).expect("listed"), 4);
    }

    #[test]
    fn a_sweep_deletes_only_what_lies_before_the_cursor() {
        let folder = Folder::new();
        let root = folder.root();
        for (term, number) in [(2, 9), (3, 1), (3, 2), (4, 1)] {
            create(&root, LANE, term, number).expect("created");
        }
        fs::write(root.lane(LANE).join("notes.txt"), b"mine").expect("written");
        let before = Cursor { term: 3, segment: 2, offset: 64, seq: 100 };
        assert_eq!(sweep(&root, LANE, before).expect("swept"), 128);
        assert!(!path_of(&root, LANE, 3, 1).exists());
        assert!(path_of(&root, LANE, 3, 2).exists());
        assert!(root.lane(LANE).join("notes.txt").exists(), "G3");
    }

    #[test]
    fn nothing_is_made_in_an_empty_mount_point() {
        let folder = Folder::new();
        let root = folder.root();
        fs::remove_dir_all(root.path.join("journal")).expect("deleted");
        create(&root, LANE, 3, 1).expect("the journal alone is made anew");
        let aside = folder.path.join("aside");
        fs::rename(root.terms(), &aside).expect("renamed");
        fs::remove_dir_all(root.path.join("journal")).expect("deleted");
        let error = create(&root, LANE, 3, 2).expect_err("no data directory");
        assert_eq!(error.fault, ShareFault::Missing);
        assert!(error.text.contains("is the share mounted?"), "{}", error.text);
        assert!(!root.path.join("journal").exists());
    }
}
