-- This Postgres build has no pgcrypto; say what to write instead of failing without a reason.
do $$
begin
  raise exception using
    errcode = 'feature_not_supported',
    message = 'extension "pgcrypto" is not part of this Postgres build',
    hint = 'Delete the line: gen_random_uuid(), sha256() and md5() are built in. For digest(), hmac() or crypt() set bin_dir to a complete Postgres.';
end
$$;
