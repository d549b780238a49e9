//! The slots in `edge.terms`: read through a fresh open, written in place by their master.
//!
//! # Invariants
//!
//! - T1: a page that holds a valid copy of a higher term is never written.
//! - T2: a page counts only for terms that belong to it; a damaged one says nothing.
//! - T3: what a write or a sync returned is checked; neither is tried again here.
//! - T4: a copy whose write or sync failed is the next one to be written: what is shown of it
//!   may be in memory alone, and then the other copy is the newest durable one.

use std::fs::File;
use std::path::Path;

use heapless::Vec;

use super::directory::{Root, check_folder, site_of};
use super::fault::{cannot, foreign};
use super::{claims, file, segments};
use crate::engine::ident::{Lane, Term};
use crate::engine::share::{ShareError, Survey, TermMark};
use crate::engine::slot::{COPY_BYTES, HeaderOf, Slot};
use crate::limits::{SLOT_BYTES, SLOTS, TERMS_SHOWN_MAX};

/// The newest known slot and so many after it are read at each poll.
const TERMS_AHEAD: Term = 3;

/// What came of writing a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wrote {
    /// It is written and synced.
    Slot,
    /// T1: a higher term stands there; nothing was written.
    Superseded(Term),
    /// The page no longer holds what this process wrote there last: another file.
    Replaced,
}

/// What this process wrote last.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct LastWrite {
    /// What is durable: (term, heartbeat).
    pub(super) done: Option<(Term, u64)>,
    /// T4: where a copy begins that may be shown and is perhaps not durable.
    doubtful: Option<u64>,
}

/// Opens `edge.terms` afresh and checks that it is this site's.
pub(super) fn open(root: &Root) -> Result<File, ShareError> {
    let path = root.terms();
    let file = root.open(&path).map_err(|error| cannot("open", &path, &error))?;
    checked(root, file)
}

/// The same, for writing.
fn open_writable(root: &Root) -> Result<File, ShareError> {
    let path = root.terms();
    let file = root.open_writable(&path).map_err(|error| cannot("open", &path, &error))?;
    checked(root, file)
}

fn checked(root: &Root, file: File) -> Result<File, ShareError> {
    let path = root.terms();
    let found = site_of(&file, &path, HeaderOf::Terms)?;
    if found == root.site { Ok(file) } else { Err(foreign(&path, found, root.site)) }
}

/// The slot in the page of `term`, of whatever term it is (T2).
pub(super) fn read(file: &File, path: &Path, term: Term) -> Result<Option<Slot>, ShareError> {
    let mut page = [0; SLOT_BYTES];
    file::read_at(file, &mut page, Slot::page_offset(term))
        .map_err(|error| cannot("read", path, &error))?;
    Ok(Slot::decode_page(&page).filter(|slot| slot.term % SLOTS == term % SLOTS))
}

/// The newest of the slot of `newest` and those after it.
pub(super) fn read_ahead(
    file: &File,
    path: &Path,
    newest: Term,
) -> Result<Option<Slot>, ShareError> {
    let mut best = None;
    for ahead in 0..=TERMS_AHEAD {
        best = newer(best, read(file, path, newest.wrapping_add(ahead))?);
    }
    Ok(best)
}

/// The newest of all slots.
pub(super) fn newest(file: &File, path: &Path) -> Result<Option<Slot>, ShareError> {
    let mut best = None;
    for index in 0..SLOTS {
        best = newer(best, read(file, path, index)?);
    }
    Ok(best)
}

/// A poll's look: the newest slot, and with no valid slot at all the highest number taken.
///
/// Where the newest known term's page tells nothing, all are read.
pub(super) fn poll(
    root: &Root,
    all: bool,
    newest: Term,
) -> Result<(Option<Slot>, Term), ShareError> {
    let (file, path) = (open(root)?, root.terms());
    if all {
        // found now, not when a claim is called for
        check_folder(&root.claims())?;
    }
    if !all && newest > 0 {
        let seen = read_ahead(&file, &path, newest)?;
        if seen.as_ref().is_some_and(|slot| slot.term >= newest) {
            return Ok((seen, 0));
        }
    }
    let best = self::newest(&file, &path)?;
    if best.is_some() {
        return Ok((best, 0));
    }
    Ok((None, claims::highest(root)?.max(segments::highest_term(root)?)))
}

