//! Pages of `edge.terms`, and the headers of all files on the share.
//!
//! An input: flags; a header; a segment's header; then a page's number and its two copies, for one
//! page or more; each with its length before it. Flag 1: sums are mended, so that what lies behind
//! them is reached.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use edge_agent::engine::codec::CRC_32C;
use edge_agent::engine::ident::{Cursor, Lane, NodeName, ShareClass, SiteId, Term};
use edge_agent::engine::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use edge_agent::engine::share::{LockWish, Poll, ShareOrder, ShareOutcome, Survey};
use edge_agent::engine::slot::{
    COPY_BYTES, FORMAT, HEADER_BYTES, Header, HeaderOf, LaneMark, ReleaseReason, Slot, SlotState,
};
use edge_agent::limits::{SLOT_BYTES, SLOTS};

use super::folder::{Folder, Keeper};
use super::plan::{Plan, piece};

const MENDS: u8 = 1;
/// Pages of one input.
const PAGES_MAX: usize = 4;

type Page = [u8; SLOT_BYTES];

/// See the module.
pub fn try_one(input: &[u8]) {
    let mut plan = Plan::new(input);
    let mends = plan.u8() & MENDS != 0;
    let mut header = plan.piece().to_vec();
    let mut segment = plan.piece().to_vec();
    if mends {
        mend(&mut header, HEADER_BYTES - 4);
        mend(&mut segment, 40);
    }
    check_header(&header);
    check_segment_header(&segment);
    let mut pages: Vec<(Term, Page)> = Vec::new();
    while !plan.is_done() && pages.len() < PAGES_MAX {
        let number = Term::from(plan.u8());
        let mut page = [0; SLOT_BYTES];
        for copy in page.chunks_exact_mut(COPY_BYTES) {
            let bytes = plan.piece();
            let length = bytes.len().min(copy.len());
            copy[..length].copy_from_slice(&bytes[..length]);
            if mends {
                mend_copy(copy);
            }
            check_copy(copy);
        }
        check_page(&page);
        if pages.iter().all(|(other, _)| *other != number) {
            pages.push((number, page));
        }
    }
    if !pages.is_empty() {
        TERMS.with_borrow_mut(|terms| terms.get_or_insert_with(Terms::new).check(&pages));
    }
}

/// Puts the sum of the first bytes behind them.
fn mend(bytes: &mut [u8], length: usize) {
    if let Some((summed, rest)) = bytes.split_at_mut_checked(length)
        && let Some(sum) = rest.first_chunk_mut()
    {
        *sum = CRC_32C.checksum(summed).to_le_bytes();
    }
}

fn mend_copy(copy: &mut [u8]) {
    let length = length_of(copy);
    if let Some(fields) = copy.get(16..length) {
        let mut digest = CRC_32C.digest();
        digest.update(&copy[..12]);
        digest.update(fields);
        let sum = digest.finalize();
        copy[12..16].copy_from_slice(&sum.to_le_bytes());
    }
}

/// What a copy says of its length.
fn length_of(copy: &[u8]) -> usize {
    let length = copy[8..12].try_into().expect("four bytes");
    usize::try_from(u32::from_le_bytes(length)).expect("a u32")
}

/// What is taken for good is just what is written; what is newer is whole, but for its number.
fn check_header(bytes: &[u8]) {
    let mut known = 0;
    for of in [HeaderOf::Terms, HeaderOf::Lock] {
        match of.decode(bytes) {
            Header::Good(site) => {
                assert_eq!(bytes[..HEADER_BYTES], of.encode(site), "S4");
                known += 1;
            }
            Header::Newer(format) => {
                assert!(format > FORMAT, "S4: format {format}");
                let mut known_format = bytes[..HEADER_BYTES].to_vec();
                known_format[8..12].copy_from_slice(&FORMAT.to_le_bytes());
                mend(&mut known_format, HEADER_BYTES - 4);
                assert!(matches!(of.decode(&known_format), Header::Good(_)), "S4");
                known += 1;
            }
            Header::Damaged => {
                let site = bytes.get(12..28).map(|site| site.try_into().expect("16 bytes"));
                let is_good =
                    |site| bytes.get(..HEADER_BYTES) == Some(&of.encode(SiteId(site))[..]);
                assert!(!site.is_some_and(is_good), "S4");
            }
        }
    }
    assert!(known < 2, "a header of two files");
}

