//! Which ticks happen now, and when the next one is: no clock, no database.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Missed, Timetable};

/// A tick is missed when nobody has looked for this long; less is a busy machine, or a leader that was replaced.
const LATE: TimeDelta = TimeDelta::seconds(60);

/// Ticks of one transaction. What is left is due at once.
const MOST: usize = 500;

/// What to do with a schedule that is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Ticks to fire, oldest first.
    pub(super) ticks: Vec<DateTime<Utc>>,
    /// The tick after them.
    pub(super) next: Option<DateTime<Utc>>,
}

/// `planned` is the tick that is due, at or before `now`; those between the two are due as well.
pub(super) fn due(
    table: &Timetable,
    (missed, window): (Missed, TimeDelta),
    planned: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Due {
    if now - planned <= LATE {
        return all(table, planned, now);
    }
    if missed == Missed::All {
        let begin = now.checked_sub_signed(window).unwrap_or(planned);
        let first = if planned < begin {
            table.after(begin)
        } else {
            Some(planned)
        };
        return first.map_or(
            Due {
                ticks: Vec::new(),
                next: None,
            },
            |first| all(table, first, now),
        );
    }
    let newest = table
        .until(now)
        .filter(|tick| *tick > planned)
        .unwrap_or(planned);
    let is_wanted = missed == Missed::Latest || now - newest <= LATE;
    Due {
        ticks: if is_wanted { vec![newest] } else { Vec::new() },
        next: table.after(now),
    }
}

fn all(table: &Timetable, first: DateTime<Utc>, now: DateTime<Utc>) -> Due {
    let mut ticks = Vec::new();
    let mut next = Some(first);
    while let Some(tick) = next.filter(|tick| *tick <= now && ticks.len() < MOST) {
        ticks.push(tick);
        next = table.after(tick);
    }
    Due { ticks, next }
}

#[cfg(test)]
mod tests;
