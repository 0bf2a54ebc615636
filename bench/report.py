"""Turns the windows of a run into the report that RESULTS.md keeps."""

import datetime
import os
import platform
import statistics
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENDPOINTS = {"user": "GET /auth/v1/user", "password": "POST /auth/v1/token (password)",
             "refresh": "POST /auth/v1/token (refresh)"}
SAME_HASH = "sb at supython's hash cost"


def flat(window):
    """A window as plain figures."""
    return {"requests": window.requests, "rps": round(window.rps, 1), "p50_ms": round(window.p50_ms, 3),
            "p99_ms": round(window.p99_ms, 3), **{f"{k}_cpu_ms": round(window.ms(k), 4) for k in window.cpu}}


def machine(versions, args):
    """What the figures depend on."""
    def line(path, key):
        try:
            for text in Path(path).read_text(encoding="utf-8").splitlines():
                if text.startswith(key):
                    return text.partition(":")[2].strip()
        except OSError:
            pass
        return "unknown"

    def said(*command):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return ""
        return done.stdout.strip().partition("\n")[0]

    versions = dict(versions)
    program = said(args.sb, "--version").removeprefix("sb ") or versions.pop("sb", "not measured")
    versions.pop("sb", None)
    commit = said("git", "-C", str(HERE), "describe", "--always", "--dirty")
    memory = line("/proc/meminfo", "MemTotal").split()
    return {
        "CPU": f"{line('/proc/cpuinfo', 'model name')}, {len(os.sched_getaffinity(0))} cores",
        "Memory": f"{int(memory[0]) // 2**20} GiB" if memory[0].isdigit() else "unknown",
        "Kernel": platform.release(),
        "sb": f"{program}, sources at {commit or 'unknown'}",
        **versions,
        "Python": platform.python_version(),
        "wrk": said("sh", "-c", "wrk -v 2>&1 | head -n1").split("[")[0].replace("wrk", "").strip(),
    }


def table(head, rows):
    """A Markdown table; columns after the first are right-aligned."""
    widths = [max(len(str(r[i])) for r in [head, *rows]) for i in range(len(head))]

    def line(first, *others):
        cells = [str(first).ljust(widths[0]), *(str(c).rjust(w) for c, w in zip(others, widths[1:], strict=True))]
        return f"| {' | '.join(cells)} |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:])])
    return "\n".join([line(*head), f"|{rule}|", *(line(*r) for r in rows)])


def middle(windows, get):
    """Median of one figure."""
    return statistics.median(get(w) for w in windows)


def gateway(rows):
    """Section of the gateway scenario."""
    head = ["signed with", "direct req/s", "through sb req/s", "ratio", "direct p50 ms", "sb p50 ms", "CPU ms/req: sb",
            "PostgREST", "Postgres"]
    body = []
    for label, runs in rows.items():
        rps = {way: middle(windows, lambda w: w.rps) for way, windows in runs.items()}
        p50 = {way: middle(windows, lambda w: w.p50_ms) for way, windows in runs.items()}
        cost = [middle(runs["gateway"], lambda w, part=part: w.ms(part)) for part in ("server", "postgrest", "postgres")]
        body.append([label, f"{rps['direct']:.0f}", f"{rps['gateway']:.0f}", f"{rps['gateway'] / rps['direct']:.2f}",
                     f"{p50['direct']:.2f}", f"{p50['gateway']:.2f}", *(f"{c:.3f}" for c in cost)])
    return "### Gateway: one row by primary key, 16 connections\n\n" + table(head, body)


