//! Every setting of `sb`, by section: name, type, default, environment variable and what it does.
//!
//! `[live]` marks what takes effect without a restart. `docs/reference/config.md` is generated from here.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::Secret;
use super::section::section;
use super::value::words;

section! {
    /// The HTTP server.
    Server in "server" {
        /// Address to listen on. Use 0.0.0.0 behind a proxy or in a container.
        host: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST), "SB_HOST";
        /// Port to listen on; 0 takes any free one.
        port: u16 = 8000, "SB_PORT";
        /// The address clients reach `sb` under, without a path; tokens name it as issuer. Default: the address listened on.
        api_url: Option<String> = None, "SB_API_URL";
        /// The address of the application, where mails and redirects lead.
        [live] site_url: String = "http://localhost:3000".to_owned(), "SITE_URL";
        /// Origins whose pages may call the API; `*` allows any (cookies are never accepted, so that is safe), empty none.
        cors_origins: Vec<String> = vec!["*".to_owned()], "CORS_ORIGINS";
        /// Proxies (addresses or networks such as 10.0.0.0/8) whose `X-Forwarded-For` is believed.
        [live] trusted_proxies: Vec<String> = Vec::new(), "TRUSTED_PROXIES";
        /// Largest request body outside `/rest/v1`, in bytes.
        max_body_bytes: u64 = 1_048_576, "SECURITY_MAX_BODY_BYTES";
        /// Seconds a shutdown waits for requests in flight.
        shutdown_timeout_s: u64 = 30, "SB_SHUTDOWN_TIMEOUT_S";
        /// Bearer token that `/metrics` asks for. Without one only loopback addresses may read metrics, and not through a proxy.
        metrics_token: Option<Secret> = None, "SB_METRICS_TOKEN";
    }
}

section! {
    /// Response headers that browsers act on.
    Security in "security" {
        /// Send the security headers.
        headers_enabled: bool = true, "SECURITY_HEADERS_ENABLED";
        /// Send Strict-Transport-Security. Default: when `server.api_url` starts with https.
        hsts_enabled: Option<bool> = None, "SECURITY_HSTS_ENABLED";
        /// Its max-age in seconds.
        hsts_max_age: u64 = 31_536_000, "SECURITY_HSTS_MAX_AGE";
        /// X-Frame-Options.
        frame_options: String = "DENY".to_owned(), "SECURITY_FRAME_OPTIONS";
        /// Referrer-Policy.
        referrer_policy: String = "strict-origin-when-cross-origin".to_owned(), "SECURITY_REFERRER_POLICY";
        /// Content-Security-Policy of API answers.
        csp: String = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'".to_owned(), "SECURITY_CSP";
    }
}

words! {
    /// What the API roles may do with tables that a migration creates.
    DefaultGrants {
        /// As Supabase SQL expects: table grants, and row level security on for every new table.
        Supabase = "supabase",
        /// Nothing is granted; migrations grant.
        None = "none",
    }
}

section! {
    /// The database.
    Database in "db" {
        /// Connection string of the database owner. Unset: `sb dev` and `sb up` run a Postgres of their own.
        url: Option<Secret> = None, "DATABASE_URL";
        /// Connections of the API pool.
        pool_max_size: usize = 10, "DB_POOL_MAX_SIZE";
        /// Milliseconds a request waits for a connection before it is answered 503.
        pool_timeout_ms: u64 = 5_000, "DB_POOL_TIMEOUT_MS";
        /// Milliseconds a statement may run; 0 means no limit.
        statement_timeout_ms: u64 = 30_000, "DB_STATEMENT_TIMEOUT_MS";
        /// Roles a token may name.
        allowed_roles: Vec<String> = vec!["anon".to_owned(), "authenticated".to_owned(), "service_role".to_owned(), "guest".to_owned()], "DB_ALLOWED_ROLES";
        /// What the API roles may do with new tables: "supabase" or "none".
        default_grants: DefaultGrants = DefaultGrants::Supabase, "DB_DEFAULT_GRANTS";
        /// Password of the role `authenticator`, with which PostgREST and `sb` connect. Default: derived from the master key.
        authenticator_password: Option<Secret> = None, "AUTHENTICATOR_PASSWORD";
        /// The project's migrations, relative to the project folder.
        migrations_dir: PathBuf = PathBuf::from("migrations"), "SB_MIGRATIONS_DIR";
        /// SQL applied by `sb dev` and `sb reset` after the first migration of an empty database.
        seed: PathBuf = PathBuf::from("seed.sql"), "SB_SEED";
        /// Apply pending migrations when `sb serve` starts.
        migrate_on_start: bool = true, "SB_MIGRATE_ON_START";
    }
}

