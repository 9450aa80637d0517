//! nginx in front of several servers: each request goes to any of them, and of one that is gone to another.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Program, find_program, free_port};

/// Ends when dropped.
#[derive(Debug)]
pub struct LoadBalancer {
    _program: Program,
    address: SocketAddr,
    _dir: TempDir,
}

const START_BOUND: Duration = Duration::from_secs(20);

// === impl LoadBalancer ===

impl LoadBalancer {
    /// Is it installed?
    pub fn program_path() -> Option<PathBuf> {
        find_program("nginx")
    }

    pub async fn start(servers: &[SocketAddr]) -> anyhow::Result<Self> {
        let (dir, port) = (tempfile::tempdir()?, free_port()?);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let (config, log) = (dir.path().join("nginx.conf"), dir.path().join("error.log"));
        std::fs::write(&config, configuration(address, servers))?;
        let mut command = std::process::Command::new("nginx");
        command.arg("-p").arg(dir.path()).arg("-c").arg(&config).arg("-e").arg(&log);
        let mut program = Program::start("nginx", &mut command, &log)?;
        program.wait_for_port(address, START_BOUND).await?;
        Ok(Self { _program: program, address, _dir: dir })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A request that may be repeated goes to another when one does not answer, as all of a scheduler's may.
fn configuration(address: SocketAddr, servers: &[SocketAddr]) -> String {
    let servers: String = servers.iter().map(|server| format!("server {server} max_fails=0; ")).collect();
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr;
        events {{ worker_connections 1024; }}
        http {{
            access_log off;
            client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi; scgi_temp_path scgi;
            upstream all {{ random; {servers} }}
            server {{
                listen {address};
                client_max_body_size 64m;
                location / {{
                    proxy_pass http://all;
                    proxy_http_version 1.1;
                    proxy_set_header Connection '';
                    proxy_read_timeout 70s;
                }}
            }}
        }}"
    )
}
