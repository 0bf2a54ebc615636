//! Claims jobs: enough ahead that runners never wait, not so many that they lie here while another worker is idle.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::complete::{Outcome, Ticket};
use super::{Shared, lock};
use crate::db::{DbError, Notice, SystemConnection};
use crate::jobs::model::{Claimed, JobId};
use crate::jobs::queries::{self, Claim};

/// Most jobs claimed ahead.
const MOST: usize = 500;

/// Work for about this long is claimed ahead.
const AHEAD: Duration = Duration::from_millis(100);

/// Jobs claimed ahead that have not begun after this are handed back: those that run take longer than expected.
const STALE: Duration = Duration::from_millis(250);

/// Priorities whose position is remembered.
const MOST_MARKS: usize = 16;

/// A look at a whole queue may take this part of the time, as index entries of finished jobs make it slow while an old
/// snapshot is held somewhere.
const FULL_SHARE: u32 = 20;

/// Where claims of a queue have got to.
#[derive(Debug)]
struct Queue {
    /// The last job claimed, by priority.
    marks: BTreeMap<i16, (DateTime<Utc>, JobId)>,
    /// Until then only what lies behind the marks is looked at.
    next_full: Instant,
    last_key: String,
}

impl Queue {
    fn new() -> Self {
        Self {
            marks: BTreeMap::new(),
            next_full: Instant::now(),
            last_key: String::new(),
        }
    }

    fn mark(&mut self, claimed: &[Claimed]) {
        for job in claimed {
            let mark = self
                .marks
                .entry(job.priority)
                .or_insert((job.run_at, job.id));
            *mark = (*mark).max((job.run_at, job.id));
        }
        // Each costs a statement a round; the others are left to the look at the whole queue.
        while self.marks.len() > MOST_MARKS {
            let oldest = self.marks.iter().min_by_key(|(_, mark)| **mark);
            let oldest = oldest.map(|(priority, _)| *priority);
            self.marks.retain(|priority, _| Some(*priority) != oldest);
        }
    }
}

/// What the fetcher remembers.
#[derive(Debug)]
struct Fetcher {
    queues: HashMap<String, Queue>,
    /// Which queue comes first.
    turn: usize,
    /// When the next job is due, as far as is known.
    next_due: Instant,
    /// Until then due jobs are not looked for: the same restraint as for whole queues.
    next_promotion: Instant,
}

impl Fetcher {
    fn new() -> Self {
        Self {
            queues: HashMap::new(),
            turn: 0,
            next_due: Instant::now(),
            next_promotion: Instant::now(),
        }
    }

    /// Makes due jobs claimable, if it is time to. Returns when to look again.
    async fn promote(
        &mut self,
        shared: &Shared,
        connection: &SystemConnection,
    ) -> Result<Instant, DbError> {
        let begun = Instant::now();
        if shared.postponed.swap(false, Ordering::AcqRel) {
            self.next_due = begun;
        }
        let at = self.next_due.max(self.next_promotion);
        if begun < at {
            return Ok(at);
        }
        let due = queries::promote(connection).await?;
        let now = Instant::now();
        let wait = due.map_or(shared.options.poll_interval, |due| {
            Duration::from_secs_f64(due.max(0.0)).min(shared.options.poll_interval)
        });
        self.next_due = now + wait;
        self.next_promotion = now + begun.elapsed() * FULL_SHARE;
        Ok(self.next_due.max(self.next_promotion))
    }
}

/// Until the worker drains.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut notices = shared.jobs.listener.subscribe("sb_jobs");
    let mut fetcher = Fetcher::new();
    let mut pause = Duration::from_millis(100);
    while !shared.draining.is_cancelled() {
        shared.release_stale();
        let next = match round(&shared, &mut fetcher).await {
            Ok(next) => {
                pause = Duration::from_millis(100);
                next
            }
            Err(error) => {
                tracing::warn!(error = %error, retry_ms = pause.as_millis(), "jobs cannot be claimed");
                pause = (pause * 2).min(Duration::from_secs(5));
                Next::At(Instant::now() + pause)
            }
        };
        wait(&shared, &mut notices, next).await;
    }
}

/// When to look again.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// As soon as there is room.
    Room,
    /// When woken, at this time at the latest.
    At(Instant),
}

async fn wait(shared: &Shared, notices: &mut tokio::sync::broadcast::Receiver<Notice>, next: Next) {
    let until = match next {
        Next::Room => {
            let room = async {
                while shared.free() == 0 {
                    shared.room.notified().await;
                }
            };
            tokio::select! {
                () = room => {}
                () = shared.draining.cancelled() => {}
                () = tokio::time::sleep(STALE), if shared.has_buffered() => {}
                () = tokio::time::sleep(shared.options.poll_interval) => {}
            }
            return;
        }
        Next::At(until) if shared.has_buffered() => until.min(Instant::now() + STALE),
        Next::At(until) => until,
    };
    tokio::select! {
        () = shared.draining.cancelled() => {}
        () = shared.jobs.wake.woken() => {}
        notice = notices.recv() => {
            if notice == Err(tokio::sync::broadcast::error::RecvError::Closed) {
                tokio::time::sleep_until(until).await;
            }
        }
        () = tokio::time::sleep_until(until) => {}
    }
}

