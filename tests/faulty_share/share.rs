//! The share as a test has it: a folder mounted at two points, and the commands.

use std::fs;
use std::io::Result;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, MountOption, SessionACL};

use crate::gate::{Fault, Held, Kind, Side};
use crate::mount::Mount;
use crate::server::Server;
use crate::support::guard;

/// How long a mount may be in use by those who were let go.
const END_LIMIT: Duration = Duration::from_secs(5);

struct Mounted {
    point: PathBuf,
    /// Its connection's number under `/sys/fs/fuse/connections`.
    connection: u32,
    session: Option<BackgroundSession>,
}

/// The share; dropped, it lets everybody go and takes its mounts along.
pub(crate) struct Share {
    scratch: PathBuf,
    server: Arc<Server>,
    mounts: Vec<Mounted>,
}

impl Share {
    /// Mounts an empty folder twice.
    ///
    /// # Errors
    ///
    /// There is no `/dev/fuse`, or no right to mount.
    pub(crate) fn mount() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("edge-share-{}-{number}", std::process::id());
        let scratch = std::env::temp_dir().join(name);
        let folder = scratch.join("folder");
        fs::create_dir_all(&folder)?;
        let server = Arc::new(Server::of(&folder));
        let mut share = Self { scratch, server, mounts: Vec::new() };
        for side in Side::ALL {
            share.mount_at(side)?;
        }
        Ok(share)
    }

    fn mount_at(&mut self, side: Side) -> Result<()> {
        let point = self.scratch.join(if side == Side::A { "a" } else { "b" });
        fs::create_dir(&point)?;
        guard::mounted(&point);
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("faulty".to_owned())];
        config.acl = SessionACL::Owner;
        let mount = Mount::of(&self.server, side);
        let session = fuser::spawn_mount(mount, &point, &config);
        let session = session.inspect_err(|_| guard::unmounted(&point))?;
        let connection = libc::minor(fs::metadata(&point)?.dev());
        self.mounts.push(Mounted { point, connection, session: Some(session) });
        Ok(())
    }

    /// The folder itself, past all faults.
    pub(crate) fn folder(&self) -> PathBuf {
        self.scratch.join("folder")
    }

    /// Where it is mounted.
    pub(crate) fn point(&self, side: Side) -> &Path {
        &self.mounts[side.index()].point
    }

    /// Imposes a fault on a mount.
    pub(crate) fn impose(&self, side: Side, fault: Fault) {
        self.server.gate.impose(side, fault);
    }

    /// Imposes a fault on both.
    pub(crate) fn impose_on_all(&self, fault: &Fault) {
        for side in Side::ALL {
            self.impose(side, fault.clone());
        }
    }

    /// Lifts all faults of a mount, but for those of views and locks.
    pub(crate) fn heal(&self, side: Side) {
        self.server.gate.heal(side);
    }

    /// Lifts all faults of both.
    pub(crate) fn heal_all(&self) {
        for side in Side::ALL {
            self.heal(side);
        }
    }

    /// The host of a mount is lost: its callers are let go, what it asked for is done in its time.
    pub(crate) fn bury(&self, side: Side) {
        self.server.gate.bury(side);
    }

    /// What is held back.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.server.gate.held()
    }

    /// Whether an operation of this kind, below this path, is held back on a mount.
    pub(crate) fn holds(&self, side: Side, kind: Kind, below: &str) -> bool {
        let is_it = |held: &Held| {
            let path = held.path.to_string_lossy();
            held.side == side && held.kind == kind && path.starts_with(below)
        };
        self.held().iter().any(is_it)
    }

    /// Grants a lock to a mount though the other has it.
    pub(crate) fn grant_locks_to_both(&self) {
        self.server.locks().grant_to_both(true);
    }

    /// Forgets the locks of a mount; what is then written through their files fails so, if told.
    pub(crate) fn forget_locks(&self, side: Side, told: Option<i32>) {
        self.server.locks().forget(side, told);
    }

    /// Keeps the locks that a mount has now, whoever closes what.
    pub(crate) fn keep_locks(&self, side: Side) {
        self.server.locks().keep(side);
    }

    /// Keeps whatever lock a mount gets from now on.
    pub(crate) fn keep_all_locks(&self, side: Side) {
        self.server.locks().keep_all(side);
    }

    /// Nothing else is hidden than what has this in its path.
    pub(crate) fn hide_only(&self, part: &'static str) {
        self.server.files.views().hide_only(part);
    }

    /// An exclusive create of a name that is hidden from its mount succeeds.
    pub(crate) fn give_hidden_names(&self) {
        self.server.files.views().give_hidden();
    }

    /// A mount sees the names that the other makes so much later.
    pub(crate) fn hide_names(&self, from: Side, time: Duration) {
        self.server.files.views().hide_names(from, time);
    }

    /// A mount sees what the other writes so much later.
    pub(crate) fn hide_bytes(&self, from: Side, time: Duration) {
        self.server.files.views().hide_bytes(from, time);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.server.gate.end();
        for mounted in &mut self.mounts {
            if let Some(session) = mounted.session.take() {
                end(session, &mounted.point, mounted.connection);
            }
            guard::unmounted(&mounted.point);
        }
        if !thread::panicking() && std::env::var_os("EDGE_KEEP").is_none() {
            drop(fs::remove_dir_all(&self.scratch));
        }
    }
}

/// Takes a mount away: at once for everybody who comes, for who is in it once that is over, at
/// the latest by force.
fn end(session: BackgroundSession, point: &Path, connection: u32) {
    // only root may do it himself
    let ways = [("umount", "-l"), ("fusermount3", "-uz"), ("fusermount", "-uz")];
    let is_gone = ways.iter().any(|(program, how)| {
        let mut command = Command::new(program);
        command.arg(how).arg(point).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    });
    if !is_gone {
        eprintln!("share: cannot unmount {}", point.display());
    }
    let limit = Instant::now() + END_LIMIT;
    while !session.guard.is_finished() {
        if Instant::now() > limit {
            drop(fs::write(format!("/sys/fs/fuse/connections/{connection}/abort"), "1"));
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    drop(session.umount_and_join());
}
