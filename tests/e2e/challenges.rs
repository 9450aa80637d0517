//! What credentials cost, and how long they are good: requests are counted between containerd and its mirror, and at the
//! registry.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use df_testkit::registry::{blob_name, manifest_name};
use df_testkit::{DockerRegistry, Image, Layer, until};

use crate::command::run;
use crate::containerd::Release;
use crate::faults::TENANT;
use crate::lab::{Lab, small_image};
use crate::node::MIRROR;
use crate::recorder::{Exchange, Recorder};
use crate::upstreams::{Upstream, Upstreams, login};

const MIB: usize = 1 << 20;
const PRIVATE: &str = "red/app:v1";
const BOUND: Duration = Duration::from_secs(60);

/// How often the token server was asked for something of this repository.
fn tokens_for(upstreams: &Upstreams, repository: &str) -> usize {
    let of = |scope: &String| scope.contains(&format!("repository:{repository}:"));
    upstreams.tokens.asked().iter().filter(|asked| asked.scopes.iter().any(of)).count()
}

#[tokio::test]
async fn what_is_public_costs_no_challenge_and_one_token_for_all_nodes() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    let recorder = Recorder::start(&lab.nodes[0].namespace).await?;
    lab.use_mirror_at(Recorder::URL, &lab.nodes[0])?;
    for (seed, repository) in [(40, "public/one"), (41, "public/two")] {
        let image = Image::build(seed, &[Layer::gzip(2 * MIB), Layer::tar(70_000)])?.in_index();
        let name = format!("{repository}:v1");
        lab.push(&name, &image).await?;
        for number in [0, 1, 0] {
            lab.nodes[number].pull_from(Upstream::Token, &name, &image, None).await?;
            lab.nodes[number].wipe_images().await?;
        }
        assert_eq!(tokens_for(lab.upstreams()?, repository), 1, "{:#?}", lab.upstreams()?.tokens.asked());
    }
    let seen = recorder.exchanges();
    assert!(!seen.is_empty() && seen.iter().all(|exchange| matches!(exchange.status, 200 | 206)), "{seen:#?}");

    // What a token is good for no longer costs another.
    lab.upstreams()?.tokens.set_expires_in(Duration::from_secs(6));
    lab.push("public/three:v1", &small_image()?).await?;
    until("a token is replaced", BOUND, async || {
        lab.nodes[0].pull_from(Upstream::Token, "public/three:v1", &small_image()?, None).await?;
        Ok((tokens_for(lab.upstreams()?, "public/three") > 1).then_some(()))
    })
    .await
}

/// Requests with a credential by what they ask for.
fn shown(seen: &[Exchange]) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for exchange in seen.iter().filter(|exchange| exchange.authorized) {
        *counts.entry((exchange.method.clone(), exchange.path.clone())).or_default() += 1;
    }
    counts
}

/// Answers of 401 to the daemons.
fn refusals(registry: &DockerRegistry, after: usize) -> anyhow::Result<usize> {
    let all = registry.accesses()?.into_iter().skip(after);
    Ok(all.filter(|access| access.status == 401 && !access.agent.starts_with("containerd/")).count())
}

