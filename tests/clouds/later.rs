//! A cloud that wants us to come later, or fails for a while: the same again, and nothing is
//! declined.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::answers::Answer;
use crate::support::now_ns;
use crate::support::receiver::Behaviour;
use crate::support::site::Plan;
use crate::{NODE, Scene, is_long, plan, tries};

/// `Sun, 06 Nov 1994 08:49:37 GMT`, by date(1), which knows the calendar.
fn http_date(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs();
    let mut date = std::process::Command::new("date");
    date.env("LC_ALL", "C").args([
        "-u",
        "-d",
        &format!("@{seconds}"),
        "+%a, %d %b %Y %H:%M:%S GMT",
    ]);
    let output = date.output().expect("date runs");
    String::from_utf8(output.stdout).expect("ASCII").trim().to_owned()
}

/// Answers so once, and gives the times between that answer's request and the next.
fn comes_back(status: u16, headers: &str) -> (Duration, SystemTime) {
    let scene = Scene::start(&plan());
    let (count, headers) = (AtomicUsize::new(0), headers.to_owned());
    let mark = scene.mark();
    scene.receiver.rule(move |_| match count.fetch_add(1, Ordering::AcqRel) {
        0 => Answer::Page(status, headers.clone(), String::new()),
        _ => Answer::Status(200),
    });
    let sent = scene.post(5);
    scene.wait_delivered(sent);
    let (gap_ns, ago_ns) = {
        let ledger = scene.receiver.ledger();
        let requests = &ledger.requests[mark..];
        assert_eq!((requests[0].status, requests[1].status), (status, 200));
        let came_ns = requests[1].accepted_ns;
        (came_ns - requests[0].accepted_ns, now_ns() - came_ns)
    };
    assert_eq!(scene.declined().len(), 0);
    scene.judge();
    (Duration::from_nanos(gap_ns), SystemTime::now() - Duration::from_nanos(ago_ns))
}

/// Two seconds and more, where the back-off's own first wait is one at most.
#[test]
fn retry_after_is_honoured_in_seconds_and_as_a_date() {
    let two = Duration::from_secs(2);
    // by a clock of the cloud that is an hour behind ours
    let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
    let (date, until) = (http_date(hour_ago), http_date(hour_ago + two));
    let dated = format!("Date: {date}\r\nRetry-After: {until}\r\n");
    thread::scope(|scope| {
        for (status, headers) in
            [(429, "Retry-After: 2\r\n"), (503, "Retry-After: 2\r\n"), (503, dated.as_str())]
        {
            scope.spawn(move || {
                let (gap, _) = comes_back(status, headers);
                assert!(gap >= two, "{status} {headers}: {gap:?}");
            });
        }
        // without a date of the answer's own, it is a moment of this host's clock
        scope.spawn(|| {
            let until = SystemTime::now() + Duration::from_secs(5);
            let seconds = until.duration_since(UNIX_EPOCH).expect("later").as_secs();
            let headers = format!("Retry-After: {}\r\n", http_date(until));
            let (_, came) = comes_back(503, &headers);
            assert!(came >= UNIX_EPOCH + Duration::from_secs(seconds), "{headers}: {came:?}");
        });
    });
}

/// Two minutes of nothing but 500 in the long run; in the fast one as many tries, hurried on.
#[test]
fn a_time_of_500_declines_nothing_and_is_one_condition() {
    let scene = Scene::start(&plan());
    let mark = scene.mark();
    scene.receiver.behave(Behaviour::Answer(500));
    let all = scene.post(500).start..scene.post(200).end;
    scene.wait_condition("cloud-unreachable", true);
    if is_long() {
        let end = Instant::now() + Duration::from_secs(120);
        while Instant::now() < end {
            assert!(scene.has_condition("cloud-unreachable"));
            thread::sleep(Duration::from_secs(1));
        }
    } else {
        for count in 1..=24 {
            scene.wait_tries(mark, count);
            scene.site.reload(NODE);
        }
    }
    let sizes = tries(&scene.receiver.ledger(), mark);
    assert!(is_long() || sizes.iter().any(|size| *size < 500), "suspect by now: {sizes:?}");
    assert_eq!(scene.declined().len(), 0);
    assert!(!scene.has_condition("cloud-declining"));
    scene.recover();
    scene.wait_delivered(all);
    scene.wait_condition("cloud-unreachable", false);
    assert_eq!(scene.declined().len(), 0);
    assert_eq!(scene.site.log_lines(NODE, "cloud: answer 500").len(), 1, "told when it begins");
    assert_eq!(scene.site.log_lines(NODE, "cloud: accepts again").len(), 1, "and when it ends");
    assert!(scene.receiver.ledger().alerts_of("cloud-declining").is_empty());
    scene.judge();
}

