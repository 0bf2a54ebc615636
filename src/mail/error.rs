//! Why a mail could not be enqueued.

use crate::db::DbError;

/// A mail that was not accepted. No text repeats an address or a value.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// `to` is not exactly one address.
    #[error("the recipient is not one valid address")]
    Recipient,
    /// A template's name is made of lower-case letters, digits and `_`.
    #[error("{0:?} cannot be the name of a template")]
    Template(String),
    /// The values are larger than [`super::MAX_VALUES_BYTES`].
    #[error("the values of a mail are too large")]
    TooLarge,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}
