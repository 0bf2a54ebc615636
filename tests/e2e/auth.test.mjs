// Accounts and sessions, as an application with supabase-js meets them.
import assert from 'node:assert/strict'
import { createPublicKey, verify } from 'node:crypto'
import { test } from 'node:test'
import { Project, good, refused, sharedProject } from './harness.mjs'

const shared = sharedProject()

test('sign up, sign out, sign in', async () => {
  const project = shared()
  const { client, id, email, password } = await project.person('ana')
  assert.equal(good(await client.auth.getUser()).user.id, id)

  const token = good(await client.auth.getSession()).session.access_token
  good(await client.auth.signOut())
  assert.equal(good(await client.auth.getSession()).session, null)
  const asked = await project.fetch('/auth/v1/user', {
    headers: { apikey: project.status.publishable_key, authorization: `Bearer ${token}` },
  })
  assert.equal(asked.status, 403, 'the token of an ended session still answers /user')

  const { session, user } = good(await client.auth.signInWithPassword({ email, password }))
  assert.equal(user.id, id)
  assert.equal(session.token_type, 'bearer')
  assert.ok(session.expires_in > 0 && session.refresh_token)
})

test('a wrong password and an unknown address are refused alike', async () => {
  const project = shared()
  const { email } = await project.person('ana')
  const client = project.client()
  const wrong = refused(await client.auth.signInWithPassword({ email, password: 'not it' }), { code: 'invalid_credentials', status: 400 })
  const unknown = refused(await client.auth.signInWithPassword({ email: `no-${email}`, password: 'not it' }), {
    code: 'invalid_credentials',
    status: 400,
  })
  assert.equal(wrong.message, unknown.message)
})

test('a weak password and a bad address are refused with a code', async () => {
  const project = shared()
  const client = project.client()
  refused(await client.auth.signUp({ email: 'weak@example.com', password: 'a' }), { code: 'weak_password', status: 422 })
  const bad = refused(await client.auth.signUp({ email: 'no address', password: 'long enough' }), {})
  assert.ok(['validation_failed', 'email_address_invalid'].includes(bad.code), bad.code)
})

test('a second sign-up with the same address gives no session', async () => {
  const project = shared()
  const { email, password } = await project.person('ana')
  const { data, error } = await project.client().auth.signUp({ email, password })
  if (error) assert.equal(error.code, 'user_already_exists')
  else assert.equal(data.session, null)
})

test('a refresh gives new tokens, and the old refresh token does not work for long', async () => {
  const project = shared()
  const { client, id } = await project.person('ana')
  const before = good(await client.auth.getSession()).session
  const { session } = good(await client.auth.refreshSession())
  assert.notEqual(session.refresh_token, before.refresh_token)
  assert.equal(good(await client.auth.getUser()).user.id, id)
  refused(await project.client().auth.refreshSession({ refresh_token: 'unknown-token' }), { status: 400 })
})

test('two refreshes at once get the same successor', async () => {
  const project = shared()
  const { client } = await project.person('ana')
  const { refresh_token } = good(await client.auth.getSession()).session
  const refresh = () => project.fetch('/auth/v1/token?grant_type=refresh_token', {
    headers: { apikey: project.status.publishable_key },
    body: { refresh_token },
  })
  const answers = await Promise.all([refresh(), refresh(), refresh(), refresh()])
  assert.deepEqual(answers.map((answer) => answer.status), [200, 200, 200, 200])
  assert.equal(new Set(answers.map((answer) => answer.body.refresh_token)).size, 1)
})

