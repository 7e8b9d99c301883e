//! Whether a path leaves the folder that it begins in, whoever reads it.
//!
//! Servers differ in what they decode, how often, what they take for a slash and what they cut off a segment, and between us
//! and the provider there may be several of them. So no reading is chosen: the path is counted in the way in which it climbs
//! most. Only a slash that stands there as it is divides segments for everybody. Of one segment, whatever some server may
//! take for `..` leads up, and nothing that stands beside it leads down again.

/// What is not ASCII, and is it to servers that decode carelessly or look for the nearest letter (Unicode's compatible forms,
/// and what is drawn alike).
const ALIKE: &[(&[u8], &[u8])] = &[
    ("\u{ff0e}".as_bytes(), b"."),
    ("\u{fe52}".as_bytes(), b"."),
    ("\u{2024}".as_bytes(), b"."),
    ("\u{2025}".as_bytes(), b".."),
    ("\u{ff0f}".as_bytes(), b"/"),
    ("\u{2044}".as_bytes(), b"/"),
    ("\u{2215}".as_bytes(), b"/"),
    ("\u{ff3c}".as_bytes(), b"\\"),
    ("\u{fe68}".as_bytes(), b"\\"),
    ("\u{2216}".as_bytes(), b"\\"),
    ("\u{ff05}".as_bytes(), b"%"),
    ("\u{fe6a}".as_bytes(), b"%"),
    ("\u{ff1b}".as_bytes(), b";"),
];

/// What one segment does to the depth, at worst.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// One deeper, to everybody.
    Down,
    /// Nowhere, to somebody.
    Nowhere,
    /// So many up, to somebody.
    Up(usize),
}

/// Whether a path leaves the folder that it begins in, as any server may read it. A way down and up again within the folder is
/// none.
pub(crate) fn climbs(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if !path.contains("..") && !path.contains('%') {
        return false;
    }
    let mut depth = 0_usize;
    for segment in path.split('/') {
        match step(segment.as_bytes()) {
            Step::Down => depth += 1,
            Step::Nowhere => {}
            Step::Up(steps) => match depth.checked_sub(steps) {
                Some(left) => depth = left,
                None => return true,
            },
        }
    }
    false
}

fn step(segment: &[u8]) -> Step {
    let plain = decoded(segment);
    let ups = pieces(&plain).filter(|piece| leads_up(piece)).count();
    if ups > 0 {
        return Step::Up(ups);
    }
    // Some servers cut parameters off before they look for slashes within.
    let named = plain.split(is_end).next().unwrap_or_default();
    let leads_down = |piece: &[u8]| !matches!(&*bare(piece), b"" | b".");
    if pieces(named).any(leads_down) { Step::Down } else { Step::Nowhere }
}

/// What stands between slashes that somebody may see.
fn pieces(plain: &[u8]) -> impl Iterator<Item = &[u8]> {
    plain.split(|byte| matches!(byte, b'/' | b'\\'))
}

/// Some cut a segment off at what ends it for them, and some leave out what is no letter.
fn leads_up(piece: &[u8]) -> bool {
    let cut = piece.split(is_end).next().unwrap_or_default();
    let cut_later = piece.split(is_mark).next().unwrap_or_default();
    bare(cut) == b".." || bare(cut_later) == b".."
}

/// RFC 3986 section 3.3: what is behind a semicolon is of the segment, and some servers look at its name alone. A query or a
/// fragment begins for whoever decodes once more than the others, and text ends with NUL in some languages.
fn is_end(byte: &u8) -> bool {
    *byte == 0 || is_mark(byte)
}

fn is_mark(byte: &u8) -> bool {
    matches!(byte, b';' | b'?' | b'#')
}

/// Without spaces and control characters, which parsers of URLs and file systems leave out.
fn bare(piece: &[u8]) -> Vec<u8> {
    piece.iter().copied().filter(|byte| *byte > b' ' && *byte != 0x7f).collect()
}

/// Decoded until nothing is left to decode. Each byte is looked at with those before it, so it takes no longer the more often
/// the text was encoded.
fn decoded(segment: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(segment.len());
    for byte in segment {
        plain.push(*byte);
        while let Some((length, means)) = end_decoded(&plain) {
            plain.truncate(plain.len() - length);
            plain.extend_from_slice(&means);
        }
    }
    plain
}

