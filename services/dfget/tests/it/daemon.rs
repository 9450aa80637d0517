//! The real dfdaemon, without a cluster, and dfget over its socket.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use df_testkit::{Content, FakeOrigin, Program, until};
use tempfile::TempDir;

const BOUND: Duration = Duration::from_secs(60);

pub struct Daemon {
    _program: Program,
    socket: PathBuf,
    dir: TempDir,
}

impl Daemon {
    /// Which may ask these places; its store is in a folder of its own.
    pub async fn start(allow: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        Self::with_store(allow, None, &store, dir).await
    }

    pub async fn start_in(store: &Path, allow: &[String]) -> Self {
        Self::with_store(allow, None, store, tempfile::tempdir().unwrap()).await
    }

    /// With an authority of the test's own, PEM.
    pub async fn trusting(authority: &str, allow: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        Self::with_store(allow, Some(authority), &store, dir).await
    }

    async fn with_store(allow: &[String], authority: Option<&str>, store: &Path, dir: TempDir) -> Self {
        // Cargo builds it beside dfget for its own tests: the whole workspace has to be named.
        let program = Path::new(env!("CARGO_BIN_EXE_dfget")).with_file_name("dfdaemon");
        let socket = dir.path().join("dfdaemon.sock");
        let mut command = Command::new(program);
        command.env("DF_DFDAEMON__LOCAL__SOCKET", &socket).env("DF_DFDAEMON__STORAGE__DIR", store);
        command.env("DF_DFDAEMON__PROXY__LISTEN", "127.0.0.1:0").env("DF_DFDAEMON__UPLOAD__LISTEN", "127.0.0.1:0");
        command.env("DF_DFDAEMON__UPSTREAM__ALLOW", serde_json::to_string(allow).unwrap());
        if let Some(pem) = authority {
            let file = dir.path().join("authority.pem");
            std::fs::write(&file, pem).unwrap();
            command.env("DF_DFDAEMON__UPSTREAM__CA_CERTS", serde_json::to_string(&[file]).unwrap());
        }
        let mut program = Program::start("dfdaemon", &mut command, &dir.path().join("log")).unwrap();
        let listens = async || Ok(std::os::unix::net::UnixStream::connect(&socket).ok());
        let listening = until("the socket is there", BOUND, listens).await;
        assert!(listening.is_ok(), "{:?}: {}", program.exited(), program.log_tail());
        Self { _program: program, socket, dir }
    }

    /// For files of the test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// dfget in the test's folder.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).env("DFGET_DAEMON", format!("unix:{}", self.socket.display()));
        command.env("RUST_BACKTRACE", "0");
        command
    }

    pub async fn dfget(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_dfget"));
        command.args(arguments);
        run(command).await
    }

    /// Its standard output, of one that must succeed.
    pub async fn told(&self, arguments: &[&str]) -> String {
        let output = self.dfget(arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", crate::said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Its exit code and standard error.
    pub async fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.dfget(arguments).await;
        (output.status.code().unwrap(), crate::said(&output))
    }
}

pub async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Before an origin that has this content, at this URL.
pub async fn start(content: Content) -> (FakeOrigin, Daemon, String) {
    let origin = FakeOrigin::start().await.unwrap();
    origin.put("file", content);
    let daemon = Daemon::start(&[origin.base_url()]).await;
    let url = origin.url("file");
    (origin, daemon, url)
}
