//! The console in a real browser, against a manager of its own. What is looked at stands in `console.test.mjs`; and signing in with a real provider: `provider.test.mjs`.

use std::path::PathBuf;

use anyhow::ensure;
use df_testkit::process::find_program;
use df_testkit::skip;
use tests::running_manager::start_manager;
use tokio::process::Command;

/// The first thing that is missing.
fn missing() -> Option<String> {
    let chromium = std::env::var_os("CHROMIUM").map_or(PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    if !chromium.is_file() {
        return Some(format!("{} is not there: infra/scripts/setup.sh test", chromium.display()));
    }
    if let Some(program) = ["node", "npm"].into_iter().find(|program| find_program(program).is_none()) {
        return Some(format!("{program} is not installed: infra/scripts/setup.sh test"));
    }
    let built = tests::root().join("web-console/dist/index.html").is_file();
    (!built).then(|| "the console is not built: just console".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_works_in_a_real_browser() -> anyhow::Result<()> {
    if let Some(missing) = missing() {
        skip(&missing);
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (address, stop) = start_manager(folder.path()).await?;
    let mut tests = Command::new(tests::root().join("infra/scripts/browser-test.sh"));
    let status = tests.env("MANAGER_URL", format!("http://{address}")).kill_on_drop(true).status().await?;
    stop.cancel();
    ensure!(status.success(), "tests/browser failed, see above");
    Ok(())
}
