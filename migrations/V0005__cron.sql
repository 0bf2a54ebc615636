-- Schedules that enqueue jobs.
--
-- A server decides which times an expression means; the database decides what
-- time it is, and that a tick happens once: jobs.cron_runs has one row for each
-- (name, tick), and next_fire_at only moves from the value a server has seen to
-- the one after it, in the transaction that enqueues. Whoever believes to be
-- the leader may try; nothing depends on there being only one.

-- The only clock of schedules, so that a test can replace it by a fast one.
create function jobs.now()
returns timestamptz
language sql
volatile
set search_path = ''
as $$
  select clock_timestamp()
$$;

comment on function jobs.now() is 'What time schedules believe it is.';

create table jobs.cron_schedules (
  id bigint generated always as identity unique,
  name text primary key
    check (name <> '' and length(name) <= 100),
  cron_expr text not null,
  time_zone text not null default 'UTC',
  job_name text not null,
  job_version integer not null default 1,
  payload jsonb not null default '{}',
  queue text,
  role text,
  user_id uuid,
  priority integer not null default 0,
  max_attempts integer,
  timeout_s integer,
  overlap text not null default 'allow'
    check (overlap in ('allow', 'skip', 'replace')),
  missed text not null default 'latest'
    check (missed in ('skip', 'latest', 'all')),
  missed_window interval not null default '1 day'
    check (missed_window > '0'),
  enabled boolean not null default true,
  source text not null default 'sql'
    check (source in ('sql', 'config', 'app')),
  revision bigint not null default 0,
  after_at timestamptz not null default jobs.now(),
  next_fire_at timestamptz,
  last_fire_at timestamptz,
  last_job_id bigint,
  error text,
  created_at timestamptz not null default now()
)
with (fillfactor = 70);

comment on table jobs.cron_schedules is
  'What is enqueued when. jobs.schedule adds one; those of sb.toml and of programs are written at their start.';
comment on column jobs.cron_schedules.cron_expr is 'Five fields, six with seconds first, or @hourly, @daily, @weekly, @monthly, @yearly.';
comment on column jobs.cron_schedules.queue is 'Null: the queue of the kind of job.';
comment on column jobs.cron_schedules.overlap is 'What a tick does while the job of the last one is not over.';
comment on column jobs.cron_schedules.missed is 'What becomes of ticks at which no scheduler ran.';
comment on column jobs.cron_schedules.missed_window is 'How far back missed = all goes.';
comment on column jobs.cron_schedules.source is 'Who wrote it: SQL, sb.toml, or the program.';
comment on column jobs.cron_schedules.revision is 'Changes with everything that moves ticks.';
comment on column jobs.cron_schedules.after_at is 'The last tick, or the last change: only later ticks count.';
comment on column jobs.cron_schedules.next_fire_at is 'Written by the scheduler; null until it has looked, and while error says why.';
comment on column jobs.cron_schedules.error is 'Why it does not fire, or why the last tick enqueued nothing.';

create table jobs.cron_runs (
  name text not null,
  tick timestamptz not null,
  job_id bigint,
  outcome text not null default 'enqueued'
    check (outcome in ('enqueued', 'skipped', 'failed')),
  error text,
  fired_at timestamptz not null default now(),
  primary key (name, tick)
);

comment on table jobs.cron_runs is 'Ticks that happened. The primary key is what keeps one from happening twice.';

create index cron_runs_fired_at_idx
  on jobs.cron_runs (fired_at);

create table jobs.leader (
  name text primary key,
  owner uuid not null,
  epoch bigint not null,
  expires_at timestamptz not null
);

comment on table jobs.leader is 'Who does what one process is enough for. Saves work; nothing relies on it.';

-- Checks ----------------------------------------------------------------------

