//! The SDK's requests go out by the one client of this process.

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::{RuntimeComponents, SharedHttpClient};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use reqwest::Client;

#[derive(Clone, Debug)]
struct Connector(Client);

/// A page of a list has a thousand names of at most 1 KiB.
const ANSWER_BYTES_MAX: usize = 8 << 20;

pub(super) fn by(http: Client) -> SharedHttpClient {
    let connector = Connector(http);
    http_client_fn(move |_: &HttpConnectorSettings, _: &RuntimeComponents| SharedHttpConnector::new(connector.clone()))
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.0.clone();
        HttpConnectorFuture::new(async move { ask(http, request).await })
    }
}

async fn ask(http: Client, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let user = |error: &'static str| ConnectorError::user(error.into());
    // Without the URL: it may carry a signature.
    let io = |error: reqwest::Error| ConnectorError::io(error.without_url().into());
    let method = request.method().parse().map_err(|_| user("no method"))?;
    let mut asked = http.request(method, request.uri());
    for (name, value) in request.headers() {
        asked = asked.header(name, value);
    }
    let body = request.body().bytes().unwrap_or_default().to_vec();
    let mut response = asked.body(body).send().await.map_err(io)?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(io)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(user("an answer that is too long"));
        }
    }
    let status = status.try_into().map_err(|_| user("no status"))?;
    let mut answer = HttpResponse::new(status, SdkBody::from(body));
    for (name, value) in &headers {
        if let Ok(value) = value.to_str() {
            answer.headers_mut().append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(answer)
}
