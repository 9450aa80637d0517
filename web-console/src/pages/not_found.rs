//! An address that no page has.

use leptos::prelude::*;
use leptos_router::hooks::use_location;

use crate::components::heading::Heading;
use crate::components::icon::icon;

#[component]
pub fn NotFoundPage() -> impl IntoView {
    let path = use_location().pathname;
    view! {
        <section class="card">
            <div class="empty">
                {icon("search")}
                <div class="empty-title"><Heading title="Page not found"/></div>
                <p>"There is nothing at " <code>{path}</code> ". It may have been moved or deleted."</p>
                <div class="row"><a class="btn" href="/clusters">"All clusters"</a></div>
            </div>
        </section>
    }
}
