// The served OpenAPI document under a fuzzer that somebody else wrote: Schemathesis, from PyPI.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { ROOT, cleanEnv, sharedProject, temporaryFolder } from './harness.mjs'

const VERSION = '4.32.5'
const CHECKS = ['not_a_server_error', 'status_code_conformance', 'content_type_conformance', 'response_schema_conformance']
/** Requests of the fuzzer for each operation, besides those that cover the schema: SB_TEST_EXAMPLES=200 for a long run. */
const EXAMPLES = process.env.SB_TEST_EXAMPLES ?? '4'
const HOOKS = path.join(ROOT, 'tests/e2e')
const INSTALL_MS = 240_000

const shared = sharedProject({
  env: { AUTH_RATE_LIMIT_ENABLED: 'false', AUTH_ARGON2_MEMORY_KIB: '64', AUTH_ARGON2_ITERATIONS: '1' },
})

/** The program, in a folder of the user's cache; the first call installs it. */
async function schemathesis() {
  const cache = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache')
  const folder = path.join(cache, 'sb-tests', `schemathesis-${VERSION}`)
  const program = path.join(folder, 'bin', 'schemathesis')
  if ((await answers(program)).code === 0) return program
  fs.rmSync(folder, { recursive: true, force: true })
  const steps = [
    ['python3', ['-m', 'venv', folder]],
    [path.join(folder, 'bin', 'pip'), ['install', '--quiet', '--disable-pip-version-check', `schemathesis==${VERSION}`]],
  ]
  for (const [command, args] of steps) {
    const made = await answers(command, args, INSTALL_MS)
    assert.equal(
      made.code,
      0,
      `Schemathesis is needed (Python 3.10 or newer with venv and pip). Type:
  Debian: apt-get install python3 python3-venv python3-pip
  then:   python3 -m venv ${folder} && ${folder}/bin/pip install schemathesis==${VERSION}
${made.output}`,
    )
  }
  return program
}

/** { code, output }; a program that is not there has code 127. */
async function answers(program, args = ['--version'], ms = 60_000, cwd = undefined) {
  const env = cleanEnv({ PYTHONPATH: HOOKS, SCHEMATHESIS_HOOKS: 'schemathesis_hooks' })
  const child = spawn(program, args, { cwd, env, timeout: ms, killSignal: 'SIGKILL', stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  try {
    const [code, signal] = await once(child, 'close')
    return { code: code ?? signal, output }
  } catch (error) {
    return { code: 127, output: error.message }
  }
}

/** Sends anything to the operations that a kind of caller may ask for. */
async function fuzz(t, kind, headers = {}) {
  const program = await schemathesis()
  const { body: document } = await shared().fetch('/auth/v1/openapi.json')
  const ids = Object.values(document.paths)
    .flatMap((methods) => Object.values(methods))
    .filter(({ security }) => (security.length === 0 ? kind === 'nobody' : kind in security[0]))
    .map(({ operationId }) => operationId)
    // Ending the session would leave a stranger's token for the rest of the run.
    .filter((id) => !['post_logout', 'delete_sessions_id'].includes(id))
  assert.ok(ids.length > 0, kind)
  const args = ['run', `${shared().status.api_url}/auth/v1/openapi.json`, '--checks', CHECKS.join(',')]
  args.push('--phases', 'coverage,fuzzing', '--max-examples', EXAMPLES, '--workers', '4', '--no-shrink', '--max-redirects', '0')
  args.push('--suppress-health-check', 'all', '--warnings', 'off', '--max-failures', '10', '--no-color')
  args.push('--generation-with-security-parameters', 'false', '--generation-database', 'none')
  args.push(...ids.flatMap((id) => ['--include-operation-id', id]))
  for (const [name, value] of Object.entries(headers)) args.push('--header', `${name}: ${value}`)
  const { code, output } = await answers(program, args, 600_000, temporaryFolder(t))
  assert.equal(code, 0, output)
  assert.match(output, /[1-9]\d* passed/, output)
}

test('the document is served in development', async () => {
  const served = await shared().fetch('/auth/v1/openapi.json')
  assert.equal(served.status, 200)
  assert.equal(served.body.openapi, '3.1.0')
})

test('nobody in particular gets documented answers', (t) => fuzz(t, 'nobody'))

test('a signed-in user gets documented answers', async (t) => {
  const { client } = await shared().person('ana')
  const { data } = await client.auth.getSession()
  await fuzz(t, 'user', { authorization: `Bearer ${data.session.access_token}` })
})

test('the service key gets documented answers', (t) => {
  return fuzz(t, 'service', { authorization: `Bearer ${shared().status.service_role_key}` })
})
