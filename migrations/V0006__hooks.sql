-- Hooks: what happens to accounts and to rows becomes jobs.
--
-- A subscription names an event and a target, which is the name of a job:
-- sql:schema.function, an http(s) address, or a kind of an embedding program.
-- A delivery is an ordinary job, written in the transaction of the event: it
-- happens if and only if that commits, at least once, with the queue's retries
-- and dead letters. Its source is hook:NAME.
--
-- Deliveries run as service_role, whoever caused the event, and belong to no
-- user: a payload shows whole rows, which a user must not see by way of
-- jobs.jobs. Who may manage hooks therefore may read any table they are put on.

create schema hooks;

comment on schema hooks is 'Lifecycle hooks and webhooks. Not exposed through PostgREST.';

create table hooks.subscriptions (
  name text primary key
    check (name ~ '^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$'),
  event text not null
    check (event in ('user.signup', 'user.login', 'user.deleted', 'table.change')),
  schema_name text,
  table_name text,
  operations text[],
  columns text[],
  condition jsonpath,
  target text not null
    check (length(target) between 1 and 500),
  queue text,
  max_attempts integer
    check (max_attempts between 1 and 1000),
  timeout_s integer
    check (timeout_s between 1 and 604800),
  enabled boolean not null default true,
  created_at timestamptz not null default now()
);

comment on table hooks.subscriptions is 'What is delivered where. hooks.on, hooks.on_change and hooks.off write it; enabled may be changed by hand.';
comment on column hooks.subscriptions.schema_name is 'Where the table was when the hook was made.';
comment on column hooks.subscriptions.columns is 'An UPDATE is delivered only if one of these changed.';
comment on column hooks.subscriptions.condition is 'A change is delivered only if this is true of its payload.';

create index subscriptions_event_idx
  on hooks.subscriptions (event);

-- Subscribe -------------------------------------------------------------------

create function hooks.check_target(target text, queue text)
returns void
language plpgsql
stable
set search_path = ''
as $$
begin
  if coalesce(target, '') = '' or length(target) > 500 then
    raise exception 'a hook needs a target of at most 500 characters'
      using errcode = 'invalid_parameter_value',
            hint = 'sql:schema.function, an http or https address, or a kind of job';
  end if;
  if target ~* '^https?:' and target !~ '^https?://[^/\s@]+(/\S*)?$' then
    raise exception 'target "%" is no http or https address', target
      using errcode = 'invalid_parameter_value',
            hint = 'for example https://example.com/hooks; a name and password in it are not supported';
  end if;
  if starts_with(target, 'sql:') and to_regprocedure(substr(target, 5) || '(jsonb)') is null then
    raise warning 'function % does not exist yet', substr(target, 5)
      using hint = format('create function %s(payload jsonb)', substr(target, 5));
  end if;
  if queue is not null and not exists (
    select
      from jobs.queues q
      where q.name = queue
  ) then
    raise exception 'queue "%" does not exist', queue
      using errcode = 'undefined_object',
            hint = format('create it: select jobs.create_queue(%L)', queue);
  end if;
end
$$;

create function hooks.on(
  event text,
  target text,
  name text default null,
  queue text default null,
  max_attempts integer default null,
  timeout_s integer default null
)
returns text
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  hook text := coalesce("on".name, "on".event || '-' || substr(md5("on".target), 1, 8));
begin
  if "on".event is null or "on".event not in ('user.signup', 'user.login', 'user.deleted') then
    raise exception 'there is no event "%"', "on".event
      using errcode = 'invalid_parameter_value',
            hint = 'events are user.signup, user.login and user.deleted; for changes of a table: hooks.on_change';
  end if;
  perform hooks.check_target("on".target, "on".queue);
  perform hooks.drop_triggers(hook);
  insert into hooks.subscriptions as s (name, event, target, queue, max_attempts, timeout_s)
    values (hook, "on".event, "on".target, "on".queue, "on".max_attempts, "on".timeout_s)
    on conflict (name) do update
      set event = excluded.event,
          schema_name = null,
          table_name = null,
          operations = null,
          columns = null,
          condition = null,
          target = excluded.target,
          queue = excluded.queue,
          max_attempts = excluded.max_attempts,
          timeout_s = excluded.timeout_s,
          enabled = true;
  return hook;
end
$$;

comment on function hooks.on(text, text, text, text, integer, integer) is
  'Delivers user.signup, user.login or user.deleted to a target. Answers the name; a second call with it replaces the hook.';

