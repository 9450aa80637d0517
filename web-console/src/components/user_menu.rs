//! Who is signed in, and the way out.

use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_router::NavigateOptions;
use leptos_router::hooks::use_navigate;

use crate::components::icon::{icon, small_icon};
use crate::components::menu::Menu;
use crate::pages::sign_in::SIGN_IN;
use crate::session::Session;

#[component]
pub fn UserMenu() -> impl IntoView {
    let session = expect_context::<Session>();
    let name = Memo::new(move |_| session.user().map(|user| user.name).unwrap_or_default());
    let initial = move || name.with(|name| name.chars().next().map(String::from));
    let navigate = use_navigate();
    let sign_out = move |_| {
        let navigate = navigate.clone();
        spawn_local(async move {
            // First the way, then the news: who leaves on purpose is not sent back to where he was.
            if session.sign_out_with(move || navigate(SIGN_IN, NavigateOptions::default())).await.is_err() {
                leptos::logging::warn!("the manager did not sign out");
            }
        });
    };
    let face = view! {
        <span class="avatar" aria-hidden="true">{initial}</span>
        <span class="label">{name}</span>
        <span class="sr">", account menu"</span>
        {small_icon("down")}
    };
    view! {
        <Menu id="user-menu" label="Account" button_class="top-user" face=face.into_any()>
            <button type="button" role="menuitem" tabindex="-1" on:click=sign_out>{icon("signout")} "Sign out"</button>
        </Menu>
    }
}
