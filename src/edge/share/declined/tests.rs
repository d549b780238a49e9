//! Orders on stores that are whole, full, torn, damaged, or of a newer version.

use std::collections::BTreeMap;

use super::super::segments;
use super::super::testing::{Folder, group, record};
use super::*;
use crate::engine::ident::Lane;
use crate::engine::share::ShareFault;
use crate::engine::slot::FORMAT;

pub(super) const LANE: Lane = Lane::Readings;
const WALL_MS: u64 = 1_700_000_000_000;

/// A data directory whose segment 1 of term 3 holds the records 1 to 20 in groups of five.
pub(super) fn place() -> (Folder, Root) {
    let folder = Folder::new();
    let root = folder.root();
    segments::create(&root, LANE, 3, 1).expect("created");
    let path = segments::path_of(&root, LANE, 3, 1);
    let groups = [1, 6, 11, 16].map(|first| group(first, 5)).concat();
    let bytes = [fs::read(&path).expect("read"), groups].concat();
    fs::write(&path, bytes).expect("written");
    (folder, root)
}

pub(super) fn order(first: u64, records: u32) -> Decline {
    Decline {
        lane: LANE,
        from: Cursor { term: 3, segment: 1, offset: 64, seq: first },
        end: u32::MAX,
        records,
        status: 400,
        reason: heapless::String::try_from("bad \"value\",\"record\":\\ ä").expect("short"),
        wall_ms: WALL_MS,
        bytes_max: 16 << 20,
    }
}

fn entry(seq: u64) -> Entry {
    Entry {
        term: 3,
        lane: LANE,
        seq,
        status: 400,
        reason: "bad \"value\",\"record\":\\ ä".into(),
        wall_ms: WALL_MS,
        record: record(seq).trim_end().as_bytes().to_vec(),
    }
}

pub(super) fn all(root: &Root) -> Vec<(Position, Entry)> {
    read(root).expect("listed").collect::<Result<_, _>>().expect("read")
}

pub(super) fn seqs(root: &Root) -> Vec<u64> {
    all(root).into_iter().map(|(_, entry)| entry.seq).collect()
}

pub(super) fn names(root: &Root) -> Vec<(Term, u32)> {
    files::list(root).expect("listed").iter().map(|name| (name.term, name.number)).collect()
}

pub(super) fn path(root: &Root, term: Term, number: u32) -> std::path::PathBuf {
    Name { term, number }.path(root)
}

fn forget(root: &Root, through: Position) -> u32 {
    reading::forget(root, through).expect("forgotten")
}

fn purge(root: &Root) -> u64 {
    let mut gone = 0;
    reading::purge(root, &mut gone).expect("purged");
    gone
}

/// By a keeper of its own, which is then gone.
pub(super) fn decline(root: &Root, term: Term, order: &Decline) -> Declined {
    Store::default().decline(root, term, order).expect("declined")
}

#[test]
fn entries_read_back_as_they_were_refused() {
    let (_folder, root) = place();
    let mut store = Store::default();
    let done = store.decline(&root, 4, &order(4, 3)).expect("declined");
    assert_eq!((done.count, done.dropped, done.next.seq), (3, 0, 7));
    let one = store.decline(&root, 4, &Decline { from: done.next, ..order(7, 1) });
    assert_eq!(one.expect("declined").count, 1);
    let found = all(&root);
    let positions: Vec<_> = found.iter().map(|(position, _)| *position).collect();
    assert!(positions.is_sorted() && positions[0].offset == 64);
    let entries: Vec<_> = found.into_iter().map(|(_, entry)| entry).collect();
    assert_eq!(entries, [4, 5, 6, 7].map(entry));
    assert_eq!(names(&root), [(4, 1)]);
    let name = root.declined().join("00000004-000001.log");
    let text = fs::read(name).expect("read");
    // behind the header and the entry's head, either of which may hold any byte
    let line = text[64 + 12..].split(|&byte| byte == b'\n').next().expect("a line");
    let json: serde_json::Value = serde_json::from_slice(line).expect("JSON");
    assert_eq!((&json["seq"], &json["record"]["seq"]), (&4.into(), &4.into()));
}