/// How many bytes at the end of a text stand for what.
fn end_decoded(plain: &[u8]) -> Option<(usize, Vec<u8>)> {
    if let [.., b'%', high, low] = *plain
        && let Some(byte) = hex(&[high, low]).and_then(|byte| u8::try_from(byte).ok())
    {
        return Some((3, vec![byte]));
    }
    // As `escape` of JavaScript writes it, and servers of Microsoft read it.
    if let [.., b'%', b'u' | b'U', a, b, c, d] = *plain
        && let Some(letter) = hex(&[a, b, c, d])
    {
        let letter = char::from_u32(letter).unwrap_or(char::REPLACEMENT_CHARACTER);
        return Some((6, letter.to_string().into_bytes()));
    }
    if let Some(overlong) = overlong(plain) {
        return Some(overlong);
    }
    let alike = ALIKE.iter().find(|(letter, _)| plain.ends_with(letter));
    alike.map(|(letter, means)| (letter.len(), means.to_vec()))
}

/// ASCII in more bytes than one, which RFC 3629 section 3 forbids and careless decoders read.
fn overlong(plain: &[u8]) -> Option<(usize, Vec<u8>)> {
    let ascii = |lead: u8, last: u8| ((lead & 1) << 6) | (last & 0x3f);
    match *plain {
        [.., 0xf0, 0x80, lead @ 0x80..=0x81, last @ 0x80..=0xbf] => {
            Some((4, vec![ascii(lead, last)]))
        }
        [.., 0xe0, lead @ 0x80..=0x81, last @ 0x80..=0xbf] => Some((3, vec![ascii(lead, last)])),
        [.., lead @ 0xc0..=0xc1, last @ 0x80..=0xbf] => Some((2, vec![ascii(lead, last)])),
        // Some do not even look whether the second byte is one.
        [.., lead @ 0xc0..=0xc1, last] if last != b'%' => {
            let byte = ascii(lead, last);
            matches!(byte, b'.' | b'/' | b'\\').then(|| (2, vec![byte]))
        }
        _ => None,
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some((value << 4) | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode;
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    const CLIMBING: [&str; 55] = [
        "/..",
        "/../x",
        "/a/../../x",
        "/%2e%2e/x",
        "/.%2e/x",
        "/%2E./x",
        "/%252e%252e/x",
        "/%2525252525252e./x",
        "/..%2fx",
        "/a%2f..%2f..%2fx",
        "/..%5cx",
        "/..;/x",
        "/..;a=b/x",
        "/./../x",
        "//../x",
        "/a//../../x",
        "/%2f../x",
        "/..?a",
        "/..#a",
        // One segment to one reader, and two to the other.
        "/x%2fy/%2e%2e/%2e%2e/admin",
        "/x%2fy/../../admin",
        "/x%5cy/%2e%2e/../admin",
        "/x%252fy/../../admin",
        "/%5c../x",
        "/%2e%2e%5cadmin",
        "/a/..%2f%2e%2e/x",
        "/a%2f%2e%2e/../x",
        // A segment that is none to somebody.
        "/;a/../x",
        "/%00a/../x",
        "/%20/../x",
        "/.;a%2fb/../x",
        "/%2e/../x",
        "/%3fa/../x",
        // Dots that are dots to somebody.
        "/..%00/x",
        "/..%00.png/x",
        "/.%00./x",
        "/..%20/x",
        "/.%09./x",
        "/..%3bx/y",
        "/..%3fx/y",
        "/..%23x/y",
        "/%c0%ae%c0%ae/x",
        "/%e0%80%ae%f0%80%80%ae/x",
        "/%25c0%25ae./x",
        "/..%c0%afx",
        "/..%c1%9cx",
        "/..%c1%1cx",
        "/%u002e%u002e/x",
        "/%u002e%2e%u2215x",
        "/%uff0e%uff0e/x",
        "/%ef%bc%8e./x",
        "/%e2%80%a5/x",
        "/..%ef%bc%8fx",
        "/%%32e./x",
        "/%2%65./x",
    ];

    const STAYING: [&str; 24] = [
        "/",
        "/a",
        "/a/../b",
        "/a/%2e%2e/b",
        "/a/..;x/b",
        "/...",
        "/..a",
        "/a..",
        "/..a%2f..b/c",
        "/a%2Fb",
        "/bucket/folder%2Fsub%2Ffile%20name.txt",
        "/bucket/2026%2F01%2F..hidden/x%5Cy",
        "/a%2fb/..",
        "/a?b=../../c",
        "/a#../../c",
        "/a?b=%2e%2e%2f%2e%2e",
        "/100%",
        "/100%/%zz/%u00",
        "/.",
        "/~",
        "/a/b/../..",
        "/v1/x..y/z%20",
        "/caf%C3%A9/%F0%9F%98%80",
        "/%C3%A0%C2%AE",
    ];

    #[test]
    fn a_path_stays_below_its_base() {
        for path in CLIMBING {
            assert!(climbs(path), "{path}");
        }
        for path in STAYING {
            assert!(!climbs(path), "{path}");
        }
    }

    #[test]
    fn text_that_was_encoded_very_often_takes_no_longer() {
        // Decoded round by round this is a hundred million steps for each of its segments.
        let often = format!("/%{}2e.", "25".repeat(30_000));
        assert!(climbs(&often));
    }

    /// The folders below the base that a reader is in at the end, and whether it was ever above.
    fn walk<'s>(segments: impl Iterator<Item = &'s [u8]>) -> bool {
        let mut depth = 0_i64;
        segments.fold(false, |above, segment| {
            depth += match segment {
                b"" | b"." => 0,
                b".." => -1,
                _ => 1,
            };
            above || depth < 0
        })
    }

    /// How a server may read a path: decoded so often, and what divides it; each time it was decoded, or only at the end.
    fn read(path: &str, times: usize, leaning: bool, stepwise: bool) -> bool {
        let mut plain = path.as_bytes().to_vec();
        let slash = |byte: &u8| *byte == b'/' || (leaning && *byte == b'\\');
        for _ in 0..times {
            if stepwise {
                if walk(plain.split(slash)) {
                    return true;
                }
                plain = resolved(&plain, slash);
            }
            plain = percent_decode(&plain).collect();
        }
        walk(plain.split(slash))
    }

    /// What a server passes on that goes by the segments that it sees.
    fn resolved(plain: &[u8], slash: impl Fn(&u8) -> bool) -> Vec<u8> {
        let mut kept: Vec<&[u8]> = Vec::new();
        for segment in plain.split(slash) {
            match segment {
                b".." => drop(kept.pop()),
                b"." | b"" => {}
                other => kept.push(other),
            }
        }
        [b"/", kept.join(&b'/').as_slice()].concat()
    }

    fn path() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "/", "/", "/", "..", "..", ".", "%2e", "%2E", "%252e", "%2f", "%2F", "%252f", "%5c",
            "%255C", "x", "y", "a.b", ";p", "%3b", "%", "25", "%25", "2e", "2f", "%00", "%20",
            "%09", "c0%ae", "%c0%ae", "%c3%a9", "?q=..", "%3f",
        ]);
        prop::collection::vec(piece, 0..14).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// What passes climbs in no reading: not as `url` sends it, and not as a server reads what is sent.
        #[test]
        fn what_passes_stays_below_in_every_reading(path in path()) {
            if climbs(&path) {
                return Ok(());
            }
            let written = path.split(['?', '#']).next().unwrap();
            let mut url = Url::parse("https://h/base/acct").unwrap();
            url.set_path(&format!("/base/acct{written}"));
            let sent = url.path().strip_prefix("/base/acct");
            prop_assert!(sent.is_some(), "{path} is sent as {url}");
            for text in [written, sent.unwrap()] {
                for times in 0..6 {
                    for [leaning, stepwise] in [[false, false], [true, false], [false, true], [true, true]] {
                        prop_assert!(!read(text, times, leaning, stepwise), "{path}: {text} {times} {leaning} {stepwise}");
                    }
                }
            }
        }

        /// Keys of object stores, with slashes that are encoded, are nobody's way up.
        #[test]
        fn encoded_keys_pass(key in prop::collection::vec("[a-zA-Z0-9_ é-]{1,8}", 1..6)) {
            let key = percent_encoding::utf8_percent_encode(&key.join("/"), percent_encoding::NON_ALPHANUMERIC).to_string();
            let path = format!("/bucket/{key}");
            prop_assert!(!climbs(&path));
        }
    }
}
