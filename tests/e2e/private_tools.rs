//! Private images for those who name the registry in the path: a login that is kept for the mirror opens them, one for
//! the registry never reaches the mirror.

use anyhow::{Context as _, bail};
use df_testkit::docker_registry::{BASIC_PASSWORD, BASIC_USER};
use df_testkit::{Image, snippet};

use crate::command::{installed, run};
use crate::image_tools::{Pull, Tool};
use crate::lab::{Lab, small_image};
use crate::node::Node;
use crate::traffic::{Mark, Traffic};
use crate::upstreams::{Upstream, login};

const REPOSITORY: &str = "red/tools";
const TAG: &str = "v1";

/// One pull into a folder of its own.
async fn pull(
    lab: &Lab,
    node: &Node,
    (tool, upstream): (Tool, Upstream),
    image: &Image,
    login: &str,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(lab.folder())?.keep();
    let (repository, tag, ca, login) = (REPOSITORY, TAG, &lab.upstreams()?.ca, Some(login));
    Pull { tool, node, upstream, repository, tag, image, folder, ca, login }.run().await
}

#[tokio::test]
async fn tools_pull_private_images_with_a_login_for_the_mirror() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    let image = small_image()?;
    lab.push(&format!("{REPOSITORY}:{TAG}"), &image).await?;
    let (red, blue, root) = (login("red"), login("blue"), format!("{BASIC_USER}:{BASIC_PASSWORD}"));
    for (upstream, right) in
        [(Upstream::Token, &red), (Upstream::Hub, &red), (Upstream::Basic, &root), (Upstream::PlainBasic, &root)]
    {
        let mark = Mark::now(lab.registry(upstream)?).await?;
        for tool in Tool::ALL {
            for node in &lab.nodes {
                let asked = pull(&lab, node, (tool, upstream), &image, right).await;
                asked.with_context(|| format!("{tool:?} from {upstream:?} through the mirror"))?;
            }
            // Every byte is here by now.
            for wrong in ["red:wrong", &blue] {
                if pull(&lab, &lab.nodes[1], (tool, upstream), &image, wrong).await.is_ok() {
                    bail!("{upstream:?} was read with a wrong login by {tool:?}");
                }
            }
        }
        let traffic = Traffic::since(mark, lab.registry(upstream)?).await?;
        assert_eq!(traffic.bytes_to(lab.nodes[1].address()), 0, "{upstream:?}: {traffic:#?}");
    }
    Ok(())
}

/// containers/image shows a registry's login to that registry alone.
#[tokio::test]
async fn skopeo_with_a_login_for_the_registry_alone_asks_the_registry() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    let (image, upstream) = (small_image()?, Upstream::Hub);
    lab.push(&format!("{REPOSITORY}:{TAG}"), &image).await?;
    let mark = Mark::now(lab.registry(upstream)?).await?;
    let folder = tempfile::tempdir_in(lab.folder())?;
    let (told, mirror) =
        (format!("location = \"{}\"", upstream.name()), format!("127.0.0.1:65001/{}", upstream.path_name()));
    let replaced = [("location = \"registry.example\"", told.as_str()), ("127.0.0.1:65001/registry.example", &mirror)];
    let conf = folder.path().join("registries.conf").display().to_string();
    std::fs::write(&conf, snippet("registries-conf", &replaced)?)?;
    let from = format!("docker://{}/{REPOSITORY}:{TAG}", upstream.name());
    let to = format!("dir:{}", folder.path().join("image").display());
    let red = login("red");
    let arguments = ["--registries-conf", &conf, "copy", "--quiet", "--src-creds", &red, &from, &to];
    let ca = lab.upstreams()?.ca.display().to_string();
    run(&lab.nodes[1].namespace, installed("skopeo")?, &arguments, &[("SSL_CERT_FILE", &ca)]).await?;
    let traffic = Traffic::since(mark, lab.registry(upstream)?).await?;
    assert_eq!(traffic.bytes_to(lab.nodes[1].address()), image.blob_bytes());
    Ok(())
}
