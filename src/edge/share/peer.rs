//! `edge-agent check --peer`: what a takeover rests on, proved between two hosts that run it at once.
//!
//! | what | how | what follows |
//! |---|---|---|
//! | classes | both say what they have mounted | whether a granted lock is believed at once |
//! | freshness | a page that one rewrites is answered in a page that the other rewrites | how late a superseded master sees it, at most |
//! | exclusion | one holds the lock, the other tries for it | whether a granted lock says anything |
//! | exclusive create | both race through the same names | whether a term has one owner |
//! | hidden names | a name that one missed is created by the other | how long a segment may stay unseen |
//! | killed | a process that holds the lock is killed | how soon a lock comes free |
//! | slept through | one does nothing while the other claims, then writes late | whether an old master sees at its first look that it is superseded |
//!
//! # Invariants
//!
//! - E1: a running site is not disturbed: what is tried is tried on scratch files of our own, whose
//!   names begin with `.edge.peer` and which are deleted at the end.
//! - E2: hosts' clocks are not compared: each span is measured by one of them, from before it begins
//!   until the other was heard to have seen its end. So every span that is told is an upper limit.
//! - E3: both say the same: what one finds is told to the other, and both judge by the same numbers.
//! - E4: what was not tried, or came to no end, never counts as passed.
//!
//! It is not for a disk that two hosts have mounted, each by itself: there neither sees the other,
//! and nobody is met. That is said while one waits on a file system of this host alone.

mod locks;
mod meeting;
mod names;
mod page;
mod pages;

use std::io::ErrorKind;
use std::path::Path;

use self::meeting::{Meeting, NEVER};
use self::page::Side;
use super::directory::{self, Root};
use super::fault::cannot;
use super::mount;
use super::probe::Level;
use crate::edge::config::Ha;
use crate::engine::ident::ShareClass;
use crate::engine::share::ShareError;
use crate::sys::clock::boottime_ms;

/// What is told of a meeting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// What was found, and how bad it is.
    Found(Level, String),
    /// The other host is there: from now on nothing takes long.
    Met,
    /// All was said.
    Over,
}

/// What was found, and how bad it is.
type Finding = (Level, String);

/// Meets the other host and tells what is found, until one of them cannot go on. `ha` has the times
/// of this host's configuration.
pub fn prove(data_dir: &Path, ha: &Ha, mut tell: impl FnMut(Told)) {
    if let Err(error) = try_prove(data_dir, ha, &mut tell) {
        tell(found(Level::FailForNow, &error.text));
    }
    tell(Told::Over);
}

fn try_prove(data_dir: &Path, ha: &Ha, tell: &mut impl FnMut(Told)) -> Result<(), ShareError> {
    let (root, class) = directory::find(data_dir)?;
    let path = root.path.display();
    let kind = mount::of_path(&root.path).map_or_else(|_| "unknown".to_owned(), |it| it.kind);
    let mut meeting = Meeting::begin(&root, || {
        if class == ShareClass::Local {
            tell(found(Level::Warn, &alone_on(&kind)));
        }
        let text =
            format!("waiting for another host: run edge-agent check --peer there, for {path}");
        tell(found(Level::Pass, &text));
    })?;
    tell(Told::Met);
    let mut proof = Proof { root: &root, meeting: &mut meeting, worst: Level::Pass, tell };
    match proof.go(class, &kind, ha) {
        Ok(()) => {
            if let Err(error) = meeting.end() {
                let text = format!("{}: delete .edge.peer* if it stays", error.text);
                tell(found(Level::Warn, &text));
            }
            Ok(())
        }
        Err(error) => {
            meeting.give_up();
            Err(error)
        }
    }
}

fn alone_on(kind: &str) -> String {
    format!(
        "{kind} is a file system of this host alone: another host that has the same disk mounted is \
         never met here, and destroys what is on it: let one of them serve it to the other"
    )
}

fn found(level: Level, text: &str) -> Told {
    Told::Found(level, format!("peer: {text}"))
}

/// What is tried between two hosts.
struct Proof<'a, 'b, T> {
    root: &'a Root,
    meeting: &'b mut Meeting<'a>,
    /// Of all that was found.
    worst: Level,
    tell: &'b mut T,
}

impl<T: FnMut(Told)> Proof<'_, '_, T> {
    fn go(&mut self, class: ShareClass, kind: &str, ha: &Ha) -> Result<(), ShareError> {
        let name = self.meeting.side().name();
        self.say((Level::Pass, format!("two hosts have met, this is {name}")));
        let other = class_of(self.meeting.meet(rank(class))?);
        self.say(judge_classes(class, kind, other));
        self.freshness(ha)?;
        let mut freed_ms = 0;
        let mut excludes = true;
        for holder in Side::BOTH {
            let exclusion = self.exclusion(holder)?;
            freed_ms = exclusion.freed_ms.max(freed_ms);
            excludes &= exclusion.excludes;
        }
        self.creation()?;
        for creator in Side::BOTH {
            self.hidden_name(creator)?;
        }
        // where locks exclude nobody, who is granted one learns nothing
        if excludes {
            for holder in Side::BOTH {
                freed_ms = self.killed(holder)?.max(freed_ms);
            }
        }
        for sleeper in Side::BOTH {
            self.slept_through(sleeper)?;
        }
        self.say(certify(self.worst, [class, other], freed_ms));
        Ok(())
    }

