//! One line of an access log in the common or combined format, and its time.
//!
//! `addr ident user [10/Oct/2000:13:55:36 -0700] "GET /path HTTP/1.0" 200 2326 "referer" "agent"`
//!
//! What follows the number of bytes is not looked at. Quotes within the request are escaped by a
//! backslash, as servers write them. `-` stands for no bytes.

/// The fields that the analysis needs, as they are in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogLine<'l> {
    pub address: &'l [u8],
    pub time: LogTime,
    /// The request's second word, or the whole request if it is not of three words.
    pub url: &'l [u8],
    pub bytes: u64,
}

/// A time of day somewhere on Earth. Ordered by the moment, equal moments by the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogTime {
    /// Seconds since 1970 in UTC.
    pub seconds: i64,
    /// Minutes that the writer's clock was ahead of UTC.
    pub zone_minutes: i16,
}

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
/// Length of `10/Oct/2000:13:55:36 -0700`.
const TIME_BYTES: usize = 26;
const SECONDS_PER_DAY: i64 = 86_400;

impl<'l> LogLine<'l> {
    /// Finds the fields, or `None` if the line is not one of a log.
    pub(crate) fn parse(line: &'l [u8]) -> Option<LogLine<'l>> {
        let address_end = memchr::memchr(b' ', line)?;
        let address = &line[..address_end];
        // A NUL would end the address too early where keys are grouped.
        if address.is_empty() || memchr::memchr(0, address).is_some() {
            return None;
        }
        // The user's name may hold spaces, so the time is found by its bracket and its length.
        let bracket = address_end + memchr::memmem::find(&line[address_end..], b" [")? + 2;
        let time = LogTime::parse(line.get(bracket..bracket + TIME_BYTES)?)?;
        let rest = line[bracket + TIME_BYTES..].strip_prefix(b"] \"")?;
        let request_end = closing_quote(rest)?;
        let rest_after = rest[request_end + 1..].strip_prefix(b" ")?;
        let mut fields = rest_after.split(|&byte| byte == b' ' || byte == b'\r');
        let status = fields.next()?;
        if status.len() != 3 || !status.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let bytes = match fields.next()? {
            b"-" => 0,
            digits => decimal(digits)?,
        };
        Some(LogLine { address, time, url: url_of(&rest[..request_end]), bytes })
    }
}

fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', &text[from..])?;
        if text[at] == b'"' {
            return Some(at);
        }
        from = at + 2;
        if from > text.len() {
            return None;
        }
    }
}

