//! The clouds that an uplink knows: what goes out, and what an answer means.
//!
//! Everything here is pure but [`way`] and [`proxy`], which make the one connection of a request,
//! [`exchange`] and [`peer`], which use it, and [`stdout`], which writes lines. The process around
//! it is `edge::uplink`.

pub mod certificate;
pub mod datonis;
pub mod exchange;
pub mod family;
pub mod head;
pub mod pair;
pub mod peer;
pub mod proxy;
pub mod reason;
pub mod stdout;
pub mod verdict;
pub mod way;

use core::fmt;

use proxy::ProxySetup;
use way::{Host, Way};

use super::config::{CloudKind, Config, Files};
use crate::engine::ident::NodeName;
use crate::limits::CLOUD_KEY_MAX;
use crate::sys::lease::Lease;

/// All that an uplink must know before its fork.
#[derive(Clone, PartialEq, Eq)]
pub struct CloudSetup {
    /// Which cloud.
    pub kind: CloudKind,
    /// Its URL, without a trailing slash.
    pub url: String,
    /// The host of that.
    pub host: Host,
    /// The proxy on the way there.
    pub proxy: Option<ProxySetup>,
    /// A request's whole time.
    pub timeout_ms: u32,
    /// For `X-Access-Key`.
    pub access_key: String,
    /// The key of the signature.
    pub secret_key: String,
    /// Certificates to trust, in PEM; `None`: the system's.
    pub ca: Option<Vec<u8>>,
    /// The things, in the order of [`Config::registered_things`].
    pub things: Vec<ThingSetup>,
    /// The site's name, for people.
    pub site: String,
    /// The site id, 32 hex digits.
    pub site_id: String,
    /// This node.
    pub node: NodeName,
}

/// A thing as the cloud is told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ThingSetup {
    /// Its key.
    pub thing_key: String,
    /// Its name for people.
    pub name: String,
}

/// What an uplink cannot do without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetupFault {
    /// The file of the secret key is not there.
    NoSecretKey,
    /// It holds no key.
    BadSecretKey,
    /// The file of the certificates is not there.
    NoCa,
    /// It holds no certificate.
    BadCa,
    /// The file of the proxy's password is not there.
    NoProxyPassword,
    /// It holds no password.
    BadProxyPassword,
}

impl fmt::Display for SetupFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoSecretKey => "cloud.secret_key_file: cannot be read",
            Self::BadSecretKey => {
                "cloud.secret_key_file: expected a key of 1 to 256 bytes on a line of its own"
            }
            Self::NoCa => "cloud.ca_file: cannot be read",
            Self::BadCa => "cloud.ca_file: expected certificates in PEM",
            Self::NoProxyPassword => "cloud.proxy_password_file: cannot be read",
            Self::BadProxyPassword => {
                "cloud.proxy_password_file: expected a password of 1 to 256 bytes on a line of its own"
            }
        })
    }
}

impl std::error::Error for SetupFault {}

impl CloudSetup {
    /// Puts a configuration and the files that it names together.
    pub fn new(
        config: &Config,
        files: &Files,
        site_id: &str,
        node: &NodeName,
    ) -> Result<Self, SetupFault> {
        let cloud = &config.cloud;
        let is_stdout = cloud.kind == CloudKind::Stdout;
        let thing = |thing: super::config::RegisteredThing<'_>| ThingSetup {
            thing_key: thing.thing_key.into(),
            name: thing.name.into(),
        };
        Ok(Self {
            kind: cloud.kind,
            url: cloud.url.as_str().into(),
            host: Host::of_url(&cloud.url).unwrap_or_default(),
            proxy: if is_stdout { None } else { proxy(config, files)? },
            timeout_ms: cloud.timeout_ms,
            access_key: cloud.access_key.reveal().into(),
            secret_key: if is_stdout { String::new() } else { secret_key(config, files)? },
            ca: if is_stdout { None } else { ca(config, files)? },
            things: config.registered_things().map(thing).collect(),
            site: config.site.as_str().into(),
            site_id: site_id.into(),
            node: node.clone(),
        })
    }

    /// The way of a request that begins now.
    pub fn way<'a>(&'a self, lease: &'a Lease) -> Way<'a> {
        Way::new(&self.host, self.proxy.as_ref(), self.timeout_ms, lease)
    }
}

impl fmt::Debug for CloudSetup {
    /// Without the keys.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CloudSetup {{ {:?} {} for {} }}", self.kind, self.url, self.site)
    }
}

fn secret_key(config: &Config, files: &Files) -> Result<String, SetupFault> {
    if let Some(key) = &config.cloud.secret_key {
        return Ok(key.reveal().into());
    }
    let bytes = files.secret_key.as_deref().ok_or(SetupFault::NoSecretKey)?;
    line_of(bytes).ok_or(SetupFault::BadSecretKey)
}

/// The one line of a file that holds a secret.
fn line_of(bytes: &[u8]) -> Option<String> {
    let line = core::str::from_utf8(bytes).ok()?.trim();
    let is_good =
        !line.is_empty() && line.len() <= CLOUD_KEY_MAX && !line.contains(char::is_control);
    is_good.then(|| line.into())
}

