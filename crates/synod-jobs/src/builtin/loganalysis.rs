//! Requests, bytes, distinct URLs, first and last time per client address of an access log.
//!
//! An output line is `addr<TAB>requests<TAB>bytes<TAB>distinct_urls<TAB>first<TAB>last`, the times
//! as the log writes them. Lines that are not of the format are counted as `malformed_lines`.
//!
//! The key is the address, a NUL and the URL, grouped by the address: URLs of one address reach
//! the reducer sorted, so counting the different ones takes no memory.

use crate::builtin::access_log::{LogLine, LogTime};
use crate::builtin::options::{NamedJob, Options};
use crate::emit::Emitter;
use crate::error::JobError;
use crate::job::Job;
use crate::record::Record;
use crate::reduce_input::Values;
use crate::sink::Sink;

/// The job.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogAnalysis;

impl LogAnalysis {
    /// The counter of lines that are not of the format.
    pub const MALFORMED: &'static str = "malformed_lines";
}

impl NamedJob for LogAnalysis {
    const NAME: &'static str = "loganalysis";
    const ABOUT: &'static str =
        "per client address of a log: requests, bytes, distinct URLs, first, last";

    fn from_options(_: &Options<'_>) -> Result<Self, JobError> {
        Ok(LogAnalysis)
    }
}

/// What travels beside a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Totals {
    requests: u64,
    bytes: u64,
    first: LogTime,
    last: LogTime,
}

const TOTALS_BYTES: usize = 36;

impl Totals {
    fn encode(&self) -> [u8; TOTALS_BYTES] {
        let mut out = [0; TOTALS_BYTES];
        out[0..8].copy_from_slice(&self.requests.to_le_bytes());
        out[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        for (at, time) in [(16, self.first), (26, self.last)] {
            out[at..at + 8].copy_from_slice(&time.seconds.to_le_bytes());
            out[at + 8..at + 10].copy_from_slice(&time.zone_minutes.to_le_bytes());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Totals {
        let bytes: &[u8; TOTALS_BYTES] = bytes.try_into().expect("every value has this length");
        let eight = |at: usize| *bytes[at..].first_chunk::<8>().expect("it lies within");
        let two = |at: usize| *bytes[at..].first_chunk::<2>().expect("it lies within");
        let time = |at: usize| LogTime {
            seconds: i64::from_le_bytes(eight(at)),
            zone_minutes: i16::from_le_bytes(two(at + 8)),
        };
        Totals {
            requests: u64::from_le_bytes(eight(0)),
            bytes: u64::from_le_bytes(eight(8)),
            first: time(16),
            last: time(26),
        }
    }

    fn add(self, other: Totals) -> Totals {
        Totals {
            requests: self.requests.saturating_add(other.requests),
            bytes: self.bytes.saturating_add(other.bytes),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

impl Job for LogAnalysis {
    const COMBINED_VALUE_BYTES: Option<usize> = Some(TOTALS_BYTES);

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        let Some(line) = LogLine::parse(record.bytes) else {
            out.count(Self::MALFORMED, 1);
            return;
        };
        let LogLine { address, time, url, bytes } = line;
        let totals = Totals { requests: 1, bytes, first: time, last: time };
        out.emit_joined(&[address, b"\0", url], &totals.encode());
    }

    fn combine(&self, total: &mut [u8], value: &[u8]) {
        let sum = Totals::decode(total).add(Totals::decode(value));
        total.copy_from_slice(&sum.encode());
    }

    fn group<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        &key[..memchr::memchr(0, key).unwrap_or(key.len())]
    }

    fn reduce(&self, address: &[u8], pairs: &mut Values<'_, Self>, out: &mut Sink) {
        let mut totals: Option<Totals> = None;
        let mut last_url = Vec::new();
        let mut urls = 0_u64;
        while let Some((key, value)) = pairs.next_pair() {
            let url = &key[address.len() + 1..];
            if urls == 0 || last_url != url {
                urls += 1;
                last_url.clear();
                last_url.extend_from_slice(url);
            }
            let value = Totals::decode(value);
            totals = Some(totals.map_or(value, |totals| totals.add(value)));
        }
        let Some(totals) = totals else { return };
        out.bytes(address);
        for number in [totals.requests, totals.bytes, urls] {
            out.bytes(b"\t");
            out.decimal(number);
        }
        for time in [totals.first, totals.last] {
            out.bytes(b"\t");
            time.write(&mut |text| out.bytes(text));
        }
        out.end_record();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_come_back_and_add_up_whatever_the_order() {
        let time = |seconds, zone_minutes| LogTime { seconds, zone_minutes };
        let one = Totals { requests: 1, bytes: 5, first: time(-7, 60), last: time(-7, 60) };
        let two = Totals { requests: 2, bytes: 9, first: time(3, -60), last: time(8, 0) };
        assert_eq!(Totals::decode(&one.encode()), one);
        assert_eq!(one.add(two), two.add(one));
        assert_eq!(one.add(two).last, time(8, 0));
    }
}
