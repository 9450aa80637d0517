//! What concerns every page, under the top bar, until its cause is gone.

use leptos::prelude::*;

use crate::clock::{Clock, iso, time_of_day};
use crate::components::icon::icon;
use crate::live::LiveFleet;
use crate::session::Session;

/// The manager does not answer. Spoken once: what counts down is hidden from screen readers, or it would be read out
/// every second.
#[component]
pub fn SilentBanner() -> impl IntoView {
    let session = expect_context::<Session>();
    let clock = expect_context::<Clock>();
    let silent = Memo::new(move |_| !session.reach.answers());
    let countdown = move || match session.reach.seconds_left(clock.now()) {
        0 => "Trying again now.".to_owned(),
        seconds => format!("Trying again in {seconds} s."),
    };
    view! {
        <Show when=move || silent.get()>
            <div class="banner banner-page" data-tone="bad" role="alert">
                {icon("s-bad")}
                <p class="grow">
                    <strong>"The manager does not answer."</strong> " " <StaleNote/> "Pulls go on without it. "
                    <span aria-hidden="true">{countdown}</span>
                </p>
                <button class="btn btn-s" type="button" on:click=move |_| session.reach.try_now()>
                    {icon("refresh")} "Try now"
                </button>
            </div>
        </Show>
    }
}

/// How old the figures on screen are, where there are any.
#[component]
fn StaleNote() -> impl IntoView {
    let clock = expect_context::<Clock>();
    let live = use_context::<LiveFleet>();
    let read_at = move || live.and_then(LiveFleet::read_at);
    move || {
        read_at().map(|at| {
            let age = move || format!(", {} s ago", ((clock.now() - at) / 1000.0).max(0.0) as u64);
            view! {
                "What you see is from " <time datetime=iso(at)>{time_of_day(at)}</time>
                <span aria-hidden="true">{age}</span> ". "
            }
        })
    }
}

/// The password everybody knows.
#[component]
pub fn FirstPasswordBanner() -> impl IntoView {
    let session = expect_context::<Session>();
    let first = Memo::new(move |_| session.user().is_some_and(|user| user.password_is_default));
    view! {
        <Show when=move || first.get()>
            <div class="banner banner-page" data-tone="warn">
                {icon("s-warn")}
                <p class="grow">
                    <strong>"You still use the first password."</strong>
                    " Everybody knows it. The manager takes your own at its first start from "
                    <code>"DRAGONFLY_INITIAL_ROOT_PASSWORD"</code> "."
                </p>
            </div>
        </Show>
    }
}
