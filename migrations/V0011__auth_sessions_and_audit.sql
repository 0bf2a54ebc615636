-- Instant revocation, a sealed audit log, symmetric secrets, user names, and the
-- role of accounts that are not trusted yet.

-- Tables in use get columns here: a lock that does not come soon is tried again.
set local lock_timeout = '5s';

-- Instant revocation ----------------------------------------------------------

-- What PostgREST asks before each request. One row, written at start from the
-- settings of the service.
create table sb.revocation (
  is_only boolean primary key default true
    check (is_only),
  mode text not null default 'off'
    check (mode in ('off', 'mutations', 'all')),
  next_function text,
  replaced text
);

comment on table sb.revocation is 'Whether requests with tokens of ended sessions are refused at once.';
comment on column sb.revocation.next_function is 'The project''s own db-pre-request, which runs afterwards.';
comment on column sb.revocation.replaced is 'A setting of authenticator for this database that ours stands in for; put back when switched off.';

insert into sb.revocation default values;

-- What is to be said of the caller's token. As definer, since no API role can see
-- sessions; it takes no argument, so all that can be asked about is oneself.
create function auth.request_check(out refusal text, out next_function text)
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
  claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  mode text;
begin
  select r.mode, r.next_function
    into mode, next_function
    from sb.revocation r;
  if mode is null or mode = 'off' or claims ->> 'sub' is null then
    return;
  end if;
  if mode = 'mutations'
    and upper(current_setting('request.method', true)) in ('GET', 'HEAD', 'OPTIONS') then
    return;
  end if;
  -- Subjects of other issuers are no ids of ours.
  if claims ->> 'session_id' is null then
    if exists (
      select
        from auth.users u
        where u.id::text = claims ->> 'sub'
          and u.deleted_at is not null
    ) then
      refusal := 'session_not_found';
    elsif exists (
      select
        from auth.users u
        where u.id::text = claims ->> 'sub'
          and u.banned_until > now()
    ) then
      refusal := 'user_banned';
    end if;
    return;
  end if;
  select case when u.banned_until > now() then 'user_banned' else '' end
    into refusal
    from auth.sessions s
    join auth.users u
      on u.id = s.user_id
    where s.id = (claims ->> 'session_id')::uuid
      and u.id = (claims ->> 'sub')::uuid
      and u.deleted_at is null
      and (s.not_after is null or s.not_after > now());
  refusal := case when found then nullif(refusal, '') else 'session_not_found' end;
end
$$;

comment on function auth.request_check() is 'Why the caller''s token is not good any more, if it is not.';

-- For PostgREST's db-pre-request. As the caller, because the project's own
-- function runs from here. No "set search_path": that one must find its things.
create function auth.pre_request()
returns void
language plpgsql
as $$
declare
  found_out record;
begin
  select c.refusal, c.next_function
    into found_out
    from auth.request_check() c;
  if found_out.refusal is not null then
    raise sqlstate 'PGRST' using
      message = pg_catalog.json_build_object(
        'code', found_out.refusal,
        'message', case found_out.refusal
          when 'user_banned' then 'User is banned'
          else 'Session from session_id claim in JWT does not exist'
        end,
        'details', null,
        'hint', null
      )::text,
      detail = '{"status": 401, "headers": {"WWW-Authenticate": "Bearer error=\"invalid_token\""}}';
  end if;
  if found_out.next_function is not null then
    execute pg_catalog.format('select %s()', found_out.next_function);
  end if;
end
$$;

comment on function auth.pre_request() is 'Runs before each request of PostgREST where instant revocation is on.';

revoke execute
  on function auth.request_check(), auth.pre_request()
  from public;

-- Any role a token may name.
grant execute
  on function auth.request_check(), auth.pre_request()
  to public;

-- Called at start with the settings in force; does nothing when all is as it
-- should be. The project's own function may stand in sb.toml (configured), or be
-- a setting of authenticator as Supabase's guides have it.
create function sb.publish_revocation(wanted text, configured text)
returns void
language plpgsql
set search_path = ''
as $$
declare
  ours constant text := 'auth.pre_request';
  stored record;
  here text;
  everywhere text;
  theirs text;
  old_replaced text;
  command text;
