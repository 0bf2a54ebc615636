// What every end-to-end test stands on: a project folder made by the real program, run by the real program.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
export const SB = path.resolve(process.env.SB_BIN ?? path.join(ROOT, 'target/debug/sb'))

/** The first start on a machine downloads Postgres and PostgREST. */
const START_MS = 180_000
const COMMAND_MS = 120_000
const STOP_MS = 40_000
/** All tests of a file come from one address. */
const LIMITS = { AUTH_RATE_LIMIT_TOKEN_PER_WINDOW: '1000', AUTH_RATE_LIMIT_SIGNUP_PER_WINDOW: '1000', AUTH_RATE_LIMIT_REFRESH_PER_WINDOW: '1000' }
const PASSWORD = 'correct horse battery staple'

/** The environment without what would redirect the program under test. */
export function cleanEnv(extra = {}) {
  const redirects = /^(SB_(?!CACHE_DIR)|PG|JWT_|AUTH_|DB_|SECURITY_|LOG_|DATABASE_URL|POSTGREST_URL|SITE_URL|CORS_ORIGINS|TRUSTED_PROXIES|OUTBOUND_|GOOGLE_CLIENT_|GITHUB_CLIENT_|NO_COLOR|CLICOLOR)/
  const kept = Object.entries(process.env).filter(([name]) => !redirects.test(name))
  return { ...Object.fromEntries(kept), SB_POSTGRES_DURABLE: 'false', ...extra }
}

/** Runs a program to its end: { code, stdout, stderr }. */
export async function run(program, args, { cwd, env = cleanEnv(), input = '' } = {}) {
  const child = spawn(program, args, { cwd, env, timeout: COMMAND_MS, killSignal: 'SIGKILL' })
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text) => (output.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (output.stderr += text))
  child.stdin.on('error', () => {}) // a program that does not read its input
  child.stdin.end(input)
  const [code, signal] = await once(child, 'close')
  return { code: code ?? signal, ...output }
}

/** Asks until `attempt` returns something, and says what it waited for when the time is over. */
export async function until(what, attempt, ms = 15_000) {
  const end = Date.now() + ms
  let last
  while (Date.now() < end) {
    try {
      const value = await attempt()
      if (value) return value
    } catch (error) {
      last = error
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`${what}: not within ${ms} ms${last ? ` (${last.message})` : ''}`)
}

const steps = new WeakMap()

/** What to do when the test is over; the last one first, so that a program ends before its folder goes. */
export function later(t, step) {
  if (steps.has(t)) return void steps.get(t).push(step)
  const list = [step]
  steps.set(t, list)
  t.after(async () => {
    const errors = []
    for (const one of list.reverse()) await Promise.resolve().then(one).catch((error) => errors.push(error))
    if (errors.length > 0) throw errors[0]
  })
}

/** One running project for all tests of a file: a function that gives it. */
export function sharedProject(options) {
  let project, cleanup
  before(async () => {
    project = await Project.start({ after: (step) => (cleanup = step) }, options)
  })
  after(() => cleanup?.())
  return () => project
}

/** A temporary folder; gone when the test is over. */
export function temporaryFolder(t) {
  const folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'sb-e2e-'))
  later(t, () => fs.rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** The first ```sh block after a marker comment in a Markdown file. */
export function shellBlock(file, marker) {
  const text = fs.readFileSync(file, 'utf8')
  const found = text.match(new RegExp(`<!-- ${marker} -->\\s*\`\`\`sh\\n([\\s\\S]*?)\`\`\``))
  assert.ok(found, `${file} has no sh block after <!-- ${marker} -->`)
  return found[1]
}

/** A project folder and the backend that runs in it. */
export class Project {
  constructor(folder) {
    this.folder = folder
  }

  /** `sb init app` in a temporary folder, with further migrations by name. */
  static async init(t, { migrations = {}, name = 'app' } = {}) {
    const parent = temporaryFolder(t)
    const made = await run(SB, ['init', name], { cwd: parent })
    assert.equal(made.code, 0, `sb init failed: ${made.stderr}`)
    const project = new Project(path.join(parent, name))
    for (const [file, sql] of Object.entries(migrations)) project.write(`migrations/${file}`, sql)
    return project
  }

  /** The same, running; stopped when the test is over. */
  static async start(t, options = {}) {
    const project = await Project.init(t, options)
    await project.dev(t, options)
    return project
  }

  write(file, text) {
    fs.writeFileSync(path.join(this.folder, file), text)
  }

  /** A command in the project folder. */
  sb(...args) {
    return run(SB, args, { cwd: this.folder })
  }

  async dev(t, { env = {}, args = [] } = {}) {
    await this.launch(t, SB, ['dev', '--json', '--port', '0', '--db-port', '0', '--rest-port', '0', ...args], env)
    this.status = await this.#printed()
    return this
  }

