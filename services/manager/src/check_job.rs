//! What may be asked of clusters: pure checks before anything is written.
//! **Invariant:** each type of job takes its own arguments and refuses the others by name; no refusal repeats a secret.

use std::net::IpAddr;

use df_api::TaskId;
use df_api::manager::{CreateJobRequest, JobArgs, JobSubject, JobType};
use df_api::task::is_explicit_piece_length;
use http::{HeaderName, HeaderValue};
use url::Url;

use crate::check_cluster::{Refused, at_most, ensure, quoted};
use crate::db::jobs::kind_text;

const BIO_CHARS_MAX: usize = 1000;
const URL_CHARS_MAX: usize = 4096;
const URLS_MAX: usize = 1000;
const NAME_CHARS_MAX: usize = 1024;
const HEADERS_MAX: usize = 50;
const SECRET_CHARS_MAX: usize = 8192;
const IPS_MAX: usize = 100;
const CLUSTERS_MAX: usize = 1000;
const SECOND_NS: u64 = 1_000_000_000;
const TIMEOUT_NS_MAX: u64 = 24 * 3600 * SECOND_NS;
const TIMEOUT_NS_USUAL: u64 = 3600 * SECOND_NS;

pub fn check_new_job(new: &CreateJobRequest) -> Result<(), Refused> {
    check_bio(&new.bio)?;
    for (field, ids) in
        [("scheduler_cluster_ids", &new.scheduler_cluster_ids), ("seed_peer_cluster_ids", &new.seed_peer_cluster_ids)]
    {
        ensure(ids.len() <= CLUSTERS_MAX, field, format!("({})", ids.len()), || format!("at most {CLUSTERS_MAX}"))?;
    }
    let args = &new.args;
    refuse_foreign(new.kind, args)?;
    check_subject(new.kind, args)?;
    check_urls(new.kind, args)?;
    check_names(args)?;
    check_secrets(args)?;
    check_choice(args)
}

pub fn check_bio(bio: &str) -> Result<(), Refused> {
    at_most("bio", bio, BIO_CHARS_MAX)
}

/// How long a job may take, in milliseconds.
pub fn timeout_ms(args: &JobArgs) -> i64 {
    (args.timeout.unwrap_or(TIMEOUT_NS_USUAL) / 1_000_000) as i64
}

/// What a type does not take.
fn refuse_foreign(kind: JobType, args: &JobArgs) -> Result<(), Refused> {
    let preheats = kind == JobType::Preheat;
    let asks_image = preheats || kind == JobType::GetImageDistribution;
    let names_task = matches!(kind, JobType::GetTask | JobType::DeleteTask);
    let given = [
        ("type", args.subject.is_some(), preheats || kind == JobType::Gc),
        ("url", args.url.is_some(), asks_image || names_task),
        ("urls", !args.urls.is_empty(), preheats),
        ("task_id", args.task_id.is_some(), names_task),
        ("piece_length", args.piece_length.is_some(), asks_image || names_task),
        ("tag", args.tag.is_some(), asks_image || names_task),
        ("application", args.application.is_some(), asks_image || names_task),
        ("filtered_query_params", args.filtered_query_params.is_some(), asks_image || names_task),
        ("headers", !args.headers.is_empty(), asks_image),
        ("username", args.username.is_some(), asks_image),
        ("password", args.password.is_some(), asks_image),
        ("platform", args.platform.is_some(), asks_image),
        ("scope", args.scope.is_some(), preheats),
        ("ips", !args.ips.is_empty(), preheats),
        ("count", args.count.is_some(), preheats),
        ("percentage", args.percentage.is_some(), preheats),
        ("concurrent_task_count", args.concurrent_task_count.is_some(), preheats),
        ("concurrent_peer_count", args.concurrent_peer_count.is_some(), preheats || kind == JobType::GetTask),
    ];
    let foreign = given.iter().find(|(_, given, taken)| *given && !taken);
    foreign.map_or(Ok(()), |(field, ..)| {
        Err(Refused::new(&format!("args.{field}"), "", format!("{} takes none", kind_text(kind))))
    })
}

fn check_subject(kind: JobType, args: &JobArgs) -> Result<(), Refused> {
    let (fits, rule) = match (kind, args.subject) {
        (JobType::Preheat, subject) => {
            (matches!(subject, Some(JobSubject::Image | JobSubject::File)), "preheat is of an image or of a file")
        }
        (JobType::Gc, subject) => {
            (matches!(subject, Some(JobSubject::Audit | JobSubject::Job)), "gc is of audit or of job")
        }
        (JobType::ListPersistentCacheTasks, _) => {
            return Err(Refused::new("type", "", "ask GET /api/v1/persistent-cache-tasks".to_owned()));
        }
        _ => (true, ""),
    };
    ensure(fits, "args.type", "", || rule.to_owned())
}

