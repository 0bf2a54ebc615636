-- Users, identities, sessions, audit log and keys.
--
-- Table and column names are those Supabase has, because project SQL refers to
-- them. Every table has RLS on and one policy for the roles of the auth service;
-- API roles have no grant on any of them.

-- Who is calling --------------------------------------------------------------

-- The bodies are bound when they are created, so that the search path of the
-- caller cannot redirect an operator, and they can still be inlined into a
-- policy, which a "set search_path" clause would prevent.
-- A setting that was set locally once reads as an empty string afterwards.

create function auth.jwt()
returns jsonb
language sql
stable
parallel safe
return coalesce(
  nullif(current_setting('request.jwt.claims', true), ''),
  nullif(current_setting('request.jwt.claim', true), '')
)::jsonb;

comment on function auth.jwt() is 'Claims of the caller, null without a token.';

create function auth.uid()
returns uuid
language sql
stable
parallel safe
return nullif(
  coalesce(
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub',
    current_setting('request.jwt.claim.sub', true)
  ),
  ''
)::uuid;

comment on function auth.uid() is 'Id of the calling user, null without one.';

create function auth.role()
returns text
language sql
stable
parallel safe
return nullif(
  coalesce(
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role',
    current_setting('request.jwt.claim.role', true)
  ),
  ''
);

comment on function auth.role() is 'Role claim of the caller.';

create function auth.email()
returns text
language sql
stable
parallel safe
return nullif(
  coalesce(
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email',
    current_setting('request.jwt.claim.email', true)
  ),
  ''
);

comment on function auth.email() is 'Email claim of the caller.';

-- Said aloud, since the owner may have revoked the default for functions.
grant execute
  on function auth.jwt(), auth.uid(), auth.role(), auth.email()
  to public;

-- Users -----------------------------------------------------------------------

-- The token columns exist because seeds and triggers written for Supabase name
-- them; the service itself never stores a token here.
create table auth.users (
  instance_id uuid,
  id uuid primary key default gen_random_uuid(),
  aud varchar(255) default 'authenticated',
  role varchar(255) default 'authenticated',
  email varchar(255),
  encrypted_password varchar(255),
  email_confirmed_at timestamptz,
  invited_at timestamptz,
  confirmation_token varchar(255),
  confirmation_sent_at timestamptz,
  recovery_token varchar(255),
  recovery_sent_at timestamptz,
  email_change_token_new varchar(255),
  email_change varchar(255),
  email_change_sent_at timestamptz,
  last_sign_in_at timestamptz,
  raw_app_meta_data jsonb default '{}',
  raw_user_meta_data jsonb default '{}',
  is_super_admin boolean,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  phone text unique,
  phone_confirmed_at timestamptz,
  phone_change text default '',
  phone_change_token varchar(255) default '',
  phone_change_sent_at timestamptz,
  confirmed_at timestamptz generated always as (least(email_confirmed_at, phone_confirmed_at)) stored,
  email_change_token_current varchar(255) default '',
  email_change_confirm_status smallint default 0
    check (email_change_confirm_status between 0 and 2),
  banned_until timestamptz,
  reauthentication_token varchar(255) default '',
  reauthentication_sent_at timestamptz,
  is_sso_user boolean not null default false,
  deleted_at timestamptz,
  is_anonymous boolean not null default false
);

comment on table auth.users is 'Accounts. Written by the auth service.';

-- Accounts from SSO may share an address with an ordinary one.
create unique index users_email_partial_key
  on auth.users (lower(email))
  where not is_sso_user;

-- The list of users is paged in this order.
create index users_created_at_idx
  on auth.users (created_at, id);

-- Identities ------------------------------------------------------------------

create table auth.identities (
  provider_id text not null,
  user_id uuid not null references auth.users (id) on delete cascade,
  identity_data jsonb not null,
  provider text not null,
  last_sign_in_at timestamptz,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  email text generated always as (lower(identity_data ->> 'email')) stored,
  id uuid primary key default gen_random_uuid(),
  constraint identities_provider_id_provider_unique unique (provider_id, provider)
);

comment on table auth.identities is 'Ways in which a user can sign in.';
comment on column auth.identities.provider_id is 'Subject at the provider; the user id for provider email.';

create index identities_user_id_idx
  on auth.identities (user_id);

create index identities_email_idx
  on auth.identities (email text_pattern_ops);

-- Sessions --------------------------------------------------------------------

-- Every refresh updates a row here, and Postgres reads the text of every check
-- anew for each update: only the service writes, so it does the checking.
create table auth.sessions (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  factor_id uuid,
  aal text not null default 'aal1',
  not_after timestamptz,
  refreshed_at timestamptz,
  user_agent text,
  ip inet,
  tag text,
  oauth_client_id uuid,
  scopes text,
  amr jsonb not null default '[]',
  refresh_token_counter bigint not null default 0,
  refresh_token_seen boolean not null default false,
  refresh_token_reuse_count smallint not null default 0
);

