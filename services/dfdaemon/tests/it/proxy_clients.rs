//! Real clients through the forward proxy: curl, pip and git-lfs.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use axum::Router;
use axum::routing::post;
use df_http::serve;
use df_testkit::process::find_program;
use df_testkit::registry::RegistryAccess;
use df_testkit::{Content, FakeOrigin, TlsFront, random_bytes, sha256_hex, skip, snippet};
use dfdaemon::Config;
use dfdaemon::config::{BasicAuthConfig, RuleConfig};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::node::Node;
use crate::proxied::{all, allow};

/// A command that knows no proxy and no settings but those it is given.
fn command(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home).current_dir(home);
    // What a version manager needs to find its interpreter.
    command.envs(std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PYENV")));
    command.kill_on_drop(true);
    command
}

async fn run(command: &mut Command) -> Output {
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{}", text(&output.stdout), text(&output.stderr));
    output
}

/// A server with TLS in front, which the node trusts, and whose TLS it ends.
async fn behind_tls(origin: &FakeOrigin) -> (Node, TlsFront) {
    let front = TlsFront::start(origin.address()).await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| intercept(config, origin, &front)).await;
    (node, front)
}

fn intercept(config: &mut Config, origin: &FakeOrigin, front: &TlsFront) {
    allow(config, &[&origin.base_url(), &format!("localhost:{}", front.address().port())]);
    let trusted = config.storage.dir.join("upstream.pem");
    std::fs::write(&trusted, front.ca_pem()).unwrap();
    config.upstream.ca_certs = vec![trusted];
    config.proxy.rules = all();
    config.proxy.intercept = vec!["localhost".to_owned()];
    config.proxy.basic_auth = Some(user_and_word());
}

fn user_and_word() -> BasicAuthConfig {
    let (username, password) = ("user".to_owned(), Some("word".to_owned().into()));
    BasicAuthConfig { username, password, password_file: None }
}

fn fetched_once(origin: &FakeOrigin, name: &str, length: usize) {
    let stats = origin.stats(name);
    let probes = stats.ranges.iter().filter(|range| *range == "bytes=0-0").count();
    assert_eq!(usize::try_from(stats.bytes).unwrap() - probes, length, "{:?}", stats.ranges);
}

#[tokio::test]
async fn curl_gets_files_by_http_and_https_whole_and_in_parts() {
    if find_program("curl").is_none() {
        return skip("curl is not installed: `just setup test`");
    }
    let origin = FakeOrigin::start().await.unwrap();
    let body = random_bytes(1, 3_000_000);
    origin.put("file", Content::new(body.clone()));
    let (node, front) = behind_tls(&origin).await;
    let home = tempfile::tempdir().unwrap();
    let proxy = format!("http://{}", node.daemon.local_addr);
    let ca = node.dir.path().join("proxy-ca/ca.pem");
    let curl = || {
        let mut curl = command("curl", home.path());
        curl.args(["-sSf", "-x", &proxy, "--proxy-user", "user:word", "--cacert"]).arg(&ca);
        curl
    };
    let https = format!("https://localhost:{}/file", front.address().port());
    for url in [&origin.url("file"), &https] {
        assert_eq!(run(curl().arg(url)).await.stdout, body);
        assert_eq!(run(curl().args(["-r", "100-199"]).arg(url)).await.stdout, body[100..200]);
        assert_eq!(run(curl().args(["-r", "-10"]).arg(url)).await.stdout, body[body.len() - 10..]);
        let part = home.path().join("part");
        std::fs::write(&part, &body[..1_000_000]).unwrap();
        run(curl().args(["-C", "-", "-o"]).arg(&part).arg(url)).await;
        assert_eq!(std::fs::read(&part).unwrap(), body);
        let head = String::from_utf8(run(curl().arg("-I").arg(url)).await.stdout).unwrap();
        assert!(head.contains("content-length: 3000000") && head.contains("HTTP/1.1 200 OK"), "{head}");
    }
    let mut stranger = command("curl", home.path());
    let refused =
        stranger.args(["-sS", "-x", &proxy, "-o", "/dev/null", "-w", "%{http_connect}", &https]).output().await;
    assert_eq!(refused.unwrap().stdout, b"407");
    let mut untrusting = command("curl", home.path());
    let refused = untrusting.args(["-sS", "-x", &proxy, "--proxy-user", "user:word", &https]).output().await.unwrap();
    assert!(!refused.status.success(), "nobody trusts the authority who was not told to");
}

