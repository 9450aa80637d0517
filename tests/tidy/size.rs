//! No file over 500 lines, no function over 70: tests, styles and scripts included.

use crate::files::{FILES, File, assert_none, rust_files};
use crate::tokens::functions;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn no_file_is_too_long() {
    // Prose, a licence and drawings have no seam to cut at.
    let counted =
        |file: &&File| !file.is_generated() && !matches!(file.extension(), "md" | "svg") && file.path != "LICENSE";
    let long = FILES.iter().filter(counted).filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", file.at(1)))
    });
    assert_none(&format!("no file over {FILE_LINES_MAX} lines: cut it where it says two things"), long);
}

#[test]
fn no_function_is_too_long() {
    let long = rust_files().flat_map(|file| {
        functions(file).into_iter().filter_map(|function| {
            let lines = function.last_line - function.first_line + 1;
            let place = file.at(function.first_line);
            (lines > FUNCTION_LINES_MAX).then(|| format!("{place}: {} has {lines} lines", function.name))
        })
    });
    assert_none(&format!("no function over {FUNCTION_LINES_MAX} lines, its view included"), long);
}
