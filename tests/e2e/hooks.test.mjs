// Hooks as a receiver meets them: calls of the real program, checked with the library of the specification.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { test } from 'node:test'
import { Webhook } from 'standardwebhooks'
import { Project, good, later, until } from './harness.mjs'

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
