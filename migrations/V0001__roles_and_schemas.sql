-- Roles, schemas, default grants and the DDL watchers.
--
-- Runs as the owner of the database: a superuser in the embedded stack, a plain
-- role with createrole on a managed service. What the owner may not do is
-- written to sb.limitations instead of failing the migration.

create schema if not exists sb;

comment on schema sb is 'Framework internals. Not exposed through the API.';

-- A fresh schema grants nothing to public; the revoke covers a database in
-- which somebody created the schema by hand.
revoke all
  on schema sb
  from public;

create table sb.limitations (
  name text primary key,
  detail text not null,
  remedy text not null,
  recorded_at timestamptz not null default now()
);

comment on table sb.limitations is 'What could not be set up with the privileges of the owner; printed by sb doctor.';

-- Runs one command and turns a missing privilege, and nothing else, into a row
-- of sb.limitations. Success removes the row, so a remedy shows at the next run.
create function sb.attempt(limitation text, command text, detail text, remedy text)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  conflict text;
begin
  -- Roles are cluster-wide and advisory locks are not, so two databases that
  -- migrate at once can touch the same catalog row; the loser tries again.
  for try in 1..20 loop
    begin
      execute command;
      delete from sb.limitations l
        where l.name = limitation;
      return true;
    exception
      when insufficient_privilege then
        insert into sb.limitations as l (name, detail, remedy)
          values (limitation, attempt.detail, attempt.remedy)
          on conflict (name) do update
            set detail = excluded.detail,
                remedy = excluded.remedy
            where (l.detail, l.remedy) is distinct from (excluded.detail, excluded.remedy);
        return false;
      when internal_error or unique_violation then
        get stacked diagnostics conflict = constraint_name;
        if try = 20
          or (sqlerrm not like 'tuple concurrently %' and conflict not like 'pg\_%') then
          raise;
        end if;
        perform pg_catalog.pg_sleep(0.1);
    end;
  end loop;
  return false;
end
$$;

-- Roles -----------------------------------------------------------------------

-- The names and attributes are those Supabase SQL expects. Roles belong to the
-- cluster: they may exist already, or be created by another database right now.
do $$
declare
  wanted record;
begin
  for wanted in
    select *
      from (values
        ('anon', 'nologin noinherit'),
        ('authenticated', 'nologin noinherit'),
        ('service_role', 'nologin noinherit'),
        -- Login without a password: sb sets one, and until then no password
        -- authentication can succeed.
        ('authenticator', 'login noinherit'),
        ('sb_auth', 'login noinherit'),
        ('supabase_admin', 'nologin noinherit'),
        ('supabase_auth_admin', 'nologin noinherit'),
        ('supabase_storage_admin', 'nologin noinherit'),
        ('dashboard_user', 'nologin noinherit'),
        ('postgres', 'nologin')
      ) as v (name, attributes)
  loop
    continue when exists (
      select
        from pg_catalog.pg_roles r
        where r.rolname = wanted.name
    );
    begin
      execute format('create role %I %s', wanted.name, wanted.attributes);
    exception
      when duplicate_object or unique_violation then
        null;
    end;
  end loop;
end
$$;

-- Everything about roles and the database that may need more than ownership.
-- Called again by sb.set_default_grants, so that a limitation disappears once
-- its remedy was applied. Writes nothing when all is in place.
create function sb.apply_privileged_setup()
returns void
language plpgsql
set search_path = ''
as $$
declare
  is_superuser boolean := (
    select r.rolsuper
      from pg_catalog.pg_roles r
      where r.rolname = current_user
  );
  is_16 boolean := current_setting('server_version_num')::int >= 160000;
  membership record;
  timeout record;
  command text;
  path text;
