//! What can be typed, and what of it becomes a request.
//!
//! **Invariant.** What cannot be is said before anything is asked of anybody: the option, and what is wrong with its value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser};
use df_api::dfdaemon::{CreateTaskRequest, InvalidTask};
use df_api::rules::Priority;
use df_api::task::StorageAccess;
use df_api::{ByteRange, Digest};
use url::Url;

use crate::commands::Command;
use crate::error::FetchError;

/// Fetch a URL, sharing the bytes with the cluster; keep files in the cluster that have no URL.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "dfget [OPTIONS] --output <FILE> <URL>\n       dfget <COMMAND>",
    after_help = crate::error::EXIT_CODES
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub fetch: Arguments,
}

/// The daemon, and how to talk about it.
#[derive(Args)]
pub struct Talk {
    /// The daemon of this node: `unix:/path` or `http://…`. Default: unix:/var/run/dragonfly/dfdaemon.sock where that can
    /// be used, else http://127.0.0.1:65001.
    #[arg(long, env = "DFGET_DAEMON")]
    pub daemon: Option<String>,
    /// Give up after this long: `90s`, `5m` or `2h`.
    #[arg(long, env = "DFGET_TIMEOUT", default_value = "2h", value_parser = parse_duration)]
    pub timeout: Duration,
    /// One JSON object per file or task, and one for all of several files, on standard output.
    #[arg(long)]
    pub json: bool,
    #[arg(long, env = "DFGET_NO_PROGRESS")]
    pub no_progress: bool,
    /// Say nothing but errors.
    #[arg(short, long, env = "DFGET_QUIET")]
    pub quiet: bool,
}

/// What keeps contents of one URL, or of one digest, apart.
#[derive(Args, Clone, Default)]
pub struct Names {
    /// Keeps contents of one URL, or of one digest, apart.
    #[arg(long, env = "DFGET_TAG")]
    pub tag: Option<String>,
    /// Keeps contents of one URL, or of one digest, apart.
    #[arg(long, env = "DFGET_APPLICATION")]
    pub application: Option<String>,
    /// Bytes per piece, a power of two from 262144 to 67108864. Default: it follows from the length.
    #[arg(long, env = "DFGET_PIECE_LENGTH", value_parser = parse_piece_length)]
    pub piece_length: Option<u64>,
    /// A query parameter that says nothing about the content; may be given several times. Signatures never count.
    #[arg(
        long = "filtered-query-param",
        env = "DFGET_FILTERED_QUERY_PARAMS",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub filtered_query_params: Vec<String>,
    /// Of an S3 store that is not Amazon's.
    #[arg(long, env = "DFGET_STORAGE_ENDPOINT")]
    pub storage_endpoint: Option<String>,
}