    fn say(&mut self, (level, text): Finding) {
        self.worst = self.worst.max(level);
        (self.tell)(found(level, &text));
    }

    /// How long it takes until the other host finds what one does to be so, in ms, at most (E2);
    /// [`NEVER`]: not within the limit.
    fn span(
        &mut self,
        doer: Side,
        limit_ms: u32,
        deed: impl FnOnce() -> Result<(), ShareError>,
        is_so: impl FnMut() -> Result<bool, ShareError>,
    ) -> Result<u64, ShareError> {
        let begin_ms = boottime_ms();
        if self.meeting.side() == doer {
            deed()?;
            self.meeting.meet(0)?;
            let span_ms = match self.meeting.meet(0)? {
                NEVER => NEVER,
                _ => boottime_ms() - begin_ms,
            };
            self.meeting.tell(doer, span_ms)
        } else {
            self.meeting.meet(0)?;
            let waited_ms = self.meeting.wait(limit_ms, is_so)?;
            self.meeting.meet(waited_ms)?;
            self.meeting.tell(doer, 0)
        }
    }
}

/// Creates exclusively; `false`: it is there.
fn create(root: &Root, path: &Path) -> Result<bool, ShareError> {
    match root.create_new(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(cannot("create", path, &error)),
    }
}

/// A class, as the other host is told it.
const fn rank(class: ShareClass) -> u64 {
    match class {
        ShareClass::Local => 0,
        ShareClass::Nfs4 => 1,
        ShareClass::Doubtful => 2,
    }
}

const fn class_of(rank: u64) -> ShareClass {
    match rank {
        0 => ShareClass::Local,
        1 => ShareClass::Nfs4,
        _ => ShareClass::Doubtful,
    }
}

fn judge_classes(class: ShareClass, kind: &str, other: ShareClass) -> Finding {
    let here = format!("class {} here ({kind}), {} there", class.name(), other.name());
    if class == other {
        return (Level::Pass, here);
    }
    let text = format!(
        "{here}: nodes that see a share otherwise believe a lock only after three heartbeats of \
         silence: let the server mount its own share like the others"
    );
    (Level::Warn, text)
}

/// What follows from all that was found. Of two classes the lesser one holds.
fn certify(worst: Level, classes: [ShareClass; 2], freed_ms: u64) -> Finding {
    let class = class_of(rank(classes[0]).max(rank(classes[1])));
    let name = class.name();
    match worst {
        Level::Fail => {
            let text = format!("share class {name} does not hold between these hosts: see above");
            return (Level::Fail, text);
        }
        Level::FailForNow => {
            let text =
                format!("share class {name} was not shown to hold: see above, and run it again");
            return (Level::FailForNow, text);
        }
        Level::Pass | Level::Warn => {}
    }
    // as the election has it: `engine::election`
    let by_silence = classes[0] != classes[1] || class == ShareClass::Doubtful;
    let follows = match (freed_ms, by_silence) {
        (NEVER, _) => "every takeover waits for ha.seize_ms of silence".to_owned(),
        (_, false) => {
            format!("a killed master is followed after ha.poll_ms and at most {freed_ms} ms")
        }
        (_, true) => format!(
            "a killed master is followed after three heartbeats of silence, ha.poll_ms and at most \
             {freed_ms} ms"
        ),
    };
    (Level::Pass, format!("share class {name} holds between these two hosts: {follows}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_told_and_judged() {
        use ShareClass::{Doubtful, Local, Nfs4};
        for (class, other, level) in [
            (Local, Local, Level::Pass),
            (Local, Nfs4, Level::Warn),
            (Nfs4, Nfs4, Level::Pass),
            (Doubtful, Nfs4, Level::Warn),
        ] {
            assert_eq!(class_of(rank(class)), class);
            let (found, text) = judge_classes(class, "kind", other);
            assert_eq!(found, level, "{text}");
        }
    }

    #[test]
    fn the_certificate_promises_what_the_election_does() {
        use ShareClass::{Doubtful, Local, Nfs4};
        const SOON: &str = "after ha.poll_ms and at most 30 ms";
        const SILENCE: &str = "after three heartbeats of silence, ha.poll_ms and at most 30 ms";
        let never = "every takeover waits for ha.seize_ms";
        for (worst, classes, freed_ms, level, part) in [
            (Level::Pass, [Local, Local], 30, Level::Pass, SOON),
            (Level::Warn, [Nfs4, Nfs4], 30, Level::Pass, SOON),
            (Level::Warn, [Local, Nfs4], 30, Level::Pass, SILENCE),
            (Level::Pass, [Doubtful, Doubtful], 30, Level::Pass, SILENCE),
            (Level::Warn, [Nfs4, Nfs4], NEVER, Level::Pass, never),
            (Level::FailForNow, [Nfs4, Nfs4], 30, Level::FailForNow, "run it again"),
            (Level::Fail, [Nfs4, Nfs4], 30, Level::Fail, "does not hold"),
        ] {
            let (found, text) = certify(worst, classes, freed_ms);
            assert_eq!(found, level, "E4: {text}");
            assert!(text.contains(part), "{part} in {text}");
            let is_certified = text.contains("holds between these two hosts");
            assert_eq!(is_certified, level == Level::Pass, "E4: {text}");
        }
    }
}
