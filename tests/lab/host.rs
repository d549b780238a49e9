//! A gateway's host: namespaces of its own for network, host name and mounts, joined to two
//! bridges: the storage network, where the file server is, and the management network, where
//! the cloud is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::server::{EXPORT, Share, USER};
use crate::shell::{run, try_run};
use crate::support::site::Place;

/// Where every host mounts the share.
pub(crate) const MOUNT: &str = "/shared-vol";

/// A network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// To the file server.
    Storage,
    /// To the cloud.
    Management,
}

impl Link {
    const fn bridge(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Management => "management",
        }
    }
}

/// A host; it is gone once this is dropped.
pub(crate) struct Host {
    name: String,
    /// Its namespaces live as long as this process, and that as long as its input.
    holder: Child,
}

impl Host {
    /// A host with addresses that no other host of this machine ever had.
    pub(crate) fn new(cell: usize, number: u8) -> Self {
        let name = format!("gw{number}-{cell}");
        let mut holder = Command::new("unshare");
        holder.args(["--net", "--uts", "--mount", "--propagation", "private"]);
        holder.args(["sh", "-c", "echo up; read end"]);
        holder.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = holder.spawn().expect("host: cannot run unshare");
        let output = holder.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("host: cannot read");
        assert_eq!(line, "up\n", "host: no namespaces");
        let host = Self { name, holder };
        let name = &host.name;
        host.run(&format!("echo {name} >/proc/sys/kernel/hostname && ip link set lo up"));
        for link in [Link::Storage, Link::Management] {
            let net = if link == Link::Storage { 9 } else { 8 };
            let (port, inner) = (host.port(link), link.bridge());
            run(&format!("ip link add {port} type veth peer name {inner} netns {}", host.pid()));
            host.run(&format!(
                "ip addr add 10.{net}.{cell}.{number}/16 dev {inner} && ip link set {inner} up"
            ));
            host.heal(link);
        }
        host
    }

    fn pid(&self) -> u32 {
        self.holder.id()
    }

    fn port(&self, link: Link) -> String {
        let letter = if link == Link::Storage { 's' } else { 'm' };
        format!("{letter}-{}", self.name)
    }

    fn enter(&self, user: u32) -> Vec<String> {
        let pid = self.pid();
        let line = format!("nsenter -t {pid} --net --uts --mount -S {user} -G {user} --");
        line.split(' ').map(str::to_owned).collect()
    }

    /// Runs a line of shell there, as root.
    pub(crate) fn try_run(&self, line: &str) -> Result<String, String> {
        try_run(&self.enter(0), line)
    }

    /// The same by the service's user: root is nobody on the share.
    pub(crate) fn try_run_as_service(&self, line: &str) -> Result<String, String> {
        try_run(&self.enter(USER), line)
    }

    /// Runs a line of shell there that must succeed.
    pub(crate) fn run(&self, line: &str) -> String {
        self.try_run(line).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Begins a line of shell there that may block.
    pub(crate) fn begin(&self, line: &str) -> Child {
        let enter = self.enter(0);
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).args(["sh", "-c", line]).stdin(Stdio::null());
        command.spawn().expect("host: cannot run nsenter")
    }

    /// Drops every packet of a network from now on; nobody is told.
    pub(crate) fn cut(&self, link: Link) {
        run(&format!("ip link set {} nomaster", self.port(link)));
    }

    /// Joins it again.
    pub(crate) fn heal(&self, link: Link) {
        run(&format!("ip link set {} master {} up", self.port(link), link.bridge()));
    }

    /// Mounts the share, with more options.
    pub(crate) fn mount(&self, share: Share, options: &str) {
        self.prepare(share);
        self.run(&share.mount_line(options));
    }

    /// What a host needs before it mounts: on NFS 3 the daemons that give it locks, once.
    pub(crate) fn prepare(&self, share: Share) {
        let state = PathBuf::from(format!("/tmp/nfs-{}", self.name));
        if !share.is_nfs3() || state.exists() {
            return;
        }
        for folder in ["sm", "sm.bak", "run/rpcbind"] {
            fs::create_dir_all(state.join(folder)).expect("the machine is ours");
        }
        let state = state.display();
        self.run(&format!(
            "mount --bind {state}/run /run && mount --bind {state} /var/lib/nfs && \
             rpcbind -w && rpc.statd --no-notify"
        ));
    }

    /// What the kernel says of the share's mount.
    pub(crate) fn mounted(&self) -> String {
        let all = fs::read_to_string(format!("/proc/{}/mountinfo", self.pid()));
        let all = all.unwrap_or_default();
        let ours = all.lines().find(|line| line.contains(&format!(" {MOUNT} ")));
        ours.unwrap_or("not mounted").to_owned()
    }

    /// Where a node runs that is started here by the service's user; `folder` is the data
    /// directory's name on the share.
    pub(crate) fn place(&self, folder: &str) -> Place {
        Place { enter: self.enter(USER), data: PathBuf::from(MOUNT).join(folder) }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}

/// The file server as a gateway of its own: the data directory is local there.
pub(crate) fn server_place(folder: &str) -> Place {
    let line = format!("setpriv --reuid {USER} --regid {USER} --clear-groups --");
    let enter = line.split(' ').map(str::to_owned).collect();
    Place { enter, data: PathBuf::from(EXPORT).join(folder) }
}
