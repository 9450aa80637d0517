//! Operations of the manager.

use std::time::Duration;

use df_api::cluster::Jwks;
use df_api::manager::{
    Application, Audit, Cluster, CreateApplicationRequest, CreateClusterRequest, CreateJoinTokenRequest,
    CreatePersonalAccessTokenRequest, CreateRoleRequest, CreatedJoinToken, DiscoveryRequest, DiscoveryResponse,
    JoinToken, Permission, PersonalAccessToken, ResetPasswordRequest, Scheduler, SchedulerLease, SchedulerLeaseRequest,
    SeedPeer, SeedPeerLease, SeedPeerLeaseRequest, SignInRequest, SignInResponse, SignUpRequest,
    UpdateApplicationRequest, UpdateClusterRequest, UpdatePersonalAccessTokenRequest, UpdateUserRequest, User,
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

    /// The bearer is worth nothing from then on.
    pub async fn refresh_token(&self) -> Result<SignInResponse, ClientError> {
        let request = self.transport.request(Method::POST, "/api/v1/users/refresh_token");
        json(send(request).await?).await
    }

    pub async fn sign_up(&self, body: &SignUpRequest) -> Result<User, ClientError> {
        self.transport.send(Method::POST, "/api/v1/users/signup", body).await
    }

    /// The first thousand.
    pub async fn list_users(&self) -> Result<Vec<User>, ClientError> {
        let request = self.transport.request(Method::GET, "/api/v1/users").query(&[("per_page", "1000")]);
        json(send(request).await?).await
    }

    pub async fn get_user(&self, id: i64) -> Result<User, ClientError> {
        self.transport.get(&format!("/api/v1/users/{id}")).await
    }

    pub async fn update_user(&self, id: i64, body: &UpdateUserRequest) -> Result<User, ClientError> {
        self.transport.send(Method::PATCH, &format!("/api/v1/users/{id}"), body).await
    }

    pub async fn reset_password(&self, id: i64, body: &ResetPasswordRequest) -> Result<(), ClientError> {
        self.transport.tell(Method::POST, &format!("/api/v1/users/{id}/reset_password"), body).await
    }

    pub async fn list_user_roles(&self, id: i64) -> Result<Vec<String>, ClientError> {
        self.transport.get(&format!("/api/v1/users/{id}/roles")).await
    }

    pub async fn add_user_role(&self, id: i64, role: &str) -> Result<(), ClientError> {
        self.transport.call(Method::PUT, &format!("/api/v1/users/{id}/roles/{role}")).await
    }

    pub async fn delete_user_role(&self, id: i64, role: &str) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/users/{id}/roles/{role}")).await
    }

    /// What a role can be permitted.
    pub async fn list_permissions(&self) -> Result<Vec<Permission>, ClientError> {
        self.transport.get("/api/v1/permissions").await
    }

    pub async fn list_roles(&self) -> Result<Vec<String>, ClientError> {
        self.transport.get("/api/v1/roles").await
    }

    /// Role, object and action of each of its permissions.
    pub async fn get_role(&self, role: &str) -> Result<Vec<[String; 3]>, ClientError> {
        self.transport.get(&format!("/api/v1/roles/{role}")).await
    }

    pub async fn create_role(&self, body: &CreateRoleRequest) -> Result<(), ClientError> {
        self.transport.tell(Method::POST, "/api/v1/roles", body).await
    }

    pub async fn delete_role(&self, role: &str) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/roles/{role}")).await
    }

    pub async fn add_permission(&self, role: &str, body: &Permission) -> Result<(), ClientError> {
        self.transport.tell(Method::POST, &format!("/api/v1/roles/{role}/permissions"), body).await
    }

    pub async fn delete_permission(&self, role: &str, body: &Permission) -> Result<(), ClientError> {
        self.transport.tell(Method::DELETE, &format!("/api/v1/roles/{role}/permissions"), body).await
    }

    /// The first thousand.
    pub async fn list_personal_access_tokens(&self) -> Result<Vec<PersonalAccessToken>, ClientError> {
        let request =
            self.transport.request(Method::GET, "/api/v1/personal-access-tokens").query(&[("per_page", "1000")]);
        json(send(request).await?).await
    }

    pub async fn create_personal_access_token(
        &self,
        body: &CreatePersonalAccessTokenRequest,
    ) -> Result<PersonalAccessToken, ClientError> {
        self.transport.send(Method::POST, "/api/v1/personal-access-tokens", body).await
    }

    pub async fn get_personal_access_token(&self, id: i64) -> Result<PersonalAccessToken, ClientError> {
        self.transport.get(&format!("/api/v1/personal-access-tokens/{id}")).await
    }

    pub async fn update_personal_access_token(
        &self,
        id: i64,
        body: &UpdatePersonalAccessTokenRequest,
    ) -> Result<PersonalAccessToken, ClientError> {
        self.transport.send(Method::PATCH, &format!("/api/v1/personal-access-tokens/{id}"), body).await
    }

    pub async fn delete_personal_access_token(&self, id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/personal-access-tokens/{id}")).await
    }

    /// The newest thousand.
    pub async fn list_audits(&self) -> Result<Vec<Audit>, ClientError> {
        let request = self.transport.request(Method::GET, "/api/v1/audits").query(&[("per_page", "1000")]);
        json(send(request).await?).await
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
