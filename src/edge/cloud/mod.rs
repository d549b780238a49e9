//! The clouds that an uplink knows: what goes out, and what an answer means.
//!
//! Everything here is pure but [`exchange`], which makes the one connection of a request,
//! [`peer`], which looks at a server's certificate, and [`stdout`], which writes lines. The process around it is `edge::uplink`.

pub mod certificate;
pub mod datonis;
pub mod exchange;
pub mod pair;
pub mod peer;
pub mod reason;
pub mod stdout;
pub mod verdict;

use core::fmt;

use super::config::{CloudKind, Config, Files};
use crate::engine::ident::NodeName;
use crate::limits::CLOUD_KEY_MAX;

/// All that an uplink must know before its fork.
#[derive(Clone, PartialEq, Eq)]
pub struct CloudSetup {
    /// Which cloud.
    pub kind: CloudKind,
    /// Its URL, without a trailing slash.
    pub url: String,
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
            access_key: cloud.access_key.reveal().into(),
            secret_key: if is_stdout { String::new() } else { secret_key(config, files)? },
            ca: if is_stdout { None } else { ca(config, files)? },
            things: config.registered_things().map(thing).collect(),
            site: config.site.as_str().into(),
            site_id: site_id.into(),
            node: node.clone(),
        })
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
    let key = core::str::from_utf8(bytes).map_err(|_| SetupFault::BadSecretKey)?.trim();
    let is_good = !key.is_empty() && key.len() <= CLOUD_KEY_MAX && !key.contains(char::is_control);
    if is_good { Ok(key.into()) } else { Err(SetupFault::BadSecretKey) }
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
