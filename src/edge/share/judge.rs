//! What a mount's type and options mean for a site, and what mends the bad ones.
//!
//! | file system | option | what it does | judged |
//! |---|---|---|---|
//! | SMB | `nobrl` | locks stay on the client: two hosts are granted the same one | unsafe |
//! | NFS 3 | `nolock`, `local_lock=` `all` or `posix` | the same | unsafe |
//! | SMB | `closetimeo=` other than 0 | closed files stay open for so long; a lost host's hold up every other's for 35 to 70 s | remark |
//! | SMB | no `serverino` (what `noserverino` looks like) | inode numbers are the client's own: a replaced lock file is seen where none is | remark |
//! | SMB | `vers=` below 3 | slow to notice a host that is lost | remark |
//! | SMB | `file_mode` for more than the owner | everybody on the gateway reads the keys | remark |
//! | NFS 3 | | a lost host's lock never comes free: takeover by silence | remark |
//! | NFS | `soft`, `softerr` | an operation that times out is an error, and what it wrote may be lost | remark |
//! | NFS 4 | a lease above 25 s | a lost host's lock comes free late | remark |
//! | NFS 4 | module parameter `recover_lost_locks` | a lock that was lost is taken again without a word | remark |
//!
//! Nothing is said of SMB leases (`nolease`): while one host alone has the lock file open, its lock
//! stays with it, but terms keep that harmless, and takeovers were slower without leases.
//!
//! SMB mounts are soft by default, and their time-outs are handled; the server's own settings
//! cannot be seen from here.

use std::fs::File;
use std::io::{BufRead, BufReader};

use super::mount::Mount;
use crate::limits::NFS_LEASE_S_MAX;

/// What is known of a mount beside its options.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Facts {
    /// The server's NFS 4 lease, in s.
    lease_s: Option<u32>,
    /// The NFS client's module parameter.
    recovers_lost_locks: bool,
}

impl Facts {
    /// From /proc and /sys; what is not there is not known.
    pub(super) fn of(mount: &Mount) -> Self {
        if mount.kind != "nfs4" {
            return Self::default();
        }
        let parameter = "/sys/module/nfs/parameters/recover_lost_locks";
        let told = std::fs::read_to_string(parameter).unwrap_or_default();
        let mounts = File::open("/proc/self/mountstats").ok();
        let lease_s = mounts.and_then(|file| lease_in(BufReader::new(file), &mount.point));
        Self { lease_s, recovers_lost_locks: matches!(told.trim(), "Y" | "1") }
    }
}

/// The lease of the NFS mount at `point`, by `/proc/self/mountstats`:
/// `device srv:/e mounted on /mnt with fstype nfs4 …`, then indented lines, one of which has
/// `lease_time=90`.
fn lease_in(mut lines: impl BufRead, point: &str) -> Option<u32> {
    let mut line = Vec::new();
    let mut is_ours = false;
    while lines.read_until(b'\n', &mut line).ok()? > 0 {
        let text = String::from_utf8_lossy(&line);
        if text.starts_with("device ") {
            is_ours = text.contains(&format!(" mounted on {point} with fstype nfs"));
        } else if is_ours && let Some((_, lease)) = text.split_once("lease_time=") {
            let digits = lease.split(|letter: char| !letter.is_ascii_digit()).next()?;
            return digits.parse().ok();
        }
        line.clear();
    }
    None
}

/// What makes a mount unsafe: then its locks are left alone, and only silence counts.
pub(super) fn unsafe_because(mount: &Mount) -> Option<String> {
    let option = mount.unsafe_option()?;
    Some(format!("with {option} two hosts are granted the same lock: mount without it"))
}

/// What works and could be better, each with its remedy.
pub(super) fn remarks(mount: &Mount, facts: Facts) -> Vec<String> {
    match mount.kind.as_str() {
        "cifs" | "smb3" => remarks_on_smb(mount),
        "nfs" | "nfs4" => remarks_on_nfs(mount, facts),
        _ => Vec::new(),
    }
}

fn remarks_on_smb(mount: &Mount) -> Vec<String> {
    let has = |wanted: &str| mount.options().any(|option| option == wanted);
    let mut remarks = Vec::new();
    let mut say = |text: &str| remarks.push(text.to_owned());
    if mount.value_of("closetimeo").is_some_and(|wait| wait != "0") {
        say("files that are closed stay open for a while, and those of a lost host hold up the \
             others for a minute: mount with closetimeo=0");
    }
    if !has("serverino") {
        say("without serverino a replaced lock file is seen where there is none, and the master \
             resigns: mount with serverino");
    }
    if mount.value_of("vers").is_some_and(|version| !version.starts_with('3')) {
        say("SMB before version 3 is slow to notice a lost host: mount with vers=3.1.1");
    }
    let mode = mount.value_of("file_mode").and_then(|mode| u32::from_str_radix(mode, 8).ok());
    // with extensions of its own the server keeps each file's mode
    let keeps_modes = has("unix") || has("posix");
    if !keeps_modes && mode.is_some_and(|mode| mode & 0o077 != 0) {
        say("everybody on this gateway can read the keys: mount with file_mode=0600, \
             dir_mode=0700 and the agent's uid and gid");
    }
    remarks
}

