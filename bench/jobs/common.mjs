// What the two peer programs share: `node PROGRAM DSN JOBS CONCURRENCY`, with PG_PID set to the postmaster's pid.
import { readFileSync, readdirSync } from 'node:fs'
import pg from 'pg'

export const PINGS = 200
export const BATCH = 1000
export const dsn = process.argv[2]
export const [jobs, concurrency] = process.argv.slice(3).map(Number)
if (!dsn || !(jobs > 0) || !(concurrency > 0) || !process.env.PG_PID) {
  throw new Error('usage: PG_PID=… node PROGRAM DSN JOBS CONCURRENCY')
}

export const sql = new pg.Client({ connectionString: dsn })
await sql.connect()

// Fields of /proc/PID/stat after the name: parent 1, user and system ticks 11 and 12, those of ended children 13 and 14.
function stat(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ').map(Number)
  } catch {
    return null // ended meanwhile
  }
}

/** CPU seconds so far: this process, and Postgres with the backends that have ended. */
function cpu() {
  const postmaster = Number(process.env.PG_PID)
  let ticks = 0
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry)
    const f = pid ? stat(pid) : null
    if (pid === postmaster) ticks += f[11] + f[12] + f[13] + f[14]
    else if (f?.[1] === postmaster) ticks += f[11] + f[12]
  }
  const own = stat(process.pid)
  return { server: ticks / 100, client: (own[11] + own[12]) / 100 }
}

/**
 * From the worker's start until the last handler ran (rate) and until the last completion is written (CPU).
 * `start(ran)` starts the worker, which calls `ran(count)`; `open` asks whether a job is not over yet.
 */
export async function drain(start, open) {
  let left = jobs
  let finish
  const finished = new Promise((resolve) => { finish = resolve })
  const before = cpu()
  const began = performance.now()
  await start((count) => {
    left -= count
    if (left <= 0) finish()
    return left
  })
  await finished
  const seconds = (performance.now() - began) / 1000
  while ((await sql.query(`select exists (${open}) as open`)).rows[0].open) {
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  const after = cpu()
  const client = after.client - before.client
  const server = after.server - before.server
  return {
    drain_per_s: jobs / seconds, client_cpu_s: client, server_cpu_s: server, drain_per_cpu_s: jobs / (client + server),
  }
}

/** Time from enqueue to handler start on an idle worker; `enqueue` sends a job whose handler calls `pong`. */
export class Pings {
  #heard = () => {}

  pong = () => this.#heard(performance.now())

  async run(enqueue) {
    const times = []
    for (let i = 0; i < PINGS; i++) {
      const began = performance.now()
      const heard = new Promise((resolve) => { this.#heard = resolve })
      await enqueue()
      times.push(await heard - began)
    }
    times.sort((a, b) => a - b)
    const at = (percent) => times[Math.floor(PINGS * percent / 100)]
    return { latency_p50_ms: at(50), latency_p99_ms: at(99) }
  }
}

/** Enqueues all jobs, BATCH at a time. */
export async function fill(enqueue) {
  for (let first = 0; first < jobs; first += BATCH) {
    await enqueue(Array.from({ length: Math.min(BATCH, jobs - first) }, (_, i) => ({ n: first + i })))
  }
}

export function report(...parts) {
  console.log(JSON.stringify(Object.assign({}, ...parts), (_, v) => typeof v === 'number' ? Math.round(v * 1000) / 1000 : v))
}
