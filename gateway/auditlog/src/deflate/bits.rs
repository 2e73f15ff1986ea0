//! Bits into bytes, least significant first (RFC 1951 section 3.1.1).

/// Bits that do not fill a byte yet, between blocks.
#[derive(Debug, Default)]
pub(super) struct Carry {
    bits: u64,
    count: u32,
}

impl Carry {
    /// Appends what is left, filled up with zeros.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        if self.count > 0 {
            out.push(self.bits as u8);
        }
    }

    /// Appends exactly `length` bits, which `write` puts.
    pub(super) fn append(&mut self, length: u64, out: &mut Vec<u8>, write: impl FnOnce(&mut Bits<'_>)) {
        let start = out.len();
        let whole = (length + u64::from(self.count)) / 8;
        // Eight more, because bits are put down eight bytes at a time.
        out.resize(start + whole as usize + 8, 0);
        let mut bits = Bits {
            room: out.get_mut(start..).unwrap_or_default(),
            at: 0,
            bits: self.bits,
            count: self.count,
        };
        write(&mut bits);
        bits.flush();
        debug_assert_eq!(bits.at as u64, whole, "the length was computed otherwise");
        (self.bits, self.count) = (bits.bits, bits.count);
        out.truncate(start + whole as usize);
    }
}

/// Where bits go.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    room: &'a mut [u8],
    at: usize,
    bits: u64,
    count: u32,
}

impl Bits<'_> {
    /// Puts the low `count` bits of `value`, whose others are zero. At most 56 bits between two calls of `flush`.
    #[inline(always)]
    pub(super) fn put(&mut self, value: u64, count: u32) {
        self.bits |= value << self.count;
        self.count += count;
    }

    /// Puts down what fills bytes; less than one stays.
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        if let Some(room) = self.room.get_mut(self.at..self.at + 8) {
            room.copy_from_slice(&self.bits.to_le_bytes());
        }
        let bytes = self.count / 8;
        self.at += bytes as usize;
        // At most 63 bits are there, so at most 56 go.
        self.bits >>= bytes * 8;
        self.count %= 8;
    }
}
