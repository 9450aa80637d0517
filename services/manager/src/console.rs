//! The console: files built into the program, served at `/`.
//! **Invariant:** a page of the console runs only scripts of this origin; an unknown path under `/api` stays an error and
//! never becomes a page.

use std::borrow::Cow;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::any;
use df_http::ApiError;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, IF_NONE_MATCH, VARY,
};
use http::{Method, StatusCode};
use rust_embed::RustEmbed;

/// Release builds carry the files; debug builds read them from the disk. Without them the manager works all the same.
#[derive(RustEmbed)]
#[folder = "$DF_CONSOLE_DIST"]
#[allow_missing = true]
struct Dist;

const CSP: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; \
                   connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A file with a hash in its name never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_FIRST: &str = "no-cache";

/// Paths that belong to programs: there a missing page must look missing.
const NOT_PAGES: [&str; 8] = ["api", "oapi", "healthz", "healthy", "readyz", "metrics", "docs", "openapi.json"];

const NO_CONSOLE: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Dragonfly manager</title></head>\n\
<body><h1>The manager runs, without its console</h1>\n\
<p>This build has none: run <code>just console</code>, then build the manager again.</p>\n\
<p>The API is here: <a href=\"/docs/\">/docs</a>, <a href=\"/openapi.json\">/openapi.json</a>.</p></body></html>\n";

/// Where files come from.
type Files = fn(&str) -> Option<File>;

struct File {
    data: Cow<'static, [u8]>,
    sha256: [u8; 32],
}

/// A file and how it is packed.
struct Found {
    file: File,
    encoding: Option<&'static str>,
}

/// For every path that nothing else answers. Takes all methods, so that an unknown path is 404 and not 405.
pub fn routes() -> Router {
    serving(|path| Dist::get(path).map(|file| File { data: file.data, sha256: file.metadata.sha256_hash() }))
}

fn serving(files: Files) -> Router {
    Router::new().route("/", any(get_console)).route("/{*path}", any(get_console)).with_state(files)
}

async fn get_console(State(files): State<Files>, request: Request) -> Result<Response, ApiError> {
    let path = request.uri().path().trim_start_matches('/');
    let missing = || ApiError::not_found("no such path; /openapi.json lists those there are");
    let for_programs = NOT_PAGES.contains(&path.split('/').next().unwrap_or_default());
    if for_programs || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(missing());
    }
    let headers = request.headers();
    if !path.is_empty()
        && path != "index.html"
        && let Some(found) = find(files, path, headers)
    {
        return Ok(answer(found, path, headers));
    }
    // A link into the console: the page finds its way from the address.
    if !path.is_empty() && !accepts_html(headers) {
        return Err(missing());
    }
    match find(files, "index.html", headers) {
        Some(found) => Ok(answer(found, "index.html", headers)),
        None => Ok(([(CONTENT_SECURITY_POLICY, CSP), (CACHE_CONTROL, ASK_FIRST)], Html(NO_CONSOLE)).into_response()),
    }
}

/// The smallest variant that the caller takes.
fn find(files: Files, path: &str, headers: &HeaderMap) -> Option<Found> {
    let plain = files(path)?;
    let wanted = [("br", "br"), ("gz", "gzip")].into_iter().filter(|(_, encoding)| accepts(headers, encoding));
    let mut packed = wanted.filter_map(|(suffix, encoding)| {
        Some(Found { file: files(&format!("{path}.{suffix}"))?, encoding: Some(encoding) })
    });
    Some(packed.next().unwrap_or(Found { file: plain, encoding: None }))
}

fn answer(found: Found, path: &str, headers: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", hex::encode(&found.file.sha256[..16]));
    let kept = if is_hashed(path) { FOR_EVER } else { ASK_FIRST };
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = if known.is_some_and(|known| known.split(',').any(|one| one.trim() == etag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Body::from(found.file.data).into_response()
    };
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(ETAG, &etag);
    set(CACHE_CONTROL, kept);
    set(VARY, "accept-encoding");
    set(CONTENT_SECURITY_POLICY, CSP);
    set(CONTENT_TYPE, mime_guess::from_path(path).first_or_octet_stream().essence_str());
    if let Some(encoding) = found.encoding {
        set(CONTENT_ENCODING, encoding);
    }
    response
}

/// `console-0123abcd_bg.wasm`: behind the first word, a part of at least eight hex digits.
fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut parts = name.split(['-', '_', '.']).skip(1);
    parts.any(|part| part.len() >= 8 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| {
        let (name, quality) = one.split_once(';').unwrap_or((one, ""));
        let refused = quality.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case(encoding) && !refused
    })
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains("text/html"))
}