const MAKE_WHEEL: &str = r#"
import sys, zipfile
with zipfile.ZipFile("dftest-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("dftest.py", "x" * 500000)
    info = "dftest-1.0.dist-info/"
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: dftest\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "")
"#;

#[tokio::test]
async fn pip_downloads_by_http_and_https() {
    let home = tempfile::tempdir().unwrap();
    let has_pip = command("python3", home.path()).args(["-m", "pip", "--version"]).output().await;
    if !has_pip.is_ok_and(|output| output.status.success()) {
        return skip("python3 with pip is not installed: `just setup test`");
    }
    run(command("python3", home.path()).args(["-c", MAKE_WHEEL])).await;
    let name = "dftest-1.0-py3-none-any.whl";
    let wheel = std::fs::read(home.path().join(name)).unwrap();
    let origin = FakeOrigin::start().await.unwrap();
    let page = format!("<html><body><a href=\"/files/{name}#sha256={}\">{name}</a></body></html>", sha256_hex(&wheel));
    origin.put("simple/dftest/", Content::new(page).header("content-type", "text/html"));
    origin.put(&format!("files/{name}"), Content::new(wheel.clone()));
    let (node, front) = behind_tls(&origin).await;
    let proxy = format!("http://user:word@{}", node.daemon.local_addr);
    let ca = node.dir.path().join("proxy-ca/ca.pem").display().to_string();
    for base in [origin.base_url(), format!("https://localhost:{}", front.address().port())] {
        let replaced = [
            ("http://127.0.0.1:65001", proxy.as_str()),
            ("/var/lib/dragonfly/proxy-ca/ca.pem", &ca),
            ("https://files.example", &base),
        ];
        let mut pip = command("sh", home.path());
        pip.env("PIP_NO_CACHE_DIR", "1").env("PIP_RETRIES", "0").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        std::fs::remove_file(home.path().join(name)).unwrap();
        run(pip.args(["-euc", &snippet("pip", &replaced).unwrap()])).await;
        assert_eq!(std::fs::read(home.path().join(name)).unwrap(), wheel);
    }
    // By http and by https they are two contents, each fetched once.
    fetched_once(&origin, &format!("files/{name}"), 2 * wheel.len());
}

/// Answers a batch request with where the one object is, and what to show there.
async fn lfs_server(scheme: &'static str, oid: String, size: usize, stop: CancellationToken) -> SocketAddr {
    let batch = async move |body: String| {
        let asked: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&asked["operation"], &asked["objects"][0]["oid"]), (&"download".into(), &oid.clone().into()));
        let href = format!("{scheme}://lfs.example/objects/{oid}");
        let actions =
            serde_json::json!({ "download": { "href": href, "header": { "Authorization": "RemoteAuth x" } } });
        let answer = serde_json::json!({
            "transfer": "basic",
            "objects": [{ "oid": oid, "size": size, "authenticated": true, "actions": actions }],
        });
        ([("content-type", "application/vnd.git-lfs+json")], answer.to_string())
    };
    let listener = serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve::serve(listener, Router::new().route("/lfs/objects/batch", post(batch)), stop));
    address
}