begin
  -- service_role stands for trusted server code, which RLS must not restrict.
  if not (
    select r.rolbypassrls
      from pg_catalog.pg_roles r
      where r.rolname = 'service_role'
  ) then
    perform sb.attempt(
      'service_role_bypassrls',
      'alter role service_role bypassrls',
      'service_role cannot bypass row level security; tables in exposed schemas get a policy for it instead',
      'as a superuser: alter role service_role bypassrls'
    );
  else
    delete from sb.limitations l
      where l.name = 'service_role_bypassrls';
  end if;

  -- authenticator must be able to become each API role. The owner needs the
  -- same, and the Supabase roles so that it may hand objects over to them; a
  -- superuser may do both anyway.
  for membership in
    select m.granted, m.member, m.inherit
      from (
        select granted, 'authenticator'::text as member, 'false' as inherit
          from unnest(array['anon', 'authenticated', 'service_role']) as granted
        union all
        select granted, current_user::text, 'false'
          from unnest(array[
            'anon', 'authenticated', 'service_role', 'supabase_admin',
            'supabase_auth_admin', 'supabase_storage_admin', 'dashboard_user'
          ]) as granted
          where not is_superuser
        union all
        -- A stand-in only: a postgres that can log in belongs to somebody else.
        -- Inherited, or "owner to postgres" would lock the owner out.
        select r.rolname, current_user::text, 'true'
          from pg_catalog.pg_roles r
          where not is_superuser
            and r.rolname = 'postgres'
            and r.rolname <> current_user
            and not r.rolcanlogin
            and not r.rolsuper
      ) as m
      where not exists (
        select
          from pg_catalog.pg_auth_members am
          where am.roleid = (select r.oid from pg_catalog.pg_roles r where r.rolname = m.granted)
            and am.member = (select r.oid from pg_catalog.pg_roles r where r.rolname = m.member)
            -- Since 16 a creator is a member with admin option only, which does
            -- not allow set role; the column does not exist on 15.
            and coalesce((pg_catalog.to_jsonb(am) ->> 'set_option')::boolean, true)
      )
  loop
    command := format('grant %I to %I', membership.granted, membership.member);
    if is_16 then
      command := command || format(' with inherit %s, set true', membership.inherit);
    end if;
    perform sb.attempt(
      format('membership_%s_%s', membership.granted, membership.member),
      command,
      format('role %s cannot become %s', membership.member, membership.granted),
      format('as a superuser: %s', command)
    );
  end loop;

  if pg_catalog.pg_has_role('postgres', 'member') then
    delete from sb.limitations l
      where l.name = 'owner_to_postgres';
  else
    insert into sb.limitations (name, detail, remedy)
      values (
        'owner_to_postgres',
        'role postgres belongs to somebody else here, so "owner to postgres" in a migration fails',
        'leave such lines out (pg_dump --no-owner)'
      )
      on conflict do nothing;
  end if;

  -- PostgREST applies the settings of the role it switches to. service_role has
  -- none of its own and so keeps the 8 s of authenticator: long work belongs in
  -- a job. A value the operator chose is left alone.
  for timeout in
    select v.*
      from (values
        ('anon', 'statement_timeout', '3s'),
        ('authenticated', 'statement_timeout', '8s'),
        ('authenticator', 'statement_timeout', '8s'),
        ('authenticator', 'lock_timeout', '8s'),
        ('sb_auth', 'statement_timeout', '8s'),
        ('sb_auth', 'lock_timeout', '4s'),
        ('sb_auth', 'idle_in_transaction_session_timeout', '30s')
      ) as v (role_name, setting, value)
      join pg_catalog.pg_roles r
        on r.rolname = v.role_name
      where not exists (
        select
          from unnest(r.rolconfig) as c
          where c like v.setting || '=%'
      )
  loop
    command := format('alter role %I set %I = %L', timeout.role_name, timeout.setting, timeout.value);
    perform sb.attempt(
      format('setting_%s_%s', timeout.role_name, timeout.setting),
      command,
      format('role %s has no %s', timeout.role_name, timeout.setting),
      format('as the creator of the role: %s', command)
    );
  end loop;

  -- Extensions live outside public, yet Supabase SQL calls them by bare name. A
  -- path the operator chose is reported, not replaced.
  select substr(c, length('search_path=') + 1)
    into path
    from pg_catalog.pg_db_role_setting s
    join pg_catalog.pg_database d
      on d.oid = s.setdatabase
    cross join unnest(s.setconfig) as c
    where d.datname = current_database()
      and s.setrole = 0
      and c like 'search_path=%';
  command := format('alter database %I set search_path = "$user", public, extensions', current_database());
  if path is null then
    perform sb.attempt(
      'database_search_path',
      command,
      'schema extensions is not on the search path of this database',
      format('as the owner of the database: %s', command)
    );
  elsif path !~ '\mextensions\M' then
    insert into sb.limitations (name, detail, remedy)
      values (
        'database_search_path',
        format('the search path of this database is %s, without schema extensions', path),
        format('add it: %s', command)
      )
      on conflict do nothing;
  else
    delete from sb.limitations l
      where l.name = 'database_search_path';
  end if;

  -- A hardened server revokes connect from public.
  if exists (
    select
      from unnest(array['authenticator', 'sb_auth']) as r (name)
      where not pg_catalog.has_database_privilege(r.name, current_database(), 'connect')
  ) then
    command := format('grant connect on database %I to authenticator, sb_auth', current_database());
    perform sb.attempt(
      'database_connect',
      command,
      'authenticator and sb_auth may not connect to this database',
      format('as the owner of the database: %s', command)
    );
  end if;

  -- PostgREST caches the schema; these tell it about every change.
  perform sb.ensure_event_trigger('sb_pgrst_ddl', 'ddl_command_end', 'sb.notify_ddl');
  perform sb.ensure_event_trigger('sb_pgrst_drop', 'sql_drop', 'sb.notify_drop');
