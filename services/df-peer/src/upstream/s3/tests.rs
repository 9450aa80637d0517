//! Which store is asked, with whose keys.

use secrecy::SecretString;

use super::*;
use crate::upstream::{Upstream, UpstreamConfig};

fn s3(configured: Vec<S3Config>) -> S3 {
    let rules = Arc::new(Rules::new(&UpstreamConfig::default()).unwrap());
    S3::new(&configured, Client::new(), rules, Arc::new(Origins::new(8, None))).unwrap()
}

fn location(url: &str) -> Result<Location, UpstreamRefused> {
    Location::parse(&Url::parse(url).unwrap())
}

fn minio() -> S3Config {
    S3Config {
        endpoint: Some("http://s.lan:9000".to_owned()),
        access_key_id: Some("id".to_owned()),
        secret_access_key: Some(SecretString::from("hidden")),
        ..S3Config::default()
    }
}

#[test]
fn a_place_is_bucket_key_version_and_endpoint() {
    let there = location("s3://b/a%20b/c%3Fd?versionId=7&endpoint=http%3A%2F%2Fs.lan%3A9000").unwrap();
    assert_eq!((there.bucket.as_str(), there.key.as_str()), ("b", "a b/c?d"));
    assert_eq!((there.version_id.as_deref(), there.endpoint.as_deref()), (Some("7"), Some("http://s.lan:9000")));
    for wrong in
        ["s3:///k", "s3://u@b/k", "s3://b:80/k", "s3://b/k?endpoint=ftp%3A%2F%2Fx", "s3://b/k?x=1", "s3://b/%FF"]
    {
        assert!(location(wrong).is_err(), "{wrong}");
    }
    assert_eq!(escaped_key("a b/ü?"), "a%20b/%C3%BC%3F");
}

#[tokio::test]
async fn a_key_is_used_for_its_own_endpoint_only() {
    let s3 = s3(vec![minio()]);
    let sign = async |url: &str| s3.sign(&Origin::new(url)).await.unwrap().to_string();
    let ours = sign("s3://b/k").await;
    assert!(ours.starts_with("http://s.lan:9000/b/k?") && ours.contains("X-Amz-Signature="), "{ours}");
    assert!(ours.contains("X-Amz-Credential=id%2F") && !ours.contains("hidden"));
    assert!(!ours.to_ascii_lowercase().contains("checksum"), "compatible stores refuse what they do not know: {ours}");
    let elsewhere = sign("s3://b/k?endpoint=http%3A%2F%2Felsewhere.example").await;
    assert_eq!(elsewhere, "http://elsewhere.example/b/k");
}

#[tokio::test]
async fn half_a_key_is_named() {
    let storage = Some(StorageAccess { access_key_id: Some("id".to_owned()), ..StorageAccess::default() });
    let origin = Origin { storage, ..Origin::new("s3://b/k") };
    let refused = s3(vec![]).sign(&origin).await.unwrap_err().to_string();
    assert!(refused.contains("access_key_secret"), "{refused}");
    let half = S3Config { secret_access_key: None, ..minio() };
    let config = UpstreamConfig { s3: vec![half], ..UpstreamConfig::default() };
    assert!(Upstream::new(&config).unwrap_err().to_string().contains("s.lan"));
}

#[test]
fn a_store_is_under_the_rules_of_all_origins() {
    let upstream = Upstream::new(&UpstreamConfig::default()).unwrap();
    let check = |url: &str| upstream.check(&Url::parse(url).unwrap());
    assert!(check("s3://b/k").is_ok());
    for private in ["http://169.254.169.254", "http://127.0.0.1:9000", "http://localhost", "https://10.0.0.1"] {
        let access = StorageAccess { endpoint: Some(private.to_owned()), ..StorageAccess::default() };
        assert!(matches!(check(&access.place("s3://b/k")), Err(UpstreamRefused::NotAllowed(_))), "{private}");
    }
}

#[tokio::test]
async fn region_token_and_style_are_those_of_the_request_else_of_the_configuration() {
    let amazon = |path_style| S3Config {
        endpoint: None,
        region: Some("eu-north-1".to_owned()),
        session_token: Some(SecretString::from("token")),
        path_style,
        ..minio()
    };
    let sign = async |config: S3Config, storage: Option<StorageAccess>| {
        let origin = Origin { storage, ..Origin::new("s3://bucket/a+b c") };
        s3(vec![config]).sign(&origin).await.unwrap()
    };
    let configured = sign(amazon(None), None).await;
    assert_eq!(configured.host_str(), Some("bucket.s3.eu-north-1.amazonaws.com"));
    assert_eq!(configured.path(), "/a%2Bb%20c");
    let query = configured.query().unwrap();
    assert!(query.contains("%2Feu-north-1%2Fs3%2F") && query.contains("X-Amz-Security-Token=token"), "{query}");
    let by_path = sign(amazon(Some(true)), None).await;
    assert_eq!((by_path.host_str(), by_path.path()), (Some("s3.eu-north-1.amazonaws.com"), "/bucket/a%2Bb%20c"));
    let by_host = sign(S3Config { path_style: Some(false), ..minio() }, None).await;
    assert_eq!(by_host.host_str(), Some("bucket.s.lan"));
    let storage = StorageAccess {
        region: Some("ap-east-1".to_owned()),
        access_key_id: Some("other".to_owned()),
        access_key_secret: Some("hidden".to_owned()),
        session_token: Some("theirs".to_owned()),
        ..StorageAccess::default()
    };
    let asked = sign(amazon(None), Some(storage)).await;
    let query = asked.query().unwrap();
    for shown in ["X-Amz-Credential=other%2F", "%2Fap-east-1%2Fs3%2F", "X-Amz-Security-Token=theirs"] {
        assert!(query.contains(shown), "{shown} {query}");
    }
}

/// Somebody else's presigned URLs of one object are one task, and the same as its plain URL.
#[tokio::test]
async fn a_presigned_url_is_the_content_without_its_signature() {
    let sign = async |id: &str, token: Option<&str>| {
        let session_token = token.map(SecretString::from);
        let config = S3Config { access_key_id: Some(id.to_owned()), session_token, ..minio() };
        s3(vec![config]).sign(&Origin::new("s3://b/k?versionId=7")).await.unwrap().to_string()
    };
    let (one, other) = (sign("one", None).await, sign("other", Some("token")).await);
    assert_ne!(one, other);
    let id = |url: &str| df_api::task::TaskSpec::new(Origin::new(url), None).id;
    assert_eq!(id(&one), id(&other));
    assert_eq!(Origin::new(&one).content_url(), "http://s.lan:9000/b/k?versionId=7");
    assert_eq!(id(&one), id("http://s.lan:9000/b/k?versionId=7"));
}
