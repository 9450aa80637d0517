//! A manager under test, and the few things every test needs of it.

use std::time::Duration;

use df_api::cluster::Place;
use df_api::manager::{
    CreatePersonalAccessTokenRequest, DiscoveryRequest, DiscoveryResponse, SchedulerLeaseRequest, Scope,
    SeedPeerLeaseRequest, SignInRequest, SignUpRequest, User,
};
use df_client::{ClientError, ManagerClient, Transport, http_client};
use df_testkit::{DatabaseKind, TestDatabase};
use manager::{App, Config};
use sqlx::{Connection as _, Executor as _, MySqlConnection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub const PASSWORD: &str = "dragonfly";
pub const USERS_PASSWORD: &str = "correct horse";

pub struct Running {
    pub url: String,
    pub app: App,
    pub folder: TempDir,
    database: TestDatabase,
    config: Config,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

/// Ends when dropped.
pub struct Second {
    pub url: String,
    _stop: DropGuard,
}

/// A test for each name on each kind of database; the functions of these names take a [`TestDatabase`].
macro_rules! on_every_database {
    ($($test:ident),+ $(,)?) => {
        $crate::running::on_every_database!(@sqlite Sqlite: $($test),+);
        $crate::running::on_every_database!(@postgres Postgres: $($test),+);
        $crate::running::on_every_database!(@mariadb MariaDb: $($test),+);
    };
    (@$module:ident $kind:ident: $($test:ident),+) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $test() {
                    use df_testkit::{DatabaseKind, TestDatabase};
                    if let Some(database) = TestDatabase::new(DatabaseKind::$kind).await.unwrap() {
                        super::$test(database).await;
                    }
                }
            )+
        }
    };
}

pub(crate) use on_every_database;

/// For what has nothing to do with which database it is.
pub const SQLITE: TestDatabase = TestDatabase { kind: DatabaseKind::Sqlite, url: None };

// === impl Running ===

impl Running {
    pub async fn start(database: TestDatabase) -> Self {
        Self::start_with(database, |_| ()).await
    }

    pub async fn start_with(database: TestDatabase, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: folder.path().join("data"), ..Config::default() };
        config.database.url = database.url.clone();
        change(&mut config);
        Self::open(config, folder, database).await
    }

    async fn open(config: Config, folder: TempDir, database: TestDatabase) -> Self {
        crate::logs::record();
        let app = App::open(&config).await.unwrap();
        let listener = df_http::serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let served = tokio::spawn(manager::serve(app.clone(), listener, stop.clone()));
        Self { url, app, folder, database, config, stop, served }
    }

    /// Another manager on the same database.
    pub async fn second(&self) -> Second {
        let app = App::open(&self.config).await.unwrap();
        let listener = df_http::serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(manager::serve(app, listener, stop.clone()));
        Second { url, _stop: stop.drop_guard() }
    }

    /// Stops it as SIGTERM does and starts it again on the same data.
    pub async fn restart(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self { folder, database, mut config, stop, served, app, .. } = self;
        stop.cancel();
        served.await.unwrap();
        drop(app);
        change(&mut config);
        Self::open(config, folder, database).await
    }

    pub fn with(&self, bearer: &str) -> ManagerClient {
        with(&self.url, bearer)
    }

    pub fn anonymous(&self) -> ManagerClient {
        ManagerClient::new(Transport::new(&self.url, http_client()).unwrap())
    }

    /// Root has the password everybody knows, the others that of [`new_user`].
    pub async fn token_of(&self, name: &str) -> String {
        let password = if name == "root" { PASSWORD } else { USERS_PASSWORD };
        self.anonymous().sign_in(&sign_in(name, password)).await.unwrap().token
    }

    pub async fn root(&self) -> ManagerClient {
        self.with(&self.token_of("root").await)
    }

    /// With a join token for the whole platform.
    pub async fn component(&self) -> ManagerClient {
        self.with(&self.app.mint_join_token("tests", None).await.unwrap())
    }

    pub async fn sql(&self, statement: &'static str) {
        let url = self.database.url.clone();
        let url = url.unwrap_or_else(|| format!("sqlite://{}", self.folder.path().join("data/manager.db").display()));
        match self.database.kind {
            DatabaseKind::Sqlite => SqliteConnection::connect(&url).await.unwrap().execute(statement).await.map(drop),
            DatabaseKind::Postgres => PgConnection::connect(&url).await.unwrap().execute(statement).await.map(drop),
            DatabaseKind::MariaDb => MySqlConnection::connect(&url).await.unwrap().execute(statement).await.map(drop),
        }
        .unwrap();
    }

    /// Someone who may read, called `guest`.
    pub async fn add_guest(&self) -> User {
        self.root().await.sign_up(&new_user("guest")).await.unwrap()
    }

    pub async fn guest(&self) -> ManagerClient {
        self.with(&self.token_of("guest").await)
    }
}

pub fn with(url: &str, bearer: &str) -> ManagerClient {
    let transport = Transport::new(url, http_client()).unwrap();
    ManagerClient::new(transport.with_bearer(Some(bearer.to_owned())))
}

/// Where it belongs, at once.
pub async fn ask(client: &ManagerClient, asked: &DiscoveryRequest) -> Result<DiscoveryResponse, ClientError> {
    Ok(client.discover_cluster(asked, None, Duration::ZERO).await?.expect("an answer to who knows nothing"))
}

pub fn new_user(name: &str) -> SignUpRequest {
    SignUpRequest {
        name: name.to_owned(),
        password: USERS_PASSWORD.to_owned(),
        email: format!("{name}@example.com"),
        ..SignUpRequest::default()
    }
}

pub fn new_token(name: &str, scopes: Vec<Scope>) -> CreatePersonalAccessTokenRequest {
    CreatePersonalAccessTokenRequest {
        name: name.to_owned(),
        bio: String::new(),
        scopes,
        expired_at: chrono::Utc::now() + chrono::Duration::days(1),
        user_id: None,
    }
}

pub fn sign_in(name: &str, password: &str) -> SignInRequest {
    SignInRequest { name: name.to_owned(), password: password.to_owned() }
}

pub fn place(hostname: &str, ip: &str) -> Place {
    Place { hostname: hostname.to_owned(), ip: ip.to_owned(), ..Place::default() }
}

pub fn scheduler(hostname: &str, cluster: i64) -> SchedulerLeaseRequest {
    let url = format!("http://{hostname}.svc:8002");
    SchedulerLeaseRequest { place: place(hostname, "10.0.0.1"), url, scheduler_cluster_id: cluster }
}

pub fn seed_peer(hostname: &str, cluster: i64) -> SeedPeerLeaseRequest {
    let url = format!("http://{hostname}.svc:65001");
    SeedPeerLeaseRequest { place: place(hostname, "10.0.0.2"), url, seed_peer_cluster_id: cluster }
}

/// Status and detail of a refusal.
pub fn refusal<T>(answer: Result<T, ClientError>) -> (u16, String) {
    let Err(error) = answer else { panic!("was not refused") };
    let problem = error.problem().unwrap_or_else(|| panic!("{error:?}"));
    assert!(problem.request_id.is_some(), "every refusal can be found in the log");
    (problem.status, problem.detail.clone())
}

/// Asks until `wanted` is there.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut wanted: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(found) = wanted().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}
