//! The few file operations that all orders are made of. Whatever changes the share is here, and
//! is noted in `changes`.
//!
//! Every path is opened afresh wherever another node may have written: NFS and SMB show a
//! file rewritten in place through a fresh open only.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::changes::{Change, befall_sync, note, note_of};
use super::fault::cannot;
use crate::engine::share::ShareError;

/// Access of files that we make.
const FILE_MODE: u32 = 0o600;
/// Access of directories that we make.
const DIRECTORY_MODE: u32 = 0o700;

/// Opens for reading.
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Opens for reading, with flags of open(2).
pub(super) fn open_with(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Opens for reading and writing.
pub(super) fn open_writable(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

/// Creates exclusively (`O_CREAT|O_EXCL`).
pub(super) fn create_new(path: &Path, flags: i32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(FILE_MODE).custom_flags(flags);
    let created = options.open(path)?;
    note_of(&created, |inode| Change::Create { inode, path: path.to_owned() });
    Ok(created)
}

/// Opens for reading and writing, and creates what is missing.
pub(super) fn open_or_create(path: &Path, flags: i32) -> io::Result<File> {
    let there = cfg!(debug_assertions) && path.exists();
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .custom_flags(flags)
        .open(path)?;
    if !there {
        note_of(&opened, |inode| Change::Create { inode, path: path.to_owned() });
    }
    Ok(opened)
}

/// Writes all of it, at `offset`.
pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)?;
    note_of(file, |inode| Change::Write { inode, offset, bytes: bytes.to_vec() });
    Ok(())
}

/// Cuts a file to a length.
pub(super) fn cut(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    note_of(file, |inode| Change::Cut { inode, length });
    Ok(())
}

/// Makes what was written to a file durable.
pub(super) fn sync(file: &File) -> io::Result<()> {
    synced(file, file.sync_data())
}

/// The same, with all that is known of the file.
pub(super) fn sync_all(file: &File) -> io::Result<()> {
    synced(file, file.sync_all())
}

/// Notes what came of a sync. After a failed one nothing is known, and a later sync may succeed
/// without a word on what this one has not written.
fn synced(file: &File, outcome: io::Result<()>) -> io::Result<()> {
    let outcome = outcome.and_then(|()| befall_sync());
    note_of(file, |inode| match outcome {
        Ok(()) => Change::Sync { inode },
        Err(_) => Change::SyncFailed { inode },
    });
    outcome
}

/// Gives a file a second name, if nothing has that.
pub(super) fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    note(|| Change::Link(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Gives a file another name, whatever has that.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    note(|| Change::Rename(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Makes one directory for us alone; one that is there is as good.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Ok(()) => {
            note(|| Change::Folder(path.to_owned()));
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether an open file, of which this was seen, was deleted. Some file systems count no links:
/// there it stands at its path.
pub(super) fn is_deleted(seen: &Metadata, path: &Path) -> bool {
    let is_it = |there: Metadata| (there.dev(), there.ino()) == (seen.dev(), seen.ino());
    seen.nlink() == 0 && !fs::metadata(path).is_ok_and(is_it)
}

/// Reads at `offset` until `buffer` is full or the file ends; tells how many bytes.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Makes the names in a directory durable. File systems that know no such thing are taken
/// at their word: SMB and some FUSE servers answer EINVAL or ENOTSUP.
pub(super) fn sync_directory(path: &Path) -> Result<(), ShareError> {
    let synced =
        File::open(path).and_then(|directory| directory.sync_all()).and_then(|()| befall_sync());
    match synced {
        Ok(()) => {
            note(|| Change::SyncNames(path.to_owned()));
            Ok(())
        }
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EINVAL | libc::ENOTSUP | libc::ENOSYS)
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(cannot("sync", path, &error)),
    }
}

/// Calls `each` with every name in a directory that is UTF-8; ours all are. A directory
/// that is not there is empty.
pub(super) fn names(
    path: &Path,
    mut each: impl FnMut(&str) -> Result<(), ShareError>,
) -> Result<(), ShareError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot("list", path, &error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| cannot("list", path, &error))?;
        if let Some(name) = entry.file_name().to_str() {
            each(name)?;
        }
    }
    Ok(())
}

/// Deletes a file; one that is gone is as good.
pub(super) fn delete(path: &Path) -> Result<(), ShareError> {
    match fs::remove_file(path) {
        Ok(()) => {
            note(|| Change::Delete(path.to_owned()));
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot("delete", path, &error)),
    }
}
