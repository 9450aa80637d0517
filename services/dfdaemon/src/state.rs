//! What handlers share. The same handlers serve peers and this node's programs; they differ in whom they may trust.

use std::sync::Arc;
use std::time::Duration;

use df_peer::{Peer, Uploads};
use df_store::Trust;

use crate::api::signed::Signed;
use crate::mirror::Mirror;

#[derive(Clone)]
pub struct AppState {
    pub peer: Arc<Peer>,
    pub mirror: Mirror,
    pub signed: Signed,
    /// Peers check what they get; a runtime must never be given a complete wrong body.
    pub trust: Trust,
    pub first_byte_timeout: Duration,
    /// What peers may take; programs of this node have no such limits.
    pub uploads: Option<Arc<Uploads>>,
}
