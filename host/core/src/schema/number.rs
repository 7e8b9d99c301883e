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

    pub(super) fn whole(self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Float(float) => float.fract() == 0.0,
        }
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
        for (text, whole) in
            [("1", true), ("1.0", true), ("1e300", true), ("1.5", false), ("1e400", false)]
        {
            assert_eq!(Number::read(text).whole(), whole, "{text}");
        }
        let multiple = |one: &str, of: &str| Number::read(one).multiple_of(Number::read(of));
        assert!(multiple("0.3", "0.1") && multiple("12", "4") && multiple("4.5", "1.5"));
        assert!(!multiple("0.35", "0.1") && !multiple("7", "2"));
    }
}