test('claims are verified with the published keys alone', async () => {
  const project = shared()
  const { client, id, email } = await project.person('ana')
  const { claims, header } = good(await client.auth.getClaims())
  assert.equal(claims.sub, id)
  assert.equal(claims.email, email)
  assert.equal(claims.role, 'authenticated')
  assert.equal(claims.iss, `${project.status.api_url}/auth/v1`)
  assert.match(header.alg, /^(RS|ES)256$/)

  // The same by hand: nothing but the key set is needed.
  const { keys } = await (await fetch(project.status.jwks_url)).json()
  const jwk = keys.find((key) => key.kid === header.kid)
  assert.ok(jwk, `no key ${header.kid} in the key set`)
  assert.deepEqual(Object.keys(jwk).filter((name) => ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k'].includes(name)), [])
  const { access_token } = good(await client.auth.getSession()).session
  const [head, body, signature] = access_token.split('.')
  const key = { key: createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' }
  assert.ok(verify('sha256', Buffer.from(`${head}.${body}`), key, Buffer.from(signature, 'base64url')))

  // A changed claim breaks it, here and at both services.
  const forged = Buffer.from(JSON.stringify({ ...claims, role: 'service_role' })).toString('base64url')
  const headers = { apikey: project.status.publishable_key, authorization: `Bearer ${head}.${forged}.${signature}` }
  for (const route of ['/auth/v1/user', '/rest/v1/todos']) {
    const { status } = await project.fetch(route, { headers })
    assert.ok(status === 401 || status === 403, `${route} answered ${status} to a forged token`)
  }
})

test('a user changes their own data and password', async () => {
  const project = shared()
  const { client, email } = await project.person('ana')
  const { user } = good(await client.auth.updateUser({ data: { nick: 'ann' }, password: 'another long password' }))
  assert.equal(user.user_metadata.nick, 'ann')
  good(await project.client().auth.signInWithPassword({ email, password: 'another long password' }))
})

test('signing out ends this session, the others, or all of them', async () => {
  const project = shared()
  const { email, password } = await project.person('ana')
  const enter = async () => {
    const client = project.client()
    const { session } = good(await client.auth.signInWithPassword({ email, password }))
    return { client, token: session.access_token }
  }
  const [one, other] = [await enter(), await enter()]
  good(await one.client.auth.signOut({ scope: 'others' }))
  refused(await other.client.auth.refreshSession(), { code: 'refresh_token_not_found' })
  good(await one.client.auth.refreshSession())

  const third = await enter()
  good(await one.client.auth.signOut({ scope: 'local' }))
  refused(await project.client().auth.getUser(one.token), { name: 'AuthSessionMissingError' })
  good(await third.client.auth.getUser())

  good(await third.client.auth.signOut({ scope: 'global' }))
  refused(await project.client().auth.getUser(third.token), { name: 'AuthSessionMissingError' })
})

test('what is not offered is refused with the codes that clients know', async () => {
  const { auth } = shared().client()
  const signed = { chain: 'solana', message: 'sign in', signature: new Uint8Array(64) }
  refused(await auth.signInWithWeb3(signed), { code: 'web3_provider_disabled', status: 422 })
  refused(await auth.signInWithSSO({ domain: 'example.com' }), { code: 'saml_provider_disabled', status: 404 })
})

test('the admin API creates, lists, changes and deletes users, with the secret key only', async () => {
  const project = shared()
  const admin = project.client(project.status.service_role_key).auth.admin
  const email = `made-${Date.now()}@example.com`
  const { user } = good(await admin.createUser({ email, password: 'made by an admin', email_confirm: true, user_metadata: { n: 1 } }))
  assert.equal(user.email, email)
  assert.ok(user.email_confirmed_at)
  const enter = () => project.client().auth.signInWithPassword({ email, password: 'made by an admin' })
  good(await enter())
  refused(await admin.createUser({ email, password: 'made by an admin' }), { code: 'email_exists', status: 422 })

  assert.equal(good(await admin.getUserById(user.id)).user.id, user.id)
  const { users } = good(await admin.listUsers({ page: 1, perPage: 1000 }))
  assert.ok(users.some((one) => one.id === user.id))
  assert.equal(good(await admin.updateUserById(user.id, { app_metadata: { plan: 'pro' } })).user.app_metadata.plan, 'pro')
  good(await admin.updateUserById(user.id, { ban_duration: '1h' }))
  refused(await enter(), { code: 'user_banned', status: 400 })
  good(await admin.updateUserById(user.id, { ban_duration: 'none' }))
  good(await enter())
  good(await admin.deleteUser(user.id))
  refused(await admin.getUserById(user.id), { code: 'user_not_found', status: 404 })

  const { client } = await project.person('ana')
  const { access_token } = good(await client.auth.getSession()).session
  for (const token of [access_token, project.status.anon_key]) {
    const asked = await project.fetch('/auth/v1/admin/users', {
      headers: { apikey: project.status.publishable_key, authorization: `Bearer ${token}` },
    })
    assert.ok([401, 403].includes(asked.status), `the admin API answered ${asked.status} to somebody who is no admin`)
  }
})

test('errors have one shape without and one with the API version header', async () => {
  const project = shared()
  const ask = (headers) => project.fetch('/auth/v1/token?grant_type=password', {
    headers: { apikey: project.status.publishable_key, ...headers },
    body: { email: 'nobody@example.com', password: 'x' },
  })
  const old = await ask({})
  assert.equal(old.body.error_code, 'invalid_credentials')
  assert.equal(old.body.code, old.status)
  const current = await ask({ 'x-supabase-api-version': '2024-01-01' })
  assert.equal(current.body.code, 'invalid_credentials')
  assert.equal(typeof current.body.message, 'string')
})

test('a client that refreshes too often keeps its session', async (t) => {
  const env = { AUTH_RATE_LIMIT_WINDOW_SECONDS: '3', AUTH_RATE_LIMIT_REFRESH_PER_WINDOW: '1' }
  const project = await Project.start(t, { env })
  const statuses = []
  const client = project.client(undefined, {
    fetch: async (url, options) => {
      const response = await fetch(url, options)
      if (String(url).includes('grant_type=refresh_token')) {
        statuses.push(response.status)
        if (response.status === 503) assert.match(response.headers.get('retry-after'), /^[123]$/)
      }
      return response
    },
  })
  const events = []
  client.auth.onAuthStateChange((event) => void events.push(event))
  const { user } = good(await client.auth.signUp({ email: 'often@example.com', password: 'correct horse battery' }))
  good(await client.auth.refreshSession())
  // Over the limit now: the library tries again by itself, and nothing is lost.
  good(await client.auth.refreshSession())
  assert.deepEqual([statuses.at(0), statuses.at(1), statuses.at(-1)], [200, 503, 200])
  assert.deepEqual(statuses.filter((status) => status !== 200 && status !== 503), [])
  assert.ok(!events.includes('SIGNED_OUT'), events.join(' '))
  assert.equal(good(await client.auth.getUser()).user.id, user.id)
})

test('guessing a password is slowed down, with the same words for every address', async () => {
  const project = shared()
  const { email, password } = await project.person('ana')
  good(await project.client().auth.signInWithPassword({ email, password }))
  const guess = (email) => project.client().auth.signInWithPassword({ email, password: 'not it' })
  for (const address of [email, `no-${email}`]) {
    for (let n = 0; n < 5; n += 1) refused(await guess(address), { code: 'invalid_credentials' })
    // The first delay is a second: on a slow machine one guess may come after it, but not all.
    const more = [await guess(address), await guess(address), await guess(address)]
    assert.ok(more.some(({ error }) => error.code === 'over_request_rate_limit' && error.status === 429), address)
  }
})
