//! When each source is read, and what becomes of its value.
//!
//! Times are passed in; the agent asks only while it collects. The collector reads one source
//! at a time.
//!
//! # Invariants
//!
//! - R1: a source is due at whole multiples of its interval by the wall clock, so that readings
//!   of one interval come together; what was missed is not made up for.
//! - R2: the next source is asked for once the one before has answered: what the collector is
//!   at is known. The one due for longest goes first.
//! - R3: a source that was stuck is left alone for a while that grows, and for as long as the
//!   collector that it took along is not reaped; then it goes last. A try costs the others no
//!   more than [`SOURCE_MS_MAX`].
//! - R4: a failure is logged when it begins and when it ends.
//! - R5: one that lasts is told by an alert, and its end too; so many at a time as
//!   [`SOURCES_TOLD_MAX`] says, however many fail.

use heapless::String as Text;
use log::{info, warn};

use super::cloud::reason::clipped;
use super::collector::{CollectorAnswer, Outcome, file_sources};
use super::config::{Config, FileSource};
use super::hold::Hold;
use super::json::write_text;
use super::value::{Figures, value};
use crate::engine::notes::Alert;
use crate::engine::status::{AgentStatus, SourceStatus};
use crate::engine::telling::{Patience, Phase, Telling};
use crate::limits::{
    CHILD_WAIT_MS_MAX, CHILD_WAIT_MS_MIN, METRIC_MAX, SOURCE_MS_MAX, SOURCE_TELL_HOLD_MS,
    SOURCE_VALUE_MAX, SOURCE_WAIT_MS_MAX, SOURCE_WAIT_MS_MIN, SOURCES_SHOWN_MAX, SOURCES_TOLD_MAX,
    TELL_EVERY_MS, THING_KEY_MAX,
};
use crate::sys::process::Pid;

/// The sources of a configuration.
#[derive(Debug, Default)]
pub struct Sources {
    list: Vec<Source>,
    /// What the collector is at, and since when.
    asked: Option<(u16, u64)>,
    /// The earliest time at which one is due, if none was when last looked.
    due_ms: u64,
    restart_ms: u64,
    wait_ms: u32,
    /// The rest of a record on its way into the hold.
    rest: Vec<u8>,
    /// Values for which there was no room.
    dropped: u64,
    /// Values taken since the last one that was dropped; `None`: none was dropped.
    taken_since: Option<u32>,
    /// When a failure may have to be told; 0: something changed.
    tell_due_ms: u64,
}

