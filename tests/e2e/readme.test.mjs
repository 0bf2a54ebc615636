// The commands that people copy, run as they stand.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { Project, ROOT, SB, cleanEnv, run, shellBlock, temporaryFolder } from './harness.mjs'

function shell(block, cwd, env = {}) {
  // With its input from a socket, as here, bash would else take itself for a remote shell and read what the machine has for one.
  return run('bash', ['--norc', '-u', '-c', block], { cwd, env: cleanEnv(env) })
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

test('the README lists the commands that exist, and links lead somewhere', async () => {
  const readme = fs.readFileSync(path.join(ROOT, 'README.md'), 'utf8')
  const { stdout } = await run(SB, ['--help'])
  const [, commands] = stdout.match(/Commands:\n([\s\S]*?)\n\n/)
  const exist = [...commands.matchAll(/^ {2}(\w+)/gm)].map((match) => match[1]).filter((name) => name !== 'help')
  const rows = readme.split('\n').filter((line) => line.startsWith('| `sb '))
  const listed = rows.flatMap((line) => [...line.split('|')[1].matchAll(/`sb (\w+)/g)].map((match) => match[1]))
  assert.deepEqual(listed.sort(), exist.sort())

  const pages = fs.readdirSync(path.join(ROOT, 'docs'), { recursive: true }).filter((file) => file.endsWith('.md'))
  for (const page of ['README.md', 'CONTRIBUTING.md', ...pages.map((file) => path.join('docs', file))]) {
    const text = fs.readFileSync(path.join(ROOT, page), 'utf8')
    for (const [, target] of text.matchAll(/\]\((?!https?:)([^)#]+)/g)) {
      assert.ok(fs.existsSync(path.resolve(path.dirname(path.join(ROOT, page)), target)), `${page} links to ${target}`)
    }
  }
})

test('what make prints is what it has', async () => {
  const { code, stdout } = await run('make', ['-s'], { cwd: ROOT })
  assert.equal(code, 0)
  const targets = fs.readFileSync(path.join(ROOT, 'Makefile'), 'utf8').match(/^\.PHONY: (.*)$/m)[1].split(' ')
  assert.deepEqual([...stdout.matchAll(/^ {2}make ([\w-]+) +\S/gm)].map((match) => match[1]).sort(), targets.sort())
})
