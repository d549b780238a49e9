//! What is changed on the share, told to a test.
//!
//! Every change goes through `file`, which notes it here. In builds with debug assertions a thread
//! may have them recorded, to see what a crash would leave of them, and may have a mishap befall it;
//! in others there is nothing.

use std::fs::File;
use std::io;
use std::path::PathBuf;

/// A change that succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A folder was made.
    Folder(PathBuf),
    /// A file was created, empty.
    Create {
        /// Its inode, by which later changes name it.
        inode: u64,
        /// Where.
        path: PathBuf,
    },
    /// Bytes were written.
    Write {
        /// To which file,
        inode: u64,
        /// from where on,
        offset: u64,
        /// and which.
        bytes: Vec<u8>,
    },
    /// A file was cut to a length.
    Cut {
        /// Which.
        inode: u64,
        /// In bytes.
        length: u64,
    },
    /// What was written to a file is durable.
    Sync {
        /// Which.
        inode: u64,
    },
    /// A sync failed: what was written to this file may be durable or not, whatever comes later.
    SyncFailed {
        /// Which.
        inode: u64,
    },
    /// The names in a folder are durable.
    SyncNames(PathBuf),
    /// A file has a second name.
    Link(PathBuf, PathBuf),
    /// A file has another name, which may have been another file's.
    Rename(PathBuf, PathBuf),
    /// A name is gone.
    Delete(PathBuf),
}

#[cfg(debug_assertions)]
mod record {
    use std::cell::{Cell, RefCell};
    use std::io;
    use std::os::unix::fs::MetadataExt;
    use std::panic::resume_unwind;

    use super::{Change, File};

    thread_local! {
        static RECORDED: RefCell<Option<Vec<Change>>> = const { RefCell::new(None) };
        static MISHAP: Cell<Option<(u64, Mishap)>> = const { Cell::new(None) };
    }

    /// What befalls a thread that is recorded.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Mishap {
        /// A change is its last: from there on it unwinds, with this as the payload.
        Killed,
        /// A sync fails.
        SyncFails,
    }

    /// After so many more changes, or syncs, this befalls the thread, once.
    pub fn plan(mishap: Option<(u64, Mishap)>) {
        MISHAP.set(mishap);
    }

    /// Whether it is time for this.
    fn is_due(mishap: Mishap) -> bool {
        match MISHAP.get() {
            Some((0, planned)) if planned == mishap => {
                MISHAP.set(None);
                true
            }
            Some((after, planned)) if planned == mishap => {
                MISHAP.set(Some((after - 1, planned)));
                false
            }
            Some(_) | None => false,
        }
    }

    pub(super) fn befall_sync() -> io::Result<()> {
        if is_due(Mishap::SyncFails) {
            Err(io::Error::from_raw_os_error(libc::EIO))
        } else {
            Ok(())
        }
    }

    /// From now on this thread's changes are recorded.
    pub fn begin() {
        RECORDED.set(Some(Vec::new()));
    }

    /// How many were recorded so far.
    pub fn count() -> usize {
        RECORDED.with_borrow(|recorded| recorded.as_ref().map_or(0, Vec::len))
    }

    /// Ends the recording.
    pub fn end() -> Vec<Change> {
        RECORDED.take().unwrap_or_default()
    }

    pub(super) fn note(change: impl FnOnce() -> Change) {
        RECORDED.with_borrow_mut(|recorded| recorded.as_mut().map(|all| all.push(change())));
        if is_due(Mishap::Killed) {
            resume_unwind(Box::new(Mishap::Killed));
        }
    }

    pub(super) fn inode(file: &File) -> u64 {
        file.metadata().map_or(0, |seen| seen.ino())
    }
}

#[cfg(debug_assertions)]
pub use record::{Mishap, begin, count, end, plan};

/// Fails where a sync is to fail.
pub(super) fn befall_sync() -> io::Result<()> {
    #[cfg(debug_assertions)]
    record::befall_sync()?;
    Ok(())
}

/// Notes a change, if anybody asked.
pub(super) fn note(change: impl FnOnce() -> Change) {
    #[cfg(debug_assertions)]
    record::note(change);
    #[cfg(not(debug_assertions))]
    let _ = change;
}

/// Notes what was done to an open file, by its inode.
pub(super) fn note_of(file: &File, change: impl FnOnce(u64) -> Change) {
    #[cfg(debug_assertions)]
    record::note(|| change(record::inode(file)));
    #[cfg(not(debug_assertions))]
    let _ = (file, change);
}
