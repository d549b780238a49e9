//! `edge-agent check --peer`: what a takeover rests on, proved between two hosts that run it at once.
//!
//! | what | how | what follows |
//! |---|---|---|
//! | disks | both say what they have mounted, and which kernel runs | a file system of one host, mounted by two, is destroyed |
//! | freshness | a page rewritten on one is looked for on the other | how late a standby sees a heartbeat |
//! | exclusion | one holds the lock, the other tries for it | whether a granted lock says anything |
//! | exclusive create | both create the same names at once | whether a term has one owner |
//! | hidden names | a name that was missed is created by the other | how long a segment may stay unseen |
//! | killed | a process that holds the lock is killed | how soon a lock comes free |
//! | slept through | one sleeps while the other claims, then writes late | whether an old master sees at its first look that it is superseded |
//!
//! # Invariants
//!
//! - E1: a running site is not disturbed: what is tried is tried on scratch files of our own, whose
//!   names begin with `.edge.peer` and which are deleted at the end.
//! - E2: hosts' clocks are not compared: each span is measured by one of them.
//! - E3: both say the same: what one finds is told to the other.

mod meeting;

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::Path;

use self::meeting::{Meeting, Side, pause};
use super::directory::{self, Root};
use super::fault::cannot;
use super::nodes::HostMark;
use super::probe::{Level, Probe};
use super::{file, mount};
use crate::edge::children;
use crate::engine::codec::CRC_32C;
use crate::engine::ident::ShareClass;
use crate::engine::share::ShareError;
use crate::limits::{
    HEARTBEAT_MS_DEFAULT, PEER_LOCK_MS_MAX, PEER_LOOK_MS, PEER_ROUNDS, PEER_SLEEP_MS,
    SEGMENT_HIDDEN_MS_MAX, SLOT_BYTES,
};
use crate::sys::clock::boottime_ms;
use crate::sys::lock::{TryLock, try_lock};
use crate::sys::process::kill;
use crate::sys::signals::Signal;

/// A span that did not end within its limit, as the other is told it.
const NEVER: u64 = u64::MAX;

/// Meets the other host and tells what is found, until one of them cannot go on.
pub fn prove(data_dir: &Path, mut tell: impl FnMut(Probe)) {
    if let Err(error) = try_prove(data_dir, &mut tell) {
        tell(Probe::new(Level::FailForNow, &format!("peer: {}", error.text)));
    }
}

fn try_prove(data_dir: &Path, tell: &mut impl FnMut(Probe)) -> Result<(), ShareError> {
    let (root, class) = directory::find(data_dir)?;
    let path = root.path.display();
    let mut meeting = Meeting::begin(&root, || {
        tell(pass(&format!(
            "waiting for another host: run edge-agent check --peer there, for {path}"
        )));
    })?;
    let mut proof = Proof { root: &root, meeting: &mut meeting, fails: false, tell };
    match proof.go(class, data_dir) {
        Ok(()) => meeting.end(),
        Err(error) => {
            meeting.give_up();
            Err(error)
        }
    }
}

fn pass(text: &str) -> Probe {
    Probe::new(Level::Pass, &format!("peer: {text}"))
}

/// What is tried between two hosts.
struct Proof<'a, 'b, T> {
    root: &'a Root,
    meeting: &'b mut Meeting<'a>,
    /// Whether something was found that must not be.
    fails: bool,
    tell: &'b mut T,
}

impl<T: FnMut(Probe)> Proof<'_, '_, T> {
    fn go(&mut self, class: ShareClass, data_dir: &Path) -> Result<(), ShareError> {
        let name = self.meeting.side().name();
        self.say(Level::Pass, &format!("two hosts have met, this is {name}"));
        let class = self.disks(class, data_dir)?;
        self.freshness()?;
        for holder in Side::BOTH {
            self.exclusion(holder)?;
        }
        self.creation()?;
        self.hidden_name()?;
        let mut freed_ms = 0;
        for holder in Side::BOTH {
            freed_ms = self.killed(holder)?.max(freed_ms);
        }
        for sleeper in Side::BOTH {
            self.slept_through(sleeper)?;
        }
        self.certify(class, freed_ms);
        Ok(())
    }

    fn say(&mut self, level: Level, text: &str) {
        self.fails |= level == Level::Fail;
        (self.tell)(Probe::new(level, &format!("peer: {text}")));
    }

