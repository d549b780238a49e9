//! The journal's books: what is gathered, durable, named, forwarded and done with.
//!
//! Bytes are elsewhere: the agent gathers sealed groups, the keeper writes and reads them.
//! This counts, and says what is to be done next in each lane.
//!
//! A record's way: gathered → flying (being written) → synced → acknowledged → fetched →
//! accepted → behind the durable cursor → swept with its segment.
//!
//! # Invariants
//!
//! - B1: a segment is created and named by a durable slot before anything is written to it.
//! - B2: a record is acknowledged once its sync's outcome came within the lease, or the next
//!   proof succeeded.
//! - B3: the cursor never goes back; it moves past a record only by a verdict, or past a
//!   stretch in which no whole group is left.
//! - B4: what lies before the *durable* cursor may be swept, nothing else.
//! - B5: after a failed write the segment is closed for good; the same groups, with the same
//!   seqs, go to a new one. A reader skips what it has already passed.

#[cfg(test)]
mod tests;

use heapless::Vec;

use super::ident::{Cursor, Lane, Term};
use super::planted::{LeftOut, Rule};
use super::segment::FIRST_OFFSET;
use super::settings::Settings;
use super::share::{Append, Fetched, TermMark};
use super::slot::LaneMark;
use super::status::LaneStatus;
use crate::limits::{
    GROUP_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_HIDDEN_MS_MAX, SEGMENT_WAIT_MS, SLOTS,
};

/// Groups handed to the keeper.
#[derive(Clone, Copy, Hash, Debug)]
struct Flying {
    bytes: u32,
    through_seq: u64,
}

/// The books of one lane.
#[derive(Clone, Hash, Debug)]
struct Books {
    /// Everything before it is done with.
    cursor: Cursor,
    /// The cursor of the last durable slot.
    durable: Cursor,
    /// Our newest segment; 0: none.
    segment: u32,
    /// Its durable end.
    end: u32,
    /// Nothing more is written to it.
    closed: bool,
    gathered_bytes: u32,
    gathered_seq: u64,
    gathered_ms: u64,
    flying: Option<Flying>,
    synced_seq: u64,
    acknowledged_seq: u64,
    /// When the oldest record that is not forwarded was synced.
    waiting_ms: u64,
    /// No earlier look at the segment than this.
    look_ms: u64,
    /// Since when the segment at the cursor is missing.
    missing_ms: Option<u64>,
    /// It has been missing for longer than any share hides a name: listing tells.
    list_missing: bool,
    swept: Cursor,
    delivered: u64,
    declined: u64,
    /// Segments were given up, and no record behind them was read yet.
    skipping: bool,
    dropped: u64,
    damaged: u64,
    /// Records that should have been read before the cursor passed them, not yet told.
    lost: u64,
}

/// What is to be read next in a lane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Read {
    /// Nothing.
    Nothing,
    /// From here to that offset.
    Fetch {
        /// The first record wanted.
        from: Cursor,
        /// Where to stop.
        end: u32,
    },
    /// This term's slot is gone: its segments must be found by listing.
    List {
        /// The term.
        term: Term,
    },
}

/// A lane's segments of one term, found by listing.
#[derive(Clone, Copy, Hash, Debug)]
struct Listed {
    lane: Lane,
    term: Term,
    newest: u32,
}

/// The books of both lanes, for one term of ours.
#[derive(Clone, Hash, Debug)]
pub struct Journal {
    term: Term,
    lanes: [Books; 2],
    marks: Vec<TermMark, { SLOTS as usize }>,
    listed: Option<Listed>,
    left_out: LeftOut,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            term: 0,
            lanes: [Books::new(), Books::new()],
            marks: Vec::new(),
            listed: None,
            left_out: LeftOut::default(),
        }
    }
}

impl Journal {
    /// New books for a term of ours, beginning with these cursors.
    pub fn begin(&mut self, term: Term, cursors: [Cursor; 2], left_out: LeftOut) {
        self.term = term;
        self.left_out = left_out;
        self.listed = None;
        self.marks.clear();
        for (books, cursor) in self.lanes.iter_mut().zip(cursors) {
            *books = Books { cursor, durable: cursor, ..Books::new() };
        }
    }

