"""sb's job queue and its peers: how each is run on a fresh database of one Postgres, and `pgbench`."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import systems
from measure import BenchError, processes, tree

SOURCES = Path(__file__).resolve().parent / "jobs"
PEERS = {"graphile-worker": "graphile.mjs", "pg-boss": "pgboss.mjs"}
CONCURRENCY = 10
# Both statements store the same job and are prepared once a connection.
ENQUEUE = {
    "insert": "insert into jobs.pending (name, role, payload) "
              "values ('noop', 'service_role', jsonb_build_object('n', :client_id::int));",
    "enqueue": "select is_new from jobs.enqueue('noop', jsonb_build_object('n', :client_id::int));",
}


def postgres(bench):
    """The folder of a Postgres that has `pgbench`: the one the other scenarios use."""
    if not bench.pg_bin:
        bench.need_sb()
        sb = bench.sb("ES256")
        bench.ended(sb)
        bench.pg_bin = str(sb.pg_bin)
    found = Path(bench.pg_bin) / "pgbench"
    if not found.exists():
        raise BenchError(f"no pgbench in {bench.pg_bin}. Debian, Ubuntu: `apt-get install postgresql`, or use --pg-bin.")
    return bench.pg_bin


class Peers:
    """The npm packages, installed as the lock file says, beside copies of the programs that use them."""

    def __init__(self, folder):
        self.node, npm, self.folder = shutil.which("node"), shutil.which("npm"), Path(folder)
        if not (self.node and npm):
            raise BenchError("`node` and `npm` are not installed: install Node.js 20 or newer, or use --no-peers.")
        self.folder.mkdir(parents=True, exist_ok=True)
        lock, installed = SOURCES / "package-lock.json", self.folder / "installed-lock.json"
        current = installed.exists() and installed.read_bytes() == lock.read_bytes()
        for source in [*SOURCES.glob("*.mjs"), *SOURCES.glob("package*.json"), SOURCES / ".npmrc"]:
            shutil.copy(source, self.folder)
        if not current:
            print(f"installing {', '.join(PEERS)} into {self.folder}", file=sys.stderr)
            done = subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=self.folder, capture_output=True, text=True,
                                  check=False)
            if done.returncode:
                raise BenchError(f"npm ci: {done.stderr.strip()[-1500:]}")
            shutil.copy(lock, installed)
        self.versions = {name: json.loads((self.folder / "node_modules" / name / "package.json").read_text())["version"]
                         for name in PEERS}
        said = subprocess.run([self.node, "--version"], capture_output=True, text=True, check=True)
        self.versions["Node"] = said.stdout.strip().removeprefix("v")

    def run(self, name, cluster, database, jobs):
        return figures(name, [self.node, PEERS[name], cluster.at(database), str(jobs), str(CONCURRENCY)], cluster,
                       self.folder)


def sb(program, cluster, database, jobs, snapshot=0):
    """One run of bench/jobs/sb.rs."""
    command = [program, cluster.at(database), "--jobs", str(jobs), "--concurrency", str(CONCURRENCY)]
    return figures("sb", [*command, "--snapshot", str(snapshot)], cluster, cluster.folder)


def figures(name, command, cluster, folder):
    """What a measuring program prints as its last line."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800, check=False,
                              env=systems.clean_env(PG_PID=str(cluster.process.pid)))
    except subprocess.TimeoutExpired:
        raise BenchError(f"{name} did not end its {command[1:]} within half an hour") from None
    if done.returncode:
        raise BenchError(f"{name}: {(done.stderr or done.stdout).strip()[-1500:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


class Queues(systems.Cluster):
    """One Postgres with its own defaults (fsync on); every run gets a database of its own."""

    def __init__(self, pg_bin, folder):
        super().__init__(pg_bin, folder, {})

    def at(self, database):
        return self.dsn.rpartition("/")[0] + "/" + database

    def fresh(self, database):
        # What vacuum and the checkpointer still owe to the last run is not charged to the next.
        systems.psql(self.psql, self.dsn, f"create database {database}", "checkpoint")
        return database

    def drop(self, database):
        systems.psql(self.psql, self.dsn, f"drop database {database} with (force)")

    def cpu(self):
        """CPU seconds of the whole Postgres so far."""
        table = processes()
        return sum(table[pid].seconds for pid in tree(self.process.pid, table))

    def singles(self, database, way, seconds):
        """One job a statement on ten connections, into an empty queue."""
        systems.psql(self.psql, self.at(database), "truncate jobs.pending")
        script = self.folder / f"{way}.sql"
        script.write_text(ENQUEUE[way] + "\n")
        before = self.cpu()
        done = subprocess.run([self.bin / "pgbench", "-n", "-M", "prepared", "-c", "10", "-j", "1", "-T", str(seconds),
                               "-f", script, self.at(database)], capture_output=True, text=True, env=systems.clean_env(),
                              check=False)
        used = self.cpu() - before
        count = re.search(r"transactions actually processed: (\d+)", done.stdout)
        rate = re.search(r"tps = ([\d.]+) \(without initial", done.stdout)
        if done.returncode or not (count and rate and int(count.group(1))):
            raise BenchError(f"pgbench: {done.stderr.strip()[-1500:]}")
        return {"per_s": float(rate.group(1)), "server_cpu_us": used * 1e6 / int(count.group(1))}
