//! Fills a real registry over HTTP (distribution-spec, § Pushing), so that neither skopeo nor docker is needed.

use anyhow::{Context, bail};
use http::StatusCode;
use http::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response};

use crate::image::{Blob, Image};

/// Puts `image` at `registry_url` (`http://host:port`) as `repository:tag`; blobs that are there already stay.
pub async fn push_image(registry_url: &str, repository: &str, tag: &str, image: &Image) -> anyhow::Result<()> {
    let client = Client::builder().no_proxy().build()?;
    let repository_url = format!("{registry_url}/v2/{repository}");
    for blob in image.all_blobs() {
        push_blob(&client, &repository_url, blob).await.with_context(|| format!("cannot push {}", blob.digest))?;
    }
    let top = image.top();
    for manifest in image.manifests() {
        let reference = if manifest.digest == top.digest { tag } else { &manifest.digest };
        let url = format!("{repository_url}/manifests/{reference}");
        let put = client.put(&url).header(CONTENT_TYPE, manifest.media_type).body(manifest.bytes.clone());
        expect(put.send().await?, StatusCode::CREATED).await?;
    }
    Ok(())
}

async fn push_blob(client: &Client, repository_url: &str, blob: &Blob) -> anyhow::Result<()> {
    let known = client.head(format!("{repository_url}/blobs/{}", blob.digest)).send().await?;
    if known.status() == StatusCode::OK {
        return Ok(());
    }
    let begun = client.post(format!("{repository_url}/blobs/uploads/")).send().await?;
    let begun = expect(begun, StatusCode::ACCEPTED).await?;
    let location = begun.headers().get(LOCATION).context("an upload without Location")?.to_str()?;
    // May be relative, and carries the registry's own query.
    let mut url = begun.url().join(location)?;
    url.query_pairs_mut().append_pair("digest", &blob.digest);
    let put = client.put(url).header(CONTENT_TYPE, "application/octet-stream").body(blob.bytes.clone());
    expect(put.send().await?, StatusCode::CREATED).await?;
    Ok(())
}

async fn expect(response: Response, status: StatusCode) -> anyhow::Result<Response> {
    if response.status() == status {
        return Ok(response);
    }
    let (got, url) = (response.status(), response.url().clone());
    let body = response.text().await.unwrap_or_default();
    bail!("{url} answered {got} instead of {status}: {body}")
}
