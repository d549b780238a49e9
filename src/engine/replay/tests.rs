use super::*;
use crate::engine::ident::{Lane, Ranges};

const SETTINGS_RECORDS: u32 = 500;

fn position(offset: u32) -> Position {
    Position { term: 1, number: 1, offset }
}

/// A store of so many records, and a replay of it.
struct Trial {
    replay: Replay,
    next: u32,
    end: u32,
    put_back: Vec<u32>,
    accepted: Vec<u32>,
    requests: u32,
    steps: Vec<Step>,
}

impl Trial {
    fn new(records: u32) -> Self {
        let mut replay = Replay::default();
        replay.begin();
        Self {
            replay,
            next: 1,
            end: records + 1,
            put_back: Vec::new(),
            accepted: Vec::new(),
            requests: 0,
            steps: Vec::new(),
        }
    }

    /// Reads the next batch; `None`: nothing is left.
    fn read(&mut self) -> Option<std::ops::Range<u32>> {
        let fetch = self.replay.fetch(1, &Settings::default());
        assert!(fetch.records_max <= SETTINGS_RECORDS);
        let count = fetch.records_max.min(self.end - self.next);
        let through = self.next + count;
        let seen = Replayed {
            request: 1,
            lane: Lane::Readings,
            ranges: Ranges::default(),
            count,
            bytes: count,
            through: position(through - 1),
            end: position(self.end),
            left: through < self.end,
        };
        assert!(fetch.end.is_none_or(|end| end == position(self.end)), "R3");
        self.replay.fetched(&seen).then_some(self.next..through)
    }

    /// Lets the cloud judge batches until it is over, or so many requests were made.
    fn run(&mut self, requests: u32, cloud: impl Fn(&[u32]) -> (Verdict, u16)) {
        for _ in 0..requests {
            if !self.replay.is_on() {
                return;
            }
            let Some(batch) = self.read() else { return };
            let seqs: Vec<u32> = batch.clone().collect();
            self.requests += 1;
            let (verdict, status) = cloud(&seqs);
            let step = self.replay.judge(&outcome(verdict, status));
            self.steps.push(step);
            match self.replay.settle(7, 1 << 20) {
                None => {}
                Some(StoreOrder::Forget { through }) => {
                    assert_eq!(through, position(batch.end - 1));
                    self.accepted.extend(seqs);
                    self.settled(batch.end);
                }
                Some(StoreOrder::PutBack(order)) => {
                    assert_eq!((order.through, order.status), (position(batch.start), status));
                    assert_eq!((seqs.len(), order.reason.as_str()), (1, "why"));
                    self.put_back.extend(seqs);
                    self.settled(batch.end);
                }
                Some(other) => panic!("{other:?}"),
            }
        }
    }

    fn settled(&mut self, next: u32) {
        assert_eq!((self.replay.is_settling(), self.replay.due_ms()), (true, u64::MAX), "R2");
        self.replay.settled();
        self.next = next;
    }
}

fn outcome(verdict: Verdict, status: u16) -> CloudOutcome {
    let reason = Reason::try_from("why").expect("short");
    CloudOutcome { request: 1, verdict, status, retry_after_ms: None, reason }
}

fn poisoned(seqs: &[u32], poison: &[u32], verdict: Verdict, status: u16) -> (Verdict, u16) {
    let bad = seqs.iter().any(|seq| poison.contains(seq));
    if bad { (verdict, status) } else { (Verdict::Accepted, 200) }
}

#[test]
fn one_refused_record_is_found_wherever_it_stands() {
    for (verdict, status) in [(Verdict::BadContent, 400), (Verdict::TooLarge, 413)] {
        for poison in [1, 2, 250, 999, 1_000] {
            let mut trial = Trial::new(1_000);
            trial.run(100, |seqs| poisoned(seqs, &[poison], verdict, status));
            assert_eq!((trial.put_back.as_slice(), trial.accepted.len()), (&[poison][..], 999));
            assert!(!trial.replay.is_on() && trial.requests < 50, "{} requests", trial.requests);
            let status = trial.replay.status();
            assert_eq!((status.delivered, status.refused), (999, 1));
            assert!(status.reason.is_empty());
        }
    }
}

#[test]
fn what_is_too_large_is_halved_until_it_fits_and_grows_again() {
    let mut trial = Trial::new(2_000);
    let cloud = |seqs: &[u32]| match seqs.len() {
        0..=100 => (Verdict::Accepted, 200),
        _ => (Verdict::TooLarge, 413),
    };
    trial.run(200, cloud);
    assert_eq!((trial.accepted.len(), trial.put_back.len()), (2_000, 0));
    assert!(trial.steps.iter().filter(|step| **step == Step::Part).count() > 3);
}