#[test]
fn exactly_the_records_that_were_named_are_kept() {
    let (_folder, root) = place();
    assert_eq!(decline(&root, 4, &order(1, 0)), Declined { count: 0, ..none(1) });
    let done = decline(&root, 4, &order(19, 5));
    assert_eq!((done.count, done.next.seq), (2, 21), "no more are there");
    let beyond = decline(&root, 4, &order(21, 5));
    assert_eq!(beyond, none(21));
    let elsewhere = Cursor { segment: 2, ..order(1, 1).from };
    let missing = decline(&root, 4, &Decline { from: elsewhere, ..order(1, 1) });
    assert_eq!((missing.count, missing.next), (0, elsewhere));
    assert_eq!(seqs(&root), [19, 20]);
}

fn none(seq: u64) -> Declined {
    Declined { count: 0, next: order(seq, 0).from, dropped: 0 }
}

#[test]
fn records_behind_a_damaged_group_are_not_taken_for_those_in_it() {
    let (_folder, root) = place();
    let segment = segments::path_of(&root, LANE, 3, 1);
    let mut bytes = fs::read(&segment).expect("read");
    bytes[64 + 40] ^= 1;
    fs::write(&segment, bytes).expect("written");
    let done = decline(&root, 4, &order(4, 3));
    assert_eq!((done.count, done.next), (1, Cursor { seq: 7, ..order(4, 3).from }));
    assert_eq!(seqs(&root), [6]);
    let done = decline(&root, 4, &order(1, 2));
    assert_eq!((done.count, done.next.seq, done.next.offset), (0, 3, 64));
}

#[test]
fn a_repeat_adds_nothing() {
    let (_folder, root) = place();
    let mut store = Store::default();
    store.decline(&root, 4, &order(2, 4)).expect("declined");
    let again = store.decline(&root, 4, &order(2, 4)).expect("declined");
    assert_eq!((again.count, again.next.seq), (0, 6));
    assert_eq!(decline(&root, 4, &order(4, 4)).count, 2, "a keeper after a crash");
    assert_eq!(decline(&root, 5, &order(1, 8)).count, 2, "the next master");
    assert_eq!(seqs(&root), [2, 3, 4, 5, 6, 7, 1, 8]);
    assert_eq!(names(&root), [(4, 1), (4, 2), (5, 1)]);
}

#[test]
fn a_failure_leaves_nothing_that_a_repeat_would_double() {
    let (_folder, root) = place();
    let mut store = Store::default();
    store.decline(&root, 4, &order(1, 2)).expect("declined");
    let whole = fs::read(path(&root, 4, 1)).expect("read");
    // as after a sync that failed: written, and not known to be there
    let mut scratch = Vec::new();
    let order_3 = order(3, 1);
    let about = about(&order_3, 3);
    entry::write(&about, record(3).as_bytes(), &mut scratch);
    store.put(&root, &about, order_3.bytes_max, &mut scratch).expect("gathered");
    write(&root, store.writer.as_mut().expect("open")).expect("written");
    assert!(fs::read(path(&root, 4, 1)).expect("read").len() > whole.len());
    store.abandon(&root);
    assert_eq!(fs::read(path(&root, 4, 1)).expect("read"), whole, "X4");
    assert_eq!(store.decline(&root, 4, &order(1, 3)).expect("declined").count, 1);
    assert_eq!(names(&root), [(4, 1), (4, 2)], "X4");
    store.begin(&root).expect("begun");
    store.abandon(&root);
    assert_eq!(names(&root), [(4, 1), (4, 2)], "an empty file goes");
    assert_eq!(seqs(&root), [1, 2, 3]);
}

#[test]
fn a_full_disk_is_said_and_what_was_done_is_told_later() {
    let (_folder, root) = place();
    let mut store = Store::default();
    store.decline(&root, 4, &order(1, 1)).expect("declined");
    store.owed = (0, 7);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    store.writer.as_mut().expect("open").file = full;
    let error = store.decline(&root, 4, &order(2, 1)).expect_err("no space");
    assert_eq!(error.fault, ShareFault::NoSpace);
    assert!(error.text.contains("cannot write declined/00000004-000001.log"), "{error}");
    let done = store.decline(&root, 4, &order(2, 1)).expect("declined");
    assert_eq!((done.count, done.dropped), (1, 7));
    assert_eq!(seqs(&root), [1, 2]);
}

