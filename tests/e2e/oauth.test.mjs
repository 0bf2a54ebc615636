// Signing in with an identity provider: supabase-js, the real program, and a certified OpenID provider on this machine.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import { after, before, test } from 'node:test'
import { createClient } from '@supabase/supabase-js'
import Provider from 'oidc-provider'
import WebSocket from 'ws'
import { Project, good, refused } from './harness.mjs'

const SITE = 'http://localhost:3000/welcome'
const SECRET = 'the secret of the client'
const sha256 = (text, encoding) => createHash('sha256').update(text).digest(encoding)

let project, issuer, server, cleanup
/** Who sits in front of the provider's page. */
let person = 'ana'

before(async () => {
  server = http.createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  issuer = `http://127.0.0.1:${server.address().port}`
  project = await Project.start({ after: (step) => (cleanup = step) }, {
    env: {
      SB_AUTH_EXTERNAL_LOCAL_CLIENT_ID: 'web,native',
      SB_AUTH_EXTERNAL_LOCAL_SECRET: SECRET,
      SB_AUTH_EXTERNAL_LOCAL_URL: issuer,
      AUTH_MANUAL_LINKING: 'true',
      SITE_URL: 'http://localhost:3000',
    },
  })
  server.on('request', provider(issuer, `${project.status.api_url}/auth/v1/callback`))
})

after(async () => {
  server.close()
  server.closeAllConnections()
  await cleanup?.()
})

/** An OpenID provider with two clients, on whose page `person` is signed in and consents at once. */
function provider(issuer, callback) {
  const client = { client_secret: SECRET, response_types: ['code'], grant_types: ['authorization_code', 'refresh_token'] }
  const oidc = new Provider(issuer, {
    clients: [
      { ...client, client_id: 'web', redirect_uris: [callback] },
      { ...client, client_id: 'native', redirect_uris: ['http://localhost:4000/native'] },
    ],
    cookies: { keys: [randomBytes(16).toString('hex')] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
    features: { devInteractions: { enabled: false } },
    pkce: { required: () => true },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_, sub) => ({
      accountId: sub,
      claims: () => ({ sub, email: `${sub}@example.com`, email_verified: !sub.startsWith('unverified'), name: sub }),
    }),
  })
  const handle = oidc.callback()
  return async (request, response) => {
    if (!request.url.startsWith('/interaction/')) return handle(request, response)
    const { prompt, params, session, grantId } = await oidc.interactionDetails(request, response)
    if (prompt.name === 'login') {
      return oidc.interactionFinished(request, response, { login: { accountId: person } })
    }
    const grant = (grantId && (await oidc.Grant.find(grantId))) ?? new oidc.Grant({ accountId: session.accountId, clientId: params.client_id })
    grant.addOIDCScope(params.scope)
    await oidc.interactionFinished(request, response, { consent: { grantId: await grant.save() } })
  }
}

/** A browser: it keeps cookies and goes where it is led, up to an address of an application. */
class Browser {
  cookies = new Map()

  async follow(address) {
    for (let hops = 0; hops < 20; hops += 1) {
      const url = new URL(address)
      if (url.hostname === 'localhost') return url
      const response = await fetch(url, { redirect: 'manual', headers: { cookie: this.#of(url) } })
      for (const text of response.headers.getSetCookie()) this.#keep(text, url)
      assert.ok([302, 303].includes(response.status), `${url.origin}${url.pathname} answered ${response.status}: ${await response.text()}`)
      address = new URL(response.headers.get('location'), url).href
    }
    throw new Error('led in circles')
  }

  #of(url) {
    const sent = [...this.cookies.values()].filter(({ origin, path }) => origin === url.origin && url.pathname.startsWith(path))
    return sent.map(({ pair }) => pair).join('; ')
  }

  #keep(text, { origin }) {
    const [pair] = text.split(';')
    const path = /path=([^;]+)/i.exec(text)?.[1] ?? '/'
    const key = `${origin} ${path} ${pair.split('=')[0]}`
    if (/expires=Thu, 01 Jan 1970/i.test(text)) this.cookies.delete(key)
    else this.cookies.set(key, { pair, path, origin })
  }
}

function application(flowType) {
  return createClient(project.status.api_url, project.status.publishable_key, {
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false, flowType },
    realtime: { transport: WebSocket },
  })
}

/** Signs in with PKCE. */
async function signIn(client, browser = new Browser()) {
  const { url } = good(await client.auth.signInWithOAuth({ provider: 'local', options: { redirectTo: SITE, skipBrowserRedirect: true } }))
  const landed = await browser.follow(url)
  assert.equal(landed.origin + landed.pathname, SITE, landed.href)
  assert.equal(landed.hash, '', 'nothing but a code')
  return good(await client.auth.exchangeCodeForSession(landed.searchParams.get('code')))
}

test('signInWithOAuth with PKCE gives a session and the provider tokens, once', async () => {
  person = 'ana'
  const client = application('pkce')
  const { session, user } = await signIn(client)
  assert.equal(user.email, 'ana@example.com')
  assert.equal(user.app_metadata.provider, 'local')
  assert.equal(user.user_metadata.name, 'ana')
  assert.ok(session.provider_token)
  const { session: refreshed } = good(await client.auth.refreshSession())
  assert.ok(!refreshed.provider_token)
  // The provider's token is a real one.
  const info = await (await fetch(`${issuer}/me`, { headers: { authorization: `Bearer ${session.provider_token}` } })).json()
  assert.equal(info.sub, 'ana')
  const again = await signIn(application('pkce'))
  assert.equal(again.user.id, user.id)
  assert.ok(good(await client.auth.getUser()).user.identities.some(({ provider, id }) => provider === 'local' && id === 'ana'))
})

