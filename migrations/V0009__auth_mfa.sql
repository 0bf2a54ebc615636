-- Second factors, recovery codes and passkeys.
--
-- Table and column names are those Supabase has, because project SQL refers to
-- them. What proves a factor (sealed secrets, keyed hashes, credentials, the
-- state of a challenge) is for the auth service alone.

-- Adding a column without a default is quick, but must not queue behind a long
-- transaction and stop every sign-in meanwhile.
set local lock_timeout = '5s';

create type auth.factor_type as enum ('totp', 'webauthn', 'phone', 'recovery_code');
create type auth.factor_status as enum ('unverified', 'verified');
create type auth.aal_level as enum ('aal1', 'aal2', 'aal3');

-- Factors ---------------------------------------------------------------------

create table auth.mfa_factors (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  friendly_name text,
  factor_type auth.factor_type not null,
  status auth.factor_status not null default 'unverified',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  secret text,
  phone text,
  last_challenged_at timestamptz,
  web_authn_credential jsonb,
  web_authn_aaguid uuid,
  last_step bigint,
  sign_count bigint not null default 0,
  failures integer not null default 0
    check (failures >= 0),
  last_failed_at timestamptz
);

comment on table auth.mfa_factors is 'Second factors. Written by the auth service.';
comment on column auth.mfa_factors.secret is 'Of an authenticator app: sealed with a key that is not in the database.';
comment on column auth.mfa_factors.web_authn_credential is 'Public key and state of an authenticator.';
comment on column auth.mfa_factors.last_step is 'Time step of the last code that was accepted; none up to it is again.';
comment on column auth.mfa_factors.sign_count is 'Signature counter of an authenticator; one that does not grow is a copy.';
comment on column auth.mfa_factors.failures is 'Wrong codes in a row.';

create index mfa_factors_user_id_idx
  on auth.mfa_factors (user_id);

create unique index mfa_factors_user_friendly_name_unique
  on auth.mfa_factors (user_id, friendly_name)
  where btrim(friendly_name) <> '';

create unique index mfa_factors_one_set_of_recovery_codes
  on auth.mfa_factors (user_id)
  where factor_type = 'recovery_code';

create table auth.mfa_challenges (
  id uuid primary key default gen_random_uuid(),
  factor_id uuid not null references auth.mfa_factors (id) on delete cascade,
  session_id uuid not null,
  created_at timestamptz not null default now(),
  verified_at timestamptz,
  ip_address inet,
  otp_code text,
  web_authn_session_data jsonb
);

comment on table auth.mfa_challenges is 'Questions put to a factor; each is good for one session, once, for five minutes.';
comment on column auth.mfa_challenges.otp_code is 'Keyed hash of a code that was sent to a phone.';
comment on column auth.mfa_challenges.web_authn_session_data is 'What the answer of an authenticator is checked against.';

create index mfa_challenges_factor_id_created_at_idx
  on auth.mfa_challenges (factor_id, created_at);

create table auth.mfa_recovery_codes (
  factor_id uuid not null references auth.mfa_factors (id) on delete cascade,
  code_hash bytea not null
    check (octet_length(code_hash) = 32),
  used_at timestamptz,
  primary key (factor_id, code_hash)
);

comment on table auth.mfa_recovery_codes is 'One-time codes for who has lost the other factors, as keyed hashes.';

-- The methods of a session live in its row; this is the shape of Supabase.
create view auth.mfa_amr_claims
with (security_invoker = true) as
select s.id as session_id
     , to_timestamp((claim.value ->> 'timestamp')::double precision) as created_at
     , to_timestamp((claim.value ->> 'timestamp')::double precision) as updated_at
     , claim.value ->> 'method' as authentication_method
     , md5(s.id::text || claim.ordinality)::uuid as id
  from auth.sessions s
 cross join lateral jsonb_array_elements(s.amr) with ordinality claim;

comment on view auth.mfa_amr_claims is 'Authentication methods of sessions, one a row.';

-- Passkeys --------------------------------------------------------------------

create table auth.webauthn_credentials (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  credential_id bytea not null unique,
  credential jsonb not null,
  sign_count bigint not null default 0,
  friendly_name text
    check (char_length(friendly_name) <= 120),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  last_used_at timestamptz
);

comment on table auth.webauthn_credentials is 'Passkeys: ways to sign in without a password.';
comment on column auth.webauthn_credentials.credential_id is 'Under which the authenticator knows it.';
comment on column auth.webauthn_credentials.credential is 'Public key and state.';
comment on column auth.webauthn_credentials.sign_count is 'Signature counter; one that does not grow is a copy.';

create index webauthn_credentials_user_id_idx
  on auth.webauthn_credentials (user_id);

-- Answered within minutes or never, and worth nothing after a crash.
create unlogged table auth.webauthn_challenges (
  id uuid primary key default gen_random_uuid(),
  user_id uuid,
  session_id uuid,
  challenge_type text not null
    check (challenge_type in ('registration', 'authentication')),
  session_data jsonb not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);

