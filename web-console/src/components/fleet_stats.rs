//! The figures across the top of the clusters page: what the manager can tell today, and no placeholder for the rest.

use leptos::prelude::*;

use crate::components::icon::State;
use crate::fleet::{ClusterState, Count, Fleet};

#[component]
pub fn FleetStats(#[prop(into)] fleet: Signal<Fleet>) -> impl IntoView {
    let clusters = move || fleet.with(|fleet| fleet.clusters.len());
    let default = move || fleet.with(|fleet| fleet.clusters.iter().filter(|cluster| cluster.is_default).count());
    let waiting = move || fleet.with(|fleet| fleet.in_state(ClusterState::Waiting));
    let schedulers = Memo::new(move |_| fleet.with(Fleet::all_schedulers));
    let seed_peers = Memo::new(move |_| fleet.with(Fleet::all_seed_peers));
    view! {
        <dl class="stats" aria-label="All clusters">
            <div class="stat">
                <dt>"Clusters"</dt>
                <dd class="stat-value">{clusters}</dd>
                <dd class="stat-note">
                    <span>{default} " default"</span>
                    <Show when=move || { waiting() > 0 }><span>{waiting} " waiting"</span></Show>
                </dd>
            </div>
            <CountStat title="Schedulers active" count=schedulers/>
            <CountStat title="Seed peers active" count=seed_peers/>
        </dl>
    }
}

#[component]
fn CountStat(title: &'static str, #[prop(into)] count: Signal<Count>) -> impl IntoView {
    let note = move || match count.get() {
        Count { total: 0, .. } => view! { <span>"None has joined yet"</span> }.into_any(),
        count if count.missing() == 0 => view! { <State kind="ok" words="All active"/> }.into_any(),
        count => view! { <State kind="warn" words=format!("{} inactive", count.missing())/> }.into_any(),
    };
    view! {
        <div class="stat">
            <dt>{title}</dt>
            <dd class="stat-value">
                {move || count.get().active} <small>"of " {move || count.get().total}</small>
            </dd>
            <dd class="stat-note">{note}</dd>
        </div>
    }
}
