//! `X-Dragonfly-*` headers of an answer with a task's bytes, or about them.

use df_api::dfdaemon::{SERVER_IP_HEADER, TASK_FINISHED_HEADER, TASK_ID_HEADER};
use df_peer::{Peer, Task};
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Which task, whether all of it is here, and who says so.
pub fn task_headers(peer: &Peer, task: &Task) -> HeaderMap {
    let finished = if task.stored().is_complete() { "true" } else { "false" };
    let given = [
        (TASK_ID_HEADER, task.id().as_str()),
        (TASK_FINISHED_HEADER, finished),
        (SERVER_IP_HEADER, &peer.config().place.ip),
    ];
    // An address and an id are values that headers can have.
    let header = |(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?));
    given.into_iter().filter_map(header).collect()
}
