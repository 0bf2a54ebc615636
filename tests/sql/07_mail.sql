-- Mail: who reaches what, and that its queue works for an owner who is no superuser.
do $$
declare
  role_name text;
  bad text;
begin
  foreach role_name in array array['anon', 'authenticated', 'authenticator', 'supabase_auth_admin'] loop
    assert pg_temp.run_as(role_name, null, 'select from mail.messages') = '42501', format('%s reads mails', role_name);
    assert pg_temp.run_as(role_name, null, 'select from mail.templates') = '42501', format('%s reads templates', role_name);
    assert pg_temp.run_as(role_name, null, $q$select mail.enqueue('{}', null, 1)$q$) = '42501', format('%s sends mail', role_name);
  end loop;
  assert pg_temp.run_as('service_role', null, 'select from mail.messages') = '42501', 'service_role reads mails';
  assert pg_temp.run_as('service_role', null, $q$insert into mail.templates (name, subject) values ('t', 's')$q$) = 'ok 1', 'service_role adds a template';
  assert pg_temp.run_as('service_role', null, 'delete from mail.templates') = 'ok 1', 'service_role removes a template';
  assert pg_temp.run_as('sb_auth', null, $q$insert into mail.templates (name, subject) values ('t', 's')$q$) = '42501', 'sb_auth writes templates';
  assert pg_temp.run_as('sb_auth', null, 'update mail.messages set text = null') = '42501', 'sb_auth edits mails';

  assert pg_temp.run_as('sb_auth', null, $q$select from mail.enqueue('{"a": 1}', gen_random_uuid(), 4)$q$) = 'ok 1', 'sb_auth sends no mail';
  assert pg_temp.run_as('service_role', null, $q$select from mail.enqueue('{"a": 1}', null, 4)$q$) = 'ok 1', 'service_role sends no mail';
  assert (
    select count(*) = 2
      from jobs.pending p
      where p.name = 'mail.send'
        and p.role = 'service_role'
        and p.payload = '{"a": 1}'
        and p.concurrency_key = 'mail.send'
        and p.concurrency_limit = 4
  ), 'the jobs of mails';
  delete from jobs.pending p
    where p.name = 'mail.send';

  select string_agg(c.oid::regclass::text, ', ') into bad
    from pg_class c
    where c.relnamespace = 'mail'::regnamespace
      and c.relkind in ('r', 'p')
      and not c.relrowsecurity;
  assert bad is null, format('RLS is off: %s', bad);
  select string_agg(p.oid::regprocedure::text, ', ') into bad
    from pg_proc p
    where p.pronamespace = 'mail'::regnamespace
      and p.prosecdef
      and not coalesce('search_path=""' = any (p.proconfig), false);
  assert bad is null, format('definer without search_path: %s', bad);
  assert (select c.relpersistence = 'u' from pg_class c where c.oid = 'mail.messages'::regclass), 'mails reach the log';
end
$$;
