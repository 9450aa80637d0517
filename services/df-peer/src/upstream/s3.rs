//! Objects of S3 and of what speaks like it: an object is fetched by a URL that is signed here, so that ranges, retries,
//! redirects and limits are those of every other origin; only lists are the SDK's own requests.
//!
//! **Invariant.** A key is used for the endpoint it was given for, and for no other; nothing asks a metadata service.

mod connector;

use std::sync::Arc;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, ProvideCredentials as _, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, SharedHttpClient,
};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use df_api::dfdaemon::ObjectEntry;
use df_api::task::{Origin, StorageAccess};
use reqwest::Client;
use secrecy::ExposeSecret as _;
use url::Url;

use super::config::S3Config;
use super::origins::Origins;
use super::rules::Rules;
use super::{UpstreamError, UpstreamRefused};

/// How stores are asked.
#[derive(Clone, Debug)]
pub(super) struct S3 {
    configured: Arc<Vec<S3Config>>,
    http: SharedHttpClient,
}

/// An object, or what the names of several begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Location {
    bucket: String,
    key: String,
    version_id: Option<String>,
    endpoint: Option<String>,
}

/// Everything but the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Store {
    endpoint: Option<String>,
    region: String,
    path_style: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    #[error(transparent)]
    Refused(#[from] UpstreamRefused),
    #[error("there are more than {max} objects; ask for fewer, or raise the limit")]
    TooMany { max: usize },
    /// The store's own word, such as `NoSuchBucket`, of this `s3://bucket/prefix/`.
    #[error("{of}: the store says {status}: {code}")]
    Store { of: String, status: u16, code: String },
    #[error("the store cannot be asked: {0}")]
    Unreachable(String),
}

/// Long enough for a request that waits its turn; each range is signed anew.
const SIGNATURE_LASTS: Duration = Duration::from_secs(15 * 60);
const DEFAULT_REGION: &str = "us-east-1";
/// A store that answers with nothing but further pages is not asked for ever.
const PAGES_MAX: usize = 1000;
const PAGE_OBJECTS_MAX: usize = 1000;
/// One page of a list.
const PAGE_PATIENCE: Duration = Duration::from_secs(30);

// === impl S3 ===

impl S3 {
    pub fn new(
        configured: &[S3Config],
        http: Client,
        rules: Arc<Rules>,
        origins: Arc<Origins>,
    ) -> Result<Self, UpstreamError> {
        for config in configured {
            let well_formed = config.endpoint.as_deref().is_none_or(|endpoint| endpoint_url(endpoint).is_some());
            if !well_formed || config.access_key_id.is_some() != config.secret_access_key.is_some() {
                let of = config.endpoint.clone().or(config.bucket.clone()).unwrap_or_else(|| "Amazon".to_owned());
                return Err(UpstreamError::S3 { of });
            }
        }
        Ok(Self { configured: Arc::new(configured.to_vec()), http: connector::guarded(http, rules, origins) })
    }

    /// Where a request for this `s3://` URL would go.
    pub fn place_of(&self, url: &Url) -> Result<Url, UpstreamRefused> {
        let location = Location::parse(url)?;
        let store = self.store_of(&location, None);
        plain_url(&store, &location).ok_or_else(|| UpstreamRefused::malformed(url.as_str()))
    }

    /// A URL that reads the object, for a while; without keys it reads what is public.
    pub async fn sign(&self, origin: &Origin) -> Result<Url, S3Error> {
        let malformed = || UpstreamRefused::malformed(&origin.content_url());
        let location = Location::parse(&Url::parse(&origin.url).map_err(|_| malformed())?)?;
        if location.key.is_empty() || location.key.ends_with('/') {
            return Err(malformed().into());
        }
        let store = self.store_of(&location, origin.storage.as_ref());
        let Some(keys) = self.keys_of(&location, origin.storage.as_ref()).await? else {
            return Ok(plain_url(&store, &location).ok_or_else(malformed)?);
        };
        let lasts = PresigningConfig::expires_in(SIGNATURE_LASTS).map_err(|_| malformed())?;
        let request = self.client(&store, Some(keys)).get_object().bucket(&location.bucket).key(&location.key);
        let signed = request.set_version_id(location.version_id.clone()).presigned(lasts).await;
        let signed = signed.map_err(|error| S3Error::Unreachable(DisplayErrorContext(error).to_string()))?;
        Ok(Url::parse(signed.uri()).map_err(|_| malformed())?)
    }

