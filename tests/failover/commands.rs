//! The commands, at a site that runs.

use std::process::Output;

use crate::Scene;
use crate::support::site::{Plan, Site};

fn text(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    streams.concat()
}

/// Runs a command at node a, on the site's data directory.
fn run(site: &Site, name: &str, arguments: &[&str]) -> (i32, String) {
    let data = site.data();
    let data = data.to_str().expect("a scratch folder has a plain name");
    let output = site.run_at("a", name, &[&["--datadirpath", data], arguments].concat());
    (output.status.code().unwrap_or(-1), text(&output))
}

#[test]
fn nodes_are_listed_and_forgotten_once_they_are_gone() {
    let mut scene = Scene::new(&Plan::default());
    scene.start(&["a", "b"]);
    let listed = |name: &'static str, live: &'static str| {
        move |site: &Site| {
            let (code, text) = run(site, "nodes", &[]);
            assert_eq!(code, 0, "{text}");
            let row = text.lines().find(|row| row.starts_with(name))?.to_owned();
            (row.split_whitespace().nth(2) == Some(live)).then_some(row)
        }
    };
    let row = scene.site.wait("b to be listed as live", 20, listed("b", "yes"));
    for part in ["standby", scene.site.data().to_str().expect("plain")] {
        assert!(row.contains(part), "{row}");
    }
    let (code, why) = run(&scene.site, "nodes", &["forget", "b"]);
    assert!(code == 75 && why.contains("b is live"), "{code} {why}");
    scene.site.stop("b");
    scene.site.wait("b to be listed as gone", 20, listed("b", "no"));
    let (code, why) = run(&scene.site, "nodes", &["forget", "b"]);
    assert_eq!((code, why.as_str()), (0, "b is forgotten\n"));
    let (_, list) = run(&scene.site, "nodes", &[]);
    assert!(!list.lines().any(|row| row.starts_with("b ")), "{list}");
    let (code, why) = run(&scene.site, "nodes", &["forget", "b"]);
    assert_eq!((code, why.as_str()), (0, "b was not known\n"));
}
