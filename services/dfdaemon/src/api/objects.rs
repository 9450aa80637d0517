//! What object stores have, for the programs of this node: a folder is fetched object by object.

use axum::extract::State;
use df_api::Code;
use df_api::dfdaemon::{ListObjectsRequest, ObjectList};
use df_http::extract::Json;
use df_http::{ApiError, Problems};
use df_peer::{S3Error, UpstreamRefused};
use url::Url;

use crate::state::AppState;

const OBJECTS_MAX: u32 = 100_000;

/// List the objects below a prefix of an object store
///
/// A POST, because it may carry keys, which are not for logs.
#[utoipa::path(post, path = "/v1/objects", operation_id = "list_objects", tag = "objects",
    request_body = ListObjectsRequest,
    responses((status = 200, description = "All of them", body = ObjectList), Problems))]
pub async fn list_objects(
    State(app): State<AppState>,
    Json(request): Json<ListObjectsRequest>,
) -> Result<Json<ObjectList>, ApiError> {
    let max = request.max_objects;
    if !(1..=OBJECTS_MAX).contains(&max) {
        return Err(ApiError::unprocessable(format!("max_objects {max} is not from 1 to {OBJECTS_MAX}")));
    }
    let place = request.storage.as_ref().map_or_else(|| request.url.clone(), |storage| storage.place(&request.url));
    let url = Url::parse(&place).ok().filter(|url| url.scheme() == "s3");
    let url = url.ok_or_else(|| ApiError::unprocessable(format!("url {:?} is not s3://bucket/prefix", request.url)))?;
    let listed = app.peer.upstream().list_objects(&url, request.storage.as_ref(), max as usize).await;
    listed.map(|objects| Json(ObjectList { objects })).map_err(|error| {
        let code = match &error {
            S3Error::Refused(UpstreamRefused::NotAllowed(_)) => Code::Forbidden,
            S3Error::Refused(_) | S3Error::TooMany { .. } => Code::Unprocessable,
            S3Error::Store { status: 401 | 403, .. } => Code::Forbidden,
            S3Error::Store { status: 404, .. } => Code::NotFound,
            S3Error::Store { .. } | S3Error::Unreachable(_) => Code::BadGateway,
        };
        ApiError::new(code, error.to_string())
    })
}
