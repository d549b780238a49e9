//! Where two hosts meet on a share, and go on step by step.
//!
//! `.edge.peer` has a page for each of the two. A page is rewritten in place by its host alone and
//! read by the other through a fresh open, as slots are: magic, nonce, the other's nonce, step, the
//! values of this step and the one before, a count of beats, CRC-32C.
//!
//! # Invariants
//!
//! - M1: whoever made the file is the first host. Its page changes every [`PEER_BEAT_MS`] from then
//!   on, whatever it waits for; a file whose first page stands still for [`PEER_DEAD_MS`], or says
//!   that its host has ended, was left behind, and is deleted. It is looked at once more right
//!   before: no share can do both at once.
//! - M2: two hosts, no more: the first names the other's nonce, and a third finds another's there.
//! - M3: who waits rewrites its page every [`PEER_BEAT_MS`]: an NFS client takes what it has cached for
//!   new as long as the file's change attribute is the one of its own last write, and two writes
//!   within a tick of the server's clock have the same.
//! - M4: nobody begins step n + 1 before the other has begun step n, so the values of two steps are
//!   enough, and both know what either found.
//! - M5: who writes its page looks first whose meeting the file is: one that was deleted by mistake
//!   and made anew by others is left alone.
//! - M6: who gives up says so, and takes its meeting's files away, as far as the share lets it.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::super::directory::Root;
use super::super::fault::{cannot, missing};
use super::super::file;
use super::page::{ENDED, Page, Side, read_page};
use crate::engine::share::ShareError;
use crate::limits::{
    PEER_BEAT_MS, PEER_DEAD_MS, PEER_LOOK_MS, PEER_SILENT_MS_MAX, PEER_STEP_MS_MAX,
    PEER_WAIT_MS_MAX, SLOT_BYTES,
};
use crate::sys::clock::boottime_ms;
use crate::sys::random::random_u64;

/// A span that did not end within its limit, as the other is told it.
pub(super) const NEVER: u64 = u64::MAX;

/// Two hosts, as one of them sees it.
pub(super) struct Meeting<'a> {
    root: &'a Root,
    side: Side,
    own: Page,
    /// When we wrote our page last.
    shown_ms: u64,
    /// The other's page as it was seen last,
    there: Page,
    /// and when that was new.
    heard_ms: u64,
}

impl<'a> Meeting<'a> {
    /// Waits until another host is there; `waiting` is called once if that takes time.
    pub(super) fn begin(root: &'a Root, waiting: impl FnOnce()) -> Result<Self, ShareError> {
        let nonce = random_u64().map_err(|error| cannot("meet at", &path_in(root), &error))?;
        let own = Page { nonce: nonce.max(1), ..Page::default() };
        let there = Page::default();
        let mut meeting = Self { root, side: Side::First, own, shown_ms: 0, there, heard_ms: 0 };
        let end_ms = boottime_ms() + u64::from(PEER_WAIT_MS_MAX);
        while boottime_ms() < end_ms {
            if meeting.make()? {
                waiting();
                if let Err(error) = meeting.wait_for_second(end_ms) {
                    meeting.delete_own();
                    return Err(error);
                }
                return Ok(meeting);
            }
            if let Some(first) = meeting.watch_first()? {
                meeting.join(first)?;
                return Ok(meeting);
            }
        }
        Err(missing(format_args!("share: .edge.peer comes and goes: another host is at it")))
    }

    /// Which host we are.
    pub(super) const fn side(&self) -> Side {
        self.side
    }

    /// The nonce of the first host, which names the files of this meeting.
    const fn nonce(&self) -> u64 {
        match self.side {
            Side::First => self.own.nonce,
            Side::Second => self.own.other,
        }
    }

    /// A scratch file of this meeting.
    pub(super) fn scratch(&self, what: &str) -> PathBuf {
        self.root.path.join(format!("{}{what}", self.prefix()))
    }

    fn prefix(&self) -> String {
        format!(".edge.peer.{:016x}.", self.nonce())
    }