#[cfg(test)]
mod tests {
    use df_api::Code;
    use http::header::CONTENT_LENGTH;

    use super::*;

    /// A console of three files.
    fn built(path: &str) -> Option<File> {
        let data: &[u8] = match path {
            "index.html" => b"<page>",
            "console-0123abcd.js" => b"plain script",
            "console-0123abcd.js.br" => b"brotli",
            "console-0123abcd.js.gz" => b"gzip",
            _ => return None,
        };
        Some(File { data: Cow::Borrowed(data), sha256: [data.len() as u8; 32] })
    }

    async fn get(files: Files, path: &str, headers: &[(HeaderName, &str)]) -> Result<Response, ApiError> {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        get_console(State(files), request.body(Body::empty()).unwrap()).await
    }

    async fn text(response: Response) -> String {
        String::from_utf8(axum::body::to_bytes(response.into_body(), 10_000).await.unwrap().to_vec()).unwrap()
    }

    #[test]
    fn only_a_name_with_a_hash_is_kept_for_ever() {
        assert!(is_hashed("console-0123abcd.js") && is_hashed("console-02ae96541993af76_bg.wasm"));
        assert!(is_hashed("console-start-f6c9a054d0d126c3.js"));
        assert!(
            !is_hashed("index.html") && !is_hashed("mark.svg") && !is_hashed("console.js") && !is_hashed("deadbeef.js")
        );
    }

    #[test]
    fn a_refused_encoding_is_not_used() {
        let mut headers = HeaderMap::new();
        assert!(!accepts(&headers, "br"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip;q=0.5, BR;q=0, identity"));
        assert!(accepts(&headers, "gzip") && !accepts(&headers, "br"));
    }

    #[tokio::test]
    async fn the_smallest_variant_the_browser_takes_is_served() {
        for (accepted, encoding, body) in
            [("gzip, deflate, br", Some("br"), "brotli"), ("gzip", Some("gzip"), "gzip"), ("", None, "plain script")]
        {
            let response = get(built, "/console-0123abcd.js", &[(ACCEPT_ENCODING, accepted)]).await.unwrap();
            let headers = response.headers();
            assert_eq!(headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap()), encoding);
            assert_eq!(headers[CONTENT_TYPE], "text/javascript");
            assert_eq!(
                (&headers[CACHE_CONTROL], &headers[VARY]),
                (&FOR_EVER.parse().unwrap(), &"accept-encoding".parse().unwrap())
            );
            assert_eq!(text(response).await, body);
        }
    }

    #[tokio::test]
    async fn what_the_browser_has_already_is_not_sent_again() {
        let etag = get(built, "/", &[]).await.unwrap().headers()[ETAG].clone();
        let response = get(built, "/", &[(IF_NONE_MATCH, etag.to_str().unwrap())]).await.unwrap();
        assert_eq!((response.status(), response.headers().get(CONTENT_LENGTH)), (StatusCode::NOT_MODIFIED, None));
        assert_eq!(text(response).await, "");
    }

    #[tokio::test]
    async fn a_path_of_programs_is_never_a_page() {
        for path in ["/api/v1/nothing", "/oapi/v1/jobs", "/metrics/x", "/healthz/x"] {
            let refused = get(built, path, &[(ACCEPT, "text/html")]).await.unwrap_err();
            assert_eq!(refused.code(), Code::NotFound, "{path}");
        }
        assert!(get(built, "/nothing-0123abcd.js", &[(ACCEPT, "*/*")]).await.is_err());
        let posted = Request::post("/").body(Body::empty()).unwrap();
        assert!(get_console(State(built as Files), posted).await.is_err());
    }

    #[tokio::test]
    async fn a_link_into_the_console_is_the_page_with_its_policy() {
        let response = get(built, "/clusters/2", &[(ACCEPT, "text/html,*/*")]).await.unwrap();
        assert_eq!(response.headers()[CACHE_CONTROL], ASK_FIRST);
        assert!(response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().contains("frame-ancestors 'none'"));
        assert_eq!(text(response).await, "<page>");
    }

    #[tokio::test]
    async fn without_a_console_the_front_page_says_how_to_get_one() {
        let response = get(|_| None, "/", &[]).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(text(response).await.contains("just console"));
    }
}
