//! What settings must be, alone and together.

use super::{Auth, Config, CronBackend, cron};

impl Config {
    /// What mailed links and codes depend on.
    fn check_mailed(&self, problems: &mut Vec<String>) {
        if !(6..=10).contains(&self.auth.otp_length) {
            problems.push("auth.otp_length must be from 6 to 10".to_owned());
        }
        if self.auth.mailed_lifetimes().any(|seconds| seconds == 0) {
            problems.push("auth.otp_ttl and auth.…_token_ttl must be at least 1 second".to_owned());
        }
        if url::Url::parse(&self.server.site_url).is_err() {
            problems.push(
                "server.site_url must be an address such as https://app.example.com".to_owned(),
            );
        }
    }

    fn check_auth(&self, problems: &mut Vec<String>) {
        for (name, value) in [
            ("window_seconds", self.auth.rate_limit_window_seconds),
            ("token_per_window", self.auth.rate_limit_token_per_window),
            ("signup_per_window", self.auth.rate_limit_signup_per_window),
            (
                "anonymous_per_hour",
                self.auth.rate_limit_anonymous_per_hour,
            ),
            (
                "refresh_per_window",
                self.auth.rate_limit_refresh_per_window,
            ),
            ("oauth_per_window", self.auth.rate_limit_oauth_per_window),
        ] {
            if value == 0 {
                problems.push(format!(
                    "auth.rate_limit_{name} must be at least 1; auth.rate_limit_enabled = false switches the limits off"
                ));
            }
        }
        self.auth_hooks.check(problems);
        if self.auth.password_min_strength > 4 {
            problems.push("auth.password_min_strength must be from 0 to 4".to_owned());
        }
        if self.auth.captcha_provider.is_some() && self.auth.captcha_secret.is_none() {
            problems.push(
                "auth.captcha_provider needs auth.captcha_secret, which the provider gives"
                    .to_owned(),
            );
        }
        if self.auth.access_token_ttl == 0 || self.auth.refresh_token_ttl == 0 {
            problems.push(
                "auth.access_token_ttl and auth.refresh_token_ttl must be at least 1 second"
                    .to_owned(),
            );
        }
        let role = &self.auth.default_role;
        if role == "service_role" || !self.db.allowed_roles.contains(role) {
            problems.push(
                "auth.default_role must be one of db.allowed_roles and not service_role".to_owned(),
            );
        }
        self.check_mailed(problems);
    }

    pub(super) fn check(&self, problems: &mut Vec<String>) {
        for (name, url) in [
            ("server.api_url", self.server.api_url.as_deref()),
            ("rest.url", self.rest.url.as_deref()),
            (
                "auth.captcha_verify_url",
                self.auth.captcha_verify_url.as_deref(),
            ),
            (
                "auth.password_hibp_url",
                Some(self.auth.password_hibp_url.as_str())
                    .filter(|_| self.auth.password_hibp_enabled),
            ),
        ] {
            if let Some(text) = url
                && !url::Url::parse(text)
                    .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            {
                problems.push(format!(
                    "{name} must be an http or https address such as https://api.example.com"
                ));
            }
        }
        for (name, networks) in [
            ("server.trusted_proxies", &self.server.trusted_proxies),
            ("outbound.allow", &self.outbound.allow),
        ] {
            for network in networks {
                if crate::net::Network::parse(network).is_none() {
                    problems.push(format!(
                        "{name} holds \"{network}\", which is no address or network such as 10.0.0.0/8"
                    ));
                }
            }
        }
        if self.mail.from.parse::<lettre::message::Mailbox>().is_err() {
            problems.push(
                "mail.from must be an address, or Name <address>, such as App <no-reply@example.com>"
                    .to_owned(),
            );
        }
        if self.mail.smtp_password.is_some() && self.mail.smtp_username.is_none() {
            problems.push("mail.smtp_password needs mail.smtp_username".to_owned());
        }
        self.check_auth(problems);
        if self.jobs.concurrency == 0
            || self.jobs.poll_interval_s < 0.01
            || self.jobs.heartbeat_s < 0.1
            || self.jobs.timeout_s == 0
            || self.jobs.cron_poll_interval_s < 0.01
        {
            problems.push(
                "jobs.concurrency and jobs.timeout_s must be at least 1, jobs.heartbeat_s at least 0.1, \
                 jobs.poll_interval_s and jobs.cron_poll_interval_s at least 0.01"
                    .to_owned(),
            );
        }
        if self.jobs.cron_backend == CronBackend::PgCron {
            let has_seconds =
                |entry: &&cron::Cron| entry.timetable().is_ok_and(|it| it.has_seconds());
            for entry in self.cron.iter().flatten().filter(has_seconds) {
                problems.push(format!(
                    "cron.{} (sb.toml): pg_cron has no seconds: use five fields, or set jobs.cron_backend = \"inproc\"",
                    entry.name
                ));
            }
        }
        if self
            .jwt
            .legacy_secret
            .as_ref()
            .is_some_and(|secret| secret.expose().len() < 32)
        {
            problems.push("jwt.legacy_secret must have at least 32 characters".to_owned());
        }
        if self
            .jwt
            .master_key
            .as_ref()
            .is_some_and(|key| key.expose().len() < 32)
        {
            problems.push(
                "jwt.master_key must have at least 32 characters: `openssl rand -hex 32` makes one"
                    .to_owned(),
            );
        }
    }
}

impl Auth {
    /// Seconds that mailed links and codes are good for, as far as they are set.
    fn mailed_lifetimes(&self) -> impl Iterator<Item = u64> {
        let all = [
            Some(self.otp_ttl),
            self.otp_token_ttl,
            self.recover_token_ttl,
            self.magic_link_token_ttl,
            self.signup_confirm_token_ttl,
            self.email_change_token_ttl,
        ];
        all.into_iter().flatten()
    }

    /// The longest of them.
    pub fn longest_link_ttl(&self) -> u64 {
        self.mailed_lifetimes().max().unwrap_or_default()
    }
}