fn url_of(request: &[u8]) -> &[u8] {
    let mut words = request.split(|&byte| byte == b' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(_), Some(url), Some(_), None) if !url.is_empty() => url,
        _ => request,
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

impl LogTime {
    /// Reads `10/Oct/2000:13:55:36 -0700`.
    pub(crate) fn parse(text: &[u8]) -> Option<LogTime> {
        let text: &[u8; TIME_BYTES] = text.try_into().ok()?;
        for (at, byte) in [(2, b'/'), (6, b'/'), (11, b':'), (14, b':'), (17, b':'), (20, b' ')] {
            if text[at] != byte {
                return None;
            }
        }
        let number = |from: usize, to: usize| decimal(&text[from..to]).map(|n| n as i64);
        let month = MONTHS.iter().position(|name| text[3..6] == name[..])? as i64 + 1;
        let (day, year) = (number(0, 2)?, number(7, 11)?);
        let (hour, minute, second) = (number(12, 14)?, number(15, 17)?, number(18, 20)?);
        let sign = match text[21] {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let (zone_hours, zone_rest) = (number(22, 24)?, number(24, 26)?);
        let days = days_from_civil(year, month, day);
        // A day that the month does not have comes back as another one. A leap second is allowed.
        let real = civil_from_days(days) == (year, month, day) && year > 0;
        if !real || hour > 23 || minute > 59 || second > 60 || zone_hours > 23 || zone_rest > 59 {
            return None;
        }
        let zone = sign * (zone_hours * 60 + zone_rest);
        let local = days * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second;
        Some(LogTime { seconds: local - zone * 60, zone_minutes: zone as i16 })
    }

    /// Writes the form that [`LogTime::parse`] reads.
    pub(crate) fn write(self, out: &mut impl FnMut(&[u8])) {
        let zone = i64::from(self.zone_minutes);
        let local = self.seconds + zone * 60;
        let (year, month, day) = civil_from_days(local.div_euclid(SECONDS_PER_DAY));
        let second = local.rem_euclid(SECONDS_PER_DAY);
        let mut text = *b"00/Jan/0000:00:00:00 +0000";
        put(&mut text[0..2], day);
        text[3..6].copy_from_slice(MONTHS[(month - 1) as usize]);
        put(&mut text[7..11], year);
        put(&mut text[12..14], second / 3_600);
        put(&mut text[15..17], second / 60 % 60);
        put(&mut text[18..20], second % 60);
        text[21] = if zone < 0 { b'-' } else { b'+' };
        put(&mut text[22..24], zone.abs() / 60);
        put(&mut text[24..26], zone.abs() % 60);
        out(&text);
    }
}

fn put(field: &mut [u8], mut number: i64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so the
/// leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let march_year = if month > 2 { year } else { year - 1 };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days =
        march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    // 719_468 days lie between 0000-03-01 and 1970-01-01.
    march_year * 365 + leap_days + day_of_year - 719_468
}

/// The date that many days after 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let mut march_year = days.div_euclid(366);
    let begin =
        |year: i64| year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    while begin(march_year + 1) <= days {
        march_year += 1;
    }
    let day_of_year = days - begin(march_year);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = if month > 2 { march_year } else { march_year + 1 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Option<LogTime> {
        LogTime::parse(text.as_bytes())
    }

    #[test]
    fn times_of_different_zones_are_ordered_by_the_moment() {
        let epoch = time("01/Jan/1970:00:00:00 +0000").unwrap();
        assert_eq!(epoch, LogTime { seconds: 0, zone_minutes: 0 });
        let west = time("10/Oct/2000:13:55:36 -0700").unwrap();
        assert_eq!(west.seconds, 971_211_336);
        let east = time("10/Oct/2000:22:55:35 +0200").unwrap();
        assert!(east < west);
    }

    #[test]
    fn every_day_of_eight_centuries_comes_back_as_it_was_written() {
        for days in -150_000..150_000_i64 {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
        for text in ["29/Feb/2000:23:59:59 +0530", "31/Dec/1999:00:00:01 -1130"] {
            let mut written = Vec::new();
            time(text).unwrap().write(&mut |bytes| written.extend_from_slice(bytes));
            assert_eq!(written, text.as_bytes());
        }
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for text in [
            "29/Feb/1900:00:00:00 +0000",
            "31/Apr/2020:00:00:00 +0000",
            "00/Jan/2020:00:00:00 +0000",
            "01/Foo/2020:00:00:00 +0000",
            "01/Jan/2020:24:00:00 +0000",
            "01/Jan/2020:00:60:00 +0000",
            "01/Jan/2020:00:00:00 0000 ",
            "1/Jan/2020:00:00:00 +00000",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn requests_with_quotes_users_with_spaces_and_odd_requests_are_read() {
        let line = br#"::1 - a b [01/Jan/2020:00:00:00 +0000] "GET /\"x\" HTTP/1.1" 200 17 "-" "u"#;
        let read = LogLine::parse(line).unwrap();
        assert_eq!((read.address, read.url, read.bytes), (&b"::1"[..], &br#"/\"x\""#[..], 17));
        let line = br#"h - - [01/Jan/2020:00:00:00 +0000] "-" 408 -"#;
        let read = LogLine::parse(line).unwrap();
        assert_eq!((read.url, read.bytes), (&b"-"[..], 0));
        for bad in [
            &b""[..],
            b"word",
            br#" - - [01/Jan/2020:00:00:00 +0000] "GET / HTTP/1.1" 200 1"#,
            br#"h - - [01/Jan/2020:00:00:00 +0000] "GET / HTTP/1.1 200 1"#,
            br#"h - - [01/Jan/2020:00:00:00 +0000] "GET / HTTP/1.1" 20x 1"#,
            br#"h - - [01/Jan/2020:00:00:00 +0000] "GET / HTTP/1.1" 200"#,
            br#"h - - [01/Jan/2020:00:00:00 +0000] "GET / HTTP/1.1" 200 18446744073709551616"#,
            b"h - - [01/Jan/2020:00:00:00 +0000] \"\\",
        ] {
            assert_eq!(LogLine::parse(bad), None);
        }
    }
}
