//! Ends the agents that this program started once it is gone, however it went: a release build
//! aborts on a panic, and a test can be killed itself.
//!
//! A shell reads which agents start and end. When its input ends, this program has ended, and
//! the shell ends whatever is left.

use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

const SCRIPT: &str = r#"
trap '' HUP INT TERM
left=
while read -r what pid; do
    if [ "$what" = start ]; then
        left="$left $pid"
    else
        others=
        for other in $left; do [ "$other" = "$pid" ] || others="$others $other"; done
        left=$others
    fi
done
[ -z "$left" ] || kill -s KILL $left 2>/dev/null
"#;

/// An agent was started.
pub fn started(pid: u32) {
    tell("start", pid);
}

/// An agent was seen to end, or is about to be waited for.
pub fn ended(pid: u32) {
    tell("end", pid);
}

fn tell(what: &str, pid: u32) {
    static GUARD: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let guard = GUARD.get_or_init(|| Mutex::new(start()));
    let mut input = guard.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(input, "{what} {pid}").expect("guard: its shell reads");
}

#[allow(clippy::zombie_processes, reason = "it outlives this program on purpose")]
fn start() -> ChildStdin {
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let guard = shell.spawn().expect("guard: cannot run sh");
    guard.stdin.expect("it is piped")
}
