//! What goes through a mailbox, over the whole application with a worker: the mails are read as they are delivered.

mod change;
mod confirm;
mod enumeration;
mod guessing;
mod invite;
mod otp;
mod pkce;
mod recover;
mod support;
mod verify;
