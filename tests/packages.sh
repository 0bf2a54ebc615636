#!/usr/bin/env bash
# Installs Debian's packages that some tests need, where that is possible without a question: Postgres 15 with pg_cron, the
# library that gives a process another clock, and a browser. Otherwise it says what to type.
set -euo pipefail

install=()
if [ -z "${SB_TEST_WITHOUT_PG_CRON:-}" ] &&
  { [ ! -e /usr/share/postgresql/15/extension/pg_cron.control ] || [ ! -x /usr/lib/postgresql/15/bin/postgres ]; }; then
  install+=(postgresql-15 postgresql-15-cron)
fi
if [ -z "${SB_TEST_WITHOUT_FAKETIME:-}" ] && ! ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1; then
  install+=(libfaketime)
fi
if [ ! -x "${SB_TEST_CHROMIUM:-/usr/bin/chromium}" ]; then
  install+=(chromium)
fi
[ "${#install[@]}" -gt 0 ] || exit 0

command=(apt-get install -y --no-install-recommends "${install[@]}")
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive "${command[@]}" && exit 0
fi
cat >&2 <<TEXT
The tests need packages: ${install[*]}
  Debian 12: sudo ${command[*]}
  elsewhere, to leave their tests out: export SB_TEST_WITHOUT_PG_CRON=1 SB_TEST_WITHOUT_FAKETIME=1, and
  to use a browser that you have: export SB_TEST_CHROMIUM=/path/of/chromium
TEXT
exit 1
