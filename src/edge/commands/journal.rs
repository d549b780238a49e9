//! `journal verify`: reads the whole journal in a child, and says what is damaged.

use super::apart::{Failure, Work};
use super::{exit, fail, print};
use crate::edge::options::Options;
use crate::edge::share::{self, Finding, SegmentReport};
use crate::engine::ident::Lane;
use crate::limits::VERIFY_MS_MAX;

/// What was found of a lane so far.
#[derive(Default)]
struct Total {
    segments: u64,
    records: u64,
    bytes: u64,
    damaged: u64,
    missing: u64,
    unknown: u64,
}

impl Total {
    fn add(&mut self, finding: &Finding) {
        match finding {
            Finding::Segment(report) => {
                self.segments += 1;
                self.records += report.records;
                self.bytes += report.bytes;
                self.damaged += report.damaged;
                self.missing += report.missing;
            }
            Finding::Unknown { .. } => self.unknown += 1,
            Finding::Cut { missing, .. } => self.missing += missing,
        }
    }

    const fn is_whole(&self) -> bool {
        self.damaged == 0 && self.missing == 0
    }
}

pub(super) fn verify(options: &Options) -> i32 {
    let mut totals = [Total::default(), Total::default()];
    let verified = read(options, |finding| {
        totals[lane_of(finding).index()].add(finding);
        print(&format!("{}\n", line(finding)))
    });
    if let Err(failure) = verified {
        let code = exit::TEMPORARY;
        return fail(code, &format!("{}: {failure}", options.data_dir.display()));
    }
    for (lane, total) in Lane::ALL.into_iter().zip(&totals) {
        print(&format!("{}\n", total_line(lane, total)));
    }
    if totals.iter().all(Total::is_whole) {
        return print("the journal is whole\n");
    }
    fail(exit::TEMPORARY, "the journal is damaged; what is whole is forwarded all the same")
}

fn read(options: &Options, mut found: impl FnMut(&Finding) -> i32) -> Result<(), Failure> {
    let mut work = Work::begin("edge-verify", |teller| {
        let told = share::verify(&options.data_dir, |finding| {
            let mut bytes = [0; 256];
            let piece = postcard::to_slice(&finding, &mut bytes);
            teller.tell(piece.map(|bytes| &*bytes).map_err(|_| "a finding is too long"));
        });
        match told {
            // an empty piece: it was read to its end
            Ok(()) => teller.tell(Ok(b"")),
            Err(error) => teller.tell(Err(&error.to_string())),
        }
    })?;
    loop {
        let Some(bytes) = work.next(VERIFY_MS_MAX)? else {
            return Err(Failure::Fault("the child that read it ended too early".to_owned()));
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let finding =
            postcard::from_bytes(&bytes).map_err(|error| Failure::Fault(error.to_string()))?;
        found(&finding);
    }
}

const fn lane_of(finding: &Finding) -> Lane {
    match finding {
        Finding::Segment(report) => report.lane,
        Finding::Unknown { lane, .. } | Finding::Cut { lane, .. } => *lane,
    }
}

fn line(finding: &Finding) -> String {
    match finding {
        Finding::Segment(report) => segment_line(report),
        Finding::Unknown { lane, name } => {
            let printable = |letter: char| if letter.is_control() { '?' } else { letter };
            let name: String = name.chars().map(printable).collect();
            format!("{}/{name}: not ours, left alone", lane.name())
        }
        Finding::Cut { lane, term, missing } => {
            format!("{}: MISSING: the last {missing} records of term {term}", lane.name())
        }
    }
}

fn segment_line(report: &SegmentReport) -> String {
    let SegmentReport { lane, term, number, bytes, records, .. } = report;
    let SegmentReport { first_seq, last_seq, torn_bytes, .. } = report;
    let mut parts = vec![format!("{}/{term:08}-{number:06}.seg: {bytes} bytes", lane.name())];
    parts.push(match records {
        0 => "no records".to_owned(),
        _ => format!("{records} records, seqs {first_seq} to {last_seq}"),
    });
    if report.repeated > 0 {
        parts.push(format!("{} again", report.repeated));
    }
    if *torn_bytes > 0 {
        parts.push(format!("a torn tail of {torn_bytes} bytes"));
    }
    if report.damaged > 0 {
        let SegmentReport { damaged, damaged_bytes, .. } = report;
        parts.push(format!("DAMAGED: {damaged} stretches of {damaged_bytes} bytes"));
    }
    if report.missing > 0 {
        parts.push(format!("MISSING: {} records", report.missing));
    }
    parts.join(", ")
}

fn total_line(lane: Lane, total: &Total) -> String {
    let Total { segments, records, bytes, damaged, missing, unknown } = total;
    format!(
        "{}: {segments} segments, {records} records, {bytes} bytes; {damaged} damaged stretches, \
         {missing} records missing, {unknown} unknown files",
        lane.name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: SegmentReport = SegmentReport {
        lane: Lane::Readings,
        term: 3,
        number: 1,
        bytes: 400,
        records: 5,
        first_seq: 1,
        last_seq: 5,
        repeated: 0,
        missing: 0,
        damaged: 0,
        damaged_bytes: 0,
        torn_bytes: 0,
    };

    #[test]
    fn findings_are_told_in_a_line_each() {
        let segment = |report: SegmentReport| line(&Finding::Segment(report));
        let begin = "readings/00000003-000001.seg: 400 bytes, 5 records, seqs 1 to 5";
        assert_eq!(segment(WHOLE), begin);
        let torn = SegmentReport { repeated: 2, torn_bytes: 50, ..WHOLE };
        assert_eq!(segment(torn), format!("{begin}, 2 again, a torn tail of 50 bytes"));
        let damaged = SegmentReport { damaged: 1, damaged_bytes: 64, missing: 2, ..WHOLE };
        let more = ", DAMAGED: 1 stretches of 64 bytes, MISSING: 2 records";
        assert_eq!(segment(damaged), format!("{begin}{more}"));
        let name = "a\u{1b}b".try_into().expect("short");
        let unknown = line(&Finding::Unknown { lane: Lane::Alerts, name });
        assert_eq!(unknown, "alerts/a?b: not ours, left alone");
    }

    #[test]
    fn a_lane_is_whole_unless_something_is_lost() {
        let mut total = Total::default();
        total.add(&Finding::Segment(SegmentReport { torn_bytes: 9, ..WHOLE }));
        total.add(&Finding::Unknown { lane: Lane::Readings, name: heapless::String::new() });
        assert!(total.is_whole());
        let expected = "readings: 1 segments, 5 records, 400 bytes; 0 damaged stretches, \
                        0 records missing, 1 unknown files";
        assert_eq!(total_line(Lane::Readings, &total), expected);
        total.add(&Finding::Cut { lane: Lane::Readings, term: 3, missing: 1 });
        assert!(!total.is_whole());
    }
}