begin
  -- The same as for the key set: both write one row of the catalog.
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('sb.publish_jwks', 0));
  select r.mode, r.next_function, r.replaced
    into stored
    from sb.revocation r;
  select max(split_part(c, '=', 2)) filter (where s.setdatabase <> 0)
       , max(split_part(c, '=', 2)) filter (where s.setdatabase = 0)
    into here, everywhere
    from pg_catalog.pg_db_role_setting s
    join pg_catalog.pg_roles r
      on r.oid = s.setrole
    cross join unnest(s.setconfig) as c
    where r.rolname = 'authenticator'
      and c like 'pgrst.db\_pre\_request=%'
      and s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d where d.datname = current_database()));
  if wanted = 'off' and stored.mode = 'off' then
    return;
  end if;

  old_replaced := case when here = ours then stored.replaced else here end;
  theirs := coalesce(nullif(configured, ''), nullif(old_replaced, ''), nullif(everywhere, ours));
  if theirs is not null then
    -- Quoted part by part; what is no name at all fails here and not in each request.
    theirs := (
      select string_agg(quote_ident(p.part), '.' order by p.place)
        from unnest(parse_ident(theirs)) with ordinality as p (part, place)
    );
  end if;

  command := case
    when wanted <> 'off' and here is distinct from ours then
      format('alter role authenticator in database %I set pgrst.db_pre_request = %L', current_database(), ours)
    when wanted = 'off' and here = ours and old_replaced is not null then
      format('alter role authenticator in database %I set pgrst.db_pre_request = %L', current_database(), old_replaced)
    when wanted = 'off' and here = ours then
      format('alter role authenticator in database %I reset pgrst.db_pre_request', current_database())
  end;
  if wanted = 'off' then
    theirs := null;
    old_replaced := null;
  end if;
  if (stored.mode, stored.next_function, stored.replaced) is not distinct from (wanted, theirs, old_replaced)
    and command is null then
    return;
  end if;
  update sb.revocation
    set mode = wanted,
        next_function = theirs,
        replaced = old_replaced;
  if command is not null then
    perform sb.attempt(
      'pgrst_db_pre_request',
      command,
      'db-pre-request cannot be stored as a setting of authenticator; PostgREST must read it through db-pre-config',
      format(
        'set db-pre-config = "sb.pgrst_pre_config" in PostgREST, or as a superuser: grant set on parameter pgrst.db_pre_request to %I',
        current_user
      )
    );
  end if;
  notify pgrst, 'reload config';
end
$$;

revoke execute
  on function sb.publish_revocation(text, text)
  from public;

create or replace function sb.pgrst_pre_config()
returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
  perform pg_catalog.set_config('pgrst.jwt_secret', sb.public_jwks()::text, true);
  perform pg_catalog.set_config('pgrst.db_pre_request', 'auth.pre_request', true)
    from sb.revocation r
    where r.mode <> 'off';
end
$$;

-- Audit log -------------------------------------------------------------------

-- Entries are written without waiting for each other. Every few minutes a job
-- seals those that are there: it gives them a number and signs, with a key that
-- is not in the database, a digest of them together with the seal before.
alter table auth.audit_log_entries
  add column seal bigint;

comment on column auth.audit_log_entries.seal is 'Which seal covers the entry; null until it is sealed.';

-- Finds the unsealed ones too.
create index audit_log_entries_seal_idx
  on auth.audit_log_entries (seal);

-- Whose log an entry is in: who did it, or, of what an operator did, to whom.
create index audit_log_entries_subject_idx
  on auth.audit_log_entries ((
    case payload ->> 'actor_id'
      when '00000000-0000-0000-0000-000000000000' then payload -> 'traits' ->> 'user_id'
      else payload ->> 'actor_id'
    end
  ), created_at);

