//! Operations of the manager.

mod jobs;

use std::time::Duration;

use df_api::cluster::Jwks;
use df_api::manager::{
    Application, Audit, Bucket, Cluster, Config, CreateApplicationRequest, CreateBucketRequest, CreateClusterRequest,
    CreateConfigRequest, CreateJoinTokenRequest, CreateOauthRequest, CreatePeerRequest,
    CreatePersonalAccessTokenRequest, CreateRoleRequest, CreateSchedulerClusterRequest, CreateSchedulerRequest,
    CreateSeedPeerClusterRequest, CreateSeedPeerRequest, CreatedJoinToken, DiscoveryRequest, DiscoveryResponse,
    Feature, JoinToken, Oauth, ObjectList, Peer, Permission, PersonalAccessToken, ResetPasswordRequest, Scheduler,
    SchedulerCluster, SchedulerLease, SchedulerLeaseRequest, SeedPeer, SeedPeerCluster, SeedPeerLease,
    SeedPeerLeaseRequest, SignInRequest, SignInResponse, SignUpRequest, UpdateApplicationRequest, UpdateClusterRequest,
    UpdateConfigRequest, UpdateOauthRequest, UpdatePersonalAccessTokenRequest, UpdateSchedulerClusterRequest,
    UpdateSchedulerRequest, UpdateSeedPeerClusterRequest, UpdateSeedPeerRequest, UpdateUserRequest, User,
};
use reqwest::header::{CONTENT_LENGTH, IF_NONE_MATCH};
use reqwest::{Body, Method, Response, StatusCode};
use url::form_urlencoded::byte_serialize;

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

    /// All of them: there are no more than twenty.
    pub async fn list_oauth(&self) -> Result<Vec<Oauth>, ClientError> {
        let request = self.transport.request(Method::GET, "/api/v1/oauth").query(&[("per_page", "1000")]);
        json(send(request).await?).await
    }

    pub async fn create_oauth(&self, body: &CreateOauthRequest) -> Result<Oauth, ClientError> {
        self.transport.send(Method::POST, "/api/v1/oauth", body).await
    }

    pub async fn get_oauth(&self, id: i64) -> Result<Oauth, ClientError> {
        self.transport.get(&format!("/api/v1/oauth/{id}")).await
    }

    pub async fn update_oauth(&self, id: i64, body: &UpdateOauthRequest) -> Result<Oauth, ClientError> {
        self.transport.send(Method::PATCH, &format!("/api/v1/oauth/{id}"), body).await
    }

    pub async fn delete_oauth(&self, id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/oauth/{id}")).await
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

    /// The first thousand.
    pub async fn list_scheduler_clusters(&self) -> Result<Vec<SchedulerCluster>, ClientError> {
        let request = self.transport.request(Method::GET, "/api/v1/scheduler-clusters").query(&[("per_page", "1000")]);
        json(send(request).await?).await
    }

    pub async fn create_scheduler_cluster(
        &self,
        body: &CreateSchedulerClusterRequest,
    ) -> Result<SchedulerCluster, ClientError> {
        self.transport.send(Method::POST, "/api/v1/scheduler-clusters", body).await
    }

    pub async fn get_scheduler_cluster(&self, id: i64) -> Result<SchedulerCluster, ClientError> {
        self.transport.get(&format!("/api/v1/scheduler-clusters/{id}")).await
    }

    pub async fn update_scheduler_cluster(
        &self,
        id: i64,
        body: &UpdateSchedulerClusterRequest,
    ) -> Result<SchedulerCluster, ClientError> {
        self.transport.send(Method::PATCH, &format!("/api/v1/scheduler-clusters/{id}"), body).await
    }

    pub async fn delete_scheduler_cluster(&self, id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/scheduler-clusters/{id}")).await
    }

    pub async fn add_scheduler(&self, id: i64, scheduler_id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::PUT, &format!("/api/v1/scheduler-clusters/{id}/schedulers/{scheduler_id}")).await
    }

    /// The first thousand.
    pub async fn list_seed_peer_clusters(&self) -> Result<Vec<SeedPeerCluster>, ClientError> {
        let request = self.transport.request(Method::GET, "/api/v1/seed-peer-clusters").query(&[("per_page", "1000")]);
        json(send(request).await?).await
    }

    pub async fn create_seed_peer_cluster(
        &self,
        body: &CreateSeedPeerClusterRequest,
    ) -> Result<SeedPeerCluster, ClientError> {
        self.transport.send(Method::POST, "/api/v1/seed-peer-clusters", body).await
    }

    pub async fn get_seed_peer_cluster(&self, id: i64) -> Result<SeedPeerCluster, ClientError> {
        self.transport.get(&format!("/api/v1/seed-peer-clusters/{id}")).await
    }

    pub async fn update_seed_peer_cluster(
        &self,
        id: i64,
        body: &UpdateSeedPeerClusterRequest,
    ) -> Result<SeedPeerCluster, ClientError> {
        self.transport.send(Method::PATCH, &format!("/api/v1/seed-peer-clusters/{id}"), body).await
    }

    pub async fn delete_seed_peer_cluster(&self, id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/seed-peer-clusters/{id}")).await
    }

    pub async fn add_seed_peer(&self, id: i64, seed_peer_id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::PUT, &format!("/api/v1/seed-peer-clusters/{id}/seed-peers/{seed_peer_id}")).await
    }

    pub async fn add_scheduler_cluster(&self, id: i64, other: i64) -> Result<(), ClientError> {
        self.transport.call(Method::PUT, &format!("/api/v1/seed-peer-clusters/{id}/scheduler-clusters/{other}")).await
    }

    /// The first thousand.
    pub async fn list_schedulers(&self) -> Result<Vec<Scheduler>, ClientError> {
        let request = self.transport.request(Method::GET, "/api/v1/schedulers").query(&[("per_page", "1000")]);
        json(send(request).await?).await
    }

    pub async fn create_scheduler(&self, body: &CreateSchedulerRequest) -> Result<Scheduler, ClientError> {
        self.transport.send(Method::POST, "/api/v1/schedulers", body).await
    }

    pub async fn get_scheduler(&self, id: i64) -> Result<Scheduler, ClientError> {
        self.transport.get(&format!("/api/v1/schedulers/{id}")).await
    }

    pub async fn update_scheduler(&self, id: i64, body: &UpdateSchedulerRequest) -> Result<Scheduler, ClientError> {
        self.transport.send(Method::PATCH, &format!("/api/v1/schedulers/{id}"), body).await
    }

    pub async fn delete_scheduler(&self, id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/schedulers/{id}")).await
    }

    pub async fn list_scheduler_features(&self) -> Result<Vec<Feature>, ClientError> {
        self.transport.get("/api/v1/scheduler-features").await
    }

    /// The first thousand.
    pub async fn list_seed_peers(&self) -> Result<Vec<SeedPeer>, ClientError> {
        let request = self.transport.request(Method::GET, "/api/v1/seed-peers").query(&[("per_page", "1000")]);
        json(send(request).await?).await
    }

    pub async fn create_seed_peer(&self, body: &CreateSeedPeerRequest) -> Result<SeedPeer, ClientError> {
        self.transport.send(Method::POST, "/api/v1/seed-peers", body).await
    }

    pub async fn get_seed_peer(&self, id: i64) -> Result<SeedPeer, ClientError> {
        self.transport.get(&format!("/api/v1/seed-peers/{id}")).await
    }

    pub async fn update_seed_peer(&self, id: i64, body: &UpdateSeedPeerRequest) -> Result<SeedPeer, ClientError> {
        self.transport.send(Method::PATCH, &format!("/api/v1/seed-peers/{id}"), body).await
    }

    pub async fn delete_seed_peer(&self, id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/seed-peers/{id}")).await
    }

    /// The first thousand.
    pub async fn list_configs(&self) -> Result<Vec<Config>, ClientError> {
        let request = self.transport.request(Method::GET, "/api/v1/configs").query(&[("per_page", "1000")]);
        json(send(request).await?).await
    }

    pub async fn create_config(&self, body: &CreateConfigRequest) -> Result<Config, ClientError> {
        self.transport.send(Method::POST, "/api/v1/configs", body).await
    }

    pub async fn get_config(&self, id: i64) -> Result<Config, ClientError> {
        self.transport.get(&format!("/api/v1/configs/{id}")).await
    }

    pub async fn update_config(&self, id: i64, body: &UpdateConfigRequest) -> Result<Config, ClientError> {
        self.transport.send(Method::PATCH, &format!("/api/v1/configs/{id}"), body).await
    }

    pub async fn delete_config(&self, id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/configs/{id}")).await
    }

    /// The first thousand.
    pub async fn list_peers(&self) -> Result<Vec<Peer>, ClientError> {
        let request = self.transport.request(Method::GET, "/api/v1/peers").query(&[("per_page", "1000")]);
        json(send(request).await?).await
    }

    pub async fn create_peer(&self, body: &CreatePeerRequest) -> Result<Peer, ClientError> {
        self.transport.send(Method::POST, "/api/v1/peers", body).await
    }

    pub async fn get_peer(&self, id: i64) -> Result<Peer, ClientError> {
        self.transport.get(&format!("/api/v1/peers/{id}")).await
    }

    pub async fn delete_peer(&self, id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/peers/{id}")).await
    }

    pub async fn list_buckets(&self) -> Result<Vec<Bucket>, ClientError> {
        self.transport.get("/api/v1/buckets").await
    }

    pub async fn create_bucket(&self, body: &CreateBucketRequest) -> Result<(), ClientError> {
        self.transport.tell(Method::POST, "/api/v1/buckets", body).await
    }

    pub async fn get_bucket(&self, id: &str) -> Result<Bucket, ClientError> {
        self.transport.get(&format!("/api/v1/buckets/{id}")).await
    }

    pub async fn delete_bucket(&self, id: &str) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/buckets/{id}")).await
    }

    /// Keys that begin with `prefix`, behind `marker`.
    pub async fn list_objects(&self, id: &str, prefix: &str, marker: &str) -> Result<ObjectList, ClientError> {
        let request = self.transport.request(Method::GET, &format!("/api/v1/buckets/{id}/metadatas"));
        json(send(request.query(&[("prefix", prefix), ("marker", marker)])).await?).await
    }

    /// Its bytes are the body.
    pub async fn get_object(&self, id: &str, key: &str) -> Result<Response, ClientError> {
        let key = one_segment(key);
        send(self.transport.request(Method::GET, &format!("/api/v1/buckets/{id}/objects/{key}"))).await
    }

    /// How long it is, in bytes.
    pub async fn stat_object(&self, id: &str, key: &str) -> Result<u64, ClientError> {
        let key = one_segment(key);
        let request = self.transport.request(Method::HEAD, &format!("/api/v1/buckets/{id}/objects/{key}"));
        let answer = send(request).await?;
        let length = answer.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(length.unwrap_or_default())
    }

    pub async fn put_object(&self, id: &str, key: &str, bytes: impl Into<Body>) -> Result<(), ClientError> {
        let key = one_segment(key);
        let request = self.transport.request(Method::PUT, &format!("/api/v1/buckets/{id}/objects/{key}"));
        send(request.body(bytes)).await.map(drop)
    }

    pub async fn delete_object(&self, id: &str, key: &str) -> Result<(), ClientError> {
        let key = one_segment(key);
        self.transport.call(Method::DELETE, &format!("/api/v1/buckets/{id}/objects/{key}")).await
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

/// A key of an object, whose slashes are no slashes of a path.
fn one_segment(key: &str) -> String {
    byte_serialize(key.as_bytes()).collect::<String>().replace('+', "%20")
}