words! {
    /// Signature algorithm of access tokens.
    Algorithm {
        /// RSA, 2048 bit.
        Rs256 = "RS256",
        /// ECDSA on P-256: smaller tokens, cheaper signatures.
        Es256 = "ES256",
    }
}

section! {
    /// Signing keys and tokens.
    Jwt in "jwt" {
        /// Algorithm of newly made keys: "RS256" or "ES256".
        alg: Algorithm = Algorithm::Rs256, "JWT_ALG";
        /// Audience of access tokens.
        aud: String = "authenticated".to_owned(), "JWT_AUD";
        /// Issuer of access tokens. Default: `server.api_url` + /auth/v1.
        issuer: Option<String> = None, "JWT_ISSUER";
        /// Seals private keys in the database and derives the passwords of `sb`'s roles. The same on all nodes. Default: made in `.sb/master.key`.
        master_key: Option<Secret> = None, "SB_MASTER_KEY";
        /// PEM text of a private key to import as the active one.
        private_key: Option<Secret> = None, "JWT_PRIVATE_KEY";
        /// File with such a key.
        private_key_path: Option<PathBuf> = None, "JWT_PRIVATE_KEY_PATH";
        /// Key id of the imported key. Default: its RFC 7638 thumbprint.
        kid: Option<String> = None, "JWT_KID";
        /// Seconds a retired key keeps verifying after the longest token it signed has expired.
        rotation_grace_seconds: u64 = 3_600, "JWT_ROTATION_GRACE_SECONDS";
        /// HS256 secret of a project that migrates from elsewhere; its tokens are accepted by the gateway and the API. Unset: no symmetric token is.
        legacy_secret: Option<Secret> = None, "SB_JWT_LEGACY_SECRET";
    }
}

words! {
    /// What becomes of an account when a provider vouches for its address.
    Linking {
        /// The identity joins it.
        Auto = "auto",
        /// The user signs in as before and links it.
        Ask = "ask",
        /// It does not join by its address.
        Never = "never",
    }
}

words! {
    /// Who checks captchas.
    CaptchaProvider {
        /// hCaptcha.
        Hcaptcha = "hcaptcha",
        /// Cloudflare Turnstile.
        Turnstile = "turnstile",
    }
}

words! {
    /// What opening a mailed link does.
    VerifyGet {
        /// A page with a button.
        Confirm = "confirm",
        /// It is used at once.
        Consume = "consume",
    }
}

words! {
    /// Which requests of PostgREST look at the session of their token.
    InstantRevocation {
        /// None.
        Off = "off",
        /// Those that may change something.
        Mutations = "mutations",
        /// All.
        All = "all",
    }
}