comment on table auth.sessions is 'Signed-in devices. Deleting a row ends refresh at once.';
comment on column auth.sessions.amr is 'Authentication methods, [{method, timestamp}], newest first.';
comment on column auth.sessions.refresh_token_counter is 'Counter of the current refresh token; tokens are not stored.';
comment on column auth.sessions.refresh_token_seen is 'The current refresh token, or the access token issued with it, has come back.';
comment on column auth.sessions.refresh_token_reuse_count is 'How often the current token was handed out again.';

-- Serves the list of a user's sessions and the cascade; a refresh touches no
-- indexed column, which keeps the update in place.
create index sessions_user_id_created_at_idx
  on auth.sessions (user_id, created_at);

create index sessions_not_after_idx
  on auth.sessions (not_after)
  where not_after is not null;

-- Audit log -------------------------------------------------------------------

create table auth.audit_log_entries (
  instance_id uuid,
  id uuid primary key default gen_random_uuid(),
  payload json,
  created_at timestamptz default now(),
  ip_address varchar(64) not null default ''
);

comment on table auth.audit_log_entries is 'Append-only: the auth service may insert and select.';

create index audit_log_entries_created_at_idx
  on auth.audit_log_entries (created_at);

-- Signing keys ----------------------------------------------------------------

create table auth.signing_keys (
  kid text primary key
    check (kid <> ''),
  alg text not null
    check (alg in ('RS256', 'ES256')),
  status text not null default 'standby'
    check (status in ('standby', 'active', 'previous', 'revoked')),
  public_jwk jsonb not null,
  private_key bytea,
  created_at timestamptz not null default now(),
  activated_at timestamptz,
  retired_at timestamptz,
  pinned boolean not null default false,
  -- This column is published to the world: no private member of any key type.
  constraint signing_keys_public_jwk_is_public check (
    jsonb_typeof(public_jwk) = 'object'
    and not public_jwk ?| array['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']
  ),
  constraint signing_keys_public_jwk_matches_alg check (
    coalesce(
      case alg
        -- 342 characters of base64url are a modulus of 2048 bits.
        when 'RS256' then public_jwk ->> 'kty' = 'RSA'
          and length(public_jwk ->> 'n') >= 342
          and public_jwk ->> 'e' <> ''
        when 'ES256' then public_jwk ->> 'kty' = 'EC'
          and public_jwk ->> 'crv' = 'P-256'
          and length(public_jwk ->> 'x') = 43
          and length(public_jwk ->> 'y') = 43
      end,
      false
    )
  ),
  constraint signing_keys_public_jwk_kid check (
    coalesce(public_jwk ->> 'kid', kid) = kid
  ),
  constraint signing_keys_active_can_sign check (
    status <> 'active' or private_key is not null
  ),
  constraint signing_keys_revoked_is_wiped check (
    status <> 'revoked' or private_key is null
  )
);

comment on table auth.signing_keys is 'Keys of the token issuer. A write publishes the new key set in the same transaction.';
comment on column auth.signing_keys.private_key is 'Sealed with the master key; null when revoked or imported for verification only.';
comment on column auth.signing_keys.pinned is 'Long-lived API keys carry this kid: never pruned.';

create unique index signing_keys_one_active_key
  on auth.signing_keys (status)
  where status = 'active';

-- API keys --------------------------------------------------------------------

create table auth.api_keys (
  id uuid primary key default gen_random_uuid(),
  name text not null unique
    check (name <> ''),
  type text not null
    check (type in ('publishable', 'secret')),
  -- The less powerful role is what an insert without one gets.
  role text not null default 'anon'
    check (role <> ''),
  hash bytea not null unique
    check (octet_length(hash) = 32),
  prefix text not null,
  created_at timestamptz not null default now(),
  revoked_at timestamptz,
  -- A publishable key stands in web pages.
  constraint api_keys_publishable_is_anon check (
    type <> 'publishable' or role = 'anon'
  )
);

comment on table auth.api_keys is 'Opaque API keys, as SHA-256 only.';
comment on column auth.api_keys.prefix is 'Start of the key, for display.';

-- Publication of keys ---------------------------------------------------------

-- Members are picked one by one: a stray one in the column stays unpublished.
create function sb.public_jwks()
returns jsonb
language sql
stable
security definer
set search_path = ''
as $$
  select jsonb_build_object(
    'keys',
    coalesce(
      jsonb_agg(
        jsonb_strip_nulls(jsonb_build_object(
          'kid', k.kid,
          'alg', k.alg,
          'use', 'sig',
          'key_ops', jsonb_build_array('verify'),
          'kty', k.public_jwk -> 'kty',
          'n', k.public_jwk -> 'n',
          'e', k.public_jwk -> 'e',
          'crv', k.public_jwk -> 'crv',
          'x', k.public_jwk -> 'x',
          'y', k.public_jwk -> 'y'
        ))
        order by k.created_at, k.kid
      ),
      '[]'
    )
  )
  from auth.signing_keys k
  where k.status <> 'revoked'
