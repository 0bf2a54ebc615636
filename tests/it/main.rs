//! The one integration test binary.

mod rest;
