//! What the data directory is mounted from: its file system, and the share's class.
//!
//! By the `mnt_id` of an open descriptor (`/proc/self/fdinfo`, Linux 3.15), looked up in
//! `/proc/self/mountinfo`: statfs(2) cannot tell NFS versions, and `st_dev` misleads behind
//! bind mounts. Without /proc everything is doubtful.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use crate::engine::ident::ShareClass;

/// File systems of one host alone.
const LOCAL: [&str; 10] =
    ["ext4", "xfs", "btrfs", "f2fs", "ubifs", "jffs2", "zfs", "tmpfs", "overlay", "ramfs"];

/// A mount, as `/proc/self/mountinfo` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// The file system's type: `ext4`, `nfs4`, `cifs`.
    pub kind: String,
    /// Its device, major and minor number.
    pub origin: String,
    /// Which part of it is mounted, with octal escapes as the kernel writes them,
    pub root: String,
    /// and where, likewise.
    pub point: String,
    /// The mount's and the file system's options, with a comma after each.
    pub options: String,
}

impl Mount {
    /// How far a granted lock speaks for the previous holder's end.
    pub fn class(&self) -> ShareClass {
        let kind = self.kind.as_str();
        if LOCAL.contains(&kind) {
            ShareClass::Local
        } else if kind == "nfs4" && self.options().any(|option| option.starts_with("vers=4")) {
            ShareClass::Nfs4
        } else {
            ShareClass::Doubtful
        }
    }

    /// Whether it is SMB.
    pub fn is_smb(&self) -> bool {
        matches!(self.kind.as_str(), "cifs" | "smb3")
    }

    /// Each option.
    pub fn options(&self) -> impl Iterator<Item = &str> {
        self.options.split(',').filter(|option| !option.is_empty())
    }

    /// What stands behind `name=` in the options.
    pub fn value_of(&self, name: &str) -> Option<&str> {
        self.options().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }

    /// The option under which two hosts are granted the same lock, if there is one.
    ///
    /// NFS version 4 shows and ignores them.
    pub fn unsafe_option(&self) -> Option<&str> {
        let smb = self.is_smb();
        let old_nfs = self.kind == "nfs";
        self.options().find(|&option| {
            (smb && option == "nobrl")
                || (old_nfs && matches!(option, "nolock" | "local_lock=all" | "local_lock=posix"))
        })
    }
}

/// The mount of an open file or directory.
///
/// # Errors
///
/// /proc is not mounted, or does not list it.
pub fn of(file: impl AsFd) -> io::Result<Mount> {
    let descriptor = file.as_fd().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}"))?;
    let id = info
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))
        .map(str::trim)
        .ok_or(io::ErrorKind::NotFound)?;
    let mut lines = BufReader::with_capacity(4_096, File::open("/proc/self/mountinfo")?);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        if let Some(mount) = parse(&text, id) {
            return Ok(mount);
        }
        line.clear();
    }
    Err(io::ErrorKind::NotFound.into())
}

/// The mount of what stands at `path`.
///
/// # Errors
///
/// It cannot be opened, or see [`of`].
pub fn of_path(path: &Path) -> io::Result<Mount> {
    of(File::open(path)?)
}

/// Where a folder lies, whatever it is mounted as: its device, and its path on that. Two
/// containers that each see another folder by the same path have different places.
///
/// # Errors
///
/// It is not there, or see [`of`].
pub fn place_of(folder: &Path) -> io::Result<String> {
    let path = fs::canonicalize(folder)?;
    Ok(place_in(&of_path(&path)?, &path))
}

fn place_in(mount: &Mount, path: &Path) -> String {
    let inside = path.strip_prefix(&mount.point).unwrap_or(path);
    let root = mount.root.trim_end_matches('/');
    format!("{} {root}/{}", mount.origin, inside.display())
}

