//! All clusters at a glance. What is searched for stands in the address (`?q=`, `?state=`), so that a link keeps it.

use std::time::Duration;

use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::query_signal_with_options;

use crate::components::cluster_card::ClusterCard;
use crate::components::fleet_stats::FleetStats;
use crate::components::heading::PageHead;
use crate::components::icon::icon;
use crate::components::notices::{Empty, FailedBanner, FailedCard, Freshness};
use crate::fleet::{CLUSTER_STATES, ClusterState, Fleet, matches};
use crate::live::LiveFleet;

/// What narrows the list; both parts live in the address, and Back undoes them.
#[derive(Clone, Copy)]
struct Filter {
    query: Memo<Option<String>>,
    set_query: SignalSetter<Option<String>>,
    /// Instead of the last step in the history.
    refine_query: SignalSetter<Option<String>>,
    state: Memo<Option<String>>,
    set_state: SignalSetter<Option<String>>,
}

const SKELETON_AFTER: Duration = Duration::from_millis(200);
const NOT_READ: &str = "Clusters could not be read";

#[component]
pub fn ClustersPage() -> impl IntoView {
    let live = expect_context::<LiveFleet>();
    let fleet = live.fleet();
    let is_read = Memo::new(move |_| fleet.with(Option::is_some));
    let known = Signal::derive(move || fleet.get().unwrap_or_default());
    view! {
        <PageHead title="Clusters"><Freshness/></PageHead>
        {move || match (is_read.get(), live.failure()) {
            (true, _) => view! { <Known fleet=known/> }.into_any(),
            (false, Some(failure)) => view! { <FailedCard title=NOT_READ failure/> }.into_any(),
            (false, None) => view! { <Skeleton/> }.into_any(),
        }}
    }
}

#[component]
fn Known(fleet: Signal<Fleet>) -> impl IntoView {
    let live = expect_context::<LiveFleet>();
    let filter = Filter::in_address();
    let shown = Memo::new(move |_| fleet.with(|fleet| filter.of(fleet)));
    let total = Memo::new(move |_| fleet.with(|fleet| fleet.clusters.len()));
    let found = move || match (total.get(), shown.with(Vec::len)) {
        (total, shown) if shown == total => String::new(),
        (total, shown) => format!("{shown} of {total} clusters"),
    };
    view! {
        <div class="stack">
            {move || live.failure().map(|failure| view! { <FailedBanner title=NOT_READ failure/> })}
            <FleetStats fleet/>
            <Show
                when=move || { total.get() > 0 }
                fallback=|| view! { <Empty picture="clusters" title="No cluster yet" text=FIRST_CLUSTER/> }
            >
                <Controls filter/>
                <p class="sr" role="status">{found}</p>
                <Show
                    when=move || shown.with(|shown| !shown.is_empty())
                    fallback=move || view! { <NoMatch filter total/> }
                >
                    <div class="cards">
                        <For each=move || shown.get() key=|id| *id let:id><ClusterCard id fleet/></For>
                    </div>
                </Show>
            </Show>
        </div>
    }
}

const FIRST_CLUSTER: &str = "Create one with POST /api/v1/clusters. The manager makes cluster-1 at its first start.";

#[component]
fn Controls(filter: Filter) -> impl IntoView {
    let query = move || filter.query.get().unwrap_or_default();
    let chosen = move |key: &'static str| filter.state.with(|state| state.as_deref() == Some(key));
    let typed = move |event| filter.search(event_target_value(&event));
    let picked = move |event| filter.set_state.set(Some(event_target_value(&event)).filter(|key| !key.is_empty()));
    let options = CLUSTER_STATES.map(|state| {
        view! { <option value=state.key() selected=move || chosen(state.key())>{state.word()}</option> }
    });
    view! {
        <div class="row" role="search">
            <span class="with-icon search">
                {icon("search")}
                <input
                    class="input"
                    type="search"
                    aria-label="Search clusters by name, ID or scope"
                    placeholder="Name, ID or scope"
                    prop:value=query
                    on:input=typed
                />
            </span>
            <span class="select">
                <select aria-label="State" on:change=picked>
                    <option value="" selected=move || filter.state.with(Option::is_none)>"All states"</option>
                    {options.collect_view()}
                </select>
            </span>
        </div>
    }
}