    /// The class that holds for both.
    fn disks(&mut self, class: ShareClass, data_dir: &Path) -> Result<ShareClass, ShareError> {
        let boot = HostMark::of_this_host(data_dir, data_dir).boot;
        let own = u64::from(CRC_32C.checksum(boot.as_bytes()));
        let same_kernel = self.meeting.meet(own)? == own;
        let rank = |class| match class {
            ShareClass::Local => 0,
            ShareClass::Nfs4 => 1,
            ShareClass::Doubtful => 2,
        };
        let other = match self.meeting.meet(rank(class))? {
            0 => ShareClass::Local,
            1 => ShareClass::Nfs4,
            _ => ShareClass::Doubtful,
        };
        let kind =
            mount::of_path(&self.root.path).map_or_else(|_| "unknown".to_owned(), |it| it.kind);
        let here = format!("class {} here ({kind}), {} there", class.name(), other.name());
        match (class, other) {
            (ShareClass::Local, ShareClass::Local) if !same_kernel => self.say(
                Level::Fail,
                &format!(
                    "{here}: two hosts have one disk mounted, which destroys what is on it: \
                     let one of them serve it to the other"
                ),
            ),
            _ if class == other => self.say(Level::Pass, &here),
            _ => self.say(
                Level::Warn,
                &format!(
                    "{here}: nodes that see a share otherwise follow each other by silence: let \
                     the server mount its own share like the others"
                ),
            ),
        }
        Ok(if rank(class) >= rank(other) { class } else { other })
    }

    fn freshness(&mut self) -> Result<(), ShareError> {
        let mut times_ms = Vec::new();
        for _ in 0..PEER_ROUNDS {
            let begin_ms = boottime_ms();
            self.meeting.meet(0)?;
            times_ms.push(boottime_ms() - begin_ms);
        }
        times_ms.sort_unstable();
        let middle = times_ms[times_ms.len() / 2];
        let worst = times_ms[times_ms.len() - 1];
        let (middle, worst) =
            (middle.max(self.meeting.meet(middle)?), worst.max(self.meeting.meet(worst)?));
        let text =
            format!("freshness: a page is seen by the other in {middle} ms, {worst} ms at worst");
        if worst > u64::from(HEARTBEAT_MS_DEFAULT) {
            self.say(
                Level::Warn,
                &format!(
                    "{text}: raise ha.heartbeat_ms, ha.fence_ms and ha.seize_ms, \
                 or find what slows it"
                ),
            );
        } else {
            self.say(Level::Pass, &text);
        }
        Ok(())
    }

    fn exclusion(&mut self, holder: Side) -> Result<(), ShareError> {
        let name = holder.name();
        let (is_refused, freed_ms) = if self.meeting.side() == holder {
            let held = self.try_for_lock()?;
            self.meeting.meet(u64::from(held.is_some()))?;
            let is_refused = self.meeting.meet(0)? == 0;
            drop(held);
            self.meeting.meet(0)?;
            (is_refused, self.meeting.meet(0)?)
        } else {
            let is_held = self.meeting.meet(0)? == 1;
            let tried = self.try_for_lock()?;
            // without a holder nothing is refused
            let is_granted = tried.is_some() || !is_held;
            self.meeting.meet(u64::from(is_granted))?;
            drop(tried);
            self.meeting.meet(0)?;
            let freed_ms = self.wait_for_lock()?;
            self.meeting.meet(freed_ms)?;
            (!is_granted, freed_ms)
        };
        if !is_refused {
            self.say(
                Level::Fail,
                &format!(
                    "lock: granted to both hosts while {name} had it: mount with \
                 locks (no nolock, no nobrl), or nodes follow each other by silence alone"
                ),
            );
        } else if freed_ms == NEVER {
            self.say(
                Level::Warn,
                &format!(
                    "lock: refused while {name} had it, and for {} s after it was \
                 given up: nodes follow each other by silence",
                    PEER_LOCK_MS_MAX / 1_000
                ),
            );
        } else {
            self.say(
                Level::Pass,
                &format!(
                    "lock: refused while {name} had it, granted within \
                 {freed_ms} ms of its end"
                ),
            );
        }
        Ok(())
    }