end
$$;

-- Schemas ---------------------------------------------------------------------

create schema if not exists extensions;

grant usage
  on schema extensions
  to anon, authenticated, service_role, sb_auth;

create schema if not exists auth;

-- The functions of this schema (auth.uid() and its kin) are for everyone; its
-- tables are not, and say so themselves.
grant usage
  on schema auth
  to anon, authenticated, service_role, sb_auth;

grant all
  on schema auth
  to supabase_auth_admin, dashboard_user;

-- PostgREST runs sb.pgrst_pre_config as authenticator. Functions of this schema
-- revoke execute from public one by one, so usage alone opens nothing.
grant usage
  on schema sb
  to authenticator;

-- Migrations written for Supabase begin with these; when they are here already,
-- "create extension if not exists ... with schema extensions" is a no-op.
do $$
declare
  wanted text;
begin
  foreach wanted in array array['pgcrypto', 'uuid-ossp'] loop
    if not exists (
      select
        from pg_catalog.pg_available_extensions e
        where e.name = wanted
    ) then
      insert into sb.limitations (name, detail, remedy)
        values (
          'extension_' || wanted,
          format('extension %s is not available on this server', wanted),
          'install it, or use gen_random_uuid(), which needs no extension'
        );
      continue;
    end if;
    perform sb.attempt(
      'extension_' || wanted,
      format('create extension if not exists %I with schema extensions', wanted),
      format('extension %s could not be created by this owner', wanted),
      format('as a superuser: create extension %I with schema extensions', wanted)
    );
  end loop;
end
$$;

-- Supabase migrations add tables to this publication by name.
do $$
begin
  if not exists (
    select
      from pg_catalog.pg_publication p
      where p.pubname = 'supabase_realtime'
  ) then
    perform sb.attempt(
      'publication_supabase_realtime',
      'create publication supabase_realtime',
      'publication supabase_realtime does not exist',
      'as the owner of the database: create publication supabase_realtime'
    );
  end if;
end
$$;

-- DDL watchers ----------------------------------------------------------------