#[component]
fn NoMatch(filter: Filter, #[prop(into)] total: Signal<usize>) -> impl IntoView {
    let text = move || filter.words(total.get());
    let clear = move |_| {
        filter.set_query.set(None);
        filter.set_state.set(None);
    };
    view! {
        <section class="card" aria-labelledby="no-match">
            <div class="empty">
                {icon("filter")}
                <h2 id="no-match">"No cluster matches"</h2>
                <p>{text}</p>
                <div class="row">
                    <button class="btn" type="button" on:click=clear>{icon("x")} "Clear filters"</button>
                </div>
            </div>
        </section>
    }
}

/// In the shape of what comes, and only when it takes its time.
#[component]
fn Skeleton() -> impl IntoView {
    let late = RwSignal::new(false);
    if let Ok(timer) = set_timeout_with_handle(move || late.set(true), SKELETON_AFTER) {
        on_cleanup(move || timer.clear());
    }
    let cards = || {
        [(); 3].map(|()| {
            view! {
                <div class="card">
                    <div class="card-body stack">
                        <span class="skel skel-60 skel-l"></span>
                        <span class="skel skel-80"></span>
                        <div class="skel-row"><span class="skel skel-l"></span><span class="skel skel-l"></span></div>
                    </div>
                </div>
            }
        })
    };
    view! {
        <Show when=move || late.get()>
            <div class="stack" aria-busy="true">
                <p class="sr" role="status">"Loading clusters"</p>
                <div class="card" aria-hidden="true">
                    <div class="card-body skel-row">
                        {[(); 3].map(|()| view! { <span class="skel skel-l"></span> }).collect_view()}
                    </div>
                </div>
                <div class="cards" aria-hidden="true">{cards().collect_view()}</div>
            </div>
        </Show>
    }
}

// === impl Filter ===

impl Filter {
    fn in_address() -> Self {
        let step = || NavigateOptions { scroll: false, ..NavigateOptions::default() };
        let (query, set_query) = query_signal_with_options("q", step());
        let (_, refine_query) = query_signal_with_options("q", NavigateOptions { replace: true, ..step() });
        let (state, set_state) = query_signal_with_options("state", step());
        Self { query, set_query, refine_query, state, set_state }
    }

    /// A word leaves one step in the history, not one per letter.
    fn search(self, text: String) {
        let begins = self.query.with_untracked(Option::is_none);
        let set = if begins || text.is_empty() { self.set_query } else { self.refine_query };
        set.set(Some(text).filter(|text| !text.is_empty()));
    }

    /// Ids of the clusters to show, in the API's order.
    fn of(self, fleet: &Fleet) -> Vec<i64> {
        let query = self.query.get().unwrap_or_default();
        let state = self.wanted_state();
        let wanted = fleet.clusters.iter().filter(|cluster| matches(cluster, &query));
        let wanted = wanted.filter(|cluster| state.is_none_or(|state| fleet.state_of(cluster) == state));
        wanted.map(|cluster| cluster.id).collect()
    }

    fn wanted_state(self) -> Option<ClusterState> {
        let key = self.state.get()?;
        CLUSTER_STATES.into_iter().find(|state| state.key() == key)
    }

    /// What was looked for and not found.
    fn words(self, total: usize) -> String {
        let clusters = if total == 1 { "1 cluster".to_owned() } else { format!("{total} clusters") };
        let query = self.query.get().map(|query| format!(" with {:?} in its name, ID or scopes", query.trim()));
        let state = self.wanted_state().map(|state| format!(" in state {}", state.word()));
        format!("{clusters}, none{}{}.", query.unwrap_or_default(), state.unwrap_or_default())
    }
}
