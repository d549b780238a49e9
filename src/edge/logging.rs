//! The log of `run`: lines to standard error or to the system's log.
//!
//! # Invariants
//!
//! - L1: it never waits: a line that would have to is dropped and counted, and the count is
//!   told as soon as a line goes through again.
//! - L2: it never panics and never allocates.
//! - L3: a line is one line: control characters of a message become `?`.
//!
//! Standard error is usually shared with other programs, so its flags are left alone. A pipe
//! or terminal is opened anew, for ourselves and non-blocking; where that is refused (a pipe of
//! another user), and for sockets, `poll(2)` says before each line whether it would wait.
//!
//! Not for the one-shot commands: those have `simple_logger`.

use std::fmt::{self, Write as _};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use log::{Level, LevelFilter, Log, Metadata as LogMetadata, Record};

use super::options::LogTo;
use crate::limits::LOG_LINE_MAX;
use crate::sys::poll::{PollFd, poll};
use crate::sys::{clock, process, stdio};

/// Where the system's log listens.
const SYSLOG: &str = "/dev/log";

static WRITER: Writer = Writer {
    form: AtomicU8::new(Form::Plain as u8),
    dropped: AtomicU32::new(0),
    told: AtomicU32::new(0),
};

/// Begins to log; once in a process, before its first child is forked.
pub fn start(to: LogTo, level: LevelFilter) {
    let form = match to {
        LogTo::Syslog => Form::Syslog,
        LogTo::Stderr => open_stderr(),
    };
    WRITER.form.store(form as u8, Ordering::Relaxed);
    if log::set_logger(&WRITER).is_ok() {
        log::set_max_level(level);
    }
}

/// Lines that were dropped so far.
pub fn dropped() -> u32 {
    WRITER.dropped.load(Ordering::Relaxed)
}

/// What a line looks like, and where it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Form {
    /// Standard error, each line with the time.
    Plain,
    /// Standard error is the journal's: it adds the time, and takes a priority.
    Journal,
    /// The system's log.
    Syslog,
}

impl Form {
    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Journal,
            2 => Self::Syslog,
            _ => Self::Plain,
        }
    }
}

fn open_stderr() -> Form {
    let Ok(found) = std::fs::metadata("/proc/self/fd/2") else {
        return Form::Plain;
    };
    if is_journal(&found, std::env::var("JOURNAL_STREAM").as_deref().unwrap_or_default()) {
        return Form::Journal;
    }
    let kind = found.file_type();
    if (kind.is_fifo() || kind.is_char_device())
        && let Ok(own) = open_anew()
    {
        // if it is refused, poll(2) before each line does
        let _ = stdio::replace_stderr(own.as_fd());
    }
    Form::Plain
}

fn open_anew() -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open("/proc/self/fd/2")
}

/// systemd.exec(5), `$JOURNAL_STREAM`: device and inode of the journal's stream.
fn is_journal(stderr: &Metadata, stream: &str) -> bool {
    let numbers = stream.split_once(':').map(|(dev, ino)| (dev.parse().ok(), ino.parse().ok()));
    numbers == Some((Some(stderr.dev()), Some(stderr.ino())))
}

struct Writer {
    form: AtomicU8,
    dropped: AtomicU32,
    /// How many of the dropped lines were told of.
    told: AtomicU32,
}

impl Log for Writer {
    fn enabled(&self, metadata: &LogMetadata<'_>) -> bool {
        let level = metadata.level();
        // The TLS crates log each handshake that fails; we say it once, in plain words.
        let foreign = ["rustls", "minreq"].iter().any(|name| metadata.target().starts_with(name));
        level <= log::max_level() && (!foreign || log::max_level() >= LevelFilter::Debug)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let form = Form::from_byte(self.form.load(Ordering::Relaxed));
        let dropped = self.dropped.load(Ordering::Relaxed);
        let untold = dropped.wrapping_sub(self.told.load(Ordering::Relaxed));
        if untold > 0 {
            let text = format_args!("log: {untold} lines were dropped: nobody took them");
            if !send(form, &Line::new(form, clock::wall_ms(), Level::Warn, "edge_agent", text)) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.told.store(dropped, Ordering::Relaxed);
        }
        let line =
            Line::new(form, clock::wall_ms(), record.level(), record.target(), *record.args());
        if !send(form, &line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

/// Whether the line went out, whole.
fn send(form: Form, line: &Line) -> bool {
    match form {
        Form::Plain | Form::Journal => send_stderr(line.bytes()),
        Form::Syslog => send_syslog(line.bytes()),
    }
}

fn send_stderr(line: &[u8]) -> bool {
    let stderr = io::stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), false, true)];
    if !matches!(poll(&mut ready, Some(0)), Ok(1)) || !ready[0].is_writable() {
        return false;
    }
    // a line is no longer than PIPE_BUF: it goes whole or not at all, pipe(7)
    stderr.lock().write(line).is_ok_and(|count| count == line.len())
}

fn send_syslog(line: &[u8]) -> bool {
    // a socket for each line: none that a child could find closed, or another file in its place
    let Ok(socket) = UnixDatagram::unbound() else {
        return false;
    };
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    socket.set_nonblocking(true).is_ok() && socket.send_to(line, SYSLOG).is_ok()
}

