// Keys change while applications run: nothing valid is refused, nothing revoked is accepted.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { good, sharedProject, until } from './harness.mjs'

const shared = sharedProject()

const kid = (token) => JSON.parse(Buffer.from(token.split('.')[0], 'base64url')).kid
const token = async ({ client }) => good(await client.auth.getSession()).session.access_token

/** Both services' answers to a token. */
async function answers(project, bearer) {
  const headers = { apikey: project.status.anon_key, authorization: `Bearer ${bearer}` }
  const [auth, gateway] = await Promise.all([
    project.fetch('/auth/v1/user', { headers }),
    project.fetch('/rest/v1/todos', { headers }),
  ])
  const direct = await fetch(`${project.status.rest_url}/todos`, { headers })
  return [auth.status, gateway.status, direct.status]
}

/** A command that must succeed; what it prints. */
async function sb(project, ...args) {
  const { code, stdout, stderr } = await project.sb(...args)
  assert.equal(code, 0, stderr)
  return stdout.trim()
}

test('rotation refuses no valid token at any step', async () => {
  const project = shared()
  const before = await project.person('ana')
  const old = await token(before)
  assert.deepEqual(await answers(project, old), [200, 200, 200])

  const next = await sb(project, 'keygen', 'rotate')
  assert.notEqual(next, kid(old))
  const published = () => fetch(project.status.jwks_url).then((response) => response.json())
  await until('the new key in the key set', async () => (await published()).keys.some((key) => key.kid === next))
  assert.equal(kid(await token(await project.person('ben'))), kid(old), 'a key in reserve signs already')

  await sb(project, 'keygen', 'activate')
  const fresh = await until('a token of the new key', async () => {
    const bearer = await token(await project.person('cleo'))
    // Whoever signs it, a token is good everywhere from its first moment on.
    assert.deepEqual(await answers(project, bearer), [200, 200, 200])
    return kid(bearer) === next && bearer
  })
  assert.deepEqual(await answers(project, old), [200, 200, 200], 'a token of the former key')
  assert.deepEqual(await answers(project, fresh), [200, 200, 200])
  good(await before.client.auth.refreshSession())
  assert.equal(kid(await token(before)), next)
})

test('a revoked API key is refused within moments, its neighbours are not', async () => {
  const project = shared()
  const made = await sb(project, 'keygen', 'api-key', 'create', '--name', 'server', '--type', 'secret')
  const key = made.match(/sb_secret_\S+/)[0]
  const ask = (apikey) => project.fetch('/rest/v1/todos', { headers: { apikey } })
  await until('the new key', async () => (await ask(key)).status === 200)

  await sb(project, 'keygen', 'api-key', 'revoke', 'server')
  await until('the end of the key', async () => (await ask(key)).status === 401)
  assert.equal((await ask(project.status.secret_key)).status, 200)
})
