//! Whole and damaged segments, read in batches of all sizes.

use std::fs;
use std::path::PathBuf;

use super::super::testing::{Folder, GROUPS, group, record};
use super::*;
use crate::engine::segment::{GROUP_HEAD_BYTES, GROUP_MAGIC};
use crate::limits::GROUP_BYTES_MAX;

const LANE: Lane = Lane::Readings;

/// A segment of term 3, number 1, of these groups.
fn segment(root: &Root, groups: &[Vec<u8>]) -> PathBuf {
    segments::create(root, LANE, 3, 1).expect("created");
    let path = segments::path_of(root, LANE, 3, 1);
    let mut bytes = fs::read(&path).expect("read");
    bytes.extend(groups.concat());
    fs::write(&path, bytes).expect("written");
    path
}

fn order(offset: u32, seq: u64) -> Fetch {
    Fetch {
        request: 1,
        lane: LANE,
        from: Cursor { term: 3, segment: 1, offset, seq },
        end: u32::MAX,
        records_max: 500,
        bytes_max: 65_536,
    }
}

fn records(first: u64, last: u64) -> String {
    (first..=last).map(record).collect()
}

fn text(fetcher: &Fetcher) -> &str {
    std::str::from_utf8(fetcher.batch()).expect("JSON lines")
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("small")
}

#[test]
fn a_batch_spans_groups_and_ends_with_the_segment() {
    let folder = Folder::new();
    let root = folder.root();
    let path = segment(&root, &[group(1, 3), group(4, 2)]);
    let mut fetcher = Fetcher::default();
    let seen = fetcher.fetch(&root, order(0, 1)).expect("fetched");
    assert_eq!((seen.first_seq, seen.count), (1, 5));
    assert_eq!(text(&fetcher), records(1, 5));
    assert_eq!(seen.bytes, length(fetcher.batch()));
    let end = length(&fs::read(path).expect("read"));
    assert_eq!(seen.next, Cursor { term: 3, segment: 1, offset: end, seq: 6 });
    assert!(seen.at_end && !seen.missing);
    let seen = fetcher.fetch(&root, Fetch { from: seen.next, ..order(0, 1) }).expect("fetched");
    assert_eq!((seen.count, seen.at_end, seen.next.seq), (0, true, 6));
}

#[test]
fn a_batch_may_end_within_a_group_and_goes_on_there() {
    let folder = Folder::new();
    let root = folder.root();
    segment(&root, &[group(1, 3), group(4, 4)]);
    let mut fetcher = Fetcher::default();
    let five = Fetch { records_max: 5, ..order(64, 1) };
    let seen = fetcher.fetch(&root, five).expect("fetched");
    assert_eq!((seen.count, seen.at_end, seen.next.seq), (5, false, 6));
    assert_eq!(seen.next.offset, 64 + length(&group(1, 3)), "the group that holds seq 6");
    let seen = fetcher.fetch(&root, Fetch { from: seen.next, ..five }).expect("fetched");
    assert_eq!((seen.first_seq, seen.count, seen.at_end), (6, 2, true));
    assert_eq!(text(&fetcher), records(6, 7));
}

#[test]
fn bytes_bound_a_batch_but_one_record_always_goes() {
    let folder = Folder::new();
    let root = folder.root();
    segment(&root, &[group(1, 9)]);
    let mut fetcher = Fetcher::default();
    let tiny = Fetch { bytes_max: 1, ..order(0, 4) };
    assert_eq!(fetcher.fetch(&root, tiny).expect("fetched").count, 1);
    assert_eq!(text(&fetcher), record(4));
    let two = u32::try_from(records(4, 5).len()).expect("small");
    let exact = Fetch { bytes_max: two, ..order(0, 4) };
    assert_eq!(fetcher.fetch(&root, exact).expect("fetched").count, 2);
    let short = Fetch { bytes_max: two - 1, ..order(0, 4) };
    assert_eq!(fetcher.fetch(&root, short).expect("fetched").count, 1);
    let none = Fetch { records_max: 0, ..order(0, 4) };
    assert_eq!(fetcher.fetch(&root, none).expect("fetched").count, 1);
}

