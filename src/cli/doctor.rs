//! placeholder
use super::{CommandResult, Session};
/// x
#[derive(Debug, clap::Args)]
pub(super) struct Args {}
pub(super) async fn run(_: Args, _: Session) -> CommandResult {
    Ok(std::process::ExitCode::SUCCESS)
}
