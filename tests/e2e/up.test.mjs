// `sb up` and its companions: the same backend, in the background.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Project, good, later, processesOf, until } from './harness.mjs'

const PORTS = ['--port', '0', '--db-port', '0', '--rest-port', '0']

test('up, up again, reset, down', async (t) => {
  const project = await Project.init(t)
  const run = async (...args) => {
    const { code, stdout, stderr } = await project.sb(...args)
    assert.equal(code, 0, `sb ${args.join(' ')}: ${stderr}`)
    return stdout
  }
  later(t, () => project.sb('down'))
  project.status = JSON.parse(await run('up', '--engine', 'embedded', '--json', ...PORTS))
  const { client } = await project.person('ana')
  good(await client.from('todos').insert({ title: 'in the background' }))

  assert.equal(JSON.parse(await run('up', '--engine', 'embedded', '--json')).pid, project.status.pid)

  const refused = await project.sb('reset')
  assert.notEqual(refused.code, 0, 'reset without a terminal and without --yes')
  assert.equal(good(await client.from('todos').select()).length, 1)

  await run('reset', '--yes')
  project.status = JSON.parse(await run('status', '--json'))
  const again = await project.person('ana')
  assert.deepEqual(good(await again.client.from('todos').select()), [])

  await run('down')
  await until('the end of all processes', () => processesOf(project.folder).length === 0)
  assert.equal((await project.sb('status')).code, 1)
  await run('down') // nothing runs: fine
})
