//! Private images for those who name the registry in the path: a login that is kept for the mirror opens them, one for
//! the registry never reaches the mirror.

use std::path::Path;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use df_testkit::docker_registry::{BASIC_PASSWORD, BASIC_USER};

use df_testkit::snippet;

use crate::command::{Said, installed, run};
use crate::lab::{Lab, small_image};
use crate::node::Node;
use crate::traffic::{Mark, Traffic};
use crate::upstreams::{Upstream, login};

const IMAGE: &str = "red/tools:v1";

/// The auth file of docs/clients.md with this login for one registry behind the mirror.
fn auth_file(folder: &Path, upstream: Upstream, login: &str) -> anyhow::Result<String> {
    let mirror = format!("127.0.0.1:65001/{}", upstream.path_name());
    let login = STANDARD.encode(login);
    let replaced = [("127.0.0.1:65001/registry.example", mirror.as_str()), ("dXNlcjpwYXNzd29yZA==", &login)];
    let file = folder.join("auth.json");
    std::fs::write(&file, snippet("containers-auth", &replaced)?)?;
    Ok(file.display().to_string())
}

/// One pull into a folder of its own; `login` is what skopeo is told.
async fn skopeo(lab: &Lab, node: &Node, upstream: Upstream, folder: &Path, login: &[&str]) -> anyhow::Result<Said> {
    let (told, mirror) =
        (format!("location = \"{}\"", upstream.name()), format!("127.0.0.1:65001/{}", upstream.path_name()));
    let replaced = [("location = \"registry.example\"", told.as_str()), ("127.0.0.1:65001/registry.example", &mirror)];
    let conf = folder.join("registries.conf");
    std::fs::write(&conf, snippet("registries-conf", &replaced)?)?;
    let (conf, ca) = (conf.display().to_string(), lab.upstreams()?.ca.display().to_string());
    let (from, to) = (format!("docker://{}/{IMAGE}", upstream.name()), format!("dir:{}/image", folder.display()));
    let arguments = [&["--registries-conf", &conf, "copy", "--quiet"], login, &[&from, &to]].concat();
    run(&node.namespace, installed("skopeo")?, &arguments, &[("SSL_CERT_FILE", &ca)]).await
}

#[tokio::test]
async fn skopeo_pulls_private_images_with_a_login_for_the_mirror() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    let image = small_image()?;
    lab.push(IMAGE, &image).await?;
    let (red, root) = (login("red"), format!("{BASIC_USER}:{BASIC_PASSWORD}"));
    for (upstream, right) in [(Upstream::Token, &red), (Upstream::Hub, &red), (Upstream::Basic, &root)] {
        let mark = Mark::now(lab.registry(upstream)?).await?;
        for node in &lab.nodes {
            let folder = tempfile::tempdir_in(lab.folder())?;
            for wrong in ["red:wrong".to_owned(), login("blue")] {
                let wrong = auth_file(folder.path(), upstream, &wrong)?;
                if skopeo(&lab, node, upstream, folder.path(), &["--src-authfile", &wrong]).await.is_ok() {
                    bail!("{upstream:?} was read with a wrong login");
                }
            }
            let right = auth_file(folder.path(), upstream, right)?;
            let pulled = skopeo(&lab, node, upstream, folder.path(), &["--src-authfile", &right]).await;
            pulled.with_context(|| format!("{upstream:?} through the mirror"))?;
        }
        let traffic = Traffic::since(mark, lab.registry(upstream)?).await?;
        assert_eq!(traffic.bytes_to(lab.nodes[1].address()), 0, "{upstream:?}: {traffic:#?}");
    }

    // With a login for the registry alone, the registry is asked.
    let mark = Mark::now(lab.registry(Upstream::Hub)?).await?;
    let folder = tempfile::tempdir_in(lab.folder())?;
    skopeo(&lab, &lab.nodes[1], Upstream::Hub, folder.path(), &["--src-creds", &red]).await?;
    let traffic = Traffic::since(mark, lab.registry(Upstream::Hub)?).await?;
    assert_eq!(traffic.bytes_to(lab.nodes[1].address()), image.blob_bytes());
    Ok(())
}