#[test]
fn records_before_the_cursor_are_skipped() {
    let folder = Folder::new();
    let root = folder.root();
    segment(&root, &[group(1, 3), group(4, 2), group(6, 2)]);
    let mut fetcher = Fetcher::default();
    let seen = fetcher.fetch(&root, order(0, 5)).expect("fetched");
    assert_eq!((seen.first_seq, seen.count), (5, 3));
    assert_eq!(text(&fetcher), records(5, 7));
    let seen = fetcher.fetch(&root, order(0, 100)).expect("fetched");
    assert_eq!((seen.count, seen.at_end, seen.next.seq), (0, true, 100));
}

#[test]
fn nothing_is_read_beyond_the_end_that_is_given() {
    let folder = Folder::new();
    let root = folder.root();
    segment(&root, &[group(1, 3), group(4, 2)]);
    let mut fetcher = Fetcher::default();
    let end = 64 + length(&group(1, 3));
    let seen = fetcher.fetch(&root, Fetch { end, ..order(64, 1) }).expect("fetched");
    assert_eq!((seen.count, seen.at_end, seen.next.offset), (3, true, end));
    let seen = fetcher.fetch(&root, Fetch { end, from: seen.next, ..order(64, 1) });
    assert_eq!(seen.expect("fetched").count, 0);
}

#[test]
fn a_gap_ends_the_batch_before_it() {
    let folder = Folder::new();
    let root = folder.root();
    segment(&root, &[group(1, 2), group(5, 2)]);
    let mut fetcher = Fetcher::default();
    let seen = fetcher.fetch(&root, order(0, 1)).expect("fetched");
    assert_eq!((seen.count, seen.at_end, seen.next.seq), (2, false, 3));
    let seen = fetcher.fetch(&root, Fetch { from: seen.next, ..order(0, 1) }).expect("fetched");
    assert_eq!((seen.first_seq, seen.count, seen.damaged), (5, 2, 0), "F2");
}

#[test]
fn what_follows_damage_is_read_the_same_wherever_a_batch_began() {
    let folder = Folder::new();
    let root = folder.root();
    let groups = [group(1, 3), noise(40), group(2, 4), group(6, 1)];
    segment(&root, &groups);
    let damage = 64 + length(&groups[0]);
    for offset in [0, 64, damage, damage + 40] {
        let mut fetcher = Fetcher::default();
        let seen = fetcher.fetch(&root, order(offset, 4)).expect("fetched");
        assert_eq!((seen.first_seq, seen.count, seen.at_end), (4, 3, true), "F5: from {offset}");
        assert_eq!(text(&fetcher), records(4, 6));
    }
}

#[test]
fn groups_written_twice_are_read_once() {
    let folder = Folder::new();
    let root = folder.root();
    segment(&root, &[group(1, 3), group(2, 4), group(1, 3), group(6, 1)]);
    let mut fetcher = Fetcher::default();
    let seen = fetcher.fetch(&root, order(0, 1)).expect("fetched");
    assert_eq!((seen.count, seen.at_end), (6, true));
    assert_eq!(text(&fetcher), records(1, 6));
}

#[test]
fn a_torn_tail_ends_the_segment() {
    let folder = Folder::new();
    let root = folder.root();
    let (whole, torn) = (group(1, 3), group(4, 4));
    let path = segment(&root, &[whole.clone(), torn.clone()]);
    let bytes = fs::read(&path).expect("read");
    let start = 64 + whole.len();
    for cut in start + 1..bytes.len() {
        fs::write(&path, &bytes[..cut]).expect("written");
        let mut fetcher = Fetcher::default();
        let seen = fetcher.fetch(&root, order(0, 1)).expect("fetched");
        assert_eq!((seen.count, seen.at_end, seen.damaged), (3, false, 0), "cut at {cut}");
        let seen = fetcher.fetch(&root, Fetch { from: seen.next, ..order(0, 1) }).expect("again");
        assert_eq!((seen.count, seen.at_end, seen.damaged), (0, true, 0), "cut at {cut}");
        assert_eq!(seen.next.seq, 4);
    }
    let mut zeros = bytes[..start].to_vec();
    zeros.resize(start + 10_000, 0);
    fs::write(&path, zeros).expect("written");
    let seen = Fetcher::default().fetch(&root, order(length(&bytes[..start]), 4)).expect("fetched");
    assert_eq!((seen.count, seen.at_end, seen.damaged), (0, true, 0), "zeros");
}

