-- One public profile for each account, created by a trigger on auth.users.

create table public.profiles (
  id uuid not null references auth.users on delete cascade primary key,
  username text unique,
  full_name text,
  avatar_url text,
  updated_at timestamp with time zone,
  constraint username_length check (char_length(username) >= 3)
);

alter table public.profiles enable row level security;

create policy "Profiles are visible to everyone"
  on public.profiles
  for select
  using (true);

create policy "People insert their own profile"
  on public.profiles
  for insert
  with check ((select auth.uid()) = id);

create policy "People update their own profile"
  on public.profiles
  for update
  using ((select auth.uid()) = id);

create function public.handle_new_user()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  insert into public.profiles (id, full_name, avatar_url)
    values (
      new.id,
      new.raw_user_meta_data ->> 'full_name',
      new.raw_user_meta_data ->> 'avatar_url'
    );
  return new;
end;
$$;

create trigger on_auth_user_created
  after insert on auth.users
  for each row execute procedure public.handle_new_user();

-- Upper case and a grant to the usual roles, as such files have them.
GRANT ALL ON TABLE "public"."profiles" TO "anon";
GRANT ALL ON TABLE "public"."profiles" TO "authenticated";
GRANT ALL ON TABLE "public"."profiles" TO "service_role";
ALTER FUNCTION public.handle_new_user() OWNER TO current_user;
REVOKE EXECUTE ON FUNCTION public.handle_new_user() FROM public, anon, authenticated;