section! {
    /// Accounts and sessions.
    Auth in "auth" {
        /// Seconds an access token lives.
        [live] access_token_ttl: u64 = 3_600, "ACCESS_TOKEN_TTL";
        /// Seconds an unused refresh token lives.
        [live] refresh_token_ttl: u64 = 2_592_000, "REFRESH_TOKEN_TTL";
        /// Seconds within which concurrent refreshes with one token all get the same successor.
        [live] refresh_token_reuse_interval: u64 = 10, "REFRESH_TOKEN_REUSE_INTERVAL";
        /// Seconds after which a session ends although it is used; 0: never.
        [live] sessions_timebox: u64 = 0, "AUTH_SESSIONS_TIMEBOX";
        /// Seconds without a refresh after which a session ends; 0: when its refresh token expires.
        [live] sessions_inactivity_timeout: u64 = 0, "AUTH_SESSIONS_INACTIVITY_TIMEOUT";
        /// A sign-in ends the user's other sessions.
        [live] sessions_single_per_user: bool = false, "AUTH_SESSIONS_SINGLE_PER_USER";
        /// Which requests of PostgREST are refused at once (401) when the session of their token was ended or its user is banned: "off", "mutations" or "all". Otherwise they are good until the access token expires.
        instant_revocation: InstantRevocation = InstantRevocation::Off, "AUTH_INSTANT_REVOCATION";
        /// Postgres role of new accounts: "authenticated", or "guest" where an admin has to trust them first. One of `db.allowed_roles`, not `service_role`.
        [live] default_role: String = "authenticated".to_owned(), "AUTH_DEFAULT_ROLE";
        /// Accounts may have a user name and sign in with it, also without an address.
        [live] usernames_enabled: bool = false, "AUTH_USERNAMES_ENABLED";
        /// Everybody may ask for the id of a user name: `GET /users/{username}`.
        [live] profile_lookup: bool = false, "AUTH_PROFILE_LOOKUP";
        /// Sign-ups give no session until the address is confirmed.
        [live] require_email_confirmation: bool = false, "AUTH_REQUIRE_EMAIL_CONFIRMATION";
        /// Nobody can sign up; accounts come from the admin API.
        [live] disable_signup: bool = false, "AUTH_DISABLE_SIGNUP";
        /// Fewest characters of a new password.
        [live] password_min_length: usize = 6, "AUTH_PASSWORD_MIN_LENGTH";
        /// Sets of characters, separated by `:`, of each of which a new password needs one (`\\:` stands for a colon in a set), or `letters_digits`, `lower_upper_letters_digits`, `lower_upper_letters_digits_symbols`.
        [live] password_required_characters: String = String::new(), "AUTH_PASSWORD_REQUIRED_CHARACTERS";
        /// How hard a new password must be to guess, from 0 (not at all) to 4, as zxcvbn measures it.
        [live] password_min_strength: u32 = 0, "AUTH_PASSWORD_MIN_STRENGTH";
        /// Refuse new passwords that have leaked somewhere. The first five digits of their SHA-1 are sent to the address below.
        [live] password_hibp_enabled: bool = false, "AUTH_PASSWORD_HIBP_ENABLED";
        /// Refuse all new passwords while that address does not answer.
        [live] password_hibp_fail_closed: bool = false, "AUTH_PASSWORD_HIBP_FAIL_CLOSED";
        /// Where the five digits are appended: Have I Been Pwned, or a copy of its ranges.
        [live] password_hibp_url: String = "https://api.pwnedpasswords.com/range/".to_owned(), "AUTH_PASSWORD_HIBP_URL";
        /// Numbers count as confirmed without a code.
        [live] sms_autoconfirm: bool = false, "AUTH_SMS_AUTOCONFIRM";
        /// Digits of the codes in text messages, 6 to 10.
        [live] sms_otp_length: u32 = 6, "AUTH_SMS_OTP_LENGTH";
        /// Seconds such a code is good for.
        [live] sms_otp_ttl: u64 = 60, "AUTH_SMS_OTP_TTL";
        /// Numbers with a code of their own, to which nothing is sent: `15550001:123456,15550002:654321`. For tests.
        [live] sms_test_otp: Option<Secret> = None, "AUTH_SMS_TEST_OTP";
        /// Seconds between two text messages to one number; 0 means no pause.
        [live] sms_interval_seconds: u32 = 60, "AUTH_SMS_INTERVAL_SECONDS";
        /// Text messages to one number within an hour.
        [live] sms_per_hour: u32 = 5, "AUTH_SMS_PER_HOUR";
        /// Text messages of the whole project within an hour.
        [live] sms_per_hour_in_all: u32 = 30, "AUTH_SMS_PER_HOUR_IN_ALL";
        /// Visitors can sign in without an address, and give one later.
        [live] anonymous_enabled: bool = false, "AUTH_ANONYMOUS_ENABLED";
        /// Anonymous sign-ins per hour and client address, on all nodes together.
        [live] rate_limit_anonymous_per_hour: u32 = 30, "AUTH_RATE_LIMIT_ANONYMOUS_PER_HOUR";
        /// Who checks that a person signs up or in: "hcaptcha" or "turnstile". Unset: nobody.
        [live] captcha_provider: Option<CaptchaProvider> = None, "AUTH_CAPTCHA_PROVIDER";
        /// The secret that the provider gave for this site.
        [live] captcha_secret: Option<Secret> = None, "AUTH_CAPTCHA_SECRET";
        /// Where solutions are checked. Default: the provider's address.
        [live] captcha_verify_url: Option<String> = None, "AUTH_CAPTCHA_VERIFY_URL";
        /// Hosts on whose pages a captcha may have been solved. Empty: any that the provider admits.
        [live] captcha_hostnames: Vec<String> = Vec::new(), "AUTH_CAPTCHA_HOSTNAMES";
        /// Changing a password needs the current one.
        [live] require_current_password: bool = false, "AUTH_REQUIRE_CURRENT_PASSWORD";
        /// Memory of one password hash (argon2id), in KiB.
        argon2_memory_kib: u32 = 19_456, "AUTH_ARGON2_MEMORY_KIB";
        /// Its passes.
        argon2_iterations: u32 = 2, "AUTH_ARGON2_ITERATIONS";
        /// Its lanes.
        argon2_parallelism: u32 = 1, "AUTH_ARGON2_PARALLELISM";
        /// Password hashes computed at once; 0 means one per core.
        argon2_concurrency: usize = 0, "AUTH_ARGON2_CONCURRENCY";
        /// Password requests that may wait for their turn before more are answered 503.
        argon2_queue: usize = 64, "AUTH_ARGON2_QUEUE";
        /// Limit sign-ins, sign-ups and refreshes per client address (IPv6: per /64), and make guesses at an account's password wait longer and longer. Requests with a service key are not limited per address.
        [live] rate_limit_enabled: bool = true, "AUTH_RATE_LIMIT_ENABLED";
        /// Seconds the numbers below are for. They may come all at once; what is used up refills evenly.
        [live] rate_limit_window_seconds: u32 = 60, "AUTH_RATE_LIMIT_WINDOW_SECONDS";
        /// Password sign-ins per window and address, on all nodes together.
        [live] rate_limit_token_per_window: u32 = 30, "AUTH_RATE_LIMIT_TOKEN_PER_WINDOW";
        /// Sign-ups per window and address, on all nodes together.
        [live] rate_limit_signup_per_window: u32 = 30, "AUTH_RATE_LIMIT_SIGNUP_PER_WINDOW";
        /// Challenges and answers of second factors and passkeys per window and address, on all nodes together.
        [live] rate_limit_mfa_per_window: u32 = 30, "AUTH_RATE_LIMIT_MFA_PER_WINDOW";
        /// Refreshes per window and address, on each node; more are answered 503, which keeps clients signed in.
        [live] rate_limit_refresh_per_window: u32 = 150, "AUTH_RATE_LIMIT_REFRESH_PER_WINDOW";
        /// Other services can sign people in through this project (OAuth 2.1, OpenID Connect).
        [live] oauth_server_enabled: bool = false, "AUTH_OAUTH_SERVER_ENABLED";
        /// The page of the application that asks people for their consent; it gets `?authorization_id=`. Unset: a built-in page.
        [live] oauth_server_authorization_url: Option<String> = None, "AUTH_OAUTH_SERVER_AUTHORIZATION_URL";
        /// Programs may register themselves as OAuth clients (RFC 7591).
        [live] oauth_dynamic_registration: bool = false, "AUTH_OAUTH_DYNAMIC_REGISTRATION";
        /// OAuth clients that register themselves, per window and address, on all nodes together.
        [live] rate_limit_oauth_register_per_window: u32 = 10, "AUTH_RATE_LIMIT_OAUTH_REGISTER_PER_WINDOW";
        /// Sign-ins that OAuth clients begin, per window and address, on all nodes together.
        [live] rate_limit_oauth_authorize_per_window: u32 = 150, "AUTH_RATE_LIMIT_OAUTH_AUTHORIZE_PER_WINDOW";
        /// Services for which `GET /auth/v1/token/service?aud=` issues tokens of a minute. Empty: none.
        [live] service_token_audiences: Vec<String> = Vec::new(), "AUTH_SERVICE_TOKEN_AUDIENCES";
        /// Serve `/auth/v1/openapi.json`, which describes every route. Default: in `sb dev` only.
        openapi: Option<bool> = None, "AUTH_OPENAPI";
        /// Where links and sign-ins may lead besides `server.site_url`: addresses such as `https://*.example.com/**` (`*` is a part of a host name or path, `**` any path), or exactly as `myapp://callback`.
        [live] redirect_urls: Vec<String> = Vec::new(), "AUTH_REDIRECT_URLS";
        /// Further origins where mailed links may lead, to any path.
        [live] magic_link_redirect_origins: Vec<String> = Vec::new(), "MAGIC_LINK_REDIRECT_ALLOWLIST";
        /// Further origins where sign-ins with a provider may lead, to any path.
        [live] oauth_redirect_origins: Vec<String> = Vec::new(), "OAUTH_REDIRECT_ALLOWLIST";
        /// Refuse a `redirect_to` that is not allowed, instead of leading to `server.site_url`.
        [live] redirect_strict: bool = false, "AUTH_REDIRECT_STRICT";
        /// Take code challenges of method `plain`, which clients send where a page has no cryptography (plain http).
        [live] allow_pkce_plain: bool = false, "AUTH_ALLOW_PKCE_PLAIN";
        /// Seconds a mailed link lives, unless a line below says otherwise.
        [live] otp_ttl: u64 = 3_600, "AUTH_OTP_TTL";
        /// Seconds a mailed code lives. Default: as long as the link beside it.
        [live] otp_token_ttl: Option<u64> = None, "OTP_TOKEN_TTL";
        /// Seconds a link to recover an account lives.
        [live] recover_token_ttl: Option<u64> = None, "RECOVER_TOKEN_TTL";
        /// Seconds a link to sign in lives.
        [live] magic_link_token_ttl: Option<u64> = None, "MAGIC_LINK_TOKEN_TTL";
        /// Seconds a link that confirms a sign-up lives.
        [live] signup_confirm_token_ttl: Option<u64> = None, "SIGNUP_CONFIRM_TOKEN_TTL";
        /// Seconds a link that confirms a new address lives.
        [live] email_change_token_ttl: Option<u64> = None, "EMAIL_CHANGE_TOKEN_TTL";
        /// Digits of a mailed code, from 6 to 10.
        [live] otp_length: u32 = 6, "AUTH_OTP_LENGTH";
        /// Seconds between two mails to one address.
        [live] mail_interval_seconds: u32 = 60, "AUTH_MAIL_INTERVAL_SECONDS";
        /// Mails to one address per hour.
        [live] mails_per_hour: u32 = 10, "AUTH_MAILS_PER_HOUR";
        /// What opening a mailed link does: "confirm" shows a page with a button, so that a mail scanner uses nothing up; "consume" goes on at once.
        [live] verify_get: VerifyGet = VerifyGet::Confirm, "AUTH_VERIFY_GET";
        /// A new address is confirmed from the present one too.
        [live] double_confirm_email_changes: bool = true, "AUTH_DOUBLE_CONFIRM_EMAIL_CHANGES";
        /// A session older than a day needs a code from `GET /reauthenticate` to change the password.
        [live] require_reauthentication: bool = false, "AUTH_REQUIRE_REAUTHENTICATION";
        /// Never tell, by an answer or its time, whether an address has an account. Off: as Supabase, `/otp` with `create_user: false` and a change of address do.
        [live] hide_accounts: bool = false, "AUTH_HIDE_ACCOUNTS";
        /// Requests of `/otp` and typed codes per window and address, on all nodes together.
        [live] rate_limit_otp_per_window: u32 = 30, "AUTH_RATE_LIMIT_OTP_PER_WINDOW";
        /// The same for `/magiclink`.
        [live] rate_limit_magiclink_per_window: u32 = 30, "AUTH_RATE_LIMIT_MAGICLINK_PER_WINDOW";
        /// The same for `/recover`.
        [live] rate_limit_recover_per_window: u32 = 30, "AUTH_RATE_LIMIT_RECOVER_PER_WINDOW";
        /// The same for links, `/resend`, `/reauthenticate` and changes of address.
        [live] rate_limit_confirm_per_window: u32 = 30, "AUTH_RATE_LIMIT_CONFIRM_PER_WINDOW";
        /// An identity provider vouches for the address of an account: `"auto"`, the identity joins the account; `"ask"`, the user signs in as before and links it; `"never"`. An account whose address nobody has confirmed is emptied before its owner gets it.
        [live] linking: Linking = Linking::Auto, "AUTH_LINKING";
        /// Signed-in users may link and unlink identities.
        [live] manual_linking: bool = false, "AUTH_MANUAL_LINKING";
        /// Linking an identity needs PKCE, with which nobody can be made to link an identity to somebody else's account.
        [live] link_requires_pkce: bool = false, "AUTH_LINK_REQUIRES_PKCE";
        /// Seconds an identity provider has to answer.
        [live] external_timeout_s: u32 = 10, "AUTH_EXTERNAL_TIMEOUT_S";
        /// Sign-ins with a provider begun per window and address, on all nodes together.
        [live] rate_limit_oauth_per_window: u32 = 60, "AUTH_RATE_LIMIT_OAUTH_PER_WINDOW";
        /// Users can enrol authenticator apps (TOTP).
        [live] mfa_totp_enroll_enabled: bool = true, "AUTH_MFA_TOTP_ENROLL_ENABLED";
        /// Codes of enrolled authenticator apps are accepted.
        [live] mfa_totp_verify_enabled: bool = true, "AUTH_MFA_TOTP_VERIFY_ENABLED";
        /// Users can enrol security keys and platform authenticators as second factors.
        [live] mfa_webauthn_enroll_enabled: bool = true, "AUTH_MFA_WEBAUTHN_ENROLL_ENABLED";
        /// Enrolled security keys and platform authenticators are accepted as second factors.
        [live] mfa_webauthn_verify_enabled: bool = true, "AUTH_MFA_WEBAUTHN_VERIFY_ENABLED";
        /// Users can enrol phones that get codes by text message. It is the weakest factor, and each code costs; it needs a hook that sends messages.
        [live] mfa_phone_enroll_enabled: bool = false, "AUTH_MFA_PHONE_ENROLL_ENABLED";
        /// Codes sent to enrolled phones are accepted.
        [live] mfa_phone_verify_enabled: bool = true, "AUTH_MFA_PHONE_VERIFY_ENABLED";
        /// Users with a second factor can make recovery codes.
        [live] mfa_recovery_codes_enroll_enabled: bool = true, "AUTH_MFA_RECOVERY_CODES_ENROLL_ENABLED";
        /// Recovery codes are accepted.
        [live] mfa_recovery_codes_verify_enabled: bool = true, "AUTH_MFA_RECOVERY_CODES_VERIFY_ENABLED";
        /// Second factors a user may have, recovery codes aside.
        [live] mfa_max_factors: usize = 10, "AUTH_MFA_MAX_FACTORS";
        /// Users can register passkeys and sign in with them.
        [live] passkeys_enabled: bool = true, "AUTH_PASSKEYS_ENABLED";
        /// Passkeys a user may have.
        [live] passkeys_max: usize = 10, "AUTH_PASSKEYS_MAX";
        /// A sign-in with a passkey counts as two factors (aal2): the authenticator is one, and it has asked for a PIN or a biometric. Supabase counts it as one.
        [live] passkey_is_aal2: bool = false, "AUTH_PASSKEY_IS_AAL2";
        /// The domain that passkeys and security keys belong to; changing it makes all of them useless. Default: the host of `server.site_url`.
        [live] webauthn_rp_id: Option<String> = None, "AUTH_WEBAUTHN_RP_ID";
        /// What authenticators call the site. Default: the domain.
        [live] webauthn_rp_name: Option<String> = None, "AUTH_WEBAUTHN_RP_NAME";
        /// Origins whose pages may use them, on that domain or below it. Default: the origin of `server.site_url`. For the domain `localhost` any port will do.
        [live] webauthn_rp_origins: Vec<String> = Vec::new(), "AUTH_WEBAUTHN_RP_ORIGINS";
        /// Days that entries of the audit log are kept.
        audit_retention_days: u16 = 90, "AUTH_AUDIT_RETENTION_DAYS";
    }
}

