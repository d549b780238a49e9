//! When the certificate of the cloud's server ends: for `check` alone, which asks after a
//! request was accepted over a connection that was verified in full.
//!
//! minreq does not show whom it spoke with, so this is a handshake of its own, by the same
//! TLS library. It verifies nothing, sends nothing, and believes nothing but a date.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use super::certificate::end_of;

/// The end of the certificate that the server of this name shows at the other end of a
/// connection, in ms since the Unix epoch. Waits for as long as that takes: whoever calls it does
/// so in a process that can be given up.
pub fn end_of_server(host: &str, mut socket: TcpStream) -> io::Result<u64> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Onlooker(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    connection.send_close_notify();
    // what we came for is here already
    let _ = connection.complete_io(&mut socket);
    let shown = connection.peer_certificates().and_then(|chain| end_of(chain.first()?));
    shown.ok_or_else(|| io::Error::other("its certificate cannot be read"))
}

/// Takes any certificate.
#[derive(Debug)]
struct Onlooker(Arc<CryptoProvider>);

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_shows_when_its_certificate_ends() {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).expect("good");
        params.not_after = rcgen::date_time_ymd(2_031, 5, 6);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        let private = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private.expect("PKCS 8"))
            .expect("the key is the certificate's");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a connection");
            let mut connection = rustls::ServerConnection::new(Arc::new(config)).expect("a server");
            while connection.is_handshaking() {
                connection.complete_io(&mut socket).expect("a handshake");
            }
        });
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        assert_eq!(end_of_server("localhost", socket).expect("told"), 1_935_792_000_000);
        server.join().expect("ended");
    }
}
