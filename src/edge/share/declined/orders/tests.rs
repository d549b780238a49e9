//! Replays, purges and counts of stores that are whole, torn, of several terms, or too small.

use std::fs;

use super::super::tests::{LANE, all, decline, names, order, path, place, seqs};
use super::*;
use crate::edge::share::testing::record;
use crate::engine::cloud::Reason;
use crate::engine::ident::{Lane, RecordRange};
use crate::engine::share::Decline;
use crate::engine::store::{ReplayFetch, Replayed};

const FETCH: ReplayFetch =
    ReplayFetch { request: 9, end: None, records_max: 500, bytes_max: 64 << 10 };

/// A keeper of term 9, and what it read last.
struct Keeper {
    store: Store,
    batch: Vec<u8>,
}

impl Keeper {
    fn new() -> Self {
        Self { store: Store::default(), batch: Vec::new() }
    }

    fn give(&mut self, root: &Root, order: &StoreOrder) -> StoreOutcome {
        self.batch.clear();
        self.store.perform(root, 9, order, &mut self.batch).expect("done")
    }

    fn replay(&mut self, root: &Root, fetch: ReplayFetch) -> Replayed {
        let outcome = self.give(root, &StoreOrder::Replay(fetch));
        let StoreOutcome::Replayed(seen) = outcome else { panic!("{outcome:?}") };
        assert_eq!(seen.bytes as usize, self.batch.len());
        assert_eq!(seen.count as usize, self.batch.split_inclusive(|&byte| byte == b'\n').count());
        seen
    }

    fn count(&mut self, root: &Root) -> StoreCount {
        let outcome = self.give(root, &StoreOrder::Count);
        let StoreOutcome::Counted(count) = outcome else { panic!("{outcome:?}") };
        count
    }

    fn forget(&mut self, root: &Root, through: Position) {
        let outcome = self.give(root, &StoreOrder::Forget { through });
        assert_eq!(outcome, StoreOutcome::Forgotten);
    }

    fn put_back(&mut self, root: &Root, through: Position) -> u32 {
        let outcome = self.give(root, &StoreOrder::PutBack(put_back(through)));
        let StoreOutcome::PutBack { dropped } = outcome else { panic!("{outcome:?}") };
        dropped
    }
}

fn put_back(through: Position) -> PutBack {
    let reason = Reason::try_from("still bad").expect("short");
    PutBack { through, status: 422, reason, wall_ms: 5, bytes_max: 16 << 20 }
}

fn ranges(seen: &Replayed) -> Vec<(Term, u64, u64)> {
    let of = |range: &RecordRange| (range.term, range.first_seq, range.last_seq);
    seen.ranges.iter().map(of).collect()
}

fn lines(seqs: impl IntoIterator<Item = u64>) -> Vec<u8> {
    seqs.into_iter().map(record).collect::<String>().into_bytes()
}

#[test]
fn a_replay_reads_batch_by_batch_up_to_where_the_store_ended() {
    let (_folder, root) = place();
    decline(&root, 4, &order(1, 3));
    decline(&root, 5, &order(5, 4));
    let mut keeper = Keeper::new();
    let first = keeper.replay(&root, ReplayFetch { records_max: 5, ..FETCH });
    assert_eq!((first.request, first.lane, first.count, first.left), (9, LANE, 5, true));
    assert_eq!(ranges(&first), [(3, 1, 3), (3, 5, 6)], "over the files of two terms");
    assert_eq!(keeper.batch, lines([1, 2, 3, 5, 6]));
    let again = keeper.replay(&root, ReplayFetch { records_max: 5, end: Some(first.end), ..FETCH });
    assert_eq!(again, first, "nothing was forgotten");
    keeper.forget(&root, first.through);
    assert_eq!((seqs(&root), names(&root)), (vec![7, 8], vec![(5, 1)]));
    decline(&root, 6, &order(10, 2));
    let last = keeper.replay(&root, ReplayFetch { end: Some(first.end), ..FETCH });
    assert_eq!((ranges(&last), last.left), (vec![(3, 7, 8)], false), "what came later is not read");
    keeper.forget(&root, last.through);
    let none = keeper.replay(&root, ReplayFetch { end: Some(first.end), ..FETCH });
    assert_eq!((none.count, none.left, keeper.batch.len()), (0, false, 0));
    assert_eq!(ranges(&keeper.replay(&root, FETCH)), [(3, 10, 11)], "another replay does");
    let (_empty, root) = place();
    assert_eq!(Keeper::new().replay(&root, FETCH).count, 0);
}

