//! Blocks of docs/clients.md: what a test configures a client with is what people read there. Only addresses, files and
//! credentials are replaced.

use anyhow::{Context, ensure};

use crate::root::root;

/// The block ```` ```LANGUAGE name ````, with each text replaced by the other; one that does not occur is an error.
pub fn snippet(name: &str, replaced: &[(&str, &str)]) -> anyhow::Result<String> {
    let document = std::fs::read_to_string(root().join("docs/clients.md")).context("no docs/clients.md")?;
    let mut text = block(&document, name).with_context(|| format!("docs/clients.md has no block {name}"))?.to_owned();
    for (shown, real) in replaced {
        ensure!(text.contains(shown), "docs/clients.md: {name} does not say {shown}:\n{text}");
        text = text.replace(shown, real);
    }
    Ok(text)
}

fn block<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    // Also in lists, where blocks are indented.
    let mut blocks = document.split("```").skip(1).step_by(2);
    blocks.find_map(|block| {
        let (head, text) = block.split_once('\n')?;
        (head.split_once(' ')?.1 == name).then_some(text)
    })
}