-- A plain look, so that a typing error is told to who makes it. The scheduler's
-- parser has the last word and writes it to the column error.
create function jobs.check_cron(cron_expr text)
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
  fields text[] := regexp_split_to_array(btrim(upper(cron_expr), E' \t\n'), '\s+');
  titles constant text[] := array['second', 'minute', 'hour', 'day of the month', 'month', 'day of the week'];
  lows constant integer[] := array[0, 0, 0, 1, 1, 0];
  highs constant integer[] := array[59, 59, 23, 31, 12, 7];
  names constant text[] := array[
    '', '', '', '', '|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC', '|SUN|MON|TUE|WED|THU|FRI|SAT'
  ];
  -- What a field has besides numbers, ranges and steps.
  specials constant text[] := array['', '', '', '|L|LW|[0-9]{1,2}W', '', ''];
  suffixes constant text[] := array['', '', '', '', '', '(L|#[1-5L])?'];
  counted integer := cardinality(fields);
  field text;
  item text;
  value text;
  position integer;
begin
  if cron_expr is null or length(cron_expr) > 200 then
    raise exception 'a cron expression has at most 200 characters'
      using errcode = 'invalid_parameter_value';
  end if;
  if fields[1] like '@%' then
    if counted = 1 and fields[1] in ('@HOURLY', '@DAILY', '@WEEKLY', '@MONTHLY', '@YEARLY', '@ANNUALLY') then
      return;
    end if;
    raise exception 'cron expression "%" is unknown', cron_expr
      using errcode = 'invalid_parameter_value',
            hint = 'the words are @hourly, @daily, @weekly, @monthly and @yearly';
  end if;
  if counted not in (5, 6) or fields[1] = '' then
    raise exception 'cron expression "%" has % fields', cron_expr, case when fields[1] = '' then 0 else counted end
      using errcode = 'invalid_parameter_value',
            hint = 'it needs five: minute hour day month weekday, such as 30 3 * * mon-fri; or six with seconds first';
  end if;
  for at in 1..counted loop
    position := at + 6 - counted;
    field := fields[at];
    if position = 6 then
      field := ltrim(field, '+');
    end if;
    foreach item in array string_to_array(field, ',') loop
      if item !~ format(
        '^(\*|([0-9]{1,2}%s)%s(-([0-9]{1,2}%s))?%s)(/[0-9]{1,2})?$',
        names[position], suffixes[position], names[position], specials[position]
      ) then
        raise exception 'cron expression "%": "%" is no %', cron_expr, item, titles[position]
          using errcode = 'invalid_parameter_value',
                hint = 'a field is *, a number, a range such as 1-5, a step such as */15, or a list of these';
      end if;
      for value in
        select m[1]
          from regexp_matches(split_part(split_part(item, '/', 1), '#', 1), '[0-9]+', 'g') as m
      loop
        if value::integer not between lows[position] and highs[position] then
          raise exception 'cron expression "%": % is no %, which goes from % to %',
              cron_expr, value, titles[position], lows[position], highs[position]
            using errcode = 'invalid_parameter_value',
                  hint = 'the order is minute hour day month weekday; with six fields seconds come first';
        end if;
      end loop;
      if item ~ '/0+$' then
        raise exception 'cron expression "%": a step of 0 never ends', cron_expr
          using errcode = 'invalid_parameter_value',
                hint = 'steps begin at 1: */5 is every fifth';
      end if;
    end loop;
  end loop;
end
$$;

create function jobs.check_time_zone(time_zone text)
returns void
language plpgsql
stable
set search_path = ''
as $$
begin
  perform now() at time zone time_zone;
  if time_zone is null or time_zone !~ '^[A-Za-z][A-Za-z0-9_+/-]*$' then
    raise invalid_parameter_value;
  end if;
exception
  when invalid_parameter_value then
    raise exception 'time zone "%" is unknown', time_zone
      using errcode = 'invalid_parameter_value',
            hint = 'use a name such as Europe/Berlin; select name from pg_timezone_names lists them';
end
$$;

