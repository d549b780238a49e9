//! What the keeper read for the agent, and how it is handed over.
//!
//! A frame's body: six fields in the order of [`Files`], each a presence byte, and if that
//! is 1 a length (u32, little-endian) and the bytes.

/// The files that a configuration names, as it names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamedFiles<'a> {
    /// The secret key.
    pub secret_key: Option<&'a str>,
    /// Certificates to trust.
    pub ca: Option<&'a str>,
    /// The password of the proxy.
    pub proxy_password: Option<&'a str>,
    /// The console's token; it need not exist.
    pub token: &'a str,
}

/// The configuration and the files that it names, as they were read; `None`: not there, or
/// not named.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// `edge.json`, or the file that `--config` names.
    pub config: Option<Vec<u8>>,
    /// The secret key.
    pub secret_key: Option<Vec<u8>>,
    /// Certificates to trust.
    pub ca: Option<Vec<u8>>,
    /// The password of the proxy.
    pub proxy_password: Option<Vec<u8>>,
    /// The console's token.
    pub token: Option<Vec<u8>>,
    /// What could not be read, and why.
    pub fault: Option<String>,
}

impl Files {
    /// As a frame's body.
    pub fn to_bytes(&self) -> Vec<u8> {
        let fault = self.fault.as_deref().map(str::as_bytes);
        let fields = [
            self.config.as_deref(),
            self.secret_key.as_deref(),
            self.ca.as_deref(),
            self.proxy_password.as_deref(),
            self.token.as_deref(),
            fault,
        ];
        let length = fields.iter().map(|field| 5 + field.map_or(0, <[u8]>::len)).sum();
        let mut out = Vec::with_capacity(length);
        for field in fields {
            out.push(u8::from(field.is_some()));
            if let Some(bytes) = field {
                let length = u32::try_from(bytes.len()).expect("a frame is at most 2 MiB");
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(bytes);
            }
        }
        out
    }

    /// From a frame's body; `None`: it is not one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut files = Self::default();
        let mut fault = None;
        take(&mut rest, &mut files.config)?;
        take(&mut rest, &mut files.secret_key)?;
        take(&mut rest, &mut files.ca)?;
        take(&mut rest, &mut files.proxy_password)?;
        take(&mut rest, &mut files.token)?;
        take(&mut rest, &mut fault)?;
        files.fault = fault.map(|fault| String::from_utf8_lossy(&fault).into_owned());
        rest.is_empty().then_some(files)
    }
}

/// Takes a field into `field`; `None`: the body is cut or was never one.
fn take(rest: &mut &[u8], field: &mut Option<Vec<u8>>) -> Option<()> {
    let (presence, behind) = rest.split_first()?;
    *rest = behind;
    match presence {
        0 => Some(()),
        1 => {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let length = u32::from_le_bytes(*length).try_into().ok()?;
            let (bytes, behind) = behind.split_at_checked(length)?;
            *rest = behind;
            *field = Some(bytes.to_vec());
            Some(())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_read_back_and_cuts_are_seen() {
        let full = Files {
            config: Some(b"{}".to_vec()),
            secret_key: Some(Vec::new()),
            ca: None,
            proxy_password: Some(b"p".to_vec()),
            token: Some(vec![0; 300]),
            fault: Some("cannot read ca.pem".into()),
        };
        for files in [full, Files::default()] {
            let bytes = files.to_bytes();
            assert!(Files::from_bytes(&bytes) == Some(files));
            for length in 0..bytes.len() {
                assert!(Files::from_bytes(&bytes[..length]).is_none(), "cut at {length}");
            }
            assert!(Files::from_bytes(&[&bytes[..], &[0]].concat()).is_none());
        }
        assert!(Files::from_bytes(&[2]).is_none());
    }
}
