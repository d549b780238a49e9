//! The share itself, as its server has it: slots, claims, the lock, segments, records of nodes.
//!
//! | what | how it behaves |
//! |---|---|
//! | a slot | rewritten in place; others see it up to 150 ms later on a network share; two copies, so that a torn write leaves the other |
//! | a claim | exclusive create: excludes at the server, at once, also when it lands late |
//! | the lock | `lock`: shared by what a process and its uplink hold; may lie, be dropped, linger |
//! | a segment | groups, each durable once synced; a listing may miss new names for 30 s |
//! | a write | on a local share visible at once, durable once synced; on a network share neither before its sync |
//!
//! It takes no decision and draws no chance: what is kept and what is lost, `world` says.

use std::collections::{BTreeMap, BTreeSet};

use edge_agent::engine::ident::{Cursor, Lane, NodeName, Term};
use edge_agent::engine::segment::FIRST_OFFSET;
use edge_agent::engine::share::{Fetch, Fetched, NodeRecord, Survey, TermMark};
use edge_agent::engine::slot::Slot;

use crate::declined::Declined;
use crate::node::Life;

/// Bytes of every record.
pub(crate) const RECORD_BYTES: u32 = 50;

/// A slot's page.
#[derive(Clone, Debug, Default)]
struct Page {
    copies: [Option<Slot>; 2],
    /// What a power failure leaves of them.
    durable: [Option<Slot>; 2],
    /// What others still see, until then.
    before: Option<Slot>,
    fresh_ms: u64,
    writer: usize,
    /// The heartbeat of a slot that was here, and is noise.
    lost: u64,
}

/// Where a segment is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SegmentKey {
    pub(crate) lane: usize,
    pub(crate) term: Term,
    pub(crate) number: u32,
}

/// One append.
#[derive(Clone, Copy, Debug)]
struct Group {
    offset: u32,
    first_seq: u64,
    count: u64,
    durable: bool,
}

/// A file of the journal.
#[derive(Clone, Debug)]
struct Segment {
    made_ms: u64,
    maker: usize,
    groups: Vec<Group>,
}

/// Something that is written before it is synced.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "few exist at a time")]
pub(crate) enum Write {
    /// Into this copy of its page.
    Slot { copy: usize, slot: Slot },
    /// Records at the end of a segment.
    Group { key: SegmentKey, offset: u32, first_seq: u64, count: u64 },
    /// An exclusive create.
    Claim { term: Term },
}

/// Who holds a lock: an open file of a living host, or what the server remembers of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Holder {
    Grip(u32),
    Ghost(u32),
}

/// The server's share.
pub(crate) struct Disk {
    pub(crate) local: bool,
    pages: BTreeMap<Term, Page>,
    claims: BTreeSet<Term>,
    segments: BTreeMap<SegmentKey, Segment>,
    /// With who wrote it last, and when its name was made.
    pub(crate) records: BTreeMap<NodeName, (NodeRecord, Life, u64)>,
    pub(crate) declined: Declined,
    /// The lock file's; 0: there is none.
    pub(crate) inode: u64,
    /// The last that was given to a file.
    inode_last: u64,
    pub(crate) holders: BTreeSet<Holder>,
    pub(crate) lies: bool,
    pub(crate) full: bool,
    pub(crate) reserve: bool,
    /// A copy of the slots from some time ago, for whoever keeps them in the lock file.
    kept: BTreeMap<Term, Page>,
}

impl Disk {
    pub(crate) fn new(local: bool) -> Self {
        Self {
            local,
            pages: BTreeMap::new(),
            claims: BTreeSet::new(),
            segments: BTreeMap::new(),
            records: BTreeMap::new(),
            declined: Declined::default(),
            inode: 100,
            inode_last: 100,
            holders: BTreeSet::new(),
            lies: false,
            full: false,
            reserve: false,
            kept: BTreeMap::new(),
        }
    }

    // --- slots --------------------------------------------------------------------------

