//! All SQL of the auth service. It runs as role `sb_auth`.

/// "For ever" has no place in the calendar of Rust.
macro_rules! banned_until {
    () => {
        "case u.banned_until
           when 'infinity' then '9999-12-31 00:00:00+00'
           when '-infinity' then null
           else u.banned_until
         end as banned_until"
    };
}

macro_rules! user_columns {
    () => {
        concat!(
            "u.id
       , u.aud
       , u.role
       , u.email
       , u.email_confirmed_at
       , u.invited_at
       , u.phone
       , u.phone_confirmed_at
       , u.confirmation_sent_at
       , u.confirmed_at
       , u.recovery_sent_at
       , u.email_change
       , u.email_change_sent_at
       , u.phone_change
       , u.phone_change_sent_at
       , u.reauthentication_sent_at
       , u.last_sign_in_at
       , u.raw_app_meta_data
       , u.raw_user_meta_data
       , u.created_at
       , u.updated_at
       , ",
            banned_until!(),
            "
       , u.deleted_at
       , u.username
       , u.is_anonymous
       , u.factors"
        )
    };
}

macro_rules! identity_columns {
    () => {
        "i.id as identity_id
       , i.provider_id
       , i.identity_data
       , i.provider
       , i.last_sign_in_at as identity_last_sign_in_at
       , i.created_at as identity_created_at
       , i.updated_at as identity_updated_at
       , i.email as identity_email"
    };
}

mod anonymous;
mod audit;
mod credentials;
mod email;
mod flow_state;
mod limits;
pub(super) mod mfa;
pub(super) mod oauth;
pub(super) mod oauth_clients;
pub(super) mod oauth_grants;
mod one_time_tokens;
pub(super) mod passkeys;
mod phone;
mod refresh;
mod revocation;
mod rows;
mod session;
mod sessions;
mod sync_hooks;
mod user;
mod username;

use chrono::{DateTime, Utc};
use serde_json::Value;

pub(super) use anonymous::insert_anonymous_user;
pub(super) use audit::{
    add_seal, anchor, count_entries, count_own_entries, count_uncovered, covered_by, last_old_seal,
    list_entries, list_own_entries, lock_head, log_sampled, prune, seals_after, unsealed,
};
pub(super) use credentials::{
    Credentials, Device, find_credentials, find_credentials_by_email, find_credentials_by_phone,
    find_credentials_by_username,
};
pub(super) use email::{
    CURRENT_CONFIRMED, NEW_CONFIRMED, begin_email_change, confirm_email, confirm_half,
    find_session_start, finish_email_change, forget_unconfirmed, read_email_change, request_mail,
    stamp_sent,
};
pub(super) use flow_state::{
    Exchanged, FlowRow, FoundFlow, exchange_code, find_code, insert_flow, set_code, take_flow,
};
pub(super) use limits::{
    Admission, AttemptKey, Bucket, begin_attempt, end_attempt, forget_accounts, forget_failures,
    give_token_back, take_token, take_token_in,
};
pub(super) use one_time_tokens::{
    FoundToken, TokenRow, burn_tokens, take_token_by_hash, take_token_by_id, try_codes, write_token,
};
pub(super) use phone::{
    PhoneAccount, begin_phone_change, confirm_phone, find_phone_account, find_phone_change,
    finish_phone_change, stamp_sms,
};
pub(super) use refresh::{RefreshLimits, Refreshed, refresh};
pub(super) use revocation::publish_revocation;
pub(super) use session::{
    Scope, SignIn, Within, displace_sessions, end_sessions, find_session_user, insert_session,
    mark_seen, sign_in, sign_out, stamp_sign_in,
};
pub(super) use sessions::{LiveWithin, end_session, list_sessions};
pub(super) use sync_hooks::run_hook;
pub(super) use user::{
    LiveSession, NewUser, UserChange, Wanted, count_users, delete_user, find_user, find_user_in,
    import_user, insert_user, list_users, read_user, replace_hash, soft_delete_user, update_user,
    write_identity, write_providers,
};
pub(super) use username::find_profile;

use super::model::Client;
use crate::db::{DbError, Tx};

/// Appends to the audit log.
pub(super) async fn log(
    tx: &Tx,
    payload: &Value,
    (client, at): (&Client, DateTime<Utc>),
) -> Result<u64, DbError> {
    let sql = "
    insert into auth.audit_log_entries
      (payload, created_at, ip_address)
    values
      ($1, $2, $3)";
    tx.execute(sql, &[&payload, &at, &ip_text(client)]).await
}

fn ip_text(client: &Client) -> String {
    client.ip.map(|ip| ip.to_string()).unwrap_or_default()
}
