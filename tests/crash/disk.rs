//! A disk that keeps what was synced, and of everything else what it likes.
//!
//! 1. What was written to a file before its last sync is there, whole.
//! 2. What was written since is there or not, write by write, in any order, torn or garbled. So is,
//!    for ever, what a sync was to keep that failed: a later one need not keep it.
//! 3. A name is there for certain once its folder was synced; until then it is there or not, and
//!    what was renamed stands under the old or the new one. A file's sync does not keep its name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use edge_agent::edge::share::changes::Change;

use crate::dice::Dice;

/// What is left of the changes that were not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    /// All: the process alone was killed,
    All,
    /// in the middle of its last write.
    AllTorn,
    /// None.
    Nothing,
    /// Those of these bits, of names first, then of files.
    These(u32),
    /// The first ones, of names and of each file, the last of them torn.
    First,
    /// Any, in any order.
    Some,
    /// All, but what was written is partly something else.
    Garbled,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Entry {
    Folder,
    File(usize),
}

#[derive(Clone, Debug)]
enum Piece {
    Write(u64, Vec<u8>),
    Cut(u64),
}

#[derive(Clone, Default, Debug)]
struct Content {
    synced: Vec<u8>,
    /// Since the first sync that failed: each piece, and whether its sync succeeded.
    settled: Vec<(Piece, bool)>,
    pending: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Naming {
    Put(PathBuf, Entry),
    Link(PathBuf, PathBuf),
    Rename(PathBuf, PathBuf),
    Delete(PathBuf),
}

/// The disk.
pub(crate) struct Disk {
    root: PathBuf,
    names: BTreeMap<PathBuf, Entry>,
    pending: Vec<Naming>,
    files: Vec<Content>,
    by_inode: BTreeMap<u64, usize>,
}

impl Disk {
    /// An empty one, for changes below this path.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            names: BTreeMap::new(),
            pending: Vec::new(),
            files: Vec::new(),
            by_inode: BTreeMap::new(),
        }
    }

    /// How many changes are not synced.
    pub(crate) fn pending(&self) -> u32 {
        let pieces: usize = self.files.iter().map(|file| file.pending.len()).sum();
        u32::try_from(self.pending.len() + pieces).expect("few")
    }

    /// A change is made.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Folder(path) => self.pending.push(Naming::Put(self.below(path), Entry::Folder)),
            Change::Create { inode, path } => {
                let id = self.files.len();
                self.files.push(Content::default());
                self.by_inode.insert(*inode, id);
                self.pending.push(Naming::Put(self.below(path), Entry::File(id)));
            }
            Change::Write { inode, offset, bytes } => {
                self.file(*inode).pending.push(Piece::Write(*offset, bytes.clone()));
            }
            Change::Cut { inode, length } => self.file(*inode).pending.push(Piece::Cut(*length)),
            Change::Sync { inode } => self.file(*inode).settle(true),
            Change::SyncFailed { inode } => self.file(*inode).settle(false),
            Change::SyncNames(path) => {
                // of the folders above nothing is known
                let Ok(folder) = path.strip_prefix(&self.root) else { return };
                for naming in std::mem::take(&mut self.pending) {
                    if naming.folder() == folder {
                        name(&mut self.names, &naming);
                    } else {
                        self.pending.push(naming);
                    }
                }
            }
            Change::Link(from, to) => {
                self.pending.push(Naming::Link(self.below(from), self.below(to)));
            }
            Change::Rename(from, to) => {
                self.pending.push(Naming::Rename(self.below(from), self.below(to)));
            }
            Change::Delete(path) => self.pending.push(Naming::Delete(self.below(path))),
        }
    }

    /// Whether a sync failed.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.files.iter().any(|file| !file.settled.is_empty())
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).expect("a path in the data directory").to_owned()
    }

    fn file(&mut self, inode: u64) -> &mut Content {
        &mut self.files[self.by_inode[&inode]]
    }

    /// Makes the image of a crash; says what was kept.
    pub(crate) fn make(&self, to: &Path, kept: Kept, dice: &mut Dice) -> String {
        let mut told = String::new();
        let _ = fs::remove_dir_all(to);
        fs::create_dir_all(to).expect("a folder for the image");
        let mut bit = 0;
        let mut names = self.names.clone();
        for (_, naming) in choose(&self.pending, kept, &mut bit, dice) {
            writeln!(told, "    kept {naming:?}").expect("memory");
            name(&mut names, naming);
        }
        let mut images = BTreeMap::new();
        for (id, file) in self.files.iter().enumerate() {
            let mut bytes = file.synced.clone();
            for (piece, is_synced) in &file.settled {
                if *is_synced || kept.keeps_doubtful(dice) {
                    put(&mut bytes, piece);
                }
            }
            let chosen = choose(&file.pending, kept, &mut bit, dice);
            for (is_last, piece) in chosen {
                let piece = spoil(piece, kept, is_last, dice);
                let path = names.iter().find(|(_, entry)| **entry == Entry::File(id));
                writeln!(told, "    kept of {:?}: {}", path.map(|it| it.0), brief(&piece))
                    .expect("memory");
                put(&mut bytes, &piece);
            }
            images.insert(id, bytes);
        }
        for (path, entry) in &names {
            let there = to.join(path);
            if !there.parent().is_some_and(Path::is_dir) {
                continue;
            }
            match entry {
                Entry::Folder => fs::create_dir(&there).expect("made"),
                Entry::File(id) => write_sparse(&there, &images[id]),
            }
        }
        told
    }
}

