//! What the machine must have. A skip says what is missing; in CI it is a failure.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use df_testkit::process::find_program;

const PROGRAMS: [&str; 5] = ["ip", "unshare", "containerd", "runc", "docker-registry"];

/// The first thing that is missing.
pub(crate) fn missing() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("network namespaces need Linux".to_owned());
    }
    if let Some(program) = PROGRAMS.into_iter().find(|program| find_program(program).is_none()) {
        return Some(format!("{program} is not installed: infra/scripts/setup.sh test"));
    }
    let may = |arguments: &[&str]| {
        let status = Command::new("unshare").args(arguments).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    (!may(&["--net", "--mount", "true"])).then(|| "this user may not make network namespaces: run as root".to_owned())
}

/// Where Cargo put the programs of this workspace: beside the folder of this test.
pub(crate) fn programs() -> anyhow::Result<PathBuf> {
    Ok(match std::env::var_os("E2E_PROGRAMS") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::current_exe()?.ancestors().nth(2).map(PathBuf::from).unwrap_or_default(),
    })
}
