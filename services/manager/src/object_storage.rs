//! Buckets in any storage that speaks like Amazon's S3. Buckets and lists are the SDK's own requests; an object is read and
//! written by a URL that is signed here, so that its bytes only pass through.
//! **Invariant:** one endpoint, the configured one; its keys are in no answer, and a redirect is followed nowhere.

mod connector;

use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::primitives::DateTime as S3Time;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use chrono::{DateTime, Utc};
use df_api::Code;
use df_api::manager::{Bucket, ObjectList, ObjectMetadata};
use df_http::ApiError;
use http::HeaderMap;
use reqwest::{Body, Client, Response};
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::ObjectStorage as Config;

/// What of a storage's answer goes on to the caller.
pub const PASSED_ON: [http::HeaderName; 6] = [
    http::header::CONTENT_LENGTH,
    http::header::CONTENT_TYPE,
    http::header::CONTENT_RANGE,
    http::header::ACCEPT_RANGES,
    http::header::ETAG,
    http::header::LAST_MODIFIED,
];

const SIGNATURE_LASTS: Duration = Duration::from_secs(60);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Between two pieces of an answer.
const READ_PATIENCE: Duration = Duration::from_secs(60);
/// Where a storage has no regions; Amazon's first, which is not named when a bucket is made.
const DEFAULT_REGION: &str = "us-east-1";

/// See the module.
pub struct ObjectStorage {
    client: aws_sdk_s3::Client,
    http: Client,
    /// An answer may be as long in coming as its request takes to send; that ends with who sends it.
    uploads: Client,
    region: String,
}

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("there is no bucket {0}")]
    NoBucket(String),
    #[error("there is no object {1:?} in bucket {0}")]
    NoObject(String, String),
    #[error("there is a bucket {0} already")]
    Exists(String),
    #[error("bucket {0} is not empty; delete what is in it first")]
    NotEmpty(String),
    #[error("the range lies behind the end of the object")]
    Range,
    #[error("the storage does not take this: {0}")]
    Refused(String),
    #[error("the storage does not answer, or refuses its keys")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Which part of a bucket.
pub struct Part<'a> {
    pub prefix: &'a str,
    pub marker: &'a str,
    pub delimiter: &'a str,
    pub limit: i32,
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NoBucket(_) | StorageError::NoObject(..) => ApiError::not_found(error),
            StorageError::Exists(_) | StorageError::NotEmpty(_) => ApiError::new(Code::Conflict, error.to_string()),
            StorageError::Range => ApiError::new(Code::RangeNotSatisfiable, error.to_string()),
            StorageError::Refused(_) => ApiError::unprocessable(error),
            StorageError::Unavailable(_) => ApiError::new(Code::BadGateway, error.to_string()).with_cause(error),
        }
    }
}

// === impl ObjectStorage ===

