//! What a cloud can say to a request: right, wrong, or nothing at all.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

/// A request, as a rule sees it.
pub struct Asked<'a> {
    /// Its path.
    pub path: &'a str,
    /// The readings, or the alert.
    pub records: &'a [Value],
    /// Bytes of its body.
    pub bytes: usize,
}

impl Asked<'_> {
    /// Whether it carries readings.
    pub fn is_readings(&self) -> bool {
        self.path.ends_with("/event.json")
    }

    /// Whether it carries a reading of one of these numbers.
    pub fn holds(&self, numbers: &[u64]) -> bool {
        let number = |record: &Value| record["data"]["n"].as_u64();
        self.records.iter().filter_map(number).any(|n| numbers.contains(&n))
    }
}

/// Decides by the request what is answered.
pub type Rule = Arc<dyn Fn(&Asked<'_>) -> Answer + Send + Sync>;

/// What is answered to a request that was read whole.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A status and no body.
    Status(u16),
    /// A status, more headers (whole lines) and a body of the length that is said.
    Page(u16, String, String),
    /// These bytes, and the end of the connection. The status is what the ledger enters: the
    /// records count as delivered if it is 2xx, or 0.
    Raw(u16, Vec<u8>),
    /// The first bytes, then the second again and again until the peer is gone.
    Endless(u16, Vec<u8>, Vec<u8>),
    /// Nothing, ever; the records count as delivered.
    Silence,
}

impl Answer {
    /// What the ledger enters.
    pub fn status(&self) -> u16 {
        match self {
            Self::Status(status)
            | Self::Page(status, ..)
            | Self::Raw(status, _)
            | Self::Endless(status, ..) => *status,
            Self::Silence => 0,
        }
    }

    /// Says it. The peer may be gone, or go meanwhile.
    pub fn write(&self, stream: &mut impl Write, stop: &AtomicBool) {
        match self {
            Self::Status(status) => write_page(stream, *status, "", ""),
            Self::Page(status, headers, body) => write_page(stream, *status, headers, body),
            Self::Raw(_, bytes) => drop(stream.write_all(bytes)),
            Self::Endless(_, first, again) => {
                let mut written = stream.write_all(first);
                while written.is_ok() && !stop.load(Ordering::Acquire) {
                    written = stream.write_all(again);
                }
            }
            Self::Silence => {}
        }
        let _ = stream.flush();
    }
}

fn write_page(stream: &mut impl Write, status: u16, headers: &str, body: &str) {
    let length = body.len();
    let page = format!(
        "HTTP/1.1 {status} .\r\nContent-Length: {length}\r\nConnection: close\r\n\
         {headers}\r\n{body}"
    );
    let _ = stream.write_all(page.as_bytes());
}
