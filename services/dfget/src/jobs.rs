//! Which files are to be fetched, and where each goes.
//!
//! **Invariant.** Whatever a store or a list calls its files, they land below the folder that was named: no `..`, no
//! absolute path, no symbolic link on the way.

use std::path::{Component, Path, PathBuf};

use df_api::dfdaemon::ListObjectsRequest;

use crate::arguments::{Arguments, parse_url};
use crate::error::FetchError;
use crate::source::Source;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub url: String,
    pub path: PathBuf,
}

/// A list of so many bytes holds more than anybody may fetch at once.
const LIST_BYTES_MAX: u64 = 64 << 20;

/// Those that are named here; a prefix has to be asked for, see [`below`].
pub fn named(arguments: &Arguments) -> Result<Vec<Job>, FetchError> {
    let Some(list) = &arguments.list else {
        let url = arguments.url.iter().map(ToString::to_string);
        return Ok(url.map(|url| Job { url, path: arguments.output().to_owned() }).collect());
    };
    let unreadable = |error: std::io::Error| FetchError::Usage(format!("--list {}: {error}", list.display()));
    if std::fs::metadata(list).map_err(unreadable)?.len() > LIST_BYTES_MAX {
        return Err(FetchError::Usage(format!("--list {}: longer than {LIST_BYTES_MAX} bytes", list.display())));
    }
    let jobs = parse(&std::fs::read_to_string(list).map_err(unreadable)?, arguments.output())?;
    within(jobs, arguments.max_files)
}

/// All objects below the prefix.
pub async fn below(source: &Source, arguments: &Arguments) -> Result<Vec<Job>, FetchError> {
    let url = arguments.url.as_ref().map(ToString::to_string).unwrap_or_default();
    if !url.starts_with("s3://") {
        return Err(FetchError::Usage("--recursive needs s3://bucket/prefix/: other origins have no lists".to_owned()));
    }
    let request = ListObjectsRequest { url, storage: arguments.storage(), max_objects: arguments.max_files };
    let objects = source.list(request).await?;
    let job = |object: df_api::dfdaemon::ObjectEntry| {
        Ok(Job { path: arguments.output().join(inside(&object.name)?), url: object.url })
    };
    let jobs = objects.into_iter().map(job).collect::<Result<Vec<_>, FetchError>>()?;
    within(jobs, arguments.max_files)
}

fn within(jobs: Vec<Job>, max: u32) -> Result<Vec<Job>, FetchError> {
    let mut paths: Vec<&Path> = jobs.iter().map(|job| job.path.as_path()).collect();
    paths.sort_unstable();
    if let Some(twice) = paths.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(FetchError::Usage(format!("two files would be written to {}", twice[0].display())));
    }
    match jobs.len() > max as usize {
        true => Err(FetchError::Usage(format!("{} files; --max-files allows {max}", jobs.len()))),
        false => Ok(jobs),
    }
}

fn parse(text: &str, folder: &Path) -> Result<Vec<Job>, FetchError> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let job = |line: &str| {
        let (url, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        parse_url(url).map_err(|error| FetchError::Usage(format!("--list: {:?}: {error}", shown(url))))?;
        let place = url.split(['?', '#']).next().unwrap_or_default();
        let last = place.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        let name = match name.trim() {
            "" => last.rsplit('/').next().unwrap_or_default(),
            name => name,
        };
        Ok(Job { url: url.to_owned(), path: folder.join(inside(name)?) })
    };
    lines.map(job).collect()
}

/// Without what may be a secret.
fn shown(url: &str) -> String {
    let place = url.split(['?', '#']).next().unwrap_or_default();
    match place.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.1))) {
        Some((scheme, rest)) => format!("{scheme}://…@{rest}"),
        None => place.to_owned(),
    }
}

/// The name as a path that stays below the folder it is put in.
fn inside(name: &str) -> Result<PathBuf, FetchError> {
    let path = Path::new(name);
    let stays = !name.is_empty()
        && !name.ends_with('/')
        && !name.contains('\0')
        && name.split('/').all(|part| !part.is_empty() && part != ".")
        && path.components().all(|component| matches!(component, Component::Normal(_)));
    match stays {
        true => Ok(path.to_owned()),
        false => Err(FetchError::Usage(format!("{name:?} is no path below the output's folder; nothing was fetched"))),
    }
}

/// Makes the folders of `path` below `folder`, none of them a link that is followed.
pub fn make_folders(folder: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let below = path.strip_prefix(folder).ok().and_then(Path::parent).unwrap_or(Path::new(""));
    let mut at = folder.to_owned();
    for part in below {
        at.push(part);
        match std::fs::create_dir(&at) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if !std::fs::symlink_metadata(&at)?.is_dir() {
            let why = format!("{} is no folder, or a symbolic link, which is not followed", at.display());
            return Err(std::io::Error::new(std::io::ErrorKind::NotADirectory, why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for name in ["a", "a/b", "..a/b..", "a b/ü"] {
            assert!(inside(name).is_ok(), "{name}");
        }
        for name in ["", "/", "/etc/passwd", "..", "../a", "a/../b", "a/..", "./a", "a//b", "a/", "a\0b"] {
            assert!(inside(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_list_names_urls_and_paths() {
        let jobs = parse("# files\nhttps://h/a/b?c=1\n\n  s3://b/k  dir/x y \n", Path::new("out")).unwrap();
        let job = |url: &str, path: &str| Job { url: url.to_owned(), path: path.into() };
        assert_eq!(jobs, [job("https://h/a/b?c=1", "out/b"), job("s3://b/k", "out/dir/x y")]);
        for wrong in
            ["https://h/", "https://h", "ftp://h/a", "h/a", "https://h/a ../x", "https://h/a /x", "https://h/.."]
        {
            assert!(parse(wrong, Path::new("out")).is_err(), "{wrong}");
        }
        assert!(within(jobs.clone(), 1).is_err() && within(jobs.clone(), 2).is_ok());
        assert!(within([jobs.clone(), jobs].concat(), 9).is_err(), "two to one path");
    }

    #[test]
    fn a_link_on_the_way_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        make_folders(&out, &out.join("a/b/c")).unwrap();
        assert!(out.join("a/b").is_dir());
        std::os::unix::fs::symlink("/tmp", out.join("link")).unwrap();
        assert!(make_folders(&out, &out.join("link/x/y")).is_err());
    }
}
