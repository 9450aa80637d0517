//! The SDK's requests go out by the client of all origins, under its rules, and in turn with all that are made there.

use std::sync::Arc;

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::{RuntimeComponents, SharedHttpClient};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use futures_util::StreamExt as _;
use reqwest::Client;
use url::Url;

use crate::upstream::origins::Origins;
use crate::upstream::rules::Rules;

#[derive(Clone, Debug)]
struct Guarded {
    http: Client,
    rules: Arc<Rules>,
    origins: Arc<Origins>,
}

/// A page of a list has a thousand names of at most 1 KiB.
const ANSWER_BYTES_MAX: usize = 8 << 20;

pub(super) fn guarded(http: Client, rules: Arc<Rules>, origins: Arc<Origins>) -> SharedHttpClient {
    let guarded = Guarded { http, rules, origins };
    http_client_fn(move |_: &HttpConnectorSettings, _: &RuntimeComponents| SharedHttpConnector::new(guarded.clone()))
}

impl HttpConnector for Guarded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let guarded = self.clone();
        HttpConnectorFuture::new(async move { guarded.ask(request).await })
    }
}

impl Guarded {
    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let user = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
        let url = Url::parse(request.uri()).map_err(|error| user(error.into()))?;
        self.rules.check(&url).map_err(|error| user(error.into()))?;
        let method = request.method().parse().map_err(|_| user("no method".into()))?;
        if let Some(hold) = self.origins.held(&url) {
            return Err(user(format!("it has answered {}, and wants to be left alone", hold.status).into()));
        }
        let _turn = self.origins.turn(&url).await;
        let mut asked = self.http.request(method, url.clone());
        for (name, value) in request.headers() {
            asked = asked.header(name, value);
        }
        let body = request.body().bytes().unwrap_or_default().to_vec();
        // Without the URL: it may carry a signature.
        let io = |error: reqwest::Error| ConnectorError::io(error.without_url().into());
        let response = asked.body(body).send().await.map_err(io)?;
        self.origins.heard(&url, response.status(), response.headers());
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(io)?);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(user(format!("an answer of more than {ANSWER_BYTES_MAX} bytes").into()));
            }
        }
        let status = status.try_into().map_err(|_| user("no status".into()))?;
        let mut answer = HttpResponse::new(status, SdkBody::from(body));
        for (name, value) in &headers {
            if let Ok(value) = value.to_str() {
                answer.headers_mut().append(name.as_str().to_owned(), value.to_owned());
            }
        }
        Ok(answer)
    }
}
