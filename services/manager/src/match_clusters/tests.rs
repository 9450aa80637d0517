//! `match_clusters`: the rules one by one, then laws over random clusters and places.

use chrono::DateTime;
use proptest::prelude::*;

use super::*;

fn cluster(id: i64, scopes: Scopes) -> Cluster {
    Cluster {
        id,
        name: format!("cluster-{id}"),
        bio: String::new(),
        scopes,
        scheduler_cluster_id: id,
        seed_peer_cluster_id: id,
        scheduler_cluster_config: Default::default(),
        seed_peer_cluster_config: Default::default(),
        peer_cluster_config: Default::default(),
        is_default: id == 1,
        strict: false,
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
    }
}

fn scopes(cidr: &str, hostname: &str, idc: &str, location: &str) -> Scopes {
    Scopes {
        idc: idc.to_owned(),
        location: location.to_owned(),
        cidrs: cidr.split(' ').filter(|cidr| !cidr.is_empty()).map(|cidr| cidr.parse().unwrap()).collect(),
        hostnames: hostname.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
    }
}

fn place(ip: &str, hostname: &str, idc: &str, location: &str) -> Place {
    Place { hostname: hostname.into(), ip: ip.into(), idc: idc.into(), location: location.into() }
}

fn candidates(all: impl IntoIterator<Item = Scopes>) -> Vec<Candidate> {
    all.into_iter().zip(1..).map(|(scopes, id)| Candidate::new(cluster(id, scopes))).collect()
}

fn answer(place: &Place, clusters: &[Candidate]) -> (i64, String) {
    let matched = match_clusters(place, clusters).unwrap();
    (matched.cluster.id, matched.reason)
}

#[test]
fn cidrs_beat_hostnames_beat_idc_beat_location() {
    let clusters = candidates([
        scopes("", "", "", "asia|cn"),
        scopes("", "", "hz", ""),
        scopes("", "^gpu-", "", ""),
        scopes("10.32.0.0/13", "", "", ""),
    ]);
    let mut at = place("10.33.1.2", "gpu-7", "HZ", "asia|cn|zj");
    assert_eq!(answer(&at, &clusters), (4, "CIDR 10.32.0.0/13".to_owned()));
    at.ip = "192.168.0.1".to_owned();
    assert_eq!(answer(&at, &clusters), (3, "hostname ^gpu-".to_owned()));
    at.hostname = "cpu-7".to_owned();
    assert_eq!(answer(&at, &clusters), (2, "IDC hz".to_owned()));
    at.idc = "sh".to_owned();
    assert_eq!(answer(&at, &clusters), (1, "location asia|cn (2 of 2 elements)".to_owned()));
    at.location = "europe".to_owned();
    assert_eq!(answer(&at, &clusters), (1, "default cluster".to_owned()));
}

#[test]
fn the_walk_of_the_seeds() {
    let clusters = candidates([Scopes::default(), scopes("", "", "cluster-2", "")]);
    assert_eq!(answer(&place("172.18.0.5", "kind-worker3", "cluster-2", ""), &clusters), (2, "IDC cluster-2".into()));
    assert_eq!(answer(&place("172.18.0.3", "kind-worker", "", ""), &clusters), (1, "default cluster".into()));
}

#[test]
fn an_idc_may_be_one_of_several_in_any_case() {
    let clusters = candidates([Scopes::default(), scopes("", "", "hz-a | HZ-B", "")]);
    assert_eq!(answer(&place("1.1.1.1", "", "hz-b", ""), &clusters), (2, "IDC HZ-B".into()));
    assert_eq!(answer(&place("1.1.1.1", "", "HZ-A | hz-b", ""), &clusters).0, 2, "equal as a whole");
    assert_eq!(answer(&place("1.1.1.1", "", "hz", ""), &clusters).0, 1, "a part of an element is not the element");
}

#[test]
fn more_of_a_location_wins() {
    let clusters =
        candidates([Scopes::default(), scopes("", "", "", "Asia|CN"), scopes("", "", "", "asia|cn|zj|hz|west|x")]);
    let at = |location| answer(&place("1.1.1.1", "", "", location), &clusters);
    assert_eq!(at("ASIA|cn|zj|hz|west|y"), (3, "location asia|cn|zj|hz|west|x (5 of 5 elements)".into()));
    assert_eq!(at("asia|cn|sh").0, 2, "two elements each: the lower id");
    assert_eq!(at("asia||zj").0, 2);
    assert_eq!(at("africa|cn").0, 1);
    assert_eq!(at("|cn").1, "default cluster");
}

