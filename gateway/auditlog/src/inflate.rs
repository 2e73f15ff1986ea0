//! Reads one gzip member (RFC 1952), and gives all that stands before damage.
//!
//! flate2's own reader drops what it decompressed in the call that meets the damage: up to a buffer full of sound records,
//! or all of a small member. An auditor wants them; so the decompressor is driven from here.

use std::io::{self, BufRead, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// The longest name or comment in a header that is read over. Known writers have none; damage shall not swallow a file.
const LONGEST_NAME: usize = 1 << 16;

const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// Flags of a header.
const HEADER_CHECKSUM: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Header,
    Content,
    Trailer,
    End,
    Damaged,
}

/// One member of `source`, which stands at its start. Reading gives its content; then 0 once its checksum is right; or an error of kind
/// `InvalidData` if it is damaged, `UnexpectedEof` if the source ends first, any other if the source fails.
#[derive(Debug)]
pub(crate) struct Inflate<R> {
    source: R,
    stage: Stage,
    inflate: Decompress,
    checksum: Crc,
    /// The header's extra field; its length is of 16 bits.
    extra: Vec<u8>,
}

impl<R: BufRead> Inflate<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            stage: Stage::Header,
            inflate: Decompress::new(false),
            checksum: Crc::new(),
            extra: Vec::new(),
        }
    }

    /// How much content it has given so far, in bytes.
    pub(crate) fn given(&self) -> u64 {
        self.inflate.total_out()
    }

    /// The extra field of the header, once any content came; empty if there is none.
    pub(crate) fn extra(&self) -> &[u8] {
        &self.extra
    }

    pub(crate) fn get_ref(&self) -> &R {
        &self.source
    }

    pub(crate) fn into_inner(self) -> R {
        self.source
    }

    fn header(&mut self) -> io::Result<()> {
        let mut header = Header { source: &mut self.source, checksum: Crc::new() };
        let [a, b, method, flags, ..] = header.take::<10>()?;
        if [a, b, method] != MAGIC || flags & RESERVED != 0 {
            return Err(damaged());
        }
        if flags & EXTRA != 0 {
            for _ in 0..u16::from_le_bytes(header.take()?) {
                self.extra.extend(header.take::<1>()?);
            }
        }
        for text in [NAME, COMMENT] {
            if flags & text != 0 {
                header.text()?;
            }
        }
        if flags & HEADER_CHECKSUM != 0 {
            let expected = header.checksum.sum() as u16;
            if u16::from_le_bytes(header.take()?) != expected {
                return Err(damaged());
            }
        }
        Ok(())
    }

    /// How much content came, and whether it goes on.
    fn content(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Stage)> {
        let input = fill(&mut self.source)?;
        let is_end = input.is_empty();
        let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
        let flush = if is_end { FlushDecompress::Finish } else { FlushDecompress::None };
        let result = self.inflate.decompress(input, buffer, flush);
        // Both are at most the length of a slice.
        self.source.consume((self.inflate.total_in() - read) as usize);
        let length = (self.inflate.total_out() - written) as usize;
        self.checksum.update(buffer.get(..length).unwrap_or_default());
        match result {
            Ok(Status::StreamEnd) => Ok((length, Stage::Trailer)),
            Ok(_) if length == 0 && is_end => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok((length, Stage::Content)),
            Err(_) => Ok((length, Stage::Damaged)),
        }
    }

    fn trailer(&mut self) -> io::Result<()> {
        let mut trailer = Header { source: &mut self.source, checksum: Crc::new() };
        let checksum = u32::from_le_bytes(trailer.take()?);
        let length = u32::from_le_bytes(trailer.take()?);
        let is_right = checksum == self.checksum.sum() && length == self.checksum.amount();
        if is_right { Ok(()) } else { Err(damaged()) }
    }
}

impl<R: BufRead> Read for Inflate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            self.stage = match self.stage {
                Stage::Header => self.header().map(|()| Stage::Content)?,
                Stage::Content => {
                    let (length, stage) = self.content(buffer)?;
                    self.stage = stage;
                    if length > 0 {
                        return Ok(length);
                    }
                    stage
                }
                Stage::Trailer => self.trailer().map(|()| Stage::End)?,
                Stage::End => return Ok(0),
                Stage::Damaged => return Err(damaged()),
            };
        }
    }
}

fn damaged() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// What stands around the content, with its checksum so far.
struct Header<'a, R> {
    source: &'a mut R,
    checksum: Crc,
}

