-- Default grants, the RLS trigger, and both modes. Without a superuser the
-- trigger is missing: the same end state is reached by the next migrate.
create function pg_temp.migrated()
returns void
language plpgsql
as $$
begin
  if not pg_temp.has_event_trigger('sb_default_grants') then
    perform sb.set_default_grants('supabase');
  end if;
end
$$;

do $$
begin
  assert pg_temp.is_superuser() = pg_temp.has_event_trigger('sb_default_grants'), 'event trigger';
end
$$;

create table public.plain (id int);
create table public.made_as as select 1 as id;
select 1 as id into public.made_into;
create table public.parent (id int) partition by range (id);
create table public.child partition of public.parent for values from (0) to (10);
create unlogged table public.fast (id int);
create table public."Odd ""name" (id serial);
create temp table scratch (id int);
create schema hidden;
create table hidden.secret (id int);
create table hidden.moved (id int);
alter table hidden.moved set schema public;
create view public.peek with (security_invoker = true) as select * from public.plain;
create function public.answer() returns int language sql as 'select 42';
create sequence public.counter;

-- Nothing is readable between the statement and RLS.
do $$
declare
  relation regclass;
begin
  foreach relation in array array['plain', 'made_as', 'made_into', 'parent', 'child', 'fast', '"Odd ""name"', 'moved']::regclass[] loop
    assert pg_temp.has_rls(relation) or not has_table_privilege('anon', relation, 'select'), format('%s is open', relation);
  end loop;
end
$$;

select pg_temp.migrated();

do $$
declare
  relation regclass;
begin
  foreach relation in array array['plain', 'made_as', 'made_into', 'parent', 'child', 'fast', '"Odd ""name"']::regclass[] loop
    assert pg_temp.has_rls(relation), format('RLS is off on %s', relation);
    assert has_table_privilege('anon', relation, 'select') and has_table_privilege('authenticated', relation, 'delete')
      and has_table_privilege('service_role', relation, 'truncate'), format('grants on %s', relation);
    assert not has_table_privilege('anon', relation, 'truncate') and not has_table_privilege('authenticated', relation, 'trigger'),
      format('excess grants on %s', relation);
  end loop;
  assert pg_temp.has_rls('moved'), 'RLS is off on a table that moved into the schema';
  assert not pg_temp.has_rls('scratch'), 'RLS on a temporary table';
  assert not pg_temp.has_rls('hidden.secret'), 'RLS outside of exposed schemas';
  assert pg_temp.run_as('anon', null, 'select from hidden.secret') = '42501', 'hidden schema';
  assert has_table_privilege('anon', 'peek', 'select'), 'view';
  assert has_sequence_privilege('authenticated', 'counter', 'usage') and not has_sequence_privilege('authenticated', 'counter', 'update'), 'sequence';
  assert has_function_privilege('anon', 'answer()', 'execute'), 'function';

  -- Closed for API roles, open for service_role, with or without bypassrls.
  insert into plain values (1);
  assert pg_temp.run_as('anon', null, 'select from plain') = 'ok 0', 'anon sees a row';
  assert pg_temp.run_as('anon', null, 'insert into plain values (2)') = '42501', 'anon writes a row';
  assert pg_temp.run_as('authenticated', null, 'insert into "Odd ""name" default values') = '42501', 'authenticated writes a row';
  assert pg_temp.run_as('service_role', null, 'select from plain') = 'ok 1', 'service_role sees no row';
  assert pg_temp.run_as('service_role', null, 'insert into "Odd ""name" default values') = 'ok 1', 'service_role writes with a sequence';

  -- The author has the last word.
  alter table plain disable row level security;
  revoke all on made_as from anon, authenticated, service_role;
  perform sb.set_default_grants('supabase');
  assert not pg_temp.has_rls('plain'), 'RLS came back on';
  assert not has_table_privilege('anon', 'made_as', 'select'), 'grant came back';
  alter table plain enable row level security;
end
$$;

