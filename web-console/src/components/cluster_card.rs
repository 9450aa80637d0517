//! One cluster: who it takes, who works for it, how it is.

use df_api::manager::Cluster;
use leptos::prelude::*;

use crate::components::icon::{State, small_icon};
use crate::fleet::{ClusterState, Count, Fleet, scopes_line};

/// What the card shows; compared as a whole, so that a fresh read that changed nothing touches nothing.
#[derive(Clone, PartialEq)]
struct Summary {
    cluster: Cluster,
    state: ClusterState,
    schedulers: Count,
    seed_peers: Count,
}

/// Stays in place while what it shows changes. Draws nothing once the cluster is gone.
#[component]
pub fn ClusterCard(id: i64, #[prop(into)] fleet: Signal<Fleet>) -> impl IntoView {
    let summary = Memo::new(move |_| fleet.with(|fleet| Summary::of(fleet, id)));
    move || summary.get().map(|summary| view! { <Card summary/> })
}

#[component]
fn Card(summary: Summary) -> impl IntoView {
    let Summary { cluster, state, schedulers, seed_peers } = summary;
    let heading = format!("cluster-{}", cluster.id);
    let labelled_by = heading.clone();
    let scopes = scopes_line(&cluster);
    view! {
        <article class="card cluster-card" aria-labelledby=labelled_by>
            <header>
                <div class="row">
                    <h2 id=heading>{cluster.name}</h2>
                    <span class="tag">"ID " {cluster.id}</span>
                    {cluster.is_default.then(|| view! { <span class="tag">"Default"</span> })}
                    {cluster.strict.then(|| view! { <span class="tag">{small_icon("lock")} "Strict"</span> })}
                    <span class="push"><State kind=state.kind() words=state.word() more=state.more()/></span>
                </div>
                <p class="scopes" title=scopes.clone()>{scopes.clone()}</p>
            </header>
            <dl>
                <CountPair title="Schedulers" count=schedulers/>
                <CountPair title="Seed peers" count=seed_peers/>
            </dl>
        </article>
    }
}

#[component]
fn CountPair(title: &'static str, count: Count) -> impl IntoView {
    let Count { active, total } = count;
    let tone = (active < total).then_some("t-warn");
    view! { <div><dt>{title}</dt><dd class=tone>{active}<small>" / " {total}</small></dd></div> }
}

// === impl Summary ===

impl Summary {
    fn of(fleet: &Fleet, id: i64) -> Option<Self> {
        let cluster = fleet.cluster(id)?;
        Some(Self {
            state: fleet.state_of(cluster),
            schedulers: fleet.schedulers_of(cluster),
            seed_peers: fleet.seed_peers_of(cluster),
            cluster: cluster.clone(),
        })
    }
}
