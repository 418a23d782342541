//! How a running job is shown: a bar on a terminal, a line now and then elsewhere; both on stderr.
//!
//! What is not known is left out: no rate and no time left before there was time to see one.

use std::io::IsTerminal;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use synod::jobs::{Outlook, Pace, Phase, Snapshot};

use super::output;

/// Without a terminal, a line this often.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Columns of the bar.
const BAR_COLUMNS: RangeInclusive<usize> = 8..=30;

/// Where that cannot be told.
const TERMINAL_COLUMNS: usize = 80;

/// Shows one job.
pub struct View {
    began: Instant,
    outlook: Outlook,
    kind: Kind,
}

enum Kind {
    Nothing,
    Bar(ProgressBar),
    Lines { last: Option<(Phase, Instant)> },
}

impl View {
    /// On stderr, as it is. Rates are over the last `window`.
    pub fn new(window: Duration) -> View {
        View::bar(window).unwrap_or_else(|| View::of(window, Kind::Lines { last: None }))
    }

    /// A bar; `None` if stderr is no terminal that can show one.
    pub fn bar(window: Duration) -> Option<View> {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if !std::io::stderr().is_terminal() || is_dumb {
            return None;
        }
        let bar = ProgressBar::new_spinner();
        // One text and not several parts, so that what is seen is always of one moment.
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        Some(View::of(window, Kind::Bar(bar)))
    }

    /// Shows nothing.
    pub fn nothing() -> View {
        View::of(Duration::ZERO, Kind::Nothing)
    }

    fn of(window: Duration, kind: Kind) -> View {
        View { began: Instant::now(), outlook: Outlook::over(window), kind }
    }

    /// The job is like this now.
    pub fn show(&mut self, now: &Snapshot) {
        self.show_saying(now, "");
    }

    /// The same, and on a terminal what one of its tasks has said last of how it does.
    pub fn show_saying(&mut self, now: &Snapshot, status: &str) {
        let pace = self.outlook.look(self.began.elapsed(), now);
        match &mut self.kind {
            Kind::Nothing => {}
            Kind::Bar(bar) => {
                bar.set_message(line(now, &pace, status, columns()));
            }
            Kind::Lines { .. } if now.phase == Phase::Planning => {}
            Kind::Lines { last } => {
                let due = last
                    .is_none_or(|(phase, at)| phase != now.phase || at.elapsed() >= LINE_INTERVAL);
                if due {
                    *last = Some((now.phase, Instant::now()));
                    eprintln!("{}: {}", phase_name(now.phase), what(now, &pace));
                }
            }
        }
    }

    /// For whoever prints on stderr while the job is shown.
    pub fn beside(&self) -> Beside {
        match &self.kind {
            Kind::Bar(bar) => Beside(Some(bar.clone())),
            Kind::Nothing | Kind::Lines { .. } => Beside(None),
        }
    }

    /// The job has ended: the bar goes.
    pub fn end(&self) {
        if let Kind::Bar(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }
}

/// Lets others print on stderr: the bar, if there is one, makes room for what they print.
#[derive(Clone, Default)]
pub struct Beside(Option<ProgressBar>);

impl Beside {
    /// Has something printed.
    pub fn print(&self, print: impl FnOnce()) {
        match &self.0 {
            Some(bar) if !bar.is_finished() => bar.suspend(print),
            _ => print(),
        }
    }
}

/// Columns of the terminal, which may change at any time.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { TERMINAL_COLUMNS } else { columns }
}

/// Name, bar and text, last what a task says; the bar takes what the text leaves.
fn line(now: &Snapshot, pace: &Pace, status: &str, columns: usize) -> String {
    let (name, mut text) = (phase_name(now.phase), what(now, pace));
    if !status.is_empty() {
        text = format!("{text}  {}", output::plain(status));
    }
    let taken = name.len() + text.chars().count() + "    ".len();
    let room = columns.saturating_sub(taken);
    let width = room.clamp(*BAR_COLUMNS.start(), *BAR_COLUMNS.end());
    format!("{name} [{}] {text}", drawn(pace.fraction, width))
}

/// A bar of this width that is full to this fraction.
fn drawn(fraction: f64, width: usize) -> String {
    let full = ((fraction * width as f64) as usize).min(width);
    let head = if full < width { ">" } else { "" };
    format!("{:width$}", "=".repeat(full) + head)
}

