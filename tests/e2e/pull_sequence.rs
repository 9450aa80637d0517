//! What containerd asks its mirror for, in which order, and by which `ns` the mirror knows the registry that is meant:
//! the same of every release, whether the mirror has nothing or everything.

use anyhow::Context as _;
use df_testkit::{Image, Layer};

use crate::containerd::Release;
use crate::lab::Lab;
use crate::recorder::{Exchange, Recorder};
use crate::traffic::{Mark, Traffic};
use crate::upstreams::Upstream;

const MIB: usize = 1 << 20;
const REPOSITORY: &str = "library/sequence";

/// `METHOD path`; layers, of which three are asked for at once, in the order of their names.
fn sequence(seen: &[Exchange], image: &Image) -> Vec<String> {
    let mut asked: Vec<String> = seen.iter().map(|exchange| format!("{} {}", exchange.method, exchange.path)).collect();
    let first_layer = asked.len().saturating_sub(image.layers.len());
    asked[first_layer..].sort();
    asked
}

/// As runtime-clients.md §1.1 has it.
fn expected(image: &Image, tag: &str) -> Vec<String> {
    let manifest = |method: &str, reference: &str| format!("{method} /v2/{REPOSITORY}/manifests/{reference}");
    let blob = |digest: &str| format!("GET /v2/{REPOSITORY}/blobs/{digest}");
    let mut layers: Vec<String> = image.layers.iter().map(|layer| blob(&layer.digest)).collect();
    layers.sort();
    let mut all = vec![
        manifest("HEAD", tag),
        manifest("GET", &image.top().digest),
        manifest("GET", &image.manifest.digest),
        blob(&image.config.digest),
    ];
    all.extend(layers);
    all
}

#[tokio::test]
async fn containerd_asks_for_tag_index_manifest_config_and_layers_and_says_of_which_registry() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    let recorder = Recorder::start(&lab.nodes[0].namespace).await?;
    let mut nodes = lab.start_releases().await?;
    nodes.push((Release::Debian, lab.nodes.remove(0)));
    let mut seed = 60;
    for (release, mut node) in nodes {
        lab.use_mirror_at(Recorder::URL, &node)?;
        for (upstream, ns) in [(Upstream::Open, "registry.test:5000"), (Upstream::Hub, "docker.io")] {
            seed += 1;
            let image = Image::build(seed, &[Layer::gzip(2 * MIB), Layer::tar(70_000), Layer::gzip(9)])?.in_index();
            let (tag, registry) = (format!("v{seed}"), lab.registry(upstream)?);
            let name = format!("{REPOSITORY}:{tag}");
            lab.push(&name, &image).await?;
            for state in ["nothing", "everything"] {
                let at = || format!("{release:?} from {upstream:?}, the mirror has {state}");
                recorder.clear();
                let mark = Mark::now(registry).await?;
                node.pull_from(upstream, &name, &image, None).await.with_context(at)?;
                let seen = recorder.exchanges();
                assert_eq!(sequence(&seen, &image), expected(&image, &tag), "{}", at());
                let right = |exchange: &Exchange| {
                    let named = exchange.query.replace("%3A", ":") == format!("ns={ns}");
                    named && exchange.status == 200 && exchange.range.is_none() && !exchange.authorized
                };
                assert!(seen.iter().all(right), "{}: {seen:#?}", at());
                let traffic = Traffic::since(mark, registry).await?;
                match state {
                    "nothing" => traffic.assert_each_blob_once(&image),
                    _ => traffic.assert_each_blob_times(&image, 0),
                }
                node.wipe_images().await?;
            }
        }
    }
    Ok(())
}
