//! When each source is read, and what becomes of its value.
//!
//! Times are passed in; the agent asks only while it collects.
//!
//! # Invariants
//!
//! - R1: a source is due at whole multiples of its interval by the wall clock, so that readings
//!   of one interval come together; what was missed is not made up for.
//! - R2: a source that was asked for is not asked for again before it answers.
//! - R3: a record's value is a finite JSON number (RFC 8259 6).
//! - R4: a failure is logged when it begins and when it ends.

use heapless::String as Text;
use log::{info, warn};

use super::collector::{CollectorAnswer, Outcome, file_sources};
use super::config::Config;
use super::intake::push_number;
use super::json::write_text;
use crate::limits::{
    CHILD_WAIT_MS_MAX, CHILD_WAIT_MS_MIN, METRIC_MAX, SOURCE_MS_MAX, SOURCE_VALUE_MAX,
    THING_KEY_MAX,
};

/// The sources of a configuration.
#[derive(Debug, Default)]
pub struct Sources {
    list: Vec<Source>,
    /// The earliest time at which one is due, if nothing is asked before.
    due_ms: u64,
    /// Where [`Sources::next_due`] goes on looking.
    next: usize,
    /// Asked for and not yet answered.
    asked: usize,
    /// When the collector was last given work or answered.
    moved_ms: u64,
    restart_ms: u64,
    wait_ms: u32,
    /// Values for which there was no room.
    dropped: u64,
    /// Values taken since the last one that was dropped; `None`: none was dropped.
    taken_since: Option<u32>,
}

#[derive(Debug)]
struct Source {
    thing_key: Text<THING_KEY_MAX>,
    metric: Text<METRIC_MAX>,
    every_ms: u32,
    due_ms: u64,
    is_asked: bool,
    is_failing: bool,
    last: Option<Last>,
}

/// The last value of a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Last {
    /// As it was recorded.
    pub value: Text<SOURCE_VALUE_MAX>,
    /// When, in ms since the epoch.
    pub wall_ms: u64,
}

impl Sources {
    /// Those of this configuration, all due now.
    pub fn new(config: &Config, now_ms: u64) -> Self {
        let list: Vec<Source> = file_sources(config)
            .map(|(thing_key, file)| Source {
                thing_key: Text::try_from(thing_key).expect("as long as in the configuration"),
                metric: file.metric.clone(),
                every_ms: file.every_ms.max(1),
                due_ms: now_ms,
                is_asked: false,
                is_failing: false,
                last: None,
            })
            .collect();
        Self { list, due_ms: now_ms, moved_ms: now_ms, ..Self::default() }
    }

    /// When [`Sources::next_due`] will have something; `u64::MAX`: never.
    pub fn due_ms(&self) -> u64 {
        if self.list.is_empty() { u64::MAX } else { self.due_ms }
    }

    /// The next source to ask for, by its place in [`file_sources`]; `None` once there is no
    /// other.
    pub fn next_due(&mut self, now_ms: u64, wall_ms: u64) -> Option<u16> {
        while let Some(source) = self.list.get_mut(self.next) {
            let place = self.next;
            self.next += 1;
            if source.due_ms > now_ms {
                continue;
            }
            source.due_ms = now_ms + until_next(source.every_ms, wall_ms);
            if !source.is_asked {
                source.is_asked = true;
                if self.asked == 0 {
                    self.moved_ms = now_ms;
                }
                self.asked += 1;
                return u16::try_from(place).ok();
            }
        }
        self.next = 0;
        self.due_ms = self.list.iter().map(|source| source.due_ms).min().unwrap_or(u64::MAX);
        None
    }

