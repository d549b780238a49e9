//! What the share was told to do wrong, and the operations that it holds back.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A mount of the share.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

impl Side {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::A, Self::B];

    /// Its place in a pair.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// Kinds of operation, by what a server sees of them. Closing is none: it is never held up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    /// A name looked up, a file looked at.
    Look,
    /// A folder listed.
    List,
    /// A file opened.
    Open,
    /// A file created.
    Create,
    /// Bytes read.
    Read,
    /// Bytes written, a file cut.
    Write,
    /// A file or folder synced.
    Sync,
    /// A lock tried for or given up.
    Lock,
    /// A name made, moved or deleted, or a file's mode changed.
    Alter,
}

/// What happens to an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    /// It is done and answered when the fault is lifted.
    Hang,
    /// It is not done; this error number is the answer.
    Fail(i32),
    /// It is done and answered so much later.
    Late(Duration),
}

/// A fault that can be imposed on a mount.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    kinds: Vec<Kind>,
    below: &'static str,
    once: bool,
    deed: Deed,
}

impl Fault {
    /// Of every operation.
    pub(crate) fn of_all(deed: Deed) -> Self {
        Self::of(&[], deed)
    }

    /// Of these kinds of operation.
    pub(crate) fn of(kinds: &[Kind], deed: Deed) -> Self {
        Self { kinds: kinds.to_vec(), below: "", once: false, deed }
    }

    /// Only of what lies below this path of the data directory, or begins like it.
    pub(crate) fn below(mut self, path: &'static str) -> Self {
        self.below = path;
        self
    }

    /// Only the first operation of each kind on each file or folder of the data directory's top
    /// level, and all that lies below it.
    pub(crate) fn once(mut self) -> Self {
        self.once = true;
        self
    }

    fn is_for(&self, kind: Kind, path: &Path) -> bool {
        let kind_is = self.kinds.is_empty() || self.kinds.contains(&kind);
        kind_is && path.to_string_lossy().starts_with(self.below)
    }
}

fn top(path: &Path) -> PathBuf {
    path.iter().take(1).collect()
}

struct Imposed {
    number: u64,
    side: Side,
    fault: Fault,
    /// What has had it, of a fault that is had once.
    done: HashSet<(Kind, PathBuf)>,
}

/// An operation that is held back.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Whose it is.
    pub(crate) side: Side,
    /// What it is,
    pub(crate) kind: Kind,
    /// and of what.
    pub(crate) path: PathBuf,
    number: u64,
    fault: u64,
    due: Option<Instant>,
    burials: u64,
}

/// What is to be done with an operation.
pub(crate) enum Verdict {
    /// It is done.
    Pass,
    /// It is refused with this error number.
    Fail(i32),
    /// It waits.
    Hold(Held),
}

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Woken {
    /// The operation is to be done now.
    Due,
    /// Its host was lost: whoever waits for the answer is let go. It waits on.
    Buried,
    /// The share ends.
    Ended,
}

#[derive(Default)]
struct State {
    count: u64,
    imposed: Vec<Imposed>,
    held: Vec<Held>,
    burials: [u64; 2],
    ended: bool,
}

/// Lets operations pass, or not.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Imposes a fault on a mount, besides those that are there; the newest one counts.
    pub(crate) fn impose(&self, side: Side, fault: Fault) {
        let mut state = self.state();
        state.count += 1;
        let number = state.count;
        state.imposed.push(Imposed { number, side, fault, done: HashSet::new() });
    }

    /// Lifts all faults of a mount: what hung is done now, what is late comes as late as ever.
    pub(crate) fn heal(&self, side: Side) {
        self.state().imposed.retain(|imposed| imposed.side != side);
        self.changed.notify_all();
    }

    /// The host of a mount is lost: whoever waits for an answer is let go with an error, but what
    /// is held back is done in its time.
    pub(crate) fn bury(&self, side: Side) {
        self.state().burials[side.index()] += 1;
        self.changed.notify_all();
    }

    /// Ends it: all that is held back is refused and never done.
    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// What is held back.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.state().held.clone()
    }

    /// Judges an operation.
    pub(crate) fn judge(&self, side: Side, kind: Kind, path: &Path) -> Verdict {
        let mut state = self.state();
        if state.ended {
            return Verdict::Fail(libc::EIO);
        }
        let hits = |imposed: &mut Imposed| {
            let is_hit = imposed.side == side && imposed.fault.is_for(kind, path);
            is_hit && (!imposed.fault.once || imposed.done.insert((kind, top(path))))
        };
        let mut newest_first = state.imposed.iter_mut().rev();
        let hit = newest_first.find_map(|imposed| hits(imposed).then_some(imposed));
        let Some(hit) = hit else { return Verdict::Pass };
        let due = match hit.fault.deed {
            Deed::Fail(errno) => return Verdict::Fail(errno),
            Deed::Hang => None,
            Deed::Late(time) => Some(Instant::now() + time),
        };
        let fault = hit.number;
        state.count += 1;
        let (number, burials) = (state.count, state.burials[side.index()]);
        let held = Held { side, kind, path: path.to_owned(), number, fault, due, burials };
        state.held.push(held.clone());
        Verdict::Hold(held)
    }

    /// Waits until something is to be done about an operation that is held back.
    pub(crate) fn wait(&self, held: &mut Held) -> Woken {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let is_due = match held.due {
                Some(due) => due <= now,
                None => !state.imposed.iter().any(|imposed| imposed.number == held.fault),
            };
            let woken = if state.ended {
                Some(Woken::Ended)
            } else if is_due {
                Some(Woken::Due)
            } else {
                None
            };
            if let Some(woken) = woken {
                state.held.retain(|other| other.number != held.number);
                return woken;
            }
            let burials = state.burials[held.side.index()];
            if burials > held.burials {
                held.burials = burials;
                return Woken::Buried;
            }
            let left = held.due.map_or(Duration::from_secs(60), |due| due - now);
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
