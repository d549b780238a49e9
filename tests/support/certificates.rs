//! A CA made on the spot, and the good and bad certificates that a server can show.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use super::receiver::CLOUD_NAME;

/// What is right or wrong with a server's certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Certificate {
    /// Nothing is wrong.
    Good,
    /// It is another CA's.
    UnknownIssuer,
    /// It is for another host.
    OtherHost,
    /// Its time is over.
    Expired,
}

/// A CA.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one.
    pub fn new(name: &str) -> Self {
        let mut ca = CertificateParams::new(Vec::new()).expect("no names, none that is bad");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("certificates: cannot make a key");
        let issuer = CertifiedIssuer::self_signed(ca, key);
        Self { issuer: issuer.expect("certificates: cannot make a CA") }
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        let certificate: &rcgen::Certificate = self.issuer.as_ref();
        certificate.pem()
    }

    /// What a server on loopback needs to show such a certificate.
    pub fn server(&self, certificate: Certificate) -> Arc<ServerConfig> {
        if certificate == Certificate::UnknownIssuer {
            return Self::new("another CA").server(Certificate::Good);
        }
        let names = match certificate {
            Certificate::OtherHost => vec!["elsewhere.example".to_owned()],
            Certificate::Good | Certificate::Expired | Certificate::UnknownIssuer => {
                ["localhost", "127.0.0.1", CLOUD_NAME].map(str::to_owned).to_vec()
            }
        };
        let mut server = CertificateParams::new(names).expect("the names are good");
        if certificate == Certificate::Expired {
            server.not_before = rcgen::date_time_ymd(2020, 1, 1);
            server.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("certificates: cannot make a key");
        let signed = server.signed_by(&key, &self.issuer).expect("certificates: cannot sign");
        let private = PrivateKeyDer::try_from(key.serialize_der()).expect("rcgen writes PKCS 8");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![signed.der().clone()], private)
            .expect("the key is the certificate's");
        Arc::new(config)
    }
}
