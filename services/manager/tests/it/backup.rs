//! `manager backup` and `manager restore`, by the real program.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use df_api::manager::CreateClusterRequest;
use df_client::{ManagerClient, Transport, http_client};
use df_testkit::process::{Program, free_port};
use tempfile::TempDir;

use crate::running::{PASSWORD, sign_in, with};

const BOUND: Duration = Duration::from_secs(30);

/// A manager's data, and its program at them.
struct Place {
    folder: TempDir,
}

// === impl Place ===

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manager"));
        command.env("DF_MANAGER__DATA_DIR", self.folder.path().join("data"));
        command
    }

    async fn serve(&self) -> (Program, ManagerClient) {
        let port = free_port().unwrap();
        let mut command = self.command();
        command.env("DF_MANAGER__LISTEN", format!("127.0.0.1:{port}"));
        let mut program = Program::start("manager", &mut command, &self.folder.path().join("log")).unwrap();
        let url = format!("http://127.0.0.1:{port}");
        program.wait_for_url(&format!("{url}/readyz"), BOUND).await.unwrap();
        let anonymous = ManagerClient::new(Transport::new(&url, http_client()).unwrap());
        let token = anonymous.sign_in(&sign_in("root", PASSWORD)).await.unwrap().token;
        (program, with(&url, &token))
    }

    fn run(&self, arguments: &[&str], file: &Path) -> Output {
        self.command().args(arguments).arg(file).output().unwrap()
    }
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn failed(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "{said}");
}

async fn names(client: &ManagerClient) -> Vec<String> {
    client.list_clusters().await.unwrap().into_iter().map(|cluster| cluster.name).collect()
}

async fn add(client: &ManagerClient, name: &str) {
    let new = CreateClusterRequest { name: name.to_owned(), ..CreateClusterRequest::default() };
    client.create_cluster(&new).await.unwrap();
}

#[tokio::test]
async fn a_backup_of_a_running_manager_is_restored_when_it_has_stopped() {
    let place = Place::new();
    let file = place.folder.path().join("backup.db");
    let (mut program, root) = place.serve().await;
    add(&root, "before").await;
    succeeded(&place.run(&["backup"], &file));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    failed(&place.run(&["backup"], &file), "overwrites nothing");
    add(&root, "after").await;
    failed(&place.run(&["restore"], &file), "stop it first");
    assert_eq!(names(&root).await, ["cluster-1", "before", "after"]);
    program.terminate(BOUND).await.unwrap();

    let said = succeeded(&place.run(&["restore"], &file));
    let former = Path::new(said.trim().rsplit(' ').next().unwrap()).to_owned();
    let (mut program, root) = place.serve().await;
    assert_eq!(names(&root).await, ["cluster-1", "before"]);
    program.terminate(BOUND).await.unwrap();

    // What it replaced is a database, too: nothing is lost.
    succeeded(&place.run(&["restore"], &former));
    let (_program, root) = place.serve().await;
    assert_eq!(names(&root).await, ["cluster-1", "before", "after"]);
}

#[tokio::test]
async fn a_backup_is_restored_where_there_is_nothing_yet() {
    let (old, new) = (Place::new(), Place::new());
    let file = old.folder.path().join("backup.db");
    let (mut program, root) = old.serve().await;
    add(&root, "moves").await;
    program.terminate(BOUND).await.unwrap();
    succeeded(&old.run(&["backup"], &file));
    assert_eq!(succeeded(&new.run(&["restore"], &file)), "");
    let (_program, root) = new.serve().await;
    assert_eq!(names(&root).await, ["cluster-1", "moves"]);
}

#[tokio::test]
async fn what_is_no_good_backup_changes_nothing() {
    let place = Place::new();
    let path = |name: &str| place.folder.path().join(name);
    let (mut program, root) = place.serve().await;
    add(&root, "stays").await;
    succeeded(&place.run(&["backup"], &path("good.db")));
    program.terminate(BOUND).await.unwrap();

    let good = std::fs::read(path("good.db")).unwrap();
    std::fs::write(path("text"), "this is not a database").unwrap();
    std::fs::write(path("half"), &good[..good.len() / 2]).unwrap();
    std::fs::write(path("empty"), "").unwrap();
    std::fs::write(path("newer"), &good).unwrap();
    let sql = async |statement: &'static str| {
        use sqlx::{Connection as _, Executor as _};
        let url = format!("sqlite://{}", path("newer").display());
        let mut on = sqlx::SqliteConnection::connect(&url).await.unwrap();
        on.execute(statement).await.unwrap();
        on.close().await.unwrap();
    };
    sql("UPDATE _sqlx_migrations SET version = 99 WHERE version = 3").await;
    for (name, why) in [
        ("nothing", "cannot read the backup"),
        ("text", "no SQLite database"),
        ("half", "database"),
        ("empty", "no manager's database"),
        ("newer", "newer manager"),
    ] {
        failed(&place.run(&["restore"], &path(name)), why);
    }
    let mut elsewhere = place.command();
    elsewhere.env("DF_MANAGER__DATABASE__URL", "postgres://root:hunter2@127.0.0.1/x").args(["backup", "x"]);
    let output = elsewhere.output().unwrap();
    failed(&output, "for SQLite");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));

    let left: Vec<_> = std::fs::read_dir(path("data")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| ["manager.db", "manager.db.lock"].iter().any(|ours| name == ours)), "{left:?}");
    let (_program, root) = place.serve().await;
    assert_eq!(names(&root).await, ["cluster-1", "stays"]);
}
