// What goes through a mailbox, as an application with supabase-js meets it; the mails are read in the development inbox.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'
import { good, refused, sharedProject, until } from './harness.mjs'

const SITE = 'http://localhost:3000'
const PASSWORD = 'correct horse battery staple'
const env = {
  AUTH_REQUIRE_EMAIL_CONFIRMATION: 'true',
  AUTH_MAIL_INTERVAL_SECONDS: '0',
  AUTH_MAILS_PER_HOUR: '1000',
  AUTH_RATE_LIMIT_OTP_PER_WINDOW: '1000',
  AUTH_RATE_LIMIT_RECOVER_PER_WINDOW: '1000',
  AUTH_RATE_LIMIT_CONFIRM_PER_WINDOW: '1000',
  SITE_URL: SITE,
}
const shared = sharedProject({ env })
let number = 0

/** An address of its own. */
const address = (name) => `${name}-${Date.now()}-${(number += 1)}@example.com`

/** What the newest mail to an address holds that was not seen yet: { code, link, token }. */
const seen = new Set()
async function mail(to) {
  const { api_url } = shared().status
  const { ID } = await until(`a mail to ${to}`, async () => {
    const { messages } = await (await fetch(`${api_url}/inbox/api/v1/messages?limit=200`)).json()
    return messages.find((one) => one.To[0].Address === to && !seen.has(one.ID))
  })
  seen.add(ID)
  const { Text } = await (await fetch(`${api_url}/inbox/api/v1/message/${ID}`)).json()
  const link = Text.match(/https?:\/\/\S+\/auth\/v1\/verify\?\S+/)?.[0]
  return { code: Text.match(/code[^:]*: (\d{6})/)?.[1], link, token: link && new URL(link).searchParams.get('token') }
}

/** A client that keeps its verifier, as a browser does. */
function pkceClient() {
  const kept = new Map()
  const storage = {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => void kept.set(name, value),
    removeItem: (name) => void kept.delete(name),
  }
  const { api_url, publishable_key } = shared().status
  const auth = { flowType: 'pkce', storage, persistSession: true, autoRefreshToken: false, detectSessionInUrl: false }
  return createClient(api_url, publishable_key, { auth, realtime: { transport: WebSocket } })
}

