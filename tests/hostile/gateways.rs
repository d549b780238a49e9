//! A gateway that is gone for good, and another in its place.

use std::fs;

use crate::scene::{NODES, PATIENCE, Scene};
use crate::support::site::{Part, Plan};

#[test]
fn another_gateway_takes_the_place_of_one_that_is_gone_for_good() {
    let mut scene = Scene::new(&Plan::default());
    scene.start();
    scene.feed(2);
    let first = scene.site.wait_fenced(0);
    scene.site.kill(&first.node, Part::Agent);
    let second = scene.site.wait_fenced(first.term);
    scene.feed(2);

    let known = |scene: &Scene, node: &str| {
        let nodes = scene.site.run_at(&second.node, "nodes", &data(scene));
        String::from_utf8_lossy(&nodes.stdout).lines().any(|line| line.starts_with(node))
    };
    assert!(known(&scene, &first.node), "its record is there");
    scene.site.start("new");
    scene.site.wait_standby("new");
    scene.site.wait("the master to know the new node", PATIENCE, |site| {
        let status = site.status(&second.node)?;
        let nodes = status["nodes"].as_array()?;
        nodes.iter().any(|node| node["node"] == "new" && node["live"] == true).then_some(())
    });
    // of a node that lives nothing is forgotten
    let arguments = [&["forget", "new"][..], &data(&scene)].concat();
    let refused = scene.site.run_at(&second.node, "nodes", &arguments);
    assert!(!refused.status.success(), "{refused:?}");
    // one that was killed counts as live until its record has been silent
    let arguments = [&["forget", &first.node][..], &data(&scene)].concat();
    scene.site.wait("the node that is gone to be forgotten", PATIENCE, |site| {
        site.run_at(&second.node, "nodes", &arguments).status.success().then_some(())
    });
    assert!(!known(&scene, &first.node) && known(&scene, "new"));
    assert!(!scene.site.data().join("nodes").join(&first.node).exists());
    let records = fs::read_dir(scene.site.data().join("nodes")).expect("there").count();
    assert_eq!(records, NODES.len(), "the new one's and that of the one that stayed");

    let (status, _) = scene.site.stop(&second.node);
    assert!(status.success(), "{status}");
    let third = scene.site.wait_fenced(second.term);
    assert_eq!(third.node, "new");
    scene.feed(2);
    scene.wait_delivered();
    scene.judge();
}

fn data(scene: &Scene) -> [&'static str; 2] {
    let path = scene.site.data().to_str().expect("UTF-8").to_owned();
    ["--datadirpath", path.leak()]
}
