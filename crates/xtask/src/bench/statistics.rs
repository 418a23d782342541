//! Medians and ranges over few runs.

use std::fmt;

/// The middle of some runs, and how far they lie apart.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Over at least one run.
    pub fn of(runs: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut runs: Vec<f64> = runs.into_iter().collect();
        runs.sort_by(f64::total_cmp);
        let (min, max) = (*runs.first()?, *runs.last()?);
        let half = runs.len() / 2;
        let median = if runs.len() % 2 == 1 {
            runs[half]
        } else {
            f64::midpoint(runs[half - 1], runs[half])
        };
        Some(Spread { median, min, max })
    }

    /// As JSON.
    pub fn json(self) -> serde_json::Value {
        serde_json::json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(2);
        write!(f, "{:.decimals$} ({:.decimals$}..{:.decimals$})", self.median, self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_runs() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }

    #[test]
    fn a_spread_is_written_with_its_range() {
        let spread = Spread { median: 2.0, min: 1.5, max: 3.25 };
        assert_eq!(spread.to_string(), "2.00 (1.50..3.25)");
    }
}
