// Second factors and passkeys, as an application with supabase-js meets them.
import assert from 'node:assert/strict'
import { createHash, createHmac, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { test } from 'node:test'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'
import { good, refused, sharedProject } from './harness.mjs'

const ORIGIN = 'http://localhost:3000' // the default of server.site_url
const shared = sharedProject()

/** A client with the methods that its library still calls experimental. */
function client(project) {
  return createClient(project.status.api_url, project.status.publishable_key, {
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false, experimental: { recoveryCodes: true } },
    realtime: { transport: WebSocket },
  })
}

async function person(project, name) {
  const { email, password } = await project.person(name)
  const one = client(project)
  const { user } = good(await one.auth.signInWithPassword({ email, password }))
  return { client: one, id: user.id, email, password }
}

/** What an authenticator app shows, `steps` time steps from now. */
function totp(secret, steps = 0) {
  const letters = [...secret].map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0')).join('')
  const key = Buffer.from(letters.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)))
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps))
  const mac = createHmac('sha1', key).update(counter).digest()
  const number = mac.readUInt32BE(mac[19] & 15) & 0x7fffffff
  return String(number % 1_000_000).padStart(6, '0')
}

async function enroll(one) {
  const factor = good(await one.auth.mfa.enroll({ factorType: 'totp', friendlyName: 'phone' }))
  const verified = await one.auth.mfa.challengeAndVerify({ factorId: factor.id, code: totp(factor.totp.secret) })
  return { factor, session: good(verified) }
}

test('an authenticator app: enrol, a wrong code, a right one, level, unenrol', async () => {
  const project = shared()
  const { client: one, email, password } = await person(project, 'ana')
  const mfa = one.auth.mfa
  const factor = good(await mfa.enroll({ factorType: 'totp', friendlyName: 'phone', issuer: 'Shop' }))
  assert.ok(factor.totp.uri.startsWith('otpauth://totp/Shop:'))
  assert.ok(factor.totp.qr_code.startsWith('data:image/svg+xml;utf-8,<svg') && !factor.totp.qr_code.includes('#'))
  const asked = good(await mfa.challenge({ factorId: factor.id }))
  const answer = (code) => mfa.verify({ factorId: factor.id, challengeId: asked.id, code })
  const shown = [-1, 0, 1].map((steps) => totp(factor.totp.secret, steps))
  const wrong = ['000000', '000001', '000002', '000003'].find((code) => !shown.includes(code))
  refused(await answer(wrong), { code: 'mfa_verification_failed', status: 422 })
  const before = good(await one.auth.getSession()).session
  const code = totp(factor.totp.secret)
  good(await answer(code))
  const level = good(await mfa.getAuthenticatorAssuranceLevel())
  assert.deepEqual([level.currentLevel, level.nextLevel], ['aal2', 'aal2'])
  assert.deepEqual(level.currentAuthenticationMethods.map(({ method }) => method), ['totp', 'password'])
  assert.equal(good(await mfa.listFactors()).totp.length, 1)

  // The token from before is of no use for what the second factor protects.
  const stale = await project.fetch('/auth/v1/user', {
    method: 'PUT',
    headers: { apikey: project.status.publishable_key, authorization: `Bearer ${before.access_token}` },
    body: { password: 'another password' },
  })
  assert.equal(stale.status, 401)

  const second = client(project)
  good(await second.auth.signInWithPassword({ email, password }))
  assert.equal(good(await second.auth.mfa.getAuthenticatorAssuranceLevel()).nextLevel, 'aal2')
  refused(await second.auth.updateUser({ password: 'another password' }), { code: 'insufficient_aal', status: 401 })
  refused(await second.auth.mfa.challengeAndVerify({ factorId: factor.id, code }), { code: 'mfa_verification_failed' })
  refused(await second.auth.mfa.unenroll({ factorId: factor.id }), { code: 'insufficient_aal' })

  assert.equal(good(await mfa.unenroll({ factorId: factor.id })).id, factor.id)
  good(await one.auth.refreshSession())
  assert.equal(good(await mfa.getAuthenticatorAssuranceLevel()).currentLevel, 'aal1')
  assert.equal(good(await mfa.listFactors()).all.length, 0)
})