    /// Takes an answer; if it is a value, appends its record to `lines`.
    pub fn take(&mut self, answer: &CollectorAnswer, wall_ms: u64, lines: &mut Vec<u8>) {
        let Some(source) = self.list.get_mut(usize::from(answer.source)) else {
            return;
        };
        if std::mem::take(&mut source.is_asked) {
            self.asked -= 1;
        }
        self.moved_ms = u64::MAX;
        self.wait_ms = 0;
        let number = match &answer.outcome {
            Outcome::Value(word) => json_number(word).ok_or("is not a finite number"),
            Outcome::Fault(fault) => Err(fault.as_str()),
        };
        match number {
            Ok(value) => {
                source.write(&value, wall_ms, lines);
                source.recovered();
                source.last = Some(Last { value, wall_ms });
                self.count_taken();
            }
            Err(fault) => source.failed(fault),
        }
    }

    /// The value just taken found no room.
    pub fn count_dropped(&mut self) {
        self.dropped += 1;
        if self.taken_since.replace(0).is_none() {
            warn!("sources: no room for values of sources: they are dropped");
        }
    }

    /// Values that found no room so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The last value of a source.
    pub fn last(&self, source: u16) -> Option<&Last> {
        self.list.get(usize::from(source))?.last.as_ref()
    }

    /// Whether the collector has been at one source for longer than `SOURCE_MS_MAX`: it is
    /// best killed.
    pub fn is_stuck(&mut self, now_ms: u64) -> bool {
        if self.moved_ms == u64::MAX {
            self.moved_ms = now_ms;
        }
        self.asked > 0 && now_ms.saturating_sub(self.moved_ms) > u64::from(SOURCE_MS_MAX)
    }

    /// The collector ended: what it was asked for is asked for again when it is next due, and
    /// another collector is started after a wait that grows until one answers.
    pub fn restart_at(&mut self, now_ms: u64) {
        for source in &mut self.list {
            source.is_asked = false;
        }
        self.asked = 0;
        self.wait_ms = (2 * self.wait_ms).clamp(CHILD_WAIT_MS_MIN, CHILD_WAIT_MS_MAX);
        self.restart_ms = now_ms + u64::from(self.wait_ms);
    }

    /// Whether that wait is over.
    pub fn may_restart(&self, now_ms: u64) -> bool {
        now_ms >= self.restart_ms
    }

    fn count_taken(&mut self) {
        match &mut self.taken_since {
            None => {}
            // the one before was taken and not dropped afterwards
            Some(1) => {
                info!("sources: room for values of sources again: {} were dropped", self.dropped);
                self.taken_since = None;
            }
            Some(count) => *count += 1,
        }
    }
}

impl Source {
    fn write(&self, value: &str, wall_ms: u64, lines: &mut Vec<u8>) {
        lines.extend_from_slice(b"{\"timestamp\":");
        push_number(wall_ms, lines);
        lines.extend_from_slice(b",\"thing_key\":");
        write_text(&self.thing_key, lines);
        lines.extend_from_slice(b",\"data\":{");
        write_text(&self.metric, lines);
        lines.push(b':');
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(b"}}\n");
    }

    fn failed(&mut self, fault: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            warn!("sources: {} of {}: {fault}", self.metric, self.thing_key);
        }
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            info!("sources: {} of {}: read again", self.metric, self.thing_key);
        }
    }
}

/// Ms until the wall clock stands at a multiple of the interval (R1), at least half of one:
/// a wake-up a little early must not make two readings.
fn until_next(every_ms: u32, wall_ms: u64) -> u64 {
    let every_ms = u64::from(every_ms);
    let left_ms = every_ms - wall_ms % every_ms;
    if left_ms * 2 < every_ms { left_ms + every_ms } else { left_ms }
}