fn proxy(config: &Config, files: &Files) -> Result<Option<ProxySetup>, SetupFault> {
    let cloud = &config.cloud;
    let Some(host) = cloud.proxy.as_deref().and_then(Host::of_url) else { return Ok(None) };
    let Some(user) = cloud.proxy_user.as_deref() else {
        return Ok(Some(ProxySetup { host, user: None }));
    };
    let password = match (&cloud.proxy_password, &cloud.proxy_password_file) {
        (Some(password), _) => password.reveal().into(),
        (None, Some(_)) => {
            let bytes = files.proxy_password.as_deref().ok_or(SetupFault::NoProxyPassword)?;
            line_of(bytes).ok_or(SetupFault::BadProxyPassword)?
        }
        (None, None) => String::new(),
    };
    Ok(Some(ProxySetup { host, user: Some((user.into(), password)) }))
}

fn ca(config: &Config, files: &Files) -> Result<Option<Vec<u8>>, SetupFault> {
    if config.cloud.ca_file.is_none() {
        return Ok(None);
    }
    let bytes = files.ca.as_deref().ok_or(SetupFault::NoCa)?;
    let mark = b"-----BEGIN CERTIFICATE-----";
    let is_pem = bytes.windows(mark.len()).any(|window| window == mark);
    if is_pem { Ok(Some(bytes.to_vec())) } else { Err(SetupFault::BadCa) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::config::{Origin, parse};

    const PEM: &[u8] = b"# ours\n-----BEGIN CERTIFICATE-----\n";

    fn config(keys: &str) -> Config {
        let text = format!(
            r#"{{"site":"s","things":[{{"thing_key":"t"}}],"cloud":{{"url":"https://a","access_key":"a",{keys}}}}}"#
        );
        parse(text.as_bytes(), Origin::DataDirectory).expect("a valid configuration")
    }

    fn setup(keys: &str, files: &Files) -> Result<CloudSetup, SetupFault> {
        let node = NodeName::parse("gw-1").expect("a valid name");
        CloudSetup::new(&config(keys), files, "00", &node)
    }

    #[test]
    fn the_secret_key_stands_in_the_configuration_or_in_a_file() {
        let inline = setup(r#""secret_key":"k""#, &Files::default()).expect("a key");
        assert_eq!((inline.secret_key.as_str(), inline.ca), ("k", None));
        assert_eq!(inline.things, [ThingSetup { thing_key: "t".into(), name: "t".into() }]);
        let in_file = |bytes: Option<&[u8]>| {
            let files = Files { secret_key: bytes.map(<[u8]>::to_vec), ..Files::default() };
            setup(r#""secret_key_file":"f""#, &files).map(|setup| setup.secret_key)
        };
        assert_eq!(in_file(Some("kéy\r\n".as_bytes())), Ok("kéy".into()));
        assert_eq!(in_file(None), Err(SetupFault::NoSecretKey));
        for bad in [&b""[..], b" \n", b"a\nb", b"\xff", &[b'k'; CLOUD_KEY_MAX + 1]] {
            assert_eq!(in_file(Some(bad)), Err(SetupFault::BadSecretKey), "{bad:?}");
        }
    }

    #[test]
    fn a_proxy_has_a_user_and_the_password_may_stand_in_a_file() {
        let with = |keys: &str, password: Option<&[u8]>| {
            let keys = format!(r#""secret_key":"k","proxy":"http://p:3128"{keys}"#);
            let password = password.map(<[u8]>::to_vec);
            let files = Files { proxy_password: password, ..Files::default() };
            setup(&keys, &files).map(|setup| setup.proxy.expect("a proxy"))
        };
        let plain = with("", None).expect("valid");
        assert_eq!((plain.host.to_string().as_str(), &plain.user), ("p:3128", &None));
        let user = |password: &str| Some(("u".to_owned(), password.to_owned()));
        let inline = with(r#","proxy_user":"u","proxy_password":"p:w""#, None).expect("valid");
        assert_eq!(inline.user, user("p:w"));
        assert_eq!(with(r#","proxy_user":"u""#, None).expect("valid").user, user(""));
        let in_file = r#","proxy_user":"u","proxy_password_file":"f""#;
        assert_eq!(with(in_file, Some(b"secret\n")).expect("valid").user, user("secret"));
        assert_eq!(with(in_file, None), Err(SetupFault::NoProxyPassword));
        assert_eq!(with(in_file, Some(b"a\nb")), Err(SetupFault::BadProxyPassword));
        assert!(!format!("{inline:?}").contains("p:w"));
        let none = setup(r#""secret_key":"k""#, &Files::default()).expect("valid");
        assert_eq!(none.proxy, None);
    }

    #[test]
    fn certificates_are_in_pem() {
        let with_ca = |bytes: Option<&[u8]>| {
            let files = Files { ca: bytes.map(<[u8]>::to_vec), ..Files::default() };
            setup(r#""secret_key":"k","ca_file":"ca.pem""#, &files).map(|setup| setup.ca)
        };
        assert_eq!(with_ca(Some(PEM)), Ok(Some(PEM.to_vec())));
        assert_eq!(with_ca(None), Err(SetupFault::NoCa));
        assert_eq!(with_ca(Some(b"-----BEGIN PRIVATE KEY-----")), Err(SetupFault::BadCa));
    }

    #[test]
    fn no_key_is_ever_shown() {
        let setup = setup(r#""secret_key":"tell-nobody""#, &Files::default()).expect("a key");
        assert!(!format!("{setup:?}").contains("tell-nobody"));
    }
}
