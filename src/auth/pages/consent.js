// The built-in page: signs in, asks, and sends the browser back to the client. The tokens stay in this script's memory:
// there is no cookie that another site could make use of, and the session is ended when the page is done.
'use strict'

const page = document.getElementById('request')
const part = (id) => document.getElementById(id)
const authorization = 'authorizations/' + encodeURIComponent(page.dataset.authorization)
let token = ''

async function call(path, body) {
  const headers = { 'x-supabase-api-version': '2024-01-01' }
  if (token) headers.authorization = 'Bearer ' + token
  if (body !== undefined) headers['content-type'] = 'application/json'
  const response = await fetch(path, {
    method: body === undefined ? 'GET' : 'POST',
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: 'omit',
    cache: 'no-store',
  })
  const answer = await response.json().catch(() => ({}))
  if (!response.ok) throw Object.assign(new Error(answer.message || 'Something went wrong; try again.'), { code: answer.code })
  return answer
}

function show(id) {
  for (const other of ['sign-in', 'second-factor', 'consent']) part(other).hidden = other !== id
}

async function leave(url) {
  await fetch('../logout?scope=local', { method: 'POST', headers: { authorization: 'Bearer ' + token }, credentials: 'omit' }).catch(() => {})
  window.location.assign(url)
}

// Runs one step, with what can be pressed off in the meantime.
async function step(work) {
  const problem = part('problem')
  const buttons = document.querySelectorAll('button')
  problem.hidden = true
  for (const button of buttons) button.disabled = true
  try {
    await work()
  } catch (error) {
    problem.textContent = error.message
    problem.hidden = false
  } finally {
    for (const button of buttons) button.disabled = false
  }
}

async function ask() {
  const answer = await call(authorization)
  if (answer.redirect_url) return leave(answer.redirect_url)
  part('who').textContent = answer.user.email
  show('consent')
}

// Second factors whose code can be typed, and where it is found.
const CODES = {
  totp: 'Enter the code of your authenticator app.',
  phone: 'Enter the code that was sent to your phone.',
}

let factor
let challenge
async function signedIn(session) {
  token = session.access_token
  const factors = ((session.user && session.user.factors) || []).filter((one) => one.status === 'verified')
  if (!factors.length) return ask()
  factor = factors.find((one) => one.factor_type === 'totp') || factors.find((one) => one.factor_type === 'phone')
  // A security key answers to the site of the application, not to this page.
  if (!factor) throw new Error('Your second factor cannot be used on this page. Add an authenticator app to your account, and begin again.')
  await begin()
  part('how').textContent = CODES[factor.factor_type]
  show('second-factor')
}

// Has a code sent where one is.
async function begin() {
  challenge = await call('../factors/' + encodeURIComponent(factor.id) + '/challenge', {})
}

part('sign-in').addEventListener('submit', (event) => {
  event.preventDefault()
  const form = new FormData(event.target)
  step(async () => {
    const credentials = { email: form.get('email'), password: form.get('password') }
    await signedIn(await call('../token?grant_type=password', credentials))
  })
})

part('second-factor').addEventListener('submit', (event) => {
  event.preventDefault()
  const code = String(new FormData(event.target).get('code')).replaceAll(' ', '')
  step(async () => {
    const verify = () => call('../factors/' + encodeURIComponent(factor.id) + '/verify', { challenge_id: challenge.id, code })
    const session = await verify().catch(async (error) => {
      if (error.code !== 'mfa_challenge_expired') throw error
      await begin()
      if (factor.factor_type === 'phone') throw new Error('The code has expired. A new one was sent.')
      return verify()
    })
    token = session.access_token
    await ask()
  })
})

for (const action of ['approve', 'deny']) {
  part(action).addEventListener('click', () => step(async () => {
    const answer = await call(authorization + '/consent', { action })
    await leave(answer.redirect_url)
  }))
}
