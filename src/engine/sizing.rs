//! How large a lane's next batch is, and what becomes of one that was refused.
//!
//! | verdict | batch of two or more | single record |
//! |---|---|---|
//! | Accepted | done; the size doubles up to the configured one | the same |
//! | `BadContent` | suspect: halves, until the record is found | declined |
//! | `TooLarge` | suspect: half the size | declined |
//! | `BadCredentials` | declined as it is, then a pause | the same |
//! | Retry with 500, the eighth in a row | suspect, as above | declined if another record of its batch was accepted since; else the next one is tried ahead of it |
//! | Retry, Unknown | the same again | the same again |
//! | no answer in time, the second in a row | half the size | the same again |
//!
//! Alerts are not declined for credentials: they stay queued.
//!
//! A size at which batches came too late, or were too large, is kept below for a while: it is
//! tried again, once, after so many accepted batches, twice as many each time that it fails.
//!
//! # Invariants
//!
//! - Z1: a batch is a run of seqs from the cursor on, except one that is tried ahead.
//! - Z2: of a suspect batch, only single records are declined, one by one.
//! - Z3: a suspect batch of two or more of which nothing was accepted is a matter of
//!   credentials, not of content.
//! - Z4: what was accepted ahead is not sent again, unless a crash forgets it.

use super::cloud::Verdict;
use super::ident::{Cursor, Lane};
use super::share::Fetched;
use crate::limits::{SERVER_ERRORS_MAX, SIZE_PATIENCE_MAX, SIZE_PATIENCE_MIN, TIMEOUTS_MAX};

/// A batch that was refused, and what is known of its records so far.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Suspect {
    /// Its last record.
    last_seq: u64,
    /// Whether it had two or more records.
    many: bool,
    /// Whether any of them was accepted since.
    accepted: bool,
}

/// A size that failed, and is kept below.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Ceiling {
    /// So many records were too many.
    records: u32,
    /// Batches that are to be accepted before as many are tried again,
    left: u32,
    /// and so many there were of them in the beginning.
    patience: u32,
}

/// A record that was sent before its turn, and accepted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Ahead {
    first_seq: u64,
    next: Cursor,
}

/// What is to be done about a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// The batch is done with.
    Done,
    /// Accepted before its turn: the cursor stays.
    Ahead,
    /// The same again, or a part of it, at once.
    Part,
    /// The same again after a back-off.
    Again,
    /// These records are declined.
    Decline {
        /// How many, from the batch's first on.
        records: u32,
    },
    /// These records are declined, and the uplink pauses. None: it only pauses.
    Pause {
        /// How many, from the batch's first on.
        records: u32,
    },
}

/// The sizes of one lane's batches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sizing {
    lane: Lane,
    /// At most so many records, whatever is configured; it doubles with every success.
    records_limit: u32,
    ceiling: Option<Ceiling>,
    suspect: Option<Suspect>,
    /// A single record that got a 500 while nothing else of its batch was accepted: the cursor
    /// behind it, where the next try begins.
    probe_from: Option<Cursor>,
    ahead: Option<Ahead>,
    server_errors: u32,
    timeouts: u32,
}

impl Ceiling {
    /// Whether a batch is about as large as that which failed: bytes bound batches too, so that
    /// whole ones differ a little.
    const fn is_reached(&self, batch: &Fetched) -> bool {
        batch.count as u64 * 4 >= self.records as u64 * 3
    }
}

impl Sizing {
    /// Whole batches.
    pub const fn new(lane: Lane) -> Self {
        Self {
            lane,
            records_limit: u32::MAX,
            ceiling: None,
            suspect: None,
            probe_from: None,
            ahead: None,
            server_errors: 0,
            timeouts: 0,
        }
    }