-- Security invoker: whether the caller may put a trigger on the table is for
-- Postgres to say.
create function hooks.on_change(
  relation regclass,
  target text,
  events text[] default '{INSERT,UPDATE,DELETE}',
  name text default null,
  columns text[] default null,
  condition jsonpath default null,
  queue text default null,
  max_attempts integer default null,
  timeout_s integer default null
)
returns text
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  place record;
  hook text;
  operation text;
  unknown text;
begin
  select n.nspname, c.relname, c.relkind, c.relpersistence, r.rolname as owner,
      pg_has_role(current_user, c.relowner, 'usage') as is_owner,
      has_table_privilege(current_user, c.oid, 'trigger') as may_trigger
    into place
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n
      on n.oid = c.relnamespace
    join pg_catalog.pg_roles r
      on r.oid = c.relowner
    where c.oid = on_change.relation;
  if not found then
    raise exception 'there is no such table'
      using errcode = 'undefined_table';
  end if;
  if place.nspname ~ '^pg_'
    or place.nspname in ('information_schema', 'auth', 'jobs', 'hooks', 'sb', 'cron', 'realtime') then
    raise exception '%.% is a system table', place.nspname, place.relname
      using errcode = 'insufficient_privilege',
            hint = 'for accounts: hooks.on(''user.signup'', …)';
  end if;
  if place.relkind not in ('r', 'p') or place.relpersistence = 't' then
    raise exception '%.% is no ordinary table', place.nspname, place.relname
      using errcode = 'wrong_object_type';
  end if;
  if not place.is_owner and not (current_user = 'service_role' and place.may_trigger) then
    raise exception '%.% belongs to %', place.nspname, place.relname, place.owner
      using errcode = 'insufficient_privilege',
            hint = 'hooks on a table are made by its owner';
  end if;

  select array_agg(distinct upper(e))
    into on_change.events
    from unnest(on_change.events) as e;
  if on_change.events is null or not on_change.events <@ '{INSERT,UPDATE,DELETE}' then
    raise exception 'events are some of INSERT, UPDATE and DELETE'
      using errcode = 'invalid_parameter_value',
            hint = 'TRUNCATE tells nobody';
  end if;
  select c
    into unknown
    from unnest(on_change.columns) as c
    where not exists (
      select
        from pg_catalog.pg_attribute a
        where a.attrelid = on_change.relation
          and a.attname = c
          and a.attnum > 0
          and not a.attisdropped
    )
    limit 1;
  if found then
    raise exception '%.% has no column "%"', place.nspname, place.relname, unknown
      using errcode = 'undefined_column';
  end if;
  perform hooks.check_target(on_change.target, on_change.queue);

  hook := coalesce(
    on_change.name,
    'change-' || substr(md5(format('%I.%I %s', place.nspname, place.relname, on_change.target)), 1, 8)
  );
  perform hooks.drop_triggers(hook);
  insert into hooks.subscriptions as s (
    name, event, schema_name, table_name, operations, columns, condition, target, queue, max_attempts, timeout_s
  )
    values (
      hook, 'table.change', place.nspname, place.relname, on_change.events, on_change.columns, on_change.condition,
      on_change.target, on_change.queue, on_change.max_attempts, on_change.timeout_s
    )
    on conflict (name) do update
      set event = excluded.event,
          schema_name = excluded.schema_name,
          table_name = excluded.table_name,
          operations = excluded.operations,
          columns = excluded.columns,
          condition = excluded.condition,
          target = excluded.target,
          queue = excluded.queue,
          max_attempts = excluded.max_attempts,
          timeout_s = excluded.timeout_s,
          enabled = true;
  -- Per statement, so that a bulk write costs one insert; a transition table
  -- allows one event per trigger.
  foreach operation in array on_change.events loop
    execute format(
      'create trigger %I
         after %s
         on %s
         referencing %s
         for each statement
         execute function hooks.changed(%L)',
      hooks.trigger_name(hook, operation),
      operation,
      on_change.relation,
      case operation
        when 'INSERT' then 'new table as new_rows'
        when 'UPDATE' then 'old table as old_rows new table as new_rows'
        else 'old table as old_rows'
      end,
      hook
    );
  end loop;
  return hook;
end
$$;

comment on function hooks.on_change(regclass, text, text[], text, text[], jsonpath, text, integer, integer) is
  'Delivers changes of a table to a target as {type, table, schema, record, old_record}. Answers the name; a second call with it replaces the hook.';

create function hooks.trigger_name(hook text, operation text)
returns text
language sql
immutable
set search_path = ''
as $$
  select 'sb_hook_' || substr(md5(hook), 1, 16) || '_' || lower(operation)
