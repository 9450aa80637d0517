//! A registry that has the same in several forms, and clients that take some of them.

use df_testkit::image::{INDEX_TYPE, MANIFEST_TYPE};
use df_testkit::registry::{RegistryAccess, manifest_name};
use df_testkit::{Content, Image, Layer};
use http::header::{ACCEPT, ACCEPT_ENCODING};
use reqwest::Response;

use crate::node::{Node, REPOSITORY};

const TAG: &str = "team/app/manifests/v1";
/// As they come: by the peers, and past them.
const WAYS: [&str; 2] = ["true", "false"];

/// The index for who knows indexes, else the manifest, as registries do for old clients.
#[tokio::test]
async fn media_types_are_accepted_in_one_line_or_in_six() {
    for way in WAYS {
        let node = Node::with(RegistryAccess::Open, |config| config.proxy.tag_window_ms = 600_000).await;
        let indexed = Image::build(3, &[Layer::tar(10)]).unwrap().in_index();
        node.registry.add(REPOSITORY, "indexed", &indexed);
        let index = manifest_name(REPOSITORY, "indexed");
        let name = manifest_name(REPOSITORY, "v1");
        node.registry.origin().change(&name, |content| content.instead(ACCEPT, INDEX_TYPE, &index));

        let ask = async |lines: &[&str]| -> Response {
            let request = node.get(TAG).header("x-dragonfly-use-p2p", way);
            lines.iter().fold(request, |request, line| request.header(ACCEPT, *line)).send().await.unwrap()
        };
        let docker = "application/vnd.docker.distribution.manifest";
        let (docker_v2, docker_list) = (format!("{docker}.v2+json"), format!("{docker}.list.v2+json"));
        let six = [docker_v2.as_str(), &docker_list, MANIFEST_TYPE, "text/html;q=0.1", INDEX_TYPE, "*/*;q=0.1"];
        let one = six.join(", ");
        for (lines, (content_type, top)) in [
            (&six[..], (INDEX_TYPE, indexed.top())),
            (&[one.as_str()], (INDEX_TYPE, indexed.top())),
            (&six[..4], (MANIFEST_TYPE, node.image.top())),
        ] {
            let answer = ask(lines).await;
            assert_eq!(answer.headers()["content-type"], content_type, "{way}: {lines:?}");
            assert_eq!(answer.headers()["docker-content-digest"], top.digest, "{way}: {lines:?}");
            assert_eq!(answer.bytes().await.unwrap(), top.bytes, "{way}: {lines:?}");
        }
        // Through the peers, who accepts the same is told the same, without another question.
        let asked = node.registry.manifest_stats(REPOSITORY, "v1").requests;
        assert_eq!(asked, if way == "true" { 2 } else { 3 });
    }
}

/// The bytes are those of the digest, and ranges count them, whatever a client would take.
#[tokio::test]
async fn nothing_is_encoded_on_the_way() {
    for way in WAYS {
        let node = Node::start(RegistryAccess::Open).await;
        let by_digest = format!("{REPOSITORY}/manifests/{}", node.image.top().digest);
        for (path, plain) in [
            (TAG.to_owned(), node.image.top()),
            (by_digest, node.image.top()),
            (node.blob_path(node.layer()), node.layer()),
        ] {
            let encoded = Content::new("encoded").header("content-encoding", "gzip");
            node.registry.origin().put("encoded", encoded.header("content-type", MANIFEST_TYPE));
            let name = format!("v2/{path}");
            node.registry.origin().change(&name, |content| content.instead(ACCEPT_ENCODING, "gzip", "encoded"));
            let itself = node.http.get(node.registry.origin().url(&name)).header(ACCEPT_ENCODING, "gzip");
            assert_eq!(itself.send().await.unwrap().headers()["content-encoding"], "gzip");
            for accepted in [None, Some("zstd;q=1.0, gzip;q=0.8, deflate;q=0.5")] {
                let request = node.get(&path).header("x-dragonfly-use-p2p", way);
                let request = accepted.into_iter().fold(request, |request, line| request.header(ACCEPT_ENCODING, line));
                let answer = request.send().await.unwrap();
                assert!(!answer.headers().contains_key("content-encoding"), "{way}: {path}");
                assert_eq!(answer.content_length(), Some(plain.size_bytes()), "{way}: {path}");
                assert!(answer.bytes().await.unwrap() == plain.bytes, "{way}: {path}");
            }
        }
    }
}
