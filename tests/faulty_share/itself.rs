//! The share does what it is told to, and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, Result, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use edge_agent::sys::lock::{TryLock, try_lock};

use crate::gate::{Deed, Fault, Kind, Side};
use crate::share::Share;

const LIMIT: Duration = Duration::from_secs(20);
const MOMENT: Duration = Duration::from_millis(200);

fn mounted() -> Share {
    Share::mount().expect("it was mounted before")
}

fn at(share: &Share, side: Side, name: &str) -> PathBuf {
    share.point(side).join(name)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn errno<T>(done: Result<T>) -> Option<i32> {
    done.err().as_ref().and_then(Error::raw_os_error)
}

/// Writes a file in a thread of its own.
fn write_aside(path: PathBuf, text: &'static str) -> JoinHandle<Result<()>> {
    thread::spawn(move || File::create(path).and_then(|mut file| file.write_all(text.as_bytes())))
}

/// Without a fault it is a folder seen twice, and its locks exclude.
pub(crate) fn the_share_is_one_folder_with_locks() {
    let share = mounted();
    let (here, there) = (at(&share, Side::A, "x"), at(&share, Side::B, "x"));
    fs::write(&here, "one").expect("written");
    assert_eq!(fs::read(&there).expect("read"), b"one");
    let exclusive = OpenOptions::new().write(true).create_new(true).open(&there);
    assert_eq!(errno(exclusive), Some(libc::EEXIST));
    fs::create_dir(at(&share, Side::B, "d")).expect("made");
    fs::hard_link(&there, at(&share, Side::B, "d/y")).expect("linked");
    fs::rename(&here, at(&share, Side::A, "z")).expect("renamed");
    let names = fs::read_dir(share.point(Side::B)).expect("listed");
    let mut names: Vec<_> = names.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.sort();
    assert_eq!(names, ["d", "z"]);
    assert_eq!(fs::read(at(&share, Side::A, "d/y")).expect("read"), b"one");

    let open = |side| OpenOptions::new().write(true).open(at(&share, side, "z")).expect("opened");
    let (one, other, far) = (open(Side::A), open(Side::A), open(Side::B));
    let lock = |file: &File| try_lock(file.as_fd(), 7).expect("tried");
    assert_eq!(lock(&one), TryLock::Held);
    assert_eq!((lock(&other), lock(&far)), (TryLock::Busy, TryLock::Busy));
    let copy = one.try_clone().expect("copied");
    drop(one);
    assert_eq!(lock(&far), TryLock::Busy, "a copy holds it");
    drop(copy);
    wait_until("the lock to come free", || lock(&far) == TryLock::Held);

    share.forget_locks(Side::B, Some(libc::EIO));
    assert_eq!(lock(&other), TryLock::Held);
    assert_eq!(errno(far.write_at(b"2", 7)), Some(libc::EIO));
    share.grant_locks_to_both();
    assert_eq!((lock(&other), lock(&far)), (TryLock::Held, TryLock::Held));
}

/// What hangs is done when that is over, what fails is not done, what is late is done late, though
/// nobody waits for it any more.
pub(crate) fn the_share_hangs_fails_and_is_late() {
    let share = mounted();
    let hung = Fault::of(&[Kind::Write], Deed::Hang).below("x");
    share.impose(Side::A, hung);
    let writing = write_aside(at(&share, Side::A, "x"), "one");
    wait_until("the write to hang", || share.holds(Side::A, Kind::Write, "x"));
    fs::write(at(&share, Side::A, "y"), "two").expect("only x hangs");
    thread::sleep(MOMENT);
    assert_eq!(fs::read(at(&share, Side::B, "x")).expect("read"), b"");
    share.heal_all();
    writing.join().expect("no panic").expect("written");
    assert_eq!(fs::read(at(&share, Side::B, "x")).expect("read"), b"one");

    share.impose(Side::A, Fault::of(&[Kind::Open], Deed::Fail(libc::ESTALE)).once());
    // the kernel itself looks a stale file up once more
    share.impose(Side::A, Fault::of(&[Kind::Read], Deed::Fail(libc::EIO)).once());
    assert_eq!(errno(fs::read(at(&share, Side::A, "x"))), Some(libc::EIO));
    assert_eq!(fs::read(at(&share, Side::A, "x")).expect("once only"), b"one");
    share.heal_all();

    share.impose(Side::B, Fault::of(&[Kind::Create], Deed::Late(5 * MOMENT)));
    let writing = write_aside(at(&share, Side::B, "late"), "three");
    wait_until("the create to be held", || share.holds(Side::B, Kind::Create, "late"));
    share.bury(Side::B);
    assert_eq!(errno(writing.join().expect("no panic")), Some(libc::EIO));
    assert!(!at(&share, Side::A, "late").exists());
    wait_until("the create to be done", || at(&share, Side::A, "late").exists());
    assert_eq!(fs::read(at(&share, Side::A, "late")).expect("read"), b"", "its writer was gone");
    share.heal_all();

    share.impose(Side::B, Fault::of(&[Kind::Write], Deed::Late(5 * MOMENT)));
    let writing = write_aside(at(&share, Side::B, "later"), "four");
    wait_until("the write to be held", || share.holds(Side::B, Kind::Write, "later"));
    share.bury(Side::B);
    assert_eq!(errno(writing.join().expect("no panic")), Some(libc::EIO), "and it is closed");
    let later = || fs::read(at(&share, Side::A, "later")).expect("read");
    assert_eq!(later(), b"");
    wait_until("the write to be done", || later() == b"four");
}

/// Names and bytes of one mount are unseen by the other for a while; exclusive creates see all.
pub(crate) fn the_share_hides_names_and_bytes() {
    let share = mounted();
    let (here, there) = (at(&share, Side::A, "x"), at(&share, Side::B, "x"));
    fs::write(&here, "before").expect("written");
    share.hide_bytes(Side::B, 5 * MOMENT);
    let file = OpenOptions::new().write(true).open(&here).expect("opened");
    file.write_at(b"AFTER, longer", 0).expect("written");
    assert_eq!(fs::read(&here).expect("read"), b"AFTER, longer");
    assert_eq!(fs::read(&there).expect("read"), b"before");
    file.set_len(2).expect("cut");
    assert_eq!(fs::read(&there).expect("read"), b"before");
    wait_until("the write to be seen", || fs::read(&there).expect("read") == b"AF");

    share.hide_names(Side::B, 5 * MOMENT);
    fs::write(at(&share, Side::A, "y"), "new").expect("written");
    let unseen = at(&share, Side::B, "y");
    assert!(at(&share, Side::A, "y").exists());
    assert_eq!(errno(fs::metadata(&unseen)), Some(libc::ENOENT));
    assert_eq!(fs::read_dir(share.point(Side::B)).expect("listed").count(), 1);
    let exclusive = OpenOptions::new().write(true).create_new(true).open(&unseen);
    assert_eq!(errno(exclusive), Some(libc::EEXIST));
    wait_until("the name to be seen", || unseen.exists());
}

/// A share that hangs when it ends lets everybody go, and leaves no mount behind.
pub(crate) fn the_share_ends_though_it_hangs() {
    let share = mounted();
    share.impose_on_all(&Fault::of_all(Deed::Hang));
    let hung = at(&share, Side::A, "x");
    let writing = write_aside(hung, "one");
    wait_until("the look to hang", || !share.held().is_empty());
    drop(share);
    assert!(writing.join().expect("no panic").is_err());
}