/// One record that the cloud cannot digest, among others that it can.
#[test]
fn a_record_that_alone_is_answered_500_is_declined_in_the_end() {
    let scene = Scene::start(&plan());
    let all = scene.coming(8);
    let bad = all.start + 2;
    scene.receiver.rule(move |asked| Answer::Status(if asked.holds(&[bad]) { 500 } else { 200 }));
    scene.post(8);
    scene.site.wait("the record to be declined", 60, |site| {
        site.reload(NODE);
        thread::sleep(Duration::from_millis(100));
        (scene.status()["journal"][0]["declined"] == 1).then_some(())
    });
    assert_eq!(crate::numbers(&scene.wait_declined(1)), [bad]);
    scene.wait_delivered(all.start..bad);
    scene.wait_delivered(bad + 1..all.end);
    assert_eq!(scene.receiver.ledger().repeated_records, 0);
    scene.judge();
}

#[test]
fn two_time_outs_in_a_row_halve_the_batch_and_success_doubles_it() {
    let scene = Scene::start(&Plan { timeout: 1_000, ..plan() });
    scene.receiver.rule(|asked| match asked.records.len() {
        0..=100 => Answer::Status(200),
        _ => Answer::Silence,
    });
    let mark = scene.mark();
    let sent = scene.post(400);
    for count in 1..=4 {
        scene.wait_tries(mark, count);
        scene.wait_reason("no answer in time");
        // not for the back-off's whole time
        scene.site.reload(NODE);
    }
    // the silent ones count as delivered: what arrived is not what is known to have
    scene.wait_status("all to be accepted", |status| status["journal"][0]["waiting"] == 0);
    scene.wait_delivered(sent.clone());
    let sizes = tries(&scene.receiver.ledger(), mark);
    assert_eq!(sizes[..5], [400, 400, 200, 200, 100], "{sizes:?}");
    scene.recover();
    let first = scene.mark();
    for _ in 0..8 {
        scene.post(400);
    }
    scene.wait_delivered(sent.end..scene.coming(1).start);
    let sizes = tries(&scene.receiver.ledger(), first);
    assert!(sizes.contains(&400), "it grows again: {sizes:?}");
    assert_eq!(scene.declined().len(), 0);
    scene.judge();
}

/// Keys that may send readings and not register things, a thing that the cloud does not know,
/// or chokes on: readings are none the worse.
#[test]
fn a_cloud_that_refuses_things_gets_its_readings() {
    let scene = Scene::start(&plan());
    for status in [403, 404, 400, 500] {
        scene
            .receiver
            .rule(move |asked| Answer::Status(if asked.is_readings() { 200 } else { status }));
        let mark = scene.mark();
        scene.site.reload(NODE);
        scene.wait("a thing to be refused", |l| {
            l.requests.iter().skip(mark).any(|r| r.status == status)
        });
        scene.wait_reason(&format!("answer {status}"));
        for _ in 0..3 {
            let sent = scene.post(5);
            scene.wait_delivered(sent);
        }
        let status_now = scene.status();
        assert!(!crate::has(&status_now, "cloud-declining"), "{status}: {status_now}");
        assert!(!crate::has(&status_now, "cloud-unreachable"), "{status}: {status_now}");
    }
    // a line for each configuration that was taken, none for 500
    assert_eq!(scene.site.log_lines(NODE, "refuses a thing's registration").len(), 3);
    assert_eq!(scene.site.log_lines(NODE, "accepts again").len(), 0);
    scene.judge();
}