    /// The newest valid copy that this node sees now of a term's page.
    pub(crate) fn slot(&self, now_ms: u64, reader: usize, term: Term) -> Option<&Slot> {
        let page = self.pages.get(&term)?;
        if reader != page.writer && now_ms < page.fresh_ms {
            return page.before.as_ref();
        }
        page.newest()
    }

    /// The newest slot that this node sees now.
    pub(crate) fn newest(&self, now_ms: u64, reader: usize) -> Option<&Slot> {
        self.pages.keys().rev().find_map(|term| self.slot(now_ms, reader, *term))
    }

    /// Term and heartbeat of the newest slot, as it really is.
    pub(crate) fn truth(&self) -> Option<(Term, u64)> {
        let newest = self.pages.values().rev().find_map(Page::newest)?;
        Some((newest.term, newest.heartbeat))
    }

    /// The newest of the slot of a term and the three after it.
    pub(crate) fn ahead(&self, now_ms: u64, reader: usize, term: Term) -> Option<&Slot> {
        (term..=term + 3).rev().find_map(|term| self.slot(now_ms, reader, term))
    }

    /// The copy that the next write of a slot goes to: never the newest.
    pub(crate) fn copy_for(&self, term: Term) -> usize {
        let heartbeat = |copy: &Option<Slot>| copy.as_ref().map(|slot| slot.heartbeat);
        self.pages.get(&term).map_or(0, |page| {
            let [first, second] = [&page.copies[0], &page.copies[1]];
            usize::from(heartbeat(first) > heartbeat(second))
        })
    }

    /// All slots that this node sees now. `lower`: the slot before may be any lower one.
    pub(crate) fn survey(&self, now_ms: u64, reader: usize, lower: bool) -> Survey {
        let slots: Vec<&Slot> =
            self.pages.keys().filter_map(|term| self.slot(now_ms, reader, *term)).collect();
        let newest = slots.last().copied();
        let before = slots.iter().rev().nth(1).copied();
        let before = before
            .filter(|before| lower || newest.is_some_and(|newest| newest.term == before.term + 1));
        let mut survey = Survey {
            newest: newest.cloned(),
            before: before.cloned(),
            fence_ms_max: slots.iter().map(|slot| slot.fence_ms).max().unwrap_or(0),
            cursors: [Cursor::default(); 2],
            marks: heapless::Vec::new(),
        };
        for slot in slots {
            for (cursor, lane) in survey.cursors.iter_mut().zip(&slot.lanes) {
                if lane.cursor.is_past(cursor) {
                    *cursor = lane.cursor;
                }
            }
            let mark = TermMark {
                term: slot.term,
                newest_segment: slot.lanes.map(|lane| lane.newest_segment),
                last_seq: slot.lanes.map(|lane| lane.last_seq),
            };
            // pages beyond that wrap, and this disk keeps them
            let _ = survey.marks.push(mark);
        }
        survey
    }

    /// A term's slot, as far as it is durable.
    pub(crate) fn durable_slot(&self, term: Term) -> Option<&Slot> {
        self.pages.get(&term)?.durable()
    }

    /// The term before a fenced one, if it has segments.
    pub(crate) fn slot_to_lose(&self) -> Option<Term> {
        let mut newest = self.pages.iter().rev();
        let (_, page) = newest.next()?;
        page.durable().filter(|slot| slot.fenced)?;
        let (term, _) = newest.next()?;
        self.segments.keys().any(|key| key.term == *term).then_some(*term)
    }

    /// A term's page is noise.
    pub(crate) fn lose_slot(&mut self, term: Term) {
        if let Some(page) = self.pages.get_mut(&term) {
            let newest = page.newest().map_or(0, |slot| slot.heartbeat);
            *page = Page { lost: newest.max(page.lost), ..Page::default() };
        }
    }

    /// Who keeps slots in the lock file loses them with it.
    pub(crate) fn keep_slots(&mut self) {
        self.kept = self.pages.clone();
    }

    /// The lock file is deleted; whether there was one. Who holds it open locks a file that nobody
    /// else can find.
    pub(crate) fn delete_lock_file(&mut self) -> bool {
        self.holders.clear();
        std::mem::take(&mut self.inode) != 0
    }

