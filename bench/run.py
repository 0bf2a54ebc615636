#!/usr/bin/env python3
"""Benchmarks of `sb`, each printed as a ratio measured within this one run.

  gateway   a single-row read through sb against the same PostgREST asked directly
  auth      CPU per request (server and Postgres) of three endpoints, sb against supython
  logins    sign-ins a second against bare Argon2, and how long others wait meanwhile
  jobs      sb's job queue beside graphile-worker and pg-boss, on one Postgres

Writes a readable report to RESULTS.md beside this file and the raw figures to target/bench/. Loopback only.
"""

import argparse
import concurrent.futures
import datetime
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import queues
import report
import systems
from measure import BenchError, Meter, chains, paced, require_wrk, wrk
from systems import Sb, Supython, until

HERE = Path(__file__).resolve().parent
ALGORITHMS = ("RS256", "ES256")
# argon2-cffi's defaults, which supython uses: what sb is set to for the like-for-like row.
SUPYTHON_HASHING = {"memory_kib": 65536, "iterations": 3, "parallelism": 4}


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, Path(work)
        self.folders, self.raw, self.notes = 0, [], []
        self.pg_bin = args.pg_bin or systems.system_postgres()
        self.versions = {}

    # -- helpers

    def folder(self, name):
        self.folders += 1
        return self.work / f"{self.folders}-{name}"

    def keep(self, **row):
        row["load1"] = os.getloadavg()[0]
        self.raw.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)

    def sb(self, alg, **options):
        system = Sb(self.args.sb, self.folder(f"sb-{alg}"), alg, self.pg_bin, **options)
        self.versions["Postgres"] = system.sql("show server_version")
        return system

    def need_sb(self):
        if not Path(self.args.sb).exists():
            raise BenchError(f"{self.args.sb} does not exist: build it first (cargo build --release)")

    def ended(self, system):
        if left := system.stop():
            self.notes.append(f"{system.name} left {left} processes behind when it was asked to end; they were killed")

    # -- scenarios

    def gateway(self):
        sb = self.sb("RS256")
        try:
            sb.sql("create table public.bench_items (id int primary key, name text not null, price numeric)",
                   "insert into public.bench_items select i, 'item ' || i, i / 7.0 from generate_series(1, 10000) i",
                   "alter table public.bench_items enable row level security",
                   "create policy bench_read on public.bench_items for select using (true)",
                   "grant select on public.bench_items to anon, authenticated", "vacuum analyze public.bench_items",
                   "notify pgrst, 'reload schema'")
            address = systems.email()
            sb.user(address)
            keys = {"anon key": sb.status["anon_key"], "user token": sb.sign_in(address)["access_token"]}
            meter, rows = Meter(sb.server, sb.postmaster), {}
            for label, key in keys.items():
                head = {"apikey": sb.status["anon_key"], "Authorization": f"Bearer {key}"}
                rows[label] = self.in_turns(sb, meter, label, head)
            return rows
        finally:
            self.ended(sb)

    def in_turns(self, sb, meter, label, head):
        """Windows of direct and gateway reads, alternating."""
        path = "/bench_items?id=eq.4711"
        urls = {"direct": sb.rest_url.removesuffix("/rest/v1") + path, "gateway": sb.url + "/rest/v1" + path}
        for url in urls.values():
            until("the table", 20, lambda url=url: systems.call("GET", url, head) or None)
            wrk(url, head, 16, self.args.warmup)
        self.versions["PostgREST"] = systems.server_header(urls["direct"], head).removeprefix("postgrest/")
        runs = {"direct": [], "gateway": []}
        for repeat in range(self.args.repeats or 5):
            for way, url in urls.items():
                window = meter.window(lambda url=url: wrk(url, head, 16, self.args.seconds))
                runs[way].append(window)
                self.keep(bench="gateway", key=label, way=way, repeat=repeat, **report.flat(window))
        return runs

    def endpoints(self, system, alg, wanted=tuple(report.ENDPOINTS), label=None):
        """Three endpoints of one running system; a list of windows for each."""
        meter, out = Meter(system.server, system.postmaster), {}
        people = [systems.email() for _ in range(self.args.connections)]
        for person in people:
            system.user(person)
        sessions = [{"email": p, **system.sign_in(p)} for p in people]
        bearer = {**system.headers, "Authorization": f"Bearer {sessions[0]['access_token']}"}

        def login(session):
            return system.password_path, {"email": session["email"], "password": systems.PASSWORD}

        def renew(session):
            return system.refresh_path, {"refresh_token": session["refresh_token"]}

        loads = {
            "user": lambda n: wrk(system.url + "/auth/v1/user", bearer, self.args.connections, n),
            "password": lambda n: chains(*system.address, system.headers, n, [dict(s) for s in sessions[:4]], login),
            "refresh": lambda n: chains(*system.address, system.headers, n, sessions, renew),
        }
        for endpoint in wanted:
            loads[endpoint](self.args.warmup)
            out[endpoint] = []
            for repeat in range(self.args.repeats or 5):
                window = meter.window(lambda e=endpoint: loads[e](self.args.seconds))
                out[endpoint].append(window)
                self.keep(bench="auth", system=label or system.name, alg=alg, endpoint=endpoint, repeat=repeat,
                          **report.flat(window))
        out["hash"] = system.hash_scheme()
        return out

    def auth(self, with_sb=True):
        results, settings = {}, {}
        for alg in ALGORITHMS if not self.args.alg else (self.args.alg,):
            if with_sb:
                sb = self.sb(alg)
                try:
                    settings = sb.settings()
                    found = sb.pg_bin
                    results["sb", alg] = self.endpoints(sb, alg)
                finally:
                    self.ended(sb)
            else:
                found = self.pg_bin
            if self.args.no_supython:
                continue
            python = systems.supython_python(self.args.supython_venv)
            other = Supython(python, self.folder(f"supython-{alg}"), alg, found, settings)
            self.versions["Postgres"] = other.sql("show server_version")
            self.versions["supython"] = systems.SUPYTHON.partition("==")[2]
            try:
                results["supython", alg] = self.endpoints(other, alg)
                if other.cron == "stub":
                    self.notes.append("supython's Postgres has no pg_cron: a stub schema `cron` stood in, "
                                      "which nothing measured calls")
            finally:
                self.ended(other)
        if with_sb and not self.args.no_supython:
            alg = self.args.alg or "RS256"
            sb = self.sb(alg, hashing=SUPYTHON_HASHING)
            try:
                results[report.SAME_HASH, alg] = self.endpoints(sb, alg, ("password",), report.SAME_HASH)
            finally:
                self.ended(sb)
        return results

    def logins(self, connections=50, rate=100):
        """In turns: Argon2 alone on all cores, sign-ins on many connections, and `GET /user` at an even pace without them,
        beside them, and beside bare Argon2 on all cores: what the machine makes anybody wait who shares it."""
        args = self.args
        if not Path(args.bench_argon2).exists():
            raise BenchError(f"{args.bench_argon2} does not exist: build it first (cargo build --release --examples)")
        sb = self.sb("RS256")
        try:
            people = [systems.email() for _ in range(connections)]
            for person in people:
                sb.user(person)
            token = sb.sign_in(people[0])["access_token"]
            bearer = {**sb.headers, "Authorization": f"Bearer {token}"}
            costs = dict(part.split("=") for part in sb.hash_scheme().split("$")[2].split(","))
            meter, out = Meter(sb.server, sb.postmaster), {way: [] for way in ("argon2", "logins", "idle", "busy", "beside")}

            def ask(seconds):
                # In a process of its own, which shares no interpreter lock with the one that signs in.
                with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                    return process.submit(paced, *sb.address, "/auth/v1/user", bearer, seconds, rate).result()

            def argon2(seconds):
                found = subprocess.run([args.bench_argon2, costs["m"], costs["t"], costs["p"], str(os.cpu_count()), str(seconds)],
                                       capture_output=True, text=True, check=True, start_new_session=True)
                found = json.loads(found.stdout)
                return found["hashes"] / found["seconds"]

            def ask_beside(work):
                with concurrent.futures.ThreadPoolExecutor() as pool:
                    load = pool.submit(work, args.seconds + 2)
                    time.sleep(1)
                    return ask(args.seconds), load.result()

            def sign_in(seconds):
                states = [{"email": p} for p in people]
                return chains(*sb.address, sb.headers, seconds, states,
                              lambda s: (sb.password_path, {"email": s["email"], "password": systems.PASSWORD}), keep=True)

            ask(args.warmup)
            for repeat in range(args.repeats or 5):
                out["argon2"].append(argon2(args.seconds))
                out["idle"].append(ask(args.seconds))
                out["busy"].append(ask_beside(argon2)[0])
                for way, found in zip(("beside", "logins"), ask_beside(lambda s: meter.window(lambda: sign_in(s)))):
                    out[way].append(found)
                self.keep(bench="logins", repeat=repeat, argon2_per_s=out["argon2"][-1],
                          **{f"{way}_{k}": v for way in ("logins", "idle", "busy", "beside")
                             for k, v in report.flat(out[way][-1]).items()})
            return {**out, "connections": connections, "rate": rate, "hash": sb.hash_scheme()}
        finally:
            self.ended(sb)

    def jobs(self):
        """The queues in turns, each run on a fresh database; what only sb is asked after its first and last run."""
        args = self.args
        if not Path(args.bench_jobs).exists():
            raise BenchError(f"{args.bench_jobs} does not exist: build it first "
                             "(cargo build --release --example bench_jobs)")
        peers = None if args.no_peers else queues.Peers(HERE.parent / "target/bench/jobs")
        names = ["sb", *(() if args.no_peers else queues.PEERS)]
        cluster = queues.Queues(queues.postgres(self), self.folder("jobs"))
        runs, singles, repeats = {name: [] for name in names}, {way: [] for way in queues.ENQUEUE}, args.repeats or 3
        try:
            self.versions["Postgres"] = systems.psql(cluster.psql, cluster.dsn, "show server_version")
            for repeat in range(repeats):
                shift = repeat % len(names)  # nobody always runs after the same one
                for name in names[shift:] + names[:shift]:
                    database = cluster.fresh(f"run_{repeat}_{names.index(name)}")
                    if name == "sb":
                        held = args.snapshot if repeat == repeats - 1 else 0
                        found = queues.sb(args.bench_jobs, cluster, database, args.jobs, held)
                    else:
                        found = peers.run(name, cluster, database, args.jobs)
                    runs[name].append(found)
                    self.keep(**{**found, "bench": "jobs", "system": name, "repeat": repeat})
                    if name == "sb" and repeat == 0:
                        self.singles(cluster, database, singles)
                    cluster.drop(database)
        finally:
            cluster.stop()
        self.versions.setdefault("sb", runs["sb"][0]["version"])
        return {"runs": runs, "singles": singles, "jobs": args.jobs, "snapshot": args.snapshot,
                "versions": peers.versions if peers else {}}

    def singles(self, cluster, database, windows):
        """Enqueue and the bare insert, alternating."""
        for repeat in range(self.args.repeats or 5):
            for way in windows:
                window = cluster.singles(database, way, self.args.seconds)
                windows[way].append(window)
                self.keep(bench="jobs", way=way, repeat=repeat, **window)


