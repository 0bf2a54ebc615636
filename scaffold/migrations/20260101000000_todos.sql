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
