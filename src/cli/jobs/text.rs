//! How jobs look on a terminal.

use crate::cli::ui::Ui;

/// `now`, `45s`, `3m`, `2h`, `4d`.
pub(super) fn age(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "ages are rounded down, and a float that is too large saturates"
    )]
    let seconds = seconds.max(0.0) as i64;
    match seconds {
        0 => "now".to_owned(),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `1 job`, `2 jobs`.
pub(super) fn jobs(count: i64) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} job{ending}")
}

/// One line that can do no harm to a terminal: names and errors come from anywhere.
pub(super) fn line(text: &str, most: usize) -> String {
    let first = text.lines().next().unwrap_or_default();
    let shown = |c: char| if c.is_control() { '·' } else { c };
    let mut line: String = first.chars().map(shown).take(most).collect();
    if first.chars().nth(most).is_some() || text.lines().nth(1).is_some() {
        line.push('…');
    }
    line
}

/// The state in its colour.
pub(super) fn status(ui: Ui, status: &str) -> String {
    match status {
        "succeeded" => ui.green(status),
        "failed" => ui.red(status),
        "running" => ui.cyan(status),
        "cancelled" | "scheduled" => ui.dim(status),
        _ => status.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [
            (-3.0, "now"),
            (0.4, "now"),
            (59.9, "59s"),
            (200.0, "3m"),
            (7_200.0, "2h"),
            (400_000.0, "4d"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }

    #[test]
    fn no_text_reaches_the_terminal_as_a_command() {
        assert_eq!(line("a\u{1b}[2Jb\nc", 60), "a·[2Jb…");
        assert_eq!(line("short", 60), "short");
        assert_eq!(line("abcdef", 3), "abc…");
    }
}