    /// Older terms have ended: their cursors and segments, as the slots say (B3).
    pub fn take_over(&mut self, cursors: [Cursor; 2], marks: &[TermMark]) {
        self.marks = Vec::from_slice(marks).unwrap_or_default();
        for (books, cursor) in self.lanes.iter_mut().zip(cursors) {
            if cursor.is_past(&books.cursor) {
                books.cursor = cursor;
            }
        }
    }

    /// Gathered groups now hold so many bytes, up to this seq.
    pub fn gathered(&mut self, now_ms: u64, lane: Lane, bytes: u32, through_seq: u64) {
        let books = &mut self.lanes[lane.index()];
        if books.gathered_bytes == 0 {
            books.gathered_ms = now_ms;
        }
        books.gathered_bytes = bytes;
        books.gathered_seq = through_seq;
    }

    /// The segments that the next proof is to create; 0: none (B1).
    pub fn create(&self) -> [u32; 2] {
        Lane::ALL.map(|lane| {
            let books = &self.lanes[lane.index()];
            if books.wants_segment() { books.segment + 1 } else { 0 }
        })
    }

    /// What a slot says of both lanes, with the segments that its proof creates.
    pub fn marks(&self, create: [u32; 2]) -> [LaneMark; 2] {
        Lane::ALL.map(|lane| {
            let books = &self.lanes[lane.index()];
            let newest_segment = books.segment.max(create[lane.index()]);
            LaneMark { cursor: books.cursor, newest_segment, last_seq: 0 }
        })
    }

    /// What the last slot of our term says of both lanes.
    pub fn last_marks(&self) -> [LaneMark; 2] {
        let mut marks = self.marks([0, 0]);
        for (mark, books) in marks.iter_mut().zip(&self.lanes) {
            mark.last_seq = books.synced_seq;
        }
        marks
    }

    /// A slot with these marks is durable, and the segments exist.
    pub fn named(&mut self, marks: &[LaneMark; 2], create: [u32; 2]) {
        for ((books, mark), created) in self.lanes.iter_mut().zip(marks).zip(create) {
            books.durable = mark.cursor;
            if created > 0 {
                let here = (books.cursor.term, books.cursor.segment) == (self.term, books.segment);
                if here && books.cursor.seq > books.synced_seq {
                    // nothing is left in the segment before (B3)
                    let offset = FIRST_OFFSET;
                    books.cursor = Cursor { segment: created, offset, ..books.cursor };
                }
                books.segment = created;
                books.end = FIRST_OFFSET;
                books.closed = false;
            }
        }
    }

    /// Whether the cursor moved past what a durable slot says.
    pub fn is_cursor_ahead(&self) -> bool {
        self.lanes.iter().any(|books| books.cursor != books.durable)
    }

    /// Whether a segment is needed before anything more can be written.
    pub fn wants_segment(&self) -> bool {
        self.lanes.iter().any(Books::wants_segment)
    }

    /// The next append, if one is due. `at_once`: do not wait for more to gather.
    pub fn append(&mut self, now_ms: u64, sync_ms: u32, at_once: bool) -> Option<Append> {
        let sync_ms = if at_once { 0 } else { sync_ms };
        let lane = [Lane::Alerts, Lane::Readings].into_iter().find(|lane| {
            let books = &self.lanes[lane.index()];
            books.append_due_ms(lane.sync_ms(sync_ms)) <= now_ms && !books.wants_segment()
        })?;
        let term = self.term;
        let books = &mut self.lanes[lane.index()];
        let flying = *books
            .flying
            .get_or_insert(Flying { bytes: books.gathered_bytes, through_seq: books.gathered_seq });
        if flying.through_seq == books.gathered_seq {
            books.gathered_bytes = 0;
        }
        let (segment, offset) = (books.segment, books.end);
        Some(Append { lane, term, segment, offset, bytes: flying.bytes })
    }

    /// The append was synced. With a lease its records may be acknowledged now (B2).
    /// Gives its bytes.
    pub fn appended(&mut self, now_ms: u64, lane: Lane) -> u32 {
        let books = &mut self.lanes[lane.index()];
        let Some(flying) = books.flying.take() else { return 0 };
        if !books.has_waiting(self.term) {
            books.waiting_ms = now_ms;
        }
        books.end += flying.bytes;
        books.synced_seq = flying.through_seq;
        flying.bytes
    }

    /// The append failed: its segment is closed for good (B5).
    pub fn append_failed(&mut self, lane: Lane) {
        self.lanes[lane.index()].closed = !self.left_out.has(Rule::ClosedAfterFailure);
    }

