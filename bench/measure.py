"""Load clients and CPU accounting. Nothing here knows which system is measured."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field

TICK = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The run cannot go on; the text is for the person who started it."""


def require_wrk():
    """Path of `wrk`, or an error that says how to get it."""
    path = shutil.which("wrk")
    if not path:
        raise BenchError("`wrk` is not installed. Debian, Ubuntu: `apt-get install wrk`; macOS: `brew install wrk`.")
    return path


# --- processes ---------------------------------------------------------------------------------------------


@dataclass
class Stat:
    """One process as `/proc/<pid>/stat` tells it."""

    pid: int
    parent: int
    name: str
    seconds: float


def processes():
    """All processes. `seconds` counts the process and the children it has waited for, so that no work of a
    short-lived child gets lost between two samples."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                head, _, rest = file.read().rpartition(")")
        except OSError:
            continue
        rest = rest.split()
        ticks = sum(int(rest[i]) for i in (11, 12, 13, 14))
        found[int(entry)] = Stat(int(entry), int(rest[1]), head.partition("(")[2], ticks / TICK)
    return found


def tree(root, table):
    """Ids of `root` and its descendants."""
    children = {}
    for stat in table.values():
        children.setdefault(stat.parent, []).append(stat.pid)
    out, todo = [], [root] if root in table else []
    while todo:
        pid = todo.pop()
        out.append(pid)
        todo += children.get(pid, [])
    return out


def cpu(server, postmaster):
    """CPU seconds so far: the server's tree (a PostgREST child apart) and Postgres's tree."""
    table = processes()
    database = set(tree(postmaster, table))
    used = {"server": 0.0, "postgrest": 0.0, "postgres": sum(table[p].seconds for p in database)}
    for pid in tree(server, table):
        if pid not in database:
            used["postgrest" if table[pid].name.startswith("postgrest") else "server"] += table[pid].seconds
    # A server that has waited for a whole cluster carries its CPU; both samples hold it, so differences do not.
    return used


# --- results -----------------------------------------------------------------------------------------------


@dataclass
class Window:
    """One stretch of load: how many requests, how fast, what they cost."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu: dict = field(default_factory=dict)

    @property
    def rps(self):
        return self.requests / self.seconds

    def ms(self, *parts):
        """CPU milliseconds per request of the named parts."""
        return sum(self.cpu[p] for p in parts) * 1000 / self.requests


class Meter:
    """Runs load and charges the CPU spent meanwhile to it."""

    def __init__(self, server, postmaster):
        self.server, self.postmaster = server, postmaster

    def window(self, load):
        before = cpu(self.server, self.postmaster)
        result = load()
        time.sleep(0.3)  # requests that wrk abandons at the end are still worked on
        after = cpu(self.server, self.postmaster)
        result.cpu = {k: after[k] - before[k] for k in after}
        return result


# --- clients -----------------------------------------------------------------------------------------------

UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def wrk(url, headers, connections, seconds):
    """GET `url` as fast as it goes. Any answer other than 2xx or 3xx voids the run."""
    command = [require_wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    out = subprocess.run([*command, url], capture_output=True, text=True, check=False)
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", out.stdout)
    if not total or total.group(1) == "0":
        raise BenchError(f"wrk got no answer from {url}:\n{out.stdout}{out.stderr}")
    if bad := re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: .*", out.stdout):
        raise BenchError(f"{url}: {bad.group(0)}")
    latency = {q: float(v) * UNITS[u] for q, v, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s|m)\b", out.stdout)}
    seconds = float(total.group(2)) * UNITS[total.group(3)] / 1000
    return Window(int(total.group(1)), seconds, latency["50"], latency["99"])


class Connection:
    """One kept-alive HTTP/1.1 connection to a loopback address, just enough for JSON answers."""

    def __init__(self, host, port):
        self.host, self.port, self.reader, self.writer = host, port, None, None

    async def post(self, path, headers, body):
        return await self.send("POST", path, headers, json.dumps(body).encode())

    async def send(self, method, path, headers, data=b""):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.host}:{self.port}", "content-type: application/json",
                 f"content-length: {len(data)}", *(f"{k}: {v}" for k, v in headers.items())]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        fields = dict(line.lower().split(":", 1) for line in head.split("\r\n")[1:] if ":" in line)
        if "chunked" in fields.get("transfer-encoding", ""):
            answer = b""
            while size := int((await self.reader.readline()).split(b";")[0], 16):
                answer += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
        else:
            answer = await self.reader.readexactly(int(fields.get("content-length", "0")))
        if "close" in fields.get("connection", ""):
            self.close()
        return status, answer

    def close(self):
        if self.writer:
            self.writer.close()
            self.writer = None


def paced(host, port, path, headers, seconds, rate):
    """GET `path` `rate` times a second on one connection, each at its time: how long an answer takes when nobody is in a
    hurry. A request that could not begin in time counts from when it should have."""
    times = []

    async def everything():
        connection = Connection(host, port)
        begin = time.perf_counter()
        try:
            for number in range(seconds * rate):
                due = begin + number / rate
                await asyncio.sleep(max(0, due - time.perf_counter()))
                status, answer = await connection.send("GET", path, headers)
                if status != 200:
                    raise BenchError(f"GET {path} was answered {status}: {answer[:300].decode(errors='replace')}")
                times.append(time.perf_counter() - due)
        finally:
            connection.close()

    start = time.perf_counter()
    asyncio.run(everything())
    return summary(times, time.perf_counter() - start)


def summary(times, seconds):
    times.sort()
    if not times:
        raise BenchError("no request was answered within the window")
    p50, p99 = (times[min(len(times) - 1, int(q * len(times)))] * 1000 for q in (0.50, 0.99))
    return Window(len(times), seconds, p50, p99)


def chains(host, port, headers, seconds, states, step, keep=False):
    """One connection per entry of `states`, each sending its next request when the last is answered.

    `step(state)` gives path and body; each answer, as parsed JSON, replaces that connection's state (or, with `keep`, does
    not), so a chain may need what the request before it returned. The states are left where the chains ended."""
    times = []

    async def run(index, end):
        connection = Connection(host, port)
        try:
            while (start := time.perf_counter()) < end:
                path, body = step(states[index])
                status, answer = await connection.post(path, headers, body)
                if status != 200:
                    raise BenchError(f"POST {path} was answered {status}: {answer[:300].decode(errors='replace')}")
                if not keep:
                    states[index] = {**states[index], **json.loads(answer)}
                times.append(time.perf_counter() - start)
        finally:
            connection.close()

    async def everything():
        end = time.perf_counter() + seconds
        await asyncio.gather(*(run(i, end) for i in range(len(states))))

    start = time.perf_counter()
    asyncio.run(everything())
    return summary(times, time.perf_counter() - start)