/// What all slots together say, through a fresh open.
pub(super) fn survey(root: &Root) -> Result<Survey, ShareError> {
    read_all(&open(root)?, &root.terms())
}

/// What all slots of an open file together say.
pub(super) fn read_all(file: &File, path: &Path) -> Result<Survey, ShareError> {
    let mut survey = Survey {
        newest: None,
        before: None,
        fence_ms_max: 0,
        cursors: Default::default(),
        marks: Vec::new(),
    };
    for index in 0..SLOTS {
        if let Some(slot) = read(file, path, index)? {
            take(&mut survey, &slot);
            survey.newest = newer(survey.newest, Some(slot));
        }
    }
    if let Some(newest) = &survey.newest {
        let before = newest.term - 1;
        survey.before = read(file, path, before)?.filter(|slot| slot.term == before);
    }
    Ok(survey)
}

/// The slots of the newest terms, the oldest first.
pub(super) fn recent(file: &File, path: &Path) -> Result<Vec<Slot, TERMS_SHOWN_MAX>, ShareError> {
    let newest = newest(file, path)?.map_or(0, |slot| slot.term);
    let first = newest.saturating_sub(SLOTS - 1).max(1);
    let mut recent = Vec::new();
    for term in (first..=newest).rev() {
        let slot = read(file, path, term)?.filter(|slot| slot.term == term);
        if slot.is_some_and(|slot| recent.push(slot).is_err()) {
            break;
        }
    }
    recent.reverse();
    Ok(recent)
}

/// Writes a slot into the copy that does not hold the newest one, and syncs it (T1, T3).
pub(super) fn write(root: &Root, slot: &Slot, last: &mut LastWrite) -> Result<Wrote, ShareError> {
    let (file, path) = (open_writable(root)?, root.terms());
    let (there, free) = stand(&file, &path, slot.term)?;
    let there = there.map_or((0, 0), |there| (there.term, there.heartbeat));
    if there.0 > slot.term {
        return Ok(Wrote::Superseded(there.0));
    }
    if last.done.is_some_and(|done| done.0 == slot.term && there < done) {
        return Ok(Wrote::Replaced);
    }
    let page = Slot::page_offset(slot.term);
    let in_page = |at: &u64| (page..page + SLOT_BYTES as u64).contains(at);
    let offset = last.doubtful.filter(in_page).unwrap_or(free);
    last.doubtful = Some(offset);
    let mut copy = [0; COPY_BYTES];
    slot.encode(&mut copy);
    file::write_at(&file, &copy, offset).map_err(|error| cannot("write", &path, &error))?;
    file::sync(&file).map_err(|error| cannot("sync", &path, &error))?;
    *last = LastWrite { done: Some((slot.term, slot.heartbeat)), doubtful: None };
    Ok(Wrote::Slot)
}

/// The slot in the page of `term`, and where the other copy begins: the newest valid copy is
/// never written over.
fn stand(file: &File, path: &Path, term: Term) -> Result<(Option<Slot>, u64), ShareError> {
    let mut page = [0; SLOT_BYTES];
    file::read_at(file, &mut page, Slot::page_offset(term))
        .map_err(|error| cannot("read", path, &error))?;
    let newest = Slot::decode_page(&page);
    let first = newest.is_some() && Slot::decode(&page[..COPY_BYTES]) == newest;
    let offset = if first { COPY_BYTES as u64 } else { 0 };
    let newest = newest.filter(|slot| slot.term % SLOTS == term % SLOTS);
    Ok((newest, Slot::page_offset(term) + offset))
}