fn check_urls(kind: JobType, args: &JobArgs) -> Result<(), Refused> {
    ensure(args.urls.len() <= URLS_MAX, "args.urls", format!("({})", args.urls.len()), || {
        format!("at most {URLS_MAX}")
    })?;
    for url in args.all_urls() {
        at_most("args.url", url, URL_CHARS_MAX)?;
        let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        // What stands before an @ may be a password.
        let clean = parsed.as_ref().filter(|url| url.username().is_empty() && url.password().is_none());
        ensure(clean.is_some(), "args.url", "", || {
            "an http or https URL without a user in it; credentials go into username and password, or headers"
                .to_owned()
        })?;
    }
    let image = args.subject == Some(JobSubject::Image) || kind == JobType::GetImageDistribution;
    if image {
        ensure(args.urls.is_empty(), "args.urls", "", || "an image has one url".to_owned())?;
        let is_manifest = args.url.as_deref().is_some_and(is_manifest);
        return ensure(is_manifest, "args.url", quoted(&shown(args.url.as_deref())), || {
            "https://REGISTRY/v2/REPOSITORY/manifests/TAG-OR-DIGEST".to_owned()
        });
    }
    match kind {
        JobType::Preheat => {
            ensure(args.all_urls().next().is_some(), "args.url", "", || "what is to be fetched".to_owned())
        }
        JobType::GetTask | JobType::DeleteTask => {
            let one = args.task_id.is_some() != args.url.is_some();
            ensure(one, "args.task_id", "", || "either task_id or url".to_owned())?;
            let Some(id) = &args.task_id else { return Ok(()) };
            ensure(id.parse::<TaskId>().is_ok(), "args.task_id", quoted(id), || "64 hexadecimal digits".to_owned())
        }
        _ => Ok(()),
    }
}

fn is_manifest(url: &str) -> bool {
    let path = Url::parse(url).map(|url| url.path().to_owned()).unwrap_or_default();
    let parts = path.strip_prefix("/v2/").and_then(|rest| rest.rsplit_once("/manifests/"));
    parts.is_some_and(|(repository, reference)| {
        !repository.is_empty() && !reference.is_empty() && !reference.contains('/')
    })
}

/// Without its query, which may open it.
fn shown(url: Option<&str>) -> String {
    url.unwrap_or_default().split(['?', '#']).next().unwrap_or_default().to_owned()
}

fn check_names(args: &JobArgs) -> Result<(), Refused> {
    let texts = [("args.tag", &args.tag), ("args.application", &args.application)];
    for (field, text) in texts {
        at_most(field, text.as_deref().unwrap_or_default(), NAME_CHARS_MAX)?;
    }
    at_most("args.filtered_query_params", args.filtered_query_params.as_deref().unwrap_or_default(), URL_CHARS_MAX)?;
    if let Some(length) = args.piece_length {
        ensure(is_explicit_piece_length(length), "args.piece_length", length, || {
            "a power of two from 262144 to 67108864".to_owned()
        })?;
    }
    let Some(platform) = &args.platform else { return Ok(()) };
    let parts: Vec<&str> = platform.split('/').collect();
    let sane = |part: &&str| {
        !part.is_empty() && part.len() <= 30 && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    ensure((2..=3).contains(&parts.len()) && parts.iter().all(sane), "args.platform", quoted(platform), || {
        "OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, as in linux/amd64".to_owned()
    })
}

fn check_secrets(args: &JobArgs) -> Result<(), Refused> {
    let secret = |field: &str, text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        let sane = text.chars().count() <= SECRET_CHARS_MAX && !text.chars().any(char::is_control);
        ensure(sane, field, "", || format!("at most {SECRET_CHARS_MAX} characters, none of them a control character"))
    };
    secret("args.username", &args.username)?;
    secret("args.password", &args.password)?;
    ensure(args.username.is_some() == args.password.is_some(), "args.username", "", || {
        "username and password go together".to_owned()
    })?;
    ensure(args.headers.len() <= HEADERS_MAX, "args.headers", format!("({})", args.headers.len()), || {
        format!("at most {HEADERS_MAX}")
    })?;
    for (name, value) in &args.headers {
        let field = format!("args.headers.{}", name.chars().take(60).collect::<String>());
        ensure(HeaderName::try_from(name.as_str()).is_ok(), &field, "", || "no name of a header".to_owned())?;
        let sane = value.len() <= SECRET_CHARS_MAX && HeaderValue::try_from(value.as_str()).is_ok();
        ensure(sane, &field, "", || format!("at most {SECRET_CHARS_MAX} bytes, and no line break"))?;
        let own = ["host", "content-length", "transfer-encoding", "connection", "range", "te", "upgrade"];
        let free = !own.contains(&name.to_ascii_lowercase().as_str());
        ensure(free, &field, "", || "what the platform itself says to an origin".to_owned())?;
    }
    Ok(())
}

