//! How fast the link of this machine is, as the kernel tells it.
//!
//! **Invariant.** Nothing is guessed: what the kernel does not tell (virtual links often), nobody is told.

/// Bytes per second of the link that the default route leaves by.
pub fn bytes_per_s() -> Option<u64> {
    let routes = std::fs::read_to_string("/proc/net/route").ok()?;
    let speed = std::fs::read_to_string(format!("/sys/class/net/{}/speed", default_link(&routes)?)).ok()?;
    bytes_per_s_of(&speed)
}

/// The link of the route to everywhere, which has neither destination nor mask; of several, the one that is preferred.
fn default_link(routes: &str) -> Option<&str> {
    let lines = routes.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (link, destination) = (fields.next()?, fields.next()?);
        let metric: u32 = fields.nth(4)?.parse().ok()?;
        let mask = fields.next()?;
        (destination == "00000000" && mask == "00000000").then_some((metric, link))
    });
    lines.min().map(|(_, link)| link)
}

/// Megabits per second; -1 and the like where it is not known.
fn bytes_per_s_of(speed: &str) -> Option<u64> {
    let megabits: u64 = speed.trim().parse().ok().filter(|speed| *speed > 0 && *speed < u64::from(u32::MAX))?;
    Some(megabits * 1_000_000 / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_default_route_leaves_by_this_link() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                      wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                      eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                      eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(default_link(routes), Some("eth0"));
        assert_eq!(default_link("Iface\n"), None);
    }

    #[test]
    fn a_speed_that_is_not_known_is_not_told() {
        assert_eq!(bytes_per_s_of("1000\n"), Some(125_000_000));
        for unknown in ["-1\n", "4294967295\n", "0\n", "", "fast"] {
            assert_eq!(bytes_per_s_of(unknown), None, "{unknown}");
        }
    }
}
