// sb as identity provider, as a certified client library and an application's own consent page meet it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as client from 'openid-client'
import { good, refused, sharedProject } from './harness.mjs'

const REDIRECT = 'http://127.0.0.1:49152/callback'
const shared = sharedProject({
  env: { AUTH_OAUTH_SERVER_ENABLED: 'true', AUTH_OAUTH_DYNAMIC_REGISTRATION: 'true', AUTH_SERVICE_TOKEN_AUDIENCES: 'reports' },
  migrations: {
    '29990101000000_who.sql': `create function public.which_client() returns text language sql stable as $$ select auth.jwt() ->> 'client_id' $$;`,
  },
})

/** The test's server has no certificate. */
const insecure = { execute: [client.allowInsecureRequests] }

async function discovered(project, options) {
  const { client_id, client_secret } = good(await project.client(project.status.service_role_key).auth.admin.oauth.createClient(options))
  const issuer = new URL(`${project.status.api_url}/auth/v1`)
  return { id: client_id, config: await client.discovery(issuer, client_id, undefined, client.ClientSecretBasic(client_secret), insecure) }
}

/** Sends a person through the application's own page; gives the address the browser ends at. */
async function signIn(project, config, person, more = {}) {
  const verifier = client.randomPKCECodeVerifier()
  const [state, nonce] = [client.randomState(), client.randomNonce()]
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: REDIRECT,
    scope: 'openid email offline_access',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
    ...more,
  })
  const led = await fetch(url, { redirect: 'manual' })
  assert.equal(led.status, 302)
  const id = new URL(led.headers.get('location')).searchParams.get('authorization_id')
  const { oauth } = person.client.auth
  const details = good(await oauth.getAuthorizationDetails(id))
  const { redirect_url } = details.redirect_url ? details : good(await oauth.approveAuthorization(id, { skipBrowserRedirect: true }))
  return { back: new URL(redirect_url), checks: { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true } }
}

test('a certified client signs a person in, refreshes, asks and revokes', async () => {
  const project = shared()
  const person = await project.person('ana')
  const { id, config } = await discovered(project, { client_name: 'Notes', redirect_uris: [REDIRECT] })
  const { back, checks } = await signIn(project, config, person)
  // State, issuer, signature, nonce and audience are checked in here.
  const tokens = await client.authorizationCodeGrant(config, back, checks)
  const claims = tokens.claims()
  assert.equal(claims.sub, person.id)
  assert.equal(claims.email, person.email)
  assert.ok(claims.auth_time <= claims.iat)

  const userinfo = await client.fetchUserInfo(config, tokens.access_token, person.id)
  assert.equal(userinfo.email, person.email)
  const about = await client.tokenIntrospection(config, tokens.access_token)
  assert.deepEqual([about.active, about.client_id], [true, id])

  const next = await client.refreshTokenGrant(config, tokens.refresh_token)
  assert.notEqual(next.refresh_token, tokens.refresh_token)
  await client.tokenRevocation(config, next.refresh_token)
  await assert.rejects(client.refreshTokenGrant(config, next.refresh_token), { error: 'invalid_grant' })
  assert.equal((await client.tokenIntrospection(config, next.access_token)).active, false)
  await assert.rejects(client.authorizationCodeGrant(config, back, checks), { error: 'invalid_grant' })
})