fn check_choice(args: &JobArgs) -> Result<(), Refused> {
    fn within(field: &str, value: Option<u32>, max: u32) -> Result<(), Refused> {
        let Some(value) = value else { return Ok(()) };
        ensure((1..=max).contains(&value), field, value, || format!("1 to {max}"))
    }
    ensure(args.ips.len() <= IPS_MAX, "args.ips", format!("({})", args.ips.len()), || format!("at most {IPS_MAX}"))?;
    for ip in &args.ips {
        ensure(ip.parse::<IpAddr>().is_ok(), "args.ips", quoted(ip), || "addresses".to_owned())?;
    }
    within("args.count", args.count, 200)?;
    within("args.percentage", args.percentage, 100)?;
    within("args.concurrent_task_count", args.concurrent_task_count, 100)?;
    within("args.concurrent_peer_count", args.concurrent_peer_count, 1000)?;
    let Some(timeout) = args.timeout else { return Ok(()) };
    ensure((SECOND_NS..=TIMEOUT_NS_MAX).contains(&timeout), "args.timeout", timeout, || {
        format!("nanoseconds, {SECOND_NS} to {TIMEOUT_NS_MAX}")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(kind: &str, args: Value) -> Result<(), String> {
        let new = json!({ "type": kind, "args": args });
        let new: CreateJobRequest = serde_json::from_value(new).map_err(|error| error.to_string())?;
        check_new_job(&new).map_err(|refused| refused.to_string())
    }

    fn image(more: Value) -> Result<(), String> {
        let mut args = json!({ "type": "image", "url": "https://r.example/v2/a/b/manifests/1" });
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        check("preheat", args)
    }

    #[test]
    fn usual_jobs_pass() {
        assert_eq!(image(json!({ "platform": "linux/arm/v7", "scope": "all_peers", "percentage": 50 })), Ok(()));
        assert_eq!(image(json!({ "username": "u", "password": "p", "headers": { "X-A": "b" } })), Ok(()));
        let files = json!({ "type": "file", "urls": ["https://f.example/a?x=1", "http://f.example/b"] });
        assert_eq!(check("preheat", files), Ok(()));
        assert_eq!(check("sync_peers", json!({})), Ok(()));
        assert_eq!(check("get_task", json!({ "task_id": "ab".repeat(32) })), Ok(()));
        assert_eq!(check("delete_task", json!({ "url": "https://f.example/a", "tag": "t" })), Ok(()));
        assert_eq!(check("gc", json!({ "type": "audit" })), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is_repeated() {
        for (more, named) in [
            (json!({ "percentage": 0 }), "args.percentage"),
            (json!({ "percentage": 101 }), "args.percentage"),
            (json!({ "count": 201 }), "args.count"),
            (json!({ "ips": ["10.0.0"] }), "args.ips"),
            (json!({ "platform": "linux" }), "args.platform"),
            (json!({ "headers": { "a": "b\r\nc: hidden" } }), "args.headers.a"),
            (json!({ "headers": { "a b": "hidden" } }), "args.headers.a b"),
            (json!({ "headers": { "Host": "hidden" } }), "args.headers.Host"),
            (json!({ "password": "hidden" }), "args.username"),
            (json!({ "username": "u", "password": "hidden\n" }), "args.password"),
            (json!({ "url": "file:///etc/passwd" }), "args.url"),
            (json!({ "url": "https://u:hidden@r.example/v2/a/manifests/1" }), "args.url"),
            (json!({ "url": "https://r.example/a?token=hidden" }), "args.url"),
            (json!({ "urls": ["https://r.example/x"] }), "args.urls"),
            (json!({ "task_id": "ab" }), "args.task_id"),
            (json!({ "piece_length": 4_194_305 }), "args.piece_length"),
            (json!({ "timeout": 1 }), "args.timeout"),
            (json!({ "scope": "everybody" }), "everybody"),
            (json!({ "object_storage": {} }), "object_storage"),
        ] {
            let refused = image(more.clone()).unwrap_err();
            assert!(refused.contains(named) && !refused.contains("hidden"), "{more}: {refused}");
        }
        for (kind, args, named) in [
            ("preheat", json!({}), "args.type"),
            ("preheat", json!({ "type": "file" }), "args.url"),
            ("preheat", json!({ "type": "audit", "url": "https://f.example/a" }), "args.type"),
            ("get_task", json!({}), "args.task_id"),
            ("get_task", json!({ "task_id": "ab", "url": "https://f.example/a" }), "args.task_id"),
            ("get_task", json!({ "task_id": "xyz" }), "args.task_id"),
            ("sync_peers", json!({ "url": "https://f.example/a" }), "args.url"),
            ("gc", json!({}), "args.type"),
            ("list_persistent_cache_tasks", json!({}), "type"),
            ("unheard", json!({}), "unheard"),
        ] {
            let refused = check(kind, args.clone()).unwrap_err();
            assert!(refused.contains(named), "{kind} {args}: {refused}");
        }
    }
}
