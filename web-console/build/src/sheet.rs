//! One style sheet out of `style/NN-name.css`, in the order of the numbers.

use std::path::Path;

use anyhow::{Context, Result, ensure};

pub fn concatenate(folder: &Path) -> Result<String> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "css"));
    files.sort();
    ensure!(!files.is_empty(), "{} has no style sheet", folder.display());
    let mut sheet = String::new();
    for path in files {
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        sheet.push_str(&without_comments(&text));
    }
    Ok(sheet)
}

/// Comments are for those who read the source; indentation is left to brotli.
fn without_comments(css: &str) -> String {
    let mut out = String::with_capacity(css.len());
    let mut rest = css;
    while let Some(start) = rest.find("/*") {
        out.push_str(&rest[..start]);
        rest = rest[start..].split_once("*/").map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::without_comments;

    #[test]
    fn comments_leave_and_rules_stay() {
        assert_eq!(without_comments("/* 1 */\na { b: c; }\n\n/* x\n y */ d { }\n"), "a { b: c; }\n d { }\n");
        assert_eq!(without_comments("a { }"), "a { }\n");
    }
}
