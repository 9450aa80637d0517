//! `upstream:` of dfdaemon.yaml.

use std::num::NonZeroU64;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// Settings for what lies behind this node.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UpstreamConfig {
    /// Hosts that may be asked although they are private, and how: `registry.lan:5000` (https),
    /// `http://registry.lan:5000` (plain). Default: none.
    pub allow: Vec<String>,
    /// Ask any public host as well. Default: true.
    pub any_public: bool,
    /// PEM files with further certificate authorities. Default: none.
    pub ca_certs: Vec<PathBuf>,
    /// A proxy for requests to origins, and for tunnels of the forward proxy: `http://`, `https://`, `socks5://` (names are resolved here) or `socks5h://`
    /// (by the proxy), with `user:password@` where it wants one; the environment's `HTTPS_PROXY` and friends count too.
    /// Where the proxy resolves names, it must refuse what is private. Default: none.
    #[serde(skip_serializing)]
    pub proxy: Option<SecretString>,
    /// Hosts, domains, addresses and networks that are asked without the proxy. Default: none.
    pub no_proxy: Vec<String>,
    /// Registries with a credential or a certificate authority of their own. Default: none.
    pub registries: Vec<RegistryConfig>,
    /// Object stores with an endpoint, a region or keys of their own, for `s3://` URLs; the first that fits is used. Whoever
    /// may use this node reads with its keys. Default: none; then the usual variables (`AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL_S3`) and profile files count, never
    /// a metadata service.
    pub s3: Vec<S3Config>,
    /// How long a task remembers where its origin redirected to, in milliseconds. Default: 60000.
    pub redirect_ttl_ms: u64,
    /// Requests at one origin at once, also those that the registry mirror and the forward proxy pass on, but not tunnels.
    /// Default: 100.
    pub concurrency_per_origin: usize,
    /// New requests to one origin per second, of all these. Default: unlimited.
    pub requests_per_second_per_origin: Option<NonZeroU64>,
}

/// What this node knows of one registry.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegistryConfig {
    /// `host` or `host:port`, as in image names.
    pub host: String,
    /// For requests that bring no credential themselves; whoever may use this node's mirror reads with it. Shown over TLS,
    /// or as `allow` says to ask there, and on the usual port where `host` has none. Default: none.
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default, skip_serializing)]
    pub password: Option<SecretString>,
    /// Instead of `password`; read anew whenever it is needed. Default: none.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// PEM files with certificate authorities for this registry alone. Default: none.
    #[serde(default)]
    pub ca_certs: Vec<PathBuf>,
}

/// What this node knows of one object store. Requests carry no checksums of the SDK, which many stores refuse.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct S3Config {
    /// `http://` or `https://`. One that is private must be in `allow` as well. Default: Amazon's.
    pub endpoint: Option<String>,
    /// Only for this bucket. Default: for all.
    pub bucket: Option<String>,
    /// Default: of the environment, else us-east-1.
    pub region: Option<String>,
    /// The bucket is part of the path, not of the host's name. Default: true with an `endpoint`.
    pub path_style: Option<bool>,
    /// With `secretAccessKey`. Default: none.
    pub access_key_id: Option<String>,
    #[serde(skip_serializing)]
    pub secret_access_key: Option<SecretString>,
    /// Default: none.
    #[serde(skip_serializing)]
    pub session_token: Option<SecretString>,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            any_public: true,
            ca_certs: Vec::new(),
            proxy: None,
            no_proxy: Vec::new(),
            registries: Vec::new(),
            s3: Vec::new(),
            redirect_ttl_ms: 60_000,
            concurrency_per_origin: 100,
            requests_per_second_per_origin: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let config: UpstreamConfig = serde_json::from_value(serde_json::json!({
            "proxy": "http://user:hidden@proxy.lan:3128",
            "registries": [{ "host": "r.lan", "username": "u", "password": "hidden" }],
            "s3": [{ "accessKeyId": "id", "secretAccessKey": "hidden", "sessionToken": "hidden" }],
        }))
        .unwrap();
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
