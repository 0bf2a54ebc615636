-- Rate limits and failed sign-ins.
--
-- Shared by all nodes, and worth nothing after a crash: unlogged. Keys are keyed
-- hashes, so neither an address of a person nor one of a machine can be read
-- here. Expired rows are removed a few at a time by the statements that write.

create unlogged table auth.rate_limits (
  key bytea primary key
    check (octet_length(key) between 1 and 32),
  full_at timestamptz not null
);

comment on table auth.rate_limits is 'Token buckets of clients for actions that are expensive or worth guessing.';
comment on column auth.rate_limits.key is 'Keyed hash of the action, its limit and the client''s address.';
comment on column auth.rate_limits.full_at is 'When the bucket will be full; from then on the row says nothing and is removed.';

create index rate_limits_full_at_idx
  on auth.rate_limits (full_at);

create unlogged table auth.sign_in_failures (
  account bytea not null
    check (octet_length(account) between 1 and 32),
  device bytea not null default ''
    check (octet_length(device) <= 32),
  failures integer not null
    check (failures >= 0),
  pending integer not null
    check (pending >= 0),
  last_failed_at timestamptz not null,
  primary key (account, device)
);

comment on table auth.sign_in_failures is 'Wrong passwords in a row by account, whether or not the account exists.';
comment on column auth.sign_in_failures.account is 'Keyed hash of the address that was typed.';
comment on column auth.sign_in_failures.device is 'Keyed hash of a network in which the account has a session, which is counted apart; empty for all others.';
comment on column auth.sign_in_failures.failures is 'Wrong passwords, and those of which it is not known yet.';
comment on column auth.sign_in_failures.pending is 'How many of them are not known yet.';

create index sign_in_failures_last_failed_at_idx
  on auth.sign_in_failures (last_failed_at);

-- Said aloud, since the owner may have default privileges.
revoke all
  on auth.rate_limits, auth.sign_in_failures
  from public, anon, authenticated, service_role;

grant select, insert, update, delete
  on auth.rate_limits, auth.sign_in_failures
  to sb_auth;

alter table auth.rate_limits enable row level security;
alter table auth.sign_in_failures enable row level security;

create policy auth_service
  on auth.rate_limits
  to sb_auth
  using (true)
  with check (true);

create policy auth_service
  on auth.sign_in_failures
  to sb_auth
  using (true)
  with check (true);
