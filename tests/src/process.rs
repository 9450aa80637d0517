//! What a process has cost: CPU seconds and memory, from /proc.

use std::path::Path;

use anyhow::Context;

/// Of the processes, and of their children that have ended.
pub fn cpu_seconds(ids: &[u32]) -> anyhow::Result<f64> {
    ids.iter().map(|id| Ok(times(&Path::new("/proc").join(id.to_string()))?.iter().sum::<f64>())).sum()
}

/// Of the children of this process that have ended and been waited for.
pub fn ended_children_cpu_seconds() -> anyhow::Result<f64> {
    Ok(times(Path::new("/proc/self"))?[2..].iter().sum())
}

/// Of the calling thread, to the nanosecond.
pub fn thread_cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What lies between two of [`cpu_seconds`]; less than the kernel's tick shows as half a tick.
pub fn spent(before: f64, after: f64) -> f64 {
    (after - before).max(0.5 / rustix::param::clock_ticks_per_second() as f64)
}

/// utime, stime, cutime, cstime of proc(5).
fn times(folder: &Path) -> anyhow::Result<[f64; 4]> {
    let text = std::fs::read_to_string(folder.join("stat")).with_context(|| format!("{} is gone", folder.display()))?;
    // The program's name, in parentheses, may hold spaces and parentheses itself.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let mut times = [0.0; 4];
    for (time, field) in times.iter_mut().zip(fields.get(11..15).context("a short line in /proc")?) {
        *time = field.parse::<f64>()? / per_second;
    }
    Ok(times)
}

/// A line of `/proc/ID/status` that is in kB.
pub fn status_mib(id: u32, field: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib: f64 = line.with_context(|| format!("no {field}"))?.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_cost_something() {
        let id = std::process::id();
        let before = thread_cpu_seconds();
        assert!(status_mib(id, "VmHWM").unwrap() > 0.0);
        assert!(cpu_seconds(&[id]).unwrap() >= ended_children_cpu_seconds().unwrap());
        assert!(thread_cpu_seconds() > before);
        assert!(spent(1.0, 1.0) > 0.0);
        assert!(status_mib(id, "VmNothing").is_err());
    }
}