#[test]
fn a_damaged_group_is_set_aside_counted_once_and_passed() {
    let folder = Folder::new();
    let root = folder.root();
    let groups = [group(1, 3), group(4, 2), group(6, 2)];
    let path = segment(&root, &groups);
    let mut bytes = fs::read(&path).expect("read");
    let start = 64 + groups[0].len();
    bytes[start + 40] ^= 4;
    fs::write(&path, &bytes).expect("written");
    let mut fetcher = Fetcher::default();
    let first = fetcher.fetch(&root, order(0, 1)).expect("fetched");
    assert_eq!((first.count, first.damaged, first.at_end), (3, 0, false));
    let again = Fetch { from: first.next, ..order(0, 1) };
    let seen = fetcher.fetch(&root, again).expect("fetched");
    assert_eq!((seen.first_seq, seen.count, seen.at_end), (6, 2, true));
    assert_eq!((seen.damaged, seen.damaged_bytes), (1, length(&groups[1])));
    assert_eq!(text(&fetcher), records(6, 7));
    let repeated = fetcher.fetch(&root, again).expect("fetched");
    assert_eq!((repeated.count, repeated.damaged), (2, 0), "F3: counted once");
    let name = format!("damaged-3-readings-1-{start}.bin");
    let aside = fs::read(root.declined().join(name)).expect("set aside");
    assert_eq!(aside, bytes[start..start + groups[1].len()]);
}

/// Bytes that are no group.
fn noise(count: u8) -> Vec<u8> {
    (0..count).map(|at| at ^ 0x55).collect()
}

#[test]
fn a_damaged_header_costs_no_group() {
    let folder = Folder::new();
    let root = folder.root();
    let path = segment(&root, &[group(1, 3)]);
    let mut bytes = fs::read(&path).expect("read");
    bytes[20] ^= 1;
    fs::write(&path, &bytes).expect("written");
    for offset in [0, 64] {
        let mut fetcher = Fetcher::default();
        let seen = fetcher.fetch(&root, order(offset, 1)).expect("fetched");
        assert_eq!((seen.count, seen.damaged, seen.damaged_bytes), (3, 1, 64));
    }
    fs::write(&path, &bytes[..30]).expect("written");
    let seen = Fetcher::default().fetch(&root, order(0, 1)).expect("fetched");
    assert_eq!((seen.count, seen.at_end, seen.damaged), (0, true, 1), "no header is named torn");
    fs::write(&path, noise(200)).expect("written");
    let seen = Fetcher::default().fetch(&root, order(0, 1)).expect("fetched");
    assert_eq!((seen.at_end, seen.damaged, seen.damaged_bytes), (true, 1, 200));
    let aside = fs::read(root.declined().join("damaged-3-readings-1-0.bin")).expect("set aside");
    assert_eq!(aside.len(), 64, "the first damage there is kept");
}

#[test]
fn damage_before_a_durable_end_is_no_torn_tail() {
    let folder = Folder::new();
    let root = folder.root();
    let path = segment(&root, &[group(1, 3)]);
    let mut bytes = fs::read(&path).expect("read");
    let end = length(&bytes);
    bytes[70] ^= 1;
    fs::write(&path, &bytes).expect("written");
    let seen = Fetcher::default().fetch(&root, Fetch { end, ..order(0, 1) }).expect("fetched");
    assert_eq!((seen.count, seen.damaged, seen.damaged_bytes), (0, 1, end - 64));
    assert_eq!((seen.at_end, seen.next.offset), (true, end));
}

