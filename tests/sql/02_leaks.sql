-- What API roles and services must not reach.
do $$
declare
  role_name text;
  target text;
  verb text;
  bad text;
begin
  foreach role_name in array array['anon', 'authenticated', 'service_role', 'authenticator'] loop
    for target in
      select format('%I.%I', n.nspname, c.relname)
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('auth', 'sb')
          and c.relkind in ('r', 'p', 'v', 'm', 'S')
    loop
      assert not has_table_privilege(role_name, target, 'select, insert, update, delete, truncate, references, trigger'),
        format('%s can reach %s', role_name, target);
      assert not has_any_column_privilege(role_name, target, 'select, insert, update, references'),
        format('%s can reach a column of %s', role_name, target);
    end loop;
    if role_name <> 'authenticator' then
      assert not has_schema_privilege(role_name, 'sb', 'usage'), format('%s has usage on sb', role_name);
    end if;
    assert pg_temp.run_as(role_name, null, 'select from auth.users') = '42501', format('%s reads auth.users', role_name);
    assert pg_temp.run_as(role_name, null, 'select from auth.signing_keys') = '42501', format('%s reads auth.signing_keys', role_name);
    assert pg_temp.run_as(role_name, null, 'insert into auth.api_keys default values') = '42501', format('%s writes auth.api_keys', role_name);
    assert pg_temp.run_as(role_name, null, 'select sb.publish_jwks()') = '42501', format('%s publishes', role_name);
    assert pg_temp.run_as(role_name, null, $q$select sb.set_default_grants('none')$q$) = '42501', format('%s sets grants', role_name);
    assert pg_temp.run_as(role_name, null, $q$select sb.attempt('x', 'select 1', 'x', 'x')$q$) = '42501', format('%s runs attempt', role_name);
    assert pg_temp.run_as(role_name, null, 'create table auth.t ()') = '42501', format('%s creates in auth', role_name);
    assert pg_temp.run_as(role_name, null, 'create table public.t ()') = '42501', format('%s creates in public', role_name);
    if role_name <> 'authenticator' then
      assert pg_temp.run_as(role_name, null, $q$select auth.uid(), auth.role(), auth.email(), auth.jwt(), auth.require_aal('aal2'), auth.require_fresh('1 minute')$q$) like 'ok%', format('%s cannot call auth.uid()', role_name);
    end if;
  end loop;

  -- No function of sb is open, but for the one PostgREST calls.
  select string_agg(p.oid::regprocedure::text || ' to ' || r.rolname, ', ') into bad
    from pg_proc p
    join pg_roles r
      on r.rolname in ('anon', 'authenticated', 'service_role', 'authenticator', 'sb_auth', 'supabase_auth_admin')
      and has_function_privilege(r.oid, p.oid, 'execute')
    where p.pronamespace = 'sb'::regnamespace
      and (r.rolname, p.proname) <> ('authenticator', 'pgrst_pre_config');
  assert bad is null, format('executable: %s', bad);

  -- Definer functions have a fixed, empty search path.
  select string_agg(p.oid::regprocedure::text, ', ') into bad
    from pg_proc p
    where p.pronamespace in ('sb'::regnamespace, 'auth'::regnamespace)
      and p.prosecdef
      and not coalesce('search_path=""' = any (p.proconfig), false);
  assert bad is null, format('definer without search_path: %s', bad);

  -- Row level security is on for every table of auth.
  select string_agg(c.oid::regclass::text, ', ') into bad
    from pg_class c
    where c.relnamespace = 'auth'::regnamespace
      and c.relkind in ('r', 'p')
      and not c.relrowsecurity;
  assert bad is null, format('RLS is off: %s', bad);

  -- Counters are not written ahead: a sign-in does not wait for the disk because of them.
  assert (
    select count(*) = 2
      from pg_class c
      where c.oid in ('auth.rate_limits'::regclass, 'auth.sign_in_failures'::regclass)
        and c.relpersistence = 'u'
  ), 'limits are logged';
end
$$;

-- The role of the auth service: what it needs, nothing beside it.
do $$
declare
  u uuid := gen_random_uuid();
