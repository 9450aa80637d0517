//! What a daemon tells of itself to the manager, for people to see. What cannot be found out is empty.

use df_api::manager::DaemonInfo;

/// As the manager takes them.
const CHARS_MAX: usize = 100;

/// `port` is where pieces are served.
pub fn about(port: u16) -> DaemonInfo {
    // Freedesktop's os-release(5); of two files the first that is there.
    let release = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| std::fs::read_to_string(path).ok());
    let release = release.unwrap_or_default();
    DaemonInfo {
        port,
        os: std::env::consts::OS.to_owned(),
        platform: value(&release, "ID"),
        platform_family: value(&release, "ID_LIKE"),
        platform_version: value(&release, "VERSION_ID"),
        kernel_version: short(&std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()),
        git_version: format!("v{}", env!("CARGO_PKG_VERSION")),
    }
}

fn value(release: &str, name: &str) -> String {
    let mut pairs = release.lines().filter_map(|line| line.split_once('='));
    let found = pairs.find(|(key, _)| *key == name).map_or("", |(_, value)| value);
    short(found.trim().trim_matches(['"', '\'']))
}

fn short(text: &str) -> String {
    text.trim().chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_read_from_its_release_file() {
        let release = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=\"12\"\nID=debian\nID_LIKE='rhel fedora'\n";
        assert_eq!(
            ["ID", "ID_LIKE", "VERSION_ID", "NONE"].map(|name| value(release, name)),
            ["debian", "rhel fedora", "12", ""]
        );
        assert_eq!(about(65001).os, "linux");
    }
}
