//! A segment of the journal, damaged anyhow, read in batches.
//!
//! An input: how it is read ([`Reading`]), then how the file is made: steps, each with what it takes
//! (see [`build`]). Sums are right where a step does not make them wrong.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use edge_agent::edge::share::{Finding, SegmentReport, verify};
use edge_agent::engine::ident::{Cursor, Lane};
use edge_agent::engine::segment::{
    FIRST_OFFSET, GROUP_HEAD_BYTES, GROUP_MAGIC, GroupHead, GroupOf, SegmentHeader,
};
use edge_agent::engine::share::Fetch;
use edge_agent::limits::GROUP_BYTES_MAX;

use super::folder::{Folder, Keeper};
use super::plan::Plan;

const LANE: Lane = Lane::Readings;
/// The segment's number.
const NUMBER: u32 = 1;
/// What a file grows to at most, but for its last step.
const FILE_BYTES_MAX: usize = 128 << 10;
const STEPS_MAX: usize = 64;
/// Boundaries from which an input is read anew.
const BOUNDARIES_MAX: usize = 8;

/// See the module.
pub fn try_one(input: &[u8]) {
    let mut plan = Plan::new(input);
    let reading = Reading::of(&mut plan);
    SEGMENT.with_borrow_mut(|place| {
        let segment = place.get_or_insert_with(Segment::new);
        segment.header.term += 1;
        let bytes = build(&mut plan, &segment.header);
        segment.check(&bytes, reading);
    });
}

/// How a segment is read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The first record that is wanted.
    seq: u64,
    records_max: u32,
    bytes_max: u32,
    /// Its end is known to be durable.
    is_durable: bool,
}

impl Reading {
    fn of(plan: &mut Plan<'_>) -> Self {
        Self {
            seq: 1 + u64::from(plan.u8() % 32),
            records_max: u32::from(plan.u8() % 16),
            bytes_max: u32::from(plan.u16() % 2_048),
            is_durable: plan.u8() & 1 != 0,
        }
    }

    /// In batches as large as a socket holds.
    const fn whole(self) -> Self {
        Self { records_max: 500, bytes_max: 65_536, ..self }
    }
}

/// The line of a seq: no two are alike.
fn record(seq: u64) -> String {
    let padding = "x".repeat(usize::try_from(seq % 23).expect("short"));
    format!("{{\"seq\":{seq},\"pad\":\"{padding}\"}}\n")
}

fn group(of: GroupOf, first: u64, count: u32) -> Vec<u8> {
    let mut bytes = vec![0; GROUP_HEAD_BYTES];
    for seq in (first..).take(usize::try_from(count).expect("few")) {
        bytes.extend_from_slice(record(seq).as_bytes());
    }
    GroupHead::seal(&mut bytes, of, first, count);
    bytes
}

