// What only a real browser shows: the pages of sb itself (the button behind a mailed link, the page on which somebody
// consents, the development inbox), and an application at another origin that signs in with the browser's own passkeys.
import assert from 'node:assert/strict'
import { createHmac, randomUUID } from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { chromium } from 'playwright-core'
import { good, sharedProject, until } from './harness.mjs'

/** Where a picture of each page goes, to be looked at. */
const PICTURES = process.env.SB_TEST_PICTURES
const CHROMIUM = process.env.SB_TEST_CHROMIUM ?? '/usr/bin/chromium'
const PASSWORD = 'correct horse battery staple'

/** A site of the project's, with auth-js as it is released; whatever else is asked for, it answers. */
const MODULES = path.join(import.meta.dirname, 'node_modules')
const IMPORTS = { '@supabase/auth-js': '/modules/@supabase/auth-js/dist/module/index.js', tslib: '/modules/tslib/tslib.es6.mjs' }
const INDEX = `<!doctype html><title>the site</title><link rel="icon" href="data:,">
  <script type="importmap">${JSON.stringify({ imports: IMPORTS })}</script>`
const site = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, SITE)
  if (!pathname.startsWith('/modules/')) return response.setHeader('content-type', 'text/html').end(INDEX)
  // Its modules import each other without saying what kind of file they are.
  const file = path.join(MODULES, pathname.slice('/modules/'.length))
  response.setHeader('content-type', 'text/javascript').end(fs.readFileSync(/\.m?js$/.test(file) ? file : `${file}.js`))
})
await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve))
const SITE = `http://localhost:${site.address().port}`

const shared = sharedProject({
  env: {
    AUTH_MAIL_INTERVAL_SECONDS: '0',
    AUTH_MFA_PHONE_ENROLL_ENABLED: 'true',
    AUTH_OAUTH_SERVER_ENABLED: 'true',
    AUTH_REQUIRE_EMAIL_CONFIRMATION: 'true',
    AUTH_SMS_INTERVAL_SECONDS: '0',
    AUTH_SMS_TEST_OTP: '491510000001:314159',
    AUTH_WEBAUTHN_RP_ID: 'localhost',
    AUTH_WEBAUTHN_RP_ORIGINS: SITE,
    SITE_URL: SITE,
  },
})

let browser
before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
})
after(async () => {
  await browser?.close()
  site.close()
})

/** A page of a browser that has never been anywhere. What it complains of fails the test, but for `expected`. */
async function open(t, url, expected = []) {
  const context = await browser.newContext({ viewport: { width: 800, height: 600 } })
  const page = await context.newPage()
  const complaints = []
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()))
  page.on('pageerror', (error) => complaints.push(error.message))
  t.after(async () => {
    await context.close()
    assert.deepEqual(complaints, expected)
  })
  await page.goto(url)
  return page
}

/** What a browser says of an answer that is a refusal. */
const refusal = (status) => `Failed to load resource: the server responded with a status of ${status}`

async function picture(page, name) {
  if (PICTURES) await page.screenshot({ path: `${PICTURES}/${name}.png`, fullPage: true })
}

/** An account that is confirmed, and a client that is signed in to it. */
async function person() {
  const email = `ana-${randomUUID()}@example.com`
  const { auth } = shared().client(shared().status.service_role_key)
  good(await auth.admin.createUser({ email, password: PASSWORD, email_confirm: true }))
  const client = shared().client()
  good(await client.auth.signInWithPassword({ email, password: PASSWORD }))
  return { client, email }
}