words! {
    /// Who fires schedules.
    CronBackend {
        /// The workers themselves.
        Inproc = "inproc",
        /// The extension `pg_cron`.
        PgCron = "pg_cron",
        /// Nobody.
        Off = "off",
    }
}

section! {
    /// Background jobs.
    Jobs in "jobs" {
        /// Serve `/jobs/v1`.
        enabled: bool = true, "JOBS_ENABLED";
        /// `/readyz` fails while no worker is alive. Always so in `sb dev`, which runs one.
        expect_worker: bool = false, "JOBS_EXPECT_WORKER";
        /// `sb dev` runs a worker in its own process.
        dev_inprocess: bool = true, "JOBS_DEV_INPROCESS";
        /// Queues a worker serves. Empty: all there are.
        queues: Vec<String> = Vec::new(), "JOBS_QUEUES";
        /// Jobs a worker runs at a time.
        concurrency: usize = 10, "JOBS_CONCURRENCY";
        /// Longest pause between two looks at the queue, in seconds. A worker is woken earlier by what is enqueued through `sb`.
        poll_interval_s: f64 = 1.0, "JOBS_POLL_INTERVAL_S";
        /// Seconds between a worker's signs of life. One that misses four is given up, and its jobs run elsewhere.
        heartbeat_s: f64 = 5.0, "JOBS_HEARTBEAT_S";
        /// Seconds that running jobs may take to end when a worker stops; then they are handed back.
        drain_timeout_s: u64 = 30, "JOBS_DRAIN_TIMEOUT_S";
        /// Seconds an attempt may take, unless the job or its kind says otherwise.
        timeout_s: u64 = 300, "JOBS_TIMEOUT_S";
        /// Who fires schedules: `"inproc"`, the workers themselves; `"pg_cron"`, that extension; `"off"`, nobody.
        cron_backend: CronBackend = CronBackend::Inproc, "JOBS_CRON_BACKEND";
        /// Longest pause between two looks at the schedules, in seconds. Changes and ticks are acted on without it.
        cron_poll_interval_s: f64 = 30.0, "JOBS_CRON_POLL_INTERVAL_S";
        /// Port on which `sb worker run` serves `/livez`, `/readyz` and `/metrics`; 0 takes any free one. Unset: none.
        metrics_port: Option<u16> = None, "JOBS_METRICS_PORT";
        /// Address for that port. From elsewhere than loopback `/metrics` needs `server.metrics_token`.
        metrics_host: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST), "JOBS_METRICS_HOST";
        /// Days that finished jobs are kept.
        history_days: u16 = 7, "JOBS_HISTORY_DAYS";
        /// Days that dead letters are kept.
        dead_days: u16 = 30, "JOBS_DEAD_DAYS";
    }
}

