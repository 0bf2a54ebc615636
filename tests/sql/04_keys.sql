-- Signing keys: constraints, and publication to PostgREST within the writer's
-- transaction.
create function pg_temp.published()
returns jsonb
language sql
as $$
  select substr(c, length('pgrst.jwt_secret=') + 1)::jsonb
    from pg_db_role_setting s
    cross join unnest(s.setconfig) c
    where s.setrole = 'authenticator'::regrole
      and s.setdatabase = (select oid from pg_database where datname = current_database())
      and c like 'pgrst.jwt_secret=%'
$$;

-- As PostgREST sees it: the role setting, or what db-pre-config sets.
create function pg_temp.seen_by_pgrst()
returns text[]
language plpgsql
as $$
declare
  answer jsonb;
begin
  perform set_config('role', 'none', true);
  perform sb.pgrst_pre_config();
  answer := current_setting('pgrst.jwt_secret')::jsonb;
  if not exists (select from sb.limitations where name = 'pgrst_jwt_secret') then
    assert answer = pg_temp.published(), 'role setting and pre-config disagree';
  end if;
  return array(select k ->> 'kid' from jsonb_array_elements(answer -> 'keys') k);
end
$$;

create function pg_temp.ec(x text)
returns jsonb
language sql
as $$
  select jsonb_build_object('kty', 'EC', 'crv', 'P-256', 'x', rpad(x, 43, 'A'), 'y', rpad(x, 43, 'B'))
$$;

create function pg_temp.rsa()
returns jsonb
language sql
as $$
  select jsonb_build_object('kty', 'RSA', 'n', repeat('n', 342), 'e', 'AQAB')
$$;

create function pg_temp.state_of(statement text)
returns text
language plpgsql
as $$
begin
  execute statement;
  return 'ok';
exception
  when others then
    return sqlstate;
end
$$;

do $$
declare
  jwk jsonb;
begin
  truncate auth.signing_keys;
  assert pg_temp.seen_by_pgrst() = '{}', 'no key is an empty set';

  insert into auth.signing_keys (kid, alg, status, public_jwk, private_key, activated_at, created_at)
    values ('one', 'RS256', 'active', pg_temp.rsa(), '\x01', now(), now());
  assert pg_temp.seen_by_pgrst() = array['one'], 'first key';

  insert into auth.signing_keys (kid, alg, public_jwk, private_key, created_at)
    values ('two', 'ES256', pg_temp.ec('t') || '{"use": "enc", "note": "stray"}', '\x02', now() + interval '1 s');
  assert pg_temp.seen_by_pgrst() = array['one', 'two'], 'standby is published';

  jwk := current_setting('pgrst.jwt_secret')::jsonb -> 'keys' -> 1;
  assert jwk ->> 'alg' = 'ES256' and jwk ->> 'use' = 'sig' and jwk -> 'key_ops' = '["verify"]' and not jwk ? 'note' and not jwk ? 'n',
    format('shape of a key: %s', jwk);
  assert current_setting('pgrst.jwt_secret') !~ 'private', 'private part';

  -- Rotation: both verify, one signs.
  update auth.signing_keys set status = 'previous', retired_at = now() where kid = 'one';
  update auth.signing_keys set status = 'active', activated_at = now() where kid = 'two';
  assert pg_temp.seen_by_pgrst() = array['one', 'two'], 'previous is published';
  update auth.signing_keys set status = 'revoked', private_key = null where kid = 'one';
  assert pg_temp.seen_by_pgrst() = array['two'], 'revoked is not published';

  assert pg_temp.state_of($q$update auth.signing_keys set status = 'active', private_key = '\x01' where kid = 'one'$q$) = '23505', 'two active keys';
  assert pg_temp.state_of($q$update auth.signing_keys set private_key = '\x01' where kid = 'one'$q$) = '23514', 'revoked with private part';
  assert pg_temp.state_of($q$update auth.signing_keys set private_key = null where kid = 'two'$q$) = '23514', 'active without private part';
  assert pg_temp.state_of($q$insert into auth.signing_keys (kid, alg, public_jwk) values ('h', 'HS256', '{"kty": "oct", "k": "secret"}')$q$) = '23514', 'HS256';
  assert pg_temp.state_of($q$insert into auth.signing_keys (kid, alg, public_jwk) values ('h', 'RS256', '{"kty": "oct", "k": "secret"}')$q$) = '23514', 'symmetric under RS256';
  assert pg_temp.state_of($q$insert into auth.signing_keys (kid, alg, public_jwk) values ('p', 'ES256', pg_temp.ec('p') || '{"d": "private"}')$q$) = '23514', 'private JWK';
  assert pg_temp.state_of($q$insert into auth.signing_keys (kid, alg, public_jwk) values ('p', 'RS256', pg_temp.ec('p'))$q$) = '23514', 'kty and alg';
  assert pg_temp.state_of($q$insert into auth.signing_keys (kid, alg, public_jwk) values ('p', 'RS256', '{"kty": "RSA", "n": "short", "e": "AQAB"}')$q$) = '23514', 'small modulus';
  assert pg_temp.state_of($q$insert into auth.signing_keys (kid, alg, public_jwk) values ('p', 'ES256', pg_temp.ec('p') || '{"kid": "q"}')$q$) = '23514', 'kid and JWK';

  -- A rotation that fails leaves the published set as it was.
  begin
    insert into auth.signing_keys (kid, alg, public_jwk) values ('lost', 'ES256', pg_temp.ec('l'));
    raise exception using errcode = 'SB001';
  exception
    when sqlstate 'SB001' then
      null;
  end;
  assert pg_temp.seen_by_pgrst() = array['two'], 'rolled back';

  delete from auth.signing_keys;
  assert pg_temp.seen_by_pgrst() = '{}', 'delete';
end
$$;

-- authenticator itself, as PostgREST logs in: read-only transaction included.
begin read only;
set local role authenticator;
select sb.pgrst_pre_config();
do $$
begin
  assert current_setting('pgrst.jwt_secret') = '{"keys": []}', 'pre-config as authenticator';
end
$$;
rollback;

-- API keys.
do $$
begin
  insert into auth.api_keys (name, type, hash, prefix)
    values ('web', 'publishable', sha256('web'), 'sb_publishable_abc');
  assert (select role = 'anon' from auth.api_keys where name = 'web'), 'role of a publishable key';
  insert into auth.api_keys (name, type, role, hash, prefix)
    values ('server', 'secret', 'service_role', sha256('server'), 'sb_secret_abc');
  assert pg_temp.state_of($q$insert into auth.api_keys (name, type, role, hash, prefix) values ('x', 'publishable', 'service_role', sha256('x'), 'x')$q$) = '23514', 'publishable with power';
  assert pg_temp.state_of($q$insert into auth.api_keys (name, type, hash, prefix) values ('x', 'secret', 'plain', 'x')$q$) = '23514', 'not a hash';
  assert pg_temp.state_of($q$insert into auth.api_keys (name, type, hash, prefix) values ('web', 'secret', sha256('y'), 'x')$q$) = '23505', 'name twice';
  assert pg_temp.state_of($q$insert into auth.api_keys (name, type, hash, prefix) values ('x', 'secret', sha256('web'), 'x')$q$) = '23505', 'hash twice';
  delete from auth.api_keys;
end
$$;
