//! The way in. What the API says about a refused try is shown at the field; where one wanted to go is in `?next=`.

use leptos::ev::SubmitEvent;
use leptos::html::Input;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_navigate, use_query_map};

use crate::api::Failure;
use crate::components::heading::Heading;
use crate::components::icon::{Brand, icon, icon_as, small_icon};
use crate::session::Session;

pub const SIGN_IN: &str = "/sign-in";

/// What is wrong, and with which field; or with none of them.
#[derive(Clone, Default, PartialEq)]
struct Wrong {
    account: Option<String>,
    password: Option<String>,
    manager: Option<String>,
}

/// The sign-in page's address, with the way back unless that is where one lands anyway.
pub fn sign_in_url(back: &str) -> String {
    match back {
        "/" | "/clusters" => SIGN_IN.to_owned(),
        back => format!("{SIGN_IN}?next={}", js_sys::encode_uri_component(back)),
    }
}

/// Only a path of this console: `//host` and `/\host` would lead away from it.
fn way_back(next: Option<String>) -> String {
    next.filter(|next| next.starts_with('/') && !next[1..].starts_with(['/', '\\']) && !next.starts_with(SIGN_IN))
        .unwrap_or_else(|| "/clusters".to_owned())
}

#[component]
pub fn SignInPage() -> impl IntoView {
    let session = expect_context::<Session>();
    let query = use_query_map();
    let navigate = use_navigate();
    Effect::new(move |_| {
        if session.user().is_some() {
            let next = query.with_untracked(|query| query.get("next"));
            navigate(&way_back(next), NavigateOptions { replace: true, ..NavigateOptions::default() });
        }
    });
    view! {
        <div class="gate">
            <div class="gate-form">
                <header class="brand"><Brand/></header>
                <main id="main">
                    <Heading title="Sign in"/>
                    <SignInForm/>
                </main>
                <footer class="gate-foot">
                    {window().location().host().unwrap_or_default()} " · "
                    // Not a page of the console: the router leaves it to the browser.
                    <a href="/docs/" rel="external">"API documents"</a>
                </footer>
            </div>
            <aside class="gate-aside" aria-label="What Dragonfly does">
                <figure class="gate-picture" inner_html=include_str!("../../assets/picture.html")></figure>
            </aside>
        </div>
    }
}

#[component]
fn SignInForm() -> impl IntoView {
    let session = expect_context::<Session>();
    let (account, password) = (NodeRef::<Input>::new(), NodeRef::<Input>::new());
    let wrong = RwSignal::new(Wrong::default());
    let busy = RwSignal::new(false);
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        let (Some(account), Some(password)) = (account.get_untracked(), password.get_untracked()) else { return };
        if busy.get_untracked() {
            return;
        }
        let found = Wrong::before_sending(&account.value(), &password.value());
        let is_right = found == Wrong::default();
        wrong.set(found.clone());
        if !is_right {
            let _ = if found.account.is_some() { account.focus() } else { password.focus() };
            return;
        }
        busy.set(true);
        spawn_local(async move {
            let outcome = session.sign_in(account.value(), password.value()).await;
            busy.try_set(false);
            let Err(failure) = outcome else { return };
            let found = Wrong::answered(&failure);
            if found.password.is_some() {
                password.select();
                let _ = password.focus();
            }
            wrong.try_set(found);
        });
    };
    view! {
        <form class="stack" method="post" novalidate on:submit=submit>
            <AccountField element=account wrong/>
            <PasswordField element=password wrong/>
            <ManagerError wrong/>
            <button class="btn btn-main btn-wide" type="submit" aria-busy=move || busy.get().to_string()>
                <Show when=move || busy.get() fallback=|| "Sign in">{icon_as("icon spin", "s-run")} "Signing in"</Show>
            </button>
        </form>
    }
}

#[component]
fn AccountField(element: NodeRef<Input>, wrong: RwSignal<Wrong>) -> impl IntoView {
    let error = Memo::new(move |_| wrong.with(|wrong| wrong.account.clone()));
    view! {
        <div class="field">
            <label for="account">"Account"</label>
            <input
                node_ref=element
                class="input"
                id="account"
                name="name"
                autocomplete="username"
                autocapitalize="none"
                spellcheck="false"
                required
                aria-invalid=move || error.with(Option::is_some).then_some("true")
                aria-describedby=move || error.with(Option::is_some).then_some("account-error")
                on:input=move |_| wrong.set(Wrong::default())
            />
            <FieldError id="account-error" error/>
        </div>
    }
}

#[component]
fn PasswordField(element: NodeRef<Input>, wrong: RwSignal<Wrong>) -> impl IntoView {
    let error = Memo::new(move |_| wrong.with(|wrong| wrong.password.clone()));
    let shown = RwSignal::new(false);
    view! {
        <div class="field">
            <label for="password">"Password"</label>
            <span class="with-action">
                <input
                    node_ref=element
                    class="input"
                    id="password"
                    name="password"
                    type=move || if shown.get() { "text" } else { "password" }
                    autocomplete="current-password"
                    autocapitalize="none"
                    spellcheck="false"
                    required
                    aria-invalid=move || error.with(Option::is_some).then_some("true")
                    aria-describedby=move || error.with(Option::is_some).then_some("password-error")
                    on:input=move |_| wrong.set(Wrong::default())
                />
                <button
                    class="icon-btn"
                    type="button"
                    aria-label="Show the password"
                    title="Show the password"
                    aria-pressed=move || shown.get().to_string()
                    on:click=move |_| shown.update(|shown| *shown = !*shown)
                >
                    {icon("eye")}
                </button>
            </span>
            <FieldError id="password-error" error/>
        </div>
    }
}

#[component]
fn FieldError(id: &'static str, error: Memo<Option<String>>) -> impl IntoView {
    move || {
        error.get().map(|error| {
            view! { <p class="field-error" id=id role="alert">{small_icon("s-bad")}<span>{error}</span></p> }
        })
    }
}

#[component]
fn ManagerError(wrong: RwSignal<Wrong>) -> impl IntoView {
    let error = Memo::new(move |_| wrong.with(|wrong| wrong.manager.clone()));
    move || {
        error.get().map(|error| {
            view! {
                <div class="banner" data-tone="bad" role="alert">
                    {icon("s-bad")}
                    <p class="grow"><strong>{error}</strong> " Pulls go on without it. Try again in a moment."</p>
                </div>
            }
        })
    }
}

// === impl Wrong ===

impl Wrong {
    /// Checked on sending, not on leaving a field: a line that appears between press and release moves the button away.
    fn before_sending(account: &str, password: &str) -> Self {
        let missing = |value: &str, words: &str| value.is_empty().then(|| words.to_owned());
        Self {
            account: missing(account.trim(), "Enter the name of your account."),
            password: missing(password, "Enter the password."),
            manager: None,
        }
    }

    /// A manager that does not answer has not judged the password.
    fn answered(failure: &Failure) -> Self {
        let detail = Some(failure.detail());
        match failure {
            Failure::Silent => Self { manager: detail, ..Self::default() },
            Failure::SignedOut(_) | Failure::Refused(_) => Self { password: detail, ..Self::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SIGN_IN, way_back};

    #[test]
    fn the_way_back_never_leaves_the_console() {
        let back = |next: &str| way_back(Some(next.to_owned()));
        assert_eq!(back("/clusters?q=fra"), "/clusters?q=fra");
        for elsewhere in
            ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "", SIGN_IN]
        {
            assert_eq!(back(elsewhere), "/clusters", "{elsewhere}");
        }
        assert_eq!(way_back(None), "/clusters");
    }
}
