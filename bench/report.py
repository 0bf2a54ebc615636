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

    commit = said("git", "-C", str(HERE), "describe", "--always", "--dirty")
    memory = line("/proc/meminfo", "MemTotal").split()
    return {
        "CPU": f"{line('/proc/cpuinfo', 'model name')}, {len(os.sched_getaffinity(0))} cores",
        "Memory": f"{int(memory[0]) // 2**20} GiB" if memory[0].isdigit() else "unknown",
        "Kernel": platform.release(),
        "sb": f"{said(args.sb, '--version').removeprefix('sb ') or 'not measured'}, sources at {commit or 'unknown'}",
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


def whole(bench, sections, before, after):
    """The report of one run."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = machine(bench.versions, bench.args)
    lines = [f"## {now}", "", *(f"- {k}: {v}" for k, v in facts.items()),
             f"- Load average (1 min): {before:.2f} before, {after:.2f} after",
             f"- Medians of {bench.args.repeats} windows of {bench.args.seconds} s after {bench.args.warmup} s of warm-up;"
             f" {bench.args.connections} connections (password: 4); request logs off on both sides; rate limits off at supython, on but out of reach at sb",
             *(f"- Note: {n}" for n in dict.fromkeys(bench.notes)), "", "\n\n".join(sections), ""]
    return "\n".join(lines)


RESULTS_HEAD = """# Benchmark results

Written by `bench/run.py`, newest first. Every ratio is from one run on one machine.
"""


def write(text, path):
    """Puts a report on top of those already there."""
    old = path.read_text(encoding="utf-8").partition("\n## ") if path.exists() else ("", "", "")
    rest = f"\n## {old[2]}" if old[1] else ""
    path.write_text(RESULTS_HEAD + "\n" + text + rest, encoding="utf-8")