    /// Begins the next step with a value, waits until the other has begun it, and gives its value.
    pub(super) fn meet(&mut self, value: u64) -> Result<u64, ShareError> {
        self.own.step += 1;
        let (step, slot) = (self.own.step, (self.own.step % 2) as usize);
        self.own.values[slot] = value;
        self.publish()?;
        let end_ms = boottime_ms() + u64::from(PEER_STEP_MS_MAX);
        while boottime_ms() < end_ms {
            if let Some(page) = self.listen()?.filter(|page| page.step >= step) {
                return Ok(page.values[slot]);
            }
            self.beat()?;
        }
        let (name, seconds) = (self.side.other().name(), PEER_STEP_MS_MAX / 1_000);
        Err(missing(format_args!("share: {name} is there, but did not go on for {seconds} s")))
    }

    /// One host tells the other something; both go on with it.
    pub(super) fn tell(&mut self, by: Side, value: u64) -> Result<u64, ShareError> {
        if self.side == by {
            self.meet(value)?;
            Ok(value)
        } else {
            self.meet(0)
        }
    }

    /// How long it takes until something is so, in ms; [`NEVER`]: not within the limit.
    pub(super) fn wait(
        &mut self,
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
            if self.beat()? {
                self.listen()?;
            }
        }
    }

    /// M1: shows that we are there, if that is due; `true`: it was.
    pub(super) fn show(&mut self) -> Result<bool, ShareError> {
        let is_due = boottime_ms() >= self.shown_ms + u64::from(PEER_BEAT_MS);
        if is_due {
            self.own.beat += 1;
            self.publish()?;
        }
        Ok(is_due)
    }

    /// Both are done: deletes the files of this meeting, and what earlier ones left behind.
    pub(super) fn end(mut self) -> Result<(), ShareError> {
        let ended = match self.side {
            Side::First => self.meet(0).and_then(|_| self.delete_all()),
            Side::Second => self.delete_scratch().and_then(|()| {
                self.own.step += 1;
                self.publish()
            }),
        };
        if ended.is_err() {
            self.give_up();
        }
        ended
    }

    /// M6: tells the other that there is nothing to wait for.
    pub(super) fn give_up(mut self) {
        self.own.step = ENDED;
        // where one of these fails, the share does not let us, and why was said before
        let _ = self.publish();
        let _ = self.delete_scratch();
        let end_ms = boottime_ms() + u64::from(PEER_DEAD_MS);
        // the other, if it lives, sees it, and deletes the file
        while self.there.step != ENDED && self.is_ours() && boottime_ms() < end_ms {
            pause();
        }
        self.delete_own();
    }

    /// The other's page. Fails if it has ended, or showed nothing for too long.
    fn listen(&mut self) -> Result<Option<Page>, ShareError> {
        let (there, now_ms) = (self.side.other(), boottime_ms());
        let page = self.look(there)?.filter(|page| page.nonce == self.own.other);
        if let Some(page) = page.filter(|page| *page != self.there) {
            (self.there, self.heard_ms) = (page, now_ms);
        }
        let name = there.name();
        if self.there.step == ENDED {
            return Err(missing(format_args!("share: {name} has ended: see what it says")));
        }
        if now_ms >= self.heard_ms + u64::from(PEER_SILENT_MS_MAX) {
            let seconds = PEER_SILENT_MS_MAX / 1_000;
            return Err(missing(format_args!("share: {name} said nothing for {seconds} s")));
        }
        Ok(page)
    }

    /// Whether the file is still there, and this meeting's.
    fn is_ours(&self) -> bool {
        let first = self.look(Side::First);
        first.is_ok_and(|page| page.is_some_and(|page| page.nonce == self.nonce()))
    }

    fn delete_own(&self) {
        if self.is_ours() {
            // whoever comes next finds it left behind (M1)
            let _ = file::delete(&path_in(self.root));
        }
    }

    fn delete_scratch(&self) -> Result<(), ShareError> {
        self.delete(&self.prefix())
    }

    fn delete_all(&self) -> Result<(), ShareError> {
        self.delete(".edge.peer.")?;
        file::delete(&path_in(self.root))
    }

    fn delete(&self, prefix: &str) -> Result<(), ShareError> {
        let mut ours = Vec::new();
        file::names(&self.root.path, |name| {
            if name.starts_with(prefix) {
                ours.push(self.root.path.join(name));
            }
            Ok(())
        })?;
        ours.iter().try_for_each(|path| file::delete(path))
    }

    /// M1: makes the file; `false`: there is one.
    fn make(&mut self) -> Result<bool, ShareError> {
        let path = path_in(self.root);
        match self.root.create_new(&path) {
            Ok(made) => {
                let written = file::write_at(&made, &[0; 2 * SLOT_BYTES], 0)
                    .and_then(|()| file::write_at(&made, &self.own.to_bytes(), 0))
                    .and_then(|()| file::sync(&made));
                written.map_err(|error| cannot("write", &path, &error))?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(cannot("create", &path, &error)),
        }
    }

    fn wait_for_second(&mut self, end_ms: u64) -> Result<(), ShareError> {
        while boottime_ms() < end_ms {
            let second = self.look(Side::Second)?;
            if let Some(second) = second.filter(|second| second.other == self.own.nonce) {
                self.own.other = second.nonce;
                (self.there, self.heard_ms) = (second, boottime_ms());
                return self.publish();
            }
            self.beat()?;
        }
        let minutes = PEER_WAIT_MS_MAX / 60_000;
        Err(missing(format_args!("share: no other host came within {minutes} minutes")))
    }

    /// M1: the first host's page, once it is seen to change; `None`: there is no such host, and
    /// its file is deleted.
    fn watch_first(&self) -> Result<Option<Page>, ShareError> {
        let before = self.look(Side::First)?;
        let has_ended = before.is_some_and(|page| page.step == ENDED);
        let end_ms = boottime_ms() + if has_ended { 0 } else { u64::from(PEER_DEAD_MS) };
        loop {
            let is_last = boottime_ms() >= end_ms;
            let seen = self.look(Side::First)?;
            if let Some(page) = seen.filter(|_| seen != before) {
                return Ok(Some(page));
            }
            if is_last {
                file::delete(&path_in(self.root))?;
                return Ok(None);
            }
            pause();
        }
    }

    /// M2: says that we are there, and waits until the first takes us.
    fn join(&mut self, first: Page) -> Result<(), ShareError> {
        self.side = Side::Second;
        self.own.other = first.nonce;
        let mut seen = Some(first);
        let end_ms = boottime_ms() + u64::from(PEER_DEAD_MS);
        while boottime_ms() < end_ms {
            if let Some(page) = seen.filter(|page| page.nonce == first.nonce && page.other != 0) {
                if page.other == self.own.nonce {
                    (self.there, self.heard_ms) = (page, boottime_ms());
                    return Ok(());
                }
                let text = "share: two other hosts are at it: begin when they are done";
                return Err(missing(format_args!("{text}")));
            }
            self.beat()?;
            seen = self.look(Side::First)?;
        }
        let (name, seconds) = (Side::First.name(), PEER_DEAD_MS / 1_000);
        Err(missing(format_args!(
            "share: {name} did not answer within {seconds} s: begin again on both"
        )))
    }

    /// M3: waits a little, and shows that we do; `true`: it did.
    fn beat(&mut self) -> Result<bool, ShareError> {
        pause();
        self.show()
    }

    fn publish(&mut self) -> Result<(), ShareError> {
        let path = path_in(self.root);
        let file = match self.root.open_writable(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let text = "share: .edge.peer is gone: the other host has ended, or a third came";
                return Err(missing(format_args!("{text}")));
            }
            opened => opened.map_err(|error| cannot("open", &path, &error))?,
        };
        let first = read_page(&file, Side::First);
        let first = first.map_err(|error| cannot("read", &path, &error))?;
        // the first host's page may be half written when the second reads it, not when itself does
        let is_ours = first.map_or(self.side == Side::Second, |it| it.nonce == self.nonce());
        if !is_ours {
            let text = "share: another host has begun anew meanwhile: begin again on both";
            return Err(missing(format_args!("{text}")));
        }
        file::write_at(&file, &self.own.to_bytes(), self.side.offset())
            .and_then(|()| file::sync(&file))
            .map_err(|error| cannot("write", &path, &error))?;
        self.shown_ms = boottime_ms();
        Ok(())
    }

    /// A host's page; `None`: there is none that is whole.
    fn look(&self, side: Side) -> Result<Option<Page>, ShareError> {
        let path = path_in(self.root);
        match self.root.open(&path).and_then(|file| read_page(&file, side)) {
            Ok(page) => Ok(page),
            // a name that is new or gone may show late
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot("read", &path, &error)),
        }
    }
}

