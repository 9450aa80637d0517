//! A manager in this process, for programs that are written in other languages.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use manager::{App, Config};
use tokio_util::sync::CancellationToken;

/// Fresh: root has the first password. Ends with the token.
pub async fn start_manager(folder: &Path) -> anyhow::Result<(SocketAddr, CancellationToken)> {
    // Whoever a provider lets in gets an account.
    let config = Config { data_dir: folder.join("manager"), sign_up: true, ..Config::default() };
    let app = App::open(&config).await?;
    let listener = df_http::serve::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    tokio::spawn(manager::serve(app, listener, stop.clone()));
    Ok((address, stop))
}
