//! A scheduler that gives duties and sends whoever asks to the origin, and a manager that has the secrets of one job.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use axum::routing::{get, put};
use axum::{Json, Router};
use df_api::scheduler::{
    Decision, Duty, DutyReport, DutyState, HostDecision, HostReport, PeerAnswer, PeerAnswers, PeerDecision,
    PeerReports, TaskFacts, Work,
};
use df_testkit::until;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// The one that the manager has secrets of, and for whom.
pub const ASSIGNMENT: i64 = 7;
pub const CREDENTIAL: &str = "credential-of-the-cluster";

/// Before a duty counts as taken: the host has to bear it.
const GIVEN_AT_LEAST: u64 = 2;
const WAIT: Duration = Duration::from_secs(60);
const HOLD: Duration = Duration::from_secs(1);

pub struct FakeScheduler {
    pub url: String,
    desk: Arc<Desk>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Desk {
    next: AtomicU64,
    /// With how often each was given.
    duties: Mutex<Vec<(Duty, u64)>>,
    given: Mutex<HashMap<u64, u64>>,
    reports: Mutex<HashMap<u64, Vec<DutyReport>>>,
    forgetful: AtomicBool,
    news: Notify,
}

pub struct FakeManager {
    pub url: String,
    asked: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

async fn serve(router: Router) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

// === impl FakeScheduler ===

impl FakeScheduler {
    pub async fn start() -> Self {
        let desk = Arc::<Desk>::default();
        let router = Router::new()
            .route("/healthz", get(|| async {}))
            .route("/v1/hosts/{host}", put(announce).delete(|| async {}))
            .route("/v1/hosts/{host}/duties/{duty}", put(report))
            .route("/v1/hosts/{host}/peers", put(advise))
            .route("/v1/tasks/{task}/peers/{peer}", put(advise_one).delete(|| async {}));
        let (url, server) = serve(router.with_state(desk.clone())).await;
        Self { url, desk, server }
    }

    pub fn give(&self, work: Work) -> u64 {
        let id = 1000 + self.desk.next.fetch_add(1, Ordering::Relaxed);
        self.desk.duties.lock().push((Duty { id, work }, 0));
        self.desk.news.notify_one();
        id
    }

    /// The last report of it.
    pub async fn end_of(&self, id: u64) -> DutyReport {
        let ended = || self.reports_of(id).into_iter().find(|report| report.state != DutyState::Running);
        until("a duty ends", WAIT, async || Ok(ended())).await.unwrap()
    }

    pub async fn done(&self, work: Work) -> DutyReport {
        self.end_of(self.give(work)).await
    }

    pub fn reports_of(&self, id: u64) -> Vec<DutyReport> {
        self.desk.reports.lock().get(&id).cloned().unwrap_or_default()
    }

    pub fn times_given(&self, id: u64) -> u64 {
        self.desk.given.lock().get(&id).copied().unwrap_or_default()
    }

    pub fn forget_duties(&self) {
        self.desk.forgetful.store(true, Ordering::Relaxed);
    }
}

impl Drop for FakeScheduler {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn announce(State(desk): State<Arc<Desk>>, Json(report): Json<HostReport>) -> Json<HostDecision> {
    let taken = |duty: &Duty, times: u64| report.duties_taken.contains(&duty.id) && times >= GIVEN_AT_LEAST;
    desk.duties.lock().retain(|(duty, times)| !taken(duty, *times));
    if desk.duties.lock().is_empty() && report.tasks.is_none() {
        let _ = tokio::time::timeout(HOLD, desk.news.notified()).await;
    }
    let mut duties = Vec::new();
    for (duty, times) in desk.duties.lock().iter_mut() {
        *times += 1;
        desk.given.lock().insert(duty.id, *times);
        duties.push(duty.clone());
    }
    Json(HostDecision {
        lease_ms: 10_000,
        refresh_after_ms: 1000,
        resend_tasks: false,
        hosts: None,
        ask_first: false,
        duties,
        seq: 0,
    })
}

async fn report(
    State(desk): State<Arc<Desk>>,
    Path((_, duty)): Path<(String, u64)>,
    Json(report): Json<DutyReport>,
) -> StatusCode {
    if desk.forgetful.load(Ordering::Relaxed) {
        return StatusCode::NOT_FOUND;
    }
    desk.reports.lock().entry(duty).or_default().push(report);
    StatusCode::NO_CONTENT
}

fn to_the_origin() -> PeerDecision {
    PeerDecision {
        decision: Decision::Origin,
        parents: Vec::new(),
        row: None,
        task: TaskFacts { length: None, piece_length: None, digest: None },
        refresh_after_ms: 1000,
        version: 1,
        seq: 0,
    }
}

async fn advise(Json(PeerReports { reports }): Json<PeerReports>) -> Json<PeerAnswers> {
    Json(PeerAnswers { answers: reports.iter().map(|_| PeerAnswer::Decision(to_the_origin())).collect() })
}

async fn advise_one() -> Json<PeerDecision> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    Json(to_the_origin())
}

// === impl FakeManager ===

impl FakeManager {
    pub async fn start(username: &'static str, password: &'static str) -> Self {
        let asked = Arc::<AtomicU64>::default();
        let counted = asked.clone();
        let secrets = async move |Path(assignment): Path<i64>, request: Request| {
            let shown = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            if shown != Some(&format!("Bearer {CREDENTIAL}")) {
                return StatusCode::FORBIDDEN.into_response();
            }
            if assignment != ASSIGNMENT {
                return StatusCode::NOT_FOUND.into_response();
            }
            counted.fetch_add(1, Ordering::Relaxed);
            Json(json!({ "username": username, "password": password, "headers": {} })).into_response()
        };
        let (url, server) = serve(Router::new().route("/api/v1/leases/jobs/{assignment}/secrets", get(secrets))).await;
        Self { url, asked, server }
    }

    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for FakeManager {
    fn drop(&mut self) {
        self.server.abort();
    }
}
