-- After supabase_like/*.sql: the objects work the way their authors expect.
do $$
declare
  ann uuid := gen_random_uuid();
  bob uuid := gen_random_uuid();
  ann_claims jsonb := jsonb_build_object('sub', ann, 'role', 'authenticated');
  bob_claims jsonb := jsonb_build_object('sub', bob, 'role', 'authenticated');
begin
  -- The author's trigger runs when the service signs somebody up.
  assert pg_temp.run_as('sb_auth', null, format('insert into auth.users (id, email, raw_user_meta_data) values (%L, ''ann@example.com'', ''{"full_name": "Ann"}'')', ann)) = 'ok 1', 'sign-up with a trigger';
  assert (select full_name = 'Ann' from public.profiles where id = ann), 'profile of the trigger';
  assert pg_temp.run_as('sb_auth', null, format('insert into auth.users (id, email) values (%L, ''bob@example.com'')', bob)) = 'ok 1', 'second sign-up';
  assert pg_temp.run_as('sb_auth', null, 'select from public.profiles') = '42501', 'the service itself has no access';

  assert pg_temp.run_as('anon', null, 'select from profiles') = 'ok 2', 'profiles are public';
  assert pg_temp.run_as('authenticated', bob_claims, format('update profiles set full_name = ''x'' where id = %L', ann)) = 'ok 0', 'someone else''s profile';
  assert pg_temp.run_as('authenticated', ann_claims, format('update profiles set full_name = ''Anna'' where id = %L', ann)) = 'ok 1', 'own profile';
  assert not has_function_privilege('anon', 'public.handle_new_user()', 'execute'), 'revoked function';

  assert pg_temp.run_as('authenticated', ann_claims, 'insert into todos (task) values (''write'')') = 'ok 1', 'default auth.uid()';
  assert pg_temp.run_as('authenticated', bob_claims, format('insert into todos (user_id, task) values (%L, ''steal'')', ann)) = '42501', 'with check';
  assert pg_temp.run_as('anon', null, 'select from todos') = 'ok 0', 'anon sees no row';
  assert pg_temp.run_as('authenticated', bob_claims, 'select from todos') = 'ok 0', 'bob sees no row';
  assert pg_temp.run_as('authenticated', ann_claims, 'select from todos') = 'ok 1', 'ann sees her row';
  assert pg_temp.run_as('authenticated', ann_claims, 'select from open_todos') = 'ok 1', 'view';
  assert pg_temp.run_as('authenticated', ann_claims, 'select count_todos()') = 'ok 1', 'function';
  assert pg_temp.run_as('service_role', null, 'select from todos') = 'ok 1', 'service_role sees all';
  assert pg_temp.run_as('service_role', null, 'update todos set reviewed = true') = 'ok 1', 'service_role writes all';
  assert pg_temp.run_as('authenticated', ann_claims, 'update todos set is_complete = true') = 'ok 1', 'granted column';
  assert pg_temp.run_as('authenticated', ann_claims, 'update todos set reviewed = false') = '42501', 'column that was revoked';
  assert pg_temp.run_as('authenticated', ann_claims, 'delete from todos') = 'ok 0', 'not an admin';
  assert pg_temp.run_as('authenticated', ann_claims || '{"app_metadata": {"role": "admin"}}', 'delete from todos') = 'ok 1', 'an admin';

  -- The next migrate leaves what the author revoked.
  perform sb.set_default_grants('supabase');
  assert not has_column_privilege('authenticated', 'todos', 'reviewed', 'update'), 'revoke is undone by a later migrate';

  if to_regclass('public.notes') is not null then
    assert pg_temp.has_rls('public.notes'), 'RLS on a table of postgres';
    assert pg_temp.run_as('authenticated', ann_claims, 'insert into notes (body) values (''x'')') = 'ok 1', 'table of postgres';
    assert pg_temp.run_as('authenticated', bob_claims, 'select from notes') = 'ok 0', 'policy on a table of postgres';
    assert pg_temp.run_as('service_role', null, 'select from notes') = 'ok 1', 'service_role on a table of postgres';
    alter table notes add column added int;
  end if;

  if to_regclass('public.rooms') is not null then
    assert pg_temp.run_as('authenticated', ann_claims, 'insert into rooms (title) values (''hall'')') = 'ok 1', 'uuid-ossp as an API role';
    assert pg_temp.run_as('anon', null, 'select from rooms') = 'ok 0', 'policy on auth.role()';
    assert exists (select from pg_publication_tables where pubname = 'supabase_realtime' and tablename = 'rooms'), 'published table';
  end if;

  assert pg_temp.run_as('sb_auth', null, 'delete from auth.users') = 'ok 2', 'delete users';
  assert not exists (select from profiles), 'cascade into the project';
end
$$;
