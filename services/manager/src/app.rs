//! One manager: its settings, database and keys, opened together and cheap to clone.
//! **Invariant:** nothing that matters lives here; what is remembered besides the database is a cache of it.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use df_api::cluster::{Jwks, Membership, Role};
use df_api::manager::{Cluster, JoinToken, Permission, PersonalAccessToken, User};
use df_http::ApiError;
use df_http::serve::{Limits, serve_within};
use df_http::worker::Workers;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::board::Board;
use crate::check_user::KNOWN_PASSWORD;
use crate::config::Config;
use crate::db::first_start::Seeds;
use crate::db::join_tokens::Source;
use crate::db::lately::Lately;
use crate::db::{Db, now_ms};
use crate::key_ring::KeyRing;
use crate::keys::{self, KeyError, Keys};
use crate::lookout::Lookout;
use crate::object_storage::ObjectStorage;
use crate::password::{self, Passwords};
use crate::provider::Providers;
use crate::roll::{Roll, RollCall};
use crate::router;
use crate::seal::Seal;
use crate::secret::{self, Purpose};
use crate::sweep::Sweep;

const JOIN_TOKEN_CHARS_MIN: usize = 16;
const SECRET_KEY_CHARS_MIN: usize = 32;
/// Every daemon holds one while it waits for a change.
const CONNECTIONS_MAX: usize = 16_384;
/// So that there is room for the others. Whose answer is not held back, asks again in a minute.
const WAITING_MAX: usize = 12_288;

/// See the module.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    config: Config,
    db: Db,
    keys: Arc<KeyRing>,
    passwords: Passwords,
    lookout: Lookout,
    board: Board,
    lately: LatelyCallers,
    roll: Arc<Roll>,
    seal: Seal,
    providers: Providers,
    object_storage: Option<ObjectStorage>,
    /// Ends the long polls.
    closing: CancellationToken,
}

/// Who has called a moment ago.
#[derive(Default)]
pub(crate) struct LatelyCallers {
    pub sessions: Lately<Option<(User, Vec<Permission>)>>,
    pub tokens: Lately<Option<(PersonalAccessToken, User, Vec<Permission>)>>,
    pub join_tokens: Lately<Option<JoinToken>>,
}

/// Serves until `stop`, then lets open answers end and closes the database.
pub async fn serve(app: App, listener: TcpListener, stop: CancellationToken) {
    let workers = Workers::new(stop.clone());
    workers.spawn(Sweep::new(app.db().clone(), app.0.keys.clone()));
    workers.spawn(RollCall::new(app.db().clone(), app.0.roll.clone()));
    let closing = async {
        stop.cancelled().await;
        app.closing().cancel();
    };
    let limits = Limits { connections: CONNECTIONS_MAX, ..Limits::default() };
    tokio::join!(serve_within(limits, listener, router(&app), stop.clone()), closing);
    workers.stopped().await;
    app.db().close().await;
}

// === impl App ===

