//! The one `h1` of a page: it names the window, and takes the focus when one comes from another page, so that a screen
//! reader says where one has arrived.

use std::sync::atomic::{AtomicBool, Ordering};

use leptos::html::H1;
use leptos::prelude::*;

/// Of the page on screen; the breadcrumb reads it.
#[derive(Clone, Copy)]
pub struct PageTitle(pub RwSignal<&'static str>);

/// The first page of a visit leaves the focus where the browser puts it.
static ARRIVED: AtomicBool = AtomicBool::new(false);

#[component]
pub fn Heading(title: &'static str) -> impl IntoView {
    let element = NodeRef::<H1>::new();
    if let Some(PageTitle(current)) = use_context() {
        current.set(title);
    }
    document().set_title(&format!("{title} · Dragonfly"));
    Effect::new(move |_| {
        if let Some(element) = element.get()
            && ARRIVED.swap(true, Ordering::Relaxed)
        {
            let _ = element.focus();
        }
    });
    view! { <h1 node_ref=element tabindex="-1">{title}</h1> }
}

/// Title on the left; how fresh the page is, and what can be done, on the right.
#[component]
pub fn PageHead(title: &'static str, #[prop(optional)] children: Option<Children>) -> impl IntoView {
    view! {
        <header class="page-head">
            <div><div class="page-title"><Heading title/></div></div>
            {children.map(|children| view! { <div class="page-actions">{children()}</div> })}
        </header>
    }
}

// === impl PageTitle ===

impl Default for PageTitle {
    fn default() -> Self {
        Self(RwSignal::new("Dragonfly"))
    }
}