    /// The seq through which records may now be acknowledged, if that is news (B2).
    pub fn acknowledge(&mut self, lane: Lane) -> Option<u64> {
        let books = &mut self.lanes[lane.index()];
        if books.synced_seq == books.acknowledged_seq {
            return None;
        }
        books.acknowledged_seq = books.synced_seq;
        Some(books.synced_seq)
    }

    /// When the next append is due, if the segment for it is there; else never.
    pub fn append_due_ms(&self, sync_ms: u32) -> u64 {
        let due_ms = |lane: Lane| self.lanes[lane.index()].append_due_ms(lane.sync_ms(sync_ms));
        due_ms(Lane::Readings).min(due_ms(Lane::Alerts))
    }

    /// Whether anything is gathered or flying.
    pub fn is_writing(&self) -> bool {
        self.lanes.iter().any(|books| books.gathered_bytes > 0 || books.flying.is_some())
    }

    /// When the lane has a batch to send: now or at a time; never is `u64::MAX`.
    pub fn batch_due_ms(&self, lane: Lane, settings: &Settings) -> u64 {
        let books = &self.lanes[lane.index()];
        if !books.has_waiting(self.term) {
            return u64::MAX;
        }
        let age_ms = match lane {
            Lane::Alerts => 0,
            Lane::Readings => u64::from(settings.batch_age_ms_max),
        };
        let whole = books.is_behind(self.term)
            || books.waiting(self.term) >= u64::from(settings.batch_records_max)
            || books.end.saturating_sub(books.cursor.offset) >= settings.batch_bytes_max;
        if whole { books.look_ms } else { books.look_ms.max(books.waiting_ms + age_ms) }
    }

    /// What to read next. Steps over terms that have no segments.
    pub fn next_read(&mut self, lane: Lane) -> Read {
        loop {
            let own = self.term;
            let books = &self.lanes[lane.index()];
            let from = books.cursor;
            if from.term >= own {
                let end = if from.segment < books.segment { u32::MAX } else { books.end };
                let there = from.segment < books.segment
                    || (from.segment == books.segment && books.synced_seq >= from.seq);
                return if there { Read::Fetch { from, end } } else { Read::Nothing };
            }
            if books.list_missing && !self.is_listed(lane, from.term) {
                return Read::List { term: from.term };
            }
            match self.segments_of(lane, from.term) {
                None => return Read::List { term: from.term },
                Some(newest)
                    if from.segment <= newest
                        && from.segment > 0
                        && !self.is_read_out(lane, from) =>
                {
                    return Read::Fetch { from, end: u32::MAX };
                }
                Some(_) => {
                    self.count_lost(lane, from);
                    let term = from.term + 1;
                    let next = Cursor { term, segment: 1, offset: FIRST_OFFSET, seq: 1 };
                    self.lanes[lane.index()].cursor = next;
                }
            }
        }
    }

    /// Listing found this term's newest segment; 0: none.
    pub fn listed(&mut self, lane: Lane, term: Term, newest: u32) {
        self.listed = Some(Listed { lane, term, newest });
    }

    /// The segment at the cursor is there; whether it was waited for.
    pub fn found(&mut self, lane: Lane) -> bool {
        let books = &mut self.lanes[lane.index()];
        books.list_missing = false;
        books.missing_ms.take().is_some()
    }

    /// A look at a segment found no record to send: go on behind it, or look again later.
    pub fn nothing_fetched(&mut self, now_ms: u64, lane: Lane, seen: &Fetched) -> bool {
        let own = self.term;
        let read_term = self.lanes[lane.index()].cursor.term;
        let listed = self.is_listed(lane, read_term);
        let books = &mut self.lanes[lane.index()];
        books.damaged += u64::from(seen.damaged);
        if seen.missing && !listed {
            let since_ms = *books.missing_ms.get_or_insert(now_ms);
            let is_gone = now_ms >= since_ms + u64::from(SEGMENT_HIDDEN_MS_MAX);
            // what is ours was made here: no listing knows better
            books.list_missing = is_gone && read_term != own;
            if !is_gone || books.list_missing {
                books.look_ms = now_ms + u64::from(SEGMENT_WAIT_MS);
                return false;
            }
        }
        books.missing_ms = None;
        books.list_missing = false;
        let last = books.cursor.term == own && books.cursor.segment >= books.segment;
        if last {
            // The rest of our newest segment is no good to read: nothing is left in it.
            books.lost += (books.synced_seq + 1).saturating_sub(books.cursor.seq);
            books.cursor = Cursor { offset: books.end, seq: books.synced_seq + 1, ..books.cursor };
        } else {
            books.cursor =
                Cursor { segment: books.cursor.segment + 1, offset: FIRST_OFFSET, ..books.cursor };
        }
        true
    }

