//! A data directory of another user: said with our uid, its owner and what mends it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::apart::is_root;
use crate::lone::Lone;
use crate::scene::{NODES, Scene};
use crate::support::left_out::leave_out;
use crate::support::site::Plan;

const UID: u32 = 12_345;

fn chown(owner: u32, arguments: &[&str], path: &Path) {
    let done = Command::new("chown").args(arguments).arg(owner.to_string()).arg(path).status();
    assert!(done.is_ok_and(|status| status.success()), "chown");
}

#[test]
fn a_data_directory_of_another_user_says_whose_it_is_and_what_mends_it() {
    let user = format!("--reuid={UID}");
    let group = format!("--regid={UID}");
    let as_user = [user.as_str(), group.as_str(), "--clear-groups", "--"];
    let can = Command::new("setpriv").args(as_user).arg("true").stderr(Stdio::null()).status();
    if !is_root() || !can.is_ok_and(|status| status.success()) {
        return leave_out("owner: only root can be another user, and only with setpriv");
    }
    let scene = Scene::new(&Plan::default());
    let node = NODES[0];
    let words = Lone::words(&scene, node);
    chown(UID, &[], &Lone::run_dir(&scene, node));
    let data = scene.site.data();
    let remedy = |path: &str| {
        format!("permission denied (we are uid {UID}, it belongs to uid 0: chown -R {UID} {path})")
    };

    let mut check = Command::new("setpriv");
    check.args(as_user).arg(&words[0]).arg("check").arg("--datadirpath").arg(&data);
    let done = check.output().expect("it can be run");
    let text = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.code(), Some(78), "{text}");
    assert!(text.contains(&format!("we are uid {UID}, it belongs to uid 0")), "{text}");

    let mut command = Command::new("setpriv");
    command.args(as_user).args(&words).stdout(Stdio::null()).stderr(Stdio::null());
    let mut agent = Lone::start(&scene, node, command);
    let wait_denied = |agent: &mut Lone, name: &str| {
        agent.wait(&format!("what is wrong with {name}"), |status| {
            let fault = status["share"]["fault"].as_str()?;
            let shown = status["conditions"].to_string().contains("share-missing");
            (shown
                && fault.contains(name)
                && fault.contains(&format!("we are uid {UID}, it belongs to uid 0")))
            .then(|| fault.to_owned())
        })
    };
    let fault = wait_denied(&mut agent, "data");
    assert!(fault.contains("chown"), "{fault}");
    // the folder alone is ours: each of the files that lie in it says the same
    chown(UID, &[], &data);
    let fault = wait_denied(&mut agent, "edge.terms");
    assert!(fault.contains(&remedy(&data.display().to_string())), "{fault}");
    chown(UID, &[], &data.join("edge.terms"));
    let fault = wait_denied(&mut agent, "journal");
    assert!(fault.contains(&remedy(&data.display().to_string())), "{fault}");
    chown(UID, &["-R"], &data);
    agent.wait_master();
    agent.stop();
}
