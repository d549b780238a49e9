//! What the README tells people to write, read from it: the laboratory tries just that.

const README: &str = include_str!("../../README.md");

/// A line of `/etc/fstab`.
pub(crate) struct Mount {
    /// What is mounted.
    pub(crate) device: &'static str,
    /// Where.
    pub(crate) point: &'static str,
    /// By which options.
    pub(crate) options: &'static str,
}

/// How a share of this type (`nfs`, `cifs`) is mounted.
pub(crate) fn mount(kind: &str) -> Mount {
    let lines = README.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut mounts = lines.filter_map(|words| match words[..] {
        [device, point, its, options, "0", "0"] if its == kind => {
            Some(Mount { device, point, options })
        }
        _ => None,
    });
    mounts.next().unwrap_or_else(|| panic!("the README has no line of /etc/fstab for {kind}"))
}

/// By which options an NFS server exports the folder.
pub(crate) fn export_options() -> &'static str {
    let line = README.lines().find(|line| line.ends_with(">>/etc/exports"));
    let options = line.and_then(|line| line.split(['(', ')']).nth(1));
    options.expect("the README has a line for /etc/exports")
}

/// What is written into a server's settings below this section's name, and that.
pub(crate) fn settings(section: &str) -> String {
    let begin = format!("printf '[{section}]");
    let line = README.lines().find(|line| line.starts_with(&begin));
    let text = line.and_then(|line| line.split('\'').nth(1)).map(|text| text.replace("\\n", "\n"));
    text.unwrap_or_else(|| panic!("the README has no printf of [{section}]"))
}
