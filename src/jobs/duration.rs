//! Durations as people write them: `90`, `5m`, `1h 30m`, `2 days`.

use std::time::Duration;

/// Reads a duration; a number alone is seconds.
///
/// # Errors
/// What is wrong, without the name of the option.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(format!("is negative: {text}"));
    }
    let mut seconds = 0.0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(misread(text));
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| misread(text))?;
        let after = rest[digits..].trim_start();
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let unit = unit(&after[..letters]).ok_or_else(|| misread(text))?;
        seconds += number * unit;
        rest = after[letters..].trim_start();
    }
    from_seconds(seconds)
}

/// Seconds as a number.
///
/// # Errors
/// What is wrong, without the name of the option.
pub(crate) fn from_seconds(seconds: f64) -> Result<Duration, String> {
    if seconds < 0.0 {
        return Err(format!("is negative: {seconds}"));
    }
    // A thousand years: more is a mistake, and soon nothing Postgres could add to a time.
    if seconds > 3.2e10 {
        return Err("is too long".to_owned());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| misread(&seconds.to_string()))
}

fn misread(text: &str) -> String {
    format!("is not a duration: \"{text}\"; write seconds, or 5m, 1h30m, 2d")
}

fn unit(name: &str) -> Option<f64> {
    Some(match name {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "ms" | "milliseconds" => 0.001,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3_600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90", 90.0),
            ("1.5", 1.5),
            ("5m", 300.0),
            ("1h30m", 5_400.0),
            ("1h 30m", 5_400.0),
            ("2 days", 172_800.0),
            ("250ms", 0.25),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "m", "-5", "-1h", "1x", "1..2", "5m x", "1e9"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(from_seconds(-0.5).is_err() && from_seconds(1e300).is_err());
        assert!(from_seconds(f64::NAN).is_err());
    }
}
