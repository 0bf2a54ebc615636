#!/bin/sh
# Applies the framework's schema to two fresh databases of one cluster and runs
# every check of this folder.
#
#   tests/sql/run.sh 'postgresql://owner@127.0.0.1:5432/postgres'
#
# The role needs createdb and createrole, or superuser. The databases are dropped
# at the end; the roles stay, since other databases may use them. Needs psql only.
set -eu

dsn=${1:?usage: run.sh PSQL_DSN}
cd "$(dirname "$0")"
migrations=../../migrations
one=sb_check_$$_one
two=sb_check_$$_two
log=$(mktemp -d)

# The database of a connection string cannot be overridden from outside, but a
# session can move on with the same host, user and password.
run() {
  database=$1
  { printf '\\set QUIET on\n\\connect "%s"\n' "$database"; cat; } |
    psql -X -q -A -t -v ON_ERROR_STOP=1 "$dsn"
}

cleanup() {
  psql -X -q "$dsn" -c "drop database if exists $one" -c "drop database if exists $two" >/dev/null 2>&1 || true
  rm -rf "$log"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

# One transaction per file, as the runner does it.
migrate() {
  for file in "$migrations"/V*.sql; do
    { echo 'set client_min_messages = warning;'; echo 'begin;'; cat "$file"; echo; echo 'commit;'; } | run "$1" || return 1
  done
  echo "select sb.set_default_grants('supabase');" | run "$1"
}

check() {
  printf '%s' "$1: "
  { echo 'set client_min_messages = warning;'; cat helpers.sql "$1"; } | run "$2" >/dev/null
  echo ok
}

echo "server $(psql -X -q -A -t "$dsn" -c "select current_setting('server_version') || case when rolsuper then ', superuser' else ', owner without superuser' end from pg_roles where rolname = current_user")"
psql -X -q "$dsn" -c "create database $one" -c "create database $two"

# Both at once: roles belong to the cluster.
printf 'two databases at once: '
migrate "$one" >"$log/one" 2>&1 &
first=$!
migrate "$two" >"$log/two" 2>&1 &
second=$!
wait $first || { cat "$log/one"; exit 1; }
wait $second || { cat "$log/two"; exit 1; }
echo ok

# A notification is printed by psql after the statement that caused it.
printf 'notifications: '
run "$one" >"$log/notify" <<'SQL'
listen pgrst;
listen sb_keys;
\echo -- create table
create table public.t (id int);
\echo -- temporary table
create temp table scratch (id int);
drop table scratch;
\echo -- grant
grant select on public.t to anon;
\echo -- drop
drop table public.t;
\echo -- api key
insert into auth.api_keys (name, type, hash, prefix) values ('k', 'secret', sha256('k'), 'k');
delete from auth.api_keys;
\echo -- signing key
begin;
insert into auth.signing_keys (kid, alg, public_jwk)
  values ('k', 'ES256', jsonb_build_object('kty', 'EC', 'crv', 'P-256', 'x', repeat('A', 43), 'y', repeat('B', 43)));
delete from auth.signing_keys;
commit;
\echo -- rolled back
begin;
insert into auth.signing_keys (kid, alg, public_jwk)
  values ('k', 'ES256', jsonb_build_object('kty', 'EC', 'crv', 'P-256', 'x', repeat('A', 43), 'y', repeat('B', 43)));
rollback;
SQL
# Channel and payload under their headings, on one line.
seen=$(sed -n -e 's/^-- \(.*\)/[\1]/p' -e 's/^Asynchronous notification "\([a-z_]*\)" with payload "\(.*\)" received.*/\1:\2/p' \
  -e 's/^Asynchronous notification "\([a-z_]*\)" received.*/\1/p' "$log/notify" | tr '\n' ' ')
if [ "$(echo "select count(*) from pg_event_trigger where evtname like 'sb_pgrst_%'" | run "$one")" = 2 ]; then
  reload='pgrst:reload schema '
else
  reload=''
fi
expected="[create table] ${reload}[temporary table] [grant] [drop] ${reload}[api key] sb_keys sb_keys [signing key] pgrst:reload config sb_keys [rolled back] "
if [ "$seen" != "$expected" ]; then
  printf 'failed\n  expected %s\n  seen     %s\n' "$expected" "$seen"
  exit 1
fi
echo ok

check 01_roles.sql "$one"
check 02_leaks.sql "$one"
check 03_claims.sql "$one"
check 04_keys.sql "$one"

has_uuid_ossp=$(echo "select count(*) from pg_extension where extname = 'uuid-ossp'" | run "$one")
for file in supabase_like/*.sql; do
  case $file in
    *uuid_ossp*)
      if [ "$has_uuid_ossp" = 0 ]; then
        echo "$file: skipped, the server has no uuid-ossp"
        continue
      fi
      ;;
    *dump_owner*)
      if [ "$(echo "select pg_has_role('postgres', 'member')" | run "$one")" = f ]; then
        echo "$file: skipped, role postgres belongs to somebody else"
        continue
      fi
      ;;
  esac
  printf '%s' "$file: "
  {
    echo 'set client_min_messages = warning; begin; select sb.begin_migration();'
    cat "$file"
    echo "; select sb.set_default_grants('supabase'); commit;"
  } | run "$one" >/dev/null
  echo ok
done
check 05_supabase_like.sql "$one"
check 06_default_grants.sql "$one"
check 07_mail.sql "$one"

# The second database is untouched by what happened in the first.
check 01_roles.sql "$two"
check 02_leaks.sql "$two"
echo "all checks passed"
