//! Light, dark, or as the system.

use leptos::prelude::*;

use crate::components::icon::icon;
use crate::components::menu::Menu;
use crate::theme::{THEMES, Theme};

#[component]
pub fn ThemeSwitch() -> impl IntoView {
    let theme = RwSignal::new(Theme::remembered());
    let label = Signal::derive(move || Some(format!("Theme: {}. Change", theme.get().words())));
    let picture = move || if theme.get() == Theme::Dark { icon("moon") } else { icon("sun") };
    view! {
        <Menu id="theme-menu" label="Theme" button_class="icon-btn push" button_label=label face=picture.into_any()>
            {THEMES.map(|choice| view! { <Choice choice theme/> }).collect_view()}
        </Menu>
    }
}

#[component]
fn Choice(choice: Theme, theme: RwSignal<Theme>) -> impl IntoView {
    let (name, picture) = match choice {
        Theme::System => ("As the system", "sliders"),
        Theme::Light => ("Light", "sun"),
        Theme::Dark => ("Dark", "moon"),
    };
    let chosen = move || theme.get() == choice;
    let choose = move |_| {
        theme.set(choice);
        choice.apply();
    };
    view! {
        <button
            type="button"
            role="menuitemradio"
            tabindex="-1"
            aria-checked=move || chosen().to_string()
            on:click=choose
        >
            {icon(picture)} {name}
            <Show when=chosen><span class="push">{icon("check")}</span></Show>
        </button>
    }
}