test('row level security sees for which client a token acts, and the account is out of its reach', async () => {
  const project = shared()
  const person = await project.person('ana')
  const { id, config } = await discovered(project, { client_name: 'Notes', redirect_uris: [REDIRECT] })
  const { back, checks } = await signIn(project, config, person)
  const { access_token, id_token } = await client.authorizationCodeGrant(config, back, checks)
  const ask = (token, route, body) => project.fetch(route, {
    headers: { apikey: project.status.publishable_key, authorization: `Bearer ${token}` },
    body,
  })
  const seen = await ask(access_token, '/rest/v1/rpc/which_client', {})
  assert.deepEqual([seen.status, seen.body], [200, id])
  assert.equal((await ask(access_token, '/auth/v1/user')).status, 403)

  // Neither an id token, nor a service token, nor a token for a resource elsewhere opens the data.
  const { access_token: own } = good(await person.client.auth.getSession()).session
  const service = await ask(own, '/auth/v1/token/service?aud=reports')
  assert.equal(service.status, 200, service.text)
  const elsewhere = await signIn(project, config, person, { resource: 'https://mcp.example/v1' })
  const bound = await client.authorizationCodeGrant(config, elsewhere.back, elsewhere.checks)
  for (const token of [id_token, service.body.token, bound.access_token]) {
    const { status } = await ask(token, '/rest/v1/rpc/which_client', {})
    assert.equal(status, 401, `PostgREST answered ${status}`)
    assert.equal((await ask(token, '/auth/v1/user')).status, 403)
  }
  const verified = await ask(own, '/auth/v1/token/verify', { token: service.body.token, aud: 'reports' })
  assert.deepEqual([verified.body.active, verified.body.sub], [true, person.id])
})

test('a program registers itself', async () => {
  const project = shared()
  const person = await project.person('ana')
  const issuer = new URL(`${project.status.api_url}/auth/v1`)
  const config = await client.dynamicClientRegistration(
    issuer,
    { client_name: 'Tool', redirect_uris: ['http://127.0.0.1/callback'], token_endpoint_auth_method: 'none' },
    client.None(),
    { ...insecure, algorithm: 'oauth2' },
  )
  const { back, checks } = await signIn(project, config, person)
  const tokens = await client.authorizationCodeGrant(config, back, checks)
  assert.equal(tokens.claims().sub, person.id)
})

test('a person lists and takes back what was granted', async () => {
  const project = shared()
  const person = await project.person('ana')
  const { id, config } = await discovered(project, { client_name: 'Notes', redirect_uris: [REDIRECT] })
  const { back, checks } = await signIn(project, config, person)
  const tokens = await client.authorizationCodeGrant(config, back, checks)
  const grants = good(await person.client.auth.oauth.listGrants())
  assert.deepEqual(grants.map((grant) => [grant.client.id, grant.client.name]), [[id, 'Notes']])
  good(await person.client.auth.oauth.revokeGrant({ clientId: id }))
  assert.deepEqual(good(await person.client.auth.oauth.listGrants()), [])
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), { error: 'invalid_grant' })
})

test('the client library manages clients', async () => {
  const project = shared()
  const { oauth } = project.client(project.status.service_role_key).auth.admin
  const made = good(await oauth.createClient({ client_name: 'One', redirect_uris: [REDIRECT] }))
  assert.ok(made.client_secret)
  assert.equal(good(await oauth.getClient(made.client_id)).client_secret, undefined)
  assert.equal(good(await oauth.updateClient(made.client_id, { client_name: 'Two' })).client_name, 'Two')
  assert.notEqual(good(await oauth.regenerateClientSecret(made.client_id)).client_secret, made.client_secret)
  const { clients } = good(await oauth.listClients())
  assert.ok(clients.some((one) => one.client_id === made.client_id))
  assert.equal((await oauth.deleteClient(made.client_id)).error, null)
  refused(await oauth.getClient(made.client_id), { code: 'oauth_client_not_found', status: 404 })
})

test('the page of a request says who asks and cannot be framed', async () => {
  const project = shared()
  const { config } = await discovered(project, { client_name: '<script>x</script>', redirect_uris: [REDIRECT] })
  const url = client.buildAuthorizationUrl(config, { redirect_uri: REDIRECT, code_challenge: 'x'.repeat(43), code_challenge_method: 'S256' })
  const page = await fetch(url)
  assert.equal(page.status, 200)
  assert.match(page.headers.get('content-security-policy'), /frame-ancestors 'none'; script-src 'self'/)
  const html = await page.text()
  assert.ok(html.includes('&lt;script&gt;x') && !html.includes('<script>x'), html)
  const script = await fetch(new URL('consent.js', page.url))
  assert.equal(script.status, 200)
  assert.match(script.headers.get('content-type'), /javascript/)
})
