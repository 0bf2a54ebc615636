//! What tests stand on: one throw-away cluster for the run, a cloned database per test, the app in process.

mod app;
mod cluster;

pub(crate) use app::{MASTER_KEY, Reply, TestApp, config};
pub(crate) use cluster::{
    cache_dir, cluster, fresh_database, own_stack, own_stack_with, postgres_bin_dir,
};
