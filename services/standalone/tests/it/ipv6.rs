//! A platform of which no part has an IPv4 address, and none is told its own.

use std::net::{IpAddr, Ipv6Addr};

use crate::cluster::received;
use crate::ground::Ground;

#[tokio::test]
async fn a_platform_on_ipv6_finds_its_own_addresses_and_shares() {
    let ground = Ground::start(IpAddr::V6(Ipv6Addr::LOCALHOST)).await;
    let scheduler = ground.scheduler(1).await;
    assert!(scheduler.url.starts_with("http://[::1]:"), "{}", scheduler.url);
    let seed = ground.daemon("seed", &ground.stop(), |config| config.scheduler.manager.seed_peer.enable = true).await;
    let first = ground.daemon("first", &ground.stop(), |_| {}).await;
    let second = ground.daemon("second", &ground.stop(), |_| {}).await;
    assert_eq!(first.peer.config().place.ip, "::1");
    assert_eq!(first.peer.config().url, format!("http://[::1]:{}", first.peer_addr.port()));
    scheduler.until_hosts(&second, &["first", "second", "seed"]).await;

    for daemon in [&first, &second] {
        ground.pull(daemon).await;
        assert_eq!(received(daemon, ground.layer()).origin_bytes, 0);
    }
    assert_eq!(received(&seed, ground.layer()).origin_bytes, ground.layer().size_bytes());
}