#[test]
fn a_batch_has_bounds_and_one_lane() {
    let (_folder, root) = place();
    for seq in 1..=20 {
        decline(&root, 4, &order(21 - seq, 1));
    }
    let mut keeper = Keeper::new();
    let seen = keeper.replay(&root, FETCH);
    assert_eq!((seen.count, seen.ranges.iter().count(), seen.left), (16, 16, true));
    assert_eq!(keeper.batch, lines((5..=20).rev()));
    let two = u32::try_from(record(20).len() + record(19).len()).expect("short");
    let seen = keeper.replay(&root, ReplayFetch { bytes_max: two, ..FETCH });
    assert_eq!((seen.count, seen.bytes, seen.left), (2, two, true));
    let seen = keeper.replay(&root, ReplayFetch { bytes_max: 1, ..FETCH });
    assert_eq!((seen.count, seen.left), (1, true), "one record always goes");
    let mut store = Store::default();
    store.enter(7);
    for (lane, seq) in [(Lane::Readings, 50), (Lane::Alerts, 1), (Lane::Alerts, 2)] {
        let mut scratch = Vec::new();
        let about = About { term: 3, lane, seq, status: 400, reason: "", wall_ms: 1 };
        entry::write(&about, b"{}", &mut scratch);
        store.put(&root, &about, 1 << 20, &mut scratch).expect("room");
    }
    store.sync(&root).expect("synced");
    keeper.forget(&root, all(&root)[19].0);
    let mut found = Vec::new();
    for _ in 0..3 {
        let seen = keeper.replay(&root, FETCH);
        found.push((seen.lane, seen.count, seen.left));
        keeper.forget(&root, seen.through);
    }
    let expected = [(LANE, 1, true), (Lane::Alerts, 1, true), (Lane::Alerts, 1, false)];
    assert_eq!(found, expected, "alerts go one at a time");
}

#[test]
fn a_record_that_stands_there_twice_goes_once() {
    let (_folder, root) = place();
    let mut store = Store::default();
    store.decline(&root, 4, &order(1, 4)).expect("declined");
    store.put_back(&root, &put_back(all(&root)[0].0)).expect("put back");
    // as after a crash between the entry and the mark
    fs::remove_file(root.declined().join("forgotten")).expect("gone");
    assert_eq!(seqs(&root), [1, 2, 3, 4, 1]);
    let mut keeper = Keeper::new();
    let seen = keeper.replay(&root, FETCH);
    assert_eq!((ranges(&seen), seen.count, seen.left), (vec![(3, 1, 4)], 4, false));
    keeper.forget(&root, seen.through);
    assert!(seqs(&root).is_empty());
}

#[test]
fn a_record_is_put_back_at_the_end_with_its_new_reason() {
    let (_folder, root) = place();
    let mut keeper = Keeper::new();
    keeper.store.decline(&root, 9, &order(1, 3)).expect("declined");
    let seen = keeper.replay(&root, ReplayFetch { records_max: 1, ..FETCH });
    assert_eq!(keeper.put_back(&root, seen.through), 0);
    assert_eq!(seqs(&root), [2, 3, 1]);
    let (_, moved) = all(&root).remove(2);
    assert_eq!((moved.status, moved.reason.as_str(), moved.wall_ms), (422, "still bad", 5));
    assert_eq!(moved.record, record(1).trim_end().as_bytes());
    let next = keeper.replay(&root, ReplayFetch { end: Some(seen.end), ..FETCH });
    assert_eq!((ranges(&next), next.left), (vec![(3, 2, 3)], false), "it is behind the end");
    let done = keeper.store.decline(&root, 9, &order(4, 1)).expect("declined");
    assert_eq!((done.count, done.dropped), (1, 0), "what was put back is not new");
    let mut later = Keeper::new();
    assert_eq!(later.put_back(&root, all(&root)[0].0), 0, "by a keeper that just began, too");
    assert_eq!(seqs(&root), [3, 1, 4, 2]);
    let gone = Position { term: 1, number: 1, offset: 64 };
    assert_eq!(later.put_back(&root, gone), 0);
    assert_eq!(seqs(&root), [3, 1, 4, 2], "what is not there is not put back");
}

#[test]
fn a_repeat_of_what_failed_writes_no_second_entry() {
    let (_folder, root) = place();
    decline(&root, 4, &order(1, 2));
    let first = all(&root)[0].0;
    let mut keeper = Keeper::new();
    let aside = root.declined().join("forgotten.new");
    fs::create_dir(&aside).expect("in the way");
    for _ in 0..3 {
        let order = StoreOrder::PutBack(put_back(first));
        keeper.store.perform(&root, 9, &order, &mut Vec::new()).expect_err("no mark");
        assert_eq!(seqs(&root), [1, 2, 1], "X7: both, until the old one is forgotten");
    }
    fs::remove_dir(&aside).expect("gone");
    keeper.put_back(&root, first);
    assert_eq!(seqs(&root), [2, 1]);
}