create function jobs.before_schedule()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  perform jobs.check_cron(new.cron_expr);
  perform jobs.check_time_zone(new.time_zone);
  perform jobs.check_options(
    new.job_name, new.payload, new.queue, new.queue is null or exists (
      select
        from jobs.queues q
        where q.name = new.queue
    ),
    new.max_attempts, null, new.priority, null, new.timeout_s, 1, 1, null, now()
  );
  if new.missed_window > interval '1 year' or new.missed_window < interval '0' then
    raise exception 'missed_window is %, outside 0 to 1 year', new.missed_window
      using errcode = 'invalid_parameter_value';
  end if;
  if tg_op = 'INSERT' then
    new.last_fire_at := null;
    new.last_job_id := null;
  elsif (new.cron_expr, new.time_zone, new.enabled) is not distinct from (old.cron_expr, old.time_zone, old.enabled) then
    new.revision := old.revision;
    return new;
  end if;
  -- What was due before is not this schedule's business.
  new.revision := coalesce(old.revision, 0) + 1;
  new.after_at := jobs.now();
  new.next_fire_at := null;
  new.error := null;
  return new;
end
$$;

create trigger before_schedule
  before insert or update of
    cron_expr, time_zone, job_name, payload, queue, max_attempts, priority, timeout_s, enabled, revision
  on jobs.cron_schedules
  for each row
  execute function jobs.before_schedule();

create function jobs.notify_cron()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  perform pg_notify('sb_cron', '');
  return null;
end
$$;

-- Only on what people write: the scheduler knows what it writes itself.
create trigger notify_cron
  after insert or delete or update of cron_expr, time_zone, enabled, missed, missed_window
  on jobs.cron_schedules
  for each statement
  execute function jobs.notify_cron();

-- What people call ------------------------------------------------------------

create function jobs.schedule(
  name text,
  cron_expr text,
  job_name text,
  payload jsonb default '{}',
  queue text default null,
  time_zone text default 'UTC',
  overlap text default 'allow',
  missed text default 'latest',
  missed_window interval default '1 day',
  job_version integer default 1,
  role text default null,
  user_id uuid default null,
  priority integer default 0,
  max_attempts integer default null,
  timeout_s integer default null,
  enabled boolean default null
)
returns void
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  owned_by text;
begin
  if coalesce(schedule.overlap, '') not in ('allow', 'skip', 'replace') then
    raise exception 'overlap is "%"', schedule.overlap
      using errcode = 'invalid_parameter_value',
            hint = 'allow starts another job, skip waits for the next tick, replace cancels the one that runs';
  end if;
  if coalesce(schedule.missed, '') not in ('skip', 'latest', 'all') then
    raise exception 'missed is "%"', schedule.missed
      using errcode = 'invalid_parameter_value',
            hint = 'skip forgets missed ticks, latest runs once for all of them, all runs each within missed_window';
  end if;
  insert into jobs.cron_schedules as c (
    name, cron_expr, time_zone, job_name, job_version, payload, queue, role, user_id, priority, max_attempts, timeout_s,
    overlap, missed, missed_window, enabled
  )
    values (
      schedule.name, schedule.cron_expr, schedule.time_zone, schedule.job_name, schedule.job_version, schedule.payload,
      schedule.queue, schedule.role, schedule.user_id, schedule.priority, schedule.max_attempts, schedule.timeout_s,
      schedule.overlap, schedule.missed, schedule.missed_window, coalesce(schedule.enabled, true)
    )
    on conflict (name) do update
      set cron_expr = excluded.cron_expr,
          time_zone = excluded.time_zone,
          job_name = excluded.job_name,
          job_version = excluded.job_version,
          payload = excluded.payload,
          queue = excluded.queue,
          role = excluded.role,
          user_id = excluded.user_id,
          priority = excluded.priority,
          max_attempts = excluded.max_attempts,
          timeout_s = excluded.timeout_s,
          overlap = excluded.overlap,
          missed = excluded.missed,
          missed_window = excluded.missed_window,
          enabled = coalesce(schedule.enabled, c.enabled)
      where c.source = 'sql';
  if not found then
    select c.source
      into owned_by
      from jobs.cron_schedules c
      where c.name = schedule.name;
    raise exception 'schedule "%" comes from %', schedule.name,
        case owned_by when 'config' then 'sb.toml' else 'the program' end
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'change it there, or use another name';
  end if;
end
$$;

comment on function jobs.schedule is
  'Enqueues job_name at every time that cron_expr names in time_zone. Again with the same name, it changes the schedule; '
  'enabled = null leaves a paused one paused.';

