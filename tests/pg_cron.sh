#!/usr/bin/env bash
# Installs what the test of pg_cron needs, Debian's package for Postgres 15, where that is possible without a question.
# Otherwise it says what to type.
set -euo pipefail

[ -z "${SB_TEST_WITHOUT_PG_CRON:-}" ] || exit 0
[ ! -e /usr/share/postgresql/15/extension/pg_cron.control ] || [ ! -x /usr/lib/postgresql/15/bin/postgres ] || exit 0

install=(apt-get install -y --no-install-recommends postgresql-15 postgresql-15-cron)
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive "${install[@]}" && exit 0
fi
cat >&2 <<TEXT
The test of pg_cron needs Postgres 15 with that extension.
  Debian 12: sudo ${install[*]}
  elsewhere, to leave that test out: export SB_TEST_WITHOUT_PG_CRON=1
TEXT
exit 1