fn check_segment_header(bytes: &[u8]) {
    if let Some(header) = SegmentHeader::decode(bytes) {
        assert_eq!(bytes[..44], header.encode()[..44]);
    }
}

/// A copy is just what is written, or it is not read.
fn check_copy(copy: &[u8]) {
    let Some(slot) = Slot::decode(copy) else { return };
    let mut again = [0; COPY_BYTES];
    slot.encode(&mut again);
    let length = length_of(copy);
    assert_eq!(
        copy[..length].escape_ascii().to_string(),
        again[..length].escape_ascii().to_string(),
        "S2: {slot:?}"
    );
    assert_eq!(length, length_of(&again), "S2: {slot:?}");
    let mut damaged = copy.to_vec();
    let bit = usize::try_from(slot.nonce % (length as u64 * 8)).expect("a place in a copy");
    damaged[bit / 8] ^= 1 << (bit % 8);
    assert_eq!(Slot::decode(&damaged), None, "S2: bit {bit}");
}

fn rank(slot: &Slot) -> (Term, u64) {
    (slot.term, slot.heartbeat)
}

/// The newest whole copy counts, the first of two equal ones.
fn check_page(page: &Page) {
    let (first, second) = page.split_at(COPY_BYTES);
    let (first, second) = (Slot::decode(first), Slot::decode(second));
    let newest = match (&first, &second) {
        (Some(a), Some(b)) if rank(b) > rank(a) => &second,
        (Some(_), _) => &first,
        (None, _) => &second,
    };
    assert_eq!(&Slot::decode_page(page), newest, "S2");
}

thread_local! {
    static TERMS: RefCell<Option<Terms>> = const { RefCell::new(None) };
}

/// `edge.terms` of a data directory, read and written by a keeper.
struct Terms {
    _folder: Folder,
    file: File,
    keeper: Keeper,
}

impl Terms {
    fn new() -> Self {
        let folder = Folder::new();
        let keeper = folder.keeper();
        let path = folder.path().join("edge.terms");
        let file = OpenOptions::new().read(true).write(true).open(path).expect("made with it");
        Self { _folder: folder, file, keeper }
    }

    fn check(&mut self, pages: &[(Term, Page)]) {
        for (number, page) in pages {
            self.put(*number, page);
        }
        let valid: Vec<Slot> =
            pages.iter().filter_map(|(number, page)| counted(*number, page)).collect();
        self.check_survey(&valid);
        for (number, page) in pages {
            self.check_write(*number, page);
        }
        for (number, _) in pages {
            self.put(*number, &[0; SLOT_BYTES]);
        }
    }

    fn put(&self, number: Term, page: &Page) {
        self.file.write_all_at(page, Slot::page_offset(number)).expect("written");
    }

    fn page(&self, number: Term) -> Page {
        let mut page = [0; SLOT_BYTES];
        self.file.read_exact_at(&mut page, Slot::page_offset(number)).expect("read");
        page
    }

    /// All slots count that stand in their own page (T2), and none else.
    fn check_survey(&mut self, valid: &[Slot]) {
        let newest = valid.iter().max_by_key(|slot| rank(slot));
        let ShareOutcome::Surveyed(seen) = self.keeper.order(ShareOrder::Survey) else {
            panic!("no survey");
        };
        assert_eq!(seen.newest.as_ref(), newest, "T2");
        assert_eq!(seen.marks.len(), valid.len(), "T2");
        let fence_ms = valid.iter().map(|slot| slot.fence_ms).max().unwrap_or(0);
        assert_eq!(seen.fence_ms_max, fence_ms);
        check_cursors(&seen, valid);
        let poll = Poll { lock: LockWish::Leave, all: true, newest: 0 };
        let ShareOutcome::Polled(polled) = self.keeper.order(ShareOrder::Poll(poll)) else {
            panic!("no poll");
        };
        assert_eq!(polled.newest.as_ref(), newest, "T2");
    }