    /// At most so many records in the next batch, which begins at this cursor; no batch goes
    /// beyond the end of a suspect one.
    pub fn records_max(&self, configured: u32, cursor: Cursor) -> u32 {
        if self.lane == Lane::Alerts || self.probe_from.is_some() {
            return 1;
        }
        let left = self
            .suspect
            .map_or(u64::MAX, |suspect| (suspect.last_seq + 1).saturating_sub(cursor.seq));
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        configured.min(self.records_limit).min(left).max(1)
    }

    /// Where the next batch begins: at the cursor, or ahead of it.
    pub fn from(&self, cursor: Cursor) -> Cursor {
        self.probe_from.unwrap_or(cursor)
    }

    /// Where the cursor goes on behind records that are done with: past what was accepted ahead
    /// (Z4).
    pub fn past(&mut self, next: Cursor) -> Cursor {
        match self.ahead {
            Some(ahead) if ahead.first_seq == next.seq => {
                self.ahead = None;
                ahead.next
            }
            _ => next,
        }
    }

    /// The cursor went on past what could not be read: what was known of a batch there is void.
    pub fn forget_batch(&mut self) {
        self.suspect = None;
        self.probe_from = None;
        self.ahead = None;
    }

    /// A batch that could not be read ahead: back to the cursor.
    pub fn give_up_probe(&mut self) -> bool {
        self.probe_from.take().is_some()
    }

    /// A verdict on a batch. `status`: 0 with no answer at all.
    pub fn judge(&mut self, batch: &Fetched, verdict: Verdict, status: u16) -> Step {
        if self.probe_from.is_some() {
            return self.judge_probe(batch, verdict);
        }
        self.timeouts = 0;
        self.server_errors = if status == 500 { self.server_errors + 1 } else { 0 };
        match verdict {
            Verdict::Accepted => self.accepted(batch),
            Verdict::TooLarge if batch.count > 1 => {
                self.suspect(batch);
                self.keep_below(batch);
                Step::Part
            }
            Verdict::BadContent | Verdict::TooLarge => self.divide(batch),
            Verdict::BadCredentials => self.pause(batch),
            Verdict::Retry if self.server_errors >= SERVER_ERRORS_MAX => self.doubt(batch),
            Verdict::Retry | Verdict::Unknown => Step::Again,
        }
    }

    /// No answer came in time.
    pub fn time_out(&mut self, batch: &Fetched) {
        self.probe_from = None;
        self.timeouts += 1;
        let again = self.ceiling.is_some_and(|ceiling| ceiling.is_reached(batch));
        if again || self.timeouts >= TIMEOUTS_MAX {
            self.timeouts = 0;
            self.keep_below(batch);
        }
    }

    /// Declined records are in the store. Z3: whether that was a matter of credentials.
    pub fn declined(&mut self, last_seq: u64) -> bool {
        let Some(suspect) = self.suspect.filter(|suspect| last_seq >= suspect.last_seq) else {
            return false;
        };
        self.clear_suspect();
        suspect.many && !suspect.accepted
    }

    fn accepted(&mut self, batch: &Fetched) -> Step {
        let last_seq = batch.first_seq + u64::from(batch.count) - 1;
        self.grow(batch);
        match &mut self.suspect {
            Some(suspect) if last_seq < suspect.last_seq => suspect.accepted = true,
            Some(_) => self.clear_suspect(),
            None => {}
        }
        Step::Done
    }

    /// Twice the size, unless that is one to keep below.
    fn grow(&mut self, batch: &Fetched) {
        // As large as the one that failed: it was not the size.
        self.ceiling = self.ceiling.filter(|ceiling| !ceiling.is_reached(batch));
        let doubled = self.records_limit.saturating_mul(2);
        if let Some(ceiling) = &mut self.ceiling {
            ceiling.left = ceiling.left.saturating_sub(1);
            if doubled >= ceiling.records && ceiling.left > 0 {
                return;
            }
        }
        self.records_limit = doubled;
    }

