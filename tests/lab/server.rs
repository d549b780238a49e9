//! The file server: a folder of the machine, exported by knfsd and by smbd, and the networks.

use std::fs;
use std::os::unix::fs::chown;
use std::thread;
use std::time::{Duration, Instant};

use crate::host::MOUNT;
use crate::shell::{run, try_run};

/// The service's user and group.
pub(crate) const USER: u32 = 8480;
/// The folder that is exported.
pub(crate) const EXPORT: &str = "/export";
/// The password of the share's user.
pub(crate) const PASSWORD: &str = "pw";

/// What the gateways mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Share {
    /// NFS 4.2, with this lease in s.
    Nfs(u32),
    /// SMB 3.1.1, as it is mounted by default or with `closetimeo=0`, which `check` asks for.
    Smb {
        /// Files that are closed do not stay open for a while.
        tuned: bool,
    },
}

impl Share {
    /// All of them.
    pub(crate) const ALL: [Self; 4] =
        [Self::Nfs(15), Self::Smb { tuned: false }, Self::Smb { tuned: true }, Self::Nfs(90)];

    /// Its name in the laboratory.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nfs(15) => "nfs15",
            Self::Nfs(_) => "nfs90",
            Self::Smb { tuned: false } => "smb",
            Self::Smb { tuned: true } => "tuned",
        }
    }

    /// By its name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|share| share.name() == name)
    }

    /// What mounts it for the service's user, with more options.
    pub(crate) fn mount_line(self, options: &str) -> String {
        match self {
            Self::Nfs(_) => format!("mount -t nfs -o vers=4.2{options} files:{EXPORT} /mnt"),
            Self::Smb { tuned } => format!(
                "mount -t cifs -o username=edge-agent,password={PASSWORD},uid={USER},gid={USER},\
                 file_mode=0600,dir_mode=0700{}{options} //files/data /mnt",
                if tuned { ",closetimeo=0" } else { "" }
            ),
        }
    }
}

/// The file system that is exported, both networks, and names for both.
///
/// The bridges have fixed addresses: otherwise taking one port off changes the bridge's, and
/// cuts the others off for seconds.
pub(crate) fn prepare() {
    run("modprobe -a nfsd nfsv4 cifs veth bridge loop ext4");
    let disk = fs::File::create("/tmp/disk").expect("room in memory");
    disk.set_len(192 << 20).expect("room in memory");
    run("mkfs.ext4 -q /tmp/disk && mount -o loop /tmp/disk /export");
    // the empty mount point could be written to, too
    for folder in [EXPORT, MOUNT] {
        chown(folder, Some(USER), Some(USER)).expect("we are root");
    }
    let hosts = "127.0.0.1 localhost\n10.9.0.1 files\n10.8.0.1 cloud.test\n";
    fs::write("/etc/hosts", hosts).expect("the machine is ours");
    run("ip link set lo up");
    for (bridge, number) in [("storage", 9), ("management", 8)] {
        run(&format!(
            "ip link add {bridge} address 02:00:00:00:00:0{number} type bridge forward_delay 0 && \
             ip addr add 10.{number}.0.1/16 dev {bridge} && ip link set {bridge} up"
        ));
    }
}

/// Starts the server of a share for the first time.
pub(crate) fn begin(share: Share) {
    match share {
        Share::Nfs(lease_s) => {
            run("mount -t nfsd nfsd /proc/fs/nfsd && \
                 mount -t rpc_pipefs rpc_pipefs /var/lib/nfs/rpc_pipefs");
            for file in ["nfsv4leasetime", "nfsv4gracetime"] {
                let path = format!("/proc/fs/nfsd/{file}");
                fs::write(path, lease_s.to_string()).expect("nfsd takes its times");
            }
            run("nfsdcld && rpc.mountd -N 3");
            fs::write("/etc/exports", "").expect("the machine is ours");
        }
        Share::Smb { .. } => {
            let settings = format!(
                "[global]\nworkgroup = WORKGROUP\nserver role = standalone server\n\
                 disable netbios = yes\nsmb ports = 445\nload printers = no\n\
                 log file = /var/log/samba/log.%m\n\
                 [data]\npath = {EXPORT}\nread only = no\n"
            );
            fs::write("/etc/samba/smb.conf", settings).expect("the machine is ours");
            fs::create_dir_all("/run/samba").expect("the machine is ours");
            let words = format!("{PASSWORD}\\n{PASSWORD}\\n");
            run(&format!("printf '{words}' | smbpasswd -a -s edge-agent"));
        }
    }
    start(share);
    if matches!(share, Share::Nfs(_)) {
        // nobody has anything to reclaim yet
        fs::write("/proc/fs/nfsd/v4_end_grace", "Y").expect("nfsd can end its grace");
    }
}

/// Starts a server that was stopped.
pub(crate) fn start(share: Share) {
    match share {
        Share::Nfs(_) => {
            run(&format!(
                "exportfs -i -o rw,no_root_squash,no_subtree_check '*:{EXPORT}' && \
                 rpc.nfsd -N 3 8"
            ));
        }
        Share::Smb { .. } => {
            run("smbd -D");
            wait("smbd to listen", || try_run(&[], "smbcontrol smbd ping").is_ok());
        }
    }
}

/// Stops it: its clients are cut off, and what they held is forgotten.
pub(crate) fn stop(share: Share) {
    match share {
        Share::Nfs(_) => {
            run("rpc.nfsd 0 && exportfs -f");
        }
        Share::Smb { .. } => {
            let is_smbd = |name: &str| name.starts_with("smbd");
            let all = || crate::support::processes::named(is_smbd);
            crate::support::processes::signal("TERM", &all());
            wait("smbd to end", || all().is_empty());
        }
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "waited 60 s in vain for {what}");
        thread::sleep(Duration::from_millis(100));
    }
}
