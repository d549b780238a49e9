//! Reads a whole journal, and tells what is whole and what is not. Changes nothing.
//!
//! # Invariants
//!
//! - V1: what forwarding would pass over is told: the same reader reads here.
//! - V2: a torn tail is no damage by itself, since nothing in it was acknowledged; if it was,
//!   seqs are missing, which shows in the next segment, or in the slot of a released term.
//! - V3: the site may run meanwhile: a segment that is swept away is left out.
//!
//! What lay before the first segment that is there was forwarded, or cannot be told from that.

use std::io;

use heapless::String;
use serde::{Deserialize, Serialize};

use super::directory::{self, Root};
use super::fault::cannot;
use super::reader::{Reader, Stand, length_of};
use super::segments::Listed;
use super::{segments, terms};
use crate::engine::ident::{Lane, Term};
use crate::engine::segment::{FIRST_OFFSET, GroupHead, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::engine::share::ShareError;

/// What was found in a lane's folder.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Finding {
    /// A segment.
    Segment(SegmentReport),
    /// A file that is none of ours.
    Unknown {
        /// The lane.
        lane: Lane,
        /// Its name, as far as it fits.
        name: String<64>,
    },
    /// Records of a released term that no segment holds, after its last one.
    Cut {
        /// The lane.
        lane: Lane,
        /// The term.
        term: Term,
        /// How many.
        missing: u64,
    },
}

/// What a segment holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SegmentReport {
    /// Its lane.
    pub lane: Lane,
    /// Its term.
    pub term: Term,
    /// Its number.
    pub number: u32,
    /// Its length, in bytes.
    pub bytes: u64,
    /// Records that were not in it, or in a segment before it, already.
    pub records: u64,
    /// Seq of the first of them; 0: there is none.
    pub first_seq: u64,
    /// Seq of the last of them; 0: there is none.
    pub last_seq: u64,
    /// Records that came again: their first append had failed.
    pub repeated: u64,
    /// Records that are missing before or among them.
    pub missing: u64,
    /// Damaged stretches; a damaged or foreign header is one.
    pub damaged: u64,
    /// Their bytes.
    pub damaged_bytes: u64,
    /// Bytes that no whole group follows (V2).
    pub torn_bytes: u64,
}

impl SegmentReport {
    /// Whether something was lost.
    pub const fn is_damaged(&self) -> bool {
        self.damaged > 0 || self.missing > 0
    }

    fn damage(&mut self, bytes: u64) {
        self.damaged += 1;
        self.damaged_bytes += bytes;
    }
}

/// The last seq that was seen of a lane and term.
#[derive(Clone, Copy)]
struct Seen {
    term: Term,
    /// `None`: nothing yet, and where it begins is not known.
    last_seq: Option<u64>,
}

/// Reads the journal of a data directory and tells each finding, lane after lane, in order.
///
/// # Errors
///
/// There is no data directory, or it cannot be read; the text says why.
pub fn verify(path: &std::path::Path, mut tell: impl FnMut(Finding)) -> Result<(), ShareError> {
    let (root, _) = directory::find(path)?;
    let mut window = Vec::new();
    for lane in Lane::ALL {
        let Listed { found, others } = segments::list(&root, lane)?;
        let mut seen = Seen { term: 0, last_seq: None };
        for (term, number) in found {
            if term != seen.term {
                tell_cut(&root, lane, seen, &mut tell)?;
                // a term's first segment begins with its first record
                seen = Seen { term, last_seq: (number == 1).then_some(0) };
            }
            let header = SegmentHeader { site: root.site, term, lane, number };
            if let Some(report) = read(&root, &header, &mut seen, &mut window)? {
                tell(Finding::Segment(report));
            }
        }
        tell_cut(&root, lane, seen, &mut tell)?;
        for name in others {
            let mut fits = String::new();
            // a longer name is cut
            let _ = name.chars().try_for_each(|letter| fits.push(letter));
            tell(Finding::Unknown { lane, name: fits });
        }
    }
    Ok(())
}