    /// A slot is written beside the newest whole copy, and never where a higher term stands (T1).
    fn check_write(&mut self, number: Term, page: &Page) {
        let there = counted(number, page);
        let at = there.as_ref().map_or(0, |slot| slot.heartbeat % 3);
        let term = match (&there, at) {
            (Some(slot), 0) => slot.term,
            (Some(slot), 1) => slot.term.saturating_sub(SLOTS).max(number),
            _ => number + SLOTS,
        };
        let mut slot = slot(term, SlotState::Active);
        slot.heartbeat = there.as_ref().map_or(1, |there| there.heartbeat.wrapping_add(1));
        if term == 0 {
            return;
        }
        // it knows of no slot that it wrote before
        self.keeper.order(ShareOrder::Release(None));
        let outcome = self.keeper.order(ShareOrder::Announce(slot.clone()));
        assert!(matches!(outcome, ShareOutcome::Surveyed(_)), "{outcome:?}");
        let after = self.page(number);
        if there.as_ref().is_some_and(|there| there.term > term) {
            assert!(after == *page, "T1: {there:?} was covered by {slot:?}");
            return;
        }
        let copies = page.chunks_exact(COPY_BYTES).zip(after.chunks_exact(COPY_BYTES));
        let changed: Vec<_> = copies.filter(|(before, after)| before != after).collect();
        assert!(changed.len() <= 1, "one copy is written");
        let newest = Slot::decode_page(page);
        for (before, after) in changed {
            assert_eq!(Slot::decode(after).as_ref(), Some(&slot));
            let was_newest = newest.is_some() && Slot::decode(before) == newest;
            let twice = page[..COPY_BYTES] == page[COPY_BYTES..];
            assert!(!was_newest || twice, "the newest whole copy was written over");
        }
    }
}

/// What a page says of the terms that belong to it.
fn counted(number: Term, page: &Page) -> Option<Slot> {
    Slot::decode_page(page).filter(|slot| slot.term % SLOTS == number)
}

fn check_cursors(seen: &Survey, valid: &[Slot]) {
    for lane in Lane::ALL {
        let furthest = seen.cursors[lane.index()];
        let cursors = || valid.iter().map(|slot| slot.lanes[lane.index()].cursor);
        assert!(cursors().all(|cursor| !cursor.is_past(&furthest)));
        assert!(furthest == Cursor::default() || cursors().any(|cursor| cursor == furthest));
    }
}

fn slot(term: Term, state: SlotState) -> Slot {
    let cursor = Cursor { term: 2, segment: 3, offset: 64, seq: 9 };
    let mark = LaneMark { cursor, newest_segment: 4, last_seq: 0 };
    Slot {
        term,
        node: NodeName::parse("gw-1").expect("a name"),
        nonce: 0xfeed_beef,
        heartbeat: 3,
        state,
        locked: 77,
        fenced: true,
        class: ShareClass::Nfs4,
        heartbeat_ms: 1_000,
        fence_ms: 5_000,
        lanes: [mark, LaneMark::default()],
        started_wall_ms: 1_800_000_000_000,
        ended_wall_ms: 0,
    }
}

/// See [`super::Target`].
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let site = SiteId([7; 16]);
    let segment = SegmentHeader { site, term: 3, lane: Lane::Readings, number: 1 }.encode();
    let input = |flags: u8, of: HeaderOf, pages: &[(u8, [&Slot; 2])]| {
        let mut bytes = vec![flags];
        bytes.extend(piece(&of.encode(site)));
        bytes.extend(piece(&segment[..SEGMENT_HEADER_BYTES]));
        for (number, copies) in pages {
            bytes.push(*number);
            for slot in copies {
                let mut copy = [0; COPY_BYTES];
                slot.encode(&mut copy);
                bytes.extend(piece(&copy[..length_of(&copy)]));
            }
        }
        bytes
    };
    let successor = NodeName::parse("gw-2");
    let released = SlotState::Released { reason: ReleaseReason::Switchover, successor };
    let (claiming, released) = (slot(7, SlotState::Claiming), slot(7, released));
    let (old, new) = (slot(8, SlotState::Active), slot(8 + SLOTS, SlotState::Active));
    let unable = SlotState::Released { reason: ReleaseReason::Unable, successor: None };
    vec![
        ("plain", input(0, HeaderOf::Terms, &[(7, [&claiming, &released])])),
        ("mended", input(MENDS, HeaderOf::Lock, &[(7, [&released, &claiming])])),
        ("two-pages", input(MENDS, HeaderOf::Terms, &[(8, [&old, &new]), (7, [&claiming, &old])])),
        ("stray", input(MENDS, HeaderOf::Terms, &[(9, [&old, &slot(9, unable)])])),
    ]
}