fn remarks_on_nfs(mount: &Mount, facts: Facts) -> Vec<String> {
    let mut remarks = Vec::new();
    if mount.kind == "nfs" {
        remarks.push(
            "with NFS 3 the lock of a lost host never comes free, and only silence counts: \
             mount with vers=4.2"
                .to_owned(),
        );
    }
    if let Some(soft) = mount.options().find(|option| matches!(*option, "soft" | "softerr")) {
        remarks.push(format!(
            "with {soft} an operation that takes long fails, and what it wrote may be lost: mount \
             with hard"
        ));
    }
    if let Some(lease_s) = facts.lease_s.filter(|lease_s| *lease_s > NFS_LEASE_S_MAX) {
        remarks.push(format!(
            "the server's lease is {lease_s} s: the lock of a lost host comes free after {lease_s} \
             to {} s: set lease-time=15 and grace-time=15 under [nfsd] in its /etc/nfs.conf",
            2 * lease_s
        ));
    }
    if facts.recovers_lost_locks {
        remarks.push(
            "with recover_lost_locks=Y a lost lock is taken again without a word: set the nfs \
             module's parameter to N"
                .to_owned(),
        );
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &str) -> Mount {
        Mount {
            kind: kind.into(),
            origin: "8:1".into(),
            root: "/".into(),
            point: "/mnt/edge".into(),
            options: format!("rw,{options},"),
        }
    }

    #[test]
    fn every_row_is_judged() {
        let none = Facts::default();
        let lease = |lease_s| Facts { lease_s: Some(lease_s), ..none };
        let recovers = Facts { recovers_lost_locks: true, ..none };
        for (kind, options, facts, words) in [
            ("ext4", "", none, &[][..]),
            ("nfs4", "vers=4.2,hard", none, &[]),
            ("nfs4", "vers=4.2,hard", lease(25), &[]),
            ("nfs4", "vers=4.2,hard", lease(90), &["90 to 180 s"]),
            ("nfs4", "vers=4.2,soft", recovers, &["with soft", "recover_lost_locks"]),
            ("nfs4", "vers=4.0,softerr", none, &["with softerr"]),
            ("nfs", "vers=3,hard", none, &["NFS 3"]),
            ("cifs", "vers=3.1.1,nolease,serverino,file_mode=0600", none, &[]),
            ("cifs", "vers=3.1.1,serverino,file_mode=0755", none, &["file_mode=0600"]),
            ("cifs", "vers=3.1.1,serverino,posix,file_mode=0755", none, &[]),
            ("smb3", "vers=3.0,nolease,closetimeo=0", none, &["serverino"]),
            ("cifs", "vers=3.1.1,nolease,serverino,closetimeo=1", none, &["closetimeo=0"]),
            ("cifs", "vers=2.1,nolease,serverino", none, &["vers=3.1.1"]),
            ("fuse.sshfs", "", none, &[]),
        ] {
            let found = remarks(&mount(kind, options), facts);
            assert_eq!(found.len(), words.len(), "{kind} {options}: {found:?}");
            for (remark, word) in found.iter().zip(words) {
                assert!(remark.contains(word), "{kind} {options}: {remark}");
            }
        }
    }

    #[test]
    fn unsafe_mounts_are_those_that_give_a_lock_twice() {
        for (kind, options, expected) in [
            ("cifs", "vers=3.1.1,nobrl", Some("nobrl")),
            ("nfs", "vers=3,nolock", Some("nolock")),
            ("nfs", "vers=3,local_lock=posix", Some("local_lock=posix")),
            ("nfs4", "vers=4.1,nolock,local_lock=none", None),
            ("ext4", "nobrl", None),
        ] {
            let found = unsafe_because(&mount(kind, options));
            assert_eq!(found.is_some(), expected.is_some(), "{kind} {options}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()));
        }
    }

    #[test]
    fn the_lease_is_that_of_our_mount() {
        let text = "device rootfs mounted on / with fstype rootfs\n\
            device srv:/a mounted on /mnt/a with fstype nfs4 statvers=1.1\n\
            \tnfsv4:\tbm0=0x1,acl=0x3,sessions,pnfs=not configured,lease_time=90,lease_expired=0\n\
            device srv:/b mounted on /mnt/edge with fstype nfs4 statvers=1.1\n\
            \topts:\trw,vers=4.2\n\
            \tnfsv4:\tbm0=0x1,lease_time=15,lease_expired=0\n";
        assert_eq!(lease_in(text.as_bytes(), "/mnt/edge"), Some(15));
        assert_eq!(lease_in(text.as_bytes(), "/mnt/a"), Some(90));
        assert_eq!(lease_in(text.as_bytes(), "/mnt"), None);
    }
}
