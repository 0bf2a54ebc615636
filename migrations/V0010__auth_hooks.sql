-- Synchronous auth hooks, and accounts without an address.
--
-- A hook is a function of the project that the auth service asks before it goes
-- on. It runs with the rights of supabase_auth_admin, to which projects written
-- for Supabase grant what their hooks need. The service does not lend it its own
-- connection: sb_hooks is a login of its own that may become that role and
-- nothing else, so that neither "reset role" nor a flaw in a hook reaches the
-- keys, codes and counters that sb_auth can read.

do $$
begin
  if not exists (
    select
      from pg_catalog.pg_roles r
      where r.rolname = 'sb_hooks'
  ) then
    create role sb_hooks login noinherit;
  end if;
exception
  -- Roles belong to the cluster: another database may be doing the same.
  when duplicate_object or unique_violation then
    null;
end
$$;

do $$
declare
  -- Since 16 a membership says whether it is inherited and allows set role.
  membership text := 'grant supabase_auth_admin to sb_hooks'
    || case
      when current_setting('server_version_num')::int >= 160000 then ' with inherit false, set true'
      else ''
    end;
begin
  if not exists (
    select
      from pg_catalog.pg_auth_members am
      join pg_catalog.pg_roles granted
        on granted.oid = am.roleid
      join pg_catalog.pg_roles member
        on member.oid = am.member
      where granted.rolname = 'supabase_auth_admin'
        and member.rolname = 'sb_hooks'
        and coalesce((pg_catalog.to_jsonb(am) ->> 'set_option')::boolean, true)
  ) then
    perform sb.attempt(
      'membership_supabase_auth_admin_sb_hooks',
      membership,
      'role sb_hooks cannot become supabase_auth_admin, so Postgres functions cannot be auth hooks',
      format('as a superuser: %s', membership)
    );
  end if;
  perform sb.attempt(
    'setting_sb_hooks_' || v.setting,
    format('alter role sb_hooks set %I = %L', v.setting, v.value),
    format('role sb_hooks has no %s', v.setting),
    format('as the creator of the role: alter role sb_hooks set %I = %L', v.setting, v.value)
  )
    from (values
      ('statement_timeout', '2s'),
      ('lock_timeout', '2s'),
      ('idle_in_transaction_session_timeout', '10s')
    ) as v (setting, value)
    join pg_catalog.pg_roles r
      on r.rolname = 'sb_hooks'
    where not exists (
      select
        from unnest(r.rolconfig) as c
        where c like v.setting || '=%'
    );
  if not pg_catalog.has_database_privilege('sb_hooks', current_database(), 'connect') then
    perform sb.attempt(
      'database_connect_sb_hooks',
      format('grant connect on database %I to sb_hooks', current_database()),
      'sb_hooks may not connect to this database',
      format('as the owner of the database: grant connect on database %I to sb_hooks', current_database())
    );
  end if;
end
$$;

-- Nor may a hook leave a trigger behind: that would run in the name of sb_auth
-- with the next sign-in.
revoke trigger
  on auth.users, auth.identities, auth.sessions
  from supabase_auth_admin;

-- Anonymous accounts ----------------------------------------------------------

-- An account stops being anonymous with its first confirmed address, whichever
-- flow confirms it.
create function sb.end_anonymity()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  new.is_anonymous := false;
  return new;
end
$$;

revoke execute
  on function sb.end_anonymity()
  from public;

create trigger end_anonymity
  before update of email_confirmed_at, phone_confirmed_at
  on auth.users
  for each row
  when (new.is_anonymous and (new.email_confirmed_at is not null or new.phone_confirmed_at is not null))
  execute function sb.end_anonymity();

-- Whoever cleans up accounts that were left behind looks for them by age.
create index users_is_anonymous_idx
  on auth.users (created_at)
  where is_anonymous;
