//! The pages as HTML: all that matters, without a script. With one they come alive (`script/`).

use std::fmt::Write;

use bytes::Bytes;
use synod_jobs::cluster::shown::JobRow;

use super::board::{List, One};

/// What makes the pages live.
pub(super) const SCRIPT: &str = concat!(
    include_str!("script/elements.js"),
    include_str!("script/list.js"),
    include_str!("script/job.js"),
    include_str!("script/timeline.js"),
    include_str!("script/skew.js"),
    include_str!("script/tables.js"),
    include_str!("script/asking.js"),
);
/// What they look like.
pub(super) const STYLE: &str = include_str!("style.css");

/// Running and failed attempts and slow tasks that are told without a script.
const ROWS: usize = 10;

/// The list of jobs.
pub(super) fn list(list: &List<'_>) -> Bytes {
    let mut page = Page::begin("Jobs", list.node, None);
    let (workers, slots) = (list.workers.len(), list.slots);
    page.element("h1", "Jobs");
    if list.jobs.is_empty() {
        page.element("p", "There are no jobs. Start one with:");
        page.element("p", "synod run wordcount FILES --output DIR --endpoints HOST:PORT");
    } else {
        page.element("p", &format!("{workers} workers registered, {slots} slots"));
        page.raw("<div class=\"scroll\"><table><thead><tr>");
        for heading in ["Job", "State", "Progress", "Maps", "Reduces", "Input", "Time", "Submitted"]
        {
            page.element("th", heading);
        }
        page.raw("</tr></thead><tbody>");
        for job in &list.jobs {
            page.list_row(job, list.now_ms);
        }
        page.raw("</tbody></table></div>");
    }
    if list.jobs_left_out > 0 {
        page.element("p", &format!("and {} older ones", list.jobs_left_out));
    }
    page.end()
}

/// One job.
pub(super) fn job(one: &One<'_>) -> Bytes {
    let row = &one.job.row;
    let mut page = Page::begin(&row.name, one.node, Some(&row.id.to_string()));
    page.raw("<p><a href=\"/jobs\">All jobs</a></p>");
    page.element("h1", &row.name);
    page.raw("<p>");
    page.chip(row);
    page.text(&format!(" {}", row.id));
    page.raw("</p>");
    if let Some(message) = &row.message {
        page.raw("<p class=\"message\">");
        page.text(message);
        page.raw("</p>");
    }
    let progress = &row.progress;
    page.raw("<dl class=\"facts\">");
    for (name, value) in [
        ("Output", row.output.clone()),
        ("Priority", row.priority.to_owned()),
        ("Maps", format!("{} of {}", progress.maps_done, progress.maps_total)),
        ("Reduces", format!("{} of {}", progress.reduces_done, progress.reduces_total)),
        ("Input", size(progress.bytes_total)),
        ("Written", size(progress.bytes_written)),
        ("Time", row.millis(one.now_ms).map_or_else(|| "not begun".to_owned(), time)),
        ("Failed attempts", progress.attempts_failed.to_string()),
    ] {
        page.element("dt", name);
        page.element("dd", &value);
    }
    if let Some(given_up) = given_up(row) {
        page.element("dt", "Given up");
        page.element("dd", &given_up);
    }
    page.raw("</dl>");
    page.table(
        "Running attempts",
        &["Task", "Attempt", "Node", "Status"],
        one.job.running.iter().take(ROWS).map(|row| {
            let (task, attempt) = (row.task.to_string(), row.attempt.to_string());
            vec![task, attempt, row.node.clone(), row.status.clone()]
        }),
    );
    let report = &one.job.report;
    page.table(
        "Tasks given up",
        &["Task", "Error"],
        report.given_up.iter().take(ROWS).map(|one| vec![one.task.to_string(), one.error.clone()]),
    );
    page.table(
        "Slowest tasks",
        &["Task", "Attempt", "Node", "Time"],
        report.slowest(ROWS).iter().map(|task| {
            let node = report.nodes.get(task.node as usize).cloned().unwrap_or_default();
            vec![task.task.to_string(), task.attempt.to_string(), node, time(task.millis())]
        }),
    );
    page.table(
        "Failed attempts",
        &["Task", "Attempt", "Node", "Error"],
        report.failures.iter().take(ROWS).map(|row| {
            let failure = &row.failure;
            vec![
                row.task.to_string(),
                failure.attempt.to_string(),
                failure.node.clone(),
                failure.message.clone(),
            ]
        }),
    );
    page.end()
}

/// What a job goes on without; `None` if that is nothing.
fn given_up(job: &JobRow) -> Option<String> {
    let (maps, reduces) = (job.progress.maps_given_up, job.progress.reduces_given_up);
    (maps + reduces > 0).then(|| format!("{maps} maps, {reduces} reduces"))
}

/// A page that is being written.
struct Page {
    html: String,
}

