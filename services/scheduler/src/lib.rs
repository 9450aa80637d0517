//! The scheduler of one cluster: peers tell it their state, it tells them whom to read from.
//!
//! **Invariants.** It only answers: no connection is ever opened towards a peer, and duties ride on a host's own long
//! poll. It keeps nothing on disk: every report carries the whole state, so a scheduler that has just started knows
//! everything again within one refresh. The decision is a pure function (`select`).

pub mod config;

mod admit;
mod answers;
mod api;
mod bells;
mod complaints;
mod directory;
mod doors;
mod ensemble;
mod event;
mod expiry;
mod follow;
mod host;
mod jobs;
mod journal;
mod left;
mod maps;
mod pace;
mod policy;
mod register;
mod replica;
mod routes;
mod rules;
mod select;
mod state;
mod swarm;
mod table;
mod task;
mod views;

/// What is decided here without a network or a clock: `tests/sim` runs it in virtual time.
pub mod decisions {
    pub use crate::answers::{Pending, host_decision, peer_decision};
    pub use crate::policy::Policy;
    pub use crate::state::{Refused, Ring, State};
}

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use df_api::manager::SchedulerLeaseRequest;
use df_http::base::Ready;
use df_http::credential::Gate;
use df_http::worker::Workers;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use crate::config::Config;
use crate::config::{InvalidSetting, Join};
use crate::doors::Doors;
use crate::ensemble::Ensemble;
use crate::expiry::Expiry;
use crate::follow::Follow;
use crate::jobs::Jobs;
use crate::register::{Register, Registration};
pub use crate::routes::openapi;
use crate::swarm::Swarm;

/// One scheduler. Cheap to clone: all clones are the same scheduler.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    gate: Gate,
    swarm: Arc<Swarm>,
    /// Where the state is shared with other schedulers.
    ensemble: Option<Ensemble>,
    doors: Doors,
    registration: Option<Registration>,
    /// Ends the long polls.
    closing: CancellationToken,
}

// === impl App ===

impl App {
    /// Fails when a setting cannot be: `manager.addr` is no address, a pattern is none. Without a manager there is no credential to ask for: it is open.
    pub fn new(config: Config) -> Result<Self, InvalidSetting> {
        let alone = config.manager_url().is_none();
        let gate = if alone || config.join == Join::Open { Gate::open() } else { Gate::closed() };
        let registration = Registration::new(&config, gate.clone())?;
        let closing = CancellationToken::new();
        let settings = config.settings()?;
        let ensemble = config.journal()?.map(|journal| Ensemble::new(journal, settings.clone(), alone));
        let swarm = Arc::new(match ensemble.clone() {
            Some(ensemble) => Swarm::together(ensemble, closing.clone()),
            None => Swarm::alone(settings, closing.clone()),
        });
        let doors = Doors::new(config.host_request_rate_limit);
        Ok(Self { inner: Arc::new(Inner { config, gate, swarm, ensemble, doors, registration, closing }) })
    }

    pub fn router(&self) -> Router {
        routes::router(self.clone())
    }

    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    pub(crate) fn swarm(&self) -> &Swarm {
        &self.inner.swarm
    }

    pub(crate) fn doors(&self) -> &Doors {
        &self.inner.doors
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.inner.gate
    }

    /// Ready when the manager knows it, or there is none, and the state can be known.
    pub(crate) fn ready(&self) -> Ready {
        let (gate, alone) = (self.inner.gate.clone(), self.inner.registration.is_none());
        let swarm = self.inner.swarm.clone();
        Arc::new(move || {
            let ready = alone || gate.membership().is_some();
            let swarm = swarm.clone();
            Box::pin(async move {
                swarm.catch_up().await.map_err(|error| error.to_string())?;
                ready.then_some(()).ok_or_else(|| "not registered at the manager yet".to_owned())
            })
        })
    }
}

/// Serves until `stop`; then leaves the manager, answers the open long polls, and returns.
pub async fn serve(app: App, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
    let listening = listener.local_addr()?;
    let inner = &app.inner;
    let workers = Workers::new(stop.clone());
    workers.spawn(Expiry { swarm: inner.swarm.clone() });
    if let Some(ensemble) = inner.ensemble.clone() {
        workers.spawn(Follow { ensemble, listener: None });
    }
    match inner.registration.clone() {
        Some(registration) => {
            let request = SchedulerLeaseRequest {
                place: inner.config.place(),
                url: inner.config.url(listening),
                scheduler_cluster_id: inner.config.manager.scheduler_cluster_id,
            };
            tracing::info!(%listening, url = request.url, "scheduler is listening");
            let swarm = inner.swarm.clone();
            let hostname = request.place.hostname.clone();
            workers.spawn(Jobs::new(registration.clone(), swarm.clone(), request.scheduler_cluster_id, hostname));
            workers.spawn(Register { registration, swarm, request, own: inner.config.policy() });
        }
        None => {
            tracing::info!(%listening, "scheduler is listening, without a manager: open to everybody who reaches it")
        }
    }
    let closing = on_stop(&app, stop.clone());
    tokio::join!(df_http::serve::serve(listener, app.router(), stop), closing, workers.stopped());
    Ok(())
}

fn on_stop(app: &App, stop: CancellationToken) -> impl Future<Output = ()> {
    let inner = app.inner.clone();
    async move {
        stop.cancelled().await;
        inner.closing.cancel();
        if let Some(registration) = &inner.registration {
            registration.end().await;
        }
    }
}
