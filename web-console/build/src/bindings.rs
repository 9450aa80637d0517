//! wasm-bindgen as a library: pinned to the lockfile's version, so program and module always understand each other.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use wasm_bindgen_cli_support::Bindgen;

pub struct Bindings {
    pub js: String,
    pub wasm: Vec<u8>,
}

/// An ES module for browsers. It is told where the wasm lies (`assets/start.js`), because that name has a hash.
pub fn generate(wasm: &Path) -> Result<Bindings> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(wasm).out_name("console").web(true)?;
    bindgen.typescript(false).omit_default_module_path(true).remove_name_section(true).remove_producers_section(true);
    let mut output = bindgen.generate_output().with_context(|| format!("reading {}", wasm.display()))?;
    // Each would be one more file with a relative address; none of our dependencies has any.
    ensure!(
        output.snippets().values().all(Vec::is_empty) && output.local_modules().is_empty(),
        "a dependency brings JavaScript of its own: {:?}",
        output.snippets().keys()
    );
    Ok(Bindings { js: output.js().to_owned(), wasm: output.wasm_mut().emit_wasm() })
}