words! {
    /// What becomes of mails.
    MailBackend {
        /// A line in the log. The text itself is shown in development only.
        Console = "console",
        /// An SMTP server.
        Smtp = "smtp",
        /// The development inbox: kept in the database, shown at `/inbox`.
        Inbox = "inbox",
    }
}

section! {
    /// Mail: confirmations, links, codes and notices.
    Mail in "mail" {
        /// What becomes of mails: `"smtp"`; `"inbox"`, kept and shown at `/inbox`; `"console"`, a line in the log. Default: inbox in `sb dev`, else console.
        backend: Option<MailBackend> = None, "EMAIL_BACKEND";
        /// The sender: an address, or `Name <address>`.
        [live] from: String = "sb@localhost".to_owned(), "EMAIL_FROM";
        /// The SMTP server.
        smtp_host: String = "localhost".to_owned(), "SMTP_HOST";
        /// Its port: 587 with STARTTLS, 465 with `mail.smtp_tls`.
        smtp_port: u16 = 587, "SMTP_PORT";
        /// The account to sign in with. Empty: none.
        smtp_username: Option<String> = None, "SMTP_USERNAME";
        /// Its password.
        smtp_password: Option<Secret> = None, "SMTP_PASSWORD";
        /// Encrypt with STARTTLS, and send nothing to a server that does not offer it. Off only for a relay on a network you trust.
        smtp_starttls: bool = true, "SMTP_STARTTLS";
        /// Encrypt from the first byte instead (port 465).
        smtp_tls: bool = false, "SMTP_TLS";
        /// Seconds that sending one mail may take, from the connection to the server's last word.
        smtp_timeout_s: u64 = 30, "SMTP_TIMEOUT_S";
        /// Mails sent at a time, over all workers, so that a slow server leaves room for other jobs.
        [live] smtp_concurrency: u16 = 4, "SMTP_CONCURRENCY";
        /// The folder of templates that replace the built-in ones, relative to the project folder.
        [live] templates_dir: PathBuf = PathBuf::from("templates"), "SB_MAIL_TEMPLATES_DIR";
        /// Mails the development inbox keeps; older ones go, and whatever is older than a week.
        [live] inbox_max_messages: u32 = 500, "SB_MAIL_INBOX_MAX_MESSAGES";
        /// Show `/inbox` to other machines too. Whoever reads it can sign in as anybody.
        [live] inbox_public: bool = false, "SB_MAIL_INBOX_PUBLIC";
    }
}