create function jobs.unschedule(name text)
returns void
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  owned_by text;
begin
  delete from jobs.cron_schedules c
    where c.name = unschedule.name
      and c.source = 'sql';
  if found then
    return;
  end if;
  select c.source
    into owned_by
    from jobs.cron_schedules c
    where c.name = unschedule.name;
  if not found then
    raise exception 'schedule "%" does not exist', unschedule.name
      using errcode = 'no_data_found',
            hint = 'select name from jobs.cron_schedules lists them';
  end if;
  raise exception 'schedule "%" comes from %', unschedule.name,
      case owned_by when 'config' then 'sb.toml' else 'the program' end
    using errcode = 'object_not_in_prerequisite_state',
          hint = format('remove it there, or pause it: sb cron pause %s', unschedule.name);
end
$$;

comment on function jobs.unschedule(text) is 'Removes a schedule made with jobs.schedule. Its jobs that wait or run are not touched.';

-- What a server calls ---------------------------------------------------------

-- Makes the schedules of one source what the array says. A paused one stays
-- paused; one that is as it was keeps its next tick.
create function jobs.sync_schedules(owned_by text, schedules jsonb)
returns table (name text, change text)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  item record;
begin
  -- Nodes start together; the last one decides, and no two mix.
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('jobs.sync_schedules', 0));
  insert into jobs.queues (name)
    select distinct s ->> 'queue'
      from jsonb_array_elements(schedules) as s
      where s ->> 'queue' is not null
    on conflict do nothing;
  return query
    delete from jobs.cron_schedules c
      where c.source = owned_by
        and not schedules @> jsonb_build_array(jsonb_build_object('name', c.name))
      returning c.name, 'removed';
  for item in
    select s.*
      from jsonb_to_recordset(schedules) as s (
        name text, cron_expr text, time_zone text, job_name text, job_version integer, payload jsonb, queue text,
        role text, user_id uuid, priority integer, max_attempts integer, timeout_s integer, overlap text, missed text,
        missed_window interval
      )
  loop
    name := item.name;
    insert into jobs.cron_schedules as c (
      name, cron_expr, time_zone, job_name, job_version, payload, queue, role, user_id, priority, max_attempts,
      timeout_s, overlap, missed, missed_window, source
    )
      values (
        item.name, item.cron_expr, item.time_zone, item.job_name, item.job_version, item.payload, item.queue, item.role,
        item.user_id, item.priority, item.max_attempts, item.timeout_s, item.overlap, item.missed, item.missed_window,
        owned_by
      )
      on conflict (name) do nothing;
    if found then
      change := 'added';
      return next;
      continue;
    end if;
    update jobs.cron_schedules c
      set cron_expr = item.cron_expr,
          time_zone = item.time_zone,
          job_name = item.job_name,
          job_version = item.job_version,
          payload = item.payload,
          queue = item.queue,
          role = item.role,
          user_id = item.user_id,
          priority = item.priority,
          max_attempts = item.max_attempts,
          timeout_s = item.timeout_s,
          overlap = item.overlap,
          missed = item.missed,
          missed_window = item.missed_window,
          source = owned_by
      where c.name = item.name
        and c.source <> 'sql'
        and (
          c.cron_expr, c.time_zone, c.job_name, c.job_version, c.payload, c.queue, c.role, c.user_id, c.priority,
          c.max_attempts, c.timeout_s, c.overlap, c.missed, c.missed_window, c.source
        ) is distinct from (
          item.cron_expr, item.time_zone, item.job_name, item.job_version, item.payload, item.queue, item.role,
          item.user_id, item.priority, item.max_attempts, item.timeout_s, item.overlap, item.missed, item.missed_window,
          owned_by
        );
    if found then
      change := 'changed';
      return next;
    elsif exists (
      select
        from jobs.cron_schedules c
        where c.name = item.name
          and c.source = 'sql'
    ) then
      change := 'taken';
      return next;
    end if;
  end loop;
end
$$;

