"""The systems under test: how each is started on a fresh Postgres, spoken to, and ended."""

import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from glob import glob
from pathlib import Path

from measure import BenchError, processes, tree

SUPYTHON = "supython==0.1.16"
PASSWORD = "correct-horse-battery-9"
# Copied from sb's Postgres to supython's, so that both do the same work per commit and query.
SETTINGS = ("autovacuum", "checkpoint_timeout", "commit_delay", "compute_query_id", "effective_cache_size", "fsync",
            "full_page_writes", "huge_pages", "jit", "log_min_duration_statement", "log_statement", "max_connections",
            "max_wal_size", "random_page_cost", "shared_buffers", "shared_preload_libraries", "synchronous_commit",
            "track_activities", "track_io_timing", "wal_compression", "wal_level", "work_mem")


def call(method, url, headers=None, body=None):
    """One HTTP exchange with a JSON answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **(headers or {})}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        text = error.read()[:300].decode(errors="replace")
        raise BenchError(f"{method} {url} was answered {error.code}: {text}") from None


def server_header(url, headers):
    """What the server at `url` calls itself."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return answer.headers.get("server", "unknown")


def until(what, seconds, attempt, process=None, log=None):
    """Calls `attempt` until it returns something."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        if process and process.poll() is not None:
            break
        try:
            if (value := attempt()) is not None:
                return value
        except (OSError, ValueError, BenchError) as error:
            last = error
        time.sleep(0.1)
    tail = "\n" + "".join(Path(log).read_text(errors="replace").splitlines(True)[-15:]) if log and Path(log).exists() else ""
    raise BenchError(f"{what} was not ready after {seconds} s ({last}){tail}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_env(**extra):
    """The environment without what would redirect a system under test."""
    names = ("DATABASE_URL", "POSTGREST_URL", "SUPYTHON_SETTINGS_MODULE", "EXTENSIONS")
    prefixes = ("SB_", "PG", "JWT_", "AUTH_", "DB_", "LOG_", "JOBS_")
    kept = {k: v for k, v in os.environ.items() if k not in names and not k.startswith(prefixes)}
    return {**kept, **extra}


def end(process, grace=20):
    """Ends a process started here and whatever it has left behind: by id, and only ids seen under it."""
    family = tree(process.pid, processes())
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    time.sleep(0.2)
    left = [pid for pid in family if pid != process.pid and Path(f"/proc/{pid}").exists()]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


def psql(program, dsn, *commands):
    """Runs SQL; returns what it prints, unaligned."""
    args = [part for c in commands for part in ("-c", c)]
    done = subprocess.run([program, "-XAtq", "-v", "ON_ERROR_STOP=1", *args, dsn], capture_output=True, text=True,
                          env=clean_env(PGCONNECT_TIMEOUT="10"), check=False)
    if done.returncode:
        raise BenchError(f"psql: {done.stderr.strip()}")
    return done.stdout.strip()


class System:
    """What the scenarios need of any system."""

    name = url = refresh_path = ""
    password_path = "/auth/v1/token?grant_type=password"
    server = postmaster = None  # process ids

    @property
    def address(self):
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def sign_in(self, email):
        body = {"email": email, "password": PASSWORD}
        return call("POST", self.url + self.password_path, self.headers, body)

    def hash_scheme(self):
        """How passwords are hashed, without salt and hash."""
        try:
            text = self.sql("select encrypted_password from auth.users where encrypted_password like '$argon%' limit 1")
        except BenchError:
            text = ""
        return "$".join(text.split("$")[1:4]) or "unknown"

    def sql(self, *commands):
        return psql(self.psql, self.db_url, *commands)


class Sb(System):
    """`sb dev` in a fresh project folder, with its own Postgres and PostgREST."""

    name = "sb"
    refresh_path = "/auth/v1/token?grant_type=refresh_token"

    def __init__(self, binary, folder, alg, pg_bin=None, hashing=None):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.log = self.folder.parent / f"{self.folder.name}.log"
        auth = "".join(f"argon2_{k} = {v}\n" for k, v in (hashing or {}).items())
        # So high that nothing is refused, but on: their cost is part of what is measured.
        auth += "".join(f"rate_limit_{k}_per_window = 1000000\n" for k in ("token", "signup", "refresh"))
        rest_port = free_port()
        stack = f'bin_dir = "{pg_bin}"\n' if pg_bin else ""
        (self.folder / "sb.toml").write_text(
            f'[server]\nport = 0\n\n[jwt]\nalg = "{alg}"\n\n[auth]\n{auth}\n'
            f'[rest]\nport = {rest_port}\n\n[stack]\nport = {free_port()}\n{stack}\n[log]\nlevel = "warn"\n')
        (self.folder / "migrations").mkdir()
        env = clean_env()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([binary, "dev", "--port", "0"], cwd=self.folder, env=env, stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

        def status():
            done = subprocess.run([binary, "status", "--json"], cwd=self.folder, env=env, capture_output=True,
                                  text=True, timeout=20, check=False)
            found = json.loads(done.stdout) if done.returncode == 0 else {}
            if not (found.get("api_url") and found.get("db_url")):
                return None
            call("GET", found["api_url"].rstrip("/") + "/auth/v1/health", {"apikey": found["anon_key"]})
            return found

        try:
            self.status = until("sb", 180, status, self.process, self.log)
            self.url = self.status["api_url"].rstrip("/").replace("localhost", "127.0.0.1")
            self.rest_url = self.status["rest_url"].rstrip("/").replace("localhost", "127.0.0.1")
            if self.rest_url.startswith(self.url):  # the gateway's address; PostgREST itself has the port given above
                self.rest_url = f"http://127.0.0.1:{rest_port}"
            self.db_url = self.status["db_url"]
            self.server = int(self.status["pid"])
            self.headers = {"apikey": self.status["anon_key"]}
            pid_file = glob(str(self.folder / ".sb/**/postmaster.pid"), recursive=True)
            if not pid_file:
                raise BenchError("sb's Postgres was not found: no postmaster.pid below .sb/")
            self.postmaster = int(Path(pid_file[0]).read_text().split()[0])
            self.pg_bin = Path(os.readlink(f"/proc/{self.postmaster}/exe")).parent
            self.psql = find_psql(self.pg_bin)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        return end(self.process)

    def user(self, email):
        key = self.status["service_role_key"]
        return call("POST", self.url + "/auth/v1/admin/users", {"apikey": key, "authorization": f"Bearer {key}"},
                    {"email": email, "password": PASSWORD, "email_confirm": True})

    def settings(self):
        """Its Postgres's values of SETTINGS."""
        names = ",".join(f"'{n}'" for n in SETTINGS)
        lines = self.sql(f"select name || '=' || current_setting(name) from pg_settings where name in ({names})")
        return dict(line.split("=", 1) for line in lines.splitlines())