def auth(results):
    """Section of the auth scenarios; keys of `results` are (system, algorithm)."""
    head = ["endpoint, algorithm", "sb", "+ Postgres", "= sb all", "supython", "+ Postgres", "= supython all", "ratio",
            "req/s sb", "supython"]
    body = []

    def figures(key, endpoint):
        if key not in results:
            return None
        windows = results[key][endpoint]
        parts = (("server", "postgrest"), ("postgres",), ("server", "postgrest", "postgres"))
        return [*(middle(windows, lambda w, p=p: w.ms(*p)) for p in parts), middle(windows, lambda w: w.rps)]

    def row(title, ours, theirs):
        cells = [title]
        for one in (ours, theirs):
            cells += [f"{v:.3f}" for v in one[:3]] if one else ["–"] * 3
        cells.append(f"{theirs[2] / ours[2]:.1f}×" if ours and theirs else "–")
        body.append([*cells, *(f"{one[3]:.0f}" if one else "–" for one in (ours, theirs))])

    algorithms = list(dict.fromkeys(alg for _, alg in results))
    for endpoint, title in ENDPOINTS.items():
        for alg in algorithms:
            row(f"{title}, {alg}", figures(("sb", alg), endpoint), figures(("supython", alg), endpoint))
    for name, alg in results:
        if name == SAME_HASH:
            row(f"{ENDPOINTS['password']}, {alg}, same hash cost", figures((name, alg), "password"),
                figures(("supython", alg), "password"))
    hashes = "; ".join(f"{name} `{results[name, alg]['hash']}`" for name, alg in results if alg == algorithms[0])
    return "\n".join(["### CPU per request, ms (server process tree + Postgres process tree)", "", table(head, body), "",
                      f"Password hashes: {hashes}.",
                      "The request rates share the machine with the load client; compare CPU first."])


def logins(found):
    """Section of the logins scenario."""
    bare = statistics.median(found["argon2"])
    rate, cost = middle(found["logins"], lambda w: w.rps), middle(found["logins"], lambda w: w.ms("server"))
    parts = [f"### Sign-ins on {found['connections']} connections, and who else asks meanwhile", "",
             table(["", "a second", "of bare Argon2", "CPU ms of sb each"],
                   [["bare Argon2, all cores", f"{bare:.0f}", "–", f"{os.cpu_count() * 1000 / bare:.1f}"],
                    ["sign-ins", f"{rate:.0f}", f"{rate / bare:.0%}", f"{cost:.1f}"]]), ""]
    body = [[title, *(f"{middle(found[way], get):.1f}" for get in (lambda w: w.p50_ms, lambda w: w.p99_ms))]
            for way, title in (("idle", "nobody signs in"), ("busy", "bare Argon2 on all cores, by a program of its own"),
                               ("beside", f"{found['connections']} sign in without pause"))]
    parts += [table([f"GET /auth/v1/user, {found['rate']} a second", "p50 ms", "p99 ms"], body), "",
              f"Hash: `{found['hash']}`. Load client, Postgres and sb share the cores."]
    return "\n".join(parts)