#[test]
fn room_for_what_is_put_back_costs_others_alone() {
    let (_folder, root) = place();
    for seq in 1..=4 {
        decline(&root, 4, &order(seq, 1));
    }
    let bytes = |name: &Name| fs::metadata(name.path(&root)).expect("there").len();
    let bytes_max: u64 = files::list(&root).expect("listed").iter().map(bytes).sum();
    let mut keeper = Keeper::new();
    let order = PutBack { bytes_max, ..put_back(all(&root)[0].0) };
    let outcome = keeper.give(&root, &StoreOrder::PutBack(order));
    let StoreOutcome::PutBack { dropped } = outcome else { panic!("{outcome:?}") };
    let left = seqs(&root);
    assert_eq!(left.len() + dropped as usize, 4, "it is not counted itself: {left:?}");
    assert_eq!(left.last(), Some(&1));
}

#[test]
fn everything_forgotten_leaves_no_file_not_even_the_open_one() {
    let (_folder, root) = place();
    let mut keeper = Keeper::new();
    keeper.store.decline(&root, 9, &order(1, 5)).expect("declined");
    let seen = keeper.replay(&root, FETCH);
    keeper.forget(&root, seen.through);
    assert_eq!(names(&root), []);
    assert_eq!(keeper.count(&root), StoreCount { complete: true, ..StoreCount::default() });
    keeper.store.decline(&root, 9, &order(6, 2)).expect("declined");
    assert_eq!((names(&root), seqs(&root)), (vec![(9, 2)], vec![6, 7]));
    let seen = keeper.replay(&root, FETCH);
    assert_eq!(ranges(&seen), [(3, 6, 7)], "a new file stands behind the mark");
}

#[test]
fn a_count_reads_one_file_at_a_time_and_follows_what_changes() {
    let (_folder, root) = place();
    for (term, first) in [(4, 1), (5, 4), (6, 7)] {
        decline(&root, term, &order(first, 3));
    }
    let mut keeper = Keeper::new();
    for files in 1..=3 {
        let count = keeper.count(&root);
        assert_eq!((count.files, count.records, count.complete), (3, files * 3, files == 3));
    }
    let bytes = |name: &Name| fs::metadata(name.path(&root)).expect("there").len();
    let there: u64 = files::list(&root).expect("listed").iter().map(bytes).sum();
    assert_eq!(keeper.count(&root).bytes, there);
    keeper.forget(&root, all(&root)[3].0);
    assert_eq!(keeper.count(&root).records, 5, "one file gone, one shorter");
    keeper.store.decline(&root, 9, &order(15, 2)).expect("declined");
    assert_eq!(keeper.count(&root).records, 7);
    keeper.put_back(&root, all(&root)[0].0);
    let count = keeper.count(&root);
    assert_eq!((count.records, count.complete), (7, true));
    assert_eq!(all(&root).len(), 7);
}

#[test]
fn torn_tails_and_damage_are_passed_by_a_replay() {
    let (_folder, root) = place();
    decline(&root, 4, &order(1, 4));
    decline(&root, 5, &order(5, 3));
    let found = all(&root);
    let (torn, damaged) = (path(&root, 5, 1), path(&root, 4, 1));
    let whole = fs::read(&torn).expect("read");
    fs::write(&torn, &whole[..whole.len() - 3]).expect("torn");
    let mut bytes = fs::read(&damaged).expect("read");
    bytes[found[1].0.offset as usize + 20] ^= 1;
    fs::write(&damaged, bytes).expect("damaged");
    let mut keeper = Keeper::new();
    let seen = keeper.replay(&root, FETCH);
    assert_eq!((ranges(&seen), seen.left), (vec![(3, 1, 1), (3, 3, 6)], false));
    keeper.forget(&root, seen.through);
    assert!(names(&root).is_empty() && seqs(&root).is_empty());
}

#[test]
fn a_purge_ends_what_a_replay_had_read() {
    let (_folder, root) = place();
    decline(&root, 4, &order(1, 4));
    let mut keeper = Keeper::new();
    keeper.store.decline(&root, 9, &order(5, 4)).expect("declined");
    let seen = keeper.replay(&root, ReplayFetch { records_max: 2, ..FETCH });
    keeper.forget(&root, seen.through);
    assert_eq!(keeper.give(&root, &StoreOrder::Purge), StoreOutcome::Purged { records: 6 });
    assert_eq!(keeper.give(&root, &StoreOrder::Purge), StoreOutcome::Purged { records: 0 });
    assert!(names(&root).is_empty());
    assert_eq!(keeper.replay(&root, ReplayFetch { end: Some(seen.end), ..FETCH }).count, 0);
    keeper.put_back(&root, seen.through);
    assert!(seqs(&root).is_empty());
    let done = keeper.store.decline(&root, 9, &order(5, 2)).expect("declined");
    assert_eq!((done.count, seqs(&root)), (2, vec![5, 6]), "X3: nothing is known to be there");
    let tiny = Decline { bytes_max: 1, ..order(8, 1) };
    assert_eq!(keeper.store.decline(&root, 9, &tiny).expect("declined").dropped, 2);
}
