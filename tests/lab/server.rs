//! The file server: a folder of the machine, exported by knfsd and by smbd, and the networks.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::advice;
use crate::host::MOUNT;
use crate::shell::{run, try_run};

/// The service's user and group.
pub(crate) const USER: u32 = 8480;
/// The folder that is exported.
pub(crate) const EXPORT: &str = "/srv/edge";
/// The password of the share's user.
pub(crate) const PASSWORD: &str = "pw";
/// The lease of a server that was told nothing, in s.
const LEASE_S: u32 = 90;
/// What the README would have on newer kernels alone.
const CLOSED_AT_ONCE: &str = ",closetimeo=0";

/// What the gateways mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Share {
    /// NFS.
    Nfs {
        /// As the mount option `vers` names it.
        version: &'static str,
        /// The server's lease, in s.
        lease_s: u32,
    },
    /// SMB 3.1.1.
    Smb {
        /// Mount options beside the README's, of which [`CLOSED_AT_ONCE`] is left out.
        options: &'static str,
    },
}

impl Share {
    /// All of them, by their names in the laboratory.
    pub(crate) const ALL: [(&'static str, Self); 9] = [
        ("nfs15", Self::Nfs { version: "4.2", lease_s: 15 }),
        ("smb", Self::Smb { options: "" }),
        ("tuned", Self::Smb { options: CLOSED_AT_ONCE }),
        ("nfs90", Self::Nfs { version: "4.2", lease_s: 90 }),
        ("nfs41", Self::Nfs { version: "4.1", lease_s: 90 }),
        ("nfs3", Self::Nfs { version: "3", lease_s: 90 }),
        ("nolease", Self::Smb { options: ",nolease" }),
        ("unix", Self::Smb { options: ",posix" }),
        ("nobrl", Self::Smb { options: ",nobrl" }),
    ];

    /// Its name in the laboratory.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, share)| *share == self).map_or("", |(name, _)| name)
    }

    /// By its name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, share)| share)
    }

    /// Whether it is NFS 3, whose locks are a protocol of their own.
    pub(crate) fn is_nfs3(self) -> bool {
        matches!(self, Self::Nfs { version: "3", .. })
    }

    /// Whether its locks do not reach the server.
    pub(crate) fn is_unsafe(self) -> bool {
        self == Self::Smb { options: ",nobrl" }
    }

    /// After how long without a word the server takes what a client holds, in s; NFS 3 never does.
    pub(crate) fn lease_s(self) -> Option<u32> {
        match self {
            Self::Nfs { lease_s, .. } if !self.is_nfs3() => Some(lease_s),
            Self::Nfs { .. } | Self::Smb { .. } => None,
        }
    }

    /// What mounts it as the README has it, with more options.
    pub(crate) fn mount_line(self, more: &str) -> String {
        let (kind, advised, options) = match self {
            Self::Nfs { version, .. } => {
                let advised = advice::mount("nfs");
                let options = advised.options.replace("vers=4.2", &format!("vers={version}"));
                ("nfs", advised, options)
            }
            Self::Smb { options } => {
                let advised = advice::mount("cifs");
                let all = advised.options.replace(CLOSED_AT_ONCE, "");
                ("cifs", advised, all + options)
            }
        };
        format!("mount -t {kind} -o {options}{more} {} {}", advised.device, advised.point)
    }
}