    /// All objects below a prefix, `max` at most; folders' own markers do not count.
    pub async fn list(
        &self,
        url: &Url,
        access: Option<&StorageAccess>,
        max: usize,
    ) -> Result<Vec<ObjectEntry>, S3Error> {
        let mut location = Location::parse(url)?;
        if !location.key.is_empty() && !location.key.ends_with('/') {
            location.key.push('/');
        }
        let keys = self.keys_of(&location, access).await?;
        let client = self.client(&self.store_of(&location, access), keys);
        let (mut objects, mut token) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let left = (max + 1 - objects.len()).min(PAGE_OBJECTS_MAX);
            let page = client.list_objects_v2().bucket(&location.bucket).prefix(&location.key);
            let page = page.max_keys(i32::try_from(left).unwrap_or(i32::MAX)).set_continuation_token(token.take());
            let silent = |_| S3Error::Unreachable(format!("no list within {PAGE_PATIENCE:?}"));
            let page = tokio::time::timeout(PAGE_PATIENCE, page.send()).await.map_err(silent)?;
            let page = page.map_err(|error| said(&location, error))?;
            objects.extend(page.contents().iter().filter_map(|object| entry(&location, object)));
            if objects.len() > max {
                return Err(S3Error::TooMany { max });
            }
            match page.next_continuation_token().filter(|_| page.is_truncated() == Some(true)) {
                Some(next) => token = Some(next.to_owned()),
                None => return Ok(objects),
            }
        }
        Err(S3Error::Unreachable("its list does not end".to_owned()))
    }

    /// The first that fits.
    fn config_of(&self, location: &Location) -> Option<&S3Config> {
        let same = |one: &str, other: &str| one.trim_end_matches('/') == other.trim_end_matches('/');
        self.configured.iter().find(|config| {
            let bucket = config.bucket.as_ref().is_none_or(|bucket| *bucket == location.bucket);
            let asked = location.endpoint.as_deref();
            bucket && asked.is_none_or(|asked| config.endpoint.as_deref().is_some_and(|ours| same(ours, asked)))
        })
    }

    fn store_of(&self, location: &Location, access: Option<&StorageAccess>) -> Store {
        let config = self.config_of(location);
        let configured = config.and_then(|config| config.endpoint.clone());
        let foreign = || config.is_none().then(environment_endpoint).flatten();
        let endpoint = location.endpoint.clone().or(configured).or_else(foreign);
        let region = access.and_then(|access| access.region.clone());
        let region = region.or_else(|| config.and_then(|config| config.region.clone())).or_else(environment_region);
        Store {
            // What is not Amazon's seldom has a name per bucket.
            path_style: config.and_then(|config| config.path_style).unwrap_or(endpoint.is_some()),
            endpoint,
            region: region.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
        }
    }

    /// Of the request, else as configured for this place, else, for the place the environment means, of the environment.
    async fn keys_of(
        &self,
        location: &Location,
        access: Option<&StorageAccess>,
    ) -> Result<Option<Credentials>, S3Error> {
        if let Some(access) = access.filter(|access| access.has_keys()) {
            let (Some(id), Some(secret)) = (&access.access_key_id, &access.access_key_secret) else {
                let what = "storage: access_key_id and access_key_secret go together".to_owned();
                return Err(UpstreamRefused::Malformed(what).into());
            };
            return Ok(Some(Credentials::new(id, secret, access.session_token.clone(), None, "request")));
        }
        let config = self.config_of(location);
        if let Some((config, (id, secret))) = config
            .and_then(|config| Some((config, config.access_key_id.as_ref().zip(config.secret_access_key.as_ref())?)))
        {
            let token = config.session_token.as_ref().map(|token| token.expose_secret().to_owned());
            return Ok(Some(Credentials::new(id, secret.expose_secret(), token, None, "configuration")));
        }
        let foreign = location.endpoint.is_some() && location.endpoint != environment_endpoint();
        if foreign || config.is_some_and(|config| config.endpoint.is_some()) {
            return Ok(None);
        }
        if let Ok(keys) = EnvironmentVariableCredentialsProvider::new().provide_credentials().await {
            return Ok(Some(keys));
        }
        // A profile may say to ask for keys elsewhere: under the rules of all origins.
        let config = ProviderConfig::without_region().with_http_client(self.http.clone());
        let profile = ProfileFileCredentialsProvider::builder().configure(&config).build();
        Ok(profile.provide_credentials().await.ok())
    }

    fn client(&self, store: &Store, keys: Option<Credentials>) -> aws_sdk_s3::Client {
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(store.region.clone()))
            .http_client(self.http.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            // Compatible stores refuse the checksums that the SDK adds by itself.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .force_path_style(store.path_style);
        config.set_endpoint_url(store.endpoint.clone());
        let config = match keys {
            Some(keys) => config.credentials_provider(keys),
            None => config.allow_no_auth(),
        };
        aws_sdk_s3::Client::from_conf(config.build())
    }
}

