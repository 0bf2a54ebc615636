-- Attributes, memberships, settings and schemas.
do $$
declare
  bad text;
begin
  assert (select count(*) = 10 from pg_roles where rolname in (
    'anon', 'authenticated', 'service_role', 'authenticator', 'sb_auth', 'supabase_admin',
    'supabase_auth_admin', 'supabase_storage_admin', 'dashboard_user', 'postgres'
  )), 'a role is missing';

  select string_agg(rolname, ', ') into bad from pg_roles
    where rolname in ('anon', 'authenticated', 'authenticator', 'sb_auth', 'supabase_admin',
      'supabase_auth_admin', 'supabase_storage_admin', 'dashboard_user')
      and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication or rolinherit);
  assert bad is null, format('role with too much power: %s', bad);

  select string_agg(rolname, ', ') into bad from pg_roles
    where (rolname in ('authenticator', 'sb_auth')) <> rolcanlogin
      and rolname in ('anon', 'authenticated', 'service_role', 'authenticator', 'sb_auth', 'supabase_admin',
        'supabase_auth_admin', 'supabase_storage_admin', 'dashboard_user');
  assert bad is null, format('wrong login attribute: %s', bad);

  assert (select rolbypassrls from pg_roles where rolname = 'service_role')
    <> exists (select from sb.limitations where name = 'service_role_bypassrls'),
    'bypassrls of service_role and its limitation disagree';

  -- authenticator may become exactly the four, and inherits nothing from them.
  assert (select array_agg(roleid::regrole::text order by roleid::regrole::text) = array['anon', 'authenticated', 'guest', 'service_role']
    from (select distinct roleid from pg_auth_members where member = 'authenticator'::regrole) m),
    'memberships of authenticator';
  assert not exists (select from pg_auth_members where member in (
    'anon'::regrole, 'authenticated'::regrole, 'guest'::regrole, 'service_role'::regrole, 'sb_auth'::regrole)),
    'an API role is a member of another role';

  assert (select 'statement_timeout=3s' = any (rolconfig) from pg_roles where rolname = 'anon'), 'anon timeout';
  assert (select 'statement_timeout=8s' = any (rolconfig) from pg_roles where rolname = 'authenticated'), 'authenticated timeout';
  assert (select rolconfig @> array['statement_timeout=8s', 'lock_timeout=8s'] from pg_roles where rolname = 'authenticator'), 'authenticator timeouts';

  assert current_setting('search_path') = '"$user", public, extensions',
    format('search_path is %s', current_setting('search_path'));
  assert exists (select from pg_publication where pubname = 'supabase_realtime' and not puballtables), 'publication';
  assert has_schema_privilege('anon', 'extensions', 'usage') and not has_schema_privilege('anon', 'extensions', 'create'), 'extensions';
  assert has_schema_privilege('anon', 'auth', 'usage') and not has_schema_privilege('anon', 'auth', 'create'), 'auth';
  assert not has_schema_privilege('sb_auth', 'auth', 'create'), 'sb_auth can create in auth';

  -- An installed extension is where Supabase SQL looks for it.
  assert not exists (select from pg_extension where extname in ('pgcrypto', 'uuid-ossp') and extnamespace <> 'extensions'::regnamespace), 'extension schema';

  if pg_temp.is_superuser() then
    assert not exists (select from sb.limitations where name not like 'extension\_%'),
      format('limitations as superuser: %s', (select string_agg(name, ', ') from sb.limitations));
  end if;
end
$$;

-- An operator's own value survives.
do $$
begin
  execute format('alter database %I set search_path = public', current_database());
  perform sb.apply_privileged_setup();
  assert exists (select from sb.limitations where name = 'database_search_path'), 'search path is not reported';
  execute format('alter database %I set search_path = "$user", public, extensions', current_database());
  perform sb.apply_privileged_setup();
  assert not exists (select from sb.limitations where name = 'database_search_path'), 'search path is still reported';

  alter role anon set statement_timeout = '5s';
  perform sb.apply_privileged_setup();
  assert (select 'statement_timeout=5s' = any (rolconfig) from pg_roles where rolname = 'anon'), 'operator value was overwritten';
  alter role anon set statement_timeout = '3s';
end
$$;
