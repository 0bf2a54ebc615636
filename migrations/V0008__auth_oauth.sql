-- Sign-in with identity providers. What has begun there is in auth.flow_state.

-- ID tokens that a client brought with a nonce, until they expire: a nonce is
-- good once. Logged, since a crash must not make them good again.
create table auth.used_id_tokens (
  hash bytea primary key
    check (octet_length(hash) = 32),
  expires_at timestamptz not null
);

comment on table auth.used_id_tokens is 'ID tokens that were used to sign in, as SHA-256 of issuer and nonce.';

create index used_id_tokens_expires_at_idx
  on auth.used_id_tokens (expires_at);

-- Somebody made an account with an address that is not theirs, and now its
-- owner comes. Whatever could let the other one in again goes: every row of
-- schema auth that belongs to the account. It asks the catalog, so that no table
-- made later is forgotten. Rows of the project stay, and so do address, number
-- and metadata: which of them are the owner's is for the caller to know.
create function auth.forget_credentials(account uuid)
returns void
language plpgsql
set search_path = ''
as $$
declare
  belonging record;
begin
  for belonging in
    select c.conrelid::regclass as relation
         , a.attname as name
      from pg_catalog.pg_constraint c
      join pg_catalog.pg_class r
        on r.oid = c.conrelid
      join pg_catalog.pg_attribute a
        on a.attrelid = c.conrelid
       and a.attnum = c.conkey[1]
     where c.contype = 'f'
       and c.confrelid = 'auth.users'::regclass
       and cardinality(c.conkey) = 1
       and r.relnamespace = 'auth'::regnamespace
     order by c.conrelid::regclass::text
  loop
    execute format('delete from %s where %I = $1', belonging.relation, belonging.name)
      using account;
  end loop;
  update auth.users u
     set encrypted_password = null
       , email_change = null
       , phone_change = ''
   where u.id = account;
end
$$;

comment on function auth.forget_credentials(uuid) is 'Removes every way into an account.';

revoke execute
  on function auth.forget_credentials(uuid)
  from public, anon, authenticated, service_role;

grant execute
  on function auth.forget_credentials(uuid)
  to sb_auth;

-- Said aloud, since the owner may have default privileges.
revoke all
  on auth.used_id_tokens
  from public, anon, authenticated, service_role;

grant select, insert, update, delete
  on auth.used_id_tokens
  to sb_auth;

alter table auth.used_id_tokens enable row level security;

create policy auth_service
  on auth.used_id_tokens
  to sb_auth
  using (true)
  with check (true);