#[test]
fn a_file_that_was_deleted_is_not_written_on() {
    let (_folder, root) = place();
    let mut store = Store::default();
    store.decline(&root, 4, &order(1, 3)).expect("declined");
    assert_eq!(purge(&root), 3);
    assert!(names(&root).is_empty());
    store.decline(&root, 4, &order(4, 1)).expect("declined");
    assert_eq!((names(&root), seqs(&root)), (vec![(4, 2)], vec![4]));
    fs::remove_dir_all(root.declined()).expect("gone");
    store.decline(&root, 4, &order(5, 1)).expect("declined");
    assert_eq!(seqs(&root), [5]);
}

#[test]
fn the_oldest_files_make_room_and_are_counted() {
    let (_folder, root) = place();
    let mut store = Store::default();
    let bytes_max = 2_000;
    let (mut kept, mut dropped) = (0, 0);
    for seq in 1..=20 {
        let order = Decline { bytes_max, ..order(seq, 1) };
        let done = store.decline(&root, 4, &order).expect("declined");
        (kept, dropped) = (kept + done.count, dropped + done.dropped);
        let bytes = |name: &Name| fs::metadata(name.path(&root)).expect("there").len();
        let there: u64 = files::list(&root).expect("listed").iter().map(bytes).sum();
        assert!(there <= bytes_max, "X5: {there}");
    }
    let left = seqs(&root);
    assert_eq!((kept, dropped as usize + left.len()), (20, 20));
    assert!(dropped > 0 && left.len() > 5 && left.last() == Some(&20), "{left:?}");
    let all_at_once = Decline { bytes_max, ..order(1, 20) };
    let done = decline(&root, 5, &all_at_once);
    assert_eq!(done.count + u32::try_from(left.len()).expect("few"), 20);
    assert_eq!(seqs(&root).len(), left.len() + done.count as usize - done.dropped as usize);
    let tiny = Decline { bytes_max: 1, ..order(20, 1) };
    fs::remove_dir_all(root.declined()).expect("gone");
    assert_eq!(decline(&root, 6, &tiny).count, 1, "one entry always goes");
    assert_eq!(seqs(&root), [20]);
}

#[test]
fn a_torn_tail_is_cut_and_never_written_on() {
    let (_folder, root) = place();
    decline(&root, 4, &order(1, 3));
    let file = path(&root, 4, 1);
    let whole = fs::read(&file).expect("read");
    let last = all(&root)[2].0.offset as usize;
    for end in [last, last + 5, last + 13, whole.len() - 1] {
        fs::write(&file, &whole[..end]).expect("torn");
        let mut entries = read(&root).expect("listed");
        assert_eq!(entries.by_ref().count(), 2, "{end}");
        assert_eq!(entries.damaged(), 0, "{end}");
    }
    assert_eq!(decline(&root, 4, &order(1, 3)).count, 1);
    assert_eq!((names(&root), seqs(&root)), (vec![(4, 1), (4, 2)], vec![1, 2, 3]));
}

#[test]
fn damage_is_passed_over_and_counted() {
    let (_folder, root) = place();
    decline(&root, 4, &order(1, 5));
    let (file, found) = (path(&root, 4, 1), all(&root));
    let whole = fs::read(&file).expect("read");
    for at in [3, found[2].0.offset as usize + 4, found[2].0.offset as usize + 20] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(&file, bytes).expect("damaged");
        let mut entries = read(&root).expect("listed");
        let seqs: Vec<_> = entries.by_ref().flatten().map(|(_, entry)| entry.seq).collect();
        let expected: &[u64] = if at == 3 { &[1, 2, 3, 4, 5] } else { &[1, 2, 4, 5] };
        assert_eq!((seqs.as_slice(), entries.damaged()), (expected, u32::from(at > 3)));
    }
    fs::copy(&file, path(&root, 4, 2)).expect("copied");
    assert_eq!(all(&root).len(), 4, "entries of another file are damage");
}

