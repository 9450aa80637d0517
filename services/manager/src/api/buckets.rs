//! Buckets and objects of the storage that the manager is configured with.
//! **Invariant:** bytes of objects pass through and are kept nowhere here.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use df_api::Code;
use df_api::manager::{Bucket, CreateBucketRequest, ObjectList};
use df_http::extract::{Json, Path, Query};
use df_http::{ApiError, Problems};
use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, IF_MATCH, IF_NONE_MATCH, RANGE};
use serde::Deserialize;

use crate::app::App;
use crate::check_cluster::{Refused, at_most, ensure, quoted};
use crate::object_storage::{PASSED_ON, Part};

const NAME_CHARS_MIN: usize = 3;
const NAME_CHARS_MAX: usize = 63;
/// In UTF-8, as Amazon counts.
const KEY_BYTES_MAX: usize = 1024;
const LIMIT_MAX: i32 = 1000;
/// What one request may write, as Amazon has it.
const OBJECT_BYTES_MAX: u64 = 5 << 30;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListObjects {
    /// Keys that begin with it.
    #[serde(default)]
    prefix: String,
    /// Keys behind it: the `next_marker` of the part before.
    #[serde(default)]
    marker: String,
    /// `/` shows keys like folders.
    #[serde(default)]
    delimiter: String,
    /// 1 to 1000; 1000 when left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i32>,
}

/// The bytes of an object, or of a range of it.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "only the document knows it: the bytes pass through")]
pub struct ObjectBytes(Vec<u8>);

/// List buckets
#[utoipa::path(
    get,
    path = "/api/v1/buckets",
    operation_id = "list_buckets",
    tag = "storage",
    responses((status = 200, description = "All there are", body = Vec<Bucket>), Problems)
)]
pub async fn list_buckets(State(app): State<App>) -> Result<Json<Vec<Bucket>>, ApiError> {
    Ok(Json(app.object_storage()?.list_buckets().await?))
}

/// Make a bucket
#[utoipa::path(
    post,
    path = "/api/v1/buckets",
    operation_id = "create_bucket",
    tag = "storage",
    request_body = CreateBucketRequest,
    responses((status = 200, description = "Made"), Problems)
)]
pub async fn create_bucket(State(app): State<App>, Json(body): Json<CreateBucketRequest>) -> Result<(), ApiError> {
    check_name("name", &body.name)?;
    app.object_storage()?.create_bucket(&body.name).await?;
    tracing::info!(bucket = body.name, "a bucket was made");
    Ok(())
}

/// Get a bucket
#[utoipa::path(
    get,
    path = "/api/v1/buckets/{id}",
    operation_id = "get_bucket",
    tag = "storage",
    params(("id" = String, Path, description = "Its name")),
    responses((status = 200, description = "The bucket", body = Bucket), Problems)
)]
pub async fn get_bucket(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Bucket>, ApiError> {
    check_name("id", &id)?;
    Ok(Json(app.object_storage()?.bucket(&id).await?))
}

/// Delete a bucket
///
/// An empty one.
#[utoipa::path(
    delete,
    path = "/api/v1/buckets/{id}",
    operation_id = "delete_bucket",
    tag = "storage",
    params(("id" = String, Path, description = "Its name")),
    responses((status = 200, description = "Deleted"), Problems)
)]
pub async fn delete_bucket(State(app): State<App>, Path(id): Path<String>) -> Result<(), ApiError> {
    check_name("id", &id)?;
    app.object_storage()?.delete_bucket(&id).await?;
    tracing::info!(bucket = id, "a bucket was deleted");
    Ok(())
}

/// List objects
#[utoipa::path(
    get,
    path = "/api/v1/buckets/{id}/metadatas",
    operation_id = "list_objects",
    tag = "storage",
    params(("id" = String, Path, description = "The bucket"), ListObjects),
    responses((status = 200, description = "By key", body = ObjectList), Problems)
)]
pub async fn list_objects(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<ListObjects>,
) -> Result<Json<ObjectList>, ApiError> {
    check_name("id", &id)?;
    let ListObjects { prefix, marker, delimiter, limit } = &query;
    at_most("prefix", prefix, KEY_BYTES_MAX)?;
    at_most("marker", marker, KEY_BYTES_MAX + 1)?;
    at_most("delimiter", delimiter, 1)?;
    let limit = limit.unwrap_or(LIMIT_MAX);
    ensure((1..=LIMIT_MAX).contains(&limit), "limit", limit, || format!("must be 1 to {LIMIT_MAX}"))?;
    Ok(Json(app.object_storage()?.list_objects(&id, &Part { prefix, marker, delimiter, limit }).await?))
}

