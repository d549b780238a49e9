//! HA alerts arrive as alerts, by the alert lane, told once when something begins and once
//! when it ends.

use std::time::Duration;

use serde_json::Value;

use crate::Scene;
use crate::support::ledger::Ledger;
use crate::support::site::{Part, Plan};

#[test]
fn lost_standbys_and_their_return_are_told_once() {
    let mut scene = Scene::beside(&Plan::default());
    scene.start(&["a", "b", "c"]);
    // a node is known to live once its record was seen to change
    scene.site.wait("a to see three live nodes", 60, |site| {
        let status = site.status("a")?;
        let live = |node: &&Value| node["live"] == true;
        (status["nodes"].as_array()?.iter().filter(live).count() == 3).then_some(())
    });
    assert_eq!(scene.site.wait_fenced(0).node, "a");
    scene.site.kill("b", Part::Agent);
    scene.site.kill("c", Part::Agent);
    wait_alerts(&scene, "node-lost", 2, 1);
    wait_alerts(&scene, "redundancy-lost", 1, 1);
    scene.site.start("b");
    wait_alerts(&scene, "node-returned", 1, 0);
    wait_alerts(&scene, "redundancy-restored", 1, 0);
    // none of them again
    for (condition, count) in [("node-lost", 2), ("redundancy-lost", 1), ("node-returned", 1)] {
        assert_eq!(scene.receiver.ledger().alerts_of(condition).len(), count, "{condition}");
    }
    scene.judge();
}

#[test]
fn a_change_of_master_says_how_it_came() {
    let mut scene = Scene::beside(&Plan::default());
    scene.start(&["a", "b"]);
    scene.site.kill("a", Part::Agent);
    scene.site.wait_fenced(1);
    scene.site.start("a");
    scene.site.wait_standby("a");
    scene.site.stop("b");
    scene.site.wait_fenced(2);
    let level_of = |ledger: &Ledger, term: u64| {
        let alerts = ledger.alerts_of("master-changed");
        let levels: Vec<_> = alerts
            .into_iter()
            .filter(|alert| alert["data"]["term"] == term)
            .map(|alert| alert["alert_type"].as_u64())
            .collect();
        assert!(levels.len() <= 1, "told more than once");
        levels.first().copied().flatten()
    };
    for (term, level) in [(2, 1), (3, 0)] {
        let seen = scene.receiver.wait(Duration::from_secs(30), |ledger| level_of(ledger, term));
        assert_eq!(seen, Some(level), "a kill warns, a clean stop informs (term {term})");
    }
    scene.judge();
}

/// Waits for alerts of a condition, all of one level, each with what people need to know.
fn wait_alerts(scene: &Scene, condition: &str, count: usize, newest_level: u64) {
    let seen = scene.receiver.wait(Duration::from_secs(60), |ledger| {
        (ledger.alerts_of(condition).len() >= count).then_some(())
    });
    let ledger = scene.receiver.ledger();
    let alerts = ledger.alerts_of(condition);
    assert!(
        seen.is_some() && alerts.len() == count,
        "{condition}: expected {count} of {:#?}\n{}",
        ledger.alerts,
        scene.site.report()
    );
    assert_eq!(alerts[count - 1]["alert_type"], newest_level, "{condition}");
    for alert in alerts {
        assert!(alert["message"].as_str().is_some_and(|text| !text.is_empty()), "{alert}");
        for field in ["site", "node", "term"] {
            assert!(!alert["data"][field].is_null(), "{alert} says no {field}");
        }
    }
}
