//! Origins that fail: with a status, in the middle, with another content than before. Each time the whole arrives, or a
//! clean failure; and hardly a byte is asked twice.

use std::num::NonZeroU64;
use std::time::{Duration, Instant, SystemTime};

use df_testkit::registry::{RegistryAccess, blob_name};
use df_testkit::{Content, Cut, FakeRegistry, Image, Layer, STANDSTILL, random_bytes, read_whole, until};
use dfdaemon::config::Config;

use crate::node::{Node, REPOSITORY, wait_until};

const MIB: u64 = 1 << 20;

type Change = fn(Content) -> Content;

async fn fetch(node: &Node, content: Content) -> Result<bytes::Bytes, String> {
    node.registry.origin().put("file", content);
    node.fetch("file").await
}

#[tokio::test]
async fn errors_that_may_pass_are_retried_and_others_are_not() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = random_bytes(3, 1000);
    assert_eq!(fetch(&node, Content::new(body.clone()).status_first(2, 503, None)).await.unwrap(), body);
    let node = Node::start(RegistryAccess::Open).await;
    assert_eq!(fetch(&node, Content::new(body.clone()).status_first(1, 429, Some("0"))).await.unwrap(), body);
    for status in [400, 404, 408, 410] {
        let node = Node::start(RegistryAccess::Open).await;
        let content = Content::new(body.clone()).status_first(1, status, None);
        let refused = fetch(&node, content).await.unwrap_err();
        assert!(refused.contains(&status.to_string()), "{refused}");
        assert_eq!(node.registry.origin().stats("file").requests, 1);
    }
}

/// Whoever begins a download may name a registry that nobody else would.
#[tokio::test]
async fn who_joins_a_download_of_a_digest_brings_an_origin_for_when_the_first_creeps_or_fails() {
    let good = FakeRegistry::start(RegistryAccess::Open).await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| config.upstream.allow.push(good.base_url())).await;
    let faults: [(&str, Change); 3] = [
        ("creeps", |content| content.rate(30_000)),
        ("silent", |content| content.hold_at(100_000)),
        ("broken", |content| content.cut_first(u32::MAX, 100_000, Cut::Fin).without_ranges()),
    ];
    let pulled = faults.iter().zip(20..).map(async |((fault, change), seed)| {
        let image = Image::build(seed, &[Layer::tar(6_000_000)]).unwrap();
        for registry in [&node.registry, &good] {
            registry.add(REPOSITORY, fault, &image);
        }
        let blob = &image.layers[0];
        let name = blob_name(REPOSITORY, &blob.digest);
        node.registry.origin().change(&name, change);
        let read = async |registry: &FakeRegistry| {
            let (mirror, host) = (node.daemon.local_addr, registry.address());
            let url = format!("http://{mirror}/v2/{REPOSITORY}/blobs/{}?ns={host}", blob.digest);
            read_whole(node.http.get(url).send().await.unwrap()).await
        };
        let joins = async {
            let stats = || node.registry.origin().stats(&name);
            let begun = || stats().requests > stats().heads;
            until("it is begun", STANDSTILL, async || Ok(begun().then_some(()))).await.unwrap();
            read(&good).await
        };
        let (first, second) = tokio::join!(read(&node.registry), joins);
        for (who, read) in [("joins", second.unwrap()), ("begins", first.unwrap())] {
            let start = String::from_utf8_lossy(&read[..read.len().min(300)]);
            assert!(read == blob.bytes, "{fault}: who {who} it reads {} bytes, {start}", read.len());
        }
        assert!(good.origin().stats(&name).bytes > 0, "{fault}");
    });
    futures_util::future::join_all(pulled).await;
}

#[tokio::test]
async fn an_origin_is_left_alone_for_as_long_as_it_asks() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = random_bytes(3, 1000);
    let started = Instant::now();
    assert_eq!(fetch(&node, Content::new(body.clone()).status_first(1, 503, Some("1"))).await.unwrap(), body);
    assert!(started.elapsed() >= Duration::from_secs(1));

    let node = Node::start(RegistryAccess::Open).await;
    let started = Instant::now();
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    assert_eq!(fetch(&node, Content::new(body.clone()).status_first(1, 429, Some(&date))).await.unwrap(), body);
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn an_origin_that_asks_for_more_patience_than_a_reader_has_is_not_asked_by_others_either() {
    let node = Node::start(RegistryAccess::Open).await;
    let refused = fetch(&node, Content::new("x").status_first(1, 429, Some("60"))).await.unwrap_err();
    assert!(refused.contains("429"), "{refused}");
    node.registry.origin().put("other", Content::new("y"));
    let refused = node.fetch("other").await.unwrap_err();
    assert!(refused.contains("429"), "{refused}");
    assert_eq!(node.registry.origin().stats("other").requests, 0);
}