comment on table auth.webauthn_challenges is 'Questions put to passkeys; each is good for one purpose, once.';
comment on column auth.webauthn_challenges.user_id is 'Who registers a passkey; nobody is known yet where one signs in.';

create index webauthn_challenges_expires_at_idx
  on auth.webauthn_challenges (expires_at);

-- The factors of a user, where they are read with it ----------------------------

-- Every read of a user and every refresh shows its factors, and most users have
-- none: a column that is null costs those statements nothing, a second table
-- would cost each of them a look.
alter table auth.users
  add column factors jsonb;

comment on column auth.users.factors is 'What clients see of the rows of auth.mfa_factors; kept by a trigger there.';

-- Locks the user before it reads: of two transactions that change factors of
-- one user the second then sees what the first has done.
create function sb.mfa_factors_changed()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
  owner_id uuid := coalesce(new.user_id, old.user_id);
begin
  perform
    from auth.users u
   where u.id = owner_id
     for no key update;
  update auth.users u
     set factors = (
           select jsonb_agg(
                    jsonb_strip_nulls(jsonb_build_object(
                      'id', f.id,
                      'friendly_name', nullif(f.friendly_name, ''),
                      'factor_type', f.factor_type,
                      'status', f.status,
                      'phone', f.phone,
                      'created_at', f.created_at,
                      'updated_at', f.updated_at,
                      'last_challenged_at', f.last_challenged_at
                    ))
                    order by f.created_at, f.id
                  )
             from auth.mfa_factors f
            where f.user_id = owner_id
         )
   where u.id = owner_id;
  return null;
end
$$;

revoke execute
  on function sb.mfa_factors_changed()
  from public;

create trigger mfa_factors_publish
  after insert or delete or update of friendly_name, status, phone, last_challenged_at, updated_at
  on auth.mfa_factors
  for each row
  execute function sb.mfa_factors_changed();

-- For policies ----------------------------------------------------------------

-- Bound and inlined like auth.uid(); a claim that is missing proves nothing.
create function auth.require_aal(level text)
returns boolean
language sql
stable
parallel safe
return coalesce(
  coalesce(
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'aal',
    'aal1'
  ) >= $1
  and $1 in ('aal1', 'aal2', 'aal3'),
  false
);

comment on function auth.require_aal(text) is 'Whether the caller''s session has at least this authenticator assurance level, for policies: auth.require_aal(''aal2'').';

create function auth.require_fresh(within interval)
returns boolean
language sql
stable
parallel safe
return coalesce(
  to_timestamp(
    (nullif(current_setting('request.jwt.claims', true), '')::jsonb -> 'amr' -> 0 ->> 'timestamp')::double precision
  ) > now() - $1,
  false
);

comment on function auth.require_fresh(interval) is 'Whether the caller has proven who it is within this time (password, code, second factor), for policies: auth.require_fresh(''5 minutes'').';

-- Said aloud, since the owner may have revoked the default for functions.
grant execute
  on function auth.require_aal(text), auth.require_fresh(interval)
  to public;

-- Access ----------------------------------------------------------------------

-- Whatever defaults the owner has, API roles start from nothing here.
revoke all
  on auth.mfa_factors, auth.mfa_challenges, auth.mfa_recovery_codes, auth.mfa_amr_claims,
     auth.webauthn_credentials, auth.webauthn_challenges
  from public, anon, authenticated, service_role;

grant select, insert, update, delete
  on auth.mfa_factors, auth.mfa_challenges, auth.mfa_recovery_codes,
     auth.webauthn_credentials, auth.webauthn_challenges
  to sb_auth;

grant select
  on auth.mfa_amr_claims
  to sb_auth, supabase_auth_admin;

-- Project SQL reads who has which factor, and takes one away; it does not make
-- one, nor see what answers to challenges are checked against.
grant select, delete
  on auth.mfa_factors, auth.webauthn_credentials
  to supabase_auth_admin;

alter table auth.mfa_factors enable row level security;
alter table auth.mfa_challenges enable row level security;
alter table auth.mfa_recovery_codes enable row level security;
alter table auth.webauthn_credentials enable row level security;
alter table auth.webauthn_challenges enable row level security;

create policy auth_service
  on auth.mfa_factors
  to sb_auth, supabase_auth_admin
  using (true)
  with check (true);

create policy auth_service
  on auth.mfa_challenges
  to sb_auth
  using (true)
  with check (true);

create policy auth_service
  on auth.mfa_recovery_codes
  to sb_auth
  using (true)
  with check (true);

create policy auth_service
  on auth.webauthn_credentials
  to sb_auth, supabase_auth_admin
  using (true)
  with check (true);

create policy auth_service
  on auth.webauthn_challenges
  to sb_auth
  using (true)
  with check (true);