create table auth.audit_seals (
  number bigint primary key
    check (number > 0),
  sealed_at timestamptz not null,
  entries integer not null
    check (entries > 0),
  newest_at timestamptz not null,
  digest bytea not null
    check (octet_length(digest) = 32),
  mac bytea not null
    check (octet_length(mac) = 32)
);

comment on table auth.audit_seals is 'A chain: each seal authenticates its entries and the seal before.';
comment on column auth.audit_seals.digest is 'SHA-256 over the digests of the entries, in the order of time and id.';
comment on column auth.audit_seals.mac is 'HMAC over this row and the mac before, with a key derived from the master key.';

create table auth.audit_anchor (
  is_only boolean primary key default true
    check (is_only),
  number bigint not null,
  newest_at timestamptz not null,
  seal_mac bytea not null
    check (octet_length(seal_mac) = 32),
  pruned_at timestamptz not null,
  mac bytea not null
    check (octet_length(mac) = 32)
);

comment on table auth.audit_anchor is 'Where the chain begins since its older part was removed for its age.';

-- The head of the chain. Held to the end of the transaction: one seals at a time.
create function auth.audit_head()
returns table (number bigint, mac bytea)
language plpgsql
security definer
set search_path = ''
as $$
begin
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('auth.audit_seals', 0));
  return query
    select h.number, h.mac
      from (
        select s.number, s.mac
          from auth.audit_seals s
        union all
        select a.number, a.seal_mac
          from auth.audit_anchor a
      ) h
      order by h.number desc
      limit 1;
end
$$;

create function auth.unsealed_audit_entries(most integer)
returns table (id uuid, created_at timestamptz, ip_address text, payload text)
language sql
stable
security definer
set search_path = ''
as $$
  select picked.id, picked.created_at, picked.ip_address, picked.payload
    from (
      select e.id, coalesce(e.created_at, '-infinity') as moment, e.created_at, e.ip_address::text, e.payload::text
        from auth.audit_log_entries e
        where e.seal is null
        limit most
    ) picked
    order by picked.moment, picked.id
$$;

create function auth.add_audit_seal(
  new_number bigint, sealed_at timestamptz, newest_at timestamptz, digest bytea, mac bytea, covered uuid[]
)
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
  changed bigint;
begin
  insert into auth.audit_seals (number, sealed_at, entries, newest_at, digest, mac)
    values (new_number, sealed_at, cardinality(covered), newest_at, digest, mac);
  update auth.audit_log_entries e
    set seal = new_number
    where e.id = any (covered)
      and e.seal is null;
  get diagnostics changed = row_count;
  if changed <> cardinality(covered) then
    raise exception 'sealed % of % entries', changed, cardinality(covered);
  end if;
end
$$;

-- The oldest seals whose entries are all older than that.
create function auth.old_audit_seals(before timestamptz, most integer)
returns table (number bigint, newest_at timestamptz, mac bytea)
language sql
stable
security definer
set search_path = ''
as $$
  select s.number, s.newest_at, s.mac
    from auth.audit_seals s
    where s.number < coalesce((
      select min(young.number)
        from auth.audit_seals young
        where young.newest_at >= before
    ), 9223372036854775807)
    order by s.number
    limit most
$$;

-- Removes entries and seals up to a number, and says so where the chain begins.
create function auth.prune_audit(
  through bigint, last_newest_at timestamptz, last_seal_mac bytea, at_moment timestamptz, new_mac bytea
)
returns bigint
language plpgsql
security definer
set search_path = ''
as $$
declare
  removed bigint;
begin
  delete from auth.audit_log_entries e
    where e.seal <= through;
  get diagnostics removed = row_count;
  delete from auth.audit_seals s
    where s.number <= through;
  insert into auth.audit_anchor as a (number, newest_at, seal_mac, pruned_at, mac)
    values (through, last_newest_at, last_seal_mac, at_moment, new_mac)
    on conflict (is_only) do update
      set number = excluded.number,
          newest_at = excluded.newest_at,
          seal_mac = excluded.seal_mac,
          pruned_at = excluded.pruned_at,
          mac = excluded.mac;
  return removed;
