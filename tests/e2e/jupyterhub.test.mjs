// A real relying party: JupyterHub signs a person in through sb with its generic OAuth authenticator.
//
// Its packages come from PyPI once and stay in the user's cache folder; without Python or pip the test fails and says
// what to type.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { ROOT, good, later, sharedProject, temporaryFolder, until } from './harness.mjs'

const PACKAGES = ['jupyterhub==6.1.1', 'oauthenticator==17.4.0']
const PROXY = path.join(ROOT, 'tests/e2e/node_modules/configurable-http-proxy/bin/configurable-http-proxy')
const HUB_START_MS = 60_000
const STOP_MS = 10_000

const shared = sharedProject({ env: { AUTH_OAUTH_SERVER_ENABLED: 'true' } })
let hub, cleanup
after(() => cleanup?.())

/** One hub for all tests, started by the first. */
function sharedHub() {
  return (hub ??= Hub.start({ after: (step) => (cleanup = step) }, shared()))
}

test('JupyterHub signs a person in', async () => {
  const project = shared()
  const hub = await sharedHub()
  const ana = await project.person('ana')

  // JupyterHub sends the browser away, and sb shows its page.
  const browser = new Browser()
  const page = await browser.open(`${hub.url}/hub/oauth_login?next=%2Fhub%2Fhome`)
  assert.equal(page.status, 200)
  assert.ok(page.url.startsWith(`${project.status.api_url}/auth/v1/oauth/consent?authorization_id=`), page.url)
  assert.match(page.text, /Class of 2026 &lt;b&gt;/)

  // What the page's script does.
  const id = new URL(page.url).searchParams.get('authorization_id')
  const answer = await consent(project, ana, id)
  const home = await browser.open(answer.redirect_url)
  assert.equal(home.status, 200)
  assert.equal(home.url, `${hub.url}/hub/home`)
  assert.ok(home.text.includes(ana.email), 'the home page does not name who is signed in')

  // A second time there is nothing to ask.
  const again = await new Browser().open(`${hub.url}/hub/oauth_login`)
  const next = new URL(again.url).searchParams.get('authorization_id')
  const remembered = await call(project, ana, `/auth/v1/oauth/authorizations/${next}`)
  assert.deepEqual(Object.keys(remembered), ['redirect_url'])

  // A code that was used, in another browser: neither of them gets in with it.
  const stolen = await new Browser().open(answer.redirect_url)
  assert.ok(stolen.status >= 400, `a used code was answered ${stolen.status}`)
})

test('who says no is not signed in', async () => {
  const project = shared()
  const hub = await sharedHub()
  const bo = await project.person('bo')
  const browser = new Browser()
  const page = await browser.open(`${hub.url}/hub/oauth_login`)
  const id = new URL(page.url).searchParams.get('authorization_id')
  const answer = await consent(project, bo, id, 'deny')
  const back = await browser.open(answer.redirect_url)
  assert.ok(back.status >= 400, `a refusal was answered ${back.status}`)
  const home = await browser.open(`${hub.url}/hub/home`)
  assert.notEqual(home.url, `${hub.url}/hub/home`)
})

/** A request in a person's name; the answer must be good. */
async function call(project, person, route, body) {
  const { access_token } = good(await person.client.auth.getSession()).session
  const origin = project.status.api_url
  const { status, text, body: answer } = await project.fetch(route, { headers: { authorization: `Bearer ${access_token}`, origin }, body })
  assert.equal(status, 200, text)
  return answer
}

async function consent(project, person, id, action = 'approve') {
  const asked = await call(project, person, `/auth/v1/oauth/authorizations/${id}`)
  assert.equal(asked.user.email, person.email)
  return call(project, person, `/auth/v1/oauth/authorizations/${id}/consent`, { action })
}

/** As much of a browser as a login needs: it keeps cookies by host and follows redirects. */
class Browser {
  #cookies = new Map()

  async open(url) {
    for (let hops = 0; hops < 15; hops += 1) {
      const { host } = new URL(url)
      const jar = this.#cookies.get(host) ?? new Map()
      this.#cookies.set(host, jar)
      const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
      const response = await fetch(url, { redirect: 'manual', headers: cookie ? { cookie } : {} })
      for (const line of response.headers.getSetCookie()) {
        const [, name, value] = line.match(/^([^=]+)=([^;]*)/)
        if (/expires=.*(1970|199\d|20[01]\d)|max-age=0/i.test(line) || value === '') jar.delete(name)
        else jar.set(name, value)
      }
      const location = response.headers.get('location')
      if (response.status < 300 || response.status > 399 || !location) return { status: response.status, url, text: await response.text() }
      await response.arrayBuffer()
      url = new URL(location, url).href
    }
    throw new Error(`too many redirects, the last one to ${url}`)
  }
}

