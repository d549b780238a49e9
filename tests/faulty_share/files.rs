//! The folder behind the share: which file a number stands for, what is open.
//!
//! A file's number is its inode in the folder. Numbers lead to files through the names under which
//! they were seen; a file that has lost its names lives on as long as it is open.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::gate::Side;
use crate::views::Views;

/// The number of the folder itself, by the kernel's rule.
pub(crate) const ROOT: u64 = 1;

/// An open file.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    /// Itself.
    pub(crate) file: Arc<File>,
    /// Its number.
    pub(crate) inode: u64,
    /// The name that it was opened by, within the folder.
    pub(crate) path: PathBuf,
}

/// The open files, by numbers that are never used again.
#[derive(Default)]
struct Opened {
    count: u64,
    all: HashMap<u64, Open>,
}

/// The folder's files.
pub(crate) struct Files {
    folder: PathBuf,
    names: Mutex<HashMap<u64, Vec<PathBuf>>>,
    open: Mutex<Opened>,
    views: Mutex<Views>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stale() -> Error {
    Error::from_raw_os_error(libc::ESTALE)
}

impl Files {
    /// Of this folder.
    pub(crate) fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            names: Mutex::default(),
            open: Mutex::default(),
            views: Mutex::default(),
        }
    }

    /// What mounts are kept from seeing.
    pub(crate) fn views(&self) -> MutexGuard<'_, Views> {
        lock(&self.views)
    }

    /// A path of the folder, whole.
    pub(crate) fn whole(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The name under which a file was last seen; empty: the folder itself, or not known.
    pub(crate) fn name(&self, inode: u64) -> PathBuf {
        let names = lock(&self.names);
        names.get(&inode).and_then(|names| names.last().cloned()).unwrap_or_default()
    }

    /// The name of what stands in a folder.
    pub(crate) fn name_in(&self, parent: u64, name: &Path) -> PathBuf {
        self.name(parent).join(name)
    }

    fn note(&self, path: &Path, seen: &Metadata) {
        let mut all = lock(&self.names);
        let names = all.entry(seen.ino()).or_default();
        names.retain(|name| name != path);
        names.push(path.to_owned());
    }

    /// A name under which a file stands now.
    pub(crate) fn find(&self, inode: u64) -> Result<PathBuf> {
        if inode == ROOT {
            return Ok(PathBuf::new());
        }
        let names = lock(&self.names).get(&inode).cloned().unwrap_or_default();
        let stands = |path: &&PathBuf| {
            fs::symlink_metadata(self.whole(path)).is_ok_and(|seen| seen.ino() == inode)
        };
        names.iter().rev().find(stands).cloned().ok_or_else(stale)
    }

    fn seen(&self, side: Side, mut seen: Attributes) -> Attributes {
        seen.length = self.views().length(side, seen.meta.ino(), seen.length);
        seen
    }

    /// Looks a name up.
    pub(crate) fn look_up(&self, side: Side, path: &Path) -> Result<Attributes> {
        if self.views().is_hidden(side, path) {
            return Err(Error::from_raw_os_error(libc::ENOENT));
        }
        let meta = fs::symlink_metadata(self.whole(path))?;
        self.note(path, &meta);
        Ok(self.seen(side, meta.into()))
    }

    /// Looks at a file.
    pub(crate) fn look_at(&self, side: Side, inode: u64) -> Result<Attributes> {
        let meta = match self.find(inode) {
            Ok(path) => fs::symlink_metadata(self.whole(&path))?,
            Err(error) => {
                let open = lock(&self.open).all.values().find(|open| open.inode == inode).cloned();
                open.ok_or(error)?.file.metadata()?
            }
        };
        Ok(self.seen(side, meta.into()))
    }

    /// The names in a folder, and the files that they stand for.
    pub(crate) fn list(&self, side: Side, inode: u64) -> Result<Vec<(PathBuf, Metadata)>> {
        let folder = self.find(inode)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(self.whole(&folder))? {
            let entry = entry?;
            let name = PathBuf::from(entry.file_name());
            // deleted in between
            let Ok(meta) = entry.metadata() else { continue };
            if !self.views().is_hidden(side, &folder.join(&name)) {
                found.push((name, meta));
            }
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }

    /// Opens a file by flags of open(2); its number among the open ones.
    pub(crate) fn open(&self, inode: u64, flags: i32) -> Result<u64> {
        let path = self.find(inode)?;
        let mut options = OpenOptions::new();
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
        // what a write covers is read: see `Files::write`
        options.read(true).write(writes).truncate(writes && flags & libc::O_TRUNC != 0);
        let file = options.open(self.whole(&path))?;
        if file.metadata()?.ino() != inode {
            return Err(stale());
        }
        Ok(self.keep(file, inode, path))
    }

    /// Creates a file and opens it.
    pub(crate) fn create(
        &self,
        side: Side,
        path: &Path,
        mode: u32,
        flags: i32,
    ) -> Result<(Attributes, u64)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(mode);
        let is_given = self.views().is_given(side, path);
        let file = if flags & libc::O_EXCL == 0 || is_given {
            options.create(true).truncate(flags & libc::O_TRUNC != 0).open(self.whole(path))?
        } else {
            options.create_new(true).open(self.whole(path))?
        };
        let meta = file.metadata()?;
        self.made(side, path, &meta);
        let inode = meta.ino();
        Ok((meta.into(), self.keep(file, inode, path.to_owned())))
    }

    fn keep(&self, file: File, inode: u64, path: PathBuf) -> u64 {
        let mut open = lock(&self.open);
        open.count += 1;
        let number = open.count;
        open.all.insert(number, Open { file: Arc::new(file), inode, path });
        number
    }

    /// An open file.
    pub(crate) fn opened(&self, number: u64) -> Result<Open> {
        lock(&self.open)
            .all
            .get(&number)
            .cloned()
            .ok_or_else(|| Error::from_raw_os_error(libc::EBADF))
    }

    /// Closes it.
    pub(crate) fn close(&self, number: u64) {
        lock(&self.open).all.remove(&number);
    }

    /// Reads what a mount sees of an open file.
    pub(crate) fn read(&self, side: Side, open: &Open, at: u64, most: usize) -> Result<Vec<u8>> {
        let views = self.views();
        let mut bytes = read_up_to(&open.file, at, most)?;
        views.turn_back(side, open.inode, at, most, &mut bytes);
        Ok(bytes)
    }

    /// Writes to an open file.
    pub(crate) fn write(&self, side: Side, open: &Open, at: u64, bytes: &[u8]) -> Result<()> {
        let mut views = self.views();
        if views.wants_writes(&open.path) {
            let before = read_up_to(&open.file, at, bytes.len())?;
            views.note_write(side, open.inode, at, before, open.file.metadata()?.len());
        }
        open.file.write_all_at(bytes, at)
    }

    /// Cuts a file to a length, or makes it longer.
    pub(crate) fn cut(&self, side: Side, inode: u64, length: u64) -> Result<()> {
        let path = self.find(inode)?;
        let file = OpenOptions::new().read(true).write(true).open(self.whole(&path))?;
        let mut views = self.views();
        if views.wants_writes(&path) {
            let there = file.metadata()?.len();
            let tail = usize::try_from(there.saturating_sub(length)).unwrap_or_default();
            views.note_write(side, inode, length, read_up_to(&file, length, tail)?, there);
        }
        file.set_len(length)
    }

    /// A name was made for this file.
    fn made(&self, side: Side, path: &Path, meta: &Metadata) {
        self.note(path, meta);
        self.views().note_name(side, path);
    }

    /// Makes a name by `make`, and looks at what it stands for.
    pub(crate) fn make(
        &self,
        side: Side,
        path: &Path,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Attributes> {
        make(&self.whole(path))?;
        let meta = fs::symlink_metadata(self.whole(path))?;
        self.made(side, path, &meta);
        Ok(meta.into())
    }
}

/// What is seen of a file.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    /// What the folder says.
    pub(crate) meta: Metadata,
    /// Its length, as the mount sees it.
    pub(crate) length: u64,
}

impl From<Metadata> for Attributes {
    fn from(meta: Metadata) -> Self {
        let length = meta.len();
        Self { meta, length }
    }
}

fn read_up_to(file: &File, at: u64, size: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match file.read_at(&mut bytes[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