/// A word as a JSON number (R3); also `+1`, `.5`, `1.` and `007`, which JSON does not know.
fn json_number(word: &str) -> Option<Text<SOURCE_VALUE_MAX>> {
    let fits = |byte: u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    if !word.bytes().all(fits) || !word.parse::<f64>().is_ok_and(f64::is_finite) {
        return None;
    }
    let (sign, rest) = match word.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", word.strip_prefix('+').unwrap_or(word)),
    };
    let mantissa_end = rest.find(['e', 'E']).unwrap_or(rest.len());
    let (mantissa, exponent) = rest.split_at(mantissa_end);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = whole.trim_start_matches('0');
    let mut number = Text::new();
    number.push_str(sign).ok()?;
    number.push_str(if whole.is_empty() { "0" } else { whole }).ok()?;
    if !fraction.is_empty() {
        number.push('.').ok()?;
        number.push_str(fraction).ok()?;
    }
    number.push_str(exponent).ok()?;
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::config::{Origin, parse};
    use crate::edge::json;

    fn sources(intervals: &[u32], now_ms: u64) -> Sources {
        let files: Vec<String> = intervals
            .iter()
            .map(|every_ms| {
                format!(
                    "{{\"file\":{{\"path\":\"/x\",\"metric\":\"m\\u00e4\",\"every_ms\":{every_ms}}}}}"
                )
            })
            .collect();
        let text = format!(
            "{{\"site\":\"s\",\"cloud\":{{\"kind\":\"stdout\"}},\"things\":[\
             {{\"thing_key\":\"a\\\"b\",\"sources\":[{}]}}]}}",
            files.join(",")
        );
        let config = parse(text.as_bytes(), Origin::Named("edge.json")).expect("valid");
        Sources::new(&config, now_ms)
    }

    fn due(sources: &mut Sources, now_ms: u64, wall_ms: u64) -> Vec<u16> {
        std::iter::from_fn(|| sources.next_due(now_ms, wall_ms)).collect()
    }

    fn value(source: u16, word: &str) -> CollectorAnswer {
        CollectorAnswer { source, outcome: Outcome::Value(Text::try_from(word).expect("short")) }
    }

    fn fault(source: u16) -> CollectorAnswer {
        let fault = Text::try_from("cannot be read").expect("short");
        CollectorAnswer { source, outcome: Outcome::Fault(fault) }
    }

    fn answer(sources: &mut Sources, asked: &[u16]) {
        for source in asked {
            sources.take(&value(*source, "1"), 0, &mut Vec::new());
        }
    }

    #[test]
    fn sources_are_due_at_multiples_of_the_wall_clock() {
        // the wall clock is 700 ms ahead of a multiple of 1000
        let wall_ms = |now_ms: u64| now_ms + 1_700_000_000_700;
        let mut sources = sources(&[1_000, 2_000], 5_000);
        assert_eq!(sources.due_ms(), 5_000, "all at once at first");
        let mut times = Vec::new();
        for _ in 0..5 {
            let now_ms = sources.due_ms();
            let asked = due(&mut sources, now_ms, wall_ms(now_ms));
            answer(&mut sources, &asked);
            times.push((now_ms, asked));
        }
        let expected = [
            (5_000, vec![0, 1]),
            (6_300, vec![0]),
            (7_300, vec![0, 1]),
            (8_300, vec![0]),
            (9_300, vec![0, 1]),
        ];
        assert_eq!(times, expected, "R1");
        assert_eq!(due(&mut sources, 60_000, wall_ms(60_000)), [0, 1], "R1: once, not 50 times");
        assert_eq!(sources.due_ms(), 60_300 + 1_000);
    }

    #[test]
    fn waking_early_does_not_read_twice() {
        assert_eq!(until_next(1_000, 5_999), 1_001);
        assert_eq!(until_next(1_000, 6_000), 1_000);
        assert_eq!(until_next(1_000, 6_001), 999);
        assert_eq!(until_next(1_000, 6_500), 500);
        assert_eq!(until_next(1, 6_500), 1);
    }

    #[test]
    fn a_source_is_not_asked_for_twice_and_may_get_stuck() {
        let mut sources = sources(&[1_000, 1_000], 0);
        assert_eq!(due(&mut sources, 0, 0), [0, 1]);
        assert_eq!(due(&mut sources, 1_000, 1_000), [0; 0], "R2");
        assert_eq!(sources.due_ms(), 2_000, "no busy wake-ups");
        let limit_ms = u64::from(SOURCE_MS_MAX);
        assert!(!sources.is_stuck(limit_ms));
        assert!(sources.is_stuck(limit_ms + 1));
        answer(&mut sources, &[0]);
        assert!(!sources.is_stuck(limit_ms + 2), "it is at the next one");
        assert!(sources.is_stuck(2 * limit_ms + 3));
        sources.restart_at(30_000);
        assert!(!sources.is_stuck(60_000));
        assert_eq!(due(&mut sources, 30_000, 30_000), [0, 1]);
    }

    #[test]
    fn a_dead_collector_is_replaced_after_a_growing_wait() {
        let mut sources = sources(&[1_000], 0);
        let mut waits = Vec::new();
        for round in 0..9 {
            let now_ms = round * 100_000;
            sources.restart_at(now_ms);
            let wait_ms = (0..=20_000).find(|wait_ms| sources.may_restart(now_ms + wait_ms));
            waits.push(wait_ms.expect("bounded"));
        }
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        answer(&mut sources, &[0]);
        sources.restart_at(0);
        assert!(sources.may_restart(100), "one that answered is trusted again");
    }

    #[test]
    fn a_value_becomes_a_record() {
        let mut sources = sources(&[1_000], 0);
        let mut lines = Vec::new();
        sources.take(&value(0, "+0.50"), 1_600_000_000_000, &mut lines);
        let text = String::from_utf8(lines).expect("ASCII");
        assert_eq!(
            text,
            "{\"timestamp\":1600000000000,\"thing_key\":\"a\\\"b\",\"data\":{\"m\\u00e4\":0.50}}\n"
        );
        assert_eq!(sources.last(0).map(|last| last.value.as_str()), Some("0.50"));
        assert_eq!(sources.last(1), None);
    }

    #[test]
    fn faults_make_no_record_and_keep_the_last_value() {
        let mut sources = sources(&[1_000], 0);
        let mut lines = Vec::new();
        answer(&mut sources, &[0]);
        for bad in [fault(0), value(0, "nan"), value(0, "kB"), fault(9)] {
            sources.take(&bad, 5, &mut lines);
        }
        assert!(lines.is_empty());
        assert!(sources.list[0].is_failing);
        assert!(sources.last(0).is_some());
        answer(&mut sources, &[0]);
        assert!(!sources.list[0].is_failing);
    }

    #[test]
    fn drops_are_counted_and_told_once() {
        let mut sources = sources(&[1_000], 0);
        for _ in 0..3 {
            answer(&mut sources, &[0]);
            sources.count_dropped();
        }
        assert_eq!((sources.dropped(), sources.taken_since), (3, Some(0)));
        answer(&mut sources, &[0]);
        answer(&mut sources, &[0]);
        assert_eq!(sources.taken_since, None);
    }

    #[test]
    fn numbers_are_those_of_json() {
        for (word, number) in [
            ("0", "0"),
            ("-0", "-0"),
            ("42", "42"),
            ("+42", "42"),
            ("007", "7"),
            ("-007.50", "-7.50"),
            (".5", "0.5"),
            ("-.5e-3", "-0.5e-3"),
            ("1.", "1"),
            ("1.e+5", "1e+5"),
            ("1E5", "1E5"),
            ("123456789012345678901", "123456789012345678901"),
        ] {
            let found = json_number(word);
            assert_eq!(found.as_deref(), Some(number), "{word}");
            assert!(json::check(number.as_bytes()).is_ok(), "{word}");
        }
        for word in [
            "", "+", "-", ".", "e5", "1e", "nan", "inf", "-inf", "infinity", "1e999", "0x10",
            "1,5", "12kB",
        ] {
            assert_eq!(json_number(word), None, "{word}");
        }
    }
}
