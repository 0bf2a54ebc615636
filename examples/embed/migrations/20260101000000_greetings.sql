create schema embed;

create sequence embed.greetings;

-- The API roles may greet but not read the sequence.
create function embed.greet()
returns bigint
language sql
security definer
set search_path = ''
as $$
  select nextval('embed.greetings')
$$;

grant usage on schema embed to anon, authenticated, service_role;