section! {
    /// Calls that `sb` makes to addresses somebody chose: hooks and jobs that are addresses.
    Outbound in "outbound" {
        /// Networks besides the public internet that may be called, such as 10.1.0.0/16. `sb dev` adds the loopback addresses.
        allow: Vec<String> = Vec::new(), "OUTBOUND_ALLOW";
    }
}

section! {
    /// The gateway to PostgREST. Any setting of PostgREST itself can stand here too, under PostgREST's name (`db-max-rows = 1000`).
    Rest in "rest" {
        /// A PostgREST that runs elsewhere. Unset: `sb` runs one.
        url: Option<String> = None, "POSTGREST_URL";
        /// The PostgREST program. Default: the one on PATH, else a pinned release, downloaded once.
        bin: Option<PathBuf> = None, "SB_POSTGREST_BIN";
        /// Port of the PostgREST that `sb` runs; a busy one is replaced by a free one.
        port: u16 = 54_321, "SB_POSTGREST_PORT";
        /// Refuse requests without an API key instead of treating them as `anon`.
        [live] require_apikey: bool = false, "SB_REQUIRE_APIKEY";
        /// Seconds to wait for PostgREST to begin its answer.
        timeout_s: u64 = 60, "SB_REST_TIMEOUT_S";
        /// Largest request body, in bytes.
        max_body_bytes: u64 = 16_777_216, "SB_REST_MAX_BODY_BYTES";
    }
}

