//! Gzip as browsers read it: what stands before the deflated bytes, those, and a footer that nobody looks at.
//!
//! The footer has a checksum and a length (RFC 1952 section 2.3.1). Servers leave it out, cut it, and write it wrongly, and
//! clients that look at it are few: Chromium and Firefox do not. That a body is whole is said by its last block.

use std::io;

use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::{DecodeV2, DeflateDecoder};

/// Bytes of the footer.
pub(super) const FOOTER_BYTES: usize = 8;

/// Bytes of what every head has.
const FIXED_BYTES: usize = 10;

/// The only method there is.
const DEFLATE: u8 = 8;

/// What stands before the deflated bytes, as it comes (RFC 1952 section 2.3).
#[derive(Default)]
pub(super) struct Head {
    part: Part,
    flags: u8,
    /// Bytes of the part that were read.
    read: usize,
    /// Bytes of the extra field.
    extra: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Part {
    #[default]
    Fixed,
    ExtraLength,
    Extra,
    Name,
    Comment,
    Check,
    Over,
}

/// Undoes one member of a body as it comes, up to the footer.
#[derive(Default)]
pub(super) struct Member {
    head: Head,
    deflated: DeflateDecoder,
}

/// Where the deflated bytes of a whole body begin. None where it has no such place.
pub(super) fn deflated(body: &[u8]) -> Option<usize> {
    let mut head = Head::default();
    let read = head.read(body).ok()?;
    (head.part == Part::Over).then_some(read)
}

/// What follows a footer, or as much of it as there is.
pub(super) fn behind_footer(rest: &[u8]) -> &[u8] {
    &rest[FOOTER_BYTES.min(rest.len())..]
}

// === impl Head ===

impl Head {
    /// Reads on. Says how many of these bytes are its own.
    fn read(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            if self.part == Part::Over {
                return Ok(at);
            }
            self.take(*byte)?;
        }
        Ok(bytes.len())
    }

    fn take(&mut self, byte: u8) -> io::Result<()> {
        let at = self.read;
        self.read += 1;
        let over = match self.part {
            Part::Fixed => {
                if at == 2 && byte != DEFLATE {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "gzip of no known method",
                    ));
                }
                if at == 3 {
                    self.flags = byte;
                }
                self.read == FIXED_BYTES
            }
            Part::ExtraLength => {
                self.extra |= usize::from(byte) << (8 * at);
                self.read == 2
            }
            Part::Extra => self.read == self.extra,
            Part::Name | Part::Comment => byte == 0,
            Part::Check => self.read == 2,
            Part::Over => false,
        };
        if over {
            self.part = self.next();
            self.read = 0;
        }
        Ok(())
    }

    /// The next part that its flags say is there.
    fn next(&self) -> Part {
        let flag = |bit: u8| self.flags & (1 << bit) != 0;
        let parts = [
            (Part::ExtraLength, flag(2)),
            (Part::Extra, self.extra > 0),
            (Part::Name, flag(3)),
            (Part::Comment, flag(4)),
            (Part::Check, flag(1)),
        ];
        let behind = parts.iter().position(|(part, _)| *part == self.part).map_or(0, |at| at + 1);
        parts[behind..].iter().find(|(_, there)| *there).map_or(Part::Over, |(part, _)| *part)
    }
}

// === impl Member ===

impl DecodeV2 for Member {
    fn reinit(&mut self) -> io::Result<()> {
        self.head = Head::default();
        self.deflated.reinit()
    }

    fn decode(
        &mut self,
        input: &mut PartialBuffer<&[u8]>,
        output: &mut WriteBuffer<'_>,
    ) -> io::Result<bool> {
        if self.head.part != Part::Over {
            let read = self.head.read(input.unwritten())?;
            input.advance(read);
            if input.unwritten().is_empty() {
                return Ok(false);
            }
        }
        self.deflated.decode(input, output)
    }

    fn flush(&mut self, output: &mut WriteBuffer<'_>) -> io::Result<bool> {
        self.deflated.flush(output)
    }

    fn finish(&mut self, output: &mut WriteBuffer<'_>) -> io::Result<bool> {
        self.deflated.finish(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_behind_all_that_its_flags_say() {
        let fixed = |flags: u8| [0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3];
        for (flags, fields) in [
            (0, &b""[..]),
            (1, b""),
            (1 << 1, b"\x01\x02"),
            (1 << 2, b"\x03\0abc"),
            (1 << 2, b"\0\0"),
            (1 << 3, b"name\0"),
            (1 << 4, b"\0"),
            (0x1f, b"\x02\0\0\0name\0comment\0\x01\x02"),
        ] {
            let head = [&fixed(flags), fields].concat();
            let body = [&head[..], b"\x03\0"].concat();
            assert_eq!(deflated(&body), Some(head.len()), "{flags}");
            let cut = &head[..head.len() - 1];
            assert_eq!(deflated(cut), None, "{flags}");
            // A piece at a time.
            let mut pieces = Head::default();
            let read: usize = body.iter().map(|byte| pieces.read(&[*byte]).unwrap()).sum();
            assert_eq!(read, head.len(), "{flags}");
        }
        let other = [0x1f, 0x8b, 7, 0, 0, 0, 0, 0, 0, 3, 3, 0];
        assert_eq!(deflated(&other), None);
    }
}
