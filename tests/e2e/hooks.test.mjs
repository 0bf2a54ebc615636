// Hooks as a receiver meets them: calls of the real program, checked with the library of the specification.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import path from 'node:path'
import { test } from 'node:test'
import { Webhook } from 'standardwebhooks'
import { Project, good, later, temporaryFolder, until } from './harness.mjs'

/** A server that keeps what it is sent; the first call is answered 500. */
async function receiver(t) {
  const calls = []
  const server = http.createServer(async (request, response) => {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    calls.push({ headers: request.headers, body: Buffer.concat(chunks).toString() })
    response.writeHead(calls.length === 1 ? 500 : 200, { 'content-type': 'application/json' }).end('{"ok":true}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  later(t, () => server.close())
  return { url: `http://localhost:${server.address().port}/hooks`, calls }
}

test('calls verify with standardwebhooks, are listed, and are repeated on demand', async (t) => {
  const { url, calls } = await receiver(t)
  const project = await Project.start(t, {
    migrations: {
      '20260102000000_hooks.sql': `select hooks.on('user.signup', '${url}', name => 'welcome');
        select hooks.on_change('public.todos', '${url}', '{INSERT}', name => 'todos');`,
    },
  })
  const secret = (await project.sb('hooks', 'secret', url)).stdout.trim()
  const webhook = new Webhook(secret)

  const { client, email } = await project.person('ana')
  // The first answer was 500: the second attempt comes under the same id.
  await until('the sign-up', () => calls.length === 2)
  assert.equal(calls[0].headers['webhook-id'], calls[1].headers['webhook-id'])
  const told = webhook.verify(calls[1].body, calls[1].headers)
  assert.equal(told.event, 'user.signup')
  assert.equal(told.user.email, email)

  const todo = good(await client.from('todos').insert({ title: 'ring' }).select().single())
  await until('the todo', () => calls.length === 3)
  const change = webhook.verify(calls[2].body, calls[2].headers)
  assert.deepEqual(change, { type: 'INSERT', table: 'todos', schema: 'public', record: todo, old_record: null })

  const forged = new Webhook((await project.sb('hooks', 'secret', 'http://localhost:1')).stdout.trim())
  assert.throws(() => forged.verify(calls[2].body, calls[2].headers), /signature/i)
  assert.throws(() => webhook.verify(calls[2].body.replace('ring', 'wrong'), calls[2].headers), /signature/i)

  const { hooks } = JSON.parse((await project.sb('hooks', 'list', '--json')).stdout)
  assert.deepEqual(hooks.map((hook) => [hook.name, hook.event, hook.table, hook.enabled]), [
    ['todos', 'table.change', 'public.todos', true],
    ['welcome', 'user.signup', null, true],
  ])
  const delivered = await until('the log', async () => {
    const { deliveries } = JSON.parse((await project.sb('hooks', 'deliveries', '--json')).stdout)
    return deliveries.every((one) => one.status === 'succeeded') && deliveries
  })
  assert.deepEqual(delivered.map((one) => [one.hook, one.attempts, one.response_status]), [['todos', 1, 200], ['welcome', 2, 200]])

  const again = await project.sb('hooks', 'redeliver', String(delivered[0].id))
  assert.match(again.stdout, /^\d+\n$/, again.stderr)
  await until('the repetition', () => calls.length === 4)
  assert.deepEqual(webhook.verify(calls[3].body, calls[3].headers), change)

  const none = await project.sb('hooks', 'redeliver', '999999')
  assert.equal(none.code, 1)
  assert.match(none.stderr, /job 999999 is no delivery of a hook/)
  const wrong = await project.sb('hooks', 'secret', 'example.com')
  assert.equal(wrong.code, 2)
  const table = await project.sb('hooks', 'deliveries', '--hook', 'todos', '--status', 'succeeded')
  assert.match(table.stdout, /todos/)
})

/** An https server with a certificate that it signed itself; gives its address and the certificate's file. */
async function encrypted(t) {
  const folder = temporaryFolder(t)
  const [key, cert] = ['key.pem', 'cert.pem'].map((file) => path.join(folder, file))
  const made = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=localhost']
  const names = ['-addext', 'subjectAltName=DNS:localhost', '-addext', 'basicConstraints=critical,CA:FALSE']
  execFileSync('openssl', ['req', ...made, ...names, '-keyout', key, '-out', cert], { stdio: 'ignore' })
  const server = https.createServer({ key: fs.readFileSync(key), cert: fs.readFileSync(cert) }, (_, response) => response.end('thanks'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  later(t, () => server.close())
  return { url: `https://localhost:${server.address().port}/`, cert }
}

test('a receiver with https is called when its certificate is trusted, and only then', async (t) => {
  const [trusted, unknown] = [await encrypted(t), await encrypted(t)]
  const project = await Project.start(t, {
    migrations: {
      '20260102000000_hooks.sql': `select hooks.on('user.signup', '${trusted.url}', name => 'trusted');
        select hooks.on('user.signup', '${unknown.url}', name => 'unknown', max_attempts => 1);`,
    },
    env: { SSL_CERT_FILE: trusted.cert },
  })
  await project.person('ana')
  const deliveries = await until('both to be over', async () => {
    const { deliveries } = JSON.parse((await project.sb('hooks', 'deliveries', '--json')).stdout)
    return deliveries.every((one) => one.finished_at) && Object.fromEntries(deliveries.map((one) => [one.hook, one]))
  })
  assert.deepEqual(deliveries.trusted.result, { status: 200, body: 'thanks' })
  assert.equal(deliveries.unknown.status, 'failed')
  assert.match(deliveries.unknown.last_error, /^cannot connect to localhost: .*certificate/)
})
