//! Which of the three the window shows: the sign-in page, the frame with a page in it, or (for the first moments)
//! neither, because nobody has said yet who is signed in.

use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::components::{FlatRoutes, Redirect, Route, Router};
use leptos_router::hooks::{use_location, use_navigate};
use leptos_router::path;

use crate::clock::Clock;
use crate::components::banners::SilentBanner;
use crate::components::frame::Frame;
use crate::components::heading::PageTitle;
use crate::pages::clusters::ClustersPage;
use crate::pages::not_found::NotFoundPage;
use crate::pages::sign_in::{SIGN_IN, SignInPage, sign_in_url};
use crate::session::{Session, Who};

#[component]
pub fn App() -> impl IntoView {
    let clock = Clock::start();
    let session = Session::new();
    provide_context(clock);
    provide_context(session);
    provide_context(PageTitle::default());

    session.load();
    Effect::new(move |_| {
        if session.reach.is_due(clock.now()) {
            session.load();
        }
    });

    view! {
        <Router>
            <Gatekeeper/>
        </Router>
    }
}

/// Sends those whom the manager does not know to the sign-in page, with the way back in its address.
#[component]
fn Gatekeeper() -> impl IntoView {
    let session = expect_context::<Session>();
    let location = use_location();
    let (path, search) = (location.pathname, location.search);
    let at_sign_in = Memo::new(move |_| path.get() == SIGN_IN);
    let nobody = Memo::new(move |_| session.who() == Who::Nobody);
    let navigate = use_navigate();
    Effect::new(move |_| {
        if nobody.get() && !at_sign_in.get() {
            let back = format!("{}{}", path.get_untracked(), question(&search.get_untracked()));
            navigate(&sign_in_url(&back), NavigateOptions { replace: true, ..NavigateOptions::default() });
        }
    });
    let known = Memo::new(move |_| session.user().is_some());
    move || match (at_sign_in.get(), known.get()) {
        (true, _) => view! { <SignInPage/> }.into_any(),
        (false, true) => view! { <Inside/> }.into_any(),
        (false, false) => view! { <Outside/> }.into_any(),
    }
}

/// The pages of those who are signed in.
#[component]
fn Inside() -> impl IntoView {
    let replace = || NavigateOptions { replace: true, ..NavigateOptions::default() };
    view! {
        <Frame>
            <FlatRoutes fallback=NotFoundPage>
                <Route path=path!("/") view=move || view! { <Redirect path="/clusters" options=replace()/> }/>
                <Route path=path!("/clusters") view=ClustersPage/>
            </FlatRoutes>
        </Frame>
    }
}

/// Nothing, which lasts for one request; or that the manager does not answer it.
#[component]
fn Outside() -> impl IntoView {
    view! {
        <div class="view">
            <SilentBanner/>
            <main class="page" id="main"><h1 class="sr">"Dragonfly"</h1></main>
        </div>
    }
}

/// `?` and the query, or nothing.
fn question(search: &str) -> String {
    let search = search.trim_start_matches('?');
    if search.is_empty() { String::new() } else { format!("?{search}") }
}
