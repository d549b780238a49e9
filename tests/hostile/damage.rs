//! Every file and folder of the data directory, damaged in each way, while a site runs on it
//! and before one starts.
//!
//! What must come of it stands in one table. In no case does a process end, is an
//! acknowledged reading lost that the damage itself did not take, or is anything said over
//! and over; and afterwards the other node can take over.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use edge_agent::engine::slot::{HEADER_BYTES, Header, HeaderOf};

use crate::is_long;
use crate::scene::{NODES, PATIENCE, Scene, numbers_in};
use crate::support::receiver::Behaviour;
use crate::support::site::Plan;

/// Cases that run beside each other.
const WORKERS: usize = 8;

/// What is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Config,
    SecretKey,
    Authority,
    Token,
    Lock,
    Terms,
    Claim,
    NodeRecord,
    /// The segment that is being written, not yet forwarded.
    NewestSegment,
    /// One of an older term, not yet forwarded.
    OlderSegment,
    /// One that is wholly forwarded.
    ForwardedSegment,
    DeclinedFile,
    Claims,
    Nodes,
    Journal,
    Lane,
    DeclinedFolder,
}

/// What is done to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
    Halved,
    Emptied,
    Noise,
    Deleted,
    /// A folder where a file should be, or a file where a folder should be.
    Swapped,
}

const DEEDS: [Deed; 5] = [Deed::Halved, Deed::Emptied, Deed::Noise, Deed::Deleted, Deed::Swapped];

