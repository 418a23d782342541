//! What a command says on stderr: counters and status for the job, all else for the log.
//!
//! A line `reporter:counter:<group>,<name>,<amount>` counts, `reporter:status:<text>` says how the
//! task does; the prefix may be another one. Whatever else it prints is a line of the task's log,
//! of which only so much per second is kept: a command that floods its stderr slows nobody down.

use super::java_text::{decode, parse_long};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Different counters of one task.
const MAX_COUNTERS: usize = 10_000;
/// Bytes of group and name of a counter, each.
const MAX_NAME_BYTES: usize = 1_024;
/// Characters of a status; what follows is dropped.
pub const MAX_STATUS_CHARS: usize = 200;
/// Bytes of one line; the rest of a longer line is dropped.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Lines that an error shows of a command's last words, and bytes of each.
const TAIL_LINES: usize = 8;
const TAIL_LINE_BYTES: usize = 400;
/// Bytes of log that may come at once..
const LOG_BURST_BYTES: u64 = 1 << 20;
/// ..and per second after that.
const LOG_BYTES_PER_SECOND: u64 = 128 << 10;

/// The stderr of one command.
#[derive(Debug)]
pub struct Reports {
    counter_prefix: Vec<u8>,
    status_prefix: Vec<u8>,
    prefix: Vec<u8>,
    any_line: bool,
    line: Vec<u8>,
    /// The present line is beyond its limit.
    overlong: bool,
    after_return: bool,
    counters: BTreeMap<(String, String), i64>,
    counters_full: bool,
    status: Option<String>,
    budget: u64,
    refilled: Instant,
    dropped_lines: u64,
    /// The last lines of the log, for an error.
    tail: VecDeque<Vec<u8>>,
}

/// Amounts by group and name.
pub type CountersOf = BTreeMap<(String, String), i64>;

impl Reports {
    /// Reports begin with `prefix`, which is `reporter:` as a rule.
    pub fn new(prefix: &str, any_line: bool, now: Instant) -> Reports {
        let with = |kind: &str| format!("{prefix}{kind}").into_bytes();
        Reports {
            counter_prefix: with("counter:"),
            status_prefix: with("status:"),
            prefix: with(""),
            any_line,
            line: Vec::new(),
            overlong: false,
            after_return: false,
            counters: BTreeMap::new(),
            counters_full: false,
            status: None,
            budget: LOG_BURST_BYTES,
            refilled: now,
            dropped_lines: 0,
            tail: VecDeque::new(),
        }
    }

