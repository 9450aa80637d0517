//! Calls to the manager as pages see them: within a time limit, and with three ways to fail.
//!
//! **Invariant.** Every call ends: a manager that accepts a connection and then says nothing counts as silent.

use std::pin::pin;
use std::time::Duration;

use df_api::{Code, Problem};
use df_client::{ClientError, ManagerClient, Transport, http_client};
use futures_util::future::{Either, select};
use js_sys::Promise;
use leptos::prelude::window;
use wasm_bindgen_futures::JsFuture;

/// Why there is no answer to show.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// Nobody is signed in, or not any more.
    SignedOut(Box<Problem>),
    /// The manager said no, or said something we do not understand.
    Refused(Box<Problem>),
    /// No answer at all, or one of a proxy that had none.
    Silent,
}

/// Longer than any operation of the console takes; shorter than a person waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// One attempt. The cookie travels by itself: the page and the API share an origin.
pub async fn call<T>(operation: impl AsyncFnOnce(ManagerClient) -> Result<T, ClientError>) -> Result<T, Failure> {
    let origin = window().location().origin().unwrap_or_default();
    let transport = Transport::new(&origin, http_client()).map_err(|error| misunderstood(error.to_string()))?;
    let operation = pin!(operation(ManagerClient::new(transport)));
    match select(operation, pin!(sleep(PATIENCE))).await {
        Either::Left((outcome, _)) => outcome.map_err(Failure::from),
        Either::Right(_) => Err(Failure::Silent),
    }
}

async fn sleep(time: Duration) {
    let ms = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    let promise = Promise::new(&mut |resolve, _| {
        let _ = window().set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, ms);
    });
    let _ = JsFuture::from(promise).await;
}

fn misunderstood(detail: String) -> Failure {
    Failure::Refused(Box::new(Problem::new(Code::Internal, detail)))
}

// === impl Failure ===

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused { problem, .. } if problem.status == 401 => Failure::SignedOut(problem),
            // A gateway in front of the manager, not the manager: `df-client` marks what is not a problem+json.
            ClientError::Refused { problem, .. }
                if problem.code == Code::BadGateway && matches!(problem.status, 502..=504) =>
            {
                Failure::Silent
            }
            ClientError::Refused { problem, .. } => Failure::Refused(problem),
            ClientError::Malformed { url, .. } => {
                misunderstood(format!("The answer of {url} is not of this console's version. Reload the page."))
            }
            ClientError::Transport { .. } => Failure::Silent,
        }
    }
}

impl Failure {
    /// For people, as the API says it.
    pub fn detail(&self) -> String {
        match self {
            Failure::SignedOut(problem) | Failure::Refused(problem) => problem.detail.clone(),
            Failure::Silent => "The manager does not answer.".to_owned(),
        }
    }

    pub fn request_id(&self) -> Option<String> {
        match self {
            Failure::SignedOut(problem) | Failure::Refused(problem) => problem.request_id.clone(),
            Failure::Silent => None,
        }
    }
}