fn pause() {
    thread::sleep(Duration::from_millis(u64::from(PEER_LOOK_MS)));
}

fn path_in(root: &Root) -> PathBuf {
    root.path.join(".edge.peer")
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::Folder;
    use super::*;

    #[test]
    fn two_meet_and_each_knows_what_the_other_found() {
        let folder = Folder::new();
        let root = folder.root();
        let go = |root: &Root| {
            let mut meeting = Meeting::begin(root, || {}).expect("M1");
            let own = if meeting.side() == Side::First { 100 } else { 200 };
            let told: Vec<_> = (0..5).map(|step| meeting.meet(own + step).expect("M4")).collect();
            let expected: Vec<_> = (0..5).map(|step| 300 - own + step).collect();
            assert_eq!(told, expected, "M4");
            let side = meeting.side();
            meeting.end().expect("done");
            side
        };
        let sides = thread::scope(|scope| {
            let second = scope.spawn(|| go(&root));
            let first = go(&root);
            [first, second.join().expect("no panic")]
        });
        assert!(sides.contains(&Side::First) && sides.contains(&Side::Second));
        assert!(!path_in(&root).exists());
    }

    #[test]
    fn a_file_that_was_left_behind_is_taken_away() {
        let folder = Folder::new();
        let root = folder.root();
        std::fs::write(path_in(&root), b"left behind").expect("written");
        std::fs::write(root.path.join(".edge.peer.0.lock"), b"").expect("written");
        thread::scope(|scope| {
            let other = scope.spawn(|| Meeting::begin(&root, || {}).and_then(Meeting::end));
            Meeting::begin(&root, || {}).and_then(Meeting::end).expect("M1");
            other.join().expect("no panic").expect("M1");
        });
        assert!(!root.path.join(".edge.peer.0.lock").exists());
    }

    /// Two that have met, in turn by a thread each.
    fn met(root: &Root, first: impl FnOnce(Meeting) + Send, second: impl FnOnce(Meeting) + Send) {
        let begin = || Meeting::begin(root, || {}).expect("M1");
        thread::scope(|scope| {
            let other = scope.spawn(begin);
            let (one, other) = (begin(), other.join().expect("no panic"));
            let (one, other) = if one.side() == Side::First { (one, other) } else { (other, one) };
            scope.spawn(|| first(one));
            second(other);
        });
    }

    #[test]
    fn a_third_finds_two_that_wait_and_leaves_them_alone() {
        let folder = Folder::new();
        let root = folder.root();
        let waits = |mut meeting: Meeting| {
            meeting.wait(PEER_DEAD_MS, || Ok(false)).expect("M1: the other waits, too");
            meeting.meet(0).expect("M2");
            meeting.end().expect("done");
        };
        met(&root, waits, |second| {
            let third = Meeting::begin(&root, || {}).err().expect("M2");
            assert!(third.text.contains("two other hosts are at it"), "{third}");
            waits(second);
        });
        assert!(!path_in(&root).exists());
    }

    #[test]
    fn who_gives_up_is_heard_and_leaves_nothing_behind() {
        let folder = Folder::new();
        let root = folder.root();
        let give_up = |meeting: Meeting| {
            std::fs::write(meeting.scratch("lock"), b"").expect("written");
            meeting.give_up();
        };
        met(&root, give_up, |mut second| {
            let error = second.meet(0).expect_err("M6");
            assert!(error.text.contains("the first host has ended"), "{error}");
            second.give_up();
        });
        let names = std::fs::read_dir(&root.path).expect("listed");
        let mut names = names.map(|name| name.expect("an entry").file_name());
        assert!(!names.any(|name| name.to_string_lossy().starts_with(".edge.peer")), "M6");
    }

    #[test]
    fn a_file_that_others_made_anew_is_left_to_them() {
        let folder = Folder::new();
        let root = folder.root();
        let ends = |mut meeting: Meeting| {
            assert!(meeting.meet(0).is_err());
            meeting.give_up();
        };
        let anew = Page { nonce: 7, ..Page::default() };
        let make_anew = |meeting: Meeting| {
            std::fs::write(root.path.join("anew"), anew.to_bytes()).expect("written");
            std::fs::rename(root.path.join("anew"), path_in(&root)).expect("renamed");
            ends(meeting);
        };
        met(&root, ends, make_anew);
        let bytes = std::fs::read(path_in(&root)).expect("M5: it stays");
        assert_eq!(Page::read(&bytes), Some(anew), "M5");
    }
}
