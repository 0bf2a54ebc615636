-- The functions of uuid-ossp 1.1 in SQL, for Postgres builds without the module. Same names, arguments and results;
-- version 1 uses a random node identifier instead of the network card's address (RFC 9562, section 6.10), so
-- uuid_generate_v1() and uuid_generate_v1mc() are the same.
-- "begin atomic" bodies are bound when they are created, so the extension can be moved to any schema.

\echo Use "create extension "uuid-ossp"" to load this file. \quit

create function uuid_nil() returns uuid
language sql immutable strict parallel safe
return '00000000-0000-0000-0000-000000000000'::uuid;

create function uuid_ns_dns() returns uuid
language sql immutable strict parallel safe
return '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid;

create function uuid_ns_url() returns uuid
language sql immutable strict parallel safe
return '6ba7b811-9dad-11d1-80b4-00c04fd430c8'::uuid;

create function uuid_ns_oid() returns uuid
language sql immutable strict parallel safe
return '6ba7b812-9dad-11d1-80b4-00c04fd430c8'::uuid;

create function uuid_ns_x500() returns uuid
language sql immutable strict parallel safe
return '6ba7b814-9dad-11d1-80b4-00c04fd430c8'::uuid;

create function uuid_generate_v4() returns uuid
language sql volatile strict parallel safe
return gen_random_uuid();

-- 60 bits of 100 ns since 1582-10-15 (122192928000000000 of them before 1970), then a random clock sequence and a
-- random node with the multicast bit set. The clock has microseconds; the last digit is random.
create function uuid_generate_v1mc() returns uuid
language sql volatile strict parallel safe
begin atomic
  select (
    substr(ticks.hex, 9, 8) || substr(ticks.hex, 5, 4) || '1' || substr(ticks.hex, 2, 3)
    || overlay(encode(random_bytes.clock, 'hex') placing to_hex((get_byte(random_bytes.clock, 0) & 63) | 128) from 1 for 2)
    || overlay(encode(random_bytes.node, 'hex') placing lpad(to_hex(get_byte(random_bytes.node, 0) | 1), 2, '0') from 1 for 2)
  )::uuid
  from (
    select lpad(to_hex(
      (extract(epoch from clock_timestamp()) * 1000000)::bigint * 10
      + floor(random() * 10)::bigint + 122192928000000000), 16, '0') as hex
  ) as ticks,
  (
    select substr(source.bytes, 1, 2) as clock, substr(source.bytes, 11, 6) as node
    from (select uuid_send(gen_random_uuid()) as bytes) as source
  ) as random_bytes;
end;

create function uuid_generate_v1() returns uuid
language sql volatile strict parallel safe
return uuid_generate_v1mc();

create function uuid_generate_v3(namespace uuid, name text) returns uuid
language sql immutable strict parallel safe
begin atomic
  select overlay(
    overlay(hash.hex placing '3' from 13 for 1)
    placing to_hex((get_byte(decode(hash.hex, 'hex'), 8) & 63) | 128) from 17 for 2
  )::uuid
  from (select md5(uuid_send(namespace) || convert_to(name, 'UTF8')) as hex) as hash;
end;

-- Postgres has no SHA-1 of its own (FIPS 180-4, section 6.1). Numbers are 64 bits wide, so that the 32-bit additions
-- cannot overflow; each is cut back with "& mask".
create function uuid_generate_v5(namespace uuid, name text) returns uuid
language plpgsql immutable strict parallel safe
set search_path = pg_catalog
as $$
declare
  mask constant bigint := 4294967295;
  message bytea := uuid_send(namespace) || convert_to(name, 'UTF8');
  bits bigint := octet_length(message) * 8;
  h0 bigint := 1732584193;
  h1 bigint := 4023233417;
  h2 bigint := 2562383102;
  h3 bigint := 271733878;
  h4 bigint := 3285377520;
  a bigint; b bigint; c bigint; d bigint; e bigint; f bigint; k bigint; t bigint;
  w bigint[];
  bytes bytea;
begin
  message := message || '\x80'::bytea;
  message := message || decode(repeat('00', (120 - octet_length(message) % 64) % 64), 'hex') || int8send(bits);
  for block in 0 .. octet_length(message) / 64 - 1 loop
    w := array_fill(0::bigint, array[80]);
    for i in 1 .. 16 loop
      t := block * 64 + (i - 1) * 4;
      w[i] := (get_byte(message, t::int)::bigint << 24) | (get_byte(message, t::int + 1) << 16)
        | (get_byte(message, t::int + 2) << 8) | get_byte(message, t::int + 3);
    end loop;
    for i in 17 .. 80 loop
      t := w[i - 3] # w[i - 8] # w[i - 14] # w[i - 16];
      w[i] := ((t << 1) | (t >> 31)) & mask;
    end loop;
    a := h0; b := h1; c := h2; d := h3; e := h4;
    for i in 1 .. 80 loop
      if i <= 20 then
        f := (b & c) | ((mask # b) & d);
        k := 1518500249;
      elsif i <= 40 then
        f := b # c # d;
        k := 1859775393;
      elsif i <= 60 then
        f := (b & c) | (b & d) | (c & d);
        k := 2400959708;
      else
        f := b # c # d;
        k := 3395469782;
      end if;
      t := ((((a << 5) | (a >> 27)) & mask) + f + e + k + w[i]) & mask;
      e := d;
      d := c;
      c := ((b << 30) | (b >> 2)) & mask;
      b := a;
      a := t;
    end loop;
    h0 := (h0 + a) & mask;
    h1 := (h1 + b) & mask;
    h2 := (h2 + c) & mask;
    h3 := (h3 + d) & mask;
    h4 := (h4 + e) & mask;
  end loop;
  -- A UUID is the first 16 of the 20 bytes, so h4 is not needed.
  bytes := decode(lpad(to_hex(h0), 8, '0') || lpad(to_hex(h1), 8, '0') || lpad(to_hex(h2), 8, '0') || lpad(to_hex(h3), 8, '0'), 'hex');
  bytes := set_byte(bytes, 6, (get_byte(bytes, 6) & 15) | 80);
  bytes := set_byte(bytes, 8, (get_byte(bytes, 8) & 63) | 128);
  return encode(bytes, 'hex')::uuid;
end
$$;