#[tokio::test]
async fn a_broken_origin_is_not_hammered_by_many_tasks() {
    let node = Node::start(RegistryAccess::Open).await;
    let names: Vec<_> = (0..30).map(|number| format!("file-{number}")).collect();
    names.iter().for_each(|name| node.registry.origin().put(name, Content::new("x").status_first(100, 500, None)));
    let all = futures_util::future::join_all(names.iter().map(|name| node.fetch(name))).await;
    assert!(all.iter().all(Result::is_err));
    let requests: u64 = names.iter().map(|name| node.registry.origin().stats(name).requests).sum();
    // One each, twenty retries, and one for each second it took.
    assert!(requests < 30 + 20 + 15, "{requests}");
}

#[tokio::test]
async fn an_origin_that_breaks_off_every_ten_mebibytes_costs_no_byte_twice() {
    for how in [Cut::Fin, Cut::Reset] {
        let node = Node::start(RegistryAccess::Open).await;
        let body = random_bytes(6, 64 * MIB as usize);
        assert!(fetch(&node, Content::new(body.clone()).cut_first(u32::MAX, 10 * MIB, how)).await.unwrap() == body);
        assert!(node.received("file").await.origin_bytes <= 64 * MIB * 101 / 100);
        if how == Cut::Fin {
            let bytes = node.registry.origin().stats("file").bytes;
            assert!(bytes <= 64 * MIB * 101 / 100, "{bytes}");
        }
    }
}

#[tokio::test]
async fn an_origin_that_falls_silent_is_asked_for_the_rest() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = random_bytes(7, 20 * MIB as usize);
    assert!(fetch(&node, Content::new(body.clone()).stall_first(1, 5 * MIB)).await.unwrap() == body);
    let stats = node.registry.origin().stats("file");
    assert_eq!((stats.requests, stats.bytes), (3, 20 * MIB));
}

#[tokio::test]
async fn a_wrong_length_is_a_failure_and_not_a_content() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = random_bytes(8, 3_000_000);
    let refused = fetch(&node, Content::new(body.clone()).claim_length(4_000_000)).await.unwrap_err();
    assert!(!refused.is_empty());
    let node = Node::start(RegistryAccess::Open).await;
    let refused = fetch(&node, Content::new(body).claim_length(2_000_000)).await.unwrap_err();
    assert!(refused.contains("makes no sense"), "{refused}");
}

#[tokio::test]
async fn a_compressed_content_is_not_stored() {
    let node = Node::start(RegistryAccess::Open).await;
    let refused = fetch(&node, Content::new("packed").header("content-encoding", "gzip")).await.unwrap_err();
    assert!(refused.contains("compressed"), "{refused}");
}

#[tokio::test]
async fn a_content_that_changes_while_it_is_read_is_a_failure_and_not_a_mix() {
    let node = Node::with(RegistryAccess::Open, |config| config.download.origin_streams = 1).await;
    let origin = node.registry.origin();
    let (old, new) = (random_bytes(9, 20 * MIB as usize), random_bytes(10, 20 * MIB as usize));
    origin.put("file", Content::new(old).hold_at(MIB));
    let changed = async {
        wait_until("the first range is on its way", || origin.stats("file").bytes == MIB).await;
        origin.change("file", |_| Content::new(new.clone()));
        origin.release("file");
    };
    let (fetched, ()) = tokio::join!(node.fetch("file"), changed);
    assert!(fetched.is_err());
    // Nothing of the old one is left.
    assert!(node.fetch("file").await.unwrap() == new);
}

#[tokio::test]
async fn what_was_kept_of_an_older_version_is_not_completed_with_a_newer_one() {
    let node = Node::start(RegistryAccess::Open).await;
    let origin = node.registry.origin();
    let (old, new) = (random_bytes(11, 3_000_000), random_bytes(12, 3_000_000));
    origin.put("file", Content::new(old).hold_at(2_000_000));
    let failing = async {
        wait_until("most of it is on its way", || origin.stats("file").bytes == 2_000_000).await;
        origin.change("file", |old| old.status_first(1, 410, None));
    };
    let (fetched, ()) = tokio::join!(node.fetch("file"), failing);
    assert!(fetched.is_err());
    origin.change("file", |_| Content::new(new.clone()));
    assert!(node.fetch("file").await.is_err());
    let stats = origin.stats("file");
    assert!(stats.headers.last().is_some_and(|headers| headers.contains_key("if-range")), "{:?}", stats.ranges);
    assert!(node.fetch("file").await.unwrap() == new);
}

#[tokio::test]
async fn a_redirect_to_a_dead_place_is_a_failure() {
    let dead = format!("http://127.0.0.1:{}", df_testkit::free_port().unwrap());
    let node = Node::with(RegistryAccess::Open, |config| config.upstream.allow.push(dead.clone())).await;
    let refused = fetch(&node, Content::new("").redirect_to(&format!("{dead}/x"))).await.unwrap_err();
    assert!(refused.contains("cannot be reached"), "{refused}");
}

