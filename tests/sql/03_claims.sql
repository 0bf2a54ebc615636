-- auth.uid() and its kin under every shape the settings come in.
do $$
declare
  u uuid := gen_random_uuid();
begin
  assert auth.uid() is null and auth.role() is null and auth.email() is null and auth.jwt() is null, 'nothing set';

  perform set_config('request.jwt.claims', '', true);
  perform set_config('request.jwt.claim.sub', '', true);
  assert auth.uid() is null and auth.role() is null and auth.email() is null and auth.jwt() is null, 'empty strings';

  perform set_config('request.jwt.claims', jsonb_build_object('sub', u, 'role', 'authenticated', 'email', 'a@b.c', 'aal', 'aal2')::text, true);
  assert auth.uid() = u and auth.role() = 'authenticated' and auth.email() = 'a@b.c' and auth.jwt() ->> 'aal' = 'aal2', 'claims';

  perform set_config('request.jwt.claims', '{"role": "anon"}', true);
  assert auth.uid() is null and auth.role() = 'anon', 'no sub';
  perform set_config('request.jwt.claims', '{"role": "anon", "sub": ""}', true);
  assert auth.uid() is null, 'empty sub';

  perform set_config('request.jwt.claims', '', true);
  perform set_config('request.jwt.claim.sub', u::text, true);
  perform set_config('request.jwt.claim.role', 'authenticated', true);
  perform set_config('request.jwt.claim.email', 'x@y.z', true);
  perform set_config('request.jwt.claim', '{"legacy": true}', true);
  assert auth.uid() = u and auth.role() = 'authenticated' and auth.email() = 'x@y.z' and auth.jwt() = '{"legacy": true}', 'settings per claim';
end
$$;

-- The body is bound at creation: an operator in front of the path changes nothing.
do $$
begin
  create schema shadow;
  create function shadow.evil(jsonb, text) returns text language sql as $f$ select '00000000-0000-0000-0000-00000000dead' $f$;
  create operator shadow.->> (leftarg = jsonb, rightarg = text, function = shadow.evil);
  perform set_config('search_path', 'shadow, pg_catalog', true);
  perform set_config('request.jwt.claims', '{"sub": "11111111-1111-1111-1111-111111111111"}', true);
  assert auth.uid()::text = '11111111-1111-1111-1111-111111111111', 'search path redirects auth.uid()';
  assert not auth.require_aal('aal2') and not auth.require_fresh('1 day'), 'search path redirects auth.require_aal()';
  perform set_config('search_path', '"$user", public, extensions', true);
  drop schema shadow cascade;
end
$$;
