-- Mail: templates that replace the built-in ones, the development inbox, and the
-- one way in which a mail becomes a job.
--
-- A mail that waits is a job mail.send whose payload is sealed with a key that
-- the database does not have: nobody who reads jobs, or a backup of them, learns
-- a link or a code.

create schema mail;

comment on schema mail is 'Templates and the development inbox. Not exposed through the API.';

revoke all
  on schema mail
  from public;

-- Templates -------------------------------------------------------------------

create table mail.templates (
  name text not null
    check (name ~ '^[a-z0-9_]{1,64}$'),
  language text not null default ''
    check (language ~ '^([a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3})?$'),
  subject text
    check (octet_length(subject) between 1 and 1000 and subject !~ '[\r\n]'),
  html text
    check (octet_length(html) between 1 and 262144),
  text text
    check (octet_length(text) between 1 and 262144),
  updated_at timestamptz not null default now(),
  primary key (name, language),
  check (num_nonnulls(subject, html, text) > 0)
);

comment on table mail.templates is 'Templates of mails. Each part stands for itself: what is null comes from the project''s folder, else it is the built-in one.';
comment on column mail.templates.name is 'confirmation, invite, magic_link, recovery, email_change, reauthentication, or a notice.';
comment on column mail.templates.language is 'A language such as de or pt-BR, for users who have it in their metadata; empty for everybody else.';

-- Development inbox -----------------------------------------------------------

-- Unlogged: links and codes are in clear here, so they shall not reach the
-- write-ahead log and what is made of it.
create unlogged table mail.messages (
  id uuid primary key,
  number bigint not null generated always as identity unique,
  created_at timestamptz not null default now(),
  template text not null,
  sender text not null,
  recipient text not null,
  subject text not null,
  text text not null,
  html text not null
);

comment on table mail.messages is 'What mail.backend = "inbox" keeps instead of sending it.';
comment on column mail.messages.id is 'The mail''s own id: one that is delivered twice is kept once.';
comment on column mail.messages.number is 'The order of arrival.';

-- Sending ---------------------------------------------------------------------

-- Runs as the owner: the auth service and trusted code may add mails to the
-- queue, and nothing else. What is not sealed with the master key is discarded
-- by the handler, so this sends nobody anything that sb did not write.
create function mail.enqueue(letter jsonb, user_id uuid, at_a_time integer)
returns table (id bigint, queue text)
language sql
security definer
set search_path = ''
as $$
  select (e.job).id, (e.job).queue
    from jobs.enqueue(
      name => 'mail.send',
      payload => enqueue.letter,
      user_id => enqueue.user_id,
      concurrency_key => 'mail.send',
      concurrency_limit => enqueue.at_a_time
    ) as e
$$;

comment on function mail.enqueue(jsonb, uuid, integer) is 'Adds a sealed mail to the queue, in the transaction of the caller.';

-- Access ----------------------------------------------------------------------

-- Said aloud, since the owner may have default privileges.
revoke all
  on all tables in schema mail
  from public, anon, authenticated, service_role;

revoke all
  on all sequences in schema mail
  from public, anon, authenticated, service_role;

revoke execute
  on all routines in schema mail
  from public, anon, authenticated, service_role;

grant usage
  on schema mail
  to sb_auth, service_role;

grant select
  on mail.templates
  to sb_auth;

grant select, insert, update, delete
  on mail.templates
  to service_role;

grant select, insert, delete
  on mail.messages
  to sb_auth;

grant execute
  on function mail.enqueue(jsonb, uuid, integer)
  to sb_auth, service_role;

alter table mail.templates enable row level security;
alter table mail.messages enable row level security;

create policy mail_service
  on mail.templates
  for select
  to sb_auth
  using (true);

create policy mail_administration
  on mail.templates
  to service_role
  using (true)
  with check (true);

create policy mail_service
  on mail.messages
  to sb_auth
  using (true)
  with check (true);
