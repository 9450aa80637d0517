//! Private images: the pod's pull secret opens them, nothing else does, and no secret is left anywhere.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use df_testkit::docker_registry::{BASIC_PASSWORD, BASIC_USER};
use df_testkit::{Image, Layer};
use regex::bytes::Regex;
use tests::cluster::{PEER_PORT, SCHEDULER_PORT};

use crate::containerd::Release;
use crate::lab::{Lab, other_small_image, small_image};
use crate::node::Node;
use crate::traffic::{Mark, Traffic};
use crate::upstreams::{Upstream, login, password};
use crate::wire::Wire;

const RED: &str = "red/app:v1";
const BLUE: &str = "blue/app:v1";
/// Goes to everybody, so that it is seen who is watched.
const BEARER: &str = "Bearer ";

/// The registry's own refusal, or the runtime's words for it.
async fn assert_refused(node: &Node, upstream: Upstream, name: &str, login: Option<&str>) -> anyhow::Result<()> {
    // What a pull that should fail would leave behind is another image's matter.
    let image = Image::build(0, &[Layer::tar(1)])?;
    let Err(refused) = node.pull_from(upstream, name, &image, login).await else {
        bail!("{name} was pulled from {upstream:?} with {login:?}")
    };
    let said = format!("{refused:#}");
    let words = ["401", "403", "nauthorized", "denied", "authorization failed", "no basic auth credentials"];
    assert!(!said.contains("is another image"), "{name} was pulled from {upstream:?} with {login:?}: {said}");
    assert!(words.iter().any(|word| said.contains(word)), "{name} with {login:?} failed otherwise: {said}");
    Ok(())
}

#[tokio::test]
async fn a_private_image_is_for_those_whom_the_registry_lets_in() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    let (red_image, blue_image) = (small_image()?, other_small_image()?);
    lab.push(RED, &red_image).await?;
    lab.push(BLUE, &blue_image).await?;
    let (red, blue, root) = (login("red"), login("blue"), format!("{BASIC_USER}:{BASIC_PASSWORD}"));
    let wire = Wire::watch(&lab.network, any_of(&[passwords(), vec![BEARER.to_owned()]].concat())?).await?;
    for release in [Release::Debian, Release::V1_7, Release::V2_1, Release::V2_3] {
        let nodes = lab.take_nodes(release).await?;
        for node in &nodes {
            lab.use_mirror(node)?;
        }
        for (upstream, right, wrong) in [
            (Upstream::Token, &red, &blue),
            (Upstream::Hub, &red, &blue),
            (Upstream::Basic, &root, &red),
            (Upstream::PlainBasic, &root, &red),
        ] {
            let at = || format!("{release:?} from {upstream:?}");
            let mark = Mark::now(lab.registry(upstream)?).await?;
            let before = asked_of_others(&lab, upstream)?;
            nodes[0].pull_from(upstream, RED, &red_image, Some(right)).await.with_context(at)?;
            // Every byte is in the cluster now. None of these gets one of them, on either node.
            for node in &nodes {
                assert_refused(node, upstream, RED, None).await.with_context(at)?;
                assert_refused(node, upstream, RED, Some(wrong)).await.with_context(at)?;
                assert_refused(node, upstream, RED, Some("red:wrong")).await.with_context(at)?;
            }
            nodes[1].pull_from(upstream, RED, &red_image, Some(right)).await.with_context(at)?;
            let traffic = Traffic::since(mark, lab.registry(upstream)?).await?;
            assert_eq!(traffic.bytes_to(nodes[1].address()), 0, "{}: {traffic:#?}", at());
            assert_eq!(asked_of_others(&lab, upstream)?, before, "{}: others were asked, too", at());
        }
        // The other tenant has its own.
        nodes[0].pull_from(Upstream::Token, BLUE, &blue_image, Some(&blue)).await?;
        assert_refused(&nodes[0], Upstream::Token, BLUE, Some(&red)).await?;
    }
    assert_told_to_nobody_else(&lab, &wire)?;
    assert_kept_nowhere(&lab).await
}