/** A JupyterHub that knows nobody but who comes from sb. */
class Hub {
  static async start(t, project) {
    const bin = installed()
    const folder = temporaryFolder(t)
    const [port, hubPort, apiPort] = await freePorts(3)
    const hub = new Hub()
    hub.output = ''
    hub.url = `http://127.0.0.1:${port}`
    const client = await registered(project, `${hub.url}/hub/oauth_callback`)
    const file = path.join(folder, 'jupyterhub_config.py')
    fs.writeFileSync(file, settings(project, client, { port, hubPort, apiPort, url: hub.url }), { mode: 0o600 })
    const env = { PATH: `${bin}:${process.env.PATH}`, HOME: folder, LANG: 'C.UTF-8', CONFIGPROXY_AUTH_TOKEN: randomBytes(32).toString('hex') }
    const run = (program, args) => launched(t, hub, program, args, { cwd: folder, env })
    run(process.execPath, [PROXY, '--ip', '127.0.0.1', '--port', port, '--api-ip', '127.0.0.1', '--api-port', apiPort])
    const child = run(path.join(bin, 'jupyterhub'), ['-f', file])
    const ended = once(child, 'exit').then(([code]) => {
      throw new Error(`JupyterHub ended with ${code}`)
    })
    const ready = until('JupyterHub', async () => (await fetch(`${hub.url}/hub/api`)).ok, HUB_START_MS)
    await Promise.race([ready, ended]).catch((error) => {
      throw new Error(`${error.message}\n${hub.output}`)
    })
    ended.catch(() => {})
    return hub
  }
}

/** A program whose words are kept; it is stopped when the test is over. */
function launched(t, hub, program, args, options) {
  const child = spawn(program, args.map(String), { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  const closed = once(child, 'close')
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (hub.output += text))
  later(t, async () => {
    child.kill('SIGTERM')
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
    await closed
    clearTimeout(late)
  })
  return child
}

/** A client for the hub; its name holds markup on purpose. */
async function registered(project, callback) {
  const admin = project.client(project.status.service_role_key).auth.admin
  return good(await admin.oauth.createClient({
    client_name: 'Class of 2026 <b>',
    redirect_uris: [callback],
    token_endpoint_auth_method: 'client_secret_post',
  }))
}

/** Addresses are the ones discovery names. */
function settings(project, client, { port, hubPort, apiPort, url }) {
  const issuer = `${project.status.api_url}/auth/v1`
  const text = JSON.stringify
  return `
c.JupyterHub.bind_url = ${text(url)}
c.JupyterHub.hub_port = ${hubPort}
c.JupyterHub.db_url = "sqlite:///hub.sqlite"
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.redirect_to_server = False
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:${apiPort}"
c.JupyterHub.authenticator_class = "generic-oauth"
c.GenericOAuthenticator.client_id = ${text(client.client_id)}
c.GenericOAuthenticator.client_secret = ${text(client.client_secret)}
c.GenericOAuthenticator.oauth_callback_url = ${text(`http://127.0.0.1:${port}/hub/oauth_callback`)}
c.GenericOAuthenticator.authorize_url = ${text(`${issuer}/oauth/authorize`)}
c.GenericOAuthenticator.token_url = ${text(`${issuer}/oauth/token`)}
c.GenericOAuthenticator.userdata_url = ${text(`${issuer}/oauth/userinfo`)}
c.GenericOAuthenticator.scope = ["openid", "email"]
c.GenericOAuthenticator.username_claim = "email"
c.GenericOAuthenticator.allow_all = True
`
}

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => server.address().port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/** The programs of an environment with the packages, made once for these versions. */
function installed() {
  const cache = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache')
  const environment = path.join(cache, 'sb-e2e', PACKAGES.join('-').replaceAll('==', '-'))
  const bin = path.join(environment, 'bin')
  // Written last, so that a half-made environment is made anew.
  const stamp = path.join(environment, 'complete')
  if (fs.existsSync(stamp)) return bin
  fs.rmSync(environment, { recursive: true, force: true })
  const steps = [
    ['python3', ['-m', 'venv', environment]],
    [path.join(bin, 'python'), ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...PACKAGES]],
  ]
  for (const [program, args] of steps) {
    const { status, error, stderr } = spawnSync(program, args, { encoding: 'utf8', timeout: 600_000 })
    if (status === 0) continue
    throw new Error(`This test needs Python 3 with venv and pip, and could not install ${PACKAGES.join(' ')}.
  Debian: sudo apt-get install python3 python3-venv python3-pip
  macOS: brew install python
${error?.message ?? stderr}`)
  }
  fs.writeFileSync(stamp, '')
  return bin
}