    /// Makes a lock file if there is none.
    pub(crate) fn make_lock_file(&mut self) {
        if self.inode == 0 {
            self.inode_last += 1;
            self.inode = self.inode_last;
        }
    }

    /// The lock file is replaced by an old copy of itself.
    pub(crate) fn replace_lock_file(&mut self, slots_too: bool) {
        self.delete_lock_file();
        self.make_lock_file();
        if slots_too {
            self.pages = self.kept.clone();
        }
    }

    // --- writes -------------------------------------------------------------------------

    /// A write reaches the server, or the page cache of a local share.
    pub(crate) fn apply(&mut self, now_ms: u64, fresh_ms: u64, writer: usize, write: &Write) {
        match write {
            Write::Slot { copy, slot } => {
                let page = self.pages.entry(slot.term).or_default();
                let there = page.copies[*copy].as_ref().map_or(0, |slot| slot.heartbeat);
                if there.max(page.lost) > slot.heartbeat {
                    // a host's writes to one page keep their order
                    return;
                }
                if writer != page.writer || now_ms >= page.fresh_ms {
                    page.before = page.newest().cloned();
                }
                page.copies[*copy] = Some(slot.clone());
                (page.writer, page.fresh_ms) = (writer, fresh_ms);
            }
            Write::Group { key, offset, first_seq, count } => {
                if let Some(segment) = self.segments.get_mut(key) {
                    let (offset, first_seq, count) = (*offset, *first_seq, *count);
                    segment.groups.retain(|group| group.offset != offset);
                    segment.groups.push(Group { offset, first_seq, count, durable: false });
                    segment.groups.sort_by_key(|group| group.offset);
                }
            }
            Write::Claim { term } => {
                self.claims.insert(*term);
            }
        }
    }

    /// It is durable now.
    pub(crate) fn sync(&mut self, write: &Write) {
        match write {
            Write::Slot { slot, .. } => {
                if let Some(page) = self.pages.get_mut(&slot.term) {
                    page.durable = page.copies.clone();
                }
            }
            Write::Group { key, offset, .. } => {
                let segment = self.segments.get_mut(key);
                let groups = segment.map(|segment| segment.groups.iter_mut()).into_iter().flatten();
                for group in groups.filter(|group| group.offset == *offset) {
                    group.durable = true;
                }
            }
            Write::Claim { .. } => {}
        }
    }

    /// A write that was never finished: its sectors hold noise.
    pub(crate) fn tear(&mut self, write: &Write) {
        match write {
            Write::Slot { copy, slot } => {
                let page = self.pages.entry(slot.term).or_default();
                page.copies[*copy] = None;
                page.durable[*copy] = None;
            }
            Write::Group { key, offset, .. } => {
                if let Some(segment) = self.segments.get_mut(key) {
                    segment.groups.retain(|group| group.offset != *offset);
                }
            }
            Write::Claim { .. } => {}
        }
    }

    /// Power fails where the share is local: what was not synced is gone.
    pub(crate) fn lose_power(&mut self) {
        for page in self.pages.values_mut() {
            page.copies = page.durable.clone();
        }
        for segment in self.segments.values_mut() {
            segment.groups.retain(|group| group.durable);
        }
        self.holders.clear();
    }

    // --- claims and segments ------------------------------------------------------------

    /// `O_EXCL`: whether it was made.
    pub(crate) fn claim(&mut self, term: Term) -> bool {
        self.claims.insert(term)
    }

    /// The highest number found anywhere; 0: none.
    pub(crate) fn highest_taken(&self) -> Term {
        let claimed = self.claims.last().copied().unwrap_or(0);
        let written = self.segments.keys().map(|key| key.term).max().unwrap_or(0);
        claimed.max(written)
    }

    pub(crate) fn create(&mut self, now_ms: u64, maker: usize, key: SegmentKey) {
        let made = Segment { made_ms: now_ms, maker, groups: Vec::new() };
        self.segments.entry(key).or_insert(made);
    }