end
$$;

grant usage
  on schema auth
  to sb_jobs;

revoke execute
  on function
    auth.audit_head(),
    auth.unsealed_audit_entries(integer),
    auth.add_audit_seal(bigint, timestamptz, timestamptz, bytea, bytea, uuid[]),
    auth.old_audit_seals(timestamptz, integer),
    auth.prune_audit(bigint, timestamptz, bytea, timestamptz, bytea)
  from public;

grant execute
  on function
    auth.audit_head(),
    auth.unsealed_audit_entries(integer),
    auth.add_audit_seal(bigint, timestamptz, timestamptz, bytea, bytea, uuid[]),
    auth.old_audit_seals(timestamptz, integer),
    auth.prune_audit(bigint, timestamptz, bytea, timestamptz, bytea)
  to sb_jobs;

-- Who writes entries does not say that they are sealed.
revoke insert
  on auth.audit_log_entries
  from sb_auth, supabase_auth_admin;

grant insert (instance_id, id, payload, created_at, ip_address)
  on auth.audit_log_entries
  to sb_auth, supabase_auth_admin;

-- Symmetric secrets -----------------------------------------------------------

create table auth.secrets (
  family text not null
    check (family in ('oauth_state', 'links', 'storage_signed_url')),
  kid text not null
    check (kid <> ''),
  status text not null default 'standby'
    check (status in ('standby', 'active', 'previous', 'revoked')),
  secret bytea,
  created_at timestamptz not null default now(),
  activated_at timestamptz,
  retired_at timestamptz,
  primary key (family, kid),
  constraint secrets_wiped_when_revoked check (
    (status = 'revoked') = (secret is null)
  )
);

comment on table auth.secrets is 'Secrets that sign what only sb itself reads: states, links, addresses of files.';
comment on column auth.secrets.secret is 'Sealed with the master key; null when revoked.';

create unique index secrets_one_active
  on auth.secrets (family)
  where status = 'active';

create trigger secrets_notify
  after insert or update or delete or truncate
  on auth.secrets
  for each statement
  execute function sb.api_keys_changed();

-- Passwords of the login roles ------------------------------------------------

-- They are derived from the master key and a version, which nodes read on the
-- connection of the owner.
create table sb.role_passwords (
  role text primary key,
  version integer not null
    check (version > 0),
  changed_at timestamptz not null default now()
);

comment on table sb.role_passwords is 'How often the derived password of a role was changed.';

-- User names ------------------------------------------------------------------

alter table auth.users
  add column username text
    constraint users_username_form check (username ~ '^[a-z0-9][a-z0-9._-]{1,30}[a-z0-9]$');

comment on column auth.users.username is 'A name to sign in with, where the project allows it. Lower case, so that no two look alike.';

create unique index users_username_key
  on auth.users (username)
  where username is not null;

-- Guests ----------------------------------------------------------------------

-- A role for accounts that are not trusted yet: it may name things and see
-- nothing, until the project grants and writes policies.
do $$
declare
  schema_name text;
