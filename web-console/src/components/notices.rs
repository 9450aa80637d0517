//! What a page says about its own content: how fresh it is, that it failed, that nothing is there.

use leptos::prelude::*;

use crate::api::Failure;
use crate::clock::{iso, time_of_day};
use crate::components::icon::icon;
use crate::live::LiveFleet;

/// `.live`: polled, or stale since.
#[component]
pub fn Freshness() -> impl IntoView {
    let live = expect_context::<LiveFleet>();
    move || match (live.read_at(), live.is_stale()) {
        (None, _) => ().into_any(),
        (Some(_), false) => view! { <span class="live" data-live="poll">"Every 5 s"</span> }.into_any(),
        (Some(at), true) => view! {
            <span class="live" data-live="stale">
                <time datetime=iso(at)>"As of " {time_of_day(at)}</time>
            </span>
        }
        .into_any(),
    }
}

/// In place of a card's content that could not be read.
#[component]
pub fn FailedCard(title: &'static str, failure: Failure) -> impl IntoView {
    view! {
        <section class="card" aria-labelledby="failed">
            <div class="empty" role="alert">
                <svg class="icon t-bad" aria-hidden="true"><use href="#i-s-bad"/></svg>
                <h2 id="failed">{title}</h2>
                <p>{failure.detail()}</p>
                <div class="row"><TryAgain class="btn"/></div>
                {request(&failure)}
            </div>
        </section>
    }
}

/// Above content that is still there but could not be read again.
#[component]
pub fn FailedBanner(title: &'static str, failure: Failure) -> impl IntoView {
    view! {
        <div class="banner" data-tone="bad" role="alert">
            {icon("s-bad")}
            <div class="grow"><p><strong>{title}"."</strong> " " {failure.detail()}</p>{request(&failure)}</div>
            <TryAgain class="btn btn-s"/>
        </div>
    }
}

fn request(failure: &Failure) -> impl IntoView + use<> {
    failure.request_id().map(|id| view! { <p class="small dim">"Request " {id}</p> })
}

#[component]
fn TryAgain(class: &'static str) -> impl IntoView {
    let live = expect_context::<LiveFleet>();
    let asking = move || live.is_asking();
    view! {
        <button class=class type="button" aria-busy=move || asking().to_string() on:click=move |_| live.refresh()>
            {icon("refresh")} "Try again"
        </button>
    }
}

/// Nothing to show, and the one thing to do about it.
#[component]
pub fn Empty(
    picture: &'static str,
    #[prop(into)] title: String,
    #[prop(into)] text: String,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    view! {
        <section class="card" aria-labelledby="empty">
            <div class="empty">
                {icon(picture)}
                <h2 id="empty">{title}</h2>
                <p>{text}</p>
                {children.map(|children| view! { <div class="row">{children()}</div> })}
            </div>
        </section>
    }
}