begin
  create table public.private_note (id int);

  assert pg_temp.run_as('sb_auth', null, format('insert into auth.users (id, email) values (%L, ''Leak@Example.com'')', u)) = 'ok 1', 'insert user';
  assert pg_temp.run_as('sb_auth', null, format('select from auth.users where id = %L for update', u)) = 'ok 1', 'select user';
  assert pg_temp.run_as('sb_auth', null, 'insert into auth.users (email) values (''leak@example.COM'')') = '23505', 'email is not case-insensitive';
  assert pg_temp.run_as('sb_auth', null, 'insert into auth.users (email, is_sso_user) values (''leak@example.com'', true)') = 'ok 1', 'SSO user';
  assert pg_temp.run_as('sb_auth', null, 'insert into auth.users (phone) values (''4915112345'')') = 'ok 1', 'phone';
  assert pg_temp.run_as('sb_auth', null, 'insert into auth.users (phone) values (''4915112345'')') = '23505', 'phone is not unique';
  assert pg_temp.run_as('sb_auth', null, format('insert into auth.identities (provider_id, user_id, identity_data, provider) values (%L, %L, ''{"email": "Leak@Example.com"}'', ''email'')', u, u)) = 'ok 1', 'identity';
  assert (select email = 'leak@example.com' from auth.identities where user_id = u), 'generated email';
  assert pg_temp.run_as('sb_auth', null, format('insert into auth.sessions (user_id, amr) values (%L, ''[{"method": "password", "timestamp": 1}]'')', u)) = 'ok 1', 'session';
  assert pg_temp.run_as('sb_auth', null, format('update auth.sessions set refresh_token_counter = refresh_token_counter + 1 where user_id = %L', u)) = 'ok 1', 'refresh';
  assert pg_temp.run_as('sb_auth', null, 'insert into auth.audit_log_entries (payload) values (''{}'')') = 'ok 1', 'audit insert';
  assert pg_temp.run_as('sb_auth', null, 'select from auth.audit_log_entries') = 'ok 1', 'audit select';
  assert pg_temp.run_as('sb_auth', null, 'update auth.audit_log_entries set payload = null') = '42501', 'audit update';
  assert pg_temp.run_as('sb_auth', null, 'delete from auth.audit_log_entries') = '42501', 'audit delete';
  assert pg_temp.run_as('sb_auth', null, 'select from auth.signing_keys') like 'ok%', 'keys select';
  assert pg_temp.run_as('sb_auth', null, 'delete from auth.signing_keys') = '42501', 'keys delete';
  assert pg_temp.run_as('sb_auth', null, 'update auth.api_keys set revoked_at = null') = '42501', 'api keys update';
  assert pg_temp.run_as('sb_auth', null, 'insert into auth.rate_limits (key, full_at) values (''k'', now())') = 'ok 1', 'rate limit';
  assert pg_temp.run_as('sb_auth', null, 'delete from auth.rate_limits') = 'ok 1', 'rate limits delete';
  assert pg_temp.run_as('sb_auth', null, 'insert into auth.sign_in_failures (account, failures, pending, last_failed_at) values (''a'', 1, 1, now())') = 'ok 1', 'failure';
  assert pg_temp.run_as('sb_auth', null, 'update auth.sign_in_failures set failures = 2') = 'ok 1', 'failure update';
  assert pg_temp.run_as('sb_auth', null, 'delete from auth.sign_in_failures') = 'ok 1', 'failures delete';
  assert pg_temp.run_as('sb_auth', null, 'truncate auth.rate_limits, auth.sign_in_failures') = '42501', 'sb_auth truncates limits';
  assert pg_temp.run_as('supabase_auth_admin', null, 'delete from auth.sign_in_failures') = '42501', 'project SQL clears failures';
  assert pg_temp.run_as('sb_auth', null, format('insert into auth.mfa_factors (user_id, factor_type, secret) values (%L, ''totp'', ''sealed'')', u)) = 'ok 1', 'factor';
  assert (select jsonb_array_length(factors) = 1 and not factors -> 0 ? 'secret' from auth.users where id = u), 'factors of the user';
  assert pg_temp.run_as('sb_auth', null, format('insert into auth.webauthn_credentials (user_id, credential_id, credential) values (%L, ''x'', ''{}'')', u)) = 'ok 1', 'passkey';
  assert pg_temp.run_as('sb_auth', null, 'select from auth.mfa_amr_claims') = 'ok 1', 'amr claims';
  assert pg_temp.run_as('supabase_auth_admin', null, 'select from auth.mfa_factors') = 'ok 1', 'project SQL reads factors';
  assert pg_temp.run_as('supabase_auth_admin', null, 'update auth.mfa_factors set status = ''verified''') = '42501', 'project SQL verifies a factor';
  assert pg_temp.run_as('supabase_auth_admin', null, 'select from auth.mfa_challenges') = '42501', 'project SQL reads challenges';
  assert pg_temp.run_as('supabase_auth_admin', null, 'select from auth.mfa_recovery_codes') = '42501', 'project SQL reads recovery codes';
  assert pg_temp.run_as('supabase_auth_admin', null, 'select from auth.webauthn_challenges') = '42501', 'project SQL reads challenges of passkeys';
  assert pg_temp.run_as('sb_auth', null, 'select from public.private_note') = '42501', 'sb_auth reads a project table';
  assert pg_temp.run_as('sb_auth', null, 'truncate auth.users cascade') = '42501', 'sb_auth truncates';
  assert pg_temp.run_as('sb_auth', null, 'select from sb.limitations') = '42501', 'sb_auth reads sb';
  assert pg_temp.run_as('sb_auth', null, 'delete from auth.users') = 'ok 3', 'delete users';
  assert not exists (select from auth.sessions) and not exists (select from auth.identities), 'cascade';
  assert not exists (select from auth.mfa_factors) and not exists (select from auth.webauthn_credentials), 'cascade to factors';

  drop table public.private_note;
  truncate auth.audit_log_entries;
end
$$;
