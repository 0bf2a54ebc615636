// Auth hooks, visitors and phone numbers, as an application with supabase-js meets them.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { test } from 'node:test'
import { Webhook } from 'standardwebhooks'
import { Project, good, later, refused } from './harness.mjs'

const SECRET = 'MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
const PASSWORD = 'correct horse battery staple'

const MESSAGES = `
  create table public.messages (id bigint generated always as identity primary key, phone text, otp text);
  grant insert on public.messages to supabase_auth_admin;
  create policy "the hook writes" on public.messages for insert to supabase_auth_admin with check (true);
  create function public.send_sms(event jsonb) returns jsonb language plpgsql as $$
    begin
      insert into public.messages (phone, otp) values (event #>> '{sms,phone}', event #>> '{sms,otp}');
      return '{}';
    end $$;
  grant execute on function public.send_sms to supabase_auth_admin;
  revoke execute on function public.send_sms from public, anon, authenticated;`

test('a visitor, a number, and claims of the project', async (t) => {
  const project = await Project.start(t, {
    migrations: {
      '20260102000000_messages.sql': MESSAGES,
      '20260102000001_claims.sql': `
        create table public.plans (user_id uuid primary key references auth.users on delete cascade, plan text not null);
        grant select on public.plans to supabase_auth_admin;
        create policy "the hook reads" on public.plans for select to supabase_auth_admin using (true);
        create function public.claims(event jsonb) returns jsonb language sql stable as $$
          select jsonb_set(event, '{claims,plan}', coalesce(
            (select to_jsonb(p.plan) from public.plans p where p.user_id = (event ->> 'user_id')::uuid), '"free"'))
        $$;
        grant execute on function public.claims to supabase_auth_admin;
        revoke execute on function public.claims from public, anon, authenticated;
        create function public.my_plan() returns text language sql stable as $$ select auth.jwt() ->> 'plan' $$;`,
    },
    env: {
      AUTH_ANONYMOUS_ENABLED: 'true',
      AUTH_HOOK_SEND_SMS_URI: 'pg-functions://postgres/public/send_sms',
      AUTH_HOOK_CUSTOM_ACCESS_TOKEN_URI: 'pg-functions://postgres/public/claims',
    },
  })
  const service = project.client(project.status.secret_key)
  const code = async () => good(await service.from('messages').select('otp').order('id', { ascending: false }).limit(1).single()).otp

  await t.test('a visitor signs in without an address and keeps the account by giving one', async () => {
    const client = project.client()
    const { user } = good(await client.auth.signInAnonymously({ options: { data: { cart: 3 } } }))
    assert.equal(user.is_anonymous, true)
    assert.equal(good(await client.auth.getClaims()).claims.is_anonymous, true)
    good(await client.auth.updateUser({ email: 'was-anonymous@example.com', password: PASSWORD }))
    good(await client.auth.refreshSession())
    assert.equal(good(await client.auth.getClaims()).claims.is_anonymous, false)
    const again = project.client()
    const signedIn = good(await again.auth.signInWithPassword({ email: 'was-anonymous@example.com', password: PASSWORD }))
    assert.equal(signedIn.user.id, user.id)
    assert.deepEqual(signedIn.user.user_metadata, { cart: 3 })
  })

  await t.test('a number signs up, is confirmed by its code, and signs in', async () => {
    const client = project.client()
    const phone = '+15550001111'
    const { user, session } = good(await client.auth.signUp({ phone, password: PASSWORD }))
    assert.equal(session, null)
    refused(await client.auth.verifyOtp({ phone, token: '000000', type: 'sms' }), { code: 'otp_expired', status: 403 })
    const confirmed = good(await client.auth.verifyOtp({ phone, token: await code(), type: 'sms' }))
    assert.equal(confirmed.user.id, user.id)
    assert.equal(good(await project.client().auth.signInWithPassword({ phone, password: PASSWORD })).user.id, user.id)
  })

  await t.test('a number signs in with a code alone', async () => {
    const client = project.client()
    const phone = '+15550002222'
    good(await client.auth.signInWithOtp({ phone }))
    const { user } = good(await client.auth.verifyOtp({ phone, token: await code(), type: 'sms' }))
    assert.equal(user.phone, '15550002222')
    const soon = refused(await client.auth.signInWithOtp({ phone }), { status: 429 })
    assert.equal(soon.code, 'over_sms_send_rate_limit')
  })

  await t.test('claims of the project reach policies and functions, from the next token on', async () => {
    const { client, id } = await project.person('ana')
    assert.equal(good(await client.rpc('my_plan')), 'free')
    good(await service.from('plans').insert({ user_id: id, plan: 'pro' }))
    good(await client.auth.refreshSession())
    assert.equal(good(await client.auth.getClaims()).claims.plan, 'pro')
    assert.equal(good(await client.rpc('my_plan')), 'pro')
  })
})

test('an address is asked with calls that verify with standardwebhooks', async (t) => {
  const calls = []
  const server = http.createServer(async (request, response) => {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    const body = Buffer.concat(chunks).toString()
    calls.push(new Webhook(SECRET).verify(body, request.headers))
    const refuse = calls.at(-1).user.email.startsWith('bad')
    const answer = refuse ? { error: { http_code: 403, message: 'Not you' } } : {}
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  later(t, () => server.close())
  const project = await Project.start(t, {
    env: {
      AUTH_HOOK_BEFORE_USER_CREATED_URI: `http://localhost:${server.address().port}/hook`,
      AUTH_HOOK_BEFORE_USER_CREATED_SECRETS: `v1,whsec_${SECRET}`,
    },
  })
  const { email } = await project.person('ana')
  assert.equal(calls.at(-1).user.email, email)
  const error = refused(await project.client().auth.signUp({ email: 'bad@example.com', password: PASSWORD }), { status: 403 })
  assert.equal(error.message, 'Not you')
})