begin
  if not exists (
    select
      from pg_catalog.pg_roles r
      where r.rolname = 'guest'
  ) then
    begin
      create role guest nologin noinherit;
    exception
      when duplicate_object or unique_violation then
        null;
    end;
  end if;
  -- One that can log in belongs to somebody else.
  if exists (
    select
      from pg_catalog.pg_roles r
      where r.rolname = 'guest'
        and (r.rolcanlogin or r.rolsuper)
  ) then
    insert into sb.limitations (name, detail, remedy)
      values (
        'role_guest',
        'role guest belongs to somebody else here, so no account can have it',
        'rename that role, then: create role guest nologin noinherit; grant guest to authenticator'
      )
      on conflict do nothing;
    return;
  end if;
  if not exists (
    select
      from pg_catalog.pg_auth_members m
      where m.roleid = 'guest'::regrole
        and m.member = 'authenticator'::regrole
  ) then
    perform sb.attempt(
      'membership_guest_authenticator',
      case
        when current_setting('server_version_num')::int >= 160000
          then 'grant guest to authenticator with inherit false, set true'
        else 'grant guest to authenticator'
      end,
      'role authenticator cannot become guest',
      'as a superuser: grant guest to authenticator'
    );
  end if;
  foreach schema_name in array array['public', 'auth', 'extensions'] loop
    perform sb.attempt(
      'usage_guest_' || schema_name,
      format('grant usage on schema %I to guest', schema_name),
      format('role guest cannot use schema %s', schema_name),
      format('as its owner: grant usage on schema %I to guest', schema_name)
    );
  end loop;
  perform sb.attempt(
    'setting_guest_statement_timeout',
    'alter role guest set statement_timeout = ''3s''',
    'role guest has no statement_timeout',
    'as the creator of the role: alter role guest set statement_timeout = ''3s'''
  );
end
$$;

-- What expires ----------------------------------------------------------------

-- Tables whose rows are of no use after a moment that a column names. Migrations
-- add theirs.
create table sb.expiring_tables (
  name text primary key,
  expires_column text not null,
  kept interval not null default '0'
);

comment on table sb.expiring_tables is 'Tables from which an hourly job removes expired rows.';

insert into sb.expiring_tables (name, expires_column)
  values
    ('auth.one_time_tokens', 'expires_at'),
    ('auth.flow_state', 'expires_at'),
    ('auth.webauthn_challenges', 'expires_at');

create function sb.prune_expired(most integer)
returns table (kind text, removed bigint)
language plpgsql
security definer
set search_path = ''
as $$
declare
  target record;
begin
  for target in
    select e.name, a.attrelid::regclass as relation, e.expires_column, e.kept
      from sb.expiring_tables e
      join pg_catalog.pg_attribute a
        on a.attrelid = pg_catalog.to_regclass(e.name)
        and a.attname = e.expires_column
      order by e.name
  loop
    execute format(
      'delete from %1$s t where t.ctid = any (array(
         select o.ctid from %1$s o where o.%2$I <= now() - %3$L::interval limit %4$s for update skip locked
       ))',
      target.relation, target.expires_column, target.kept, most
    );
    get diagnostics removed = row_count;
    kind := split_part(target.name, '.', 2);
    return next;
  end loop;
end
$$;

-- What the hourly job removes: as before, with an age of sessions and what has
-- expired elsewhere. Entries of the audit log go with their seals, in another job.
create function jobs.remove_expired(
  runs interval, session_idle interval, session_age interval, most integer
)
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
          or o.created_at <= now() - session_age
        limit most
        for update skip locked
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
        where o.last_failed_at <= now() - interval '24 hours'
        limit most
        for update skip locked
    );
  get diagnostics removed = row_count;
  return next;
  return query
    select p.kind, p.removed
      from sb.prune_expired(most) p;
end
$$;

-- For nodes of the release before: they must not remove sealed entries.
create or replace function jobs.prune(runs interval, audit interval, session_idle interval, most integer)
returns table (kind text, removed bigint)
language sql
security definer
set search_path = ''
as $$
  select p.kind, p.removed
    from jobs.remove_expired(runs, session_idle, interval '5000 years', most) p
$$;

-- Access ----------------------------------------------------------------------

revoke all
  on auth.audit_seals, auth.audit_anchor, auth.secrets
  from public, anon, authenticated, service_role;

grant select
  on auth.secrets
  to sb_auth;

revoke execute
  on function
    sb.prune_expired(integer),
    jobs.remove_expired(interval, interval, interval, integer)
  from public;

grant execute
  on function jobs.remove_expired(interval, interval, interval, integer)
  to sb_jobs;

alter table auth.audit_seals enable row level security;
alter table auth.audit_anchor enable row level security;
alter table auth.secrets enable row level security;

create policy auth_service
  on auth.secrets
  for select
  to sb_auth
  using (true);