test('without PKCE the session is in the fragment, and a code of another client is refused', async () => {
  person = 'bob'
  const { url } = good(await application('implicit').auth.signInWithOAuth({ provider: 'local', options: { redirectTo: `${SITE}?next=%2Fhome`, skipBrowserRedirect: true } }))
  const landed = await new Browser().follow(url)
  assert.equal(landed.search, '?next=%2Fhome')
  const fragment = new URLSearchParams(landed.hash.slice(1))
  const client = application('implicit')
  const { user } = good(await client.auth.setSession({ access_token: fragment.get('access_token'), refresh_token: fragment.get('refresh_token') }))
  assert.equal(user.email, 'bob@example.com')
  assert.ok(fragment.get('provider_token'))

  const begun = application('pkce')
  const asked = good(await begun.auth.signInWithOAuth({ provider: 'local', options: { redirectTo: SITE, skipBrowserRedirect: true } }))
  const code = (await new Browser().follow(asked.url)).searchParams.get('code')
  const other = application('pkce')
  good(await other.auth.signInWithOAuth({ provider: 'local', options: { skipBrowserRedirect: true } }))
  refused(await other.auth.exchangeCodeForSession(code), { code: 'bad_code_verifier', status: 400 })
})

test('an answer that is opened in another browser signs nobody in', async () => {
  person = 'mallory'
  const { url } = good(await application('implicit').auth.signInWithOAuth({ provider: 'local', options: { redirectTo: SITE, skipBrowserRedirect: true } }))
  const attacker = new Browser()
  let answer
  const stop = new Error('the answer is kept back')
  const real = globalThis.fetch
  globalThis.fetch = async (address, options) => {
    if (String(address).includes('/auth/v1/callback')) {
      answer = String(address)
      throw stop
    }
    return real(address, options)
  }
  await attacker.follow(url).catch((error) => assert.equal(error, stop)).finally(() => (globalThis.fetch = real))
  const landed = await new Browser().follow(answer)
  assert.equal(landed.searchParams.get('error_code'), 'bad_oauth_state')
  assert.ok(!landed.hash.includes('access_token'))
})

test('signInWithIdToken takes a token of the provider for one of our clients, with its nonce, once', async () => {
  person = 'carla'
  const { user } = await signIn(application('pkce'))
  const raw = randomBytes(16).toString('hex')
  const verifier = randomBytes(32).toString('base64url')
  const asked = new URL(`${issuer}/auth`)
  asked.search = new URLSearchParams({
    client_id: 'native', response_type: 'code', scope: 'openid email', redirect_uri: 'http://localhost:4000/native',
    nonce: sha256(raw, 'hex'), code_challenge: sha256(verifier, 'base64url'), code_challenge_method: 'S256',
  })
  const code = (await new Browser().follow(asked.href)).searchParams.get('code')
  const granted = await (await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`native:${encodeURIComponent(SECRET).replaceAll('%20', '+')}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: 'http://localhost:4000/native' }),
  })).json()
  assert.ok(granted.id_token, JSON.stringify(granted))
  const bring = (changes) => application('implicit').auth.signInWithIdToken({ provider: 'local', token: granted.id_token, access_token: granted.access_token, nonce: raw, ...changes })
  refused(await bring({ nonce: 'another' }), { status: 400 })
  refused(await bring({ nonce: undefined }), { status: 400 })
  const { user: same, session } = good(await bring({}))
  assert.equal(same.id, user.id)
  assert.ok(session.access_token)
  refused(await bring({}), { status: 400 })
})

test('linkIdentity, getUserIdentities and unlinkIdentity', async () => {
  person = 'dora'
  const email = `own-${Date.now()}@example.com`
  const client = application('pkce')
  const { user } = good(await client.auth.signUp({ email, password: 'correct horse battery staple' }))
  const { url } = good(await client.auth.linkIdentity({ provider: 'local', options: { redirectTo: SITE, skipBrowserRedirect: true } }))
  const landed = await new Browser().follow(url)
  const linked = good(await client.auth.exchangeCodeForSession(landed.searchParams.get('code')))
  assert.equal(linked.user.id, user.id)
  assert.equal(linked.user.email, email)
  const { identities } = good(await client.auth.getUserIdentities())
  assert.deepEqual(identities.map(({ provider }) => provider).sort(), ['email', 'local'])
  assert.equal((await signIn(application('pkce'))).user.id, user.id)
  good(await client.auth.unlinkIdentity(identities.find(({ provider }) => provider === 'local')))
  const left = good(await client.auth.getUserIdentities()).identities
  assert.deepEqual(left.map(({ provider }) => provider), ['email'])
  refused(await client.auth.unlinkIdentity(left[0]), { code: 'single_identity_not_deletable', status: 422 })
})

test('an address that the provider does not vouch for joins no account', async () => {
  person = 'unverified-erin'
  const client = project.client()
  good(await client.auth.signUp({ email: 'unverified-erin@example.com', password: 'correct horse battery staple' }))
  const { url } = good(await application('pkce').auth.signInWithOAuth({ provider: 'local', options: { redirectTo: SITE, skipBrowserRedirect: true } }))
  const landed = await new Browser().follow(url)
  assert.equal(landed.searchParams.get('error_code'), 'provider_email_needs_verification')
  assert.equal(landed.searchParams.get('code'), null)
})

test('what is set up is told, and the secret is not', async () => {
  const { body, text } = await project.fetch('/auth/v1/settings', { headers: { apikey: project.status.publishable_key } })
  assert.equal(body.external.local, true)
  assert.equal(body.external.google, false)
  assert.ok(!text.includes(SECRET))
  const info = await project.sb('info', '--json')
  assert.ok(!info.stdout.includes(SECRET) && !project.output.includes(SECRET))
})