-- Event triggers need a superuser.
create function sb.ensure_event_trigger(trigger_name text, event text, function_name text)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
  if exists (
    select
      from pg_catalog.pg_event_trigger t
      where t.evtname = trigger_name
  ) then
    delete from sb.limitations l
      where l.name = 'event_trigger_' || trigger_name;
    return true;
  end if;
  return sb.attempt(
    'event_trigger_' || trigger_name,
    format('create event trigger %I on %s execute function %s()', trigger_name, event, function_name),
    format('event trigger %s is missing; sb does its work after each migrate only', trigger_name),
    format('as a superuser: create event trigger %I on %s execute function %s()', trigger_name, event, function_name)
  );
end
$$;

-- Only kinds of objects that PostgREST keeps in its cache. Grants, policies and
-- indexes take effect without a reload, which is costly on large schemas.
create function sb.is_cached_by_pgrst(object_type text)
returns boolean
language sql
immutable
set search_path = ''
as $$
  select object_type in (
    'schema', 'table', 'table column', 'table constraint', 'foreign table',
    'foreign table column', 'view', 'view column', 'materialized view',
    'materialized view column', 'composite type', 'type', 'domain',
    'domain constraint', 'function', 'procedure', 'aggregate', 'cast', 'rule',
    'trigger', 'default value', 'extension'
  )
$$;

-- Security definer: the author of the DDL may have no access to schema sb.
create function sb.notify_ddl()
returns event_trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  if exists (
    select
      from pg_catalog.pg_event_trigger_ddl_commands() c
      where c.schema_name is distinct from 'pg_temp'
        and c.schema_name is distinct from 'sb'
        and sb.is_cached_by_pgrst(c.object_type)
  ) then
    notify pgrst, 'reload schema';
  end if;
exception
  -- A stale cache is an inconvenience, a failed migration is not.
  when others then
    raise warning 'sb: could not notify PostgREST: %', sqlerrm;
end
$$;

create function sb.notify_drop()
returns event_trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  if exists (
    select
      from pg_catalog.pg_event_trigger_dropped_objects() o
      where not o.is_temporary
        and o.schema_name is distinct from 'sb'
        and sb.is_cached_by_pgrst(o.object_type)
  ) then
    notify pgrst, 'reload schema';
  end if;
exception
  when others then
    raise warning 'sb: could not notify PostgREST: %', sqlerrm;
end
$$;

-- Default grants --------------------------------------------------------------

create table sb.exposed_schemas (
  schema_name text primary key,
  default_grants text not null check (default_grants in ('supabase', 'none'))
);

comment on table sb.exposed_schemas is 'Schemas served by the API and the default grants in force there.';

-- A table is taken care of once. After that its RLS switch and its grants belong
-- to the author, whose "disable row level security" or "revoke" must last.
-- A regclass is dumped by name, so a restored database remembers; an oid would
-- switch RLS back on where the author had switched it off.
create table sb.adopted_tables (
  relation regclass primary key
);

comment on table sb.adopted_tables is 'Tables on which the framework has switched row level security on once.';

-- True when the privileges mention an API role: then the author has spoken.
create function sb.mentions_api_role(acl aclitem[])
returns boolean
language sql
stable
set search_path = ''
as $$
  select exists (
    select
      from pg_catalog.aclexplode(acl) a
      join pg_catalog.pg_roles r
        on r.oid = a.grantee
      where r.rolname in ('anon', 'authenticated', 'service_role')
  )
$$;

create function sb.is_extension_member(target oid)
returns boolean
language sql
stable
set search_path = ''
as $$
  select exists (
    select
      from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_class'::regclass
        and d.objid = target
        and d.deptype = 'e'
  )
$$;