#[derive(Debug)]
struct Source {
    thing_key: Text<THING_KEY_MAX>,
    path: Box<str>,
    metric: Text<METRIC_MAX>,
    figures: Figures,
    every_ms: u32,
    due_ms: u64,
    /// How long it is left alone if it gets stuck again; 0: it answered last time (R3).
    wait_ms: u32,
    /// The collector that it took along.
    taken_along: Option<Pid>,
    is_failing: bool,
    /// Why it fails, for people.
    fault: Box<str>,
    telling: Telling,
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
    /// Those of this configuration, all due now. Of those that were there `before` it is still
    /// known whether they are stuck.
    pub fn new(config: &Config, before: &Self, now_ms: u64) -> Self {
        let list = file_sources(config).map(|(thing_key, file)| {
            let source = Source::new(thing_key, file, now_ms);
            match before.list.iter().find(|other| other.is_same_as(&source)) {
                None => source,
                Some(Source { wait_ms, taken_along, is_failing, fault, telling, .. }) => Source {
                    wait_ms: *wait_ms,
                    taken_along: *taken_along,
                    is_failing: *is_failing,
                    fault: fault.clone(),
                    telling: *telling,
                    ..source
                },
            }
        });
        let dropped = before.dropped;
        // all are looked at again: `tell_due_ms` is 0
        Self { list: list.collect(), dropped, ..Self::default() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether any of them fails.
    pub fn is_any_failing(&self) -> bool {
        self.list.iter().any(|source| source.is_failing)
    }

    /// When [`Sources::next_due`] or [`Sources::stuck`] will have something; `u64::MAX`: never.
    pub fn deadline_ms(&self) -> u64 {
        match self.asked {
            Some((_, since_ms)) => since_ms + u64::from(SOURCE_MS_MAX),
            None if self.list.is_empty() => u64::MAX,
            None => self.due_ms,
        }
    }

    /// The source to ask for now, by its place in [`file_sources`].
    pub fn next_due(&mut self, now_ms: u64, wall_ms: u64) -> Option<u16> {
        if self.asked.is_some() || now_ms < self.due_ms {
            return None;
        }
        let free = || self.list.iter().enumerate().filter(|(_, one)| one.taken_along.is_none());
        let order = |(place, one): &(usize, &Source)| (one.wait_ms > 0, one.due_ms, *place);
        let ready = free().filter(|(_, one)| one.due_ms <= now_ms).min_by_key(order);
        let Some((place, _)) = ready else {
            self.due_ms = free().map(|(_, one)| one.due_ms).min().unwrap_or(u64::MAX);
            return None;
        };
        let source = &mut self.list[place];
        source.due_ms = now_ms + until_next(source.every_ms, wall_ms);
        let place = u16::try_from(place).expect("SOURCES_MAX fits");
        self.asked = Some((place, now_ms));
        Some(place)
    }

    /// Takes an answer; if it is a value, holds the rest of its record.
    pub fn take(&mut self, answer: &CollectorAnswer, now_ms: u64, wall_ms: u64, hold: &mut Hold) {
        let Some(source) = self.list.get_mut(usize::from(answer.source)) else {
            return;
        };
        self.asked = None;
        self.due_ms = 0;
        self.wait_ms = 0;
        source.wait_ms = 0;
        let was_failing = source.is_failing;
        let number = match &answer.outcome {
            Outcome::Value(word) => value(word, source.figures),
            Outcome::Fault(fault) => Err(fault.as_str()),
        };
        let value = match number {
            Ok(value) => value,
            Err(fault) => {
                source.failed(fault);
                if !was_failing {
                    self.tell_due_ms = 0;
                }
                return;
            }
        };
        self.rest.clear();
        source.write(&value, &mut self.rest);
        source.recovered();
        if was_failing {
            self.tell_due_ms = 0;
        }
        source.last = Some(Last { value, wall_ms });
        match hold.push(now_ms, &self.rest) {
            Ok(()) => self.count_taken(),
            Err(_) => self.count_dropped(),
        }
    }

    fn count_dropped(&mut self) {
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

    /// Some of them, those that fail first, for people.
    pub fn show(&self, wall_ms: u64, status: &mut AgentStatus) {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        status.sources = count(self.list.len());
        status.sources_failing = count(self.list.iter().filter(|one| one.is_failing).count());
        status.sources_dropped = self.dropped;
        let failing = self.list.iter().filter(|one| one.is_failing);
        let rest = self.list.iter().filter(|one| !one.is_failing);
        status.shown_sources =
            failing.chain(rest).take(SOURCES_SHOWN_MAX).map(|one| one.status(wall_ms)).collect();
    }

    /// Whether the collector has been at one source for longer than [`SOURCE_MS_MAX`]: it is
    /// to be killed.
    pub fn is_stuck(&self, now_ms: u64) -> bool {
        self.asked.is_some() && now_ms >= self.deadline_ms()
    }

    /// Tells which sources fail and which no longer do: at most [`SOURCES_TOLD_MAX`] at a time
    /// as failed (R5).
    pub fn tell(&mut self, now_ms: u64, mut tell: impl FnMut(Alert)) {
        if now_ms < self.tell_due_ms {
            return;
        }
        let count = |is: fn(&Source) -> bool| self.list.iter().filter(|one| is(one)).count();
        let failing = u32::try_from(count(|one| one.is_failing)).unwrap_or(u32::MAX);
        let mut told = count(|one| one.telling.is_raised());
        self.tell_due_ms = u64::MAX;
        for source in &mut self.list {
            source.telling.see(now_ms, source.is_failing, PATIENCE);
            match source.telling.wish() {
                Some(Phase::Raise) if told >= SOURCES_TOLD_MAX => {}
                Some(phase) => {
                    tell(source.alert(now_ms, phase, failing));
                    source.telling.told(now_ms, phase);
                    told += usize::from(phase == Phase::Raise);
                }
                None => {}
            }
            self.tell_due_ms = self.tell_due_ms.min(source.telling.due_ms(PATIENCE));
        }
    }

    /// When [`Sources::tell`] may have something; `u64::MAX`: not by time alone.
    pub fn tell_due_ms(&self) -> u64 {
        self.tell_due_ms
    }

    /// A term of ours begins: nothing was told in it.
    pub fn forget_told(&mut self) {
        self.list.iter_mut().for_each(|source| source.telling = Telling::default());
        self.tell_due_ms = 0;
    }

    /// The collector was killed because of the source that it was at.
    pub fn abandoned(&mut self, collector: Pid, now_ms: u64) {
        let Some((place, _)) = self.asked.take() else { return };
        let source = &mut self.list[usize::from(place)];
        source.wait_ms = (2 * source.wait_ms).clamp(SOURCE_WAIT_MS_MIN, SOURCE_WAIT_MS_MAX);
        source.due_ms = now_ms + u64::from(source.wait_ms);
        source.taken_along = Some(collector);
        source.failed(TOO_LONG);
        self.due_ms = 0;
        self.tell_due_ms = 0;
    }

    /// A collector that was abandoned has ended at last.
    pub fn reaped(&mut self, collector: Pid) {
        for source in self.list.iter_mut().filter(|one| one.taken_along == Some(collector)) {
            source.taken_along = None;
        }
        self.due_ms = 0;
    }

    /// Another collector was started: it has been asked for nothing yet.
    pub fn started(&mut self) {
        self.asked = None;
        self.due_ms = 0;
    }

    /// The collector ended by itself, or was ended for no fault of a source: what it was asked
    /// for is asked for again when it is next due, and another collector is started after a
    /// wait that grows until one answers.
    pub fn restart_at(&mut self, now_ms: u64) {
        self.asked = None;
        self.due_ms = 0;
        self.wait_ms = (2 * self.wait_ms).clamp(CHILD_WAIT_MS_MIN, CHILD_WAIT_MS_MAX);
        self.restart_ms = now_ms + u64::from(self.wait_ms);
    }

    /// When that wait is over; `u64::MAX`: there is nothing to read.
    pub fn restart_ms(&self) -> u64 {
        if self.list.is_empty() { u64::MAX } else { self.restart_ms }
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
    fn new(thing_key: &str, file: &FileSource, now_ms: u64) -> Self {
        Self {
            thing_key: Text::try_from(thing_key).expect("as long as in the configuration"),
            path: file.path.as_str().into(),
            metric: file.metric.clone(),
            figures: Figures { scale: file.scale, offset: file.offset },
            every_ms: file.every_ms.max(1),
            due_ms: now_ms,
            wait_ms: 0,
            taken_along: None,
            is_failing: false,
            fault: Box::default(),
            telling: Telling::default(),
            last: None,
        }
    }

    fn is_same_as(&self, other: &Self) -> bool {
        let key = |one: &Self| (one.thing_key.clone(), one.metric.clone());
        self.path == other.path && key(self) == key(other)
    }

    /// The record behind its timestamp.
    fn write(&self, value: &str, lines: &mut Vec<u8>) {
        lines.extend_from_slice(b",\"thing_key\":");
        write_text(&self.thing_key, lines);
        lines.extend_from_slice(b",\"data\":{");
        write_text(&self.metric, lines);
        lines.push(b':');
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(b"}}\n");
    }

    fn status(&self, wall_ms: u64) -> SourceStatus {
        let last = self.last.as_ref();
        let fault = if self.is_failing { &self.fault } else { "" };
        SourceStatus {
            thing_key: self.thing_key.clone(),
            metric: self.metric.clone(),
            value: last.map_or_else(Text::new, |last| last.value.clone()),
            age_ms: last.map_or(0, |last| wall_ms.saturating_sub(last.wall_ms)),
            fault: clipped(format_args!("{fault}")),
        }
    }

    fn failed(&mut self, fault: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            warn!("sources: {} of {}: {fault}", self.metric, self.thing_key);
            self.fault = fault.into();
        }
    }

    fn alert(&self, now_ms: u64, phase: Phase, failing: u32) -> Alert {
        Alert::Source {
            phase,
            thing_key: self.thing_key.clone(),
            metric: self.metric.clone(),
            fault: clipped(format_args!("{}", self.fault)),
            lasted_ms: self.telling.lasted_ms(now_ms, phase),
            failing,
        }
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            info!("sources: {} of {}: read again", self.metric, self.thing_key);
        }
    }
}

/// When a failing source is told of.
const PATIENCE: Patience = Patience { hold_ms: SOURCE_TELL_HOLD_MS, every_ms: TELL_EVERY_MS };

const TOO_LONG: &str = "took longer than 5 s: left alone for a while";
const _: () = assert!(SOURCE_MS_MAX == 5_000);

/// Ms until the wall clock stands at a multiple of the interval (R1), at least half of one:
/// a wake-up a little early must not make two readings.
fn until_next(every_ms: u32, wall_ms: u64) -> u64 {
    let every_ms = u64::from(every_ms);
    let left_ms = every_ms - wall_ms % every_ms;
    if left_ms * 2 < every_ms { left_ms + every_ms } else { left_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::config::{Origin, parse};

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
        Sources::new(&config, &Sources::default(), now_ms)
    }

    fn value(source: u16, word: &str) -> CollectorAnswer {
        CollectorAnswer { source, outcome: Outcome::Value(Text::try_from(word).expect("short")) }
    }

    fn fault(source: u16) -> CollectorAnswer {
        let fault = Text::try_from("cannot be read").expect("short");
        CollectorAnswer { source, outcome: Outcome::Fault(fault) }
    }

    fn answer(sources: &mut Sources, source: u16) {
        sources.take(&value(source, "1"), 0, 0, &mut Hold::default());
    }

    /// All that is due now, answered at once.
    fn round(sources: &mut Sources, now_ms: u64, wall_ms: u64) -> Vec<u16> {
        let next = |sources: &mut Sources| {
            let source = sources.next_due(now_ms, wall_ms)?;
            answer(sources, source);
            Some(source)
        };
        std::iter::from_fn(|| next(sources)).collect()
    }

    #[test]
    fn sources_are_due_at_multiples_of_the_wall_clock() {
        // the wall clock is 700 ms ahead of a multiple of 1000
        let wall_ms = |now_ms: u64| now_ms + 1_700_000_000_700;
        let mut sources = sources(&[1_000, 2_000], 5_000);
        let mut times = Vec::new();
        let mut now_ms = 5_000;
        for _ in 0..5 {
            times.push((now_ms, round(&mut sources, now_ms, wall_ms(now_ms))));
            now_ms = sources.deadline_ms();
        }
        let expected = [
            (5_000, vec![0, 1]),
            (6_300, vec![0]),
            (7_300, vec![0, 1]),
            (8_300, vec![0]),
            (9_300, vec![0, 1]),
        ];
        assert_eq!(times, expected, "R1");
        assert_eq!(round(&mut sources, 60_000, wall_ms(60_000)), [0, 1], "R1: once, not 50 times");
        assert_eq!(sources.deadline_ms(), 60_300 + 1_000);
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
    fn one_source_is_read_at_a_time() {
        let mut sources = sources(&[1_000, 1_000], 0);
        assert_eq!(sources.next_due(0, 0), Some(0));
        assert_eq!(sources.next_due(1_000, 1_000), None, "R2");
        let limit_ms = u64::from(SOURCE_MS_MAX);
        assert_eq!(sources.deadline_ms(), limit_ms);
        assert!(!sources.is_stuck(limit_ms - 1) && sources.is_stuck(limit_ms));
        answer(&mut sources, 0);
        assert!(!sources.is_stuck(60_000));
        assert_eq!(sources.next_due(4_000, 4_000), Some(1), "R2: due for longer than 0");
        assert!(!sources.is_stuck(8_999) && sources.is_stuck(9_000));
        sources.restart_at(30_000);
        assert!(!sources.is_stuck(60_000));
        assert_eq!(sources.next_due(30_000, 30_000), Some(0), "what was asked waits its turn");
    }

    #[test]
    fn a_stuck_source_is_left_alone_and_then_goes_last() {
        let mut sources = sources(&[1_000, 1_000, 1_000], 0);
        let mut now_ms = 0;
        let mut waits = Vec::new();
        for number in 0..8 {
            while sources.next_due(now_ms, 0).is_some_and(|source| source != 0) {
                answer(&mut sources, 1);
            }
            let collector = Pid(number);
            sources.abandoned(collector, now_ms);
            assert!(!sources.is_stuck(u64::MAX) && sources.is_any_failing());
            assert_eq!(round(&mut sources, 10_000_000, 0), [1, 2], "R3: not before it is reaped");
            for one in &mut sources.list[1..] {
                one.due_ms = now_ms + 1_000;
            }
            sources.reaped(Pid(number + 100));
            assert_eq!(round(&mut sources, now_ms + 2_000, 0), [1, 2]);
            sources.reaped(collector);
            let wait_ms = u64::from(sources.list[0].wait_ms);
            waits.push(wait_ms / 1_000);
            now_ms += wait_ms;
            assert_eq!(sources.list[0].due_ms, now_ms);
            let first = sources.next_due(now_ms, 0);
            assert_eq!(first, Some(1), "R3: last");
            answer(&mut sources, 1);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600]);
        answer(&mut sources, 0);
        assert_eq!((sources.list[0].wait_ms, sources.is_any_failing()), (0, false));
    }

    #[test]
    fn a_new_configuration_knows_what_is_stuck() {
        let text = |path: &str| {
            format!(
                "{{\"site\":\"s\",\"cloud\":{{\"kind\":\"stdout\"}},\"things\":[{{\"thing_key\":\"a\",\
                 \"sources\":[{{\"file\":{{\"path\":\"{path}\",\"metric\":\"m\"}}}}]}}]}}"
            )
        };
        let config = |path: &str| {
            parse(text(path).as_bytes(), Origin::Named("edge.json")).expect("a valid configuration")
        };
        let mut before = Sources::new(&config("/x"), &Sources::default(), 0);
        assert_eq!(before.next_due(0, 0), Some(0));
        before.abandoned(Pid(7), 5_000);
        let mut same = Sources::new(&config("/x"), &before, 6_000);
        assert_eq!(same.next_due(6_000, 0), None, "R3");
        same.reaped(Pid(7));
        assert_eq!(same.next_due(6_000, 0), Some(0), "the operator need not wait");
        let mut other = Sources::new(&config("/y"), &before, 6_000);
        assert_eq!(other.next_due(6_000, 0), Some(0));
    }

    #[test]
    fn a_dead_collector_is_replaced_after_a_growing_wait() {
        let mut sources = sources(&[1_000], 0);
        let mut waits = Vec::new();
        for round in 0..9 {
            let now_ms = round * 100_000;
            sources.restart_at(now_ms);
            waits.push(sources.restart_ms() - now_ms);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        answer(&mut sources, 0);
        sources.restart_at(0);
        assert_eq!(sources.restart_ms(), 100, "one that answered is trusted again");
        assert_eq!(Sources::default().restart_ms(), u64::MAX);
    }

    #[test]
    fn a_value_becomes_a_record() {
        let mut sources = sources(&[1_000], 0);
        let mut hold = Hold::default();
        sources.take(&value(0, "+0.50"), 7_000, 0, &mut hold);
        let mut lines = Vec::new();
        hold.peek(9_000, 1_600_000_002_000, 1, &mut lines);
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
        let mut hold = Hold::default();
        answer(&mut sources, 0);
        for bad in [fault(0), value(0, "nan"), value(0, "kB"), fault(9)] {
            sources.take(&bad, 5, 5, &mut hold);
        }
        assert!(hold.is_empty());
        assert!(sources.is_any_failing());
        assert!(sources.last(0).is_some());
        answer(&mut sources, 0);
        assert!(!sources.is_any_failing());
    }

    /// What is told at a time: phase, metric, how many fail.
    fn told(sources: &mut Sources, now_ms: u64) -> Vec<(Phase, u32)> {
        let mut told = Vec::new();
        sources.tell(now_ms, |alert| {
            let Alert::Source { phase, failing, fault, .. } = alert else { panic!("{alert:?}") };
            assert_eq!(fault, "cannot be read");
            told.push((phase, failing));
        });
        told
    }

    #[test]
    fn a_failure_that_lasts_is_told_once_and_its_end_too() {
        let mut sources = sources(&[1_000, 1_000], 0);
        let mut hold = Hold::default();
        let hold_ms = u64::from(SOURCE_TELL_HOLD_MS);
        assert_eq!(told(&mut sources, 0), []);
        sources.take(&fault(0), 100, 0, &mut hold);
        assert_eq!(told(&mut sources, 100), []);
        assert_eq!(sources.tell_due_ms, 100 + hold_ms);
        answer(&mut sources, 0);
        assert_eq!(told(&mut sources, 1_100), []);
        sources.take(&fault(0), 2_000, 0, &mut hold);
        for now_ms in [2_000, 3_000, 2_000 + hold_ms - 1] {
            assert_eq!(told(&mut sources, now_ms), [], "at {now_ms}");
        }
        assert_eq!(told(&mut sources, 2_000 + hold_ms), [(Phase::Raise, 1)]);
        assert_eq!(told(&mut sources, 60_000), [], "once");
        answer(&mut sources, 0);
        assert_eq!(told(&mut sources, 61_000), [(Phase::Clear, 0)]);
        assert_eq!(told(&mut sources, 61_001), []);
    }

    #[test]
    fn many_that_fail_together_are_no_storm() {
        let mut sources = sources(&[1_000; SOURCES_TOLD_MAX + 4], 0);
        let mut hold = Hold::default();
        let all = u16::try_from(SOURCES_TOLD_MAX + 4).expect("few");
        for source in 0..all {
            sources.take(&fault(source), 0, 0, &mut hold);
        }
        assert_eq!(told(&mut sources, 0), []);
        let raised = told(&mut sources, 60_000);
        assert_eq!(raised, [(Phase::Raise, u32::from(all)); SOURCES_TOLD_MAX], "R5");
        assert_eq!(sources.tell_due_ms, u64::MAX, "nothing is waited for");
        answer(&mut sources, 0);
        let left = u32::from(all) - 1;
        assert_eq!(told(&mut sources, 61_000), [(Phase::Clear, left)]);
        answer(&mut sources, 1);
        let told = told(&mut sources, 62_000);
        assert!(told.contains(&(Phase::Raise, left - 1)), "one makes room: {told:?}");
        sources.forget_told();
        assert_eq!(sources.tell_due_ms, 0, "a new term tells anew");
    }

    #[test]
    fn drops_are_counted_and_told_once() {
        let mut sources = sources(&[1_000], 0);
        let mut hold = Hold::default();
        while hold.push(0, b"x").is_ok() {}
        for _ in 0..3 {
            sources.take(&value(0, "1"), 0, 0, &mut hold);
        }
        assert_eq!((sources.dropped(), sources.taken_since), (3, Some(0)));
        answer(&mut sources, 0);
        assert_eq!(sources.taken_since, Some(1));
        answer(&mut sources, 0);
        assert_eq!(sources.taken_since, None);
    }
}
