//! The walk of two clusters under one manager: nodes say their IDC, and everything else follows from it. Clusters share
//! the manager, and nothing besides.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::Context as _;
use df_api::manager::{CreateClusterRequest, InstanceState, Scopes, UpdateClusterRequest};
use df_client::ManagerClient;
use df_testkit::{Image, Layer, until};
use tests::cluster::{Cluster, Home, Setting};

use crate::lab::{Lab, other_small_image};
use crate::pairs::Pairs;
use crate::traffic::{Mark, Traffic};
use crate::upstreams::Upstream;

const MIB: usize = 1 << 20;
const BOUND: Duration = Duration::from_secs(60);
const IDC: &str = "cluster-2";

/// The first two nodes are cluster 1's, the others cluster 2's.
struct Ground {
    second: Cluster,
    root: ManagerClient,
    pairs: Pairs,
    /// Scheduler, seed peer and nodes of each.
    addresses: [Vec<Ipv4Addr>; 2],
    seeds: [Ipv4Addr; 2],
    // Last, because it has the network.
    lab: Lab,
}

// === impl Ground ===

impl Ground {
    async fn start() -> anyhow::Result<Option<Self>> {
        let Some(mut lab) = Lab::start_on(4, 2).await? else { return Ok(None) };
        let pairs = Pairs::watch(&lab.network).await?;
        let [one, two, three, four, first_control, second_control] = lab.network.nodes() else {
            anyhow::bail!("another network than was asked for");
        };
        let control = [first_control.clone(), second_control.clone()];
        let nodes = [[one.clone(), two.clone()], [three.clone(), four.clone()]];
        let folder = lab.folder().join(IDC);
        std::fs::create_dir(&folder)?;
        let setting = |number: usize, idc: &str| {
            let scheduler = control[number].clone();
            let home = Home { cluster_id: number as i64 + 1, idc: idc.to_owned(), scheduler };
            let (seed, nodes) = (Some(control[number].clone()), nodes[number].to_vec());
            anyhow::Ok(Setting { home, seed, nodes, ..lab.setting()? })
        };
        let (first, second) = (setting(0, "")?, Setting { folder, ..setting(1, IDC)? });
        lab.cluster = Some(Cluster::start(first).await?);
        let root = lab.root().await?;
        let scopes = Scopes { idc: IDC.to_owned(), ..Scopes::default() };
        let new = CreateClusterRequest { name: IDC.to_owned(), scopes, ..CreateClusterRequest::default() };
        assert_eq!(root.create_cluster(&new).await?.id, 2);
        let second = Cluster::join(second).await?;
        for node in &lab.nodes {
            node.use_mirror(Upstream::Open, None)?;
        }
        let seeds = [control[0].address, control[1].address];
        let of = |number: usize| {
            let own: &[_] = &nodes[number];
            own.iter().chain([&control[number]]).map(|one| one.address).collect()
        };
        Ok(Some(Self { second, root, pairs, addresses: [of(0), of(1)], seeds, lab }))
    }

    /// Nothing has gone between the clusters, though a lot within each of them and with the manager.
    fn assert_apart(&self) -> anyhow::Result<()> {
        let [first, second] = &self.addresses;
        assert_eq!(self.pairs.between(first, second), 0, "packets between the clusters");
        let ctl = [self.lab.network.ctl().address];
        for (own, seed) in [first, second].into_iter().zip(self.seeds) {
            for node in own.iter().filter(|address| **address != seed) {
                assert!(self.pairs.between(&[*node], &[seed]) > 100, "the bridge is watched");
                assert!(self.pairs.between(&[*node], &ctl) > 0);
            }
        }
        // The kernel's own word, which no lost sighting can change.
        for namespace in self.lab.network.nodes() {
            let foreign = if first.contains(&namespace.address) { second } else { first };
            let met = namespace.neighbours()?;
            anyhow::ensure!(!met.is_empty(), "{} knows nobody", namespace.name);
            assert!(!met.iter().any(|one| foreign.contains(one)), "{} has met {met:?}", namespace.name);
        }
        Ok(())
    }