/// What a phase is called.
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Planning => "planning",
        Phase::Map => "map",
        Phase::Reduce => "reduce",
        Phase::Commit => "commit",
        Phase::Done => "done",
    }
}

/// The most important first: what does not fit into a narrow window is cut off by it.
fn what(now: &Snapshot, pace: &Pace) -> String {
    let mut parts = Vec::new();
    let percent = || format!("{:.0} %", (pace.fraction * 100.0).floor());
    let rate = || pace.rate.map(|rate| format!("{}/s", output::size(rate as u64)));
    let left = || pace.left.map(|left| format!("{} left", output::about(left)));
    match now.phase {
        Phase::Planning => parts.push("looking at the inputs".to_owned()),
        Phase::Map => {
            let (read, total) = (output::size(now.bytes_read), output::size(now.bytes_total));
            parts.push(percent());
            parts.extend(left());
            parts.push(format!("{} of {total}", without_unit(&read, &total)));
            parts.extend(rate());
        }
        Phase::Reduce => {
            parts.push(percent());
            parts.extend(left());
            parts.push(format!("{} of {} tasks", now.reduces_done, now.reduces_total));
            parts.push(format!("{} written", output::size(now.bytes_written)));
            parts.extend(rate());
        }
        Phase::Commit => parts.push("publishing the output".to_owned()),
        Phase::Done => {}
    }
    let given_up = now.maps_given_up + now.reduces_given_up;
    if given_up > 0 {
        parts.push(format!("{given_up} tasks given up"));
    }
    parts.join("  ")
}

/// A size without its unit, if that is also another one's.
fn without_unit<'a>(size: &'a str, other: &str) -> &'a str {
    match (size.split_once(' '), other.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => number,
        _ => size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod::jobs::Progress;

    fn at(phase: Phase) -> Snapshot {
        let (bytes_total, bytes_read, reduces_total) = (3 << 30, 1 << 30, 8);
        let begun = Progress::new().snapshot();
        Snapshot { phase, bytes_total, bytes_read, reduces_total, ..begun }
    }

    #[test]
    fn a_bar_has_the_same_width_however_full_it_is() {
        for fraction in [0.0, 0.01, 0.5, 0.999, 1.0, 1.5] {
            assert_eq!(drawn(fraction, 20).len(), 20, "{fraction}");
        }
        assert_eq!([drawn(0.5, 8), drawn(1.0, 8)], ["====>   ", "========"]);
    }

    #[test]
    fn the_bar_takes_what_the_text_leaves_of_the_terminal() {
        let (rate, left) = (Some(1e9), Some(Duration::from_secs(250)));
        let pace = Pace { fraction: 0.5, rate, left };
        for columns in [65, 70, 80, 85] {
            assert_eq!(line(&at(Phase::Map), &pace, "", columns).len(), columns, "{columns}");
        }
        assert_eq!(line(&at(Phase::Map), &pace, "", 500).len(), 87);
        let narrow = line(&at(Phase::Map), &pace, "", 40);
        assert!(narrow.contains("[====>   ] 50 %  4 min 10 s left  "), "{narrow}");
        let saying = line(&at(Phase::Map), &pace, "read \u{1b}[2J7", 85);
        assert!(saying.ends_with("/s  read \\u{1b}[2J7") && saying.len() == 85, "{saying}");
    }

    #[test]
    fn a_rate_and_the_time_left_are_shown_when_they_are_known() {
        let mut pace = Pace { fraction: 1.0 / 3.0, rate: None, left: None };
        assert_eq!(what(&at(Phase::Map), &pace), "33 %  1.0 of 3.0 GiB");
        pace.rate = Some(512.0 * 1024.0 * 1024.0);
        pace.left = Some(Duration::from_millis(3_100));
        assert_eq!(what(&at(Phase::Map), &pace), "33 %  4 s left  1.0 of 3.0 GiB  512.0 MiB/s");
        let reduce = Snapshot { reduces_done: 4, bytes_written: 1536, ..at(Phase::Reduce) };
        pace.fraction = 0.5;
        assert_eq!(
            what(&reduce, &pace),
            "50 %  4 s left  4 of 8 tasks  1.5 KiB written  512.0 MiB/s"
        );
        assert_eq!(what(&at(Phase::Commit), &pace), "publishing the output");
    }
}
