//! An agent that is started by hand: as another user, or with other standard streams.

use std::io::{ErrorKind, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::Value;

use crate::scene::{PATIENCE, Scene};
use crate::support::http::{Reply, ask_unix};
use crate::support::{guard, processes};

/// How long its answers are waited for: an agent that takes longer is held up by something.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// A running agent; dropped, it is killed.
pub(crate) struct Lone {
    pub(crate) child: Child,
    run_dir: PathBuf,
    said: String,
}

impl Lone {
    /// The words that start a node on the scene's data directory, for whatever program is to
    /// start it; a copy of the binary stands where every user may run it.
    pub(crate) fn words(scene: &Scene, node: &str) -> Vec<String> {
        let binary = scene.site.scratch().join("edge-agent");
        if !binary.exists() {
            fs::copy(env!("CARGO_BIN_EXE_edge-agent"), &binary).expect("room");
            let everybody = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&binary, everybody.clone()).expect("it is ours");
            fs::set_permissions(scene.site.scratch(), everybody).expect("it is ours");
        }
        let run_dir = Self::run_dir(scene, node);
        drop(fs::create_dir(&run_dir));
        let data = scene.site.data();
        let paths = [&binary, &data, &run_dir].map(|path| path.to_str().expect("UTF-8").to_owned());
        let [binary, data, run_dir] = paths;
        let words = ["run", "--datadirpath", &data, "--run-dir", &run_dir, "--node", node];
        let words = words.into_iter().chain(["--console", "off", "--log-level", "debug"]);
        std::iter::once(binary).chain(words.map(str::to_owned)).collect()
    }

    /// Where a node has its socket.
    pub(crate) fn run_dir(scene: &Scene, node: &str) -> PathBuf {
        scene.site.scratch().join(format!("run-{node}"))
    }

    /// Starts a program, which must become the agent of these words.
    pub(crate) fn start(scene: &Scene, node: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null());
        let child = loop {
            match command.spawn() {
                // another test forked while the copy was written: until it executes, it has that open
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => thread::yield_now(),
                started => break started.expect("the agent can be started"),
            }
        };
        guard::started(child.id());
        Self { child, run_dir: Self::run_dir(scene, node), said: String::new() }
    }

    pub(crate) fn ask(&self, method: &str, target: &str) -> Result<Reply> {
        ask_unix(&self.run_dir.join("agent.sock"), method, target, b"", ANSWER_LIMIT)
    }

    pub(crate) fn status(&self) -> Option<Value> {
        self.ask("GET", "/status.json").ok()?.json()
    }

    /// Waits until its status is as it should be.
    pub(crate) fn wait<T>(&mut self, what: &str, seen: impl Fn(&Value) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(PATIENCE);
        loop {
            let status = self.status();
            if let Some(found) = status.as_ref().and_then(&seen) {
                return found;
            }
            assert_eq!(
                self.child.try_wait().expect("ours"),
                None,
                "it ended; before: {}",
                self.said
            );
            assert!(Instant::now() < end, "waited in vain for {what}: {status:?}");
            self.said = format!("{status:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it is master and forwards.
    pub(crate) fn wait_master(&mut self) {
        self.wait("a fenced master", |status| {
            (status["role"] == "master" && status["fenced"] == true).then_some(())
        });
    }

    /// Ends it cleanly.
    pub(crate) fn stop(mut self) {
        processes::signal("TERM", &[self.child.id()]);
        let status = self.child.wait().expect("it can be waited for");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Lone {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        guard::ended(self.child.id());
    }
}
