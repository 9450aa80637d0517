//! The console in a real browser, against a manager of its own. What is looked at stands in `console.test.mjs`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::ensure;
use df_testkit::process::find_program;
use df_testkit::skip;
use manager::{App, Config};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

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
    ensure!(status.success(), "tests/browser/console.test.mjs failed, see above");
    Ok(())
}

/// Fresh: root has the first password. Ends with the token.
async fn start_manager(folder: &Path) -> anyhow::Result<(SocketAddr, CancellationToken)> {
    let config = Config { data_dir: folder.join("manager"), ..Config::default() };
    let app = App::open(&config).await?;
    let listener = df_http::serve::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    tokio::spawn(manager::serve(app, listener, stop.clone()));
    Ok((address, stop))
}
