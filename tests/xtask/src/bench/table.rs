//! Medians, and tables in markdown.

use std::fmt::Write as _;

/// The middle of some figures.
pub(super) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// The median of the quotients of two series that were measured in turns.
pub(super) fn ratio(these: &[f64], those: &[f64]) -> f64 {
    let quotients: Vec<f64> = these.iter().zip(those).map(|(this, that)| this / that).collect();
    median(&quotients)
}

/// The smallest and the largest.
pub(super) fn range(figures: &[f64]) -> (f64, f64) {
    figures.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), figure| (low.min(*figure), high.max(*figure)))
}

/// A table with a title above it.
pub(super) struct Table {
    text: String,
}

impl Table {
    pub(super) fn new(title: &str, columns: &[&str]) -> Self {
        let rule = vec!["---"; columns.len()].join("|");
        Self { text: format!("{title}\n\n| {} |\n|{rule}|\n", columns.join(" | ")) }
    }

    pub(super) fn row(&mut self, cells: &[String]) {
        writeln!(self.text, "| {} |", cells.join(" | ")).expect("a String takes all");
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// Milliseconds, or seconds where there are many.
pub(super) fn duration(millis: f64) -> String {
    if millis >= 10_000.0 { format!("{:.1} s", millis / 1000.0) } else { format!("{millis:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_or_between_the_two_middles() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn ratio_is_taken_round_by_round() {
        assert!((ratio(&[2.0, 30.0, 4.0], &[1.0, 10.0, 4.0]) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn table_is_markdown() {
        let mut table = Table::new("Title", &["a", "b"]);
        table.row(&["1".to_owned(), "2".to_owned()]);
        assert_eq!(table.finish(), "Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n");
    }
}