def find_psql(pg_bin):
    own = Path(pg_bin) / "psql"
    path = str(own) if own.exists() else shutil.which("psql")
    if not path:
        raise BenchError("no `psql` beside Postgres nor in PATH. Debian, Ubuntu: `apt-get install postgresql-client`.")
    return path


class Cluster:
    """A throw-away Postgres on loopback with given settings."""

    def __init__(self, pg_bin, folder, settings):
        self.bin, self.folder, self.port = Path(pg_bin), Path(folder), free_port()
        self.folder.mkdir()
        self.account = {}
        if os.geteuid() == 0:  # Postgres refuses to run as root
            names = {entry.pw_name for entry in pwd.getpwall()}
            owner = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self.account = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        data, self.log = self.folder / "data", self.folder / "log"
        made = subprocess.run([self.bin / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"],
                              cwd=self.folder, capture_output=True, text=True, check=False, **self.account)
        if made.returncode:
            raise BenchError(f"initdb: {made.stderr}")
        given = {**settings, "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        with open(data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.writelines(f"{k} = '{v}'\n" for k, v in given.items())
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", data], cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, env=clean_env(), **self.account)
        self.psql = find_psql(self.bin)
        self.dsn = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        try:
            until("Postgres", 30, lambda: psql(self.psql, self.dsn, "select 1"), self.process, self.log)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        end(self.process)


def has_cron(pg_bin):
    """Whether this Postgres installation has pg_cron."""
    config = Path(pg_bin) / "pg_config"
    if not config.exists():
        return False
    share = subprocess.run([config, "--sharedir"], capture_output=True, text=True, check=False).stdout.strip()
    return bool(share) and (Path(share) / "extension/pg_cron.control").exists()


def system_postgres():
    """A system Postgres that has pg_cron, newest first; both systems then run on it."""
    found = [p for p in glob("/usr/lib/postgresql/*/bin") if (Path(p) / "postgres").exists() and has_cron(p)]
    return max(found, key=lambda p: int(Path(p).parent.name), default=None)


# The migrations create the extension; where it does not exist, this stands in, and the results say so.
CRON_STUB = """
create schema cron;
create table cron.job (jobid bigint, schedule text, command text, nodename text, nodeport int, database text,
                       username text, active boolean, jobname text);
create function cron.schedule(text, text, text) returns bigint language sql as 'select 0::bigint';
create function cron.unschedule(text) returns boolean language sql as 'select true';
"""
MIGRATE = """
import asyncio, pathlib, shutil, sys
from supython import migrate
source, folder = migrate.DEFAULT_MIGRATIONS_DIR, pathlib.Path(sys.argv[1])
shutil.copytree(source, folder)
first = folder / "0001_extensions_and_roles.sql"
if sys.argv[2] == "stub":
    first.write_text(first.read_text().replace("create extension if not exists pg_cron;", ""))
    asyncio.run(migrate.run_migrations(folder))
else:
    later = folder.with_name("later")
    later.mkdir()
    for file in sorted(folder.glob("*.sql"))[1:]:
        file.rename(later / file.name)
    asyncio.run(migrate.run_migrations(folder))
    import asyncpg
    from supython.settings import get_settings
    async def overload():
        db = await asyncpg.connect(get_settings().database_url)
        if not await db.fetchval("select to_regprocedure('cron.unschedule(text)')"):
            await db.execute("create function cron.unschedule(n text) returns boolean language sql "
                             "as 'select cron.unschedule(n::name)'")
        await db.close()
    asyncio.run(overload())
    asyncio.run(migrate.run_migrations(later))
"""


def supython_python(venv):
    """The interpreter of a virtualenv that holds supython; made when missing."""
    python = Path(venv) / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    check = [python, "-c", "import importlib.metadata as m; print(m.version('supython'))"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    if done.stdout.strip() != SUPYTHON.partition("==")[2]:
        print(f"installing {SUPYTHON} into {venv}", file=sys.stderr)
        subprocess.run([python, "-m", "pip", "install", "--quiet", SUPYTHON], check=True)
    return python


class Supython(System):
    """supython under uvicorn (one process, as its scaffold runs it), rate limits off."""

    name = "supython"
    refresh_path = "/auth/v1/refresh"
    headers = {}

    def __init__(self, python, folder, alg, pg_bin, settings):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.cron = "pg_cron" if has_cron(pg_bin) else "stub"
        if self.cron == "pg_cron":
            libraries = [x for x in (settings.get("shared_preload_libraries", ""), "pg_cron") if x]
            settings = {**settings, "shared_preload_libraries": ", ".join(libraries), "cron.database_name": "postgres"}
        self.process = None
        self.cluster = Cluster(pg_bin, self.folder / "pg", settings)
        self.db_url, self.psql = self.cluster.dsn, self.cluster.psql
        try:
            if self.cron == "stub":
                self.sql(CRON_STUB)
            port = free_port()
            env = clean_env(DATABASE_URL=self.db_url, JWT_ALG=alg, JWT_PRIVATE_KEY_PATH="jwt.pem", JWT_JWKS_PATH="jwks.json",
                            AUTH_RATE_LIMIT_ENABLED="false", LOG_LEVEL="WARNING", SITE_URL=f"http://127.0.0.1:{port}")
            self.must([Path(python).parent / "supython", "keygen", "--alg", alg, "--out-private", "jwt.pem",
                       "--out-jwks", "jwks.json"], env)
            self.must([python, "-c", MIGRATE, "migrations", self.cron], env)
            self.log = self.folder / "log"
            with open(self.log, "wb") as log:
                self.process = subprocess.Popen(
                    [python, "-m", "uvicorn", "supython.app:app", "--host", "127.0.0.1", "--port", str(port),
                     "--log-level", "warning", "--no-access-log"],
                    cwd=self.folder, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
            self.url = f"http://127.0.0.1:{port}"
            until("supython", 60, lambda: call("GET", self.url + "/livez") or True, self.process, self.log)
        except BaseException:
            self.stop()
            raise
        self.server, self.postmaster = self.process.pid, self.cluster.process.pid

    def must(self, command, env):
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"supython set-up failed: {done.stderr.strip()[-1500:]}{done.stdout[-500:]}")

    def stop(self):
        left = end(self.process) if self.process else 0
        self.cluster.stop()
        return left

    def user(self, email):
        return call("POST", self.url + "/auth/v1/signup", {}, {"email": email, "password": PASSWORD})


def email():
    return f"bench-{secrets.token_hex(6)}@example.com"