-- One tick: the guard row, then the job. The caller holds the schedule's row.
create function jobs.run_tick(schedule jobs.cron_schedules, at timestamptz)
returns jobs.cron_runs
language plpgsql
set search_path = ''
as $$
declare
  run jobs.cron_runs;
  enqueued jobs.pending;
begin
  insert into jobs.cron_runs (name, tick)
    values (schedule.name, at)
    on conflict do nothing
    returning *
    into run;
  if not found then
    return null;
  end if;
  if schedule.overlap <> 'allow' and exists (
    select
      from jobs.pending p
      where p.id = schedule.last_job_id
  ) then
    if schedule.overlap = 'skip' then
      run.outcome := 'skipped';
    else
      begin
        perform jobs.cancel(schedule.last_job_id);
      exception
        -- Being cancelled already, or over this moment.
        when object_not_in_prerequisite_state or no_data_found then
          null;
      end;
    end if;
  end if;
  if run.outcome = 'enqueued' then
    begin
      select (e.job).*
        into enqueued
        from jobs.enqueue(
          name => schedule.job_name, payload => schedule.payload, queue => schedule.queue, user_id => schedule.user_id,
          max_attempts => schedule.max_attempts, version => schedule.job_version, role => schedule.role,
          priority => schedule.priority, timeout_s => schedule.timeout_s,
          -- The job that is replaced may need a moment to end.
          concurrency_key => case when schedule.overlap = 'replace' then 'cron:' || schedule.name end,
          source => 'cron:' || schedule.name
        ) as e;
      run.job_id := enqueued.id;
    exception
      -- What trying again would not change. Everything else undoes the tick.
      when undefined_object or invalid_parameter_value or program_limit_exceeded or integrity_constraint_violation
        or insufficient_privilege then
        run.outcome := 'failed';
        run.error := sqlerrm;
    end;
  end if;
  update jobs.cron_runs r
    set job_id = run.job_id,
        outcome = run.outcome,
        error = run.error
    where r.name = run.name
      and r.tick = run.tick;
  return run;
end
$$;

-- Fires the ticks and moves on, if the schedule is still as the caller has seen
-- it: nobody was faster, nobody has changed or paused it.
create function jobs.fire_schedule(
  name text,
  seen_revision bigint,
  seen_fire_at timestamptz,
  ticks timestamptz[],
  then_fire_at timestamptz
)
returns table (tick timestamptz, job_id bigint, queue text, outcome text, error text)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  schedule jobs.cron_schedules;
  run jobs.cron_runs;
  at timestamptz;
begin
  select c.*
    into schedule
    from jobs.cron_schedules c
    where c.name = fire_schedule.name
      and c.revision = seen_revision
      and c.next_fire_at = seen_fire_at
      and c.enabled
    for update;
  if not found then
    return;
  end if;
  schedule.error := null;
  foreach at in array ticks loop
    run := jobs.run_tick(schedule, at);
    continue when run.name is null;
    schedule.last_fire_at := at;
    schedule.last_job_id := coalesce(run.job_id, schedule.last_job_id);
    schedule.error := run.error;
    return query
      select at, run.job_id, (
          select p.queue
            from jobs.pending p
            where p.id = run.job_id
        ), run.outcome, run.error;
  end loop;
  update jobs.cron_schedules c
    set next_fire_at = then_fire_at,
        after_at = greatest(seen_fire_at, schedule.last_fire_at),
        last_fire_at = schedule.last_fire_at,
        last_job_id = schedule.last_job_id,
        error = schedule.error
    where c.name = fire_schedule.name;
end
$$;

-- What pg_cron calls in the minute of a tick, and sb cron run whenever it likes.
create function jobs.run_schedule(name text, by_hand boolean default false)
returns table (tick timestamptz, job_id bigint, queue text, outcome text, error text)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  schedule jobs.cron_schedules;
  run jobs.cron_runs;
