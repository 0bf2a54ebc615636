// Background jobs as an application uses them: the real program, whose own worker runs them.
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { Project, good, until } from './harness.mjs'

const JOBS = `
create table public.greetings (user_id uuid not null default auth.uid(), name text not null, by text not null);
alter table public.greetings enable row level security;
create policy own on public.greetings to authenticated using (user_id = auth.uid()) with check (user_id = auth.uid());

create function public.greet(payload jsonb) returns jsonb language sql as $$
  insert into public.greetings (name, by) values (payload ->> 'name', current_user)
    returning jsonb_build_object('greeted', name)
$$;

create policy "users greet" on jobs.pending for insert to authenticated with check (name = 'sql:public.greet');
`

let project
before(async (t) => {
  project = await Project.start(t, { migrations: { '20260102000000_greetings.sql': JOBS } })
})

/** A call of /jobs/v1 by a signed-in user, or with a key. */
async function jobs(who, route, body) {
  const { session } = who.client ? (await who.client.auth.getSession()).data : {}
  const headers = session
    ? { apikey: project.status.publishable_key, authorization: `Bearer ${session.access_token}` }
    : { apikey: who }
  return project.fetch(`/jobs/v1/${route}`, { headers, body })
}

const over = (who, id) => until(`the end of job ${id}`, async () => {
  const { status, body } = await jobs(who, `jobs/${id}`)
  assert.equal(status, 200)
  return body.finished_at && body
})

test('a user enqueues what a policy allows, the job runs as that user, and its result is theirs', async () => {
  const [ana, ben] = [await project.person('ana'), await project.person('ben')]
  const enqueued = await jobs(ana, 'enqueue', { name: 'sql:public.greet', payload: { name: 'world' } })
  assert.equal(enqueued.status, 200, enqueued.text)
  assert.equal(enqueued.body.is_new, true)
  const job = await over(ana, enqueued.body.job.id)
  assert.equal(job.status, 'succeeded', JSON.stringify(job))
  assert.deepEqual(job.result, { greeted: 'world' })
  assert.equal(job.user_id, ana.id)
  assert.deepEqual(good(await ana.client.from('greetings').select()), [{ user_id: ana.id, name: 'world', by: 'authenticated' }])

  assert.deepEqual(good(await ben.client.from('greetings').select()), [])
  assert.equal((await jobs(ben, `jobs/${job.id}`)).status, 404)
  assert.deepEqual((await jobs(ben, 'jobs')).body, [])
  const other = await jobs(ben, 'enqueue', { name: 'sql:public.remind_all' })
  assert.equal(other.status, 403)
  assert.equal(other.body.code, 'insufficient_privilege')
  assert.equal((await jobs(project.status.publishable_key, 'jobs')).status, 401)
})

test('a secret key enqueues as supython\'s clients do, for a user', async () => {
  const ana = await project.person('ana')
  const { status, body } = await jobs(project.status.secret_key, 'enqueue', {
    name: 'sql:public.greet', payload: { name: 'from the server' }, queue: 'default', idempotency_key: `greet-${ana.id}`,
    user_id: ana.id, max_attempts: 3, backoff: 'exponential', backoff_base_s: 5, backoff_max_s: 300, version: 1,
    role: 'authenticated', claims_from: 'user_id',
  })
  assert.equal(status, 200, JSON.stringify(body))
  assert.equal((await over(project.status.secret_key, body.job.id)).status, 'succeeded')
  assert.equal(good(await ana.client.from('greetings').select().single()).name, 'from the server')
  const list = await jobs(project.status.secret_key, 'jobs?status=succeeded&queue=default&name=sql:public.greet&limit=5')
  assert.equal(list.body[0].id, body.job.id)
})

test('the example of a new project works', async () => {
  const ana = await project.person('ana')
  const todo = good(await ana.client.from('todos').insert({ title: 'Buy milk' }).select().single())
  assert.equal(todo.reminded_at, null)
  const [job] = (await jobs(ana, 'jobs')).body
  assert.deepEqual([job.name, job.status, job.payload], ['sql:public.remind', 'scheduled', { todo: todo.id }])

  const retried = await project.sb('jobs', 'retry', String(job.id))
  assert.equal(retried.code, 0, retried.stderr)
  assert.equal((await over(ana, job.id)).status, 'succeeded')
  assert.notEqual(good(await ana.client.from('todos').select().single()).reminded_at, null)
})

test('a payload of 20 MB is refused before it is read', async () => {
  const body = { name: 'a', payload: 'x'.repeat(20 << 20) }
  for (let round = 0; round < 10; round++) {
    const answer = await jobs(project.status.secret_key, 'enqueue', body)
    assert.equal(answer.status, 413)
    assert.equal(answer.body.code, 'request_entity_too_large')
  }
})

test('operators see the worker of sb dev, and readiness includes it', async () => {
  const ready = await project.fetch('/readyz')
  assert.equal(ready.body.checks.worker.status, 'ok')
  const { stdout } = await project.sb('jobs', 'workers', '--json')
  assert.equal(JSON.parse(stdout).workers.length, 1)
  const metrics = await project.fetch('/metrics')
  assert.match(metrics.text, /^sb_jobs_workers_alive 1$/m)
  assert.match(metrics.text, /^sb_jobs_finished_total\{name="sql",outcome="succeeded"\} \d+$/m)
})
