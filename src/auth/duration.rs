//! Durations as the admin API spells them: `24h`, `1h30m`, `1.5s`, `none`.

use chrono::{DateTime, TimeDelta, Utc};

/// What `ban_duration` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ban {
    /// `none`: the ban ends.
    Lift,
    /// Banned from now for so long.
    For(TimeDelta),
}

impl Ban {
    /// Reads `none` or a sum of numbers with units `h`, `m`, `s`, `ms`, `us`, `ns`; at most 1000 years.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::Lift);
        }
        let longest = TimeDelta::days(365_000);
        duration(text)
            .filter(|span| *span <= longest)
            .map(Self::For)
    }

    /// The end of the ban, if there is one.
    pub(super) fn until(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Lift => None,
            Self::For(span) => Some(now + span),
        }
    }
}

fn duration(text: &str) -> Option<TimeDelta> {
    const UNITS: [(&str, i128); 7] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    if text == "0" {
        return Some(TimeDelta::zero());
    }
    let (mut rest, mut total) = (text, 0_i128);
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (name, next) = tail.split_at(unit);
        let (_, nanos) = UNITS.iter().find(|(unit, _)| *unit == name)?;
        total = total.checked_add(scaled(number, *nanos)?)?;
        rest = next;
    }
    let micros = i64::try_from(total / 1_000).ok()?;
    Some(TimeDelta::microseconds(micros))
}

/// `number` (digits with at most one point) times `unit`.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > 18 || fraction.len() > 15 {
        return None;
    }
    let parse = |text: &str| {
        if text.is_empty() {
            Some(0_i128)
        } else {
            text.parse().ok()
        }
    };
    let power = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    Some(parse(whole)? * unit + parse(fraction)? * unit / power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_units() {
        for (text, seconds) in [
            ("24h", 86_400),
            ("1h30m", 5_400),
            ("1.5h", 5_400),
            ("90m0s", 5_400),
            ("1h1m1s", 3_661),
            ("2000ms", 2),
            ("0", 0),
            ("876600h", 3_155_760_000),
        ] {
            let expected = Ban::For(TimeDelta::seconds(seconds));
            assert_eq!(Ban::parse(text), Some(expected), "{text}");
        }
        assert_eq!(Ban::parse("none"), Some(Ban::Lift));
    }

    #[test]
    fn nonsense_is_no_duration() {
        for text in [
            "",
            "h",
            "24",
            "24x",
            "-24h",
            "1h-1m",
            "1..5h",
            ".h",
            "1h ",
            "None",
            "99999999999999999999h",
            "9999999999h",
        ] {
            assert_eq!(Ban::parse(text), None, "{text}");
        }
    }
}