    /// Takes what was printed; lines for the log go to `log`.
    pub fn take(&mut self, bytes: &[u8], now: Instant, log: &mut dyn FnMut(&[u8])) {
        self.refill(now);
        let mut rest = bytes;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_return) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let found = if self.any_line {
                memchr::memchr2(b'\n', b'\r', rest)
            } else {
                memchr::memchr(b'\n', rest)
            };
            let Some(end) = found else {
                self.append(rest);
                break;
            };
            self.append(&rest[..end]);
            self.after_return = rest[end] == b'\r';
            rest = &rest[end + 1..];
            self.end_line(log);
        }
    }

    /// Nothing more will come. Says how many lines were dropped.
    pub fn end(&mut self, log: &mut dyn FnMut(&[u8])) {
        if !self.line.is_empty() {
            self.end_line(log);
        }
        if self.dropped_lines > 0 {
            log(format!("[{} lines of stderr were dropped: too many]", self.dropped_lines)
                .as_bytes());
            self.dropped_lines = 0;
        }
    }

    /// What was counted since the last call.
    pub fn take_counters(&mut self) -> CountersOf {
        std::mem::take(&mut self.counters)
    }

    /// The last status since the last call. It has no control characters, and a bound.
    pub fn take_status(&mut self) -> Option<String> {
        self.status.take()
    }

    /// The last lines that it printed, one after the other; empty if there are none.
    pub fn last_words(&self) -> String {
        let lines: Vec<String> = self.tail.iter().map(|line| decode(line)).collect();
        lines.join(" | ")
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled);
        if passed >= Duration::from_millis(100) {
            let more = passed.as_millis() as u64 * LOG_BYTES_PER_SECOND / 1000;
            self.budget = (self.budget + more).min(LOG_BURST_BYTES);
            self.refilled = now;
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = MAX_LINE_BYTES - self.line.len();
        self.overlong |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, log: &mut dyn FnMut(&[u8])) {
        let mut line = std::mem::take(&mut self.line);
        let problem = if !line.starts_with(&self.prefix) || self.overlong {
            None
        } else if let Some(counter) = line.strip_prefix(self.counter_prefix.as_slice()) {
            match self.count(counter) {
                Ok(()) => return self.reuse(line),
                Err(problem) => Some(problem),
            }
        } else if let Some(status) = line.strip_prefix(self.status_prefix.as_slice()) {
            self.status = Some(shown(&decode(trim(status))));
            return self.reuse(line);
        } else {
            Some("this report is neither a counter nor a status")
        };
        if !trim(&line).is_empty() {
            if self.tail.len() == TAIL_LINES {
                self.tail.pop_front();
            }
            self.tail.push_back(trim(&line)[..trim(&line).len().min(TAIL_LINE_BYTES)].to_vec());
        }
        let cost = line.len() as u64 + 1;
        if self.budget < cost {
            self.dropped_lines += 1;
        } else {
            self.budget -= cost;
            if self.overlong {
                line.extend_from_slice(b" [cut]");
            }
            if let Some(problem) = problem {
                log(format!("[{problem}:]").as_bytes());
            }
            log(&line);
        }
        self.reuse(line);
    }

    fn reuse(&mut self, mut line: Vec<u8>) {
        line.clear();
        self.line = line;
        self.overlong = false;
    }

    /// Exactly three fields, as Java splits them: empty ones at the end do not count.
    fn count(&mut self, text: &[u8]) -> Result<(), &'static str> {
        let mut fields: Vec<&[u8]> = trim(text).split(|&byte| byte == b',').collect();
        while fields.last().is_some_and(|field| field.is_empty()) {
            fields.pop();
        }
        let [group, name, amount] = fields[..] else {
            return Err("a counter is group,name,amount");
        };
        let amount = parse_long(amount).ok_or("the amount of this counter is not a number")?;
        if group.len() > MAX_NAME_BYTES || name.len() > MAX_NAME_BYTES {
            return Err("the name of this counter is too long");
        }
        let key = (decode(group), decode(name));
        if let Some(value) = self.counters.get_mut(&key) {
            *value = value.saturating_add(amount);
        } else if self.counters.len() < MAX_COUNTERS {
            self.counters.insert(key, amount);
        } else if !std::mem::replace(&mut self.counters_full, true) {
            return Err("there are too many counters; this one and further ones are dropped");
        }
        Ok(())
    }
}