/// V2: what the slot of a released term says that it held.
fn tell_cut(
    root: &Root,
    lane: Lane,
    seen: Seen,
    tell: &mut impl FnMut(Finding),
) -> Result<(), ShareError> {
    let Some(last_seq) = seen.last_seq.filter(|last_seq| *last_seq > 0) else {
        return Ok(());
    };
    let slot = terms::read(&terms::open(root)?, &root.terms(), seen.term)?;
    let slot = slot.filter(|slot| slot.term == seen.term && slot.is_released());
    let missing = slot.map_or(0, |slot| slot.lanes[lane.index()].last_seq.saturating_sub(last_seq));
    if missing > 0 {
        tell(Finding::Cut { lane, term: seen.term, missing });
    }
    Ok(())
}

/// Reads a segment to its end; `None`: it is gone (V3).
fn read(
    root: &Root,
    header: &SegmentHeader,
    seen: &mut Seen,
    window: &mut Vec<u8>,
) -> Result<Option<SegmentReport>, ShareError> {
    let SegmentHeader { lane, term, number, .. } = *header;
    let path = segments::path_of(root, lane, term, number);
    let file = match root.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot("open", &path, &error)),
    };
    let bytes = file.metadata().map_err(|error| cannot("look at", &path, &error))?.len();
    let mut report = SegmentReport {
        lane,
        term,
        number,
        bytes,
        records: 0,
        first_seq: 0,
        last_seq: 0,
        repeated: 0,
        missing: 0,
        damaged: 0,
        damaged_bytes: 0,
        torn_bytes: 0,
    };
    let mut reader = Reader::new(file, path, header.groups(), std::mem::take(window));
    reader.limit(u32::MAX)?;
    walk(&mut reader, header, seen, &mut report)?;
    if let Some(beyond) = bytes.checked_sub(u64::from(reader.end())).filter(|beyond| *beyond > 0) {
        report.damage(beyond);
    }
    *window = reader.into_window();
    Ok(Some(report))
}

fn walk(
    reader: &mut Reader,
    header: &SegmentHeader,
    seen: &mut Seen,
    report: &mut SegmentReport,
) -> Result<(), ShareError> {
    let is_ours =
        SegmentHeader::decode(reader.view(0, SEGMENT_HEADER_BYTES)?).as_ref() == Some(header);
    let mut offset = if is_ours { FIRST_OFFSET } else { 0 };
    loop {
        let stand = if offset == 0 { Stand::Broken } else { reader.group_at(offset)? };
        match stand {
            Stand::Whole(head) => {
                count(&head, seen, report);
                offset += length_of(&head);
            }
            Stand::End => return Ok(()),
            Stand::Broken => {
                let Some(next) = reader.next_whole(offset)? else {
                    report.torn_bytes = u64::from(reader.end() - offset);
                    return Ok(());
                };
                report.damage(u64::from(next - offset));
                offset = next;
            }
        }
    }
}