/// What must come of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// There is no such case.
    None,
    /// Nothing shows, everything goes on, nothing need be mended.
    Fine,
    /// A condition shows, readings are taken and delivered all the same; mended, it ends.
    Shows(&'static str),
    /// A condition shows, readings are taken and wait; mended, it ends and they are delivered.
    Waits(&'static str),
    /// A condition shows, and nothing is taken until it is mended.
    Stops(&'static str),
    /// An alert tells, and everything else goes on.
    Alerts(&'static str),
}

use Then::{Alerts, Fine, None as No, Shows, Stops, Waits};

const REFUSED: &str = "config-refused";
const UNCONFIGURED: &str = "not-configured";
const MISSING: &str = "share-missing";
const FAILING: &str = "share-failing";
const SEGMENT: &str = "segment-missing";
const DAMAGED: &str = "group-damaged";
const DECLINING: &str = "cloud-declining";
const UNREACHABLE: &str = "cloud-unreachable";

/// What, then by deed, while a site runs and before it starts.
#[rustfmt::skip]
const TABLE: [(What, [Then; 5], [Then; 5]); 17] = [
    (What::Config,
        [Shows(REFUSED), Shows(REFUSED), Shows(REFUSED), Shows(REFUSED), Shows(REFUSED)],
        [Stops(REFUSED), Stops(REFUSED), Stops(REFUSED), Stops(UNCONFIGURED), Stops(REFUSED)]),
    (What::SecretKey,
        [Waits(DECLINING), Shows(REFUSED), Shows(REFUSED), Shows(REFUSED), Shows(REFUSED)],
        [Waits(DECLINING), Stops(REFUSED), Stops(REFUSED), Stops(REFUSED), Stops(REFUSED)]),
    (What::Authority,
        [Waits(UNREACHABLE), Shows(REFUSED), Shows(REFUSED), Shows(REFUSED), Shows(REFUSED)],
        [Waits(UNREACHABLE), Stops(REFUSED), Stops(REFUSED), Stops(REFUSED), Stops(REFUSED)]),
    (What::Token,
        [Fine, Shows(REFUSED), Shows(REFUSED), Fine, Shows(REFUSED)],
        [Fine, Stops(REFUSED), Stops(REFUSED), Fine, Stops(REFUSED)]),
    (What::Lock,
        [Fine, Stops(MISSING), Stops(MISSING), Fine, Stops(MISSING)],
        [Fine, Stops(MISSING), Stops(MISSING), Fine, Stops(MISSING)]),
    (What::Terms,
        [Fine, Stops(MISSING), Stops(MISSING), Stops(MISSING), Stops(MISSING)],
        [Fine, Stops(MISSING), Stops(MISSING), Stops(MISSING), Stops(MISSING)]),
    (What::Claim, [Fine; 5], [Fine; 5]),
    (What::NodeRecord,
        [Fine, Fine, Fine, Fine, Shows(FAILING)],
        [Fine, Fine, Fine, Fine, Shows(FAILING)]),
    (What::NewestSegment,
        [Alerts(DAMAGED), Alerts(DAMAGED), Alerts(DAMAGED), Waits(SEGMENT), Waits(SEGMENT)],
        [Alerts(DAMAGED), Alerts(DAMAGED), Alerts(DAMAGED), Waits(SEGMENT), Waits(SEGMENT)]),
    (What::OlderSegment,
        [Alerts(DAMAGED), Alerts(DAMAGED), Alerts(DAMAGED), Waits(SEGMENT), Waits(SEGMENT)],
        [Alerts(DAMAGED), Alerts(DAMAGED), Alerts(DAMAGED), Waits(SEGMENT), Waits(SEGMENT)]),
    (What::ForwardedSegment, [Fine; 5], [Fine; 5]),
    (What::DeclinedFile, [Fine; 5], [Fine; 5]),
    (What::Claims,
        [No, Fine, No, Fine, Shows(MISSING)],
        [No, Fine, No, Fine, Stops(MISSING)]),
    (What::Nodes,
        [No, Fine, No, Fine, Shows(FAILING)],
        [No, Fine, No, Fine, Shows(FAILING)]),
    (What::Journal,
        [No, Fine, No, Fine, Stops(FAILING)],
        [No, Fine, No, Fine, Stops(MISSING)]),
    (What::Lane,
        [No, Fine, No, Fine, Stops(FAILING)],
        [No, Fine, No, Fine, Stops(MISSING)]),
    (What::DeclinedFolder,
        [No, Fine, No, Fine, Waits(FAILING)],
        [No, Fine, No, Fine, Waits(FAILING)]),
];

/// One case of the table.
#[derive(Clone, Copy)]
struct Case {
    what: What,
    deed: Deed,
    is_running: bool,
    then: Then,
}

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.is_running { "running" } else { "stopped" };
        write!(out, "{:?} {:?} {when}: {:?}", self.what, self.deed, self.then)
    }
}

/// The table's cases; in a fast run every fourth of them, another deed for each file. With
/// `EDGE_CASE` those whose name holds its text.
fn cases() -> Vec<Case> {
    let only = std::env::var("EDGE_CASE").unwrap_or_default();
    let mut cases = Vec::new();
    for (row, (what, running, stopped)) in TABLE.into_iter().enumerate() {
        for (column, deed) in DEEDS.into_iter().enumerate() {
            for (state, thens) in [running, stopped].into_iter().enumerate() {
                let case = Case { what, deed, is_running: state == 0, then: thens[column] };
                let is_chosen = is_long() || (row + column + 2 * state) % 4 == 0;
                let is_named =
                    if only.is_empty() { is_chosen } else { case.to_string().contains(&only) };
                if case.then != No && is_named {
                    cases.push(case);
                }
            }
        }
    }
    cases
}

#[test]
fn no_damage_ends_a_process_or_loses_more_than_it_took() {
    let left = Mutex::new(cases().into_iter());
    let failed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let case = left.lock().expect("nobody panics with it").next();
            let Some(case) = case else { return };
            let begin = std::time::Instant::now();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case.run())) {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                let text = format!("== {case}\n{}", text.unwrap_or_default());
                failed.lock().expect("nobody panics with it").push(text);
            }
            println!("{case}: {:.1} s", begin.elapsed().as_secs_f64());
        }
    };
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().expect("nobody panics with it");
    assert!(failed.is_empty(), "{} cases failed\n{}", failed.len(), failed.join("\n"));
}

