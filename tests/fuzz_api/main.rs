//! Every operation of every document is called with made-up values, right and wrong, on a platform of its own. What must
//! hold for the answers stands in `schemathesis.toml`.

use anyhow::ensure;
use df_testkit::process::find_program;
use df_testkit::skip;
use standalone::{Options, Standalone};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// With it the script says that a tool is missing and cannot be installed.
const CANNOT_RUN: i32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_what_the_documents_say() -> anyhow::Result<()> {
    if find_program("python3").is_none() {
        skip("python3 is not installed: infra/scripts/setup.sh test");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let stop = CancellationToken::new();
    let platform = Standalone::start(Options::new(folder.path()), stop.clone()).await?;
    let mut fuzz = Command::new(tests::root().join("infra/scripts/fuzz-api.sh"));
    let status = fuzz
        .env("MANAGER_URL", format!("http://{}", platform.manager_addr))
        .env("DFDAEMON_URL", format!("http://{}", platform.peers[0].local_addr))
        .kill_on_drop(true)
        .status()
        .await?;
    stop.cancel();
    platform.stopped().await;
    if status.code() == Some(CANNOT_RUN) {
        skip("infra/scripts/fuzz-api.sh cannot run, see above");
        return Ok(());
    }
    ensure!(status.success(), "infra/scripts/fuzz-api.sh failed, see above");
    Ok(())
}