/** Opens a link as a browser does and presses the button. Returns where that leads. */
async function follow(link) {
  const page = await fetch(link)
  assert.equal(page.status, 200)
  const html = await page.text()
  const text = (value) => value.replaceAll(/&#x([0-9a-f]+);/g, (_, code) => String.fromCodePoint(parseInt(code, 16))).replaceAll('&quot;', '"').replaceAll('&amp;', '&')
  const form = new URLSearchParams()
  for (const [, name, value] of html.matchAll(/name="([^"]*)" value="([^"]*)"/g)) form.append(name, text(value))
  const action = new URL(text(html.match(/action="([^"]*)"/)[1]), link)
  const pressed = await fetch(action, { method: 'POST', body: form, redirect: 'manual' })
  assert.equal(pressed.status, 303, await pressed.text())
  return new URL(pressed.headers.get('location'))
}

/** A confirmed account, and a client that is signed in. */
async function person(client = shared().client()) {
  const email = address('ana')
  good(await client.auth.signUp({ email, password: PASSWORD }))
  const { code } = await mail(email)
  good(await client.auth.verifyOtp({ email, token: code, type: 'signup' }))
  return { client, email }
}

test('sign up, confirm with the code, sign in', async () => {
  const client = shared().client()
  const email = address('ana')
  const signedUp = good(await client.auth.signUp({ email, password: PASSWORD, options: { data: { nick: 'ana' } } }))
  assert.equal(signedUp.session, null)
  assert.equal(signedUp.user.email, email)
  refused(await client.auth.signInWithPassword({ email, password: PASSWORD }), { code: 'email_not_confirmed', status: 400 })
  const { code } = await mail(email)
  refused(await client.auth.verifyOtp({ email, token: '000000x', type: 'signup' }), { code: 'otp_expired', status: 403 })
  const { session, user } = good(await client.auth.verifyOtp({ email, token: code, type: 'signup' }))
  assert.ok(session.access_token && user.email_confirmed_at)
  good(await shared().client().auth.signInWithPassword({ email, password: PASSWORD }))
  assert.equal((await (await fetch(`${shared().status.api_url}/auth/v1/settings`)).json()).mailer_autoconfirm, false)
})

test('resend sends the confirmation once more', async () => {
  const client = shared().client()
  const email = address('ana')
  good(await client.auth.signUp({ email, password: PASSWORD }))
  const older = await mail(email)
  good(await client.auth.resend({ type: 'signup', email }))
  const newer = await mail(email)
  refused(await client.auth.verifyOtp({ token_hash: older.token, type: 'signup' }), { code: 'otp_expired', status: 403 })
  good(await client.auth.verifyOtp({ token_hash: newer.token, type: 'email' }))
})

test('sign in with a code, and with a link', async () => {
  const { email } = await person()
  const client = shared().client()
  good(await client.auth.signInWithOtp({ email }))
  const { code } = await mail(email)
  assert.ok(good(await client.auth.verifyOtp({ email, token: code, type: 'email' })).session)

  good(await client.auth.signInWithOtp({ email, options: { emailRedirectTo: `${SITE}/in?a=1` } }))
  const { link } = await mail(email)
  const landed = await follow(link)
  assert.ok(landed.href.startsWith(`${SITE}/in?a=1#access_token=`), landed.href)
  const { access_token, refresh_token } = Object.fromEntries(new URLSearchParams(landed.hash.slice(1)))
  assert.equal(good(await client.auth.setSession({ access_token, refresh_token })).user.email, email)

  const stranger = address('nobody')
  const options = { shouldCreateUser: false }
  refused(await client.auth.signInWithOtp({ email: stranger, options }), { code: 'otp_disabled', status: 422 })
  good(await client.auth.signInWithOtp({ email: stranger, options: { data: { nick: 'new' } } }))
  const made = good(await client.auth.verifyOtp({ email: stranger, token: (await mail(stranger)).code, type: 'email' }))
  assert.equal(made.user.user_metadata.nick, 'new')
})

test('reset a password', async () => {
  const { email } = await person()
  const client = shared().client()
  good(await client.auth.resetPasswordForEmail(email, { redirectTo: `${SITE}/reset` }))
  const { token } = await mail(email)
  good(await client.auth.verifyOtp({ token_hash: token, type: 'recovery' }))
  good(await client.auth.updateUser({ password: 'a brand new password' }))
  good(await shared().client().auth.signInWithPassword({ email, password: 'a brand new password' }))
  refused(await shared().client().auth.signInWithPassword({ email, password: PASSWORD }), { code: 'invalid_credentials' })
})

test('a link of a PKCE client ends with a code that only this client can exchange', async () => {
  const client = pkceClient()
  const email = address('ana')
  good(await client.auth.signUp({ email, password: PASSWORD, options: { emailRedirectTo: `${SITE}/cb?next=%2Fhome` } }))
  const { link } = await mail(email)
  const landed = await follow(link)
  assert.equal(landed.hash, '')
  assert.ok(landed.href.startsWith(`${SITE}/cb?next=%2Fhome&code=`), landed.href)
  const code = landed.searchParams.get('code')
  const stranger = pkceClient()
  await stranger.auth.signInWithOtp({ email: address('other') })
  refused(await stranger.auth.exchangeCodeForSession(code), { code: 'bad_code_verifier', status: 400 })
  const { session } = good(await client.auth.exchangeCodeForSession(code))
  assert.equal(session.user.email, email)

  good(await client.auth.resetPasswordForEmail(email))
  const reset = await follow((await mail(email)).link)
  good(await client.auth.exchangeCodeForSession(reset.searchParams.get('code')))
  good(await client.auth.updateUser({ password: 'a brand new password' }))
})

test('change the address from both inboxes', async () => {
  const { client, email } = await person()
  const next = address('next')
  const { user } = good(await client.auth.updateUser({ email: next }))
  assert.equal(user.email, email)
  assert.equal(user.new_email, next)
  const [current, fresh] = [await mail(email), await mail(next)]
  const half = good(await client.auth.verifyOtp({ token_hash: current.token, type: 'email_change' }))
  assert.ok(!half.session)
  const { session } = good(await client.auth.verifyOtp({ email: next, token: fresh.code, type: 'email_change' }))
  assert.equal(session.user.email, next)
  good(await shared().client().auth.signInWithPassword({ email: next, password: PASSWORD }))
})

test('reauthenticate', async () => {
  const { client, email } = await person()
  good(await client.auth.reauthenticate())
  assert.match((await mail(email)).code, /^\d{6}$/)
})

test('links and invitations by the service key', async () => {
  const { status } = shared()
  const admin = shared().client(status.service_role_key).auth.admin
  const email = address('guest')
  const { user } = good(await admin.inviteUserByEmail(email, { data: { team: 7 } }))
  assert.ok(user.invited_at)
  const invited = await mail(email)
  const client = shared().client()
  assert.equal(good(await client.auth.verifyOtp({ token_hash: invited.token, type: 'invite' })).user.user_metadata.team, 7)

  for (const type of ['magiclink', 'recovery']) {
    const { properties, user } = good(await admin.generateLink({ type, email }))
    assert.equal(user.email, email)
    assert.equal(properties.verification_type, type)
    good(await client.auth.verifyOtp({ token_hash: properties.hashed_token, type }))
  }
  const fresh = address('made')
  const made = good(await admin.generateLink({ type: 'signup', email: fresh, password: PASSWORD }))
  good(await client.auth.verifyOtp({ email: fresh, token: made.properties.email_otp, type: 'signup' }))
  const next = address('moved')
  for (const type of ['email_change_current', 'email_change_new']) {
    const { properties } = good(await admin.generateLink({ type, email: fresh, newEmail: next }))
    good(await client.auth.verifyOtp({ token_hash: properties.hashed_token, type: 'email_change' }))
  }
  good(await client.auth.signInWithPassword({ email: next, password: PASSWORD }))
  refused(await shared().client().auth.admin.generateLink({ type: 'magiclink', email }), {})
})
