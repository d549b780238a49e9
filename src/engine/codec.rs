//! Little-endian fields in a byte buffer, for everything that stands on the share.
//!
//! A writer or reader that runs over its end stays failed: the caller asks once, at the end.

/// CRC-32C (Castagnoli), RFC 3720 12.1: of slots, segments and groups.
pub static CRC_32C: crc::Crc<u32, crc::Table<16>> =
    crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);

/// Writes fields one after another.
pub struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
    failed: bool,
}

impl<'a> Writer<'a> {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0, failed: false }
    }

    /// Writes bytes as they are.
    pub fn raw(&mut self, field: &[u8]) {
        let end = self.at + field.len();
        match self.bytes.get_mut(self.at..end) {
            Some(room) => {
                room.copy_from_slice(field);
                self.at = end;
            }
            None => self.failed = true,
        }
    }

    /// One byte.
    pub fn u8(&mut self, field: u8) {
        self.raw(&[field]);
    }

    /// Four bytes.
    pub fn u32(&mut self, field: u32) {
        self.raw(&field.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, field: u64) {
        self.raw(&field.to_le_bytes());
    }

    /// A length byte and the text; at most 255 bytes.
    pub fn text(&mut self, field: &str) {
        match u8::try_from(field.len()) {
            Ok(length) => {
                self.u8(length);
                self.raw(field.as_bytes());
            }
            Err(_) => self.failed = true,
        }
    }

    /// How many bytes were written; `None` if they did not fit.
    pub fn finish(self) -> Option<usize> {
        (!self.failed).then_some(self.at)
    }
}

/// Reads fields one after another; past the end everything is 0.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    failed: bool,
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, failed: false }
    }

    /// The next `N` bytes as they are.
    pub fn raw<const N: usize>(&mut self) -> [u8; N] {
        let field = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        if let Some(field) = field {
            self.at += N;
            *field
        } else {
            self.failed = true;
            [0; N]
        }
    }

    /// One byte.
    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.raw())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.raw())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.raw())
    }

    /// A length byte and the text.
    pub fn text(&mut self) -> &'a str {
        let end = usize::from(self.u8()) + self.at;
        let field = self.bytes.get(self.at..end).and_then(|raw| core::str::from_utf8(raw).ok());
        if let Some(field) = field {
            self.at = end;
            field
        } else {
            self.failed = true;
            ""
        }
    }

    /// Whether every field was there.
    pub fn is_whole(&self) -> bool {
        !self.failed
    }

    /// Whether every field was there, and nothing follows.
    pub fn is_done(&self) -> bool {
        !self.failed && self.at == self.bytes.len()
    }
}
