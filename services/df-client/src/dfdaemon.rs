//! Operations of dfdaemon: pieces for peers, tasks for programs of its own node.

use std::time::Duration;

use df_api::dfdaemon::{CreateTaskRequest, PieceList, TaskStatus};
use df_api::{ByteRange, TaskId};
use reqwest::{Method, Response, header::RANGE};

use crate::transport::{json, send};
use crate::{ClientError, Transport};

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

    /// Pieces finished after `since`, held back up to `wait` as long as there are none.
    pub async fn list_pieces(&self, id: &TaskId, since: u64, wait: Duration) -> Result<PieceList, ClientError> {
        let request = self.transport.request(Method::GET, &format!("/v1/tasks/{id}/pieces")).query(&[("since", since)]);
        json(send(Transport::waiting(request, wait)).await?).await
    }

    /// Starts the task, or joins it when it runs already.
    pub async fn create_task(&self, body: &CreateTaskRequest) -> Result<TaskStatus, ClientError> {
        self.transport.send(Method::POST, "/v1/tasks", body).await
    }

    pub async fn get_task(&self, id: &TaskId) -> Result<TaskStatus, ClientError> {
        self.transport.get(&format!("/v1/tasks/{id}")).await
    }
}
