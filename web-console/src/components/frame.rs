//! What stands around every page: side menu, top bar, banners. Under 768 px the menu lies off canvas: while it is open
//! the rest is inert, Escape and a press beside it close it, and the focus returns to where it was opened.

use leptos::ev;
use leptos::html::{Button, Main};
use leptos::prelude::*;
use leptos_router::hooks::use_location;

use crate::clock::Clock;
use crate::components::banners::{FirstPasswordBanner, SilentBanner};
use crate::components::heading::PageTitle;
use crate::components::icon::{Brand, icon};
use crate::components::theme_switch::ThemeSwitch;
use crate::components::user_menu::UserMenu;
use crate::live::LiveFleet;
use crate::session::Session;

/// From this width the side menu has a place of its own.
const RAIL_FROM_PX: f64 = 768.0;

#[component]
pub fn Frame(children: Children) -> impl IntoView {
    provide_context(LiveFleet::start(expect_context::<Session>(), expect_context::<Clock>()));
    let main = NodeRef::<Main>::new();
    let opener = NodeRef::<Button>::new();
    let menu_open = RwSignal::new(false);
    let close = move || {
        if menu_open.get_untracked() {
            menu_open.set(false);
            // After `inert` is gone: an inert button takes no focus.
            request_animation_frame(move || focus(opener.get_untracked().as_deref()));
        }
    };
    close_by_itself(close);
    let skip = move |event: ev::MouseEvent| {
        event.prevent_default();
        focus(main.get_untracked().as_ref());
    };
    view! {
        <a class="skip" href="#main" on:click=skip>"Skip to the page"</a>
        <div class="app" data-menu=move || menu_open.get().then_some("open")>
            <Side menu_open close/>
            <Show when=move || menu_open.get()><div class="scrim menu-scrim" on:click=move |_| close()></div></Show>
            <div class="view" inert=move || menu_open.get()>
                <header class="top">
                    <button
                        node_ref=opener
                        class="icon-btn top-menu"
                        type="button"
                        aria-label="Open the menu"
                        aria-expanded=move || menu_open.get().to_string()
                        on:click=move |_| menu_open.set(true)
                    >
                        {icon("menu")}
                    </button>
                    <Crumbs/>
                    <ThemeSwitch/>
                    <UserMenu/>
                </header>
                <SilentBanner/>
                <FirstPasswordBanner/>
                <main node_ref=main class="page" id="main" tabindex="-1">{children()}</main>
            </div>
        </div>
    }
}

/// The menu closes on Escape, when the window grows, and when one has gone somewhere.
fn close_by_itself(close: impl Fn() + Copy + Send + Sync + 'static) {
    let keys = window_event_listener(ev::keydown, move |event| {
        if event.key() == "Escape" {
            close();
        }
    });
    let sizes = window_event_listener(ev::resize, move |_| {
        let width = window().inner_width().ok().and_then(|width| width.as_f64());
        if width.is_some_and(|width| width >= RAIL_FROM_PX) {
            close();
        }
    });
    on_cleanup(move || {
        keys.remove();
        sizes.remove();
    });
    let path = use_location().pathname;
    Effect::new(move |_| {
        path.track();
        close();
    });
}

#[component]
fn Side(menu_open: RwSignal<bool>, close: impl Fn() + Copy + Send + Sync + 'static) -> impl IntoView {
    let live = expect_context::<LiveFleet>();
    let path = use_location().pathname;
    let clusters = move || live.fleet().with(|fleet| fleet.as_ref().map(|fleet| fleet.clusters.len()));
    let closer = NodeRef::<Button>::new();
    Effect::new(move |_| {
        if menu_open.get() {
            request_animation_frame(move || focus(closer.get_untracked().as_deref()));
        }
    });
    let here = move || (path.get() == "/clusters").then_some("page");
    view! {
        <nav class="side" aria-label="Main">
            <a class="brand" href="/clusters"><Brand class="label"/></a>
            <button
                node_ref=closer
                class="icon-btn side-close"
                type="button"
                aria-label="Close the menu"
                on:click=move |_| close()
            >
                {icon("x")}
            </button>
            <div class="side-group" role="group" aria-labelledby="side-fleet">
                <p class="side-title" id="side-fleet">"Fleet"</p>
                <a class="side-link" href="/clusters" title="Clusters" aria-current=here on:click=move |_| close()>
                    {icon("clusters")}
                    <span class="label">"Clusters"</span>
                    <span class="side-count">{clusters}</span>
                </a>
            </div>
            <p class="side-foot">{window().location().host().unwrap_or_default()}</p>
        </nav>
    }
}

#[component]
fn Crumbs() -> impl IntoView {
    let PageTitle(title) = expect_context();
    view! {
        <nav class="crumbs" aria-label="Where you are">
            <ol><li><span aria-current="page">{title}</span></li></ol>
        </nav>
    }
}

fn focus(element: Option<&web_sys::HtmlElement>) {
    if let Some(element) = element {
        let _ = element.focus();
    }
}