impl<R: BufRead> Header<'_, R> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = *fill(self.source)?.first().ok_or(io::ErrorKind::UnexpectedEof)?;
            self.source.consume(1);
        }
        self.checksum.update(&bytes);
        Ok(bytes)
    }

    /// Reads over text up to its zero.
    fn text(&mut self) -> io::Result<()> {
        for _ in 0..LONGEST_NAME {
            if self.take()? == [0] {
                return Ok(());
            }
        }
        Err(damaged())
    }
}

/// What the reader has, after interruptions.
pub(crate) fn fill(reader: &mut impl BufRead) -> io::Result<&[u8]> {
    // A second call because of the borrow that the first would keep; it returns what is buffered.
    while let Err(error) = reader.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    reader.fill_buf()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    fn member(builder: GzBuilder, content: &[u8]) -> Vec<u8> {
        let mut gzip = builder.write(Vec::new(), Compression::new(6));
        gzip.write_all(content).unwrap();
        gzip.finish().unwrap()
    }

    /// The content, and how reading ended.
    fn read(data: &[u8], capacity: usize) -> (Vec<u8>, Result<u64, io::ErrorKind>) {
        let mut inflate = Inflate::new(io::BufReader::with_capacity(capacity, data));
        let mut content = Vec::new();
        let result = inflate.read_to_end(&mut content);
        (content, result.map(|length| length as u64).map_err(|error| error.kind()))
    }

    #[test]
    fn whatever_a_header_may_hold_is_read_over() {
        let plain = || GzBuilder::new();
        for builder in [
            plain(),
            plain().extra(&b"CS\x02\0ab"[..]),
            plain().filename("name").comment("comment").mtime(7),
            plain().extra(vec![7; 65_535]),
        ] {
            let data = member(builder, b"content");
            for capacity in [1, 3, 100_000] {
                assert_eq!(read(&data, capacity), (b"content".to_vec(), Ok(7)));
            }
        }
    }

    #[test]
    fn the_extra_field_is_kept_as_it_is() {
        for extra in [&b"CS\x02\0ab"[..], &[7; 65_535], b""] {
            let data = member(GzBuilder::new().extra(extra), b"content");
            let mut inflate = Inflate::new(&data[..]);
            inflate.read_to_end(&mut Vec::new()).unwrap();
            assert_eq!(inflate.extra(), extra);
        }
    }

    #[test]
    fn a_headers_own_checksum_counts() {
        let mut data = vec![0x1f, 0x8b, 8, HEADER_CHECKSUM, 0, 0, 0, 0, 0, 0xff];
        let mut crc = Crc::new();
        crc.update(&data);
        data.extend_from_slice(&(crc.sum() as u16).to_le_bytes());
        data.extend_from_slice(&member(GzBuilder::new(), b"x")[10..]);
        assert_eq!(read(&data, 100).1, Ok(1));
        data[10] ^= 1;
        assert_eq!(read(&data, 100).1, Err(io::ErrorKind::InvalidData));
    }

    #[test]
    fn what_is_no_member_and_names_without_an_end_are_damage() {
        let name = [&[0x1f, 0x8b, 8, NAME, 0, 0, 0, 0, 0, 0xff][..], &[b'n'; 2 * LONGEST_NAME]].concat();
        for data in [&b"PK\x03\x04567890"[..], &[0x1f, 0x8b, 9, 0, 0, 0, 0, 0, 0, 0], &name] {
            assert_eq!(read(data, 100), (Vec::new(), Err(io::ErrorKind::InvalidData)));
        }
    }

    #[test]
    fn a_member_cut_off_anywhere_gives_what_is_there() {
        let content = b"so much of it ".repeat(50);
        let data = member(GzBuilder::new(), &content);
        for length in 0..data.len() {
            let (found, end) = read(&data[..length], 5);
            assert!(content.starts_with(&found));
            assert_eq!(end, Err(io::ErrorKind::UnexpectedEof), "{length} bytes");
        }
        assert_eq!(read(&data[..data.len() - 8], 5).0, content);
    }

    proptest! {
        /// Whether all of it comes in one call, or little by little.
        #[test]
        fn what_stands_before_damage_is_given_however_it_is_read(
            words in proptest::collection::vec("[a-f]{1,9}", 1..400),
            place: prop::sample::Index,
            change in 1u8..,
            capacity in 1usize..50,
        ) {
            let content = words.join(" ");
            let mut data = member(GzBuilder::new(), content.as_bytes());
            let place = 10 + place.index(data.len() - 10);
            data[place] ^= change;
            prop_assert_eq!(read(&data, capacity), read(&data, 1 << 20));
        }

        #[test]
        fn any_bytes_end_without_panic(data in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = read(&[&[0x1f, 0x8b, 8][..], &data].concat(), 7);
        }
    }
}