/// A line in the making; what does not fit is cut off.
struct Line {
    bytes: [u8; LOG_LINE_MAX],
    length: usize,
}

impl Line {
    fn new(form: Form, wall_ms: u64, level: Level, target: &str, text: fmt::Arguments<'_>) -> Self {
        let mut line = Self { bytes: [0; LOG_LINE_MAX], length: 0 };
        // a message that cannot be formatted is cut off where it fails
        let _ = line.write_all(form, wall_ms, level, target, text);
        line.bytes[line.length] = b'\n';
        line.length += 1;
        line
    }

    fn write_all(
        &mut self,
        form: Form,
        wall_ms: u64,
        level: Level,
        target: &str,
        text: fmt::Arguments<'_>,
    ) -> fmt::Result {
        let severity = severity(level);
        match form {
            Form::Plain => write!(self, "{} ", Utc(wall_ms))?,
            Form::Journal => write!(self, "<{severity}>")?,
            // facility daemon, RFC 5424 6.2.1; no time: the receiver's own will do
            Form::Syslog => {
                write!(self, "<{}>edge-agent[{}]: ", 24 + severity, process::own_pid().0)?;
            }
        }
        // our own lines begin with what they are about
        if target.starts_with("edge_agent") {
            return write!(self, "{level} {text}");
        }
        write!(self, "{level} {target}: {text}")
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            let letter = if letter.is_control() { '?' } else { letter };
            // one byte is left for the line break
            let room = &mut self.bytes[self.length..LOG_LINE_MAX - 1];
            if room.len() < letter.len_utf8() {
                return Err(fmt::Error);
            }
            self.length += letter.encode_utf8(room).len();
        }
        Ok(())
    }
}

/// RFC 5424 6.2.1.
const fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// A wall time in ms since the epoch, as `2026-11-22T02:35:38.123Z`.
pub struct Utc(pub u64);

impl fmt::Display for Utc {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ms) = (self.0 / 1_000, self.0 % 1_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute) = (second / 3_600, second / 60 % 60);
        let second = second % 60;
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

impl Utc {
    /// The day alone, as `2026-11-22`.
    pub fn day(&self) -> String {
        self.to_string().split('T').next().unwrap_or_default().to_owned()
    }
}

/// Year, month and day of a number of days since 1970-01-01.
const fn date(days: u64) -> (u64, u64, u64) {
    // counted from 1 March of the year 0, so that a leap day is a year's last
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(form: Form, text: fmt::Arguments<'_>) -> String {
        let line = Line::new(form, 1_600_000_000_123, Level::Warn, "edge_agent::edge::x", text);
        String::from_utf8(line.bytes().to_vec()).expect("cut between letters")
    }

    #[test]
    fn each_form_has_its_beginning() {
        let text = || line(Form::Plain, format_args!("share: stalled for {} s", 42));
        assert_eq!(text(), "2020-09-13T12:26:40.123Z WARN share: stalled for 42 s\n");
        assert_eq!(line(Form::Journal, format_args!("a")), "<4>WARN a\n");
        let syslog = line(Form::Syslog, format_args!("a"));
        assert_eq!(syslog, format!("<28>edge-agent[{}]: WARN a\n", std::process::id()));
        let other = Line::new(Form::Journal, 0, Level::Info, "rustls::x", format_args!("a"));
        assert_eq!(other.bytes(), b"<6>INFO rustls::x: a\n");
    }

    #[test]
    fn a_message_cannot_make_lines_of_its_own() {
        let text = line(Form::Journal, format_args!("a\nb\u{1b}[2J\u{85}"));
        assert_eq!(text, "<4>WARN a?b?[2J?\n", "L3");
    }

    #[test]
    fn a_long_line_is_cut_between_letters() {
        for pad in 0..4 {
            let long = format!("{}{}", "x".repeat(pad), "ä€😀".repeat(LOG_LINE_MAX));
            let text = line(Form::Plain, format_args!("{long}"));
            assert!((LOG_LINE_MAX - 4..=LOG_LINE_MAX).contains(&text.len()));
            assert!(text.ends_with('\n'));
        }
    }

    #[test]
    fn a_message_that_fails_or_nests_does_no_harm() {
        struct Failing;
        impl fmt::Display for Failing {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                Err(fmt::Error)
            }
        }
        assert_eq!(line(Form::Journal, format_args!("a{Failing}b")), "<4>WARN a\n");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Utc(ms).to_string(), expected);
        }
    }

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        let found = std::fs::metadata("/proc/self/exe").expect("it runs");
        let stream = format!("{}:{}", found.dev(), found.ino());
        assert!(is_journal(&found, &stream));
        for other in ["", "1", "1:2", "x:y", ":"] {
            assert!(!is_journal(&found, other), "{other}");
        }
    }

    #[test]
    fn every_form_survives_its_byte() {
        for form in [Form::Plain, Form::Journal, Form::Syslog] {
            assert_eq!(Form::from_byte(form as u8), form);
        }
    }
}