-- The schema is dropped and made again, as test suites do.
do $$
begin
  drop schema public cascade;
  create schema public;
  perform sb.begin_migration();
  create table public.again (id int);
  revoke update on public.again from authenticated;
  perform pg_temp.migrated();
  assert has_schema_privilege('anon', 'public', 'usage'), 'usage after recreation';
  assert pg_temp.has_rls('public.again'), 'RLS after recreation';
  assert has_table_privilege('anon', 'public.again', 'select'), 'grants after recreation';
  assert not has_table_privilege('authenticated', 'public.again', 'update'), 'revoke within the migration';
end
$$;

-- A DDL author without any right on schema sb is not disturbed.
do $$
begin
  create role sb_check_author nologin;
  if not pg_temp.is_superuser() then
    execute format('grant sb_check_author to %I', current_user);
  end if;
  grant usage, create on schema public to sb_check_author;
  assert pg_temp.run_as('sb_check_author', null, 'create table public.theirs (id int)') like 'ok%', 'DDL of another role';
  assert pg_temp.run_as('sb_check_author', null, 'alter table public.theirs add column x int') like 'ok%', 'alter of another role';
  if pg_temp.is_superuser() then
    assert pg_temp.has_rls('public.theirs'), 'RLS on a table of another role';
  end if;
  assert pg_temp.run_as('sb_check_author', null, 'drop table public.theirs') like 'ok%', 'drop of another role';
  drop owned by sb_check_author;
  drop role sb_check_author;
end
$$;

-- Strict mode.
do $$
begin
  perform sb.set_default_grants('none');
  assert not pg_temp.has_event_trigger('sb_default_grants'), 'trigger in mode none';
  create table public.strict (id int);
  create function public.strict_answer() returns int language sql as 'select 42';
  assert not has_table_privilege('anon', 'public.strict', 'select')
    and not has_table_privilege('service_role', 'public.strict', 'select'), 'grant in mode none';
  assert not has_table_privilege('anon', 'public.again', 'select'), 'old grant in mode none';
  assert not has_function_privilege('anon', 'public.strict_answer()', 'execute'), 'new function in mode none';
  assert pg_temp.has_rls('public.again'), 'RLS was switched off';

  grant select on public.strict to anon;
  grant usage on schema public to anon;
  perform sb.set_default_grants('none');
  assert has_table_privilege('anon', 'public.strict', 'select') and has_schema_privilege('anon', 'public', 'usage'), 'the author''s grant was revoked';
  assert pg_temp.run_as('anon', null, 'select auth.uid()') like 'ok%', 'auth.uid() in mode none';

  -- Back again: tables from the strict time are closed by RLS before any grant.
  create table public.strict_quiet (id int);
  perform sb.set_default_grants('supabase');
  assert pg_temp.has_rls('public.strict') and pg_temp.has_rls('public.strict_quiet'), 'RLS after the change of mode';
  assert has_table_privilege('anon', 'public.strict_quiet', 'select'), 'grant after the change of mode';
  assert not has_table_privilege('anon', 'public.strict', 'insert'), 'a hand-written grant was widened';
  assert has_function_privilege('anon', 'public.strict_answer()', 'execute'), 'function after the change of mode';

  -- A second exposed schema, taken back later; one that does not exist is skipped.
  create schema api;
  create table api.item (id int);
  perform sb.set_default_grants('supabase', array['public', 'api', 'not_there']);
  assert pg_temp.has_rls('api.item') and has_table_privilege('anon', 'api.item', 'select'), 'second schema';
  perform sb.set_default_grants('supabase', array['public']);
  assert not has_table_privilege('anon', 'api.item', 'select') and not has_schema_privilege('anon', 'api', 'usage'), 'schema taken back';
  assert (select array_agg(schema_name) = array['public'] from sb.exposed_schemas), 'exposed schemas';
end
$$;

do $$
begin
  perform sb.set_default_grants('loose');
  assert false, 'unknown mode was accepted';
exception
  when invalid_parameter_value then
    null;
end
$$;

drop schema hidden, api cascade;