impl Case {
    fn run(self) {
        let mut scene = Scene::new(&Plan::default());
        self.prepare(&mut scene);
        let path = self.path(&scene);
        let saved = if self.is_running {
            for node in NODES {
                scene.site.freeze(node);
            }
            let saved = Saved::take(&path);
            self.deed.perform(&path);
            for node in NODES {
                scene.site.thaw(node);
            }
            saved
        } else {
            scene.stop();
            let saved = Saved::take(&path);
            self.deed.perform(&path);
            for node in NODES {
                scene.site.start(node);
            }
            saved
        };
        scene.receiver.guard();
        if self.is_running {
            scene.reload();
        }
        self.watch(&scene, &saved);
        let master = scene.wait_calm();
        scene.feed(2);
        scene.wait_delivered();
        if !self.is_running {
            scene.note_keepers();
        }
        scene.hand_over(&master);
        scene.judge();
    }

    /// Two nodes, and what the case needs.
    fn prepare(self, scene: &mut Scene) {
        if self.what == What::OlderSegment {
            scene.receiver.behave(Behaviour::HangUp);
            scene.site.start(NODES[0]);
            scene.feed(4);
            scene.stop();
        }
        scene.start();
        match self.what {
            What::OlderSegment => scene.feed(2),
            What::NewestSegment => {
                scene.feed(1);
                scene.wait_delivered();
                scene.receiver.behave(Behaviour::HangUp);
                scene.feed(4);
            }
            What::DeclinedFile | What::DeclinedFolder => {
                scene.feed_refused();
                scene.wait_delivered();
            }
            What::ForwardedSegment | What::Journal | What::Lane => {
                scene.feed(4);
                scene.wait_delivered();
            }
            What::Config
            | What::SecretKey
            | What::Authority
            | What::Token
            | What::Lock
            | What::Terms
            | What::Claim
            | What::NodeRecord
            | What::Claims
            | What::Nodes => {
                scene.feed(4);
            }
        }
    }

    fn is_of_declined(self) -> bool {
        matches!(self.what, What::DeclinedFile | What::DeclinedFolder)
    }

    fn path(self, scene: &Scene) -> PathBuf {
        let name = match self.what {
            What::Config => "edge.json",
            What::SecretKey => "secret.key",
            What::Authority => "ca.pem",
            What::Token => "console.token",
            What::Lock => "edge.lock",
            What::Terms => "edge.terms",
            What::Claim => "claims/1",
            What::NodeRecord => "nodes/b",
            What::NewestSegment | What::OlderSegment | What::ForwardedSegment => {
                "journal/readings/00000001-000001.seg"
            }
            What::DeclinedFile => "declined/00000001-000001.log",
            What::Claims => "claims",
            What::Nodes => "nodes",
            What::Journal => "journal",
            What::Lane => "journal/readings",
            What::DeclinedFolder => "declined",
        };
        scene.site.data().join(name)
    }

    /// What must come of it comes; what must be mended is mended.
    fn watch(self, scene: &Scene, saved: &Saved) {
        match self.then {
            No => {}
            Fine | Alerts(_) => {
                scene.gone.borrow_mut().extend(saved.numbers());
                scene.feed(4);
                if self.is_of_declined() {
                    // the store is still written
                    scene.feed_refused();
                }
                scene.wait_delivered();
                if let Alerts(condition) = self.then {
                    scene.wait_alert(condition);
                }
            }
            Shows(condition) => {
                scene.wait_condition(condition);
                scene.feed(4);
                Self::mend(scene, saved);
            }
            Waits(condition) => {
                scene.feed(4);
                if self.is_of_declined() {
                    scene.feed_refused();
                }
                scene.wait_condition(condition);
                Self::mend(scene, saved);
            }
            Stops(condition) => {
                for node in NODES {
                    scene.post_to(node);
                }
                if condition == FAILING {
                    scene.wait_condition(condition);
                } else {
                    scene.wait_condition_everywhere(condition);
                }
                if self.what == What::Terms {
                    assert!(!is_whole(&saved.path), "it is never remade");
                }
                Self::mend(scene, saved);
            }
        }
    }

    fn mend(scene: &Scene, saved: &Saved) {
        saved.put_back();
        thread::sleep(Duration::from_millis(50));
        scene.reload();
    }
}