impl Kept {
    fn keeps_doubtful(self, dice: &mut Dice) -> bool {
        match self {
            Self::All | Self::AllTorn => true,
            Self::Nothing => false,
            Self::These(_) | Self::First | Self::Some | Self::Garbled => dice.one_in(2),
        }
    }
}

impl Content {
    fn settle(&mut self, is_synced: bool) {
        for piece in std::mem::take(&mut self.pending) {
            if is_synced && self.settled.is_empty() {
                put(&mut self.synced, &piece);
            } else {
                self.settled.push((piece, is_synced));
            }
        }
    }
}

impl Naming {
    fn folder(&self) -> &Path {
        let (Self::Put(path, _) | Self::Link(_, path) | Self::Rename(_, path) | Self::Delete(path)) =
            self;
        path.parent().expect("a name")
    }
}

fn name(names: &mut BTreeMap<PathBuf, Entry>, naming: &Naming) {
    match naming {
        Naming::Put(path, entry) => {
            names.insert(path.clone(), *entry);
        }
        Naming::Link(from, to) => {
            if let Some(entry) = names.get(from).copied() {
                names.insert(to.clone(), entry);
            }
        }
        Naming::Rename(from, to) => {
            if let Some(entry) = names.remove(from) {
                names.insert(to.clone(), entry);
            }
        }
        Naming::Delete(path) => {
            names.remove(path);
        }
    }
}

/// Those that are kept, and whether each is the last of all.
fn choose<'a, T>(all: &'a [T], kept: Kept, bit: &mut u32, dice: &mut Dice) -> Vec<(bool, &'a T)> {
    let last = all.len().saturating_sub(1);
    let numbered = all.iter().enumerate().map(|(at, item)| (at == last, item));
    match kept {
        Kept::All | Kept::AllTorn | Kept::Garbled => numbered.collect(),
        Kept::Nothing => Vec::new(),
        Kept::These(bits) => {
            let first = *bit;
            *bit += u32::try_from(all.len()).expect("few");
            numbered.zip(first..).filter(|(_, at)| bits & (1 << at) != 0).map(|it| it.0).collect()
        }
        Kept::First => {
            let count = dice.place(all.len() + 1);
            all[..count].iter().enumerate().map(|(at, item)| (at + 1 == count, item)).collect()
        }
        Kept::Some => {
            let mut some: Vec<_> = numbered.filter(|_| dice.one_in(2)).collect();
            for at in (1..some.len()).rev() {
                some.swap(at, dice.place(at + 1));
            }
            some
        }
    }
}

/// What stands there of a piece that was kept.
fn spoil(piece: &Piece, kept: Kept, is_last: bool, dice: &mut Dice) -> Piece {
    let Piece::Write(offset, bytes) = piece else { return piece.clone() };
    let mut bytes = bytes.clone();
    let torn = match kept {
        Kept::AllTorn => is_last,
        Kept::First => is_last && dice.one_in(2),
        Kept::All | Kept::Nothing | Kept::These(_) | Kept::Some | Kept::Garbled => false,
    };
    if torn {
        let at = dice.place(bytes.len() + 1);
        bytes.truncate(if dice.one_in(2) { at } else { at / 512 * 512 });
    }
    if kept == Kept::Garbled && !bytes.is_empty() {
        let from = dice.place(bytes.len());
        let length = dice.place(bytes.len() - from) + 1;
        let zeros = dice.one_in(2);
        for byte in &mut bytes[from..from + length] {
            *byte = if zeros { 0 } else { u8::try_from(dice.below(256)).expect("a byte") };
        }
    }
    Piece::Write(*offset, bytes)
}

fn put(bytes: &mut Vec<u8>, piece: &Piece) {
    let place = |offset: &u64| usize::try_from(*offset).expect("a small file");
    match piece {
        Piece::Cut(length) => bytes.resize(place(length), 0),
        Piece::Write(_, new) if new.is_empty() => {}
        Piece::Write(offset, new) => {
            let (from, end) = (place(offset), place(offset) + new.len());
            bytes.resize(bytes.len().max(end), 0);
            bytes[from..end].copy_from_slice(new);
        }
    }
}

/// Pages of zeros are not written.
fn write_sparse(path: &Path, bytes: &[u8]) {
    let file = File::create(path).expect("created");
    file.set_len(bytes.len() as u64).expect("sized");
    for (page, at) in bytes.chunks(4_096).zip((0..).step_by(4_096)) {
        if page.iter().any(|&byte| byte != 0) {
            file.write_all_at(page, at).expect("written");
        }
    }
}

fn brief(piece: &Piece) -> String {
    match piece {
        Piece::Cut(length) => format!("cut to {length}"),
        Piece::Write(offset, bytes) => format!("{} bytes at {offset}", bytes.len()),
    }
}

/// Changes, a line each.
pub(crate) fn tell(root: &Path, changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let line = match change {
            Change::Write { inode, offset, bytes } => {
                format!("write {} bytes at {offset} of {inode}", bytes.len())
            }
            other @ (Change::Folder(_)
            | Change::Create { .. }
            | Change::Cut { .. }
            | Change::Sync { .. }
            | Change::SyncFailed { .. }
            | Change::SyncNames(_)
            | Change::Link(..)
            | Change::Rename(..)
            | Change::Delete(_)) => format!("{other:?}"),
        };
        let prefix = format!("{}/", root.display());
        writeln!(text, "    {}", line.replace(&prefix, "")).expect("memory");
    }
    text
}
