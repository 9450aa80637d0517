//! What a dfdaemon answers: pieces to peers, and tasks to the programs of its own node (dfget, the console's demo).

mod create_task;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::TaskId;
use crate::task::Origin;
pub use create_task::{
    CreateTaskRequest, FILTERED_QUERY_PARAMS_MAX, HEADERS_BYTES_MAX, ImportTaskRequest, InvalidTask,
    ListObjectsRequest, ObjectEntry, ObjectList, URL_BYTES_MAX,
};

/// On a content answer that lies within one finished piece: `blake3:…` of that whole piece.
pub const PIECE_DIGEST_HEADER: &str = "x-dragonfly-piece-digest";
/// On every answer with a task's bytes of which the cut is known: bytes per piece.
pub const PIECE_LENGTH_HEADER: &str = "x-dragonfly-piece-length";
/// On answers with a task's bytes of which no digest is known: `ETag` or `Last-Modified` of the origin, because bytes of
/// two versions must not be mixed.
pub const VALIDATOR_HEADER: &str = "x-dragonfly-validator";
/// On every answer with a task's bytes.
pub const TASK_ID_HEADER: &str = "x-dragonfly-task-id";
/// On answers of the mirror and the forward proxy with a task's bytes, or about them: whether this node has all of them
/// already.
pub const TASK_FINISHED_HEADER: &str = "x-dragonfly-task-download-finished";
/// On the same answers: the address at which other peers reach this node.
pub const SERVER_IP_HEADER: &str = "x-dragonfly-server-ip";
/// On error answers of the mirror and the forward proxy: who failed, `upstream` or `dfdaemon`.
pub const ERROR_TYPE_HEADER: &str = "x-dragonfly-error-type";

/// Where a dfdaemon listens for programs of its node, unless it is told another place.
pub const DEFAULT_SOCKET: &str = "/var/run/dragonfly/dfdaemon.sock";

/// Which pieces a peer has, from a given point of its own history on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PieceList {
    /// `None` until the origin has answered, or as long as the origin does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece_length: Option<u64>,
    /// As the origin named it; manifests need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// `ETag` or `Last-Modified` of a content without a digest, as the origin said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<String>,
    /// Finished in the order listed.
    pub pieces: Vec<Piece>,
    /// Send as `since` to get what came after.
    pub next: u64,
    /// Nothing will follow.
    pub complete: bool,
    /// Somebody is getting all of the rest.
    #[serde(default)]
    pub running: bool,
    /// The rest comes from the origin, so that it waits for no peer.
    #[serde(default)]
    pub at_origin: bool,
}

/// A finished piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Piece {
    pub index: u32,
    /// `blake3:…`, recorded by the first that fetched it.
    pub digest: Digest,
}

/// A node asks a seed peer what a tag means, or whether a digest is of its repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResolveTagRequest {
    /// The manifest by its tag or digest, `https://registry/v2/<repository>/manifests/<reference>`.
    pub origin: Origin,
}

/// What a seed peer says of a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TagAnswer {
    Resolved(ResolvedTag),
    Refused(TagRefusal),
}

/// The registry's no, to the credential that was shown. Not its challenge: where to show a password, a node believes
/// only the registry itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TagRefusal {
    /// 401, 403, 404 or 429.
    pub status: u16,
    /// As the registry wrote it (RFC 9110 §10.2.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
}

/// What a tag means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResolvedTag {
    pub digest: Digest,
    pub content_type: String,
    /// Of the manifest, in bytes.
    pub length: u64,
    /// The registry does not answer; this is what it said last.
    pub stale: bool,
}

/// A task on this host, and where its bytes came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskStatus {
    pub id: TaskId,
    pub state: TaskState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece_length: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Checked bytes on disk.
    pub held_bytes: u64,
    pub received: ReceivedBytes,
    /// As a program of this node named it, without its query; left out for what was imported, and for what no program of
    /// this node has asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Why it failed, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What the programs of this node have asked for or imported, by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskList {
    pub tasks: Vec<TaskStatus>,
    /// Send as `after` to get the next ones; left out when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TaskId>,
}

/// A program that has an empty file open wants the task's bytes to be its content.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CloneTaskRequest {
    /// The number of its descriptor of that file.
    pub descriptor: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CloneTaskResult {
    /// `false`: it can be, and the task is not complete yet; ask again.
    pub cloned: bool,
}

/// Bytes that arrived since this process started, by source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReceivedBytes {
    pub origin_bytes: u64,
    pub seed_bytes: u64,
    pub peer_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    Running,
    /// Some of it is here from an earlier time; nobody is fetching the rest.
    Idle,
    Complete,
    Failed,
}