/// Makes the file, a step after the other.
fn build(plan: &mut Plan<'_>, header: &SegmentHeader) -> Vec<u8> {
    let of = header.groups();
    let mut bytes = header.encode().to_vec();
    let mut next = 1_u64;
    for _ in 0..STEPS_MAX {
        if plan.is_done() || bytes.len() > FILE_BYTES_MAX {
            break;
        }
        match plan.u8() % 12 {
            // the next records
            0 | 1 => {
                let count = 1 + u32::from(plan.u8() % 9);
                bytes.extend(group(of, next, count));
                next = next.saturating_add(u64::from(count));
            }
            // records further on, or back
            2 => {
                next = next.saturating_sub(8) + 1 + u64::from(plan.u8() % 24);
                let count = 1 + u32::from(plan.u8() % 9);
                bytes.extend(group(of, next, count));
                next += u64::from(count);
            }
            // records that came before
            3 => {
                bytes.extend(group(
                    of,
                    1 + u64::from(plan.u8() % 64),
                    1 + u32::from(plan.u8() % 9),
                ));
            }
            // another's group, or one that is none
            4 => bytes.extend(odd_group(plan, of, next)),
            5 => bytes.extend_from_slice(plan.piece()),
            6 => double(&mut bytes, plan),
            7 => {
                let (at, flips) = (place(&bytes, plan), plan.u8().max(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= flips;
                }
            }
            8 => {
                let (at, length) = (place(&bytes, plan), usize::from(plan.u8()));
                let end = bytes.len().min(at + length);
                bytes.drain(at..end);
            }
            9 => {
                let (at, length) = (place(&bytes, plan), usize::from(plan.u8()));
                let end = bytes.len().min(at + length);
                bytes[at..end].fill(0);
            }
            10 => bytes.truncate(place(&bytes, plan)),
            _ => {
                let count = usize::from(plan.u8());
                bytes.extend(GROUP_MAGIC.iter().cycle().take(count));
            }
        }
    }
    bytes
}

fn place(bytes: &[u8], plan: &mut Plan<'_>) -> usize {
    usize::try_from(plan.u32()).expect("a u32") % (bytes.len() + 1)
}

/// Writes a stretch of the file once more, somewhere.
fn double(bytes: &mut Vec<u8>, plan: &mut Plan<'_>) {
    let (from, to) = (place(bytes, plan), place(bytes, plan));
    let length = usize::from(plan.u16() % 1_024).min(bytes.len() - from);
    let copy = bytes[from..from + length].to_vec();
    bytes.splice(to..to, copy);
}

fn odd_group(plan: &mut Plan<'_>, of: GroupOf, next: u64) -> Vec<u8> {
    let kind = plan.u8() % 6;
    let count = 1 + u32::from(plan.u8() % 4);
    let mut bytes = match kind {
        0 => return group(GroupOf { term: of.term - 1, ..of }, next, count),
        1 => return group(GroupOf { lane: Lane::Alerts, ..of }, next, count),
        // fewer or more lines than it says
        2 => {
            let mut bytes = group(of, next, count);
            GroupHead::seal(&mut bytes, of, next, count + 1);
            return bytes;
        }
        // as many records as there are numbers
        3 => {
            let mut bytes = group(of, 1, count);
            GroupHead::seal(&mut bytes, of, u64::MAX - u64::from(plan.u8() % 8), count);
            return bytes;
        }
        _ => vec![0; GROUP_HEAD_BYTES],
    };
    // the largest, or one larger than may be
    let length = GROUP_BYTES_MAX + usize::from(kind == 5);
    bytes.resize(GROUP_HEAD_BYTES + length - 1, b'y');
    bytes.push(b'\n');
    GroupHead::seal(&mut bytes, of, next, 1);
    bytes
}

/// What a segment holds, by the words of `engine::segment` and `share::fetch`.
#[derive(Default, Debug)]
struct Expected {
    /// Seq and line of each record from the first wanted on, in their order.
    records: Vec<(u64, Vec<u8>)>,
    /// Of all, with those that come again.
    whole_bytes: usize,
    damaged: u32,
    damaged_bytes: usize,
    torn_bytes: usize,
}

impl Expected {
    fn of(bytes: &[u8], header: &SegmentHeader, seq: u64) -> Self {
        let of = header.groups();
        let mut found = Self::default();
        let mut next = seq;
        let is_ours = SegmentHeader::decode(bytes).as_ref() == Some(header);
        let first = FIRST_OFFSET as usize;
        let mut at = if is_ours { first } else { 0 };
        while at < bytes.len() {
            let here = if at == 0 { None } else { whole_group(bytes, of, at) };
            if let Some(head) = here {
                found.take(&bytes[at..at + head.group_bytes()], &head, &mut next);
                at += head.group_bytes();
                continue;
            }
            let behind = (at + 1..bytes.len()).find(|at| whole_group(bytes, of, *at).is_some());
            let Some(behind) = behind else {
                found.torn_bytes = bytes.len() - at;
                break;
            };
            found.damaged += 1;
            found.damaged_bytes += behind - at;
            at = behind;
        }
        let header_bytes = if is_ours { first.min(bytes.len()) } else { 0 };
        let sum = header_bytes + found.whole_bytes + found.damaged_bytes + found.torn_bytes;
        assert_eq!(sum, bytes.len(), "each byte is one of these");
        found
    }

    fn take(&mut self, group: &[u8], head: &GroupHead, next: &mut u64) {
        self.whole_bytes += group.len();
        let marks = usize::try_from(head.marks).expect("a u32");
        let lines = group[GROUP_HEAD_BYTES + marks..].split_inclusive(|&byte| byte == b'\n');
        for (line, seq) in lines.zip(head.first_seq..) {
            if seq >= *next {
                *next = seq + 1;
                self.records.push((seq, line.to_vec()));
            }
        }
    }
}

/// W1
fn whole_group(bytes: &[u8], of: GroupOf, at: usize) -> Option<GroupHead> {
    if bytes[at] != GROUP_MAGIC[0] {
        return None;
    }
    let head = GroupHead::decode(&bytes[at..])?;
    let group = bytes.get(at..at + head.group_bytes())?;
    let payload = &group[GROUP_HEAD_BYTES..];
    let records = &payload[usize::try_from(head.marks).expect("a u32")..];
    let lines = records.split_inclusive(|&byte| byte == b'\n').count();
    let is_whole = head.matches(of, group, payload)
        && records.ends_with(b"\n")
        && u32::try_from(lines).is_ok_and(|lines| lines == head.count)
        && head.first_seq.checked_add(u64::from(head.count)).is_some();
    is_whole.then_some(head)
}

thread_local! {
    static SEGMENT: RefCell<Option<Segment>> = const { RefCell::new(None) };
}

/// The one segment of a data directory, each time of another term: what is damaged in a segment is
/// told once.
struct Segment {
    folder: Folder,
    header: SegmentHeader,
    /// For batches of two sizes.
    keepers: [Keeper; 2],
}

impl Segment {
    fn new() -> Self {
        let folder = Folder::new();
        let header = SegmentHeader { site: folder.site(), term: 1, lane: LANE, number: NUMBER };
        let keepers = [folder.keeper(), folder.keeper()];
        Self { folder, header, keepers }
    }

    fn path(&self) -> PathBuf {
        let name = format!("{:08}-{NUMBER:06}.seg", self.header.term);
        self.folder.path().join("journal").join(LANE.name()).join(name)
    }

    fn check(&mut self, bytes: &[u8], reading: Reading) {
        fs::write(self.path(), bytes).expect("written");
        let expected = Expected::of(bytes, &self.header, reading.seq);
        let first = Cursor { term: self.header.term, segment: NUMBER, offset: 0, seq: reading.seq };
        let end =
            if reading.is_durable { u32::try_from(bytes.len()).expect("small") } else { u32::MAX };

        let all = read(&mut self.keepers[0], first, end, reading.whole());
        assert_eq!(all.records, expected.records, "in large batches");
        self.check_damage(&all, &expected, bytes, reading);
        let pieces = read(&mut self.keepers[1], first, end, reading);
        assert_eq!(pieces.records, expected.records, "{reading:?}");
        assert_eq!((all.damaged, all.damaged_bytes), (pieces.damaged, pieces.damaged_bytes), "F3");

        let step = 1 + pieces.boundaries.len() / BOUNDARIES_MAX;
        for (count, from) in pieces.boundaries.iter().step_by(step) {
            let rest = read(&mut self.keepers[0], *from, end, reading.whole());
            assert_eq!(rest.records, expected.records[*count..], "from {from:?}");
        }
        self.check_report(bytes);
        self.sweep();
    }

    /// F3: what is set aside is told, once, and where the end is durable, or the header is damaged
    /// and nothing is whole, no tail is torn.
    fn check_damage(&self, all: &Read, expected: &Expected, bytes: &[u8], reading: Reading) {
        let is_ours = SegmentHeader::decode(bytes) == Some(self.header);
        let nothing_whole = !is_ours && expected.whole_bytes == 0;
        let tail_counts = (reading.is_durable && expected.torn_bytes > 0) || nothing_whole;
        let tail = if tail_counts { expected.torn_bytes } else { 0 };
        assert_eq!(all.damaged, expected.damaged + u32::from(tail_counts), "F3: {expected:?}");
        assert_eq!(all.damaged_bytes, expected.damaged_bytes + tail, "F3: {expected:?}");
    }

    /// V1: `journal verify` tells of just this.
    fn check_report(&self, bytes: &[u8]) {
        let expected = Expected::of(bytes, &self.header, 1);
        let mut reports: Vec<SegmentReport> = Vec::new();
        verify(self.folder.path(), |finding| match finding {
            Finding::Segment(report) => reports.push(report),
            Finding::Unknown { .. } | Finding::Cut { .. } => panic!("{finding:?}"),
        })
        .expect("a journal");
        let [report] = &reports[..] else { panic!("{reports:?}") };
        let count = |count: usize| u64::try_from(count).expect("small");
        assert_eq!(report.bytes, count(bytes.len()));
        assert_eq!(report.records, count(expected.records.len()), "V1");
        assert_eq!(report.damaged, u64::from(expected.damaged), "V1: {report:?}, {expected:?}");
        assert_eq!(report.damaged_bytes, count(expected.damaged_bytes), "V1");
        assert_eq!(report.torn_bytes, count(expected.torn_bytes), "V2");
        let first = expected.records.first().map_or(0, |record| record.0);
        let last = expected.records.last().map_or(0, |record| record.0);
        assert_eq!((report.first_seq, report.last_seq), (first, last));
        assert_eq!(report.missing, last - report.records, "of the first segment of a term");
    }

    /// Takes the segment away, and what was set aside.
    fn sweep(&self) {
        fs::remove_file(self.path()).expect("deleted");
        let entries = fs::read_dir(self.folder.path().join("declined"));
        for entry in entries.expect("a folder of ours") {
            fs::remove_file(entry.expect("it can be read").path()).expect("deleted");
        }
    }
}

/// Reads to the end, in batches.
fn read(keeper: &mut Keeper, first: Cursor, end: u32, reading: Reading) -> Read {
    let mut read = Read::default();
    let mut from = first;
    for request in 1..u32::MAX {
        let order = Fetch {
            request,
            lane: LANE,
            from,
            end,
            records_max: reading.records_max,
            bytes_max: reading.bytes_max,
        };
        let at_end = read.fetch(keeper, order);
        let next = read.boundaries.last().expect("a batch").1;
        if at_end {
            break;
        }
        assert!(next.is_past(&from), "no step on: {from:?}");
        from = next;
    }
    read
}

/// What batches gave.
#[derive(Default)]
struct Read {
    records: Vec<(u64, Vec<u8>)>,
    /// Where each batch ended, and how many records there were by then.
    boundaries: Vec<(usize, Cursor)>,
    damaged: u32,
    damaged_bytes: usize,
}

impl Read {
    /// Takes a batch; whether it was the last.
    fn fetch(&mut self, keeper: &mut Keeper, order: Fetch) -> bool {
        let (seen, bytes) = keeper.fetch(order);
        assert!(!seen.missing);
        assert_eq!(bytes.len(), usize::try_from(seen.bytes).expect("a u32"));
        let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
        assert_eq!(lines.len(), usize::try_from(seen.count).expect("a u32"));
        if seen.count > 0 {
            assert!(seen.first_seq >= order.from.seq, "F2");
            assert_eq!(seen.next.seq, seen.first_seq + u64::from(seen.count), "F2");
        }
        let fits = seen.count <= order.records_max && seen.bytes <= order.bytes_max;
        assert!(seen.count <= 1 || fits, "{seen:?} for {order:?}");
        self.records.extend(
            lines.into_iter().zip(seen.first_seq..).map(|(line, seq)| (seq, line.to_vec())),
        );
        self.damaged += seen.damaged;
        self.damaged_bytes += usize::try_from(seen.damaged_bytes).expect("a u32");
        self.boundaries.push((self.records.len(), seen.next));
        seen.at_end
    }
}

/// See [`super::Target`].
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let whole = &[0, 15, 0, 8, 0, 0, 2, 1, 3, 0, 7][..];
    let small = &[0, 1, 40, 0, 0][..];
    let groups = &[0, 3, 1, 3, 0, 8][..];
    // steps on a file of three groups
    let with = |steps: &[u8]| [small, groups, steps].concat();
    vec![
        ("whole", whole.to_vec()),
        ("repeated", with(&[3, 1, 2, 3, 4, 8, 0, 2])),
        ("flipped", with(&[7, 200, 0, 0, 0, 1, 0, 2])),
        ("header", with(&[7, 20, 0, 0, 0, 1])),
        ("torn", with(&[10, 250, 0, 0, 0])),
        ("zeros", with(&[9, 130, 0, 0, 0, 90, 0, 4])),
        ("cut-out", with(&[8, 100, 0, 0, 0, 70])),
        ("doubled", with(&[6, 64, 0, 0, 0, 70, 0, 0, 0, 0, 3, 0, 3])),
        ("strays", with(&[4, 0, 2, 4, 1, 2, 4, 2, 2, 4, 3, 1, 2, 0, 1])),
        ("largest", with(&[4, 4, 0, 4, 5, 0, 0, 1])),
        ("noise", with(&[5, 6, 0, 0xe9, b'G', b'R', b'P', 0xe9, 1, 11, 90, 1, 2])),
        ("durable", [&[3, 2, 99, 0, 1][..], groups, &[7, 180, 0, 0, 0, 4]].concat()),
    ]
}