section! {
    /// The Postgres that `sb dev` and `sb up` run when `db.url` is unset.
    Stack in "stack" {
        /// Folder with `postgres` and `initdb`. Default: a pinned release, downloaded once, else the system's.
        bin_dir: Option<PathBuf> = None, "SB_POSTGRES_BIN_DIR";
        /// Port of Postgres; a busy one is replaced by a free one.
        port: u16 = 54_322, "SB_POSTGRES_PORT";
        /// Flush every commit to disk. Turn off only for throw-away databases.
        durable: bool = true, "SB_POSTGRES_DURABLE";
        /// Folder of the database, its keys and logs, relative to the project folder.
        state_dir: PathBuf = PathBuf::from(".sb"), "SB_STATE_DIR";
        /// Where downloads are kept. Default: the user's cache folder.
        cache_dir: Option<PathBuf> = None, "SB_CACHE_DIR";
        /// Never download; say what is missing instead.
        offline: bool = false, "SB_OFFLINE";
    }
}

words! {
    /// Shape of log lines.
    LogFormat {
        /// Pretty on a terminal, else JSON.
        Auto = "auto",
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Pretty = "pretty",
    }
}

section! {
    /// Logs, on standard error.
    Log in "log" {
        /// error, warn, info, debug, trace, or a filter such as `info,sb::db=debug`.
        [live] level: String = "info".to_owned(), "LOG_LEVEL";
        /// Shape of the lines: "auto", "json" or "pretty".
        format: LogFormat = LogFormat::Auto, "LOG_FORMAT";
    }
}
