//! A plain table: columns as wide as their widest cell, words to the left, figures to the right.

use std::fmt;
use std::time::Duration;

/// Rows of cells.
pub struct Table {
    /// The first columns, this many, hold words.
    words: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these headings, the first `words` of them above words.
    pub fn new(words: usize, headings: &[&str]) -> Self {
        Table { words, rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()] }
    }

    /// One more row; it may be shorter than the others.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &[String], at: usize| row.get(at).map_or(0, |cell| cell.chars().count());
        let width = |at| self.rows.iter().map(|row| cell(row, at)).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let space = " ".repeat(width - cell.chars().count());
                let is_word = at < self.words;
                let (before, after) = if is_word { ("", &*space) } else { (&*space, "") };
                line.extend([before, cell, after, "  "]);
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A duration in milliseconds.
pub fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

/// Bytes in millions.
pub fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_figures_right() {
        let mut table = Table::new(1, &["load", "ops/s"]);
        table.row(vec!["durable put".into(), "9".into()]);
        table.row(vec!["get".into(), "123456".into()]);
        table.row(vec!["ratio".into()]);
        let want = "load          ops/s\ndurable put       9\nget          123456\nratio\n";
        assert_eq!(table.to_string(), want);
    }
}
