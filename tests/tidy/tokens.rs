//! Rust as tokens: a flat walk over all of them, however deep they lie.

use std::str::FromStr;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::files::File;

/// A function: its name, and the lines from `fn` to the brace that closes it.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first_line: usize,
    pub(crate) last_line: usize,
}

/// The sequences of tokens of a file: the outermost, and the inside of each group.
pub(crate) fn sequences(file: &File) -> Vec<Vec<TokenTree>> {
    let stream = TokenStream::from_str(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path));
    let mut sequences: Vec<Vec<TokenTree>> = vec![stream.into_iter().collect()];
    let mut next = 0;
    while next < sequences.len() {
        let groups: Vec<Group> = sequences[next].iter().filter_map(as_group).cloned().collect();
        sequences.extend(groups.into_iter().map(|group| group.stream().into_iter().collect()));
        next += 1;
    }
    sequences
}

pub(crate) fn functions(file: &File) -> Vec<Function> {
    let sequences = sequences(file);
    sequences.iter().flat_map(|tokens| (0..tokens.len()).filter_map(|start| function(&tokens[start..]))).collect()
}

/// A function that starts with the first of these tokens and has a body.
fn function(tokens: &[TokenTree]) -> Option<Function> {
    let [first, TokenTree::Ident(name), rest @ ..] = tokens else { return None };
    if !is_word(first, "fn") {
        return None;
    }
    let end = rest.iter().find(|token| is_punct(token, ';') || is_braced(token))?;
    let body = as_group(end)?;
    Some(Function { name: name.to_string(), first_line: line_of(first), last_line: body.span_close().start().line })
}

/// What `#[…]` and `#![…]` hold, with the line.
pub(crate) fn attributes(file: &File) -> Vec<(usize, TokenStream)> {
    let sequences = sequences(file);
    let pairs = sequences.iter().flat_map(|tokens| tokens.windows(3));
    let found = pairs.filter_map(|window| {
        let inner = usize::from(is_punct(&window[1], '!'));
        let group = as_group(&window[1 + inner]).filter(|group| group.delimiter() == Delimiter::Bracket)?;
        is_punct(&window[0], '#').then(|| (line_of(&window[0]), group.stream()))
    });
    found.collect()
}

/// Names of the macros that are called, with the line.
pub(crate) fn macros(file: &File) -> Vec<(usize, String)> {
    let sequences = sequences(file);
    let calls = sequences.iter().flat_map(|tokens| tokens.windows(3)).filter_map(|window| {
        let TokenTree::Ident(name) = &window[0] else { return None };
        let called = is_punct(&window[1], '!') && as_group(&window[2]).is_some();
        called.then(|| (line_of(&window[0]), name.to_string()))
    });
    calls.collect()
}

/// Names of methods that are called, with the line.
pub(crate) fn methods(file: &File) -> Vec<(usize, String)> {
    let sequences = sequences(file);
    let calls = sequences.iter().flat_map(|tokens| tokens.windows(3)).filter_map(|window| {
        let TokenTree::Ident(name) = &window[1] else { return None };
        let arguments = as_group(&window[2]).is_some_and(|group| group.delimiter() == Delimiter::Parenthesis);
        (is_punct(&window[0], '.') && arguments).then(|| (line_of(&window[1]), name.to_string()))
    });
    calls.collect()
}

/// Names behind `keyword`, with the line: `mod`, `struct`, …
pub(crate) fn items(file: &File, keyword: &str) -> Vec<(usize, String)> {
    let sequences = sequences(file);
    let named = sequences.iter().flat_map(|tokens| tokens.windows(2)).filter_map(|window| {
        let TokenTree::Ident(name) = &window[1] else { return None };
        is_word(&window[0], keyword).then(|| (line_of(&window[1]), name.to_string()))
    });
    named.collect()
}

fn line_of(token: &TokenTree) -> usize {
    token.span().start().line
}

fn as_group(token: &TokenTree) -> Option<&Group> {
    let TokenTree::Group(group) = token else { return None };
    Some(group)
}

fn is_braced(token: &TokenTree) -> bool {
    as_group(token).is_some_and(|group| group.delimiter() == Delimiter::Brace)
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn is_punct(token: &TokenTree, punct: char) -> bool {
    matches!(token, TokenTree::Punct(found) if found.as_char() == punct)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        File { path: "x.rs".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn functions_are_seen_inside_macros_and_only_with_a_body() {
        let source = "trait T { fn none(&self); }\nview! {\n  fn inside<F>(f: F) -> impl Fn(u8)\n  where F: Fn() {\n    f()\n  }\n}\n";
        let source = file(&format!("{source}type F = fn(u8);"));
        let found: Vec<_> =
            functions(&source).into_iter().map(|one| (one.name, one.first_line, one.last_line)).collect();
        assert_eq!(found, [("inside".to_owned(), 3, 6)]);
    }

    #[test]
    fn calls_and_attributes_are_seen_wherever_they_are() {
        let source =
            file("#![allow(a)]\nfn f() {\n  #[allow(b)]\n  x! { y.route(z!()) }\n}\nmod m;\n// w!() .route()\n");
        assert_eq!(attributes(&source).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(macros(&source), [(4, "x".to_owned()), (4, "z".to_owned())]);
        assert_eq!(methods(&source), [(4, "route".to_owned())]);
        assert_eq!(items(&source, "mod"), [(6, "m".to_owned())]);
    }
}
