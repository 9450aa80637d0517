//! Why an answer is what it is, for people who look. Made of the parts of the decision itself, when somebody asks: a
//! decision is not slower for it.

use std::collections::BTreeSet;

use df_api::HostId;
use df_api::scheduler::{Decision, Explanation, Filter, PassedOver, ScoreTerms, ScoredParent};

use super::{At, Question, Trust, View};
use crate::task::{Source, Sources};

/// Others that are listed.
const LISTED_MAX: usize = 32;

/// Of a peer that runs; `None` of any other. `known`: hosts that have a part in the task.
pub fn explain(view: View<'_>, asker: &HostId, known: usize) -> Option<Explanation> {
    let (id, peer) = view.task.peers.get_key_value(asker).filter(|(_, peer)| peer.is_running())?;
    let mut question = Question::new(view, id, peer);
    let at = question.settle_lease();
    let decision = match (&peer.told, at) {
        (Some(_), _) => Decision::Parents,
        (None, At::Origin) => Decision::Origin,
        (None, At::Nowhere) => Decision::Nobody,
        (None, At::Parents) => Decision::Wait,
    };
    let told: Vec<&Source> = peer.told.iter().flat_map(|told: &Sources| &told.parents).collect();
    let mut seen: BTreeSet<HostId> = told.iter().map(|source| source.id.clone()).chain([id.clone()]).collect();
    let named = seen.len();
    // Those of whom somebody will ask first.
    let complained_of = peer.report.complaints.iter().map(|complaint| complaint.peer_id.host());
    let others = view.task.apart().chain(view.task.peers.keys()).cloned();
    let listed = complained_of.chain(others).filter(|id| seen.insert(id.clone())).take(LISTED_MAX);
    let passed_over: Vec<_> =
        listed.map(|id| PassedOver { peer_id: id.peer(), filter: question.why_not(&id) }).collect();
    let not_listed = known.saturating_sub(named + passed_over.len());
    Some(Explanation {
        decision,
        priority: peer.admission.priority,
        parents: told.into_iter().map(|source| question.scored(source)).collect(),
        passed_over,
        not_listed: u32::try_from(not_listed).unwrap_or(u32::MAX),
    })
}

// === impl Question ===

impl Question<'_> {
    fn scored(&self, source: &Source) -> ScoredParent {
        let View { hosts, policy, .. } = self.view;
        let terms = self.terms(&source.id);
        let super::score::Terms { load, idc, location, host_type } = terms;
        ScoredParent {
            peer_id: source.id.peer(),
            role: source.role,
            score: terms.score(&policy.weights),
            terms: ScoreTerms { load, idc, location, host_type },
            children: hosts.children(&source.id),
            slots: hosts.announced.get(&source.id).map_or(0, |host| policy.slots(&host.report)),
        }
    }

    /// Of one that is not named.
    fn why_not(&self, id: &HostId) -> Filter {
        let task = self.view.task;
        if let Some(filter) = self.filter(id, Trust::Clean) {
            return filter;
        }
        let table = task.table();
        let row = |id: &HostId| table.place(id).map(|place| place.row).or_else(|| table.reads(id));
        let below = || row(id).zip(row(self.id)).is_some_and(|(other, own)| other > own);
        match task.whole().contains(id) || self.holder.as_ref() == Some(id) {
            false if table.place(id).is_none() => Filter::Starving,
            false if below() => Filter::Cycle,
            _ if !self.has_room(id) => Filter::Full,
            _ => Filter::NotNeeded,
        }
    }
}