#[test]
fn a_mapped_address_is_its_ipv4_address() {
    let clusters = candidates([Scopes::default(), scopes("10.0.0.0/8 fd00::/8", "", "", "")]);
    assert_eq!(answer(&place("::ffff:10.1.2.3", "", "", ""), &clusters).0, 2);
    assert_eq!(answer(&place("fd00::1", "", "", ""), &clusters), (2, "CIDR fd00::/8".into()));
    assert_eq!(answer(&place("not an address", "", "", ""), &clusters).0, 1);
}

#[test]
fn a_strict_default_takes_only_what_it_claims() {
    let mut clusters = candidates([scopes("", "", "hz", "")]);
    clusters[0].cluster.strict = true;
    assert!(match_clusters(&place("1.1.1.1", "", "", ""), &clusters).is_none());
    assert_eq!(answer(&place("1.1.1.1", "", "hz", ""), &clusters).0, 1);
    assert!(match_clusters(&Place::default(), &[]).is_none());
}

#[test]
fn a_huge_pattern_does_not_compile() {
    assert!(compile_hostname(r"\w{1000}{100}").is_err());
    assert!(compile_hostname("(").is_err());
}

fn any_scopes() -> impl Strategy<Value = Scopes> {
    let cidr = prop::sample::select(vec!["", "10.0.0.0/8", "10.1.0.0/16", "192.168.0.0/16 10.2.0.0/16"]);
    let hostname = prop::sample::select(vec!["", "^gpu", "node", "^gpu node"]);
    let idc = prop::sample::select(vec!["", "hz", "sh", "hz|sh", "SH"]);
    let location = prop::sample::select(vec!["", "asia", "asia|cn", "asia|cn|zj", "asia|jp", "|cn"]);
    (cidr, hostname, idc, location).prop_map(|(cidr, hostname, idc, location)| scopes(cidr, hostname, idc, location))
}

fn any_place() -> impl Strategy<Value = Place> {
    let ip = prop::sample::select(vec!["10.1.0.1", "10.2.0.1", "10.3.0.1", "192.168.1.1", "8.8.8.8", "::1"]);
    let hostname = prop::sample::select(vec!["gpu-1", "node-1", "gpu-node", "x"]);
    let idc = prop::sample::select(vec!["", "hz", "SH", "bj"]);
    let location = prop::sample::select(vec!["", "asia", "Asia|cn", "asia|cn|zj|hz", "europe"]);
    (ip, hostname, idc, location).prop_map(|(ip, hostname, idc, location)| place(ip, hostname, idc, location))
}

proptest! {
    #[test]
    fn the_order_of_the_list_does_not_matter(at in any_place(), all in prop::collection::vec(any_scopes(), 1..6)) {
        let forward = candidates(all);
        let backward: Vec<_> = forward.iter().rev().cloned().collect();
        prop_assert_eq!(answer(&at, &forward), answer(&at, &backward));
    }

    #[test]
    fn nobody_fits_better_than_the_answer(at in any_place(), all in prop::collection::vec(any_scopes(), 1..6)) {
        let clusters = candidates(all);
        let (id, reason) = answer(&at, &clusters);
        let rank = |id: i64| Fit::of(&at, &clusters[id as usize - 1]).rank();
        for other in clusters.iter().map(|candidate| candidate.cluster.id) {
            prop_assert!(rank(other) < rank(id) || (rank(other) == rank(id) && id <= other));
        }
        prop_assert_eq!(reason == "default cluster", rank(id) == (false, false, false, 0));
    }

    #[test]
    fn a_cluster_that_claims_nothing_changes_nothing(at in any_place(), all in prop::collection::vec(any_scopes(), 1..6)) {
        let mut clusters = candidates(all);
        let before = answer(&at, &clusters);
        clusters.push(Candidate::new(cluster(99, Scopes::default())));
        prop_assert_eq!(answer(&at, &clusters), before);
    }

    #[test]
    fn random_text_never_panics(ip in ".{0,20}", hostname in ".{0,20}", idc in ".{0,20}", location in ".{0,20}") {
        let clusters = candidates([scopes("", ".*", &idc, &location)]);
        prop_assert_eq!(match_clusters(&place(&ip, &hostname, &idc, &location), &clusters).unwrap().cluster.id, 1);
    }
}
