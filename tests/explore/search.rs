//! All states that can be reached in so many actions, each once.
//!
//! Depth first, with the deepest look at each state remembered: a state that is met again nearer to
//! the beginning is gone through again. Which states are counted does not depend on the order.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::site::{Action, Site};

/// Of so many states at the depth's end, one is left to itself, and must come to rest.
const RESTS_ONE_IN: u128 = 256;
/// So long it may take.
const REST_MS_MAX: u64 = 40_000;

/// What was found.
#[derive(Default)]
pub(crate) struct Search {
    /// With how many actions left each state was gone through.
    seen: HashMap<u128, u8>,
    path: Vec<Action>,
    /// States that were left to themselves.
    pub(crate) rested: u64,
    /// The actions that led to a broken promise, and which it is.
    pub(crate) broken: Option<(Vec<Action>, String)>,
}

impl Search {
    /// Goes through all states of a site that can be reached in so many actions.
    pub(crate) fn of(site: &Site, depth: u8) -> Self {
        let mut search = Self::default();
        search.go(site, depth);
        search
    }

    /// How many different ones.
    pub(crate) fn states(&self) -> usize {
        self.seen.len()
    }

    fn go(&mut self, site: &Site, left: u8) {
        let mark = fingerprint(site);
        if self.seen.get(&mark).is_some_and(|before| *before >= left) {
            return;
        }
        let is_new = self.seen.insert(mark, left).is_none();
        if let Some(why) = &site.broken {
            self.broken = Some((self.path.clone(), why.clone()));
            return;
        }
        if left == 0 {
            if is_new && mark.is_multiple_of(RESTS_ONE_IN) {
                self.rest(site);
            }
            return;
        }
        for action in site.choices() {
            let mut next = site.clone();
            next.take(action);
            self.path.push(action);
            self.go(&next, left - 1);
            self.path.pop();
            if self.broken.is_some() {
                return;
            }
        }
    }

    fn rest(&mut self, site: &Site) {
        self.rested += 1;
        let mut site = site.clone();
        site.heal();
        if !site.run_until(REST_MS_MAX, Site::is_well) {
            let why = site.broken.clone();
            let why = why.unwrap_or_else(|| format!("no rest: {}", site.tell_state()));
            self.broken = Some((self.path.clone(), why));
        }
    }
}

/// Two hashes at once.
#[derive(Default)]
struct Both(DefaultHasher, DefaultHasher);

impl Hasher for Both {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
        self.1.write(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

/// 128 bits of a state: two different states with the same are not to be expected.
fn fingerprint(site: &Site) -> u128 {
    let mut hasher = Both::default();
    hasher.1.write_u8(1);
    site.hash(&mut hasher);
    u128::from(hasher.0.finish()) << 64 | u128::from(hasher.1.finish())
}

/// The history that led somewhere, a line an action.
pub(crate) fn tell(site: &Site, path: &[Action]) -> String {
    let mut site = site.clone();
    let begin_ms = site.now_ms;
    let mut text = format!("        {}\n", site.tell_state());
    for action in path {
        site.take(*action);
        let at_ms = site.now_ms - begin_ms;
        let (action, state) = (format!("{action:?}"), site.tell_state());
        writeln!(text, "{at_ms:>6}  {action:<16} {state}").expect("memory");
    }
    text
}