/// Reads a line of mountinfo, proc(5): id, parent, device, root, point, options, optional
/// fields, `-`, type, source, options of the file system.
fn parse(line: &str, id: &str) -> Option<Mount> {
    let mut fields = line.split_ascii_whitespace();
    if fields.next()? != id {
        return None;
    }
    let origin = fields.nth(1)?;
    let root = fields.next()?;
    let point = fields.next()?;
    let options = fields.next()?;
    fields.find(|&field| field == "-")?;
    let kind = fields.next()?;
    let inner = fields.nth(1).unwrap_or_default();
    Some(Mount {
        kind: kind.into(),
        origin: origin.into(),
        root: root.into(),
        point: point.into(),
        options: format!("{options},{inner},"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(line: &str) -> ShareClass {
        parse(line, "36").expect("a line of mountinfo").class()
    }

    #[test]
    fn classes_follow_the_file_system_and_the_version() {
        let ext4 = "36 35 98:0 / /mnt/a rw,noatime master:1 shared:7 - ext4 /dev/root rw,errors=x";
        assert_eq!(class_of(ext4), ShareClass::Local);
        let nfs4 = "36 35 0:44 / /mnt/a rw - nfs4 srv:/e rw,vers=4.2,hard,local_lock=none";
        assert_eq!(class_of(nfs4), ShareClass::Nfs4);
        let nfs3 = "36 35 0:44 / /mnt/a rw - nfs srv:/e rw,vers=3,nolock,local_lock=all";
        assert_eq!(class_of(nfs3), ShareClass::Doubtful);
        let smb = "36 35 0:44 / /mnt/a rw - cifs //srv/e rw,vers=3.1.1,nobrl";
        assert_eq!(class_of(smb), ShareClass::Doubtful);
        let fuse = "36 35 0:44 / /mnt/a rw - fuse.sshfs a:/e rw,user_id=0";
        assert_eq!(class_of(fuse), ShareClass::Doubtful);
    }

    #[test]
    fn options_that_give_a_lock_twice_are_found() {
        let of = |line: &str| {
            parse(line, "36").and_then(|mount| mount.unsafe_option().map(str::to_owned))
        };
        let smb = "36 35 0:44 / /mnt/a rw - cifs //srv/e rw,vers=3.1.1,nobrl";
        assert_eq!(of(smb).as_deref(), Some("nobrl"));
        let nfs3 = "36 35 0:44 / /mnt/a rw - nfs srv:/e rw,vers=3,nolock";
        assert_eq!(of(nfs3).as_deref(), Some("nolock"));
        let nfs4 = "36 35 0:44 / /mnt/a rw - nfs4 srv:/e rw,vers=4.1,nolock,local_lock=none";
        assert_eq!(of(nfs4), None);
    }

    #[test]
    fn a_folder_has_one_place_however_it_is_mounted() {
        let place = |line: &str, path: &str| {
            place_in(&parse(line, "36").expect("a line of mountinfo"), Path::new(path))
        };
        let host = "36 35 0:25 / /run rw shared:5 - tmpfs tmpfs rw";
        let bound = "36 35 0:25 /a /run/edge-agent rw shared:5 - tmpfs tmpfs rw";
        assert_eq!(place(host, "/run/edge-agent"), "0:25 /edge-agent");
        assert_eq!(place(host, "/run/a/b"), "0:25 /a/b");
        assert_eq!(place(bound, "/run/edge-agent/b"), "0:25 /a/b");
        let whole = "36 35 0:99 / / rw - overlay overlay rw";
        assert_eq!(place(whole, "/run/edge-agent"), "0:99 /run/edge-agent");
        let here = std::env::temp_dir();
        assert_eq!(place_of(&here).expect("mounted"), place_of(&here).expect("mounted"));
        assert!(place_of(&here.join("edge-agent-is-not-there")).is_err());
    }

    #[test]
    fn another_mounts_line_is_passed_over() {
        assert_eq!(parse("37 35 98:0 / /mnt/a rw - ext4 /dev/root rw", "36"), None);
        assert_eq!(parse("36 35", "36"), None);
    }

    #[test]
    fn our_own_directory_is_mounted_from_something() {
        let mount = of_path(Path::new("/proc")).expect("/proc is mounted");
        assert_eq!(mount.kind, "proc");
        assert_eq!(mount.class(), ShareClass::Doubtful);
    }
}
