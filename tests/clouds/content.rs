//! A cloud that refuses records for what they are: they alone are declined, the rest arrives.

use std::thread;
use std::time::Duration;

use crate::support::answers::Answer;
use crate::{NODE, Scene, numbers, plan, tries};

/// Refuses whatever holds one of these, with this status.
fn poison(scene: &Scene, poison: &[u64], status: u16) {
    let poison = poison.to_vec();
    scene
        .receiver
        .rule(move |asked| Answer::Status(if asked.holds(&poison) { status } else { 200 }));
}

#[test]
fn one_poison_record_among_500_is_declined_alone_wherever_it_is() {
    let scene = Scene::start(&plan());
    let mut declined = 0;
    for (status, place) in [(400, 0), (400, 499), (422, 249), (409, 17)] {
        let numbers_sent = scene.coming(500);
        let bad = numbers_sent.start + place;
        poison(&scene, &[bad], status);
        let mark = scene.mark();
        scene.post(500);
        declined += 1;
        let entries = scene.wait_declined(declined);
        let entry = &entries[declined - 1];
        assert_eq!((numbers(&entries)[declined - 1], entry.status), (bad, status));
        assert!(entry.reason.contains(&status.to_string()), "{}", entry.reason);
        scene.wait_delivered(numbers_sent.start..bad);
        scene.wait_delivered(bad + 1..numbers_sent.end);
        let sizes = tries(&scene.receiver.ledger(), mark);
        assert_eq!(sizes[0], 500, "{sizes:?}");
        assert!(sizes.len() < 40, "{sizes:?}");
    }
    // four of them, and what was accepted in between, are one condition
    assert!(scene.has_condition("cloud-declining"));
    assert!(!scene.has_condition("cloud-unreachable"));
    assert_eq!(scene.site.log_lines(NODE, "refuses records").len(), 1);
    assert_eq!(scene.site.log_lines(NODE, "accepts records again").len(), 0);
    assert_eq!(scene.receiver.ledger().alerts_of("cloud-declining").len(), 1);
    scene.judge();
}

#[test]
fn sparse_poison_is_declined_and_nothing_else() {
    let scene = Scene::start(&plan());
    let all = scene.coming(1_500);
    let bad: Vec<u64> = [3, 4, 130, 498, 499, 500, 777, 1_499].map(|n| all.start + n).to_vec();
    poison(&scene, &bad, 400);
    for _ in 0..3 {
        scene.post(500);
    }
    assert_eq!(numbers(&scene.wait_declined(bad.len())), bad);
    let good = all.filter(|n| !bad.contains(n));
    scene.wait("the others", |ledger| good.clone().all(|n| ledger.has(n)));
    assert_eq!(scene.receiver.ledger().repeated_records, 0);
    scene.judge();
}

#[test]
fn what_is_too_large_is_halved_until_it_fits() {
    let scene = Scene::start(&plan());
    scene.receiver.rule(|asked| Answer::Status(if asked.bytes > 6_000 { 413 } else { 200 }));
    let mark = scene.mark();
    let all = scene.post(500);
    scene.wait_delivered(all);
    assert_eq!(scene.declined().len(), 0);
    {
        let ledger = scene.receiver.ledger();
        let sizes = tries(&ledger, mark);
        assert_eq!(sizes[..3], [500, 250, 125], "{sizes:?}");
        let refused = ledger.requests[mark..].iter().filter(|r| r.status == 413).count();
        assert!(refused <= 6, "a size that did not fit is not tried over and over: {sizes:?}");
    }
    // one that never will
    let numbers_sent = scene.coming(20);
    let big = numbers_sent.start + 7;
    scene.post_padded(20, |n| if n == big { 7_000 } else { 0 });
    assert_eq!(numbers(&scene.wait_declined(1)), [big]);
    assert_eq!(scene.declined()[0].status, 413);
    scene.wait_delivered(numbers_sent.start..big);
    scene.wait_delivered(big + 1..numbers_sent.end);
    assert_eq!(scene.receiver.ledger().repeated_records, 0);
    scene.judge();
}

/// A batch of which nothing is taken says more of us than of its records: the backlog behind it
/// is not churned through.
#[test]
fn a_cloud_that_takes_nothing_gets_one_batch_a_pause() {
    let scene = Scene::start(&plan());
    let mut declined = 0;
    for status in [400, 413] {
        scene
            .receiver
            .rule(move |asked| Answer::Status(if asked.is_readings() { status } else { 200 }));
        scene.post(12);
        declined += 12;
        scene.wait_declined(declined);
        scene.wait_status("a pause", |status| status["cloud"]["state"] == "paused");
        let queued = scene.post(12);
        thread::sleep(Duration::from_millis(400));
        assert_eq!(scene.declined().len(), declined, "{status}");
        assert!(
            scene.has_condition("cloud-declining") && !scene.has_condition("cloud-unreachable")
        );
        scene.recover();
        scene.wait_delivered(queued);
    }
    assert_eq!(scene.receiver.ledger().alerts_of("cloud-declining").len(), 1);
    scene.judge();
}