test('recovery codes stand in for a lost factor, once', async () => {
  const { client: one, email, password } = await person(shared(), 'ana')
  await enroll(one)
  const { codes, total } = good(await one.auth.mfa.recoveryCodes.generate({ friendlyName: 'paper' }))
  assert.equal(codes.length, total)
  const second = client(shared())
  good(await second.auth.signInWithPassword({ email, password }))
  const use = () => second.auth.mfa.recoveryCodes.verify({ code: codes[0].toLowerCase() })
  assert.ok(good(await use()).access_token)
  assert.equal(good(await second.auth.mfa.getAuthenticatorAssuranceLevel()).currentLevel, 'aal2')
  refused(await use(), { code: 'mfa_verification_failed' })
  assert.equal(good(await one.auth.mfa.recoveryCodes.getStatus()).remaining, total - 1)
  assert.equal(good(await one.auth.mfa.recoveryCodes.regenerate()).codes.length, total)
  good(await one.auth.mfa.recoveryCodes.unenroll())
  refused(await one.auth.mfa.recoveryCodes.getStatus(), { code: 'mfa_factor_not_found' })
})

test('the service key lists and removes factors', async () => {
  const project = shared()
  const { client: one, id } = await person(project, 'ana')
  const { factor } = await enroll(one)
  const admin = project.client(project.status.secret_key).auth.admin.mfa
  assert.equal(good(await admin.listFactors({ userId: id })).factors[0].id, factor.id)
  good(await admin.deleteFactor({ userId: id, id: factor.id }))
  assert.equal(good(await admin.listFactors({ userId: id })).factors.length, 0)
})

test('a passkey is registered, signs in, is renamed and removed', async () => {
  const project = shared()
  const { client: one, id } = await person(project, 'ana')
  const passkeys = one.auth.passkey
  const device = new Authenticator()
  const asked = good(await passkeys.startRegistration())
  const added = good(await passkeys.verifyRegistration({ challengeId: asked.challenge_id, credential: device.create(asked.options) }))
  good(await passkeys.update({ passkeyId: added.id, friendlyName: 'laptop' }))
  assert.deepEqual(good(await passkeys.list()).map(({ friendly_name: name }) => name), ['laptop'])

  const visitor = client(project)
  const question = good(await visitor.auth.passkey.startAuthentication())
  const answer = { challengeId: question.challenge_id, credential: device.get(question.options) }
  const { session } = good(await visitor.auth.passkey.verifyAuthentication(answer))
  assert.equal(session.user.id, id)
  assert.equal(good(await visitor.auth.mfa.getAuthenticatorAssuranceLevel()).currentLevel, 'aal1')
  refused(await client(project).auth.passkey.verifyAuthentication(answer), { code: 'webauthn_challenge_not_found' })

  const admin = project.client(project.status.secret_key).auth.admin.passkey
  assert.equal(good(await admin.listPasskeys({ userId: id })).length, 1)
  assert.equal((await passkeys.delete({ passkeyId: added.id })).error, null)
  assert.deepEqual(good(await passkeys.list()), [])
})