    /// Records of a lane that were lost with a damaged segment, if that is news.
    pub fn take_lost(&mut self, lane: Lane) -> Option<u64> {
        let lost = core::mem::take(&mut self.lanes[lane.index()].lost);
        (lost > 0).then_some(lost)
    }

    /// Whether a segment that a slot names is not there.
    pub fn is_waiting_for_segment(&self) -> bool {
        self.lanes.iter().any(|books| books.missing_ms.is_some())
    }

    /// A lane could not be read: not before this.
    pub fn look_later(&mut self, lane: Lane, at_ms: u64) {
        let never = self.left_out.has(Rule::LooksAgain);
        self.lanes[lane.index()].look_ms = if never { u64::MAX } else { at_ms };
    }

    /// Whether nothing more is written to the segment at this cursor.
    pub fn is_closed(&self, lane: Lane, at: Cursor) -> bool {
        at.term < self.term || at.segment < self.lanes[lane.index()].segment
    }

    /// A batch that was fetched at `fetched_ms` is done with (B3). What is left was synced
    /// about then or later: its age counts from there. Its `at_end` is the end of a segment that
    /// was closed when it was fetched: to any other, records may have been added since.
    pub fn done(&mut self, fetched_ms: u64, lane: Lane, batch: &Fetched) {
        let closed = self.is_closed(lane, batch.next);
        let books = &mut self.lanes[lane.index()];
        books.cursor = batch.next;
        books.delivered += u64::from(batch.count);
        books.damaged += u64::from(batch.damaged);
        books.waiting_ms = fetched_ms;
        if batch.at_end && closed {
            books.cursor.segment += 1;
            books.cursor.offset = FIRST_OFFSET;
        }
    }

    /// Records at the cursor are in the declined store (B3).
    pub fn declined(&mut self, lane: Lane, next: Cursor, records: u64) {
        let books = &mut self.lanes[lane.index()];
        books.cursor = next;
        books.declined += records;
    }

    /// The journal is full: gives up the oldest segment of readings. It stays if it is the newest
    /// too, or if what was given up before is not swept yet.
    pub fn drop_oldest(&mut self) -> bool {
        let own = self.term;
        let books = &mut self.lanes[Lane::Readings.index()];
        let swept = (books.swept.term, books.swept.segment);
        let behind = swept == (books.cursor.term, books.cursor.segment);
        if !books.is_behind(own) || !behind {
            return false;
        }
        books.cursor.segment += 1;
        books.cursor.offset = FIRST_OFFSET;
        books.skipping = true;
        true
    }

    /// Records of readings were given up, as the gap in the seqs now shows.
    pub fn note_dropped(&mut self, records: u64) {
        let books = &mut self.lanes[Lane::Readings.index()];
        books.skipping = false;
        books.cursor.seq += records;
        books.dropped += records;
    }

    /// Whether a gap in the seqs is our own doing.
    pub fn is_skipping(&self, lane: Lane) -> bool {
        self.lanes[lane.index()].skipping
    }

    /// A lane with segments wholly behind its durable cursor that were not yet swept (B4).
    pub fn sweep(&self) -> Option<(Lane, Cursor)> {
        Lane::ALL.into_iter().find_map(|lane| {
            let books = &self.lanes[lane.index()];
            let early = self.left_out.has(Rule::SweptBehindDurable);
            let before = if early { books.cursor } else { books.durable };
            let mark = (before.term, before.segment);
            (mark > (books.swept.term, books.swept.segment)).then_some((lane, before))
        })
    }

    /// Segments before this cursor are deleted.
    pub fn swept(&mut self, lane: Lane, before: Cursor) {
        self.lanes[lane.index()].swept = before;
    }

    /// Our term that the books are kept for; 0: none yet.
    pub fn term(&self) -> Term {
        self.term
    }