/// A status as it is shown: on a terminal, on a page, in a record of the cluster. Nothing in it is a command
/// to any of them, nor turns the direction of writing.
fn shown(status: &str) -> String {
    let acts = |c: char| {
        let turns = ['\u{200e}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
        c.is_control() || turns.iter().any(|range| range.contains(&c))
    };
    status.chars().filter(|&c| !acts(c)).take(MAX_STATUS_CHARS).collect()
}

/// Without blanks and control characters around it, as Java trims.
fn trim(bytes: &[u8]) -> &[u8] {
    let is_content = |byte: &u8| *byte > b' ';
    let start = bytes.iter().position(is_content).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(is_content).map_or(start, |last| last + 1);
    &bytes[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counters, the status and the log of a command that prints `text`, in pieces of `step`.
    fn take(
        prefix: &str,
        text: &[u8],
        step: usize,
    ) -> (Vec<(String, i64)>, Option<String>, Vec<String>) {
        let now = Instant::now();
        let mut reports = Reports::new(prefix, true, now);
        let mut lines = Vec::new();
        let mut log = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        for piece in text.chunks(step) {
            reports.take(piece, now, &mut log);
        }
        reports.end(&mut log);
        let counters = reports.take_counters();
        let counters =
            counters.into_iter().map(|((group, name), amount)| (format!("{group}/{name}"), amount));
        (counters.collect(), reports.take_status(), lines)
    }

    #[test]
    fn reports_are_taken_out_and_the_rest_is_logged() {
        let text = b"hello\nreporter:counter:G,a b,5\r\nreporter:status: half way \n\
                     reporter:counter:G,a b,-7\nworld\rreporter:counter: X,y,1 \nno end";
        for step in 1..text.len() {
            let (counters, status, log) = take("reporter:", text, step);
            assert_eq!(counters, [("G/a b".to_owned(), -2), ("X/y".to_owned(), 1)]);
            assert_eq!(status.as_deref(), Some("half way"));
            assert_eq!(log, ["hello", "world", "no end"]);
        }
    }

    #[test]
    fn a_status_is_short_and_tells_neither_a_terminal_nor_a_page_anything_but_its_text() {
        let status = |text: &str| {
            let line = format!("reporter:status:{text}\n");
            take("reporter:", line.as_bytes(), 7).1.unwrap()
        };
        assert_eq!(status("\u{1b}[2Ja\tb\u{202e}c\u{9b}d\u{7f}ü <b>"), "[2Jabcdü <b>");
        assert_eq!(status(&"ü".repeat(30_000)), "ü".repeat(MAX_STATUS_CHARS));
        assert_eq!(status(""), "");
        let mut reports = Reports::new("reporter:", true, Instant::now());
        reports.take(b"reporter:status:a\nreporter:status:b\n", Instant::now(), &mut |_| {});
        assert_eq!(reports.take_status().as_deref(), Some("b"), "the last one");
        assert_eq!(reports.take_status(), None, "told once");
    }

    #[test]
    fn bad_reports_are_logged_and_count_nothing() {
        for bad in [
            "reporter:counter:a,b",
            "reporter:counter:a,b,c",
            "reporter:counter:a,b,1,2",
            "reporter:counter:a,b, 1",
            "reporter:counter:a,b,99999999999999999999",
            "reporter:counter:",
            "reporter:other",
            "reporter:",
        ] {
            let (counters, status, log) = take("reporter:", bad.as_bytes(), 1000);
            assert_eq!((counters.len(), status), (0, None), "{bad}");
            assert_eq!(log.last().unwrap(), bad);
        }
        // Java drops empty fields at the end.
        let (counters, ..) = take("reporter:", b"reporter:counter:a,b,1,,\n", 1000);
        assert_eq!(counters, [("a/b".to_owned(), 1)]);
    }

    #[test]
    fn the_prefix_may_be_another() {
        let (counters, _, log) = take("me>", b"me>counter:a,b,1\nreporter:counter:a,b,1\n", 3);
        assert_eq!(counters, [("a/b".to_owned(), 1)]);
        assert_eq!(log, ["reporter:counter:a,b,1"]);
    }

    #[test]
    fn amounts_saturate_and_names_are_limited() {
        let max = format!("reporter:counter:a,b,{}\n", i64::MAX);
        let (counters, ..) = take("reporter:", max.repeat(2).as_bytes(), 1000);
        assert_eq!(counters, [("a/b".to_owned(), i64::MAX)]);
        let many: String = (0..MAX_COUNTERS + 5)
            .map(|number| format!("reporter:counter:g,{number:05},1\n"))
            .collect();
        let (counters, _, log) = take("reporter:", many.as_bytes(), 1000);
        assert_eq!(counters.len(), MAX_COUNTERS);
        // The first that is too much is said, the others are not.
        assert_eq!(log.len(), 2, "{log:?}");
        assert!(log[0].contains("too many counters"));
    }

    #[test]
    fn a_flood_is_dropped_but_still_counts() {
        let mut text = "0123456789\n".repeat(1 << 20).into_bytes();
        text.extend_from_slice(b"reporter:counter:a,b,1\n");
        let (counters, _, log) = take("reporter:", &text, 4096);
        assert_eq!(counters, [("a/b".to_owned(), 1)]);
        let kept: usize = log.iter().map(|line| line.len() + 1).sum();
        assert!(kept as u64 <= LOG_BURST_BYTES + 100, "{kept}");
        assert!(log.last().unwrap().contains("lines of stderr were dropped"));
    }

    #[test]
    fn the_log_goes_on_when_time_has_passed() {
        let start = Instant::now();
        let mut reports = Reports::new("reporter:", true, start);
        let mut lines = 0;
        let flood = [b'x'; 1000].map(|_| b'\n');
        for _ in 0..2000 {
            reports.take(&flood, start, &mut |_| lines += 1);
        }
        let before = lines;
        reports.take(b"later\n", start + Duration::from_secs(1), &mut |_| lines += 1);
        assert_eq!(lines, before + 1);
    }

    #[test]
    fn a_giant_line_is_cut() {
        let text = vec![b'x'; 10 * MAX_LINE_BYTES];
        let (_, _, log) = take("reporter:", &text, 1000);
        assert_eq!(log.len(), 1);
        assert_eq!(log[0].len(), MAX_LINE_BYTES + " [cut]".len());
    }
}
