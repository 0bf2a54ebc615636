//! placeholder
use super::{CommandResult, Session};
/// x
#[derive(Debug, clap::Args)]
pub(super) struct Args {}
pub(super) async fn run(_: Args, _: Session) -> CommandResult {
    Ok(std::process::ExitCode::SUCCESS)
}
pub(super) async fn apply_seed(
    running: &crate::app::Running,
    path: &std::path::Path,
) -> Result<(), super::CliError> {
    running.run_sql(&std::fs::read_to_string(path)?).await?;
    Ok(())
}
