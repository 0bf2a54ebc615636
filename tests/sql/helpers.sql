-- Placed before each check. Runs a statement as an API role, with claims, and
-- says what happened: 'ok <rows>' or the SQLSTATE. The effects are kept.
create function pg_temp.run_as(role_name text, claims jsonb, statement text)
returns text
language plpgsql
as $$
declare
  affected bigint;
begin
  perform set_config('request.jwt.claims', coalesce(claims::text, ''), true);
  perform set_config('role', role_name, true);
  begin
    execute statement;
    get diagnostics affected = row_count;
  exception
    when others then
      perform set_config('role', 'none', true);
      return sqlstate;
  end;
  perform set_config('role', 'none', true);
  perform set_config('request.jwt.claims', '', true);
  return 'ok ' || affected;
end
$$;

create function pg_temp.is_superuser()
returns boolean
language sql
as $$
  select rolsuper from pg_roles where rolname = current_user
$$;

-- The creator of a role may join it; only these checks need to.
do $$
begin
  if not pg_temp.is_superuser() then
    execute format('grant authenticator, sb_auth to %I', current_user);
  end if;
end
$$;

create function pg_temp.has_event_trigger(name text)
returns boolean
language sql
as $$
  select exists (select from pg_event_trigger where evtname = name)
$$;

create function pg_temp.has_rls(relation regclass)
returns boolean
language sql
as $$
  select relrowsecurity from pg_class where oid = relation
$$;
