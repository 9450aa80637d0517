//! nginx in a namespace: the server to beat, or an origin that counts what leaves it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use df_testkit::{Program, command_in, until};
use tests::netns::Namespace;

const START_BOUND: Duration = Duration::from_secs(20);
const SETTLE_BOUND: Duration = Duration::from_secs(20);
const PORT: u16 = 8000;

/// Ends when dropped.
pub(crate) struct Nginx {
    program: Program,
    pub(crate) address: SocketAddr,
    sent: PathBuf,
}

// === impl Nginx ===

impl Nginx {
    /// Serves the folder `root` at every address of the namespace.
    pub(crate) async fn start(folder: &Path, root: &Path, namespace: &Namespace) -> anyhow::Result<Self> {
        let folder = folder.join(format!("nginx-{}", namespace.name));
        std::fs::create_dir_all(&folder)?;
        std::fs::create_dir_all(root)?;
        let config = folder.join("nginx.conf");
        std::fs::write(&config, configuration(&folder, root, PORT, ""))?;
        Self::run(&folder, &config, namespace).await
    }

    /// Also writes down the body bytes of every answer.
    pub(crate) async fn start_counting(folder: &Path, root: &Path, namespace: &Namespace) -> anyhow::Result<Self> {
        let folder = folder.join(format!("origin-{}", namespace.name));
        std::fs::create_dir_all(&folder)?;
        std::fs::create_dir_all(root)?;
        let config = folder.join("nginx.conf");
        let log = format!("access_log {}/sent sent;", folder.display());
        std::fs::write(&config, configuration(&folder, root, PORT, &log))?;
        Self::run(&folder, &config, namespace).await
    }

    async fn run(folder: &Path, config: &Path, namespace: &Namespace) -> anyhow::Result<Self> {
        let mut command = command_in(Some(&namespace.name), "nginx");
        command.arg("-p").arg(folder).arg("-c").arg(config).arg("-e").arg(folder.join("error.log"));
        let mut program = Program::start("nginx", &mut command, &folder.join("error.log"))?;
        let address = SocketAddr::new(namespace.address.into(), PORT);
        program.wait_for_port(address, START_BOUND).await?;
        Ok(Self { program, address, sent: folder.join("sent") })
    }

    pub(crate) fn id(&self) -> u32 {
        self.program.id()
    }

    pub(crate) fn loopback(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.address.port()))
    }

    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// Body bytes that have left since the start, those of answers that were broken off too.
    pub(crate) async fn sent_bytes(&self) -> anyhow::Result<u64> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        until("nginx has no answer under way", SETTLE_BOUND, async || {
            let status = client.get(self.url("/status")).send().await?.text().await?;
            // This request is one of those being written.
            Ok(status.contains("Writing: 1 ").then_some(()))
        })
        .await?;
        let log = std::fs::read_to_string(&self.sent).context("nginx has counted nothing")?;
        Ok(log.lines().filter_map(|line| line.parse::<u64>().ok()).sum())
    }
}

/// One process without a master, so that its id is where all its CPU time shows.
fn configuration(folder: &Path, root: &Path, port: u16, log: &str) -> String {
    let (folder, root) = (folder.display(), root.display());
    let log = if log.is_empty() { "access_log off;" } else { log };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.iter().map(|kind| format!("{kind}_temp_path {folder}/{kind};\n  ")).collect();
    format!(
        "daemon off;
master_process off;
pid {folder}/pid;
events {{ worker_connections 4096; }}
http {{
  {temporary}default_type application/octet-stream;
  log_format sent '$body_bytes_sent';
  {log}
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 3600s;
  keepalive_requests 1000000;
  server {{
    listen {port};
    root {root};
    location = /status {{ stub_status; access_log off; }}
  }}
}}
"
    )
}