#[derive(Args)]
pub struct Arguments {
    /// http://, https:// or s3://bucket/key; with --recursive, s3://bucket/prefix/
    #[arg(required_unless_present = "list", conflicts_with = "list", value_parser = parse_url)]
    pub url: Option<Url>,
    /// Where to write it; with --recursive or --list, the folder for all of them.
    #[arg(short = 'O', long, value_name = "FILE", required = true)]
    pub output: Option<PathBuf>,
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
    /// Only these bytes: `0-1023` or `1024-`. No others are fetched.
    #[arg(long, value_parser = parse_range)]
    pub range: Option<ByteRange>,
    /// With --range: let the daemon fetch all of the content, also when dfget has ended.
    #[arg(long, requires = "range")]
    pub prefetch: bool,
    /// Take it from the cluster or not at all: nobody asks the origin because of this.
    #[arg(long, env = "DFGET_DISABLE_ORIGIN")]
    pub disable_origin: bool,
    /// 0, 4, 5 and 6: a seed peer asks the origin, as usual. 2: only what the cluster has. 3: this node asks the origin.
    #[arg(short, long, env = "DFGET_PRIORITY", default_value = "0", value_parser = parse_priority)]
    pub priority: Priority,
    /// A further header for the origin, `name: value`; may be given several times. This node then asks the origin itself.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// Sent to the origin: `Authorization: Bearer …`. Prefer the environment, which other users cannot read.
    #[arg(long, env = "DFGET_AUTHORIZATION", hide_env_values = true)]
    pub authorization: Option<String>,
    #[command(flatten)]
    pub names: Names,
    #[arg(long, env = "DFGET_STORAGE_REGION")]
    pub storage_region: Option<String>,
    /// Prefer the environment for keys, which other users cannot read.
    #[arg(long, env = "DFGET_STORAGE_ACCESS_KEY_ID", hide_env_values = true, requires = "storage_access_key_secret")]
    pub storage_access_key_id: Option<String>,
    #[arg(long, env = "DFGET_STORAGE_ACCESS_KEY_SECRET", hide_env_values = true, requires = "storage_access_key_id")]
    pub storage_access_key_secret: Option<String>,
    #[arg(long, env = "DFGET_STORAGE_SESSION_TOKEN", hide_env_values = true, requires = "storage_access_key_id")]
    pub storage_session_token: Option<String>,
    #[command(flatten)]
    pub talk: Talk,
}

// === impl Arguments ===

impl Arguments {
    pub fn output(&self) -> &Path {
        self.output.as_deref().unwrap_or(Path::new(""))
    }

    pub fn storage(&self) -> Option<StorageAccess> {
        let access = StorageAccess {
            endpoint: self.names.storage_endpoint.clone(),
            region: self.storage_region.clone(),
            access_key_id: self.storage_access_key_id.clone(),
            access_key_secret: self.storage_access_key_secret.clone(),
            session_token: self.storage_session_token.clone(),
        };
        (access != StorageAccess::default()).then_some(access)
    }

    /// For this URL; wrong usage when an option's value cannot be.
    pub fn request(&self, url: &str) -> Result<CreateTaskRequest, FetchError> {
        let sendable = |value: &String| value.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte));
        if self.authorization.as_ref().is_some_and(|value| !sendable(value)) {
            return Err(FetchError::Usage("--authorization has characters that cannot be sent".to_owned()));
        }
        let request = CreateTaskRequest {
            digest: self.digest.clone(),
            range: self.range,
            prefetch: self.prefetch,
            disable_origin: self.disable_origin,
            authorization: self.authorization.clone(),
            headers: parse_headers(&self.headers)?,
            priority: self.priority,
            storage: self.storage().filter(|_| url.starts_with("s3://")),
            ..self.names.request(url)
        };
        request.clone().into_spec().map_err(wrong_option)?;
        Ok(request)
    }
}

// === impl Names ===

impl Names {
    pub fn request(&self, url: &str) -> CreateTaskRequest {
        let storage = StorageAccess { endpoint: self.storage_endpoint.clone(), ..StorageAccess::default() };
        CreateTaskRequest {
            tag: self.tag.clone(),
            application: self.application.clone(),
            filtered_query_params: self.filtered_query_params.clone(),
            piece_length: self.piece_length,
            storage: Some(storage).filter(|_| url.starts_with("s3://") && self.storage_endpoint.is_some()),
            ..CreateTaskRequest::new(url)
        }
    }
}

// === impl Talk ===

impl Talk {
    pub fn daemon(&self) -> String {
        self.daemon.clone().unwrap_or_else(crate::source::default_daemon)
    }

    pub fn has_progress(&self) -> bool {
        !(self.no_progress || self.quiet || self.json)
    }
}

