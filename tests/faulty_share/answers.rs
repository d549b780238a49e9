//! Answers to the kernel.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileType, Generation, INodeNo, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLock, ReplyOpen, ReplyWrite,
};

use crate::files::Attributes;

/// For how long the kernel may believe what it was told.
pub(crate) const NOT_AT_ALL: Duration = Duration::ZERO;
/// The size of a block.
pub(crate) const BLOCK: u32 = 4_096;

/// Answers that can be an error.
pub(crate) trait Refuse {
    /// Answers so.
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ty),*) => {
        $(impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })*
    };
}

refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyEmpty,
    ReplyEntry,
    ReplyLock,
    ReplyOpen,
    ReplyWrite
);

/// As the kernel wants it.
pub(crate) fn attributes(of: &Attributes) -> FileAttr {
    let meta = &of.meta;
    let changed = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    FileAttr {
        ino: INodeNo(meta.ino()),
        size: of.length,
        blocks: meta.blocks(),
        atime: changed,
        mtime: changed,
        ctime: changed,
        crtime: changed,
        kind: FileType::from_std(meta.file_type()).unwrap_or(FileType::RegularFile),
        perm: u16::try_from(meta.mode() & 0o7777).unwrap_or_default(),
        nlink: u32::try_from(meta.nlink()).unwrap_or(u32::MAX),
        uid: meta.uid(),
        gid: meta.gid(),
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

/// Answers with what stands under a name.
pub(crate) fn say_entry(reply: ReplyEntry, seen: &Attributes) {
    reply.entry(&NOT_AT_ALL, &attributes(seen), Generation(0));
}

/// Answers with what is seen of a file.
pub(crate) fn say_attributes(reply: ReplyAttr, seen: &Attributes) {
    reply.attr(&NOT_AT_ALL, &attributes(seen));
}

/// Answers that it is done.
pub(crate) fn say_done(reply: ReplyEmpty, (): ()) {
    reply.ok();
}