fn newer(best: Option<Slot>, other: Option<Slot>) -> Option<Slot> {
    let rank = |slot: &Option<Slot>| slot.as_ref().map(|slot| (slot.term, slot.heartbeat));
    if rank(&other) > rank(&best) { other } else { best }
}

fn take(survey: &mut Survey, slot: &Slot) {
    survey.fence_ms_max = survey.fence_ms_max.max(slot.fence_ms);
    for (cursor, lane) in survey.cursors.iter_mut().zip(&slot.lanes) {
        if lane.cursor.is_past(cursor) {
            *cursor = lane.cursor;
        }
    }
    let newest_segment = Lane::ALL.map(|lane| slot.lanes[lane.index()].newest_segment);
    let last_seq = Lane::ALL.map(|lane| slot.lanes[lane.index()].last_seq);
    let mark = TermMark { term: slot.term, newest_segment, last_seq };
    survey.marks.push(mark).expect("T2: one mark for each page");
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::{Folder, slot};
    use super::*;
    use crate::engine::ident::Cursor;
    use crate::engine::share::ShareFault;

    fn put(root: &Root, slot: &Slot) -> Wrote {
        write(root, slot, &mut LastWrite::default()).expect("written")
    }

    #[test]
    fn a_poll_reads_the_newest_and_the_three_after_it() {
        let folder = Folder::new();
        let root = folder.root();
        assert_eq!(poll(&root, false, 0).expect("polled"), (None, 0));
        put(&root, &slot(1, 1));
        put(&root, &slot(4, 1));
        put(&root, &slot(5, 1));
        let newest =
            |all, newest| poll(&root, all, newest).expect("polled").0.map(|slot| slot.term);
        assert_eq!(newest(false, 1), Some(4), "5 is beyond the look");
        assert_eq!(newest(false, 4), Some(5));
        assert_eq!(newest(true, 1), Some(5));
        assert_eq!(newest(false, 0), Some(5));
    }

    #[test]
    fn a_damaged_newest_page_makes_a_poll_read_all() {
        let folder = Folder::new();
        let root = folder.root();
        for term in [1, 2, 300] {
            put(&root, &slot(term, 1));
        }
        damage(&root, 300);
        let (seen, taken) = poll(&root, false, 300).expect("polled");
        assert_eq!((seen.map(|slot| slot.term), taken), (Some(2), 0));
    }

    #[test]
    fn with_no_valid_slot_the_highest_number_taken_is_listed() {
        let folder = Folder::new();
        let root = folder.root();
        fs::write(root.claims().join("12"), b"gw").expect("written");
        fs::write(root.claims().join("x13"), b"gw").expect("written");
        assert_eq!(poll(&root, false, 0).expect("polled"), (None, 12));
        let segment = root.lane(Lane::Alerts).join("00000017-000001.seg");
        fs::write(segment, b"").expect("written");
        assert_eq!(poll(&root, true, 40).expect("polled"), (None, 17));
        put(&root, &slot(3, 1));
        assert_eq!(poll(&root, false, 0).expect("polled").1, 0);
        damage(&root, 3);
        assert_eq!(poll(&root, false, 3).expect("polled"), (None, 17));
    }

    #[test]
    fn a_higher_term_in_the_page_is_never_covered() {
        let folder = Folder::new();
        let root = folder.root();
        put(&root, &slot(7 + SLOTS, 1));
        let before = fs::read(root.terms()).expect("read");
        assert_eq!(put(&root, &slot(7, 2)), Wrote::Superseded(7 + SLOTS), "T1");
        assert_eq!(fs::read(root.terms()).expect("read"), before);
        assert_eq!(put(&root, &slot(7 + 2 * SLOTS, 1)), Wrote::Slot);
    }

    #[test]
    fn a_page_that_went_back_is_another_file() {
        let folder = Folder::new();
        let root = folder.root();
        let mut last = LastWrite::default();
        assert_eq!(write(&root, &slot(7, 1), &mut last).expect("written"), Wrote::Slot);
        let old = fs::read(root.terms()).expect("read");
        assert_eq!(write(&root, &slot(7, 2), &mut last).expect("written"), Wrote::Slot);
        fs::write(root.terms(), old).expect("written");
        assert_eq!(write(&root, &slot(7, 3), &mut last).expect("asked"), Wrote::Replaced);
        assert_eq!(write(&root, &slot(8, 1), &mut last).expect("written"), Wrote::Slot);
    }

    #[test]
    fn a_survey_gathers_what_all_slots_say() {
        let folder = Folder::new();
        let root = folder.root();
        let mut third = slot(3, 9);
        third.fence_ms = 9_000;
        third.lanes[0].cursor = Cursor { term: 2, segment: 1, offset: 64, seq: 50 };
        third.lanes[1].newest_segment = 4;
        let mut fourth = slot(4, 1);
        fourth.lanes[0].cursor = Cursor { term: 2, segment: 1, offset: 64, seq: 20 };
        fourth.lanes[1].cursor = Cursor { term: 3, segment: 4, offset: 64, seq: 1 };
        for each in [&slot(1, 1), &third, &fourth] {
            put(&root, each);
        }
        let seen = survey(&root).expect("surveyed");
        assert_eq!(seen.newest, Some(fourth.clone()));
        assert_eq!(seen.before, Some(third.clone()));
        assert_eq!(seen.fence_ms_max, 9_000);
        assert_eq!(seen.cursors, [third.lanes[0].cursor, fourth.lanes[1].cursor]);
        assert_eq!(seen.marks.len(), 3);
        assert!(seen.marks.contains(&TermMark {
            term: 3,
            newest_segment: [0, 4],
            last_seq: [0; 2]
        }));
        damage(&root, 3);
        let seen = survey(&root).expect("surveyed");
        assert_eq!((seen.before, seen.marks.len()), (None, 2), "1 is not the one before 4");
    }

    #[test]
    fn the_newest_terms_are_told_the_oldest_first() {
        let folder = Folder::new();
        let root = folder.root();
        let terms = |root: &Root| -> std::vec::Vec<Term> {
            let file = open(root).expect("opened");
            let recent = recent(&file, &root.terms()).expect("read");
            recent.iter().map(|slot| slot.term).collect()
        };
        assert!(terms(&root).is_empty());
        for term in [1, 2, 250, 251, 257, 300] {
            put(&root, &slot(term, 1));
        }
        damage(&root, 251);
        assert_eq!(terms(&root), [250, 257, 300], "1 and 2 are more than 256 below");
        for term in 301..=330 {
            put(&root, &slot(term, 1));
        }
        let newest: std::vec::Vec<Term> = (315..=330).collect();
        assert_eq!(terms(&root), newest);
    }

    #[test]
    fn a_slot_in_a_foreign_page_does_not_count() {
        let folder = Folder::new();
        let root = folder.root();
        put(&root, &slot(9, 1));
        let mut bytes = fs::read(root.terms()).expect("read");
        let page = |term| usize::try_from(Slot::page_offset(term)).expect("small");
        bytes.copy_within(page(9)..page(9) + SLOT_BYTES, page(200));
        fs::write(root.terms(), bytes).expect("written");
        let file = open(&root).expect("opened");
        assert_eq!(read(&file, &root.terms(), 200).expect("read"), None, "T2");
    }

    #[test]
    fn a_foreign_file_is_missing() {
        let (folder, other) = (Folder::new(), Folder::new());
        let (root, foreign) = (folder.root(), other.root());
        fs::rename(foreign.terms(), root.terms()).expect("renamed");
        let error = poll(&root, false, 1).expect_err("foreign");
        assert_eq!(error.fault, ShareFault::Missing);
    }

    fn damage(root: &Root, term: Term) {
        let mut bytes = fs::read(root.terms()).expect("read");
        let page = usize::try_from(Slot::page_offset(term)).expect("small");
        for copy in [page, page + COPY_BYTES] {
            bytes[copy + 20] ^= 0x55;
        }
        fs::write(root.terms(), bytes).expect("written");
    }
}
