use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

use super::*;

/// In 2026.
const NOW_MS: u64 = 1_780_000_000_000;

struct Server {
    ca: CertificateDer<'static>,
    config: Arc<ServerConfig>,
}

/// A server for `localhost` whose certificate is valid in these years.
fn server(ca_name: &str, from: i32, to: i32) -> Server {
    let mut ca = CertificateParams::new(Vec::new()).expect("no names");
    ca.distinguished_name.push(DnType::CommonName, ca_name);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let ca = CertifiedIssuer::self_signed(ca, ca_key).expect("a CA");
    let mut leaf = CertificateParams::new(vec!["localhost".into()]).expect("a name");
    leaf.not_before = date_time_ymd(from, 1, 1);
    leaf.not_after = date_time_ymd(to, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = leaf.signed_by(&key, &ca).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a certificate");
    Server { ca: ca.der().clone(), config: Arc::new(config) }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What a client that trusts `ca` meets at a port where `serve` waits for it.
fn met(
    ca: &CertificateDer<'static>,
    name: &'static str,
    serve: impl FnOnce(TcpStream) + Send + 'static,
) -> (Verdict, Reason) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || serve(listener.accept().expect("a connection").0));
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut stream = StreamOwned::new(session, TcpStream::connect(address).expect("connected"));
    // as minreq does: write, then read
    let failed = stream.write_all(b"request").and_then(|()| stream.read(&mut [0]).map(|_| ()));
    server.join().expect("joined");
    let error = failed.expect_err("a failure");
    of_failure(&minreq::Error::IoError(error), "the-host", NOW_MS)
}

/// Serves TLS: reads the request, then closes as if the process had died.
fn serve_tls(config: Arc<ServerConfig>) -> impl FnOnce(TcpStream) + Send + 'static {
    move |socket| {
        let session = rustls::ServerConnection::new(config).expect("a session");
        let mut stream = StreamOwned::new(session, socket);
        // the client may refuse the certificate: then there is no request
        let _count = stream.read(&mut [0; 64]);
    }
}

#[test]
fn tls_failures_are_said_in_plain_words() {
    let good = server("a", 2020, 4000);
    let stranger = server("b", 2020, 4000);
    let remade = server("a", 2020, 4000);
    let expired = server("a", 1990, 2001);
    let early = server("a", 3000, 4000);
    for (ca, name, of, expected) in [
        (
            &stranger,
            "localhost",
            &good,
            "certificate from an unknown issuer (see cloud.ca_file), shown by the-host",
        ),
        (
            &remade,
            "localhost",
            &good,
            "certificate signed by another CA of the same name (see cloud.ca_file), shown by the-host",
        ),
        (&good, "elsewhere", &good, "certificate for another host name, shown by the-host"),
        (
            &expired,
            "localhost",
            &expired,
            "certificate expired (this gateway's clock says 2026), shown by the-host",
        ),
        (
            &early,
            "localhost",
            &early,
            "certificate not yet valid (this gateway's clock says 2026), shown by the-host",
        ),
    ] {
        let (verdict, reason) = met(&ca.ca, name, serve_tls(of.config.clone()));
        assert_eq!((verdict, reason.as_str()), (Verdict::Retry, expected));
    }
}