$$;

-- Definer: who may put a trigger on a table need not be able to remove it.
create function hooks.drop_triggers(hook text)
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
  old record;
begin
  for old in
    select t.tgname, t.tgrelid::regclass as relation
      from pg_catalog.pg_trigger t
      where t.tgfoid = 'hooks.changed()'::regprocedure
        and not t.tgisinternal
        -- A partition's copy goes with the one of its table.
        and t.tgparentid = 0
        and t.tgname in (
          hooks.trigger_name(hook, 'insert'), hooks.trigger_name(hook, 'update'), hooks.trigger_name(hook, 'delete')
        )
  loop
    begin
      execute format('drop trigger %I on %s', old.tgname, old.relation);
    exception
      when insufficient_privilege then
        raise exception 'hook "%" has a trigger on %, which another role owns', hook, old.relation
          using errcode = 'insufficient_privilege',
                hint = format('as its owner: drop trigger %I on %s', old.tgname, old.relation);
    end;
  end loop;
end
$$;

create function hooks.off(name text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform hooks.drop_triggers(off.name);
  delete from hooks.subscriptions s
    where s.name = off.name;
  if not found then
    raise exception 'there is no hook "%"', off.name
      using errcode = 'no_data_found',
            hint = 'select name from hooks.subscriptions';
  end if;
end
$$;

comment on function hooks.off(text) is 'Removes a hook. What it has already enqueued is still delivered; to pause one, set enabled to false.';

-- Deliver ---------------------------------------------------------------------

-- Asked before a payload is made: usually nobody listens.
create function hooks.is_wanted(event text)
returns boolean
language sql
stable
security definer
set search_path = ''
as $$
  select exists (
    select
      from hooks.subscriptions s
      where s.event = is_wanted.event
        and s.enabled
  )
$$;

-- Whatever fits into no job: which object it was.
create function hooks.keys_of(record jsonb, keys text[])
returns jsonb
language sql
immutable
set search_path = ''
as $$
  select case
    when jsonb_typeof(keys_of.record) = 'object' then (
      select coalesce(jsonb_object_agg(k, keys_of.record -> k), '{}')
        from unnest(keys_of.keys) as k
    )
  end
$$;

create function hooks.emit(event text, payload jsonb, also text[] default '{}')
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  delivered text[];
begin
  if pg_catalog.pg_column_size(payload) > 262144 then
    -- What a user can make large.
    payload := payload #- '{user,user_metadata}' #- '{user,identities}' || '{"truncated": true}';
  end if;
  with target as (
    select s.name, s.target, s.queue, s.max_attempts, s.timeout_s
      from hooks.subscriptions s
      where s.event = emit.event
        and s.enabled
    union all
    -- Handlers of the program that emits have no subscription that could outlive them.
    select substr(a, 6), a, null, null, null
      from unnest(emit.also) as a
  ), enqueued as (
    insert into jobs.pending as p (
      name, payload, queue, user_id, role, claims, max_attempts, backoff, backoff_base_s, backoff_max_s, timeout_s, source
    )
      select t.target, emit.payload, coalesce(t.queue, k.queue, 'default'), null, 'service_role',
          '{"role": "service_role"}',
          coalesce(t.max_attempts, k.max_attempts, case when t.target ~ '^https?:' then 10 else 3 end),
          coalesce(k.backoff, 'exponential'), coalesce(k.backoff_base_s, 5),
          coalesce(k.backoff_max_s, case when t.target ~ '^https?:' then 3600 else 300 end),
          coalesce(t.timeout_s, k.timeout_s), 'hook:' || t.name
        from target t
        left join jobs.kinds k
          on k.name = t.target
      returning p.queue
  )
  select array_agg(e.queue)
    into delivered
    from enqueued e;
  -- Accounts change seldom, compared with what a notification costs.
  perform pg_notify('sb_jobs', q)
    from unnest(delivered) as q
    group by q;
  return coalesce(cardinality(delivered), 0);
end
$$;

comment on function hooks.emit(text, jsonb, text[]) is 'Enqueues the deliveries of an event in the transaction of the caller.';

create function hooks.primary_key(relation oid)
returns text[]
language sql
stable
set search_path = ''
as $$
  select coalesce(array_agg(a.attname), '{}')
    from pg_catalog.pg_index i
    join pg_catalog.pg_attribute a
      on a.attrelid = i.indrelid
      and a.attnum = any (i.indkey)
    where i.indrelid = relation
      and i.indisprimary
$$;

-- The payload of a change; null when the hook does not want it. The form is
-- that of Supabase's database webhooks.
create function hooks.change(hook hooks.subscriptions, operation text, relation oid, record jsonb, old_record jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
  payload jsonb;
begin
  if operation = 'UPDATE' and hook.columns is not null and not exists (
    select
      from unnest(hook.columns) as c
      where record -> c is distinct from old_record -> c
  ) then
    return null;
  end if;
  payload := jsonb_build_object(
    'type', operation, 'schema', hook.schema_name, 'table', hook.table_name, 'record', record, 'old_record', old_record
  );
  if hook.condition is not null and jsonb_path_match(payload, hook.condition, '{}', true) is not true then
    return null;
  end if;
  if pg_catalog.pg_column_size(payload) > 262144 then
    return payload || jsonb_build_object(
      'truncated', true,
      'record', hooks.keys_of(record, hooks.primary_key(relation)),
      'old_record', hooks.keys_of(old_record, hooks.primary_key(relation))
    );
  end if;
  return payload;
end
$$;

-- Delivers all rows of a statement with nothing but their keys, and touches
-- nothing else of them.
create function hooks.keys_statement(operation text, keys text[])
returns text
language sql
stable
set search_path = ''
as $$
  select format(
    $sql$
      insert into jobs.pending (
        name, payload, queue, user_id, role, claims, max_attempts, backoff, backoff_base_s, backoff_max_s, timeout_s,
        source
      )
        select ($1).target, jsonb_build_object(
              'type', $3, 'schema', ($1).schema_name, 'table', ($1).table_name, 'truncated', true,
              'record', r.record, 'old_record', r.old_record
            ),
            ($1).queue, null, 'service_role', '{"role": "service_role"}', ($1).max_attempts, ($2).backoff,
            ($2).backoff_base_s, ($2).backoff_max_s, ($1).timeout_s, 'hook:' || ($1).name
          from (%s) as r
    $sql$,
    case operation
      when 'INSERT' then format('select %s as record, null::jsonb as old_record from new_rows r', k.object)
      when 'DELETE' then format('select null::jsonb as record, %s as old_record from old_rows r', k.object)
      else format(
        'select n.record, o.record as old_record
           from (select %1$s as record, row_number() over () as position from new_rows r) as n
           join (select %1$s as record, row_number() over () as position from old_rows r) as o
             using (position)',
        k.object
      )
    end
  )
    from (
      select format('jsonb_build_object(%s)', string_agg(format('%L, r.%I', c, c), ', ')) as object
        from unnest(keys) as c
    ) as k
$$;

-- Runs for whoever writes to the table, who needs no right here. It must not
-- make a write fail that would have succeeded without it.
--
-- Both transition tables hold the rows of an UPDATE in the order in which they
-- were updated, so that the position pairs them, whatever happened to the key.
create function hooks.changed()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
  hook hooks.subscriptions;
  kind jobs.kinds;
  is_call boolean;
begin
  select s.*
    into hook
    from hooks.subscriptions s
    where s.name = tg_argv[0]
      and s.enabled;
  if not found then
    return null;
  end if;
  select k.*
    into kind
    from jobs.kinds k
    where k.name = hook.target;
  is_call := hook.target ~ '^https?:';
  hook.schema_name := tg_table_schema;
  hook.table_name := tg_table_name;
  hook.queue := coalesce(hook.queue, kind.queue, 'default');
  hook.max_attempts := coalesce(hook.max_attempts, kind.max_attempts, case when is_call then 10 else 3 end);
  hook.timeout_s := coalesce(hook.timeout_s, kind.timeout_s);
  kind.backoff := coalesce(kind.backoff, 'exponential');
  kind.backoff_base_s := coalesce(kind.backoff_base_s, 5);
  kind.backoff_max_s := coalesce(kind.backoff_max_s, case when is_call then 3600 else 300 end);
  begin
    if tg_op = 'INSERT' then
      insert into jobs.pending (
        name, payload, queue, user_id, role, claims, max_attempts, backoff, backoff_base_s, backoff_max_s, timeout_s,
        source
      )
        select hook.target, d.payload, hook.queue, null, 'service_role', '{"role": "service_role"}', hook.max_attempts,
            kind.backoff, kind.backoff_base_s, kind.backoff_max_s, hook.timeout_s, 'hook:' || hook.name
          from (
            select hooks.change(hook, 'INSERT', tg_relid, to_jsonb(n), null) as payload
              from new_rows n
              offset 0
          ) as d
          where d.payload is not null;
    elsif tg_op = 'UPDATE' then
      insert into jobs.pending (
        name, payload, queue, user_id, role, claims, max_attempts, backoff, backoff_base_s, backoff_max_s, timeout_s,
        source
      )
        select hook.target, d.payload, hook.queue, null, 'service_role', '{"role": "service_role"}', hook.max_attempts,
            kind.backoff, kind.backoff_base_s, kind.backoff_max_s, hook.timeout_s, 'hook:' || hook.name
          from (
            select hooks.change(hook, 'UPDATE', tg_relid, n.record, o.record) as payload
              from (select to_jsonb(n) as record, row_number() over () as position from new_rows n) as n
              join (select to_jsonb(o) as record, row_number() over () as position from old_rows o) as o
                using (position)
              offset 0
          ) as d
          where d.payload is not null;
    else
      insert into jobs.pending (
        name, payload, queue, user_id, role, claims, max_attempts, backoff, backoff_base_s, backoff_max_s, timeout_s,
        source
      )
        select hook.target, d.payload, hook.queue, null, 'service_role', '{"role": "service_role"}', hook.max_attempts,
            kind.backoff, kind.backoff_base_s, kind.backoff_max_s, hook.timeout_s, 'hook:' || hook.name
          from (
            select hooks.change(hook, 'DELETE', tg_relid, null, to_jsonb(o)) as payload
              from old_rows o
              offset 0
          ) as d
          where d.payload is not null;
    end if;
  exception
    -- A json column may hold what jsonb cannot.
    when data_exception or program_limit_exceeded then
      execute hooks.keys_statement(tg_op, hooks.primary_key(tg_relid))
        using hook, kind, tg_op;
  end;
  if exists (
    select
      from jobs.queues q
      where q.name = hook.queue
        and q.notify
  ) then
    perform pg_notify('sb_jobs', hook.queue);
  end if;
  return null;
end
$$;

-- Deliveries ------------------------------------------------------------------

create view hooks.deliveries
with (security_invoker = true)
as
  select j.id, substr(j.source, 6) as hook, j.name as target, j.status, j.attempts, j.max_attempts, j.last_error,
      case
        when j.name ~ '^https?:' then
          coalesce(j.result ->> 'status', substring(j.last_error from '^the receiver answered ([0-9]{3})'))::integer
      end as response_status,
      j.payload, j.result, j.run_at, j.created_at, j.finished_at
    from jobs.jobs j
    where j.source like 'hook:%';

comment on view hooks.deliveries is 'The log of deliveries, for as long as jobs are kept. response_status is what an address answered last.';

create function hooks.redeliver(job_id bigint)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  copy bigint;
  waiting_in text;
begin
  insert into jobs.pending as p (
    name, version, payload, queue, priority, user_id, role, claims, max_attempts, backoff, backoff_base_s,
    backoff_max_s, timeout_s, concurrency_key, concurrency_limit, source
  )
    select j.name, j.version, j.payload, j.queue, j.priority, j.user_id, j.role,
        jsonb_strip_nulls(jsonb_build_object('role', j.role, 'sub', j.user_id)), j.max_attempts, j.backoff,
        j.backoff_base_s, j.backoff_max_s, j.timeout_s, j.concurrency_key, j.concurrency_limit, j.source
      from jobs.jobs j
      where j.id = redeliver.job_id
        and j.source like 'hook:%'
    returning p.id, p.queue
    into copy, waiting_in;
  if not found then
    raise exception 'job % is no delivery of a hook, or is kept no more', job_id
      using errcode = 'no_data_found',
            hint = 'select id from hooks.deliveries';
  end if;
  perform pg_notify('sb_jobs', waiting_in);
  return copy;
end
$$;

comment on function hooks.redeliver(bigint) is 'Delivers once more, whatever became of the first delivery. Answers the id of the new job.';

-- Access ----------------------------------------------------------------------

revoke all
  on all tables in schema hooks
  from public;

revoke execute
  on all routines in schema hooks
  from public;

grant usage
  on schema hooks
  to service_role, sb_auth;

grant select, insert, update, delete
  on hooks.subscriptions
  to service_role;

grant select
  on hooks.deliveries
  to service_role;

grant execute
  on all routines in schema hooks
  to service_role;

-- Events are for the auth service to tell.
revoke execute
  on function hooks.emit(text, jsonb, text[])
  from service_role;

grant execute
  on function
    hooks.emit(text, jsonb, text[]),
    hooks.is_wanted(text)
  to sb_auth;

alter table hooks.subscriptions enable row level security;

create policy hooks_service
  on hooks.subscriptions
  to service_role
  using (true)
  with check (true);
