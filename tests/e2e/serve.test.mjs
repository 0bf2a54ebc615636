// Production: `sb serve` beside others on one database, with nothing but its environment.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { Project, SB, cleanEnv, good, refused, run, temporaryFolder } from './harness.mjs'

/** A folder with the files that a container mounts, and no more. */
function deployment(t, project) {
  const folder = temporaryFolder(t)
  fs.cpSync(path.join(project.folder, 'sb.toml'), path.join(folder, 'sb.toml'))
  fs.cpSync(path.join(project.folder, 'migrations'), path.join(folder, 'migrations'), { recursive: true })
  return new Project(folder)
}

test('two nodes share one database: tokens, sessions and keys of one are good at the other', async (t) => {
  const one = await Project.start(t)
  const two = deployment(t, one)
  await two.serve(t, {
    env: {
      DATABASE_URL: one.status.db_url,
      POSTGREST_URL: one.status.rest_url,
      SB_MASTER_KEY: fs.readFileSync(path.join(one.folder, '.sb/master.key'), 'utf8').trim(),
      JWT_ISSUER: `${one.status.api_url}/auth/v1`,
    },
  })
  assert.notEqual(two.status.api_url, one.status.api_url)
  const { publishable_key, service_role_key } = one.status
  Object.assign(two.status, { publishable_key, service_role_key })
  const headers = { apikey: publishable_key }

  const { client, email, password } = await one.person('ana')
  good(await client.from('todos').insert({ title: 'made at the first' }))
  const there = two.client()
  good(await there.auth.signInWithPassword({ email, password }))
  assert.equal(good(await there.from('todos').select().single()).title, 'made at the first')
  good(await two.client(service_role_key).auth.admin.listUsers())

  const { access_token, refresh_token } = good(await client.auth.getSession()).session
  const asked = await two.fetch('/auth/v1/user', { headers: { ...headers, authorization: `Bearer ${access_token}` } })
  assert.equal(asked.body.email, email)
  const refreshed = await two.fetch('/auth/v1/token?grant_type=refresh_token', { headers, body: { refresh_token } })
  assert.equal(refreshed.status, 200)

  const { error } = await client.auth.signOut()
  assert.equal(error, null)
  refused(await two.client().auth.refreshSession({ refresh_token: refreshed.body.refresh_token }), { status: 400 })

  for (const route of ['/livez', '/readyz']) assert.equal((await two.fetch(route)).status, 200, route)
  assert.equal(await two.stop('SIGTERM'), 0)
  assert.ok(!fs.existsSync(path.join(two.folder, '.sb/master.key')), 'a node with SB_MASTER_KEY made a key of its own')
})

test('serve without a database, and with one that is not there, says what to do', async (t) => {
  const folder = temporaryFolder(t)
  fs.writeFileSync(path.join(folder, 'sb.toml'), '')
  const none = await run(SB, ['serve'], { cwd: folder })
  assert.ok([1, 3].includes(none.code), `exit code ${none.code}`)
  assert.match(none.stderr, /DATABASE_URL/)

  const env = cleanEnv({ DATABASE_URL: 'postgresql://postgres:hunter2@127.0.0.1:1/postgres' })
  const gone = await run(SB, ['serve'], { cwd: folder, env })
  assert.equal(gone.code, 4, gone.stderr)
  assert.doesNotMatch(gone.stdout + gone.stderr, /hunter2/)
})