  /** `sb serve`, which prints no JSON: its address is asked for. */
  async serve(t, { env = {}, args = [] } = {}) {
    await this.launch(t, SB, ['serve', '--port', '0', ...args], env)
    this.status = await until('sb serve', async () => {
      this.#stillRuns()
      const { code, stdout } = await this.sb('status', '--json')
      return code === 0 && JSON.parse(stdout)
    }, START_MS)
    return this
  }

  /** Runs a program in the folder; it is stopped when the test is over. */
  async launch(t, program, args, env) {
    this.output = ''
    this.stdout = ''
    this.process = spawn(program, args, { cwd: this.folder, env: cleanEnv({ ...LIMITS, ...env }), stdio: ['ignore', 'pipe', 'pipe'] })
    this.closed = once(this.process, 'close')
    this.process.stdout.setEncoding('utf8').on('data', (text) => {
      this.stdout += text
      this.output += text
    })
    this.process.stderr.setEncoding('utf8').on('data', (text) => (this.output += text))
    later(t, () => this.stop())
  }

  #stillRuns() {
    if (this.process && this.process.exitCode === null && this.process.signalCode === null) return
    throw new Error(`it ended early:\n${this.output}`)
  }

  /** The one JSON document that `sb dev --json` prints when everything is ready. */
  async #printed() {
    const deadline = AbortSignal.timeout(START_MS)
    for (;;) {
      const document = parsed(this.stdout)
      if (document) return document
      this.#stillRuns()
      const more = Promise.race([once(this.process.stdout, 'data', { signal: deadline }), this.closed])
      await more.catch((error) => {
        throw new Error(`sb dev was not ready within ${START_MS} ms (${error.message}):\n${this.output}`)
      })
    }
  }

  /** Asks it to end (or kills it) and checks that nothing is left. Returns its exit code or signal. */
  async stop(signal = 'SIGTERM') {
    if (!this.process) return undefined
    const running = this.process.exitCode === null && this.process.signalCode === null
    if (running) this.process.kill(signal)
    const late = setTimeout(() => this.process.kill('SIGKILL'), STOP_MS)
    const [code, killed] = await this.closed
    clearTimeout(late)
    this.process = undefined
    await until('the end of all processes of the project', () => {
      this.left = processesOf(this.folder)
      return this.left.length === 0
    }).catch((error) => {
      throw new Error(`${error.message}; left over:\n${this.left.map((one) => `${one.pid} ${one.command}`).join('\n')}`)
    })
    if (running && signal !== 'SIGKILL') assert.equal(killed, null, `sb did not end by itself after ${signal}:\n${this.output}`)
    return code ?? killed
  }

  /** Waits until the program has said something. */
  said(text, ms) {
    return until(`sb says ${text}`, () => {
      this.#stillRuns()
      return typeof text === 'string' ? this.output.includes(text) : text.test(this.output)
    }, ms)
  }

  /** A client as an application makes one; `global` are its options of that name. */
  client(key = this.status.publishable_key, global = {}) {
    const options = {
      auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
      realtime: { transport: WebSocket },
      global,
    }
    return createClient(this.status.api_url, key, options)
  }

  /** A signed-up user: client, id, address. */
  async person(name) {
    const email = `${name}-${Math.random().toString(36).slice(2)}@example.com`
    const client = this.client()
    const { user } = good(await client.auth.signUp({ email, password: PASSWORD }))
    return { client, id: user.id, email, password: PASSWORD }
  }

  /** A plain request; JSON in and out. */
  async fetch(route, { headers = {}, body, method = body === undefined ? 'GET' : 'POST' } = {}) {
    const response = await fetch(this.status.api_url + route, {
      method,
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    const text = await response.text()
    return { status: response.status, headers: response.headers, text, body: parsed(text) }
  }
}

/** The data of a client's answer; throws its error. */
export function good({ data, error }) {
  if (error) throw new Error(`${error.name ?? 'error'} ${error.status ?? ''} ${error.code ?? ''} ${error.message ?? error}`)
  return data
}

/** The error of a client's answer, which must have these members. */
export function refused({ data, error }, expected) {
  assert.ok(error, `accepted, but should be refused: ${JSON.stringify(data)}`)
  for (const [name, value] of Object.entries(expected)) assert.equal(error[name], value, `error.${name} of ${error.message}`)
  return error
}

function parsed(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Processes that belong to a folder: they work in it, or name it in their arguments. */
export function processesOf(folder) {
  const inside = (place) => place === folder || place.startsWith(`${folder}/`)
  const found = []
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
      const directory = fs.readlinkSync(`/proc/${pid}/cwd`)
      // A zombie has no command line; it only waits to be read by its parent.
      if (command && Number(pid) !== process.pid && (inside(directory) || command.includes(folder))) {
        found.push({ pid: Number(pid), command })
      }
    } catch (error) {
      if (!['ENOENT', 'ESRCH', 'EACCES'].includes(error.code)) throw error
    }
  }
  return found
}