#[test]
fn groups_as_large_as_may_be_fit_the_window() {
    let folder = Folder::new();
    let root = folder.root();
    let large = |seq: u64| {
        let mut bytes = vec![b'x'; GROUP_HEAD_BYTES + GROUP_BYTES_MAX];
        *bytes.last_mut().expect("bytes") = b'\n';
        GroupHead::seal(&mut bytes, GROUPS, seq, 1);
        bytes
    };
    let path = segment(&root, &[large(1), large(2), large(3)]);
    let mut fetcher = Fetcher::default();
    let wide = Fetch { bytes_max: u32::MAX, ..order(0, 1) };
    let seen = fetcher.fetch(&root, wide).expect("fetched");
    assert_eq!((seen.count, seen.at_end), (3, true));
    assert_eq!(fetcher.batch().len(), 3 * GROUP_BYTES_MAX);
    let mut bytes = fs::read(&path).expect("read");
    bytes[64 + 9_000] ^= 1;
    fs::write(&path, bytes).expect("written");
    let seen = Fetcher::default().fetch(&root, wide).expect("fetched");
    assert_eq!((seen.first_seq, seen.count, seen.damaged), (2, 2, 1));
}

#[test]
fn a_segment_that_is_not_there_is_said() {
    let folder = Folder::new();
    let seen = Fetcher::default().fetch(&folder.root(), order(64, 9)).expect("fetched");
    assert_eq!((seen.count, seen.missing, seen.at_end), (0, true, false));
    assert_eq!(seen.next, order(64, 9).from);
}

/// A small generator, so that a failing seed can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("below a usize")
    }
}

/// Garbles a few stretches by flips, overwriting, cutting out, doubling and cutting off.
fn garble(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let length = (1 + random.below(200)).min(bytes.len() - at);
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at..at + length].fill(0),
            2 => bytes[at..at + length].fill_with(|| GROUP_MAGIC[random.below(4)]),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let copy = bytes[at..at + length].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
}

/// Reads all of a segment in random batches: every record given out is whole, in order, once.
fn read_all(root: &Root, random: &mut Random, seed: u64) -> Vec<u64> {
    let mut fetcher = Fetcher::default();
    let mut from = order(0, 1).from;
    let mut got = Vec::new();
    for _ in 0..400 {
        let records_max = u32::try_from(1 + random.below(12)).expect("small");
        let bytes_max = u32::try_from(1 + random.below(600)).expect("small");
        let wish = Fetch { from, records_max, bytes_max, ..order(0, 1) };
        let part = fetcher.fetch(root, wish).expect("fetched");
        let last = part.first_seq + u64::from(part.count);
        if part.count > 0 {
            assert!(part.first_seq >= from.seq, "seed {seed}");
            assert_eq!(text(&fetcher), records(part.first_seq, last - 1), "seed {seed}");
            assert_eq!(part.next.seq, last, "seed {seed}");
            got.extend(part.first_seq..last);
        }
        assert!(!from.is_past(&part.next), "seed {seed}");
        from = part.next;
        if part.at_end {
            return got;
        }
    }
    panic!("seed {seed}: no end");
}

#[test]
fn no_garbled_segment_gives_out_a_wrong_record() {
    let folder = Folder::new();
    let root = folder.root();
    let path = segment(&root, &[]);
    for seed in 1..=2_000_u64 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (seed << 7));
        let header = SegmentHeader { site: root.site, term: 3, lane: LANE, number: 1 };
        let mut bytes = header.encode().to_vec();
        let mut seq = 1;
        for _ in 0..=random.below(12) {
            let count = u32::try_from(1 + random.below(9)).expect("small");
            bytes.extend(group(seq, count));
            seq += u64::from(count);
        }
        let clean = seed % 10 == 0;
        if !clean {
            garble(&mut bytes, &mut random);
        }
        fs::write(&path, &bytes).expect("written");
        let got = read_all(&root, &mut random, seed);
        assert!(got.windows(2).all(|pair| pair[0] < pair[1]), "seed {seed}: {got:?}");
        assert!(!clean || got == (1..seq).collect::<Vec<_>>(), "seed {seed}: {got:?}");
    }
}
