-- Extension in its own schema, identifiers from it, and a published table.

create extension if not exists "uuid-ossp" with schema extensions;

create table public.rooms (
  id uuid primary key default extensions.uuid_generate_v4(),
  other uuid not null default uuid_generate_v4(),
  title text not null,
  owner uuid references auth.users (id) on delete set null
);

alter table public.rooms enable row level security;

create policy "Rooms are for signed-in people"
  on public.rooms
  for all
  to authenticated
  using (auth.role() = 'authenticated')
  with check (auth.role() = 'authenticated');

alter publication supabase_realtime add table public.rooms;
