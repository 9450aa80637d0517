//! The manager's console: a page in the browser that holds no state of its own beyond what is on screen. Who is signed
//! in sits in a cookie no script can read, what is looked at sits in the URL, and all else is asked of the manager.

mod api;
mod app;
mod clock;
mod components;
mod fleet;
mod live;
mod pages;
mod reach;
mod session;
mod theme;

fn main() {
    std::panic::set_hook(Box::new(|panic| web_sys::console::error_1(&panic.to_string().into())));
    leptos::mount::mount_to_body(app::App);
}
