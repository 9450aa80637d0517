//! Release builds embed `web-console/dist`: build again when a file appears there or goes.
//! Debug builds read the folder while running, so they need not notice.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=migrations");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rerun-if-changed=../../web-console/dist");
    }
}