impl ObjectStorage {
    pub fn new(config: &Config, access_key: &SecretString, secret_key: &SecretString) -> anyhow::Result<Self> {
        let client = || Client::builder().redirect(reqwest::redirect::Policy::none()).connect_timeout(CONNECT_PATIENCE);
        let (http, uploads) = (client().read_timeout(READ_PATIENCE).build()?, client().build()?);
        let region = config.region.clone().unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let keys = Credentials::new(access_key.expose_secret(), secret_key.expose_secret(), None, None, "manager");
        let mut s3 = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.clone()))
            .http_client(connector::by(http.clone()))
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            // Compatible stores refuse the checksums that the SDK adds by itself.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .force_path_style(config.force_path_style.unwrap_or(config.endpoint.is_some()))
            .credentials_provider(keys);
        s3.set_endpoint_url(config.endpoint.clone());
        Ok(Self { client: aws_sdk_s3::Client::from_conf(s3.build()), http, uploads, region })
    }

    pub async fn list_buckets(&self) -> Result<Vec<Bucket>, StorageError> {
        let answer = self.client.list_buckets().send().await.map_err(|error| said(error, "", ""))?;
        let bucket = |bucket: &aws_sdk_s3::types::Bucket| {
            Some(Bucket { name: bucket.name()?.to_owned(), create_at: bucket.creation_date().and_then(time) })
        };
        Ok(answer.buckets().iter().filter_map(bucket).collect())
    }

    pub async fn bucket(&self, name: &str) -> Result<Bucket, StorageError> {
        let found = self.list_buckets().await?.into_iter().find(|bucket| bucket.name == name);
        found.ok_or_else(|| StorageError::NoBucket(name.to_owned()))
    }

    pub async fn create_bucket(&self, name: &str) -> Result<(), StorageError> {
        let mut request = self.client.create_bucket().bucket(name);
        if self.region != DEFAULT_REGION {
            let place = BucketLocationConstraint::from(self.region.as_str());
            let place = CreateBucketConfiguration::builder().location_constraint(place).build();
            request = request.create_bucket_configuration(place);
        }
        request.send().await.map_err(|error| said(error, name, "")).map(drop)
    }

    pub async fn delete_bucket(&self, name: &str) -> Result<(), StorageError> {
        self.client.delete_bucket().bucket(name).send().await.map_err(|error| said(error, name, "")).map(drop)
    }

    pub async fn list_objects(&self, bucket: &str, part: &Part<'_>) -> Result<ObjectList, StorageError> {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let request = self.client.list_objects_v2().bucket(bucket).max_keys(part.limit);
        let request = request.set_prefix(some(part.prefix)).set_start_after(some(part.marker));
        let answer = request.set_delimiter(some(part.delimiter)).send().await;
        let answer = answer.map_err(|error| said(error, bucket, ""))?;
        let metadatas: Vec<ObjectMetadata> = answer.contents().iter().filter_map(metadata).collect();
        let prefixes = answer.common_prefixes().iter().filter_map(|one| one.prefix().map(str::to_owned));
        let common_prefixes: Vec<String> = prefixes.collect();
        // Whatever comes last in the order of keys, so that the next part begins behind it.
        let last = metadatas
            .last()
            .map(|one| one.key.clone())
            .max(common_prefixes.last().map(|one| format!("{one}\u{10ffff}")));
        let next_marker = last.filter(|_| answer.is_truncated() == Some(true));
        Ok(ObjectList { metadatas, common_prefixes, next_marker })
    }

    /// With the caller's `Range` and conditions.
    pub async fn get_object(&self, bucket: &str, key: &str, headers: HeaderMap) -> Result<Response, StorageError> {
        let request = self.client.get_object().bucket(bucket).key(key).presigned(lasts()?).await;
        let request = request.map_err(|error| said(error, bucket, key))?;
        send(&self.http, request, headers, Body::default(), (bucket, key)).await
    }

    pub async fn head_object(&self, bucket: &str, key: &str) -> Result<Response, StorageError> {
        let request = self.client.head_object().bucket(bucket).key(key).presigned(lasts()?).await;
        let request = request.map_err(|error| said(error, bucket, key))?;
        send(&self.http, request, HeaderMap::new(), Body::default(), (bucket, key)).await
    }

    /// `headers` have the length: a storage takes no stream that ends somewhere.
    pub async fn put_object(
        &self,
        bucket: &str,
        key: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response, StorageError> {
        let request = self.client.put_object().bucket(bucket).key(key).presigned(lasts()?).await;
        let request = request.map_err(|error| said(error, bucket, key))?;
        send(&self.uploads, request, headers, body, (bucket, key)).await
    }

    /// It is gone, also when it was never there.
    pub async fn delete_object(&self, bucket: &str, key: &str) -> Result<(), StorageError> {
        let deleted = self.client.delete_object().bucket(bucket).key(key).send().await;
        deleted.map_err(|error| said(error, bucket, key)).map(drop)
    }
}

async fn send(
    http: &Client,
    signed: PresignedRequest,
    headers: HeaderMap,
    body: Body,
    (bucket, key): (&str, &str),
) -> Result<Response, StorageError> {
    let method = signed.method().parse::<http::Method>().map_err(|error| StorageError::Unavailable(error.into()))?;
    let mut asked = http.request(method, signed.uri()).headers(headers);
    for (name, value) in signed.headers() {
        asked = asked.header(name, value);
    }
    let sent = asked.body(body).send().await;
    let answer = sent.map_err(|error| StorageError::Unavailable(error.without_url().into()))?;
    match answer.status().as_u16() {
        200..=206 | 304 => Ok(answer),
        404 => Err(StorageError::NoObject(bucket.to_owned(), key.to_owned())),
        416 => Err(StorageError::Range),
        412 => Err(StorageError::Refused("it is not as the condition says".to_owned())),
        status => Err(StorageError::Unavailable(format!("the storage answers {status}").into())),
    }
}

fn metadata(object: &aws_sdk_s3::types::Object) -> Option<ObjectMetadata> {
    Some(ObjectMetadata {
        key: object.key()?.to_owned(),
        content_length: object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
        etag: object.e_tag().map(str::to_owned),
        last_modified: object.last_modified().and_then(time),
    })
}

fn time(time: &S3Time) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.secs(), time.subsec_nanos())
}

fn lasts() -> Result<PresigningConfig, StorageError> {
    PresigningConfig::expires_in(SIGNATURE_LASTS).map_err(|error| StorageError::Unavailable(error.into()))
}

fn said<E>(error: SdkError<E>, bucket: &str, key: &str) -> StorageError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let of = bucket.to_owned();
    match error.code() {
        Some("NoSuchBucket") => StorageError::NoBucket(of),
        Some("NoSuchKey") => StorageError::NoObject(of, key.to_owned()),
        Some("BucketAlreadyExists" | "BucketAlreadyOwnedByYou") => StorageError::Exists(of),
        Some("BucketNotEmpty") => StorageError::NotEmpty(of),
        Some(code @ ("InvalidBucketName" | "InvalidArgument" | "KeyTooLongError")) => {
            StorageError::Refused(code.to_owned())
        }
        _ => StorageError::Unavailable(DisplayErrorContext(error).to_string().into()),
    }
}