#[test]
fn what_others_wrote_is_left_alone() {
    let (_folder, root) = place();
    let mut newer = FileOf { site: root.site, name: Name { term: 1, number: 1 } }.header();
    newer[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    let sum = crate::engine::codec::CRC_32C.checksum(&newer[..36]);
    newer[36..40].copy_from_slice(&sum.to_le_bytes());
    let big = [newer.to_vec(), vec![7; 5_000]].concat();
    for number in [1, 2] {
        fs::write(path(&root, 4, number), &big).expect("written");
    }
    for name in ["notes.txt", "damaged-1-readings-1-64.bin", "1-1.log"] {
        fs::write(root.declined().join(name), b"mine").expect("written");
    }
    let small = Decline { bytes_max: 1_000, ..order(1, 10) };
    let done = decline(&root, 4, &small);
    assert!(done.count == 10 && done.dropped > 0);
    assert_eq!(names(&root)[..2], [(4, 1), (4, 2)]);
    let (held, newer): (Vec<_>, Vec<_>) = read(&root).expect("listed").partition(Result::is_ok);
    assert_eq!((held.len(), newer.len()), (10 - done.dropped as usize, 2), "told, not passed over");
    let oldest = held[0].as_ref().expect("an entry").0;
    forget(&root, oldest);
    purge(&root);
    assert_eq!(names(&root), [(4, 1), (4, 2)]);
    assert_eq!(fs::read(path(&root, 4, 1)).expect("read"), big);
    for name in ["notes.txt", "damaged-1-readings-1-64.bin", "1-1.log"] {
        assert!(root.declined().join(name).exists(), "{name}");
    }
}

#[test]
fn what_is_forgotten_is_not_read_again() {
    let (_folder, root) = place();
    for (term, first) in [(4, 1), (5, 4), (6, 7)] {
        decline(&root, term, &order(first, 3));
    }
    let found = all(&root);
    forget(&root, found[4].0);
    assert_eq!((names(&root), seqs(&root)), (vec![(5, 1), (6, 1)], vec![6, 7, 8, 9]));
    forget(&root, found[1].0);
    assert_eq!(seqs(&root), [6, 7, 8, 9]);
    assert_eq!(forget(&root, found[7].0), 1, "one is left in that file");
    assert_eq!((names(&root), seqs(&root)), (vec![(6, 1)], vec![9]));
    assert_eq!(decline(&root, 7, &order(7, 4)).count, 3, "X3: what is forgotten is not there");
    assert_eq!(seqs(&root), [9, 7, 8, 10]);
    let tiny = Decline { bytes_max: 1, ..order(11, 1) };
    assert_eq!(decline(&root, 8, &tiny).dropped, 4, "forgotten ones are not counted");
    assert_eq!(purge(&root), 1);
    fs::write(root.declined().join("forgotten"), b"EDGEDGON damaged").expect("written");
    assert_eq!(decline(&root, 9, &order(1, 1)).count, 1);
    assert_eq!(seqs(&root), [1]);
}

#[test]
fn a_thousand_random_corruptions_never_yield_a_wrong_record() {
    let (_folder, root) = place();
    decline(&root, 4, &Decline { bytes_max: 6_000, ..order(1, 20) });
    let expected: BTreeMap<_, _> = all(&root).into_iter().collect();
    let wholes: Vec<_> = files::list(&root)
        .expect("listed")
        .into_iter()
        .map(|name| (name, fs::read(name.path(&root)).expect("read")))
        .collect();
    assert!(wholes.len() > 1);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        usize::try_from((state >> 33) % bound as u64).expect("below the bound")
    };
    for round in 0..1_000 {
        let (name, whole) = &wholes[below(wholes.len())];
        let mut bytes = whole.clone();
        match round % 4 {
            0 => bytes.truncate(below(whole.len())),
            1 => bytes[below(whole.len())] ^= 1 << below(8),
            2 => {
                let from = below(whole.len());
                bytes[from..].rotate_left(below(whole.len() - from));
            }
            _ => (0..=below(40)).for_each(|_| {
                bytes[below(whole.len())] = u8::try_from(below(256)).expect("a byte");
            }),
        }
        fs::write(name.path(&root), &bytes).expect("damaged");
        let found = all(&root);
        assert!(found.len() <= expected.len());
        for (position, entry) in &found {
            // a stretch that moved within its file keeps its identity
            assert!(expected.values().any(|known| known == entry), "{position:?}: {entry:?}");
        }
        let declined = Store::default().decline(&root, 4, &order(1, 0));
        assert_eq!(declined.expect("declined").count, 0);
        if round % 50 == 0 {
            decline(&root, 5, &order(1, 20));
            assert!(seqs(&root).len() >= 20, "round {round}");
            let ours = files::list(&root).expect("listed").into_iter().filter(|it| it.term == 5);
            ours.for_each(|it| fs::remove_file(it.path(&root)).expect("gone"));
        }
        fs::write(name.path(&root), whole).expect("mended");
    }
}