-- Switches RLS on for one table, unless it was done before.
create function sb.adopt_table(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  rls_on boolean;
begin
  -- Recorded first: the alter table below fires the event trigger again.
  insert into sb.adopted_tables (relation)
    values (target)
    on conflict do nothing;
  if not found then
    return;
  end if;

  -- RLS would break an extension that reads its own table as the caller. It
  -- states the grants it needs; the default ones would let anon write there.
  if sb.is_extension_member(target) then
    if (
      select sb.mentions_api_role(c.relacl)
        from pg_catalog.pg_class c
        where c.oid = target
    ) then
      execute format('revoke all on table %s from anon, authenticated', target);
    end if;
    return;
  end if;

  select c.relrowsecurity
    into rls_on
    from pg_catalog.pg_class c
    where c.oid = target;
  if not rls_on then
    execute format('alter table %s enable row level security', target);
  end if;

  -- Without the attribute, a policy is the only way to let trusted code through.
  if not (
    select r.rolbypassrls
      from pg_catalog.pg_roles r
      where r.rolname = 'service_role'
  ) and not exists (
    select
      from pg_catalog.pg_policy p
      where p.polrelid = target
        and p.polname = 'sb_service_role'
  ) then
    execute format(
      'create policy sb_service_role on %s for all to service_role using (true) with check (true)',
      target
    );
  end if;
end
$$;

-- anon and authenticated get what the API can do and no more: truncate would go
-- past RLS, trigger and references have no use there.
create function sb.grant_table(relation oid, kind "char")
returns void
language plpgsql
set search_path = ''
as $$
begin
  if kind = 'S' then
    execute format('grant usage, select on sequence %s to anon, authenticated', relation::regclass);
    execute format('grant all on sequence %s to service_role', relation::regclass);
  else
    execute format('grant select, insert, update, delete on table %s to anon, authenticated', relation::regclass);
    execute format('grant all on table %s to service_role', relation::regclass);
  end if;
end
$$;

create function sb.set_default_privileges(schema_name text, enable boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  verb text := case when enable then 'grant' else 'revoke' end;
  direction text := case when enable then 'to' else 'from' end;
begin
  execute format(
    'alter default privileges in schema %I %s %s on tables %s anon, authenticated',
    schema_name, verb, case when enable then 'select, insert, update, delete' else 'all' end, direction
  );
  execute format(
    'alter default privileges in schema %I %s all on tables %s service_role',
    schema_name, verb, direction
  );
  execute format(
    'alter default privileges in schema %I %s %s on sequences %s anon, authenticated',
    schema_name, verb, case when enable then 'usage, select' else 'all' end, direction
  );
  execute format(
    'alter default privileges in schema %I %s all on sequences %s service_role',
    schema_name, verb, direction
  );
  execute format(
    'alter default privileges in schema %I %s execute on routines %s anon, authenticated, service_role',
    schema_name, verb, direction
  );
end
$$;

-- New tables get RLS, a recreated schema gets its grants back. Security definer:
-- the author of the DDL may own neither the schema nor the framework's tables.
create function sb.default_grants_on_ddl()
returns event_trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
  changed record;
begin
  -- The oid of a dropped table may come back one day.
  delete from sb.adopted_tables a
    using pg_catalog.pg_event_trigger_ddl_commands() c
    where c.classid = 'pg_catalog.pg_class'::regclass
      and a.relation = c.objid
      and c.command_tag in ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO');

  for changed in
    select c.objid, c.object_type, n.nspname
      from pg_catalog.pg_event_trigger_ddl_commands() c
      join pg_catalog.pg_namespace n
        on c.object_type = 'schema'
        and n.oid = c.objid
      join sb.exposed_schemas e
        on e.schema_name = n.nspname
        and e.default_grants = 'supabase'
      where c.command_tag = 'CREATE SCHEMA'
    union all
    select t.oid, 'table', n.nspname
      from pg_catalog.pg_event_trigger_ddl_commands() c
      join pg_catalog.pg_class t
        on c.classid = 'pg_catalog.pg_class'::regclass
        and t.oid = c.objid
        and t.relkind in ('r', 'p')
        and t.relpersistence <> 't'
      join pg_catalog.pg_namespace n
        on n.oid = t.relnamespace
      join sb.exposed_schemas e
        on e.schema_name = n.nspname
        and e.default_grants = 'supabase'
      where not exists (
        select
          from sb.adopted_tables a
          where a.relation = t.oid
      )
  loop
    if changed.object_type = 'schema' then
      execute format(
        'grant usage on schema %I to anon, authenticated, service_role',
        changed.nspname
      );
      perform sb.set_default_privileges(changed.nspname, true);
    else
      perform sb.adopt_table(changed.objid);
    end if;
  end loop;
exception
  -- The default privileges have granted the table already: without RLS it would
  -- be open to everybody, so the statement that made it fails instead.
  when others then
    raise exception 'sb: row level security could not be switched on: %', sqlerrm
      using errcode = sqlstate,
            hint = 'repair what the message names, or set db.default_grants = "none" and run sb migrate';
end
$$;

-- Makes the default grants what the configuration says. Safe to call at any time
-- and called after each migrate, it changes nothing that is in place:
--   supabase  API roles get grants on every object, and RLS is switched on for
--             every table, existing and new; policies decide.
--   none      nothing is granted; each migration writes its own grants.
-- Grants the author changed later stay as they are, because a table is looked at
-- once only. A change of mode is the exception: it starts from a clean slate.
create function sb.set_default_grants(mode text, schemas text[] default array['public'])
returns void
language plpgsql
set search_path = ''
as $$
declare
  target text;
  previous text;
  has_trigger boolean;
  object record;
begin
  if mode is null or mode not in ('supabase', 'none') then
    raise exception 'unknown default grants mode: %', mode
      using errcode = 'invalid_parameter_value',
            hint = 'use supabase or none';
  end if;
  -- Two nodes may start at once.
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('sb.set_default_grants', 0));
  perform sb.apply_privileged_setup();

  delete from sb.adopted_tables a
    where not exists (
      select
        from pg_catalog.pg_class c
        where c.oid = a.relation
    );
  -- Written anew below where they still hold; the object may be gone.
  delete from sb.limitations l
    where l.name like any (array['adopt\_%', 'grant\_%']);

  if mode = 'supabase' then
    has_trigger := sb.ensure_event_trigger('sb_default_grants', 'ddl_command_end', 'sb.default_grants_on_ddl');
  else
    if exists (
      select
        from pg_catalog.pg_event_trigger t
        where t.evtname = 'sb_default_grants'
    ) then
      -- A superuser may have created it for an owner that is none.
      perform sb.attempt(
        'event_trigger_sb_default_grants',
        'drop event trigger sb_default_grants',
        'event trigger sb_default_grants belongs to another role; it does nothing in mode none',
        'as a superuser: drop event trigger sb_default_grants'
      );
    else
      delete from sb.limitations l
        where l.name = 'event_trigger_sb_default_grants';
    end if;
  end if;

  -- A schema that is no longer exposed is treated like mode none.
  for target, previous in
    select s.name, e.default_grants
      from (
        select unnest(schemas) as name
        union
        select x.schema_name
          from sb.exposed_schemas x
      ) as s
      left join sb.exposed_schemas e
        on e.schema_name = s.name
  loop
    if mode = 'supabase' and target = any (schemas) then
      insert into sb.exposed_schemas as e (schema_name, default_grants)
        values (target, 'supabase')
        on conflict (schema_name) do update
          set default_grants = excluded.default_grants
          where e.default_grants <> excluded.default_grants;
      continue when pg_catalog.to_regnamespace(quote_ident(target)) is null;

      execute format('grant usage on schema %I to anon, authenticated, service_role', target);
      -- Dumps hand every object to postgres, and an owner must be able to create.
      execute format('grant usage, create on schema %I to postgres', target);
      -- Without the trigger a new table has no RLS until the next migrate, so it
      -- must not be granted to anybody before; sb.begin_migration opens a window.
      perform sb.set_default_privileges(target, has_trigger);

      for object in
        select c.oid, c.relkind, c.relacl
          from pg_catalog.pg_class c
          where c.relnamespace = pg_catalog.to_regnamespace(quote_ident(target))
            and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
            and not exists (
              select
                from sb.adopted_tables a
                where a.relation = c.oid
            )
          order by c.oid
      loop
        if object.relkind in ('r', 'p') then
          perform sb.attempt(
            'adopt_' || object.oid::regclass,
            format('select sb.adopt_table(%s)', object.oid),
            format('row level security could not be switched on for %s, which belongs to another role', object.oid::regclass),
            format('as its owner: alter table %s enable row level security', object.oid::regclass)
          );
          -- Not adopted means RLS is not certain: then no grant either.
          continue when not exists (
            select
              from sb.adopted_tables a
              where a.relation = object.oid
          );
        end if;
        continue when sb.is_extension_member(object.oid);
        -- Privileges that were written by hand count as the author's word, except
        -- on the first visit, where they may stem from a time before the API.
        if object.relacl is null
          or (previous is distinct from 'supabase' and not sb.mentions_api_role(object.relacl)) then
          perform sb.attempt(
            'grant_' || object.oid::regclass,
            format('select sb.grant_table(%s, %L)', object.oid, object.relkind),
            format('%s could not be granted to the API roles', object.oid::regclass),
            format('as its owner: grant it to anon, authenticated, service_role as needed')
          );
        end if;
      end loop;

      if previous is distinct from 'supabase' then
        execute format('grant execute on all routines in schema %I to anon, authenticated, service_role', target);
      end if;
    else
      if target = any (schemas) then
        insert into sb.exposed_schemas as e (schema_name, default_grants)
          values (target, 'none')
          on conflict (schema_name) do update
            set default_grants = excluded.default_grants
            where e.default_grants <> excluded.default_grants;
      else
        delete from sb.exposed_schemas e
          where e.schema_name = target;
      end if;
      -- Only on the change: grants written afterwards are the author's.
      if previous = 'supabase' and pg_catalog.to_regnamespace(quote_ident(target)) is not null then
        perform sb.set_default_privileges(target, false);
        execute format('revoke all on all tables in schema %I from anon, authenticated, service_role', target);
        execute format('revoke all on all sequences in schema %I from anon, authenticated, service_role', target);
        execute format('revoke all on all routines in schema %I from anon, authenticated, service_role', target);
        execute format('revoke usage on schema %I from anon, authenticated, service_role', target);
        -- RLS stays on: switching it off would open the table to other roles.
        delete from sb.adopted_tables a
          using pg_catalog.pg_class c
          where c.oid = a.relation
            and c.relnamespace = pg_catalog.to_regnamespace(quote_ident(target));
      end if;
    end if;
  end loop;

  -- Postgres lets everyone execute a new function, and through the API everyone
  -- is anon. Defaults of a schema can only add, so this one is global for the
  -- owner, and the functions of extensions are opened again.
  if mode = 'none' then
    alter default privileges
      revoke execute on routines from public;
    alter default privileges in schema extensions
      grant execute on routines to public;
  else
    alter default privileges
      grant execute on routines to public;
  end if;
end
$$;

-- Called in the transaction of a project migration, before its first statement.
-- With the event trigger there is nothing to do. Without it the default
-- privileges apply for the length of the migration, so that a "revoke" in it
-- works as written; sb.set_default_grants, in the same transaction, switches RLS
-- on and takes them away again.
create function sb.begin_migration()
returns void
language plpgsql
set search_path = ''
as $$
declare
  target text;
begin
  if exists (
    select
      from pg_catalog.pg_event_trigger t
      where t.evtname = 'sb_default_grants'
  ) then
    return;
  end if;
  for target in
    select e.schema_name
      from sb.exposed_schemas e
      join pg_catalog.pg_namespace n
        on n.nspname = e.schema_name
      where e.default_grants = 'supabase'
  loop
    perform sb.set_default_privileges(target, true);
  end loop;
end
$$;

-- Postgres gives execute to everyone; schema sb is for the owner.
revoke execute
  on all routines in schema sb
  from public;

select sb.apply_privileged_setup();
