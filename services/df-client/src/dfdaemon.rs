//! Operations of dfdaemon: pieces for peers, tasks for programs of its own node.

use std::time::Duration;

use df_api::dfdaemon::{
    CloneTaskRequest, CloneTaskResult, CreateTaskRequest, ImportTaskRequest, ListObjectsRequest, ObjectList, PieceList,
    ResolveTagRequest, TagAnswer, TaskList, TaskStatus,
};
use df_api::task::TaskSpec;
use df_api::{ByteRange, TaskId};
use reqwest::header::{CONTENT_LENGTH, RANGE};
use reqwest::{Body, Method, Response};

use crate::transport::{json, json_within, send};
use crate::{ClientError, Transport};

/// A list of pieces is read up to this size: some 40,000 of them, ten times what a task usually has.
const PIECES_BYTES_MAX: usize = 4 << 20;

#[derive(Clone, Debug)]
pub struct DfdaemonClient {
    transport: Transport,
}

// === impl DfdaemonClient ===

impl DfdaemonClient {
    /// The transport's bearer is a cluster credential at the peer listener, nothing at the local one.
    pub fn new(transport: Transport) -> Self {
        Self { transport }
    }

    /// The bytes, as they arrive at that peer. The answer waits for the first of them.
    pub async fn get_task_content(&self, id: &TaskId, range: Option<ByteRange>) -> Result<Response, ClientError> {
        let request = self.transport.request(Method::GET, &format!("/v1/tasks/{id}/content"));
        send(match range {
            Some(range) => request.header(RANGE, range.to_header()),
            None => request,
        })
        .await
    }

    /// As [`Self::get_task_content`], of a seed peer, which fetches what it does not have.
    pub async fn fetch_task_content(&self, body: &TaskSpec, range: ByteRange) -> Result<Response, ClientError> {
        let request = self.transport.request(Method::POST, &format!("/v1/tasks/{}/content", body.id));
        send(request.header(RANGE, range.to_header()).json(body)).await
    }

    /// What a tag means now, of a seed peer.
    pub async fn resolve_tag(&self, body: &ResolveTagRequest) -> Result<TagAnswer, ClientError> {
        self.transport.send(Method::POST, "/v1/tags", body).await
    }

    /// Pieces finished after `since`, held back up to `wait` as long as there are none.
    pub async fn list_pieces(&self, id: &TaskId, since: u64, wait: Duration) -> Result<PieceList, ClientError> {
        let request = self.transport.request(Method::GET, &format!("/v1/tasks/{id}/pieces")).query(&[("since", since)]);
        json_within(send(Transport::waiting(request, wait)).await?, PIECES_BYTES_MAX).await
    }

    /// Starts the task, or joins it when it runs already.
    pub async fn create_task(&self, body: &CreateTaskRequest) -> Result<TaskStatus, ClientError> {
        self.transport.send(Method::POST, "/v1/tasks", body).await
    }

    /// What an object store has below a prefix.
    pub async fn list_objects(&self, body: &ListObjectsRequest) -> Result<ObjectList, ClientError> {
        self.transport.send(Method::POST, "/v1/objects", body).await
    }

    /// What the programs of this node have asked for or imported, `limit` of them at most after that id.
    pub async fn list_tasks(&self, after: Option<&TaskId>, limit: u32) -> Result<TaskList, ClientError> {
        let request = self.transport.request(Method::GET, "/v1/tasks").query(&[("limit", limit)]);
        json(send(request.query(&[("after", after)])).await?).await
    }

    /// Stores `body`, of `length` bytes, as a task without an origin. Its client must not expect a word while it sends.
    pub async fn import_task(
        &self,
        request: &ImportTaskRequest,
        length: u64,
        body: impl Into<Body>,
    ) -> Result<TaskStatus, ClientError> {
        let sending = self.transport.request(Method::POST, "/v1/tasks/import").query(request);
        json(send(sending.header(CONTENT_LENGTH, length).body(body)).await?).await
    }

    /// Removes a task from that host.
    pub async fn delete_task(&self, id: &TaskId) -> Result<(), ClientError> {
        self.transport.call(Method::DELETE, &format!("/v1/tasks/{id}")).await
    }

    /// Makes the empty file behind a descriptor of this process share the task's bytes, waiting up to `wait` for them.
    pub async fn clone_task(
        &self,
        id: &TaskId,
        body: &CloneTaskRequest,
        wait: Duration,
    ) -> Result<CloneTaskResult, ClientError> {
        let request = self.transport.request(Method::POST, &format!("/v1/tasks/{id}/clone")).json(body);
        json(send(Transport::waiting(request, wait)).await?).await
    }

    pub async fn get_task(&self, id: &TaskId) -> Result<TaskStatus, ClientError> {
        self.transport.get(&format!("/v1/tasks/{id}")).await
    }
}
