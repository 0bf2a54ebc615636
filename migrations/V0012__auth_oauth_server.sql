-- The OAuth 2.1 and OpenID Connect provider: clients, authorizations, consents.
--
-- Names are those Supabase has. Secrets and codes are stored as hashes only. The
-- sessions of clients are rows of auth.sessions with their oauth_client_id.

create table auth.oauth_clients (
  id uuid primary key default gen_random_uuid(),
  client_secret_hash text,
  registration_type text not null
    check (registration_type in ('manual', 'dynamic')),
  client_type text not null
    check (client_type in ('public', 'confidential')),
  token_endpoint_auth_method text not null
    check (token_endpoint_auth_method in ('none', 'client_secret_basic', 'client_secret_post')),
  redirect_uris text[] not null
    check (cardinality(redirect_uris) between 1 and 10),
  grant_types text[] not null
    check (grant_types <@ array['authorization_code', 'refresh_token'] and cardinality(grant_types) > 0),
  client_name text
    check (char_length(client_name) <= 1024),
  client_uri text
    check (char_length(client_uri) <= 2048),
  logo_uri text
    check (char_length(logo_uri) <= 2048),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- A client that can keep a secret has one and shows it; another has none.
  constraint oauth_clients_secret_fits_type check (
    (client_type = 'confidential') = (client_secret_hash is not null)
  ),
  constraint oauth_clients_method_fits_type check (
    (client_type = 'public') = (token_endpoint_auth_method = 'none')
  )
);

comment on table auth.oauth_clients is 'Services that sign people in through this project. The id is the client_id.';
comment on column auth.oauth_clients.client_secret_hash is 'SHA-256 of the secret, which has 256 random bits and is shown once.';
comment on column auth.oauth_clients.registration_type is 'Made by an admin, or by itself.';

create index oauth_clients_created_at_idx
  on auth.oauth_clients (created_at, id);

create table auth.oauth_authorizations (
  id uuid primary key default gen_random_uuid(),
  authorization_id text not null unique
    check (char_length(authorization_id) <= 255),
  client_id uuid not null references auth.oauth_clients (id) on delete cascade,
  user_id uuid references auth.users (id) on delete cascade,
  redirect_uri text not null
    check (char_length(redirect_uri) <= 2048),
  scope text not null
    check (char_length(scope) <= 4096),
  state text
    check (char_length(state) <= 4096),
  nonce text
    check (char_length(nonce) <= 255),
  resource text
    check (char_length(resource) <= 2048),
  code_challenge text not null
    check (char_length(code_challenge) = 43),
  code_challenge_method text not null default 's256'
    check (code_challenge_method = 's256'),
  response_type text not null default 'code'
    check (response_type = 'code'),
  needs_consent boolean not null default false,
  status text not null default 'pending'
    check (status in ('pending', 'approved', 'denied', 'exchanged')),
  authorization_code text unique
    check (char_length(authorization_code) = 43),
  auth_time timestamptz,
  session_id uuid,
  created_at timestamptz not null default now(),
  approved_at timestamptz,
  expires_at timestamptz not null
);

comment on table auth.oauth_authorizations is 'Requests of clients to sign somebody in, kept for a day beyond their end to notice a code that comes twice.';
comment on column auth.oauth_authorizations.user_id is 'Who opened the request first; nobody else may decide it.';
comment on column auth.oauth_authorizations.needs_consent is 'The client wants the user to be asked although there is a consent.';
comment on column auth.oauth_authorizations.authorization_code is 'SHA-256 of the code.';
comment on column auth.oauth_authorizations.auth_time is 'When the user who approved had signed in.';
comment on column auth.oauth_authorizations.session_id is 'What the code was exchanged for.';
comment on column auth.oauth_authorizations.expires_at is 'Until then a pending request can be decided, and the code of an approved one exchanged.';

create index oauth_authorizations_expires_at_idx
  on auth.oauth_authorizations (expires_at);

create index oauth_authorizations_client_id_idx
  on auth.oauth_authorizations (client_id);

create index oauth_authorizations_user_id_idx
  on auth.oauth_authorizations (user_id)
  where user_id is not null;

create table auth.oauth_consents (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  client_id uuid not null references auth.oauth_clients (id) on delete cascade,
  scopes text not null
    check (char_length(scopes) between 1 and 4096),
  granted_at timestamptz not null default now(),
  revoked_at timestamptz,
  constraint oauth_consents_user_client_unique unique (user_id, client_id)
);

comment on table auth.oauth_consents is 'What users have granted to clients.';

create index oauth_consents_client_id_idx
  on auth.oauth_consents (client_id);

-- Sessions of clients ---------------------------------------------------------

-- No foreign key: a client that is deleted takes its sessions along by statement,
-- and every refresh of every other session would pay for the trigger.
set local lock_timeout = '10s';

alter table auth.sessions
  add column oauth_resource text;

comment on column auth.sessions.oauth_client_id is 'The OAuth client whose session it is; only it can refresh.';
comment on column auth.sessions.scopes is 'What the OAuth client was granted.';
comment on column auth.sessions.oauth_resource is 'The resource (RFC 8707) the tokens of the OAuth client are for.';

create index sessions_oauth_client_id_idx
  on auth.sessions (oauth_client_id, user_id)
  where oauth_client_id is not null;

-- Access ----------------------------------------------------------------------

-- Said aloud, since the owner may have default privileges.
revoke all
  on auth.oauth_clients, auth.oauth_authorizations, auth.oauth_consents
  from public, anon, authenticated, service_role;

grant select, insert, update, delete
  on auth.oauth_clients, auth.oauth_authorizations, auth.oauth_consents
  to sb_auth;

alter table auth.oauth_clients enable row level security;
alter table auth.oauth_authorizations enable row level security;
alter table auth.oauth_consents enable row level security;

create policy auth_service
  on auth.oauth_clients
  to sb_auth
  using (true)
  with check (true);

create policy auth_service
  on auth.oauth_authorizations
  to sb_auth
  using (true)
  with check (true);

create policy auth_service
  on auth.oauth_consents
  to sb_auth
  using (true)
  with check (true);