fn entry(location: &Location, object: &aws_sdk_s3::types::Object) -> Option<ObjectEntry> {
    let key = object.key()?;
    let name = key.strip_prefix(&location.key).filter(|name| !name.is_empty() && !name.ends_with('/'))?;
    let access = StorageAccess { endpoint: location.endpoint.clone(), ..StorageAccess::default() };
    let url = access.place(&format!("s3://{}/{}", location.bucket, escaped_key(key)));
    let length_bytes = object.size().and_then(|size| u64::try_from(size).ok());
    Some(ObjectEntry { url, name: name.to_owned(), length_bytes })
}

fn said<E>(location: &Location, error: SdkError<E>) -> S3Error
where
    E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    match (status, error.code()) {
        (Some(status), code) => {
            let of = format!("s3://{}/{}", location.bucket, location.key);
            S3Error::Store { of, status, code: code.unwrap_or("no reason").to_owned() }
        }
        (None, _) => S3Error::Unreachable(DisplayErrorContext(error).to_string()),
    }
}

fn environment(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| std::env::var(name).ok()).filter(|value| !value.is_empty())
}

fn environment_endpoint() -> Option<String> {
    environment(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
}

fn environment_region() -> Option<String> {
    environment(&["AWS_REGION", "AWS_DEFAULT_REGION"])
}

fn endpoint_url(endpoint: &str) -> Option<Url> {
    let plain = |url: &Url| {
        let named = matches!(url.scheme(), "http" | "https") && url.has_host();
        named && url.username().is_empty() && url.password().is_none() && url.query().is_none()
    };
    Url::parse(endpoint).ok().filter(plain)
}

/// By path, which Amazon understands too. Nothing signs it.
fn plain_url(store: &Store, location: &Location) -> Option<Url> {
    let amazon = || format!("https://s3.{}.amazonaws.com", store.region);
    let mut url = endpoint_url(&store.endpoint.clone().unwrap_or_else(amazon))?;
    url.path_segments_mut().ok()?.pop_if_empty().push(&location.bucket).extend(location.key.split('/'));
    if let Some(version) = &location.version_id {
        url.query_pairs_mut().append_pair("versionId", version);
    }
    Some(url)
}

fn escaped_key(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    key.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

// === impl Location ===

impl Location {
    fn parse(url: &Url) -> Result<Self, UpstreamRefused> {
        let malformed = || UpstreamRefused::malformed(url.as_str());
        let bucket = url.host_str().filter(|bucket| !bucket.is_empty()).ok_or_else(malformed)?.to_owned();
        let named = bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if !named || url.scheme() != "s3" || url.port().is_some() || !url.username().is_empty() {
            return Err(malformed());
        }
        let key = unescaped(url.path().strip_prefix('/').unwrap_or_default()).ok_or_else(malformed)?;
        let (mut version_id, mut endpoint) = (None, None);
        for (name, value) in url.query_pairs() {
            match &*name {
                "versionId" => version_id = Some(value.into_owned()),
                "endpoint" if endpoint_url(&value).is_some() => endpoint = Some(value.into_owned()),
                _ => return Err(malformed()),
            }
        }
        Ok(Self { bucket, key, version_id, endpoint })
    }
}

fn unescaped(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, tail) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?, tail)
            }
            _ => (first, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