test('a device as a second factor', async () => {
  const { client: one, email, password } = await person(shared(), 'ana')
  const device = new Authenticator()
  const factor = good(await one.auth.mfa.enroll({ factorType: 'webauthn', friendlyName: 'key' }))
  // The library would hand the question to a browser: this is what it sends.
  const call = async (from, path, body) => {
    const { session } = good(await from.auth.getSession())
    const headers = { apikey: shared().status.publishable_key, authorization: `Bearer ${session.access_token}` }
    const { status, body: answer } = await shared().fetch(`/auth/v1/factors/${factor.id}/${path}`, { headers, body })
    assert.equal(status, 200, JSON.stringify(answer))
    return answer
  }
  const webauthn = { rpId: 'localhost', rpOrigins: [ORIGIN] }
  const verify = async (from, respond) => {
    const asked = await call(from, 'challenge', { factorId: factor.id, webauthn })
    const { type, credential_options: options } = asked.webauthn
    const credential_response = respond(options.publicKey)
    return call(from, 'verify', { challenge_id: asked.id, webauthn: { ...webauthn, type, credential_response } })
  }
  const raised = await verify(one, (options) => device.create(options))
  assert.equal(raised.user.factors[0].status, 'verified')
  const second = client(shared())
  good(await second.auth.signInWithPassword({ email, password }))
  const again = await verify(second, (options) => device.get(options))
  const claims = JSON.parse(Buffer.from(again.access_token.split('.')[1], 'base64url'))
  assert.deepEqual([claims.aal, claims.amr[0].method], ['aal2', 'mfa/webauthn'])
})

/** A device with one key, which verifies whoever asks. */
class Authenticator {
  constructor() {
    this.keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    this.id = randomBytes(32)
    this.counter = 0
  }

  create({ rp, user, challenge }) {
    this.user = user.id
    const { x, y } = this.keys.publicKey.export({ format: 'jwk' })
    const point = (text) => cbor.bytes(Buffer.from(text, 'base64url'))
    const key = cbor.map([1, 2], [3, -7], [-1, 1], [-2, point(x)], [-3, point(y)])
    const length = Buffer.from([0, this.id.length])
    const data = this.#data(rp.id, 0x45, Buffer.concat([Buffer.alloc(16), length, this.id, key]))
    const attestation = cbor.map([cbor.text('fmt'), cbor.text('none')], [cbor.text('attStmt'), cbor.map()], [cbor.text('authData'), cbor.bytes(data)])
    return this.#credential({
      attestationObject: attestation.toString('base64url'),
      clientDataJSON: this.#client('webauthn.create', challenge).toString('base64url'),
      transports: ['internal'],
    })
  }

  get({ rpId, challenge }) {
    this.counter += 1
    const [data, said] = [this.#data(rpId, 0x05), this.#client('webauthn.get', challenge)]
    const signature = sign('sha256', Buffer.concat([data, sha256(said)]), this.keys.privateKey)
    return this.#credential({
      authenticatorData: data.toString('base64url'),
      clientDataJSON: said.toString('base64url'),
      signature: signature.toString('base64url'),
      userHandle: this.user,
    })
  }

  #data(rpId, flags, rest = Buffer.alloc(0)) {
    const tail = Buffer.alloc(5)
    tail[0] = flags
    tail.writeUInt32BE(this.counter, 1)
    return Buffer.concat([sha256(rpId), tail, rest])
  }

  #client(type, challenge) {
    return Buffer.from(JSON.stringify({ type, challenge, origin: ORIGIN, crossOrigin: false }))
  }

  #credential(response) {
    const id = this.id.toString('base64url')
    return { id, rawId: id, type: 'public-key', response, clientExtensionResults: {}, authenticatorAttachment: 'platform' }
  }
}

const sha256 = (data) => createHash('sha256').update(data).digest()

/** As much of CBOR as an authenticator needs; numbers are small. */
const cbor = {
  head: (major, n) => Buffer.from(n < 24 ? [(major << 5) | n] : n < 256 ? [(major << 5) | 24, n] : [(major << 5) | 25, n >> 8, n & 255]),
  bytes: (data) => Buffer.concat([cbor.head(2, data.length), data]),
  text: (text) => Buffer.concat([cbor.head(3, text.length), Buffer.from(text)]),
  item: (value) => (typeof value !== 'number' ? value : value < 0 ? cbor.head(1, -1 - value) : cbor.head(0, value)),
  map: (...pairs) => Buffer.concat([cbor.head(5, pairs.length), ...pairs.flat().map(cbor.item)]),
}
