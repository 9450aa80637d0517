//! What the registry really sent, blob by blob, to whom: read from its access log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use df_testkit::docker_registry::Access;
use df_testkit::{Blob, DockerRegistry, Image, until};

const SETTLE_BOUND: Duration = Duration::from_secs(10);

/// Answers to GET of blobs since a moment.
#[derive(Debug)]
pub(crate) struct Traffic {
    answers: Vec<Access>,
}

/// A moment in the registry's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(usize);

// === impl Mark ===

impl Mark {
    pub(crate) async fn now(registry: &DockerRegistry) -> anyhow::Result<Self> {
        Ok(Self(settled(registry).await?.len()))
    }
}

// === impl Traffic ===

impl Traffic {
    /// Of everything that ended before this call.
    pub(crate) async fn since(mark: Mark, registry: &DockerRegistry) -> anyhow::Result<Self> {
        let answers = settled(registry).await?.into_iter().skip(mark.0);
        let blobs = answers.filter(|answer| answer.method == "GET" && answer.path.contains("/blobs/sha256:"));
        Ok(Self { answers: blobs.collect() })
    }

    /// Body bytes to this address.
    pub(crate) fn bytes_to(&self, client: std::net::Ipv4Addr) -> u64 {
        self.answers.iter().filter(|answer| answer.client == client.to_string()).map(|answer| answer.bytes).sum()
    }

    /// Body bytes of this blob, to whomever.
    pub(crate) fn bytes_of(&self, digest: &str) -> u64 {
        self.answers.iter().filter(|answer| answer.path.ends_with(digest)).map(|answer| answer.bytes).sum()
    }

    /// Answers of any status that had to do with this blob, to whomever.
    pub(crate) fn answers_about(&self, digest: &str) -> usize {
        self.answers.iter().filter(|answer| answer.path.ends_with(digest)).count()
    }

    /// Answers with the rest of a blob to a client whose name begins so.
    pub(crate) fn resumed_by(&self, agent: &str) -> usize {
        self.answers.iter().filter(|answer| answer.status == 206 && answer.agent.starts_with(agent)).count()
    }

    /// Fails, naming all of them, unless the registry sent every blob of `image` exactly once: as many bytes as it
    /// has, in however many ranges.
    pub(crate) fn assert_each_blob_once(&self, image: &Image) {
        self.assert_each_blob_times(image, 1);
    }

    /// As [`Traffic::assert_each_blob_once`], for clients that copy every platform of an index.
    pub(crate) fn assert_each_blob_of_all_platforms_once(&self, image: &Image) {
        self.assert_each_times(&image.all_blobs().collect::<Vec<_>>(), 1);
    }

    /// As [`Traffic::assert_each_blob_once`], for `ctr`, which also takes the other platform's configuration.
    pub(crate) fn assert_each_blob_once_for_ctr(&self, image: &Image) {
        let config = image.other().map(|other| other.config.digest.as_str());
        let without = |answer: &&Access| config.is_none_or(|digest| !answer.path.ends_with(digest));
        Self { answers: self.answers.iter().filter(without).cloned().collect() }.assert_each_blob_once(image);
    }

    pub(crate) fn assert_each_blob_times(&self, image: &Image, times: u64) {
        self.assert_each_times(&image.blobs().collect::<Vec<_>>(), times);
    }

    fn assert_each_times(&self, blobs: &[&Blob], times: u64) {
        let mut sent: BTreeMap<&str, u64> = BTreeMap::new();
        for answer in &self.answers {
            *sent.entry(answer.path.rsplit('/').next().unwrap_or_default()).or_default() += answer.bytes;
        }
        let digests: BTreeSet<&str> = blobs.iter().map(|blob| blob.digest.as_str()).collect();
        let wrong: Vec<String> = blobs
            .iter()
            .map(|blob| (blob, sent.get(blob.digest.as_str()).copied().unwrap_or_default()))
            .filter(|(blob, sent)| *sent != blob.size_bytes() * times)
            .map(|(blob, sent)| format!("{} of {} bytes: {sent} bytes sent", blob.digest, blob.size_bytes()))
            .collect();
        let foreign: Vec<&&str> = sent.keys().filter(|digest| !digests.contains(**digest)).collect();
        assert!(
            wrong.is_empty() && foreign.is_empty(),
            "not each blob {times} times: {wrong:#?}, foreign: {foreign:?}, answers: {:#?}",
            self.answers
        );
    }
}

/// The log once it holds a request made now: the registry writes a line when an answer ends, in order.
async fn settled(registry: &DockerRegistry) -> anyhow::Result<Vec<Access>> {
    let before = registry.accesses()?.len();
    // It is asked for a line in its log, and told nothing.
    let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build()?;
    client.get(format!("{}/v2/", registry.base_url())).send().await?;
    until("the registry has logged a request", SETTLE_BOUND, async || {
        let accesses = registry.accesses()?;
        let logged = accesses.iter().skip(before).any(|access| access.path == "/v2/" && access.client.ends_with(".1"));
        Ok(logged.then_some(accesses))
    })
    .await
}