/// Takes a group's seqs into account.
fn count(head: &GroupHead, seen: &mut Seen, report: &mut SegmentReport) {
    let last = head.first_seq + u64::from(head.count) - 1;
    let before = seen.last_seq.unwrap_or(head.first_seq - 1);
    let first = head.first_seq.max(before + 1);
    report.missing += first - (before + 1);
    let new = (last + 1).saturating_sub(first);
    report.repeated += u64::from(head.count) - new;
    if new > 0 {
        report.records += new;
        if report.first_seq == 0 {
            report.first_seq = first;
        }
        report.last_seq = last;
        seen.last_seq = Some(last);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::{Folder, group, slot};
    use super::*;
    use crate::engine::slot::{LaneMark, ReleaseReason, SlotState};

    const LANE: Lane = Lane::Readings;

    /// Writes a segment of term 3.
    fn segment(root: &Root, number: u32, groups: &[Vec<u8>]) -> std::path::PathBuf {
        segments::create(root, LANE, 3, number).expect("created");
        let path = segments::path_of(root, LANE, 3, number);
        let mut bytes = fs::read(&path).expect("read");
        bytes.extend(groups.concat());
        fs::write(&path, bytes).expect("written");
        path
    }

    fn findings(folder: &Folder) -> Vec<Finding> {
        let mut findings = Vec::new();
        verify(&folder.path, |finding| findings.push(finding)).expect("a journal");
        findings
    }

    fn reports(folder: &Folder) -> Vec<SegmentReport> {
        let segments = findings(folder).into_iter().map(|finding| match finding {
            Finding::Segment(report) => report,
            Finding::Unknown { .. } | Finding::Cut { .. } => panic!("{finding:?}"),
        });
        segments.collect()
    }

    #[test]
    fn a_whole_journal_is_counted() {
        let folder = Folder::new();
        let root = folder.root();
        segment(&root, 1, &[group(1, 3), group(4, 2)]);
        // an append that failed was written again
        segment(&root, 2, &[group(4, 2), group(6, 1)]);
        segment(&root, 3, &[]);
        let found = reports(&folder);
        let seqs: Vec<_> =
            found.iter().map(|one| (one.records, one.first_seq, one.last_seq)).collect();
        assert_eq!(seqs, [(5, 1, 5), (1, 6, 6), (0, 0, 0)]);
        assert_eq!(found[1].repeated, 2);
        assert!(found.iter().all(|one| !one.is_damaged() && one.torn_bytes == 0));
    }

    #[test]
    fn what_was_swept_is_not_missed() {
        let folder = Folder::new();
        let root = folder.root();
        segment(&root, 4, &[group(100, 3)]);
        assert!(!reports(&folder)[0].is_damaged());
    }

    #[test]
    fn damage_gaps_and_torn_tails_are_told_apart() {
        let folder = Folder::new();
        let root = folder.root();
        let path = segment(&root, 1, &[group(1, 3), group(4, 2), group(6, 1)]);
        let mut bytes = fs::read(&path).expect("read");
        let second = 64 + group(1, 3).len();
        bytes[second + 40] ^= 1;
        let whole = bytes.len();
        bytes.extend_from_slice(&group(7, 9)[..50]);
        fs::write(&path, &bytes).expect("written");
        let found = reports(&folder).remove(0);
        assert_eq!((found.records, found.missing), (4, 2));
        assert_eq!((found.damaged, found.damaged_bytes), (1, group(4, 2).len() as u64));
        assert_eq!((found.torn_bytes, found.bytes), (50, whole as u64 + 50));
        assert!(found.is_damaged());
        segment(&root, 2, &[group(9, 1)]);
        assert_eq!(reports(&folder)[1].missing, 2, "V2");
    }

    #[test]
    fn a_group_that_came_before_is_no_damage_behind_damage_either() {
        let folder = Folder::new();
        let root = folder.root();
        let groups = [group(1, 3), group(4, 2), group(2, 4), group(6, 1)];
        let path = segment(&root, 1, &groups);
        let mut bytes = fs::read(&path).expect("read");
        bytes[64 + groups[0].len() + 40] ^= 1;
        fs::write(&path, &bytes).expect("written");
        let found = reports(&folder).remove(0);
        assert_eq!((found.records, found.missing, found.repeated), (6, 0, 2), "V1");
        assert_eq!((found.damaged, found.damaged_bytes), (1, groups[1].len() as u64), "V1");
    }

    #[test]
    fn a_foreign_header_and_an_emptied_file_are_seen() {
        let folder = Folder::new();
        let root = folder.root();
        let path = segment(&root, 1, &[group(1, 3)]);
        let mut bytes = fs::read(&path).expect("read");
        bytes[12] ^= 1;
        fs::write(&path, &bytes).expect("written");
        let found = reports(&folder).remove(0);
        assert_eq!((found.damaged, found.damaged_bytes, found.records), (1, 64, 3));
        fs::write(&path, b"").expect("emptied");
        let found = reports(&folder).remove(0);
        assert_eq!((found.bytes, found.records, found.torn_bytes), (0, 0, 0));
        segment(&root, 2, &[group(4, 1)]);
        assert_eq!(reports(&folder)[1].missing, 3);
    }

    #[test]
    fn a_released_term_says_how_far_it_went() {
        let folder = Folder::new();
        let root = folder.root();
        segment(&root, 1, &[group(1, 3)]);
        let mut released = slot(3, 1);
        released.state = SlotState::Released { reason: ReleaseReason::Stopped, successor: None };
        released.lanes[LANE.index()] = LaneMark { last_seq: 7, ..LaneMark::default() };
        terms::write(&root, &released, &mut terms::LastWrite::default()).expect("written");
        let cut = Finding::Cut { lane: LANE, term: 3, missing: 4 };
        assert_eq!(findings(&folder)[1..], [cut]);
    }

    #[test]
    fn unknown_files_are_named() {
        let folder = Folder::new();
        let root = folder.root();
        fs::write(root.lane(LANE).join("notes.txt"), b"mine").expect("written");
        let name = String::try_from("notes.txt").expect("short");
        assert_eq!(findings(&folder), [Finding::Unknown { lane: LANE, name }]);
    }
}