/// Each alone holds the bytes back.
#[tokio::test]
async fn limits_are_kept() {
    const LIMIT: Option<NonZeroU64> = NonZeroU64::new(1_000_000);
    let limits: [fn(&mut Config); 3] = [
        |config| config.download.task_bandwidth_limit = LIMIT,
        |config| config.download.origin_bandwidth_limit = LIMIT,
        |config| config.download.bandwidth_limit = LIMIT,
    ];
    let pulls = limits.map(async |limit| {
        let node = Node::with(RegistryAccess::Open, limit).await;
        let (body, started) = (random_bytes(13, 2_000_000), Instant::now());
        assert_eq!(fetch(&node, Content::new(body.clone())).await.unwrap(), body);
        assert!(started.elapsed() >= Duration::from_millis(1500), "{:?}", started.elapsed());
    });
    futures_util::future::join_all(pulls).await;
}

#[tokio::test]
async fn an_origin_is_asked_only_so_often() {
    let limit = |config: &mut Config| config.upstream.requests_per_second_per_origin = NonZeroU64::new(2);
    let (node, started) = (Node::with(RegistryAccess::Open, limit).await, Instant::now());
    for number in 0..4 {
        let (name, body) = (format!("file-{number}"), random_bytes(number, 1000));
        node.registry.origin().put(&name, Content::new(body.clone()));
        assert_eq!(node.fetch(&name).await.unwrap(), body);
    }
    assert!(started.elapsed() >= Duration::from_millis(1300), "{:?}", started.elapsed());
}

/// What a program reads is not held back, what comes after it is.
#[tokio::test]
async fn what_nobody_waits_for_has_a_limit_of_its_own() {
    const LIMIT: u64 = 2_000_000;
    let limit = |config: &mut Config| config.download.prefetch_bandwidth_limit = NonZeroU64::new(LIMIT);
    let node = Node::with(RegistryAccess::Open, limit).await;
    let body = random_bytes(14, 12_000_000);
    node.registry.origin().put("file", Content::new(body.clone()));
    let id = node.create("file").await.unwrap();
    let first = df_api::ByteRange { start: 0, end: 10 };
    let read = node.client().get_task_content(&id, Some(first)).await.unwrap();
    assert_eq!(read.bytes().await.unwrap(), body.slice(..10));
    let (started, before) = (Instant::now(), node.received("file").await.origin_bytes);
    until("more has come", Duration::from_secs(30), async || {
        Ok((node.received("file").await.origin_bytes >= before + 3_000_000).then_some(()))
    })
    .await
    .unwrap();
    assert!(started.elapsed() >= Duration::from_millis(1200), "{:?}", started.elapsed());
    assert_eq!(node.fetch("file").await.unwrap(), body);
}

/// Bytes had come, so nothing can be said with a status any more; and whoever reads is told within the bound.
#[tokio::test]
async fn an_origin_that_falls_silent_for_good_breaks_the_body_in_time() {
    let silent = |body: &bytes::Bytes| Content::new(body.clone()).hold_at(5 * MIB);
    let body = random_bytes(15, 20 * MIB as usize);
    let pulls = [silent(&body), silent(&body).without_ranges()].map(async |content| {
        let node = Node::start(RegistryAccess::Open).await;
        let broken = fetch(&node, content).await.map(|body| body.len()).unwrap_err();
        assert!(broken.contains("it breaks after") && !broken.contains("stands still"), "{broken}");
    });
    futures_util::future::join_all(pulls).await;
}

#[tokio::test]
async fn a_body_that_is_shorter_than_its_own_length_is_no_content() {
    let node = Node::start(RegistryAccess::Open).await;
    let body = random_bytes(16, 3_000_000);
    let content = Content::new(body).without_ranges().header("content-length", "3000001");
    let broken = fetch(&node, content).await.map(|body| body.len()).unwrap_err();
    assert!(!broken.contains("stands still"), "{broken}");
}

#[tokio::test]
async fn a_stream_without_a_length_that_breaks_is_gone_on_with() {
    for ranges in [true, false] {
        let node = Node::start(RegistryAccess::Open).await;
        let body = random_bytes(17, 12 * MIB as usize);
        let content = Content::new(body.clone()).without_length().cut_first(2, 4 * MIB, Cut::Reset);
        let content = if ranges { content } else { content.without_ranges() };
        assert!(fetch(&node, content).await.unwrap() == body, "ranges: {ranges}");
    }
}

/// A runtime whose pull broke goes on where it was.
#[tokio::test]
async fn what_broke_can_be_resumed_by_range() {
    let node = Node::start(RegistryAccess::Open).await;
    let layer = node.layer().clone();
    let name = blob_name(REPOSITORY, &layer.digest);
    let origin = node.registry.origin();
    origin.change(&name, |content| content.hold_at(2_000_000).cut_first(1, 2_500_000, Cut::Fin));
    let mut answer = node.get(&node.blob_path(&layer)).send().await.unwrap();
    let mut got = Vec::from(answer.chunk().await.unwrap().unwrap());
    origin.change(&name, |content| content.status_first(1, 410, None));
    origin.release(&name);
    let broken = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => got.extend_from_slice(&chunk),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken && layer.bytes.starts_with(&got));
    let range = format!("bytes={}-", got.len());
    let rest = node.get(&node.blob_path(&layer)).header("range", range).send().await.unwrap();
    assert_eq!(rest.status(), 206);
    got.extend_from_slice(&read_whole(rest).await.unwrap());
    assert!(got == layer.bytes);
}
