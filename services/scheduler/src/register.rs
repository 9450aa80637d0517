//! The lease at the manager: it makes the scheduler known to peers, and brings the cluster's credential and settings.
//!
//! **Invariant.** A manager that is down stops nothing: the last membership stays in force until its credential expires.

use std::sync::Arc;
use std::time::Duration;

use df_api::manager::{SchedulerLease, SchedulerLeaseRequest};
use df_client::{ClientError, InvalidUrl, ManagerClient, Transport, http_client};
use df_http::credential::Gate;
use df_http::worker::Worker;
use parking_lot::Mutex;

use crate::config::Config;
use crate::ensemble::Unreachable;
use crate::event::Settings;
use crate::policy::Policy;
use crate::rules::RuleSet;
use crate::swarm::Swarm;

/// For one call; a manager that hangs must not stop the renewals.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// For the last call, on the way out.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// Shared with the shutdown, which ends the lease.
#[derive(Clone)]
pub struct Registration {
    transport: Transport,
    join_token: Option<String>,
    gate: Gate,
    lease_id: Arc<Mutex<Option<i64>>>,
}

/// Renews the lease.
pub struct Register {
    pub registration: Registration,
    pub swarm: Arc<Swarm>,
    pub request: SchedulerLeaseRequest,
    /// As in its file: of what the manager does not say.
    pub own: Policy,
}

#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the manager did not answer within {CALL_TIMEOUT:?}")]
    Timeout,
    #[error(transparent)]
    Shared(#[from] Unreachable),
}

// === impl Registration ===

impl Registration {
    /// `None` without a manager.
    pub fn new(config: &Config, gate: Gate) -> Result<Option<Self>, InvalidUrl> {
        let Some(url) = config.manager_url() else { return Ok(None) };
        let transport = Transport::new(&url, http_client())?;
        Ok(Some(Self { transport, join_token: config.manager.join_token.clone(), gate, lease_id: Arc::default() }))
    }

    /// Tells the manager at once that this scheduler is gone, so that peers are no longer sent here.
    pub async fn end(&self) {
        let Some(id) = self.lease_id.lock().take() else { return };
        let client = self.client_with(self.bearers().next());
        match tokio::time::timeout(FAREWELL_TIMEOUT, client.end_scheduler_lease(id)).await {
            Ok(Ok(())) => tracing::info!("left the manager"),
            Ok(Err(error)) => tracing::info!(%error, "the manager was not told; the lease runs out by itself"),
            Err(_) => tracing::info!("the manager was not told in time; the lease runs out by itself"),
        }
    }

    /// The join token; then the credential, for when the token has been revoked since.
    fn bearers(&self) -> impl Iterator<Item = Option<String>> + use<> {
        let both = [self.join_token.clone(), self.gate.credential()];
        let known: Vec<_> = both.into_iter().flatten().map(Some).collect();
        if known.is_empty() { vec![None].into_iter() } else { known.into_iter() }
    }

    fn client_with(&self, bearer: Option<Option<String>>) -> ManagerClient {
        ManagerClient::new(self.transport.clone().with_bearer(bearer.flatten()))
    }

    /// By the credential, which the lease has brought.
    pub fn client(&self) -> ManagerClient {
        ManagerClient::new(
            self.transport.clone().with_bearer(self.gate.credential().or_else(|| self.join_token.clone())),
        )
    }

    /// The manager knows this scheduler.
    pub fn is_registered(&self) -> bool {
        self.lease_id.lock().is_some()
    }

    async fn renew(&self, request: &SchedulerLeaseRequest) -> Result<SchedulerLease, RegisterError> {
        let mut bearers = self.bearers().peekable();
        loop {
            let client = self.client_with(bearers.next());
            let answer = tokio::time::timeout(CALL_TIMEOUT, client.renew_scheduler_lease(request));
            match answer.await.map_err(|_| RegisterError::Timeout)? {
                Err(error) if matches!(error.status(), Some(401 | 403)) && bearers.peek().is_some() => {}
                answer => return Ok(answer?),
            }
        }
    }
}

// === impl Register ===

impl Register {
    async fn follow(&self, lease: &SchedulerLease) -> Result<(), RegisterError> {
        let mut policy = self.own.clone();
        policy.follow(&lease.config, &lease.seed_peer_config, &lease.peer_config);
        let rules = RuleSet {
            seeds: lease.seed_peer_config.block_list.clone(),
            peers: lease.peer_config.block_list.clone(),
            applications: lease.applications.clone(),
        };
        let settings = Settings { policy, rules };
        // Also where others have said otherwise since, or a state has been begun anew.
        if !self.swarm.is_following(&settings) {
            self.swarm.follow(settings).await?;
        }
        Ok(())
    }
}

impl Worker for Register {
    const NAME: &'static str = "register";
    type Error = RegisterError;

    async fn round(&mut self) -> Result<Duration, RegisterError> {
        let lease = self.registration.renew(&self.request).await?;
        let first = self.registration.lease_id.lock().replace(lease.id);
        if first.is_none() {
            let (cluster, url) = (&lease.membership.cluster_name, &self.request.url);
            tracing::info!(cluster, url, "registered at the manager");
        }
        let followed = self.follow(&lease).await;
        self.registration.gate.admit(lease.membership);
        followed?;
        Ok(Duration::from_millis(lease.refresh_after_ms.max(100)))
    }
}
