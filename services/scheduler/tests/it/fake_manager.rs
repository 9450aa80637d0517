//! Just enough of a manager: it grants leases to those with the right join token, signs credentials, and gives jobs.

use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::extract::State;
use axum::routing::{delete, put};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use df_api::cluster::{CredentialClaims, ISSUER, Jwk, Jwks, Membership, Role, audience};
use df_api::manager::{
    JobAssignment, JobReport, JobSyncRequest, JobSyncResponse, PeerClusterConfig, SchedulerLease, SchedulerLeaseRequest,
};
use http::{HeaderMap, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use tokio::net::TcpListener;

pub const JOIN_TOKEN: &str = "join-me";

#[derive(Clone)]
pub struct FakeManager {
    pub url: String,
    pub leases: Arc<Mutex<Vec<SchedulerLeaseRequest>>>,
    pub ended: Arc<Mutex<Vec<i64>>>,
    pub peer_config: Arc<Mutex<PeerClusterConfig>>,
    /// Those that have not ended.
    pub jobs: Arc<Mutex<Vec<JobAssignment>>>,
    pub reports: Arc<Mutex<Vec<JobReport>>>,
    key: Arc<Vec<u8>>,
}

impl FakeManager {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let key = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref().to_vec();
        let manager = Self {
            // Without a scheme, as in the incumbent's chart.
            url: listener.local_addr().unwrap().to_string(),
            leases: Arc::default(),
            ended: Arc::default(),
            peer_config: Arc::default(),
            jobs: Arc::default(),
            reports: Arc::default(),
            key: Arc::new(key),
        };
        let router = Router::new()
            .route("/api/v1/leases/schedulers", put(renew))
            .route("/api/v1/leases/schedulers/{id}", delete(end))
            .route("/api/v1/leases/jobs", put(sync))
            .with_state(manager.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        manager
    }

    pub fn credential(&self, cluster_id: i64, role: Role) -> String {
        self.credential_of("somebody", cluster_id, role)
    }

    pub fn credential_of(&self, hostname: &str, cluster_id: i64, role: Role) -> String {
        let now = chrono::Utc::now().timestamp();
        let claims = CredentialClaims {
            iss: ISSUER.to_owned(),
            aud: audience(cluster_id),
            sub: hostname.to_owned(),
            role,
            iat: now,
            exp: now + 3600,
        };
        let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(&self.key)).unwrap()
    }

    fn jwks(&self) -> Jwks {
        let pair = Ed25519KeyPair::from_pkcs8(&self.key).unwrap();
        let text = |value: &str| value.to_owned();
        Jwks {
            keys: vec![Jwk {
                kty: text("OKP"),
                crv: text("Ed25519"),
                kid: text("k1"),
                x: URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()),
                alg: text("EdDSA"),
                usage: text("sig"),
            }],
        }
    }
}

async fn renew(
    State(manager): State<FakeManager>,
    headers: HeaderMap,
    Json(request): Json<SchedulerLeaseRequest>,
) -> Result<Json<SchedulerLease>, StatusCode> {
    if headers.get("authorization").is_none_or(|value| value != format!("Bearer {JOIN_TOKEN}").as_str()) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let cluster_id = request.scheduler_cluster_id;
    manager.leases.lock().push(request);
    Ok(Json(SchedulerLease {
        id: 7,
        lease_ms: 15_000,
        refresh_after_ms: 5_000,
        membership: Membership {
            cluster_id,
            cluster_name: "cluster-2".to_owned(),
            credential: manager.credential(cluster_id, Role::Scheduler),
            jwks: manager.jwks(),
        },
        config: Default::default(),
        seed_peer_config: Default::default(),
        peer_config: manager.peer_config.lock().clone(),
        applications: Vec::new(),
    }))
}

/// Answers soon: who has nothing to do asks again.
async fn sync(State(manager): State<FakeManager>, Json(request): Json<JobSyncRequest>) -> Json<JobSyncResponse> {
    let ended = |id: i64| request.jobs.iter().any(|report| report.id == id && report.state.has_ended());
    manager.jobs.lock().retain(|job| !ended(job.id));
    manager.reports.lock().extend(request.jobs);
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let jobs = manager.jobs.lock().clone();
    Json(JobSyncResponse { jobs, lease_ms: 10_000, refresh_after_ms: 3_000 })
}

async fn end(State(manager): State<FakeManager>, axum::extract::Path(id): axum::extract::Path<i64>) -> StatusCode {
    manager.ended.lock().push(id);
    StatusCode::NO_CONTENT
}