/// One look at everything.
async fn round(shared: &Shared, fetcher: &mut Fetcher) -> Result<Next, DbError> {
    let connection = shared.jobs.db.jobs().connection().await?;
    if shared.suspect.swap(false, Ordering::AcqRel)
        && let Err(error) = shared.release_unknown(&connection).await
    {
        shared.suspect.store(true, Ordering::Release);
        return Err(error);
    }
    let mut next = Instant::now() + shared.jittered_poll();
    next = next.min(fetcher.promote(shared, &connection).await?);
    let only = Some(shared.options.queues.as_slice()).filter(|queues| !queues.is_empty());
    let names = queries::open_queues(&connection, only).await?;
    // Each queue in turn gives its share, until none has more or there is no room. The next round begins with another
    // queue, so that a long one stops no other.
    let mut left: Vec<&String> = names.iter().collect();
    if !left.is_empty() {
        left.rotate_left(fetcher.turn % names.len());
        fetcher.turn = fetcher.turn.wrapping_add(1);
    }
    let mut failed = None;
    while !left.is_empty() {
        let mut more = Vec::new();
        for (index, name) in left.iter().enumerate() {
            let free = shared.free();
            if free == 0 {
                return Ok(Next::Room);
            }
            let share = free.div_ceil(left.len() - index);
            let queue = fetcher
                .queues
                .entry((*name).clone())
                .or_insert_with(Queue::new);
            // Once it is allowed again, the whole queue is looked at.
            let full_at = queue.next_full;
            match claim(shared, &connection, name, queue, share).await {
                Ok(claimed) if claimed >= share => more.push(*name),
                Ok(_) if full_at == queue.next_full => next = next.min(full_at),
                Ok(_) => {}
                Err(error) => {
                    shared.suspect.store(true, Ordering::Release);
                    failed = Some(error);
                }
            }
        }
        left = more;
    }
    failed.map_or(Ok(Next::At(next)), Err)
}

async fn claim(
    shared: &Shared,
    connection: &SystemConnection,
    name: &str,
    queue: &mut Queue,
    free: usize,
) -> Result<usize, DbError> {
    let mut claimed = 0;
    let order = |limit: usize| Claim {
        queue: name,
        worker: shared.id(),
        limit: i64::try_from(limit).unwrap_or(i64::MAX),
        names: &shared.names,
        patterns: &shared.patterns,
    };
    // First, or a steady stream behind the marks would hide what is urgent, keyed or handed back.
    if Instant::now() >= queue.next_full {
        let begun = Instant::now();
        let keyed = queries::has_keyed(connection, name).await?;
        let reserved = if keyed { free.div_ceil(4) } else { 0 };
        let jobs = if free > reserved {
            queries::claim_all(connection, &order(free - reserved)).await?
        } else {
            Vec::new()
        };
        claimed += jobs.len();
        queue.mark(&jobs);
        shared.push(jobs);
        if keyed {
            let tx = shared.jobs.db.jobs().begin().await?;
            let keyed = queries::claim_keyed(&tx, &order(free - claimed), &queue.last_key).await;
            let (jobs, last) = tx.finish(keyed).await?;
            claimed += jobs.len();
            queue.last_key = last;
            shared.push(jobs);
        }
        queue.next_full = Instant::now() + begun.elapsed() * FULL_SHARE;
    }
    for (priority, mark) in queue.marks.clone() {
        if claimed >= free {
            break;
        }
        let jobs = queries::claim_after(connection, &order(free - claimed), priority, mark).await?;
        claimed += jobs.len();
        queue.mark(&jobs);
        shared.push(jobs);
    }
    Ok(claimed)
}

impl Shared {
    /// How many more jobs to claim.
    fn free(&self) -> usize {
        if self.draining.is_cancelled() || self.lost.load(Ordering::Acquire) {
            return 0;
        }
        let mean = self.mean_us.load(Ordering::Relaxed).max(1);
        let ahead = u64::try_from(AHEAD.as_micros()).unwrap_or(u64::MAX) / mean;
        let concurrency = self.options.concurrency.max(1);
        // Nothing has ended for a while: what runs now is slower than the mean says.
        let ahead = if lock(&self.last_end).elapsed() > AHEAD && self.running() >= concurrency {
            0
        } else {
            ahead
        };
        let wanted = concurrency
            .saturating_mul(usize::try_from(ahead).unwrap_or(usize::MAX))
            .clamp(concurrency, MOST.max(concurrency));
        let free = wanted.saturating_sub(self.outstanding());
        // A full batch now beats a few jobs at a time, as long as runners have work.
        let starved = lock(&self.buffer).is_empty() && self.running() < concurrency;
        if free * 2 >= wanted || starved {
            free
        } else {
            0
        }
    }

    /// Nothing is being claimed meanwhile: the caller is the only one who does.
    async fn release_unknown(&self, connection: &SystemConnection) -> Result<(), DbError> {
        let mut known = self.held();
        known.extend(lock(&self.unwritten).iter());
        let released = queries::release_unknown(connection, self.id(), &known).await?;
        if released > 0 {
            tracing::warn!(
                jobs = released,
                "jobs whose claim was never answered are handed back"
            );
        }
        Ok(())
    }

    fn has_buffered(&self) -> bool {
        !lock(&self.buffer).is_empty()
    }

    /// Hands back what was claimed ahead when runners turn out to be busy for longer.
    fn release_stale(&self) {
        if !self.has_buffered() || lock(&self.last_end).elapsed() < STALE {
            return;
        }
        for job in self.take_buffer() {
            self.send(Outcome::released(Ticket::of(&job)));
        }
    }

    fn push(&self, jobs: Vec<Claimed>) {
        let count = jobs.len();
        if count > 0 && self.outstanding() == 0 {
            // The clock of what is claimed ahead begins to run.
            *lock(&self.last_end) = std::time::Instant::now();
        }
        lock(&self.buffer).extend(jobs);
        self.available.add_permits(count);
    }

    /// Workers that started together do not ask together.
    fn jittered_poll(&self) -> Duration {
        let [random] = crate::clock::random_bytes::<1>();
        self.options
            .poll_interval
            .mul_f64(0.8 + 0.4 * f64::from(random) / 255.0)
    }
}
