// `sb dev` as a person uses it: files are saved, things go wrong, the terminal is closed.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { Project, SB, good, processesOf, refused, run, temporaryFolder, until } from './harness.mjs'

const DUE = 'alter table public.todos\n  add column due date;\n'

test('a migration is applied as it is saved, and the API knows it at once', async (t) => {
  const project = await Project.start(t)
  const { client } = await project.person('ana')
  refused(await client.from('todos').insert({ title: 'x', due: '2026-01-02' }), { code: 'PGRST204' })

  project.write('migrations/20260102000000_due.sql', DUE)
  const todo = await until('the new column', async () => good(await client.from('todos').insert({ title: 'x', due: '2026-01-02' }).select().single()))
  assert.equal(todo.due, '2026-01-02')

  // A mistake is told and stops nothing; its correction is applied.
  project.write('migrations/20260103000000_oops.sql', 'create tabel public.lists (id int);')
  await project.said('20260103000000_oops.sql')
  good(await client.from('todos').select())
  project.write('migrations/20260103000000_oops.sql', 'create table public.lists (id int primary key);')
  await until('the corrected table', async () => Array.isArray(good(await client.from('lists').select())))
})

test('what status prints is complete, and a second sb dev is refused', async (t) => {
  const project = await Project.start(t)
  const status = await project.sb('status', '--json')
  assert.equal(status.code, 0, status.stderr)
  const found = JSON.parse(status.stdout)
  for (const name of ['api_url', 'db_url', 'rest_url', 'jwks_url', 'anon_key', 'service_role_key', 'publishable_key', 'secret_key']) {
    assert.equal(typeof found[name], 'string', name)
    assert.equal(found[name], project.status[name], name)
  }
  assert.equal(found.pid, project.process.pid)
  assert.match(found.publishable_key, /^sb_publishable_/)
  assert.match(found.secret_key, /^sb_secret_/)

  const mode = (file) => fs.statSync(path.join(project.folder, '.sb', file)).mode & 0o777
  const secrets = fs.readdirSync(path.join(project.folder, '.sb')).filter((file) => /\.(key|json)$/.test(file))
  assert.ok(secrets.length > 0)
  for (const file of secrets) assert.equal(mode(file), 0o600, `.sb/${file} can be read by others`)

  const second = await project.sb('dev', '--port', '0')
  assert.equal(second.code, 1, second.stderr)
  assert.match(second.stderr, /already runs/)
})

test('data and keys outlive a restart', async (t) => {
  const project = await Project.start(t)
  const { email, password, client } = await project.person('ana')
  good(await client.from('todos').insert({ title: 'kept' }))
  const before = project.status
  assert.equal(await project.stop('SIGINT'), 0)

  await project.dev(t)
  assert.equal(project.status.publishable_key, before.publishable_key)
  assert.equal(project.status.anon_key, before.anon_key)
  const again = project.client(before.anon_key)
  good(await again.auth.signInWithPassword({ email, password }))
  assert.equal(good(await again.from('todos').select().single()).title, 'kept')
})

for (const signal of ['SIGTERM', 'SIGINT', 'SIGKILL']) {
  test(`${signal} leaves no process behind, and the next start works`, async (t) => {
    const project = await Project.start(t)
    const names = processesOf(project.folder).map((one) => one.command).join('\n')
    assert.match(names, /postgres/, 'the check for leftovers does not see Postgres')
    assert.match(names, /postgrest/, 'the check for leftovers does not see PostgREST')

    const code = await project.stop(signal) // checks that nothing is left
    assert.equal(code, signal === 'SIGKILL' ? 'SIGKILL' : 0)
    const status = await project.sb('status')
    assert.equal(status.code, 1, 'status claims that something runs')

    await project.dev(t)
    good(await project.client().from('todos').select())
  })
}

test('a signal while starting leaves nothing behind either', async (t) => {
  const project = await Project.init(t)
  const starting = project.dev(t)
  starting.catch(() => {})
  await until('the first child process', () => processesOf(project.folder).some((one) => /postgres|initdb/.test(one.command)), 120_000)
  await project.stop('SIGTERM')
  await assert.rejects(starting, /ended early/)
  await project.dev(t)
})

test('init refuses a folder that holds something, and files are as they should be', async (t) => {
  const folder = temporaryFolder(t)
  assert.equal((await run(SB, ['init', 'app'], { cwd: folder })).code, 0)
  const files = fs.readdirSync(path.join(folder, 'app')).sort()
  assert.deepEqual(files, ['.env.example', '.gitignore', 'Caddyfile', 'README.md', 'docker-compose.yml', 'migrations', 'sb.toml', 'seed.sql'])
  fs.writeFileSync(path.join(folder, 'app/sb.toml'), '# mine\n')
  const again = await run(SB, ['init', 'app'], { cwd: folder })
  assert.notEqual(again.code, 0)
  assert.equal(fs.readFileSync(path.join(folder, 'app/sb.toml'), 'utf8'), '# mine\n')
})
