//! The head of an HTTP answer, read within bounds.

use std::io;

use super::reason::shown;
use crate::limits::ANSWER_BYTES_MAX;

/// Lines of a head.
const LINES_MAX: usize = 64;

/// The final head of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// What stands behind it, made fit to be shown.
    pub phrase: String,
    /// `Retry-After`, as it came.
    pub retry_after: Option<String>,
    /// `Date`, as it came.
    pub date: Option<String>,
    /// Whether anything was read that lies behind the head.
    pub has_more: bool,
}

/// Why there is none.
#[derive(Debug)]
pub enum HeadFault {
    /// The other side closed before its end.
    Closed,
    /// What came is no HTTP, or has more than [`LINES_MAX`] lines.
    NotHttp,
    /// It is longer than [`ANSWER_BYTES_MAX`].
    TooLong,
    /// It could not be read.
    Io(io::Error),
}

/// Reads past `100 Continue` and its like (RFC 9110 15.2) to the final head. `read` gives what
/// comes next, 0 at the end.
pub fn final_head(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> Result<Head, HeadFault> {
    let mut bytes = Vec::new();
    let mut start = 0;
    loop {
        let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
        let mut head = httparse::Response::new(&mut lines);
        match head.parse(&bytes[start..]).map_err(|_| HeadFault::NotHttp)? {
            httparse::Status::Complete(length) => {
                start += length;
                let status = head.code.ok_or(HeadFault::NotHttp)?;
                if !(100..200).contains(&status) {
                    return Ok(taken(status, &head, start < bytes.len()));
                }
            }
            httparse::Status::Partial => {
                if bytes.len() >= ANSWER_BYTES_MAX {
                    return Err(HeadFault::TooLong);
                }
                let mut more = [0; 512];
                let count = match read(&mut more) {
                    // a socket with a time-out is not taken up again after a signal: signal(7)
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read.map_err(HeadFault::Io)?,
                };
                if count == 0 {
                    return Err(HeadFault::Closed);
                }
                bytes.extend_from_slice(&more[..count]);
            }
        }
    }
}

fn taken(status: u16, head: &httparse::Response<'_, '_>, has_more: bool) -> Head {
    let text_of = |name: &str| {
        let line = head.headers.iter().find(|line| line.name.eq_ignore_ascii_case(name))?;
        core::str::from_utf8(line.value).ok().map(str::to_owned)
    };
    Head {
        status,
        phrase: shown(head.reason.unwrap_or_default().as_bytes()),
        retry_after: text_of("retry-after"),
        date: text_of("date"),
        has_more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of these bytes, when so many come at a time.
    fn head_of(mut bytes: &[u8], at_a_time: usize) -> Result<Head, HeadFault> {
        final_head(|room| {
            let count = bytes.len().min(at_a_time).min(room.len());
            room[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            Ok(count)
        })
    }

    #[test]
    fn heads_are_read_however_they_come() {
        let text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 429 Too Busy\r\nRETRY-AFTER: 7\r\n\r\n";
        let expected = Head {
            status: 429,
            phrase: "Too Busy".into(),
            retry_after: Some("7".into()),
            date: None,
            has_more: false,
        };
        for at_a_time in [1, 2, 255, 256, 257, 512] {
            assert!(head_of(text, at_a_time).is_ok_and(|head| head == expected), "{at_a_time}");
            let more = head_of(&[&text[..], b"<html>"].concat(), at_a_time).expect("a head");
            assert_eq!(more.has_more, !text.len().is_multiple_of(at_a_time), "{at_a_time}");
        }
    }

    #[test]
    fn a_signal_does_not_end_it() {
        let mut pieces = [Some(&b"HTTP/1.1 200"[..]), None, Some(b" OK\r\n\r\n")].into_iter();
        let head = final_head(|room| {
            let piece =
                pieces.next().expect("read no further").ok_or(io::ErrorKind::Interrupted)?;
            room[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        });
        assert_eq!(head.expect("a head").status, 200);
    }

    #[test]
    fn what_is_no_head_is_told_apart_and_bounded() {
        for text in [&b""[..], b"HTTP/1.1 200", b"HTTP/1.1 100 x\r\n\r\n"] {
            assert!(matches!(head_of(text, 512), Err(HeadFault::Closed)), "{text:?}");
        }
        for text in [&b"SSH-2.0-x\r\n\r\n"[..], b"HTTP/9 200\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n"]
        {
            assert!(matches!(head_of(text, 512), Err(HeadFault::NotHttp)), "{text:?}");
        }
        let many = ["HTTP/1.1 200 OK\r\n", &"a: b\r\n".repeat(LINES_MAX + 1), "\r\n"].concat();
        assert!(matches!(head_of(many.as_bytes(), 512), Err(HeadFault::NotHttp)));
        let mut read = 0;
        let endless = final_head(|room| {
            let begin = b"HTTP/1.1 200 OK\r\na: ";
            room.fill(b'x');
            if read == 0 {
                room[..begin.len()].copy_from_slice(begin);
            }
            read += room.len();
            Ok(room.len())
        });
        assert!(matches!(endless, Err(HeadFault::TooLong)));
        assert!(read <= ANSWER_BYTES_MAX + 512, "{read}");
    }
}
