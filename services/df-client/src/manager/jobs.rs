//! Jobs, and what is asked by one.

use std::time::Duration;

use df_api::manager::{
    CreateJobRequest, CreatePreheatRequest, CreatedPreheat, Job, JobSecrets, JobSyncRequest, JobSyncResponse,
    PersistentCacheTask, Preheat, UpdateJobRequest,
};
use reqwest::Method;

use super::ManagerClient;
use crate::transport::{json, send};
use crate::{ClientError, Transport};

impl ManagerClient {
    /// The newest thousand.
    pub async fn list_jobs(&self) -> Result<Vec<Job>, ClientError> {
        let request = self.transport.request(Method::GET, "/api/v1/jobs").query(&[("per_page", "1000")]);
        json(send(request).await?).await
    }

    pub async fn create_job(&self, body: &CreateJobRequest) -> Result<Job, ClientError> {
        self.transport.send(Method::POST, "/api/v1/jobs", body).await
    }

    pub async fn get_job(&self, id: i64) -> Result<Job, ClientError> {
        self.transport.get(&format!("/api/v1/jobs/{id}")).await
    }

    pub async fn update_job(&self, id: i64, body: &UpdateJobRequest) -> Result<Job, ClientError> {
        self.transport.send(Method::PATCH, &format!("/api/v1/jobs/{id}"), body).await
    }

    /// Cancelled first, if it has not ended.
    pub async fn delete_job(&self, id: i64) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/api/v1/jobs/{id}")).await
    }

    pub async fn cancel_job(&self, id: i64) -> Result<Job, ClientError> {
        json(send(self.transport.request(Method::POST, &format!("/api/v1/jobs/{id}/cancel"))).await?).await
    }

    /// Only where it has failed.
    pub async fn retry_job(&self, id: i64) -> Result<Job, ClientError> {
        json(send(self.transport.request(Method::POST, &format!("/api/v1/jobs/{id}/retry"))).await?).await
    }

    /// Held back up to `wait` as long as what is in hand stays in hand and there is nothing new.
    pub async fn sync_jobs(&self, body: &JobSyncRequest, wait: Duration) -> Result<JobSyncResponse, ClientError> {
        let request = self.transport.request(Method::PUT, "/api/v1/leases/jobs").json(body);
        json(send(Transport::waiting(request, wait)).await?).await
    }

    pub async fn get_job_secrets(&self, assignment: i64) -> Result<JobSecrets, ClientError> {
        self.transport.get(&format!("/api/v1/leases/jobs/{assignment}/secrets")).await
    }

    /// Whether somebody is there.
    pub async fn get_ping(&self) -> Result<(), ClientError> {
        self.transport.call(Method::GET, "/_ping").await
    }

    pub async fn create_preheat(&self, body: &CreatePreheatRequest) -> Result<CreatedPreheat, ClientError> {
        self.transport.send(Method::POST, "/preheats", body).await
    }

    pub async fn get_preheat(&self, id: &str) -> Result<Preheat, ClientError> {
        self.transport.get(&format!("/preheats/{id}")).await
    }

    pub async fn list_persistent_cache_tasks(&self, cluster: i64) -> Result<Vec<PersistentCacheTask>, ClientError> {
        let request = self.transport.request(Method::GET, "/api/v1/persistent-cache-tasks");
        json(send(request.query(&[("scheduler_cluster_id", cluster)])).await?).await
    }

    pub async fn get_persistent_cache_task(&self, cluster: i64, id: &str) -> Result<PersistentCacheTask, ClientError> {
        let request = self.transport.request(Method::GET, &format!("/api/v1/persistent-cache-tasks/{id}"));
        json(send(request.query(&[("scheduler_cluster_id", cluster)])).await?).await
    }

    pub async fn delete_persistent_cache_task(&self, cluster: i64, id: &str) -> Result<(), ClientError> {
        let request = self.transport.request(Method::DELETE, &format!("/api/v1/persistent-cache-tasks/{id}"));
        send(request.query(&[("scheduler_cluster_id", cluster)])).await.map(drop)
    }
}