    fn creation(&mut self) -> Result<(), ShareError> {
        let (mut twice, mut never) = (0, 0);
        for round in 0..PEER_ROUNDS {
            let path = self.meeting.scratch(&format!("claim.{round}"));
            self.meeting.meet(0)?;
            let won = u64::from(self.create(&path)?);
            match won + self.meeting.meet(won)? {
                1 => {}
                0 => never += 1,
                _ => twice += 1,
            }
        }
        if twice + never > 0 {
            self.say(
                Level::Fail,
                &format!(
                    "create: of {PEER_ROUNDS} names that both created, {twice} were \
                 given to both and {never} to none: this share cannot be used"
                ),
            );
        } else {
            self.say(
                Level::Pass,
                &format!(
                    "create: {PEER_ROUNDS} names that both created at once were each \
                 given to one"
                ),
            );
        }
        Ok(())
    }

    /// A name that was looked for in vain, which the second host's client may remember.
    fn hidden_name(&mut self) -> Result<(), ShareError> {
        let path = self.meeting.scratch("name");
        let hidden_ms = if self.meeting.side() == Side::First {
            self.meeting.meet(0)?;
            self.create(&path)?;
            self.meeting.meet(0)?;
            self.meeting.meet(0)?
        } else {
            let _ = path.metadata();
            self.meeting.meet(0)?;
            self.meeting.meet(0)?;
            let hidden_ms = wait_ms(SEGMENT_HIDDEN_MS_MAX, || Ok(path.metadata().is_ok()))?;
            self.meeting.meet(hidden_ms)?;
            hidden_ms
        };
        if hidden_ms == NEVER {
            self.say(
                Level::Fail,
                &format!(
                    "names: a new one stayed unseen for {} s: mount with \
                 lookupcache=positive or a shorter acdirmax",
                    SEGMENT_HIDDEN_MS_MAX / 1_000
                ),
            );
        } else {
            self.say(
                Level::Pass,
                &format!(
                    "names: a new one that was looked for before is seen after \
                 {hidden_ms} ms"
                ),
            );
        }
        Ok(())
    }

    /// How long the lock of a killed process stays taken.
    fn killed(&mut self, holder: Side) -> Result<u64, ShareError> {
        let freed_ms = if self.meeting.side() == holder {
            let path = self.lock_path();
            let mut child = children::spawn("edge-check", &[], |mut port| {
                let held = self.try_for_lock().ok().flatten();
                let _ = port.send(&held.is_some(), &[]);
                pause(u32::MAX);
            })
            .map_err(|error| cannot("start a process for", &path, &error))?;
            let is_held = loop {
                match child.link.receive::<bool>() {
                    Ok(Some(is_held)) => break is_held,
                    Ok(None) => pause(PEER_LOOK_MS),
                    Err(_) => break false,
                }
            };
            self.meeting.meet(u64::from(is_held))?;
            kill(child.pid, Signal::Kill)
                .map_err(|error| cannot("end the holder of", &path, &error))?;
            self.meeting.meet(0)?;
            self.meeting.meet(0)?
        } else {
            let is_held = self.meeting.meet(0)? == 1;
            self.meeting.meet(0)?;
            let freed_ms = if is_held { self.wait_for_lock()? } else { NEVER };
            self.meeting.meet(freed_ms)?;
            freed_ms
        };
        let name = holder.name();
        if freed_ms == NEVER {
            self.say(
                Level::Warn,
                &format!(
                    "killed: the lock of a killed process of {name} stays taken: \
                 a killed master is followed after ha.seize_ms of silence"
                ),
            );
        } else {
            self.say(
                Level::Pass,
                &format!(
                    "killed: the lock of a killed process of {name} comes free \
                 within {freed_ms} ms"
                ),
            );
        }
        Ok(freed_ms)
    }

