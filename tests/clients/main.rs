//! Clients that are generated from `openapi/manager.json`, against a platform of its own. What they do stands in the
//! folders of their languages, how they are made and built in `infra/scripts/clients.sh`.

use anyhow::ensure;
use df_testkit::process::find_program;
use df_testkit::{Content, FakeOrigin, random_bytes, skip};
use standalone::{Options, Standalone};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

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
    let origin = FakeOrigin::start().await?;
    origin.put("preheated", Content::new(random_bytes(1, 100_000)));
    let options = Options { allow: vec![origin.base_url()], ..Options::new(folder.path()) };
    let stop = CancellationToken::new();
    let platform = Standalone::start(options, stop.clone()).await?;
    let mut clients = Command::new(tests::root().join("infra/scripts/clients.sh"));
    clients.env("MANAGER_URL", format!("http://{}", platform.manager_addr));
    let status = clients.env("PREHEAT_URL", origin.url("preheated")).kill_on_drop(true).status().await?;
    stop.cancel();
    platform.stopped().await;
    if status.code() == Some(CANNOT_RUN) {
        skip("a tool of infra/scripts/clients.sh cannot be installed, see above");
        return Ok(());
    }
    ensure!(status.success(), "infra/scripts/clients.sh failed, see above");
    Ok(())
}
