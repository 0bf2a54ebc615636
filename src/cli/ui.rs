//! The one place that prints: data on stdout, words on stderr.

use std::io::{IsTerminal as _, Read as _, StderrLock, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::error::{CliError, Exit};

/// Whether the terminal's last line is a progress line, which the next words overwrite.
static IN_PROGRESS: AtomicBool = AtomicBool::new(false);

/// How a command talks to its user.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent facts about the terminal and the flags"
)]
pub(crate) struct Ui {
    /// One JSON document on stdout instead of text.
    pub(crate) json: bool,
    quiet: bool,
    color: bool,
    /// Data goes where colours are of no use.
    plain_data: bool,
    terminal: bool,
}

impl Ui {
    pub(crate) fn new(
        json: bool,
        quiet: bool,
        color: super::Color,
        env: &[(String, String)],
    ) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let set = |name: &str| {
            env.iter()
                .any(|(key, value)| key == name && !value.is_empty())
        };
        let dumb = env
            .iter()
            .any(|(key, value)| key == "TERM" && value == "dumb");
        let forced = matches!(color, super::Color::Always) || set("CLICOLOR_FORCE");
        let color = match color {
            super::Color::Always => true,
            super::Color::Never => false,
            super::Color::Auto if set("NO_COLOR") => false,
            super::Color::Auto => set("CLICOLOR_FORCE") || (terminal && !dumb),
        };
        Self {
            json,
            quiet,
            color,
            plain_data: !forced && !std::io::stdout().is_terminal(),
            terminal: terminal && !set("CI"),
        }
    }

    /// Data: what a script may read. A closed pipe is no error.
    pub(crate) fn data(self, text: impl std::fmt::Display) {
        let text = text.to_string();
        let text = if self.plain_data && text.contains('\x1b') {
            without_colors(&text)
        } else {
            text
        };
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// A screen that is drawn anew again and again; `None` where that cannot be done.
    pub(crate) fn screen(self) -> Option<Screen> {
        let live = self.terminal && !self.json && std::io::stdout().is_terminal();
        live.then(|| {
            // Another screen, without a cursor.
            let _ = write!(std::io::stdout().lock(), "\x1b[?1049h\x1b[?25l");
            Screen
        })
    }

    /// Draws on a [`Screen`].
    #[expect(clippy::unused_self, reason = "whoever prints holds a `Ui`")]
    pub(crate) fn redraw(self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let _ = write!(stdout, "\x1b[H");
        for line in text.lines() {
            let _ = write!(stdout, "{line}\x1b[K\r\n");
        }
        let _ = write!(stdout, "\x1b[J");
        let _ = stdout.flush();
    }

    /// Data as one JSON document.
    pub(crate) fn json(self, value: &impl Serialize) {
        self.data(serde_json::to_string_pretty(value).expect("command results are JSON"));
    }

    /// Words for a person.
    pub(crate) fn say(self, text: impl std::fmt::Display) {
        if !self.quiet {
            let _ = writeln!(free_line(), "{text}");
        }
    }

    /// A finished step: `✓ text  (duration)`.
    pub(crate) fn done(self, text: impl std::fmt::Display, took: Option<std::time::Duration>) {
        let took = took
            .map(|took| self.dim(&format!("  {}", duration(took))))
            .unwrap_or_default();
        self.say(format_args!("{} {text}{took}", self.green("✓")));
    }

    /// Something to know that is no failure.
    pub(crate) fn warn(self, text: impl std::fmt::Display) {
        let _ = writeln!(free_line(), "{} {text}", self.yellow("warning:"));
    }

    /// A failure.
    pub(crate) fn warn_error(self, text: &str) {
        let _ = writeln!(free_line(), "{} {text}", self.red("error:"));
    }

    /// Overwrites the current line, on a terminal only.
    pub(crate) fn progress(self, text: &str) {
        if self.terminal && !self.quiet {
            let mut stderr = free_line();
            let _ = write!(stderr, "{text}");
            let _ = stderr.flush();
            IN_PROGRESS.store(true, Ordering::Relaxed);
        }
    }

    /// Asks a question whose answer is typed; `None` without a terminal.
    #[expect(clippy::unused_self, reason = "whoever prints holds a `Ui`")]
    pub(crate) fn ask(self, question: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "{question} ");
        let _ = stderr.flush();
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).ok()?;
        Some(answer.trim().to_owned())
    }

    /// All of standard input, where it is no terminal, which would show it.
    #[expect(clippy::unused_self, reason = "whoever prints holds a `Ui`")]
    pub(crate) fn piped(self, what: &str, next: &str) -> Result<String, CliError> {
        let mut stdin = std::io::stdin();
        if stdin.is_terminal() {
            let message = format!("standard input is a terminal, and would show the {what}");
            return Err(CliError::new(Exit::Usage, message).next(next));
        }
        let mut bytes = Vec::new();
        stdin.read_to_end(&mut bytes).map_err(|error| {
            let message = format!("cannot read the {what} from standard input: {error}");
            CliError::failed(message).next(next)
        })?;
        String::from_utf8(bytes).map_err(|error| {
            let place = error.utf8_error().valid_up_to();
            let message = format!("the {what} is not UTF-8 (byte {place})");
            CliError::new(Exit::Usage, message).next(next)
        })
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31;1", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33;1", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Columns padded to their widest cell; the last one runs free.
    pub(crate) fn table(self, head: &[&str], rows: &[Vec<String>]) -> String {
        let width = |column: usize| {
            let cells = rows.iter().map(|row| visible(&row[column]));
            cells
                .chain([head[column].chars().count()])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| {
                let missing = width.saturating_sub(visible(cell));
                format!("{cell}{}", " ".repeat(missing))
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
        let mut lines = vec![self.dim(&line(&head))];
        lines.extend(rows.iter().map(|row| line(row)));
        lines.join("\n")
    }
}

/// Given back to the shell when dropped.
#[derive(Debug)]
pub(crate) struct Screen;

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write!(std::io::stdout().lock(), "\x1b[?25h\x1b[?1049l");
    }
}

/// How many columns a text takes; colours take none.
fn visible(text: &str) -> usize {
    without_colors(text).chars().count()
}

fn without_colors(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}

/// Standard error, with a progress line wiped away.
fn free_line() -> StderrLock<'static> {
    let mut stderr = std::io::stderr().lock();
    if IN_PROGRESS.swap(false, Ordering::Relaxed) {
        let _ = write!(stderr, "\r\x1b[2K");
    }
    stderr
}

/// `950 ms`, `1.2 s`.
pub(crate) fn duration(took: std::time::Duration) -> String {
    if took.as_millis() < 1000 {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

/// `1 change`, `2 changes`.
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