/// Both servers with TLS in front, in whose place a rule puts them for whoever asks for `lfs.example`, or without.
async fn lfs_node(scheme: &str, objects: SocketAddr, batches: SocketAddr) -> (Node, Option<[TlsFront; 2]>) {
    let fronts = match scheme {
        "https" => Some([TlsFront::start(objects).await.unwrap(), TlsFront::start(batches).await.unwrap()]),
        _ => None,
    };
    let node = Node::with(RegistryAccess::Open, |config| {
        let [objects, batches] = match &fronts {
            Some(fronts) => fronts.each_ref().map(|front| format!("localhost:{}", front.address().port())),
            None => [objects, batches].map(|address| address.to_string()),
        };
        for server in [&objects, &batches] {
            allow(config, &[&if fronts.is_some() { server.clone() } else { format!("http://{server}") }]);
        }
        let trusted = config.storage.dir.join("upstream.pem");
        std::fs::write(&trusted, fronts.iter().flatten().map(TlsFront::ca_pem).collect::<String>()).unwrap();
        config.upstream.ca_certs = fronts.iter().map(|_| trusted.clone()).collect();
        config.proxy.intercept = vec!["lfs.example".to_owned()];
        config.proxy.basic_auth = Some(user_and_word());
        let rule = |path: &str, to: String| RuleConfig {
            regex: format!("^{scheme}://lfs\\.example/{path}/"),
            redirect: Some(to),
            ..RuleConfig::default()
        };
        config.proxy.rules = vec![rule("objects", objects), rule("lfs", batches)];
    });
    (node.await, fronts)
}

/// A repository with a pointer to the one object.
async fn lfs_repository(home: &Path, scheme: &str, oid: &str, size: usize) {
    let git = async |arguments: &[&str]| run(command("git", home).args(arguments)).await;
    git(&["init", "-q", "."]).await;
    git(&["lfs", "install", "--local"]).await;
    let url = format!("{scheme}://lfs.example/lfs");
    for (key, value) in [("lfs.url", url.as_str()), ("user.name", "t"), ("user.email", "t@example")] {
        git(&["config", key, value]).await;
    }
    std::fs::write(home.join(".gitattributes"), "file filter=lfs diff=lfs merge=lfs -text\n").unwrap();
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n");
    std::fs::write(home.join("file"), pointer).unwrap();
    git(&["add", "."]).await;
    git(&["commit", "-qm", "pointer"]).await;
}

#[tokio::test]
async fn git_lfs_asks_for_a_batch_and_gets_its_object_through_the_peers() {
    if find_program("git-lfs").is_none() || find_program("git").is_none() {
        return skip("git and git-lfs are not installed: `just setup test`");
    }
    for (seed, scheme) in [(7, "http"), (8, "https")] {
        let (body, stop) = (random_bytes(seed, 2_000_000), CancellationToken::new());
        let (oid, _stop) = (sha256_hex(&body), stop.clone().drop_guard());
        let origin = FakeOrigin::start().await.unwrap();
        let object = format!("objects/{oid}");
        origin.put(&object, Content::new(body.clone()).require_authorization("RemoteAuth x", "Basic realm=\"r\""));
        let batches = lfs_server(scheme, oid.clone(), body.len(), stop).await;
        let (node, _fronts) = lfs_node(scheme, origin.address(), batches).await;
        let home = tempfile::tempdir().unwrap();
        lfs_repository(home.path(), scheme, &oid, body.len()).await;
        let ca = node.dir.path().join("proxy-ca/ca.pem").display().to_string();
        let pull = async |login: &str| {
            let proxy = format!("http://{login}@{}", node.daemon.local_addr);
            let replaced = [("http://127.0.0.1:65001", proxy.as_str()), ("/var/lib/dragonfly/proxy-ca/ca.pem", &ca)];
            let script = snippet("git-lfs", &replaced).unwrap();
            let pulled = command("sh", home.path()).args(["-euc", &script]).output().await.unwrap();
            (pulled.status.success(), String::from_utf8_lossy(&pulled.stderr).into_owned())
        };
        let (done, said) = pull("user:wrong").await;
        assert!(!done && origin.stats(&object).requests == 0, "{scheme}: {said}");
        let (done, said) = pull("user:word").await;
        assert!(done, "{scheme}: {said}");
        assert_eq!(std::fs::read(home.path().join("file")).unwrap(), body);
        fetched_once(&origin, &object, body.len());
    }
}
