//! What can go wrong between here and Postgres, classified once.

pub use tokio_postgres::error::SqlState;

/// A database error.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// No connection became free in time.
    #[error("no database connection was free in time")]
    PoolTimeout,
    /// The database cannot be reached.
    #[error("cannot reach the database: {0}")]
    Unreachable(String),
    /// The caller's role is not one a token may name.
    #[error("role \"{0}\" may not be used")]
    RoleNotAllowed(String),
    /// An earlier statement of the transaction failed, so nothing was committed.
    #[error("the transaction had failed and was rolled back")]
    RolledBack,
    /// Postgres refused a statement.
    #[error("{}", describe(.0))]
    Postgres(#[source] tokio_postgres::Error),
}

impl DbError {
    /// The SQLSTATE, when Postgres sent one.
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Postgres(error) => error.code(),
            _ => None,
        }
    }

    /// The violated constraint's name.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Postgres(error) => error
                .as_db_error()
                .and_then(tokio_postgres::error::DbError::constraint),
            _ => None,
        }
    }

    /// The schema of the table whose constraint was violated.
    pub fn schema(&self) -> Option<&str> {
        match self {
            Self::Postgres(error) => error
                .as_db_error()
                .and_then(tokio_postgres::error::DbError::schema),
            _ => None,
        }
    }

    /// Postgres' message without its SQLSTATE, and its hint.
    pub fn words(&self) -> Option<(&str, Option<&str>)> {
        let Self::Postgres(error) = self else {
            return None;
        };
        let error = error.as_db_error()?;
        Some((error.message(), error.hint()))
    }

    /// Whether no policy allowed the new row. The name of Postgres' routine is the same in every language.
    pub fn is_policy_violation(&self) -> bool {
        let Self::Postgres(error) = self else {
            return false;
        };
        error
            .as_db_error()
            .is_some_and(|error| error.routine() == Some("ExecWithCheckOptions"))
    }

    /// Where in the statements' text Postgres points to, in characters from 1.
    pub fn position(&self) -> Option<usize> {
        use tokio_postgres::error::ErrorPosition;
        let Self::Postgres(error) = self else {
            return None;
        };
        match error.as_db_error()?.position()? {
            ErrorPosition::Original(position) => usize::try_from(*position).ok(),
            ErrorPosition::Internal { .. } => None,
        }
    }

    /// Whether a later attempt of the same request can succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::PoolTimeout | Self::Unreachable(_) => true,
            Self::Postgres(error) if is_outdated(error) => true,
            Self::Postgres(error) => error.code().map_or_else(
                || {
                    error.is_closed()
                        || std::error::Error::source(error)
                            .is_some_and(<dyn std::error::Error + 'static>::is::<std::io::Error>)
                },
                |code| {
                    matches!(
                        *code,
                        SqlState::ADMIN_SHUTDOWN
                            | SqlState::CRASH_SHUTDOWN
                            | SqlState::CANNOT_CONNECT_NOW
                            | SqlState::TOO_MANY_CONNECTIONS
                            | SqlState::T_R_SERIALIZATION_FAILURE
                            | SqlState::T_R_DEADLOCK_DETECTED
                            | SqlState::LOCK_NOT_AVAILABLE
                            | SqlState::READ_ONLY_SQL_TRANSACTION
                    )
                },
            ),
            Self::RoleNotAllowed(_) | Self::RolledBack => false,
        }
    }
}

impl From<tokio_postgres::Error> for DbError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<deadpool_postgres::PoolError> for DbError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        use deadpool_postgres::PoolError;
        match error {
            PoolError::Timeout(_) => Self::PoolTimeout,
            PoolError::Backend(error) if error.as_db_error().is_none() => {
                Self::Unreachable(describe(&error))
            }
            PoolError::Backend(error) => Self::Postgres(error),
            other => Self::Unreachable(other.to_string()),
        }
    }
}

/// Whether a prepared statement was refused, before it did anything, because DDL has changed what it returns. The name
/// of Postgres' routine is the same in every language.
pub(super) fn is_outdated(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|error| error.routine() == Some("RevalidateCachedQuery"))
}

/// Postgres' own words with SQLSTATE; never parameters.
fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        format!("{} (SQLSTATE {})", db.message(), db.code().code())
    } else {
        let cause = std::error::Error::source(error)
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        format!("{error}{cause}")
    }
}
