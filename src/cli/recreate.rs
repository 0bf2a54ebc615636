//! Drops a database that `DATABASE_URL` names and makes it anew, empty, with the same owner, encoding and locale.

use super::database::describe;
use super::error::{CliError, Exit};
use crate::db::{Connection, Target, quote_identifier, quote_literal};

/// The columns of locales are named differently in 15, 16 and 17; as JSON they can be asked for in one way.
const DATABASE: &str = "
    select pg_catalog.pg_get_userbyid(d.datdba)::text as owner
         , pg_catalog.pg_encoding_to_char(d.encoding)::text as encoding
         , d.datcollate::text as collation
         , d.datctype::text as character_type
         , case when d.datlocprovider = 'i'
             then coalesce(pg_catalog.to_jsonb(d) ->> 'datlocale', pg_catalog.to_jsonb(d) ->> 'daticulocale')
           end as icu_locale
         , r.rolsuper or (r.rolcreatedb and pg_catalog.pg_has_role(d.datdba, 'usage')) as allowed
      from pg_catalog.pg_database d
      join pg_catalog.pg_roles r
        on r.rolname = current_user
     where d.datname = $1";

/// Ends every session of the database, and with it their work.
///
/// # Errors
/// The role may not do that; nothing is changed then.
pub(super) async fn database(target: &Target) -> Result<(), CliError> {
    let name = target.database().to_owned();
    // One cannot drop the database one is connected to.
    let other = if name == "postgres" {
        "template1"
    } else {
        "postgres"
    };
    let connection = Connection::open(&target.with_database(other)).await?;
    let Some(row) = connection.query_opt(DATABASE, &[&name]).await? else {
        return Ok(connection
            .batch_execute(&format!("create database {}", quote_identifier(&name)))
            .await?);
    };
    if !row.get::<_, bool>("allowed") {
        let message = format!(
            "role {} may not drop and create it: {}",
            target.user(),
            describe(target)
        );
        let next = format!(
            "alter role {} createdb   -- as a superuser; it must own the database too",
            target.user()
        );
        return Err(CliError::new(Exit::Permission, message).next(next));
    }
    let text = |column: &str| row.get::<_, String>(column);
    let mut create = format!(
        "create database {} owner {} template template0 encoding {} lc_collate {} lc_ctype {}",
        quote_identifier(&name),
        quote_identifier(&text("owner")),
        quote_literal(&text("encoding")),
        quote_literal(&text("collation")),
        quote_literal(&text("character_type")),
    );
    if let Some(locale) = row.get::<_, Option<String>>("icu_locale") {
        create = format!(
            "{create} locale_provider icu icu_locale {}",
            quote_literal(&locale)
        );
    }
    connection
        .batch_execute(&format!(
            "drop database {} with (force)",
            quote_identifier(&name)
        ))
        .await?;
    Ok(connection.batch_execute(&create).await?)
}
