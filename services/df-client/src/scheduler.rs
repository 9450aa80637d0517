//! Operations of the scheduler.

use std::time::Duration;

use df_api::scheduler::{
    DutyReport, HostDecision, HostReport, HostView, PeerAnswers, PeerDecision, PeerReport, PeerReports, TaskView,
};
use df_api::{HostId, PeerId, TaskId};
use reqwest::Method;

use crate::transport::{json, send};
use crate::{ClientError, Transport};

#[derive(Clone, Debug)]
pub struct SchedulerClient {
    transport: Transport,
}

// === impl SchedulerClient ===

impl SchedulerClient {
    /// The transport's bearer is a cluster credential.
    pub fn new(transport: Transport) -> Self {
        Self { transport }
    }

    /// Held back up to `wait` as long as there are no duties.
    pub async fn report_host(
        &self,
        id: &HostId,
        body: &HostReport,
        wait: Duration,
    ) -> Result<HostDecision, ClientError> {
        let request = self.transport.request(Method::PUT, &format!("/v1/hosts/{id}")).json(body);
        json(send(Transport::waiting(request, wait)).await?).await
    }

    /// `seq` as of a report: what the host has said since stays.
    pub async fn delete_host(&self, id: &HostId, seq: u64) -> Result<(), ClientError> {
        send(self.transport.request(Method::DELETE, &format!("/v1/hosts/{id}")).query(&[("seq", seq)])).await.map(drop)
    }

    /// How a duty of a job stands. One that is not known (404) is to be dropped.
    pub async fn report_duty(&self, id: &HostId, duty: u64, body: &DutyReport) -> Result<(), ClientError> {
        self.transport.tell(Method::PUT, &format!("/v1/hosts/{id}/duties/{duty}"), body).await
    }

    pub async fn list_hosts(&self) -> Result<Vec<HostView>, ClientError> {
        self.transport.get("/v1/hosts").await
    }

    pub async fn get_task(&self, id: &TaskId) -> Result<TaskView, ClientError> {
        self.transport.get(&format!("/v1/tasks/{id}")).await
    }

    /// Held back up to `wait` as long as the decision would be `wait`, or the one that the report names as known.
    pub async fn report_peer(
        &self,
        task: &TaskId,
        peer: &PeerId,
        body: &PeerReport,
        wait: Duration,
    ) -> Result<PeerDecision, ClientError> {
        let request = self.transport.request(Method::PUT, &format!("/v1/tasks/{task}/peers/{peer}")).json(body);
        json(send(Transport::waiting(request, wait)).await?).await
    }

    /// Several of one host, answered at once.
    pub async fn report_peers(&self, host: &HostId, body: &PeerReports) -> Result<PeerAnswers, ClientError> {
        json(send(self.transport.request(Method::PUT, &format!("/v1/hosts/{host}/peers")).json(body)).await?).await
    }

    /// `seq` as of a report: what the peer has said since stays.
    pub async fn delete_peer(&self, task: &TaskId, peer: &PeerId, seq: u64) -> Result<(), ClientError> {
        let request = self.transport.request(Method::DELETE, &format!("/v1/tasks/{task}/peers/{peer}"));
        send(request.query(&[("seq", seq)])).await.map(drop)
    }
}
