// What surrounds sb in a deployment, tried on a running one: the image's health check, and Caddy in front.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { Project, ROOT, cleanEnv, run, sharedProject, temporaryFolder } from './harness.mjs'

const text = (file) => fs.readFileSync(path.join(ROOT, file), 'utf8')

const shared = sharedProject()

test('the health check of the image tells a living sb from a dead one', async () => {
  const [, argv] = text('Dockerfile').match(/HEALTHCHECK[^\n]*\\\n\s*CMD (\[.*\])/)
  const [program, ...args] = JSON.parse(argv)
  const check = (port) => run(program, args, { env: cleanEnv({ SB_PORT: String(port) }) })
  assert.equal((await check(new URL(shared().status.api_url).port)).code, 0)
  assert.notEqual((await check(new URL(shared().status.rest_url).port)).code, 0, 'PostgREST has no /livez')
  assert.notEqual((await check(1)).code, 0)
})

test('through Caddy every path arrives as it was sent', async (t) => {
  const { code } = await run('sh', ['-c', 'command -v caddy'])
  if (code !== 0) return t.skip('caddy is not installed; apt-get install caddy')
  const folder = temporaryFolder(t)
  const proxy = new Project(folder)
  const port = 20_000 + Math.floor(Math.random() * 10_000)
  const config = text('scaffold/Caddyfile').replace('sb:8000', new URL(shared().status.api_url).host)
  fs.writeFileSync(path.join(folder, 'Caddyfile'), `{\n\tadmin off\n}\n${config}`)
  proxy.status = { ...shared().status, api_url: `http://127.0.0.1:${port}` }
  await proxy.launch(t, 'caddy', ['run', '--adapter', 'caddyfile', '--config', 'Caddyfile'], { SB_API_URL: proxy.status.api_url, HOME: folder })
  await proxy.said('serving initial configuration')

  const { client, id } = await proxy.person('ana')
  assert.equal((await client.from('todos').insert({ title: 'through the proxy' }).select().single()).data.user_id, id)
  const escaped = await proxy.fetch('/rest/v1/todos?title=eq.a%2Fb&select=title', { headers: { apikey: proxy.status.publishable_key } })
  assert.deepEqual([escaped.status, escaped.body], [200, []])
})
