//! `console-build <wasm> <web-console folder> <dist folder>`: turns the compiler's wasm into what a browser loads.
//!
//! Every file but `index.html` and the favicon carries a hash of its content in its name, so it may be cached for ever;
//! beside each file that is worth it lie `.br` and `.gz`, so that the manager compresses nothing at run time.
//! **Invariant.** `index.html` has no inline script and no inline style: the manager's CSP allows neither.

mod bindings;
mod dist;
mod sheet;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::dist::Dist;

/// What a visitor on a slow line downloads once: the whole console, brotli.
const LIMIT_BYTES: usize = 350 * 1024;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [wasm, source, target] = arguments.as_slice() else {
        anyhow::bail!("usage: console-build <wasm> <web-console folder> <dist folder>");
    };
    let dist = assemble(wasm, source)?;
    dist.write(target)?;
    println!("{}", dist.table());
    let total = dist.total_br();
    ensure!(total <= LIMIT_BYTES, "the console is {total} bytes in brotli; the limit is {LIMIT_BYTES}");
    Ok(())
}

fn assemble(wasm: &Path, source: &Path) -> Result<Dist> {
    let assets = source.join("assets");
    let bindings = bindings::generate(wasm)?;
    let mut dist = Dist::default();

    let wasm_name = dist.add_hashed("console", ".wasm", bindings.wasm);
    let js_name = dist.add_hashed("console", ".js", bindings.js.into_bytes());
    let css_name = dist.add_hashed("console", ".css", sheet::concatenate(&source.join("style"))?.into_bytes());
    let start = read(&assets.join("start.js"))?.replace("{{js}}", &js_name).replace("{{wasm}}", &wasm_name);
    let start_name = dist.add_hashed("console-start", ".js", start.into_bytes());

    let index = read(&assets.join("index.html"))?
        .replace("{{css}}", &css_name)
        .replace("{{start}}", &start_name)
        .replace("{{js}}", &js_name)
        .replace("{{wasm}}", &wasm_name)
        .replace("{{icons}}", &symbols(&read(&assets.join("icons.svg"))?)?);
    ensure!(!index.contains("{{"), "index.html names something the build does not know");
    dist.add("index.html", index.into_bytes());
    dist.add("mark.svg", read(&assets.join("mark.svg"))?.into_bytes());
    Ok(dist)
}

/// The sprite without its outer element, to stand in the page.
fn symbols(sprite: &str) -> Result<String> {
    let start = sprite.find("<symbol").context("icons.svg has no symbol")?;
    let end = sprite.rfind("</svg>").context("icons.svg does not end")?;
    Ok(sprite[start..end].trim_end().to_owned())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
