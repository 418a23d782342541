//! Times as Hadoop prints them, in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment by the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    year: i64,
    month: u32,
    day: u32,
    seconds: u64,
    millis: u32,
}

impl Date {
    /// The moment so long after 1970.
    pub fn of(since_1970: Duration) -> Date {
        let days = since_1970.as_secs() / 86_400;
        let (year, month, day) = civil(days as i64);
        Date {
            year,
            month,
            day,
            seconds: since_1970.as_secs() % 86_400,
            millis: since_1970.subsec_millis(),
        }
    }

    /// This moment.
    pub fn now() -> Date {
        Date::of(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// `2026-11-21 07:04:34,629`, as in Hadoop's log.
    pub fn for_log(self) -> String {
        let (minute, hour) = (self.seconds / 60 % 60, self.seconds / 3_600);
        let Date { year, month, day, millis, .. } = self;
        let second = self.seconds % 60;
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{millis:03}")
    }

    /// `2026-11-21 07:04`, as in a listing.
    pub fn for_listing(self) -> String {
        let mut text = self.for_log();
        text.truncate("2026-11-21 07:04".len());
        text
    }
}

/// Year, month and day of the day so many days after 1 January 1970, in the Gregorian calendar.
/// Counted from a March 1, a leap day is the last of its year.
fn civil(days: i64) -> (i64, u32, u32) {
    const DAYS_PER_ERA: i64 = 146_097;
    let days = days + 719_468;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates() {
        for (millis, text) in [
            (0, "1970-01-01 00:00:00,000"),
            (951_782_399_999, "2000-02-28 23:59:59,999"),
            (951_782_400_000, "2000-02-29 00:00:00,000"),
            (951_868_800_000, "2000-03-01 00:00:00,000"),
            (1_709_164_800_001, "2024-02-29 00:00:00,001"),
            (4_107_542_399_000, "2100-02-28 23:59:59,000"),
            (4_107_542_400_000, "2100-03-01 00:00:00,000"),
        ] {
            assert_eq!(Date::of(Duration::from_millis(millis)).for_log(), text);
        }
        assert_eq!(Date::of(Duration::from_secs(61)).for_listing(), "1970-01-01 00:01");
    }
}
