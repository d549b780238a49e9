//! The alert lane's own wait.

use super::*;
use crate::engine::ident::Cursor;

struct Trial {
    forward: Forward,
    replay: Replay,
    now_ms: u64,
}

impl Trial {
    fn new() -> Self {
        let mut forward = Forward::new(7, LeftOut::default());
        forward.begin(0, &Settings::default());
        Self { forward, replay: Replay::default(), now_ms: 1_000 }
    }

    /// Sends a record of a lane, and hears this of it.
    fn send(&mut self, lane: Lane, verdict: Verdict, status: u16) -> Settled {
        let settings = Settings::default();
        let request = self.forward.next_request();
        let next = Cursor { term: 1, segment: 1, offset: 90, seq: 2 };
        let fetched = Fetched {
            request,
            first_seq: 1,
            count: 1,
            bytes: 50,
            next,
            at_end: false,
            missing: false,
            damaged: 0,
            damaged_bytes: 0,
        };
        let batch = Batch { lane, fetched_ms: self.now_ms, fetched };
        self.forward.begin_job(self.now_ms, Job::Batch(batch), &settings);
        self.hear(request, verdict, status)
    }

    fn hear(&mut self, request: u32, verdict: Verdict, status: u16) -> Settled {
        let settings = Settings::default();
        let reason = Reason::try_from("why").expect("short");
        let outcome = CloudOutcome { request, verdict, status, retry_after_ms: None, reason };
        let settled = self.forward.settle(self.now_ms, &outcome, &settings, &mut self.replay);
        settled.expect("our request")
    }

    /// Whether readings may be sent now, and alerts.
    fn may_send(&self) -> (bool, bool) {
        let all = self.now_ms >= self.forward.wait_until_ms();
        let lane = |lane| all && self.now_ms >= self.forward.lane_not_before_ms(lane);
        (lane(Lane::Readings), lane(Lane::Alerts))
    }
}

#[test]
fn an_alert_that_fails_holds_up_no_readings() {
    for (verdict, status) in
        [(Verdict::Retry, 503), (Verdict::Retry, 500), (Verdict::BadCredentials, 403)]
    {
        let mut trial = Trial::new();
        // nothing is known of the cloud yet: it may be the whole of it that fails
        assert_ne!(trial.send(Lane::Alerts, verdict, status), Settled::AlertsPutOff);
        assert_eq!(trial.may_send(), (true, false), "{status}");
        trial.send(Lane::Readings, Verdict::Accepted, 200);
        assert_eq!(trial.may_send(), (true, true), "it may be over");
        let mut waited_ms = 0;
        for _ in 0..12 {
            assert_eq!(trial.send(Lane::Alerts, verdict, status), Settled::AlertsPutOff);
            assert_eq!(trial.may_send(), (true, false), "{status}: F7");
            trial.send(Lane::Readings, Verdict::Accepted, 200);
            assert_eq!(trial.may_send(), (true, false), "{status}: alerts wait on");
            assert_eq!(trial.forward.failures(), 0);
            let until_ms = trial.forward.lane_not_before_ms(Lane::Alerts);
            waited_ms += until_ms - trial.now_ms;
            trial.now_ms = until_ms;
        }
        let most_ms = if status == 403 { 12 * PAUSE_MS_MAX } else { 12 * BACKOFF_MS_MAX };
        assert!(waited_ms <= u64::from(most_ms), "{status}: {waited_ms}");
        trial.forward.try_at_once();
        assert_eq!(trial.may_send(), (true, true), "the configuration changed");
    }
}

#[test]
fn a_registration_counts_for_the_things_that_it_was_made_of() {
    let mut trial = Trial::new();
    let mut settings = Settings::default();
    settings.alive_every_ms.push(60_000).expect("room");
    settings.alive_every_ms.push(60_000).expect("room");
    trial.forward.begin(0, &settings);
    trial.send(Lane::Readings, Verdict::Accepted, 200);
    let due = |trial: &Trial| trial.forward.thing_due(trial.now_ms);
    for thing in [0, 1] {
        assert_eq!(due(&trial), Some(CloudRequest::Register { thing }));
        let request = trial.forward.next_request();
        trial.forward.begin_job(trial.now_ms, Job::Register(thing), &settings);
        if thing == 1 {
            trial.forward.take_things(&settings);
        }
        trial.hear(request, Verdict::Accepted, 200);
    }
    assert_eq!(due(&trial), Some(CloudRequest::Register { thing: 0 }), "all of them anew");
}

#[test]
fn readings_that_fail_hold_up_alerts() {
    let mut trial = Trial::new();
    trial.send(Lane::Readings, Verdict::Retry, 503);
    assert_eq!(trial.may_send(), (false, false));
    trial.now_ms = trial.forward.wait_until_ms();
    trial.send(Lane::Readings, Verdict::BadCredentials, 401);
    assert_eq!(trial.may_send(), (false, false));
    assert_eq!(trial.forward.wait_until_ms() - trial.now_ms, u64::from(PAUSE_MS_MIN));
}
