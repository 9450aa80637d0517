//! What must be asked of a registry before something of a repository is given to a caller, and how: once for all who want
//! it at that moment, by the seed peer for the whole cluster, and not while the registry cannot answer.
//!
//! **Invariant.** What is known answers at once while it is fresh, and in an outage; and only to a caller whom the
//! registry has accepted.

use std::time::Instant;

use axum::response::Response;
use df_api::dfdaemon::TagAnswer;
use df_peer::tags::ANSWERED_WITHIN;
use http::{Method, StatusCode};
use tokio::time::timeout_at;

use super::Mirror;
use super::access::Proof;
use super::caller::Caller;
use super::refusal::Refusal;
use super::relay::{self, Relayed};

/// Who wants something of which repository.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    pub mirror: &'a Mirror,
    pub caller: &'a Caller,
    pub repository: &'a str,
}

/// What there may be to ask.
pub trait Question {
    type Answer;

    /// Those who ask this at once ask once.
    fn what(&self) -> &str;

    /// Whatever in vain was asked about, this needs not be asked then.
    fn in_vain(&self) -> &str;

    /// Without asking, and whether it is fresh.
    async fn known(&self, asking: Asking<'_>) -> Option<(Self::Answer, bool)>;

    /// What the seed peer says; `None` when the registry is to be asked from here.
    async fn ask_seed(&self, asking: Asking<'_>) -> Option<Told<Self::Answer>>;

    /// The registry has said yes, and so; `None` when that does not tell.
    async fn learn(&self, asking: Asking<'_>, answer: &Relayed) -> Option<Self::Answer>;
}

pub enum Told<T> {
    Fresh(T),
    /// The registry cannot be asked; this was so last.
    Stale(T),
    /// The registry's own answer, for the caller.
    Relayed(Relayed),
}

// === impl Asking ===

impl Asking<'_> {
    pub async fn settle<Q: Question>(self, question: &Q) -> Result<Told<Q::Answer>, Refusal> {
        if let Some((answer, true)) = question.known(self).await {
            return Ok(Told::Fresh(answer));
        }
        let Self { mirror, caller, repository } = self;
        let (arrived, what) = (Instant::now(), question.what());
        let (registry, authorization) = (caller.registry(), caller.authorization());
        let turn = timeout_at(caller.deadline, mirror.access.turn(&registry, repository, authorization, what)).await;
        let known = match question.known(self).await {
            Some((answer, true)) => return Ok(Told::Fresh(answer)),
            known => known,
        };
        let in_vain = (question.in_vain(), mirror.tags.outage_since(arrived));
        let out = turn.is_err() || mirror.access.is_out(&registry, repository, authorization, in_vain).await;
        if let Some((answer, _)) = known.filter(|_| out) {
            return Ok(Told::Stale(answer));
        }
        let _turn = turn.map_err(|_| Refusal::timeout(&registry, "the registry does not answer"))?;
        let answered = self.ask(question).await;
        let outage = match &answered {
            Ok(Told::Relayed(answer)) => answer.is_outage(),
            Ok(Told::Stale(_)) => true,
            Ok(Told::Fresh(_)) => false,
            Err(refusal) => refusal.is_outage(),
        };
        if outage {
            mirror.access.note_outage(&registry, repository, authorization, what).await;
            // The seed peer may have said what it knows from before.
            if let Some((answer, _)) = question.known(self).await {
                return Ok(Told::Stale(answer));
            }
        }
        answered
    }

    async fn ask<Q: Question>(self, question: &Q) -> Result<Told<Q::Answer>, Refusal> {
        let Self { mirror, caller, repository } = self;
        if let Some(refused) = relay::refused(mirror, caller, repository).await {
            return Ok(Told::Relayed(refused));
        }
        let asked = Instant::now();
        match timeout_at(caller.deadline, question.ask_seed(self)).await {
            // It has waited in vain: here the registry may answer in the time that is left.
            Ok(Some(Told::Stale(_))) if asked.elapsed() >= ANSWERED_WITHIN / 2 => {}
            Ok(Some(told)) => return Ok(told),
            Ok(None) | Err(_) => {}
        }
        let answer = relay::forward(mirror, &caller.head(), Some(repository)).await?;
        if answer.status() == StatusCode::OK {
            mirror.access.prove(&caller.registry(), repository, caller.authorization()).await;
            if let Some(learnt) = question.learn(self, &answer).await {
                return Ok(Told::Fresh(learnt));
            }
        }
        Ok(Told::Relayed(answer))
    }

    /// What the registry said, challenge and all. It was asked for headers: where they do not tell enough, it is asked for
    /// the whole.
    pub async fn respond(self, answer: Relayed) -> Result<Response, Refusal> {
        if self.caller.method == Method::HEAD || !(answer.wants_get() || answer.status().is_success()) {
            return Ok(answer.respond(self.caller));
        }
        Ok(relay::forward(self.mirror, self.caller, Some(self.repository)).await?.respond(self.caller))
    }

    pub async fn proof(self) -> Proof {
        self.mirror.access.proof(&self.caller.registry(), self.repository, self.caller.authorization()).await
    }

    /// What the registry tells everybody, and not only whom a password of this node opens it for.
    pub fn is_public(self) -> bool {
        self.caller.authorization().is_none() && !self.has_own_password()
    }

    pub fn has_own_password(self) -> bool {
        self.mirror.peer.upstream().has_credential(&self.caller.url)
    }

    /// What the seed peer of this repository says, with the registry's answer to the same credential.
    pub async fn tag_answer(self) -> Option<TagAnswer> {
        let answer = self.mirror.peer.resolve_tag(&self.caller.origin()).await?;
        // A password that only this node has may be good where nobody else's is.
        let for_everybody = self.caller.authorization().is_some() || !self.has_own_password();
        (for_everybody || matches!(answer, TagAnswer::Resolved(_))).then_some(answer)
    }
}