    /// Half the size, and no more for a while.
    fn keep_below(&mut self, batch: &Fetched) {
        let patience = match self.ceiling {
            Some(known) if known.is_reached(batch) => (known.patience * 2).min(SIZE_PATIENCE_MAX),
            Some(_) | None => SIZE_PATIENCE_MIN,
        };
        self.ceiling = Some(Ceiling { records: batch.count, left: patience, patience });
        self.halve(batch);
    }

    /// Nothing is suspect any more: whole batches, below the ceiling.
    fn clear_suspect(&mut self) {
        self.suspect = None;
        self.records_limit =
            self.ceiling.map_or(u32::MAX, |ceiling| ceiling.records.div_ceil(2).max(1));
    }

    /// The record must be found; a single one is.
    fn divide(&mut self, batch: &Fetched) -> Step {
        self.suspect(batch);
        if batch.count > 1 {
            self.halve(batch);
            return Step::Part;
        }
        Step::Decline { records: 1 }
    }

    fn pause(&mut self, batch: &Fetched) -> Step {
        self.clear_suspect();
        let records = if self.lane == Lane::Alerts { 0 } else { batch.count };
        Step::Pause { records }
    }

    /// The eighth 500 in a row.
    fn doubt(&mut self, batch: &Fetched) -> Step {
        self.suspect(batch);
        if batch.count > 1 {
            self.halve(batch);
            return Step::Again;
        }
        let accepted = self.suspect.is_some_and(|suspect| suspect.accepted);
        let last = self.suspect.is_none_or(|suspect| batch.first_seq >= suspect.last_seq);
        if accepted || self.ahead.is_some() {
            return Step::Decline { records: 1 };
        }
        if !last {
            self.probe_from = Some(batch.next);
        }
        Step::Again
    }

    fn judge_probe(&mut self, batch: &Fetched, verdict: Verdict) -> Step {
        self.probe_from = None;
        if verdict != Verdict::Accepted {
            return Step::Again;
        }
        if let Some(suspect) = &mut self.suspect {
            suspect.accepted = true;
        }
        self.ahead = Some(Ahead { first_seq: batch.first_seq, next: batch.next });
        Step::Ahead
    }

    fn suspect(&mut self, batch: &Fetched) {
        let last_seq = batch.first_seq + u64::from(batch.count) - 1;
        let many = batch.count > 1;
        self.suspect.get_or_insert(Suspect { last_seq, many, accepted: false });
    }

