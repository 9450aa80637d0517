//! A button and the menu it opens: a native popover (top layer, Escape, a click outside, focus back to the button) with
//! the keys of a menu: arrows, Home, End, first letters.

use leptos::html::{Button, Div};
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{HtmlElement, KeyboardEvent};

#[component]
pub fn Menu(
    id: &'static str,
    /// What the menu is called.
    label: &'static str,
    button_class: &'static str,
    /// What the button is called, where its content is only a picture.
    #[prop(optional, into)]
    button_label: MaybeProp<String>,
    /// The button's content.
    face: AnyView,
    /// Elements with `role="menuitem"` or `"menuitemradio"` and `tabindex="-1"`.
    children: Children,
) -> impl IntoView {
    let button = NodeRef::<Button>::new();
    let menu = NodeRef::<Div>::new();
    let open = RwSignal::new(false);
    let toggled = move |_| {
        let Some(menu) = menu.get_untracked() else { return };
        let now_open = menu.matches(":popover-open").unwrap_or(false);
        open.set(now_open);
        if now_open {
            focus(items(&menu).first());
        }
    };
    // Under the end of its button. Through the CSSOM: the CSP forbids style attributes, not properties set by a script.
    let from_end = RwSignal::new(0.0);
    let place = move |_| from_end.set(button.get_untracked().map_or(0.0, |button| distance_from_end(&button)));
    let close = move |_| {
        if let Some(menu) = menu.get_untracked() {
            let _ = menu.hide_popover();
        }
    };
    let keyed = move |event: KeyboardEvent| {
        if let Some(menu) = menu.get_untracked() {
            steer(&menu, &event);
        }
    };
    view! {
        <button
            node_ref=button
            class=button_class
            type="button"
            aria-label=move || button_label.get()
            title=move || button_label.get()
            aria-haspopup="menu"
            aria-expanded=move || open.get().to_string()
            aria-controls=id
            popovertarget=id
            on:click=place
        >
            {face}
        </button>
        <div
            node_ref=menu
            id=id
            class="menu menu-top"
            role="menu"
            aria-label=label
            popover="auto"
            style:inset-inline-end=move || format!("{}px", from_end.get())
            on:click=close
            on:keydown=keyed
            on:toggle=toggled
        >
            {children()}
        </div>
    }
}

/// In pixels, from the button's end to the window's.
fn distance_from_end(button: &HtmlElement) -> f64 {
    let width = document().document_element().map_or(0.0, |root| f64::from(root.client_width()));
    (width - button.get_bounding_client_rect().right()).max(0.0)
}

/// Moves the focus as the key says, or closes the menu on Tab.
fn steer(menu: &HtmlElement, event: &KeyboardEvent) {
    let items = items(menu);
    let focused = document().active_element();
    let at = items.iter().position(|item| Some(item.as_ref()) == focused.as_ref());
    let count = items.len();
    let next = match (event.key().as_str(), at) {
        ("ArrowDown", at) => at.map_or(0, |at| (at + 1) % count.max(1)),
        ("ArrowUp", at) => at.map_or(count.saturating_sub(1), |at| (at + count - 1) % count.max(1)),
        ("Home", _) => 0,
        ("End", _) => count.saturating_sub(1),
        ("Tab", _) => {
            let _ = menu.hide_popover();
            return;
        }
        (key, at) if key.chars().count() == 1 => match starting_with(&items, key, at) {
            Some(found) => found,
            None => return,
        },
        _ => return,
    };
    event.prevent_default();
    focus(items.get(next));
}

/// The next item after `at`, around the end, whose words start with the letter.
fn starting_with(items: &[HtmlElement], letter: &str, at: Option<usize>) -> Option<usize> {
    let letter = letter.to_lowercase();
    let first = at.map_or(0, |at| at + 1);
    let starts = |item: &HtmlElement| item.inner_text().trim_start().to_lowercase().starts_with(&letter);
    (0..items.len()).map(|step| (first + step) % items.len()).find(|&index| starts(&items[index]))
}

fn items(menu: &HtmlElement) -> Vec<HtmlElement> {
    let Ok(found) = menu.query_selector_all("[role^=menuitem]") else { return Vec::new() };
    (0..found.length()).filter_map(|index| found.get(index)?.dyn_into().ok()).collect()
}

fn focus(item: Option<&HtmlElement>) {
    if let Some(item) = item {
        let _ = item.focus();
    }
}