/// Which option it was.
pub fn wrong_option(error: InvalidTask) -> FetchError {
    let option = match error {
        InvalidTask::LongUrl | InvalidTask::NoSource => "URL",
        InvalidTask::EmptyRange | InvalidTask::RangeOfDigest => "--range",
        InvalidTask::LongName { field: "tag" } => "--tag",
        InvalidTask::LongName { .. } => "--application",
        InvalidTask::Forbidden => "--priority",
        InvalidTask::PieceLength(_) => "--piece-length",
        InvalidTask::ManyParams | InvalidTask::Param(_) => "--filtered-query-param",
        InvalidTask::LongHeaders
        | InvalidTask::HeaderName(_)
        | InvalidTask::HeaderValue(_)
        | InvalidTask::OurHeader(_) => "--header",
    };
    FetchError::Usage(format!("{option}: {error}"))
}

/// Values may be secrets: only names are said.
fn parse_headers(headers: &[String]) -> Result<BTreeMap<String, String>, FetchError> {
    let mut parsed = BTreeMap::new();
    for header in headers {
        let Some((name, value)) = header.split_once(':') else {
            let begins: String =
                header.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
            return Err(FetchError::Usage(format!("--header {begins}…: write it as `name: value`")));
        };
        let name = name.trim().to_ascii_lowercase();
        if parsed.insert(name.clone(), value.trim().to_owned()).is_some() {
            return Err(FetchError::Usage(format!("--header {name}: it is given twice; write `{name}: one, two`")));
        }
    }
    Ok(parsed)
}

/// What dfget fetches; without a user or a password in it, which logs of others would have.
pub fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" | "s3" if url.username().is_empty() && url.password().is_none() => Ok(url),
        "http" | "https" | "s3" => Err("it has a user or a password in it; use --authorization".to_owned()),
        scheme => Err(format!("{scheme} is not http, https or s3")),
    }
}

fn parse_piece_length(text: &str) -> Result<u64, String> {
    let bytes = text.parse().ok().filter(|bytes| df_api::task::is_explicit_piece_length(*bytes));
    bytes.ok_or_else(|| "it is not a power of two from 262144 to 67108864".to_owned())
}

fn parse_priority(text: &str) -> Result<Priority, String> {
    let level = text.parse::<u8>().ok().and_then(|level| Priority::try_from(level).ok());
    level.ok_or_else(|| "it is not a number from 0 to 6".to_owned())
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
    fn ranges_times_and_urls_are_read_or_refused() {
        assert_eq!(parse_range("0-9"), Ok(ByteRange { start: 0, end: 10 }));
        assert_eq!(parse_range("5-").map(|range| range.start), Ok(5));
        for wrong in ["", "-", "-5", "9-0", "a-b", "1-+2", "0-18446744073709551615", "bytes=0-1"] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "0", "-1s", "5d", "h", "99999999999999999999s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["file:///etc/passwd", "ftp://h/x", "x", "https://user:hidden@h/x"] {
            assert!(parse_url(wrong).is_err_and(|error| !error.contains("hidden")), "{wrong}");
        }
    }

    #[test]
    fn the_commands_and_options_fit_together() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        let parsed = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parsed("dfget https://h/x -O x").is_ok_and(|cli| cli.command.is_none()));
        assert!(parsed("dfget ls --json").is_ok_and(|cli| cli.command.is_some()));
        assert!(parsed("dfget https://h/x").is_err(), "no output");
        assert!(parsed("dfget --overwrite ls").is_err(), "an option of the other kind");
        assert!(parsed("dfget https://h/x -O x --prefetch").is_err(), "of what?");
    }

    #[test]
    fn a_header_that_cannot_be_is_named_without_its_value() {
        let said = |headers: &[&str]| {
            let headers: Vec<String> = headers.iter().map(ToString::to_string).collect();
            parse_headers(&headers).unwrap_err().to_string()
        };
        assert!(said(&["Authorization Bearer hidden"]).contains("--header Authorization"));
        assert!(!said(&["Authorization Bearer hidden"]).contains("hidden"));
        assert!(said(&["x-a: hidden", "X-A: b"]).contains("x-a"));
    }
}