    fn halve(&mut self, batch: &Fetched) {
        self.records_limit = batch.count.div_ceil(2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cloud for one lane: what it says to a run of records.
    struct Trial {
        sizing: Sizing,
        cursor: Cursor,
        accepted: Vec<u64>,
        declined: Vec<u64>,
        requests: u32,
        paused: bool,
    }

    impl Trial {
        fn new() -> Self {
            Self {
                sizing: Sizing::new(Lane::Readings),
                cursor: Cursor { term: 1, segment: 1, offset: 64, seq: 1 },
                accepted: Vec::new(),
                declined: Vec::new(),
                requests: 0,
                paused: false,
            }
        }

        /// Sends the records up to `last`, as the engine would, until done, paused, or so many
        /// requests were made.
        fn send(&mut self, last: u64, requests: u32, cloud: impl Fn(&[u64]) -> (Verdict, u16)) {
            let end = self.requests + requests;
            while self.cursor.seq <= last && !self.paused && self.requests < end {
                let from = self.sizing.from(self.cursor);
                let max = self.sizing.records_max(500, self.cursor);
                let there = u32::try_from(last + 1 - from.seq).expect("few");
                let count = max.min(there);
                let next = Cursor { seq: from.seq + u64::from(count), ..from };
                let seqs: Vec<u64> = (from.seq..next.seq).collect();
                let batch = fetched(from, next, count);
                self.requests += 1;
                let (verdict, status) = cloud(&seqs);
                match self.sizing.judge(&batch, verdict, status) {
                    Step::Done => {
                        self.accepted.extend(&seqs);
                        self.cursor = self.sizing.past(next);
                    }
                    Step::Ahead => self.accepted.extend(&seqs),
                    Step::Part | Step::Again => {}
                    Step::Decline { records } => self.decline(from, records),
                    Step::Pause { records } => {
                        self.decline(from, records);
                        self.paused = true;
                    }
                }
            }
        }

        fn decline(&mut self, from: Cursor, records: u32) {
            let next = Cursor { seq: from.seq + u64::from(records), ..from };
            self.declined.extend(from.seq..next.seq);
            self.cursor = self.sizing.past(next);
            self.paused |= self.sizing.declined(next.seq - 1);
        }
    }

    fn fetched(from: Cursor, next: Cursor, count: u32) -> Fetched {
        Fetched {
            request: 1,
            first_seq: from.seq,
            count,
            bytes: count * 50,
            next,
            at_end: false,
            missing: false,
            damaged: 0,
            damaged_bytes: 0,
        }
    }

    /// Refuses any batch that holds one of these.
    fn poisoned(seqs: &[u64], poison: &[u64], verdict: Verdict, status: u16) -> (Verdict, u16) {
        let bad = seqs.iter().any(|seq| poison.contains(seq));
        if bad { (verdict, status) } else { (Verdict::Accepted, 200) }
    }

    #[test]
    fn one_poison_record_among_500_is_found_wherever_it_is() {
        for poison in [1, 2, 250, 251, 499, 500] {
            let mut trial = Trial::new();
            trial.send(500, 100, |seqs| poisoned(seqs, &[poison], Verdict::BadContent, 400));
            assert_eq!(trial.declined, [poison]);
            assert_eq!(trial.accepted.len(), 499, "poison {poison}");
            assert!(trial.requests < 40, "{} requests for poison {poison}", trial.requests);
            assert!(!trial.paused);
        }
    }

    #[test]
    fn a_batch_of_which_nothing_is_accepted_is_a_matter_of_credentials() {
        let mut trial = Trial::new();
        trial.send(1_000, 5_000, |_| (Verdict::BadContent, 400));
        assert!(trial.paused, "Z3");
        assert_eq!(trial.declined.len(), 500, "one batch, and no more of the backlog");
        let mut single = Trial::new();
        single.send(1, 10, |_| (Verdict::BadContent, 400));
        assert_eq!((single.declined.len(), single.paused), (1, false), "a batch of one");
    }

    #[test]
    fn wrong_credentials_decline_the_batch_and_pause() {
        let mut trial = Trial::new();
        trial.send(1_000, 10, |_| (Verdict::BadCredentials, 401));
        assert_eq!((trial.declined.len(), trial.requests, trial.paused), (500, 1, true));
        let mut alerts = Sizing::new(Lane::Alerts);
        let from = Cursor { term: 1, segment: 1, offset: 64, seq: 1 };
        let batch = fetched(from, Cursor { seq: 2, ..from }, 1);
        let step = alerts.judge(&batch, Verdict::BadCredentials, 403);
        assert_eq!(step, Step::Pause { records: 0 }, "alerts stay queued");
    }

    #[test]
    fn what_is_too_large_is_halved_until_it_fits() {
        let mut trial = Trial::new();
        let cloud = |seqs: &[u64]| {
            if seqs.len() > 100 { (Verdict::TooLarge, 413) } else { (Verdict::Accepted, 200) }
        };
        trial.send(500, 60, cloud);
        assert_eq!((trial.accepted.len(), trial.declined.len()), (500, 0));
        let mut whole = Trial::new();
        whole.send(1, 10, |_| (Verdict::TooLarge, 413));
        assert_eq!(whole.declined, [1], "a single record that is too large is bad content");
    }

    #[test]
    fn a_size_that_is_too_large_is_tried_again_ever_more_seldom() {
        let mut trial = Trial::new();
        let cloud = |seqs: &[u64]| {
            if seqs.len() > 100 { (Verdict::TooLarge, 413) } else { (Verdict::Accepted, 200) }
        };
        trial.send(100_000, 3_000, cloud);
        assert_eq!(trial.accepted.len(), 100_000);
        // 62 records each, and few that were too large
        let least = 100_000_u32.div_ceil(62);
        assert!(trial.requests < least + least / 20, "{} requests", trial.requests);
    }

    #[test]
    fn a_cloud_to_which_all_is_too_large_gets_one_batch_a_pause() {
        let mut trial = Trial::new();
        trial.send(1_000, 5_000, |_| (Verdict::TooLarge, 413));
        assert_eq!((trial.declined.len(), trial.paused), (500, true), "Z3");
    }

    #[test]
    fn five_hundreds_on_everything_decline_nothing() {
        let mut trial = Trial::new();
        trial.send(500, 300, |_| (Verdict::Retry, 500));
        assert_eq!((trial.declined.len(), trial.accepted.len()), (0, 0));
        trial.send(500, 100, |_| (Verdict::Accepted, 200));
        assert_eq!(trial.accepted.len(), 500, "and all is delivered once it is over");
        let mut gone = Trial::new();
        gone.send(500, 300, |_| (Verdict::Retry, 503));
        assert_eq!(gone.sizing.records_max(500, gone.cursor), 500, "503 is no doubt of content");
    }

    #[test]
    fn five_hundreds_for_one_record_decline_it_and_nothing_is_sent_twice() {
        for poison in [1, 300, 500] {
            let mut trial = Trial::new();
            trial.send(500, 300, |seqs| poisoned(seqs, &[poison], Verdict::Retry, 500));
            assert_eq!(trial.declined, [poison], "after {} requests", trial.requests);
            let mut accepted = trial.accepted.clone();
            accepted.sort_unstable();
            accepted.dedup();
            assert_eq!((accepted.len(), trial.accepted.len()), (499, 499), "Z4");
        }
    }

    #[test]
    fn two_time_outs_halve_and_success_doubles() {
        let mut trial = Trial::new();
        let whole = fetched(trial.cursor, Cursor { seq: 501, ..trial.cursor }, 500);
        let half = fetched(trial.cursor, Cursor { seq: 251, ..trial.cursor }, 250);
        trial.sizing.time_out(&whole);
        assert_eq!(trial.sizing.records_max(500, trial.cursor), 500);
        for batch in [whole, half, half] {
            trial.sizing.time_out(&batch);
        }
        assert_eq!(trial.sizing.records_max(500, trial.cursor), 125);
        trial.send(10_000, SIZE_PATIENCE_MIN, |_| (Verdict::Accepted, 200));
        assert_eq!(trial.sizing.records_max(500, trial.cursor), 250, "tried again after a while");
        trial.sizing.time_out(&half);
        assert_eq!(trial.sizing.records_max(500, trial.cursor), 125, "once is enough now");
        trial.send(10_000, 2 * SIZE_PATIENCE_MIN - 1, |_| (Verdict::Accepted, 200));
        assert_eq!(trial.sizing.records_max(500, trial.cursor), 125, "and for twice as long");
        trial.send(10_000, 3, |_| (Verdict::Accepted, 200));
        assert_eq!(trial.sizing.records_max(500, trial.cursor), 500, "it was not the size");
    }

    #[test]
    fn what_was_known_of_a_batch_is_void_once_the_cursor_jumped() {
        let mut trial = Trial::new();
        let from = trial.cursor;
        let batch = fetched(from, Cursor { seq: 101, ..from }, 100);
        assert_eq!(trial.sizing.judge(&batch, Verdict::BadContent, 400), Step::Part);
        let beyond = Cursor { segment: 2, seq: 300, ..from };
        assert!(trial.sizing.records_max(500, beyond) >= 1, "no count below none");
        trial.sizing.forget_batch();
        trial.cursor = beyond;
        trial.send(800, 300, |seqs| poisoned(seqs, &[300], Verdict::Retry, 500));
        assert_eq!(trial.declined, [300], "a poison record there is found as ever");
    }
}
