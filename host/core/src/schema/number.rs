//! Numbers as JSON writes them, compared by value: `1`, `1.0` and `10e-1` are one number.

use std::cmp::Ordering;

/// Whole floats below it are exact as whole numbers: 2^126.
const WHOLE_MAX: f64 = 8.507059173023462e37;

/// A number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    /// A whole number, exactly.
    Whole(i128),
    /// With a fraction, or beyond what is exact.
    Float(f64),
}

// === impl Number ===

impl Number {
    /// Reads what JSON takes for a number.
    pub(super) fn read(raw: &str) -> Self {
        if let Ok(whole) = raw.parse() {
            return Self::Whole(whole);
        }
        let float: f64 = raw.parse().unwrap_or(f64::NAN);
        if float.fract() == 0.0 && float.abs() < WHOLE_MAX {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and small enough")]
            return Self::Whole(float as i128);
        }
        Self::Float(float)
    }

    pub(super) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(one), Self::Whole(two)) => Some(one.cmp(&two)),
            _ => self.float().partial_cmp(&other.float()),
        }
    }

    pub(super) fn equals(self, other: Self) -> bool {
        self.compare(other) == Some(Ordering::Equal)
    }

    pub(super) fn multiple_of(self, of: Self) -> bool {
        match (self, of) {
            (Self::Whole(one), Self::Whole(two)) => one.checked_rem(two) == Some(0),
            _ => {
                let times = self.float() / of.float();
                // Decimal fractions are no binary ones: 0.3 / 0.1 is not quite 3.
                (times - times.round()).abs() <= 1e-9 * times.abs().max(1.0)
            }
        }
    }

    /// For hashing: the same for numbers that are equal, and for no others.
    pub(super) fn bits(self) -> (i128, u64) {
        match self {
            Self::Whole(whole) => (whole, 0),
            Self::Float(float) => (0, float.to_bits()),
        }
    }

    fn float(self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "compared with what is no more precise")]
            Self::Whole(whole) => whole as f64,
            Self::Float(float) => float,
        }
    }
}

/// Whether what JSON takes for a number has no fraction, however it is written (2020-12 core, section 4.2.3): told by its
/// digits, because a float holds no more than seventeen of them.
pub(super) fn whole(raw: &str) -> bool {
    let (digits, exponent) = raw.split_once(['e', 'E']).unwrap_or((raw, "0"));
    let (before, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let behind = behind.trim_end_matches('0');
    let zeros = |text: &str| text.len() - text.trim_end_matches('0').len();
    let nothing = behind.is_empty() && before.trim_start_matches('-').trim_matches('0').is_empty();
    // Places that the digits go behind the point, or, where it is negative, end before it.
    let places = if behind.is_empty() {
        0_i128.saturating_sub_unsigned(zeros(before) as u128)
    } else {
        0_i128.saturating_add_unsigned(behind.len() as u128)
    };
    nothing || shift(exponent) >= places
}

/// An exponent; one that no number of digits can make up for where it is beyond that.
fn shift(exponent: &str) -> i128 {
    let beyond = if exponent.starts_with('-') { i128::MIN } else { i128::MAX };
    exponent.parse().unwrap_or(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_their_values() {
        let equal = |one: &str, two: &str| Number::read(one).equals(Number::read(two));
        assert!(equal("1", "1.0") && equal("10e-1", "1") && equal("-0", "0.0"));
        assert!(!equal("9007199254740993", "9007199254740992"));
        assert!(!equal("1152921504606846977", "1152921504606846976.0"));
        assert!(!equal("1", "1.5"));
        let multiple = |one: &str, of: &str| Number::read(one).multiple_of(Number::read(of));
        assert!(multiple("0.3", "0.1") && multiple("12", "4") && multiple("4.5", "1.5"));
        assert!(!multiple("0.35", "0.1") && !multiple("7", "2"));
    }

    #[test]
    fn a_number_is_whole_by_its_digits() {
        let huge = format!("1e{}", "9".repeat(60));
        let tiny = format!("1e-{}", "9".repeat(60));
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
