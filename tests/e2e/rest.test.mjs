// Rows through the API: the policies of the project decide, whatever the client asks.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { good, refused, sharedProject } from './harness.mjs'

const FUNCTIONS = `
create function public.count_todos(only_done boolean default false)
returns bigint
language sql
stable
set search_path = ''
as $$
  select count(*)
  from public.todos
  where done or not only_done
$$;

create table public.notes (
  id int primary key,
  body text not null
);

insert into public.notes
  values (1, 'nobody may read this');
`

const shared = sharedProject({ migrations: { '20260102000000_more.sql': FUNCTIONS } })

test('insert, select, update, delete', async () => {
  const project = shared()
  const { client, id } = await project.person('ana')
  const todo = good(await client.from('todos').insert({ title: 'Buy milk' }).select().single())
  assert.equal(todo.user_id, id)
  assert.equal(todo.done, false)

  const [changed] = good(await client.from('todos').update({ done: true }).eq('id', todo.id).select())
  assert.equal(changed.done, true)
  assert.deepEqual(good(await client.from('todos').select('title,done')), [{ title: 'Buy milk', done: true }])

  good(await client.from('todos').delete().eq('id', todo.id))
  assert.deepEqual(good(await client.from('todos').select()), [])
})

test('two users never meet', async () => {
  const project = shared()
  const ana = await project.person('ana')
  const ben = await project.person('ben')
  const hers = good(await ana.client.from('todos').insert({ title: 'hers' }).select().single())

  assert.deepEqual(good(await ben.client.from('todos').select()), [])
  assert.deepEqual(good(await ben.client.from('todos').select().eq('id', hers.id)), [])
  assert.deepEqual(good(await ben.client.from('todos').update({ title: 'his' }).eq('id', hers.id).select()), [])
  assert.deepEqual(good(await ben.client.from('todos').delete().eq('id', hers.id).select()), [])
  refused(await ben.client.from('todos').insert({ title: 'for her', user_id: ana.id }), { code: '42501' })
  assert.equal(good(await ana.client.from('todos').select().single()).title, 'hers')
})

test('without signing in nothing is seen or written', async () => {
  const project = shared()
  const { client } = await project.person('ana')
  good(await client.from('todos').insert({ title: 'private' }))
  for (const key of [project.status.publishable_key, project.status.anon_key]) {
    const anon = project.client(key)
    assert.deepEqual(good(await anon.from('todos').select()), [])
    refused(await anon.from('todos').insert({ title: 'x', user_id: '00000000-0000-0000-0000-000000000000' }), { code: '42501' })
  }
})

test('a table without a policy is closed', async () => {
  const project = shared()
  const { client } = await project.person('ana')
  assert.deepEqual(good(await client.from('notes').select()), [])
  const secret = project.client(project.status.secret_key)
  assert.equal(good(await secret.from('notes').select()).length, 1)
})

test('functions run as the caller', async () => {
  const project = shared()
  const ana = await project.person('ana')
  const ben = await project.person('ben')
  good(await ana.client.from('todos').insert([{ title: 'a', done: false }, { title: 'b', done: true }]))
  assert.equal(good(await ana.client.rpc('count_todos')), 2)
  assert.equal(good(await ana.client.rpc('count_todos', { only_done: true })), 1)
  assert.equal(good(await ana.client.rpc('count_todos', {}, { get: true })), 2)
  assert.equal(good(await ben.client.rpc('count_todos')), 0)
})

test('counts, ranges, filters and order', async () => {
  const project = shared()
  const { client } = await project.person('ana')
  good(await client.from('todos').insert([1, 2, 3, 4, 5].map((n) => ({ title: `todo ${n}`, done: n > 3 }))))

  const page = await client.from('todos').select('title', { count: 'exact' }).order('title', { ascending: false }).range(1, 2)
  assert.deepEqual(good(page), [{ title: 'todo 4' }, { title: 'todo 3' }])
  assert.equal(page.count, 5)
  assert.equal(page.status, 206)

  const head = await client.from('todos').select('*', { count: 'exact', head: true }).eq('done', true)
  assert.equal(head.count, 2)
  assert.equal(good(await client.from('todos').select().like('title', '%3')).length, 1)
  assert.equal(good(await client.from('todos').select().or('title.eq.todo 1,title.eq.todo 5')).length, 2)
})

test('PostgREST\'s own errors arrive as they are', async () => {
  const project = shared()
  const { client } = await project.person('ana')
  refused(await client.from('todos').insert({ title: '' }), { code: '23514' })
  // The one that is retold: PostgREST 12 itself passes on Postgres' 42P01.
  refused(await client.from('no_such_table').select(), { code: 'PGRST205' })
  const { status, error } = await client.from('todos').select().single()
  assert.equal(status, 406)
  assert.equal(error.code, 'PGRST116')
})

test('both kinds of key work, a made-up one does not', async () => {
  const project = shared()
  const { client } = await project.person('ana')
  good(await client.from('todos').insert({ title: 'seen by the server' }))
  for (const key of [project.status.secret_key, project.status.service_role_key]) {
    assert.ok(good(await project.client(key).from('todos').select('title')).some((todo) => todo.title === 'seen by the server'))
  }
  const { status } = await project.fetch('/rest/v1/todos', { headers: { apikey: 'sb_publishable_made_up_by_somebody' } })
  assert.equal(status, 401)
})

test('nothing of the framework is reachable', async () => {
  const project = shared()
  const headers = { apikey: project.status.secret_key }
  for (const schema of ['auth', 'sb']) {
    const { status } = await project.fetch('/rest/v1/users', { headers: { ...headers, 'accept-profile': schema } })
    assert.equal(status, 406, `schema ${schema} is exposed`)
  }
})
