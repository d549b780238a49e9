//! Ends the agents that this program started once it is gone, and takes away what it mounted,
//! however it went: a release build aborts on a panic, and a test can be killed itself.
//!
//! A shell reads which agents start and end, and what is mounted and unmounted. When its input
//! ends, this program has ended, and the shell ends whatever is left. Mounts are forced first, so
//! that nobody waits in them for an answer, then detached.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

const SCRIPT: &str = r#"
trap '' HUP INT TERM
left=
points=
without() {
    for other in $1; do [ "$other" = "$2" ] || printf ' %s' "$other"; done
}
while read -r what which; do
    case $what in
    start) left="$left $which" ;;
    end) left=$(without "$left" "$which") ;;
    mount) points="$points $which" ;;
    unmount) points=$(without "$points" "$which") ;;
    esac
done
[ -z "$left" ] || kill -s KILL $left 2>/dev/null
for point in $points; do
    for way in 'umount -f' 'umount -l' 'fusermount3 -u -z' 'fusermount -u -z'; do
        $way "$point" && break
    done 2>/dev/null
done
"#;

/// An agent was started.
pub fn started(pid: u32) {
    tell("start", pid);
}

/// An agent was seen to end, or is about to be waited for.
pub fn ended(pid: u32) {
    tell("end", pid);
}

/// Something is about to be mounted here. The path has no white space.
pub fn mounted(point: &Path) {
    tell("mount", point.display());
}

/// It was taken away again, or not mounted after all.
pub fn unmounted(point: &Path) {
    tell("unmount", point.display());
}

fn tell(what: &str, which: impl Display) {
    static GUARD: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let guard = GUARD.get_or_init(|| Mutex::new(start()));
    let mut input = guard.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(input, "{what} {which}").expect("guard: its shell reads");
}

#[allow(clippy::zombie_processes, reason = "it outlives this program on purpose")]
fn start() -> ChildStdin {
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let guard = shell.spawn().expect("guard: cannot run sh");
    guard.stdin.expect("it is piped")
}
