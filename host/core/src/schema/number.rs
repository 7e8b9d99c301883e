//! Numbers as JSON writes them, compared by value: `1`, `1.0` and `10e-1` are one number, and `1e400` and `1e500` are two.
//!
//! A number is its digits and the place of its point, both of any length, because a float holds seventeen digits and three
//! hundred places. What is done with them takes no longer than reading them.

use std::borrow::Cow;
use std::cmp::Ordering;

/// How far a quotient of floats may be off a whole number: decimal fractions are no binary ones, and 0.3 / 0.1 is not quite 3.
const FLOAT_ERROR: f64 = 1e-9;

/// From here on every float is whole: 2^53.
const FLOAT_WHOLE_MIN: f64 = 9_007_199_254_740_992.0;

/// Divisors up to here are divided by digit by digit, without leaving 128 bits: 10^37.
const DIVISOR_MAX: u128 = 10_u128.pow(37);

/// Zeros behind which more of them leave no other rest: of a divisor, ten has all of its twos and fives by then.
const ZEROS_MAX: i128 = 128;

/// A number: 0.`digits` times ten to the power of `point`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Number<'t> {
    negative: bool,
    /// Without zeros at either end; none of zero.
    digits: Cow<'t, str>,
    point: Point,
}

/// Where the point stands, counted from before the first digit. Each place has one form.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Point {
    Near(i128),
    /// What 128 bits do not hold, in decimal digits.
    Far {
        negative: bool,
        digits: Box<str>,
    },
}

// === impl Number ===

impl<'t> Number<'t> {
    /// Reads what JSON takes for a number.
    pub(super) fn read(raw: &'t str) -> Self {
        let (mantissa, exponent) = raw.split_once(['e', 'E']).unwrap_or((raw, "0"));
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (before, behind) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let behind = behind.trim_end_matches('0');
        let before = before.trim_start_matches('0');
        let (digits, places) = match (before, behind) {
            ("", "") => return Self::ZERO,
            (before, "") => (Cow::Borrowed(before.trim_end_matches('0')), length(before)),
            ("", behind) => {
                let digits = behind.trim_start_matches('0');
                (Cow::Borrowed(digits), -length(&behind[..behind.len() - digits.len()]))
            }
            (before, behind) => (Cow::Owned([before, behind].concat()), length(before)),
        };
        Self { negative, digits, point: Point::read(exponent, places) }
    }

    pub(super) const ZERO: Self =
        Self { negative: false, digits: Cow::Borrowed(""), point: Point::Near(0) };

    /// The same, of its own.
    pub(super) fn into_owned(self) -> Number<'static> {
        let Self { negative, digits, point } = self;
        Number { negative, digits: Cow::Owned(digits.into_owned()), point }
    }

    pub(super) fn compare(&self, other: &Number<'_>) -> Ordering {
        let sign = |number: &Number<'_>| match (number.is_zero(), number.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let size = || {
            let point = self.point.compare(&other.point);
            // Digits behind the point: of two that begin alike the longer one is more.
            point.then_with(|| self.digits.cmp(&other.digits))
        };
        match (sign(self), sign(other)) {
            (1, 1) => size(),
            (-1, -1) => size().reverse(),
            (one, two) => one.cmp(&two),
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// Whether it has no fraction, however it is written (2020-12 core, section 4.2.3).
    pub(super) fn is_whole(&self) -> bool {
        self.point.compare(&Point::Near(length(&self.digits))) != Ordering::Less
    }

    /// As a count; of what is more than anything can have, the highest. None of what is none.
    pub(super) fn count(&self) -> Option<u64> {
        if self.negative || !self.is_whole() {
            return None;
        }
        let zeros = match self.point {
            Point::Near(point) => usize::try_from(point).unwrap_or(usize::MAX) - self.digits.len(),
            Point::Far { .. } => usize::MAX,
        };
        // 10^20 is more than 64 bits hold.
        let zeros = "0".repeat(zeros.min(20));
        Some(format!("0{}{zeros}", self.digits).parse().unwrap_or(u64::MAX))
    }

    /// Whether it is a whole number of times another, which is more than zero. Where one of them has a fraction, it may be off
    /// by as much as floats are: whoever computed it did so in floats.
    pub(super) fn multiple_of(&self, of: &Number<'_>) -> bool {
        if self.is_zero() || self.divides(of).unwrap_or(false) {
            return true;
        }
        if self.is_whole() && of.is_whole() {
            return false;
        }
        let times = self.float() / of.float();
        // Not where there is no such float.
        (0.5..FLOAT_WHOLE_MIN).contains(&times.abs())
            && (times - times.round()).abs() <= FLOAT_ERROR * times.abs().max(1.0)
    }

    /// Whether a divisor goes into it without a rest, exactly; none for a divisor of very many digits.
    fn divides(&self, divisor: &Number<'_>) -> Option<bool> {
        let by = divisor.digits.parse().ok().filter(|by| (1..=DIVISOR_MAX).contains(by))?;
        let Point::Near(other) = divisor.point else { return None };
        let zeros = match self.point {
            Point::Near(own) => {
                let last = own.checked_sub(length(&self.digits))?;
                last.checked_sub(other.checked_sub(length(&divisor.digits))?)?
            }
            Point::Far { negative: false, .. } => ZEROS_MAX,
            Point::Far { negative: true, .. } => -1,
        };
        if zeros < 0 {
            // Its digits have no zero at their end, so ten does not go into them.
            return Some(false);
        }
        let digits = self.digits.bytes().map(|digit| digit - b'0');
        let zeros = (0..zeros.min(ZEROS_MAX)).map(|_| 0);
        let rest = digits.chain(zeros).fold(0, |rest, digit| (rest * 10 + u128::from(digit)) % by);
        Some(rest == 0)
    }

    fn float(&self) -> f64 {
        let sign = if self.negative { "-" } else { "" };
        match self.point {
            Point::Near(point) => format!("{sign}0.{}e{point}", self.digits).parse(),
            Point::Far { negative, .. } => return if negative { 0.0 } else { f64::INFINITY },
        }
        .unwrap_or(f64::NAN)
    }
}

