//! One mount of the share: the kernel's requests.
//!
//! Nothing is cached by the kernel: every look, read and write comes here.

use std::ffi::OsStr;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLock, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};

use crate::answers::{BLOCK, NOT_AT_ALL, Refuse, attributes, say_attributes, say_done, say_entry};
use crate::files::Open;
use crate::gate::{Kind, Side};
use crate::locks::{Asker, Span};
use crate::server::Server;

/// What is said to be free, in blocks.
const FREE_BLOCKS: u64 = 1 << 20;

/// A mount.
pub(crate) struct Mount {
    side: Side,
    server: Arc<Server>,
}

impl Mount {
    /// Of this server.
    pub(crate) fn of(server: &Arc<Server>, side: Side) -> Self {
        Self { side, server: Arc::clone(server) }
    }

    /// See [`Server::pass`].
    fn pass<R: Refuse + Send + 'static, T>(
        &self,
        kind: Kind,
        path: &Path,
        reply: R,
        work: impl FnOnce(&Server) -> Result<T> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        self.server.pass((self.side, kind, path), reply, work, answer);
    }

    /// The same for what is done to an open file. What waits keeps it, whoever closes it meanwhile.
    fn pass_open<R: Refuse + Send + 'static, T>(
        &self,
        kind: Kind,
        file: FileHandle,
        reply: R,
        work: impl FnOnce(&Server, &Open) -> Result<T> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        match self.server.files.opened(file.0) {
            Ok(open) => {
                let path = open.path.clone();
                self.pass(kind, &path, reply, move |server| work(server, &open), answer);
            }
            Err(error) => reply.refuse(error.into()),
        }
    }

    fn name_in(&self, parent: INodeNo, name: &OsStr) -> PathBuf {
        self.server.files.name_in(parent.0, Path::new(name))
    }
}

impl Filesystem for Mount {
    fn init(&mut self, _: &Request, kernel: &mut KernelConfig) -> Result<()> {
        let wanted = InitFlags::FUSE_POSIX_LOCKS | InitFlags::FUSE_ATOMIC_O_TRUNC;
        kernel.add_capabilities(wanted).map_err(|_| ErrorKind::Unsupported.into())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (side, path) = (self.side, self.name_in(parent, name));
        let looked = path.clone();
        let work = move |server: &Server| server.files.look_up(side, &looked);
        self.pass(Kind::Look, &path, reply, work, |reply, seen| say_entry(reply, &seen));
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let (side, path) = (self.side, self.server.files.name(inode.0));
        let work = move |server: &Server| server.files.look_at(side, inode.0);
        self.pass(Kind::Look, &path, reply, work, |reply, seen| say_attributes(reply, &seen));
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        length: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let (side, path) = (self.side, self.server.files.name(inode.0));
        let kind = if length.is_some() { Kind::Write } else { Kind::Alter };
        let work = move |server: &Server| {
            if let Some(length) = length {
                server.files.cut(side, inode.0, length)?;
            }
            let whole = server.files.whole(&server.files.find(inode.0)?);
            if let Some(mode) = mode {
                fs::set_permissions(&whole, fs::Permissions::from_mode(mode & 0o7777))?;
            }
            if uid.is_some() || gid.is_some() {
                chown(&whole, uid, gid)?;
            }
            server.files.look_at(side, inode.0)
        };
        self.pass(kind, &path, reply, work, |reply, seen| say_attributes(reply, &seen));
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let (side, path) = (self.side, self.name_in(parent, name));
        let new = path.clone();
        let work = move |server: &Server| {
            server.files.make(side, &new, |whole| {
                fs::create_dir(whole)?;
                fs::set_permissions(whole, fs::Permissions::from_mode(mode & 0o7777))
            })
        };
        self.pass(Kind::Alter, &path, reply, work, |reply, seen| say_entry(reply, &seen));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let path = self.name_in(parent, name);
        let gone = path.clone();
        let work = move |server: &Server| fs::remove_file(server.files.whole(&gone));
        self.pass(Kind::Alter, &path, reply, work, say_done);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let path = self.name_in(parent, name);
        let gone = path.clone();
        let work = move |server: &Server| fs::remove_dir(server.files.whole(&gone));
        self.pass(Kind::Alter, &path, reply, work, say_done);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (self.name_in(parent, name), self.name_in(new_parent, new_name));
        let (side, path) = (self.side, to.clone());
        let work = move |server: &Server| {
            let old = server.files.whole(&from);
            server.files.make(side, &to, |whole| fs::rename(old, whole)).map(drop)
        };
        self.pass(Kind::Alter, &path, reply, work, say_done);
    }

