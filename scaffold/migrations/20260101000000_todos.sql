-- One todo list per user, kept apart by the database itself.
--
-- `sb dev` applies this file and every new one beside it. An applied file is not edited any more: to change the
-- table, add a file with a later timestamp, for example 20260102090000_todos_due_date.sql.

create table public.todos (
  id bigint generated always as identity primary key,
  title text not null
    check (title <> ''),
  done boolean not null default false,
  -- Whoever inserts a row owns it: auth.uid() is the id of the signed-in user.
  user_id uuid not null default auth.uid()
    references auth.users (id) on delete cascade,
  created_at timestamptz not null default now()
);

-- Every query of a user goes through the policies below, and so through this column.
create index todos_user_id_idx
  on public.todos (user_id);

-- Row level security is on for every new table: without a policy, nobody sees a row.
alter table public.todos enable row level security;

-- `using` says which rows a user can see, change and delete; `with check` says which rows may be written.
-- `(select auth.uid())` is asked once per statement; a bare `auth.uid()` would be asked once per row.
create policy "Users see their own todos"
  on public.todos
  for select
  to authenticated
  using (user_id = (select auth.uid()));

create policy "Users add their own todos"
  on public.todos
  for insert
  to authenticated
  with check (user_id = (select auth.uid()));

create policy "Users change their own todos"
  on public.todos
  for update
  to authenticated
  using (user_id = (select auth.uid()))
  with check (user_id = (select auth.uid()));

create policy "Users delete their own todos"
  on public.todos
  for delete
  to authenticated
  using (user_id = (select auth.uid()));

-- A background job: a todo that is still open after a day is marked.
--
-- A job named sql:public.remind calls this function, as the user who enqueued it, so the policies above hold here too.
-- It may be called twice when a machine fails in between: write such functions so that a second call does no harm.
alter table public.todos
  add column reminded_at timestamptz;

create function public.remind(payload jsonb)
returns void
language sql
as $$
  update public.todos t
    set reminded_at = now()
    where t.id = (payload ->> 'todo')::bigint
      and not t.done
$$;

-- The job is enqueued in the transaction that adds the todo: both are kept or neither.
create function public.remind_later()
returns trigger
language plpgsql
as $$
begin
  perform jobs.enqueue(
    'sql:public.remind',
    jsonb_build_object('todo', new.id),
    delay => interval '1 day'
  );
  return null;
end
$$;

create trigger remind_later
  after insert
  on public.todos
  for each row
  execute function public.remind_later();

-- Users enqueue nothing unless a policy lets them.
create policy "Users are reminded of their todos"
  on jobs.pending
  for insert
  to authenticated
  with check (name = 'sql:public.remind');
