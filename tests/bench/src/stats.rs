//! Order statistics over samples. Nothing here measures.

use std::time::Duration;

/// The value that `share` of the samples do not exceed (nearest rank), in microseconds.
///
/// # Panics
///
/// When there are too few samples for the percentile to be one: fewer than ten beyond it.
pub(crate) fn percentile(samples: &mut [Duration], share: f64) -> f64 {
    let beyond = samples.len() as f64 * (1.0 - share);
    assert!(beyond >= 9.995, "{} samples are too few for {share}", samples.len());
    samples.sort_unstable();
    // Nearest rank: positive, and at most the number of samples.
    let rank = (samples.len() as f64 * share).ceil() as usize;
    samples[rank - 1].as_secs_f64() * 1e6
}

/// The middle one; the lower of two.
///
/// # Panics
///
/// When there is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    *values.get(values.len().saturating_sub(1) / 2).expect("a median needs a value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut samples: Vec<_> = (1..=1_000).rev().map(Duration::from_micros).collect();
        assert_eq!(percentile(&mut samples, 0.5), 500.0);
        assert_eq!(percentile(&mut samples, 0.99), 990.0);
    }

    #[test]
    #[should_panic(expected = "too few")]
    fn a_percentile_of_too_few_samples_is_refused() {
        percentile(&mut [Duration::ZERO; 999], 0.99);
    }

    #[test]
    fn medians_are_values_that_occurred() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.0);
        assert_eq!(median(&[7.0]), 7.0);
    }
}
