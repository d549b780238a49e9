//! Mounts of a test's own: the test runs again in a mount namespace, which ends with it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::support::left_out::leave_out;

/// Names the test that runs in a namespace of its own.
const INSIDE: &str = "EDGE_TEST_APART";

/// Whether this is the test of that name in a mount namespace of its own. Elsewhere it is run
/// there, and must pass; where that cannot be, it is left out.
pub(crate) fn has_own_mounts(test: &str) -> bool {
    if std::env::var(INSIDE).is_ok_and(|name| name == test) {
        return true;
    }
    let inside = |command: &mut Command| {
        command.args(["--mount", "--propagation", "private", "--"]);
    };
    let mut probe = Command::new("unshare");
    inside(&mut probe);
    let can = probe.arg("true").output().is_ok_and(|done| done.status.success());
    if !can || !is_root() {
        leave_out(&format!("{test}: only root can mount, and only with unshare"));
        return false;
    }
    let mut again = Command::new("unshare");
    inside(&mut again);
    again.arg(std::env::current_exe().expect("this program is somewhere"));
    again.args(["--exact", test, "--nocapture"]).env(INSIDE, test);
    let done = again.output().expect("unshare can be run");
    let output = String::from_utf8_lossy(&done.stdout).into_owned();
    let errors = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && output.contains("1 passed"), "{output}\n{errors}");
    false
}

/// Whether this program may do anything.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|seen| seen.uid() == 0)
}

/// `mount`, with these arguments and a folder.
pub(crate) fn mount(arguments: &[&str], folder: &Path) {
    let done = Command::new("mount").args(arguments).arg(folder).output();
    let done = done.expect("mount can be run");
    assert!(done.status.success(), "mount {arguments:?}: {done:?}");
}

/// Takes the topmost mount off a folder; it may still be busy.
pub(crate) fn unmount(folder: &Path) {
    let done = Command::new("umount").arg("-l").arg(folder).output().expect("umount can be run");
    assert!(done.status.success(), "umount {}: {done:?}", folder.display());
}
