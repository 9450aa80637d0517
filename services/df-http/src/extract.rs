//! Extractors whose rejections are [`ApiError`], and the ones several servers need.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use df_api::{Code, range::Requested};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::ApiError;

/// `axum::Json` that names the field that is wrong.
pub struct Json<T>(pub T);

/// What an object says. Serde makes a structure of a list too, whose values are then the fields in their order; no
/// document says that.
struct Object<T>(T);

/// Makes an [`Object`].
struct Fields<T>(PhantomData<T>);

/// `axum::extract::Path` that names the segment that is wrong.
pub struct Path<T>(pub T);

/// `axum::extract::Query` that names the parameter that is wrong.
pub struct Query<T>(pub T);

/// `Prefer: wait=N` (RFC 7240): how long the answer may be held back, at most [`WAIT_MAX`]. Zero without the header.
#[derive(Clone, Copy, Debug)]
pub struct Wait(pub Duration);

/// Below every platform's request limit, and below the idle limits of proxies in between.
pub const WAIT_MAX: Duration = Duration::from_secs(25);

/// The `Range` header, parsed; malformed is refused with 400.
pub struct Range(pub Requested);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let told: Result<Object<T>, JsonRejection> = match request.headers().get(CONTENT_TYPE) {
            Some(kind) if kind == "application/json" => {
                let bytes = Bytes::from_request(request, state).await.map_err(JsonRejection::from);
                bytes.and_then(|bytes| parse(&bytes))
            }
            _ => axum::Json::from_request(request, state).await.map(|axum::Json(value)| value),
        };
        match told {
            Ok(Object(value)) => Ok(Self(value)),
            Err(JsonRejection::JsonDataError(error)) => Err(ApiError::unprocessable(without_value(&error.body_text()))),
            Err(JsonRejection::BytesRejection(error)) => Err(ApiError::new(Code::TooLarge, error.body_text())),
            Err(error) => Err(ApiError::invalid(error.body_text())),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

/// To keep the path to the field at hand takes twice the time, so only what is wrong is read that way.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonRejection> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(_) => axum::Json::from_bytes(bytes).map(|axum::Json(value)| value),
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(ApiError::invalid(error.body_text())),
            Err(error) => Err(ApiError::internal(error)),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(QueryRejection::FailedToDeserializeQueryString(error)) => Err(ApiError::invalid(error.body_text())),
            Err(error) => Err(ApiError::invalid(error.body_text())),
        }
    }
}

/// What was sent may be a password of a wrong type: only its kind is repeated.
fn without_value(text: &str) -> String {
    for marker in ["invalid type: ", "invalid value: "] {
        let parts = text.split_once(marker).and_then(|(before, rest)| Some((before, rest.rsplit_once(", expected ")?)));
        if let Some((before, (value, after))) = parts {
            let kind = value.split_whitespace().next().unwrap_or_default();
            return format!("{before}{marker}{kind}, expected {after}");
        }
    }
    text.to_owned()
}

impl<S: Send + Sync> FromRequestParts<S> for Wait {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let prefer = parts.headers.get("prefer").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let seconds = prefer.split([',', ';']).find_map(|part| part.trim().strip_prefix("wait=")?.parse().ok());
        Ok(Self(Duration::from_secs(seconds.unwrap_or(0)).min(WAIT_MAX)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Range {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(http::header::RANGE) else { return Ok(Self(Requested::Whole)) };
        let text = value.to_str().map_err(|_| ApiError::invalid("the Range header is not ASCII"))?;
        Requested::parse(Some(text)).map(Self).map_err(ApiError::invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_wrong_type_is_not_repeated() {
        let said = "password: invalid type: integer `12345678`, expected a string at line 1 column 9";
        assert_eq!(without_value(said), "password: invalid type: integer, expected a string at line 1 column 9");
        let said = "port: invalid type: string \"a, expected b\", expected u16 at line 1 column 9";
        assert_eq!(without_value(said), "port: invalid type: string, expected u16 at line 1 column 9");
        assert_eq!(without_value("unknown field `x`"), "unknown field `x`");
    }

    async fn wait(value: &str) -> Duration {
        let (mut parts, ()) = http::Request::builder().header("prefer", value).body(()).unwrap().into_parts();
        Wait::from_request_parts(&mut parts, &()).await.unwrap().0
    }

    #[tokio::test]
    async fn a_preferred_wait_is_bounded() {
        assert_eq!(wait("wait=5").await, Duration::from_secs(5));
        assert_eq!(wait("respond-async, wait=7").await, Duration::from_secs(7));
        assert_eq!(wait("wait=100000").await, WAIT_MAX);
        assert_eq!(wait("wait=-1").await, Duration::ZERO);
    }

    #[tokio::test]
    async fn a_list_is_no_object() {
        #[derive(Deserialize)]
        struct Body {
            name: String,
        }
        let body = async |kind: &str, text: &'static str| {
            let request = http::Request::builder().header(CONTENT_TYPE, kind).body(text.into()).unwrap();
            Json::<Body>::from_request(request, &()).await.map(|Json(Body { name })| name)
        };
        for kind in ["application/json", "application/json; charset=utf-8"] {
            assert_eq!(body(kind, r#"{"name": "a"}"#).await.unwrap(), "a");
            assert_eq!(body(kind, r#"["a"]"#).await.unwrap_err().code(), Code::Unprocessable);
        }
    }
}