/// How many digits there are. A text has no more than memory.
fn length(digits: &str) -> i128 {
    digits.len() as i128
}

// === impl Point ===

impl Point {
    /// An exponent as it is written, and so many places more.
    fn read(exponent: &str, places: i128) -> Self {
        let (negative, digits) = match exponent.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
        };
        let digits = digits.trim_start_matches('0');
        let near = if digits.is_empty() { Some(0) } else { digits.parse::<i128>().ok() };
        let signed = near.map(|near| if negative { -near } else { near });
        match signed.and_then(|near| near.checked_add(places)) {
            // The lowest is beyond what the digits are read as below, so it has that form.
            Some(near) if near != i128::MIN => return Self::Near(near),
            _ => {}
        }
        // So long an exponent has the sign of the sum.
        let more = if negative { -places } else { places };
        let digits = moved(digits, more);
        match digits.parse::<i128>() {
            Ok(near) => Self::Near(if negative { -near } else { near }),
            Err(_) => Self::Far { negative, digits },
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        let far = |negative| if negative { Ordering::Less } else { Ordering::Greater };
        match (self, other) {
            (Self::Near(one), Self::Near(two)) => one.cmp(two),
            (Self::Far { negative, .. }, Self::Near(_)) => far(*negative),
            (Self::Near(_), Self::Far { negative, .. }) => far(*negative).reverse(),
            (
                Self::Far { negative: one_is, digits: one },
                Self::Far { negative: two_is, digits: two },
            ) => {
                let size = one.len().cmp(&two.len()).then_with(|| one.cmp(two));
                match (one_is, two_is) {
                    (false, false) => size,
                    (true, true) => size.reverse(),
                    (one_is, _) => far(*one_is),
                }
            }
        }
    }
}