def main():
    root = HERE.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("what", nargs="?", choices=("gateway", "auth", "logins", "jobs"), help="default: all")
    add("--sb", default=str(root / "target/release/sb"), help="the program (default: %(default)s)")
    add("--bench-jobs", default=str(root / "target/release/examples/bench_jobs"),
        help="the program that measures sb's queue (default: %(default)s)")
    add("--bench-argon2", default=str(root / "target/release/examples/bench_argon2"),
        help="the program that measures bare Argon2 (default: %(default)s)")
    add("--pg-bin", help="folder with initdb and postgres for all systems (default: a system one with pg_cron, else sb's)")
    add("--supython-venv", default=str(root / "target/bench/supython"), help="virtualenv, made when missing")
    add("--no-supython", action="store_true", help="measure sb alone")
    add("--only-supython", action="store_true", help="measure supython alone, without sb")
    add("--alg", choices=ALGORITHMS, help="one algorithm instead of both")
    add("--seconds", type=int, default=5, help="length of a window (default: %(default)s)")
    add("--warmup", type=int, default=2, help="seconds of load before the first window (default: %(default)s)")
    add("--repeats", type=int, help="windows of each kind (default: 5), runs of each queue (default: 3)")
    add("--connections", type=int, default=16, help="of the auth scenarios (default: %(default)s)")
    add("--jobs", type=int, default=100_000, help="that each queue drains (default: %(default)s)")
    add("--snapshot", type=int, default=60, help="seconds an old snapshot is held while sb works (default: %(default)s)")
    add("--no-peers", action="store_true", help="measure sb's queue alone")
    add("--no-write", action="store_true", help="print the report, leave RESULTS.md alone")
    add("--keep", action="store_true", help="keep the work folder (logs, clusters)")
    args = parser.parse_args()
    args.sb = str(Path(shutil.which(args.sb) or args.sb).resolve())
    args.supython_venv = str(Path(args.supython_venv).resolve())

    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, _: sys.exit(128 + number))
    work = tempfile.mkdtemp(prefix="sb-bench-")
    os.chmod(work, 0o755)  # a cluster's owner may be another account
    code = 1
    try:
        bench = Bench(args, work)
        if args.what != "jobs":
            require_wrk()
            if not args.only_supython:
                bench.need_sb()
        if args.only_supython and not bench.pg_bin:
            raise BenchError("--only-supython needs --pg-bin")
        if bench.pg_bin:
            systems.find_psql(bench.pg_bin)
        before, sections = os.getloadavg()[0], []
        if args.what in (None, "gateway") and not args.only_supython:
            sections.append(report.gateway(bench.gateway()))
        if args.what in (None, "auth"):
            sections.append(report.auth(bench.auth(with_sb=not args.only_supython)))
        if args.what in (None, "logins") and not args.only_supython:
            sections.append(report.logins(bench.logins()))
        if args.what in (None, "jobs") and not args.only_supython:
            sections.append(report.jobs(bench.jobs()))
        text = report.whole(bench, sections, before, os.getloadavg()[0])
        print(text)
        raw = root / "target/bench" / f"raw-{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S}.jsonl"
        raw.parent.mkdir(parents=True, exist_ok=True)
        raw.write_text("".join(json.dumps(row) + "\n" for row in bench.raw), encoding="utf-8")
        if not args.no_write:
            write = report.write if args.what is None else report.replace
            write(text, HERE / "RESULTS.md")
        code = 0
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    except SystemExit as stop:  # SIGTERM, SIGHUP: everything started has been ended on the way here
        code = stop.code
    except Exception:
        traceback.print_exc()
    finally:
        if any(Path(work).iterdir()) and (args.keep or code in (1, 2)):
            print(f"bench: logs are kept in {work}", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
