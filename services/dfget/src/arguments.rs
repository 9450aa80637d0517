//! What can be typed, and what of it becomes a request.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use df_api::dfdaemon::CreateTaskRequest;
use df_api::task::StorageAccess;
use df_api::{ByteRange, Digest};
use url::Url;

/// Fetch a URL, sharing the bytes with the cluster.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 something else, 2 wrong usage, 3 the origin says no, \
    4 nothing answers, 5 the digest does not match, 6 the output cannot be written. Of several files, the first that \
    failed decides."
)]
pub struct Arguments {
    /// http://, https:// or s3://bucket/key; with --recursive, s3://bucket/prefix/
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    pub url: Option<Url>,
    /// Where to write it; with --recursive or --list, the folder for all of them.
    #[arg(short = 'O', long, value_name = "FILE")]
    pub output: PathBuf,
    /// sha256:… or sha512:… of the content; nothing is written when it does not match.
    #[arg(long, conflicts_with_all = ["recursive", "list", "range"])]
    pub digest: Option<Digest>,
    /// Every object below the prefix, each at its own path below FILE.
    #[arg(short, long, conflicts_with = "range")]
    pub recursive: bool,
    /// A file with one `URL` or `URL path` per line; the path is below FILE, and the URL's last part when there is none.
    #[arg(long, value_name = "LIST", conflicts_with_all = ["recursive", "range"])]
    pub list: Option<PathBuf>,
    /// Refuse to fetch more files than this.
    #[arg(long, env = "DFGET_MAX_FILES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_files: u32,
    /// Files fetched at once.
    #[arg(long, env = "DFGET_MAX_CONCURRENT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub max_concurrent: u32,
    /// Replace files that exist.
    #[arg(long)]
    pub overwrite: bool,
    /// Only these bytes: `0-1023` or `1024-`.
    #[arg(long, value_parser = parse_range)]
    pub range: Option<ByteRange>,
    /// Give up after this long: `90s`, `5m` or `2h`.
    #[arg(long, env = "DFGET_TIMEOUT", default_value = "2h", value_parser = parse_duration)]
    pub timeout: Duration,
    /// A further header for the origin, `name: value`; may be given several times. This node then asks the origin itself.
    #[arg(short = 'H', long = "header", value_name = "HEADER", value_parser = parse_header)]
    pub headers: Vec<(String, String)>,
    /// Sent to the origin: `Authorization: Bearer …`. Prefer the environment, which other users cannot read.
    #[arg(long, env = "DFGET_AUTHORIZATION", hide_env_values = true)]
    pub authorization: Option<String>,
    /// Keeps contents of one URL apart.
    #[arg(long, env = "DFGET_TAG")]
    pub tag: Option<String>,
    /// Keeps contents of one URL apart.
    #[arg(long, env = "DFGET_APPLICATION")]
    pub application: Option<String>,
    /// A query parameter that says nothing about the content; may be given several times. Signatures never count.
    #[arg(
        long = "filtered-query-param",
        env = "DFGET_FILTERED_QUERY_PARAMS",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub filtered_query_params: Vec<String>,
    /// Bytes per piece, a power of two from 262144 to 67108864. Default: it follows from the length.
    #[arg(long, env = "DFGET_PIECE_LENGTH")]
    pub piece_length: Option<u64>,
    /// Of an S3 store that is not Amazon's.
    #[arg(long, env = "DFGET_STORAGE_ENDPOINT")]
    pub storage_endpoint: Option<String>,
    #[arg(long, env = "DFGET_STORAGE_REGION")]
    pub storage_region: Option<String>,
    /// Prefer the environment for keys, which other users cannot read.
    #[arg(long, env = "DFGET_STORAGE_ACCESS_KEY_ID", hide_env_values = true, requires = "storage_access_key_secret")]
    pub storage_access_key_id: Option<String>,
    #[arg(long, env = "DFGET_STORAGE_ACCESS_KEY_SECRET", hide_env_values = true, requires = "storage_access_key_id")]
    pub storage_access_key_secret: Option<String>,
    #[arg(long, env = "DFGET_STORAGE_SESSION_TOKEN", hide_env_values = true, requires = "storage_access_key_id")]
    pub storage_session_token: Option<String>,
    /// The daemon of this node: `unix:/path` or `http://…`. Default: unix:/var/run/dragonfly/dfdaemon.sock where that can
    /// be used, else http://127.0.0.1:65001.
    #[arg(long, env = "DFGET_DAEMON")]
    pub daemon: Option<String>,
    /// One JSON object per file, and one for all of them, on standard output.
    #[arg(long)]
    pub json: bool,
    #[arg(long, env = "DFGET_NO_PROGRESS")]
    pub no_progress: bool,
    /// Say nothing but errors.
    #[arg(short, long, env = "DFGET_QUIET")]
    pub quiet: bool,
}

// === impl Arguments ===

impl Arguments {
    pub fn storage(&self) -> Option<StorageAccess> {
        let access = StorageAccess {
            endpoint: self.storage_endpoint.clone(),
            region: self.storage_region.clone(),
            access_key_id: self.storage_access_key_id.clone(),
            access_key_secret: self.storage_access_key_secret.clone(),
            session_token: self.storage_session_token.clone(),
        };
        (access != StorageAccess::default()).then_some(access)
    }

    pub fn request(&self, url: &str) -> CreateTaskRequest {
        CreateTaskRequest {
            digest: self.digest.clone(),
            tag: self.tag.clone(),
            application: self.application.clone(),
            authorization: self.authorization.clone(),
            filtered_query_params: self.filtered_query_params.clone(),
            piece_length: self.piece_length,
            headers: self.headers.iter().cloned().collect::<BTreeMap<_, _>>(),
            storage: self.storage().filter(|_| url.starts_with("s3://")),
            ..CreateTaskRequest::new(url)
        }
    }

    pub fn has_progress(&self) -> bool {
        !(self.no_progress || self.quiet || self.json)
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as `name: value`")?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

fn parse_range(text: &str) -> Result<ByteRange, String> {
    let wrong = || format!("{text:?} is not first-last or first-");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let digits =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let end = match last {
        "" => u64::MAX,
        last => digits(last).and_then(|last| last.checked_add(1)).ok_or_else(wrong)?,
    };
    digits(first).and_then(|first| ByteRange::new(first, end)).ok_or_else(wrong)
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 90s, 5m or 2h");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)).filter(|s| *s > 0);
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_times_are_read_or_refused() {
        assert_eq!(parse_range("0-9"), Ok(ByteRange { start: 0, end: 10 }));
        assert_eq!(parse_range("5-").map(|range| range.start), Ok(5));
        for wrong in ["", "-", "-5", "9-0", "a-b", "1-+2", "0-18446744073709551615", "bytes=0-1"] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "0", "-1s", "5d", "h", "99999999999999999999s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