#[test]
fn wrong_credentials_end_it_and_its_entries_stay() {
    let mut trial = Trial::new(10);
    trial.run(5, |_| (Verdict::BadCredentials, 403));
    assert_eq!((trial.requests, trial.steps.as_slice()), (1, &[Step::Pause][..]));
    assert!(trial.accepted.is_empty() && trial.put_back.is_empty());
    let Some(StoreNote::ReplayEnded { stopped: Some(reason), .. }) = trial.replay.news() else {
        panic!("nobody was told")
    };
    assert_eq!(reason, "the cloud refuses us with 403: why");
    assert_eq!(trial.replay.news(), None, "it is told once");
}

#[test]
fn a_failing_cloud_gets_the_same_again() {
    let mut trial = Trial::new(700);
    trial.run(15, |_| (Verdict::Retry, 503));
    trial.run(5, |_| (Verdict::Unknown, 0));
    assert!(trial.steps.iter().all(|step| *step == Step::Again));
    assert!(trial.accepted.is_empty() && trial.put_back.is_empty());
    assert_eq!(trial.read(), Some(1..501), "as large as ever");
    trial.run(5, |_| (Verdict::Accepted, 200));
    assert_eq!(trial.accepted.len(), 700);
}

#[test]
fn what_is_never_answered_ends_it_and_stays() {
    let mut trial = Trial::new(10);
    trial.run(100, |_| (Verdict::Retry, 503));
    assert_eq!(trial.requests, REPLAY_UNANSWERED_MAX, "R5");
    assert!(!trial.replay.is_on() && trial.accepted.is_empty() && trial.put_back.is_empty());
    assert_eq!(trial.replay.status().reason, "the cloud does not take it: why");
}

#[test]
fn eight_500s_in_a_row_are_bad_content() {
    let mut trial = Trial::new(500);
    trial.run(7, |_| (Verdict::Retry, 500));
    assert_eq!(trial.read(), Some(1..501));
    trial.run(1, |_| (Verdict::Retry, 500));
    assert_eq!(trial.read(), Some(1..251));
    let mut poison = Trial::new(500);
    poison.run(300, |seqs| poisoned(seqs, &[77], Verdict::Retry, 500));
    assert_eq!((poison.put_back.as_slice(), poison.accepted.len()), (&[77][..], 499));
}

#[test]
fn a_cloud_that_accepts_nothing_is_not_asked_for_ever() {
    let mut trial = Trial::new(500);
    trial.run(5_000, |_| (Verdict::BadContent, 400));
    assert_eq!(trial.put_back.len(), REPLAY_REFUSED_MAX as usize, "R5");
    let status = trial.replay.status();
    assert_eq!((status.running, status.refused), (false, u64::from(REPLAY_REFUSED_MAX)));
    assert!(!status.reason.is_empty());
    let mut mixed = Trial::new(500);
    mixed
        .run(5_000, |seqs| poisoned(seqs, &(1..500).collect::<Vec<_>>(), Verdict::BadContent, 400));
    assert_eq!(mixed.put_back.len(), REPLAY_REFUSED_MAX as usize, "the good one is never reached");
    let odd: Vec<u32> = (1..500).step_by(2).collect();
    let mut odds = Trial::new(500);
    odds.run(5_000, |seqs| poisoned(seqs, &odd, Verdict::BadContent, 400));
    assert_eq!((odds.put_back.len(), odds.accepted.len()), (250, 250));
}

#[test]
fn two_time_outs_halve_and_success_doubles() {
    let mut trial = Trial::new(2_000);
    for expected in [500, 500, 250, 250, 125] {
        assert_eq!(trial.read(), Some(1..expected + 1));
        trial.replay.time_out();
    }
    trial.run(1, |_| (Verdict::Accepted, 200));
    assert_eq!(trial.read().map(|batch| batch.len()), Some(250));
}

#[test]
fn a_store_that_fails_is_tried_five_times() {
    let mut trial = Trial::new(10);
    for later_ms in 1..5 {
        trial.replay.failed(later_ms, &"no space");
        assert_eq!((trial.replay.is_on(), trial.replay.due_ms()), (true, later_ms));
    }
    assert_eq!(trial.read(), Some(1..11), "an answer in between");
    for later_ms in 1..6 {
        trial.replay.failed(later_ms, &"no space");
    }
    assert!(!trial.replay.is_on());
    assert_eq!(trial.replay.status().reason, "no space");
}

#[test]
fn a_verdict_after_the_end_changes_nothing() {
    let mut trial = Trial::new(10);
    trial.read().expect("a batch");
    trial.replay.stop(format_args!("the store is being purged"));
    for (verdict, step) in [
        (Verdict::Accepted, Step::Done),
        (Verdict::BadContent, Step::Part),
        (Verdict::Retry, Step::Again),
        (Verdict::BadCredentials, Step::Pause),
    ] {
        assert_eq!(trial.replay.judge(&outcome(verdict, 1)), step);
        assert!(trial.replay.settle(1, 1).is_none());
    }
    trial.replay.begin();
    assert_eq!(trial.replay.judge(&outcome(Verdict::Accepted, 200)), Step::Done);
    assert!(!trial.replay.is_settling(), "it was a batch of the one before");
    let long = clipped(format_args!("{}", "ä".repeat(200)));
    assert_eq!(long.chars().count(), 60);
}
