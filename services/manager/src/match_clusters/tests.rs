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

fn newcomer(place: &Place) -> Asker<'_> {
    Asker { place, member_of: None, configured: None }
}

fn ids(clusters: &[Candidate]) -> BTreeSet<i64> {
    clusters.iter().map(|candidate| candidate.cluster.id).collect()
}

/// Where everybody is alive.
fn answer(place: &Place, clusters: &[Candidate]) -> (i64, String) {
    let matched = match_clusters(newcomer(place), clusters, &ids(clusters)).unwrap();
    (matched.cluster.id, matched.reason)
}

/// Where these are alive.
fn among(live: &[i64], place: &Place, member_of: Option<i64>, clusters: &[Candidate]) -> i64 {
    let asker = Asker { member_of, ..newcomer(place) };
    match_clusters(asker, clusters, &live.iter().copied().collect()).unwrap().cluster.id
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
fn the_same_location_as_a_whole_beats_one_that_only_begins_so() {
    let clusters = candidates([
        Scopes::default(),
        scopes("", "", "", "asia|cn|zj|hz"),
        scopes("", "", "", "Asia|CN"),
        scopes("", "", "", "|cn"),
    ]);
    let at = |location| answer(&place("1.1.1.1", "", "", location), &clusters);
    assert_eq!(at("asia|cn"), (3, "location Asia|CN (2 of 2 elements)".into()));
    assert_eq!(at("asia|cn|zj").0, 2, "more elements beat fewer");
    assert_eq!(at("asia|cn|zj|sh"), (2, "location asia|cn|zj|hz (3 of 4 elements)".into()));
    assert_eq!(at("asia"), (2, "location asia|cn|zj|hz (1 of 4 elements)".into()), "a tie: the lower id");
    assert_eq!(at("|CN").0, 4, "equal as a whole, whatever its elements are");
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
    assert!(match_clusters(newcomer(&place("1.1.1.1", "", "", "")), &clusters, &ids(&clusters)).is_none());
    assert_eq!(answer(&place("1.1.1.1", "", "hz", ""), &clusters).0, 1);
    assert!(match_clusters(newcomer(&Place::default()), &[], &BTreeSet::new()).is_none());
}

#[test]
fn a_newcomer_passes_over_a_cluster_without_a_scheduler_and_a_member_does_not() {
    let clusters = candidates([Scopes::default(), scopes("", "", "hz", ""), scopes("", "^gpu", "", "")]);
    let at = place("1.1.1.1", "gpu-1", "hz", "");
    assert_eq!(among(&[1, 2, 3], &at, None, &clusters), 3);
    assert_eq!(among(&[1, 2], &at, None, &clusters), 2, "the next that fits");
    assert_eq!(among(&[1], &at, None, &clusters), 1, "else the default");
    assert_eq!(among(&[], &at, None, &clusters), 3, "nobody is alive: where it belongs");
    assert_eq!(among(&[1, 2], &at, Some(3), &clusters), 3, "an outage moves no member");
    assert_eq!(among(&[1, 3], &at, Some(2), &clusters), 3, "a guest comes home");
    assert_eq!(among(&[1], &at, Some(2), &clusters), 2, "and stays where it is until then");
    assert_eq!(among(&[2, 3], &at, Some(9), &clusters), 3, "what it was a member of is gone");
    let elsewhere = place("1.1.1.1", "node", "", "");
    assert_eq!(among(&[1], &elsewhere, Some(3), &clusters), 1, "its cluster claims it no longer");
}

#[test]
fn a_strict_cluster_keeps_its_peers_through_an_outage() {
    let mut clusters = candidates([Scopes::default(), scopes("", "", "cluster-2", "")]);
    clusters[1].cluster.strict = true;
    assert_eq!(among(&[1], &place("1.1.1.1", "", "cluster-2", ""), None, &clusters), 2);
    assert_eq!(among(&[1, 2], &place("1.1.1.1", "", "", ""), None, &clusters), 1);
}

#[test]
fn the_configured_cluster_is_taken_whatever_fits() {
    let clusters = candidates([Scopes::default(), scopes("", "", "hz", ""), Scopes::default()]);
    let at = place("1.1.1.1", "", "hz", "");
    let configured = |id| match_clusters(Asker { configured: Some(id), ..newcomer(&at) }, &clusters, &BTreeSet::new());
    let matched = configured(3).unwrap();
    assert_eq!((matched.cluster.id, matched.reason.as_str()), (3, "scheduler cluster id 3 is configured"));
    assert_eq!(matched.considered[1].verdict, Verdict::NotConfigured);
    assert!(configured(9).is_none());
}

#[test]
fn the_answer_tells_of_each_cluster_what_fits_and_what_became_of_it() {
    let mut clusters = candidates([
        Scopes::default(),
        scopes("10.0.0.0/8", "^n", "hz|sh", "asia|cn|zj"),
        scopes("", "", "SH", "asia|cn"),
        scopes("", "", "bj", ""),
    ]);
    clusters[0].cluster.strict = true;
    let at = place("10.0.0.1", "node", "sh", "asia|cn");
    let told = |live: &[i64]| {
        let matched = match_clusters(newcomer(&at), &clusters, &live.iter().copied().collect()).unwrap();
        (matched.reason, matched.considered.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(
        told(&[1, 3, 4]),
        (
            "IDC SH, since no scheduler of cluster-2 (CIDR 10.0.0.0/8) is alive".to_owned(),
            vec![
                "cluster-3 (IDC SH, location asia|cn (2 of 2 elements)): chosen".to_owned(),
                "cluster-2 (CIDR 10.0.0.0/8, hostname ^n, IDC sh, location asia|cn|zj (2 of 3 elements), no live scheduler): \
                 passed over"
                    .to_owned(),
                "cluster-1 (default, strict): takes only what its scopes fit".to_owned(),
                "cluster-4 (): does not fit".to_owned(),
            ]
        )
    );
    let (reason, all) = told(&[2]);
    assert_eq!(reason, "CIDR 10.0.0.0/8");
    assert!(all[1].ends_with("no live scheduler): fits less"), "{all:?}");
}

#[test]
fn an_answer_tells_of_so_many_clusters_only_and_of_the_chosen_one_always() {
    let clusters = candidates((0..100).map(|_| scopes("", "", "hz", "")));
    let at = place("1.1.1.1", "", "hz", "");
    let matched = match_clusters(newcomer(&at), &clusters, &BTreeSet::from([99])).unwrap();
    assert_eq!((matched.cluster.id, matched.considered.len()), (99, CONSIDERED_MAX));
    assert_eq!((matched.considered[0].cluster_id, matched.considered[1].cluster_id), (99, 1));
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

/// Random clusters, some strict, one of them perhaps the default.
fn any_clusters() -> impl Strategy<Value = Vec<Candidate>> {
    let all = prop::collection::vec((any_scopes(), any::<bool>()), 1..6);
    (all, 0..6i64).prop_map(|(all, default)| {
        let numbered = all.into_iter().zip(1..);
        let made =
            numbered.map(|((scopes, strict), id)| Cluster { strict, is_default: id == default, ..cluster(id, scopes) });
        made.map(Candidate::new).collect()
    })
}

fn any_live() -> impl Strategy<Value = BTreeSet<i64>> {
    prop::collection::btree_set(1..6i64, 0..6)
}

proptest! {
    #[test]
    fn the_order_of_the_list_does_not_matter(
        at in any_place(), clusters in any_clusters(), live in any_live(), member_of in prop::option::of(1..6i64)
    ) {
        let asker = Asker { member_of, ..newcomer(&at) };
        let told = |clusters: &[Candidate]| {
            match_clusters(asker, clusters, &live).map(|found| (found.cluster.id, found.reason, found.considered))
        };
        let backward: Vec<_> = clusters.iter().rev().cloned().collect();
        prop_assert_eq!(told(&clusters), told(&backward));
        prop_assert_eq!(told(&clusters), told(&clusters));
    }

    #[test]
    fn where_all_are_alive_nobody_fits_better_and_no_lower_id_as_well(at in any_place(), clusters in any_clusters()) {
        let rank = |id: i64| Fit::of(&at, &clusters[id as usize - 1]).rank();
        let Some(found) = match_clusters(newcomer(&at), &clusters, &ids(&clusters)) else {
            prop_assert!(clusters.iter().all(|one| rank(one.cluster.id) == Rank::default()));
            return Ok(());
        };
        let id = found.cluster.id;
        let claimed = rank(id) > Rank::default();
        for other in clusters.iter().map(|candidate| candidate.cluster.id) {
            prop_assert!(rank(other) < rank(id) || (rank(other) == rank(id) && (id <= other || !claimed)));
        }
        prop_assert!(claimed || found.cluster.is_default);
        prop_assert_eq!(found.reason == "default cluster", !claimed);
    }

    #[test]
    fn nobody_lands_unclaimed_in_a_strict_cluster(
        at in any_place(), clusters in any_clusters(), live in any_live(), member_of in prop::option::of(1..6i64)
    ) {
        if let Some(found) = match_clusters(Asker { member_of, ..newcomer(&at) }, &clusters, &live) {
            let claimed = !Fit::of(&at, &clusters[found.cluster.id as usize - 1]).is_empty();
            prop_assert!(claimed || (found.cluster.is_default && !found.cluster.strict));
        }
    }

    /// A strict one keeps what it claims, so that a newcomer may have to wait for it; else somebody alive is found.
    #[test]
    fn no_newcomer_gets_an_inactive_cluster_when_another_fits(
        at in any_place(), clusters in any_clusters(), live in any_live()
    ) {
        let Some(found) = match_clusters(newcomer(&at), &clusters, &live) else { return Ok(()) };
        if !live.contains(&found.cluster.id) && !found.cluster.strict {
            for other in &clusters {
                prop_assert!(!Fit::of(&at, other).takes() || !live.contains(&other.cluster.id));
            }
        }
    }

    /// Whoever comes and goes, once everybody has been alive for a moment each peer is at home, and stays.
    #[test]
    fn who_is_at_home_stays_there_whoever_dies(at in any_place(), clusters in any_clusters(), live in any_live()) {
        let Some(home) = match_clusters(newcomer(&at), &clusters, &ids(&clusters)) else { return Ok(()) };
        let asker = Asker { member_of: Some(home.cluster.id), ..newcomer(&at) };
        prop_assert_eq!(match_clusters(asker, &clusters, &live).unwrap().cluster.id, home.cluster.id);
    }

    /// And with nobody coming back, nobody moves twice.
    #[test]
    fn asking_again_as_a_member_changes_nothing(at in any_place(), clusters in any_clusters(), live in any_live()) {
        let Some(first) = match_clusters(newcomer(&at), &clusters, &live) else { return Ok(()) };
        let asker = Asker { member_of: Some(first.cluster.id), ..newcomer(&at) };
        prop_assert_eq!(match_clusters(asker, &clusters, &live).unwrap().cluster.id, first.cluster.id);
    }

    #[test]
    fn the_verdicts_agree_with_the_answer(at in any_place(), clusters in any_clusters(), live in any_live()) {
        let Some(found) = match_clusters(newcomer(&at), &clusters, &live) else { return Ok(()) };
        let chosen: Vec<_> = found.considered.iter().filter(|one| one.verdict == Verdict::Chosen).collect();
        prop_assert_eq!((chosen.len(), found.considered[0].cluster_id), (1, found.cluster.id));
        prop_assert_eq!(found.considered.len(), clusters.len());
        for one in &found.considered {
            prop_assert_eq!(one.has_live_scheduler, live.contains(&one.cluster_id));
            prop_assert!(one.verdict != Verdict::NoLiveScheduler || !one.has_live_scheduler && !one.strict);
        }
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
        prop_assert_eq!(answer(&place(&ip, &hostname, &idc, &location), &clusters).0, 1);
    }
}