/// Read an object
///
/// The whole of it, or a range (RFC 9110 §14).
#[utoipa::path(
    get,
    path = "/api/v1/buckets/{id}/objects/{object_key}",
    operation_id = "get_object",
    tag = "storage",
    params(
        ("id" = String, Path, description = "The bucket"),
        ("object_key" = String, Path, description = "The key; each / in it is written %2F"),
        ("range" = Option<String>, Header, description = "`bytes=…`, for a part of it"),
    ),
    responses(
        (status = 200, description = "Its bytes", body = ObjectBytes, content_type = "application/octet-stream"),
        (status = 206, description = "The bytes of the range", body = ObjectBytes, content_type = "application/octet-stream"),
        Problems,
    )
)]
pub async fn get_object(
    State(app): State<App>,
    Path((id, key)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_object(&id, &key)?;
    let asked = only(&headers, &[RANGE, IF_MATCH, IF_NONE_MATCH]);
    let answer = app.object_storage()?.get_object(&id, &key, asked).await?;
    let (status, headers) = (answer.status(), only(answer.headers(), &PASSED_ON));
    // Whatever it is, it is no page of ours.
    let saved = [(CONTENT_DISPOSITION, "attachment")];
    Ok((status, saved, headers, Body::new(reqwest::Body::from(answer))).into_response())
}

/// Ask what an object is
#[utoipa::path(
    head,
    path = "/api/v1/buckets/{id}/objects/{object_key}",
    operation_id = "stat_object",
    tag = "storage",
    params(
        ("id" = String, Path, description = "The bucket"),
        ("object_key" = String, Path, description = "The key; each / in it is written %2F"),
    ),
    responses((status = 200, description = "Length, type, time and ETag are in the headers"), Problems)
)]
pub async fn stat_object(
    State(app): State<App>,
    Path((id, key)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    check_object(&id, &key)?;
    let answer = app.object_storage()?.head_object(&id, &key).await?;
    Ok(only(answer.headers(), &PASSED_ON).into_response())
}

/// Write an object
///
/// At most 5 GiB, with `Content-Length`.
#[utoipa::path(
    put,
    path = "/api/v1/buckets/{id}/objects/{object_key}",
    operation_id = "put_object",
    tag = "storage",
    params(
        ("id" = String, Path, description = "The bucket"),
        ("object_key" = String, Path, description = "The key; each / in it is written %2F"),
    ),
    request_body(content = ObjectBytes, content_type = "application/octet-stream"),
    responses((status = 200, description = "Written"), Problems)
)]
pub async fn put_object(
    State(app): State<App>,
    Path((id, key)): Path<(String, String)>,
    request: Request,
) -> Result<(), ApiError> {
    check_object(&id, &key)?;
    let headers = only(request.headers(), &[CONTENT_LENGTH, CONTENT_TYPE]);
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let length =
        length.ok_or_else(|| ApiError::invalid("Content-Length is required: a storage wants to know it before"))?;
    if length > OBJECT_BYTES_MAX {
        return Err(ApiError::new(Code::TooLarge, format!("{length} bytes: an object has at most {OBJECT_BYTES_MAX}")));
    }
    let body = reqwest::Body::wrap_stream(request.into_body().into_data_stream());
    app.object_storage()?.put_object(&id, &key, headers, body).await?;
    tracing::info!(bucket = id, key, length, "an object was written");
    Ok(())
}

/// Delete an object
#[utoipa::path(
    delete,
    path = "/api/v1/buckets/{id}/objects/{object_key}",
    operation_id = "delete_object",
    tag = "storage",
    params(
        ("id" = String, Path, description = "The bucket"),
        ("object_key" = String, Path, description = "The key; each / in it is written %2F"),
    ),
    responses((status = 200, description = "It is not there any more"), Problems)
)]
pub async fn delete_object(State(app): State<App>, Path((id, key)): Path<(String, String)>) -> Result<(), ApiError> {
    check_object(&id, &key)?;
    app.object_storage()?.delete_object(&id, &key).await?;
    tracing::info!(bucket = id, key, "an object was deleted");
    Ok(())
}

fn only(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let kept = names.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
    kept.collect()
}

fn check_object(bucket: &str, key: &str) -> Result<(), Refused> {
    check_name("id", bucket)?;
    ensure((1..=KEY_BYTES_MAX).contains(&key.len()), "object_key", quoted(key), || {
        format!("1 to {KEY_BYTES_MAX} bytes")
    })?;
    // A client on the way would make another path of it.
    let climbs = key.split('/').any(|part| matches!(part, "." | ".."));
    ensure(!climbs && !key.contains('\0'), "object_key", quoted(key), || "without . and .. as parts of it".to_owned())
}

fn check_name(field: &str, name: &str) -> Result<(), Refused> {
    let sane = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fits = (NAME_CHARS_MIN..=NAME_CHARS_MAX).contains(&name.len())
        && name.chars().all(sane)
        && ends(name.chars().next())
        && ends(name.chars().last())
        && !name.contains("..");
    ensure(fits, field, quoted(name), || {
        format!("{NAME_CHARS_MIN} to {NAME_CHARS_MAX} of a-z 0-9 . -, beginning and ending with a letter or digit")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_that_mean_another_place_are_refused() {
        for good in ["abc", "my-bucket.1"] {
            assert!(check_name("name", good).is_ok(), "{good}");
        }
        for bad in ["", "ab", "A-bucket", "a/b", "..", "-ab", "a..b", &"a".repeat(64)] {
            assert!(check_name("name", bad).is_err(), "{bad}");
        }
        assert!(check_object("abc", "a/b c/ß").is_ok());
        for bad in ["", "../x", "a/../b", "a/.", &"a".repeat(1025)] {
            assert!(check_object("abc", bad).is_err(), "{bad}");
        }
    }
}