def jobs(found):
    """Section of the jobs scenario."""
    runs, versions = found["runs"], found["versions"]
    median = {name: {key: middle(each, lambda run, key=key: run[key]) for key in each[0] if is_figure(each[0][key])}
              for name, each in runs.items()}
    ours = median["sb"]
    peers = ", ".join(f"{name} {versions[name]}" for name in runs if name in versions)
    parts = ["### Jobs: drain, enqueue, latency, an old snapshot", "",
             f"{found['jobs']} no-op jobs, concurrency 10, medians of {len(runs['sb'])} runs in turns, each on a fresh "
             "database of one Postgres with its own defaults (fsync on)."
             + (f" Beside sb: {peers} on Node {versions['Node']}, in batches." if peers else ""), ""]

    def compared(name, key):
        return f"{ours[key] / median[name][key]:.2f}×" if name != "sb" else "–"

    body = []
    for name, m in median.items():
        cost = [m[key] * 1e6 / found["jobs"] for key in ("client_cpu_s", "server_cpu_s")]
        body.append([name, f"{m['drain_per_cpu_s']:.0f}", compared(name, "drain_per_cpu_s"), f"{m['drain_per_s']:.0f}",
                     compared(name, "drain_per_s"), *(f"{c:.1f}" for c in cost)])
    parts += [table(["drain", "jobs per CPU-s", "sb : peer", "jobs/s", "sb : peer", "CPU µs/job: client", "Postgres"], body),
              "", "CPU: the worker's process and all of Postgres, until the last completion is written.", ""]

    rates = {way: (middle(windows, lambda w: w["per_s"]), middle(windows, lambda w: w["server_cpu_us"]))
             for way, windows in found["singles"].items()}
    titles = {"insert": "bare insert into the same table", "enqueue": "`jobs.enqueue`"}
    body = [[titles[way], f"{rate:.0f}", f"{rate / rates['insert'][0]:.0%}", f"{cost:.1f}",
             f"{cost / rates['insert'][1]:.2f}×"] for way, (rate, cost) in rates.items()]
    windows = len(found["singles"]["insert"])
    parts += [table(["enqueue, one a statement", "jobs/s", "of the insert", "Postgres CPU µs/job", "of the insert"], body), "",
              f"pgbench, ten connections, prepared, medians of {windows} windows in turns.", ""]

    body = [["sb, in process" if name == "sb" else name, *(f"{m[f'latency_{p}_ms']:.1f}" for p in ("p50", "p99"))]
            for name, m in median.items()]
    body.insert(1, ["sb, from SQL with wake-up", *(f"{ours[f'latency_sql_{p}_ms']:.1f}" for p in ("p50", "p99"))])
    parts += [table(["enqueue to handler start, idle worker", "p50 ms", "p99 ms"], body), ""]

    if steady := runs["sb"][-1].get("steady_per_s"):
        held = runs["sb"][-1]["steady_held_per_s"]
        body = [[title, f"{statistics.median(rates):.0f}", " ".join(f"{rate:.0f}" for rate in rates)]
                for title, rates in (("no snapshot held", steady), (f"held for {found['snapshot']} s", held))]
        parts += [table(["sb: enqueue and drain together", "median jobs/s", "by windows of 5 s"], body), "",
                  f"Last window held, of the median without: {held[-1] / statistics.median(steady):.0%}."]
    return "\n".join(parts).rstrip()


def is_figure(value):
    return isinstance(value, int | float)


def whole(bench, sections, before, after):
    """The report of one run."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = machine(bench.versions, bench.args)
    lines = [f"## {now}", "", *(f"- {k}: {v}" for k, v in facts.items()),
             f"- Load average (1 min): {before:.2f} before, {after:.2f} after",
             *windows(bench.args),
             *(f"- Note: {n}" for n in dict.fromkeys(bench.notes)), "", "\n\n".join(sections), ""]
    return "\n".join(lines)


def windows(args):
    """How the scenarios with a load client were measured."""
    if args.what == "jobs":
        return []
    return [f"- Gateway and auth: medians of {args.repeats or 5} windows of {args.seconds} s after {args.warmup} s of warm-up; "
            f"{args.connections} connections (password: 4); request logs off on both sides; rate limits off at supython, "
            "on but out of reach at sb"]


RESULTS_HEAD = """# Benchmark results

Written by `bench/run.py`, newest first. Every ratio is from one run on one machine.
"""


def write(text, path):
    """Puts a report on top of those already there."""
    old = path.read_text(encoding="utf-8").partition("\n## ") if path.exists() else ("", "", "")
    rest = f"\n## {old[2]}" if old[1] else ""
    path.write_text(RESULTS_HEAD + "\n" + text + rest, encoding="utf-8")


def replace(text, path):
    """Puts the section of a run of one scenario into the newest report, in place of the one there, with the facts of
    its own run."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    head, found, reports = old.partition("\n## ")
    if not found:
        return write(text, path)
    newest, more, older = reports.partition("\n## ")
    facts, *sections = newest.rstrip().split("\n\n### ")
    own, section = text.rstrip().split("\n\n### ")
    date, *own = own.splitlines()
    section += f"\n\nMeasured apart from the rest, {date.removeprefix('## ')}. " + "; ".join(
        line.removeprefix("- ") for line in own if line) + "."
    titles = [each.partition("\n")[0] for each in sections]
    title = section.partition("\n")[0]
    if title in titles:
        sections[titles.index(title)] = section
    else:
        sections.append(section)
    path.write_text(head + found + "\n\n### ".join([facts, *sections]) + "\n" + more + older, encoding="utf-8")
    return None
