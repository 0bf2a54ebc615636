-- One-time tokens, sign-ins that span several requests, and the requests for
-- mails.
--
-- What is mailed or handed to a browser is never stored, only what it can be
-- checked with. Expired rows are removed a few at a time by the statements that
-- write.

-- One-time tokens -------------------------------------------------------------

-- A mail carries two independent secrets, a link token and a code that can be
-- typed; one row is both, so that using the one ends the other. There is at most
-- one row for a user and purpose: a newer mail replaces it.
create table auth.one_time_tokens (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  token_type text not null
    check (token_type in (
      'signup', 'invite', 'magiclink', 'recovery', 'email_change_current', 'email_change_new', 'reauthentication',
      'sms', 'phone_change'
    )),
  relates_to text not null
    check (relates_to <> ''),
  token_hash bytea unique
    check (octet_length(token_hash) = 32),
  code_hash bytea
    check (octet_length(code_hash) = 32),
  failed_attempts smallint not null default 0,
  flow_id uuid,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  code_expires_at timestamptz not null,
  expires_at timestamptz not null,
  constraint one_time_tokens_user_id_token_type_key unique (user_id, token_type)
);

comment on table auth.one_time_tokens is 'What was mailed or texted and is not used yet. A row is deleted when it is used.';
comment on column auth.one_time_tokens.relates_to is 'The address or number it was sent to.';
comment on column auth.one_time_tokens.token_hash is 'SHA-256 of the 256-bit token in the link; null when only a code was sent.';
comment on column auth.one_time_tokens.code_hash is 'HMAC of the code with user, purpose and address, under a key that is not in the database; null once it was guessed at too often.';
comment on column auth.one_time_tokens.failed_attempts is 'How often a code was tried.';
comment on column auth.one_time_tokens.flow_id is 'The flow that the link goes on with.';

create index one_time_tokens_relates_to_idx
  on auth.one_time_tokens (relates_to, token_type);

create index one_time_tokens_expires_at_idx
  on auth.one_time_tokens (expires_at);

-- Flows -----------------------------------------------------------------------

-- A sign-in that leaves the application (for a mail, or an identity provider)
-- and comes back to it. Its end is a code, which only the client that knows the
-- verifier can exchange for a session.
create table auth.flow_state (
  id uuid primary key default gen_random_uuid(),
  user_id uuid references auth.users (id) on delete cascade,
  linking_target_id uuid references auth.users (id) on delete cascade,
  provider_type text not null,
  authentication_method text not null,
  code_challenge text,
  code_challenge_method text
    check (code_challenge_method in ('s256', 'plain')),
  redirect_to text not null,
  state_hash bytea unique
    check (octet_length(state_hash) = 32),
  browser_hash bytea
    check (octet_length(browser_hash) = 32),
  secrets bytea,
  auth_code_hash bytea unique
    check (octet_length(auth_code_hash) = 32),
  auth_code_issued_at timestamptz,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  constraint flow_state_challenge_has_method check (
    (code_challenge is null) = (code_challenge_method is null)
  ),
  constraint flow_state_code_has_challenge check (
    auth_code_hash is null or (code_challenge is not null and user_id is not null)
  )
);

comment on table auth.flow_state is 'Sign-ins under way. A row is deleted when its code is exchanged.';
comment on column auth.flow_state.user_id is 'Who signs in, once that is known.';
comment on column auth.flow_state.linking_target_id is 'The signed-in user who adds an identity.';
comment on column auth.flow_state.authentication_method is 'Claim amr of the session to come.';
comment on column auth.flow_state.redirect_to is 'Where the browser is sent in the end; checked against the allow list.';
comment on column auth.flow_state.state_hash is 'SHA-256 of the state parameter that a provider hands back.';
comment on column auth.flow_state.browser_hash is 'SHA-256 of the cookie of the browser that began.';
comment on column auth.flow_state.secrets is 'Sealed with a key that is not in the database: what is needed for, or came from, the provider.';
comment on column auth.flow_state.auth_code_hash is 'SHA-256 of the code that was handed out.';

create index flow_state_expires_at_idx
  on auth.flow_state (expires_at);

-- Serve the cascade.
create index flow_state_user_id_idx
  on auth.flow_state (user_id);

create index flow_state_linking_target_id_idx
  on auth.flow_state (linking_target_id)
  where linking_target_id is not null;

-- Requests for mails ----------------------------------------------------------

-- Whether an address has an account is looked up by a worker, so that the answer
-- to a request cannot tell, not even by its time. The job holds no secret.
create function auth.request_mail(payload jsonb)
returns void
language sql
security definer
set search_path = ''
as $$
  insert into jobs.pending (
    name, payload, queue, user_id, role, claims, max_attempts, backoff, backoff_base_s, backoff_max_s, timeout_s, source
  )
    values (
      'auth.mail', request_mail.payload, 'default', null, 'service_role', '{"role": "service_role"}',
      5, 'exponential', 2, 60, 60, 'auth'
    );
  select pg_catalog.pg_notify('sb_jobs', 'default');
$$;

comment on function auth.request_mail(jsonb) is 'Enqueues job auth.mail in the transaction of the auth service.';

-- Access ----------------------------------------------------------------------

revoke execute
  on function auth.request_mail(jsonb)
  from public, anon, authenticated, service_role;

grant execute
  on function auth.request_mail(jsonb)
  to sb_auth;

-- Said aloud, since the owner may have default privileges.
revoke all
  on auth.one_time_tokens, auth.flow_state
  from public, anon, authenticated, service_role;

grant select, insert, update, delete
  on auth.one_time_tokens, auth.flow_state
  to sb_auth;

alter table auth.one_time_tokens enable row level security;
alter table auth.flow_state enable row level security;

create policy auth_service
  on auth.one_time_tokens
  to sb_auth
  using (true)
  with check (true);

create policy auth_service
  on auth.flow_state
  to sb_auth
  using (true)
  with check (true);