begin
  select c.*
    into schedule
    from jobs.cron_schedules c
    where c.name = run_schedule.name
    for update;
  if not found then
    raise exception 'schedule "%" does not exist', run_schedule.name
      using errcode = 'no_data_found';
  end if;
  if not by_hand and not schedule.enabled then
    return;
  end if;
  run := jobs.run_tick(schedule, case when by_hand then jobs.now() else date_trunc('minute', jobs.now()) end);
  if run.name is null then
    return;
  end if;
  update jobs.cron_schedules c
    set last_fire_at = run.tick,
        last_job_id = coalesce(run.job_id, c.last_job_id),
        error = run.error,
        -- Nobody else plans while pg_cron does.
        after_at = case when by_hand then c.after_at else run.tick end,
        next_fire_at = case when by_hand then c.next_fire_at end
    where c.name = run_schedule.name;
  return query
    select run.tick, run.job_id, (
        select p.queue
          from jobs.pending p
          where p.id = run.job_id
      ), run.outcome, run.error;
end
$$;

-- Makes the entries of pg_cron ours, or removes them. Definer: an entry runs as
-- who makes it, and pg_cron cannot log in as the worker's role.
create function jobs.sync_pg_cron(active boolean)
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
  entry record;
  problem text;
begin
  if not exists (
    select
      from pg_catalog.pg_extension e
      where e.extname = 'pg_cron'
  ) then
    if not active then
      return;
    end if;
    raise exception 'extension pg_cron is not installed in database %', current_database()
      using errcode = 'undefined_object',
            hint = format(
              'set shared_preload_libraries = ''pg_cron'' and cron.database_name = %L, restart Postgres and type '
              'create extension pg_cron; or set jobs.cron_backend = "inproc"', current_database()
            );
  end if;
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('jobs.sync_pg_cron', 0));
  -- Its tables and functions are named in texts: without the extension there are none.
  for entry in execute $sql$
    select j.jobid
      from cron.job j
      where j.jobname like 'sb:%'
        and j.database = current_database()
        and not exists (
          select
            from jobs.cron_schedules c
            where $1
              and c.enabled
              and j.jobname = 'sb:' || c.id
              and j.schedule = c.cron_expr
              and jobs.pg_cron_problem(c) is null
        )
    $sql$ using active
  loop
    execute 'select cron.unschedule($1)' using entry.jobid;
  end loop;
  if not active then
    update jobs.cron_schedules c
      set error = null
      where c.error like 'pg_cron%';
    return;
  end if;
  for entry in execute $sql$
    select c.id, c.name, c.cron_expr, c.error, jobs.pg_cron_problem(c) as problem, j.jobid, d.status, d.return_message
      from jobs.cron_schedules c
      left join cron.job j
        on j.jobname = 'sb:' || c.id
       and j.database = current_database()
      left join lateral (
        select r.status, r.return_message
          from cron.job_run_details r
          where r.jobid = j.jobid
            and r.status in ('succeeded', 'failed')
          order by r.runid desc
          limit 1
      ) as d
        on true
      where c.enabled
    $sql$
  loop
    problem := coalesce(
      entry.problem,
      case when entry.status = 'failed' then 'pg_cron could not run it: ' || btrim(entry.return_message, E' \n') end
    );
    if problem is null and entry.jobid is null then
      begin
        execute format(
          'select cron.schedule(%L, %L, %L)',
          'sb:' || entry.id, entry.cron_expr, format('select jobs.run_schedule(%L)', entry.name)
        );
      exception
        when raise_exception or invalid_parameter_value or syntax_error or internal_error then
          problem := 'pg_cron: ' || sqlerrm;
      end;
    end if;
    update jobs.cron_schedules c
      set error = problem,
          next_fire_at = null
      where c.id = entry.id
        and (c.next_fire_at is not null or c.error is distinct from problem)
        -- What a tick reported stays until the next one.
        and (problem is not null or c.error is null or c.error like 'pg_cron%');
  end loop;
end
$$;