/// Of tenants and of Basic's user, in all forms that a request has them in.
fn passwords() -> Vec<String> {
    let tenants = ["red", "blue"].into_iter().flat_map(|tenant| [password(tenant), STANDARD.encode(login(tenant))]);
    tenants.chain([basic_login()]).collect()
}

fn basic_login() -> String {
    STANDARD.encode(format!("{BASIC_USER}:{BASIC_PASSWORD}"))
}

fn any_of(texts: &[String]) -> anyhow::Result<Regex> {
    Ok(Regex::new(&texts.iter().map(|text| regex::escape(text)).collect::<Vec<_>>().join("|"))?)
}

/// How often all registries but this one were asked, and the token server, unless it is this one's.
fn asked_of_others(lab: &Lab, upstream: Upstream) -> anyhow::Result<Vec<usize>> {
    let all = Upstream::WITH_A_DOOR.into_iter().chain([Upstream::Open]).filter(|other| *other != upstream);
    let mut asked = all.map(|other| Ok(lab.registry(other)?.accesses()?.len())).collect::<anyhow::Result<Vec<_>>>()?;
    if !matches!(upstream, Upstream::Token | Upstream::Hub) {
        asked.push(lab.upstreams()?.tokens.asked().len());
    }
    Ok(asked)
}

/// On the wire a password goes to the realm, or to the registry that wants Basic; neither scheduler, nor seed peer, nor
/// another node is told it.
fn assert_told_to_nobody_else(lab: &Lab, wire: &Wire) -> anyhow::Result<()> {
    let realm = lab.upstreams()?.tokens.address();
    let at = |port| SocketAddr::from((lab.network.ctl().address, port));
    let registry = at(Upstream::PlainBasic.port());
    let (told, basic, red) = (wire.told(), basic_login(), password("red"));
    let right =
        |(text, to): &(String, SocketAddr)| *text == BEARER || *to == registry || (*to == realm && *text != basic);
    assert!(told.iter().all(right), "{told:#?}");
    let watched = [(&*basic, registry), (&*red, realm), (BEARER, at(SCHEDULER_PORT)), (BEARER, at(PEER_PORT))];
    let seen = watched.iter().all(|(text, to)| told.contains(&((*text).to_owned(), *to)));
    assert!(seen, "{watched:?} are told something, and it is not seen: {told:#?}");
    Ok(())
}

/// Neither passwords, nor what Basic makes of them, nor tokens are in a file of the daemons, of their logs, or in their
/// metrics.
async fn assert_kept_nowhere(lab: &Lab) -> anyhow::Result<()> {
    let tokens = lab.upstreams()?.tokens.issued();
    assert!(!tokens.is_empty(), "nobody has asked for a token");
    // All have one beginning; none has another's signature.
    let signature = |token: &String| token.rsplit('.').next().unwrap_or_default().to_owned();
    let mut secrets: Vec<String> = tokens.iter().map(signature).collect();
    secrets.extend(passwords());
    let secrets = any_of(&secrets)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    for daemon in lab.network.nodes().iter().chain([lab.network.ctl()]) {
        let url = format!("http://{}:{PEER_PORT}/metrics", daemon.address);
        let metrics = client.get(&url).send().await?.error_for_status()?.bytes().await?;
        assert!(metrics.starts_with(b"#"), "{url} has no metrics");
        assert_has_none(&url, &metrics, &secrets);
    }
    assert_in_no_file(lab.folder(), &secrets)
}

fn assert_has_none(place: &str, text: &[u8], secrets: &Regex) {
    let found = secrets.find(text).map(|found| String::from_utf8_lossy(found.as_bytes()).into_owned());
    assert_eq!(found, None, "{place} has a secret");
}

fn assert_in_no_file(folder: &Path, secrets: &Regex) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            // containerd's own folders are no business of ours.
            if !path.join("containerd.toml").exists() {
                assert_in_no_file(&path, secrets)?;
            }
        } else if path.is_file() {
            assert_has_none(&path.display().to_string(), &std::fs::read(&path)?, secrets);
        }
    }
    Ok(())
}