/// A whole number of at least 38 digits, and so many more.
fn moved(digits: &str, more: i128) -> Box<str> {
    let mut sum = vec![b'0'];
    sum.extend_from_slice(digits.as_bytes());
    let mut carry = more;
    for digit in sum.iter_mut().rev() {
        if carry == 0 {
            break;
        }
        carry += i128::from(*digit - b'0');
        // In 0 to 9, so nothing is lost.
        *digit = b'0' + carry.rem_euclid(10) as u8;
        carry = carry.div_euclid(10);
    }
    let text = String::from_utf8(sum).unwrap_or_default();
    text.trim_start_matches('0').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(one: &str, two: &str) -> Ordering {
        let (one, two) = (Number::read(one), Number::read(two));
        let ordering = one.compare(&two);
        assert_eq!(two.compare(&one), ordering.reverse(), "{one:?} {two:?}");
        assert_eq!(ordering == Ordering::Equal, one == two, "one form for each: {one:?} {two:?}");
        ordering
    }

    #[test]
    fn numbers_are_their_values() {
        let far = "9".repeat(60);
        let (farther, tiny) = (format!("1e1{far}"), format!("1e-{far}"));
        for (one, two) in [
            ("1", "1.0"),
            ("10e-1", "1"),
            ("-0", "0.0"),
            ("-0e999999999999999999999999999999999999999999", "0"),
            ("1.50E+3", "1500"),
            ("0.00120", "12e-4"),
            ("1e400", "10e399"),
            ("100e-402", "1e-400"),
            (&format!("10e{far}"), &format!("1e1{}", "0".repeat(60))),
            (&format!("0.01e-{far}"), &format!("1e-1{}1", "0".repeat(59))),
            // Across the border of what 128 bits hold.
            (
                "10e170141183460469231731687303715884105727",
                "1e170141183460469231731687303715884105728",
            ),
            (
                "1e170141183460469231731687303715884105727",
                "0.1e170141183460469231731687303715884105728",
            ),
        ] {
            assert_eq!(compare(one, two), Ordering::Equal, "{one} {two}");
        }
        for (less, more) in [
            ("9007199254740992", "9007199254740993"),
            ("1152921504606846976.0", "1152921504606846977"),
            ("1", "1.5"),
            ("1.5", "1.50000000000000000000000000001"),
            ("1e400", "1e500"),
            ("-1e500", "-1e400"),
            ("1e-500", "1e-400"),
            ("0", "1e-400"),
            ("-1e-400", "0"),
            ("-1", "1e-400"),
            ("9.9e400", "1e401"),
            (&farther, &format!("2e1{far}")),
            ("1e400", &farther),
            (&tiny, "1e-400"),
            (&format!("-{farther}"), &tiny),
            (&format!("1e{far}"), &format!("1e1{}", "0".repeat(60))),
        ] {
            assert_eq!(compare(less, more), Ordering::Less, "{less} {more}");
        }
    }

    #[test]
    fn multiples_are_exact_or_as_close_as_floats_are() {
        let multiple = |one: &str, of: &str| Number::read(one).multiple_of(&Number::read(of));
        for (one, of) in [
            ("0.3", "0.1"),
            ("12", "4"),
            ("-12", "4"),
            ("4.5", "1.5"),
            ("0", "7"),
            ("0.30000000000000004", "0.1"),
            ("1e400", "1e399"),
            ("1e400", "0.5"),
            ("7e400", "7"),
            ("1e-400", "5e-401"),
            ("1e400", "9223372036854775808"),
        ] {
            assert!(multiple(one, of), "{one} {of}");
        }
        for (one, of) in [
            ("0.35", "0.1"),
            ("7", "2"),
            ("1e400", "7"),
            ("1e300", "7"),
            ("12345678901234567890123456789012345678901234567891", "10"),
            ("1e-400", "1"),
            ("1e399", "1e400"),
            ("9223372036854775809", "9223372036854775808"),
        ] {
            assert!(!multiple(one, of), "{one} {of}");
        }
    }

    #[test]
    fn counts_are_whole() {
        for (text, count) in [
            ("0", Some(0)),
            ("2.0", Some(2)),
            ("1.2e3", Some(1_200)),
            ("18446744073709551615", Some(u64::MAX)),
            ("1e19", Some(10_000_000_000_000_000_000)),
            ("1e400", Some(u64::MAX)),
            ("1e99999999999999999999999999999999999999999", Some(u64::MAX)),
            ("1.5", None),
            ("-1", None),
            ("1e-400", None),
        ] {
            assert_eq!(Number::read(text).count(), count, "{text}");
        }
    }

    #[test]
    fn a_number_is_whole_by_its_digits() {
        let huge = format!("1e{}", "9".repeat(60));
        let tiny = format!("1e-{}", "9".repeat(60));
        let whole = |text: &str| Number::read(text).is_whole();
        for text in [
            "0",
            "-0",
            "0.0",
            "0e-5",
            "-0.00E+7",
            "1",
            "-1.0",
            "1.0e0",
            "10e-1",
            "1200e-2",
            "1.25e2",
            "1e300",
            "1e400",
            "-1E400",
            "1.5e400",
            "123456789012345678901234567890",
            &huge,
            &tiny.replace('1', "0"),
        ] {
            assert!(whole(text), "{text}");
        }
        for text in [
            "1.5",
            "-0.1",
            "10e-2",
            "1.25e1",
            "1e-400",
            "1.00000000000000000000001",
            "1234567890123456789012345678901234567890.5",
            &tiny,
        ] {
            assert!(!whole(text), "{text}");
        }
    }
}