impl App {
    /// Opens the database, and at first start makes root, the signing key and the default cluster.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        config.check()?;
        let db = Db::open(config.database.url.as_deref(), &config.data_dir).await?;
        let seeds = if db.is_new().await? { Some(seeds(config).await?) } else { None };
        db.plant(seeds.as_ref(), join_token_hash(config)?.as_deref(), now_ms()).await?;
        if seeds.is_some_and(|seeds| seeds.root_password_is_default) {
            tracing::warn!(
                "root has the password everybody knows; DRAGONFLY_INITIAL_ROOT_PASSWORD sets another at the first start"
            );
        }
        let keys = Arc::new(KeyRing::open(db.clone()).await?);
        Ok(Self(Arc::new(Inner {
            config: config.clone(),
            lookout: Lookout::new(db.clone(), WAITING_MAX),
            board: Board::default(),
            lately: LatelyCallers::default(),
            roll: Arc::new(Roll::new()),
            seal: seal(config, &db).await?,
            providers: Providers::new()?,
            object_storage: object_storage(config)?,
            db,
            keys,
            passwords: Passwords::new(),
            closing: CancellationToken::new(),
        })))
    }

    /// A join token for a component of this very process (the standalone). Replaces the one of the same name that an
    /// earlier start made. For the whole platform when `cluster_id` is `None`.
    pub async fn mint_join_token(&self, name: &str, cluster_id: Option<i64>) -> anyhow::Result<String> {
        if let Some(id) = cluster_id {
            self.db().cluster(id).await?;
        }
        let token = secret::generate(Purpose::Join)?;
        self.db().create_join_token(name, cluster_id, &secret::hash(&token), Source::Process, now_ms()).await?;
        Ok(token)
    }

    /// The public keys, as `/api/v1/jwks` answers them.
    pub fn jwks(&self) -> Jwks {
        self.keys().jwks().clone()
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn db(&self) -> &Db {
        &self.0.db
    }

    pub(crate) fn keys(&self) -> Arc<Keys> {
        self.0.keys.current()
    }

    /// To check what the caller shows.
    pub(crate) fn key_ring(&self) -> &KeyRing {
        &self.0.keys
    }

    pub(crate) fn lookout(&self) -> &Lookout {
        &self.0.lookout
    }

    pub(crate) fn seal(&self) -> &Seal {
        &self.0.seal
    }

    /// For asking those whom people sign in with.
    pub(crate) fn providers(&self) -> &Providers {
        &self.0.providers
    }

    pub(crate) fn object_storage(&self) -> Result<&ObjectStorage, ApiError> {
        self.0.object_storage.as_ref().ok_or_else(|| {
            ApiError::not_found(
                "this manager has no object storage: set objectStorage, and its keys in the environment",
            )
        })
    }

    pub(crate) fn lately(&self) -> &LatelyCallers {
        &self.0.lately
    }

    pub(crate) fn board(&self) -> &Board {
        &self.0.board
    }

    pub(crate) fn roll(&self) -> &Roll {
        &self.0.roll
    }

    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    /// What makes the host `hostname` a member of the cluster.
    pub(crate) fn membership(&self, cluster: &Cluster, hostname: &str, role: Role) -> Result<Membership, KeyError> {
        let keys = self.keys();
        Ok(Membership {
            cluster_id: cluster.id,
            cluster_name: cluster.name.clone(),
            credential: keys.sign_credential(cluster.id, hostname, role, now_ms())?,
            jwks: keys.jwks().clone(),
        })
    }
}

fn object_storage(config: &Config) -> anyhow::Result<Option<ObjectStorage>> {
    let Some([access, secret]) = &config.object_storage_keys else { return Ok(None) };
    if let Some(endpoint) = &config.object_storage.endpoint {
        let url = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        ensure!(url.is_some(), "objectStorage.endpoint is {endpoint:?}, not http://HOST or https://HOST");
    }
    Ok(Some(ObjectStorage::new(&config.object_storage, access, secret)?))
}

/// By the key of the environment, or else the first that this platform had.
async fn seal(config: &Config, db: &Db) -> anyhow::Result<Seal> {
    if let Some(key) = &config.secret_key {
        let key = key.expose_secret();
        ensure!(
            key.len() >= SECRET_KEY_CHARS_MIN,
            "DRAGONFLY_SECRET_KEY has {} characters, not at least {SECRET_KEY_CHARS_MIN}",
            key.len()
        );
        return Ok(Seal::new(key.as_bytes())?);
    }
    let keys = db.signing_keys().await?;
    let (_, first) = keys.last().context("the database has no signing key")?;
    Ok(Seal::new(first)?)
}

async fn seeds(config: &Config) -> anyhow::Result<Seeds> {
    let given = config.initial_root_password.as_ref().map(|password| password.expose_secret());
    let password = given.unwrap_or(KNOWN_PASSWORD);
    ensure!(
        (8..=128).contains(&password.chars().count()),
        "DRAGONFLY_INITIAL_ROOT_PASSWORD has {} characters, not 8 to 128",
        password.chars().count()
    );
    let (key_id, key_pkcs8) = keys::generate()?;
    Ok(Seeds {
        root_password_hash: password::hash(password.to_owned()).await?,
        root_password_is_default: password == KNOWN_PASSWORD,
        key_id,
        key_pkcs8,
    })
}

fn join_token_hash(config: &Config) -> anyhow::Result<Option<String>> {
    let Some(token) = &config.join_token else { return Ok(None) };
    let token = token.expose_secret();
    ensure!(
        token.len() >= JOIN_TOKEN_CHARS_MIN && token.bytes().all(|b| b.is_ascii_graphic()),
        "DRAGONFLY_JOIN_TOKEN must be at least {JOIN_TOKEN_CHARS_MIN} printable ASCII characters without spaces"
    );
    Ok(Some(secret::hash(token)))
}