/// The file system that is exported, both networks, and names for both.
///
/// The bridges have fixed addresses: otherwise taking one port off changes the bridge's, and
/// cuts the others off for seconds.
pub(crate) fn prepare() {
    run("modprobe -a nfsd nfsv3 nfsv4 cifs veth bridge loop ext4");
    let disk = fs::File::create("/tmp/disk").expect("room in memory");
    disk.set_len(192 << 20).expect("room in memory");
    for folder in [EXPORT, MOUNT] {
        fs::create_dir_all(folder).expect("the machine is ours");
    }
    run(&format!("mkfs.ext4 -q /tmp/disk && mount -o loop /tmp/disk {EXPORT}"));
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
        Share::Nfs { lease_s, .. } => {
            run("mount -t nfsd nfsd /proc/fs/nfsd && \
                 mount -t rpc_pipefs rpc_pipefs /var/lib/nfs/rpc_pipefs");
            // Debian's is made when its package is configured
            fs::write("/etc/nfs.conf", "[general]\n").expect("the machine is ours");
            if lease_s != LEASE_S {
                let settings = advice::settings("nfsd");
                fs::write("/etc/nfs.conf.d/edge.conf", settings).expect("the machine is ours");
            }
            fs::write("/etc/exports", "").expect("the machine is ours");
            if share.is_nfs3() {
                fs::write("/proc/sys/fs/nfs/nlm_grace_period", "5").expect("lockd takes its time");
                fs::create_dir_all("/run/rpcbind").expect("the machine is ours");
                run("rpcbind -w && rpc.statd --no-notify");
                run("nfsdcld && rpc.mountd");
            } else {
                run("nfsdcld && rpc.mountd -N 3");
            }
        }
        Share::Smb { options } => {
            let unix = if options == ",posix" { "smb3 unix extensions = yes\n" } else { "" };
            let edge = advice::settings("edge");
            let settings = format!(
                "[global]\nworkgroup = WORKGROUP\nserver role = standalone server\n\
                 disable netbios = yes\nsmb ports = 445\nload printers = no\n{unix}\
                 log file = /var/log/samba/log.%m\n{edge}"
            );
            fs::write("/etc/samba/smb.conf", settings).expect("the machine is ours");
            let mut options = advice::mount("cifs").options.split(',');
            let file = options.find_map(|option| option.strip_prefix("credentials="));
            let words = format!("username=edge-agent\npassword={PASSWORD}\n");
            fs::write(file.expect("it is in a file"), words).expect("the machine is ours");
            fs::create_dir_all("/run/samba").expect("the machine is ours");
            let words = format!("{PASSWORD}\\n{PASSWORD}\\n");
            run(&format!("printf '{words}' | smbpasswd -a -s edge-agent"));
        }
    }
    start(share);
    if let Share::Nfs { lease_s, .. } = share {
        let lease = fs::read_to_string("/proc/fs/nfsd/nfsv4leasetime").expect("knfsd runs");
        assert_eq!(lease.trim(), lease_s.to_string(), "the server's lease is another");
        // nobody has anything to reclaim yet; it refuses where it ended by itself
        let file = "/proc/fs/nfsd/v4_end_grace";
        wait("nfsd's grace to end", || {
            fs::write(file, "Y").is_ok()
                || fs::read_to_string(file).is_ok_and(|ended| ended.starts_with('Y'))
        });
    }
}

/// Starts a server that was stopped.
pub(crate) fn start(share: Share) {
    match share {
        Share::Nfs { .. } => {
            let versions = if share.is_nfs3() { "" } else { "-N 3" };
            let options = advice::export_options();
            run(&format!("exportfs -i -o {options} '*:{EXPORT}' && rpc.nfsd {versions} 8"));
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
        Share::Nfs { .. } => {
            run("rpc.nfsd 0 && exportfs -f");
        }
        Share::Smb { .. } => end_smbd("TERM"),
    }
}

/// The same while data is on its way: packets are lost first, and nobody says good-bye.
pub(crate) fn crash(share: Share) {
    run("ip link set storage down");
    match share {
        Share::Nfs { .. } => stop(share),
        Share::Smb { .. } => end_smbd("KILL"),
    }
    run("ip link set storage up");
}

fn end_smbd(signal: &str) {
    let is_smbd = |name: &str| name.starts_with("smbd");
    let all = || crate::support::processes::named(is_smbd);
    crate::support::processes::signal(signal, &all());
    wait("smbd to end", || all().is_empty());
}

/// Fills the file system that is exported, to the last block; gives what is to be deleted.
pub(crate) fn fill() -> PathBuf {
    let path = PathBuf::from(EXPORT).join("filling");
    // what does not fit is the purpose
    let _ = try_run(&[], &format!("cat /dev/zero >{}; sync", path.display()));
    path
}

/// What knfsd keeps for its clients: kind (`open`, `lock`, `deleg`, `layout`) and file
/// (`/proc/fs/nfsd/clients/*/states`).
pub(crate) fn kept() -> Vec<(String, String)> {
    let mut kept = Vec::new();
    for client in fs::read_dir("/proc/fs/nfsd/clients").expect("knfsd runs").flatten() {
        // a client may go meanwhile
        let states = fs::read_to_string(client.path().join("states")).unwrap_or_default();
        for state in states.lines() {
            let field =
                |name| state.split(name).nth(1).and_then(|rest| rest.split([',', ' ', '"']).next());
            if let Some(kind) = field("type: ") {
                let file = field("filename: \"").unwrap_or_default();
                kept.push((kind.to_owned(), file.to_owned()));
            }
        }
    }
    kept
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "waited 60 s in vain for {what}");
        thread::sleep(Duration::from_millis(100));
    }
}
