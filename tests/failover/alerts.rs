//! HA alerts arrive as alerts, by the alert lane, raised once and cleared once.

use std::time::Duration;

use crate::Scene;
use crate::support::site::{Part, Plan};

#[test]
fn a_lost_standby_and_its_return_are_told() {
    let mut scene = Scene::new(&Plan::default());
    scene.start(&["a", "b", "c"]);
    let master = scene.site.wait_fenced(0);
    assert_eq!(master.node, "a");
    scene.site.kill("b", Part::Agent);
    wait_alerts(&scene, "node-lost", 1);
    scene.site.kill("c", Part::Agent);
    wait_alerts(&scene, "node-lost", 2);
    wait_alerts(&scene, "redundancy-lost", 1);
    scene.site.start("b");
    // told again when it is over
    wait_alerts(&scene, "node-lost", 3);
    wait_alerts(&scene, "redundancy-lost", 2);
    scene.judge();
}

fn wait_alerts(scene: &Scene, condition: &str, count: usize) {
    let seen = scene.receiver.wait(Duration::from_secs(60), |ledger| {
        (ledger.alerts_of(condition).len() >= count).then_some(())
    });
    let ledger = scene.receiver.ledger();
    assert!(
        seen.is_some() && ledger.alerts_of(condition).len() == count,
        "{condition}: expected {count} of {:#?}\n{}",
        ledger.alerts,
        scene.site.report()
    );
}