    /// Whatever goes from one cluster to the other would have been.
    async fn assert_one_packet_is_seen(&self) -> anyhow::Result<()> {
        let (from, to) = (&self.lab.nodes[0].namespace, self.lab.nodes[2].address());
        from.inside(move || Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.send_to(b"x", (to, 9))?)).await?;
        let [first, second] = &self.addresses;
        until("a packet between the clusters is seen", BOUND, async || {
            Ok((self.pairs.between(first, second) > 0 && from.neighbours()?.contains(&to)).then_some(()))
        })
        .await
    }

    async fn hosts(cluster: &Cluster) -> anyhow::Result<BTreeSet<Ipv4Addr>> {
        cluster.hosts().await?.iter().map(|host| Ok(host.place.ip.parse()?)).collect()
    }

    /// Killed without a word, so that only its lease says it.
    async fn kill_second_scheduler(&mut self) -> anyhow::Result<()> {
        self.second.scheduler.kill();
        until("the manager knows that cluster 2 has no scheduler", BOUND, async || {
            let known = self.root.list_schedulers().await?;
            let gone = known.iter().filter(|one| one.scheduler_cluster_id == 2);
            Ok(gone.map(|one| one.state).eq([InstanceState::Inactive]).then_some(()))
        })
        .await
    }
}

#[tokio::test]
async fn each_cluster_fetches_the_image_once_and_no_packet_goes_between_them() -> anyhow::Result<()> {
    let Some(ground) = Ground::start().await? else { return Ok(()) };
    let (lab, nodes) = (&ground.lab, &ground.lab.nodes);
    let image = Image::build(80, &[Layer::gzip(24 * MIB), Layer::tar(70_000)])?;
    lab.push("team/app:v1", &image).await?;
    let mark = Mark::now(&lab.registry).await?;
    for (one, other) in [(&nodes[0], &nodes[2]), (&nodes[1], &nodes[3])] {
        let (one, other) = tokio::join!(one.pull("team/app:v1", &image), other.pull("team/app:v1", &image));
        one.and(other)?;
    }

    let traffic = Traffic::since(mark, &lab.registry).await?;
    traffic.assert_each_blob_times(&image, 2);
    for seed in ground.seeds {
        assert_eq!(traffic.bytes_to(seed), image.blob_bytes(), "each cluster's seed peer, once");
    }
    for (cluster, own) in [lab.cluster_ref()?, &ground.second].into_iter().zip(&ground.addresses) {
        assert_eq!(Ground::hosts(cluster).await?, own.iter().copied().collect());
    }
    ground.assert_apart()?;
    ground.assert_one_packet_is_seen().await
}

/// Even a node that has never been there waits for its cluster, and pulls without it.
#[tokio::test]
async fn without_its_scheduler_a_strict_cluster_stays_apart_and_still_pulls() -> anyhow::Result<()> {
    let Some(mut ground) = Ground::start().await? else { return Ok(()) };
    let image = Image::build(81, &[Layer::gzip(24 * MIB), Layer::tar(70_000)])?;
    ground.lab.push("team/app:v1", &image).await?;
    for node in &ground.lab.nodes {
        node.pull("team/app:v1", &image).await?;
    }
    let strict = UpdateClusterRequest { strict: Some(true), ..UpdateClusterRequest::default() };
    ground.root.update_cluster(2, &strict).await?;
    ground.kill_second_scheduler().await?;
    ground.second.dfdaemons[1].kill();
    std::fs::remove_dir_all(ground.second.store_of(1))?;
    ground.second.restart(1).await?;
    let log = ground.lab.folder().join(IDC).join("dfdaemon2.log");
    let said = until("the node says to which cluster it belongs", BOUND, async || {
        let log = std::fs::read_to_string(&log)?;
        Ok(log.lines().rfind(|line| line.contains("joined a cluster") && line.contains("strict")).map(str::to_owned))
    });
    let said = said.await?;
    assert!(said.contains("cluster-2 (IDC cluster-2, strict, no live scheduler): chosen"), "{said}");
    assert!(said.contains("cluster-1 (default): fits less"), "{said}");

    let new = other_small_image()?;
    ground.lab.push("team/new:v1", &new).await?;
    for node in &ground.lab.nodes[2..] {
        node.pull("team/new:v1", &new).await?;
    }
    let first: BTreeSet<_> = ground.addresses[0].iter().copied().collect();
    assert_eq!(Ground::hosts(ground.lab.cluster_ref()?).await.context("cluster 1 is as it was")?, first);
    ground.assert_apart()
}
