//! Schedules: jobs that the clock enqueues.
//!
//! ```text
//! SQL, sb.toml, App::cron ──► jobs.cron_schedules ──► scheduler: which ticks are due?
//!                                                         │ jobs.fire_schedule, one transaction:
//!                                                         ▼ guard row, job, next tick
//!                                                     jobs.pending ──► worker
//! ```
//!
//! Every process with a worker runs a scheduler, and one of them leads. That saves work and decides nothing: a tick is a
//! row of `jobs.cron_runs`, whose primary key lets it happen once, and a schedule only moves on from the tick that the
//! scheduler has seen. What time it is, the database says (`jobs.now()`).

mod due;
mod leader;
pub mod manage;
mod queries;
mod schedule;
mod scheduler;

pub use crate::config::cron::{Missed, Overlap, Timetable};
pub(super) use queries::remove_expired;
pub use schedule::Schedule;
pub use scheduler::{CronOptions, start};
