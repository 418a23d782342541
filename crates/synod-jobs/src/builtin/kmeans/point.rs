//! Points, centres and sums of points.

use super::CENTRES;
use crate::builtin::options::Options;
use crate::error::JobError;

/// Numbers beyond are no coordinates: sums of 2^39 of them fit.
const LARGEST: f64 = (1_u64 << 40) as f64;
/// Sums count in units of its inverse.
const UNITS: f64 = (1_u64 << 48) as f64;
/// Numbers of all centres together, at most.
const MAX_NUMBERS: usize = 20_000;

/// Reads the numbers of a line, separated by commas or by blanks; `false` if it is no point.
pub(super) fn read(line: &[u8], point: &mut Vec<f64>) -> bool {
    point.clear();
    let Ok(text) = std::str::from_utf8(line) else { return false };
    let mut push = |text: &str| match text.trim_ascii().parse::<f64>() {
        Ok(number) if number.abs() <= LARGEST => {
            // Minus zero is zero.
            point.push(number + 0.0);
            true
        }
        _ => false,
    };
    let all = if text.contains(',') {
        text.split(',').all(&mut push)
    } else {
        text.split_ascii_whitespace().all(&mut push)
    };
    all && !point.is_empty()
}

/// The shortest text that reads as the same numbers.
pub(super) fn text(point: &[f64], separator: &str) -> String {
    let numbers: Vec<String> = point.iter().map(f64::to_string).collect();
    numbers.join(separator)
}

/// The centres of all clusters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Centres {
    numbers: Vec<f64>,
    dimensions: usize,
}

impl Centres {
    /// Those of the option of that name.
    pub(super) fn from_options(options: &Options<'_>) -> Result<Centres, JobError> {
        let wanted = "points of as many numbers each, as in 1,2;3,4";
        let bad = || options.bad(CENTRES.name, wanted);
        let text = options.text(CENTRES.name).ok_or_else(bad)?;
        let read_one = |text: &str| {
            let mut point = Vec::new();
            read(text.as_bytes(), &mut point).then_some(point)
        };
        let points: Option<Vec<Vec<f64>>> = text.split(';').map(read_one).collect();
        Centres::new(&points.ok_or_else(bad)?).map_err(|what| JobError::BadSpec { what })
    }

    /// These points; or why they cannot be.
    pub(super) fn new(points: &[Vec<f64>]) -> Result<Centres, String> {
        let dimensions = points.first().map_or(0, Vec::len);
        if let Some(other) = points.iter().find(|point| point.len() != dimensions) {
            return Err(format!(
                "points of {dimensions} and of {} numbers cannot be clustered together",
                other.len()
            ));
        }
        let numbers = points.concat();
        if numbers.len() > MAX_NUMBERS {
            return Err(format!(
                "{} centres of {dimensions} numbers: all together may have {MAX_NUMBERS}",
                points.len()
            ));
        }
        Ok(Centres { numbers, dimensions })
    }

    /// As the option has them.
    pub(super) fn text(&self) -> String {
        let points: Vec<String> = self.each().map(|centre| text(centre, ",")).collect();
        points.join(";")
    }

    pub(super) fn dimensions(&self) -> usize {
        self.dimensions
    }

    pub(super) fn count(&self) -> usize {
        self.numbers.len() / self.dimensions
    }

    pub(super) fn get(&self, cluster: usize) -> &[f64] {
        &self.numbers[cluster * self.dimensions..][..self.dimensions]
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &[f64]> {
        self.numbers.chunks_exact(self.dimensions)
    }

    /// Reads a point of these dimensions.
    pub(super) fn read(&self, line: &[u8], point: &mut Vec<f64>) -> bool {
        read(line, point) && point.len() == self.dimensions
    }

    /// The cluster whose centre is nearest, the first of those that are.
    pub(super) fn nearest(&self, point: &[f64]) -> usize {
        let mut nearest = (f64::INFINITY, 0);
        for (cluster, centre) in self.each().enumerate() {
            let distance = squared_distance(point, centre);
            if distance < nearest.0 {
                nearest = (distance, cluster);
            }
        }
        nearest.1
    }

    /// How far the centre that moved most has moved.
    pub(super) fn moved(&self, later: &Centres) -> f64 {
        let moves = self.each().zip(later.each()).map(|(one, other)| squared_distance(one, other));
        moves.fold(0.0, f64::max).sqrt()
    }
}

fn squared_distance(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// How many points, and the sum of each of their coordinates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums {
    points: u64,
    units: Vec<i128>,
}

impl Sums {
    pub(super) fn none(dimensions: usize) -> Sums {
        Sums { points: 0, units: vec![0; dimensions] }
    }

    pub(super) fn points(&self) -> u64 {
        self.points
    }

    pub(super) fn add(&mut self, point: &[f64]) {
        self.points += 1;
        for (sum, number) in self.units.iter_mut().zip(point) {
            *sum = sum.saturating_add((number * UNITS).round() as i128);
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.points.to_le_bytes().to_vec();
        bytes.extend(self.units.iter().flat_map(|sum| sum.to_le_bytes()));
        bytes
    }

    pub(super) fn add_encoded(&mut self, bytes: &[u8]) {
        let (points, units) = bytes.split_first_chunk().expect("sums begin with the points");
        self.points += u64::from_le_bytes(*points);
        for (sum, more) in self.units.iter_mut().zip(units.as_chunks().0) {
            *sum = sum.saturating_add(i128::from_le_bytes(*more));
        }
    }

    /// The mean, if there are points.
    pub(super) fn mean(&self) -> Option<Vec<f64>> {
        let mean = |sum: &i128| *sum as f64 / self.points as f64 / UNITS + 0.0;
        (self.points > 0).then(|| self.units.iter().map(mean).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_numbers_are_points_and_others_are_not() {
        let mut point = Vec::new();
        for (line, expected) in [
            ("1 2.5 -3e2", &[1.0, 2.5, -300.0][..]),
            (" 1,\t2 ,3\r", &[1.0, 2.0, 3.0]),
            ("-0", &[0.0]),
        ] {
            assert!(read(line.as_bytes(), &mut point), "{line}");
            assert_eq!(point, expected);
            assert!(point.iter().all(|number| number.to_bits() != (-0.0_f64).to_bits()));
        }
        for line in ["", " ", "1,,2", "1 2,3", "a", "1 b", "nan", "inf", "1e13", "-1e13", ","] {
            assert!(!read(line.as_bytes(), &mut point), "{line}");
        }
        assert!(!read(b"1 \xff", &mut point));
    }

    #[test]
    fn sums_are_the_same_in_any_order_and_grouping() {
        let mut random = fastrand::Rng::with_seed(9);
        let mut points: Vec<Vec<f64>> =
            (0..500).map(|_| vec![random.f64() * 1e9 - 5e8, random.f64() * 1e-3]).collect();
        let mut whole = Sums::none(2);
        points.iter().for_each(|point| whole.add(point));
        random.shuffle(&mut points);
        let mut pieces = Sums::none(2);
        for piece in points.chunks(7) {
            let mut sums = Sums::none(2);
            piece.iter().for_each(|point| sums.add(point));
            pieces.add_encoded(&sums.encode());
        }
        assert_eq!(whole, pieces);
    }
}