impl Deed {
    fn perform(self, path: &Path) {
        let is_folder = path.is_dir();
        let open = || OpenOptions::new().write(true).open(path).expect("the file is there");
        let length = fs::metadata(path).expect("it is there").len();
        match (self, is_folder) {
            (Self::Halved, _) => open().set_len(length / 2).expect("it can be cut"),
            (Self::Emptied, false) => open().set_len(0).expect("it can be cut"),
            (Self::Emptied, true) => {
                fs::remove_dir_all(path).expect("it can be deleted");
                fs::create_dir(path).expect("it can be made");
            }
            (Self::Noise, _) => open().write_all_at(&noise(length), 0).expect("room"),
            (Self::Deleted, false) => fs::remove_file(path).expect("it can be deleted"),
            (Self::Deleted, true) => fs::remove_dir_all(path).expect("it can be deleted"),
            (Self::Swapped, false) => {
                fs::remove_file(path).expect("it can be deleted");
                fs::create_dir(path).expect("it can be made");
            }
            (Self::Swapped, true) => {
                fs::remove_dir_all(path).expect("it can be deleted");
                fs::write(path, "not a folder\n").expect("room");
            }
        }
    }
}

/// Whether a file begins as `edge.terms` does.
fn is_whole(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap_or_default();
    let head = bytes.get(..HEADER_BYTES).map(|head| HeaderOf::Terms.decode(head));
    matches!(head, Some(Header::Good(_)))
}

/// A segment that is gone for good is passed in the end, with an alert.
#[test]
fn a_deleted_segment_is_waited_for_and_then_passed() {
    if !is_long() {
        println!("skipped: it is waited for a minute; EDGE_LONG=1 does it");
        return;
    }
    let case = Case { what: What::OlderSegment, deed: Deed::Deleted, is_running: true, then: Fine };
    let mut scene = Scene::new(&Plan::default());
    case.prepare(&mut scene);
    let path = case.path(&scene);
    scene.gone.borrow_mut().extend(Saved::take(&path).numbers());
    case.deed.perform(&path);
    scene.receiver.guard();
    scene.reload();
    scene.wait_condition(SEGMENT);
    scene.feed(2);
    let passed = scene.receiver.wait(Duration::from_secs(2 * PATIENCE), |ledger| {
        (!ledger.alerts_of(DAMAGED).is_empty()).then_some(())
    });
    assert!(passed.is_some(), "{}", scene.report());
    scene.wait_delivered();
    let master = scene.wait_calm();
    scene.hand_over(&master);
    scene.judge();
}

/// The same bytes each time.
fn noise(length: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// What stood at a path: a file, or a folder's files.
struct Saved {
    path: PathBuf,
    is_folder: bool,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Saved {
    fn take(path: &Path) -> Self {
        let mut saved = Self { path: path.to_owned(), is_folder: path.is_dir(), files: Vec::new() };
        saved.add(path);
        saved
    }

    fn add(&mut self, path: &Path) {
        if !path.is_dir() {
            let bytes = fs::read(path).expect("the file can be read");
            self.files.push((path.to_owned(), bytes));
            return;
        }
        for entry in fs::read_dir(path).expect("the folder can be read") {
            self.add(&entry.expect("the folder can be read").path());
        }
    }

    /// The readings in it.
    fn numbers(&self) -> impl Iterator<Item = u64> {
        self.files.iter().flat_map(|(_, bytes)| numbers_in(bytes))
    }

    /// A folder that was made anew keeps what is in it.
    fn put_back(&self) {
        if self.path.is_dir() != self.is_folder {
            drop(fs::remove_file(&self.path).or_else(|_| fs::remove_dir_all(&self.path)));
        }
        for (path, bytes) in &self.files {
            if self.is_folder && path.exists() {
                continue;
            }
            fs::create_dir_all(path.parent().expect("a file in a folder")).expect("room");
            let aside = self.path.ancestors().nth(2).expect("deep enough").join("aside");
            fs::write(&aside, bytes).expect("room");
            fs::rename(aside, path).expect("it can take its place");
        }
    }
}
