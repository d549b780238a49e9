//! Why a request failed, in plain words, and whether it may have been accepted.
//!
//! A failure before the request was written is Retry, one behind that (or one that cannot be
//! told apart) Unknown: the same records go again under the same identities either way.

#![allow(clippy::wildcard_enum_match_arm, reason = "these enums are others' and grow")]

use core::fmt::{self, Write};
use std::error::Error;
use std::io::{self, ErrorKind};

use rustls::pki_types::InvalidDnsNameError;
use rustls::{AlertDescription, CertificateError};

use crate::engine::cloud::{Reason, Verdict};

/// Text that ends where a reason is full.
pub fn clipped(text: fmt::Arguments<'_>) -> Reason {
    struct Clip(Reason);

    impl Write for Clip {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            text.chars().try_for_each(|character| self.0.push(character).map_err(|_| fmt::Error))
        }
    }

    let mut clip = Clip(Reason::new());
    // an error says that it is full: what fits stays
    let _full = clip.write_fmt(text);
    clip.0
}

/// The characters of foreign text that a line may show.
pub fn shown(foreign: &[u8]) -> String {
    let is_shown = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    let text: String =
        foreign.iter().filter(|byte| is_shown(byte)).map(|&byte| char::from(byte)).collect();
    text.trim().into()
}

/// What a request that got no answer came to. `host` is for people; `wall_ms` is this
/// gateway's clock, ms since the Unix epoch.
pub fn of_failure(failure: &minreq::Error, host: &str, wall_ms: u64) -> (Verdict, Reason) {
    if let minreq::Error::IoError(error) = failure {
        return of_io(error, host, wall_ms);
    }
    if let minreq::Error::RustlsCreateConnection(error) = failure {
        return of_tls(error, host, wall_ms);
    }
    let verdict = if matches!(
        failure,
        minreq::Error::AddressNotFound
            | minreq::Error::InvalidProtocol
            | minreq::Error::HttpsFeatureNotEnabled
            | minreq::Error::PunycodeFeatureNotEnabled
    ) {
        Verdict::Retry
    } else {
        Verdict::Unknown
    };
    (verdict, clipped(format_args!("no usable answer ({failure}) from {host}")))
}

/// Like [`of_failure`], of a system error.
pub fn of_io(error: &io::Error, host: &str, wall_ms: u64) -> (Verdict, Reason) {
    if let Some(tls) = tls_inside(error) {
        return of_tls(tls, host, wall_ms);
    }
    let text = error.to_string();
    // std's words for a failed getaddrinfo(3), which has no kind of its own
    if let Some(why) = text.strip_prefix("failed to lookup address information: ") {
        return retry(format_args!("name not resolved ({why}): {host}"));
    }
    let has_words = error.get_ref().is_some();
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            retry(format_args!("connection refused, nothing listens at {host}"))
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            retry(format_args!("unreachable ({text}): {host}"))
        }
        ErrorKind::AddrNotAvailable => retry(format_args!("unreachable ({text}): {host}")),
        // rustls has words for an end behind the handshake, and none for one within
        ErrorKind::UnexpectedEof if !has_words => {
            retry(format_args!("connection closed during the TLS handshake by {host}"))
        }
        ErrorKind::Other if is_bad_name(error) => retry(format_args!("not a host name: {host}")),
        _ => unknown(format_args!("connection broken ({text}): {host}")),
    }
}

fn is_bad_name(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<InvalidDnsNameError>()).is_some()
}

fn tls_inside(error: &io::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(inner) = cause {
        if let Some(tls) = inner.downcast_ref() {
            return Some(tls);
        }
        cause = inner.source();
    }
    None
}

fn of_tls(error: &rustls::Error, host: &str, wall_ms: u64) -> (Verdict, Reason) {
    match error {
        rustls::Error::InvalidCertificate(fault) => {
            (Verdict::Retry, of_certificate(fault, host, wall_ms))
        }
        rustls::Error::InvalidMessage(_) => retry(format_args!("no TLS spoken there by {host}")),
        rustls::Error::PeerIncompatible(why) => {
            retry(format_args!("no TLS version or cipher in common ({why:?}) with {host}"))
        }
        // minreq could not even begin: this is how a lack of certificates shows itself
        rustls::Error::General(why) if why.starts_with("No CA certificates") => retry(
            format_args!("no usable CA certificate: install ca-certificates or set cloud.ca_file"),
        ),
        rustls::Error::AlertReceived(alert) if is_refusal(*alert) => {
            retry(format_args!("TLS handshake refused ({alert:?}) by {host}"))
        }
        _ => unknown(format_args!("TLS failed ({error}): {host}")),
    }
}

/// Alerts that a server sends instead of finishing a handshake.
const fn is_refusal(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
            | AlertDescription::UnrecognisedName
            | AlertDescription::NoApplicationProtocol
    )
}

fn of_certificate(fault: &CertificateError, host: &str, wall_ms: u64) -> Reason {
    let year = year_of(wall_ms);
    match fault {
        CertificateError::UnknownIssuer => clipped(format_args!(
            "certificate from an unknown issuer (see cloud.ca_file), shown by {host}"
        )),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            clipped(format_args!("certificate for another host name, shown by {host}"))
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => clipped(
            format_args!("certificate expired (this gateway's clock says {year}), shown by {host}"),
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            clipped(format_args!(
                "certificate not yet valid (this gateway's clock says {year}), shown by {host}"
            ))
        }
        // a CA made anew under its old name
        CertificateError::BadSignature => clipped(format_args!(
            "certificate signed by another CA of the same name (see cloud.ca_file), shown by {host}"
        )),
        CertificateError::Revoked => clipped(format_args!("certificate revoked, shown by {host}")),
        _ => clipped(format_args!("certificate not acceptable ({fault}), shown by {host}")),
    }
}

fn retry(text: fmt::Arguments<'_>) -> (Verdict, Reason) {
    (Verdict::Retry, clipped(text))
}

fn unknown(text: fmt::Arguments<'_>) -> (Verdict, Reason) {
    (Verdict::Unknown, clipped(text))
}

/// The year (UTC) of a moment in ms since the Unix epoch.
pub fn year_of(wall_ms: u64) -> u64 {
    // days since 1 March of the year 0; 400 years are 146,097 days
    let days = wall_ms / 86_400_000 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // a year that begins in March: January and February belong to the next one
    era * 400 + year + u64::from(day_of_year >= 306)
}

#[cfg(test)]
mod tests;