/** The code of an authenticator app, for a step of thirty seconds (RFC 6238). */
function code(secret, step) {
  const bits = [...secret].map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('')
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)))
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(step))
  const mac = createHmac('sha1', key).update(counter).digest()
  return String((mac.readUInt32BE(mac[19] & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0')
}

/** Where an application sends the browser to have somebody consent. */
async function authorize(name = 'Notes') {
  const { status } = shared()
  const { auth } = shared().client(status.service_role_key)
  const client = good(await auth.admin.oauth.createClient({ client_name: name, redirect_uris: [`${SITE}/callback`] }))
  const asked = new URLSearchParams({
    client_id: client.client_id,
    response_type: 'code',
    redirect_uri: `${SITE}/callback`,
    scope: 'openid email offline_access',
    state: 'a state',
    code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
    code_challenge_method: 'S256',
  })
  return `${status.api_url}/auth/v1/oauth/authorize?${asked}`
}

async function signIn(page, email, password = PASSWORD) {
  await page.getByLabel('Email').fill(email)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
}

/** What the application is told when the browser comes back to it. */
async function told(page) {
  await page.waitForURL(`${SITE}/callback?**`)
  return new URL(page.url()).searchParams
}

test('a mailed link shows a button, and the button signs in', async (t) => {
  const email = `ben-${randomUUID()}@example.com`
  good(await shared().client().auth.signUp({ email, password: PASSWORD }))
  const inbox = `${shared().status.api_url}/inbox`
  const mail = await until('a mail', async () => {
    const { messages } = await (await fetch(`${inbox}/api/v1/messages`)).json()
    return messages.find((one) => one.To[0].Address === email)
  })
  const page = await open(t, inbox)
  await picture(page, 'inbox')
  await page.getByRole('link', { name: mail.Subject }).first().click()
  const link = page.frameLocator('iframe').getByRole('link', { name: /confirm/i })
  await link.waitFor()
  await picture(page, 'inbox-mail')
  await page.goto(await link.getAttribute('href'))
  await picture(page, 'confirm')
  await page.getByRole('button', { name: 'Confirm' }).click()
  await page.waitForURL(`${SITE}/**`)
  assert.match(new URL(page.url()).hash, /access_token=/)
})

test('somebody signs in and allows an application', async (t) => {
  const { email } = await person()
  const page = await open(t, await authorize('Notes <b>'), [refusal('400 (Bad Request)')])
  await picture(page, 'consent-sign-in')
  assert.equal(await page.getByRole('heading').textContent(), 'Notes <b> wants to use your account')
  await signIn(page, email, 'not my password')
  await page.getByRole('alert').waitFor()
  await picture(page, 'consent-refused')
  await signIn(page, email)
  await page.getByText(`You are signed in as ${email}`).waitFor()
  await picture(page, 'consent')
  await page.getByRole('button', { name: 'Allow' }).click()
  const back = await told(page)
  assert.ok(back.get('code'))
  assert.equal(back.get('state'), 'a state')
})

test('somebody with a second factor is asked for it, and denies', async (t) => {
  const { client, email } = await person()
  const { mfa } = client.auth
  const { id, totp } = good(await mfa.enroll({ factorType: 'totp' }))
  // The code of the step before is good too, so that the one of now is left for the page.
  const step = Math.floor(Date.now() / 30_000)
  good(await mfa.challengeAndVerify({ factorId: id, code: code(totp.secret, step - 1) }))
  const page = await open(t, await authorize())
  await signIn(page, email)
  await page.getByLabel('Code').fill(code(totp.secret, step))
  await picture(page, 'consent-second-factor')
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByRole('button', { name: 'Deny' }).click()
  const back = await told(page)
  assert.equal(back.get('error'), 'access_denied')
  assert.equal(back.get('code'), null)
})

test('somebody whose second factor is a phone is sent a code', async (t) => {
  const { client, email } = await person()
  const { mfa } = client.auth
  const { id } = good(await mfa.enroll({ factorType: 'phone', phone: '+491510000001' }))
  const challenge = good(await mfa.challenge({ factorId: id }))
  good(await mfa.verify({ factorId: id, challengeId: challenge.id, code: '314159' }))
  const page = await open(t, await authorize(), [refusal('422 (Unprocessable Entity)')])
  await signIn(page, email)
  await page.getByText('Enter the code that was sent to your phone.').waitFor()
  await page.getByLabel('Code').fill('000000')
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByRole('alert').waitFor()
  await page.getByLabel('Code').fill('314159')
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByRole('button', { name: 'Allow' }).click()
  assert.ok((await told(page)).get('code'))
})

test('a request that is over says so', async (t) => {
  const gone = `${shared().status.api_url}/auth/v1/oauth/consent?authorization_id=gone`
  const page = await open(t, gone, [refusal('404 (Not Found)')])
  await picture(page, 'consent-over')
  assert.equal(await page.getByRole('heading').textContent(), 'This sign-in is over')
})

/** The application in a browser that has an authenticator of its own, whose user is there and agrees: `auth` is auth-js.
 * A factor is a key to plug in, by the defaults of auth-js. */
async function application(t, expected) {
  const page = await open(t, SITE, expected)
  const devtools = await page.context().newCDPSession(page)
  await devtools.send('WebAuthn.enable')
  const options = { protocol: 'ctap2', transport: 'usb', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true }
  const { authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', { options })
  const { api_url: url, publishable_key: key } = shared().status
  await page.evaluate(async ({ url, key }) => {
    const { AuthClient } = await import('@supabase/auth-js')
    window.auth = new AuthClient({ url: `${url}/auth/v1`, headers: { apikey: key }, experimental: { passkey: true } })
    window.good = ({ data, error }) => {
      if (error) throw error
      return data
    }
  }, { url, key })
  const keys = async () => (await devtools.send('WebAuthn.getCredentials', { authenticatorId })).credentials
  return { page, keys }
}

test('an application at another origin registers a passkey and signs in with it', async (t) => {
  const { email } = await person()
  const { page } = await application(t)
  const found = await page.evaluate(async ({ email, password }) => {
    good(await auth.signInWithPassword({ email, password }))
    good(await auth.registerPasskey())
    good(await auth.signOut())
    const { session, user } = good(await auth.signInWithPasskey())
    const stored = JSON.parse(localStorage.getItem('supabase.auth.token'))
    return { email: user.email, kept: stored.access_token === session.access_token }
  }, { email, password: PASSWORD })
  assert.deepEqual(found, { email, kept: true })
})

/** Makes the browser's authenticator the second factor of an account: the factor's id. */
const protect = (page, email) => page.evaluate(async ({ email, password }) => {
  good(await auth.signInWithPassword({ email, password }))
  good(await auth.mfa.webauthn.register({ friendlyName: 'a key' }))
  return good(await auth.mfa.listFactors()).all[0].id
}, { email, password: PASSWORD })

/** Signs in with the password and shows the second factor: what became of it. */
const stepUp = (page, email, factorId) => page.evaluate(async ({ email, password, factorId }) => {
  good(await auth.signInWithPassword({ email, password }))
  const { error } = await auth.mfa.webauthn.authenticate({ factorId })
  const { currentLevel } = good(await auth.mfa.getAuthenticatorAssuranceLevel())
  return { code: error?.code ?? error?.originalError?.code ?? error?.name ?? null, level: currentLevel }
}, { email, password: PASSWORD, factorId })

// Attack 38. Fails when `mfa::webauthn::check` leaves it to the browser whose key answers.
test('the authenticator of one account is no second factor of another', async (t) => {
  const [ana, ben] = [await person(), await person()]
  const [hers, his] = [await application(t, [refusal('422 (Unprocessable Entity)')]), await application(t)]
  await protect(hers.page, ana.email)
  const factor = await protect(his.page, ben.email)
  const [key] = await hers.keys()

  // Somebody who knows Ben's password, in Ana's browser, which has no key that was asked for.
  const kept = await stepUp(hers.page, ben.email, factor)
  assert.equal(kept.level, 'aal1')
  assert.notEqual(kept.code, null)
  // The same with a program that asks for the key that is there.
  await hers.page.evaluate((id) => {
    const get = navigator.credentials.get.bind(navigator.credentials)
    const allowCredentials = [{ type: 'public-key', id: Uint8Array.from(atob(id), (c) => c.charCodeAt(0)) }]
    navigator.credentials.get = ({ publicKey, ...rest }) => get({ ...rest, publicKey: { ...publicKey, allowCredentials } })
  }, key.credentialId)
  const { signCount } = key
  assert.deepEqual(await stepUp(hers.page, ben.email, factor), { code: 'mfa_verification_failed', level: 'aal1' })
  assert.ok((await hers.keys())[0].signCount > signCount, 'her authenticator answered')

  assert.deepEqual(await stepUp(his.page, ben.email, factor), { code: null, level: 'aal2' })

  // The page of consent, at another origin, cannot ask it, and says what to do.
  const page = await open(t, await authorize())
  await signIn(page, ben.email)
  await page.getByText('Add an authenticator app to your account').waitFor()
})