impl Page {
    fn begin(title: &str, node: &str, job: Option<&str>) -> Page {
        let mut page = Page { html: String::with_capacity(4 << 10) };
        page.raw("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
        page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
        page.raw("<meta name=\"color-scheme\" content=\"light dark\"><title>");
        page.text(title);
        page.raw(" · Synod</title><link rel=\"icon\" href=\"data:,\">");
        page.raw("<link rel=\"stylesheet\" href=\"/jobs/style.css\">");
        page.raw("<script src=\"/jobs/app.js\" defer></script></head><body");
        if let Some(job) = job {
            page.raw(" data-job=\"");
            page.text(job);
            page.raw("\"");
        }
        page.raw(
            "><header class=\"top\"><a class=\"brand\" href=\"/jobs\">Synod</a> <span id=\"node\">",
        );
        page.text(node);
        page.raw("</span> <span id=\"link\" role=\"status\"></span></header><main id=\"main\">");
        page
    }

    fn end(mut self) -> Bytes {
        self.raw("</main></body></html>\n");
        self.html.into()
    }

    /// Markup of ours.
    fn raw(&mut self, markup: &'static str) {
        self.html.push_str(markup);
    }

    /// A text of anybody's.
    fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.html.push_str("&amp;"),
                '<' => self.html.push_str("&lt;"),
                '>' => self.html.push_str("&gt;"),
                '"' => self.html.push_str("&quot;"),
                '\'' => self.html.push_str("&#39;"),
                // What no browser shows; a text of a job may hold it.
                c if c.is_control() && c != '\n' && c != '\t' => self.html.push('\u{fffd}'),
                c => self.html.push(c),
            }
        }
    }

    fn element(&mut self, name: &'static str, text: &str) {
        self.html.push('<');
        self.html.push_str(name);
        self.html.push('>');
        self.text(text);
        self.html.push_str("</");
        self.html.push_str(name);
        self.html.push('>');
    }

    fn chip(&mut self, job: &JobRow) {
        self.raw("<span class=\"chip chip-");
        self.raw(job.state);
        self.raw("\">");
        self.text(if job.cancelling { "cancelling" } else { job.state });
        self.raw("</span>");
    }

    fn list_row(&mut self, job: &JobRow, now_ms: u64) {
        self.raw("<tr><td><a href=\"/jobs/");
        self.text(&job.id.to_string());
        self.raw("\">");
        self.text(&job.name);
        self.raw("</a><div class=\"quiet\">");
        self.text(&job.id.to_string());
        self.raw("</div></td><td>");
        self.chip(job);
        if let Some(given_up) = given_up(job) {
            self.element("div", &format!("without {given_up}"));
        }
        self.raw("</td><td>");
        let progress = &job.progress;
        if job.ended_ms == 0 {
            // Numbers of ours need no escape.
            let (read, total) = (progress.bytes_read, progress.bytes_total.max(1));
            let bar = write!(self.html, "<progress max=\"{total}\" value=\"{read}\"></progress> ");
            bar.expect("writing to a string does not fail");
            self.text(progress.phase);
        }
        self.raw("</td>");
        for cell in [
            format!("{}/{}", progress.maps_done, progress.maps_total),
            format!("{}/{}", progress.reduces_done, progress.reduces_total),
            size(progress.bytes_total),
            job.millis(now_ms).map(time).unwrap_or_default(),
            ago(job.submitted_ms, now_ms),
        ] {
            self.element("td", &cell);
        }
        self.raw("</tr>");
    }

    fn table(
        &mut self,
        title: &'static str,
        headings: &[&'static str],
        rows: impl ExactSizeIterator<Item = Vec<String>>,
    ) {
        if rows.len() == 0 {
            return;
        }
        self.element("h2", title);
        self.raw("<div class=\"scroll\"><table><thead><tr>");
        headings.iter().for_each(|heading| self.element("th", heading));
        self.raw("</tr></thead><tbody>");
        for row in rows {
            self.raw("<tr>");
            row.iter().for_each(|cell| self.element("td", cell));
            self.raw("</tr>");
        }
        self.raw("</tbody></table></div>");
    }
}

/// `12.3 MiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = bytes as f64;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{scaled:.1} {}", UNITS[unit]) }
}

/// `340 ms`, `1.2 s`, `4 min 10 s`, `2 h 05 min`.
fn time(millis: u64) -> String {
    let seconds = millis / 1_000;
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", seconds, millis / 100 % 10),
        60_000..3_600_000 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
    }
}

fn ago(moment_ms: u64, now_ms: u64) -> String {
    let millis = now_ms.saturating_sub(moment_ms);
    match (moment_ms, millis) {
        (0, _) => String::new(),
        (_, 0..60_000) => format!("{} s ago", millis / 1_000),
        _ => format!("{} ago", time(millis)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_job_never_becomes_markup() {
        let evil = "<script>alert('1')</script>&\"\u{1b}[2J";
        let mut page = Page::begin(evil, evil, Some(evil));
        page.element("td", evil);
        let html = String::from_utf8(page.end().to_vec()).unwrap();
        assert!(!html.contains("<script>") && !html.contains("alert('1')"), "{html}");
        assert!(!html.contains("&\"") && !html.contains('\u{1b}'), "{html}");
        let escaped = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;";
        assert_eq!(html.matches(escaped).count(), 4, "{html}");
    }

    #[test]
    fn sizes_and_times_are_for_people() {
        assert_eq!([size(5), size(1_536), size(3 << 40)], ["5 B", "1.5 KiB", "3.0 TiB"]);
        assert_eq!([time(340), time(1_290), time(250_000)], ["340 ms", "1.2 s", "4 min 10 s"]);
        assert_eq!(ago(1_000, 8_500), "7 s ago");
    }
}
