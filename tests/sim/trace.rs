//! What happened: a hash of everything, and lines for people on demand.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The history of one seed.
pub(crate) struct Trace {
    hasher: DefaultHasher,
    lines: Option<String>,
}

impl Trace {
    /// `told`: lines are kept.
    pub(crate) fn new(told: bool) -> Self {
        Self { hasher: DefaultHasher::new(), lines: told.then(String::new) }
    }

    /// Something happened at a node, of this kind.
    pub(crate) fn note(&mut self, now_ms: u64, place: usize, kind: &str, number: u64) {
        (now_ms, place, kind, number).hash(&mut self.hasher);
    }

    /// A line for people.
    pub(crate) fn say(
        &mut self,
        now_ms: u64,
        who: impl std::fmt::Display,
        text: impl FnOnce() -> String,
    ) {
        if let Some(lines) = &mut self.lines {
            let (seconds, ms) = (now_ms / 1_000, now_ms % 1_000);
            writeln!(lines, "{seconds:>4}.{ms:03}  {who:<6} {}", text()).expect("memory");
        }
    }

    /// The same for the same history.
    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// The lines, if they were kept.
    pub(crate) fn lines(&self) -> &str {
        self.lines.as_deref().unwrap_or("")
    }
}