$$;

-- Rotation reaches PostgREST in the transaction that wrote the key: the role
-- setting and both notifications appear at commit or not at all. With no key
-- left the set is empty, which verifies nothing; a reset would fall back to a
-- secret from PostgREST's own configuration.
-- Also called at start, as a dump does not carry the settings of roles; it does
-- nothing when the set is published already.
create function sb.publish_jwks()
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
  jwks text;
begin
  -- Two writers would otherwise update one row of the catalog at once. The
  -- second one waits here and then reads what the first has committed.
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('sb.publish_jwks', 0));
  jwks := sb.public_jwks()::text;
  if exists (
    select
      from pg_catalog.pg_db_role_setting s
      join pg_catalog.pg_database d
        on d.oid = s.setdatabase
      join pg_catalog.pg_roles r
        on r.oid = s.setrole
      where d.datname = current_database()
        and r.rolname = 'authenticator'
        and 'pgrst.jwt_secret=' || jwks = any (s.setconfig)
  ) then
    return;
  end if;
  perform sb.attempt(
    'pgrst_jwt_secret',
    format('alter role authenticator in database %I set pgrst.jwt_secret = %L', current_database(), jwks),
    'the key set cannot be stored as a setting of authenticator; PostgREST must read it through db-pre-config',
    format(
      'set db-pre-config = "sb.pgrst_pre_config" in PostgREST, or as a superuser: grant set on parameter pgrst.jwt_secret to %I',
      current_user
    )
  );
  notify pgrst, 'reload config';
end
$$;

create function sb.signing_keys_changed()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  perform sb.publish_jwks();
  notify sb_keys;
  return null;
end
$$;

create trigger signing_keys_publish
  after insert or update or delete or truncate
  on auth.signing_keys
  for each statement
  execute function sb.signing_keys_changed();

-- For PostgREST's db-pre-config: the same key set without the right to change a
-- role. PostgREST calls it as authenticator at start and at each config reload.
create function sb.pgrst_pre_config()
returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
  perform pg_catalog.set_config('pgrst.jwt_secret', sb.public_jwks()::text, true);
end
$$;

create function sb.api_keys_changed()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  notify sb_keys;
  return null;
end
$$;

create trigger api_keys_notify
  after insert or update or delete or truncate
  on auth.api_keys
  for each statement
  execute function sb.api_keys_changed();

revoke execute
  on function
    sb.public_jwks(),
    sb.publish_jwks(),
    sb.signing_keys_changed(),
    sb.pgrst_pre_config(),
    sb.api_keys_changed()
  from public;

grant execute
  on function sb.pgrst_pre_config()
  to authenticator;

-- Access ----------------------------------------------------------------------

-- Whatever defaults the owner has, API roles start from nothing here.
revoke all
  on all tables in schema auth
  from public, anon, authenticated, service_role;

grant select, insert, update, delete
  on auth.users, auth.identities, auth.sessions
  to sb_auth;

grant select, insert
  on auth.audit_log_entries
  to sb_auth;

-- Keys are written on the connection of the owner (start, command line, admin
-- console): a flaw in the sign-in routes must not be able to add a key that
-- PostgREST would then trust.
grant select
  on auth.signing_keys, auth.api_keys
  to sb_auth;

-- Project SQL names this role in grants and ownership; it has what it has
-- upstream, save that the audit log stays append-only and keys stay out of reach.
grant all
  on auth.users, auth.identities, auth.sessions
  to supabase_auth_admin;

grant select, insert
  on auth.audit_log_entries
  to supabase_auth_admin;

alter table auth.users enable row level security;
alter table auth.identities enable row level security;
alter table auth.sessions enable row level security;
alter table auth.audit_log_entries enable row level security;
alter table auth.signing_keys enable row level security;
alter table auth.api_keys enable row level security;

-- Grants above say which verbs; a policy per table is simpler to reason about
-- than a role that bypasses RLS everywhere.
create policy auth_service
  on auth.users
  to sb_auth, supabase_auth_admin
  using (true)
  with check (true);

create policy auth_service
  on auth.identities
  to sb_auth, supabase_auth_admin
  using (true)
  with check (true);

create policy auth_service
  on auth.sessions
  to sb_auth, supabase_auth_admin
  using (true)
  with check (true);

create policy auth_service
  on auth.audit_log_entries
  to sb_auth, supabase_auth_admin
  using (true)
  with check (true);

create policy auth_service
  on auth.signing_keys
  for select
  to sb_auth
  using (true);

create policy auth_service
  on auth.api_keys
  for select
  to sb_auth
  using (true);