    fn link(
        &self,
        _: &Request,
        inode: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let (side, path) = (self.side, self.name_in(new_parent, new_name));
        let new = path.clone();
        let work = move |server: &Server| {
            let old = server.files.whole(&server.files.find(inode.0)?);
            server.files.make(side, &new, |whole| fs::hard_link(old, whole))
        };
        self.pass(Kind::Alter, &path, reply, work, |reply, seen| say_entry(reply, &seen));
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let path = self.server.files.name(inode.0);
        let work = move |server: &Server| server.files.open(inode.0, flags.0);
        self.pass(Kind::Open, &path, reply, work, |reply, number| {
            reply.opened(FileHandle(number), FopenFlags::FOPEN_DIRECT_IO);
        });
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (side, path) = (self.side, self.name_in(parent, name));
        let new = path.clone();
        let work = move |server: &Server| server.files.create(side, &new, mode, flags);
        self.pass(Kind::Create, &path, reply, work, |reply, (seen, number)| {
            let (seen, file) = (attributes(&seen), FileHandle(number));
            reply.created(&NOT_AT_ALL, &seen, Generation(0), file, FopenFlags::FOPEN_DIRECT_IO);
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        file: FileHandle,
        offset: u64,
        most: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let side = self.side;
        let most = most as usize;
        let work = move |server: &Server, open: &Open| server.files.read(side, open, offset, most);
        self.pass_open(Kind::Read, file, reply, work, |reply, bytes| reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        file: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (side, bytes) = (self.side, data.to_vec());
        let work = move |server: &Server, open: &Open| {
            server.check_lock(file.0)?;
            server.files.write(side, open, offset, &bytes).map(|()| bytes.len())
        };
        self.pass_open(Kind::Write, file, reply, work, |reply, count| {
            reply.written(u32::try_from(count).expect("the kernel writes little at a time"));
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        file: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.server.locks().close(file.0);
        self.server.files.close(file.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, file: FileHandle, _: bool, reply: ReplyEmpty) {
        // no power fails here: what was written is there
        let work = move |server: &Server, _: &Open| server.check_lock(file.0);
        self.pass_open(Kind::Sync, file, reply, work, say_done);
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let path = self.server.files.name(inode.0);
        self.pass(Kind::Sync, &path, reply, |_| Ok(()), say_done);
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let (side, path) = (self.side, self.server.files.name(inode.0));
        let work = move |server: &Server| server.files.list(side, inode.0);
        let seen = usize::try_from(offset).unwrap_or(usize::MAX);
        self.pass(Kind::List, &path, reply, work, move |mut reply, entries| {
            for ((name, meta), next) in entries.iter().zip(1..).skip(seen) {
                let kind = FileType::from_std(meta.file_type()).unwrap_or(FileType::RegularFile);
                if reply.add(INodeNo(meta.ino()), next, kind, name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(2 * FREE_BLOCKS, FREE_BLOCKS, FREE_BLOCKS, 0, 0, BLOCK, 255, BLOCK);
    }

    fn getlk(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: LockOwner,
        _: u64,
        _: u64,
        _: i32,
        _: u32,
        reply: ReplyLock,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn setlk(
        &self,
        _: &Request,
        inode: INodeNo,
        file: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        kind: i32,
        _: u32,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let asker = Asker { side: self.side, owner: owner.0, file: file.0 };
        let span = Span { start, end };
        let work = move |server: &Server, _: &Open| {
            let mut locks = server.locks();
            if kind == libc::F_UNLCK {
                locks.unlock(inode.0, asker, span);
                return Ok(());
            }
            let granted = locks.lock(inode.0, asker, span, kind == libc::F_WRLCK);
            let busy = || Error::from_raw_os_error(libc::EAGAIN);
            granted.then_some(()).ok_or_else(busy)
        };
        self.pass_open(Kind::Lock, file, reply, work, say_done);
    }
}