    /// The sleeper touches nothing while the other claims, then writes its own page, as a master does
    /// that was held up, and looks.
    fn slept_through(&mut self, sleeper: Side) -> Result<(), ShareError> {
        const SEEN: u64 = 1;
        const REFUSED: u64 = 2;
        let claim = self.meeting.scratch(&format!("term.{sleeper:?}"));
        let slots = self.meeting.scratch(&format!("slots.{sleeper:?}"));
        if self.meeting.side() == sleeper {
            self.write_slot(&slots, 0)?;
        }
        self.meeting.meet(0)?;
        let begin_ms = boottime_ms();
        let (found, is_intact) = if self.meeting.side() == sleeper {
            pause(PEER_SLEEP_MS);
            self.write_slot(&slots, 0)?;
            let is_seen = self.read_slot(&slots, 1)?;
            let is_refused = !self.create(&claim)?;
            let found = if is_seen { SEEN } else { 0 } | if is_refused { REFUSED } else { 0 };
            self.meeting.meet(found)?;
            (found, self.meeting.meet(0)? == 1)
        } else {
            pause(PEER_SLEEP_MS / 5);
            self.create(&claim)?;
            self.write_slot(&slots, 1)?;
            let is_late = boottime_ms() > begin_ms + u64::from(PEER_SLEEP_MS);
            let found = self.meeting.meet(0)?;
            let is_intact = is_late || self.read_slot(&slots, 1)?;
            self.meeting.meet(u64::from(is_intact))?;
            (if is_late { SEEN | REFUSED } else { found }, is_intact)
        };
        let name = sleeper.name();
        if found == SEEN | REFUSED && is_intact {
            self.say(
                Level::Pass,
                &format!(
                    "late: {name} slept through a takeover, saw it at its first look, \
                 and its late write harmed nothing"
                ),
            );
        } else {
            let what = match (found & SEEN, found & REFUSED) {
                (0, _) => "did not see the new master's slot",
                (_, 0) => "was given the new master's number too",
                _ => "destroyed the new master's slot",
            };
            self.say(
                Level::Fail,
                &format!(
                    "late: {name} slept through a takeover and {what}: this share \
                 cannot be used"
                ),
            );
        }
        Ok(())
    }

    fn certify(&mut self, class: ShareClass, freed_ms: u64) {
        let name = class.name();
        if self.fails {
            self.say(
                Level::Fail,
                &format!("share class {name} does not hold between these hosts: see above"),
            );
            return;
        }
        let follows = match class {
            _ if freed_ms == NEVER => "every takeover waits for ha.seize_ms of silence".to_owned(),
            ShareClass::Local | ShareClass::Nfs4 => {
                format!("a killed master is followed after ha.poll_ms and {freed_ms} ms")
            }
            ShareClass::Doubtful => format!(
                "a killed master is followed after three heartbeats, ha.poll_ms and {freed_ms} ms"
            ),
        };
        self.say(
            Level::Pass,
            &format!("share class {name} holds between these two hosts: {follows}"),
        );
    }

    fn lock_path(&self) -> std::path::PathBuf {
        self.meeting.scratch("lock")
    }

    /// The lock, in a file that is opened for nothing else; given up by closing it.
    fn try_for_lock(&self) -> Result<Option<File>, ShareError> {
        let path = self.lock_path();
        let file =
            self.root.open_or_create(&path).map_err(|error| cannot("open", &path, &error))?;
        match try_lock(file.as_fd(), 0) {
            Ok(TryLock::Held) => Ok(Some(file)),
            Ok(TryLock::Busy) => Ok(None),
            Err(error) => Err(cannot("lock", &path, &error)),
        }
    }

    fn wait_for_lock(&self) -> Result<u64, ShareError> {
        wait_ms(PEER_LOCK_MS_MAX, || Ok(self.try_for_lock()?.is_some()))
    }

    /// Creates exclusively; `false`: it is there.
    fn create(&self, path: &Path) -> Result<bool, ShareError> {
        match self.root.create_new(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(cannot("create", path, &error)),
        }
    }

    fn write_slot(&self, path: &Path, number: usize) -> Result<(), ShareError> {
        let written = self.root.open_or_create(path).and_then(|slots| {
            file::write_at(&slots, &[0x5a; SLOT_BYTES], (number * SLOT_BYTES) as u64)?;
            file::sync(&slots)
        });
        written.map_err(|error| cannot("write", path, &error))
    }

    fn read_slot(&self, path: &Path, number: usize) -> Result<bool, ShareError> {
        let mut slot = [0; SLOT_BYTES];
        let read = self.root.open(path);
        let read = read.and_then(|it| file::read_at(&it, &mut slot, (number * SLOT_BYTES) as u64));
        match read {
            Ok(_) => Ok(slot == [0x5a; SLOT_BYTES]),
            Err(error) => Err(cannot("read", path, &error)),
        }
    }
}

/// How long it takes until something is so; [`NEVER`]: not within the limit.
fn wait_ms(
    limit_ms: u32,
    mut is_so: impl FnMut() -> Result<bool, ShareError>,
) -> Result<u64, ShareError> {
    let begin_ms = boottime_ms();
    loop {
        let waited_ms = boottime_ms() - begin_ms;
        if is_so()? {
            return Ok(waited_ms);
        }
        if waited_ms >= u64::from(limit_ms) {
            return Ok(NEVER);
        }
        pause(PEER_LOOK_MS);
    }
}
