//! Clients that are generated from `openapi/manager.json`, against a manager of its own. What they do stands in the
//! folders of their languages, how they are made and built in `infra/scripts/clients.sh`.

use anyhow::ensure;
use df_testkit::process::find_program;
use df_testkit::skip;
use tests::running_manager::start_manager;
use tokio::process::Command;

/// With it the script says that a tool is missing and cannot be installed.
const CANNOT_RUN: i32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn generated_clients_walk_through_the_manager() -> anyhow::Result<()> {
    let programs = ["java", "javac", "mvn", "go", "node", "npm", "python3"];
    if let Some(program) = programs.into_iter().find(|program| find_program(program).is_none()) {
        skip(&format!("{program} is not installed: infra/scripts/setup.sh test"));
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (address, stop) = start_manager(folder.path()).await?;
    let mut clients = Command::new(tests::root().join("infra/scripts/clients.sh"));
    let status = clients.env("MANAGER_URL", format!("http://{address}")).kill_on_drop(true).status().await?;
    stop.cancel();
    if status.code() == Some(CANNOT_RUN) {
        skip("a tool of infra/scripts/clients.sh cannot be installed, see above");
        return Ok(());
    }
    ensure!(status.success(), "infra/scripts/clients.sh failed, see above");
    Ok(())
}