    /// Where its next group goes; `None`: it is not there.
    pub(crate) fn end_of(&self, key: SegmentKey) -> Option<u32> {
        let end = |group: &Group| group.offset + u32_of(group.count) * RECORD_BYTES;
        Some(self.segments.get(&key)?.groups.iter().map(end).max().unwrap_or(FIRST_OFFSET))
    }

    /// By listing: the newest of a term. Names that others made lately may be missed.
    pub(crate) fn newest_segment(&self, lane: Lane, term: Term, seen: (u64, usize)) -> u32 {
        let (since_ms, reader) = seen;
        let keys = self.segments.iter().filter(|(key, segment)| {
            let known = segment.maker == reader || segment.made_ms <= since_ms;
            (key.lane, key.term) == (lane.index(), term) && known
        });
        keys.map(|(key, _)| key.number).max().unwrap_or(0)
    }

    /// Deletes what lies before; gives which.
    pub(crate) fn sweep(&mut self, lane: Lane, before: Cursor) -> Vec<SegmentKey> {
        let mark = (before.term, before.segment);
        let is_old = |key: &SegmentKey| key.lane == lane.index() && (key.term, key.number) < mark;
        let gone: Vec<_> = self.segments.keys().copied().filter(is_old).collect();
        for key in &gone {
            self.segments.remove(key);
        }
        gone
    }

    pub(crate) fn journal_bytes(&self, lane: Lane) -> u64 {
        let segments = self.segments.iter().filter(|(key, _)| key.lane == lane.index());
        let groups = segments.flat_map(|(_, segment)| &segment.groups);
        groups.map(|group| group.count * u64::from(RECORD_BYTES)).sum()
    }

    /// Whole records from a cursor on, as `edge::share::fetch` reads them.
    pub(crate) fn fetch(&self, fetch: &Fetch) -> Fetched {
        let from = fetch.from;
        let key = SegmentKey { lane: fetch.lane.index(), term: from.term, number: from.segment };
        let mut seen = Fetched {
            request: fetch.request,
            first_seq: 0,
            count: 0,
            bytes: 0,
            next: from,
            at_end: false,
            missing: !self.segments.contains_key(&key),
            damaged: 0,
            damaged_bytes: 0,
        };
        let Some(segment) = self.segments.get(&key) else { return seen };
        let groups = segment.groups.iter();
        let groups = groups.filter(|group| group.offset >= from.offset && group.offset < fetch.end);
        for group in groups {
            seen.next.offset = group.offset;
            let last_seq = group.first_seq + group.count - 1;
            if last_seq >= seen.next.seq && !take(&mut seen, group, last_seq, fetch) {
                return seen;
            }
            seen.next.offset = group.offset + u32_of(group.count) * RECORD_BYTES;
        }
        seen.at_end = true;
        seen
    }
}

/// Takes what is wanted of a group; whether all of it was.
fn take(seen: &mut Fetched, group: &Group, last_seq: u64, fetch: &Fetch) -> bool {
    if group.first_seq > seen.next.seq {
        if seen.count > 0 {
            return false;
        }
        seen.next.seq = group.first_seq;
    }
    if seen.count == 0 {
        seen.first_seq = seen.next.seq;
    }
    while seen.next.seq <= last_seq {
        let full = seen.bytes + RECORD_BYTES > fetch.bytes_max || seen.count >= fetch.records_max;
        if full && seen.count > 0 {
            return false;
        }
        seen.next.seq += 1;
        seen.count += 1;
        seen.bytes += RECORD_BYTES;
    }
    true
}

impl Page {
    fn newest(&self) -> Option<&Slot> {
        self.copies.iter().flatten().max_by_key(|slot| slot.heartbeat)
    }

    fn durable(&self) -> Option<&Slot> {
        self.durable.iter().flatten().max_by_key(|slot| slot.heartbeat)
    }
}

fn u32_of(number: u64) -> u32 {
    u32::try_from(number).expect("few records")
}
