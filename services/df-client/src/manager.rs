//! Operations of the manager.

use std::time::Duration;

use df_api::cluster::Jwks;
use df_api::manager::{
    Application, Cluster, CreateApplicationRequest, CreateClusterRequest, CreateJoinTokenRequest, CreatedJoinToken,
    DiscoveryRequest, DiscoveryResponse, JoinToken, Scheduler, SchedulerLease, SchedulerLeaseRequest, SeedPeer,
    SeedPeerLease, SeedPeerLeaseRequest, SignInRequest, SignInResponse, UpdateApplicationRequest, UpdateClusterRequest,
    User,
};
use reqwest::header::IF_NONE_MATCH;
use reqwest::{Method, StatusCode};

use crate::transport::{json, send};
use crate::{ClientError, Transport};

#[derive(Clone, Debug)]
pub struct ManagerClient {
    transport: Transport,
}

// === impl ManagerClient ===

impl ManagerClient {
    /// The transport's bearer is a user's token, a join token, or a cluster credential, by what is called.
    pub fn new(transport: Transport) -> Self {
        Self { transport }
    }

    pub async fn sign_in(&self, body: &SignInRequest) -> Result<SignInResponse, ClientError> {
        self.transport.send(Method::POST, "/api/v1/users/signin", body).await
    }

    pub async fn sign_out(&self) -> Result<(), ClientError> {
        self.transport.call(Method::POST, "/api/v1/users/signout").await
    }

    pub async fn get_session(&self) -> Result<User, ClientError> {
        self.transport.get("/api/v1/session").await
    }

    /// All of them: there are no more than a thousand.
    pub async fn list_applications(&self) -> Result<Vec<Application>, ClientError> {
        let request = self.transport.request(Method::GET, "/api/v1/applications").query(&[("per_page", "1000")]);
        json(send(request).await?).await
    }

    pub async fn create_application(&self, body: &CreateApplicationRequest) -> Result<Application, ClientError> {
        self.transport.send(Method::POST, "/api/v1/applications", body).await
    }

    pub async fn get_application(&self, id: i64) -> Result<Application, ClientError> {
        self.transport.get(&format!("/api/v1/applications/{id}")).await
    }

    pub async fn update_application(
        &self,
        id: i64,
        body: &UpdateApplicationRequest,
    ) -> Result<Application, ClientError> {
        self.transport.send(Method::PATCH, &format!("/api/v1/applications/{id}"), body).await
    }

    pub async fn delete_application(&self, id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/applications/{id}")).await
    }

    /// The first thousand; nobody has come near that.
    pub async fn list_clusters(&self) -> Result<Vec<Cluster>, ClientError> {
        let request = self.transport.request(Method::GET, "/api/v1/clusters").query(&[("per_page", "1000")]);
        json(send(request).await?).await
    }

    pub async fn create_cluster(&self, body: &CreateClusterRequest) -> Result<Cluster, ClientError> {
        self.transport.send(Method::POST, "/api/v1/clusters", body).await
    }

    pub async fn get_cluster(&self, id: i64) -> Result<Cluster, ClientError> {
        self.transport.get(&format!("/api/v1/clusters/{id}")).await
    }

    pub async fn update_cluster(&self, id: i64, body: &UpdateClusterRequest) -> Result<Cluster, ClientError> {
        self.transport.send(Method::PATCH, &format!("/api/v1/clusters/{id}"), body).await
    }

    pub async fn delete_cluster(&self, id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/clusters/{id}")).await
    }

    pub async fn list_schedulers(&self) -> Result<Vec<Scheduler>, ClientError> {
        self.transport.get("/api/v1/schedulers").await
    }

    pub async fn list_seed_peers(&self) -> Result<Vec<SeedPeer>, ClientError> {
        self.transport.get("/api/v1/seed-peers").await
    }

    pub async fn list_join_tokens(&self) -> Result<Vec<JoinToken>, ClientError> {
        self.transport.get("/api/v1/join-tokens").await
    }

    pub async fn create_join_token(&self, body: &CreateJoinTokenRequest) -> Result<CreatedJoinToken, ClientError> {
        self.transport.send(Method::POST, "/api/v1/join-tokens", body).await
    }

    pub async fn delete_join_token(&self, id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/join-tokens/{id}")).await
    }

    pub async fn get_jwks(&self) -> Result<Jwks, ClientError> {
        self.transport.get("/api/v1/jwks").await
    }

    pub async fn renew_scheduler_lease(&self, body: &SchedulerLeaseRequest) -> Result<SchedulerLease, ClientError> {
        self.transport.send(Method::PUT, "/api/v1/leases/schedulers", body).await
    }

    pub async fn end_scheduler_lease(&self, id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/leases/schedulers/{id}")).await
    }

    pub async fn renew_seed_peer_lease(&self, body: &SeedPeerLeaseRequest) -> Result<SeedPeerLease, ClientError> {
        self.transport.send(Method::PUT, "/api/v1/leases/seed-peers", body).await
    }

    pub async fn end_seed_peer_lease(&self, id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/leases/seed-peers/{id}")).await
    }

    /// Since `known`, the version of an earlier answer: held back up to `wait` as long as nothing changes, and `None` when
    /// nothing has.
    pub async fn discover_cluster(
        &self,
        body: &DiscoveryRequest,
        known: Option<&str>,
        wait: Duration,
    ) -> Result<Option<DiscoveryResponse>, ClientError> {
        let request = self.transport.request(Method::POST, "/api/v1/discovery").json(body);
        let request = match known {
            Some(version) => request.header(IF_NONE_MATCH, format!("\"{version}\"")),
            None => request,
        };
        match send(Transport::waiting(request, wait)).await {
            Ok(answer) => json(answer).await.map(Some),
            Err(error) if known.is_some() && error.status() == Some(StatusCode::NOT_MODIFIED.as_u16()) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
