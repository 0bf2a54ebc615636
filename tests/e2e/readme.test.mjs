// The commands that people copy, run as they stand.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { Project, ROOT, SB, cleanEnv, run, shellBlock, temporaryFolder } from './harness.mjs'

function shell(block, cwd, env = {}) {
  return run('bash', ['-u', '-c', block], { cwd, env: cleanEnv(env) })
}

/** The JSON documents among the lines of a run, in order. */
function documents(stdout) {
  return stdout.split('\n').filter((line) => /^[[{]/.test(line)).map((line) => JSON.parse(line))
}

test('the smoke test of the README', async (t) => {
  // A copy of the repository's layout, so that a `make dev` of the developer is left alone.
  const copy = temporaryFolder(t)
  fs.mkdirSync(path.join(copy, 'target/debug'), { recursive: true })
  fs.symlinkSync(SB, path.join(copy, 'target/debug/sb'))
  fs.cpSync(path.join(ROOT, 'examples/todos'), path.join(copy, 'examples/todos'), {
    recursive: true,
    filter: (file) => path.basename(file) !== '.sb',
  })
  await new Project(path.join(copy, 'examples/todos')).dev(t)

  const block = shellBlock(path.join(ROOT, 'README.md'), 'smoke')
  for (const round of ['first', 'second']) {
    const { code, stdout, stderr } = await shell(block, copy)
    assert.equal(code, 0, stderr)
    assert.equal(stderr, '')
    const [added, hers, his, everybodys] = documents(stdout)
    assert.equal(added[0].title, 'Buy milk', `${round} run`)
    assert.deepEqual(hers, [{ title: 'Buy milk', done: false }])
    assert.deepEqual(his, [])
    assert.deepEqual(everybodys, [])
  }
})

test('the tour of a new project\'s README', async (t) => {
  const project = await Project.start(t, { name: 'shop' })
  const readme = path.join(project.folder, 'README.md')
  assert.match(fs.readFileSync(readme, 'utf8'), /^# shop\n/)
  const env = { PATH: `${path.dirname(SB)}:${process.env.PATH}` }
  const { code, stdout, stderr } = await shell(shellBlock(readme, 'tour'), project.folder, env)
  assert.equal(code, 0, stderr)
  assert.equal(stderr, '')
  const [added, own, others] = documents(stdout)
  assert.equal(added[0].title, 'Buy milk')
  assert.deepEqual(own, [{ title: 'Buy milk', done: false }])
  assert.deepEqual(others, [])
})