#[test]
fn an_end_behind_the_handshake_is_unknown_and_one_within_is_not() {
    let good = server("a", 2020, 4000);
    let (verdict, reason) = met(&good.ca, "localhost", serve_tls(good.config.clone()));
    assert_eq!(verdict, Verdict::Unknown, "{reason}");
    assert!(reason.starts_with("connection broken (peer closed connection"), "{reason}");
    let (verdict, reason) = met(&good.ca, "localhost", |mut socket| {
        let _count = socket.read(&mut [0; 4_096]);
    });
    assert_eq!(verdict, Verdict::Retry);
    assert_eq!(reason, "connection closed during the TLS handshake by the-host");
    let (verdict, reason) = met(&good.ca, "localhost", |mut socket| {
        let _count = socket.read(&mut [0; 4_096]);
        let _written = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    assert_eq!((verdict, reason.as_str()), (Verdict::Retry, "no TLS spoken there by the-host"));
}

#[test]
fn other_failures_are_told_apart() {
    let io = |kind: ErrorKind| minreq::Error::IoError(kind.into());
    let lookup = "failed to lookup address information: Name or service not known";
    for (failure, verdict, expected) in [
        (
            io(ErrorKind::ConnectionRefused),
            Verdict::Retry,
            "connection refused, nothing listens at h",
        ),
        (io(ErrorKind::HostUnreachable), Verdict::Retry, "unreachable (host unreachable): h"),
        (io(ErrorKind::NetworkUnreachable), Verdict::Retry, "unreachable (network unreachable): h"),
        (
            io(ErrorKind::ConnectionReset),
            Verdict::Unknown,
            "connection broken (connection reset): h",
        ),
        (io(ErrorKind::BrokenPipe), Verdict::Unknown, "connection broken (broken pipe): h"),
        (io(ErrorKind::TimedOut), Verdict::Unknown, "connection broken (timed out): h"),
        (
            minreq::Error::IoError(io::Error::other(lookup)),
            Verdict::Retry,
            "name not resolved (Name or service not known): h",
        ),
        (
            minreq::Error::AddressNotFound,
            Verdict::Retry,
            "no usable answer (could not resolve host to a socket address) from h",
        ),
        (
            minreq::Error::HeadersOverflow,
            Verdict::Unknown,
            "no usable answer (the headers' total size surpassed max_headers_size) from h",
        ),
        (
            minreq::Error::RustlsCreateConnection(rustls::Error::General(
                "No CA certificates were loaded from the system".into(),
            )),
            Verdict::Retry,
            "no usable CA certificate: install ca-certificates or set cloud.ca_file",
        ),
        (
            minreq::Error::IoError(io::Error::new(
                ErrorKind::InvalidData,
                rustls::Error::AlertReceived(AlertDescription::HandshakeFailure),
            )),
            Verdict::Retry,
            "TLS handshake refused (HandshakeFailure) by h",
        ),
        (
            minreq::Error::IoError(io::Error::new(
                ErrorKind::InvalidData,
                rustls::Error::AlertReceived(AlertDescription::InternalError),
            )),
            Verdict::Unknown,
            "TLS failed (received fatal alert: InternalError): h",
        ),
    ] {
        let (found, reason) = of_failure(&failure, "h", NOW_MS);
        assert!(found == verdict && reason == expected, "{failure}: {found:?} {reason}");
    }
}

#[test]
fn a_real_name_that_does_not_resolve_is_said_not_to() {
    use std::net::ToSocketAddrs;
    let error = ("name.invalid", 443).to_socket_addrs().expect_err("RFC 6761 6.4");
    let (verdict, reason) = of_failure(&minreq::Error::IoError(error), "name.invalid", NOW_MS);
    assert_eq!(verdict, Verdict::Retry);
    assert!(reason.starts_with("name not resolved (") && reason.ends_with("): name.invalid"));
}

#[test]
fn a_long_reason_is_clipped_and_foreign_text_is_cleaned() {
    let long = clipped(format_args!("{}ä{}", "x".repeat(119), "y"));
    assert_eq!(long.as_str(), "x".repeat(119), "whole characters only");
    assert_eq!(shown(b" a\r\n\x1b[31mb\xff \0"), "a[31mb");
}

#[test]
fn the_year_of_a_clock_is_told() {
    for (seconds, year) in [
        (0, 1970),
        (31_535_999, 1970),
        (31_536_000, 1971),
        (951_782_399, 2000),
        (951_868_800, 2000),
        (978_307_199, 2000),
        (978_307_200, 2001),
        (1_798_761_599, 2026),
        (1_798_761_600, 2027),
        (4_102_444_800, 2100),
    ] {
        assert_eq!(year_of(seconds * 1_000), year, "{seconds}");
    }
}