create function jobs.pg_cron_problem(schedule jobs.cron_schedules)
returns text
language sql
stable
set search_path = ''
as $$
  select case
    when cardinality(regexp_split_to_array(btrim(schedule.cron_expr), '\s+')) = 6 then
      'pg_cron has no seconds: use five fields, or set jobs.cron_backend = "inproc"'
    when regexp_replace(upper(schedule.time_zone), '^(ETC/)?(UTC|ZULU|UNIVERSAL)$', 'GMT')
      <> regexp_replace(upper(z.name), '^(ETC/)?(UTC|ZULU|UNIVERSAL)$', 'GMT') then
      format(
        'pg_cron runs everything in time zone %s, not in %s: set jobs.cron_backend = "inproc"',
        z.name, schedule.time_zone
      )
    end
    from (
      select coalesce(current_setting('cron.timezone', true), 'GMT') as name
    ) as z
$$;

-- What an hourly job removes: expired sessions, old audit entries, counters
-- that say nothing any more, ticks of long ago. At most `most` of each; the
-- caller calls again while there is more. The worker's role has no other way to
-- the tables of schema auth.
create function jobs.prune(runs interval, audit interval, session_idle interval, most integer)
returns table (kind text, removed bigint)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
begin
  kind := 'cron_runs';
  delete from jobs.cron_runs r
    where (r.name, r.tick) in (
      select o.name, o.tick
        from jobs.cron_runs o
        where o.fired_at < now() - runs
        limit most
    );
  get diagnostics removed = row_count;
  return next;
  kind := 'sessions';
  delete from auth.sessions s
    where s.id in (
      select o.id
        from auth.sessions o
        where o.not_after <= now()
          or coalesce(o.refreshed_at, o.created_at) <= now() - session_idle
        limit most
        for update skip locked
    );
  get diagnostics removed = row_count;
  return next;
  kind := 'audit_log_entries';
  delete from auth.audit_log_entries a
    where a.id in (
      select o.id
        from auth.audit_log_entries o
        where o.created_at < now() - audit
        limit most
    );
  get diagnostics removed = row_count;
  return next;
  kind := 'rate_limits';
  delete from auth.rate_limits l
    where l.key in (
      select o.key
        from auth.rate_limits o
        where o.full_at <= now()
        limit most
        for update skip locked
    );
  get diagnostics removed = row_count;
  return next;
  kind := 'sign_in_failures';
  delete from auth.sign_in_failures f
    where (f.account, f.device) in (
      select o.account, o.device
        from auth.sign_in_failures o
        -- The auth service forgets them then.
        where o.last_failed_at <= now() - interval '24 hours'
        limit most
        for update skip locked
    );
  get diagnostics removed = row_count;
  return next;
end
$$;

-- Access ----------------------------------------------------------------------

revoke all
  on jobs.cron_schedules, jobs.cron_runs, jobs.leader
  from public, anon, authenticated, service_role;

revoke execute
  on all routines in schema jobs
  from public;

grant select, insert, update, delete
  on jobs.cron_schedules
  to service_role, sb_jobs;

grant select
  on jobs.cron_runs
  to service_role;

grant select, insert, update, delete
  on jobs.cron_runs, jobs.leader
  to sb_jobs;

-- Those of the triggers run as who writes.
grant execute
  on function
    jobs.now(),
    jobs.check_cron(text),
    jobs.check_time_zone(text)
  to service_role, sb_jobs;

grant execute
  on function
    jobs.schedule(
      text, text, text, jsonb, text, text, text, text, interval, integer, text, uuid, integer, integer, integer, boolean
    ),
    jobs.unschedule(text)
  to service_role, sb_jobs;

grant execute
  on function
    jobs.sync_schedules(text, jsonb),
    jobs.run_tick(jobs.cron_schedules, timestamptz),
    jobs.fire_schedule(text, bigint, timestamptz, timestamptz[], timestamptz),
    jobs.sync_pg_cron(boolean),
    jobs.prune(interval, interval, interval, integer)
  to sb_jobs;

alter table jobs.cron_schedules enable row level security;
alter table jobs.cron_runs enable row level security;
alter table jobs.leader enable row level security;

create policy jobs_service
  on jobs.cron_schedules
  to service_role, sb_jobs
  using (true)
  with check (true);

create policy jobs_service
  on jobs.cron_runs
  to service_role, sb_jobs
  using (true)
  with check (true);

create policy jobs_service
  on jobs.leader
  to sb_jobs
  using (true)
  with check (true);