    /// The lane at a glance; of its segments only a master knows the bytes.
    pub fn status(&self, lane: Lane) -> LaneStatus {
        let books = &self.lanes[lane.index()];
        LaneStatus {
            cursor: books.cursor,
            journalled: books.synced_seq,
            waiting: books.waiting(self.term),
            backlog: books.is_behind(self.term) && self.term > 0,
            delivered: books.delivered,
            declined: books.declined,
            dropped: books.dropped,
            damaged: books.damaged,
            bytes: 0,
        }
    }

    fn is_listed(&self, lane: Lane, term: Term) -> bool {
        self.listed.is_some_and(|found| (found.lane, found.term) == (lane, term))
    }

    /// The last seq of a term in a lane, if it is known and there is one.
    fn last_seq_of(&self, lane: Lane, term: Term) -> Option<u64> {
        let mark = self.marks.iter().find(|mark| mark.term == term)?;
        Some(mark.last_seq[lane.index()]).filter(|last| *last > 0)
    }

    /// Whether nothing of a released term lies at or behind this cursor.
    fn is_read_out(&self, lane: Lane, from: Cursor) -> bool {
        self.last_seq_of(lane, from.term).is_some_and(|last| from.seq > last)
    }

    /// The cursor leaves a released term: what it should have passed and did not is lost.
    fn count_lost(&mut self, lane: Lane, from: Cursor) {
        let last = self.last_seq_of(lane, from.term).unwrap_or(0);
        let books = &mut self.lanes[lane.index()];
        let records = (last + 1).saturating_sub(from.seq.max(1));
        if books.skipping {
            books.dropped += records;
        } else {
            books.lost += records;
        }
    }

    /// How many segments a term has in a lane; `None`: its slot is gone.
    fn segments_of(&self, lane: Lane, term: Term) -> Option<u32> {
        if term == 0 {
            return Some(0);
        }
        let mark = self.marks.iter().find(|mark| mark.term == term);
        let listed = self.listed.filter(|_| self.is_listed(lane, term)).map(|found| found.newest);
        mark.map(|mark| mark.newest_segment[lane.index()]).or(listed)
    }
}

impl Lane {
    /// How long what is gathered waits for company: alerts not at all.
    const fn sync_ms(self, sync_ms: u32) -> u32 {
        match self {
            Self::Readings => sync_ms,
            Self::Alerts => 0,
        }
    }
}

impl Books {
    const fn new() -> Self {
        let start = Cursor { term: 0, segment: 0, offset: 0, seq: 0 };
        Self {
            cursor: start,
            durable: start,
            segment: 0,
            end: 0,
            closed: false,
            gathered_bytes: 0,
            gathered_seq: 0,
            gathered_ms: 0,
            flying: None,
            synced_seq: 0,
            acknowledged_seq: 0,
            waiting_ms: 0,
            look_ms: 0,
            missing_ms: None,
            list_missing: false,
            swept: start,
            delivered: 0,
            declined: 0,
            skipping: false,
            dropped: 0,
            damaged: 0,
            lost: 0,
        }
    }

    fn wants_segment(&self) -> bool {
        let bytes = self.flying.map_or(self.gathered_bytes, |flying| flying.bytes);
        let full = self.end > FIRST_OFFSET && self.end.saturating_add(bytes) > SEGMENT_BYTES_MAX;
        bytes > 0 && (self.segment == 0 || self.closed || full)
    }

    /// When the next append is due: groups that failed once at once, a full group at once.
    fn append_due_ms(&self, sync_ms: u32) -> u64 {
        if self.flying.is_some() || self.gathered_bytes as usize >= GROUP_BYTES_MAX {
            0
        } else if self.gathered_bytes > 0 {
            self.gathered_ms + u64::from(sync_ms)
        } else {
            u64::MAX
        }
    }

    /// Whether older segments are still to be forwarded.
    fn is_behind(&self, own: Term) -> bool {
        self.cursor.term < own || self.cursor.segment < self.segment
    }

    /// Durable records of our own term that are not forwarded.
    fn waiting(&self, own: Term) -> u64 {
        let next_seq = if self.cursor.term == own { self.cursor.seq } else { 1 };
        (self.synced_seq + 1).saturating_sub(next_seq.max(1))
    }

    fn has_waiting(&self, own: Term) -> bool {
        self.is_behind(own) || self.waiting(own) > 0
    }
}
