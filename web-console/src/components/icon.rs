//! One of the sprite's pictures. Never the only carrier of a meaning: a word or a label stands beside it.

use leptos::prelude::*;

pub fn icon(name: &'static str) -> impl IntoView {
    icon_as("icon", name)
}

pub fn small_icon(name: &'static str) -> impl IntoView {
    icon_as("icon icon-s", name)
}

pub fn icon_as(class: &'static str, name: &'static str) -> impl IntoView {
    view! { <svg class=class aria-hidden="true"><use href=format!("#i-{name}")/></svg> }
}

/// The product's mark with its name.
#[component]
pub fn Brand(#[prop(optional)] class: &'static str) -> impl IntoView {
    view! {
        <svg class="mark" viewBox="0 0 32 32" aria-hidden="true"><use href="#mark"/></svg>
        <span class=class>"Dragonfly"</span>
    }
}

/// Icon and word of a state, coloured by its kind: ok, run, wait, warn, bad, off. What `more` adds to the word may leave
/// the picture where there is no room; it is still read out.
#[component]
pub fn State(
    kind: &'static str,
    #[prop(into)] words: String,
    #[prop(default = None)] more: Option<&'static str>,
) -> impl IntoView {
    view! {
        <span class="state" data-state=kind>
            <svg class="icon" aria-hidden="true"><use href=format!("#i-s-{kind}")/></svg>
            <span>{words} {more.map(|more| view! { <span class="state-more">{more}</span> })}</span>
        </span>
    }
}