#[tokio::test]
async fn a_refused_credential_is_shown_twice_here_and_once_at_the_registry() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_upstreams().await? else { return Ok(()) };
    lab.push(PRIVATE, &small_image()?).await?;
    let recorder = Recorder::start(&lab.nodes[0].namespace).await?;
    let registry = lab.registry(Upstream::Token)?;
    let started = lab.start_releases().await?;
    let debian = (Release::Debian, &lab.nodes[0]);
    for (release, node) in started.iter().map(|(release, node)| (*release, node)).chain([debian]) {
        lab.use_mirror_at(Recorder::URL, node)?;
        recorder.clear();
        let before = registry.accesses()?.len();
        let pulled = node.pull_from(Upstream::Token, PRIVATE, &small_image()?, Some(&login("blue"))).await;
        if pulled.is_ok() {
            bail!("{release:?}: blue has read what is red's");
        }
        let seen = recorder.exchanges();
        let counts = shown(&seen);
        assert!(!counts.is_empty() && counts.values().all(|times| *times <= 2), "{release:?}: {seen:#?}");
        // With this credential one; and of each daemon one without any and one with the token that anybody gets, because
        // none believes another where to show a password.
        let asked = refusals(registry, before)?;
        assert!(asked <= 5 * counts.len(), "{release:?}: {asked}, {seen:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_registry_that_wants_to_be_left_alone_is_asked_once() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_faults().await? else { return Ok(()) };
    let image = small_image()?;
    lab.push_faulty("team/limited:v1", &image).await?;
    let registry = &lab.faults()?.registry;
    let tag = manifest_name("team/limited", "v1");
    registry.origin().change(&tag, |manifest| manifest.status_first(u32::MAX, 429, Some("30")));
    let recorder = Recorder::start(&lab.nodes[0].namespace).await?;
    lab.use_mirror_at(Recorder::URL, &lab.nodes[0])?;
    lab.nodes[0].pull_from(Upstream::Faulty, "team/limited:v1", &image, None).await?;
    let seen = recorder.exchanges();
    assert!(seen.iter().filter(|exchange| exchange.status == 429).count() >= 6, "{seen:#?}");
    let asked: u64 = registry.origin().names().iter().map(|name| registry.origin().stats(name).requests).sum();
    assert_eq!(asked, 1, "{:#?}", registry.origin().stats(&tag));
    Ok(())
}

/// containerd 1.6 shows the same token again whatever is said of it, newer ones get another.
#[tokio::test]
async fn a_token_that_expires_in_the_middle_breaks_no_pull() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_faults().await? else { return Ok(()) };
    let closed = &lab.faults()?.closed;
    let newer = lab.start_node(0, Release::V2_1).await?;
    let recorder = Recorder::start(&lab.nodes[0].namespace).await?;
    let red = login(TENANT);
    for (seed, node, cached) in
        [(50, &lab.nodes[0], true), (51, &newer, true), (52, &newer, false), (53, &lab.nodes[0], false)]
    {
        let at = || format!("image {seed}, cached: {cached}");
        let image = Image::build(seed, &[Layer::gzip(2 * MIB), Layer::gzip(MIB), Layer::tar(70_000)])?.in_index();
        let (repository, name) = (format!("red/app{seed}"), format!("red/app{seed}:v1"));
        closed.add(&repository, "v1", &image);
        if cached {
            lab.nodes[1].pull_from(Upstream::Closed, &name, &image, Some(&red)).await.with_context(at)?;
        }
        lab.use_mirror_at(Recorder::URL, node)?;
        recorder.clear();
        recorder.hold("/blobs/");
        let expiry = async {
            recorder.until("a blob is asked for", |seen| seen.iter().any(Exchange::is_blob)).await?;
            closed.expire_token();
            recorder.release();
            anyhow::Ok(())
        };
        let (pulled, expired) = tokio::join!(node.pull_from(Upstream::Closed, &name, &image, Some(&red)), expiry);
        expired.and(pulled).with_context(at)?;
        let blobs = recorder.blobs();
        if cached {
            assert!(blobs.iter().all(|blob| blob.status == 200 && blob.authorized), "{}: {blobs:#?}", at());
        } else {
            let refused: Vec<_> = blobs.iter().filter(|blob| blob.status == 401).collect();
            let told = |blob: &&Exchange| blob.challenge.contains("error=\"invalid_token\"");
            assert!(!refused.is_empty() && refused.iter().all(told), "{}: {blobs:#?}", at());
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_object_store_that_a_registry_sends_to_sees_no_credential() -> anyhow::Result<()> {
    let Some(lab) = Lab::start_with_faults().await? else { return Ok(()) };
    let faults = lab.faults()?;
    let image = small_image()?;
    faults.closed.add("red/stored", "v1", &image);
    faults.redirect("red/stored", &image);
    for node in &lab.nodes {
        node.pull_from(Upstream::Closed, "red/stored:v1", &image, Some(&login(TENANT))).await?;
    }
    for layer in &image.layers {
        let seen = faults.store.stats(&layer.digest);
        assert!(seen.requests > 0 && seen.authorizations.is_empty(), "{seen:#?}");
        let agents = seen.headers.iter().filter_map(|headers| headers.get("user-agent"));
        assert!(agents.clone().all(|agent| !agent.as_bytes().starts_with(b"containerd")), "{seen:#?}");
        // Each daemon that asked the registry did so with a token.
        let asked = faults.closed.origin().stats(&blob_name("red/stored", &layer.digest));
        assert!(!asked.authorizations.is_empty(), "{asked:#?}");
    }
    // Nor does one that is asked by a client which shows its credential at once.
    let url = format!("{MIRROR}/v2/red/stored/blobs/{}?ns={}", image.layers[0].digest, Upstream::Closed.name());
    let arguments = ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Authorization: Bearer wrong", &url];
    assert_eq!(run(&lab.nodes[0].namespace, "curl", &arguments, &[]).await?.out, "401");
    assert!(faults.store.stats(&image.layers[0].digest).authorizations.is_empty());
    Ok(())
}
